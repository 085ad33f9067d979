"""The XML parts of an MSIX package: manifests, block map and content types, read with expat.

XML is untrusted: a document type declaration is refused before it declares anything (so
there are no entities but XML's own five, and nothing external), size and depth are bounded,
and elements are handed on while they are read, so that no tree is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.frozen import Frozen

MAX_DEPTH = 64
"""Elements inside elements; the deepest real manifest seen has 12."""

MAX_TEXT = 4096
"""Characters in one attribute value that is kept."""

SIGNATURE_PART = "/AppxSignature.p7x"
SIGNATURE_TYPE = "application/vnd.ms-appx.signature"
_OVERRIDE = f'Override PartName="{SIGNATURE_PART}" ContentType="{SIGNATURE_TYPE}"/>'
_CONTENT_TYPES = "[Content_Types].xml"
_OPC = "ISO/IEC 29500-2 10.1.2"

Taker = Callable[[tuple[str, ...], Mapping[str, str]], None]
"""Takes an element: the local names from the root to it, and its attributes."""


class Identity(Frozen, frozen=True, kw_only=True):
    """Who a package says it is; ``packages`` are those a bundle says it holds."""

    name: str
    version: str
    publisher: str
    packages: tuple[BundledPackage, ...] = ()


class BundledPackage(Frozen, frozen=True, kw_only=True):
    """A package in a bundle: its name, where its bytes begin in the bundle, and how many.

    An offset of 0 means a file beside the bundle (a flat bundle).
    """

    name: str
    offset: int
    size: int


def read_elements(data: bytes, what: str, take: Taker) -> None:
    """Hand every element to ``take`` in document order.

    Elements of another namespace than the root's, and all inside them, are left out:
    extensions that older readers ignore.  Attributes with a namespace are left out too.
    Raises ``MalformedError`` for what is no XML or has a document type, ``LimitError``.
    """
    path: list[str] = []
    home = ""
    foreign = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal home, foreign
        space, _, local = name.rpartition(" ")
        home = home if path else space
        path.append(local)
        if len(path) > MAX_DEPTH:
            raise LimitError(what, "elements nested deeper", f"at most {MAX_DEPTH} deep")
        if foreign or space != home:
            foreign += 1
            return
        take(tuple(path), {k: v for k, v in attributes.items() if " " not in k})

    def end(_name: str) -> None:
        nonlocal foreign
        path.pop()
        foreign -= bool(foreign)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parse_with(parser, data, what)


def parse_with(parser: expat.XMLParserType, data: bytes, what: str) -> None:
    """Run an expat parser over a whole document, refusing document types and entities.

    Raises ``MalformedError`` for what is no XML.
    """

    def refuse(*_: object) -> None:
        raise MalformedError(what, "a document type declaration", "none", "[MS-APPX] XML parts")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes it by position
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise MalformedError(what, f"no XML ({error})", "well-formed XML", "XML 1.0") from None


def read_identity(data: bytes, what: str, root: str) -> Identity:
    """Return the identity in ``AppxManifest.xml`` or, with what it holds, in a bundle's.

    ``root`` is the root element a manifest of that kind has: Package or Bundle.
    Raises ``BadInputError``.
    """
    found: list[Mapping[str, str]] = []
    packages: list[BundledPackage] = []
    roots: set[str] = set()

    def take(path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        roots.add(path[0])
        if path == (root, "Identity"):
            found.append(attributes)
        elif path == ("Bundle", "Packages", "Package"):
            packages.append(_bundled(attributes, what))

    read_elements(data, what, take)
    if roots != {root} or len(found) != 1 or "Publisher" not in found[0]:
        raise MalformedError(
            what, f"{len(found)} identities in {', '.join(sorted(roots))}",
            f"one in {root}, with a publisher", "package manifest schema: Identity",
        )  # fmt: skip
    values = [found[0].get(name, "")[:MAX_TEXT] for name in ("Name", "Version", "Publisher")]
    return Identity(
        name=values[0], version=values[1], publisher=values[2], packages=tuple(packages)
    )


def _bundled(attributes: Mapping[str, str], what: str) -> BundledPackage:
    return BundledPackage(
        name=attributes.get("FileName", "").replace("\\", "/"),
        offset=number(attributes.get("Offset", "0"), what),
        size=number(attributes.get("Size", "0"), what),
    )


def number(text: str, what: str) -> int:
    """Return an unsigned 64-bit decimal.  Raises ``MalformedError``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise MalformedError(what, f"the number {text[:32]!r}", "decimal digits")
    return int(text)


class _Types:
    """What signing needs to know of ``[Content_Types].xml``: bytes, not characters."""

    def __init__(self, data: bytes) -> None:
        self.prefix = ""
        self.override = ""
        self.end = 0
        self._depth = 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._finish
        parse_with(self._parser, data, _CONTENT_TYPES)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        prefix, colon, local = name.rpartition(":")
        if self._depth == 0:
            self.prefix = prefix + colon
        if local == "Override" and attributes.get("PartName", "").lower() == SIGNATURE_PART.lower():
            self.override = attributes.get("ContentType", "")
        self._depth += 1

    def _finish(self, _name: str) -> None:
        self._depth -= 1
        self.end = self._parser.CurrentByteIndex


def signed_types(data: bytes) -> bytes:
    """Return ``[Content_Types].xml`` with the override that names the signature part's type.

    Raises ``NotSignableError`` where it cannot be written, ``BadInputError``.
    """
    types = _Types(data)
    if types.override == SIGNATURE_TYPE:
        return data
    if types.override or not data[types.end :].startswith(b"</"):
        found = f"{SIGNATURE_PART} as {types.override}" if types.override else "no end tag in UTF-8"
        raise NotSignableError(_CONTENT_TYPES, found, f"UTF-8, and {SIGNATURE_TYPE} if anything")
    added = f"<{types.prefix}{_OVERRIDE}".encode()
    return data[: types.end] + added + data[types.end :]


def unsigned_types(data: bytes) -> bytes:
    """Return ``[Content_Types].xml`` without the override, where it stands as signers write it."""
    types = _Types(data)
    return data.replace(f"<{types.prefix}{_OVERRIDE}".encode(), b"", 1)
