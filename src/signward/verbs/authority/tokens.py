"""Timestamps by the realm's own authority, for values that the realm itself makes."""

from __future__ import annotations

import hashlib
import secrets
import threading
from concurrent.futures import Future
from weakref import WeakKeyDictionary

from signward.envelopes.tsp import read_answer, write_request
from signward.errors import BadInputError, KeyProviderError
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.stamp import Stamper
from signward.verbs.stamping import NONCE_BITS

MAX_SECONDS = 30.0
"""For one token: a signature, and an entry in the log."""

_OPENED: WeakKeyDictionary[Realm, Stamper] = WeakKeyDictionary()
_OPENING = threading.Lock()


def asked(realm: Realm, digest: str, value: bytes) -> Future[bytes]:
    """Have the authority of ``[tsa]`` stamp ``value``; `own_token` has the token.

    Raises as ``Stamper`` does when it is opened.
    """
    imprint = hashlib.new(digest, value).digest()
    request = write_request(digest, imprint, secrets.randbits(NONCE_BITS))
    return _opened(realm).answer(request)


def own_token(answering: Future[bytes]) -> bytes:
    """Return the token (DER) that was asked for.  Raises ``KeyProviderError``."""
    try:
        answer = read_answer(answering.result(MAX_SECONDS))
    except (TimeoutError, BadInputError) as error:
        raise KeyProviderError("[tsa]", str(error) or "no answer", "a token") from None
    if not answer.granted:
        raise KeyProviderError("[tsa]", answer.text or "a refusal", "a token")
    return answer.token


def _opened(realm: Realm) -> Stamper:
    with _OPENING:
        if realm not in _OPENED:
            _OPENED[realm] = Stamper(realm)
        return _OPENED[realm]
