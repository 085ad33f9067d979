"""Certificates and public keys that policies name: what kind each is, and its digests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from signward.errors import BadInputError, PolicyError
from signward.policy.rules.model import KeyKind, Material
from signward.trust.x509 import load_certificate
from signward.wire import der

MAX_OCTETS = 1024 * 1024

_SECRET = frozenset({5, 7})
"""Packets of secret keys and subkeys (RFC 9580 5), whatever the armor around them says."""
_BEGIN = b"-----BEGIN "
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\s(.*?)-----END \1-----", re.DOTALL)
"""Searched only where there is one beginning: each would be followed to the end of the file."""
_SSH = re.compile(rb"(ssh-(?:rsa|ed25519|ed448)|ecdsa-sha2-[a-z0-9-]{1,32}|sk-[a-z0-9@.-]{1,64}) "
                  rb"([A-Za-z0-9+/=]{1,65536})(?:[ \t][^\r\n]*+)?\s*+\Z")  # fmt: skip
_MINISIGN = re.compile(rb"untrusted comment:[^\n]*\n([A-Za-z0-9+/=]{56})\s*\Z")


def material(name: str, data: bytes) -> Material:
    """Return what the file of ``[keys.NAME]`` holds: one thing.  Raises ``PolicyError``."""
    if len(data) > MAX_OCTETS:
        raise PolicyError(f"key {name}", f"{len(data)} octets", f"at most {MAX_OCTETS}")
    begun = data.count(_BEGIN)
    if begun > 1:
        raise PolicyError(f"key {name}", f"{begun} PEM blocks", "one",
                          hint="give each a file and a name of its own")  # fmt: skip
    block = _PEM.search(data) if begun else None
    if block:
        return _pem(name, data, block[1], block[2])
    ssh = _SSH.match(data)
    if ssh:
        octets = _decoded(name, ssh[2])
        if not octets.startswith(len(ssh[1]).to_bytes(4, "big") + ssh[1]):
            raise PolicyError(f"key {name}", f"another key than {ssh[1].decode()} says",
                              "one of the type named", "RFC 4253 6.6")  # fmt: skip
        return Material(name=name, kind=KeyKind.SSH, data=data,
                        key=hashlib.sha256(octets).hexdigest())  # fmt: skip
    minisign = _MINISIGN.match(data)
    if minisign:
        octets = _decoded(name, minisign[1])
        return Material(name=name, kind=KeyKind.MINISIGN, data=data,
                        key=hashlib.sha256(octets).hexdigest())  # fmt: skip
    if data[:1] == b"\x30":
        return _der(name, data, data)
    raise PolicyError(f"key {name}", "none of the forms known", "a certificate or public key: PEM, "
                      "DER, SSH, OpenPGP in armor, minisign")  # fmt: skip


def _pem(name: str, data: bytes, label: bytes, text: bytes) -> Material:
    if b"PRIVATE" in label:
        raise _private(name)
    if label == b"PGP PUBLIC KEY BLOCK":
        return _openpgp(name, data, text)
    return _der(name, data, _decoded(name, b"".join(text.split())))


def _openpgp(name: str, data: bytes, text: bytes) -> Material:
    """Take armor (RFC 9580 6.2): headers, an empty line, Base64, perhaps a checksum."""
    lines = [line.strip() for line in text.split(b"\n")]
    body = [line for line in lines if line and b": " not in line]
    if body and body[-1].startswith(b"="):
        body.pop()
    octets = _decoded(name, b"".join(body))
    if _packet(octets) in _SECRET:
        raise _private(name)
    return Material(name=name, kind=KeyKind.OPENPGP, data=data)


def _packet(octets: bytes) -> int:
    """Return the type of the first packet (RFC 9580 4.2, either header); 0 where there is none."""
    first = octets[0] if octets else 0
    return first & 0x3F if first & 0x40 else first >> 2 & 0xF


def _private(name: str) -> PolicyError:
    return PolicyError(f"key {name}", "a private key", "a certificate or public key",
                       hint="a policy is read by everybody")  # fmt: skip


def _der(name: str, data: bytes, octets: bytes) -> Material:
    try:
        certificate = load_certificate(octets)
    except BadInputError:
        return _public_key(name, data, octets)
    spki = hashlib.sha256(certificate.spki).hexdigest()
    return Material(name=name, kind=KeyKind.CERTIFICATE, data=data, der=octets, key=spki)


def _public_key(name: str, data: bytes, octets: bytes) -> Material:
    """Take what begins as a SubjectPublicKeyInfo does: SEQUENCE { SEQUENCE { OID ..."""
    try:
        outer = der.parse(octets, f"key {name}")
        algorithm, bits = outer.children()
        algorithm.children()[0].oid()
        bits.expect(der.BIT_STRING, "subjectPublicKey")
    except (BadInputError, ValueError, IndexError):
        required = "a certificate or SubjectPublicKeyInfo"
        raise PolicyError(f"key {name}", "DER of another kind", required, "RFC 5280 4.1") from None
    return Material(name=name, kind=KeyKind.PUBLIC_KEY, data=data, der=octets,
                    key=hashlib.sha256(octets).hexdigest())  # fmt: skip


def _decoded(name: str, text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PolicyError(f"key {name}", f"broken Base64: {error}", "Base64") from None
