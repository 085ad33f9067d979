"""tar archives (POSIX pax, ustar, GNU long names) as a stream of bounded pieces.

The standard library's reader takes an extended header of any size into memory; this
one bounds it, and never seeks, so a compressed archive is read in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from signward.errors import LimitError, MalformedError

BLOCK = 512
EXTENDED_HEADER = 1024 * 1024
"""Bytes of one pax or GNU long-name header (paths are at most 4096 bytes on Linux)."""

_RECORD = 64 * 1024

_CLAUSE = "POSIX pax, ustar interchange format"
_REGULAR = frozenset(b"0\x007")
_FOLDER = ord("5")
_HARD_LINK = ord("1")
_NAMED = {ord("L"): "path", ord("K"): "linkpath"}
_EXTENDED = frozenset(b"LKxg")
_SPARSE = "GNU.sparse."
"""Records of members with holes; those of versions 0.0 and 0.1 name and measure them anew."""
_GLOBAL = ord("g")
_OF_ONE = frozenset({"path", "linkpath", "size"})
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*\Z")


class PieceReader:
    """Reads exact sizes from an iterator of byte strings."""

    __slots__ = ("_at", "_piece", "_pieces")

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._piece, self._at = pieces, b"", 0

    def some(self, most: int) -> bytes:
        """Return at least one byte and at most ``most``; nothing at the end."""
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece, self._at = piece, 0
        data = self._piece[self._at : self._at + most]
        self._at += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end.  The caller bounds ``size``."""
        parts = []
        while size:
            data = self.some(size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(slots=True, kw_only=True)
class TarMember:
    """A regular file in the archive; ``pieces`` must be used before the next member.

    ``special`` says that it is none, but a link, a device or a FIFO; ``link`` is where it leads,
    ``hard`` says that it is another name of a file before it.  ``mode`` are twelve permission bits.
    """

    name: str
    size: int
    pieces: Iterator[bytes]
    special: bool = False
    link: str = ""
    hard: bool = False
    mode: int = 0


def tar_members(pieces: Iterator[bytes], *, specials: bool = False) -> Iterator[TarMember]:
    """Yield every regular file; with ``specials`` also what is no file and no folder.

    Behind the end only zeros may follow: unpackers differ in whether they look for members there.
    Raises ``MalformedError`` or ``LimitError``.
    """
    reader = PieceReader(pieces)
    known: dict[str, str] = {}
    flags: set[int] = set()
    while True:
        header = reader.exactly(BLOCK)
        if len(header) < BLOCK or not any(header):
            _check_end(header, reader)
            return
        _check(header)
        size, flag = _number(header[124:136]), header[156]
        if flag in _EXTENDED:
            more = _extended(reader, size, flag)
            if more.keys() & known.keys() or flag in flags:
                raise MalformedError("archive", "two headers for one member", "one", _CLAUSE)
            known |= more
            flags |= {flag} if flag != _GLOBAL else set()
            continue
        size = _pax_size(known.get("size"), size)
        body = _body(reader, size)
        if flag == ord("S") or any(key.startswith(_SPARSE) for key in known):
            raise MalformedError("archive", "a sparse member", "whole members", _CLAUSE)
        if flag in _REGULAR:
            name, mode = known.get("path") or _name(header), _mode(header)
            yield TarMember(name=name, size=size, pieces=body, mode=mode)
        elif specials and flag != _FOLDER:
            yield _special(header, known)
        for _ in body:  # what the caller left unread
            pass
        known, flags = {}, set()


def _special(header: bytes, known: dict[str, str]) -> TarMember:
    """Return what is no file and no folder."""
    return TarMember(
        name=known.get("path") or _name(header),
        size=0,
        pieces=iter(()),
        special=True,
        link=known.get("linkpath") or _text(header[157:257]),
        hard=header[156] == _HARD_LINK,
        mode=_mode(header),
    )


def _mode(header: bytes) -> int:
    return _number(header[100:108]) & 0o7777


def _check_end(block: bytes, reader: PieceReader) -> None:
    """Read to the end: zeros fill the last record, whose length is the writer's choice."""
    while block:
        if any(block):
            raise MalformedError("archive", "data behind its end", "zeros", _CLAUSE)
        block = reader.some(_RECORD)


def _body(reader: PieceReader, size: int) -> Iterator[bytes]:
    """Yield a member's data, then skip the padding to the next block."""
    left, padding = size, -size % BLOCK
    while left:
        data = reader.some(left)
        if not data:
            raise MalformedError("archive", "an end inside a member", f"{left} bytes more", _CLAUSE)
        left -= len(data)
        yield data
    reader.exactly(padding)


def _check(header: bytes) -> None:
    """Compare the header checksum: the sum of its octets with its own field as spaces."""
    field = header[148:156]
    total = sum(header) - sum(field) + 8 * 0x20
    if _number(field) != total:
        raise MalformedError("archive", "a header with another checksum", str(total), _CLAUSE)


def _number(field: bytes) -> int:
    """Read an octal number, or GNU's base 256 when the first bit is set."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise MalformedError("archive", "a negative size", "a size", _CLAUSE)
        return int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
    digits = _OCTAL.match(field)
    if digits is None:
        raise MalformedError("archive", "a number not in octal", "octal digits", _CLAUSE)
    return int(digits[1], 8) if digits[1] else 0


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0":
        prefix = _text(header[345:500])
        name = f"{prefix}/{name}" if prefix else name
    return name


def _text(field: bytes) -> str:
    """Read a field of the header, up to its first NUL."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _extended(reader: PieceReader, size: int, flag: int) -> dict[str, str]:
    """Read a GNU long name or a pax header.

    Raises ``MalformedError`` for a global one that names or measures members: some unpackers
    obey it for all that follow, and others do not.
    """
    if size > EXTENDED_HEADER:
        found = f"an extended header of {size} bytes"
        raise LimitError("archive", found, f"at most {EXTENDED_HEADER}", _CLAUSE)
    data = reader.exactly(size)
    reader.exactly(-size % BLOCK)
    if flag in _NAMED:
        return {_NAMED[flag]: _text(data)}
    values = _pax(data)
    if flag != _GLOBAL:
        return values
    if any(key in _OF_ONE or key.startswith(_SPARSE) for key in values):
        raise MalformedError("archive", "a global header that names or measures members",
                             "one that speaks of none", _CLAUSE)  # fmt: skip
    return {}


def _pax(data: bytes) -> dict[str, str]:
    r"""Read ``length key=value\n`` records."""
    values: dict[str, str] = {}
    at = 0
    while at < len(data):
        number, space, _ = data[at : at + 12].partition(b" ")
        length = int(number) if space and number.isdigit() else 0
        if length < 5 or at + length > len(data):
            raise MalformedError("archive", "a broken pax record", "length key=value", _CLAUSE)
        key, _, value = data[at + len(number) + 1 : at + length - 1].partition(b"=")
        values[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return values


def _pax_size(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MalformedError("archive", "a pax size that is no number", "digits", _CLAUSE)
    return int(text)
