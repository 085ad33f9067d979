"""OpenPGP keys, certificates and signatures, written octet by octet (RFC 9580)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BORN = datetime(2020, 1, 1, tzinfo=UTC)
"""When keys are made, unless a test says otherwise."""

HASHES = {
    "md5": (1, hashes.MD5), "sha1": (2, hashes.SHA1), "sha256": (8, hashes.SHA256),
    "sha384": (9, hashes.SHA384), "sha512": (10, hashes.SHA512),
}  # fmt: skip
SALTS = {"sha256": 16, "sha384": 24, "sha512": 32}
_CURVES = {
    "p256": bytes.fromhex("2a8648ce3d030107"), "p384": bytes.fromhex("2b81040022"),
    "p521": bytes.fromhex("2b81040023"),
}  # fmt: skip
_ED25519 = bytes.fromhex("2b06010401da470f01")


def mpi(value: int) -> bytes:
    return value.bit_length().to_bytes(2, "big") + value.to_bytes(
        -(-value.bit_length() // 8), "big"
    )


def packet(tag: int, body: bytes) -> bytes:
    """A packet with the new header and five octets of length."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def subpacket(kind: int, body: bytes, *, critical: bool = False) -> bytes:
    return bytes([0xFF]) + (len(body) + 1).to_bytes(4, "big") + bytes([kind | critical << 7]) + body


def seconds(kind: int, value: int, *, critical: bool = False) -> bytes:
    return subpacket(kind, value.to_bytes(4, "big"), critical=critical)


def flags(value: int) -> bytes:
    return subpacket(27, bytes([value]))


class Key:
    """A key pair; ``kind`` is rsa, weak, dsa, p256, p384, p521, eddsa, ed25519 or ed448.

    ``private`` is a key that exists already.
    """

    def __init__(
        self, kind: str = "ed25519", version: int = 4, born: datetime = BORN, private: Any = None
    ) -> None:
        self.kind, self.version = kind, version
        self.private: Any = private or _MAKE[kind]()
        self.algorithm, material = _material(kind, self.private.public_key())
        length = len(material).to_bytes(4, "big") if version == 6 else b""
        self.body = bytes([version]) + _stamp(born) + bytes([self.algorithm]) + length + material

    @property
    def hashed(self) -> bytes:
        if self.version == 6:
            return b"\x9b" + len(self.body).to_bytes(4, "big") + self.body
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def fingerprint(self) -> bytes:
        return hashlib.new("sha256" if self.version == 6 else "sha1", self.hashed).digest()

    @property
    def issuer(self) -> bytes:
        """The fingerprint, and what GnuPG 2.2 asks for besides, the key id."""
        whole = subpacket(33, bytes([self.version]) + self.fingerprint)
        return whole + (subpacket(16, self.fingerprint[-8:]) if self.version == 4 else b"")

    def sign(
        self,
        content: bytes,
        *,
        kind: int = 0,
        made: datetime = BORN,
        digest: str = "sha256",
        more: Iterable[bytes] = (),
        unhashed: bytes = b"",
        issuer: bytes | None = None,
        version: int | None = None,
    ) -> bytes:
        """The body of a signature packet over ``content``."""
        version = version or self.version
        width = 4 if version == 6 else 2
        named = self.issuer if issuer is None else issuer
        area = subpacket(2, _stamp(made)) + named + b"".join(more)
        head = bytes([version, kind, self.algorithm, HASHES[digest][0]])
        signed = head + len(area).to_bytes(width, "big") + area
        salt = bytes(range(SALTS[digest])) if version == 6 else b""
        trailer = signed + bytes([version, 0xFF]) + len(signed).to_bytes(4, "big")
        told = hashlib.new(digest, salt + content + trailer).digest()
        behind = len(unhashed).to_bytes(width, "big") + unhashed + told[:2]
        behind += bytes([len(salt)]) + salt if version == 6 else b""
        return signed + behind + self._value(told, digest)

    def _value(self, told: bytes, digest: str) -> bytes:
        hashed = Prehashed(HASHES[digest][1]())
        if self.kind in ("rsa", "weak"):
            value = self.private.sign(told, padding.PKCS1v15(), hashed)
            return mpi(int.from_bytes(value, "big"))
        if self.kind == "dsa" or self.kind in _CURVES:
            arguments = (hashed,) if self.kind == "dsa" else (ec.ECDSA(hashed),)
            return b"".join(map(mpi, decode_dss_signature(self.private.sign(told, *arguments))))
        value = self.private.sign(told)
        if self.kind == "eddsa":
            return b"".join(mpi(int.from_bytes(half, "big")) for half in (value[:32], value[32:]))
        return bytes(value)


_MAKE: dict[str, Any] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "weak": lambda: rsa.generate_private_key(65537, 1024),
    "dsa": lambda: dsa.generate_private_key(2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "eddsa": ed25519.Ed25519PrivateKey.generate,
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


def _material(kind: str, public: Any) -> tuple[int, bytes]:
    if kind in ("rsa", "weak"):
        numbers = public.public_numbers()
        return 1, mpi(numbers.n) + mpi(numbers.e)
    if kind == "dsa":
        numbers = public.public_numbers()
        domain = numbers.parameter_numbers
        return 17, b"".join(map(mpi, (domain.p, domain.q, domain.g, numbers.y)))
    if kind in _CURVES:
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        oid = _CURVES[kind]
        return 19, bytes([len(oid)]) + oid + mpi(int.from_bytes(point, "big"))
    raw = public.public_bytes_raw()
    if kind == "eddsa":
        return 22, bytes([len(_ED25519)]) + _ED25519 + mpi(int.from_bytes(b"\x40" + raw, "big"))
    return (27 if kind == "ed25519" else 28), raw


def _stamp(instant: datetime) -> bytes:
    return int(instant.timestamp()).to_bytes(4, "big")


def user_id(key: Key, text: bytes = b"Ann <ann@example.org>", **how: Any) -> bytes:
    """A user id and the primary key's word about it."""
    content = key.hashed + b"\xb4" + len(text).to_bytes(4, "big") + text
    how.setdefault("more", (flags(0x03),))
    return packet(13, text) + packet(2, key.sign(content, kind=how.pop("kind", 0x13), **how))


def direct(key: Key, **how: Any) -> bytes:
    """A word of the primary key about itself."""
    how.setdefault("more", (flags(0x03),))
    return packet(2, key.sign(key.hashed, kind=how.pop("kind", 0x1F), **how))


def subkey(key: Key, sub: Key, *, back: bytes | None = None, **how: Any) -> bytes:
    """A subkey, its binding, and in that the subkey's own word (``back``: another, or none)."""
    over = key.hashed + sub.hashed
    own = sub.sign(over, kind=0x19) if back is None else back
    inside = subpacket(32, own) if own else b""
    how.setdefault("more", (flags(0x02),))
    binding = key.sign(over, kind=how.pop("kind", 0x18), unhashed=inside, **how)
    return packet(14, sub.body) + packet(2, binding)


def secret(key: Key, passphrase: bytes = b"", *, digest: str = "sha1") -> bytes:
    """What stands behind the public key in a secret key packet: plain, or locked (AES-256)."""
    material = _secret_material(key)
    if not passphrase:
        check = (sum(material) & 0xFFFF).to_bytes(2, "big") if key.version == 4 else b""
        return b"\0" + material + check
    salt, coded, vector = b"saltsalt", 0x60, bytes(range(16))
    salted, count = salt + passphrase, 16 << 12
    repeated = (salted * (count // len(salted) + 1))[:count]
    made = b"".join(hashlib.new(digest, bytes(i) + repeated).digest() for i in range(2))[:32]
    aes = Cipher(algorithms.AES(made), CFB(vector)).encryptor()
    locked = aes.update(material + hashlib.sha1(material).digest()) + aes.finalize()
    specifier = bytes([3, HASHES[digest][0]]) + salt + bytes([coded])
    if key.version == 4:
        return bytes([254, 9]) + specifier + vector + locked
    fields = bytes([9, len(specifier)]) + specifier + vector
    return bytes([254, len(fields)]) + fields + locked


ELSEWHERE = bytes([254, 0, 101, 0]) + b"GNU\x01"
"""What GnuPG writes in place of a secret that is not in the file."""


def _secret_material(key: Key) -> bytes:
    if key.kind in ("rsa", "weak"):
        numbers = key.private.private_numbers()
        inverse = pow(numbers.p, -1, numbers.q)
        return b"".join(map(mpi, (numbers.d, numbers.p, numbers.q, inverse)))
    if key.kind == "p256":
        return mpi(key.private.private_numbers().private_value)
    raw = key.private.private_bytes_raw()
    return mpi(int.from_bytes(raw, "big")) if key.kind == "eddsa" else bytes(raw)


def secret_key(key: Key, *parts: bytes, behind: bytes | None = None) -> bytes:
    """A transferable secret key; ``behind`` stands in place of the plain secret."""
    own = secret(key) if behind is None else behind
    return packet(5, key.body + own) + b"".join(parts or (user_id(key),))


def secret_subkey(key: Key, sub: Key, behind: bytes | None = None, **how: Any) -> bytes:
    """A secret subkey and its binding."""
    binding = subkey(key, sub, **how)[len(packet(14, sub.body)) :]
    return packet(7, sub.body + (secret(sub) if behind is None else behind)) + binding


def certificate(key: Key, *parts: bytes) -> bytes:
    return packet(6, key.body) + b"".join(parts or (user_id(key),))


def revocation(key: Key, over: bytes, *, kind: int = 0x20, reason: int | None = None,
               **how: Any) -> bytes:  # fmt: skip
    more = () if reason is None else (subpacket(29, bytes([reason]) + b"why"),)
    return packet(2, key.sign(over, kind=kind, more=more, **how))
