"""Key providers: one file per place where keys live; a file in this folder is its registration.

A provider is chosen by a URI's scheme (``file:``, ``pkcs11:``, ``aws-kms:``) and gets octets
to sign, or their digest, never a file.  Secrets come from a file, the environment or a
prompt, never from a command line, and stand in no message and no log.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol, runtime_checkable

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.state import Algorithm, HeldKey

Secrets = Callable[[str], str | None]
"""Asks for one secret by what it is for ("password of release.p12"); None where there is none.

Asked at most once for each name, and only when it is needed.
"""


class SigningKey(Protocol):
    """An open private key and the certificates that its holder keeps beside it."""

    @property
    def public_key(self) -> bytes:
        """The public key, DER SubjectPublicKeyInfo."""

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """Certificates (DER) kept with the key, the leaf's first; empty where there are none."""

    @property
    def parallel(self) -> int:
        """How many signatures may be asked for at once."""

    @property
    def in_memory(self) -> bool:
        """Whether the key is in this process's memory: a copy of the process has it too."""

    def sign(self, data: bytes, algorithm: Algorithm) -> bytes:
        """Return the signature value over ``data`` (or that it is the digest of) as CMS has it.

        ECDSA values are DER (ECDSA-Sig-Value), RSA values as long as the modulus.
        Raises ``KeyProviderError``, and ``RotatedError`` where the key is no longer the one
        that was opened.
        """

    def refresh(self) -> None:
        """Read key and certificates anew: a service may have issued the next leaf."""

    def close(self) -> None:
        """Give up sessions and connections."""


class Purpose(Frozen, frozen=True, kw_only=True):
    """What a value is for, as far as whoever keeps the key asks.

    ``content`` is the digest of the file as it was, ``sha256:`` and hexadecimal;
    ``timestamp`` says that a token over the value would be of use.
    """

    format: str
    name: str
    content: str = ""
    timestamp: bool = False


class Signed(Frozen, frozen=True, kw_only=True):
    """A signature value with what may come beside it; nothing of it was checked.

    ``tokens`` are RFC 3161 TimeStampTokens over the value; ``receipt`` proves that a log has
    it (c2sp.org/tlog-proof), the log with the verifier key ``log`` (c2sp.org/signed-note).
    """

    value: bytes
    tokens: tuple[bytes, ...] = ()
    receipt: bytes = b""
    log: str = ""


@runtime_checkable
class Waiting(Protocol):
    """What a key offers besides whose holder may let one wait, for the consent of people."""

    tell: Callable[[str], None]
    """Called, by whatever thread waits, with a line that says what for."""

    def give_up(self) -> None:
        """Wait no more: whoever waits gets a ``KeyProviderError`` soon."""


def sign_for(
    key: SigningKey, data: bytes, algorithm: Algorithm, purpose: Callable[[], Purpose]
) -> Signed:
    """Have a key sign (see ``SigningKey.sign``).

    A key whose holder asks what for, or gives more than the value, has a method of this name
    that takes the purpose; ``purpose`` is called for such keys only.
    """
    own: Callable[[bytes, Algorithm, Purpose], Signed] | None = getattr(key, "sign_for", None)
    return own(data, algorithm, purpose()) if own else Signed(value=key.sign(data, algorithm))


def held_with(key: SigningKey) -> tuple[HeldKey, ...]:
    """Return a key as what is no X.509 certificate holds it; a key that knows has a field ``held``.

    So do files that hold a public key of their own kind besides the private one: OpenPGP, minisign.
    """
    own: tuple[HeldKey, ...] = getattr(key, "held", ())
    return own


def digest_of(data: bytes, algorithm: Algorithm) -> bytes:
    """Return the digest that a key gets: of ``data``, or ``data`` itself if it is one already."""
    if algorithm.digested:
        return data
    return hashlib.new(algorithm.digest, data, usedforsecurity=False).digest()


class Provider(Protocol):
    """What a provider module's ``PROVIDER`` offers."""

    scheme: str
    help: str
    """One line, with an example of the URI."""

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Open the key that the URI names; ``rest`` is what follows the scheme and its colon.

        Raises ``KeyProviderError``.
        """


_URLS = ("https", "http")


class RotatedError(KeyProviderError):
    """The service signed with another leaf than the one opened: refresh, and draft again."""


@lru_cache(maxsize=1)
def schemes() -> tuple[str, ...]:
    """Return every provider's scheme; providers are imported only when they are asked for."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name.replace("_", "-") for name in names if name[0] != "_")


def provider(scheme: str) -> Provider:
    """Return the provider of a URI scheme.  Raises ``KeyProviderError``."""
    if scheme not in schemes():
        raise KeyProviderError(
            "--key", f"scheme {scheme[:40]!r}", f"one of {', '.join(schemes())}",
            "a key in a file: file:key.pem",
        )  # fmt: skip
    module = importlib.import_module(f"{__name__}.{scheme.replace('-', '_')}")
    found: Provider = module.PROVIDER
    return found


def open_key(uri: str, secrets: Secrets) -> SigningKey:
    """Open the key a URI names; a URL names one that is served.  Raises ``KeyProviderError``."""
    scheme, colon, rest = uri.partition(":")
    if scheme.lower() in _URLS:
        return provider("remote").open(uri, secrets)
    if not colon:
        raise KeyProviderError("--key", "no URI", "one such as file:key.pem or pkcs12:release.p12")
    return provider(scheme.lower()).open(rest, secrets)
