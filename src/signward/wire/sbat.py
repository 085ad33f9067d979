"""SBAT: which generation of each component a boot program holds, and the least that may start.

Source: SBAT.md and SbatLevel_Variable.txt of shim.  Both are lines of comma-separated text.  A
program's section ``.sbat`` has six fields a line: component, generation, vendor, package, version,
URL.  A level (the variable SbatLevel, or a file) has two, component and least generation; its
first line is ``sbat,1,YYYYMMDDNN``, the day it was published.  A program that holds a component of
a lower generation than the level asks for is revoked; components that the level does not name
are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_OCTETS = 64 * 1024
"""Largest text read; real sections have some 300 octets, padded to a page of 4 KiB."""

MAX_LINES = 1024
"""Most lines; real ones have four."""

MAX_GENERATION = 0xFFFF
"""Highest generation: shim keeps sixteen bits of it."""

SECTION = b".sbat"
LEVEL_SECTION = b".sbatlevel"
"""Where shim carries the levels it would set: the previous and the latest it knows."""

VENDOR = "605dab50-e046-4300-abb6-3dd810dd8b23"
"""The GUID that shim's variables stand under: SbatLevel, SbatLevelRT, MokListRT, ..."""

LATEST = b"sbat,1,2025051000\nshim,4\ngrub,5\ngrub.proxmox,2\n"
"""The newest level that we know of: the one shim 16.1 carries as its latest."""

_FIELDS = 6
_BOM = b"\xef\xbb\xbf"
_LEVELS = struct.Struct("<III")
_WHAT = "SBAT"
_CLAUSE = "SBAT.md"


class Component(Frozen, frozen=True, kw_only=True):
    """One line of a program's ``.sbat``."""

    name: str
    generation: int
    vendor: str
    package: str
    version: str
    url: str

    def __str__(self) -> str:
        return f"{self.name},{self.generation}"


class Level(Frozen, frozen=True, kw_only=True):
    """What may start: the least generation by component.  ``date`` is ``YYYYMMDDNN``."""

    date: str
    least: Mapping[str, int]

    def __str__(self) -> str:
        rest = (f"{name},{least}" for name, least in self.least.items() if name != "sbat")
        return " ".join((self.date, *rest))


def read_components(data: bytes) -> tuple[Component, ...]:
    """Return the lines of a section ``.sbat``, whatever pads it.

    Raises ``MalformedError`` (shim starts no program whose lines it cannot read) and
    ``LimitError``.
    """
    found = tuple(_component(fields) for fields in _lines(data))
    if not found:
        raise MalformedError(_WHAT, "no line", "sbat,1,... first", _CLAUSE)
    return found


def read_level(data: bytes) -> Level:
    """Return a level: a text, or the content of the variable SbatLevel.

    Raises ``MalformedError`` and ``LimitError``.
    """
    lines = list(_lines(data))
    if not lines or len(lines[0]) < 3 or lines[0][:2] != ["sbat", "1"]:
        found = ",".join(lines[0])[:80] if lines else "nothing"
        raise MalformedError(_WHAT, repr(found), "a level: sbat,1,YYYYMMDDNN first", _CLAUSE)
    date = lines[0][2]
    if len(date) != 10 or not date.isdecimal():
        raise MalformedError(_WHAT, f"the day {date[:20]!r}", "YYYYMMDDNN", _CLAUSE)
    least: dict[str, int] = {}
    for name, generation, *_ in map(_whole, lines):
        # Of lines that name one component shim applies every one: the highest counts.
        least[name] = max(least.get(name, 0), _generation(generation))
    return Level(date=date, least=least)


def read_level_section(data: bytes) -> tuple[Level, Level]:
    """Return the previous and the latest level in a section ``.sbatlevel`` of shim.

    A version of four octets (little-endian, zero) stands first, then where each text starts,
    counted behind the version.  Raises ``MalformedError`` and ``LimitError``.
    """
    if len(data) < _LEVELS.size:
        raise MalformedError(_WHAT, f"{len(data)} octets", f"at least {_LEVELS.size}", _CLAUSE)
    version, previous, latest = _LEVELS.unpack_from(data)
    starts = (4 + previous, 4 + latest)
    if version != 0 or max(starts) >= len(data):
        raise MalformedError(_WHAT, f"version {version}, levels at {starts}",
                             f"version 0, within {len(data)} octets", _CLAUSE)  # fmt: skip
    texts = [data[at : at + MAX_OCTETS].partition(b"\0")[0] for at in starts]
    return read_level(texts[0]), read_level(texts[1])


def below(components: Iterable[Component], level: Level) -> tuple[tuple[Component, int], ...]:
    """Return each component whose generation is too low, with the least that may start."""
    return tuple(
        (component, level.least[component.name])
        for component in components
        if component.generation < level.least.get(component.name, 0)
    )


def _lines(data: bytes) -> Iterator[list[str]]:
    """Yield the fields of each line; the text ends at a NUL (``_BOM`` may begin it)."""
    text = data.removeprefix(_BOM).partition(b"\0")[0]
    if len(text) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(text)} octets", f"at most {MAX_OCTETS}", _CLAUSE)
    whole = text.decode("utf-8", "backslashreplace").replace("\r", "\n")
    lines = [line for line in whole.split("\n") if line]
    if len(lines) > MAX_LINES:
        raise LimitError(_WHAT, f"{len(lines)} lines", f"at most {MAX_LINES}", _CLAUSE)
    for line in lines:
        yield line.split(",")


def _whole(fields: list[str]) -> list[str]:
    if len(fields) < 2 or not _named(fields[0]):
        raise MalformedError(_WHAT, repr(",".join(fields)[:80]), "component,generation", _CLAUSE)
    return fields


def _named(name: str) -> bool:
    """Say whether a component's name is one word of printable characters."""
    return name.isprintable() and bool(name) and " " not in name


def _component(fields: list[str]) -> Component:
    if len(fields) < _FIELDS or not _named(fields[0]):
        raise MalformedError(_WHAT, f"{len(fields)} fields in {','.join(fields)[:80]!r}",
                             f"{_FIELDS}, a component first", _CLAUSE)  # fmt: skip
    name, generation, vendor, package, version = fields[: _FIELDS - 1]
    return Component(
        name=name,
        generation=_generation(generation),
        vendor=vendor,
        package=package,
        version=version,
        url=",".join(fields[_FIELDS - 1 :]),
    )


def _generation(text: str) -> int:
    short = len(text) <= len(str(MAX_GENERATION)) and text.isascii() and text.isdecimal()
    if not short or int(text) > MAX_GENERATION:
        raise MalformedError(_WHAT, f"generation {text[:20]!r}", f"0 to {MAX_GENERATION}", _CLAUSE)
    return int(text)
