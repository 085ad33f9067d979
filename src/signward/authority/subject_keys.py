"""Public keys that are to be certified: of an allowed kind, and not of a known weak make.

CA/Browser Forum Code Signing Baseline Requirements (CSBR) 6.1.1.3, 6.1.5 and 6.1.6; ROCA is
CVE-2017-15361, neighbouring primes CVE-2022-26320.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd, isqrt

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signward.authority.faults import Fault
from signward.integrity import UnsupportedKeyError, key_size, load_public_key
from signward.wire.spki import rsa_numbers

KINDS = (
    "rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521",
    "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
)  # fmt: skip
"""Kinds that profiles allow; ``rsa-3072`` stands for 3072 bits or more."""

MAX_RSA_BITS = 8192
"""Longest modulus certified: what verifies it pays for it."""

_FAMILIES = {
    "ec:secp256r1": "p-256",
    "ec:secp384r1": "p-384",
    "ec:secp521r1": "p-521",
    "ed25519": "ed25519",
    "mldsa44": "ml-dsa-44",
    "mldsa65": "ml-dsa-65",
    "mldsa87": "ml-dsa-87",
}

_LEAST_EXPONENT, _MOST_EXPONENT = 65537, 2**256 - 1
_SMALL_FACTORS_BELOW = 752
"""CSBR 6.1.6 by way of NIST SP 800-89 5.3.3: no prime factor smaller than 752."""

FERMAT_ROUNDS = 100
"""Steps of Fermat's method; random primes of 1024 bits need more than any machine can do."""

_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_GENERATOR = 65537


def kind_of(spki: bytes) -> str:
    """Return a key's kind.

    It is written as in `KINDS`, RSA with its exact bits (``rsa-3072``); empty
    for keys of other kinds.  Raises ``UnsupportedKeyError``.
    """
    family, bits = key_size(spki)
    return f"rsa-{bits}" if family == "rsa" else _FAMILIES.get(family, "")


def check_key(spki: bytes, allowed: Sequence[str]) -> list[Fault]:
    """Return what speaks against certifying a key under a profile that allows ``allowed``."""
    try:
        kind = kind_of(spki)
        usual = is_usual(spki)
    except UnsupportedKeyError as error:
        return [_fault(str(error)[:200], f"one of {', '.join(allowed)}", "RFC 5280 4.1.2.7")]
    faults = []
    if not usual:
        usual_ones = "rsaEncryption with NULL, or a named curve with an uncompressed point"
        faults.append(_fault("an unusual encoding of the key", usual_ones, "CSBR 7.1.3.1"))
    if not _is_allowed(kind, allowed):
        listed = ", ".join(f"{one} or longer" if one.startswith("rsa") else one for one in allowed)
        found = f"kind {kind or key_size(spki)[0]}"
        faults.append(_fault(found, f"one of {listed}", "CSBR 6.1.5"))
    numbers = rsa_numbers(spki)
    return [*faults, *(_rsa_faults(*numbers) if numbers else ())]


def is_usual(spki: bytes) -> bool:
    """Say whether a key is written as it mostly is.

    Written otherwise (a compressed point, say) it would look like another key where keys are
    known by their digest.  Raises ``UnsupportedKeyError``.
    """
    usual: bytes = load_public_key(spki).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return spki == usual


def _is_allowed(kind: str, allowed: Sequence[str]) -> bool:
    if not kind.startswith("rsa-"):
        return kind in allowed
    bits = int(kind.removeprefix("rsa-"))
    least = [int(one.removeprefix("rsa-")) for one in allowed if one.startswith("rsa-")]
    return bool(least) and min(least) <= bits <= MAX_RSA_BITS


def _rsa_faults(modulus: int, exponent: int) -> Iterator[Fault]:
    if exponent % 2 == 0 or not _LEAST_EXPONENT <= exponent <= _MOST_EXPONENT:
        yield _fault(f"RSA exponent {exponent}", "an odd one from 65537", "CSBR 6.1.6")
    if modulus.bit_length() % 8:
        yield _fault(f"a modulus of {modulus.bit_length()} bits", "whole octets", "CSBR 6.1.5")
    if gcd(modulus, _small_primes()) != 1:
        yield _fault("an RSA modulus with a small factor", "two large primes", "CSBR 6.1.6")
    elif _has_close_primes(modulus):
        yield _fault("an RSA modulus of two neighbouring primes", "random primes", "CVE-2022-26320")
    elif _is_roca(modulus):
        yield _fault("an RSA modulus as the ROCA fault makes them", "random primes",
                     "CVE-2017-15361")  # fmt: skip


@lru_cache(maxsize=1)
def _small_primes() -> int:
    """Return the product of the primes below the bound."""
    product = 1
    for number in range(2, _SMALL_FACTORS_BELOW):
        if gcd(number, product) == 1:
            product *= number
    return product


def _has_close_primes(modulus: int) -> bool:
    """Look for ``modulus = a² - b²`` with a near its root (Fermat)."""
    a = isqrt(modulus - 1) + 1
    for _ in range(FERMAT_ROUNDS):
        remainder = a * a - modulus
        if isqrt(remainder) ** 2 == remainder:
            return True
        a += 1
    return False


def _is_roca(modulus: int) -> bool:
    """Say whether the modulus is a power of 65537 modulo each of the telling primes."""
    return all(modulus % prime in _powers(prime) for prime in _ROCA_PRIMES)


@lru_cache(maxsize=len(_ROCA_PRIMES))
def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(_ROCA_GENERATOR, exponent, prime) for exponent in range(prime))


def _fault(found: str, required: str, clause: str) -> Fault:
    return Fault(subject="public key", found=found, required=required, clause=clause)
