"""OpenPGP signatures as drafts (RFC 9580 5.2): what is hashed, and the packet around the value.

The version is that of the key: 4, or 6.  Signed subpackets are the creation time and the issuer's
fingerprint; behind them, not signed, version 4 has the key id, which is all that readers before
2016 know an issuer by.  A version 6 signature begins with a salt that nobody can foretell (9.5):
it is drawn anew for every draft, so that drafting twice gives different octets.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime

from signward.envelopes import Signer
from signward.envelopes.openpgp_cert import KIND, key_in
from signward.envelopes.openpgp_keys import (
    DSA,
    ECDSA,
    ED448,
    ED25519,
    EDDSA_LEGACY,
    RSA,
    RSA_SIGN,
    PublicKey,
)
from signward.envelopes.openpgp_packets import SIGNATURE, write_length, write_packet
from signward.envelopes.openpgp_signature import (
    BINARY,
    CREATED,
    HASHES,
    ISSUER,
    ISSUER_FINGERPRINT,
    SALTS,
    trailer_of,
)
from signward.errors import NotSignableError
from signward.frozen import Frozen, replace
from signward.state import Algorithm, Hasher
from signward.wire import der

Feed = Callable[[Sequence[Hasher]], None]
"""Feeds the content, once and whole, to hashers."""

_IDS = {name: number for number, name in HASHES.items()}
_KEYS = {
    "rsa-pkcs1v15": frozenset({RSA, RSA_SIGN}),
    "ecdsa": frozenset({ECDSA}),
    "dsa": frozenset({DSA}),
    "ed25519": frozenset({EDDSA_LEGACY, ED25519}),
    "ed448": frozenset({ED448}),
}
"""Algorithm ids of the keys that sign by a scheme."""

_LAST = 0xFFFFFFFF
"""The last second that four octets tell: in the year 2106."""

_WHAT = "OpenPGP signature"


class OpenPgpDraft(Frozen, frozen=True, kw_only=True):
    """A signature packet that lacks its value (an ``envelopes.Draft``).

    ``head`` are its octets up to the value, ``key`` the algorithm id of the key.
    """

    head: bytes
    key: int
    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the packet, not armoured; there is no place for tokens."""
        return write_packet(SIGNATURE, self.head + _value(self.key, value))

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def draft_openpgp(signer: Signer, at: datetime, feed: Feed, kind: int = BINARY) -> OpenPgpDraft:
    """Return the draft of a signature of ``kind`` over what ``feed`` feeds, made ``at``.

    ``at`` is aware and told in whole seconds.  Of text (type 0x01) the caller feeds the lines as
    they are signed, ended by CR and LF.  Raises ``NotSignableError``.
    """
    key = _key(signer)
    salt = os.urandom(SALTS[signer.digest]) if key.version == 6 else b""
    signed = _signed(key, kind, signer.digest, _seconds(at))
    hasher = hashlib.new(signer.digest, salt, usedforsecurity=False)
    feed([hasher])
    hasher.update(trailer_of(key.version, signed))
    digest = hasher.digest()
    unhashed = b"" if key.version == 6 else _subpacket(ISSUER, key.fingerprint[-8:])
    head = signed + _area(key, unhashed) + digest[:2]
    # A scheme that hashes for itself takes the digest for its message (5.2.3.3).
    algorithm = replace(signer.algorithm, digested=True)
    return OpenPgpDraft(
        head=head + (bytes([len(salt)]) + salt if key.version == 6 else b""),
        key=key.algorithm,
        to_be_signed=digest,
        algorithm=algorithm,
    )


def _key(signer: Signer) -> PublicKey:
    """Return the signer's key as its OpenPGP certificate has it."""
    holder = signer.holder
    key = key_in(holder) if holder is not None and holder.kind == KIND else None
    if key is None:
        raise NotSignableError(
            _WHAT, "a key that no OpenPGP certificate holds", "one of an OpenPGP certificate",
            hint="--cert FILE names the certificate",
        )  # fmt: skip
    if key.algorithm not in _KEYS.get(signer.algorithm.scheme, ()):
        raise NotSignableError(
            _WHAT, f"{signer.algorithm} with a key of algorithm {key.algorithm}",
            "what OpenPGP has a number for (RFC 9580 9.1)",
        )  # fmt: skip
    if signer.digest not in SALTS:
        raise NotSignableError(_WHAT, f"digest {signer.digest}", f"one of {', '.join(SALTS)}")
    return key


def _seconds(at: datetime) -> bytes:
    seconds = int(at.timestamp())
    if not 0 <= seconds <= _LAST:
        raise NotSignableError(_WHAT, f"time {at:%Y-%m-%d}", "one from 1970 to 2106")
    return seconds.to_bytes(4, "big")


def _signed(key: PublicKey, kind: int, digest: str, made: bytes) -> bytes:
    """Return the octets from the version to the last signed subpacket."""
    issuer = bytes([key.version]) + key.fingerprint
    area = _subpacket(CREATED, made) + _subpacket(ISSUER_FINGERPRINT, issuer)
    return bytes([key.version, kind, key.algorithm, _IDS[digest]]) + _area(key, area)


def _subpacket(kind: int, body: bytes) -> bytes:
    return write_length(len(body) + 1) + bytes([kind]) + body


def _area(key: PublicKey, area: bytes) -> bytes:
    """Return subpackets behind their length: in version 6 of four octets, before of two."""
    return len(area).to_bytes(4 if key.version == 6 else 2, "big") + area


def _value(key: int, value: bytes) -> bytes:
    """Return a value as packets have it: ECDSA from DER, EdDSA of version 4 in two halves."""
    if key in (RSA, RSA_SIGN):
        return write_mpi(int.from_bytes(value, "big"))
    if key in (DSA, ECDSA):
        halves = der.parse(value, _WHAT).fields(_WHAT, 2)
        return b"".join(write_mpi(half.integer(_WHAT)) for half in halves)
    if key == EDDSA_LEGACY:
        return b"".join(write_mpi(int.from_bytes(h, "big")) for h in (value[:32], value[32:]))
    return value


def write_mpi(value: int) -> bytes:
    """Return a multiprecision integer (RFC 9580 3.2)."""
    bits = value.bit_length()
    return bits.to_bytes(2, "big") + value.to_bytes((bits + 7) // 8, "big")
