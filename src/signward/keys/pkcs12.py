"""Keys in PKCS#12 files (RFC 7292), with the certificates beside them."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization import pkcs12 as library

from signward.errors import KeyProviderError
from signward.keys import Secrets, SigningKey
from signward.keys._local import LocalKey, no_password, path_of, read_key_file, wrong_password

_LEGACY = "write it anew with today's algorithms: openssl pkcs12 -legacy -in OLD, then -export"


class Pkcs12Provider:
    """Opens ``pkcs12:PATH``."""

    scheme = "pkcs12"
    help = "a key and its certificates in PKCS#12 (.p12, .pfx): pkcs12:release.p12"

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Open the file at ``rest``; a password is asked for unless it opens without one."""
        path = path_of(rest)
        data = read_key_file(path)
        if data[:1] != b"\x30":
            raise KeyProviderError(path, "no DER", "PKCS#12", "a PEM file is file:NAME")
        opened = _opened(path, data, None) or _opened(path, data, b"")
        if opened is None:
            password = secrets(f"password of {path}")
            if password is None:
                raise no_password(path)
            opened = _opened(path, data, password.encode())
        if opened is None:
            raise wrong_password(path)
        return _local(path, opened)


def _opened(path: str, data: bytes, password: bytes | None) -> Any:
    """Return what the file holds, or None where the password does not open it."""
    try:
        return library.load_pkcs12(data, password)
    except UnsupportedAlgorithm as error:
        found = f"encryption that is not supported ({error})"
        raise KeyProviderError(path, found, "PKCS#12 that can be read", _LEGACY) from None
    except ValueError as error:
        if "password" in str(error).lower():
            return None
        found = f"what cannot be read as PKCS#12 ({error})"
        raise KeyProviderError(path, found, "PKCS#12 (RFC 7292)") from None


def _local(path: str, opened: Any) -> LocalKey:
    if opened.key is None:
        raise KeyProviderError(path, "no private key", "one, with its certificate")
    entries = [opened.cert, *opened.additional_certs]
    certificates = [one.certificate.public_bytes(Encoding.DER) for one in entries if one]
    return LocalKey(path, opened.key, certificates)


PROVIDER = Pkcs12Provider()
