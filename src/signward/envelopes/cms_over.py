"""CMS over content that its file does not tell whole: which octets were signed must be tried.

So it is with writes of UEFI variables (UEFI 2.10 8.2.2): the variable's name is signed and nowhere
written.  A signature with attributes holds the content's digest, which picks the reading; one
without keeps them all, and integrity finds which one the value fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from signward.envelopes.cms import SIGNED_DATA, no_slots, open_signatures
from signward.errors import MalformedError
from signward.frozen import replace
from signward.state import ClaimedSignature, Reading
from signward.wire import der


def open_over(
    signed_data: bytes, readings: Sequence[Reading], what: str, clause: str
) -> tuple[ClaimedSignature, ...]:
    """Return the one signature in a detached SignedData, over one of ``readings``.

    A ContentInfo around it may lack.  Raises ``BadInputError``, as for content of its own, or
    any other number of signers than one: firmware lets count none unless all of them do.
    """
    found = open_signatures(wrapped(signed_data, what), no_slots)
    if len(found) != 1:
        raise MalformedError(what, f"a SignedData with {len(found)} signers", "one", clause)
    if any(claimed.content for claimed in found):
        raise MalformedError(what, "content inside the SignedData", "none", clause)
    return tuple(_claim(claimed, tuple(readings), clause) for claimed in found)


def wrapped(signed_data: bytes, what: str) -> bytes:
    """Return a SignedData with a ContentInfo around it, which some writers leave there."""
    fields = der.parse(signed_data, what).fields(what, 2)
    if fields[0].tag != der.INTEGER:
        return signed_data
    return der.sequence(der.oid(SIGNED_DATA), der.context(0, signed_data))


def bare(content_info: bytes, what: str) -> bytes:
    """Return the SignedData without the ContentInfo around it."""
    return der.parse(content_info, what).fields(what, 2)[1].children()[0].raw


def _claim(
    claimed: ClaimedSignature, readings: tuple[Reading, ...], clause: str
) -> ClaimedSignature:
    if not claimed.bindings:
        return replace(claimed, to_be_verified=readings[0].data, readings=readings)
    own = claimed.bindings[0]
    if own.algorithm not in hashlib.algorithms_available:
        return claimed  # integrity says that it is not known
    fits = [
        r for r in readings
        if hashlib.new(own.algorithm, r.data, usedforsecurity=False).digest() == own.digest
    ]  # fmt: skip
    chosen = fits[0] if fits else readings[0]
    bound = replace(own, data=chosen.data, clause=clause)
    return replace(claimed, bindings=(bound,), read_as=chosen.what if fits else "")
