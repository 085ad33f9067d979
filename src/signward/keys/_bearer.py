"""Bearer tokens (RFC 6750): the caller's own, or asked for and kept until they nearly end."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

from signward.frozen import Frozen
from signward.keys import Secrets

EARLY_SECONDS = 120
"""How long before its end a token is replaced: a signature may wait that long in a queue."""


class Token(Frozen, frozen=True, kw_only=True):
    """What a token service answers (RFC 6749 5.1); ``expires_in`` in seconds."""

    access_token: str
    expires_in: int


class Bearer(ABC):
    """Makes the Authorization header (a ``_rest.Headers``).

    ``variable`` names the secret that holds a token of the caller's own.
    """

    def __init__(self, name: str, variable: str, secrets: Secrets) -> None:
        self._name, self._variable, self._secrets = name, variable, secrets
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def __call__(self) -> Mapping[str, str]:
        """Return the header; asks for a token where there is none that lasts."""
        given = self._secrets(self._variable)
        if given:
            return {"Authorization": f"Bearer {given.strip()}"}
        with self._lock:
            if time.monotonic() >= self._until:
                answer = self._asked()
                self._token = answer.access_token
                self._until = time.monotonic() + answer.expires_in - EARLY_SECONDS
        return {"Authorization": f"Bearer {self._token}"}

    @abstractmethod
    def _asked(self) -> Token:
        """Ask the service for a token.  Raises ``KeyProviderError``."""
