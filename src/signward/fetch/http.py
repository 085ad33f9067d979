"""One bounded HTTP exchange: bytes, redirects and time have an end whatever the server does.

``http.client`` rather than a larger client: the address that was checked must be the one
connected to, and every read must know the deadline (docs/decisions/0016-fetch-over-http-client.md).
Proxies and cookies are not used; nothing here depends on the environment.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import urljoin

from signward import __version__
from signward.errors import FetchError
from signward.fetch.targets import Target, may_reach, read_target
from signward.wire.deadline import Address, Connection

MAX_SECONDS = 15.0
"""From the first look-up to the last byte, redirects included."""

MAX_REDIRECTS = 3

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
    connection = Connection(
        target.scheme, target.host, target.port, deadline, choose=partial(_chosen, target, bounds)
    )
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
            return _read(target, response, bounds)
    except socket.gaierror as error:
        raise FetchError(f"{target.url}: its host is not known ({error.strerror})") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = str(error) or type(error).__name__
        why = "too slow" if isinstance(error, TimeoutError) else text[:200]
        raise NoAnswerError(f"{target.url}: {why}") from None
    finally:
        connection.close()


def _read(target: Target, response: http.client.HTTPResponse, bounds: Bounds) -> Answer:
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
    if response.length:
        raise NoAnswerError(f"{target.url}: ends {response.length} bytes early")
    return Answer(response.status, headers, bytes(body))


def _chosen(target: Target, bounds: Bounds, addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses that may be reached.  Raises ``FetchError`` when none may."""
    allowed = [a for a in addresses if may_reach(str(a[1][0]), private=bounds.private)]
    if not allowed:
        kinds = "private or special" if addresses else "no"
        hint = "" if bounds.private else "; --online-private permits private ones"
        raise FetchError(f"{target.url}: {kinds} addresses{hint if addresses else ''}")
    return allowed
