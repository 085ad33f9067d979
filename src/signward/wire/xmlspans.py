"""Where the elements of an XML document lie, so that a signer can change one and leave the rest.

For documents that ``xmltree.parse`` took: well-formed, without a DTD, here in UTF-8.  Offsets
are in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signward.errors import MalformedError
from signward.frozen import Frozen

_MARKUP = re.compile(
    rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    rb"|<(?P<close>/)?(?P<name>[^\s/>!?]+)(?:[^>\"']|\"[^\"]*\"|'[^']*')*?(?P<empty>/)?>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"(\s+)([^\s=/>]+)(\s*=\s*)(\"[^\"]*\"|'[^']*')")
_TAG_NAME = re.compile(rb"<[^\s/>]+")


class Span(Frozen, frozen=True, kw_only=True):
    """An element: its start tag, its contents and its end tag; an empty tag has no contents."""

    start: int
    inner: int
    close: int
    end: int


def spans(data: bytes) -> tuple[Span, ...]:
    """Return the span of every element, in document order (as ``lxml`` iterates them)."""
    found: list[Span | None] = []
    starts: list[tuple[int, int, int]] = []
    for match in _MARKUP.finditer(data):
        if match["name"] is None:
            continue
        if match["close"]:
            index, start, inner = starts.pop()
            found[index] = Span(start=start, inner=inner, close=match.start(), end=match.end())
        elif match["empty"]:
            at = match.end()
            found.append(Span(start=match.start(), inner=at, close=at, end=at))
        else:
            starts.append((len(found), match.start(), match.end()))
            found.append(None)
    whole = tuple(span for span in found if span is not None)
    if starts or len(whole) != len(found):
        raise MalformedError("manifest", "tags that do not pair", "well-formed XML", "XML 1.0 3")
    return whole


def attributes_text(tag: bytes) -> bytes:
    """Return the attributes of a start tag as they are written, namespace declarations too."""
    name = _TAG_NAME.match(tag)
    return b"".join(b" " + m[2] + b"=" + m[4] for m in _attributes(tag, name.end() if name else 0))


def with_attribute(tag: bytes, name: str, value: str) -> bytes:
    """Return a start tag in which an attribute has another value, or is added behind the others."""
    wanted, written = name.encode(), f'"{escaped(value)}"'.encode()
    end = _TAG_NAME.match(tag)
    at = end.end() if end else 0
    for match in _attributes(tag, at):
        if match[2] == wanted:
            return tag[: match.start(4)] + written + tag[match.end(4) :]
        at = match.end()
    return tag[:at] + b" " + wanted + b"=" + written + tag[at:]


def _attributes(tag: bytes, at: int) -> Iterator[re.Match[bytes]]:
    match = _ATTRIBUTE.match(tag, at)
    while match:
        yield match
        match = _ATTRIBUTE.match(tag, match.end())


_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;",
     "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)  # fmt: skip


def escaped(text: str) -> str:
    """Return characters as they stand in an attribute or an element (XML 1.0 2.4, 3.3.3)."""
    return text.translate(_ESCAPES)
