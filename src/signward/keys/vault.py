"""Keys in the transit engine of HashiCorp Vault (and OpenBao): the HTTP API, version 1."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._certificates import in_pem
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, encoded, public_key_in, required

_FORM = "MOUNT/KEY or MOUNT/KEY/VERSION, as in vault:transit/release"

_HASHES = {
    "sha224": "sha2-224", "sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512",
    "sha3_256": "sha3-256", "sha3_384": "sha3-384", "sha3_512": "sha3-512",
}  # fmt: skip
_SCHEMES = {
    "rsa-pkcs1v15": {"signature_algorithm": "pkcs1v15"},
    "rsa-pss": {"signature_algorithm": "pss", "salt_length": "hash"},
    "ecdsa": {"marshaling_algorithm": "asn1"},
}
_NAMES = {(scheme, digest): theirs for scheme in _SCHEMES for digest, theirs in _HASHES.items()}


class _Version(Frozen, frozen=True, kw_only=True):
    """One version of a key; the chain is PEM and absent where none was set."""

    public_key: str = ""
    certificate_chain: str = ""


class _Key(Frozen, frozen=True, kw_only=True):
    """``data`` of GET transit/keys/NAME; versions of symmetric keys are mere times."""

    type: str
    latest_version: int
    keys: Mapping[str, _Version | int]


class _KeyAnswer(Frozen, frozen=True, kw_only=True):
    data: _Key


class _Signature(Frozen, frozen=True, kw_only=True):
    signature: str


class _SignAnswer(Frozen, frozen=True, kw_only=True):
    data: _Signature


class VaultKey(ServiceKey):
    """A version of a transit key: the one named, else the latest when it was opened."""

    def __init__(self, name: str, rest: Rest, mount: str, key: str, version: int) -> None:
        super().__init__(name, _NAMES)
        self._rest, self._mount, self._key, self._asked = rest, mount, key, version
        self._version = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the key anew; where the URI names no version, the latest becomes ours."""
        path = f"/v1/{quote(self._mount)}/keys/{quote(self._key, safe='')}"
        found = self._rest.get(_KeyAnswer, path).data
        version = self._asked or found.latest_version
        held = found.keys.get(str(version))
        if not isinstance(held, _Version) or not held.public_key.startswith("-----BEGIN"):
            what = f"no version {version} that signs by RSA or ECDSA (type {found.type[:40]})"
            raise KeyProviderError(self._name, what, "an RSA or EC key")
        self._version = version
        chain = in_pem(self._name, held.certificate_chain.encode())
        self._adopt(public_key_in(self._name, held.public_key), chain)

    def _value(self, order: Order) -> bytes:
        body: dict[str, Any] = {"input": encoded(order.digest), "prehashed": True,
                                "hash_algorithm": order.theirs, "key_version": self._version,
                                **_SCHEMES[order.algorithm.scheme]}  # fmt: skip
        path = f"/v1/{quote(self._mount)}/sign/{quote(self._key, safe='')}"
        text = self._rest.post(_SignAnswer, path, body).data.signature
        prefix = f"vault:v{self._version}:"
        if not text.startswith(prefix):
            found = f"a signature {text[:12]!r}..."
            raise KeyProviderError(self._name, found, f"one that begins with {prefix}")
        return decoded(self._name, text.removeprefix(prefix), "a signature")


class VaultProvider:
    """Opens ``vault:MOUNT/KEY``; the server is ``?endpoint=`` or VAULT_ADDR."""

    scheme = "vault"
    help = (
        "a key in HashiCorp Vault's transit engine, by VAULT_ADDR and VAULT_TOKEN: "
        "vault:transit/release"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read the key's public half; signing needs ``update`` on ``MOUNT/sign/KEY``."""
        path, options = parse(self.scheme, rest, _FORM)
        parts = path.split("/")
        version = int(parts.pop()) if len(parts) > 2 and parts[-1].isdecimal() else 0
        if len(parts) < 2 or not all(parts):
            raise KeyProviderError("vault: URI", path[:80], _FORM)
        name = f"vault:{path}"
        address = options.get("endpoint") or os.environ.get("VAULT_ADDR", "")
        if not address:
            raise KeyProviderError(name, "no server", "VAULT_ADDR, or ?endpoint=https://HOST:8200")
        headers = {"X-Vault-Request": "true"}
        if os.environ.get("VAULT_NAMESPACE"):
            headers["X-Vault-Namespace"] = os.environ["VAULT_NAMESPACE"]
        token = required(name, secrets, "VAULT_TOKEN").strip()
        service = Rest(name, endpoint(self.scheme, address),
                       lambda: {**headers, "X-Vault-Token": token})  # fmt: skip
        return VaultKey(name, service, "/".join(parts[:-1]), parts[-1], version)


PROVIDER = VaultProvider()
