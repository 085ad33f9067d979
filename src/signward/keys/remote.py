"""Keys behind a signing service of Signward's own: ``https://signer.example/keys/release``.

Only the octets to be signed travel, and what people must know of them (`_served`).  The same
order goes under the same idempotency key however often it is sent: a lost answer is asked for
again, and nothing is signed twice for it.  Where a key needs approvals, this waits for them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets as chance
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote

import msgspec

from signward.errors import KeyProviderError
from signward.keys import Purpose, RotatedError, Secrets, Signed, SigningKey
from signward.keys._address import endpoint
from signward.keys._certificates import key_in
from signward.keys._rest import NoAnswerError, Reply, Rest
from signward.keys._served import (
    IDEMPOTENCY_HEADER,
    MAX_DATA,
    MAX_FILE_NAME,
    Answer,
    KeyPage,
    Order,
    OrderedAlgorithm,
)
from signward.state import Algorithm

PARALLEL = 8
"""Orders under way at once; the service signs many in one transaction."""

MAX_LOST = 4
"""Answers lost in a row before an order is given up."""

DEFAULT_WAIT, MAX_WAIT = 3600, 7 * 24 * 3600
"""Seconds waited for approvals where the URL says nothing (``?wait=``), and at most."""

FIRST_PAUSE, MAX_PAUSE = 0.5, 15.0
"""Seconds between two looks whether there are approvals; doubled each time."""

TOKEN, RUN, LOG_KEY = "SIGNWARD_TOKEN", "SIGNWARD_RUN", "SIGNWARD_LOG_KEY"
CERTIFICATE, KEY, AUTHORITY = "SIGNWARD_CLIENT_CERT", "SIGNWARD_CLIENT_KEY", "SIGNWARD_CA"
"""Variables that name PEM files: our client certificate, its key, and whom to believe."""

_FORM = "https://HOST/keys/NAME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SIGNED, _ENDED = "signed", ("denied", "expired")


class RemoteKey:
    """A key that is served (a ``SigningKey``, and of those that bring more than the value)."""

    parallel = PARALLEL
    in_memory = False

    def __init__(self, name: str, rest: Rest, *, wait: float, run: str = "", log: str = "") -> None:
        """Read the key's page; ``log`` is the only verifier key whose receipts are taken."""
        self._name, self._rest, self._wait = name, rest, wait
        self._run, self._log = run.encode(), log
        self._page = KeyPage(name=name, certificates=())
        self._given_up = threading.Event()
        self.tell: Callable[[str], None] = _nobody
        self.public_key = b""
        self.refresh()

    def __repr__(self) -> str:
        return f"RemoteKey({self._name!r})"

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The certification path (DER), leaf first."""
        return self._page.certificates

    def refresh(self) -> None:
        """Read the key's page anew."""
        page = self._rest.get(KeyPage, "")
        if not page.certificates:
            raise KeyProviderError(self._name, "a key without certificate", "one with its path")
        if self._log and page.log != self._log:
            found = f"log {page.log or 'none'}"
            raise KeyProviderError(self._name, found, f"{LOG_KEY}, {self._log}")
        self._page, self.public_key = page, key_in(self._name, page.certificates[0])

    def sign(self, data: bytes, algorithm: Algorithm) -> bytes:
        """Have octets signed of which nothing more is known (see ``SigningKey``)."""
        return self.sign_for(data, algorithm, Purpose(format="other", name="octets")).value

    def sign_for(self, data: bytes, algorithm: Algorithm, purpose: Purpose) -> Signed:
        """Have octets signed, and timestamped and logged where the service does that.

        Raises ``KeyProviderError``; ``RotatedError`` where another leaf signed.
        """
        if algorithm.digested:
            raise KeyProviderError(
                self._name, "a digest to be signed", "octets: a service signs no bare digests",
                hint="of IMA signatures, those of version 3 are over octets: --ima-version 3",
            )  # fmt: skip
        if len(data) > MAX_DATA:
            found = f"{len(data)} octets to be signed"
            raise KeyProviderError(self._name, found, f"at most {MAX_DATA}")
        order = Order(
            data=data,
            algorithm=OrderedAlgorithm(
                scheme=algorithm.scheme, digest=algorithm.digest,
                mgf_digest=algorithm.mgf_digest, salt_length=algorithm.salt_length,
            ),
            format=purpose.format,
            file=purpose.name[-MAX_FILE_NAME:].encode("utf-8", "replace").decode(),
            content=purpose.content,
            timestamp=purpose.timestamp,
        )  # fmt: skip
        page = self._page
        answer = self._answered(msgspec.json.encode(order))
        if answer.certificates[:1] != page.certificates[:1]:
            hint = "refresh the key, and sign again"
            raise RotatedError(self._name, "a signature under the next leaf", "the opened", hint)
        return Signed(
            value=answer.value, tokens=answer.tokens, receipt=answer.receipt, log=page.log
        )

    def _answered(self, body: bytes) -> Answer:
        """Send an order until it is signed, waiting for approvals.  Raises ``KeyProviderError``."""
        heads = {IDEMPOTENCY_HEADER: self._idempotency(body)}
        deadline, pause = time.monotonic() + self._wait, FIRST_PAUSE
        answer, told = self._sent("POST", "/signatures", body, heads), -1
        while answer.state != _SIGNED:
            self._check_wait(answer, deadline)
            if answer.required and answer.approvals != told:
                told = answer.approvals
                self.tell(f"{self._name}: request {answer.id} has {_of(answer)}")
            self._given_up.wait(pause)
            pause = min(2 * pause, MAX_PAUSE)
            answer = self._sent("GET", f"/signatures/{quote(answer.id, safe='')}")
            if answer.state in ("approved", _SIGNED):
                answer = self._sent("POST", "/signatures", body, heads)
        return answer

    def _check_wait(self, answer: Answer, deadline: float) -> None:
        """Raise ``KeyProviderError`` where there is nothing to be waited for any more."""
        if answer.state in _ENDED:
            raise KeyProviderError(self._name, f"a request that was {answer.state}", "approvals")
        if self._given_up.is_set() or time.monotonic() > deadline:
            until = "until it was given up" if self._given_up.is_set() else (
                f"within {self._wait:.0f} seconds"
            )  # fmt: skip
            hint = f"request {answer.id} still waits; ?wait=SECONDS behind the URL waits longer"
            raise KeyProviderError(self._name, f"{_of(answer)} {until}", "all of them", hint)

    def _idempotency(self, body: bytes) -> str:
        """Return what an order goes under: drawn, or made of the order and what `RUN` says.

        The latter lets the next try of one and the same build find the request of the last.
        """
        if not self._run:
            return chance.token_hex(16)
        return hmac.new(self._run, self._name.encode() + b"\0" + body, hashlib.sha256).hexdigest()

    def _sent(
        self, method: str, path: str, body: bytes | None = None, heads: Mapping[str, str] = {}
    ) -> Answer:
        return self._rest.read(Answer, self._exchanged(method, path, body, heads))

    def _exchanged(
        self, method: str, path: str, body: bytes | None, heads: Mapping[str, str]
    ) -> Reply:
        """Ask, and ask again where the answer was lost: it is the same order."""
        for left in reversed(range(MAX_LOST)):
            try:
                return self._rest.exchange(method, path, body, heads=heads)
            except NoAnswerError:
                if not left:
                    raise
                time.sleep(FIRST_PAUSE)
        raise AssertionError("the loop returns or raises")

    def give_up(self) -> None:
        """Wait for no approvals any more (see ``keys.Waiting``)."""
        self._given_up.set()

    def close(self) -> None:
        """Nothing is kept open."""


def _nobody(_line: str) -> None:
    """Tell nobody."""


def _of(answer: Answer) -> str:
    return f"{answer.approvals} of {answer.required} approvals"


class RemoteProvider:
    """Opens ``https://HOST/keys/NAME?wait=SECONDS``, and the same behind ``remote:``."""

    scheme = "remote"
    help = (
        "a key that another Signward serves, by SIGNWARD_TOKEN or SIGNWARD_CLIENT_CERT, its URL "
        "alone or behind the scheme: "
        "remote:https://signer.example/keys/release"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read the key's certificates; http is for this machine alone."""
        url, _, query = rest.partition("?")
        where = endpoint("remote", url)
        before, _, name = where.path.rpartition("/")
        if not before.endswith("/keys") or not _NAME.fullmatch(unquote(name)):
            raise KeyProviderError("--key", url[:100], _FORM)
        rest_of = service_at(url, secrets)
        run, log = os.environ.get(RUN, ""), (secrets(LOG_KEY) or "").strip()
        return RemoteKey(str(where), rest_of, wait=_wait(query), run=run, log=log)


def service_at(url: str, secrets: Secrets) -> Rest:
    """Return a service, and us as a token or certificate says.  Raises ``KeyProviderError``."""
    where = endpoint("remote", url)
    tls = client_context() if where.scheme == "https" else None
    return Rest(str(where), where, lambda: _bearer(secrets), tls=tls)


def _wait(query: str) -> float:
    """Return the seconds in ``wait=SECONDS``.  Raises ``KeyProviderError``."""
    if not query:
        return DEFAULT_WAIT
    name, _, value = query.partition("=")
    if name != "wait" or not value.isdecimal() or len(value) > 9 or int(value) > MAX_WAIT:
        raise KeyProviderError("--key", f"?{query[:40]}", f"?wait=SECONDS, at most {MAX_WAIT}")
    return float(value)


def _bearer(secrets: Secrets) -> Mapping[str, str]:
    token = secrets(TOKEN)
    return {"Authorization": f"Bearer {token.strip()}"} if token else {}


def client_context() -> ssl.SSLContext:
    """Return TLS that believes `AUTHORITY` (or the system's) and shows our certificate, if any.

    Raises ``KeyProviderError``.
    """
    own, key = os.environ.get(CERTIFICATE, ""), os.environ.get(KEY, "")
    believed = os.environ.get(AUTHORITY, "")
    try:
        context = ssl.create_default_context(cafile=believed or None)
        if own:
            context.load_cert_chain(own, key or None, password="")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "an error"
        required = f"PEM files in {CERTIFICATE}, {KEY} (not encrypted) and {AUTHORITY}"
        raise KeyProviderError("TLS", why[:200], required) from None
    return context


PROVIDER = RemoteProvider()
