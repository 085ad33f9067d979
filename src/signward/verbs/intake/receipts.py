"""Receipts: what the gate vouches for, as verification summaries signed by its key."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from signward.errors import EvidenceError
from signward.frozen import Frozen
from signward.inventory.walk import printable
from signward.policy.record import safe_text
from signward.policy.summary import (
    FAILED_LEVEL,
    PASSED_LEVEL,
    PAYLOAD_TYPE,
    Predicate,
    Reason,
    Resource,
    Statement,
    Verifier,
    encode,
    read,
)
from signward.state import Outcome
from signward.trust.sealed import open_sealed, read_keys
from signward.verbs.intake.delivery import Parts
from signward.verbs.options import read_option
from signward.verbs.release import settle
from signward.verbs.sealing import Sealer
from signward.wire.whole import write_whole

SUFFIX = ".intoto.jsonl"
"""Behind the name of the file that a receipt is about: one envelope, on one line."""

MAX_OCTETS = 1024 * 1024
"""Largest receipt read; ours have some two kilobytes."""


class Terms(Frozen, frozen=True, kw_only=True):
    """What all receipts of a run say: whose word it is, and by which policy.

    ``resource`` begins the URI of every file; without it they are package URLs (``pkg:generic``).
    """

    verifier: str
    at: datetime
    policies: tuple[Resource, ...]
    resource: str = ""


class Kept(NamedTuple):
    """A receipt as it was found: what it says, or why it does not count."""

    path: Path
    name: str
    statement: Statement | None
    problem: str = ""


def policy_resources(
    names: Sequence[tuple[str, int]], files: Sequence[bytes]
) -> tuple[Resource, ...]:
    """Return how receipts name policies: by name and version, and the digest of their file."""
    return tuple(
        Resource(uri=f"urn:signward:policy:{name}:{version}",
                 digest={"sha256": hashlib.sha256(data).hexdigest()})
        for (name, version), data in zip(names, files, strict=True)
    )  # fmt: skip


def statement_of(terms: Terms, name: str, sha256: str, reason: Reason) -> Statement:
    """Return what the gate says of one file; ``name`` is its path below the gate's folder."""
    passed = reason.outcome == Outcome.ACCEPTED
    return Statement(
        subject=(Resource(name=name, digest={"sha256": sha256}),),
        predicate=Predicate(
            verifier=Verifier(id=terms.verifier),
            time_verified=terms.at.replace(microsecond=0),
            resource_uri=_resource(terms, name, sha256),
            policy=terms.policies[0],
            verification_result="PASSED" if passed else "FAILED",
            verified_levels=(PASSED_LEVEL if passed else FAILED_LEVEL,),
            slsa_version="1.0",
            reason=reason,
        ),
    )


def _resource(terms: Terms, name: str, sha256: str) -> str:
    if terms.resource:
        return terms.resource + quote(name)
    return f"pkg:generic/{quote(name)}?checksum=sha256:{sha256}"


def name_of(parts: Parts) -> str:
    """Return a relative path as receipts write it: octets that are no UTF-8 made visible."""
    return safe_text("/".join(parts))


def write(folder: Path, parts: Parts, statement: Statement, sealer: Sealer) -> Path:
    """Sign a receipt and put it below ``folder``; return where it is.

    Raises ``EvidenceError`` and ``KeyProviderError``.
    """
    place = folder.joinpath(*parts[:-1], parts[-1] + SUFFIX)
    body = sealer.seal(PAYLOAD_TYPE, encode(statement)) + b"\n"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, body, mode=0o644)
        settle(str(place.parent))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EvidenceError(f"{printable(str(place))}: {why}") from None
    return place


def receipt_keys(files: Sequence[str]) -> tuple[bytes, ...]:
    """Return the public keys (DER) of those whose receipts count.  Raises ``EvidenceError``."""
    return tuple(dict.fromkeys(k for path in files for k in read_keys(path, read_option(path))))


def open_receipt(path: Path, keys: Sequence[bytes]) -> Statement:
    """Return what a receipt says that one of ``keys`` (DER) signed.  Raises ``EvidenceError``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO waits
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise EvidenceError(f"{printable(str(path))}: no regular file")
            data = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise EvidenceError(f"{printable(str(path))}: {error.strerror}") from None
    if len(data) > MAX_OCTETS:
        raise EvidenceError(f"{printable(str(path))}: more than {MAX_OCTETS} octets")
    name = printable(str(path))
    return read(name, open_sealed(name, data, keys, PAYLOAD_TYPE, any_key_id=True))


def kept(folder: Path, keys: Sequence[bytes]) -> Iterator[Kept]:
    """Yield every receipt below a folder, in order of names."""
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        yield _one(path, keys, name_of(path.relative_to(folder).parts).removesuffix(SUFFIX))


def wanted(path: Path, keys: Sequence[bytes], verifier: str, sha256: str) -> Iterator[Kept]:
    """Yield the receipt at ``path``, or all below it, that speak of what is asked.

    ``verifier`` and ``sha256`` (hex) narrow it where they are given.  A receipt that does not
    count is yielded with its problem, unless a file was asked for: anybody may write such ones.
    """
    single = [] if path.is_dir() else [_one(path, keys, path.name.removesuffix(SUFFIX))]
    for one in single or kept(path, keys):
        if one.statement is None:
            if not sha256:
                yield one
        elif verifier in ("", one.statement.predicate.verifier.id) and (
            not sha256 or one.statement.speaks_of(sha256)
        ):
            yield one


def _one(path: Path, keys: Sequence[bytes], name: str) -> Kept:
    try:
        return Kept(path, name, open_receipt(path, keys))
    except EvidenceError as error:
        return Kept(path, name, None, str(error))
