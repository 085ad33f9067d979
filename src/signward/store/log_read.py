"""Reading the log: entries, and tiles as C2SP tlog-tiles cuts them (partial ones are made)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from signward.authority.log.tiles import ENTRIES, WIDTH, Tile, bundle
from signward.errors import StoreError
from signward.store.log import tile_root
from signward.store.tables import log_entry, log_tile

MAX_ROOTS = 64 * 1024
"""Roots of full tiles that are remembered: 4 MiB, and enough for 16 million entries."""


class Tiles:
    """Reads tiles, and remembers the roots of full ones: they never change.  Thread-safe."""

    def __init__(self) -> None:
        self._roots: dict[tuple[int, int], bytes] = {}

    def read(self, connection: Connection, tile: Tile) -> bytes:
        """Return a tile's octets.  Raises ``StoreError`` where not all of it is there."""
        if tile.level == ENTRIES:
            return bundle(entries(connection, tile.number * WIDTH, tile.width))
        if tile.width == WIDTH:
            return _full(connection, tile.level, tile.number, 1)[0]
        if tile.level == 0:
            return _leaves(connection, tile.number * WIDTH, tile.width)
        return self._row(connection, tile.level - 1, tile.number * WIDTH, tile.width)

    def _row(self, connection: Connection, level: int, first: int, count: int) -> bytes:
        """Return the roots of ``count`` full tiles in a row."""
        if len(self._roots) > MAX_ROOTS:
            self._roots = {}
        roots = self._roots  # one and the same, should another thread begin anew
        known = first
        while known < first + count and (level, known) in roots:
            known += 1
        missing = first + count - known
        for i, hashes in enumerate(_full(connection, level, known, missing) if missing else ()):
            roots[level, known + i] = tile_root(hashes)
        return b"".join([roots[level, number] for number in range(first, first + count)])


def entries(connection: Connection, first: int, count: int) -> list[bytes]:
    """Return entries in a row.  Raises ``StoreError`` where not all are there."""
    place = log_entry.c.position
    chosen = select(log_entry.c.body).where(place >= first, place < first + count)
    found = list(connection.execute(chosen.order_by(place)).scalars().all())
    return _counted(found, count, f"entries from {first}")


def _leaves(connection: Connection, first: int, count: int) -> bytes:
    place = log_entry.c.position
    chosen = select(log_entry.c.leaf_hash).where(place >= first, place < first + count)
    found = list(connection.execute(chosen.order_by(place)).scalars().all())
    return b"".join(_counted(found, count, f"entries from {first}"))


def _full(connection: Connection, level: int, first: int, count: int) -> list[bytes]:
    place = log_tile.c.position
    chosen = select(log_tile.c.hashes).where(
        log_tile.c.level == level, place >= first, place < first + count
    )
    found = list(connection.execute(chosen.order_by(place)).scalars().all())
    return _counted(found, count, f"tiles of level {level} from {first}")


def _counted(found: list[bytes], count: int, what: str) -> list[bytes]:
    if len(found) != count:
        raise StoreError("the log's tables", f"{len(found)} {what}", f"{count} of them",
                         hint="the database lost rows: restore it from a backup")  # fmt: skip
    return found
