"""Entries for a revocation feed, made of what a user names: a file, a certificate, a digest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.trust.feed import Entry, RevokedCertificate, RevokedDigest, RevokedPublisher
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.x509 import load_certificate
from signward.verbs.options import read_option
from signward.wire.source import open_source, whole_digest

_SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

_TIME = "%Y-%m-%dT%H:%M:%SZ"

_Kind = TypeVar("_Kind", bound=Entry)

Dates = Mapping[str, str | datetime | None]
"""``revoked``, ``invalid_from`` and ``note`` of any entry."""


def dates(
    now: datetime, revoked: datetime | None, invalid_from: datetime | None, note: str = ""
) -> Dates:
    """Return the dates and the note of an entry that is added ``now``; aware instants.

    Raises ``EvidenceError`` for a date that lies ahead: the entry would not count until then.
    """
    since = revoked or now
    if since > now:
        raise EvidenceError(_odd_date("--revoked", since, f"one until now, {now:{_TIME}}"))
    if invalid_from is not None and invalid_from > since:
        least = f"one until it is revoked, {since:{_TIME}}"
        raise EvidenceError(_odd_date("--invalid-from", invalid_from, least))
    return {"revoked": since, "invalid_from": invalid_from, "note": note}


def _odd_date(what: str, found: datetime, required: str) -> str:
    return f"{what}: found {found:{_TIME}}, required {required}"


def certificate(path: str, reason: str, dates: Dates) -> RevokedCertificate:
    """Return the entry about the first certificate in a file.  Raises ``EvidenceError``."""
    der = blocks(path, read_option(path), CERTIFICATES)[0]
    try:
        return of_certificate(der, reason, dates)
    except BadInputError as error:
        raise EvidenceError(f"{path}: {error}") from None


def of_certificate(der: bytes, reason: str, dates: Dates) -> RevokedCertificate:
    """Return the entry that names a certificate in every way.  Raises ``BadInputError``."""
    seen = load_certificate(der)
    names = {"issuer": seen.issuer.hex(), "serial": f"{seen.serial:x}", "sha256": seen.sha256.hex()}
    return _made(RevokedCertificate, {**names, "reason": reason}, dates)


def publisher(identity: str, dates: Dates) -> RevokedPublisher:
    """Return the entry about a publisher.  Raises ``EvidenceError``."""
    if not identity.startswith(("subject:", "eku:")):
        raise EvidenceError(
            f"--publisher {identity[:80]!r}: required an identity, subject:... or eku:..., as "
            "verify --json tells it (publisher.identity)"
        )
    return _made(RevokedPublisher, {"identity": identity}, dates)


def file(path: str, dates: Dates) -> RevokedDigest:
    """Return the entry about a file, by the SHA-256 of its octets.  Raises ``EvidenceError``."""
    try:
        with open_source(path) as source:
            value = whole_digest(source, "sha256").hex()
            source.check_unchanged()
    except UnreadableError as error:
        raise EvidenceError(str(error)) from None
    return digest("file", f"sha256:{value}", dates)


def digest(of: str, text: str, dates: Dates) -> RevokedDigest:
    """Return the entry about ``sha256:HEX``, of a file or of content.  Raises ``EvidenceError``."""
    algorithm, _, value = text.lower().partition(":")
    try:
        right = len(bytes.fromhex(value)) == _SIZES.get(algorithm)
    except ValueError:
        right = False
    if not right:
        raise EvidenceError(f"{text[:160]!r}: required NAME:HEX, NAME of {', '.join(_SIZES)}")
    return _made(RevokedDigest, {"of": of, "algorithm": algorithm, "digest": value}, dates)


def _made(kind: type[_Kind], names: Mapping[str, str], dates: Dates) -> _Kind:
    try:
        return msgspec.convert({**names, **dates}, kind)
    except msgspec.ValidationError as error:
        raise EvidenceError(f"feed entry: {error}") from None
