"""Documents of ours in DSSE envelopes: opened with the keys that the caller trusts, or not at all.

Feeds, policies and receipts travel this way: a payload of one type, signed by a key that is known
beforehand.  The envelope names no algorithm; a key has one (``integrity.usual_algorithm``).
"""

from __future__ import annotations

from collections.abc import Sequence

from signward import integrity
from signward.envelopes import dsse
from signward.errors import BadInputError, EvidenceError
from signward.trust import pem
from signward.trust.x509 import load_certificate

MAX_KEYS = 16
"""Keys a document may be signed with: one, and the next one while it is being changed."""

PUBLIC_KEY = "PUBLIC KEY"
"""Label of a public key in PEM (RFC 7468 13)."""


def read_keys(name: str, data: bytes) -> tuple[bytes, ...]:
    """Return the public keys (DER) in a file: PEM public keys or certificates, or DER of one.

    Raises ``EvidenceError``.
    """
    if b"-----BEGIN " not in data:
        return (_checked_key(name, data),)
    kind = PUBLIC_KEY if b"-----BEGIN PUBLIC KEY-----" in data else pem.CERTIFICATES
    found = tuple(_checked_key(name, block) for block in pem.blocks(name, data, kind))
    if len(found) > MAX_KEYS:
        raise EvidenceError(f"{name}: {len(found)} keys, at most {MAX_KEYS}")
    return found


def _checked_key(name: str, der: bytes) -> bytes:
    """Return a public key; of a certificate its own.  Raises ``EvidenceError``."""
    try:
        return load_certificate(der).spki
    except BadInputError:
        pass
    try:
        integrity.load_public_key(der)
    except integrity.UnsupportedKeyError as error:
        raise EvidenceError(f"{name}: {error}") from None
    return der


def open_sealed(
    name: str, data: bytes, keys: Sequence[bytes], payload_type: str, *, any_key_id: bool = False
) -> bytes:
    """Return the payload of an envelope that one of ``keys`` (DER) signed.

    With ``any_key_id`` a signature may call its key as it likes: others have other names for keys,
    and a name is a hint only (protocol.md, "keyid").

    Raises ``EvidenceError``: no envelope, another payload, no signature by these keys.
    """
    try:
        envelope = dsse.open_envelope(data)
    except BadInputError as error:
        raise EvidenceError(f"{name}: {error}") from None
    if envelope.claimed_type != payload_type:
        found = envelope.claimed_type[:80]
        raise EvidenceError(f"{name}: found payload {found!r}, required {payload_type}")
    _check_signed(name, envelope, keys, any_key_id=any_key_id)
    return envelope.claimed_payload


def _check_signed(
    name: str, envelope: dsse.DsseEnvelope, keys: Sequence[bytes], *, any_key_id: bool
) -> None:
    """Raise ``EvidenceError`` unless a signature fits one of the keys (protocol.md, "Verify")."""
    data, concerned = envelope.to_be_verified, 0
    for spki in keys[:MAX_KEYS]:
        for signature in envelope.signatures:
            if any_key_id or signature.claimed_key_id in ("", dsse.key_id(spki)):
                concerned += 1
                if _fits(spki, data, signature.value):
                    return
    if concerned:
        raise EvidenceError(f"{name}: found a signature that does not fit its key")
    signers = ", ".join(s.claimed_key_id[:16] or "unnamed" for s in envelope.signatures)
    wanted = ", ".join(dsse.key_id(spki)[:16] for spki in keys)
    raise EvidenceError(f"{name}: found a signature by key {signers}, required {wanted}")


def _fits(spki: bytes, data: bytes, value: bytes) -> bool:
    try:
        integrity.check_value(spki, integrity.usual_algorithm(spki), data, value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True
