"""OpenPGP public keys (RFC 9580 5.5) as numbers: no key is used here.

Versions 4 and 6; versions 2 and 3 are refused: their fingerprint is an MD5 that leaves out the
lengths, so that two keys can share it (RFC 9580 5.5.2.1).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.wire import der
from signward.wire.algorithms import DSA_KEY
from signward.wire.spki import ec_key, rsa_key

MAX_MPI_BITS = 16384
"""Bits of one number, as long as the longest RSA modulus that is checked with."""

MAX_KEY_OCTETS = 0xFFFF
"""Octets of one key: the length that fingerprints of version 4 hash has two."""

RSA, RSA_ENCRYPT, RSA_SIGN, ELGAMAL, DSA = 1, 2, 3, 16, 17
ECDH, ECDSA, EDDSA_LEGACY, ED25519, ED448 = 18, 19, 22, 27, 28
"""Public-key algorithm ids (RFC 9580 9.1)."""

_WHAT = "OpenPGP key"
_CLAUSE = "RFC 9580 5.5.2"
_CURVES = {
    "1.2.840.10045.3.1.7": 32,
    "1.3.132.0.34": 48,
    "1.3.132.0.35": 66,
    "1.3.132.0.10": 32,
    "1.3.36.3.3.2.8.1.1.7": 32,
    "1.3.36.3.3.2.8.1.1.11": 48,
    "1.3.36.3.3.2.8.1.1.13": 64,
}
"""Octets of a coordinate by the OID of a curve for ECDSA (RFC 9580 9.2)."""

_ED25519_LEGACY = "1.3.6.1.4.1.11591.15.1"
_EDWARDS = {ED25519: ("1.3.101.112", 32), ED448: ("1.3.101.113", 57)}
"""OID (RFC 8410) and octets of a key."""


class PublicKey(Frozen, frozen=True, kw_only=True):
    """A public key packet; ``hashed`` is what fingerprints and signatures over it hash.

    ``spki`` is its SubjectPublicKeyInfo (DER), empty for a key that cannot sign or is of an
    algorithm that we do not know.
    """

    version: int
    created: datetime
    algorithm: int
    spki: bytes
    hashed: bytes
    fingerprint: bytes

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"OpenPGP key {self.fingerprint.hex()}"


class Numbers:
    """Reads the fields of key material and of signature values, each within its bounds."""

    def __init__(self, data: bytes, what: str, clause: str) -> None:
        self._data, self._what, self._clause = data, what, clause
        self._position = 0

    def octets(self, size: int) -> bytes:
        """Return the next ``size`` octets.  Raises ``MalformedError``."""
        found = self._data[self._position : self._position + size]
        if len(found) < size:
            raise self.error(f"{len(self._data)} octets", f"{size} more at {self._position}")
        self._position += size
        return found

    def number(self, size: int) -> int:
        """Return the next ``size`` octets as an integer."""
        return int.from_bytes(self.octets(size), "big")

    def mpi(self) -> int:
        """Return a multiprecision integer (RFC 9580 3.2): a count of bits, then the octets.

        The count must be that of the number: one number is written in one way.
        """
        return int.from_bytes(self._mpi(in_octets=False), "big")

    def rsa_value(self) -> bytes:
        """Return the octets of an RSA signature's number.

        Go's writers, GitHub's among them, count the bits of all octets that the modulus has, those
        in front that are 0 too: so may a count of whole octets.  All of them are returned: a value
        of more octets than its key's modulus fits no key.
        """
        return self._mpi(in_octets=True)

    def _mpi(self, *, in_octets: bool) -> bytes:
        bits = self.number(2)
        if bits > MAX_MPI_BITS:
            raise self.error(f"a number of {bits} bits", f"at most {MAX_MPI_BITS}")
        octets = self.octets((bits + 7) // 8)
        found = int.from_bytes(octets, "big").bit_length()
        if found != bits and (not in_octets or bits % 8):
            raise self.error(f"{found} bits where {bits} are told", "the same")
        return octets

    def rest(self) -> bytes:
        """Return all octets that are left."""
        return self.octets(len(self._data) - self._position)

    def end(self) -> None:
        """Raise ``MalformedError`` if octets are left."""
        left = len(self._data) - self._position
        if left:
            raise self.error(f"{left} octets behind its last field", "none")

    def error(self, found: str, required: str) -> MalformedError:
        """Return the error to raise."""
        return MalformedError(self._what, found, required, self._clause)


def read_key(body: bytes) -> PublicKey:
    """Return the public key in the body of a key or subkey packet.

    Raises ``MalformedError``, also for a version that is refused.
    """
    fields = Numbers(body, _WHAT, _CLAUSE)
    if len(body) > MAX_KEY_OCTETS:
        raise fields.error(f"{len(body)} octets", f"at most {MAX_KEY_OCTETS}")
    version = fields.number(1)
    if version not in (4, 6):
        raise fields.error(f"version {version}", "4 or 6")
    created = datetime.fromtimestamp(fields.number(4), UTC)
    algorithm = fields.number(1)
    if version == 6 and fields.number(4) != len(body) - 10:
        raise fields.error("key material of another length", "the length told")
    if version == 4:
        prefix, digest = b"\x99" + len(body).to_bytes(2, "big"), "sha1"
    else:
        prefix, digest = b"\x9b" + len(body).to_bytes(4, "big"), "sha256"
    hashed = prefix + body
    return PublicKey(
        version=version,
        created=created,
        algorithm=algorithm,
        spki=_spki(algorithm, fields),
        hashed=hashed,
        fingerprint=hashlib.new(digest, hashed, usedforsecurity=False).digest(),
    )


def _spki(algorithm: int, fields: Numbers) -> bytes:
    """Return the SubjectPublicKeyInfo; empty for a key that makes no signatures."""
    if algorithm in (RSA, RSA_SIGN):
        spki = rsa_key(fields.mpi(), fields.mpi())
    elif algorithm == DSA:
        p, q, g, y = (fields.mpi() for _ in range(4))
        domain = der.sequence(der.integer(p), der.integer(q), der.integer(g))
        kind = der.sequence(der.oid(DSA_KEY), domain)
        spki = der.sequence(kind, der.bit_string(der.integer(y)))
    elif algorithm in _EDWARDS:
        curve, size = _EDWARDS[algorithm]
        spki = _edwards(curve, fields.octets(size))
    elif algorithm in (ECDSA, EDDSA_LEGACY):
        return _on_curve(algorithm, fields)
    else:
        return b""
    fields.end()
    return spki


def _on_curve(algorithm: int, fields: Numbers) -> bytes:
    """Return the key on a curve that an OID without its tag names; empty for an unknown one."""
    name = fields.octets(fields.number(1))
    curve = der.parse(bytes([der.OID, len(name)]) + name, _WHAT).oid(_WHAT) if name else ""
    if algorithm == EDDSA_LEGACY and curve == _ED25519_LEGACY:
        point = fields.mpi()
        fields.end()
        if point >> 256 != 0x40:
            raise fields.error("a point without its prefix", "0x40 and 32 octets")
        return _edwards(_EDWARDS[ED25519][0], (point & (1 << 256) - 1).to_bytes(32, "big"))
    if algorithm != ECDSA or curve not in _CURVES:
        return b""
    size = 2 * _CURVES[curve] + 1
    point = fields.mpi()
    fields.end()
    if point.bit_length() > 8 * size or point >> 8 * (size - 1) != 4:
        raise fields.error("a point of another form", f"0x04 and {size - 1} octets")
    return ec_key(curve, point.to_bytes(size, "big"))


def _edwards(curve: str, key: bytes) -> bytes:
    return der.sequence(der.sequence(der.oid(curve)), der.bit_string(key))
