"""Android's binary XML, as far as a manifest says which platforms it is for.

Source: AOSP ``frameworks/base/libs/androidfw/include/androidfw/ResourceTypes.h``.  Numbers are
little-endian; a chunk is type (u16), header length (u16) and length (u32), the header included.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_CHUNKS = 200_000
"""Chunks of one manifest; the largest applications have some ten thousand elements."""

UNNAMED = 10_000
"""The platform that a codename stands for: one under development (``CUR_DEVELOPMENT``)."""

_WHAT = "AndroidManifest.xml"
_CLAUSE = "ResourceTypes.h"
_XML, _STRINGS, _RESOURCES, _ELEMENT = 0x0003, 0x0001, 0x0180, 0x0102
_CHUNK = struct.Struct("<HHI")
_POOL = struct.Struct("<8xIIIII")
_TAG = struct.Struct("<16xIIHHH")
_ATTRIBUTE = struct.Struct("<4xI4x3xBI")
_UTF8 = 0x100
_MIN_SDK, _TARGET_SDK = 0x0101020C, 0x01010270
_NUMBERS = (0x10, 0x11)
_STRING = 0x03


class Platforms(Frozen, frozen=True, kw_only=True):
    """Which platforms (API levels) a package names: the oldest, and the one it was made for."""

    oldest: int = 1
    target: int = 1


def read_platforms(data: bytes) -> Platforms:
    """Return what ``<uses-sdk>`` says.  Raises ``MalformedError`` and ``LimitError``.

    Of several the widest counts.  A codename is `UNNAMED` as a target; as the oldest platform it
    is 1, which asks the most of the signatures.
    """
    names: tuple[str, ...] = ()
    resources: tuple[int, ...] = ()
    oldest: list[int] = []
    target: list[int] = []
    for kind, chunk in _chunks(data):
        if kind == _STRINGS and not names:
            names = tuple(_strings(chunk))
        elif kind == _RESOURCES:
            resources = struct.unpack(f"<{(len(chunk) - 8) // 4}I", chunk[8 : len(chunk) & ~3])
        elif kind == _ELEMENT and _tag(chunk, names) == "uses-sdk":
            for resource, value in _attributes(chunk, resources):
                if resource == _MIN_SDK:
                    oldest.append(value if value is not None else 1)
                elif resource == _TARGET_SDK:
                    target.append(value if value is not None else UNNAMED)
    least = max(1, min(oldest, default=1))
    return Platforms(oldest=least, target=max([least, *target]))


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and octets of each chunk inside the document's own."""
    if len(data) < _CHUNK.size:
        raise MalformedError(_WHAT, f"{len(data)} octets", "binary XML", _CLAUSE)
    kind, header, size = _CHUNK.unpack_from(data)
    if kind != _XML or header < _CHUNK.size or size > len(data):
        raise MalformedError(_WHAT, f"a chunk of type {kind:#06x}", "binary XML", _CLAUSE)
    at = header
    for _ in range(MAX_CHUNKS):
        if at + _CHUNK.size > size:
            return
        kind, header, length = _CHUNK.unpack_from(data, at)
        if length < max(header, _CHUNK.size) or at + length > size:
            raise MalformedError(_WHAT, f"a chunk of {length} octets", "one inside the document",
                                 _CLAUSE, offset=at)  # fmt: skip
        yield kind, data[at : at + length]
        at += length
    raise LimitError(_WHAT, f"more than {MAX_CHUNKS} chunks", f"at most {MAX_CHUNKS}")


def _strings(chunk: bytes) -> Iterator[str]:
    """Yield the strings of a pool, UTF-16 or UTF-8 with a length before each."""
    if len(chunk) < 28:
        raise MalformedError(_WHAT, "a string pool cut off", "a whole one", _CLAUSE)
    count, _, flags, start, _ = _POOL.unpack_from(chunk)
    if 28 + 4 * count > len(chunk):
        raise MalformedError(_WHAT, f"{count} strings", "as many offsets", _CLAUSE)
    for offset in struct.unpack_from(f"<{count}I", chunk, 28):
        yield (_utf8 if flags & _UTF8 else _utf16)(chunk, start + offset)


def _utf8(chunk: bytes, at: int) -> str:
    """Decode a string behind two lengths (characters, octets) of one or two octets each."""
    for _ in range(2):
        size = int.from_bytes(chunk[at : at + 1], "little")
        at += 1
        if size & 0x80:
            size = (size & 0x7F) << 8 | int.from_bytes(chunk[at : at + 1], "little")
            at += 1
    return chunk[at : at + size].decode(errors="replace")


def _utf16(chunk: bytes, at: int) -> str:
    """Decode a string behind its length in code units, of two or four octets."""
    size = int.from_bytes(chunk[at : at + 2], "little")
    at += 2
    if size & 0x8000:
        size = (size & 0x7FFF) << 16 | int.from_bytes(chunk[at : at + 2], "little")
        at += 2
    return chunk[at : at + 2 * size].decode("utf-16-le", errors="replace")


def _tag(chunk: bytes, names: tuple[str, ...]) -> str:
    if len(chunk) < _TAG.size:
        raise MalformedError(_WHAT, "an element cut off", "a whole one", _CLAUSE)
    name = _TAG.unpack_from(chunk)[1]
    return names[name] if name < len(names) else ""


def _attributes(chunk: bytes, resources: tuple[int, ...]) -> Iterator[tuple[int, int | None]]:
    """Yield each attribute's resource and its number, None for anything but a number."""
    _, _, start, size, count = _TAG.unpack_from(chunk)
    if size < _ATTRIBUTE.size or 16 + start + size * count > len(chunk):
        raise MalformedError(_WHAT, f"{count} attributes", "as many in the element", _CLAUSE)
    for index in range(count):
        name, kind, value = _ATTRIBUTE.unpack_from(chunk, 16 + start + size * index)
        resource = resources[name] if name < len(resources) else 0
        yield resource, value if kind in _NUMBERS else None
