"""What tests of the store share: a writer that is held, and a log checked entry by entry."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, select

from signward.authority.log.tree import Frontier, leaf_hash
from signward.store import log
from signward.store.engine import Outcome, Store
from signward.store.tables import log_entry, log_tile

SECONDS = 30
"""How long a test waits for what should come at once."""


class Held:
    """Holds the writer in a job until ``release``, so that a batch gathers behind it."""

    def __init__(self, store: Store) -> None:
        self._go, self._held = threading.Event(), threading.Event()
        self.future = store.write(self._job)
        assert self._held.wait(SECONDS)

    def _job(self, _connection: Connection) -> Outcome[None]:
        self._held.set()
        self._go.wait(SECONDS)
        return Outcome(None)

    def release(self) -> None:
        """Let the writer go on."""
        self._go.set()


def log_is_whole(store: Store) -> int:
    """Check every entry, hash and tile of the log against a tree made anew; return its size."""
    with store.read() as connection:
        rows = connection.execute(select(log_entry).order_by(log_entry.c.position)).all()
        tiles = {
            (row.level, row.position): row.hashes for row in connection.execute(select(log_tile))
        }
        state = log.frontier(connection)
    assert [row.position for row in rows] == list(range(len(rows)))
    leaves = [leaf_hash(row.body) for row in rows]
    assert [row.leaf_hash for row in rows] == leaves
    assert state == Frontier().extended(leaves)
    assert tiles == _full_tiles(leaves)
    return len(rows)


def _full_tiles(leaves: list[bytes]) -> dict[tuple[int, int], bytes]:
    """Return the full tiles over leaves, by level and position (C2SP tlog-tiles)."""
    tiles: dict[tuple[int, int], bytes] = {}
    level, row = 0, leaves
    while len(row) >= log.TILE_WIDTH:
        full = range(len(row) // log.TILE_WIDTH)
        parts = [row[n * log.TILE_WIDTH : (n + 1) * log.TILE_WIDTH] for n in full]
        tiles |= {(level, n): b"".join(part) for n, part in enumerate(parts)}
        level, row = level + 1, [Frontier().extended(part).root for part in parts]
    return tiles
