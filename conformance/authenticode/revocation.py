"""CRLs and OCSP responses for the test PKI (RFC 5280 5, RFC 6960)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conformance.authenticode.keys import signature_algorithm
from conformance.authenticode.pki import (
    NOW,
    REASONS,
    Extension,
    Identity,
    broken,
    extension,
    instant,
    key_identifier,
)
from signward.wire import der

ISSUED, NEXT = instant(2025, 12, 31), instant(2036)
"""thisUpdate and nextUpdate of evidence that is fresh at ``pki.NOW`` and, for tools that ask the
wall clock about lists whatever instant they are given, for years after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """One revoked certificate; ``reason`` empty leaves the reasonCode out."""

    serial: int
    at: datetime
    reason: str = ""
    invalid_from: datetime | None = None


def crl(
    issuer: Identity,
    revoked: Sequence[Revoked] = (),
    *,
    this_update: datetime = ISSUED,
    next_update: datetime | None = NEXT,
    number: int = 1,
    delta_base: int | None = None,
    expired_certs_from: datetime | None = None,
    extensions: Sequence[Extension] = (),
    issuer_name: bytes | None = None,
    digest: str = "sha256",
    break_signature: bool = False,
) -> bytes:
    """Return a DER CertificateList, version 2 (RFC 5280 5.1).

    ``delta_base`` makes it a delta CRL (5.2.4); ``expired_certs_from`` is the
    expiredCertsOnCRL extension (X.509 9.5.2.8).
    """
    key_id = der.sequence(der.context(0, issuer.key_identifier, constructed=False))
    listed: list[Extension] = [
        ("2.5.29.35", False, key_id),
        ("2.5.29.20", False, der.integer(number)),
    ]
    if delta_base is not None:
        listed.append(("2.5.29.27", True, der.integer(delta_base)))
    if expired_certs_from is not None:
        listed.append(("2.5.29.60", False, der.generalized_time(expired_certs_from)))
    listed.extend(extensions)
    algorithm = signature_algorithm(issuer.key, digest)
    entries = b"".join(map(_crl_entry, revoked))
    tbs = der.sequence(
        der.integer(1),
        algorithm,
        issuer_name or issuer.subject,
        der.utc_time(this_update),
        der.utc_time(next_update) if next_update else b"",
        der.encode(der.SEQUENCE, entries) if entries else b"",
        der.context(0, der.sequence(*map(extension, listed))),
    )
    value = issuer.key.sign(tbs, digest)
    return der.sequence(tbs, algorithm, der.bit_string(broken(value) if break_signature else value))


def _crl_entry(entry: Revoked) -> bytes:
    listed: list[Extension] = []
    if entry.reason:
        code = REASONS.index(entry.reason)
        listed.append(("2.5.29.21", False, der.encode(der.ENUMERATED, bytes((code,)))))
    if entry.invalid_from:
        listed.append(("2.5.29.24", False, der.generalized_time(entry.invalid_from)))
    extensions = der.sequence(*map(extension, listed)) if listed else b""
    return der.sequence(der.integer(entry.serial), der.utc_time(entry.at), extensions)


def issuing_distribution_point(*, only_ca: bool = False, indirect: bool = False) -> Extension:
    """Return a critical issuingDistributionPoint (RFC 5280 5.2.5)."""
    flags = b"\x82\x01\xff" if only_ca else b""
    return ("2.5.29.28", True, der.sequence(flags + (b"\x84\x01\xff" if indirect else b"")))


def ocsp(
    subject: Identity,
    *,
    revoked_at: datetime | None = None,
    reason: str = "",
    unknown: bool = False,
    responder: Identity | None = None,
    produced_at: datetime = ISSUED,
    this_update: datetime = ISSUED,
    next_update: datetime | None = NEXT,
    archive_cutoff: datetime | None = None,
    nonce: bytes = b"",
    embed_responder: bool = True,
    break_signature: bool = False,
) -> bytes:
    """Return a successful DER OCSPResponse about one certificate (RFC 6960 4.2.1).

    ``responder`` None means the issuer itself answers; otherwise it is a delegated
    responder whose certificate is embedded.  ``archive_cutoff`` is 4.4.4.
    """
    issuer = subject.issuer or subject
    signer = responder or issuer
    extensions = der.context(1, der.sequence(_archive_cutoff(archive_cutoff)))
    single = der.sequence(
        _certificate_id(subject, issuer),
        _status(revoked_at, reason, unknown=unknown),
        der.generalized_time(this_update),
        der.context(0, der.generalized_time(next_update)) if next_update else b"",
        extensions if archive_cutoff else b"",
    )
    nonce_value = extension(("1.3.6.1.5.5.7.48.1.2", False, der.octet_string(nonce)))
    data = der.sequence(
        der.context(2, der.octet_string(key_identifier(signer.key))),
        der.generalized_time(produced_at),
        der.sequence(single),
        der.context(1, der.sequence(nonce_value)) if nonce else b"",
    )
    value = signer.key.sign(data)
    certificates = der.context(0, der.sequence(responder.certificate)) if responder else b""
    basic = der.sequence(
        data,
        signature_algorithm(signer.key),
        der.bit_string(broken(value) if break_signature else value),
        certificates if embed_responder else b"",
    )
    answer = der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1"), der.octet_string(basic))
    return der.sequence(der.encode(der.ENUMERATED, b"\0"), der.context(0, answer))


def _archive_cutoff(at: datetime | None) -> bytes:
    value = der.generalized_time(at or NOW)
    return extension(("1.3.6.1.5.5.7.48.1.6", False, value))


def _certificate_id(subject: Identity, issuer: Identity) -> bytes:
    """CertID with SHA-1, as every responder understands it (RFC 6960 4.1.1)."""
    return der.sequence(
        der.sequence(der.oid("1.3.14.3.2.26"), der.null()),
        der.octet_string(hashlib.sha1(issuer.subject).digest()),
        der.octet_string(issuer.key_identifier),
        der.integer(subject.serial),
    )


def _status(revoked_at: datetime | None, reason: str, *, unknown: bool) -> bytes:
    if unknown:
        return der.context(2, b"", constructed=False)
    if revoked_at is None:
        return der.context(0, b"", constructed=False)
    code = der.encode(der.ENUMERATED, bytes((REASONS.index(reason),))) if reason else b""
    return der.context(
        1, der.generalized_time(revoked_at) + (der.context(0, code) if reason else b"")
    )
