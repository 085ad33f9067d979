"""Timestamps by our own authority, for verbs that sign."""

from __future__ import annotations

import hashlib
import secrets
import threading
from weakref import WeakKeyDictionary

from signward.envelopes.tsp import read_answer, write_request
from signward.errors import BadInputError, KeyProviderError
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.stamp import Stamper

MAX_SECONDS = 30.0
"""For one token: a signature, and an entry in the log."""


class OwnTokens:
    """Gets tokens from the realm's own ``[tsa]``.  Thread-safe."""

    def __init__(self, realm: Realm) -> None:
        """Open the authority.  Raises as ``Stamper`` does."""
        self._stamper = Stamper(realm)

    def token(self, value: bytes, digest: str) -> bytes:
        """Return a token (DER) over ``value``.  Raises ``KeyProviderError``."""
        request = write_request(digest, hashlib.new(digest, value).digest(), secrets.randbits(64))
        try:
            answer = read_answer(self._stamper.answer(request).result(MAX_SECONDS))
        except (TimeoutError, BadInputError) as error:
            raise KeyProviderError("[tsa]", str(error) or "no answer", "a token") from None
        if not answer.granted:
            raise KeyProviderError("[tsa]", answer.text or "a refusal", "a token")
        return answer.token


_OPENED: WeakKeyDictionary[Realm, OwnTokens] = WeakKeyDictionary()
_OPENING = threading.Lock()


def own_tokens(realm: Realm) -> OwnTokens:
    """Return what gets tokens of a realm's authority, opened once."""
    with _OPENING:
        if realm not in _OPENED:
            _OPENED[realm] = OwnTokens(realm)
        return _OPENED[realm]
