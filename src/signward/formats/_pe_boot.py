"""What a boot program says of its own generation: SBAT, and the security version of Windows'.

Sources: SBAT.md of shim (sections ``.sbat`` and ``.sbatlevel``); "PE Format", COFF string table and
.rsrc section; Microsoft's dbx_info (the resource BOOTMGRSECURITYVERSIONNUMBER is four octets,
minor and major, little-endian).  All of it is inside what the image hash covers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signward.errors import BadInputError, MalformedError
from signward.formats._pe_layout import Layout, Section
from signward.formats._pe_resources import named_data
from signward.state import Source
from signward.wire import sbat

UNREADABLE = "malformed"
"""What stands for lines that shim could not read either."""

_RCDATA = 10
_VERSION_NAME = "BOOTMGRSECURITYVERSIONNUMBER"
_SYMBOL = 18
"""Octets of a COFF symbol."""
_MAX_NAME = 64


def generation_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return the components and generations of ``.sbat``: ``shim,4 shim.debian,1``.

    None without the section; `UNREADABLE` where it is there and cannot be read.
    """
    try:
        found = components(source, layout)
    except BadInputError:
        return {"sbat": UNREADABLE}
    return {"sbat": " ".join(map(str, found))} if found else {}


def components(source: Source, layout: Layout) -> tuple[sbat.Component, ...] | None:
    """Return the lines of ``.sbat``; None without the section.

    As shim reads them (verify_buffer_sbat): all of the section that is in the file, one section,
    and none of which memory has more than the file.  Raises ``BadInputError``.
    """
    found = [s for s in layout.sections if s.name.rstrip(b"\0") == sbat.SECTION]
    if not found:
        return None
    section, size = found[0], found[0].end - found[0].start
    if len(found) > 1 or size < section.virtual_size:
        told = f"{len(found)} sections, {size} octets of {section.virtual_size}"
        raise MalformedError(".sbat", told, "one section, whole", "SBAT.md")
    return sbat.read_components(source.read(section.start, min(size, sbat.MAX_OCTETS + 1)))


def boot_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return shim's own latest SBAT level, and a Windows boot program's security version."""
    found: dict[str, str | int] = {}
    try:
        levels = shim_levels(source, layout)
        raw = named_data(source, layout, _RCDATA, _VERSION_NAME)
    except (BadInputError, struct.error):
        return found  # claims that decide nothing
    if levels:
        found["sbat-level"] = str(levels[1])
    if raw is not None and len(raw) == 4:
        minor, major = struct.unpack("<HH", raw)
        found["security-version"] = f"{major}.{minor}"
    return found


def shim_levels(source: Source, layout: Layout) -> tuple[sbat.Level, sbat.Level] | None:
    """Return the previous and the latest level that a shim would set; None for another program.

    Raises ``BadInputError``.
    """
    for section, name in named_sections(source, layout):
        if name == sbat.LEVEL_SECTION:
            size = min(section.end - section.start, section.virtual_size, sbat.MAX_OCTETS)
            return sbat.read_level_section(source.read(section.start, size))
    return None


def named_sections(source: Source, layout: Layout) -> Iterator[tuple[Section, bytes]]:
    """Yield the sections with their names; ``/26`` stands for the one there in the string table.

    The table is behind the symbols (PE Format, "COFF String Table").
    """
    pe = int.from_bytes(source.read(60, 4), "little")
    symbols, count = struct.unpack("<II", source.read(pe + 12, 8))
    table = symbols + _SYMBOL * count
    for section in layout.sections:
        name = section.name.rstrip(b"\0")
        if symbols and name[:1] == b"/" and name[1:].isdigit():
            at = table + int(name[1:])
            raw = source.read(at, max(0, min(_MAX_NAME, source.length - at)))
            name = raw.partition(b"\0")[0]
        yield section, name
