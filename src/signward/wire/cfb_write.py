"""Compound files ([MS-CFB] version 11): writing one anew, streaming.

A file is laid out from the tree of its entries: the FAT's first sector, directory, the rest
of the FAT, DIFAT, mini FAT, mini stream, then every larger stream in one piece.  Content
is not copied but referred to (``wire.patch.Joined``), so memory holds the tables only: 1
byte for every 128 of content in sectors of 512.  The same tree always gives the same bytes.

Writing anew instead of patching in place is deliberate: it leaves no free sector, no slack
and no stale copy of what was replaced, and one writer serves every case.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence

from signward.errors import LimitError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.cfb import (
    BLANK,
    ENTRY,
    ENTRY_SIZE,
    NOBODY,
    CompoundFile,
    Entry,
    Kind,
    collation,
)
from signward.wire.cfb_sectors import (
    DIFAT_SECTOR,
    END,
    FAT_SECTOR,
    FREE,
    HEADER,
    HEADER_DIFAT,
    HEADER_SIZE,
    MAGIC,
    MINI_CUTOFF,
    MINI_SECTOR,
    SHIFTS,
)
from signward.wire.patch import Edit, Joined, PatchSet, Stretch

MAX_WRITTEN = 0x7FFFFF00
"""Largest file written: version 3 ends here, and version 4 keeps a sector for locks."""

_RED, _BLACK = 0, 1
_MINOR = 0x3E


class _Links(Frozen, frozen=True, kw_only=True):
    """Where an entry stands in its storage's search tree."""

    colour: int = _BLACK
    left: int = NOBODY
    right: int = NOBODY


def rewrite(compound: CompoundFile, root: Entry) -> PatchSet:
    """Return the patch that makes ``root`` the whole tree of a compound file.

    Sector size, minor version and transaction number stay.  Raises ``LimitError`` for more
    than ``MAX_WRITTEN`` bytes.
    """
    layout = _Layout(root, compound.sector_size, compound.header)
    joined = Joined(compound.source.name, layout.stretches(compound.source))
    return PatchSet(edits=(Edit(start=0, end=compound.source.length, data=joined),))


def build(root: Entry, sector_size: int = 4096) -> bytes:
    """Return a compound file whose streams are all new (``Entry.data``)."""
    joined = Joined("new", _Layout(root, sector_size).stretches(None))
    return joined.read(0, joined.length)


class _Layout:
    """Which sectors hold what; the FAT and the mini FAT grow with each chain."""

    def __init__(self, root: Entry, size: int, header: bytes = b"") -> None:
        self._size, self._header = size, header
        self._entries = _numbered(root)
        self._places = {id(entry): n for n, entry in enumerate(self._entries)}
        streams = [entry for entry in self._entries if entry.kind is Kind.STREAM and entry.size]
        self._small = [entry for entry in streams if entry.size < MINI_CUTOFF]
        self._large = [entry for entry in streams if entry.size >= MINI_CUTOFF]
        self._starts: dict[int, int] = {}
        self._mini_fat = array("I")
        for entry in self._small:
            self._starts[id(entry)] = _chain(self._mini_fat, -(-entry.size // MINI_SECTOR))
        self._mini_size = len(self._mini_fat) * MINI_SECTOR
        self._lay_out()

    def _lay_out(self) -> None:
        size = self._size
        directory = self._sectors(len(self._entries) * ENTRY_SIZE)
        mini_fat = self._sectors(4 * len(self._mini_fat))
        mini = self._sectors(self._mini_size)
        large = [self._sectors(entry.size) for entry in self._large]
        tables = self._tables(directory + mini_fat + mini + sum(large))
        self._fat = array("I", [FAT_SECTOR])  # where Windows has it; osslsigncode needs it there
        self._directory = _chain(self._fat, directory)
        self._fat_sectors = [0, *range(len(self._fat), len(self._fat) + tables[0] - 1)]
        self._fat.extend([FAT_SECTOR] * (tables[0] - 1))
        self._difat_start = len(self._fat)
        self._fat.extend([DIFAT_SECTOR] * tables[1])
        self._counts = (directory, *tables, mini_fat)
        self._mini_fat_start = _chain(self._fat, mini_fat)
        self._starts[id(self._entries[0])] = _chain(self._fat, mini)
        for entry, count in zip(self._large, large, strict=True):
            self._starts[id(entry)] = _chain(self._fat, count)
        self.length = (1 + len(self._fat)) * size
        if self.length > MAX_WRITTEN:
            raise LimitError("compound file", f"{self.length} bytes", f"at most {MAX_WRITTEN}")

    def _sectors(self, length: int) -> int:
        return -(-length // self._size)

    def _tables(self, others: int) -> tuple[int, int]:
        """Return how many FAT and DIFAT sectors speak of ``others`` sectors and themselves."""
        fat = difat = 0
        while True:
            needed = self._sectors(4 * (others + fat + difat))
            named = -(-max(0, needed - HEADER_DIFAT) // (self._size // 4 - 1))
            if (needed, named) == (fat, difat):
                return fat, difat
            fat, difat = needed, named

    def stretches(self, source: Source | None) -> Iterator[Stretch]:
        """Yield the file from its first byte to its last."""
        yield from self._padded([_whole(self._header_bytes())], HEADER_SIZE)
        directory = b"".join(self._entry_bytes())
        fat = self._table_bytes(self._fat)
        yield fat, 0, self._size
        yield _whole(directory + BLANK * (-len(directory) % self._size // ENTRY_SIZE))
        yield fat, self._size, len(fat)
        yield _whole(self._difat_bytes())
        yield _whole(self._table_bytes(self._mini_fat))
        mini = [part for entry in self._small for part in _content(entry, source, MINI_SECTOR)]
        yield from self._padded(mini, self._mini_size)
        for entry in self._large:
            yield from _content(entry, source, self._size)

    def _padded(self, parts: Sequence[Stretch], length: int) -> Iterator[Stretch]:
        yield from parts
        yield _whole(bytes(-length % self._size))

    def _table_bytes(self, numbers: array[int]) -> bytes:
        data = _bytes(numbers)
        return data + b"\xff" * (-len(data) % self._size)

    def _difat_bytes(self) -> bytes:
        """Return the DIFAT sectors: FAT sectors that the header has no room for, and the next."""
        count = self._counts[2]
        per_sector = self._size // 4 - 1
        named = array("I", self._fat_sectors[HEADER_DIFAT:])
        named.extend([FREE] * (count * per_sector - len(named)))
        parts = []
        for number in range(count):
            after = self._difat_start + number + 1 if number + 1 < count else END
            part = named[number * per_sector : (number + 1) * per_sector]
            parts.append(_bytes(part) + after.to_bytes(4, "little"))
        return b"".join(parts)

    def _header_bytes(self) -> bytes:
        major = next(version for version, shift in SHIFTS.items() if 1 << shift == self._size)
        minor, transaction = _MINOR, 0
        if self._header:
            minor = int.from_bytes(self._header[24:26], "little")
            transaction = int.from_bytes(self._header[52:56], "little")
        directory, fat, difat, mini_fat = self._counts
        fixed = HEADER.pack(
            MAGIC, bytes(16), minor, major, 0xFFFE, SHIFTS[major], 6, bytes(6),
            directory if major == 4 else 0, fat, self._directory, transaction, MINI_CUTOFF,
            self._mini_fat_start, mini_fat, self._difat_start if difat else END, difat,
        )  # fmt: skip
        named = array("I", self._fat_sectors[:HEADER_DIFAT])
        named.extend([FREE] * (HEADER_DIFAT - len(named)))
        return fixed + _bytes(named)

    def _entry_bytes(self) -> Iterator[bytes]:
        """Yield the directory's entries, each storage's members as a balanced search tree."""
        links = {id(self._entries[0]): _Links()}
        tops: dict[int, int] = {}
        for entry in self._entries:
            members = sorted(entry.children, key=lambda member: collation(member.name))
            tops[id(entry)] = self._link(members, links)
        for entry in self._entries:
            link = links[id(entry)]
            root = entry.kind is Kind.ROOT
            yield ENTRY.pack(
                entry.name, len(entry.name) + 2, entry.kind, link.colour, link.left, link.right,
                tops[id(entry)], entry.clsid, entry.state, entry.created, entry.modified,
                self._starts.get(id(entry), 0 if entry.kind is Kind.STORAGE else END),
                self._mini_size if root else entry.size,
            )  # fmt: skip

    def _link(self, members: Sequence[Entry], links: dict[int, _Links]) -> int:
        """Link sorted members into a tree of least height; return its top's number.

        Halving leaves every level but the deepest full, so red there and black elsewhere
        is a red-black tree ([MS-CFB] 2.6.4).
        """
        deepest = len(members).bit_length()

        def halve(first: int, last: int, level: int) -> int:
            if first >= last:
                return NOBODY
            middle = (first + last) // 2
            links[id(members[middle])] = _Links(
                colour=_RED if level == deepest and level > 1 else _BLACK,
                left=halve(first, middle, level + 1),
                right=halve(middle + 1, last, level + 1),
            )
            return self._places[id(members[middle])]

        return halve(0, len(members), 1)


def _numbered(root: Entry) -> list[Entry]:
    """Return all entries in the order of their numbers, new ones behind, the root first."""
    entries = [root]
    for entry in entries:  # grows while it is walked
        entries += entry.children
    members = entries[1:]
    members.sort(key=lambda entry: entry.number if entry.number >= 0 else 1 << 32)
    return [root, *members]


def _chain(table: array[int], count: int) -> int:
    """Append a chain of ``count`` neighbouring sectors; return its first, END for none."""
    start = len(table)
    if not count:
        return END
    table.extend(range(start + 1, start + count))
    table.append(END)
    return start


def _content(entry: Entry, source: Source | None, unit: int) -> Iterator[Stretch]:
    """Yield a stream's content, padded with zeros to whole units."""
    if entry.data:
        yield _whole(entry.data)
    elif source is not None:
        for start, end in entry.spans:
            yield source, start, end
    yield _whole(bytes(-entry.size % unit))


def _whole(data: bytes) -> Stretch:
    return data, 0, len(data)


def _bytes(numbers: array[int]) -> bytes:
    """Return numbers as 32 bits each, little-endian."""
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()
