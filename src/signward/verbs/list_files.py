"""Listing files in a new catalog: the digests that a signed catalog will vouch for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from signward.errors import BadInputError, NotSignableError, SigningError
from signward.formats import ParseOptions, peek_at, recognise
from signward.formats._catalog_draft import MEMBER_DIGEST, Member, unsigned_catalog
from signward.formats.pe import FORMAT as PE
from signward.formats.pe import IMAGE
from signward.policy.record import safe_text
from signward.state import Source
from signward.verbs.release import release
from signward.wire.source import BytesSource, open_source, whole_digest

MAX_MEMBERS = 100_000
"""Files in one catalog that we write; Windows' own largest have some ten thousand."""


def write_catalog(paths: Iterable[str], output: str, at: datetime) -> int:
    """Write an unsigned catalog of ``paths`` (folders: every file below); return its length.

    PE images are listed by their image hash, others by that of all bytes, with SHA-256.
    Raises ``SigningError`` and ``UnreadableError``; nothing is written then.
    """
    members = []
    for path in _files(paths):
        members.append(_member(path))
        if len(members) > MAX_MEMBERS:
            raise NotSignableError(output, "more files", f"at most {MAX_MEMBERS} in a catalog")
    if not members:
        raise NotSignableError(output, "no file to list", "at least one")
    data = unsigned_catalog(members, at)
    if Path(output).exists():
        raise SigningError(output, "a file of that name", "a new name",
                           hint="remove it, or choose another with -o")  # fmt: skip
    release(BytesSource(output, data), output, check=lambda _written: None, expected=None)
    return len(members)


def _files(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=_refuse):
            folders.sort()
            yield from (os.path.join(folder, name) for name in sorted(names))  # noqa: PTH118


def _refuse(error: OSError) -> None:
    """Raise for a folder that cannot be read: a list that lacks its files would go unnoticed."""
    why = (error.strerror or str(error)).lower()
    raise SigningError(str(error.filename), why, "a folder that can be read") from None


def _member(path: str) -> Member:
    with open_source(path) as source:
        image = _image_hash(source)
        digest = image or whole_digest(source, MEMBER_DIGEST)
        source.check_unchanged()
    name = Path(path).name
    if not _is_unicode(name):
        raise NotSignableError(safe_text(path), "a name that is no UTF-8", "one that is",
                               hint="a catalog holds names as Unicode")  # fmt: skip
    return Member(name=name, digest=digest, image=bool(image))


def _is_unicode(name: str) -> bool:
    return safe_text(name) == name


def _image_hash(source: Source) -> bytes:
    """Return a PE image's hash, as embedding a signature would leave it; empty for others."""
    peek = peek_at(source)
    if recognise(peek) is not PE:
        return b""
    try:
        artifact = PE.parse(source, ParseOptions(extension=peek.extension))
        return PE.digests(artifact, frozenset({(IMAGE, MEMBER_DIGEST)}))[IMAGE, MEMBER_DIGEST]
    except BadInputError:
        return b""
