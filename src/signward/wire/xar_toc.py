"""The table of contents of a xar archive: plain elements, each knowing where it lies.

Source: the xar project's "xarformat" page.  Names are read without their namespace, as Apple's
reader does.  A document type declaration is refused: a table of contents has none, and entities
are how XML is made to explode.  Offsets are octets of the uncompressed table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from signward.errors import AmbiguousError, LimitError, MalformedError

MAX_ELEMENTS = 1 << 18
"""Most elements in a table: 10,000 files of some 25 each; installer packages have a dozen files."""

MAX_DEPTH = 128
"""Deepest nesting: one level for each folder and a few for a file's own properties."""

MAX_TEXT = 64 * 1024
"""Characters of one element's text; the longest are certificates in base64."""

MAX_NUMBER = (1 << 53) - 1
"""Largest number taken: far above any file, and the same in every reader's arithmetic."""

WHAT = "xar table of contents"
CLAUSE = "xarformat, TOC"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")


class Element:
    """An element: local name, attributes, children, text, and the span of its start and end tag.

    ``start`` to ``inner`` is the start tag, ``close`` to ``end`` the end tag; of an empty-element
    tag the last three are the same.
    """

    __slots__ = ("attributes", "children", "close", "end", "inner", "name", "start", "text")

    def __init__(self, name: str, attributes: dict[str, str], start: int = 0) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Element] = []
        self.text = ""
        self.start, self.inner, self.close, self.end = start, start, start, start

    def all(self, name: str) -> list[Element]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def at_most_one(self, name: str) -> Element | None:
        """Return the child of that name, or None.  Raises ``AmbiguousError`` for several."""
        found = self.all(name)
        if len(found) > 1:
            raise AmbiguousError(
                WHAT, f"{len(found)} elements {name} in {self.name}", "at most one", CLAUSE
            )
        return found[0] if found else None

    def one(self, name: str) -> Element:
        """Return the one child of that name.  Raises ``BadInputError`` for none or several."""
        found = self.at_most_one(name)
        if found is None:
            raise MalformedError(WHAT, f"no {name} in {self.name}", "one", CLAUSE)
        return found

    def number(self, name: str) -> int:
        """Return the child's number, written in decimal and in one way only.

        Signs, leading zeros and numbers beyond 53 bits are where readers have disagreed about
        which octets are meant.  Raises ``BadInputError``.
        """
        text = self.one(name).text.strip()
        if not _NUMBER.fullmatch(text) or int(text) > MAX_NUMBER:
            raise MalformedError(
                WHAT, f"{name} {text[:40]!r}", f"a decimal number up to {MAX_NUMBER}", CLAUSE
            )
        return int(text)

    def below(self, name: str) -> Iterator[Element]:
        """Yield every element of that name below this one, in document order."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.below(name)


def read_toc(data: bytes) -> Element:
    """Return the ``xar`` element of an uncompressed table.  Raises ``BadInputError``."""
    builder = _Builder(data)
    try:  # a codec that is not known is a LookupError
        builder.parser.Parse(data, True)  # noqa: FBT003 - expat's "final"
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MalformedError(WHAT, f"no XML: {error}", "well-formed XML", "XML 1.0") from None
    root = builder.top.children[0]
    if root.name != "xar":
        raise MalformedError(WHAT, f"root {root.name[:40]!r}", "xar", CLAUSE)
    return root


class _Builder:
    """Makes elements as expat meets them."""

    def __init__(self, data: bytes) -> None:
        self.top = Element("", {})
        self._data, self._stack, self._count = data, [self.top], 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True  # else a line at a time, which adds up to minutes
        self.parser.buffer_size = MAX_TEXT
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise MalformedError(WHAT, "a document type declaration", "none", CLAUSE)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._stack) > MAX_DEPTH:
            raise LimitError(WHAT, "more or deeper elements", f"{MAX_ELEMENTS}, {MAX_DEPTH} deep")
        element = Element(name.rpartition(":")[2], attributes, self.parser.CurrentByteIndex)
        # Expat tells where a tag begins; no ">" stands in one but in quotes, skipped by pairs.
        element.inner = element.close = element.end = self._tag_end(element.start)
        self._stack[-1].children.append(element)
        self._stack.append(element)

    def _end(self, _name: str) -> None:
        element = self._stack.pop()
        at = self.parser.CurrentByteIndex
        if at > element.start:
            element.close, element.end = at, self._tag_end(at)

    def _text(self, data: str) -> None:
        element = self._stack[-1]
        if len(element.text) + len(data) > MAX_TEXT:
            raise LimitError(WHAT, f"text in {element.name[:40]}", f"at most {MAX_TEXT} characters")
        element.text += data

    def _tag_end(self, start: int) -> int:
        match = _TAG.match(self._data, start)
        return match.end() if match else start


_TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
