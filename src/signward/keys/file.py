"""Keys in files: PEM, DER and PVK, encrypted or not, with the certificates beside them.

PKCS#8 (RFC 5208, 5958), PKCS#1 (RFC 8017), SEC 1 (RFC 5915), OpenSSL's traditional encrypted PEM
and OpenSSH's are read by the cryptography library, PVK by ``_pvk``; secret keys of OpenPGP by
``_openpgp``, of minisign and signify by ``_commented``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from signward.envelopes.minisign import is_commented
from signward.envelopes.openpgp_secret import is_secret
from signward.errors import KeyProviderError
from signward.keys import Secrets, SigningKey, _pvk
from signward.keys._certificates import in_pem
from signward.keys._local import LocalKey, no_password, path_of, read_key_file, wrong_password

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
_OPENSSH = b"OPENSSH PRIVATE KEY"
_REQUIRED = "one private key in PEM, DER or PVK, of OpenPGP, minisign or signify"


class FileProvider:
    """Opens ``file:PATH``."""

    scheme = "file"
    help = (
        "a private key in PEM, DER or PVK, with its certificates where it is PEM, or of OpenSSH, "
        "OpenPGP, minisign or signify: file:key.pem"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Open the file at ``rest``; its password is asked for only where it is encrypted."""
        path = path_of(rest)
        data = read_key_file(path)

        def password() -> str:
            given = secrets(f"password of {path}")
            if given is None:
                raise no_password(path)
            return given

        if data.startswith(_pvk.MAGIC):
            return LocalKey(path, _opened(path, lambda: _pvk.load(path, data, password)))
        if is_secret(data):
            from signward.keys._openpgp import load_openpgp  # for few runs only

            return load_openpgp(path, data, password)
        if is_commented(data):
            from signward.keys._commented import load_commented  # for few runs only

            return load_commented(path, data, password)
        if b"-----BEGIN " in data:
            return _pem(path, data, password)
        load = serialization.load_der_private_key
        return LocalKey(path, _loaded(path, data, load, password))


def _pem(path: str, data: bytes, password: Any) -> LocalKey:
    blocks = [(m[1], m[0]) for m in _BLOCK.finditer(data)]
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    if len(keys) != 1:
        labels = ", ".join(label.decode() for label, _ in blocks[:8]) or "no whole PEM block"
        raise KeyProviderError(path, labels, _REQUIRED)
    if keys[0].startswith(b"-----BEGIN " + _OPENSSH):
        return _openssh(path, keys[0] + b"\n", password)
    load = serialization.load_pem_private_key
    private = _loaded(path, keys[0] + b"\n", load, password)
    return LocalKey(path, private, in_pem(path, data))


def _openssh(path: str, data: bytes, password: Any) -> LocalKey:
    from signward.envelopes.sshsig_draft import ssh_key  # for few runs only

    key = LocalKey(path, _loaded(path, data, serialization.load_ssh_private_key, password))
    key.held = (ssh_key(key.public_key),)
    return key


def _loaded(path: str, data: bytes, load: Any, password: Any) -> Any:
    """Load without a password, and with one where the library says that it wants it."""
    with suppress(TypeError):
        return _opened(path, lambda: load(data, None), required=_REQUIRED)
    secret = password().encode()
    return _opened(path, lambda: load(data, secret))


def _opened(path: str, load: Any, required: str = "") -> Any:
    """Call ``load``; what it refuses is the file's fault if ``required``, else the password's."""
    try:
        return load()
    except UnsupportedAlgorithm as error:
        raise KeyProviderError(path, f"a key that is not supported ({error})", _REQUIRED) from None
    except (ValueError, TypeError) as error:
        if isinstance(error, TypeError) and required:
            raise  # how the library says "encrypted"
        if not required:
            raise wrong_password(path) from None
        raise KeyProviderError(path, _guess(path), required) from None


def _guess(path: str) -> str:
    """Name what a file that holds no private key looks like."""
    if path.lower().endswith((".p12", ".pfx")):
        return "what looks like PKCS#12 (write pkcs12: before its name)"
    return "no private key that can be read"


PROVIDER = FileProvider()
