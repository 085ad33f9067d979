"""Following a revocation feed: ask for news, refuse what goes backwards, keep the last good one.

What was accepted once is kept in a file per URL, outside any cache: it is what a server that
hides revocations is measured by.  A document counts when its signature fits a key that the
caller trusts, it has not ended, and its version is not below the one that is kept; of one
version there is one document.  Everything else is refused, and the kept one counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from signward.envelopes.dsse import MAX_OCTETS
from signward.errors import EvidenceError, FetchError
from signward.fetch.http import MAX_SECONDS, Answer, Bounds, exchange
from signward.frozen import decoder
from signward.trust.feed import Feed, open_feed
from signward.wire.whole import write_whole

MAX_FEED_SECONDS = 60.0
"""For one document; forty megabytes on a slow line."""

MAX_WAIT = 300
"""Longest wait for news that is asked for, in seconds; servers answer sooner (RFC 7240 4.3)."""

MAX_ETAG_CHARACTERS = 256

_MEDIA = "application/vnd.dsse+json"


class Pulled(NamedTuple):
    """What asking came to.

    ``feed`` is the last good document, in the file ``path``; None where there is none.
    ``problem`` says why the server's answer is not it; ``refused``: it answered, with a
    document that must not count.  ``changed``: this is a new one.
    """

    path: Path | None
    feed: Feed | None
    problem: str = ""
    refused: bool = False
    changed: bool = False


class _Tag(msgspec.Struct, frozen=True):
    """What the server calls the document that is kept: of no use for another."""

    etag: str
    sha256: str


def pull(
    url: str, keys: Sequence[bytes], folder: Path | None, now: datetime, *, wait: int = 0
) -> Pulled:
    """Ask for the feed at ``url``; keep it in ``folder`` if it counts; return what counts.

    ``keys`` (DER) are those it may be signed with, ``now`` is the wall clock's instant.  With
    ``wait`` the server is asked to answer only when there is news, or after so many seconds.
    Raises ``EvidenceError`` where nothing can be kept.
    """
    if folder is None:
        raise EvidenceError(
            f"{url}: found no folder to keep it in, required a home or $XDG_STATE_HOME"
        )
    place = _Place(folder, url)
    with _unkeepable(url):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = place.read(keys)
    try:
        answer = _ask(url, place.tag() if kept else "", wait)
    except FetchError as error:
        return Pulled(place.path if kept else None, kept, str(error))
    with _unkeepable(url), place.locked():
        kept = place.read(keys)
        return _settled(url, place, kept, answer, keys, now)


def _ask(url: str, etag: str, wait: int) -> Answer:
    """Ask conditionally.  The caller named the URL: it may lie on a private network."""
    wait = max(0, min(wait, MAX_WAIT))
    headers = {"Accept": _MEDIA}
    if etag:
        headers["If-None-Match"] = etag
        if wait:
            headers["Prefer"] = f"wait={wait}"
    seconds = max(MAX_SECONDS, MAX_FEED_SECONDS) + wait
    return exchange(url, Bounds(MAX_OCTETS, seconds, private=True), headers=headers)


def _settled(
    url: str,
    place: _Place,
    kept: Feed | None,
    answer: Answer,
    keys: Sequence[bytes],
    now: datetime,
) -> Pulled:
    """Hold an answer against what is kept, and keep it if it counts."""
    if answer.status == 304:
        problem = "" if kept else f"{url}: status 304, nothing was kept"
        return Pulled(place.path if kept else None, kept, problem)
    try:
        feed = open_feed(url, answer.body, keys)
        _check_news(url, feed, kept, now)
    except EvidenceError as error:
        return Pulled(place.path if kept else None, kept, str(error), refused=True)
    place.write(answer.body, answer.headers.get("etag", ""))
    return Pulled(place.path, feed, changed=feed != kept)


def _check_news(url: str, feed: Feed, kept: Feed | None, now: datetime) -> None:
    """Raise ``EvidenceError`` for a document that has ended, or that the kept one contradicts."""
    if feed.is_over(now):
        ended = f"{feed.document.expires:%Y-%m-%dT%H:%M:%SZ}"
        raise EvidenceError(f"{url}: found a feed that ended {ended}, required one that has not")
    if kept is None:
        return
    version, known = feed.document.version, kept.document.version
    if version < known:
        raise EvidenceError(f"{url}: found version {version}, required {known} or later")
    if version == known and feed != kept:
        raise EvidenceError(f"{url}: found a second document of version {version}, required the "
                            "first")  # fmt: skip


class _Place:
    """Where the last good document of one URL is kept, with the server's name for it."""

    def __init__(self, folder: Path, url: str) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()
        self.path = folder / f"{name}.json"
        self._tag, self._lock = folder / f"{name}.etag", folder / f"{name}.lock"

    def read(self, keys: Sequence[bytes]) -> Feed | None:
        """Return the kept document; None where there is none that the keys fit."""
        try:
            with self.path.open("rb") as file:
                return open_feed(str(self.path), file.read(MAX_OCTETS + 1), keys)
        except (FileNotFoundError, EvidenceError):
            return None

    def tag(self) -> str:
        """Return the server's name for the kept document; empty where it gave none."""
        try:
            known = decoder(_Tag).decode(self._tag.read_bytes())
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        return known.etag if known.sha256 == digest else ""

    def write(self, data: bytes, etag: str) -> None:
        """Keep a document."""
        write_whole(self.path, data)
        printable = etag if etag.isascii() and etag.isprintable() else ""
        tag = _Tag(printable[:MAX_ETAG_CHARACTERS], hashlib.sha256(data).hexdigest())
        write_whole(self._tag, msgspec.json.encode(tag))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time compare and replace, so that none puts an older one back."""
        with self._lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def _unkeepable(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EvidenceError(f"{url}: cannot be kept: {error.filename}: {error.strerror}") from None


def default_folder() -> Path | None:
    """Return ``$XDG_STATE_HOME/signward/feeds``, or below ``~/.local/state``; None without a home.

    State, not cache: who clears it takes the measure away that older documents are refused by.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return base / "signward" / "feeds"
