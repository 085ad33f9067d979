"""What rules ask of a certificate besides its names, read once of each that files repeat."""

from __future__ import annotations

import hashlib

from signward.errors import BadInputError
from signward.frozen import Frozen
from signward.wire.algorithms import COMPUTABLE
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering


class KeyFacts(Frozen, frozen=True, kw_only=True):
    """``tbs`` is ``ALGORITHM:HEX`` by the certificate's own signature, ``key`` the SHA-256 (hex).

    ``kind`` of the key is like ``rsa-3072``, ``ec-256`` or ``ed25519``.  All are empty for a
    certificate that cannot be read.
    """

    tbs: str = ""
    ekus: tuple[str, ...] = ()
    key: str = ""
    kind: str = ""


@remembering(4096, CERTIFICATE_OCTETS)
def key_facts(der: bytes) -> KeyFacts:
    """Return what the certificate in ``der`` tells."""
    from signward.trust.x509 import load_certificate

    try:
        certificate = load_certificate(der)
    except BadInputError:
        return KeyFacts()
    digest = certificate.signature_algorithm.digest or "sha256"
    tbs = ""
    if digest in COMPUTABLE:
        value = hashlib.new(digest, certificate.tbs, usedforsecurity=False).hexdigest()
        tbs = f"{digest}:{value}"
    return KeyFacts(
        tbs=tbs,
        ekus=tuple(sorted(certificate.ekus or ())),
        key=hashlib.sha256(certificate.spki).hexdigest(),
        kind=_key_kind(certificate.spki),
    )


def spki_facts(spki: bytes) -> KeyFacts:
    """Return what a public key (DER SubjectPublicKeyInfo) tells that no certificate holds."""
    return KeyFacts(key=hashlib.sha256(spki).hexdigest(), kind=_key_kind(spki))


def _key_kind(spki: bytes) -> str:
    """Return a key's kind; empty for one of no known kind."""
    from signward.integrity import UnsupportedKeyError, key_size

    try:
        family, bits = key_size(spki)
    except UnsupportedKeyError:
        return ""
    family = family.partition(":")[0]
    return f"{family}-{bits}" if family in ("rsa", "dsa", "ec") else family
