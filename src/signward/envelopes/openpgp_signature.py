"""OpenPGP signature packets (RFC 9580 5.2): everything in them is a claim.

Versions 4 and 6.  Version 3 is refused: it has no subpackets, so that no expiration, no critical
notation and no fingerprint of its key is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

from signward.envelopes.openpgp_keys import (
    DSA,
    ECDSA,
    ED448,
    ED25519,
    EDDSA_LEGACY,
    RSA,
    RSA_SIGN,
    Numbers,
)
from signward.envelopes.openpgp_packets import new_length
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import der

MAX_SUBPACKETS = 256
"""Subpackets of one signature; real ones have some ten."""

BINARY, TEXT = 0x00, 0x01
GENERIC_CERT, POSITIVE_CERT = 0x10, 0x13
SUBKEY_BINDING, PRIMARY_BINDING, DIRECT_KEY = 0x18, 0x19, 0x1F
KEY_REVOCATION, SUBKEY_REVOCATION, CERT_REVOCATION = 0x20, 0x28, 0x30
"""Signature types (RFC 9580 5.2.1)."""

CREATED, EXPIRES, KEY_EXPIRES, REVOKER, ISSUER = 2, 3, 9, 12, 16
NOTATION, PRIMARY_USER_ID, KEY_FLAGS, REASON = 20, 25, 27, 29
EMBEDDED, ISSUER_FINGERPRINT = 32, 33
"""Subpacket types that are read (RFC 9580 5.2.3.7)."""

_WITHOUT_EFFECT = frozenset({4, 5, 7, 11, 21, 22, 23, 24, 26, 28, 30, 34, 35, 39})
"""Types that are understood and change nothing here: preferences, features, who is meant."""

_UNDERSTOOD = _WITHOUT_EFFECT | {
    CREATED, EXPIRES, KEY_EXPIRES, REVOKER, ISSUER, PRIMARY_USER_ID, KEY_FLAGS, REASON, EMBEDDED,
    ISSUER_FINGERPRINT,
}  # fmt: skip
"""No notation is: a critical one is of nobody's making that we know (5.2.3.24)."""

MAY_SIGN = 0x02
"""The key flag for signing data (5.2.3.29)."""

HASHES = {
    1: "md5", 2: "sha1", 3: "ripemd160", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224",
    12: "sha3_256", 14: "sha3_512",
}  # fmt: skip
"""hashlib's names by digest id (RFC 9580 9.5)."""

SALTS = {"sha224": 16, "sha256": 16, "sha384": 24, "sha512": 32, "sha3_256": 16, "sha3_512": 32}
"""Octets of a version 6 signature's salt by its digest (9.5)."""

_SCHEMES = {
    RSA: "rsa-pkcs1v15", RSA_SIGN: "rsa-pkcs1v15", DSA: "dsa", ECDSA: "ecdsa",
    EDDSA_LEGACY: "ed25519", ED25519: "ed25519", ED448: "ed448",
}  # fmt: skip
_VALUE_OCTETS = {ED25519: 64, ED448: 114}

_WHAT = "OpenPGP signature"
_CLAUSE = "RFC 9580 5.2.3"


class Subpacket(Frozen, frozen=True, kw_only=True):
    """One subpacket: its type without the critical bit, and that bit."""

    kind: int
    critical: bool
    body: bytes


class Signature(Frozen, frozen=True, kw_only=True):
    """A signature packet.

    ``trailer`` is what is hashed behind the content, ``salt`` what is hashed before it (empty in
    version 4), ``start`` what the digest is said to begin with.  ``value`` is as `integrity`
    takes it: an RSA number without its count of bits, ECDSA and DSA in DER, EdDSA as it stands.
    """

    version: int
    kind: int
    algorithm: Algorithm
    hashed: tuple[Subpacket, ...]
    unhashed: tuple[Subpacket, ...]
    salt: bytes
    trailer: bytes
    start: bytes
    value: bytes

    def told(self, kind: int) -> bytes | None:
        """Return the last hashed subpacket of a type (5.2.3.9); None without any."""
        found = [one.body for one in self.hashed if one.kind == kind]
        return found[-1] if found else None

    @property
    def created(self) -> datetime:
        """When it says it was made; the signer's own claim."""
        return _instant(self.told(CREATED) or b"")

    def expires(self, kind: int = EXPIRES) -> timedelta | None:
        """Return a period of validity in whole seconds; None for ever (zero says so too)."""
        seconds = int.from_bytes(self.told(kind) or b"", "big")
        return timedelta(seconds=seconds) if seconds else None

    @property
    def flags(self) -> int | None:
        """The first octet of the key flags; None where there are none."""
        told = self.told(KEY_FLAGS)
        return None if told is None else int.from_bytes(told[:1], "big")

    @property
    def issuer(self) -> tuple[bytes, bytes]:
        """The fingerprint, and the key id, of who says he signed; each may be empty.

        Neither need be signed: only the value tells whose it is.
        """
        fingerprint = key_id = b""
        for one in chain(self.unhashed, self.hashed):
            if one.kind == ISSUER_FINGERPRINT:
                fingerprint = one.body[1:]
            elif one.kind == ISSUER:
                key_id = one.body
        return fingerprint, key_id

    @property
    def unknown_critical(self) -> int | None:
        """The type of a critical subpacket that is not understood (5.2.3.7); None without any."""
        return next((one.kind for one in self.hashed
                     if one.critical and one.kind not in _UNDERSTOOD), None)  # fmt: skip

    @property
    def embedded(self) -> tuple[bytes, ...]:
        """The signature packets' bodies inside (5.2.3.34); a back signature need not be hashed."""
        return tuple(one.body for one in (*self.hashed, *self.unhashed) if one.kind == EMBEDDED)

    def digest(self, content: bytes) -> bytes:
        """Return the digest of the content as this signature hashes it (5.2.4).

        The caller looked whether `algorithm.digest` can be computed.
        """
        hasher = hashlib.new(self.algorithm.digest, self.salt, usedforsecurity=False)
        hasher.update(content)
        hasher.update(self.trailer)
        return hasher.digest()


def read_signature(body: bytes) -> Signature:
    """Return the signature in a packet's body.

    Raises ``MalformedError``, also for a version that is refused, and ``LimitError``.
    """
    fields = Numbers(body, _WHAT, _CLAUSE)
    version = fields.number(1)
    if version not in (4, 6):
        raise fields.error(f"version {version}", "4 or 6")
    kind, key, digest = fields.number(1), fields.number(1), fields.number(1)
    width = 2 if version == 4 else 4
    area = fields.octets(fields.number(width))
    signed = body[: 4 + width + len(area)]
    unhashed = fields.octets(fields.number(width))
    start = fields.octets(2)
    name = HASHES.get(digest, f"unknown:{digest}")
    salt = fields.octets(fields.number(1)) if version == 6 else b""
    if version == 6 and len(salt) != SALTS.get(name, len(salt)):
        raise fields.error(f"{len(salt)} octets of salt", str(SALTS[name]))
    made = Signature(
        version=version,
        kind=kind,
        algorithm=_algorithm(key, name),
        hashed=tuple(_subpackets(area)),
        unhashed=tuple(_subpackets(unhashed)),
        salt=salt,
        trailer=trailer_of(version, signed),
        start=start,
        value=_value(key, fields),
    )
    _check(made)
    return made


def trailer_of(version: int, signed: bytes) -> bytes:
    """Return what is hashed behind the content: the signature's own signed part (5.2.4)."""
    return signed + bytes([version, 0xFF]) + len(signed).to_bytes(4, "big")


def _check(made: Signature) -> None:
    """Raise ``MalformedError`` for subpackets that a signature must have, or have in one form."""
    sizes = {CREATED: 4, EXPIRES: 4, KEY_EXPIRES: 4, ISSUER: 8}
    for one in (*made.hashed, *made.unhashed):
        if len(one.body) != sizes.get(one.kind, len(one.body)):
            raise MalformedError(_WHAT, f"subpacket {one.kind} of {len(one.body)} octets",
                                 str(sizes[one.kind]), _CLAUSE)  # fmt: skip
    if made.told(CREATED) is None:
        raise MalformedError(_WHAT, "no signed creation time", "one", "RFC 9580 5.2.3.11")


def _subpackets(area: bytes) -> Iterator[Subpacket]:
    position = count = 0
    while position < len(area):
        count += 1
        if count > MAX_SUBPACKETS:
            raise LimitError(_WHAT, f"more than {MAX_SUBPACKETS} subpackets", "fewer", _CLAUSE)
        length, start = new_length(area, position)
        if not length or start + length > len(area):
            raise MalformedError(_WHAT, f"a subpacket of {length} octets",
                                 f"1 to {len(area) - start}", "RFC 9580 5.2.3.7")  # fmt: skip
        yield Subpacket(
            kind=area[start] & 0x7F,
            critical=bool(area[start] & 0x80),
            body=area[start + 1 : start + length],
        )
        position = start + length


def _algorithm(key: int, digest: str) -> Algorithm:
    scheme = _SCHEMES.get(key, f"unknown:{key}")
    return Algorithm(scheme=scheme, digest=digest, bare=scheme == "rsa-pkcs1v15")


def _value(key: int, fields: Numbers) -> bytes:
    """Return the value by its key's algorithm; of an unknown one, the octets as they stand."""
    if key in (RSA, RSA_SIGN):
        value = fields.rsa_value()
    elif key in (DSA, ECDSA):
        value = der.sequence(der.integer(fields.mpi()), der.integer(fields.mpi()))
    elif key == EDDSA_LEGACY:
        halves = fields.mpi(), fields.mpi()
        if max(halves).bit_length() > 256:
            raise fields.error("a half of more than 256 bits", "32 octets each")
        value = b"".join(half.to_bytes(32, "big") for half in halves)
    elif key in _VALUE_OCTETS:
        value = fields.octets(_VALUE_OCTETS[key])
    else:
        return fields.rest()
    fields.end()
    return value


def _instant(octets: bytes) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(octets, "big"), UTC)
