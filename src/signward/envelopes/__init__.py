"""One file per signature encoding: reading what is claimed, and drafting what is signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from signward.frozen import Frozen, replace
from signward.state import Algorithm, ClaimedSignature, HeldKey, Reading


class Signer(Frozen, frozen=True, kw_only=True):
    """Who signs: the certification path (DER, leaf first) and the algorithm of the leaf's key.

    ``holder`` is the key as verifiers hold it where no X.509 certificate does: there is no path
    then.  ``digest`` is what content is hashed with; for schemes that hash for themselves (EdDSA:
    RFC 8419, ML-DSA: RFC 9882) the signed attributes go to the key whole.
    """

    certificates: tuple[bytes, ...]
    algorithm: Algorithm
    digest: str
    holder: HeldKey | None = None


class Draft(Protocol):
    """An envelope complete but for its signature value.

    A key signs ``to_be_signed`` by ``algorithm``; it never sees the file.
    """

    @property
    def to_be_signed(self) -> bytes:
        """The octets that go to the key (not their digest)."""

    @property
    def algorithm(self) -> Algorithm:
        """The signature algorithm the envelope names."""

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the finished envelope.

        ``tokens`` are RFC 3161 TimeStampTokens (DER ContentInfo) whose imprints are of ``value``,
        or of what `stamped` says.
        """


def read_as(claimed: ClaimedSignature, reading: Reading) -> ClaimedSignature:
    """Return a signature over one of its readings."""
    return replace(
        claimed,
        algorithm=reading.algorithm or claimed.algorithm,
        to_be_verified=reading.data,
        read_as=reading.what,
        readings=(),
    )


def stamped(draft: Draft, value: bytes) -> bytes | None:
    """Return what a timestamp on a draft's envelope must speak for; None if it has no place.

    That is the value as the envelope writes it, which for most is as the key made it; a draft
    for which it is not has a method of this name.
    """
    own: Callable[[bytes], bytes | None] | None = getattr(draft, "stamped", None)
    return own(value) if own is not None else value
