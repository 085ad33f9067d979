"""Signatures in ``security.ima``: a key id and a value, and nothing else.

The structure is `wire.ima`'s.  No certificate, no time, not even the scheme stands there: the
kernel takes it from the key, and here the value's length tells it.
"""

from __future__ import annotations

from signward.state import Algorithm, ClaimedSignature, SignerId, Slot
from signward.wire import ima

_LEAST_RSA = 128
"""Octets of the shortest RSA value, 1024 bits; ECDSA's are shorter, but of the largest curve."""

_MOST_ECDSA = 141
"""Octets of the longest ECDSA value: two integers of 521 bits."""

_LABEL = "1"


def claim_over(value: ima.Signed, raw: bytes, slot: str) -> ClaimedSignature:
    """Return a signature of version 2: the value is over the digest of ``slot`` itself."""
    return _claim(value, raw, slots=(), over=slot, signed=b"")


def claim_of(value: ima.Signed, raw: bytes, slot: Slot) -> ClaimedSignature:
    """Return a signature of version 3, over ``ima_file_id`` with the digest that is computed.

    It does not say which digest was signed: only whether the value fits tells if it is this one.
    """
    signed = ima.file_id(value.kind, slot.algorithm, slot.digest)
    return _claim(value, raw, slots=(slot,), over="", signed=signed)


def _claim(
    value: ima.Signed, raw: bytes, *, slots: tuple[Slot, ...], over: str, signed: bytes
) -> ClaimedSignature:
    return ClaimedSignature(
        label=_LABEL,
        envelope="ima",
        slots=slots,
        bindings=(),
        algorithm=Algorithm(scheme=_scheme(value.value), digest=value.algorithm),
        to_be_verified=signed,
        value=value.value,
        claimed_signer=SignerId(key_suffix=value.key_id),
        claimed_certificates=(),
        over=over,
        raw=raw,
    )


def _scheme(value: bytes) -> str:
    """Return the scheme of a value by its length: nothing else names it but the key."""
    large = value[:2] == b"\x30\x81" and len(value) <= _MOST_ECDSA
    return "ecdsa" if len(value) < _LEAST_RSA or large else "rsa-pkcs1v15"
