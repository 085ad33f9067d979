"""in-toto Statements (in-toto/attestation, spec v1 and its forerunner 0.1): what is said of what.

The payload of a DSSE envelope of type `PAYLOAD_TYPE`, JSON in UTF-8: subjects, each a name and
digests (lower-case hexadecimal, by the names of the specification's DigestSet), and the type of
what is said of them.  What the predicate itself says is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen, decoder

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What DSSE calls the type of every in-toto Statement."""

MAX_SUBJECTS = 10_000
"""Subjects of one statement; a build of some thousand files has one attestation for them all."""

_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_WHAT = "in-toto statement"
_CLAUSE = "in-toto attestation 1, Statement"
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_DIGESTS = {
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha3_256": "sha3_256",
    "sha3_384": "sha3_384",
    "sha3_512": "sha3_512",
}
"""Names of a DigestSet that stand for digests of a file's octets, by hashlib's names."""


class Subject(Frozen, frozen=True, kw_only=True):
    """What a statement is about: ``digests`` by hashlib's names; others are left out."""

    name: str
    digests: Mapping[str, bytes]


class Statement(Frozen, frozen=True, kw_only=True):
    """A statement as it is claimed."""

    predicate_type: str
    subjects: tuple[Subject, ...]


class _Subject(msgspec.Struct, frozen=True):
    """A ResourceDescriptor in JSON."""

    digest: dict[str, str]
    name: str = ""


class _Statement(
    msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}
):
    """A statement in JSON."""

    type: str
    predicate_type: str
    subject: tuple[_Subject, ...]


def read_statement(payload: bytes) -> Statement:
    """Return what a statement claims.  Raises ``MalformedError`` and ``LimitError``."""
    try:
        read = decoder(_Statement).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_WHAT, str(error)[:200], "a statement in JSON", _CLAUSE) from None
    if read.type not in _TYPES:
        raise MalformedError(_WHAT, f"type {read.type[:80]!r}", _TYPES[0], _CLAUSE)
    if not 1 <= len(read.subject) <= MAX_SUBJECTS:
        raise LimitError(_WHAT, f"{len(read.subject)} subjects", f"1 to {MAX_SUBJECTS}", _CLAUSE)
    return Statement(
        predicate_type=read.predicate_type,
        subjects=tuple(
            Subject(name=one.name, digests=_digests(one.digest)) for one in read.subject
        ),
    )


def _digests(given: Mapping[str, str]) -> dict[str, bytes]:
    """Return the digests that we know, raw.  Raises ``MalformedError`` for what is no hex."""
    found = {}
    for name, text in given.items():
        if name not in _DIGESTS:
            continue
        if not _HEX.fullmatch(text):
            raise MalformedError(_WHAT, f"{name} {text[:80]!r}", "lower-case hexadecimal", _CLAUSE)
        found[_DIGESTS[name]] = bytes.fromhex(text)
    return found
