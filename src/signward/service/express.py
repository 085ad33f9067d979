"""A lane past the router, for answers that are at hand.

Routing, guarding and building a response take longer than looking one up.  A public GET route
may name a function in its ``opt["express"]``: from the ASGI scope it returns the response if that
is at hand, without waiting; None sends the request the usual way.  What passes here is counted
and logged as on that route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from signward.errors import RealmError
from signward.service.roles import Access

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from litestar.types import ASGIApp, Receive, Scope, Send

AtHand = Callable[[Any], ASGIResponse | None]
"""Returns the response to an HTTP scope if it is at hand."""

_TYPED = re.compile(r":[a-z]+}")


class _Lane(NamedTuple):
    route: HTTPRouteHandler
    template: str
    at_hand: AtHand


class Express:
    """Wraps the application; stands behind the gate."""

    def __init__(self, application: ASGIApp, routes: Iterable[HTTPRouteHandler]) -> None:
        self._application = application
        self._lanes = {lane.template.split("/")[1]: lane for lane in map(_lane, routes) if lane}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once, or pass the request on."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET":
            lane = self._lanes.get(scope["path"][1:].partition("/")[0])
            response = lane.at_hand(scope) if lane else None
            if lane and response:
                told: Any = scope
                told["route_handler"], told["path_template"] = lane.route, lane.template
                await response(scope, receive, send)
                return
        await self._application(scope, receive, send)


def _lane(route: HTTPRouteHandler) -> _Lane | None:
    """Return a route's lane, if it has one.  Raises ``RealmError`` where callers must be known."""
    at_hand = route.opt.get("express")
    if at_hand is None:
        return None
    path = min(route.paths)
    if route.opt.get("access") is not Access.PUBLIC:
        raise RealmError(f"route {path}", "an express lane", "one on public routes only")
    return _Lane(route, _TYPED.sub("}", path), at_hand)
