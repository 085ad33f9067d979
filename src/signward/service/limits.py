"""What one request, and all of them together, may cost: named bounds, enforced while reading.

A body is counted as it arrives, so that a client that announces little and sends much is cut
off as early as one that announces much.  A client that sends slowly has one deadline for the
whole body, not one for each octet.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from litestar.exceptions import ClientException

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive

MAX_BODY = 64 * 1024
"""Octets of a request's body where a route says nothing else: our largest requests are
certificate requests and lists of digests, a few kB."""

HEADER_SECONDS = 10
"""For the head of a request, from its first octet."""

BODY_SECONDS = 20.0
"""For a whole body: 64 KiB in that time are 3 kB/s, less than any link we know gives."""

THREADS = 40
"""Threads that handlers run in when they wait for a database or a key."""

MAX_REQUESTS = 256
"""Requests under way in one process; more are told to come back: with `THREADS` at work,
what is beyond this would wait for seconds anyway."""

MAX_WAITING = 2048
"""Requests held until something happens (``opt={"waits": True}``): they cost memory only."""

MAX_CONNECTIONS = 4096
"""Connections a process serves at once; further ones wait in the system's queue."""

MAX_HEAD = 16 * 1024
"""Octets of a request's head: a bearer token has 2 kB, an OCSP request in a path 255."""

STOP_SECONDS = 20.0
"""For requests under way to be answered once the service was told to stop."""


class Body:
    """The ``receive`` of a request, bounded in octets and time.

    The bound is the route's, which is known once routing is done; nothing reads before.
    """

    def __init__(self, scope: HTTPScope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self._deadline: float | None = None
        self._count = 0
        self._ended = False

    async def __call__(self) -> Any:
        """Return the next message.  Raises ``ClientException`` (400, 408, 413)."""
        if self._ended:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
            self._check(announced(self._scope))
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise ClientException(
                f"the body did not end within {BODY_SECONDS:.0f} seconds", status_code=408,
                headers={"Connection": "close"},
            ) from None  # fmt: skip
        self._take(message)
        return message

    def _take(self, message: Any) -> None:
        if message["type"] == "http.disconnect":
            self._ended = True
            raise ClientException("the body ended early")
        self._count += len(message["body"])
        self._check(self._count)
        self._ended = not message.get("more_body", False)

    def _check(self, octets: int) -> None:
        most = max_body(self._scope)
        if octets > most:
            raise ClientException(
                f"a body of more than {most} octets", status_code=413,
                headers={"Connection": "close"},
            )  # fmt: skip


def max_body(scope: HTTPScope) -> int:
    """Return the most octets that the route of a request takes."""
    handler = scope.get("route_handler")
    return int(handler.opt.get("max_body", MAX_BODY)) if handler is not None else MAX_BODY


def announced(scope: HTTPScope) -> int:
    """Return what ``Content-Length`` says, 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
