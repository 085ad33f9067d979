"""Timestamps for new signatures: authorities in order, each token checked before it is used."""

from __future__ import annotations

import hashlib
import queue
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from signward.envelopes.cms import open_token
from signward.envelopes.tsp import read_answer, read_tst_info, write_request
from signward.errors import BadInputError, FetchError, SigningError
from signward.integrity import check_timestamp
from signward.state import IntactTimestamp
from signward.trust.rules import EKU_TIME_STAMPING
from signward.trust.x509 import load_certificate

ROUNDS = 3
"""How often the list of authorities is gone through before a file is given up."""

PAUSE_SECONDS = 1.0
"""Waited after the first round, and twice as long after each further one."""

LOOK_SECONDS = 0.25
"""How often whoever waits for an answer looks whether it is still wanted."""

NONCE_BITS = 64
"""Random bits of a nonce (RFC 3161 2.4.1: "e.g., a 64 bit integer")."""

MAX_SKEW = timedelta(hours=1)
"""How far a token's time may lie from this machine's before one of the clocks is called wrong."""


STRONG = frozenset({"sha256", "sha384", "sha512"})
"""Digests that a token may be over."""


class StampError(SigningError):
    """No authority gave a token that can be used."""


class _RefusedError(Exception):
    """One authority's answer cannot be used; the text says why."""


class Stamper:
    """Gets one token for each signature value, from the first authority that gives a good one."""

    def __init__(self, urls: Sequence[str], digest: str, at: datetime) -> None:
        """Take the authorities' URLs.  Raises ``StampError`` for one that nobody could ask."""
        for url in urls:
            _check_url(url)
        self._urls, self._digest, self._at = tuple(urls), digest, at
        self._begun = time.monotonic()
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Wait for no authority any more: whoever waits gets a ``StampError`` soon."""
        self._given_up.set()

    def __call__(self, value: bytes) -> tuple[bytes, ...]:
        """Return the token over ``value`` (DER), or nothing where no authority was named.

        Raises ``StampError`` when every authority failed ``ROUNDS`` times.
        """
        if not self._urls:
            return ()
        failures: dict[str, str] = {}
        for number in range(ROUNDS):
            if number:
                self._given_up.wait(PAUSE_SECONDS * 2 ** (number - 1))
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

    def check(self, token: bytes, value: bytes) -> None:
        """Raise ``StampError`` for a token (DER) over ``value`` that must not be embedded.

        It came with the value, from whoever keeps the key: no nonce of ours is in it.
        """
        try:
            for problem in _problems(token, value, None, self._now()):
                raise StampError("timestamp", problem, "a token over the signature's value")
        except BadInputError as error:
            raise StampError(
                "timestamp", str(error), "a token over the signature's value"
            ) from None

    def _token(self, url: str, value: bytes) -> bytes:
        nonce = secrets.randbits(NONCE_BITS)
        imprint = hashlib.new(self._digest, value).digest()
        answer = read_answer(self._asked(url, write_request(self._digest, imprint, nonce)))
        if not answer.granted:
            raise _RefusedError(f"status {answer.status} {answer.text}".strip())
        question = _Question(self._digest, imprint, nonce)
        for problem in _problems(answer.token, value, question, self._now()):
            raise _RefusedError(problem)
        return answer.token

    def _now(self) -> datetime:
        """Return the run's instant plus the time it has taken: long runs are no skewed clocks."""
        return self._at + timedelta(seconds=time.monotonic() - self._begun)

    def _asked(self, url: str, request: bytes) -> bytes:
        """Ask in a thread of its own: whoever gives up need not wait for a slow answer."""
        from signward.fetch.tsa import ask  # HTTP and TLS, where an authority is named only

        answers: queue.SimpleQueue[bytes | FetchError | None] = queue.SimpleQueue()

        def wait_for_it() -> None:
            try:
                answers.put(ask(url, request))
            except FetchError as error:
                answers.put(error)
            finally:
                answers.put(None)

        threading.Thread(target=wait_for_it, daemon=True).start()
        while not self._given_up.is_set():
            try:
                found = answers.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(found, FetchError):
                raise found
            if found is None:
                raise _RefusedError("not asked: a fault of ours")
            return found
        raise _RefusedError("not waited for: interrupted")


def _check_url(url: str) -> None:
    from signward.fetch.tsa import check_url

    try:
        check_url(url)
    except FetchError as error:
        raise StampError("--timestamp", str(error), "an http or https URL") from None


class _Question(NamedTuple):
    """What an authority was asked, and must have answered (RFC 3161 2.2)."""

    digest: str
    imprint: bytes
    nonce: int


def _problems(token: bytes, value: bytes, asked: _Question | None, at: datetime) -> Iterator[str]:
    """Yield why a token must not be embedded; nothing for a good one (RFC 3161 2.2)."""
    claimed = open_token(token, value)
    checked = check_timestamp(claimed)
    if not isinstance(checked, IntactTimestamp):
        yield from (str(finding) for finding in checked)
        yield "a token that is not intact"
        return
    content = read_tst_info(checked.signature.claimed.content)
    if asked and (content.imprint_algorithm, content.imprint) != (asked.digest, asked.imprint):
        yield f"a token over another digest ({content.imprint_algorithm})"
    if content.imprint_algorithm not in STRONG:
        yield f"a token over a weak digest ({content.imprint_algorithm})"
    if asked and content.nonce != asked.nonce:
        yield "a token with another nonce"
    certificate = load_certificate(checked.signature.key.holder)
    if certificate.ekus != frozenset({EKU_TIME_STAMPING}):
        yield "a signer whose sole extended key usage is not timeStamping"
    told = f"a token of {content.time:%Y-%m-%dT%H:%M:%SZ}"
    if not certificate.not_before <= content.time <= certificate.not_after:
        yield f"{told}, outside its signer's validity"
    if abs(content.time - at) > MAX_SKEW:
        yield f"{told}: this machine's clock says {at:%Y-%m-%dT%H:%M:%SZ}"
