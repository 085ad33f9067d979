"""Bounded JSON over HTTPS, for key services: sizes, times and tries have an end.

Every exchange is a connection of its own, verified TLS, without redirects (they would carry
the credentials elsewhere), proxies or cookies.  What a service says in an error is quoted
without control characters and without the secrets that were sent.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from signward import __version__
from signward.errors import KeyProviderError
from signward.frozen import Frozen, decoder
from signward.keys._address import Endpoint
from signward.wire.deadline import Connection

MAX_SECONDS = 30.0
"""For one exchange, from the look-up of the host to the last octet; signing takes about one."""

MAX_OCTETS = 1024 * 1024
"""Largest answer read; the largest known (a page of certificates with their paths) has 100 kB."""

MAX_TRIES = 5
"""Exchanges for one call while the service says that it is busy (429, 502, 503, 504)."""

FIRST_WAIT, MAX_WAIT = 0.5, 20.0
"""Seconds before the second try, doubled each time; and the longest that is waited at once."""

PATIENCE = 60.0
"""A service that asks for a longer wait (seconds) than this is not asked again."""

MAX_QUOTED = 300
"""Characters of a service's own words that a message quotes."""

_BUSY = frozenset({429, 502, 503, 504})
_HINTS = {
    400: "what was asked does not fit the key or the service",
    401: "the credentials are missing, wrong or have expired",
    403: "the credentials do not permit this; the service's own role or policy decides",
    404: "no such key, or not to these credentials: check the URI",
    429: "too many requests: try again later, or with fewer files at once",
}

Answer = TypeVar("Answer")
Secret = str
Headers = Callable[[], Mapping[str, Secret]]
"""Makes the headers that prove who asks; called for every exchange, since tokens expire."""


class NoAnswerError(KeyProviderError):
    """Nothing came back, or not to the end; what was asked may have been done all the same."""


class Reply(NamedTuple):
    """A whole response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rest:
    """One service: ``name`` stands in messages, ``headers`` make the credentials."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        headers: Headers = dict,
        *,
        tls: ssl.SSLContext | None = None,
        secret_words: Sequence[Secret] = (),
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        """Take what a service needs; ``secret_words`` are those that bodies will hold."""
        self._name, self._endpoint, self._headers = name, endpoint, headers
        self._tls, self._words, self._max_seconds = tls, tuple(secret_words), max_seconds

    def __repr__(self) -> str:
        return f"Rest({self._name!r})"

    def get(self, kind: type[Answer], path: str) -> Answer:
        """Return the JSON answer to a GET.  Raises ``KeyProviderError``."""
        return self.read(kind, self.exchange("GET", path))

    def post(self, kind: type[Answer], path: str, body: Any) -> Answer:
        """Return the JSON answer to a JSON body.  Raises ``KeyProviderError``."""
        return self.read(kind, self.exchange_json("POST", path, body))

    def exchange_json(self, method: str, path: str, body: Any) -> Reply:
        """Return a successful reply to a JSON body (see ``exchange``)."""
        return self.exchange(method, path, msgspec.json.encode(body))

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        *,
        heads: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return a successful reply (2xx), asking again while the service is busy.

        ``path`` (with its query) is joined to the endpoint's; ``heads`` are further headers.
        Raises ``KeyProviderError``, and of its kind ``NoAnswerError``.
        """
        wait = FIRST_WAIT
        for tries_left in range(MAX_TRIES - 1, -1, -1):
            secrets = self._headers()
            about = {} if body is None else {"Content-Type": kind}
            reply = self._once(method, path, body, {**about, **(heads or {}), **secrets})
            asked = _asked_wait(reply, wait)
            if reply.status not in _BUSY or not tries_left or asked > PATIENCE:
                break
            time.sleep(min(asked, MAX_WAIT))
            wait = min(2 * wait, MAX_WAIT)
        if 200 <= reply.status < 300:
            return reply
        said, hint = (_quoted(s, (*secrets.values(), *self._words)) for s in _problem(reply))
        found = f"status {reply.status}" + (f", {said}" if said else "")
        raise KeyProviderError(self._name, found, "success", hint or _HINTS.get(reply.status, ""))

    def read(self, kind: type[Answer], reply: Reply) -> Answer:
        """Decode a JSON body.  Raises ``KeyProviderError`` where it is not as documented."""
        try:
            return decoder(kind).decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            found = f"an answer that is not as documented ({str(error)[:MAX_QUOTED]})"
            raise KeyProviderError(self._name, found, "the service's documented JSON") from None

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        to, deadline = self._endpoint, time.monotonic() + self._max_seconds
        connection = Connection(to.scheme, to.host, to.port, deadline, tls=self._tls)
        own = {"User-Agent": f"signward/{__version__}", "Accept": "application/json",
               "Accept-Encoding": "identity", "Connection": "close"}  # fmt: skip
        try:
            connection.request(method, to.path + path, body, {**own, **headers})
            with connection.getresponse() as response:
                return self._read(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = "it was too slow" if isinstance(error, TimeoutError) else _why(error)
            found = f"no answer from {to.host} ({why})"
            raise NoAnswerError(self._name, found, "an answer") from None
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> Reply:
        body = bytearray()
        while part := response.read1(65536):
            body += part
            if len(body) > MAX_OCTETS:
                found = f"more than {MAX_OCTETS} octets from {self._endpoint.host}"
                raise KeyProviderError(self._name, found, "an answer of known size")
        if response.length:
            raise http.client.IncompleteRead(bytes(body))
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, bytes(body))


def _why(error: Exception) -> str:
    """Return an error's words, but none that hold a header that was refused."""
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__)[:MAX_QUOTED]
    return type(error).__name__


def _asked_wait(reply: Reply, wait: float) -> float:
    asked = reply.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and len(asked) < 9 else wait


class _Problem(Frozen, frozen=True, kw_only=True):
    """Problem details (RFC 9457), with the member that our own services add."""

    detail: str = ""
    hint: str = ""


def _problem(reply: Reply) -> tuple[bytes, bytes]:
    """Return a service's words about an error, and its hint, if it gives one."""
    if reply.headers.get("content-type", "").partition(";")[0] == "application/problem+json":
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = decoder(_Problem).decode(reply.body)
            return said.detail.encode(), said.hint.encode()
    return reply.body, b""


def _quoted(body: bytes, secrets: Sequence[Secret]) -> str:
    """Return what a service said, in one printable line, without what is secret."""
    text = body.decode("utf-8", "replace")
    for secret in secrets:
        for part in {secret, secret.removeprefix("Bearer ")}:
            text = text.replace(part, "[secret]") if len(part) > 3 else text
    printable = "".join(c if c.isprintable() else " " for c in text[: 16 * MAX_QUOTED])
    return " ".join(printable.split())[:MAX_QUOTED]
