"""Asking a transparency log for its small files (c2sp.org/tlog-tiles)."""

from __future__ import annotations

from signward.fetch.http import Bounds, exchange

MAX_SECONDS = 15.0
"""For one file; they are static, and servers answer at once."""


def get(url: str, path: str, max_octets: int) -> bytes:
    """Return the file at ``path`` below the log's URL.

    The caller named the URL, so it may lie on a private network.  Raises ``FetchError``.
    """
    bounds = Bounds(max_octets=max_octets, max_seconds=MAX_SECONDS, private=True)
    return exchange(f"{url.rstrip('/')}/{path}", bounds).body
