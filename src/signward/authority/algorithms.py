"""Signature algorithms and key identifiers as certificates, CRLs and OCSP answers write them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from signward.errors import AuthorityError
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import SIGNATURE_OIDS
from signward.wire.spki import key_bits

KEY_IDENTIFIER_OCTETS = 20


@lru_cache(maxsize=64)
def signature_identifier(algorithm: Algorithm) -> bytes:
    """Return the AlgorithmIdentifier (DER): RSA with NULL (RFC 4055 5), others with nothing.

    Raises ``AuthorityError`` for an algorithm an authority does not sign with.
    """
    oid = SIGNATURE_OIDS.get((algorithm.scheme, algorithm.digest))
    if oid is None or algorithm.digest in ("md2", "md5", "sha1", "sha224"):
        raise AuthorityError("signature algorithm", str(algorithm), "one with SHA-256 or better")
    return der.sequence(der.oid(oid), der.null() if algorithm.scheme == "rsa-pkcs1v15" else b"")


def key_identifier(spki: bytes) -> bytes:
    """Return a key's identifier: the left 160 bits of SHA-256 over its bits (RFC 7093 2, 1).

    Raises ``MalformedError`` for what is no SubjectPublicKeyInfo.
    """
    return hashlib.sha256(key_bits(spki)).digest()[:KEY_IDENTIFIER_OCTETS]
