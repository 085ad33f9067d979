"""RFC 3161 timestamp tokens and PKCS#9 countersignatures, with their defects as arguments.

Both ``token`` and ``countersignature`` return a function from the signature value to an
unsigned attribute: they fit ``cms.Signer(unsigned=...)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import count

from conformance.authenticode import cms
from conformance.authenticode.keys import digest_algorithm
from conformance.authenticode.pki import Identity
from signward.wire import der

TST_INFO = "1.2.840.113549.1.9.16.1.4"
MS_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
COUNTERSIGNATURE = "1.2.840.113549.1.9.6"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
POLICY = "1.3.6.1.4.1.99999.1"
_serials = count(1)


def token_der(
    value: bytes,
    tsa: Identity,
    *,
    at: datetime,
    imprint_digest: str = "sha256",
    digest: str = "sha256",
    imprint: bytes | None = None,
    accuracy_seconds: int | None = 1,
    accuracy: bytes | None = None,
    nonce: int | None = None,
    ess: str = "v2",
    ess_certificate: bytes | None = None,
    break_value: bool = False,
    certificates: Sequence[bytes] | None = None,
    indefinite: bool = False,
    attribute_certificates: Sequence[bytes] = (),
    content_type: str = TST_INFO,
    signed_attribute_type: str = "",
    message_digest: bytes | None = None,
) -> bytes:
    """Return a TimeStampToken over the signature value (RFC 3161 2.4.2).

    ``accuracy`` replaces that whole field (DER), ``imprint`` the digest of ``value``; ``ess``
    is ``v1``, ``v2`` or empty;
    ``ess_certificate`` makes the ESSCertID speak of another certificate.
    """
    spoken_for = imprint if imprint is not None else hashlib.new(imprint_digest, value).digest()
    info = der.sequence(
        der.integer(1),
        der.oid(POLICY),
        der.sequence(digest_algorithm(imprint_digest), der.octet_string(spoken_for)),
        der.integer(next(_serials)),
        der.generalized_time(at),
        _accuracy(accuracy_seconds) if accuracy is None else accuracy,
        der.integer(nonce) if nonce is not None else b"",
    )
    extra = _ess(ess, ess_certificate or tsa.certificate)
    signer = cms.Signer(
        identity=tsa,
        digest=digest,
        signing_time=at,
        extra=extra,
        break_value=break_value,
        content_type=signed_attribute_type,
        message_digest=message_digest,
    )
    embedded = [one.certificate for one in tsa.path[:-1]] if certificates is None else certificates
    return cms.sign(
        info,
        signer,
        content_type=content_type,
        octets=True,
        version=3,
        certificates=[*embedded, *attribute_certificates],
        indefinite=indefinite,
    )


def _accuracy(seconds: int | None) -> bytes:
    return b"" if seconds is None else der.sequence(der.integer(seconds))


def token(tsa: Identity, **arguments: object) -> cms.Unsigned:
    """Return Microsoft's unsigned attribute with a token over the value (see ``token_der``)."""

    def make(value: bytes) -> bytes:
        return cms.attribute(MS_TIMESTAMP, token_der(value, tsa, **arguments))  # type: ignore[arg-type]

    return make


def ready(attribute: bytes) -> cms.Unsigned:
    """Return an unsigned attribute made beforehand, whatever the value: a transplanted token."""
    return lambda _value: attribute


def _ess(version: str, certificate: bytes) -> tuple[bytes, ...]:
    """ESSCertID (SHA-1, RFC 2634 5.4) or ESSCertIDv2 (SHA-256 by default, RFC 5035 4)."""
    if version == "v1":
        entry = der.sequence(der.octet_string(hashlib.sha1(certificate).digest()))
        value = der.sequence(der.sequence(entry))
        return (cms.attribute(SIGNING_CERTIFICATE, value),)
    if version == "v2":
        entry = der.sequence(der.octet_string(hashlib.sha256(certificate).digest()))
        value = der.sequence(der.sequence(entry))
        return (cms.attribute(SIGNING_CERTIFICATE_V2, value),)
    return ()


def countersignature(
    tsa: Identity,
    *,
    at: datetime,
    digest: str = "sha256",
    message_digest: bytes | None = None,
    break_value: bool = False,
    signing_time: bool = True,
) -> cms.Unsigned:
    """Return a PKCS#9 countersignature over the value (RFC 2985 5.3.6, RFC 5652 11.4).

    Its certificate travels in the outer certificates set, not here.
    """

    def make(value: bytes) -> bytes:
        signer = cms.Signer(
            identity=tsa,
            digest=digest,
            signing_time=at if signing_time else None,
            message_digest=message_digest,
            break_value=break_value,
        )
        return cms.attribute(COUNTERSIGNATURE, cms.signer_info(value, signer, cms.DATA))

    return make
