"""Manifests of trees: what the signed document says, read and written.

The payload of a DSSE envelope of type ``application/vnd.in-toto+json``: an in-toto Statement
(in-toto/attestation, spec v1) whose subjects are the tree's regular files, by SHA-256, and whose
predicate holds the rest: links, folders, the tree's name and a version that only grows.  Paths
are relative to the tree, UTF-8 with ``/``, and in the order of their characters; modes are octal
digits, instants RFC 3339, digests lower-case hexadecimal.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen, decoder

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What DSSE calls the type of every in-toto Statement."""

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE: Literal["urn:signward:manifest:1"] = "urn:signward:manifest:1"

FILE_KIND = "file"
"""What an endorsement is of: a whole file's octets, not a program's or script's own digest."""

MANIFEST_NAME = "manifest-name"
MANIFEST_VERSION = "manifest-version"

MAX_FILES = 200_000
"""Names in one manifest: what fits an envelope (``dsse.MAX_OCTETS``); a Debian server has some
120,000 below ``/usr``."""

MAX_VERSION = 2**53 - 1
"""Largest version: the largest integer that every JSON reader holds exactly (RFC 8259 6)."""

_WHAT = "manifest"
_STRAY = re.compile(r"(?:\A|/)(?:\.{0,2})(?:/|\Z)|\x00")
"""A path that is empty, absolute, climbs, or names nothing somewhere on its way."""

Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Mode = Annotated[str, msgspec.Meta(pattern=r"^[0-7]{4}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Digests(Frozen, frozen=True, forbid_unknown_fields=True):
    """A DigestSet with the one digest that we write."""

    sha256: Sha256


class FileNotes(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is said of a file besides its digest.

    ``seen`` is its identity where the manifest was made (inode, modified and changed: see
    ``verbs.manifests``), empty where it was too young to tell a change by.
    """

    mode: Mode
    size: Annotated[int, msgspec.Meta(ge=0)]
    seen: Annotated[str, msgspec.Meta(max_length=128)] = ""


class File(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A regular file (a ResourceDescriptor)."""

    name: Path
    digest: Digests
    annotations: FileNotes


class Link(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A symbolic link, and where it points, as written."""

    name: Path
    target: Annotated[str, msgspec.Meta(max_length=4096)]


class Folder(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder below the tree's own."""

    name: Path
    mode: Mode


class Predicate(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest says of the whole tree."""

    name: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    made: Annotated[datetime, msgspec.Meta(tz=True)]
    folders: tuple[Folder, ...] = ()
    links: tuple[Link, ...] = ()


class Statement(
    Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True,
    rename={"type": "_type", "predicate_type": "predicateType"},
):  # fmt: skip
    """The whole payload; what it is stands in front, so that its first octets tell it."""

    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT
    predicate_type: Literal["urn:signward:manifest:1"] = PREDICATE
    subject: tuple[File, ...]
    predicate: Predicate

    @property
    def names(self) -> int:
        """How many names it lists."""
        return len(self.subject) + len(self.predicate.links) + len(self.predicate.folders)


def written(statement: Statement) -> bytes:
    """Return the payload.  Raises ``LimitError`` and ``MalformedError`` for what none may say."""
    _check(statement)
    return msgspec.json.encode(statement)


def read(payload: bytes) -> Statement:
    """Return what a payload says.  Raises ``LimitError`` and ``MalformedError``."""
    try:
        found = decoder(Statement).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_WHAT, str(error)[:200], "a manifest of a tree", PREDICATE) from None
    _check(found)
    return found


def _check(statement: Statement) -> None:
    if statement.names > MAX_FILES:
        raise LimitError(_WHAT, f"{statement.names} names", f"at most {MAX_FILES}")
    if not statement.subject:
        raise MalformedError(_WHAT, "no file", "at least one", "in-toto Statement v1")
    _check_order(statement.subject)
    _check_order(statement.predicate.links)
    _check_order(statement.predicate.folders)
    names = set(_names(statement))
    if len(names) != statement.names:
        raise MalformedError(_WHAT, "a name that stands for two things", "names of one kind each")


def _names(statement: Statement) -> Iterator[str]:
    listed: tuple[Sequence[File | Link | Folder], ...] = (
        statement.subject, statement.predicate.links, statement.predicate.folders,
    )  # fmt: skip
    yield from (one.name for one in itertools.chain.from_iterable(listed))


def _check_order(listed: Sequence[File | Link | Folder]) -> None:
    """Raise ``MalformedError`` unless every path is a plain one and comes after the one before."""
    before = ""
    for one in listed:
        if _STRAY.search(one.name):
            raise MalformedError(_WHAT, f"the path {one.name[:80]!r}", "a path below the tree")
        if one.name <= before:
            raise MalformedError(_WHAT, f"{one.name[:80]!r} out of order", "each name once, sorted")
        before = one.name
