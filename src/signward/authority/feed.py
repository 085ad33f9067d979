"""The revocation feed: what is written (``trust.feed`` reads it).

The payload is JSON with its fields in a fixed order and its entries sorted, so that the same
facts give the same octets.  It ends some hours after it was made; whoever publishes it makes
a new version before that, and one with every revocation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from signward.envelopes.dsse import MAX_OCTETS, DsseDraft, key_id
from signward.errors import AuthorityError
from signward.integrity import usual_algorithm
from signward.trust.feed import (
    MAX_ENTRIES,
    MAX_VERSION,
    PAYLOAD_TYPE,
    Document,
    Entry,
    RevokedCertificate,
    RevokedDigest,
    RevokedPublisher,
)

MAX_HOURS = 24 * 31
"""Longest life of a version: who is cut off from news must notice within a month."""

_Kind = TypeVar("_Kind", bound=Entry)

_BASE64_GROWTH = 4 / 3
_SPARE = 64 * 1024
"""Octets of an envelope beside its payload: a signature and names."""


def document(
    authority: str,
    version: int,
    issued: datetime,
    hours: int,
    entries: Iterable[Entry],
) -> Document:
    """Return the document that says these entries; ``issued`` is aware, ``hours`` its life.

    Raises ``AuthorityError`` for a life, version or number of entries beyond its bounds.
    """
    if not 1 <= hours <= MAX_HOURS:
        raise AuthorityError("[feed] hours", str(hours), f"1 to {MAX_HOURS}")
    if not 1 <= version <= MAX_VERSION:
        raise AuthorityError("feed version", str(version), f"1 to {MAX_VERSION}")
    told = tuple(entries)
    made = Document(
        authority=authority,
        version=version,
        issued=issued,
        expires=issued + timedelta(hours=hours),
        certificates=_sorted(told, RevokedCertificate),
        publishers=_sorted(told, RevokedPublisher),
        digests=_sorted(told, RevokedDigest),
    )
    most = max(map(len, (made.certificates, made.publishers, made.digests)))
    if most > MAX_ENTRIES:
        raise AuthorityError("feed", f"{most} entries of a kind", f"at most {MAX_ENTRIES}")
    return made


def _sorted(entries: tuple[Entry, ...], kind: type[_Kind]) -> tuple[_Kind, ...]:
    """Return the entries of one kind, each once, in the order of their JSON."""
    own = {msgspec.json.encode(entry): entry for entry in entries if isinstance(entry, kind)}
    return tuple(own[key] for key in sorted(own))


def draft(made: Document, spki: bytes) -> DsseDraft:
    """Return the envelope that lacks the signature of the key (DER SubjectPublicKeyInfo).

    Raises ``AuthorityError`` for a document that no reader would take, and
    ``integrity.UnsupportedKeyError``.
    """
    payload = msgspec.json.encode(made)
    if len(payload) * _BASE64_GROWTH + _SPARE > MAX_OCTETS:
        raise AuthorityError(
            "feed", f"{len(payload)} octets", f"an envelope of at most {MAX_OCTETS}",
            hint="take out entries about certificates that have long expired",
        )  # fmt: skip
    return DsseDraft(
        payload_type=PAYLOAD_TYPE,
        payload=payload,
        algorithm=usual_algorithm(spki),
        key_id=key_id(spki),
    )
