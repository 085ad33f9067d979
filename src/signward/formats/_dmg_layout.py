"""The trailer of a disk image (UDIF): where its parts lie, and where its signature does.

Sources: Apple's ``diskimagerep.cpp`` and ``UDIFFileHeader`` (libsecurity_codesigning), and
apple-platform-rs.  The last 512 octets of the file; every number is big-endian, offsets count
from the file's start.
"""

from __future__ import annotations

import struct

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

KOLY = 512
"""Octets of the trailer."""

MAGIC, VERSION = b"koly", 4

MAX_SIGNATURE = 64 * 1024 * 1024
"""Octets of a signature: real ones have some 10 KiB, and 8 octets more per page at worst."""

SIGNATURE_AT = 296
"""Where the trailer says where the signature lies: its offset, and its size, 64 bits each."""

SIZE_AT = SIGNATURE_AT + 8

WHAT, CLAUSE = "disk image trailer", "UDIFFileHeader"

_FIXED = struct.Struct(">4sIII")
_NUMBERS = struct.Struct(">24xQQQQII152xQQ64xQQ")
"""Offset and length of data fork and resource fork, segment and count of segments, offset and
length of the property list, of the signature."""


class Trailer(Frozen, frozen=True, kw_only=True):
    """A trailer: ``raw`` is all of it, ``content`` where data and property list end.

    ``offset`` and ``size`` are the signature's, both 0 where there is none; ``at`` is the
    trailer's own place.
    """

    raw: bytes
    at: int
    content: int
    offset: int
    size: int

    @property
    def blind(self) -> bytes:
        """The trailer as it is signed: the size of the signature, unknown then, is zero."""
        return self.raw[:SIZE_AT] + bytes(8) + self.raw[SIZE_AT + 8 :]

    def with_signature(self, offset: int, size: int) -> bytes:
        """Return the trailer's octets with another place of the signature."""
        place = offset.to_bytes(8, "big") + size.to_bytes(8, "big")
        return self.raw[:SIGNATURE_AT] + place + self.raw[SIZE_AT + 8 :]


def read_trailer(source: Source) -> Trailer:
    """Return the trailer of a disk image.

    Raises ``BadInputError``: also where the trailer is not the last of the file, parts lie
    outside of it or in each other, and the signature anywhere but right in front of it.
    """
    at = source.length - KOLY
    if at < 0:
        raise MalformedError(WHAT, f"a file of {source.length} octets", f"{KOLY} at least", CLAUSE)
    raw = source.read(at, KOLY)
    magic, version, size, _flags = _FIXED.unpack_from(raw)
    if magic != MAGIC or version != VERSION or size != KOLY:
        raise MalformedError(
            WHAT, f"{magic!r}, version {version}, {size} octets", "koly, version 4, 512 octets",
            CLAUSE, offset=at, hint="a disk image ends with its trailer: something was appended",
        )  # fmt: skip
    data, data_size, fork, fork_size, _segment, segments, plist, plist_size, offset, size = (
        _NUMBERS.unpack_from(raw)
    )
    if segments > 1:
        raise MalformedError(WHAT, f"{segments} segments", "one: the image in one file", CLAUSE)
    content = max(data + data_size, fork + fork_size, plist + plist_size)
    if content > at:
        raise MalformedError(WHAT, f"content up to {content}", f"at most {at}", CLAUSE, offset=at)
    _check_signature(offset, size, content, at)
    return Trailer(raw=raw, at=at, content=content, offset=offset, size=size)


def _check_signature(offset: int, size: int, content: int, at: int) -> None:
    if not offset and not size:
        return
    if size > MAX_SIGNATURE:
        raise LimitError(WHAT, f"a signature of {size} octets", f"at most {MAX_SIGNATURE}")
    if offset < content or not size or offset + size != at:
        raise MalformedError(
            WHAT, f"a signature of {size} octets at {offset}",
            f"one behind {content}, up to the trailer at {at}", CLAUSE, offset=at + SIGNATURE_AT,
        )  # fmt: skip
