"""Tiles (c2sp.org/tlog-tiles): a tree's hashes, and its entries, as small static files.

A tile on level ``l`` holds up to 256 consecutive hashes of perfect subtrees of ``256**l`` leaves;
a bundle holds up to 256 entries.  Both are named by a path: ``tile/1/x001/234.p/17``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from signward.authority.log.entry import MAX_ENTRY
from signward.authority.log.tree import HASH_OCTETS
from signward.errors import LimitError, MalformedError

HEIGHT = 8
WIDTH = 256
"""Hashes in a full tile: two to the power of its height."""

ENTRIES = -1
"""The level of entry bundles, below that of the leaves' hashes."""

MAX_LEVEL = 63
MAX_INDEX = 2**63 - 1

MAX_BUNDLE = WIDTH * (2 + MAX_ENTRY)
"""Octets of an entry bundle."""

_CLAUSE = "c2sp.org/tlog-tiles"
_LENGTH_OCTETS = 2
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """A tile's place: level (`ENTRIES` for bundles), number on it, and how many it holds."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's URL."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.number:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        index = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{index}{partial}"


def read_path(path: str) -> Tile:
    """Return the tile that a path names, in the one spelling there is.

    Raises ``MalformedError``.
    """
    found = _PATH.fullmatch(path)
    if found:
        level = ENTRIES if found["level"] == "entries" else int(found["level"])
        index = int(found["index"].replace("x", "").replace("/", ""))
        tile = Tile(level, index, int(found["width"] or WIDTH))
        if level <= MAX_LEVEL and index <= MAX_INDEX and tile.path == path:
            return tile
    raise MalformedError("path", repr(path[:80]), "a tile's path", _CLAUSE)


def width(level: int, number: int, size: int) -> int:
    """Return how many hashes (or entries) a tile holds in a tree of ``size``; 0: none such."""
    hashes = size >> (HEIGHT * max(level, 0))
    return max(0, min(WIDTH, hashes - number * WIDTH))


def split_hashes(data: bytes, tile: Tile) -> list[bytes]:
    """Return a tile's hashes.  Raises ``MalformedError`` unless there are as many as it says."""
    if len(data) != tile.width * HASH_OCTETS:
        raise MalformedError(tile.path, f"{len(data)} octets", f"{tile.width} hashes", _CLAUSE)
    return [data[i : i + HASH_OCTETS] for i in range(0, len(data), HASH_OCTETS)]


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries in a row, each after its length (16 bits, big-endian).

    Raises ``LimitError`` for one that is too long.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise LimitError("log entry", f"{len(entry)} octets", f"at most {MAX_ENTRY}", _CLAUSE)
        parts += (len(entry).to_bytes(_LENGTH_OCTETS, "big"), entry)
    return b"".join(parts)


def split_bundle(data: bytes, tile: Tile) -> list[bytes]:
    """Return the entries in a bundle.  Raises ``MalformedError`` unless there are as many."""
    entries: list[bytes] = []
    position = 0
    while position < len(data) and len(entries) < tile.width:
        start = position + _LENGTH_OCTETS
        position = start + int.from_bytes(data[position:start], "big")
        entries.append(data[start:position])
    if position != len(data) or len(entries) != tile.width:
        found = f"{len(entries)} entries, {len(data)} octets"
        raise MalformedError(tile.path, found, f"{tile.width} whole entries", _CLAUSE)
    return entries
