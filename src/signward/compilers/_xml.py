"""XML as Windows' policies are written: a tree of tags to octets, the same for the same tree.

What XML 1.0 cannot hold (most control characters, halves of surrogate pairs) becomes U+FFFD: a
note may say anything, and a file that no parser reads protects nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signward.frozen import Frozen

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters outside ``Char`` (XML 1.0 2.2)."""

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;",
            "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}  # fmt: skip
"""White space too: an attribute's is normalized otherwise (XML 1.0 3.3.3)."""

_SPECIAL = re.compile(f"[{''.join(_ESCAPES)}]")


class Tag(Frozen, frozen=True, kw_only=True):
    """An element with attributes in order, and either children or text."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: tuple[Tag, ...] = ()
    text: str = ""


def tag(element: str, /, *children: Tag, text: str = "", **attributes: str) -> Tag:
    """Return an element; attributes that are empty are left out."""
    given = tuple((name, value) for name, value in attributes.items() if value)
    return Tag(name=element, attributes=given, children=children, text=text)


def document(root: Tag) -> bytes:
    """Return the document in UTF-8, indented by two spaces, with LF."""
    return "\n".join(('<?xml version="1.0" encoding="utf-8"?>', *_lines(root, ""), "")).encode()


def holds(text: str) -> bool:
    """Say whether XML can hold the text as it is: a condition with less is another condition."""
    return not _NOT_XML.search(text)


def escaped(text: str) -> str:
    """Return text as it may stand in an element or between double quotes."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], _NOT_XML.sub("\ufffd", text))


def _lines(element: Tag, indent: str) -> Iterator[str]:
    opening = element.name + "".join(f' {n}="{escaped(v)}"' for n, v in element.attributes)
    if element.children:
        yield f"{indent}<{opening}>"
        for child in element.children:
            yield from _lines(child, indent + "  ")
        yield f"{indent}</{element.name}>"
    elif element.text:
        yield f"{indent}<{opening}>{escaped(element.text)}</{element.name}>"
    else:
        yield f"{indent}<{opening} />"
