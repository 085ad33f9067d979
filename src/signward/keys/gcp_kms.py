"""Keys in Google Cloud KMS: the REST API v1, with checksums both ways."""

from __future__ import annotations

import os
import re
import time
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from signward.errors import KeyProviderError
from signward.frozen import Frozen, decoder
from signward.keys import Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._bearer import Bearer, Token
from signward.keys._local import LocalKey, read_key_file
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, encoded, public_key_in, url_safe
from signward.state import Algorithm

ENDPOINT = "https://cloudkms.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloudkms"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANT_SECONDS = 600
"""Validity of the assertion that asks for a token (RFC 7523; at most an hour)."""

_FORM = "projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1"
_NAME = re.compile("/".join(rf"{part}/[0-9A-Za-z_.:-]+" for part in _FORM.split("/")[::2]))
_ALGORITHM = re.compile(r"(RSA_SIGN_PKCS1|RSA_SIGN_PSS|EC_SIGN)_[0-9A-Z]+_(SHA256|SHA384|SHA512)")
_SCHEMES = {"RSA_SIGN_PKCS1": "rsa-pkcs1v15", "RSA_SIGN_PSS": "rsa-pss", "EC_SIGN": "ecdsa"}
_HINT = "set GOOGLE_ACCESS_TOKEN, or GOOGLE_APPLICATION_CREDENTIALS to a service account's JSON"


class _PublicKey(Frozen, frozen=True, kw_only=True, rename="camel"):
    pem: str
    algorithm: str
    pem_crc32c: str = msgspec.field(default="", name="pemCrc32c")


class _Signature(Frozen, frozen=True, kw_only=True, rename="camel"):
    """Checksums are decimal strings (Int64Value)."""

    signature: str
    name: str
    signature_crc32c: str = msgspec.field(name="signatureCrc32c")
    verified_digest_crc32c: bool = msgspec.field(default=False, name="verifiedDigestCrc32c")


class _Account(Frozen, frozen=True, kw_only=True):
    """A service account's key file."""

    type: str
    client_email: str
    private_key: str
    private_key_id: str
    token_uri: str


class GoogleKey(ServiceKey):
    """One version of a key; its algorithm was fixed when it was made."""

    def __init__(self, name: str, rest: Rest, path: str) -> None:
        super().__init__(name, {})
        self._rest, self._path = rest, path
        found = rest.get(_PublicKey, f"/v1/{path}/publicKey")
        match = _ALGORITHM.fullmatch(found.algorithm)
        if match is None:
            theirs = found.algorithm[:60]
            raise KeyProviderError(name, f"a key for {theirs}", "RSA or EC over a digest")
        if found.pem_crc32c and found.pem_crc32c != str(crc32c(found.pem.encode())):
            raise KeyProviderError(name, "a public key damaged on its way", "its checksum")
        self._names = {(_SCHEMES[match[1]], match[2].lower()): match[2].lower()}
        self._adopt(public_key_in(name, found.pem))

    def _value(self, order: Order) -> bytes:
        asked = {
            "digest": {order.theirs: encoded(order.digest)},
            "digestCrc32c": str(crc32c(order.digest)),
        }
        answer = self._rest.post(_Signature, f"/v1/{self._path}:asymmetricSign", asked)
        value = decoded(self._name, answer.signature, "a signature")
        intact = answer.signature_crc32c == str(crc32c(value))
        if not answer.verified_digest_crc32c or not intact or answer.name != self._path:
            found = "a digest or signature damaged on its way"
            raise KeyProviderError(self._name, found, "checksums that agree", "try again")
        return value


class GoogleCredentials(Bearer):
    """Makes the Authorization header (a ``_rest.Headers``)."""

    def __init__(self, name: str, secrets: Secrets) -> None:
        super().__init__(name, "GOOGLE_ACCESS_TOKEN", secrets)

    def _asked(self) -> Token:
        path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        if not path:
            raise KeyProviderError(self._name, "no credentials", "an access token", _HINT)
        try:
            account = decoder(_Account).decode(read_key_file(path))
            private = serialization.load_pem_private_key(account.private_key.encode(), None)
        except (ValueError, RecursionError, TypeError, UnsupportedAlgorithm):
            raise KeyProviderError(path, "no key file of a service account", _HINT) from None
        host = endpoint("gcp-kms", account.token_uri)
        grant = assertion(account.client_email, account.private_key_id, account.token_uri,
                          LocalKey(path, private), int(time.time()))  # fmt: skip
        form = urlencode({"grant_type": GRANT, "assertion": grant}).encode()
        rest = Rest(self._name, host, secret_words=(grant,))
        kind = "application/x-www-form-urlencoded"
        return rest.read(Token, rest.exchange("POST", "", form, kind))


def assertion(email: str, key_id: str, audience: str, key: LocalKey, now: int) -> str:
    """Return the signed claim (JWT, RFC 7523 3) that asks for a token; ``now`` in Unix seconds."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key_id}
    claims = {"iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + GRANT_SECONDS}
    parts = ".".join(url_safe(msgspec.json.encode(part)) for part in (header, claims))
    value = key.sign(parts.encode(), Algorithm(scheme="rsa-pkcs1v15", digest="sha256"))
    return f"{parts}.{url_safe(value)}"


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 12.1) of some octets."""
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


class GoogleProvider:
    """Opens ``gcp-kms:projects/.../cryptoKeyVersions/N``."""

    scheme = "gcp-kms"
    help = f"a key version in Google Cloud KMS: gcp-kms:{_FORM}"

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read the public key; needs the role Cloud KMS CryptoKey Signer/Verifier."""
        path, options = parse(self.scheme, rest, _FORM)
        if not _NAME.fullmatch(path):
            raise KeyProviderError("gcp-kms: URI", path[:120], _FORM)
        name = f"gcp-kms:{path}"
        where = endpoint(self.scheme, options.get("endpoint") or ENDPOINT)
        return GoogleKey(name, Rest(name, where, GoogleCredentials(name, secrets)), path)


PROVIDER = GoogleProvider()
