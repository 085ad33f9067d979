"""Key files of every kind that is read, from test keys."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from conformance.authenticode.keys import Key
from conformance.authenticode.pki import Identity
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from signward.keys import Secrets


def saying(answer: str | None, asked: list[str] | None = None) -> Secrets:
    """Return secrets that answer the same to everything and note what was asked."""

    def ask(name: str) -> str | None:
        if asked is not None:
            asked.append(name)
        return answer

    return ask


def encryption(password: str) -> KeySerializationEncryption:
    """Return the library's encryption under a password; none for ""."""
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()


def encoded(
    key: Key,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PrivateFormat.PKCS8,
    password: str = "",
) -> bytes:
    """Return a key in one of the library's formats."""
    return bytes(key.private.private_bytes(encoding, form, encryption(password)))


def p12(who: Identity, password: str = "", extra: Sequence[Identity] = ()) -> bytes:
    """Return an identity and further certificates as PKCS#12."""
    certificates = [x509.load_der_x509_certificate(one.certificate) for one in (who, *extra)]
    return pkcs12.serialize_key_and_certificates(
        b"test", who.key.private, certificates[0], certificates[1:], encryption(password)
    )


def pvk(key: Key, password: str = "", *, weak: bool = False, salt: bytes = b"s" * 16) -> bytes:
    """Return an RSA key as PVK; RC4 with 128 bits, or 40 where ``weak``."""
    numbers = key.private.private_numbers()
    public = numbers.public_numbers
    whole = key.private.key_size // 8
    body = struct.pack("<4s2L", b"RSA2", whole * 8, public.e) + public.n.to_bytes(whole, "little")
    for part in (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        body += part.to_bytes(whole // 2, "little")
    body += numbers.d.to_bytes(whole, "little")
    if password:
        secret = hashlib.sha1(salt + password.encode()).digest()
        cipher = ARC4(secret[:5] + bytes(11) if weak else secret[:16])
        body = Cipher(cipher, None).encryptor().update(body)
    salt = salt if password else b""
    blob = struct.pack("<BBHL", 7, 2, 0, 0x2400) + body
    head = struct.pack("<6L", 0xB0B5F11E, 0, 2, int(bool(password)), len(salt), len(blob))
    return bytes(head + salt + blob)
