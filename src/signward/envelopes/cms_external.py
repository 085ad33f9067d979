"""Detached CMS signatures as firmware and the Linux kernel read them, mostly without attributes.

RFC 5652 5.4: without signed attributes the value is over the content itself, and the content's
digest stands nowhere.  So a changed content and a changed signature look the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from signward.envelopes._cms_read import read_signed_data, read_signer_info
from signward.envelopes.cms import CONTENT_TYPE, DATA, MESSAGE_DIGEST, no_slots, open_signatures
from signward.errors import BadInputError, MalformedError
from signward.frozen import replace
from signward.state import ClaimedSignature, Slot
from signward.wire import der
from signward.wire.algorithms import UNKNOWN

MAX_ATTRIBUTE_SET = 64 * 1024
"""Octets of content that may be the signed attributes of some signature; the longest have 2 KiB."""

_WHAT = "signature without its content"


def open_external(
    blob: bytes, slot: str, content: Callable[[], bytes]
) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a detached SignedData (DER or BER) over one slot.

    One without signed attributes is ``over`` the slot; one with them claims its digest.
    ``content`` returns the slot's octets; it is asked once, and only where a scheme that hashes
    for itself speaks of them without attributes between.  Signatures in unsigned attributes are
    not looked at: neither the kernel nor firmware does.
    Raises ``MalformedError`` for content inside or of another type than data, no signer, and
    versions that do not go with how signers are named, as the kernel does (RFC 5652 5.1).
    """
    signatures = open_signatures(blob, no_slots, nesting=False)
    if not signatures:
        raise MalformedError(_WHAT, "no signer", "one or more", "RFC 5652 5.1")
    first = signatures[0]
    if first.content or first.content_type != DATA:
        raise MalformedError(
            _WHAT, f"content type {first.content_type}, {len(first.content)} octets inside",
            f"type {DATA}, none inside", "RFC 5652 5.2",
        )  # fmt: skip
    _check_version(blob, any(s.claimed_signer.key_id for s in signatures))
    held = cache(content)  # or each of many signers would hold a copy
    return tuple(_claim(claimed, slot, held) for claimed in signatures)


def is_plain(blob: bytes) -> bool:
    """Say whether bytes are a detached CMS none of whose signers has signed attributes."""
    try:
        data = read_signed_data(blob, _WHAT)
        signers = [read_signer_info(node, _WHAT) for node in data.signers]
    except (BadInputError, RecursionError):
        return False
    plain = data.content_type == DATA and not data.content
    return plain and bool(signers) and not any(info.signed for info in signers)


def is_attribute_set(content: bytes) -> bool:
    """Say whether content is what a signature *with* attributes is over (RFC 5652 5.4).

    Whoever takes the attributes out of a message has a plain signature over them: such content
    was never signed for what it is.
    """
    try:
        attributes = der.parse(content, _WHAT).fields(_WHAT, 1, der.SET)
        kinds = {attribute.fields(_WHAT, 2)[0].oid(_WHAT) for attribute in attributes}
    except (BadInputError, RecursionError):
        return False
    return bool(kinds & {CONTENT_TYPE, MESSAGE_DIGEST})


def _check_version(blob: bytes, by_key: bool) -> None:  # noqa: FBT001
    signed_data = der.parse(blob, _WHAT).fields(_WHAT, 2)[1].children()[0]
    version = signed_data.fields(_WHAT, 1)[0].integer(_WHAT)
    if version != (3 if by_key else 1):
        required = "3 where a key identifier names a signer, else 1"
        raise MalformedError(_WHAT, f"version {version}", required, "RFC 5652 5.1")


def _claim(claimed: ClaimedSignature, slot: str, content: Callable[[], bytes]) -> ClaimedSignature:
    if not claimed.signed_attributes:
        algorithm = claimed.algorithm
        whole = not algorithm.digest and not algorithm.scheme.startswith(UNKNOWN)
        return replace(claimed, over=slot, to_be_verified=content() if whole else b"")
    if not claimed.bindings:
        raise MalformedError(_WHAT, "no messageDigest", "one", "RFC 5652 5.3")
    digest = claimed.bindings[0]
    own = Slot(name=slot, algorithm=digest.algorithm, digest=digest.digest)
    return replace(claimed, slots=(own,), bindings=())
