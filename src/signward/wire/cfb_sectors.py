"""Compound files' sectors ([MS-CFB] 2.1 to 2.5): header, FAT, DIFAT, mini stream, bounded.

Every sector belongs to one chain at most and every chain is as long as what it carries;
what is left over is told as :class:`Gap`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, starmap

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen, replace
from signward.state import Source

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")

FREE = 0xFFFFFFFF
END = 0xFFFFFFFE
FAT_SECTOR = 0xFFFFFFFD
DIFAT_SECTOR = 0xFFFFFFFC

HEADER_SIZE = 512
HEADER_DIFAT = 109
"""FAT sectors named in the header itself; further ones stand in DIFAT sectors."""
MINI_SECTOR = 64
MINI_CUTOFF = 4096
"""Streams below this size lie in the mini stream."""
SHIFTS = {3: 9, 4: 12}
"""Sector shift by major version."""

MAX_SECTORS = 1 << 23
"""Sectors read: 4 GiB of 512 bytes; the table of them takes 32 MiB of memory."""

SPARE_TABLES = 4096
"""FAT sectors beyond those that the file's sectors need, as a writer may keep when a file
shrinks.  More would be memory that nothing needs: the whole FAT is read at once."""

MAX_GAPS = 1 << 19
"""Separate gaps told: two to a stream and directory entry at most, and a 256 MiB file with
every other sector free."""

MAX_MINI = 256 * 1024 * 1024
"""Largest mini stream: as much as 65,536 streams below the cut-off can take."""

_RANGE_LOCK = 0x7FFFFF00
"""Where version 4 keeps a sector for locks ([MS-CFB] 2.8), in files that reach so far."""

HEADER = struct.Struct("<8s16sHHHHH6sIIIIIIIII")
"""The header in front of its DIFAT ([MS-CFB] 2.2)."""

_WHAT = "compound file"

Span = tuple[int, int]
"""A range of the file, ``(start, end)`` in bytes."""


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


class Header(Frozen, frozen=True, kw_only=True):
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


def read_header(source: Source) -> Header:
    """Return the header's fields.  Raises ``MalformedError`` for any that is not as required."""
    raw = source.read(0, min(HEADER_SIZE, source.length))
    if len(raw) < HEADER_SIZE or raw[:8] != MAGIC:
        raise bad("no header of 512 bytes with its magic", "one", "2.2", offset=0)
    (_, clsid, _, major, order, shift, mini_shift, reserved, directory_sectors, fat_sectors,
     directory, _, cutoff, mini_fat, mini_fat_sectors, difat, difat_sectors) = (
        HEADER.unpack_from(raw))  # fmt: skip
    fixed = (SHIFTS.get(major), 0xFFFE, 6, MINI_CUTOFF, bytes(16), bytes(6))
    if (shift, order, mini_shift, cutoff, clsid, reserved) != fixed:
        raise bad(
            f"version {major}, byte order {order:#x}, shifts {shift} and {mini_shift}, "
            f"cut-off {cutoff}", "version 3 or 4 with the fields that go with it", "2.2", offset=8,
        )  # fmt: skip
    if major == 3 and directory_sectors:
        raise bad(f"{directory_sectors} directory sectors", "0 in version 3", "2.2", offset=40)
    return Header(
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


class Sectors:
    """The sectors, the FAT that chains them, and which of them are spoken for."""

    def __init__(self, source: Source, header: Header) -> None:
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
            raise bad("sectors in use behind the file's end", "none", "2.3")
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
            raise bad(
                f"a chain of {len(sectors)} sectors that {'ends' if at == END else 'goes on'}",
                f"{'an end' if count is None else count}, as its size says", "2.3", subject=what,
            )  # fmt: skip
        return sectors

    def content(self, start: int, size: int, what: str) -> tuple[Span, ...]:
        """Return where a stream in sectors of its own lies."""
        count = -(-size // self.size)
        sectors = self.chain(start, what, count=count, most=self.present)
        return self.spans(map(self.offset, sectors), self.size, size)

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
        for first, last in _left_over(self.owned):
            yield from self._loose(first, last, used)
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
            raise bad(f"sector {sector:#x}", f"one of {self.present}", "2.3", subject=what)
        if self.owned[sector]:
            raise bad(
                f"sector {sector}, which is in a chain already", "a sector of its own", "2.3",
                subject=what, offset=self.offset(sector),
            )  # fmt: skip
        self.owned[sector] = 1

    def _fat_sectors(self, header: Header) -> list[int]:
        """Return the sectors of the FAT in order: the header's, then the DIFAT's (2.5)."""
        needed = header.fat_sectors - HEADER_DIFAT
        per_sector = self.size // 4 - 1
        enough = -(-4 * self.present // self.size) + SPARE_TABLES
        if header.fat_sectors > min(self.present, enough) or header.difat_sectors != -(
            -max(0, needed) // per_sector
        ):
            raise bad(
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
            raise bad(f"a DIFAT that goes on at {at:#x}", "its end", "2.5")
        sectors, rest = named[: header.fat_sectors], named[header.fat_sectors :]
        if rest.count(FREE) != len(rest):
            raise bad("FAT sectors beyond their count", "none", "2.5")
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
                    raise bad(f"sector {sector} of a table", f"marked {mark:#x}", "2.3")
        return fat


class MiniStream:
    """The stream of 64-byte sectors that small streams share ([MS-CFB] 2.4, 2.6.2)."""

    def __init__(self, sectors: Sectors, header: Header, start: int, size: int) -> None:
        self._all = sectors
        most = sectors.present
        if size % MINI_SECTOR:
            raise bad(f"a mini stream of {size} bytes", "whole mini sectors of 64", "2.6.2")
        if size > MAX_MINI:
            raise LimitError(_WHAT, f"a mini stream of {size} bytes", f"at most {MAX_MINI}")
        count = -(-size // sectors.size)
        self._sectors = (
            sectors.chain(start, "mini stream", count=count, most=most) if size else array("I")
        )
        number = header.mini_fat_sectors
        if not number and header.mini_fat not in (END, FREE):
            raise bad("a mini FAT of no sectors that starts somewhere", "none", "2.2", offset=60)
        tables = (
            sectors.chain(header.mini_fat, "mini FAT", count=number,
                          most=4 * MAX_MINI // MINI_SECTOR // sectors.size)
            if number else array("I")
        )  # fmt: skip
        self._fat = sectors.numbers(tables)
        self._room = len(self._sectors) * sectors.size // MINI_SECTOR
        self._whole = size // MINI_SECTOR
        self._count = min(len(self._fat), self._whole)
        self._owned = bytearray(self._room)
        beyond = self._fat[self._whole :]
        if beyond[:1] == array("I", [END]):  # osslsigncode puts one there, of no chain
            beyond = beyond[1:]
        if beyond.count(FREE) != len(beyond):
            raise bad("mini sectors in use behind the mini stream's end", "none", "2.4")

    def content(self, start: int, size: int, what: str) -> tuple[Span, ...]:
        """Return where a small stream lies."""
        starts: list[int] = []
        at = start
        for _ in range(-(-size // MINI_SECTOR)):
            if at >= self._count or self._owned[at]:
                raise bad(
                    f"mini sector {at:#x}", f"one of {self._count}, in no other chain", "2.4",
                    subject=what,
                )  # fmt: skip
            self._owned[at] = 1
            starts.append(self._offset(at))
            at = self._fat[at]
        if at != END:
            raise bad("a chain that goes on behind its size", "its end", "2.4", subject=what)
        return self._all.spans(starts, MINI_SECTOR, size)

    def gaps(self) -> Iterator[Gap]:
        """Yield the mini sectors that no stream took, runs of one reason together."""
        found: Gap | None = None
        for number in chain.from_iterable(starmap(range, _left_over(self._owned))):
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


def _left_over(owned: bytearray) -> Iterator[tuple[int, int]]:
    """Yield the runs of sectors that nobody owns, ``(first, behind the last)``."""
    position = owned.find(0)
    while position >= 0:
        end = owned.find(1, position)
        end = len(owned) if end < 0 else end
        yield position, end
        position = owned.find(0, end)


def _numbers(data: bytes) -> array[int]:
    """Return little-endian 32-bit numbers."""
    numbers = array("I")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def bad(
    found: str, required: str, section: str, *, subject: str = _WHAT, offset: int | None = None
) -> MalformedError:
    """Return the error for a structure that breaks a section of [MS-CFB]."""
    return MalformedError(subject, found, required, f"[MS-CFB] {section}", offset=offset)
