"""What keys in services have in common: they are sent a digest and name the algorithm their way."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization

from signward.errors import KeyProviderError
from signward.keys import Secrets, digest_of
from signward.keys._certificates import leaf_first, spki_of
from signward.state import Algorithm
from signward.wire import der

PARALLEL = 4
"""Signatures asked of one service at once: their published limits are some tens a second."""

Names = Mapping[tuple[str, str], str]
"""A service's name of each algorithm, by scheme and digest."""


class Order(NamedTuple):
    """What is asked of a service: its own name of the algorithm, a digest, and the algorithm."""

    theirs: str
    digest: bytes
    algorithm: Algorithm


class ServiceKey:
    """A ``SigningKey`` that lacks ``_value``; ``names`` is what the service can sign by."""

    parallel = PARALLEL
    in_memory = False

    def __init__(self, name: str, names: Names) -> None:
        self._name, self._names = name, names
        self.public_key = b""
        self.certificates: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _adopt(self, public_key: bytes, certificates: Iterable[bytes] = ()) -> None:
        """Hold a public key and the certificates beside it, the leaf's first."""
        self.public_key = public_key
        self.certificates = leaf_first(self._name, public_key, tuple(certificates))

    def sign(self, data: bytes, algorithm: Algorithm) -> bytes:
        """Sign the digest of ``data`` (see ``SigningKey``)."""
        theirs = self._names.get((algorithm.scheme, algorithm.digest))
        if theirs is None or not _standard_pss(algorithm):
            known = ", ".join(sorted({"/".join(name) for name in self._names}))
            raise KeyProviderError(self._name, f"algorithm {algorithm}", f"one of {known}")
        return self._value(Order(theirs, digest_of(data, algorithm), algorithm))

    def _value(self, order: Order) -> bytes:
        """Return the signature value over a digest, as CMS carries it."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Nothing to read anew: the version that was opened stays."""

    def close(self) -> None:
        """Nothing is kept open."""


def _standard_pss(algorithm: Algorithm) -> bool:
    """Say whether PSS parameters are the usual ones, which no service lets one change."""
    if algorithm.scheme != "rsa-pss":
        return True
    size = hashlib.new(algorithm.digest, usedforsecurity=False).digest_size
    return (algorithm.mgf_digest, algorithm.salt_length) == (algorithm.digest, size)


def decoded(name: str, text: str, what: str) -> bytes:
    """Return what Base64 stands for (either alphabet, padded or not).

    Raises ``KeyProviderError``.
    """
    compact = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        value = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value:
        raise KeyProviderError(name, f"{what} that is no Base64", f"{what} as documented")
    return value


def encoded(value: bytes) -> str:
    """Return octets as Base64."""
    return base64.b64encode(value).decode()


def url_safe(value: bytes) -> str:
    """Return octets as base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def public_key_in(name: str, pem: str) -> bytes:
    """Return the SPKI of a PEM public key.  Raises ``KeyProviderError``."""
    try:
        return spki_of(serialization.load_pem_public_key(pem.encode()))
    except (ValueError, TypeError):
        raise KeyProviderError(name, "no public key in PEM", "the key's public half") from None


def ecdsa_value(name: str, value: bytes) -> bytes:
    """Return two integers of one length as ECDSA-Sig-Value (RFC 3279 2.2.3)."""
    half, odd = divmod(len(value), 2)
    if odd or not half:
        raise KeyProviderError(name, f"an ECDSA value of {len(value)} octets", "two halves")
    r, s = int.from_bytes(value[:half]), int.from_bytes(value[half:])
    return der.sequence(der.integer(r), der.integer(s))


def required(name: str, secrets: Secrets, variable: str) -> str:
    """Return a secret from the environment.  Raises ``KeyProviderError`` where it is absent."""
    found = secrets(variable)
    if not found:
        hint = f"set it in the environment, or name a file in {variable}_FILE"
        raise KeyProviderError(name, f"no {variable}", f"{variable}", hint)
    return found
