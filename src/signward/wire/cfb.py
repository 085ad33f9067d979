"""Compound files ([MS-CFB] version 11): a bounded, strict reader.

A compound file is a small file system: sectors of 512 or 4096 bytes chained by a table
(the FAT, itself found through the DIFAT), a directory of entries that form a search tree
per storage, and a stream of 64-byte mini sectors for streams below 4096 bytes.  All
numbers are little-endian; sector ``n`` lies at ``(n + 1) * sector size``.

No digest speaks of this structure, so whatever two readers could take differently is
refused here: a sector in two chains, a chain longer or shorter than its stream, counts
that lie, siblings out of order (one reader looks names up, the other lists them), entries
that no storage leads to.  Bytes that nothing reaches are told as :class:`Gap`; what they
mean is for the format to say.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any

from signward.errors import LimitError, MalformedError, UncoveredError
from signward.frozen import Frozen, replace
from signward.state import Source

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")

FREE = 0xFFFFFFFF
END = 0xFFFFFFFE
FAT_SECTOR = 0xFFFFFFFD
DIFAT_SECTOR = 0xFFFFFFFC
NOBODY = 0xFFFFFFFF
"""No entry: where a sibling or child is named ([MS-CFB] NOSTREAM)."""

HEADER_SIZE = 512
HEADER_DIFAT = 109
"""FAT sectors named in the header itself; further ones stand in DIFAT sectors."""
ENTRY_SIZE = 128
MINI_SECTOR = 64
MINI_CUTOFF = 4096
"""Streams below this size lie in the mini stream."""
SHIFTS = {3: 9, 4: 12}
"""Sector shift by major version."""

MAX_SECTORS = 1 << 23
"""Sectors read: 4 GiB of 512 bytes; the table of them takes 32 MiB of memory."""

MAX_ENTRIES = 1 << 16
"""Directory entries read; the largest installer packages have some thousands."""

MAX_DEPTH = 32
"""Storages within storages; patches and transforms nest two deep."""

MAX_PIECES = 1 << 18
"""Separate pieces all streams together may lie in: a 100 MiB file with no two of its
sectors in order has 200,000, and each costs a read."""

MAX_STREAM = (1 << 32) - 1
"""Largest stream: the digest over names and sizes holds 32 bits of a size."""

ROOT_NAME = "Root Entry".encode("utf-16-le")

_RANGE_LOCK = 0x7FFFFF00
"""Where version 4 keeps a sector for locks ([MS-CFB] 2.8), in files that reach so far."""

HEADER = struct.Struct("<8s16sHHHHH6sIIIIIIIII")
"""The header in front of its DIFAT ([MS-CFB] 2.2)."""

ENTRY = struct.Struct("<64sHBBIII16s4s8s8sIQ")
"""A directory entry ([MS-CFB] 2.6.1)."""

BLANK = bytes(68) + b"\xff" * 12 + bytes(48)
"""An entry in no use, as Windows writes it; others write zeros."""

_WHAT = "compound file"

_Fields = tuple[Any, ...]
"""An entry as unpacked: name, its length, type, colour, left, right, child, CLSID, state bits,
created, modified, first sector, size."""

Span = tuple[int, int]
"""A range of the file, ``(start, end)`` in bytes."""


class Kind(IntEnum):
    """What a directory entry is ([MS-CFB] 2.6.1)."""

    STORAGE = 1
    STREAM = 2
    ROOT = 5


class Entry(Frozen, frozen=True, kw_only=True):
    """A storage or stream.

    ``name`` is UTF-16LE without its terminator, ``clsid`` a GUID as stored, ``state`` the
    state bits, ``created`` and ``modified`` FILETIMEs (raw, little-endian).  ``spans`` is
    where a stream's content lies, in order; ``data`` the content of one yet to be written.
    ``children`` are in directory order.  ``number`` is the entry's own, -1 for a new one.
    """

    name: bytes
    kind: Kind = Kind.STREAM
    number: int = -1
    clsid: bytes = bytes(16)
    state: bytes = bytes(4)
    created: bytes = bytes(8)
    modified: bytes = bytes(8)
    size: int = 0
    spans: tuple[Span, ...] = ()
    data: bytes = b""
    children: tuple[Entry, ...] = ()

    @property
    def text(self) -> str:
        """The name for messages."""
        return self.name.decode("utf-16-le", "replace")

    def child(self, name: bytes) -> Entry | None:
        """Return the child of exactly that name."""
        return next((entry for entry in self.children if entry.name == name), None)


class GapKind(StrEnum):
    """Why nothing reaches some bytes."""

    BEHIND = "behind the compound file"
    """Behind the last sector that the FAT speaks of, or no whole sector."""
    TRAILING = "free sectors behind the last one in use"
    FREE = "free sectors"
    UNREFERENCED = "sectors in use by nothing"
    """Marked as used, and no stream or table leads there."""
    SLACK = "the rest of a sector or field behind its content"


class Gap(Frozen, frozen=True, kw_only=True):
    """Bytes of the file that are neither structure nor content."""

    kind: GapKind
    start: int
    end: int


class CompoundFile(Frozen, frozen=True, kw_only=True):
    """A compound file whose structure was checked.  ``header`` is its first 512 bytes."""

    source: Source
    header: bytes
    sector_size: int
    root: Entry
    gaps: tuple[Gap, ...]

    def read(self, entry: Entry, most: int) -> bytes:
        """Return a stream's content.  Raises ``LimitError`` beyond ``most`` bytes."""
        if entry.size > most:
            raise LimitError(f"stream {entry.text!r}", f"{entry.size} bytes", f"at most {most}")
        return b"".join(self.source.read(start, end - start) for start, end in entry.spans)


def collation(name: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the key siblings are ordered by: length, then upper case ([MS-CFB] 2.6.4)."""
    units = struct.unpack(f"<{len(name) // 2}H", name)
    return len(units), tuple(map(_upper, units))


@lru_cache(maxsize=1 << 16)
def _upper(unit: int) -> int:
    """Return the simple upper case of one UTF-16 unit: one that stays one unit."""
    upper = chr(unit).upper()
    return ord(upper) if len(upper) == 1 and ord(upper) < 0x10000 else unit


def open_compound(source: Source) -> CompoundFile:
    """Read and check the structure of a compound file.  Raises ``BadInputError``."""
    header = _read_header(source)
    sectors = _Sectors(source, header)
    directory = _Directory(sectors, header)
    root = directory.tree()
    return CompoundFile(
        source=source,
        header=header.raw,
        sector_size=sectors.size,
        root=root,
        gaps=(*directory.gaps, *sectors.gaps()),
    )


class _Header(Frozen, frozen=True, kw_only=True):
    """The header's fields that matter ([MS-CFB] 2.2)."""

    raw: bytes
    major: int
    shift: int
    directory_sectors: int
    fat_sectors: int
    directory: int
    mini_fat: int
    mini_fat_sectors: int
    difat: int
    difat_sectors: int


def _read_header(source: Source) -> _Header:
    raw = source.read(0, min(HEADER_SIZE, source.length))
    if len(raw) < HEADER_SIZE or raw[:8] != MAGIC:
        raise _bad("no header of 512 bytes with its magic", "one", "2.2", offset=0)
    (_, clsid, _, major, order, shift, mini_shift, reserved, directory_sectors, fat_sectors,
     directory, _, cutoff, mini_fat, mini_fat_sectors, difat, difat_sectors) = (
        HEADER.unpack_from(raw))  # fmt: skip
    fixed = (SHIFTS.get(major), 0xFFFE, 6, MINI_CUTOFF, bytes(16), bytes(6))
    if (shift, order, mini_shift, cutoff, clsid, reserved) != fixed:
        raise _bad(
            f"version {major}, byte order {order:#x}, shifts {shift} and {mini_shift}, "
            f"cut-off {cutoff}", "version 3 or 4 with the fields that go with it", "2.2", offset=8,
        )  # fmt: skip
    if major == 3 and directory_sectors:
        raise _bad(f"{directory_sectors} directory sectors", "0 in version 3", "2.2", offset=40)
    return _Header(
        raw=raw,
        major=major,
        shift=shift,
        directory_sectors=directory_sectors,
        fat_sectors=fat_sectors,
        directory=directory,
        mini_fat=mini_fat,
        mini_fat_sectors=mini_fat_sectors,
        difat=difat,
        difat_sectors=difat_sectors,
    )


class _Sectors:
    """The sectors, the FAT that chains them, and which of them are spoken for."""

    def __init__(self, source: Source, header: _Header) -> None:
        self.source, self.size = source, 1 << header.shift
        self.present = max(0, source.length // self.size - 1)
        if self.present > MAX_SECTORS:
            raise LimitError(_WHAT, f"{self.present} sectors", f"at most {MAX_SECTORS}")
        self.owned = bytearray(self.present)
        self.slack: list[Gap] = []
        self._note_slack(HEADER_SIZE, self.size)
        self.fat = self._table(self._fat_sectors(header))
        beyond = self.fat[self.present :]
        if beyond.count(FREE) != len(beyond):
            raise _bad("sectors in use behind the file's end", "none", "2.3")
        self.reach = min(self.present, len(self.fat))
        if header.major == 4 and self.present * self.size >= _RANGE_LOCK:
            self._own(_RANGE_LOCK // self.size - 1, "range lock sector")

    def offset(self, sector: int) -> int:
        """Return where a sector lies."""
        return (sector + 1) * self.size

    def chain(self, start: int, what: str, *, count: int | None, most: int) -> array[int]:
        """Return a chain's sectors: exactly ``count`` of them, or up to its end.

        Raises ``MalformedError`` for a sector outside the file or in another chain, and for
        a chain of another length; ``LimitError`` beyond ``most`` sectors.
        """
        sectors = array("I")
        at = start
        while at != END and (count is None or len(sectors) < count):
            if len(sectors) >= most:
                raise LimitError(what, f"a chain of more than {most} sectors", f"at most {most}")
            self._own(at, what)
            sectors.append(at)
            at = self.fat[at] if at < len(self.fat) else FREE
        if at != END or (count is not None and len(sectors) < count):
            raise _bad(
                f"a chain of {len(sectors)} sectors that {'ends' if at == END else 'goes on'}",
                f"{'an end' if count is None else count}, as its size says", "2.3", subject=what,
            )  # fmt: skip
        return sectors

    def content(self, entry: Entry, start: int) -> tuple[Span, ...]:
        """Return where a stream in sectors of its own lies."""
        count = -(-entry.size // self.size)
        sectors = self.chain(start, f"stream {entry.text!r}", count=count, most=self.present)
        return self.spans(map(self.offset, sectors), self.size, entry.size)

    def spans(self, starts: Iterable[int], unit: int, size: int) -> tuple[Span, ...]:
        """Return the ranges of ``size`` bytes in units at ``starts``; note the last one's rest."""
        spans: list[Span] = []
        left = size
        for start in starts:
            end = start + min(unit, left)
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
            left -= unit
        if left < 0:
            self._note_slack(spans[-1][1], spans[-1][1] - left)
        return tuple(spans)

    def numbers(self, sectors: Iterable[int]) -> array[int]:
        """Return sectors' bytes as 32-bit numbers."""
        parts = [self.source.read(self.offset(sector), self.size) for sector in sectors]
        return _numbers(b"".join(parts))

    def gaps(self) -> Iterator[Gap]:
        """Yield every range that no chain and no table took."""
        yield from self.slack
        used = self.owned.rfind(1) + 1
        position = self.owned.find(0)
        while position >= 0:
            end = self.owned.find(1, position)
            end = self.present if end < 0 else end
            yield from self._loose(position, end, used)
            position = self.owned.find(0, end)
        whole = self.offset(self.present)
        if self.source.length > whole:
            yield Gap(kind=GapKind.BEHIND, start=whole, end=self.source.length)

    def _loose(self, first: int, last: int, used: int) -> Iterator[Gap]:
        """Yield a run of sectors in no chain, cut where the reason changes."""
        start = first
        for sector in range(first, last):
            kind = self._why(sector, used)
            if sector + 1 == last or self._why(sector + 1, used) is not kind:
                yield Gap(kind=kind, start=self.offset(start), end=self.offset(sector + 1))
                start = sector + 1

    def _why(self, sector: int, used: int) -> GapKind:
        if sector >= self.reach:
            return GapKind.BEHIND
        if self.fat[sector] != FREE:
            return GapKind.UNREFERENCED
        return GapKind.TRAILING if sector >= used else GapKind.FREE

    def _note_slack(self, start: int, end: int) -> None:
        end = min(end, self.source.length)
        if start < end:
            self.slack.append(Gap(kind=GapKind.SLACK, start=start, end=end))

    def _own(self, sector: int, what: str) -> None:
        if sector >= self.present:
            raise _bad(f"sector {sector:#x}", f"one of {self.present}", "2.3", subject=what)
        if self.owned[sector]:
            raise _bad(
                f"sector {sector}, which is in a chain already", "a sector of its own", "2.3",
                subject=what, offset=self.offset(sector),
            )  # fmt: skip
        self.owned[sector] = 1

    def _fat_sectors(self, header: _Header) -> list[int]:
        """Return the sectors of the FAT in order: the header's, then the DIFAT's (2.5)."""
        needed = header.fat_sectors - HEADER_DIFAT
        per_sector = self.size // 4 - 1
        if header.fat_sectors > self.present or header.difat_sectors != -(
            -max(0, needed) // per_sector
        ):
            raise _bad(
                f"{header.fat_sectors} FAT sectors named by {header.difat_sectors} DIFAT sectors",
                f"as many as {self.present} sectors need", "2.5", offset=44,
            )  # fmt: skip
        named = list(_numbers(header.raw[HEADER_SIZE - 4 * HEADER_DIFAT :]))
        at, chained = header.difat, list[int]()
        for _ in range(header.difat_sectors):
            self._own(at, "DIFAT")
            chained.append(at)
            numbers = self.numbers((at,))
            named += numbers[:-1]
            at = numbers[-1]
        if at not in (END, FREE):
            raise _bad(f"a DIFAT that goes on at {at:#x}", "its end", "2.5")
        sectors, rest = named[: header.fat_sectors], named[header.fat_sectors :]
        if rest.count(FREE) != len(rest):
            raise _bad("FAT sectors beyond their count", "none", "2.5")
        self._marks = (sectors, chained)
        for sector in sectors:
            self._own(sector, "FAT")
        return sectors

    def _table(self, sectors: list[int]) -> array[int]:
        fat = self.numbers(sectors)
        marked = zip((FAT_SECTOR, DIFAT_SECTOR), self._marks, strict=True)
        for mark, named in marked:
            for sector in named:
                if sector >= len(fat) or fat[sector] != mark:
                    raise _bad(f"sector {sector} of a table", f"marked {mark:#x}", "2.3")
        return fat


class _Directory:
    """The directory: its entries, the tree they form, and the mini stream they share."""

    def __init__(self, sectors: _Sectors, header: _Header) -> None:
        self._sectors, self._major = sectors, header.major
        self._pieces = 0
        self.gaps: list[Gap] = []
        most = MAX_ENTRIES * ENTRY_SIZE // sectors.size
        chain = sectors.chain(header.directory, "directory", count=None, most=most)
        # Version 4 counts them; Apache POI, so jsign, counts one too many, which misleads nobody.
        if not chain or (header.major == 4 and header.directory_sectors < len(chain)):
            raise _bad(
                f"a directory of {len(chain)} sectors, counted {header.directory_sectors}",
                "one, and every sector counted", "2.2", offset=40,
            )  # fmt: skip
        self._chain = chain
        self._raw = b"".join(sectors.source.read(sectors.offset(s), sectors.size) for s in chain)
        self._seen = bytearray(len(self._raw) // ENTRY_SIZE)
        fields = ENTRY.unpack_from(self._raw, 0)
        self._mini = _MiniStream(sectors, header, fields[11], self._size(fields[12]))

    def tree(self) -> Entry:
        """Return the root with everything below it."""
        root, fields = self._entry(0, "root")
        if root.kind is not Kind.ROOT or root.name != ROOT_NAME or fields[4:6] != (NOBODY, NOBODY):
            raise _bad(
                f"a first entry {root.text!r} of type {root.kind}", "Root Entry, alone", "2.6.2",
                offset=self._offset(0),
            )  # fmt: skip
        found = replace(root, children=self._children(fields[6], 1))
        self._account_for_the_rest()
        self.gaps += self._mini.gaps()
        return found

    def _children(self, top: int, depth: int) -> tuple[Entry, ...]:
        """Return a storage's members in the order of their search tree, which must be sorted."""
        if depth > MAX_DEPTH:
            raise LimitError(_WHAT, f"storages nested deeper than {MAX_DEPTH}", "less")
        children: list[Entry] = []
        waiting: list[tuple[Entry, _Fields]] = []
        at = top
        while at != NOBODY or waiting:
            while at != NOBODY:
                entry, fields = self._entry(at, "sibling")
                waiting.append((entry, fields))
                at = fields[4]
            entry, fields = waiting.pop()
            if children and collation(children[-1].name) >= collation(entry.name):
                raise _bad(
                    f"{entry.text!r} behind {children[-1].text!r}",
                    "siblings in order, no two of one name", "2.6.4",
                    subject="directory", offset=self._offset(entry.number),
                )  # fmt: skip
            children.append(self._complete(entry, fields, depth))
            at = fields[5]
        return tuple(children)

    def _complete(self, entry: Entry, fields: _Fields, depth: int) -> Entry:
        """Return the entry with its content or its members."""
        child, start = fields[6], fields[11]
        if entry.kind is Kind.ROOT:
            raise _bad("a second root", "one", "2.6.1", offset=self._offset(entry.number))
        if entry.kind is Kind.STORAGE:
            return replace(entry, size=0, children=self._children(child, depth + 1))
        if child != NOBODY or entry.clsid != bytes(16):
            raise _bad(
                f"a stream {entry.text!r} with a child or a class identifier", "neither", "2.6.3",
                offset=self._offset(entry.number),
            )  # fmt: skip
        if not entry.size:
            return entry
        within = self._mini.content if entry.size < MINI_CUTOFF else self._sectors.content
        spans = within(entry, start)
        self._pieces += len(spans)
        if self._pieces > MAX_PIECES:
            raise LimitError(_WHAT, f"more than {MAX_PIECES} pieces of streams", "fewer")
        return replace(entry, spans=spans)

    def _entry(self, number: int, what: str) -> tuple[Entry, _Fields]:
        """Return an entry and its raw fields; each is reached once only."""
        if number >= len(self._seen) or self._seen[number]:
            raise _bad(
                f"{what} {number:#x}", f"one of {len(self._seen)} entries, once", "2.6.1",
                subject="directory",
            )  # fmt: skip
        self._seen[number] = 1
        fields = ENTRY.unpack_from(self._raw, number * ENTRY_SIZE)
        field, length, kind, colour = fields[:4]
        name = field[: max(0, length - 2)]
        if (
            length % 2 or not 4 <= length <= 64 or field[length - 2 : length] != b"\0\0"
            or 0 in struct.unpack(f"<{len(name) // 2}H", name)
            or kind not in tuple(Kind) or colour > 1
        ):  # fmt: skip
            raise _bad(
                f"an entry of type {kind}, colour {colour} and a name of {length} bytes",
                "a storage or stream with a name", "2.6.1",
                subject="directory", offset=self._offset(number),
            )  # fmt: skip
        if any(field[length:]):
            start = self._offset(number)
            self.gaps.append(Gap(kind=GapKind.SLACK, start=start + length, end=start + 64))
        entry = Entry(
            name=name,
            kind=Kind(kind),
            number=number,
            clsid=fields[7],
            state=fields[8],
            created=fields[9],
            modified=fields[10],
            size=self._size(fields[12]) if kind == Kind.STREAM else 0,
        )
        return entry, fields

    def _size(self, size: int) -> int:
        """Return a stream's size; version 3 leaves its upper half undefined ([MS-CFB] 2.6.1)."""
        size = size & MAX_STREAM if self._major == 3 else size
        if size > MAX_STREAM:
            raise LimitError(_WHAT, f"a stream of {size} bytes", f"at most {MAX_STREAM}")
        return size

    def _account_for_the_rest(self) -> None:
        """Refuse entries in use that nothing leads to; note unused ones that hold something."""
        for number in range(len(self._seen)):
            raw = self._raw[number * ENTRY_SIZE : (number + 1) * ENTRY_SIZE]
            if self._seen[number] or raw in (BLANK, bytes(ENTRY_SIZE)):
                continue
            start = self._offset(number)
            if raw[66]:
                raise UncoveredError(
                    "directory", f"entry {number}, which no storage leads to",
                    "a place in the tree for each entry", "[MS-CFB] 2.6.1", offset=start,
                )  # fmt: skip
            self.gaps.append(Gap(kind=GapKind.SLACK, start=start, end=start + ENTRY_SIZE))

    def _offset(self, number: int) -> int:
        position = number * ENTRY_SIZE
        sector = self._chain[position // self._sectors.size]
        return self._sectors.offset(sector) + position % self._sectors.size


class _MiniStream:
    """The stream of 64-byte sectors that small streams share ([MS-CFB] 2.4, 2.6.2)."""

    def __init__(self, sectors: _Sectors, header: _Header, start: int, size: int) -> None:
        self._all = sectors
        most = sectors.present
        if size % MINI_SECTOR:
            raise _bad(f"a mini stream of {size} bytes", "whole mini sectors of 64", "2.6.2")
        count = -(-size // sectors.size)
        self._sectors = (
            sectors.chain(start, "mini stream", count=count, most=most) if size else array("I")
        )
        number = header.mini_fat_sectors
        chain = (
            sectors.chain(header.mini_fat, "mini FAT", count=number, most=most)
            if number else array("I")
        )  # fmt: skip
        self._fat = sectors.numbers(chain)
        self._room = len(self._sectors) * sectors.size // MINI_SECTOR
        self._whole = size // MINI_SECTOR
        self._count = min(len(self._fat), self._whole)
        self._owned = bytearray(self._room)
        beyond = self._fat[self._whole :]
        if beyond[:1] == array("I", [END]):  # osslsigncode puts one there, of no chain
            beyond = beyond[1:]
        if beyond.count(FREE) != len(beyond):
            raise _bad("mini sectors in use behind the mini stream's end", "none", "2.4")

    def content(self, entry: Entry, start: int) -> tuple[Span, ...]:
        """Return where a small stream lies."""
        what = f"stream {entry.text!r}"
        starts: list[int] = []
        at = start
        for _ in range(-(-entry.size // MINI_SECTOR)):
            if at >= self._count or self._owned[at]:
                raise _bad(
                    f"mini sector {at:#x}", f"one of {self._count}, in no other chain", "2.4",
                    subject=what,
                )  # fmt: skip
            self._owned[at] = 1
            starts.append(self._offset(at))
            at = self._fat[at]
        if at != END:
            raise _bad("a chain that goes on behind its size", "its end", "2.4", subject=what)
        return self._all.spans(starts, MINI_SECTOR, entry.size)

    def gaps(self) -> Iterator[Gap]:
        """Yield the mini sectors that no stream took, runs of one reason together."""
        found: Gap | None = None
        for number in range(self._room):
            if self._owned[number]:
                continue
            kind = self._why(number)
            start = self._offset(number)
            if found and found.kind is kind and found.end == start:
                found = replace(found, end=start + MINI_SECTOR)
                continue
            if found:
                yield found
            found = Gap(kind=kind, start=start, end=start + MINI_SECTOR)
        if found:
            yield found

    def _why(self, number: int) -> GapKind:
        if number >= self._whole:
            return GapKind.SLACK
        used = number < len(self._fat) and self._fat[number] != FREE
        return GapKind.UNREFERENCED if used else GapKind.FREE

    def _offset(self, number: int) -> int:
        position = number * MINI_SECTOR
        sector = self._sectors[position // self._all.size]
        return self._all.offset(sector) + position % self._all.size


def _numbers(data: bytes) -> array[int]:
    """Return little-endian 32-bit numbers."""
    numbers = array("I")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _bad(
    found: str, required: str, section: str, *, subject: str = _WHAT, offset: int | None = None
) -> MalformedError:
    return MalformedError(subject, found, required, f"[MS-CFB] {section}", offset=offset)
