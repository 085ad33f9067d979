"""Timestamps for new signatures: authorities in order, each token checked before it is used."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from signward.envelopes.cms import open_token
from signward.envelopes.tsp import read_answer, read_tst_info, write_request
from signward.errors import BadInputError, FetchError, SigningError
from signward.fetch.tsa import ask
from signward.integrity import check_timestamp
from signward.state import IntactTimestamp
from signward.trust.rules import EKU_TIME_STAMPING
from signward.trust.x509 import load_certificate

ROUNDS = 3
"""How often the list of authorities is gone through before a file is given up."""

PAUSE_SECONDS = 1.0
"""Waited after the first round, and twice as long after each further one."""

NONCE_BITS = 64
"""Random bits of a nonce (RFC 3161 2.4.1: "e.g., a 64 bit integer")."""

MAX_SKEW = timedelta(hours=1)
"""How far a token's time may lie from this machine's before one of the clocks is called wrong."""


class StampError(SigningError):
    """No authority gave a token that can be used."""


class _RefusedError(Exception):
    """One authority's answer cannot be used; the text says why."""


class Stamper:
    """Gets one token for each signature value, from the first authority that gives a good one."""

    def __init__(self, urls: Sequence[str], digest: str, at: datetime) -> None:
        self._urls, self._digest, self._at = tuple(urls), digest, at

    def __call__(self, value: bytes) -> tuple[bytes, ...]:
        """Return the token over ``value`` (DER), or nothing where no authority was named.

        Raises ``StampError`` when every authority failed ``ROUNDS`` times.
        """
        if not self._urls:
            return ()
        failures: dict[str, str] = {}
        for number in range(ROUNDS):
            if number:
                time.sleep(PAUSE_SECONDS * 2 ** (number - 1))
            for url in self._urls:
                try:
                    return (self._token(url, value),)
                except (FetchError, BadInputError, _RefusedError) as error:
                    failures[url] = str(error).removeprefix(f"{url}: ")
        told = "; ".join(f"{url}: {why}" for url, why in failures.items())
        raise StampError(
            "timestamp", told, "a token from one of the authorities",
            hint="name another with --timestamp, or sign without one and timestamp later",
        )  # fmt: skip

    def _token(self, url: str, value: bytes) -> bytes:
        nonce = secrets.randbits(NONCE_BITS)
        imprint = hashlib.new(self._digest, value).digest()
        answer = read_answer(ask(url, write_request(self._digest, imprint, nonce)))
        if not answer.granted:
            raise _RefusedError(f"status {answer.status} {answer.text}".strip())
        for problem in _problems(answer.token, value, nonce, self._at):
            raise _RefusedError(problem)
        return answer.token


def _problems(token: bytes, value: bytes, nonce: int, at: datetime) -> Iterator[str]:
    """Yield why a token must not be embedded; nothing for a good one (RFC 3161 2.2)."""
    claimed = open_token(token, value)
    checked = check_timestamp(claimed)
    if not isinstance(checked, IntactTimestamp):
        yield from (str(finding) for finding in checked)
        yield "a token that is not intact"
        return
    content = read_tst_info(checked.signature.claimed.content)
    if content.nonce != nonce:
        yield "a token with another nonce"
    certificate = load_certificate(checked.signature.certificate)
    if certificate.ekus != frozenset({EKU_TIME_STAMPING}):
        yield "a signer whose sole extended key usage is not timeStamping"
    told = f"a token of {content.time:%Y-%m-%dT%H:%M:%SZ}"
    if not certificate.not_before <= content.time <= certificate.not_after:
        yield f"{told}, outside its signer's validity"
    if abs(content.time - at) > MAX_SKEW:
        yield f"{told}: this machine's clock says {at:%Y-%m-%dT%H:%M:%SZ}"
