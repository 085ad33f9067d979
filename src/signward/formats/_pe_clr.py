""".NET assemblies: what a PE image's CLR metadata calls the assembly, and its strong name.

Source: ECMA-335 (sixth edition), II.22, II.24 and II.25.3.  These are claims that decide
nothing: a strong name says that two assemblies have one key, not whose it is, and whether its
signature fits is not checked.  Bounded reads that give up quietly.  All integers are
little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from signward.errors import BadInputError
from signward.formats._pe_layout import Layout
from signward.formats._pe_resources import file_offset
from signward.frozen import Frozen
from signward.state import Source

MAX_STREAMS = 16
"""Streams of the metadata; compilers write five."""

MAX_PUBLIC_KEY = 16 * 1024
"""Octets of a public key: RSA with 16384 bits has some 2 KiB."""

MAX_NAME = 256

_STRONG_NAME_SIGNED = 0x8
_METADATA_MAGIC = 0x424A5342
_ASSEMBLY = 0x20
_HEAPS = {"S": 1, "G": 2, "B": 4}
"""Bits of HeapSizes that make an index into #Strings, #GUID and #Blob four bytes wide."""

_CODED = {
    "TypeDefOrRef": (2, "02 01 1B"),
    "HasConstant": (2, "04 08 17"),
    "HasCustomAttribute": (
        5, "06 04 01 02 08 09 0A 00 0E 17 14 11 1A 1B 20 23 26 27 28 2A 2C 2B",
    ),
    "HasFieldMarshal": (1, "04 08"),
    "HasDeclSecurity": (2, "02 06 20"),
    "MemberRefParent": (3, "02 01 1A 06 1B"),
    "HasSemantics": (1, "14 17"),
    "MethodDefOrRef": (1, "06 0A"),
    "MemberForwarded": (1, "04 06"),
    "CustomAttributeType": (3, "06 0A"),
    "ResolutionScope": (2, "00 1A 23 01"),
}  # fmt: skip
"""Coded indexes (II.24.2.6): bits of the tag, and the tables that they lead to."""

_COLUMNS = {
    0x00: "2 S G G G",
    0x01: "ResolutionScope S S",
    0x02: "4 S S TypeDefOrRef #04 #06",
    0x03: "#04",
    0x04: "2 S B",
    0x05: "#06",
    0x06: "4 2 2 S B #08",
    0x07: "#08",
    0x08: "2 2 S",
    0x09: "#02 TypeDefOrRef",
    0x0A: "MemberRefParent S B",
    0x0B: "2 HasConstant B",
    0x0C: "HasCustomAttribute CustomAttributeType B",
    0x0D: "HasFieldMarshal B",
    0x0E: "2 HasDeclSecurity B",
    0x0F: "2 4 #02",
    0x10: "4 #04",
    0x11: "B",
    0x12: "#02 #14",
    0x13: "#14",
    0x14: "2 S TypeDefOrRef",
    0x15: "#02 #17",
    0x16: "#17",
    0x17: "2 S B",
    0x18: "2 #06 HasSemantics",
    0x19: "#02 MethodDefOrRef MethodDefOrRef",
    0x1A: "S",
    0x1B: "B",
    0x1C: "2 MemberForwarded S #1A",
    0x1D: "4 #04",
    0x1E: "4 4",
    0x1F: "4",
}
"""Columns of the tables in front of Assembly (II.22): fixed bytes, heaps, tables, coded indexes."""


class _Metadata(Frozen, frozen=True, kw_only=True):
    """Where the streams lie in the file (start, size), and what the tables' header says."""

    source: Source
    streams: Mapping[str, tuple[int, int]]
    heaps: int = 0
    rows: Mapping[int, int]
    tables: int = 0


def clr_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return assembly name, version, public key token and strong name, as claimed.

    Empty for an image that is no .NET assembly, or whose metadata cannot be read.
    """
    try:
        return _facts(source, layout)
    except (BadInputError, struct.error, KeyError, UnicodeDecodeError):
        return {}  # claims that decide nothing: unreadable metadata is absent metadata


def _facts(source: Source, layout: Layout) -> dict[str, str | int]:
    header = file_offset(layout, layout.clr[0]) if layout.clr[0] else None
    if header is None:
        return {}
    _, _, _, address, _, flags = struct.unpack("<IHHIII", source.read(header, 20))
    start = file_offset(layout, address)
    if start is None:
        return {}
    metadata = _tables(_streams(source, start))
    if not metadata.rows.get(_ASSEMBLY):
        return {}
    return _assembly(metadata, signed=bool(flags & _STRONG_NAME_SIGNED))


def _streams(source: Source, start: int) -> _Metadata:
    """Read the metadata root (II.24.2.1): its streams by name."""
    magic, length = struct.unpack("<I8xI", source.read(start, 16))
    if magic != _METADATA_MAGIC or length > 256:
        raise KeyError("no metadata")
    at = start + 16 + length
    (count,) = struct.unpack("<2xH", source.read(at, 4))
    at += 4
    streams = {}
    for _ in range(min(count, MAX_STREAMS)):
        offset, size = struct.unpack("<II", source.read(at, 8))
        name = source.read(at + 8, min(32, source.length - at - 8)).partition(b"\0")[0]
        streams[name.decode("ascii")] = (start + offset, size)
        at += 8 + (len(name) // 4 + 1) * 4
    return _Metadata(source=source, streams=streams, rows={})


def _tables(metadata: _Metadata) -> _Metadata:
    """Read the header of the tables' stream (II.24.2.6): which there are, and their rows."""
    source, (start, _) = metadata.source, metadata.streams["#~"]
    heaps, valid = struct.unpack("<6xBxQ8x", source.read(start, 24))
    present = [number for number in range(64) if valid >> number & 1]
    counts = struct.unpack(f"<{len(present)}I", source.read(start + 24, 4 * len(present)))
    return _Metadata(
        source=source,
        streams=metadata.streams,
        heaps=heaps,
        rows=dict(zip(present, counts, strict=True)),
        tables=start + 24 + 4 * len(present),
    )


def _width(metadata: _Metadata, column: str) -> int:
    """Return the bytes of a column: indexes are two wide while what they count fits."""
    if column in _HEAPS:
        return 4 if metadata.heaps & _HEAPS[column] else 2
    if column in _CODED:
        bits, tables = _CODED[column]
        most = max(metadata.rows.get(int(table, 16), 0) for table in tables.split())
        return 2 if most < 1 << 16 - bits else 4
    if column[0] == "#":
        return 2 if metadata.rows.get(int(column[1:], 16), 0) < 1 << 16 else 4
    return int(column)


def _assembly(metadata: _Metadata, *, signed: bool) -> dict[str, str | int]:
    """Read the one row of Assembly (II.22.2), behind all tables of smaller numbers."""
    at = metadata.tables
    for number, count in metadata.rows.items():
        if number >= _ASSEMBLY:
            break
        at += count * sum(_width(metadata, column) for column in _COLUMNS[number].split())
    blob, string = _width(metadata, "B"), _width(metadata, "S")
    row = metadata.source.read(at, 16 + blob + string)
    major, minor, build, revision = struct.unpack_from("<4x4H", row)
    key = _public_key(metadata, int.from_bytes(row[16 : 16 + blob], "little"))
    facts: dict[str, str | int] = {
        "assembly": _string(metadata, int.from_bytes(row[16 + blob :], "little")),
        "assembly-version": f"{major}.{minor}.{build}.{revision}",
        "strong-name": ("claimed, not checked" if signed else "a key alone") if key else "none",
    }
    if key:
        token = hashlib.sha1(key, usedforsecurity=False).digest()[:-9:-1].hex()
        facts["public-key-token"] = token
    return facts


def _string(metadata: _Metadata, index: int) -> str:
    start, size = metadata.streams["#Strings"]
    raw = metadata.source.read(start + index, max(0, min(MAX_NAME, size - index)))
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _public_key(metadata: _Metadata, index: int) -> bytes:
    """Return a blob (II.24.2.4): its length takes one, two or four bytes, big-endian."""
    start, size = metadata.streams["#Blob"]
    if not index or index >= size:
        return b""
    head = metadata.source.read(start + index, min(4, size - index))
    width = 1 if head[0] < 0x80 else 2 if head[0] < 0xC0 else 4
    mask = {1: 0x7F, 2: 0x3FFF, 4: 0x1FFFFFFF}[width]
    length = int.from_bytes(head[:width], "big") & mask
    if length > min(MAX_PUBLIC_KEY, size - index - width):
        return b""
    return metadata.source.read(start + index + width, length)
