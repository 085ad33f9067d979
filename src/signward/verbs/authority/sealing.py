"""Sealing secrets with a password: scrypt (RFC 7914) makes the key, AES-256-GCM encrypts."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from signward.errors import RealmError
from signward.frozen import Frozen

SALT_OCTETS = 16
NONCE_OCTETS = 12
KEY_OCTETS = 32
COST = 2**17
MAX_COST = 2**20
"""scrypt's N with r = 8, p = 1: 128 MiB and about half a second for each guess; what a backup
asks for is bounded, so that a made-up one does not take all memory."""

_BLOCK = 8
_PARALLEL = 1


class Seal(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How something was sealed: all but the password; ``salt`` and ``nonce`` are hexadecimal."""

    salt: str
    nonce: str
    cost: int


def seal(plain: bytes, password: str, context: bytes) -> tuple[Seal, bytes]:
    """Encrypt; ``context`` is not secret, and must be the same when it is opened."""
    salt, nonce = os.urandom(SALT_OCTETS), os.urandom(NONCE_OCTETS)
    sealed = AESGCM(_key(password, salt, COST)).encrypt(nonce, plain, context)
    return Seal(salt=salt.hex(), nonce=nonce.hex(), cost=COST), sealed


def unseal(how: Seal, sealed: bytes, password: str, context: bytes) -> bytes:
    """Decrypt.  Raises ``RealmError`` for a wrong password, or for what was changed."""
    if how.cost > MAX_COST or how.cost.bit_count() != 1 or how.cost < 2:
        raise RealmError("the sealed keys", f"cost {how.cost}", f"a power of two up to {MAX_COST}")
    try:
        salt, nonce = bytes.fromhex(how.salt), bytes.fromhex(how.nonce)
        return AESGCM(_key(password, salt, how.cost)).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError):
        raise RealmError(
            "the sealed keys", "a password that does not open them", "the one of the backup",
            hint="or the backup was changed since",
        ) from None  # fmt: skip


def _key(password: str, salt: bytes, cost: int) -> bytes:
    made = Scrypt(salt=salt, length=KEY_OCTETS, n=cost, r=_BLOCK, p=_PARALLEL)
    return made.derive(password.encode())
