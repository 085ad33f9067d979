"""The data of a ZIP archive's members: unpacked in pieces, within bounds, to its very end.

What a member unpacks to must have the size and CRC-32 that the directory promises (PKWARE
APPNOTE 4.4.7 to 4.4.9); no byte of its packed data may be left over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from signward.errors import LimitError, MalformedError
from signward.state import Hasher, Source
from signward.wire.zip import ZipMember, place

PIECE = 128 * 1024
"""Bytes of member data handed on at a time."""

RATIO = 100
"""Bytes a member or an archive may unpack to for each byte packed (deflate can reach 1032) ..."""

RATIO_FLOOR = 64 * 1024 * 1024
"""... once it is more than this many."""


class _Unpacker(Protocol):
    """What zlib's and bz2's unpackers have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


def member_pieces(source: Source, member: ZipMember) -> Iterator[bytes]:
    """Yield a member's data in pieces of at most :data:`PIECE` bytes.

    Raises ``MalformedError`` when it is encrypted, packed by a method we do not read,
    or not what the directory says (size, CRC-32).
    """
    if member.encrypted:
        raise MalformedError(member.name, "an encrypted member", "one that can be read")
    crc, size = 0, 0
    for piece in _unpacked(source, member, place(source, member).data):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > member.size:
            break
        yield piece
    if (size, crc) != (member.size, member.crc):
        raise MalformedError(member.name, "other data", "the size and CRC-32 of the directory")


def feed_member(source: Source, member: ZipMember, hashers: Sequence[Hasher]) -> None:
    """Stream a member's uncompressed bytes through every hasher.

    Raises ``LimitError`` for what promises to unpack like a bomb, and ``MalformedError``
    as :func:`member_pieces` does; what the hashers have then absorbed is of no use.
    """
    check_expansion((member,), member.packed)
    for piece in member_pieces(source, member):
        view = memoryview(piece)
        for hasher in hashers:
            hasher.update(view)


def read_member(source: Source, member: ZipMember, most: int) -> bytes:
    """Return a member's uncompressed bytes; ``LimitError`` for more than ``most``."""
    if member.size > most:
        raise LimitError(member.name, f"{member.size} bytes", f"at most {most}")
    return b"".join(member_pieces(source, member))


def check_expansion(members: Sequence[ZipMember], packed: int) -> None:
    """Raise ``LimitError`` if ``packed`` bytes promise to unpack to more than they may.

    What members promise binds them: reading one stops where it would exceed its size.
    """
    total = sum(member.size for member in members)
    allowed = max(RATIO_FLOOR, RATIO * packed)
    if total > allowed:
        found = f"{total} bytes packed into {packed}"
        raise LimitError("archive", found, f"at most {allowed}", hint="likely a bomb")


def _unpacked(source: Source, member: ZipMember, start: int) -> Iterator[bytes]:
    packed = _packed(source, start, member.packed)
    if member.method == 0 or not member.packed:
        return packed
    if member.method == 8:
        return inflate(packed, member.name)
    if member.method == 12:
        return _bunzip(packed, member.name)
    raise MalformedError(member.name, f"compression method {member.method}", "0, 8 or 12",
                         "APPNOTE 4.4.5")  # fmt: skip


def _packed(source: Source, start: int, size: int) -> Iterator[bytes]:
    for at in range(start, start + size, PIECE):
        yield source.read(at, min(PIECE, start + size - at))


def inflate(packed: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield raw deflate data (RFC 1951) unpacked, in pieces of at most :data:`PIECE`."""
    unpacker = zlib.decompressobj(-15)
    try:
        for data in packed:
            if unpacker.eof:
                raise _trailing(name, "deflate")
            while data and not unpacker.eof:
                yield unpacker.decompress(data, PIECE)
                data = unpacker.unconsumed_tail
        while not unpacker.eof and (rest := unpacker.decompress(b"", PIECE)):
            yield rest
    except zlib.error as error:
        raise MalformedError(name, f"data that does not unpack ({error})", "deflate") from None
    _check_end(unpacker, name, "deflate")


def _check_end(unpacker: _Unpacker, name: str, packed: str) -> None:
    """Refuse packed data that does not end where the directory says, or not at all.

    Readers who stream take bytes behind it for the next member, and bytes behind the member
    for its data.
    """
    if unpacker.unused_data:
        raise _trailing(name, packed)
    if not unpacker.eof:
        raise MalformedError(name, f"{packed} data without an end", "its end", "APPNOTE 4.3.8")


def _trailing(name: str, packed: str) -> MalformedError:
    return MalformedError(name, f"bytes behind the {packed} data", "none", "APPNOTE 4.3.8")


def _bunzip(packed: Iterator[bytes], name: str) -> Iterator[bytes]:
    import bz2  # rarely met, and not cheap to load

    unpacker = bz2.BZ2Decompressor()
    try:
        for data in packed:
            if unpacker.eof:
                raise _trailing(name, "bzip2")
            yield unpacker.decompress(data, PIECE)
            while not unpacker.needs_input and not unpacker.eof:
                yield unpacker.decompress(b"", PIECE)
    except (OSError, EOFError) as error:
        raise MalformedError(name, f"data that does not unpack ({error})", "bzip2") from None
    _check_end(unpacker, name, "bzip2")
