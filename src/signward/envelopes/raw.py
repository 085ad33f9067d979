"""Bare signatures: a value in a file of its own, and nothing that says whose or of which kind.

The file holds the value's octets, or Base64 of them.  The key is one that the caller names, a
SubjectPublicKeyInfo (RFC 5280 4.1.2.7) in PEM (RFC 7468 13) or DER, and the key's kind says how
its value is made: RSA by PKCS#1 v1.5 or PSS (RFC 8017), ECDSA in DER (RFC 3279 2.2.3), each with
SHA-256, SHA-384 or SHA-512; Ed25519 and Ed448 (RFC 8032) and ML-DSA (FIPS 204) over the file
itself.  That is what ``openssl dgst -sign`` and ``openssl pkeyutl -sign -rawin`` write.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import UNNAMED, Algorithm, ClaimedSignature, HeldKey, Reading, SignerId

KIND = "raw"
"""What such keys and signatures are called."""

DIGESTS = ("sha256", "sha384", "sha512")
"""Digests that a value may be over."""

MAX_OCTETS = 16 * 1024
"""Octets of a signature's file: ML-DSA-87's value has 4,627, and a third more in Base64."""

_ITSELF = {64: "ed25519", 114: "ed448", 2420: "ml-dsa-44", 3309: "ml-dsa-65", 4627: "ml-dsa-87"}
"""Schemes that hash for themselves, by the one length that their values have."""

_WHAT = "bare signature"


class RawDraft(Frozen, frozen=True, kw_only=True):
    """A value alone (an ``envelopes.Draft``)."""

    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the value; there is no place for tokens."""
        return value

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def named_key(spki: bytes) -> HeldKey:
    """Return a public key (DER) that is held by nothing: its identifier is its own SHA-256."""
    return HeldKey(kind=KIND, key_id=hashlib.sha256(spki).digest(), spki=spki, holder=spki)


def read_value(data: bytes) -> bytes:
    """Return a value's octets out of its file, where they may stand in Base64.

    Raises ``LimitError`` and ``MalformedError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    try:
        value = binascii.a2b_base64(b"".join(data.split()), strict_mode=True)
    except binascii.Error:
        value = data
    if not value:
        raise MalformedError(_WHAT, "no octets", "a value")
    return value


def claim(
    value: bytes, slot: str, digests: Mapping[str, bytes], content: Callable[[], bytes]
) -> ClaimedSignature:
    """Return the signature whose value may be any that keys of some kind make over a file.

    ``digests`` are the file's by their names, ``content`` gives the file itself where a scheme
    that hashes for itself has values of that length.
    """
    return ClaimedSignature(
        label="1",
        envelope=KIND,
        slots=(),
        bindings=(),
        algorithm=Algorithm(scheme=UNNAMED),
        to_be_verified=b"",
        value=value,
        claimed_signer=SignerId(),
        claimed_certificates=(),
        over=slot,
        readings=tuple(_readings(value, digests, content)),
        raw=value,
    )


def _readings(
    value: bytes, digests: Mapping[str, bytes], content: Callable[[], bytes]
) -> Iterator[Reading]:
    scheme = _ITSELF.get(len(value))
    if scheme:
        yield Reading(what=scheme, data=content(), algorithm=Algorithm(scheme=scheme))
    for name, digest in digests.items():
        for algorithm in _over_digest(name, len(digest), len(value)):
            yield Reading(what=str(algorithm), data=digest, algorithm=algorithm)


def _over_digest(name: str, size: int, length: int) -> Iterator[Algorithm]:
    """Yield what values of ``length`` octets over a digest of ``size`` may be.

    The salt of PSS is as long as the digest, or as there is room for (RFC 8017 9.1.1): a modulus
    of whole octets leaves all but two of them for both.
    """
    yield Algorithm(scheme="rsa-pkcs1v15", digest=name, digested=True)
    for salt in sorted({size, length - size - 2}):
        if 0 <= salt <= length - size - 2:
            yield Algorithm(scheme="rsa-pss", digest=name, mgf_digest=name, salt_length=salt,
                            digested=True)  # fmt: skip
    yield Algorithm(scheme="ecdsa", digest=name, digested=True)
