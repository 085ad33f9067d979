"""What a boot program says of its own generation: SBAT, and the security version of Windows'.

Sources: SBAT.md of shim (sections ``.sbat`` and ``.sbatlevel``); "PE Format", COFF string table and
.rsrc section; Microsoft's dbx_info (the resource BOOTMGRSECURITYVERSIONNUMBER is four octets,
minor and major, little-endian).  All of it is inside what the image hash covers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signward.errors import BadInputError
from signward.formats._pe_layout import Layout, Section
from signward.formats._pe_resources import named_data
from signward.state import Source
from signward.wire import sbat

UNREADABLE = "malformed"
"""What stands for lines that shim could not read either."""

_RCDATA = 10
_VERSION_NAME = "BOOTMGRSECURITYVERSIONNUMBER"
_SYMBOL = 18
_MAX_NAME = 64


def generation_facts(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return the components and generations of ``.sbat``: ``shim,4 shim.debian,1``.

    None without the section; `UNREADABLE` where it is there and cannot be read.
    """
    section = next((s for s in layout.sections if s.name.rstrip(b"\0") == sbat.SECTION), None)
    if section is None:
        return {}
    try:
        return {"sbat": " ".join(map(str, sbat.read_components(_content(source, section))))}
    except BadInputError:
        return {"sbat": UNREADABLE}


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
    for section, name in _long_names(source, layout):
        if name == sbat.LEVEL_SECTION:
            return sbat.read_level_section(_content(source, section))
    return None


def _content(source: Source, section: Section) -> bytes:
    """Return a section's octets, without what pads it in the file beyond its size in memory."""
    size = min(section.end - section.start, section.virtual_size, sbat.MAX_OCTETS)
    return source.read(section.start, size)


def _long_names(source: Source, layout: Layout) -> Iterator[tuple[Section, bytes]]:
    """Yield the sections whose names stand in the string table, behind the symbols."""
    pe = int.from_bytes(source.read(60, 4), "little")
    symbols, count = struct.unpack("<II", source.read(pe + 12, 8))
    table = symbols + _SYMBOL * count
    for section in layout.sections:
        number = section.name.rstrip(b"\0")[1:]
        if symbols and section.name[:1] == b"/" and number.isdigit():
            at = table + int(number)
            raw = source.read(at, max(0, min(_MAX_NAME, source.length - at)))
            yield section, raw.partition(b"\0")[0]
