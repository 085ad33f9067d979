"""Azure Artifact Signing (formerly Trusted Signing): the data plane's sign operation.

The service issues a leaf for three days at a time and tells which one it used only in the
answer to a signing request.  So opening a key costs one signature, over a text that says
why, and every later answer is compared with the leaf that was opened.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import RotatedError, Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._azure import AzureCredentials
from signward.keys._certificates import key_in, sorted_path
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, ecdsa_value, encoded
from signward.keys.azure_kv import JWA_NAMES

API = "api-version=2023-06-15-preview"
SCOPE = "https://codesigning.azure.net/.default"

MAX_SECONDS = 90.0
"""How long an operation may take; it takes about two."""

FIRST_WAIT, MAX_WAIT = 0.1, 2.0
"""Seconds between two questions whether it is done; doubled each time."""

PROBE = b"Signward asks which certificate signs now."

_FORM = "ACCOUNT/PROFILE?endpoint=https://weu.codesigning.azure.net"
_PENDING = frozenset({"inprogress", "running", "notstarted", ""})
_OPERATION = re.compile(r"[0-9A-Za-z-]{1,128}")


class _Result(Frozen, frozen=True, kw_only=True, rename="camel"):
    """The signature (Base64) and the path, PKCS#7 in Base64, in Base64 once more."""

    signature: str | None = None
    signing_certificate: str | None = None


class _Operation(Frozen, frozen=True, kw_only=True, rename="camel"):
    """A long-running operation; older versions of the API give the result beside its status."""

    id: str | None = None
    operation_id: str | None = None
    status: str | None = None
    result: _Result | None = None
    signature: str | None = None
    signing_certificate: str | None = None
    error: Any = None
    error_detail: Any = None


class ArtifactSigningKey(ServiceKey):
    """A certificate profile; ``certificates`` are those of the answer that was last adopted."""

    def __init__(self, name: str, rest: Rest, path: str) -> None:
        super().__init__(name, JWA_NAMES)
        self._rest, self._path = rest, path
        self.refresh()

    def refresh(self) -> None:
        """Ask for a signature over ``PROBE`` to learn which certificate signs now."""
        result = self._signed("RS256", hashlib.sha256(PROBE).digest())
        path = self._certificates(result)
        self._adopt(key_in(self._name, path[0]), path)

    def _value(self, order: Order) -> bytes:
        result = self._signed(order.theirs, order.digest)
        if self._certificates(result)[0] != self.certificates[0]:
            hint = "refresh the key, and sign again"
            raise RotatedError(self._name, "a signature under the next leaf", "the opened", hint)
        value = decoded(self._name, result.signature or "", "a signature")
        return ecdsa_value(self._name, value) if order.algorithm.scheme == "ecdsa" else value

    def _signed(self, theirs: str, digest: bytes) -> _Result:
        """Submit a digest and wait for its signature.  Raises ``KeyProviderError``."""
        asked = {"signatureAlgorithm": theirs, "digest": encoded(digest)}
        reply = self._rest.exchange_json("POST", f"{self._path}:sign?{API}", asked)
        state = self._rest.read(_Operation, reply)
        operation = (state.operation_id or state.id or "").strip()
        if not operation:
            location = reply.headers.get("operation-location", "")
            operation = location.partition("?")[0].rpartition("/")[2]
        deadline, wait = time.monotonic() + MAX_SECONDS, FIRST_WAIT
        while _status(state) in _PENDING:
            if not _OPERATION.fullmatch(operation):
                raise KeyProviderError(self._name, "an operation without identifier", "one")
            if time.monotonic() > deadline:
                raise KeyProviderError(self._name, "an operation that does not end", "an answer")
            time.sleep(wait)
            wait = min(2 * wait, MAX_WAIT)
            state = self._rest.get(_Operation, f"{self._path}/sign/{quote(operation)}?{API}")
        return self._result(state)

    def _result(self, state: _Operation) -> _Result:
        held = state.result or _Result(
            signature=state.signature, signing_certificate=state.signing_certificate
        )
        if _status(state) != "succeeded" or not held.signature or not held.signing_certificate:
            found = f"an operation that ended as {(state.status or '')[:40]!r}"
            raise KeyProviderError(self._name, found, "a signature and its certificate")
        return held

    def _certificates(self, result: _Result) -> tuple[bytes, ...]:
        """Return the path in an answer, leaf first."""
        what = "a certificate"
        data = decoded(self._name, result.signing_certificate or "", what)
        if data[:1] != b"\x30":
            data = decoded(self._name, data.decode("latin-1"), what)
        try:
            found = pkcs7.load_der_pkcs7_certificates(data)
        except ValueError:
            return (data,)  # one certificate; whether it is any, key_in says
        return sorted_path(self._name, [one.public_bytes(Encoding.DER) for one in found])


def _status(state: _Operation) -> str:
    return "".join((state.status or "").split()).lower()


class ArtifactSigningProvider:
    """Opens ``azure-artifact-signing:ACCOUNT/PROFILE?endpoint=...``."""

    scheme = "azure-artifact-signing"
    help = (
        "a certificate profile of Azure Artifact (Trusted) Signing: azure-artifact-signing:"
        "ACCOUNT/PROFILE?endpoint=https://weu.codesigning.azure.net"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Learn the certificate by one signature; needs the role Certificate Profile Signer."""
        path, options = parse(self.scheme, rest, _FORM)
        account, _, profile = path.partition("/")
        if not account or not profile or "/" in profile:
            raise KeyProviderError(f"{self.scheme}: URI", path[:80], _FORM)
        if "endpoint" not in options:
            found = "no endpoint"
            raise KeyProviderError(f"{self.scheme}: URI", found, _FORM, "each region has its own")
        name = f"{self.scheme}:{path}"
        where = endpoint(self.scheme, options["endpoint"])
        service = Rest(name, where, AzureCredentials(name, secrets, SCOPE))
        parts = quote(account, safe=""), quote(profile, safe="")
        return ArtifactSigningKey(
            name, service, f"/codesigningaccounts/{parts[0]}/certificateprofiles/{parts[1]}"
        )


PROVIDER = ArtifactSigningProvider()
