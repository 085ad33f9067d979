"""What a Python wheel says of its own files, and how names of distributions are compared.

``*.dist-info/RECORD`` lists every other member with a digest (PEP 427, "The .dist-info
directory"): comma-separated values in UTF-8, the digest as ``ALGORITHM=BASE64URL`` without
padding.  Nobody signed that list by itself; an attestation covers it with the whole wheel.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
from collections.abc import Iterator, Mapping

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Slot, Source
from signward.wire.unzip import check_expansion, read_member
from signward.wire.zip import ZipMember, read_directory, refuse_ambiguous

PART = "part:"
"""How slots of a wheel's members begin."""

MAX_RECORD = 32 * 1024 * 1024
"""Octets of a list; one of 100,000 files has some 10 MB."""

MAX_TOLD = 50
"""Members told of that the list leaves out."""

_CLAUSE = "PEP 427, RECORD"
_RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
_UNLISTED = (".jws", ".p7s")
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})
"""PEP 427: sha256 or better."""

_SDIST = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)(?P<ending>\.tar\.gz|\.zip)")
_WHEEL_PARTS = (5, 6)


class Wheel(Frozen, frozen=True, kw_only=True, gc=True):
    """The members of a wheel by slot, what its list claims of them, and what that lacks."""

    members: Mapping[str, ZipMember]
    listed: tuple[Slot, ...]
    findings: tuple[Finding, ...]


def is_wheel(name: str) -> bool:
    """Say whether a file's name is a wheel's."""
    return name.lower().endswith(".whl")


def read_wheel(source: Source) -> Wheel:
    """Return what a wheel lists.  Raises ``BadInputError``."""
    directory = read_directory(source)
    refuse_ambiguous(directory)
    check_expansion(directory.members, source.length)
    members = {m.name: m for m in directory.members if not m.directory}
    lists = [name for name in members if _RECORD.fullmatch(name)]
    if len(lists) != 1:
        raise MalformedError(source.name, f"{len(lists)} lists of files", "one RECORD", _CLAUSE)
    listed = _rows(read_member(source, members[lists[0]], MAX_RECORD), lists[0])
    own = {lists[0], *(lists[0] + ending for ending in _UNLISTED)}
    return Wheel(
        members={PART + name: member for name, member in members.items()},
        listed=tuple(slot for slot in listed.values() if slot is not None),
        findings=tuple(_unlisted(source.name, members, listed, own)),
    )


def _rows(data: bytes, name: str) -> dict[str, Slot | None]:
    """Return by path the digest that a list claims; None where it claims none."""
    found: dict[str, Slot | None] = {}
    try:
        rows = list(csv.reader(data.decode("utf-8").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedError(name, str(error)[:200], "comma-separated UTF-8", _CLAUSE) from None
    for row in rows:
        if len(row) != 3 or not row[0]:
            raise MalformedError(name, f"{len(row)} fields", "path, digest, size", _CLAUSE)
        if row[0] in found:
            raise AmbiguousError(name, f"{row[0][:200]!r} twice", "each path once", _CLAUSE)
        found[row[0]] = _slot(row[0], row[1], name) if row[1] else None
    return found


def _slot(path: str, digest: str, name: str) -> Slot:
    algorithm, _, encoded = digest.partition("=")
    if algorithm not in _ALGORITHMS:
        raise MalformedError(name, f"digest {algorithm[:40]!r}", "SHA-256 or better", _CLAUSE)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(name, repr(encoded[:100]), "Base64 (RFC 4648 5)", _CLAUSE) from None
    return Slot(name=PART + path, algorithm=algorithm, digest=raw)


def _unlisted(
    wheel: str, members: Mapping[str, ZipMember], listed: Mapping[str, Slot | None], own: set[str]
) -> Iterator[Finding]:
    """Report members that the list gives no digest of: an installer refuses them."""
    bare = (name for name in members if name not in own and listed.get(name) is None)
    for number, name in enumerate(bare):
        if number == MAX_TOLD:
            return
        yield Finding(
            code=Code.SLOT_MISSING,
            effect=Effect.REJECT,
            subject=f"{wheel}, {name}",
            found="no digest in the wheel's own list",
            required="one: installers refuse what is not listed",
            clause=_CLAUSE,
        )


def same_distribution(one: str, other: str) -> bool:
    """Say whether two file names are of one distribution (binary and source distribution formats).

    Names of projects are compared as the index does, versions letter for letter but for case,
    and a wheel's tags as sets.  What is no distribution's name is never one.
    """
    parsed = _parsed(one)
    return parsed is not None and parsed == _parsed(other)


def _parsed(name: str) -> tuple[object, ...] | None:
    if len(name) > 512:
        raise LimitError("file name", f"{len(name)} characters", "at most 512")
    if is_wheel(name):
        parts = name[:-4].split("-")
        if len(parts) not in _WHEEL_PARTS or not all(parts):
            return None
        build = parts[2] if len(parts) == max(_WHEEL_PARTS) else ""
        tags = tuple(frozenset(part.lower().split(".")) for part in parts[-3:])
        return _project(parts[0]), parts[1].lower(), build, tags
    found = _SDIST.fullmatch(name)
    if found is None:
        return None
    return _project(found["name"]), found["version"].lower(), found["ending"]


def _project(name: str) -> str:
    """Return a project's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
