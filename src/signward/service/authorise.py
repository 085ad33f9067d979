"""Who may call a route: asked before anything of a request's body is read.

Closed by default: a route that names no role lets nobody in (and the application does not
start with one, see ``service/app.py``); whoever is not known is nobody; who is known has the
roles that ``[access.roles]`` gives, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException

from signward.service.gate import PASSAGE
from signward.service.roles import Access

if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler
    from litestar.types import ASGIApp, Receive, Scope, Send

    from signward.authority.access import Identity

    Connection = ASGIConnection[Any, Any, Any, Any]


class Doorkeeper(Protocol):
    """Who knows callers."""

    async def identify(self, connection: Connection) -> Identity | None:
        """Return who calls, None for nobody.

        Raises ``NotAuthorizedException`` for a proof that does not hold.
        """

    def roles_of(self, identity: Identity) -> frozenset[str]:
        """Return the roles of somebody who was identified."""


def guarding(doorkeeper: Doorkeeper) -> Callable[[ASGIApp], ASGIApp]:
    """Return the middleware that stands before every handler, once its route is known.

    Litestar's own guards do the same, but copy the handler for each request: a sixth of what
    an answer that is at hand costs.
    """

    def guard(app: ASGIApp) -> ASGIApp:  # so named by Litestar
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await _admit(scope, doorkeeper)
            await app(scope, receive, send)

        return guarded

    return guard


async def _admit(scope: Any, doorkeeper: Doorkeeper) -> None:
    """Let a request pass, or raise 401 or 403."""
    handler = scope["route_handler"]
    if handler.opt.get("waits"):
        scope["state"][PASSAGE].hold()
    scope["user"] = None
    if handler.opt.get("access") is not Access.PUBLIC:
        connection = ASGIConnection[Any, Any, Any, Any](scope)
        wanted = access_of(handler)
        identity = scope["user"] = await doorkeeper.identify(connection)
        if identity is None:
            raise NotAuthorizedException("nobody said who calls")
        if not wanted & doorkeeper.roles_of(identity):
            raise PermissionDeniedException(
                "this identity does not have the role that is asked for here",
                extra={"required": sorted(wanted)},
            )


def access_of(handler: BaseRouteHandler) -> frozenset[Access]:
    """Return the roles any of which lets somebody call a route; none where it names none."""
    wanted: Access | Iterable[Access] = handler.opt.get("access", ())
    return frozenset([wanted] if isinstance(wanted, Access) else wanted)
