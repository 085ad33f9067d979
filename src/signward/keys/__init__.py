"""Key providers: one file per place where keys live; a file in this folder is its registration.

A provider is chosen by a URI's scheme (``file:``, ``pkcs11:``, ``aws-kms:``) and gets octets
to sign, or their digest, never a file.  Secrets come from a file, the environment or a
prompt, never from a command line, and stand in no message and no log.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from signward.errors import KeyProviderError
from signward.state import Algorithm

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
        """Return the signature value over ``data`` as CMS carries it.

        ECDSA values are DER (ECDSA-Sig-Value), RSA values as long as the modulus.
        Raises ``KeyProviderError``, and ``RotatedError`` where the key is no longer the one
        that was opened.
        """

    def refresh(self) -> None:
        """Read key and certificates anew: a service may have issued the next leaf."""

    def close(self) -> None:
        """Give up sessions and connections."""


class Provider(Protocol):
    """What a provider module's ``PROVIDER`` offers."""

    scheme: str
    help: str
    """One line, with an example of the URI."""

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Open the key that the URI names; ``rest`` is what follows the scheme and its colon.

        Raises ``KeyProviderError``.
        """


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
    """Open the key a URI names.  Raises ``KeyProviderError``."""
    scheme, colon, rest = uri.partition(":")
    if not colon:
        raise KeyProviderError("--key", "no URI", "one such as file:key.pem or pkcs12:release.p12")
    return provider(scheme.lower()).open(rest, secrets)
