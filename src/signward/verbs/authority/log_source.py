"""Where a log is read: in a data folder, or at a URL as c2sp.org/tlog-tiles lays it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signward.authority.log.faults import NotIncludedError
from signward.authority.log.note import MAX_NOTE
from signward.authority.log.proof import TileReader
from signward.authority.log.tiles import ENTRIES, MAX_BUNDLE, WIDTH, Tile, bundle, split_bundle
from signward.authority.log.tree import HASH_OCTETS
from signward.errors import FetchError

if TYPE_CHECKING:
    from signward.verbs.authority.transparency import Transparency


@dataclass(frozen=True, slots=True)
class LogSource:
    """A log as anybody can read it; nothing that comes from it need be true."""

    name: str
    checkpoint: Callable[[], bytes]
    """Gets the latest checkpoint, a signed note."""
    tile: TileReader
    """Gets a tile or an entry bundle."""


def own_log(log: Transparency) -> LogSource:
    """Return the log of an authority whose data folder is at hand."""

    def tile(wanted: Tile) -> bytes:
        found = log.tile(wanted)
        if found is None:
            raise NotIncludedError("the log", f"no {wanted.path}", "one in a log of this size")
        return found

    return LogSource(str(log.path.parent), log.checkpoint, tile)


def log_at(url: str) -> LogSource:
    """Return the log at a URL.  What it gets raises ``FetchError``."""
    from signward.fetch.log import get

    def checkpoint() -> bytes:
        return get(url, "checkpoint", MAX_NOTE)

    def tile(wanted: Tile) -> bytes:
        most = MAX_BUNDLE if wanted.level == ENTRIES else WIDTH * HASH_OCTETS
        try:
            return get(url, wanted.path, most)
        except FetchError:
            if wanted.width == WIDTH:
                raise
        full = wanted._replace(width=WIDTH)  # a log may drop partial tiles once they are full
        return _first(get(url, full.path, most), full, wanted.width)

    return LogSource(url, checkpoint, tile)


def _first(data: bytes, tile: Tile, count: int) -> bytes:
    if tile.level == ENTRIES:
        return bundle(split_bundle(data, tile)[:count])
    return data[: count * HASH_OCTETS]
