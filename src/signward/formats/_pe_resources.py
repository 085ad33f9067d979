"""What a PE image says of itself in its headers and version resource: claims for `show`.

Sources: "PE Format", .rsrc section; "VS_VERSIONINFO" (Microsoft Learn).  Bounded walks
that give up quietly: these facts decide nothing, and a packed image may hold anything.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from signward.errors import BadInputError
from signward.formats._pe_layout import Layout
from signward.state import Source

MAX_VERSION_RESOURCE = 64 * 1024
"""Largest VS_VERSIONINFO read; real ones have one or two KiB."""

MAX_DIRECTORY_ENTRIES = 4096
MAX_FACT_LENGTH = 256
"""Characters of a version string kept."""

_VERSION_TYPE = 16
_FIXED_SIGNATURE = 0xFEEF04BD
_SUBDIRECTORY = 0x80000000

_FACTS = {
    "ProductName": "product",
    "OriginalFilename": "original-name",
    "InternalName": "internal-name",
    "FileVersion": "file-version",
    "CompanyName": "company",
    "FileDescription": "description",
}
_NAMES = {key: _FACTS[key] for key in ("ProductName", "OriginalFilename", "InternalName")}
_UTF16 = {key: key.encode("utf-16-le") + b"\0\0" for key in _FACTS}


def image_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return machine, kind, subsystem, checksum, size and version strings, as claimed."""
    return {
        **layout.facts(),
        "checksum": layout.claimed_checksum,
        "size": layout.length,
        **version_facts(source, layout),
    }


def naming_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return the names and the version that rules may ask for: few of `version_facts`."""
    return version_facts(source, layout, _NAMES)


def version_facts(
    source: Source, layout: Layout, wanted: Mapping[str, str] = _FACTS
) -> dict[str, str | int]:
    """Return the strings of the first version resource; none where it cannot be read."""
    try:
        data = _version_resource(source, layout)
        return _strings(data, wanted) if data else {}
    except (BadInputError, struct.error):
        return {}  # claims that decide nothing: an unreadable resource is an absent one


def file_offset(layout: Layout, rva: int) -> int | None:
    """Return where the loader takes the byte at ``rva`` from."""
    for section in layout.sections:
        if section.rva <= rva < section.rva + (section.end - section.start):
            return section.start + rva - section.rva
    return None


def _version_resource(source: Source, layout: Layout) -> bytes | None:
    """Walk type, name and language directories to the first RT_VERSION entry."""
    base = file_offset(layout, layout.resources[0]) if layout.resources[0] else None
    if base is None:
        return None
    entry = _find(source, base, 0, _VERSION_TYPE)
    for _ in range(2):
        if entry is None or not entry & _SUBDIRECTORY:
            break
        entry = _find(source, base, entry & ~_SUBDIRECTORY, None)
    if entry is None or entry & _SUBDIRECTORY:
        return None
    return _data(source, layout, base + entry)


def _data(source: Source, layout: Layout, entry: int) -> bytes | None:
    """Return the octets of a data entry: where the loader maps them, and how many."""
    rva, size = struct.unpack("<II", source.read(entry, 8))
    start = file_offset(layout, rva)
    if start is None or size > MAX_VERSION_RESOURCE:
        return None
    return source.read(start, size)


def named_data(source: Source, layout: Layout, kind: int, name: str) -> bytes | None:
    """Return the resource of a type and a name, in its first language; None without it.

    Raises ``BadInputError`` and ``struct.error`` for directories that lead out of the file.
    """
    base = file_offset(layout, layout.resources[0]) if layout.resources[0] else None
    names = _find(source, base, 0, kind) if base is not None else None
    if base is None or names is None or not names & _SUBDIRECTORY:
        return None
    languages = _find_named(source, base, names & ~_SUBDIRECTORY, name.encode("utf-16-le"))
    if languages is None or not languages & _SUBDIRECTORY:
        return None
    entry = _find(source, base, languages & ~_SUBDIRECTORY, None)
    return None if entry is None or entry & _SUBDIRECTORY else _data(source, layout, base + entry)


def _find_named(source: Source, base: int, directory: int, wanted: bytes) -> int | None:
    """Return what an entry of this name (UTF-16LE, counted) points at; named ones come first."""
    named = int.from_bytes(source.read(base + directory + 12, 2), "little")
    table = source.read(base + directory + 16, 8 * min(named, MAX_DIRECTORY_ENTRIES))
    for identifier, target in struct.iter_unpack("<II", table):
        at = base + (identifier & ~_SUBDIRECTORY)
        if int.from_bytes(source.read(at, 2), "little") * 2 != len(wanted):
            continue
        if source.read(at + 2, len(wanted)) == wanted:
            return int(target)
    return None


def _find(source: Source, base: int, directory: int, wanted: int | None) -> int | None:
    """Return the offset an entry of a resource directory points at: ``wanted``, or the first."""
    named, numbered = struct.unpack("<12xHH", source.read(base + directory, 16))
    count = min(named + numbered, MAX_DIRECTORY_ENTRIES)
    table = source.read(base + directory + 16, 8 * count)
    for identifier, target in struct.iter_unpack("<II", table):
        if wanted is None or identifier == wanted:
            return int(target)
    return None


def _strings(data: bytes, wanted: Mapping[str, str]) -> dict[str, str | int]:
    """Return the strings we name in VS_VERSIONINFO.

    Each is a String structure: length, value length in characters, type 1, then the key
    and the value in UTF-16LE, both ending in a zero and the value aligned to four bytes.
    """
    found: dict[str, str | int] = {}
    for key, fact in wanted.items():
        pattern = _UTF16[key]
        at = data.find(pattern)
        if at < 6:
            continue
        value_length = int.from_bytes(data[at - 4 : at - 2], "little")
        start = at + len(pattern)
        start += -start % 4
        raw = data[start : start + 2 * min(value_length, MAX_FACT_LENGTH)]
        text = raw.decode("utf-16-le", "replace").split("\0")[0].strip()
        if text:
            found[fact] = text
    return found | _fixed_version(data)


def _fixed_version(data: bytes) -> dict[str, str | int]:
    at = data.find(_FIXED_SIGNATURE.to_bytes(4, "little"))
    if at < 0 or len(data) < at + 16:
        return {}
    minor, major, revision, build = struct.unpack_from("<HHHH", data, at + 8)
    return {"fixed-file-version": f"{major}.{minor}.{build}.{revision}"}
