"""Keys in DigiCert Software Trust Manager: the REST API v1, over mutual TLS."""

from __future__ import annotations

import os
import re
import secrets as chance
import ssl
import tempfile
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._certificates import key_in
from signward.keys._local import read_key_file
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, encoded, required

ENDPOINT = "https://clientauth.one.digicert.com"

_FORM = "CERTIFICATE-ALIAS or its identifier"
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGESTS = {"sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
_SCHEMES = {"rsa-pkcs1v15": "RSA", "ecdsa": "ECDSA"}
_NAMES = {(scheme, digest): f"{start}with{end}" for scheme, end in _SCHEMES.items()
          for digest, start in _DIGESTS.items()}  # fmt: skip


class _Blob(Frozen, frozen=True, kw_only=True):
    blob: str


class _KeyPairId(Frozen, frozen=True, kw_only=True):
    id: str


class _Certificate(Frozen, frozen=True, kw_only=True):
    """A certificate (Base64 DER), its path, and the key pair it is for."""

    alias: str
    cert: str
    keypair: _KeyPairId
    chain: tuple[_Blob, ...] | None = None


class _Certificates(Frozen, frozen=True, kw_only=True):
    items: tuple[_Certificate, ...]


class _KeyPair(Frozen, frozen=True, kw_only=True):
    """A key pair; its account is handed back as it came."""

    id: str
    account: Any


class _Signature(Frozen, frozen=True, kw_only=True):
    signature: str


class DigiCertKey(ServiceKey):
    """The key pair of one certificate."""

    def __init__(self, name: str, rest: Rest, certificate: str) -> None:
        super().__init__(name, _NAMES)
        self._rest, self._certificate = rest, certificate
        self._pair, self._account = "", None
        self.refresh()

    def refresh(self) -> None:
        """Read the certificate and its key pair anew."""
        by = "id" if _IDENTIFIER.fullmatch(self._certificate) else "alias"
        query = f"certificates?{by}={quote(self._certificate, safe='')}"
        items = self._rest.get(_Certificates, f"/{query}").items
        own = [one for one in items if by == "id" or one.alias == self._certificate]
        if len(own) != 1:
            found = f"{len(own) or 'no'} certificates of that {by}"
            raise KeyProviderError(self._name, found, "one", "smctl certificate list")
        pair = quote(own[0].keypair.id, safe="")
        self._pair, self._account = pair, self._rest.get(_KeyPair, f"/keypairs/{pair}").account
        encoded_path = [own[0].cert, *(one.blob for one in own[0].chain or ())]
        path = [decoded(self._name, one, "a certificate") for one in encoded_path]
        self._adopt(key_in(self._name, path[0]), dict.fromkeys(path))

    def _value(self, order: Order) -> bytes:
        asked = {"account": self._account, "sig_alg": order.theirs, "hash": encoded(order.digest)}
        answer = self._rest.post(_Signature, f"/keypairs/{self._pair}/sign", asked)
        return decoded(self._name, answer.signature, "a signature")


def client_context(path: str, password: str) -> ssl.SSLContext:
    """Return TLS that proves who asks by a PKCS#12 file.  Raises ``KeyProviderError``.

    The library reads key files only: the key passes through one that is encrypted under a
    password of its own, readable by us alone, and gone at once.
    """
    try:
        held = pkcs12.load_pkcs12(read_key_file(path), password.encode())
    except ValueError:
        required = "PKCS#12 that SM_CLIENT_CERT_PASSWORD opens"
        raise KeyProviderError(path, "no client certificate", required) from None
    if held.key is None or held.cert is None:
        raise KeyProviderError(path, "no key with its certificate", "a client certificate")
    once = chance.token_hex(32)
    pem = held.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(once.encode())
    )
    path_certificates: list[x509.Certificate] = [
        entry.certificate for entry in (held.cert, *held.additional_certs)
    ]
    pem += b"".join(one.public_bytes(Encoding.PEM) for one in path_certificates)
    context = ssl.create_default_context()
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name, password=once)
    return context


class DigiCertProvider:
    """Opens ``digicert:ALIAS``, with the variables of DigiCert's own tools."""

    scheme = "digicert"
    help = (
        "a certificate's key in DigiCert Software Trust Manager, by SM_API_KEY and "
        "SM_CLIENT_CERT_FILE: digicert:my-certificate"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read certificate and key pair; the API key's user must be allowed to sign with it."""
        alias, options = parse(self.scheme, rest, _FORM)
        name = f"digicert:{alias}"
        api_key = required(name, secrets, "SM_API_KEY").strip()
        address = options.get("endpoint") or os.environ.get("SM_HOST") or ENDPOINT
        where = endpoint(self.scheme, address)
        where = where._replace(path=f"{where.path}/signingmanager/api/v1")
        client = os.environ.get("SM_CLIENT_CERT_FILE", "")
        if not client and where.scheme == "https":
            raise KeyProviderError(name, "no SM_CLIENT_CERT_FILE", "the client certificate's file")
        password = secrets("SM_CLIENT_CERT_PASSWORD") or ""
        tls = client_context(client, password) if client else None
        return DigiCertKey(name, Rest(name, where, lambda: {"x-api-key": api_key}, tls=tls), alias)


PROVIDER = DigiCertProvider()
