"""Keys and certificates in Azure Key Vault and Managed HSM: the REST API 7.4."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._azure import AzureCredentials
from signward.keys._certificates import key_in
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, ecdsa_value, url_safe

API = "api-version=7.4"
SCOPE = "https://vault.azure.net/.default"

JWA_NAMES = {
    ("rsa-pkcs1v15", "sha256"): "RS256",
    ("rsa-pkcs1v15", "sha384"): "RS384",
    ("rsa-pkcs1v15", "sha512"): "RS512",
    ("rsa-pss", "sha256"): "PS256",
    ("rsa-pss", "sha384"): "PS384",
    ("rsa-pss", "sha512"): "PS512",
    ("ecdsa", "sha256"): "ES256",
    ("ecdsa", "sha384"): "ES384",
    ("ecdsa", "sha512"): "ES512",
}
"""RFC 7518 3.1: ES names bind the curve (P-256, P-384, P-521) as well."""

_FORM = "VAULT/CERTIFICATE or VAULT/CERTIFICATE/VERSION, as in azure-kv:my-vault/release"
_KEY_PATH = re.compile(r"/keys/[0-9A-Za-z-]+/[0-9A-Za-z]+")


class _Certificate(Frozen, frozen=True, kw_only=True):
    """GET /certificates/NAME: the leaf (Base64 DER) and its key's identifier, a URL."""

    cer: str
    kid: str


class _Signature(Frozen, frozen=True, kw_only=True):
    kid: str
    value: str


class KeyVaultKey(ServiceKey):
    """The key of one version of a certificate; the vault keeps no path, only the leaf."""

    def __init__(self, name: str, rest: Rest, path: str) -> None:
        super().__init__(name, JWA_NAMES)
        self._rest, self._path, self._key_path = rest, path, ""
        self.refresh()

    def refresh(self) -> None:
        """Read the certificate anew; where the URI names no version, the latest becomes ours."""
        found = self._rest.get(_Certificate, f"{self._path}?{API}")
        self._key_path = self._path_in(found.kid)
        leaf = decoded(self._name, found.cer, "a certificate")
        self._adopt(key_in(self._name, leaf), (leaf,))

    def _path_in(self, kid: str) -> str:
        """Return the path of a key identifier; its host is the vault's own and not followed."""
        path = urlsplit(kid).path if kid.isascii() else ""
        if not _KEY_PATH.fullmatch(path):
            found = "a key identifier that is none"
            raise KeyProviderError(self._name, found, "https://VAULT/keys/NAME/VERSION")
        return path

    def _value(self, order: Order) -> bytes:
        asked = {"alg": order.theirs, "value": url_safe(order.digest)}
        answer = self._rest.post(_Signature, f"{self._key_path}/sign?{API}", asked)
        if self._path_in(answer.kid) != self._key_path:
            raise KeyProviderError(self._name, "a value of another key version", "the asked one's")
        value = decoded(self._name, answer.value, "a signature")
        return ecdsa_value(self._name, value) if order.algorithm.scheme == "ecdsa" else value


class KeyVaultProvider:
    """Opens ``azure-kv:VAULT/CERTIFICATE``; VAULT is a name in the public cloud, or a host."""

    scheme = "azure-kv"
    help = "a certificate's key in Azure Key Vault: azure-kv:my-vault/release"

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read the certificate (``get``); signing needs ``sign`` on keys."""
        path, options = parse(self.scheme, rest, _FORM)
        parts = path.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise KeyProviderError("azure-kv: URI", path[:80], _FORM)
        host = parts[0] if "." in parts[0] else f"{parts[0]}.vault.azure.net"
        name = f"azure-kv:{path}"
        where = endpoint(self.scheme, options.get("endpoint") or f"https://{host}")
        service = Rest(name, where, AzureCredentials(name, secrets, SCOPE))
        quoted = "/".join(quote(part, safe="") for part in parts[1:])
        return KeyVaultKey(name, service, f"/certificates/{quoted}")


PROVIDER = KeyVaultProvider()
