"""The log over HTTP as c2sp.org/tlog-tiles lays it out, below ``/log``: for anybody to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from signward.authority.log.tiles import read_path
from signward.service.roles import Access
from signward.verbs.authority.transparency import Transparency, transparency_of

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm

_PUBLIC = {"access": Access.PUBLIC}
_LATEST = {"Cache-Control": "no-cache"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""A tile's path names what it holds, partial ones too: it never changes."""


class LogRole:
    """The ``ROLE``: the log, where the settings have ``[log]``."""

    name = "log"
    help = "the transparency log, for anybody to read (C2SP tlog-tiles)"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handlers (see ``Role``).

        Raises ``LogFaultError`` where the database does not hold what was published.
        """
        if realm.settings.log is None:
            return ()
        log = transparency_of(realm)
        log.check()
        return _handlers(log)

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        """Say whether the database still continues what was published."""
        return {} if realm.settings.log is None else {"log": transparency_of(realm).check}


def _handlers(log: Transparency) -> tuple[HTTPRouteHandler, ...]:
    @get("/log/checkpoint", media_type="text/plain", opt=_PUBLIC)
    async def checkpoint() -> Response[bytes]:
        """Return the latest checkpoint: a signed note of the log's size and root hash."""
        note = await asyncio.to_thread(log.checkpoint)
        return Response(note, headers=_LATEST, media_type="text/plain")

    @get("/log/tile/{place:path}", media_type="application/octet-stream", opt=_PUBLIC)
    async def tile(place: FromPath[str]) -> Response[bytes]:
        """Return a tile of hashes, or (``entries/...``) a bundle of entries."""
        data = await asyncio.to_thread(log.tile, read_path(f"tile{place}"))
        if data is None:
            raise NotFoundException("no such tile in a log of this size")
        return Response(data, headers=_FOR_EVER, media_type="application/octet-stream")

    return checkpoint, tile


ROLE = LogRole()
