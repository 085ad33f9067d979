"""Who may call a route: asked before anything of a request's body is read.

Closed by default: a route that names no role lets nobody in (and the application does not
start with one, see ``service/app.py``); whoever is not known is nobody; who is known has the
roles that ``[access.roles]`` gives, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from litestar.exceptions import NotAuthorizedException, PermissionDeniedException

from signward.service.gate import PASSAGE
from signward.service.roles import Access

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

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


class Guard:
    """The application's guard; Litestar calls it before a handler."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let a request pass, or raise 401 or 403."""
        wanted = access_of(handler)
        if handler.opt.get("waits"):
            connection.scope["state"][PASSAGE].hold()
        if Access.PUBLIC in wanted:
            connection.scope["user"] = None
            return
        identity = await self._doorkeeper.identify(connection)
        connection.scope["user"] = identity
        if identity is None:
            raise NotAuthorizedException("nobody said who calls")
        if not wanted & self._doorkeeper.roles_of(identity):
            raise PermissionDeniedException(
                "this identity does not have the role that is asked for here",
                extra={"required": sorted(wanted)},
            )


def access_of(handler: BaseRouteHandler) -> frozenset[Access]:
    """Return the roles any of which lets somebody call a route; none where it names none."""
    wanted: Access | Iterable[Access] = handler.opt.get("access", ())
    return frozenset([wanted] if isinstance(wanted, Access) else wanted)
