"""The keys in reach that may be a signer's: those that bear the name an envelope gives."""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.raw import KIND as RAW
from signward.errors import BadInputError
from signward.state import X509, ClaimedSignature, HeldKey
from signward.wire.certificate import Outline, outline
from signward.wire.spki import usual_key_id

_HELD_AS = {"sigstore": RAW}
"""Envelopes whose signers may have keys of another envelope's kind."""


def signer_keys(claimed: ClaimedSignature, keys: Sequence[HeldKey]) -> list[HeldKey]:
    """Return the keys of the envelope's own kind that bear the name it gives.

    A bare value has no room for a name: any of its kind may have made it.  The caller's keys come
    before those that an envelope brings: what is known of a key stands with them.
    """
    kind = _HELD_AS.get(claimed.envelope, claimed.envelope)
    own = [key for key in (*keys, *claimed.claimed_keys) if key.kind == kind]
    if claimed.envelope == RAW:
        return own
    named, suffix = claimed.claimed_signer.key_id, claimed.claimed_signer.key_suffix
    return [
        key for key in own
        if (key.key_id == named if named else bool(suffix) and key.key_id.endswith(suffix))
    ]  # fmt: skip


def signer_certificates(claimed: ClaimedSignature, certificates: Sequence[bytes]) -> list[HeldKey]:
    """Return the keys of certificates with the name or key identifier the envelope gives."""
    signer, found = claimed.claimed_signer, dict[bytes, HeldKey]()
    for certificate in (*claimed.claimed_certificates, *certificates):
        try:
            seen = outline(certificate)
        except BadInputError:
            continue  # an unreadable certificate can be nobody's signer
        by_name = seen.serial == signer.serial and seen.issuer == signer.issuer
        by_key = bool(signer.key_id) and seen.key_id == signer.key_id
        by_end = bool(signer.key_suffix) and _key_id_of(seen).endswith(signer.key_suffix)
        if (by_key or by_name or by_end) and certificate not in found:
            found[certificate] = HeldKey(
                kind=X509, key_id=seen.key_id, spki=seen.spki, holder=certificate
            )
    return list(found.values())


def _key_id_of(seen: Outline) -> bytes:
    """Return the key identifier, or the usual one of a certificate that names none."""
    try:
        return seen.key_id or usual_key_id(seen.spki)
    except BadInputError:
        return b""
