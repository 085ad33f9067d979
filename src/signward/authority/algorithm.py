"""AlgorithmIdentifiers of whole signatures, as certificates, CRLs and OCSP answers name them."""

from __future__ import annotations

from functools import lru_cache

from signward.envelopes import cms_draft
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import SIGNATURE_OIDS


@lru_cache(maxsize=64)
def identifier(algorithm: Algorithm) -> bytes:
    """Return the AlgorithmIdentifier (DER) of an algorithm that we sign with.

    RSA PKCS#1 v1.5 names key and digest in one, with NULL parameters (RFC 4055 5); ECDSA, EdDSA
    and ML-DSA have none (RFC 5758 3.2, RFC 8410 3, RFC 9881 2).
    """
    if algorithm.scheme == "rsa-pss":
        return cms_draft.signature_algorithm(algorithm)
    oid = der.oid(SIGNATURE_OIDS[algorithm.scheme, algorithm.digest])
    return der.sequence(oid, der.null() if algorithm.scheme == "rsa-pkcs1v15" else b"")
