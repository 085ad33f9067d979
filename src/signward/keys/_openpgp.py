"""OpenPGP secret keys unlocked (RFC 9580 3.7, 5.5.3): unprotected, or by a passphrase.

Of the ways to lock one, that which GnuPG writes is read: a key from the passphrase by an iterated
(or only salted) hash, AES in CFB, and a SHA-1 over what was locked.  The others are refused by
name: AEAD and Argon2, older ciphers, and a bare checksum, under which a changed key goes unseen.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signward.envelopes.openpgp_keys import ECDSA, ED448, ED25519, EDDSA_LEGACY, Numbers
from signward.envelopes.openpgp_secret import SecretKey, read_secret
from signward.errors import BadInputError, KeyProviderError, MalformedError
from signward.keys._certificates import spki_of
from signward.keys._local import LocalKey, wrong_password

_WHAT = "OpenPGP secret key"
_CLAUSE = "RFC 9580 5.5.3"
_PLAIN, _AEAD, _SHA1 = 0, 253, 254
"""How what is locked is known to be whole (3.7.2): the S2K usage octet."""

_SALTED, _ITERATED, _GNU = 1, 3, 101
"""How a passphrase becomes a key (3.7.1); the last is GnuPG's own, for keys that lie elsewhere."""

_CIPHER_KEYS = {7: 16, 8: 24, 9: 32}
"""Octets of a key by the id of AES (9.3)."""

_BLOCK, _SHA1_OCTETS, _CHECKSUM = 16, 20, 2
_DIGESTS = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
"""Digests that keys are made by (9.5)."""


def load_openpgp(path: str, data: bytes, password: Callable[[], str]) -> LocalKey:
    """Return the key of a transferable secret key to sign with: its newest that may.

    A key that does not lie in the file (GnuPG leaves out the primary one, or one on a card) is
    passed over.  Raises ``KeyProviderError``.
    """
    try:
        secret = read_secret(data)
        here = [one for one in secret.keys if not _is_elsewhere(one)]
        if not here:
            raise KeyProviderError(path, f"{len(secret.keys)} signing keys, none with its secret",
                                   "one, in the file")  # fmt: skip
        private = _private(path, here[0], password)
    except BadInputError as error:
        raise KeyProviderError(path, str(error), "an OpenPGP secret key") from None
    if spki_of(private.public_key()) != here[0].public.spki:
        raise KeyProviderError(path, "a secret key that is not the public one's", "the two halves")
    key = LocalKey(path, private)
    key.held = (secret.held(here[0]),)
    return key


def _is_elsewhere(key: SecretKey) -> bool:
    """Say whether GnuPG wrote that the secret key is not here (its S2K 101, "gnu-dummy")."""
    behind = key.behind
    if behind[:1] != bytes([_SHA1]) and behind[:1] != b"\xff":
        return False
    return behind[2:3] == bytes([_GNU])


def _private(path: str, key: SecretKey, password: Callable[[], str]) -> Any:
    fields = Numbers(key.behind, _WHAT, _CLAUSE)
    usage = fields.number(1)
    if usage == _PLAIN:
        numbers = fields.rest()
        if key.public.version == 4:
            numbers, told = numbers[:-_CHECKSUM], numbers[-_CHECKSUM:]
            if told != (sum(numbers) & 0xFFFF).to_bytes(2, "big"):
                raise MalformedError(_WHAT, "a checksum that does not fit", "the sum", _CLAUSE)
        return _made(key, numbers)
    if usage != _SHA1:
        found = "AEAD" if usage == _AEAD else f"protection {usage}"
        raise MalformedError(_WHAT, found, "none, or AES in CFB with SHA-1 (254)", _CLAUSE)
    locked, unlock = _locked(key, fields)
    opened = unlock(password().encode())
    material, told = opened[: len(locked) - _SHA1_OCTETS], opened[len(locked) - _SHA1_OCTETS :]
    # SHA-1 tells a wrong passphrase from a right one: the format has no other (3.7.2.1).
    digest = hashlib.sha1(material, usedforsecurity=False).digest()
    if not hmac.compare_digest(told, digest):
        raise wrong_password(path)
    return _made(key, material)


def _locked(key: SecretKey, fields: Numbers) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Return what is locked, and what unlocks it with a passphrase."""
    if key.public.version == 6:
        fields.octets(1)  # how long the fields up to the locked octets are
    cipher = fields.number(1)
    if key.public.version == 6:
        fields.octets(1)  # how long the next two fields are
    kind, digest = fields.number(1), fields.number(1)
    if cipher not in _CIPHER_KEYS:
        raise fields.error(f"cipher {cipher}", "AES")
    if kind not in (_SALTED, _ITERATED) or digest not in _DIGESTS:
        raise fields.error(f"a passphrase used by way {kind} and digest {digest}",
                           "an iterated hash, SHA-1 or SHA-2")  # fmt: skip
    salt = fields.octets(8)
    coded = fields.number(1) if kind == _ITERATED else 0
    count = (16 + (coded & 15)) << (coded >> 4) + 6 if kind == _ITERATED else 0
    vector = fields.octets(_BLOCK)
    locked = fields.rest()
    if len(locked) <= _SHA1_OCTETS:
        raise fields.error(f"{len(locked)} locked octets", f"more than {_SHA1_OCTETS}")

    def unlock(passphrase: bytes) -> bytes:
        made = stretched(_DIGESTS[digest], salt + passphrase, count, _CIPHER_KEYS[cipher])
        aes = Cipher(algorithms.AES(made), CFB(vector)).decryptor()
        return aes.update(locked) + aes.finalize()

    return locked, unlock


def stretched(digest: str, salted: bytes, count: int, size: int) -> bytes:
    """Return ``size`` octets of key from salt and passphrase (RFC 9580 3.7.1.3).

    ``count`` octets of them, over and over, are hashed, at least both once; at most some 65
    million, the most that the format can tell.  Each further digest begins with a zero more.
    """
    whole, part = divmod(max(count, len(salted)), len(salted))
    made, zeros = b"", 0
    while len(made) < size:
        hasher = hashlib.new(digest, bytes(zeros), usedforsecurity=False)
        step = max(1, _AT_ONCE // len(salted))
        for done in range(0, whole, step):
            hasher.update(salted * min(step, whole - done))
        hasher.update(salted[:part])
        made, zeros = made + hasher.digest(), zeros + 1
    return made[:size]


_AT_ONCE = 65536
"""Octets hashed at a time."""


def _made(key: SecretKey, material: bytes) -> Any:
    """Return the private key of secret numbers (RFC 9580 5.5.5)."""
    fields = Numbers(material, _WHAT, "RFC 9580 5.5.5")
    algorithm = key.public.algorithm
    try:
        public = load_der_public_key(key.public.spki)
        if algorithm == ED25519:
            made: Any = ed25519.Ed25519PrivateKey.from_private_bytes(fields.octets(32))
        elif algorithm == ED448:
            made = ed448.Ed448PrivateKey.from_private_bytes(fields.octets(57))
        elif algorithm == EDDSA_LEGACY:
            made = ed25519.Ed25519PrivateKey.from_private_bytes(_seed(fields))
        elif algorithm == ECDSA and isinstance(public, ec.EllipticCurvePublicKey):
            made = ec.derive_private_key(fields.mpi(), public.curve)
        else:
            made = _rsa(fields, public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(_WHAT, f"numbers of no key ({error})", "a key's", _CLAUSE) from None
    fields.end()
    return made


def _seed(fields: Numbers) -> bytes:
    seed = fields.mpi()
    if seed.bit_length() > 256:
        raise fields.error(f"a secret of {seed.bit_length()} bits", "at most 256")
    return seed.to_bytes(32, "big")


def _rsa(fields: Numbers, public: Any) -> Any:
    d, p, q = fields.mpi(), fields.mpi(), fields.mpi()
    fields.mpi()  # the inverse of p, where RSA elsewhere has that of q
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
        public.public_numbers(),
    )  # fmt: skip
    return numbers.private_key()
