"""New private keys, and the files that hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from signward.errors import KeyProviderError
from signward.keys._certificates import spki_of

_CURVES: dict[str, Any] = {"p-256": ec.SECP256R1, "p-384": ec.SECP384R1, "p-521": ec.SECP521R1}
_OTHERS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey,
    "ml-dsa-44": mldsa.MLDSA44PrivateKey,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey,
}
_RSA_BITS = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}
_EXPONENT = 65537

GENERATED = (*_RSA_BITS, *_CURVES, *_OTHERS)
"""Kinds of keys that can be made."""


def generate(kind: str, path: Path, password: str | None = None) -> bytes:
    """Make a key of ``kind``, write it to ``path`` as PEM (PKCS#8, RFC 5958), mode 0600.

    With a password it is encrypted (PBES2, RFC 8018).  Returns the public key, DER
    SubjectPublicKeyInfo.  Raises ``KeyProviderError``, also where the file exists already.
    """
    private = _generated(str(path), kind)
    protection: Any = (
        serialization.BestAvailableEncryption(password.encode())
        if password else serialization.NoEncryption()
    )  # fmt: skip
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        why = error.strerror or "no such place"
        raise KeyProviderError(str(path), why, "a new file that can be written") from None
    return spki_of(private.public_key())


def _generated(name: str, kind: str) -> Any:
    if kind in _RSA_BITS:
        return rsa.generate_private_key(_EXPONENT, _RSA_BITS[kind])
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    if kind in _OTHERS:
        return _OTHERS[kind].generate()
    raise KeyProviderError(name, f"kind {kind!r}", f"one of {', '.join(GENERATED)}")
