"""Microsoft Entra ID: access tokens for Azure's services (OAuth 2.0 client credentials)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from signward.errors import KeyProviderError
from signward.keys import Secrets
from signward.keys._address import endpoint
from signward.keys._bearer import Bearer, Token
from signward.keys._rest import Rest

AUTHORITY = "https://login.microsoftonline.com"
"""Where tokens are asked for; AZURE_AUTHORITY_HOST names another cloud's."""

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""What a federated token is (RFC 7523 2.2): workload identities of Kubernetes and CI have one."""

_HINT = (
    "set AZURE_ACCESS_TOKEN (az account get-access-token), or AZURE_TENANT_ID, AZURE_CLIENT_ID "
    "and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE"
)


class AzureCredentials(Bearer):
    """Makes the Authorization header for one scope (a ``_rest.Headers``)."""

    def __init__(self, name: str, secrets: Secrets, scope: str) -> None:
        super().__init__(name, "AZURE_ACCESS_TOKEN", secrets)
        self._scope = scope

    def _asked(self) -> Token:
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
        return rest.read(Token, rest.exchange("POST", path, form.encode(), kind))

    def _proof(self) -> tuple[str, Mapping[str, str]]:
        """Return what proves who asks, a secret or a federated token, and its form fields."""
        secret = self._secrets("AZURE_CLIENT_SECRET")
        if secret:
            return secret, {"client_secret": secret}
        token = (self._secrets("AZURE_FEDERATED_TOKEN") or "").strip()
        return token, {"client_assertion": token, "client_assertion_type": ASSERTION}
