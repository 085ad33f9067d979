"""How Android's signing schemes make values, and the claim that one of them is.

Source: Android, "APK Signature Scheme v2", signature algorithm IDs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, Rotation, SignerId, Slot
from signward.wire.certificate import outline

MAX_PARTS = 64
"""Signatures, digests, certificates or attributes of one signer, and steps of a lineage."""


class Method(Frozen, frozen=True, kw_only=True):
    """What a signature algorithm id means: how values are made, and over which content digest."""

    algorithm: Algorithm
    slot: str
    digest: str


def _pss(digest: str, salt: int) -> Algorithm:
    return Algorithm(scheme="rsa-pss", digest=digest, mgf_digest=digest, salt_length=salt)


def _chunks(algorithm: Algorithm) -> Method:
    return Method(algorithm=algorithm, slot="apk-chunks", digest=algorithm.digest)


def _verity(scheme: str) -> Method:
    algorithm = Algorithm(scheme=scheme, digest="sha256")
    return Method(algorithm=algorithm, slot="apk-verity", digest="sha256")


METHODS: Mapping[int, Method] = MappingProxyType(
    {
        0x0101: _chunks(_pss("sha256", 32)),
        0x0102: _chunks(_pss("sha512", 64)),
        0x0103: _chunks(Algorithm(scheme="rsa-pkcs1v15", digest="sha256")),
        0x0104: _chunks(Algorithm(scheme="rsa-pkcs1v15", digest="sha512")),
        0x0201: _chunks(Algorithm(scheme="ecdsa", digest="sha256")),
        0x0202: _chunks(Algorithm(scheme="ecdsa", digest="sha512")),
        0x0301: _chunks(Algorithm(scheme="dsa", digest="sha256")),
        0x0421: _verity("rsa-pkcs1v15"),
        0x0423: _verity("ecdsa"),
        0x0425: _verity("dsa"),
    }
)
"""Signature algorithm ids (APK Signature Scheme v2, signature algorithm IDs)."""


def claim(
    label: str,
    algorithm: Algorithm,
    slots: tuple[Slot, ...],
    data: bytes,
    value: bytes,
    certificate: bytes,
    findings: tuple[Finding, ...] = (),
    lineage: tuple[Rotation, ...] = (),
) -> ClaimedSignature:
    """Return the claim that ``value`` is over ``data``, by the key of a DER certificate.

    Raises ``BadInputError`` for a certificate that cannot be read.
    """
    seen = outline(certificate)
    return ClaimedSignature(
        label=label,
        envelope="apk",
        slots=slots,
        bindings=(),
        algorithm=algorithm,
        to_be_verified=data,
        value=value,
        claimed_signer=SignerId(issuer=seen.issuer, serial=seen.serial),
        claimed_certificates=(certificate,),
        findings=findings,
        raw=data,
        lineage=lineage,
    )


def check_key(what: str, certificate: bytes, key: bytes) -> tuple[Finding, ...]:
    """Report a public key (SubjectPublicKeyInfo) beside a certificate that is not the latter's."""
    if outline(certificate).spki == key:
        return ()
    return (
        Finding(
            code=Code.SIGNATURE_MISMATCH,
            effect=Effect.REJECT,
            subject=what,
            found="a public key that is not the certificate's",
            required="that of the signer's first certificate",
            clause="APK Signature Scheme v2, verification",
        ),
    )
