"""OpenPGP certificates, also called transferable public keys (RFC 9580 10.1): read, not judged.

A primary key, user ids and subkeys, and the signatures that stand behind each of them.  Which of
those count is for ``trust.openpgp`` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from signward.envelopes.openpgp_keys import PublicKey, read_key
from signward.envelopes.openpgp_packets import (
    FIRST_NONCRITICAL,
    MARKER,
    PADDING,
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    SIGNATURE,
    TRUST,
    USER_ATTRIBUTE,
    USER_ID,
    Packet,
    dearmour,
    is_armoured,
    packets,
)
from signward.envelopes.openpgp_signature import (
    CERT_REVOCATION,
    KEY_REVOCATION,
    SUBKEY_REVOCATION,
    Signature,
    read_signature,
)
from signward.errors import BadInputError, MalformedError
from signward.frozen import Frozen
from signward.state import HeldKey

KIND = "openpgp"
"""What keys and signatures of this encoding are called."""

MAX_SIGNATURES = 4096
"""Signatures behind one part that are read; some public keys have been flooded with more."""

_WHAT = "OpenPGP certificate"
_CLAUSE = "RFC 9580 10.1"
_SKIPPED = frozenset({MARKER, TRUST, PADDING})
_REVOCATIONS = frozenset({KEY_REVOCATION, SUBKEY_REVOCATION, CERT_REVOCATION})
_REVOKES_ALL = bytes([KEY_REVOCATION])
_PREFIX = {USER_ID: b"\xb4", USER_ATTRIBUTE: b"\xd1"}
"""What stands before a user id, or an attribute, where a signature hashes it (5.2.4)."""


class Component(Frozen, frozen=True, kw_only=True):
    """A user id, a user attribute or a subkey, and the signatures behind it.

    ``hashed`` is what signatures over it hash besides the primary key; ``key`` is None where it
    is no subkey, or one that cannot be read.
    """

    tag: int
    body: bytes
    hashed: bytes
    key: PublicKey | None
    signatures: tuple[Signature, ...]

    @property
    def user_id(self) -> str:
        """The text of a user id; octets that are no UTF-8 are written out."""
        return self.body.decode("utf-8", "backslashreplace")


class Certificate(Frozen, frozen=True, kw_only=True):
    """A certificate: ``signatures`` are those behind the primary key itself."""

    primary: PublicKey
    signatures: tuple[Signature, ...]
    components: tuple[Component, ...]

    @property
    def subkeys(self) -> tuple[Component, ...]:
        """The subkeys that can be read."""
        return tuple(one for one in self.components if one.key is not None)

    @property
    def user_ids(self) -> tuple[Component, ...]:
        """The user ids."""
        return tuple(one for one in self.components if one.tag == USER_ID)


def binary(data: bytes) -> bytes:
    """Return a keyring's packets, whether it is armoured or not.  Raises ``MalformedError``."""
    if not is_armoured(data):
        return data
    return dearmour(data, "PUBLIC KEY BLOCK", alone=False)


def split_keyring(data: bytes) -> Iterator[bytes]:
    """Yield the octets of each certificate in a keyring of packets.

    Raises ``MalformedError`` and ``LimitError``; for a secret key, too: none belongs there.
    """
    start: int | None = None
    for packet in packets(data):
        if packet.tag in (SECRET_KEY, SECRET_SUBKEY):
            raise MalformedError(_WHAT, "a secret key", "public keys only", _CLAUSE,
                                 offset=packet.offset)  # fmt: skip
        if packet.tag == PUBLIC_KEY:
            if start is not None:
                yield data[start : packet.offset]
            start = packet.offset
        elif start is None and packet.tag not in _SKIPPED:
            raise MalformedError(_WHAT, f"packet {packet.tag} first", "a public key", _CLAUSE,
                                 offset=packet.offset)  # fmt: skip
    if start is None:
        raise MalformedError(_WHAT, "no public key", "one", _CLAUSE)
    yield data[start:]


def read_certificate(data: bytes) -> Certificate:
    """Return the one certificate in ``data`` (packets, no armour).

    Copies of it may stand one behind the other: a part that stands twice is one, with the
    signatures behind both, so that no copy hides what another one revokes.  A revocation of the
    primary key counts wherever it stands: it is often put behind everything else.
    A subkey or a signature that cannot be read is as if it were not there: it may be of a version
    to come.  Raises ``MalformedError`` and ``LimitError`` for the primary key and the framing.
    """
    found = [packet for packet in packets(data) if packet.tag not in _SKIPPED]
    if not found or found[0].tag != PUBLIC_KEY:
        raise MalformedError(_WHAT, "no public key first", "one", _CLAUSE)
    primary, own = read_key(found[0].body), list[Packet]()
    components, behind = dict[tuple[int, bytes], list[Packet]](), own
    for packet in found[1:]:
        if packet.tag == SIGNATURE:
            (own if packet.body[1:2] == _REVOKES_ALL else behind).append(packet)
        elif packet.tag in (USER_ID, USER_ATTRIBUTE, PUBLIC_SUBKEY):
            behind = components.setdefault((packet.tag, packet.body), [])
        elif packet.tag == PUBLIC_KEY and packet.body == found[0].body:
            behind = own
        elif packet.tag < FIRST_NONCRITICAL:
            raise MalformedError(_WHAT, f"packet {packet.tag}", "one that belongs there", _CLAUSE,
                                 offset=packet.offset)  # fmt: skip
    return Certificate(
        primary=primary,
        signatures=_readable(own),
        components=tuple(_component(*head, after) for head, after in components.items()),
    )


def _component(tag: int, body: bytes, behind: list[Packet]) -> Component:
    key = _key(body) if tag == PUBLIC_SUBKEY else None
    hashed = key.hashed if key else b""
    if tag in _PREFIX:
        hashed = _PREFIX[tag] + len(body).to_bytes(4, "big") + body
    return Component(tag=tag, body=body, hashed=hashed, key=key, signatures=_readable(behind))


def _key(body: bytes) -> PublicKey | None:
    try:
        return read_key(body)
    except BadInputError:
        return None


def _readable(found: list[Packet]) -> tuple[Signature, ...]:
    """Return the signatures that can be read, of very many the revocations and then the first."""
    signatures = list[Signature]()
    bodies = sorted(dict.fromkeys(packet.body for packet in found), key=_not_revoking)
    for body in bodies[:MAX_SIGNATURES]:
        try:
            signatures.append(read_signature(body))
        except BadInputError:
            continue
    return tuple(signatures)


def _not_revoking(body: bytes) -> bool:
    return len(body) < 2 or body[1] not in _REVOCATIONS  # the type is the second octet


def primary_of(data: bytes) -> bytes:
    """Return the body of the primary key's packet of one certificate out of `split_keyring`."""
    return next(packets(data)).body


def keys_of(data: bytes) -> tuple[HeldKey, ...]:
    """Return the keys of one certificate that could have signed; none if it cannot be read."""
    try:
        certificate = read_certificate(data)
    except BadInputError:
        return ()
    subkeys = (one.key for one in certificate.subkeys)
    return tuple(
        HeldKey(kind=KIND, key_id=key.fingerprint, spki=key.spki, holder=data)
        for key in chain((certificate.primary,), subkeys)
        if key is not None and key.spki
    )


def key_in(held: HeldKey) -> PublicKey | None:
    """Return the key of its holder's that ``held`` names; None if it is not there."""
    try:
        certificate = read_certificate(held.holder)
    except BadInputError:
        return None
    keys = (certificate.primary, *(one.key for one in certificate.subkeys))
    return next((k for k in keys if k is not None and k.fingerprint == held.key_id), None)
