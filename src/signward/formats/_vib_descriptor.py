"""Descriptors of VIBs (descriptor.xml): what the payloads must be, and the level claimed.

VMware publishes no specification; what is read here is what VIB Author and other public builders
write.  A document type declaration is refused, and so is whatever stands twice where readers take
one: the level, a payload's name.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen

MAX_OCTETS = 16 * 1024 * 1024
"""Largest descriptor; it names every file, and the largest VIBs have some 10,000."""

MAX_ELEMENTS = 1 << 18
MAX_DEPTH = 32
MAX_TEXT = 64 * 1024
"""Characters of one text that is read: the longest are digests."""

MAX_PAYLOADS = 1024

LEVELS = {
    "certified": "VMwareCertified",
    "accepted": "VMwareAccepted",
    "partner": "PartnerSupported",
    "community": "CommunitySupported",
}
"""Acceptance levels, as descriptors and as VMware's tools write them; the strictest first."""

WHAT = "descriptor.xml"
CLAUSE = "VIB descriptor"
GUNZIP = "gunzip"

_ALGORITHMS = {"sha-1": "sha1", "sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_CHECKSUM = ["vib", "payloads", "payload", "checksum"]
_TOLD = ("name", "version", "vendor", "acceptance-level")


class Checksum(Frozen, frozen=True, kw_only=True):
    """A payload's digest; ``unpacked`` says that it is of what gunzip makes of it."""

    algorithm: str
    digest: bytes
    unpacked: bool


class Payload(Frozen, frozen=True, kw_only=True):
    """One payload; ``size`` is None where the descriptor does not say it."""

    name: str
    size: int | None
    checksums: tuple[Checksum, ...]


class Descriptor(Frozen, frozen=True, kw_only=True):
    """What a descriptor says; ``level`` is a key of ``LEVELS``."""

    told: dict[str, str]
    payloads: tuple[Payload, ...]

    @property
    def level(self) -> str:
        """The acceptance level that it claims."""
        return self.told["acceptance-level"]


def read_descriptor(data: bytes) -> Descriptor:
    """Return what a descriptor says.  Raises ``BadInputError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    reader = _Reader()
    try:  # a codec that is not known is a LookupError
        reader.parser.Parse(data, True)  # noqa: FBT003 - expat's "final"
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MalformedError(WHAT, f"no XML: {error}", "well-formed XML", "XML 1.0") from None
    return reader.descriptor()


class _Reader:
    """Takes up what is read of a descriptor, as expat meets it."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._count, self._text = 0, ""
        self._told: dict[str, str] = {}
        self._payloads: list[tuple[dict[str, str], list[Checksum]]] = []
        self._kind: dict[str, str] = {}
        self.parser: Any = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def descriptor(self) -> Descriptor:
        """Return what was read, each payload once."""
        level = self._told.get("acceptance-level", "")
        if level not in LEVELS:
            raise MalformedError(WHAT, f"acceptance level {level[:40]!r}", " or ".join(LEVELS),
                                 CLAUSE)  # fmt: skip
        payloads = tuple(_payload(given, tuple(sums)) for given, sums in self._payloads)
        if len({one.name for one in payloads}) != len(payloads):
            raise AmbiguousError(WHAT, "a payload twice", "each payload once", CLAUSE)
        return Descriptor(told=self._told, payloads=payloads)

    def _doctype(self, *_: object) -> None:
        raise MalformedError(WHAT, "a document type declaration", "none", CLAUSE)

    def _start(self, name: str, given: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise LimitError(WHAT, "more or deeper elements", f"{MAX_ELEMENTS}, {MAX_DEPTH} deep")
        if self._is_read():  # readers differ in which of the texts beside a child they take
            raise MalformedError(WHAT, f"{name[:40]!r} inside {self._path[-1]}", "text", CLAUSE)
        if not self._path and name != "vib":
            raise MalformedError(WHAT, f"root {name[:40]!r}", "vib", CLAUSE)
        self._path.append(name)
        self._text = ""
        if self._path == ["vib", "payloads", "payload"]:
            if len(self._payloads) == MAX_PAYLOADS:
                raise LimitError(WHAT, "more payloads", f"at most {MAX_PAYLOADS}")
            self._payloads.append((given, []))
        elif self._path == _CHECKSUM:
            self._kind = given

    def _end(self, name: str) -> None:
        text = self._text.strip()
        if self._path == _CHECKSUM:
            self._payloads[-1][1].append(_checksum(self._kind, text))
        elif self._is_read():
            if name in self._told:
                raise AmbiguousError(WHAT, f"{name} twice", "once", CLAUSE)
            self._told[name] = text
        self._path.pop()
        self._text = ""

    def _is_read(self) -> bool:
        """Say whether the element that is open has a text that is read."""
        told = len(self._path) == 2 and self._path[1] in _TOLD
        return told or self._path == _CHECKSUM

    def _characters(self, text: str) -> None:
        if len(self._text) + len(text) > MAX_TEXT:
            raise LimitError(WHAT, "a longer text", f"at most {MAX_TEXT} characters")
        self._text += text


def _checksum(given: dict[str, str], text: str) -> Checksum:
    algorithm = _ALGORITHMS.get(given.get("checksum-type", ""), "")
    process = given.get("verify-process", "")
    if not algorithm or process not in ("", GUNZIP):
        kind = f"{given.get('checksum-type', '')} {process}".strip()
        raise MalformedError(WHAT, f"checksum {kind[:60]!r}", "one of a payload", CLAUSE)
    if not _HEX.match(text) or len(text) % 2:
        raise MalformedError(WHAT, f"checksum {text[:60]!r}", "hexadecimal", CLAUSE)
    return Checksum(algorithm=algorithm, digest=bytes.fromhex(text), unpacked=process == GUNZIP)


def _payload(given: dict[str, str], checksums: tuple[Checksum, ...]) -> Payload:
    name, size = given.get("name", ""), given.get("size", "")
    if not name or (size and not _NUMBER.match(size)):
        raise MalformedError(WHAT, f"payload {name[:40]!r} of size {size[:20]!r}",
                             "a name and a number", CLAUSE)  # fmt: skip
    return Payload(name=name, size=int(size) if size else None, checksums=checksums)
