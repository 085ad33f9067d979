"""What every request passes: a number, a place, bounds, a deadline, a line in the log.

The outermost ASGI application, so that nothing escapes it: what is malformed, unknown or
refused is counted and logged like anything else.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from litestar.exceptions import HTTPException

from signward.service import problems
from signward.service.limits import MAX_REQUESTS, MAX_WAITING, Body
from signward.service.logs import Journal
from signward.service.metrics import Metrics, method_label
from signward.service.roles import Access

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

PASSAGE = "signward_passage"
"""Where a request's `Passage` stands in its state."""

_GIVEN_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
"""An identifier that a proxy or client may give a request (``X-Request-Id``)."""

_HEADS = ((b"x-content-type-options", b"nosniff"), (b"server", b"signward"))

_GONE = 499
"""Status in log and metrics where the client left before the answer."""

_STATUS_5XX = 500
_STATUS_4XX = 400


class Gate:
    """Wraps the application; one for each process."""

    def __init__(
        self, application: ASGIApp, journal: Journal, metrics: Metrics, *, log_all: bool = False
    ) -> None:
        self._application, self._journal, self._metrics = application, journal, metrics
        self._log_all = log_all
        self._under_way = 0
        self._waiting = 0

    @property
    def under_way(self) -> int:
        """How many requests have no answer yet, those that wait included."""
        return self._under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != ScopeType.HTTP:
            await self._application(scope, receive, send)
            return
        passage = Passage(self, scope, send)
        if self._under_way - self._waiting >= MAX_REQUESTS:
            self._metrics.refused.labels("busy").inc()
            await passage.tell(_BUSY)
            return
        self._under_way += 1
        try:
            await self._application(scope, Body(scope, receive), passage.send)
        except asyncio.CancelledError:
            passage.status = passage.status or _GONE
            raise
        except Exception as error:  # noqa: BLE001 - the server would only close the connection
            problem = problems.problem_of(error)
            if passage.status or problems.is_fault(problem, error):
                self._journal.error("failed", error, request=passage.number)
            await passage.tell(problem)
        finally:
            self._under_way -= 1
            self._waiting -= passage.waits
            self._tell(passage)

    def hold(self, passage: Passage) -> None:
        """Count a request among those that wait for something to happen, not for us.

        Raises ``HTTPException`` (503) where too many do: those alone find no place then.
        """
        if not passage.waits and self._waiting >= MAX_WAITING:
            self._metrics.refused.labels("waiting").inc()
            raise HTTPException(
                "too many requests that wait", status_code=503, headers=problems.RETRY
            )
        if not passage.waits:
            passage.waits = True
            self._waiting += 1

    def _tell(self, passage: Passage) -> None:
        seconds = time.perf_counter() - passage.began
        scope: Any = passage.scope
        route = scope.get("path_template", "none")
        status = passage.status or _GONE
        self._metrics.count(route, scope["method"], status, seconds)
        if self._log_all or not passage.is_everyday:
            self._journal.write(
                "request",
                request=passage.number,
                method=method_label(scope["method"]),
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                outcome=passage.outcome,
                client=(scope.get("client") or ("",))[0],
                by=_who(scope),
            )


class Passage:
    """One request on its way through: its number, when it began, and the answer's status."""

    def __init__(self, gate: Gate, scope: HTTPScope, send: Send) -> None:
        self._gate, self.scope, self._send = gate, scope, send
        self.waits = False
        self.began = time.perf_counter()
        self.status = 0
        self.number = _number(scope)
        scope.setdefault("state", {})[PASSAGE] = self

    def hold(self) -> None:
        """Say that this request is held until something happens."""
        self._gate.hold(self)

    @property
    def access(self) -> Any:
        """What the route asks of its callers; None where there is no route."""
        handler = self.scope.get("route_handler")
        return handler.opt.get("access") if handler is not None else None

    @property
    def outcome(self) -> str:
        """How it went, in a word."""
        if not self.status:
            return "gone"
        if self.status >= _STATUS_5XX:
            return "failed"
        return "refused" if self.status >= _STATUS_4XX else "done"

    @property
    def is_everyday(self) -> bool:
        """Whether verification material was handed out as it is all day long."""
        return self.access is Access.PUBLIC and self.outcome == "done"

    async def send(self, message: Any) -> None:
        """Send a message, with the heads that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._heads(message["headers"])]
        await self._send(message)

    def _heads(self, present: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        heads = [(b"x-request-id", self.number.encode()), *_HEADS]
        if self.access is not Access.PUBLIC and all(n != b"cache-control" for n, _ in present):
            heads.append((b"cache-control", b"no-store"))
        return heads

    async def tell(self, problem: problems.Problem) -> None:
        """Answer what no handler answered; an answer that has begun can only be cut off."""
        if self.status:
            raise ConnectionAbortedError("an answer that cannot be finished")
        heads = {"content-type": problems.MEDIA_TYPE, **problem.headers}
        headers = [(name.lower().encode(), text.encode()) for name, text in heads.items()]
        await self.send(
            {"type": "http.response.start", "status": problem.status, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": problems.body(problem, self.number)})


_BUSY = problems.Problem(
    "busy", 503, "too many requests under way",
    headers={"Retry-After": str(problems.RETRY_SECONDS)},
)  # fmt: skip


def _number(scope: HTTPScope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            return value.decode("ascii")
    return f"{_NUMBERS}{next(_COUNT):016x}"


_NUMBERS = secrets.token_hex(8)
"""Tells this process's requests from those of others."""

_COUNT = itertools.count(1)


def _who(scope: Any) -> str:
    identity = scope.get("user")
    return f"{identity.kind}:{identity.subject}" if identity is not None else ""
