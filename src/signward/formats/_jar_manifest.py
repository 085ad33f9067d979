"""The text of JAR manifests and signature files: sections of attributes, and their digests.

Source: "JAR File Specification" ("JAR" in the clauses): names and values in UTF-8, a line ends
with CR LF, LF or CR, one that begins with a space continues the line before it, an empty line
ends a section.  The first section speaks of the whole file; every other begins with ``Name`` and
speaks of one entry.  A signature file holds digests over a manifest's sections, octet for octet,
the empty line behind each included: so sections keep where they lie.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen

MAX_OCTETS = 32 * 1024 * 1024
"""Octets of a manifest or a signature file: room for 200,000 entries; the JDK stops at 16 MB."""

MAX_LINE = 70
"""Octets of a line that is written, without CR LF: 72 with it, however a reader counts."""

MANIFEST = "META-INF/MANIFEST.MF"
DIGEST, OF_MANIFEST, OF_MAIN = "-Digest", "-Digest-Manifest", "-Digest-Manifest-Main-Attributes"
"""What follows an algorithm's name in the name of an attribute that holds a digest."""

ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "md5": "md5",
        "sha": "sha1",
        "sha1": "sha1",
        "sha-1": "sha1",
        "sha-224": "sha224",
        "sha-256": "sha256",
        "sha-384": "sha384",
        "sha-512": "sha512",
        "sha3-256": "sha3_256",
        "sha3-384": "sha3_384",
        "sha3-512": "sha3_512",
    }
)
"""hashlib's names of the algorithms that attributes name, in lower case."""

NAMES: Mapping[str, str] = MappingProxyType(
    {"sha1": "SHA1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
)
"""How a digest that we write is named."""

_CLAUSE = "JAR, Name-Value pairs and Sections"
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,69}")

Pair = tuple[str, str]
"""An attribute's name as it is written, and its value."""


class Section(Frozen, frozen=True, kw_only=True):
    """One section: ``start`` to ``end`` with the empty line behind it, to ``bare_end`` without.

    ``name`` is the entry it speaks of, empty for the main section; ``attributes`` are the others,
    in order.
    """

    name: str
    attributes: tuple[Pair, ...]
    start: int
    bare_end: int
    end: int

    def value(self, name: str) -> str | None:
        """Return an attribute's value; names differ in more than case.

        Raises ``AmbiguousError`` for one that stands twice: readers differ in which they take.
        """
        found = [value for own, value in self.attributes if own.lower() == name.lower()]
        if len(found) > 1:
            raise AmbiguousError(
                self.name or "main section", f"{len(found)} attributes {name}", "one", _CLAUSE
            )
        return found[0] if found else None

    def digests(self, suffix: str = DIGEST) -> Mapping[str, bytes]:
        """Return the digests in attributes named ``ALGORITHM`` + suffix, by hashlib's name.

        An algorithm that we do not know keeps its own name, in lower case.  Raises
        ``MalformedError`` for what is no base64, ``AmbiguousError`` for one that stands twice.
        """
        found: dict[str, bytes] = {}
        for name, value in self.attributes:
            if not name.lower().endswith(suffix.lower()) or len(name) == len(suffix):
                continue
            called = name[: -len(suffix)].lower()
            algorithm = ALGORITHMS.get(called, called)
            if algorithm in found:
                what = self.name or "main section"
                raise AmbiguousError(what, f"two digests by {algorithm}", "one", _CLAUSE)
            found[algorithm] = _decoded(value, self.name or "main section")
        return found


class Sections(Frozen, frozen=True, kw_only=True):
    """A manifest or a signature file: its octets, main section, and the others by entry name."""

    data: bytes
    main: Section
    entries: Mapping[str, Section] = msgspec.field(default_factory=dict)

    def octets(self, section: Section, *, bare: bool = False) -> bytes:
        """Return a section's octets; ``bare`` leaves out the empty line, as some signers did."""
        return self.data[section.start : section.bare_end if bare else section.end]


def read_sections(data: bytes, what: str) -> Sections:
    """Read a manifest or a signature file.

    Raises ``LimitError`` for more than :data:`MAX_OCTETS`, ``MalformedError`` for lines that are
    no attributes or a section without a name, ``AmbiguousError`` for two sections of one entry.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(what, f"{len(data)} bytes", f"at most {MAX_OCTETS}")
    if b"\0" in data or (data and data[-1:] not in (b"\n", b"\r")):
        found = "a NUL" if b"\0" in data else "a last line without an end"
        raise MalformedError(what, found, "whole lines of text", _CLAUSE)
    main: Section | None = None
    entries: dict[str, Section] = {}
    for start, bare_end, end, lines in _split(data):
        pairs = _pairs(lines, what)
        if main is None:
            main = Section(name="", attributes=pairs, start=start, bare_end=bare_end, end=end)
        elif pairs:
            section = _entry(pairs, what, start, bare_end, end)
            if section.name in entries:
                found = f"two sections of {section.name[:120]!r}"
                raise AmbiguousError(what, found, "one", _CLAUSE, offset=start)
            entries[section.name] = section
    if main is None:
        raise MalformedError(what, "no main section", "one", _CLAUSE)
    return Sections(data=data, main=main, entries=entries)


def _entry(pairs: tuple[Pair, ...], what: str, start: int, bare_end: int, end: int) -> Section:
    (first, name), *rest = pairs
    if first.lower() != "name" or not name or any(own.lower() == "name" for own, _ in rest):
        found = f"a section that begins with {first[:80]!r}"
        raise MalformedError(what, found, "Name, once", _CLAUSE, offset=start)
    return Section(name=name, attributes=tuple(rest), start=start, bare_end=bare_end, end=end)


def _split(data: bytes) -> Iterator[tuple[int, int, int, list[bytes]]]:
    """Yield where each section starts, ends without and with its empty line, and its lines."""
    start, lines = 0, list[bytes]()
    for match in _LINE.finditer(data):
        line = match[0].rstrip(b"\r\n")
        if line:
            lines.append(line)
            continue
        yield start, match.start(), match.end(), lines
        start, lines = match.end(), []
    if lines:
        yield start, len(data), len(data), lines


def _pairs(lines: Iterable[bytes], what: str) -> tuple[Pair, ...]:
    """Return the attributes in a section's lines, continued ones joined before they are text."""
    joined: list[list[bytes]] = []
    for line in lines:
        if line[:1] != b" ":
            joined.append([line])
        elif joined:
            joined[-1].append(line[1:])
        else:
            raise MalformedError(what, "a section that begins with a space", "a name", _CLAUSE)
    return tuple(_pair(b"".join(parts), what) for parts in joined)


def _pair(line: bytes, what: str) -> Pair:
    try:
        name, colon, value = line.decode().partition(": ")
    except UnicodeDecodeError:
        raise MalformedError(what, "bytes that are no text", "UTF-8", _CLAUSE) from None
    if not colon or not _NAME.fullmatch(name):
        raise MalformedError(what, repr(line[:80]), "a name, a colon, a space, a value", _CLAUSE)
    return name, value


def _decoded(value: str, what: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        found = repr(value[:80])
        raise MalformedError(what, found, "a digest in base64", _CLAUSE) from None


# --- writing ---------------------------------------------------------------------


def digest_pair(algorithm: str, digest: bytes, suffix: str = DIGEST) -> Pair:
    """Return the attribute that holds a digest, its algorithm one of :data:`NAMES`."""
    return f"{NAMES[algorithm]}{suffix}", base64.b64encode(digest).decode()


def write_section(pairs: Sequence[Pair]) -> bytes:
    """Return a section's octets, the empty line behind it included.  Lines end with CR LF."""
    return b"".join(_line(name, value) for name, value in pairs) + b"\r\n"


def _line(name: str, value: str) -> bytes:
    """Return an attribute in lines of at most :data:`MAX_LINE` octets, cut where they are full.

    A cut may fall inside a character: readers join lines before they decode (JAR).
    """
    data = f"{name}: {value}".encode()
    lines, rest = [data[:MAX_LINE]], data[MAX_LINE:]
    while rest:
        lines.append(b" " + rest[: MAX_LINE - 1])
        rest = rest[MAX_LINE - 1 :]
    return b"".join(line + b"\r\n" for line in lines)
