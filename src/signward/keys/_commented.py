"""Secret keys of minisign and of OpenBSD's signify: a comment line, then Base64.

minisign (158 octets): ``Ed``, how it is locked (``Sc`` for scrypt, or two zeros), ``B2``; a salt
of 32, two limits of 8 octets each, lowest first; then, locked, key number (8), secret key (64: the
seed and the public key) and a checksum (32, BLAKE2b of the letters, number and key).
signify (104 octets): ``Ed``, ``BK``, a count of rounds (4 octets, highest first; zero: not
locked), a salt of 16, the start of the key's SHA-512 (8), key number (8) and, locked, the key (64).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from signward.envelopes.minisign import MINISIGN, SIGNIFY, read_commented, read_raw_key
from signward.errors import BadInputError, KeyProviderError
from signward.frozen import Frozen
from signward.keys._local import LocalKey, wrong_password

MINISIGN_OCTETS, SIGNIFY_OCTETS = 158, 104
"""Octets of a secret key file's Base64."""

MAX_COST = 2**21
"""Most that scrypt's N may be: minisign itself writes 2**20, which takes a gigabyte of memory."""

MAX_ROUNDS = 1000
"""Most rounds of bcrypt; signify itself writes 42."""

_REQUIRED = "a secret key of minisign or signify"
_SEED = 32
_LOCKED = 104
"""Octets that minisign locks."""

_SCRYPT_BLOCK = 8
_LEAST_OPERATIONS = 32768


class _Opened(Frozen, frozen=True, kw_only=True):
    kind: str
    key_id: bytes
    secret: bytes


def load_commented(path: str, data: bytes, password: Callable[[], str]) -> LocalKey:
    """Return the key in a file of either tool.  Raises ``KeyProviderError``."""
    try:
        raw = read_commented(data, (MINISIGN_OCTETS, SIGNIFY_OCTETS), "secret key")
    except BadInputError as error:
        raise KeyProviderError(path, str(error), _REQUIRED) from None
    read = _minisign if len(raw) == MINISIGN_OCTETS else _signify
    opened = read(path, raw, password)
    private = Ed25519PrivateKey.from_private_bytes(opened.secret[:_SEED])
    public = private.public_key().public_bytes_raw()
    if public != opened.secret[_SEED:]:
        raise KeyProviderError(path, "a secret key that is not the public one's", "the two halves")
    key = LocalKey(path, private)
    held = read_raw_key(b"Ed" + opened.key_id + public)
    key.held = tuple(sorted(held, key=lambda one: one.kind != opened.kind))
    return key


def _minisign(path: str, raw: bytes, password: Callable[[], str]) -> _Opened:
    algorithm, lock, check, salt = raw[:2], raw[2:4], raw[4:6], raw[6:38]
    if algorithm != b"Ed" or check != b"B2" or lock not in (b"Sc", b"\0\0"):
        raise KeyProviderError(path, f"letters {raw[:6].hex()}", _REQUIRED)
    limits = int.from_bytes(raw[38:46], "little"), int.from_bytes(raw[46:54], "little")
    inside = raw[54:]
    if lock == b"Sc":
        cost, parallel = scrypt_parameters(*limits)
        if cost > MAX_COST or parallel != 1:
            raise KeyProviderError(path, f"scrypt with N {cost} and p {parallel}",
                                   f"at most {MAX_COST}, and 1")  # fmt: skip
        made = Scrypt(salt=salt, length=_LOCKED, n=cost, r=_SCRYPT_BLOCK, p=parallel)
        inside = _unmasked(inside, made.derive(password().encode()))
    key_id, secret, told = inside[:8], inside[8:72], inside[72:]
    digest = hashlib.blake2b(algorithm + key_id + secret, digest_size=32).digest()
    # Where nothing is locked minisign leaves the checksum at zero.
    left_out = lock != b"Sc" and not any(told)
    if not left_out and not hmac.compare_digest(told, digest):
        raise wrong_password(path) if lock == b"Sc" else _damaged(path)
    return _Opened(kind=MINISIGN, key_id=key_id, secret=secret)


def scrypt_parameters(operations: int, memory: int) -> tuple[int, int]:
    """Return scrypt's N and p as libsodium's ``pickparams`` chooses them by limits; r is 8."""
    operations = max(operations, _LEAST_OPERATIONS)
    by_memory = operations >= memory // 32
    most = memory // (_SCRYPT_BLOCK * 128) if by_memory else operations // (_SCRYPT_BLOCK * 4)
    power = next((n for n in range(1, 63) if 1 << n > most // 2), 63)
    if not by_memory:
        return 1 << power, 1
    product = min(operations // 4 // (1 << power), 0x3FFFFFFF)
    return 1 << power, product // _SCRYPT_BLOCK


def _signify(path: str, raw: bytes, password: Callable[[], str]) -> _Opened:
    rounds, salt = int.from_bytes(raw[4:8], "big"), raw[8:24]
    told, key_id, secret = raw[24:32], raw[32:40], raw[40:]
    if raw[:4] != b"EdBK" or rounds > MAX_ROUNDS:
        raise KeyProviderError(path, f"letters {raw[:4].hex()} and {rounds} rounds", _REQUIRED)
    if rounds:
        secret = _unmasked(secret, _bcrypt(path, password().encode(), salt, rounds, len(secret)))
    if not hmac.compare_digest(told, hashlib.sha512(secret).digest()[: len(told)]):
        raise wrong_password(path) if rounds else _damaged(path)
    return _Opened(kind=SIGNIFY, key_id=key_id, secret=secret)


def _bcrypt(path: str, password: bytes, salt: bytes, rounds: int, size: int) -> bytes:
    try:
        import bcrypt
    except ImportError:
        raise KeyProviderError(path, "a key locked with bcrypt, and no library for that",
                               "bcrypt", "pip install 'signward[ssh]'") from None  # fmt: skip
    return bcrypt.kdf(password, salt, size, rounds, ignore_few_rounds=True)


def _unmasked(octets: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(octets, mask, strict=True))


def _damaged(path: str) -> KeyProviderError:
    return KeyProviderError(path, "a checksum that does not fit", "a whole key")
