"""SubjectPublicKeyInfo (RFC 5280 4.1.2.7), read and written as numbers: no key is used here."""

from __future__ import annotations

import hashlib

from signward.errors import MalformedError
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import EC_PUBLIC_KEY, RSA, signature_algorithm_alone

_WHAT = "public key"

CURVE_SIZES = {
    "1.2.840.10045.3.1.7": 32,
    "1.3.132.0.34": 48,
    "1.3.132.0.35": 66,
}
"""Octets of a coordinate, and of either half of a signature, by the named curve's OID."""


def key_bits(spki: bytes) -> bytes:
    """Return the octets of subjectPublicKey.  Raises ``MalformedError``."""
    return der.parse(spki, _WHAT).fields(_WHAT, 2)[1].bits(_WHAT)


def usual_key_id(spki: bytes) -> bytes:
    """Return the SHA-1 of subjectPublicKey: the usual key identifier (RFC 5280 4.2.1.2).

    Raises ``MalformedError``.
    """
    return hashlib.sha1(key_bits(spki), usedforsecurity=False).digest()


def rsa_numbers(spki: bytes) -> tuple[int, int] | None:
    """Return modulus and exponent of an RSA key; None for another.  Raises ``MalformedError``."""
    algorithm = der.parse(spki, _WHAT).fields(_WHAT, 2)[0].fields(_WHAT, 1)
    if algorithm[0].oid(_WHAT) != RSA:
        return None
    numbers = der.parse(key_bits(spki), _WHAT).fields(_WHAT, 2)
    return numbers[0].integer(_WHAT), numbers[1].integer(_WHAT)


def rsa_key(modulus: int, exponent: int) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of an RSA key (RFC 3279 2.3.1)."""
    numbers = der.sequence(der.integer(modulus), der.integer(exponent))
    return der.sequence(der.sequence(der.oid(RSA), der.null()), der.bit_string(numbers))


def curve(spki: bytes) -> str:
    """Return the OID of an EC key's named curve; empty for other keys (RFC 5480 2.1.1)."""
    algorithm = der.parse(spki, _WHAT).fields(_WHAT, 2)[0].fields(_WHAT, 1)
    if algorithm[0].oid(_WHAT) != EC_PUBLIC_KEY or len(algorithm) < 2:
        return ""
    return algorithm[1].oid(_WHAT) if algorithm[1].tag == der.OID else ""


_CURVE_DIGESTS = {"1.3.132.0.34": "sha384", "1.3.132.0.35": "sha512"}
"""The digest of their size that the larger curves sign by; the others sign by SHA-256."""


def claimed_algorithm(spki: bytes) -> Algorithm | None:
    """Return what a key says that it signs by, where its envelope names nothing (DSSE).

    ``integrity.usual_algorithm`` says it of a key that is loaded; here none is.  None for keys
    that have no such algorithm.  Raises ``MalformedError``.
    """
    oid = der.parse(spki, _WHAT).fields(_WHAT, 2)[0].fields(_WHAT, 1)[0].oid(_WHAT)
    if oid == RSA:
        return Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
    if oid == EC_PUBLIC_KEY:
        return Algorithm(scheme="ecdsa", digest=_CURVE_DIGESTS.get(curve(spki), "sha256"))
    return signature_algorithm_alone(oid)


def ec_key(curve_oid: str, point: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of an EC key on a named curve (RFC 5480 2)."""
    algorithm = der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(curve_oid))
    return der.sequence(algorithm, der.bit_string(point))


def ecdsa_der(raw: bytes) -> bytes:
    """Return ECDSA-Sig-Value (RFC 3279 2.2.3) for ``r || s``, two halves of one length.

    Raises ``MalformedError`` for an odd or empty length.
    """
    half = len(raw) // 2
    if not half or len(raw) % 2:
        raise MalformedError(
            "signature value", f"{len(raw)} octets", "two halves", "RFC 6931 2.3.6"
        )
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    return der.sequence(der.integer(r), der.integer(s))


def ecdsa_raw(value: bytes, size: int) -> bytes:
    """Return ``r || s``, each of ``size`` octets, for ECDSA-Sig-Value (RFC 6931 2.3.6)."""
    r, s = der.parse(value, "signature value").fields("signature value", 2)[:2]
    return r.integer().to_bytes(size, "big") + s.integer().to_bytes(size, "big")
