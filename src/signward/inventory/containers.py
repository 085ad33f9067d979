"""Members of containers: what code lies inside ZIP families, tar archives and streams.

Only the head of a member is unpacked to classify it; the whole only when its kind is
one to judge or to open in turn.  Every bound is a field of ``limits.Limits``; what
exceeds one is a finding, and memory never grows past one member per level.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats import HEAD
from signward.frozen import replace
from signward.inventory.classify import (
    KINDS,
    QUICK_HEAD,
    QUICK_TAIL,
    needs_head,
    quick_kind,
    refine_with_tail,
)
from signward.inventory.limits import MIB, Limits
from signward.inventory.walk import printable
from signward.state import Source
from signward.wire.source import BytesSource
from signward.wire.tar import PieceReader, tar_members
from signward.wire.unzip import PIECE, member_pieces
from signward.wire.zip import ZipDirectory, read_directory

SEPARATOR = "!/"
"""Between a container's path and its member's: ``outer.zip!/dir/a.dll``."""

XZ_MEMORY = 128 * MIB
"""Bytes the xz unpacker may take: level 9 asks for 65 MiB (xz(1), memory usage)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member; ``source`` is None when its kind was not wanted.

    ``depth`` counts the containers around it.  A path does not tell: members choose their names.
    """

    path: str
    kind: str
    source: BytesSource | None
    depth: int


@dataclass(slots=True)
class _Budget:
    """What is left of a file's limits."""

    limits: Limits
    bytes_left: int
    unpackable: bool
    members_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.members_left = self.limits.members

    def count_member(self, label: str) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise LimitError(label, "more members", f"at most {self.limits.members} in one file")

    def spend(self, pieces: Iterator[bytes], label: str) -> Iterator[bytes]:
        """Pass ``pieces`` on and count them."""
        for piece in pieces:
            self.bytes_left -= len(piece)
            if self.bytes_left < 0:
                required = f"at most {self.limits.ratio} times the file, {self.limits.total_size}"
                raise LimitError(label, "more bytes unpacked", required, hint="likely a bomb")
            yield piece


@dataclass(slots=True)
class _Raw:
    """A member as its container gives it: ``size`` is -1 where only the end tells."""

    name: str
    size: int
    pieces: Iterator[bytes]


Wanted = Callable[[str], bool]


def signable(kind: str) -> bool:
    """Say whether files of ``kind`` are judged."""
    return KINDS[kind].signable


def open_members(
    source: Source,
    kind: str,
    *,
    limits: Limits | None = None,
    wanted: Wanted = signable,
    unpackable: bool = False,
) -> Iterator[Member | Finding]:
    """Yield every member of the container in ``source``, and every finding about it.

    With ``unpackable`` members are findings too that make it unsafe to unpack: links and devices.
    Raises nothing but ``UnreadableError`` (the file itself changed or went away).
    """
    limits = limits or Limits()
    budget = _Budget(limits, limits.allowance(source.length), unpackable)
    try:
        yield from _open(source, source.name, kind, budget, wanted, 1)
    except _SpentError as error:
        yield error.finding


class _SpentError(Exception):
    """A limit of the whole file is spent: nothing more of it is read."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(str(finding))


def _open(
    source: Source, label: str, kind: str, budget: _Budget, wanted: Wanted, depth: int
) -> Iterator[Member | Finding]:
    """Open one container; a broken one ends with a finding, a spent limit ends all."""
    opener = _OPENERS[KINDS[kind].container]
    try:
        for item in opener(source, kind, budget):
            if isinstance(item, Finding):
                yield _about(item, label)
                continue
            path = f"{label}{SEPARATOR}{item.name}"
            budget.count_member(label)
            yield from _examine(item, path, budget, wanted, depth)
    except LimitError as error:
        raise _SpentError(_unknown(_about(error.finding, label))) from None
    except BadInputError as error:
        yield _unknown(_about(error.finding, label))


def _examine(
    raw: _Raw, path: str, budget: _Budget, wanted: Wanted, depth: int
) -> Iterator[Member | Finding]:
    """Classify a member by its head; unpack the rest and go inside when it is wanted."""
    if _escapes(raw.name):
        yield _outside(path)
    try:
        reader = PieceReader(raw.pieces)
        head = reader.exactly(QUICK_HEAD)
        kind = quick_kind(path, head, _length(raw, head))
        if needs_head(kind):
            head += reader.exactly(HEAD - QUICK_HEAD)
            kind = quick_kind(path, head, _length(raw, head))
        inside = bool(KINDS[kind].container)
        whole = b""
        if inside or wanted(kind) or kind == "elf":
            whole = _whole(reader, head, raw, path, budget.limits)
            kind = refine_with_tail(kind, head, whole[-QUICK_TAIL:])
    except LimitError:
        raise
    except _TooLargeError as error:
        yield error.finding
        return
    except BadInputError as error:
        yield _unknown(replace(error.finding, subject=printable(path)))
        return
    source = BytesSource(path, whole)
    yield Member(path=path, kind=kind, source=source if wanted(kind) else None, depth=depth)
    if inside and depth >= budget.limits.depth:
        yield _too_deep(path, budget.limits.depth)
    elif inside:
        yield from _open(source, path, kind, budget, wanted, depth + 1)


def _length(raw: _Raw, head: bytes) -> int:
    """Return the member's length; of a stream only that it is more than its head."""
    if raw.size >= 0:
        return raw.size
    return len(head) if len(head) < QUICK_HEAD else 1 << 62


class _TooLargeError(Exception):
    """One member is too large to hold; the others still count."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(str(finding))


def _whole(reader: PieceReader, head: bytes, raw: _Raw, path: str, limits: Limits) -> bytes:
    parts, size = [head], len(head)
    if raw.size > limits.member_size:
        raise _TooLargeError(_too_large(path, limits.member_size))
    while data := reader.some(PIECE):
        parts.append(data)
        size += len(data)
        if size > limits.member_size:
            raise _TooLargeError(_too_large(path, limits.member_size))
    return b"".join(parts)


def _zip_members(source: Source, _kind: str, budget: _Budget) -> Iterator[_Raw | Finding]:
    directory = read_directory(source)
    yield from directory.findings
    if finding := _declared(directory, source.length, budget):
        yield finding
    for member in directory.members:
        if member.directory:
            continue
        if member.encrypted:
            yield _encrypted(member.name)
            continue
        pieces = budget.spend(member_pieces(source, member), member.name)
        yield _Raw(member.name, member.size, pieces)


def _declared(directory: ZipDirectory, length: int, budget: _Budget) -> Finding | None:
    """Say so when the directory already promises more than the bounds allow."""
    total = sum(member.size for member in directory.members)
    allowed = budget.limits.allowance(length)
    if total <= allowed:
        return None
    found = f"{total} bytes packed into {length}"
    return _limit("archive", found, f"at most {allowed}", "likely a bomb")


def _tar_members(source: Source, _kind: str, budget: _Budget) -> Iterator[_Raw | Finding]:
    yield from _tarred(_plain(source), budget)


def _tarred(pieces: Iterator[bytes], budget: _Budget) -> Iterator[_Raw | Finding]:
    for member in tar_members(pieces, specials=budget.unpackable):
        if member.special:
            yield _special(member.name, member.link)
        else:
            yield _Raw(member.name, member.size, member.pieces)


def _stream_members(source: Source, kind: str, budget: _Budget) -> Iterator[_Raw | Finding]:
    """Read a tar archive in a stream, or one file named as the stream without its suffix."""
    unpack = _UNPACKERS.get(kind)
    if unpack is None:
        yield _unopened(f"a {kind} stream")
        return
    pieces = PieceReader(budget.spend(unpack(_plain(source)), source.name))
    head = pieces.exactly(QUICK_HEAD)
    rest = _chained(head, pieces)
    if head[257:262] == b"ustar":
        yield from _tarred(rest, budget)
    else:
        yield _Raw(_inner_name(source.name), -1, rest)


def _inner_name(name: str) -> str:
    base = name.rpartition("/")[2]
    stem, dot, suffix = base.rpartition(".")
    known = dot and suffix.lower() in {"gz", "bz2", "xz", "z"}
    return stem if known and stem else base


def _chained(head: bytes, pieces: PieceReader) -> Iterator[bytes]:
    if head:
        yield head
    while data := pieces.some(PIECE):
        yield data


def _plain(source: Source) -> Iterator[bytes]:
    for at in range(0, source.length, PIECE):
        yield source.read(at, min(PIECE, source.length - at))


def _gunzip(packed: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 1952; several streams may follow each other, zero padding may follow them."""
    unpacker = zlib.decompressobj(31)
    try:
        for data in packed:
            while data:
                if unpacker.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    unpacker = zlib.decompressobj(31)
                yield unpacker.decompress(data, PIECE)
                data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error as error:
        raise MalformedError("stream", f"data that does not unpack ({error})", "gzip") from None
    if not unpacker.eof:
        raise MalformedError("stream", "an end inside the stream", "a whole gzip stream")


def _bunzip(packed: Iterator[bytes]) -> Iterator[bytes]:
    yield from _unpacked(packed, bz2.BZ2Decompressor, "bzip2")


def _unxz(packed: Iterator[bytes]) -> Iterator[bytes]:
    yield from _unpacked(packed, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY), "xz")


def _unpacked(
    packed: Iterator[bytes],
    make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    what: str,
) -> Iterator[bytes]:
    unpacker = make()
    try:
        for data in packed:
            while data or not (unpacker.needs_input or unpacker.eof):
                if unpacker.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    unpacker = make()
                yield unpacker.decompress(data, PIECE)
                data = unpacker.unused_data if unpacker.eof else b""
    except (OSError, EOFError, lzma.LZMAError, MemoryError) as error:
        raise MalformedError("stream", f"data that does not unpack ({error})", what) from None
    if not unpacker.eof:
        raise MalformedError("stream", "an end inside the stream", f"a whole {what} stream")


_UNPACKERS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "junos": _gunzip,
    "bzip2": _bunzip,
    "xz": _unxz,
}

_OPENERS: dict[str, Callable[[Source, str, _Budget], Iterator[_Raw | Finding]]] = {
    "zip": _zip_members,
    "tar": _tar_members,
    "stream": _stream_members,
}


def _escapes(name: str) -> bool:
    """Whether unpacking under this name would leave the directory it is unpacked to."""
    parts = name.replace("\\", "/").split("/")
    return not name or ".." in parts or parts[0] == "" or parts[0][1:2] == ":"


def _outside(path: str) -> Finding:
    return Finding(
        code=Code.AMBIGUOUS,
        effect=Effect.REJECT,
        subject=printable(path),
        found="a member name that leaves the archive",
        required="a relative name without ..",
        clause="APPNOTE 4.4.17.1",
    )


def _special(name: str, link: str) -> Finding:
    found = f"a link to {printable(link[:80])}" if link else "a device or FIFO"
    return _finding(Code.AMBIGUOUS, name or "archive", found, "files and folders alone")


def _encrypted(name: str) -> Finding:
    return _unknown(_finding(Code.KEY_MISSING, name, "an encrypted member", "one that can be read"))


def _unopened(what: str) -> Finding:
    return _finding(Code.UNSUPPORTED_KIND, "stream", what, "gzip, bzip2 or xz")


def _too_large(path: str, bound: int) -> Finding:
    return _limit(path, "a larger member", f"at most {bound} bytes")


def _too_deep(path: str, bound: int) -> Finding:
    return _limit(path, "a container nested deeper", f"at most {bound} levels")


def _limit(subject: str, found: str, required: str, hint: str = "") -> Finding:
    return _finding(Code.LIMIT_EXCEEDED, subject, found, required, hint)


def _finding(code: Code, subject: str, found: str, required: str, hint: str = "") -> Finding:
    return Finding(
        code=code,
        effect=Effect.UNKNOWN,
        subject=printable(subject),
        found=found,
        required=required,
        hint=hint,
    )


def _about(finding: Finding, label: str) -> Finding:
    """Return the finding with the container's path before its subject."""
    subject = finding.subject
    if subject in {"archive", "stream", "artifact"}:
        subject = printable(label)
    elif label not in subject:
        subject = printable(f"{label}{SEPARATOR}{subject}")
    return replace(finding, subject=subject)


def _unknown(finding: Finding) -> Finding:
    """Say *not judged*, rather than bad, of what cannot be read to the end."""
    return finding.with_effect(Effect.UNKNOWN)
