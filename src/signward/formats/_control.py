"""Files that Debian's control data lists by digest (deb-src-control(5), deb-changes(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

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

_ENTRY = re.compile(r"([0-9a-f]+) ([0-9]{1,15}) ([!-~]+)\Z")
_SIZES = {"checksums-sha256": ("sha256", 64), "checksums-sha512": ("sha512", 128)}
_WHAT = "Debian control data"


def listed_files(fields: Mapping[str, str]) -> tuple[Slot, ...]:
    """Return what is said of the files beside the text, by the first list that counts.

    Raises ``MalformedError``, ``AmbiguousError`` for a name that stands twice, ``LimitError``.
    """
    named = next((name for name in CHECKSUMS if name in fields), None)
    return tuple(_slots(named, fields[named])) if named else ()


def listed_weakly(fields: Mapping[str, str], counting: Iterable[Slot]) -> frozenset[str]:
    """Return the files that are listed by MD5 and SHA-1, and not among those that count.

    Readers of a description take a file for listed that any of its lists has.
    """
    lines = (line for name in WEAK for line in fields.get(name, "").split("\n"))
    named = (words[-1] for words in map(str.split, lines) if words)
    return frozenset(named) - {one.name.removeprefix(BESIDE) for one in counting}


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
