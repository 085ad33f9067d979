"""Signed certificate timestamps (RFC 6962 3.2, 3.3): that a log knows a certificate.

They stand in the certificate itself, in an extension that was not there yet when the log signed:
what it signed is the certificate's TBSCertificate without that extension, and its issuer's key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from signward import integrity
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.trust.x509 import Certificate
from signward.wire import der

EXTENSION = "1.3.6.1.4.1.11129.2.4.2"

MAX_TIMESTAMPS = 16
"""Timestamps of one certificate; Fulcio's have one."""

_WHAT = "signed certificate timestamp"
_CLAUSE = "RFC 6962 3.2"
_EXTENSIONS = 0xA3
_FIXED = 1 + 32 + 8 + 2
"""Octets before the extensions: version, log id, milliseconds, and how long those are."""

_LAST_MILLISECOND = 253_402_300_799_999
_ALGORITHMS = {
    (4, 1): Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
    (4, 3): Algorithm(scheme="ecdsa", digest="sha256"),
}
"""HashAlgorithm and SignatureAlgorithm (RFC 5246 7.4.1.4.1) that RFC 6962 2.1.4 allows."""


class CertificateTimestamp(Frozen, frozen=True, kw_only=True):
    """One timestamp as it is claimed; ``extensions`` are octets that are signed too."""

    log_id: bytes
    milliseconds: int
    extensions: bytes
    algorithm: Algorithm
    value: bytes

    @property
    def time(self) -> datetime:
        """When the log says that it saw the certificate."""
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)


def read_timestamps(certificate: Certificate) -> tuple[CertificateTimestamp, ...]:
    """Return the timestamps in a certificate.  Raises ``BadInputError``."""
    if EXTENSION not in certificate.extensions:
        return ()
    whole = der.parse(certificate.extensions[EXTENSION][1], _WHAT).octets(_WHAT)
    listed, rest = _vector(whole)
    if rest:
        raise MalformedError(_WHAT, f"{len(rest)} octets more", "none", _CLAUSE)
    return tuple(map(_timestamp, _items(listed)))


def _items(listed: bytes) -> Iterator[bytes]:
    for _ in range(MAX_TIMESTAMPS):
        if not listed:
            return
        item, listed = _vector(listed)
        yield item
    if listed:
        raise LimitError(_WHAT, "more of them", f"at most {MAX_TIMESTAMPS}", _CLAUSE)


def _vector(data: bytes) -> tuple[bytes, bytes]:
    """Return what a length of two octets (big-endian) announces, and what follows it."""
    size = int.from_bytes(data[:2], "big")
    if len(data) < 2 + size or len(data) < 2:
        raise MalformedError(_WHAT, f"{len(data)} octets", f"{2 + size}", _CLAUSE)
    return data[2 : 2 + size], data[2 + size :]


def _timestamp(item: bytes) -> CertificateTimestamp:
    if len(item) < _FIXED or item[0] != 0:
        raise MalformedError(_WHAT, "another version, or too short", "version 1", _CLAUSE)
    milliseconds = int.from_bytes(item[33:41], "big")
    extensions, signed = _vector(item[41:])
    value, rest = _vector(signed[2:])
    algorithm = _ALGORITHMS.get((signed[0], signed[1]))
    if rest or algorithm is None or milliseconds > _LAST_MILLISECOND:
        raise MalformedError(_WHAT, "an odd signature or time", "SHA-256 by RSA or ECDSA", _CLAUSE)
    return CertificateTimestamp(
        log_id=item[1:33],
        milliseconds=milliseconds,
        extensions=extensions,
        algorithm=algorithm,
        value=value,
    )


def vouches(
    timestamp: CertificateTimestamp, certificate: Certificate, issuer: Certificate, spki: bytes
) -> bool:
    """Say whether a log's key made a timestamp of a certificate by this issuer.

    Raises ``MalformedError`` for a certificate whose parts cannot be taken apart.
    """
    signed = _signed(timestamp, _without_timestamps(certificate), issuer.spki)
    try:
        integrity.check_value(spki, timestamp.algorithm, signed, timestamp.value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True


def _signed(timestamp: CertificateTimestamp, tbs: bytes, issuer_spki: bytes) -> bytes:
    """Return the CertificateTimestamp of a precert_entry (RFC 6962 3.2)."""
    return b"".join(
        (
            b"\0\0",  # version 1, certificate_timestamp
            timestamp.milliseconds.to_bytes(8, "big"),
            b"\0\1",  # precert_entry
            hashlib.sha256(issuer_spki).digest(),
            len(tbs).to_bytes(3, "big"),
            tbs,
            len(timestamp.extensions).to_bytes(2, "big"),
            timestamp.extensions,
        )
    )


def _without_timestamps(certificate: Certificate) -> bytes:
    """Return the TBSCertificate (DER) without the extension of timestamps."""
    fields = der.parse(certificate.tbs, "certificate").fields("certificate", 6)
    kept = [field.raw for field in fields if field.tag != _EXTENSIONS]
    for field in fields:
        if field.tag == _EXTENSIONS:
            listed = field.children()[0].fields("extensions")
            others = [one.raw for one in listed if one.fields("extension")[0].oid() != EXTENSION]
            kept.append(der.context(3, der.sequence(*others)))
    return der.sequence(*kept)
