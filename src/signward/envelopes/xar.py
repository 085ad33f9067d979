"""The two envelopes of a xar archive: CMS over a stored checksum, and a bare RSA value.

Sources: the xar project's "xarformat" page for the value; goxar and Apple's own packages for the
CMS, a detached SignedData whose content is the checksum's octets.  Neither knows a place in an
archive: `formats/_pkg_signature.py` finds the octets, and says which slots they speak of.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.errors import AmbiguousError, MalformedError
from signward.frozen import Frozen, replace
from signward.state import Algorithm, ClaimedSignature, Reading, SignerId, Slot
from signward.wire.certificate import outline

ENVELOPE = "xar"
"""The envelope of a bare RSA value whose signer the table names."""

_RCODESIGN = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
_WHAT = "signature"


class Checksum(Frozen, frozen=True, kw_only=True):
    """What both are over: a compressed table, and its digest by ``algorithm`` as it is stored."""

    algorithm: str
    table: bytes
    stored: bytes


def open_cms(blob: bytes, over: Checksum, slots: tuple[Slot, ...]) -> ClaimedSignature:
    """Return the one signature in a detached CMS (DER or BER) over a stored checksum.

    It brings its own certificates.  Raises ``BadInputError``.
    """
    opened = open_signatures(blob, no_slots)
    if len(opened) != 1:
        raise AmbiguousError(_WHAT, f"{len(opened)} signatures in one", "one", "xarformat")
    claimed = opened[0]
    if claimed.content or claimed.content_type != DATA:
        raise MalformedError(
            _WHAT, f"content of type {claimed.content_type} inside",
            "none: the checksum is the content", "RFC 5652 5.2",
        )  # fmt: skip
    return replace(
        claimed,
        slots=slots,
        rests_on=_rests_on(slots),
        bindings=tuple(replace(one, data=over.stored) for one in claimed.bindings),
        to_be_verified=claimed.to_be_verified or over.stored,
    )


def open_value(
    value: bytes,
    over: Checksum,
    slots: tuple[Slot, ...],
    certificates: Sequence[bytes],
    label: str,
) -> ClaimedSignature:
    """Return a bare value, PKCS #1 v1.5; the first of ``certificates`` (DER) is its signer's.

    Apple and goxar sign the table, of which the checksum is the digest.  rcodesign signs the
    checksum as if it were a message, always with SHA-256; macOS does not see that, as it looks at
    the CMS.  Raises ``BadInputError``.
    """
    leaf = outline(certificates[0]) if certificates else None
    return ClaimedSignature(
        label=label,
        envelope=ENVELOPE,
        slots=slots,
        rests_on=_rests_on(slots),
        bindings=(),
        algorithm=Algorithm(scheme="rsa-pkcs1v15", digest=over.algorithm),
        to_be_verified=over.table,
        readings=(
            Reading(what="the table", data=over.table),
            Reading(what="its checksum", data=over.stored, algorithm=_RCODESIGN),
        ),
        value=value,
        claimed_signer=SignerId(issuer=leaf.issuer, serial=leaf.serial) if leaf else SignerId(),
        claimed_certificates=tuple(certificates),
        raw=value,
    )


def _rests_on(slots: tuple[Slot, ...]) -> frozenset[str]:
    """Return the digests of table and files: each covers what another does not."""
    return frozenset(slot.algorithm for slot in slots)
