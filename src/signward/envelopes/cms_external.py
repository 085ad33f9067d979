"""Detached CMS signatures as firmware and the Linux kernel read them, mostly without attributes.

RFC 5652 5.4: without signed attributes the value is over the content itself, and the content's
digest stands nowhere.  So a changed content and a changed signature look the same.
"""

from __future__ import annotations

from collections.abc import Callable

from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.errors import MalformedError
from signward.frozen import replace
from signward.state import ClaimedSignature, Slot
from signward.wire import der

_WHAT = "signature without its content"


def open_external(
    blob: bytes, slot: str, content: Callable[[], bytes]
) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a detached SignedData (DER or BER) over one slot.

    One without signed attributes is ``over`` the slot; one with them claims its digest.
    ``content`` returns the slot's octets; it is asked only where a scheme that hashes for
    itself speaks of them without attributes between.
    Raises ``MalformedError`` for content inside or of another type than data, no signer, and
    versions that do not go with how signers are named, as the kernel does (RFC 5652 5.1).
    """
    signatures = open_signatures(blob, no_slots)
    if not signatures:
        raise MalformedError(_WHAT, "no signer", "one or more", "RFC 5652 5.1")
    first = signatures[0]
    if first.content or first.content_type != DATA:
        raise MalformedError(
            _WHAT, f"content type {first.content_type}, {len(first.content)} octets inside",
            f"type {DATA}, none inside", "RFC 5652 5.2",
        )  # fmt: skip
    _check_version(blob, any(s.claimed_signer.key_id for s in signatures))
    return tuple(_claim(claimed, slot, content) for claimed in signatures)


def _check_version(blob: bytes, by_key: bool) -> None:  # noqa: FBT001
    signed_data = der.parse(blob, _WHAT).fields(_WHAT, 2)[1].children()[0]
    version = signed_data.fields(_WHAT, 1)[0].integer(_WHAT)
    if version != (3 if by_key else 1):
        required = "3 where a key identifier names a signer, else 1"
        raise MalformedError(_WHAT, f"version {version}", required, "RFC 5652 5.1")


def _claim(claimed: ClaimedSignature, slot: str, content: Callable[[], bytes]) -> ClaimedSignature:
    if not claimed.signed_attributes:
        signed = b"" if claimed.algorithm.digest else content()
        return replace(claimed, over=slot, to_be_verified=signed)
    if not claimed.bindings:
        raise MalformedError(_WHAT, "no messageDigest", "one", "RFC 5652 5.3")
    digest = claimed.bindings[0]
    own = Slot(name=slot, algorithm=digest.algorithm, digest=digest.digest)
    return replace(claimed, slots=(own,), bindings=())
