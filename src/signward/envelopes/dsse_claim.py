"""DSSE signatures as claims about an artifact: whose certificate stands beside them."""

from __future__ import annotations

from signward.envelopes import dsse
from signward.errors import BadInputError
from signward.state import Algorithm, ClaimedSignature, SignerId
from signward.wire.certificate import Outline, outline
from signward.wire.spki import claimed_algorithm


def claim(
    label: str, signature: dsse.DsseSignature, envelope: dsse.DsseEnvelope, data: bytes
) -> ClaimedSignature:
    """Return what one signature claims: by the key whose certificate stands beside it.

    A key id that none of them has is one that nobody here holds (``key-missing``).
    """
    leaf = _named(signature)
    algorithm = claimed_algorithm(leaf.spki) if leaf else None
    key_id = signature.claimed_key_id.encode("utf-8", "replace")[:64]
    return ClaimedSignature(
        label=label,
        envelope="dsse",
        slots=(),
        bindings=(),
        algorithm=algorithm or Algorithm(scheme="unknown"),
        to_be_verified=envelope.to_be_verified,
        value=signature.value,
        claimed_signer=SignerId(issuer=leaf.issuer, serial=leaf.serial)
        if leaf
        else SignerId(key_id=key_id or b"unnamed"),
        claimed_certificates=signature.claimed_certificates,
        content_type=envelope.claimed_type,
        content=envelope.claimed_payload,
        raw=data,
    )


def _named(signature: dsse.DsseSignature) -> Outline | None:
    """Return the certificate of the key that a signature names; of no key: None."""
    for certificate in signature.claimed_certificates:
        try:
            seen = outline(certificate)
        except BadInputError:
            continue  # an unreadable certificate can be nobody's signer
        if dsse.key_id(seen.spki) == signature.claimed_key_id:
            return seen
    return None
