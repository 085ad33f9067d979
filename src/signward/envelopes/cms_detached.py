"""Detached CMS signatures (RFC 5652 5.2): SignedData whose content is a file of its own."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from signward.envelopes import Signer
from signward.envelopes.cms import (
    CMS_TIMESTAMP,
    CONTENT_TYPE,
    DATA,
    MESSAGE_DIGEST,
    no_slots,
    open_signatures,
)
from signward.errors import MalformedError
from signward.frozen import replace
from signward.state import ClaimedSignature, Slot
from signward.wire import der
from signward.wire.certificate import signer_of

if TYPE_CHECKING:
    from signward.envelopes.cms_draft import CmsDraft

_WHAT = "detached signature"


def open_detached(blob: bytes, slot: str) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a detached SignedData (DER or BER); each claims one slot.

    Raises ``MalformedError`` for a SignedData that brings its own content, or a signer
    without signed attributes beside others with them (`cms_external` opens those without).
    """
    return tuple(_claim(claimed, slot) for claimed in open_signatures(blob, no_slots))


def _claim(claimed: ClaimedSignature, slot: str) -> ClaimedSignature:
    if claimed.content:
        raise MalformedError(
            _WHAT, f"{len(claimed.content)} octets of content inside", "none", "RFC 5652 5.2",
            hint="this signature speaks of its own content, not of a file beside it",
        )  # fmt: skip
    if not claimed.bindings:
        raise MalformedError(_WHAT, "no messageDigest", "one", "RFC 5652 5.3")
    digest = claimed.bindings[0]
    own = Slot(name=slot, algorithm=digest.algorithm, digest=digest.digest)
    return replace(claimed, slots=(own,), bindings=())


def by_own_certificate(claimed: ClaimedSignature) -> ClaimedSignature:
    """Return a signature that counts only by the very certificate it brings, if it brings one.

    For whoever judges by what that certificate says: without this, another of the same issuer and
    serial number that the caller holds could be the one whose key fits.
    """
    own = signer_of(claimed.claimed_signer, claimed.claimed_certificates)
    digests = (("sha256", hashlib.sha256(own).digest()),) if own else ()
    named = (*claimed.claimed_certificate_digests, *digests)
    return replace(claimed, claimed_certificate_digests=named)


def draft_detached(digest: bytes, signer: Signer, at: datetime) -> CmsDraft:
    """Return the draft of a detached signature over content with this ``signer.digest``.

    It claims the signing time ``at`` and names its certificate (RFC 5035).
    """
    from signward.envelopes.cms_draft import (  # only signing needs it
        CmsDraft,
        Form,
        attribute,
        signing_certificate,
        signing_time,
    )

    attributes = (
        attribute(CONTENT_TYPE, der.oid(DATA)),
        attribute(MESSAGE_DIGEST, der.octet_string(digest)),
        signing_time(at),
        signing_certificate(signer.certificates[:1]),
    )
    return CmsDraft(
        content_type=DATA,
        content=b"",
        form=Form.DETACHED,
        signer=signer,
        attributes=b"".join(sorted(attributes)),
        token_oid=CMS_TIMESTAMP,
    )
