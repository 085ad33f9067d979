"""ZIP archives (PKWARE APPNOTE 6.3), changed member by member: the patch that does it.

Members nobody asked to change keep every byte of local header, data and descriptor, and
their order; of their central headers only the offset changes, and only where something
before them grew or shrank.  Nothing here reads a clock: the same members give the same
archive.  All integers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from signward.errors import LimitError, NotSignableError
from signward.frozen import Frozen, replace
from signward.state import Hasher, Source
from signward.wire.patch import Edit, PatchSet
from signward.wire.zip import (
    MEMBERS,
    ZipDirectory,
    ZipMember,
    place,
    read_directory,
    refuse_ambiguous,
)

DEFLATED_BYTES = 64 * 1024 * 1024
"""Packed bytes of a deflated new member, held in memory: their number stands before them."""

EARLIEST = 0x0021_0000
"""1980-01-01 00:00:00 as DOS date and time: the first instant there is (4.4.6)."""

_STORED, _DEFLATED = 0, 8
_UTF8 = 0x800
_PLAIN, _WITH_ZIP64 = 20, 45
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_LOCAL = struct.Struct("<4sHHHIIIIHH")
_CENTRAL = struct.Struct("<4sHHHHIIIIHHHHHII")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_FRESH64 = _END64.pack(b"PK\6\6", _END64.size - 12, _WITH_ZIP64, _WITH_ZIP64, *[0] * 6)
_OFFSET_AT = 42
_COUNTS, _COUNTS_AT = "<HHII", 8


class Member(Frozen, frozen=True, kw_only=True):
    """What a member is to be.

    ``moment`` is its modification time as DOS date (high 16 bits) and time (low 16): see
    :func:`dos_moment`; None keeps that of the member it replaces, or is the earliest there
    is.  Data that is ``stored`` is never held in memory.  One that is ``first`` stands before
    all that are not, also where it replaces one that stood elsewhere.
    """

    data: bytes | Source
    stored: bool = False
    moment: int | None = None
    first: bool = False


def dos_moment(at: datetime) -> int:
    """Return an instant as DOS date and time (4.4.6), in two-second steps, 1980 to 2107."""
    year = min(max(at.year, 1980), 2107) - 1980
    date = year << 9 | at.month << 5 | at.day
    return date << 16 | at.hour << 11 | at.minute << 5 | at.second // 2


def changed(
    source: Source, members: Mapping[str, Member | None], directory: ZipDirectory | None = None
) -> PatchSet:
    """Return the patch after which the archive holds these members as given.

    A member that is there is replaced where it stands; one that is not is added behind the
    last, in the order of the mapping.  None removes a member, or does nothing if there is
    none.  ``directory`` is the source's, if it is read already.  Raises ``BadInputError`` for
    what is no ZIP archive or could be read in two ways.
    """
    directory = directory or read_directory(source)
    refuse_ambiguous(directory, gaps=False)
    _refuse_too_many(directory, members)
    return _Rewriter(source, directory).rewritten(members)


def _refuse_too_many(directory: ZipDirectory, members: Mapping[str, Member | None]) -> None:
    if len(directory.members) + len(members) > MEMBERS:
        raise LimitError("archive", "more members", f"at most {MEMBERS}")


class _Rewriter:
    """Edits in the making: ``shift`` is how much longer the result is so far."""

    def __init__(self, source: Source, directory: ZipDirectory) -> None:
        self._source, self._directory = source, directory
        self._edits: list[Edit] = []
        self._shift = 0

    def rewritten(self, members: Mapping[str, Member | None]) -> PatchSet:
        """Return the whole patch; none at all if nothing changes."""
        first = {name: new for name, new in members.items() if new is not None and new.first}
        kept = [self._put(name, new, 0, 0) for name, new in first.items()]
        members = {**members, **dict.fromkeys(first)}
        records: dict[int, bytes] = {}
        for member in sorted(self._directory.members, key=_by_place):
            records[member.record] = self._rewrite(member, members)
        present = {member.name for member in self._directory.members}
        kept += [records[member.record] for member in self._directory.members]
        at = self._directory.start
        for name, new in members.items():
            if new is not None and name not in present:
                kept.append(self._put(name, new, at, at))
        if self._edits:
            self._finish([record for record in kept if record])
        return PatchSet(edits=tuple(self._edits))

    def _rewrite(self, member: ZipMember, members: Mapping[str, Member | None]) -> bytes:
        """Return a member's central header as it will be, empty for one that goes."""
        if member.name not in members:
            record = self._source.read(member.record, member.record_end - member.record)
            return _moved(record, member, self._shift) if self._shift else record
        where = place(self._source, member)
        new = members[member.name]
        if new is not None:
            record = self._source.read(member.record, member.record_end - member.record)
            return self._put(member.name, new, where.start, where.end, _Traits.of(record, member))
        self._replace(where.start, where.end, b"")
        return b""

    def _put(
        self, name: str, new: Member, start: int, end: int, traits: _Traits | None = None
    ) -> bytes:
        """Put a new member in place of a range; return its central header."""
        entry = _entry(name, new, traits or _Traits())
        offset = start + self._shift
        self._replace(start, end, entry.local)
        self._replace(end, end, entry.data)
        return entry.central(offset)

    def _replace(self, start: int, end: int, data: bytes | Source) -> None:
        edit = Edit(start=start, end=end, data=data)
        self._edits.append(edit)
        self._shift += edit.length - (end - start)

    def _finish(self, records: Sequence[bytes]) -> None:
        """Rewrite central directory and end records behind the members."""
        directory = self._directory
        central = b"".join(records)
        offset = directory.start + self._shift
        ends = self._source.read(directory.end, self._source.length - directory.end)
        data = central + _ends(ends, len(records), len(central), offset)
        self._edits.append(Edit(start=directory.start, end=self._source.length, data=data))


def _by_place(member: ZipMember) -> int:
    return member.local


class _Traits(Frozen, frozen=True, kw_only=True):
    """What a replaced member hands on: its name's bytes, maker, time, attributes (Unix mode)."""

    raw_name: bytes = b""
    utf8: bool = False
    system: int = 0
    moment: int = EARLIEST
    internal: int = 0
    external: int = 0

    @classmethod
    def of(cls, record: bytes, member: ZipMember) -> _Traits:
        """Return the traits in a member's central header (4.3.12)."""
        fields = _CENTRAL.unpack_from(record)
        return cls(
            raw_name=member.raw_name,
            utf8=bool(member.flags & _UTF8),
            system=fields[1] >> 8,
            moment=fields[5],
            internal=fields[13],
            external=fields[14],
        )


class _Entry(Frozen, frozen=True, kw_only=True):
    """A new member, ready to be placed."""

    name: bytes
    flags: int
    method: int
    traits: _Traits
    crc: int
    size: int
    data: bytes | Source

    @property
    def packed(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.length

    @property
    def local(self) -> bytes:
        """The local header (4.3.7); large sizes both stand in its ZIP64 field (4.5.3)."""
        sizes, extra = [self.packed, self.size], b""
        if max(sizes) >= _MAX32:
            extra = struct.pack("<HHQQ", 1, 16, self.size, self.packed)
            sizes = [_MAX32, _MAX32]
        version = _WITH_ZIP64 if extra else _PLAIN
        header = _LOCAL.pack(
            b"PK\3\4", version, self.flags, self.method, self.traits.moment, self.crc, *sizes,
            len(self.name), len(extra),
        )  # fmt: skip
        return header + self.name + extra

    def central(self, offset: int) -> bytes:
        """Return the central header (4.3.12); its ZIP64 field has what does not fit, in order."""
        values = (self.size, self.packed, offset)
        large = [value for value in values if value >= _MAX32]
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        version = _WITH_ZIP64 if extra else _PLAIN
        size, packed, at = (min(value, _MAX32) for value in values)
        traits = self.traits
        header = _CENTRAL.pack(
            b"PK\1\2", version | traits.system << 8, version, self.flags, self.method,
            traits.moment, self.crc, packed, size, len(self.name), len(extra), 0, 0,
            traits.internal, traits.external, at,
        )  # fmt: skip
        return header + self.name + extra


def _entry(name: str, new: Member, old: _Traits) -> _Entry:
    """Pack a member and name it as before, or in UTF-8 with the flag for it (appendix D)."""
    data, crc, size = _packed(new, name)
    utf8 = old.utf8 if old.raw_name else not name.isascii()
    return _Entry(
        name=old.raw_name or name.encode(),
        flags=_UTF8 if utf8 else 0,
        method=_STORED if new.stored else _DEFLATED,
        traits=old if new.moment is None else replace(old, moment=new.moment),
        crc=crc,
        size=size,
        data=data,
    )


def _packed(new: Member, name: str) -> tuple[bytes | Source, int, int]:
    """Return the bytes to write, the CRC-32 of the member and its size."""
    summed = _Crc()
    packer = _Deflater(name)
    takers: list[Hasher] = [summed] if new.stored else [summed, packer]
    if isinstance(new.data, bytes):
        for taker in takers:
            taker.update(memoryview(new.data))
        size = len(new.data)
    else:
        new.data.feed([(0, new.data.length)], takers)
        size = new.data.length
    return new.data if new.stored else packer.finished(), summed.value, size


class _Crc:
    """A CRC-32 in the making."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: memoryview, /) -> None:
        self.value = zlib.crc32(data, self.value)


class _Deflater:
    """Raw deflate data (RFC 1951) in the making, at the highest level."""

    def __init__(self, name: str) -> None:
        self._name, self._length = name, 0
        self._packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        self._parts: list[bytes] = []

    def update(self, data: memoryview, /) -> None:
        self._add(self._packer.compress(data))

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self._length += len(part)
        if self._length > DEFLATED_BYTES:
            raise LimitError(self._name, "more packed bytes", f"at most {DEFLATED_BYTES}")

    def finished(self) -> bytes:
        """Return everything packed."""
        self._add(self._packer.flush())
        return b"".join(self._parts)


def _moved(record: bytes, member: ZipMember, shift: int) -> bytes:
    """Return a central header whose local header moved by ``shift`` bytes."""
    at, form = _OFFSET_AT, "<I"
    (offset,) = struct.unpack_from(form, record, at)
    if offset == _MAX32:
        at, form = _offset64_at(record), "<Q"
        (offset,) = struct.unpack_from(form, record, at)
    elif offset + shift >= _MAX32:
        raise NotSignableError(
            member.name, f"a member that would move to {offset + shift}", "one below 4 GiB",
            hint="write the archive with ZIP64 fields",
        )  # fmt: skip
    moved = bytearray(record)
    struct.pack_into(form, moved, at, offset + shift)
    return bytes(moved)


def _offset64_at(record: bytes) -> int:
    """Return where the offset stands in a header's ZIP64 field, behind the sizes it holds."""
    packed, size, named = struct.unpack_from("<IIH", record, 20)
    at = _CENTRAL.size + int(named)
    while record[at : at + 2] != b"\1\0":
        at += 4 + int.from_bytes(record[at + 2 : at + 4], "little")
    return at + 4 + 8 * [packed, size].count(_MAX32)


def _ends(old: bytes, count: int, size: int, offset: int) -> bytes:
    """Return the end records (4.3.14 to 4.3.16), with ZIP64 ones where needed or there before.

    Fields that deferred to a ZIP64 record go on doing so.
    """
    at = 12 + int.from_bytes(old[4:12], "little") + _LOCATOR.size if old[:4] == b"PK\6\6" else 0
    before, end = old[:at], old[at:]
    values = [(count, _MAX16), (count, _MAX16), (size, _MAX32), (offset, _MAX32)]
    deferred = struct.unpack_from(_COUNTS, end, _COUNTS_AT)
    fields = [
        most if before and was == most else min(value, most)
        for (value, most), was in zip(values, deferred, strict=True)
    ]
    added = b""
    if before or count >= _MAX16 or max(size, offset) >= _MAX32:
        record = bytearray(before[: -_LOCATOR.size] or _FRESH64)
        struct.pack_into("<QQQQ", record, 24, count, count, size, offset)
        added = bytes(record) + _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    return added + end[:_COUNTS_AT] + struct.pack(_COUNTS, *fields) + end[_COUNTS_AT + 12 :]
