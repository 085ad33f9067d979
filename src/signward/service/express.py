"""A lane past the router, for what is asked all day long and answered fast.

Routing, guarding and building a response take longer than looking up an answer, and half as long
as signing one.  A public route may name a function in its ``opt["express"]``:

- of a GET route, ``AtHand``: from the ASGI scope it returns the response if that is at hand,
  without waiting; None sends the request the usual way;
- of a POST route without parameters, ``FromBody``: from the body it returns the response.

Bodies are bounded, and what passes here is counted and logged, as on that route; what is raised
here the gate tells (``service/gate.py``).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar.enums import ScopeType

from signward.errors import RealmError
from signward.service.roles import Access

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from litestar.types import ASGIApp, Receive, Scope, Send

AtHand = Callable[[Any], "ASGIApp | None"]
"""Returns the response to an HTTP scope if it is at hand."""

FromBody = Callable[[bytes], Awaitable["ASGIApp"]]
"""Returns the response to a body."""

_TYPED = re.compile(r":[a-z]+}")


class Head:
    """The head of answers (200) that differ in their body alone, encoded once."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._fields = [(name.lower().encode(), text.encode()) for name, text in headers.items()]

    def response(self, body: bytes) -> ASGIApp:
        """Return the response with this body."""
        length = (b"content-length", b"%d" % len(body))
        start = {
            "type": "http.response.start", "status": 200, "headers": [*self._fields, length],
        }  # fmt: skip

        async def respond(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's
            await send(start)
            await send({"type": "http.response.body", "body": body})

        return respond


class _Lane(NamedTuple):
    route: HTTPRouteHandler
    template: str
    answer: Any
    """`AtHand` or `FromBody`."""

    def take(self, scope: Any) -> None:
        """Note in the scope which route this is, as the router does."""
        scope["route_handler"], scope["path_template"] = self.route, self.template


class Express:
    """Wraps the application; stands behind the gate."""

    def __init__(self, application: ASGIApp, routes: Iterable[HTTPRouteHandler]) -> None:
        self._application = application
        lanes = [(route, lane) for route in routes if (lane := _lane(route))]
        self._at_hand = {
            lane.template.split("/")[1]: lane for route, lane in lanes if "GET" in _methods(route)
        }
        self._from_body = {
            lane.template: lane for route, lane in lanes if "POST" in _methods(route)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once, or pass the request on."""
        response: ASGIApp | None = None
        if scope["type"] == ScopeType.HTTP:
            if scope["method"] == "GET":
                response = self._kept(scope)
            elif scope["method"] == "POST" and (lane := self._from_body.get(scope["path"])):
                lane.take(scope)
                response = await lane.answer(await _body(receive))
        await (response or self._application)(scope, receive, send)

    def _kept(self, scope: Any) -> ASGIApp | None:
        lane = self._at_hand.get(scope["path"][1:].partition("/")[0])
        response: ASGIApp | None = lane.answer(scope) if lane else None
        if lane and response:
            lane.take(scope)
        return response


async def _body(receive: Receive) -> bytes:
    """Return a request's whole body.  Raises what ``limits.Body`` does."""
    message: Any = await receive()
    if not message.get("more_body"):
        return bytes(message["body"])
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message["body"])
    return b"".join(parts)


def _methods(route: HTTPRouteHandler) -> Iterable[str]:
    return {str(method) for method in route.http_methods}


def _lane(route: HTTPRouteHandler) -> _Lane | None:
    """Return a route's lane, if it has one.  Raises ``RealmError`` where callers must be known."""
    answer = route.opt.get("express")
    if answer is None:
        return None
    path = min(route.paths)
    if route.opt.get("access") is not Access.PUBLIC:
        raise RealmError(f"route {path}", "an express lane", "one on public routes only")
    return _Lane(route, _TYPED.sub("}", path), answer)
