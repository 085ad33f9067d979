"""OpenPGP transferable secret keys (RFC 9580 10.2, 5.5.3): cut apart, nothing unlocked here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from signward.envelopes.openpgp_cert import KIND, Certificate, Component, read_certificate
from signward.envelopes.openpgp_keys import (
    DSA,
    ECDH,
    ECDSA,
    ED448,
    ED25519,
    EDDSA_LEGACY,
    ELGAMAL,
    RSA,
    RSA_ENCRYPT,
    RSA_SIGN,
    Numbers,
    PublicKey,
    read_key,
)
from signward.envelopes.openpgp_packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    dearmour,
    is_armoured,
    packets,
    write_packet,
)
from signward.envelopes.openpgp_signature import (
    MAY_SIGN,
    SUBKEY_BINDING,
    SUBKEY_REVOCATION,
    Signature,
)
from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import HeldKey

X25519, X448 = 25, 26
"""Public-key algorithm ids of keys for encryption (RFC 9580 9.1)."""

_WHAT = "OpenPGP secret key"
_CLAUSE = "RFC 9580 5.5.3"
_TO_PUBLIC = {SECRET_KEY: PUBLIC_KEY, SECRET_SUBKEY: PUBLIC_SUBKEY}
_NUMBERS = {RSA: 2, RSA_ENCRYPT: 2, RSA_SIGN: 2, ELGAMAL: 3, DSA: 4}
_OCTETS = {X25519: 32, X448: 56, ED25519: 32, ED448: 57}
_SIGNING = frozenset({RSA, RSA_SIGN, ECDSA, EDDSA_LEGACY, ED25519, ED448})
_HEAD = 6
"""Octets of version, creation time and algorithm."""


class SecretKey(Frozen, frozen=True, kw_only=True):
    """A secret key packet: the public key, and the octets behind it, which may be locked."""

    public: PublicKey
    behind: bytes


class SecretKeys(Frozen, frozen=True, kw_only=True):
    """A transferable secret key: the certificate it goes with (packets), and its secret keys.

    ``keys`` are those that say they may sign, the one to be used first in front.
    """

    certificate: bytes
    keys: tuple[SecretKey, ...]

    def held(self, key: SecretKey) -> HeldKey:
        """Return a key's public half as verifiers hold it."""
        return HeldKey(kind=KIND, key_id=key.public.fingerprint, spki=key.public.spki,
                       holder=self.certificate)  # fmt: skip


def is_secret(data: bytes) -> bool:
    """Say whether octets begin as a secret key packet does, or are armoured ones."""
    first = data[0] if data else 0
    binary = first & 0xFC == 0x94 or first == 0xC5  # type 5, either header
    return binary or (is_armoured(data) and b"-----BEGIN PGP PRIVATE KEY BLOCK-----" in data)


def read_secret(data: bytes) -> SecretKeys:
    """Return the one transferable secret key in a file, armoured or not.

    Raises ``MalformedError`` and ``LimitError``; for several, too: which to sign with?
    """
    octets = dearmour(data, "PRIVATE KEY BLOCK", alone=False) if is_armoured(data) else data
    public, secret = list[bytes](), dict[bytes, SecretKey]()
    for packet in packets(octets):
        if packet.tag == SECRET_KEY and secret:
            raise MalformedError(_WHAT, "several primary keys", "one", "RFC 9580 10.2",
                                 offset=packet.offset)  # fmt: skip
        body = packet.body
        if packet.tag in _TO_PUBLIC:
            size = _public_size(body)
            body = body[:size]
            key = read_key(body)
            secret[key.fingerprint] = SecretKey(public=key, behind=packet.body[size:])
        public.append(write_packet(_TO_PUBLIC.get(packet.tag, packet.tag), body))
    certificate = b"".join(public)
    order = [one.fingerprint for one in _signing(read_certificate(certificate))]
    return SecretKeys(
        certificate=certificate, keys=tuple(secret[one] for one in order if one in secret)
    )


def _public_size(body: bytes) -> int:
    """Return how many octets the public key has, at the front of a secret key's packet."""
    fields = Numbers(body, _WHAT, _CLAUSE)
    version, _, algorithm = fields.number(1), fields.octets(4), fields.number(1)
    if version == 6:
        return _HEAD + 4 + fields.number(4)
    if algorithm in _OCTETS:
        fields.octets(_OCTETS[algorithm])
    elif algorithm in (ECDSA, EDDSA_LEGACY, ECDH):
        fields.octets(fields.number(1))
        fields.mpi()
        if algorithm == ECDH:
            fields.octets(fields.number(1))
    elif algorithm in _NUMBERS:
        for _ in range(_NUMBERS[algorithm]):
            fields.mpi()
    else:
        raise fields.error(f"algorithm {algorithm}", "one whose public key has a known length")
    return len(body) - len(fields.rest())


def _signing(certificate: Certificate) -> Iterator[PublicKey]:
    """Yield the keys that say they may sign: subkeys before the primary key, the newest first.

    So GnuPG chooses.  These are claims; the profile judges the chosen key before it signs.
    """
    subkeys = [(one.key, _binding(one)) for one in certificate.subkeys]
    usable = [
        key for key, binding in subkeys
        if key is not None and binding is not None and _may_sign(key, (binding,))
    ]  # fmt: skip
    yield from sorted(usable, key=lambda key: key.created, reverse=True)
    words = [one for part in certificate.user_ids for one in part.signatures]
    if _may_sign(certificate.primary, (*certificate.signatures, *words)):
        yield certificate.primary


def _binding(subkey: Component) -> Signature | None:
    """Return the newest binding of a subkey that nobody withdrew."""
    if any(one.kind == SUBKEY_REVOCATION for one in subkey.signatures):
        return None
    bindings = [one for one in subkey.signatures if one.kind == SUBKEY_BINDING]
    return max(bindings, key=_made, default=None)


def _made(signature: Signature) -> datetime:
    return signature.created


def _may_sign(key: PublicKey, words: tuple[Signature, ...]) -> bool:
    """Say whether the newest word that tells flags allows signing; without any they allow it."""
    telling = [one for one in words if one.flags is not None]
    flags = max(telling, key=_made).flags if telling else None
    return key.algorithm in _SIGNING and (flags is None or bool(flags & MAY_SIGN))
