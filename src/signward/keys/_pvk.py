"""PVK: Microsoft's private key file for CryptoAPI 1 (plain, or RC4 of 40 or 128 bits).

All integers are little-endian.  Header: magic, reserved, key type, encrypted, salt length,
key length (six DWORDs), the salt, then a PRIVATEKEYBLOB (wincrypt.h: BLOBHEADER,
RSAPUBKEY, modulus, primes, exponents, coefficient, private exponent).
Encryption begins after the eight octets of the BLOBHEADER; its key is SHA-1 of salt and
password, cut to 16 octets, or to 5 and filled up with zeros (the export grade of its time).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher

from signward.errors import KeyProviderError

MAGIC = (0xB0B5F11E).to_bytes(4, "little")

MAX_SALT = 10240
"""Longest salt read (writers use 16 octets)."""

MAX_MODULUS_BITS = 16384

_HEADER = struct.Struct("<6L")
_BLOB_HEADER = 8
_PRIVATE_KEY_BLOB = 7
_RSA_ALGORITHMS = {0x2400, 0xA400}
"""CALG_RSA_SIGN and CALG_RSA_KEYX."""

_RSA2 = b"RSA2"
_WEAK_OCTETS, _KEY_OCTETS = 5, 16


def load(name: str, data: bytes, password: Callable[[], str]) -> rsa.RSAPrivateKey:
    """Return the RSA key in a PVK file; ``password`` is called where it is encrypted.

    Raises ``KeyProviderError``, and ``ValueError`` where the password does not open it.
    """
    if len(data) < _HEADER.size:
        raise _damaged(name, f"{len(data)} octets")
    _, _, _, encrypted, salt_length, key_length = _HEADER.unpack_from(data)
    end = _HEADER.size + salt_length + key_length
    if salt_length > MAX_SALT or key_length < _BLOB_HEADER or end > len(data):
        raise _damaged(name, f"salt of {salt_length} and key of {key_length} octets")
    salt = data[_HEADER.size : _HEADER.size + salt_length]
    blob = data[_HEADER.size + salt_length : end]
    kind, algorithm = blob[0], int.from_bytes(blob[4:8], "little")
    if kind != _PRIVATE_KEY_BLOB or algorithm not in _RSA_ALGORITHMS:
        raise _damaged(name, f"a blob of type {kind}, algorithm {algorithm:#x}")
    body = blob[_BLOB_HEADER:]
    return _rsa(name, _decrypted(body, salt, password()) if encrypted else body)


def _decrypted(body: bytes, salt: bytes, password: str) -> bytes:
    """Return the plain key, whichever strength it has.  Raises ``ValueError``."""
    secret = hashlib.sha1(salt + password.encode(), usedforsecurity=False).digest()
    weak = secret[:_WEAK_OCTETS].ljust(_KEY_OCTETS, b"\0")
    for key in (secret[:_KEY_OCTETS], weak):
        plain = Cipher(ARC4(key), None).decryptor().update(body)
        if plain.startswith(_RSA2):
            return plain
    raise ValueError("no RSA key under this password")


def _rsa(name: str, body: bytes) -> rsa.RSAPrivateKey:
    """Read RSAPUBKEY and what follows it; the library checks that the numbers agree."""
    if body[:4] != _RSA2 or len(body) < 12:
        raise _damaged(name, "no RSA2 structure")
    bits, exponent = struct.unpack_from("<2L", body, 4)
    if bits % 16 or not 512 <= bits <= MAX_MODULUS_BITS:
        raise _damaged(name, f"a modulus of {bits} bits")
    whole, half = bits // 8, bits // 16
    if len(body) < 12 + 2 * whole + 5 * half:
        raise _damaged(name, f"{len(body)} octets for {bits} bits")
    numbers, position = [], 12
    for size in (whole, half, half, half, half, half, whole):
        numbers.append(int.from_bytes(body[position : position + size], "little"))
        position += size
    n, p, q, d_p, d_q, q_inverse, d = numbers
    public = rsa.RSAPublicNumbers(exponent, n)
    try:
        return rsa.RSAPrivateNumbers(p, q, d, d_p, d_q, q_inverse, public).private_key()
    except ValueError:
        raise _damaged(name, "numbers that are no RSA key") from None


def _damaged(name: str, found: str) -> KeyProviderError:
    return KeyProviderError(name, f"a damaged PVK file ({found})", "an RSA private key")
