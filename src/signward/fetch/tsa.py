"""Asking a time-stamping authority (RFC 3161 3.4: over HTTP)."""

from __future__ import annotations

from signward.fetch.http import Bounds, exchange
from signward.fetch.targets import read_target

MAX_ANSWER = 256 * 1024
"""Octets of a response; real ones, with the whole path in them, have some 10 KiB."""

MAX_SECONDS = 20.0
"""For one request; authorities answer within one or two."""

_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
}


def check_url(url: str) -> None:
    """Raise ``FetchError`` for what `ask` could never ask, whoever answers."""
    read_target(url, private=True)


def ask(url: str, request: bytes) -> bytes:
    """POST a TimeStampReq and return the TimeStampResp (both DER).

    The caller named the URL, so it may lie on a private network, unlike the URLs that
    certificates name.  Raises ``FetchError``.
    """
    bounds = Bounds(max_octets=MAX_ANSWER, max_seconds=MAX_SECONDS, private=True)
    return exchange(url, bounds, body=request, headers=_HEADERS).body
