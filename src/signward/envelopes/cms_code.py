"""CMS over code: detached SignedData whose content the format holds elsewhere (Apple's code)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.errors import AmbiguousError, MalformedError
from signward.findings import Finding
from signward.frozen import replace
from signward.state import ClaimedSignature, OwnRequirement, Slot


def open_over(
    blob: bytes,
    signed: bytes,
    slots: tuple[Slot, ...],
    *,
    label: str,
    team: str,
    own: OwnRequirement | None,
    check: Callable[[ClaimedSignature], Iterable[Finding]],
) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a detached SignedData over ``signed`` (DER or BER).

    ``slots`` are what the signed content claims, ``team`` and ``own`` what it says of its
    signer; ``check`` holds the signed attributes against the content.  Raises
    ``MalformedError`` for a SignedData without signers, or with content of its own, and
    ``AmbiguousError`` for several, nested ones among them: Apple's systems ask the first alone.
    """
    claims = open_signatures(blob, no_slots, label=label)
    if not claims:
        raise MalformedError("signature", "a CMS without signers", "one", "RFC 5652 5.1")
    if len(claims) > 1:
        raise AmbiguousError("signature", f"{len(claims)} signatures in a CMS", "one", "TN3126")
    for claim in claims:
        if claim.content or claim.content_type != DATA:
            what = f"signature {claim.label}"
            raise MalformedError(what, "content of its own", "a detached CMS", "RFC 5652 5.2")
    return tuple(
        replace(
            claim,
            slots=slots,
            bindings=tuple(replace(binding, data=signed) for binding in claim.bindings),
            to_be_verified=claim.to_be_verified or signed,
            own_requirement=own,
            claimed_team=team,
            findings=(*claim.findings, *check(claim)),
        )
        for claim in claims
    )
