"""ZIP archives (PKWARE APPNOTE 6.3), read as strictly as they are easily read in two ways.

The central directory rules; whatever another reader could see differently (a local
header that says otherwise, two members of one name, bytes before, between or after)
comes back as a finding.  Nothing is unpacked before it is asked for, and then in
pieces, so memory is bounded by the directory's own bound.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Source

MEMBERS = 200_000
"""Members in one archive."""

DIRECTORY_BYTES = 64 * 1024 * 1024
"""Bytes of central directory, read at once."""

FINDINGS = 16
"""Findings about one archive; the rest would say the same again."""

_ONE_OF_EACH = "one member, one place, one description"
_SIGNING_BLOCK = b"APK Sig Block 42"
"""Ends the one thing known to stand between members and directory (APK signing, v2 on)."""

_APPNOTE = "APPNOTE"
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 1, 8, 0x800
_ZIP64, _UNICODE_PATH = 1, 0x7075
_NONE32, _NONE16 = 0xFFFFFFFF, 0xFFFF


class ZipMember(Frozen, frozen=True, kw_only=True):
    """One entry of the central directory; offsets and sizes in bytes.

    ``record`` to ``record_end`` is its central header (4.3.12), extra field and comment
    included; ``local`` its local header; ``renamed`` whether its extra field has another name.
    """

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    local: int
    record: int
    record_end: int
    renamed: bool = False

    @property
    def encrypted(self) -> bool:
        """Whether the data needs a password."""
        return bool(self.flags & _ENCRYPTED)

    @property
    def directory(self) -> bool:
        """Whether this entry is a directory (its name ends in a slash)."""
        return self.raw_name.endswith(b"/")


class ZipDirectory(Frozen, frozen=True, kw_only=True):
    """The members in directory order, and what a second reader might see otherwise.

    The central headers fill ``start`` to ``end``; the end records follow.  ``signing_block``
    bytes in front of them are an APK's, in other archives a gap like any.  ``gaps`` are all the
    ranges before, between and behind members that no header speaks of; findings name the first,
    behind whatever is worse.
    """

    members: tuple[ZipMember, ...]
    findings: tuple[Finding, ...]
    start: int
    end: int
    signing_block: int = 0
    gaps: tuple[tuple[int, int], ...] = ()


class Place(Frozen, frozen=True, kw_only=True):
    """Where a member lies: local header, data as packed, and behind its data descriptor.

    ``start`` to ``data`` is the local header, ``data`` to ``data_end`` the packed bytes and
    ``data_end`` to ``end`` the descriptor (4.3.9), empty where there is none.
    """

    start: int
    data: int
    data_end: int
    end: int


class _End(NamedTuple):
    """The end records: where the central directory lies (4.3.14 to 4.3.16)."""

    at: int
    members: int
    size: int
    offset: int
    after: int
    several: bool


def read_directory(source: Source) -> ZipDirectory:
    """Return the archive's directory.  Raises ``MalformedError`` or ``LimitError``."""
    end = _find_end(source)
    if end.members > MEMBERS:
        raise LimitError("archive", f"{end.members} members", f"at most {MEMBERS}", _APPNOTE)
    if end.size > DIRECTORY_BYTES:
        found = f"a directory of {end.size} bytes"
        raise LimitError("archive", found, f"at most {DIRECTORY_BYTES}", _APPNOTE)
    start = end.at - end.size
    prefix = start - end.offset
    if start < 0 or prefix < 0:
        found = "a central directory outside the file"
        raise MalformedError("archive", found, "one before its end record", f"{_APPNOTE} 4.3.12")
    members = _parse_directory(source.read(start, end.size), end.members, prefix, start)
    differing, gaps, filled = _locals(source, members, start)
    block = _signing_block(source, filled, start)
    gaps += [(filled, start)] if start > filled and not block else []
    between = [_gap(*gap) for gap in gaps[:FINDINGS]]
    findings = [*_around(end, prefix), *_names(members), *differing, *between]
    return ZipDirectory(
        members=members,
        findings=tuple(findings[:FINDINGS]),
        start=start,
        end=end.at,
        signing_block=block,
        gaps=tuple(gaps),
    )


def refuse_ambiguous(directory: ZipDirectory, *, gaps: bool = True) -> None:
    """Raise ``AmbiguousError`` for an archive that two readers could take for different things.

    ``gaps`` asks the same of bytes between members, which a reader may or may not skip, and
    of a signing block, which no format but Android's has, and of names in no one encoding.
    """
    block = [_gap(directory.start - directory.signing_block, directory.start)]
    for finding in (*directory.findings, *(block if directory.signing_block else ())):
        if gaps or finding.effect is Effect.REJECT:
            raise AmbiguousError(
                finding.subject, finding.found, finding.required, finding.clause,
                offset=finding.offset, hint=finding.hint,
            )  # fmt: skip
    for member in directory.members if gaps else ():
        if not member.raw_name.isascii() and not _is_utf8(member):
            found = f"{member.name!r}, a name in some code page"
            raise AmbiguousError("archive", found, "ASCII, or UTF-8 that says so",
                                 f"{_APPNOTE} appendix D", offset=member.record)  # fmt: skip


def _is_utf8(member: ZipMember) -> bool:
    try:
        return bool(member.flags & _UTF8 and member.raw_name.decode())
    except UnicodeDecodeError:
        return False


def place(source: Source, member: ZipMember) -> Place:
    """Return where a member lies.  Raises ``MalformedError`` where it leaves the source."""
    header = _LOCAL.unpack(source.read(member.local, _LOCAL.size))
    data = member.local + _LOCAL.size + header[9] + header[10]
    end = data + member.packed
    if header[0] != b"PK\3\4" or end > source.length:
        found = "no local header and data where the directory says"
        raise MalformedError(member.name, found, "both", f"{_APPNOTE} 4.3.7", offset=member.local)
    after = end + _descriptor(source, member, end)
    return Place(start=member.local, data=data, data_end=end, end=after)


def _find_end(source: Source) -> _End:
    """Find the end of central directory record in the last 64 KiB (4.3.16)."""
    size = min(source.length, _END.size + 0xFFFF)
    base = source.length - size
    tail = source.read(base, size)
    places = list(_end_places(tail))
    if not places:
        required = "an end of central directory record"
        raise MalformedError("archive", "no end record", required, f"{_APPNOTE} 4.3.16")
    fitting = [at for at in places if at + _END.size + _comment(tail, at) == size]
    at = (fitting or places)[-1]
    # Readers that look for the last mark take one inside the comment, fitting or not.
    several = len(fitting) > 1 or at != places[-1]
    _, disk, start_disk, here, count, length, offset, comment = _END.unpack_from(tail, at)
    if disk not in (0, _NONE16) or start_disk not in (0, _NONE16) or here != count:
        raise MalformedError("archive", "one part of several", "a whole archive", _APPNOTE)
    after = size - (at + _END.size + comment)
    end = _End(base + at, count, length, offset, after, several)
    return _find_end64(source, end)


def _end_places(tail: bytes) -> Iterator[int]:
    at = tail.find(b"PK\5\6")
    while 0 <= at <= len(tail) - _END.size:
        yield at
        at = tail.find(b"PK\5\6", at + 1)


def _comment(tail: bytes, at: int) -> int:
    return int.from_bytes(tail[at + 20 : at + 22], "little")


def _find_end64(source: Source, end: _End) -> _End:
    """Follow the ZIP64 locator 20 bytes before the end record (4.3.15), if there is one.

    Some readers follow it always, some only where a field of the end record is all ones:
    fields that are not must say the same as the ZIP64 record.
    """
    if end.at < 20:
        return end
    locator = source.read(end.at - 20, 20)
    if locator[:4] != b"PK\6\7":
        return end
    at = int.from_bytes(locator[8:16], "little")
    record = source.read(at, _END64.size)
    stop = at + 12 + int.from_bytes(record[4:12], "little")
    if record[:4] != b"PK\6\6" or stop != end.at - 20 or stop < at + _END64.size:
        required = "a ZIP64 end record before its locator"
        raise MalformedError("archive", "none", required, f"{_APPNOTE} 4.3.14", offset=at)
    *_, here, count, length, offset = _END64.unpack(record)
    if here != count:
        raise MalformedError("archive", "one part of several", "a whole archive", _APPNOTE)
    pairs = (
        (end.members, count, _NONE16),
        (end.size, length, _NONE32),
        (end.offset, offset, _NONE32),
    )
    differ = any(old not in (new, none) for old, new, none in pairs)
    # Behind the fields an extensible sector may hide a record where others look for it.
    differ |= stop != at + _END64.size
    return _End(at, count, length, offset, end.after, end.several or differ)


def _parse_directory(data: bytes, count: int, prefix: int, start: int) -> tuple[ZipMember, ...]:
    """Read ``count`` central headers that fill ``data`` exactly (4.3.12)."""
    members: list[ZipMember] = []
    at = 0
    while len(members) < count and at + _CENTRAL.size <= len(data):
        header = _CENTRAL.unpack_from(data, at)
        named, extra, comment = header[10:13]
        stop = at + _CENTRAL.size + named + extra + comment
        if header[0] != b"PK\1\2" or stop > len(data):
            break
        name = data[at + _CENTRAL.size : at + _CENTRAL.size + named]
        fields = data[at + _CENTRAL.size + named : at + _CENTRAL.size + named + extra]
        members.append(_member(header, name, fields, prefix, (start + at, start + stop)))
        at = stop
    if len(members) != count or at != len(data):
        found = f"{len(members)} headers in {at} of {len(data)} bytes"
        raise MalformedError("archive", found, f"{count} headers", f"{_APPNOTE} 4.3.12")
    return tuple(members)


def _member(
    header: tuple[int, ...], name: bytes, extra: bytes, prefix: int, record: tuple[int, int]
) -> ZipMember:
    flags, method = header[3], header[4]
    crc, packed, size, local = header[7], header[8], header[9], header[16]
    if _NONE32 in (packed, size, local):
        size, packed, local = _zip64(extra, size, packed, local)
    return ZipMember(
        raw_name=name,
        name=_text(name, flags),
        flags=flags,
        method=method,
        crc=crc,
        packed=packed,
        size=size,
        local=local + prefix,
        record=record[0],
        record_end=record[1],
        renamed=_renamed(extra, _text(name, flags), name) if extra else False,
    )


def _zip64(extra: bytes, *values: int) -> tuple[int, ...]:
    """Replace each 0xFFFFFFFF by the next 8 octets of extra field 0x0001 (4.5.3)."""
    found = [data for tag, data in _fields(extra) if tag == _ZIP64]
    field = found[0] if len(found) == 1 else b""
    result = []
    for value in values:
        if value == _NONE32:
            if len(field) < 8:
                required = "the size in a ZIP64 field"
                what = f"{len(found)} that say it" if found else "none"
                raise MalformedError("archive", what, required, f"{_APPNOTE} 4.5.3")
            value, field = int.from_bytes(field[:8], "little"), field[8:]
        result.append(value)
    return tuple(result)


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and data of each whole field in an extra field (4.5.1)."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        yield tag, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _renamed(extra: bytes, name: str, raw_name: bytes) -> bool:
    """Whether a Unicode Path field (4.6.9) gives the member another name.

    Readers that know it obey it where its CRC-32 is that of the name it replaces.
    """
    check = zlib.crc32(raw_name).to_bytes(4, "little")
    return any(
        tag == _UNICODE_PATH and data[1:5] == check and data[5:] != name.encode(errors="replace")
        for tag, data in _fields(extra)
    )


def _text(name: bytes, flags: int) -> str:
    """Decode a name: UTF-8 when it says so or is so, else code page 437 (appendix D)."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")


def _around(end: _End, prefix: int) -> Iterator[Finding]:
    if end.several:
        yield _ambiguous("several end records that fit", "one")
    if prefix:
        yield _ambiguous(f"{prefix} bytes before the first member", "none")
    if end.after:
        where = f"{end.after} bytes after the end record" if end.after > 0 else "a comment cut off"
        yield _ambiguous(where, "an archive that ends with its comment")


def _names(members: Sequence[ZipMember]) -> Iterator[Finding]:
    seen: set[str | bytes] = set()
    for member in members:
        if member.name in seen or member.raw_name in seen:
            yield _ambiguous(f"two members named {member.name}", "each name once")
        seen |= {member.name, member.raw_name}
        if member.renamed:
            yield _another_name(member)
        if any(c in member.raw_name for c in b"\0\r\n"):
            yield _ambiguous("a member name with NUL, CR or LF", "names in one line")


def _locals(
    source: Source, members: Sequence[ZipMember], stop: int
) -> tuple[list[Finding], list[tuple[int, int]], int]:
    """Compare every local header with the directory, and look between the members.

    Returns what differs, the gaps, and where the last member ends.  Only what differs ends the
    comparison early: gaps are no reason to leave the members behind them unread.
    """
    found: list[Finding] = []
    gaps: list[tuple[int, int]] = []
    end = 0
    for member in sorted(members, key=_by_place):
        problem, after = _compare(source, member, stop)
        if member.local < end:
            problem = f"{member.name} overlapping the member before it"
        if problem:
            found.append(_ambiguous(problem, _ONE_OF_EACH, member.local))
        elif member.local > end:
            gaps.append((end, member.local))
        end = max(end, after)
        if len(found) >= FINDINGS:
            return found, gaps, stop
    return found, gaps, end


def _signing_block(source: Source, start: int, stop: int) -> int:
    """Return the length of an APK signing block that fills a range, else 0."""
    fits = stop - start >= len(_SIGNING_BLOCK)
    return stop - start if fits and source.read(stop - 16, 16) == _SIGNING_BLOCK else 0


def _by_place(member: ZipMember) -> int:
    return member.local


def _compare(source: Source, member: ZipMember, stop: int) -> tuple[str, int]:
    """Return what the local header says otherwise (or nothing) and where the member ends."""
    if member.local + _LOCAL.size > stop:
        return f"{member.name} outside the archive", member.local
    header = _LOCAL.unpack(source.read(member.local, _LOCAL.size))
    flags, method, crc, packed, size, named, extra = (*header[2:4], *header[6:])
    end = member.local + _LOCAL.size + named + extra + member.packed
    if header[0] != b"PK\3\4" or end > stop:
        return f"{member.name} outside the archive", member.local
    rest = source.read(member.local + _LOCAL.size, named + extra)
    name, fields = rest[:named], rest[named:]
    if name != member.raw_name or _renamed(fields, member.name, name):
        return f"{member.name} under another name in its local header", end
    if method != member.method or (flags ^ member.flags) & (_ENCRYPTED | _DESCRIPTOR):
        return f"{member.name} packed otherwise in its local header", end
    if _NONE32 in (packed, size) and not flags & _DESCRIPTOR:
        size, packed = _zip64(fields, size, packed)
    shown = (crc, member.crc), (packed, member.packed), (size, member.size)
    later = (0, _NONE32) if flags & _DESCRIPTOR else ()
    if any(here != there and here not in later for here, there in shown):
        return f"{member.name} of another size or CRC in its local header", end
    return "", end + _descriptor(source, member, end)


def _descriptor(source: Source, member: ZipMember, at: int) -> int:
    """Return the length of the member's data descriptor (4.3.9), 0 if none is there.

    CRC-32 and sizes of 4 or 8 octets, with or without a mark before them: whatever
    says otherwise than the directory is none.
    """
    if not member.flags & _DESCRIPTOR:
        return 0
    found = source.read(at, min(24, source.length - at))
    for form in ("<4sIQQ", "<4sIII"):
        try:
            whole = struct.pack(form, b"PK\7\x08", member.crc, member.packed, member.size)
        except struct.error:
            continue  # sizes that need 8 octets
        for expected in (whole, whole[4:]):
            if found.startswith(expected):
                return len(expected)
    return 0


def _gap(start: int, end: int) -> Finding:
    finding = _ambiguous(f"{end - start} bytes between members", "none", start)
    return finding.with_effect(Effect.WARN)


def _another_name(member: ZipMember) -> Finding:
    found = f"{member.name} under another name in its Unicode Path field"
    return _ambiguous(found, _ONE_OF_EACH, member.local)


def _ambiguous(found: str, required: str, offset: int | None = None) -> Finding:
    return Finding(
        code=Code.AMBIGUOUS,
        effect=Effect.REJECT,
        subject="archive",
        found=found,
        required=required,
        clause=_APPNOTE,
        hint="two readers could see different members",
        offset=offset,
    )
