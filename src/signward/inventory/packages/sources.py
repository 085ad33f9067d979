"""Where a system takes packages from, and whose keys it asks of whom: sources.list(5).

Both forms are read, lines (``deb [signed-by=…] uri suite component…``) and paragraphs
(``Types:``, ``URIs:``, …).  Of each repository that is used for installing, one per URI and suite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.inventory.packages.deb822 import paragraphs, words

MAX_REPOSITORIES = 10_000
"""Repositories of one system."""

_CLAUSE = "sources.list(5)"
_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)(?:\s+(.*))?\Z")
_QUOTED = frozenset('\\|{}[]<>"^~_=!@#$%^&*')
"""What apt writes as %xx in the names of its lists, besides controls and what is no ASCII."""

_NO = frozenset({"no", "false", "without", "off", "disable", "0"})


class Repository(Frozen, frozen=True, kw_only=True):
    """One suite of one archive; ``suite`` ends with ``/`` where it is a plain folder.

    ``signed_by`` are files of keys and fingerprints, ``keys`` armoured keys written in place;
    with neither the system's own keyrings count.  ``trusted``: the administrator asked not to
    look at signatures, which counts for nothing here.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: tuple[str, ...]
    keys: str
    trusted: bool

    @property
    def prefix(self) -> str:
        """How apt's lists of this repository begin: its folder, with ``_`` for ``/``."""
        base = self.uri if self.uri.endswith("/") else self.uri + "/"
        folder = self.suite if self.suite.endswith("/") else f"dists/{self.suite}/"
        return list_name(base + folder)


def list_name(url: str) -> str:
    """Return how apt names a list by its URL: no scheme, no user, odd characters as %xx."""
    parts = urlsplit(url)
    text = parts.netloc.rpartition("@")[2] + parts.path
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(map(_quoted, octets)).replace("/", "_")


def _quoted(octet: int) -> str:
    character = chr(octet)
    return character if 0x20 < octet < 0x7F and character not in _QUOTED else f"%{octet:02x}"


def read_sources(data: bytes, name: str) -> tuple[Repository, ...]:
    """Return the repositories in one file; ``name`` tells its form.  Raises ``BadInputError``."""
    read = _paragraphs if name.endswith(".sources") else _lines
    found = list[Repository]()
    for one in read(data, name):
        if len(found) == MAX_REPOSITORIES:
            raise LimitError(name, "more repositories", f"at most {MAX_REPOSITORIES}", _CLAUSE)
        found.append(one)
    return tuple(found)


def _lines(data: bytes, name: str) -> Iterator[Repository]:
    for line in data.decode("utf-8", "replace").splitlines():
        line = line.partition("#")[0].strip()
        if not line or line.startswith("deb-src"):
            continue
        told = _LINE.match(line)
        if told is None:
            raise MalformedError(name, f"a line {line[:60]!r}", "deb [options] URI suite",
                                 _CLAUSE)  # fmt: skip
        asked = _options(told[1] or "")
        yield Repository(
            uri=told[2], suite=told[3], components=words(told[4] or ""),
            signed_by=_comma(asked.get("signed-by", "")), keys="",
            trusted=asked.get("trusted", "no") not in _NO,
        )  # fmt: skip


def _options(text: str) -> dict[str, str]:
    """Return a line's options: ``name=value``, names without case."""
    pairs = (one.partition("=") for one in text.split())
    return {name.lower(): value for name, _, value in pairs}


def _comma(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[,\s]+", text)))


def _paragraphs(data: bytes, name: str) -> Iterator[Repository]:
    for one in paragraphs(data, name):
        if "deb" not in words(one.get("types", "")) or one.get("enabled", "yes").lower() in _NO:
            continue
        inline, signed_by = _signers(one.get("signed-by", ""))
        for uri in words(one.get("uris", "")):
            for suite in words(one.get("suites", "")):
                yield Repository(
                    uri=uri, suite=suite, components=words(one.get("components", "")),
                    signed_by=signed_by, keys=inline,
                    trusted=one.get("trusted", "no").lower() not in _NO,
                )  # fmt: skip


def _signers(value: str) -> tuple[str, tuple[str, ...]]:
    """Return armoured keys written in place (a lone dot stands for an empty line), or names."""
    if "-----BEGIN" not in value:
        return "", _comma(value)
    told = (line.strip() for line in value.strip().split("\n"))
    return "".join(f"{'' if line == '.' else line}\n" for line in told), ()
