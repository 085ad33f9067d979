"""Microsoft Entra ID: access tokens for Azure's services (OAuth 2.0 client credentials)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import Secrets
from signward.keys._address import endpoint
from signward.keys._rest import Rest

AUTHORITY = "https://login.microsoftonline.com"
"""Where tokens are asked for; AZURE_AUTHORITY_HOST names another cloud's."""

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""What a federated token is (RFC 7523 2.2): workload identities of Kubernetes and CI have one."""

EARLY_SECONDS = 120
"""How long before its end a token is replaced: a signature may wait that long in a queue."""

_HINT = (
    "set AZURE_ACCESS_TOKEN (az account get-access-token), or AZURE_TENANT_ID, AZURE_CLIENT_ID "
    "and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE"
)


class _Token(Frozen, frozen=True, kw_only=True):
    access_token: str
    expires_in: int


class AzureCredentials:
    """Makes the Authorization header for one scope (a ``_rest.Headers``)."""

    def __init__(self, name: str, secrets: Secrets, scope: str) -> None:
        self._name, self._secrets, self._scope = name, secrets, scope
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"AzureCredentials({self._name!r})"

    def __call__(self) -> Mapping[str, str]:
        """Return the header; asks for a token where there is none that lasts."""
        given = self._secrets("AZURE_ACCESS_TOKEN")
        if given:
            return {"Authorization": f"Bearer {given.strip()}"}
        with self._lock:
            if time.monotonic() >= self._until:
                answer = self._asked()
                self._token = answer.access_token
                self._until = time.monotonic() + answer.expires_in - EARLY_SECONDS
        return {"Authorization": f"Bearer {self._token}"}

    def _asked(self) -> _Token:
        tenant = os.environ.get("AZURE_TENANT_ID", "")
        client = os.environ.get("AZURE_CLIENT_ID", "")
        secret, proof = self._proof()
        if not (tenant and client and secret):
            raise KeyProviderError(self._name, "no credentials", "an access token", _HINT)
        host = endpoint("azure", os.environ.get("AZURE_AUTHORITY_HOST") or AUTHORITY)
        form = urlencode({"grant_type": "client_credentials", "client_id": client,
                          "scope": self._scope, **proof})  # fmt: skip
        rest = Rest(self._name, host, secret_words=(secret, quote(secret, safe="")))
        path = f"/{quote(tenant, safe='')}/oauth2/v2.0/token"
        kind = "application/x-www-form-urlencoded"
        return rest.read(_Token, rest.exchange("POST", path, form.encode(), kind))

    def _proof(self) -> tuple[str, Mapping[str, str]]:
        """Return what proves who asks, a secret or a federated token, and its form fields."""
        secret = self._secrets("AZURE_CLIENT_SECRET")
        if secret:
            return secret, {"client_secret": secret}
        token = (self._secrets("AZURE_FEDERATED_TOKEN") or "").strip()
        return token, {"client_assertion": token, "client_assertion_type": ASSERTION}
