"""Integrity: slots equal content, and the value fits the key.

The only place outside ``keys/`` and ``authority/`` where a signature primitive is
called.  Nothing here knows who holds a key or what time it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa

from signward.errors import SignwardError
from signward.state import Algorithm

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
    "sha3_256": hashes.SHA3_256,
    "sha3_384": hashes.SHA3_384,
    "sha3_512": hashes.SHA3_512,
}

_KEY_CLASS = {
    "rsa-pkcs1v15": "RSAPublicKey",
    "rsa-pss": "RSAPublicKey",
    "ecdsa": "ECPublicKey",
    "dsa": "DSAPublicKey",
    "ed25519": "Ed25519PublicKey",
    "ed448": "Ed448PublicKey",
    "ml-dsa-44": "MLDSA44PublicKey",
    "ml-dsa-65": "MLDSA65PublicKey",
    "ml-dsa-87": "MLDSA87PublicKey",
}


class ValueMismatchError(SignwardError):
    """The signature value does not fit the key, the algorithm and the data."""


class UnsupportedKeyError(SignwardError):
    """The key or the algorithm is one we cannot check with."""


@lru_cache(maxsize=2048)
def load_public_key(spki: bytes) -> Any:
    """Return the public key in a DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7).

    Raises ``UnsupportedKeyError``; elliptic curves given by explicit parameters are
    refused here (CVE-2020-0601).
    """
    try:
        return serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise UnsupportedKeyError(f"the public key cannot be used: {error}") from None


def check_value(spki: bytes, algorithm: Algorithm, data: bytes, value: bytes) -> None:
    """Check ``value`` over ``data`` with the key in ``spki``; return if it fits.

    Raises ``ValueMismatchError`` if it does not fit, ``UnsupportedKeyError`` if key
    and algorithm do not belong together or are unknown.
    """
    key = load_public_key(spki)
    wanted = _KEY_CLASS.get(algorithm.scheme)
    if wanted is None or (algorithm.digest and algorithm.digest not in _HASHES):
        raise UnsupportedKeyError(f"signature algorithm {algorithm} is not supported")
    if type(key).__name__ != wanted:
        raise UnsupportedKeyError(f"a {type(key).__name__} cannot check {algorithm}")
    try:
        _verify(key, algorithm, data, value)
    except (InvalidSignature, ValueError):
        raise ValueMismatchError(f"the value does not fit the key ({algorithm})") from None
    except UnsupportedAlgorithm as error:
        raise UnsupportedKeyError(f"{algorithm}: {error}") from None


def _verify(key: Any, algorithm: Algorithm, data: bytes, value: bytes) -> None:
    if algorithm.scheme == "rsa-pkcs1v15":
        key.verify(value, data, padding.PKCS1v15(), _HASHES[algorithm.digest]())
    elif algorithm.scheme == "rsa-pss":
        mgf = padding.MGF1(_HASHES[algorithm.mgf_digest]())
        pss = padding.PSS(mgf, algorithm.salt_length)
        key.verify(value, data, pss, _HASHES[algorithm.digest]())
    elif algorithm.scheme == "ecdsa":
        key.verify(value, data, ec.ECDSA(_HASHES[algorithm.digest]()))
    elif algorithm.scheme == "dsa":
        key.verify(value, data, _HASHES[algorithm.digest]())
    else:
        key.verify(value, data)


def key_size(spki: bytes) -> tuple[str, int]:
    """Return the key's family and size in bits: ``("rsa", 2048)``, ``("ec:secp256r1", 256)``."""
    key = load_public_key(spki)
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec:{key.curve.name}", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "dsa", key.key_size
    return type(key).__name__.removesuffix("PublicKey").lower(), 0
