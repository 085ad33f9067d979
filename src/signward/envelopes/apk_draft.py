"""Signers of APK Signature Schemes v2 and v3 as drafts (the format is `envelopes.apk`'s)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from signward.envelopes import Signer
from signward.envelopes.apk import EVERY_PLATFORM, STRIPPED
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire.certificate import outline

KNOWS_V3 = 28

_METHODS: Mapping[tuple[str, str], int] = MappingProxyType(
    {
        ("rsa-pkcs1v15", "sha256"): 0x0103,
        ("rsa-pkcs1v15", "sha512"): 0x0104,
        ("ecdsa", "sha256"): 0x0201,
        ("ecdsa", "sha512"): 0x0202,
    }
)
"""Ids of the methods we sign by."""


def method_of(signer: Signer) -> int:
    """Return the method's id for a signer.  Raises ``NotSignableError``."""
    method = _METHODS.get((signer.algorithm.scheme, signer.algorithm.digest))
    if method is None:
        raise NotSignableError(
            "algorithm", f"{signer.algorithm} with {signer.digest}",
            "RSA (PKCS #1 v1.5) or ECDSA, with SHA-256 or SHA-512: platforms know no other",
            hint="--digest sha512 for a P-384 key",
        )  # fmt: skip
    return method


class ApkDraft(Frozen, frozen=True, kw_only=True):
    """One signer's record that lacks its value (an ``envelopes.Draft``).

    What it is sealed to is the scheme's whole value, with this one signer.
    """

    scheme: str
    method: int
    algorithm: Algorithm
    certificate: bytes
    to_be_signed: bytes

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the scheme's value; there is no place for tokens."""
        values = _prefixed(_u32(self.method) + _prefixed(value))
        record = b"".join((
            _prefixed(self.to_be_signed),
            _platforms() if self.scheme != "v2" else b"",
            _prefixed(values),
            _prefixed(outline(self.certificate).spki),
        ))  # fmt: skip
        return _prefixed(_prefixed(record))

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def draft_scheme(scheme: str, signer: Signer, digest: bytes, *, newer: bool = False) -> ApkDraft:
    """Return the draft of ``v2`` or ``v3`` over a content digest by the signer's method.

    ``newer`` says, in v2, that the file has v3 too, so that nobody can strip it.  Certificates
    above the leaf are left out: platforms look at none.
    """
    method = method_of(signer)
    attributes = _prefixed(_u32(STRIPPED) + _u32(3)) if newer else b""
    signed = (
        _prefixed(_prefixed(_u32(method) + _prefixed(digest)))
        + _prefixed(_prefixed(signer.certificates[0]))
        + (_platforms() if scheme != "v2" else b"")
        + _prefixed(attributes)
    )
    return ApkDraft(
        scheme=scheme,
        method=method,
        algorithm=signer.algorithm,
        certificate=signer.certificates[0],
        to_be_signed=signed,
    )


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _prefixed(data: bytes) -> bytes:
    return _u32(len(data)) + data


def _platforms() -> bytes:
    """Return the platforms of v3: the first that knows it, and every newer one."""
    return _u32(KNOWS_V3) + _u32(EVERY_PLATFORM)
