"""Lists of digests as vendors publish them: a text of lines, one file and one digest in each.

Read are the lines that GNU's coreutils write (``HEX  name``, ``HEX *name``) and those of BSD's
``digest`` (``SHA512 (name) = HEX``).  In the former the number of digits tells the algorithm.
Empty lines and those that begin with ``#`` are passed over; any other line is none of a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_OCTETS = 64 * 1024 * 1024
"""Octets of one list: some 400,000 lines with SHA-512."""

MAX_ENTRIES = 500_000
"""Digests in one list."""

_BY_DIGITS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
_DIGITS = {name: digits for digits, name in _BY_DIGITS.items()}
_GNU = re.compile(r"([0-9A-Fa-f]{32,128}) [ *](.{1,4096})")
_BSD = re.compile(r"(MD5|SHA1|SHA256|SHA384|SHA512) \((.{1,4096})\) = ([0-9A-Fa-f]{32,128})")


class Entry(Frozen, frozen=True, kw_only=True):
    """One line: ``name`` as it stands there, ``algorithm`` as hashlib calls it, the raw digest."""

    name: str
    algorithm: str
    digest: bytes

    @property
    def base(self) -> str:
        """The name without its folders, whichever system wrote them."""
        return self.name.replace("\\", "/").rpartition("/")[2]


def read_list(name: str, data: bytes) -> tuple[Entry, ...]:
    """Return the entries of a list.

    Raises ``MalformedError`` for a text that is no list, one without any entry too, and
    ``LimitError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(name, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    found = tuple(_entries(name, data.decode("utf-8", "surrogateescape")))
    if not found:
        raise MalformedError(name, "no digest", "a list of digests and names")
    return found


def _entries(what: str, text: str) -> Iterator[Entry]:
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        entry = _entry(line)
        if entry is None:
            raise MalformedError(what, f"line {number}, {line[:40]!r}", "a digest and a name",
                                 hint="lines as sha512sum or sha512 write them")  # fmt: skip
        count += 1
        if count > MAX_ENTRIES:
            raise LimitError(what, "more digests", f"at most {MAX_ENTRIES}")
        yield entry


def _entry(line: str) -> Entry | None:
    gnu, bsd = _GNU.fullmatch(line), _BSD.fullmatch(line)
    if gnu:
        algorithm, name, digits = _BY_DIGITS.get(len(gnu[1]), ""), gnu[2], gnu[1]
    elif bsd:
        algorithm, name, digits = bsd[1].lower(), bsd[2], bsd[3]
    else:
        return None
    if not algorithm or len(digits) != _DIGITS[algorithm]:
        return None
    return Entry(name=name, algorithm=algorithm, digest=bytes.fromhex(digits))
