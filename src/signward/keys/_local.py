"""A private key that is in this process, whatever file it came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from signward.errors import KeyProviderError
from signward.keys._certificates import leaf_first, spki_of
from signward.state import Algorithm, HeldKey
from signward.wire.algorithms import COMPUTABLE

MAX_KEY_FILE = 1024 * 1024
"""Largest key file read, in octets: a key and a long path of certificates have some 30 kB."""

PASSWORD_HINT = "name a file that holds the password with --pass-file, or set SIGNWARD_PASSWORD"  # noqa: S105 - words

_KEY_CLASS = {
    "rsa-pkcs1v15": "RSAPrivateKey",
    "rsa-pss": "RSAPrivateKey",
    "ecdsa": "ECPrivateKey",
    "ed25519": "Ed25519PrivateKey",
    "ed448": "Ed448PrivateKey",
    "ml-dsa-44": "MLDSA44PrivateKey",
    "ml-dsa-65": "MLDSA65PrivateKey",
    "ml-dsa-87": "MLDSA87PrivateKey",
}

_HASHED = frozenset({"rsa-pkcs1v15", "rsa-pss", "ecdsa"})
"""Schemes that leave the hash to whoever uses them."""


class LocalKey:
    """An open key in memory (a ``SigningKey``); ``name`` is its file, for messages.

    ``held`` is the key as its file holds the public half, where that is no certificate.
    """

    in_memory = True

    def __init__(self, name: str, private: Any, certificates: Sequence[bytes] = ()) -> None:
        if type(private).__name__ not in _KEY_CLASS.values():
            found = f"a {type(private).__name__.removesuffix('PrivateKey')} key"
            raise KeyProviderError(name, found, "an RSA, EC, EdDSA or ML-DSA key")
        self._name, self._private = name, private
        self.public_key = spki_of(private.public_key())
        self.certificates = leaf_first(name, self.public_key, certificates)
        self.held: tuple[HeldKey, ...] = ()
        self.parallel = os.cpu_count() or 1

    def __repr__(self) -> str:
        return f"LocalKey({self._name!r})"

    def sign(self, data: bytes, algorithm: Algorithm) -> bytes:
        """Sign ``data`` (see ``SigningKey``); ECDSA is deterministic (RFC 6979) where it can be."""
        kind = type(self._private).__name__
        if kind != _KEY_CLASS.get(algorithm.scheme):
            raise KeyProviderError(self._name, f"a key of class {kind}", f"one for {algorithm}")
        try:
            return bytes(self._private.sign(data, *_arguments(algorithm)))
        except (ValueError, UnsupportedAlgorithm) as error:
            why = f"a key that cannot sign so ({error})"
            raise KeyProviderError(self._name, why, f"one for {algorithm}") from None

    def refresh(self) -> None:
        """Nothing to read anew: who replaces the file opens it again."""

    def close(self) -> None:
        """Let the key go."""
        self._private = None


def _arguments(algorithm: Algorithm) -> tuple[Any, ...]:
    """Return what ``private.sign`` takes after the data."""
    if algorithm.scheme not in _HASHED:
        return ()
    own = _hash(algorithm.digest)
    digest = Prehashed(own) if algorithm.digested else own
    if algorithm.scheme == "rsa-pkcs1v15":
        return padding.PKCS1v15(), digest
    if algorithm.scheme == "rsa-pss":
        mgf = padding.MGF1(_hash(algorithm.mgf_digest))
        return padding.PSS(mgf, algorithm.salt_length), digest
    return (_ecdsa(digest),)


def _ecdsa(digest: hashes.HashAlgorithm | Prehashed) -> ec.ECDSA:
    try:
        return ec.ECDSA(digest, deterministic_signing=True)
    except UnsupportedAlgorithm:  # cryptography on an OpenSSL before 3.2
        return ec.ECDSA(digest)


def _hash(name: str) -> hashes.HashAlgorithm:
    """Return the hash of a hashlib name; ``ValueError`` for one that is not computed here."""
    if name not in COMPUTABLE:
        raise ValueError(f"digest {name!r}")
    made: hashes.HashAlgorithm = getattr(hashes, name.upper())()
    return made


def read_key_file(path: str) -> bytes:
    """Return the octets of a key file, which may be a pipe.  Raises ``KeyProviderError``."""
    if not path:
        raise KeyProviderError("--key", "no file name", "one, as in file:key.pem")
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_KEY_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise KeyProviderError(path, why, "a file that can be read") from None
    if len(data) > MAX_KEY_FILE:
        raise KeyProviderError(path, "a larger file", f"at most {MAX_KEY_FILE} octets")
    return data


def path_of(rest: str) -> str:
    """Return the path in ``key.pem``, ``/home/me/key.pem`` or ``///home/me/key.pem`` (RFC 8089)."""
    return rest[2:] if rest.startswith("///") else rest


def wrong_password(name: str) -> KeyProviderError:
    """Return the error for a password that does not open the file."""
    return KeyProviderError(name, "a password that does not open it", "the right one",
                            PASSWORD_HINT)  # fmt: skip


def no_password(name: str) -> KeyProviderError:
    """Return the error for an encrypted file whose password nobody gave."""
    return KeyProviderError(name, "an encrypted key and no password", "its password",
                            PASSWORD_HINT)  # fmt: skip
