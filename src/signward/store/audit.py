"""Checking a log against itself: every entry, hash and tile, and the tree they make."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from sqlalchemy import Connection, func, select

from signward.authority.log.tree import Frontier, leaf_hash
from signward.errors import StoreError
from signward.store import log
from signward.store.tables import log_entry, log_tile

ROWS = 1024
"""Entries read at once."""


def audit(connection: Connection) -> Frontier:
    """Return the log's tree, made anew from its entries.  Raises ``StoreError`` where they differ.

    Reads all of it: some seconds for each million entries.
    """
    tree, tiles, batch = Frontier(), _Tiles(connection), []
    with closing(_leaves(connection)) as leaves:
        for leaf in leaves:
            tiles.add(0, leaf)
            batch.append(leaf)
            if len(batch) == ROWS:
                tree, batch = tree.extended(batch), []
    tree = tree.extended(batch)
    stated = log.frontier(connection)
    if tree != stated:
        raise _broken(f"a tree of {tree.size} entries, root {tree.root.hex()}",
                      f"{stated.size} entries, root {stated.root.hex()}")  # fmt: skip
    stored = connection.execute(select(func.count()).select_from(log_tile)).scalar_one()
    if stored != tiles.count:
        raise _broken(f"{stored} full tiles", f"{tiles.count}")
    return tree


def _leaves(connection: Connection) -> Generator[bytes, None, None]:
    chosen = select(log_entry).order_by(log_entry.c.position).execution_options(yield_per=ROWS)
    with connection.execute(chosen) as rows:
        for expected, row in enumerate(rows):
            if row.position != expected:
                raise _broken(f"entry {row.position} after {expected - 1}", f"entry {expected}")
            leaf = leaf_hash(row.body)
            if leaf != row.leaf_hash:
                raise _broken(f"entry {expected} of hash {leaf.hex()}", row.leaf_hash.hex())
            yield leaf


class _Tiles:
    """Compares each tile with the stored one as soon as it is full."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: list[list[bytes]] = []
        self._full: list[int] = []

    @property
    def count(self) -> int:
        """How many were full."""
        return sum(self._full)

    def add(self, level: int, node: bytes) -> None:
        """Take the next hash of a level."""
        if level == len(self._rows):
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level]
        row.append(node)
        if len(row) < log.TILE_WIDTH:
            return
        hashes = b"".join(row)
        row.clear()
        self._compare(level, self._full[level], hashes)
        self._full[level] += 1
        self.add(level + 1, log.tile_root(hashes))

    def _compare(self, level: int, position: int, hashes: bytes) -> None:
        place = (log_tile.c.level == level) & (log_tile.c.position == position)
        if self._connection.execute(select(log_tile.c.hashes).where(place)).scalar() != hashes:
            raise _broken(f"another tile {position} on level {level}", "the entries' hashes")


def _broken(found: str, required: str) -> StoreError:
    return StoreError("the log", found, required, hint="the database was damaged or changed")
