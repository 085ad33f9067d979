"""CMS over a list that stands beside it, through which it reaches an artifact's parts (JAR, APK).

What the list says is the format's to read; here it is joined with the signatures over its octets.
"""

from __future__ import annotations

from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.errors import MalformedError
from signward.findings import Finding
from signward.frozen import Frozen, replace
from signward.state import Binding, ClaimedSignature, Slot


class Chain(Frozen, frozen=True, kw_only=True):
    """What a list says: slots of parts, digests of what carries them, and what is wrong with it.

    ``rests_on`` are the strongest digests of each link, so the weakest of them is the chain's.
    """

    slots: tuple[Slot, ...]
    bindings: tuple[Binding, ...]
    findings: tuple[Finding, ...]
    rests_on: frozenset[str]


def open_listed(
    blob: bytes, data: bytes, chain: Chain, *, what: str, label: str
) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a SignedData (DER or BER) over a list's octets, and its chain.

    Nested signatures (Authenticode's) are nobody's here.  Raises ``BadInputError``, as for a
    SignedData without signers or with content of its own, which readers take instead.
    """
    opened = [s for s in open_signatures(blob, no_slots, label=label) if "." not in s.label]
    if not opened:
        raise MalformedError(what, "no signer", "one or more", "RFC 5652 5.1")
    if opened[0].content or opened[0].content_type != DATA:
        found = f"content type {opened[0].content_type}, {len(opened[0].content)} octets inside"
        raise MalformedError(what, found, f"type {DATA}, none inside", "RFC 5652 5.2")
    return tuple(_claim(claimed, data, chain) for claimed in opened)


def _claim(claimed: ClaimedSignature, data: bytes, chain: Chain) -> ClaimedSignature:
    """Join a signature with its chain; without attributes its value is over the list itself."""
    own = tuple(replace(binding, data=data) for binding in claimed.bindings)
    used = frozenset({claimed.algorithm.digest, *(binding.algorithm for binding in own)})
    return replace(
        claimed,
        to_be_verified=claimed.to_be_verified if claimed.signed_attributes else data,
        slots=chain.slots,
        bindings=(*own, *chain.bindings),
        findings=(*claimed.findings, *chain.findings),
        rests_on=chain.rests_on | used,
    )
