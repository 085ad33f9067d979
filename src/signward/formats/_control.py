"""Debian's control data (deb822(5), deb-src-control(5)): one paragraph of fields, read strictly.

Readers differ about comments, about lines of nothing but spaces and about a field that stands
twice, so all of these are refused: the text is signed, but what it says must be one thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.state import Slot

MAX_FILES = 10_000
"""Files that one text may list; the uploads of LibreOffice and of kernels list some 200."""

BESIDE = "file:"
"""How slots of files beside the text are named, before the file's name."""

CHECKSUMS = ("checksums-sha256", "checksums-sha512")
"""Fields whose digests count, in the order of preference; most writers have the first."""

WEAK = ("files", "checksums-sha1")
"""Fields that list the same files by MD5 and SHA-1."""

_FIELD = re.compile(r"([!-\",.-9;-~][!-9;-~]*):[ \t]*(.*)\Z")
_ENTRY = re.compile(r"([0-9a-f]+) ([0-9]{1,15}) ([!-~]+)\Z")
_SIZES = {"checksums-sha256": ("sha256", 64), "checksums-sha512": ("sha512", 128)}
_WHAT = "Debian control data"
_CLAUSE = "deb822(5)"


def read_paragraph(text: bytes) -> Mapping[str, str]:
    """Return the fields of the one paragraph, by lower-case name; lines of a value end with LF.

    Empty lines may stand around it.  Raises ``MalformedError`` and ``AmbiguousError``.
    """
    try:
        lines = text.decode("utf-8").strip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError(_WHAT, f"no UTF-8 ({error.reason})", "UTF-8", _CLAUSE) from None
    fields, name = dict[str, list[str]](), ""
    for line in lines:
        if name and line.startswith((" ", "\t")):
            fields[name].append(line[1:])
            continue
        field = _FIELD.match(line)
        if field is None:
            found = "several paragraphs" if not line else f"a line {line[:60]!r}"
            raise MalformedError(_WHAT, found, "one paragraph of fields", _CLAUSE)
        name = field[1].lower()
        if name in fields:
            raise AmbiguousError(_WHAT, f"{field[1]} twice", "each field once", _CLAUSE)
        fields[name] = [field[2]]
    return {name: "\n".join(value) for name, value in fields.items()}


def listed_files(fields: Mapping[str, str]) -> tuple[Slot, ...]:
    """Return what is said of the files beside the text, by the first list that counts.

    Raises ``MalformedError``, ``AmbiguousError`` for a name that stands twice, ``LimitError``.
    """
    named = next((name for name in CHECKSUMS if name in fields), None)
    return tuple(_slots(named, fields[named])) if named else ()


def lists_weakly(fields: Mapping[str, str]) -> bool:
    """Say whether files are listed by digests that do not count only."""
    return any(one in fields for one in WEAK) and not any(one in fields for one in CHECKSUMS)


def _slots(field: str, value: str) -> Iterator[Slot]:
    (algorithm, size), seen = _SIZES[field], set[str]()
    for line in filter(None, value.split("\n")):
        entry = _ENTRY.match(line.strip(" \t"))
        if entry is None or len(entry[1]) != size:
            raise MalformedError(_WHAT, f"{field}: {line[:80]!r}", "digest, size and name",
                                 "deb-src-control(5)")  # fmt: skip
        if entry[3] in seen:
            raise AmbiguousError(_WHAT, f"{entry[3][:80]} listed twice", "each file once",
                                 "deb-src-control(5)")  # fmt: skip
        if len(seen) == MAX_FILES:
            raise LimitError(_WHAT, "more files", f"at most {MAX_FILES}")
        seen.add(entry[3])
        yield Slot(name=BESIDE + entry[3], algorithm=algorithm, digest=bytes.fromhex(entry[1]))
