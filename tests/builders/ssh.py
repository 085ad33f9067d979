"""SSH keys, signatures and lists of withdrawn keys, written without Signward's own writers."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

KINDS = ("ed25519", "p256", "p384", "p521", "rsa", "sk-ed25519", "sk-p256", "webauthn")
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "p256": (ec.SECP256R1(), hashes.SHA256()),
    "p384": (ec.SECP384R1(), hashes.SHA384()),
    "p521": (ec.SECP521R1(), hashes.SHA512()),
}
APPLICATION = b"ssh:"
ORIGIN = b"https://example.org"


def string(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


@cache
def private(kind: str) -> Any:
    plain = kind.removeprefix("sk-").rpartition(" ")[2]
    if plain == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if plain == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES["p256" if plain == "webauthn" else plain][0])


@dataclass
class Key:
    """A key of one of ``KINDS``; ``name`` tells several of a kind apart."""

    kind: str
    private: Any = field(default=None)

    def __post_init__(self) -> None:
        self.private = self.private or private(self.kind)

    @property
    def on_device(self) -> bool:
        return self.kind.startswith("sk-") or self.kind == "webauthn"

    @property
    def blob(self) -> bytes:
        text = self.private.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        blob = base64.b64decode(text.split()[1])
        if not self.on_device:
            return blob
        size = struct.unpack(">I", blob[:4])[0]
        name = b"sk-" + blob[4 : 4 + size] + b"@openssh.com"
        return string(name) + blob[4 + size :] + string(APPLICATION)

    @property
    def name(self) -> bytes:
        size = struct.unpack(">I", self.blob[:4])[0]
        return self.blob[4 : 4 + size]

    @property
    def line(self) -> str:
        return f"{self.name.decode()} {base64.b64encode(self.blob).decode()}"

    def value(self, data: bytes, digest: str = "sha512") -> bytes:
        """Return the octets of a value as SSH writes them, without its name."""
        if self.kind == "rsa":
            return bytes(self.private.sign(data, padding.PKCS1v15(), _hash(digest)))
        if "ed25519" in self.kind:
            return bytes(self.private.sign(data))
        plain = "p256" if self.on_device else self.kind
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(_CURVES[plain][1])))
        return mpint(r) + mpint(s)


def _hash(digest: str) -> hashes.HashAlgorithm:
    return {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[digest]


def inner(
    key: Key,
    data: bytes,
    *,
    name: bytes | None = None,
    flags: int = 1,
    client: bytes | None = None,
    extensions: bytes = b"",
    rsa_digest: str = "sha512",
) -> bytes:
    """Return the inner string over ``data``: the name, the value, what a device adds."""
    own = {"sha1": b"ssh-rsa", "sha256": b"rsa-sha2-256", "sha512": b"rsa-sha2-512"}[rsa_digest]
    if key.kind == "webauthn":
        own = b"webauthn-" + key.name
    name = name or (own if key.kind in ("rsa", "webauthn") else key.name)
    if not key.on_device:
        return string(name) + string(key.value(data, rsa_digest))
    marks = bytes([flags]) + struct.pack(">I", 7)
    message, behind = data, b""
    if key.kind == "webauthn":
        challenge = base64.urlsafe_b64encode(data).rstrip(b"=")
        message = client or (
            b'{"type":"webauthn.get","challenge":"' + challenge + b'","origin":"' + ORIGIN
            + b'","crossOrigin":false}'
        )  # fmt: skip
        behind = string(ORIGIN) + string(message) + string(extensions)
    signed = hashlib.sha256(APPLICATION).digest() + marks + extensions
    signed += hashlib.sha256(message).digest()
    return string(name) + string(key.value(signed)) + marks + behind


def to_be_signed(content: bytes, namespace: bytes = b"file", digest: str = "sha512") -> bytes:
    fields = (namespace, b"", digest.encode(), hashlib.new(digest, content).digest())
    return b"SSHSIG" + b"".join(map(string, fields))


def armoured(octets: bytes, columns: int = 70) -> bytes:
    text = base64.b64encode(octets)
    lines = [text[i : i + columns] for i in range(0, len(text), columns)]
    head, foot = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
    return b"\n".join((head, *lines, foot, b""))


def signed(
    content: bytes,
    key: Key,
    namespace: bytes = b"file",
    digest: str = "sha512",
    *,
    reserved: bytes = b"",
    version: int = 1,
    blob: bytes | None = None,
    behind: bytes = b"",
    **how: Any,
) -> bytes:
    """Return a signature file; ``how`` is for `inner`."""
    value = inner(key, to_be_signed(content, namespace, digest), **how)
    fields = (blob or key.blob, namespace, reserved, digest.encode(), value)
    octets = b"SSHSIG" + struct.pack(">I", version) + b"".join(map(string, fields)) + behind
    return armoured(octets)


def revocations(*sections: tuple[int, bytes], version: int = 1) -> bytes:
    """Return a KRL of sections by kind."""
    head = b"SSHKRL\n\0" + struct.pack(">IQQQ", version, 1, 0, 0) + string(b"") + string(b"")
    return head + b"".join(bytes([kind]) + string(data) for kind, data in sections)


def certificate(
    key: Key,
    by: Key,
    *principals: str,
    purpose: int = 1,
    after: int = 0,
    before: int = (1 << 64) - 1,
    critical: bytes = b"",
    behind: bytes = b"",
    rsa_digest: str = "sha512",
    authority: bytes | None = None,
) -> bytes:
    """Return a certificate of a key: its octets, as they take a key's place."""
    name = key.name.removesuffix(b"@openssh.com") + b"-cert-v01@openssh.com"
    octets = string(name) + string(b"nonce") + key.blob[4 + len(key.name) :]
    octets += struct.pack(">QI", 7, purpose) + string(b"login of ann")
    octets += string(b"".join(string(one.encode()) for one in principals))
    octets += struct.pack(">QQ", after, before) + string(critical) + string(b"") + string(b"")
    octets += string(by.blob if authority is None else authority)
    return octets + string(inner(by, octets, rsa_digest=rsa_digest)) + behind
