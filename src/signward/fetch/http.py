"""One bounded HTTP exchange: bytes, redirects and time have an end whatever the server does.

``http.client`` rather than a larger client: the address that was checked must be the one
connected to, and every read must know the deadline (docs/decisions/0016-fetch-over-http-client.md).
Proxies and cookies are not used; nothing here depends on the environment.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin

from signward import __version__
from signward.errors import FetchError
from signward.fetch.targets import Target, may_reach, read_target

MAX_SECONDS = 15.0
"""From the first look-up to the last byte, redirects included."""

MAX_CONNECT_SECONDS = 5.0
"""For one address; a server that answers at all accepts in well under one."""

MAX_REDIRECTS = 3
MAX_ADDRESSES = 4
"""Addresses of one name that are tried."""

CHUNK = 64 * 1024

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPS_BODY = frozenset({307, 308})


class NoAnswerError(FetchError):
    """The server could not be reached, or did not speak to the end."""


class Answer(NamedTuple):
    """A response: its final status, lower-case headers and whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Bounds(NamedTuple):
    """What one exchange may cost and where it may go (see ``targets.may_reach``)."""

    max_octets: int
    max_seconds: float = MAX_SECONDS
    private: bool = False


def exchange(
    url: str, bounds: Bounds, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """GET ``url``, or POST ``body`` to it, and return the answer with status 200 or 304.

    A redirected POST is followed only where the status keeps it one (307, 308).
    Raises ``FetchError`` for everything else.
    """
    deadline = time.monotonic() + bounds.max_seconds
    for _ in range(MAX_REDIRECTS + 1):
        target = read_target(url, private=bounds.private)
        answer = _once(target, bounds, deadline, body, headers or {})
        if answer.status not in _REDIRECTS:
            if answer.status not in (200, 304):
                raise FetchError(f"{url}: status {answer.status}")
            return answer
        if body is not None and answer.status not in _KEEPS_BODY:
            raise FetchError(f"{url}: status {answer.status} would lose the request")
        url = urljoin(url, answer.headers.get("location", ""))
    raise FetchError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _once(
    target: Target, bounds: Bounds, deadline: float, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    connection = _Connection(target, bounds, deadline)
    try:
        connection.request(
            "GET" if body is None else "POST",
            target.path,
            body=body,
            headers={
                "User-Agent": f"signward/{__version__}",
                "Accept-Encoding": "identity",
                "Connection": "close",
                **headers,
            },
        )
        with connection.getresponse() as response:
            return _read(target, response, bounds, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = str(error) or type(error).__name__
        why = "too slow" if isinstance(error, TimeoutError) else text[:200]
        raise NoAnswerError(f"{target.url}: {why}") from None
    finally:
        connection.close()


def _read(
    target: Target, response: http.client.HTTPResponse, bounds: Bounds, deadline: float
) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    if response.status != 200:  # nobody reads the body of an error or a redirect
        return Answer(response.status, headers, b"")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchError(f"{target.url}: an encoding that was not asked for")
    if response.length is not None and response.length > bounds.max_octets:
        raise FetchError(f"{target.url}: {response.length} bytes, at most {bounds.max_octets}")
    body = bytearray()
    while part := response.read1(CHUNK):
        body += part
        if len(body) > bounds.max_octets:
            raise FetchError(f"{target.url}: more than {bounds.max_octets} bytes")
        _left(deadline)
    if response.length:
        raise NoAnswerError(f"{target.url}: ends {response.length} bytes early")
    return Answer(response.status, headers, bytes(body))


def _left(deadline: float) -> float:
    """Return the seconds that are left.  Raises ``TimeoutError`` when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Socket(socket.socket):
    """A socket whose every read ends at one deadline, however slowly bytes trickle in."""

    deadline = 0.0

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read as ``socket.recv_into`` does, within what is left of the time."""
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments, **options)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    deadline = 0.0

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read as ``SSLSocket.recv_into`` does, within what is left of the time."""
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments, **options)


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked, under one deadline."""

    def __init__(self, target: Target, bounds: Bounds, deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.default_port = {"http": 80, "https": 443}[target.scheme]
        self._target, self._bounds, self._deadline = target, bounds, deadline

    def connect(self) -> None:
        """Connect to the first address that may be reached and answers."""
        addresses = _addresses(self._target, self._deadline)
        private = self._bounds.private
        allowed = [a for a in addresses if may_reach(str(a[1][0]), private=private)]
        if not allowed:
            kinds = "private or special" if addresses else "no"
            hint = "" if private else "; --online-private permits private ones"
            raise FetchError(f"{self._target.url}: {kinds} addresses{hint if addresses else ''}")
        last: OSError = TimeoutError()
        for family, address in allowed[:MAX_ADDRESSES]:
            try:
                self.sock = self._open(family, address)
            except OSError as error:
                last = error
            else:
                return
        raise last

    def _open(self, family: int, address: tuple[Any, ...]) -> socket.socket:
        plain = _Socket(family, socket.SOCK_STREAM)
        plain.deadline = self._deadline
        try:
            plain.settimeout(min(_left(self._deadline), MAX_CONNECT_SECONDS))
            plain.connect(address)
            plain.settimeout(_left(self._deadline))
            return plain if self._target.scheme == "http" else self._encrypted(plain)
        except BaseException:
            plain.close()
            raise

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        context = ssl.create_default_context()
        context.sslsocket_class = _TlsSocket
        encrypted = context.wrap_socket(plain, server_hostname=self._target.host)
        assert isinstance(encrypted, _TlsSocket)  # noqa: S101 - the class named above
        encrypted.deadline = self._deadline
        return encrypted


def _addresses(target: Target, deadline: float) -> list[tuple[int, tuple[Any, ...]]]:
    """Resolve a name.  In a thread of its own: the resolver knows no deadline."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            kind = socket.SOCK_STREAM
            answers.put(socket.getaddrinfo(target.host, target.port, type=kind))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        found = answers.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise FetchError(f"{target.url}: its host is not known ({found})")
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))
