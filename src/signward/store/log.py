"""The log's tables: appending entries in a transaction, and reading what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, insert, select

from signward.authority.log.tree import Frontier, leaf_hash, node_hash
from signward.store.tables import log_entry, log_tile

TILE_WIDTH = 256
"""Hashes in a full tile (C2SP tlog-tiles)."""


_MARKS = {"sqlite": "?", "postgresql": "%s"}
"""What stands for a parameter, by the driver's way (PEP 249, paramstyle)."""

# As the drivers take them: SQLAlchemy's own take three times as long, for each token's entry.
_STATE = "SELECT size, frontier FROM log_state"
_APPEND = "INSERT INTO log_entry (position, leaf_hash, body) VALUES (?, ?, ?)"
_GROW = "UPDATE log_state SET size = ?, frontier = ? WHERE id = 1"


def _run(connection: Connection, statement: str, values: Any = None) -> CursorResult[Any]:
    marked = statement.replace("?", _MARKS[connection.dialect.name])
    return connection.exec_driver_sql(marked, values)


def append(connection: Connection, entries: Sequence[bytes]) -> tuple[int, int]:
    """Append entries; return the first one's position and the size of the log.

    Whoever appends has the turn to write (`database.writing`): nobody else does meanwhile.
    """
    before = frontier(connection)
    if not entries:
        return before.size, before.size
    leaves = [leaf_hash(entry) for entry in entries]
    after = before.extended(leaves)
    rows = [
        (before.size + i, leaf, entry)
        for i, (leaf, entry) in enumerate(zip(leaves, entries, strict=True))
    ]
    _run(connection, _APPEND, rows)
    _store_full_tiles(connection, before.size, after.size)
    _run(connection, _GROW, (after.size, after.to_bytes()))
    return before.size, after.size


def frontier(connection: Connection) -> Frontier:
    """Return the committed tree's right edge."""
    row: Any = _run(connection, _STATE).one()
    return Frontier.from_bytes(row[0], row[1])


def _store_full_tiles(connection: Connection, before: int, after: int) -> None:
    """Store the tiles that became full, on every level."""
    level, first, last = 0, before // TILE_WIDTH, after // TILE_WIDTH
    while first < last:
        rows = [
            {"level": level, "position": n, "hashes": _full_tile(connection, level, n)}
            for n in range(first, last)
        ]
        connection.execute(insert(log_tile), rows)
        level, first, last = level + 1, first // TILE_WIDTH, last // TILE_WIDTH


def _full_tile(connection: Connection, level: int, position: int) -> bytes:
    start, end = position * TILE_WIDTH, (position + 1) * TILE_WIDTH
    if level == 0:
        column, place = log_entry.c.leaf_hash, log_entry.c.position
        chosen = select(column).where(place >= start, place < end).order_by(place)
        return b"".join(connection.execute(chosen).scalars().all())
    place = log_tile.c.position
    below = select(log_tile.c.hashes).where(
        log_tile.c.level == level - 1, place >= start, place < end
    )
    return b"".join(map(tile_root, connection.execute(below.order_by(place)).scalars()))


def tile_root(hashes: bytes) -> bytes:
    """Return the root over a full tile's hashes."""
    row = [hashes[i : i + 32] for i in range(0, len(hashes), 32)]
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]
