"""SiPolicy XML: App Control policies, read into plain elements within bounds.

Source: the schema of urn:schemas-microsoft-com:sipolicy.  A document type declaration is
refused: a policy has none, and entities are how XML is made to explode.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from signward.errors import EvidenceError

MAX_POLICY = 64 * 1024 * 1024
"""Largest policy read, in bytes; Microsoft's driver block list has half a million."""

MAX_ELEMENTS = 1 << 18
"""Most elements in a policy; Microsoft's driver block list has some 6,000."""

MAX_DEPTH = 32
MAX_TEXT = 4096
"""Characters of one element's text kept; names and versions are short."""

_NAMESPACE = "urn:schemas-microsoft-com:sipolicy "


class Element:
    """An element: its local name, attributes, children and text."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Element] = []
        self.text = ""

    def get(self, attribute: str) -> str:
        """Return an attribute's value, empty where there is none."""
        return self.attributes.get(attribute, "")

    def all(self, name: str) -> list[Element]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def below(self, name: str) -> Iterator[Element]:
        """Yield every element of that name below this one, in document order."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.below(name)


def read_policy(source: str, data: bytes) -> Element:
    """Return the SiPolicy element.

    ``source`` is named in messages.  Raises ``EvidenceError`` for anything that is none: a
    binary policy, a DTD, broken XML, more or deeper elements than the bounds allow.
    """
    if len(data) > MAX_POLICY:
        raise EvidenceError(f"{source}: {len(data)} bytes, at most {MAX_POLICY} in a policy")
    builder = _Builder(source)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    try:  # a codec that is not known is a LookupError
        parser.Parse(data, True)  # noqa: FBT003 - expat's "final"
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise EvidenceError(
            f"{source}: no SiPolicy XML: {error} (binary policies, .p7b and .cip, are not read)"
        ) from None
    return builder.top.children[0]


class _Builder:
    """Makes elements as expat meets them."""

    def __init__(self, source: str) -> None:
        self.top = Element("", {})
        self._source, self._stack, self._count = source, [self.top], 0

    def doctype(self, *_: object) -> None:
        raise EvidenceError(f"{self._source}: found a document type declaration, required none")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._stack) > MAX_DEPTH:
            raise EvidenceError(f"{self._source}: more or deeper elements than a policy has")
        if len(self._stack) == 1 and name != f"{_NAMESPACE}SiPolicy":
            raise EvidenceError(f"{self._source}: root {name[:80]!r}, required SiPolicy")
        element = Element(name.removeprefix(_NAMESPACE), attributes)
        self._stack[-1].children.append(element)
        self._stack.append(element)

    def end(self, _name: str) -> None:
        element = self._stack.pop()
        element.text = element.text.strip()

    def text(self, data: str) -> None:
        element = self._stack[-1]
        element.text = (element.text + data)[:MAX_TEXT]
