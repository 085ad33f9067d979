"""Paragraphs of fields, as Debian writes its lists (deb822(5)): Release, Packages, status, sources.

Text in UTF-8; a field is ``Name: value``, lines that begin with a space or tab continue it, an
empty line ends the paragraph.  Names are compared without case and given back in lower case.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.errors import AmbiguousError, LimitError, MalformedError

MAX_OCTETS = 512 * 1024 * 1024
"""Octets of one list, unpacked; Debian's largest (main, amd64, unstable) has some 60 million."""

MAX_PARAGRAPH = 16 * 1024 * 1024
"""Octets of one paragraph; the Release of a large suite has some 400,000."""

_CLAUSE = "deb822(5)"


def blocks(data: bytes, what: str) -> Iterator[bytes]:
    """Yield the octets of each paragraph.  Raises ``LimitError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(what, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    for block in data.split(b"\n\n"):
        if len(block) > MAX_PARAGRAPH:
            raise LimitError(what, f"a paragraph of {len(block)} octets",
                             f"at most {MAX_PARAGRAPH}")  # fmt: skip
        if block.strip(b"\n"):
            yield block.strip(b"\n")


def fields(block: bytes, what: str) -> dict[str, str]:
    """Return the fields of one paragraph; continued lines keep their line feeds.

    Comment lines (``#``) are passed over.  Raises ``MalformedError``, and ``AmbiguousError`` for
    a field that stands twice: readers differ in which of them they take.
    """
    found: dict[str, str] = {}
    name = ""
    for line in block.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if not name:
                raise MalformedError(what, "a continued line first", "a field", _CLAUSE)
            found[name] += "\n" + line
            continue
        key, colon, value = line.partition(":")
        name = key.lower()
        if not colon or not name or " " in name:
            raise MalformedError(what, f"a line {line[:40]!r}", "Name: value", _CLAUSE)
        if name in found:
            raise AmbiguousError(what, f"field {key} twice in a paragraph", "once", _CLAUSE)
        found[name] = value.strip()
    return found


def paragraphs(data: bytes, what: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each paragraph.  Raises as `blocks` and `fields` do."""
    for block in blocks(data, what):
        if found := fields(block, what):
            yield found


def words(value: str) -> tuple[str, ...]:
    """Return the words of a field that is a list, whatever white space is between them."""
    return tuple(value.split())


def lines(value: str) -> tuple[str, ...]:
    """Return the lines of a field that is a table, without those that are empty."""
    return tuple(line.strip() for line in value.split("\n") if line.strip())
