"""What was fetched, kept on disk: one file per URL and question.

An entry is one line of JSON (the header) and the body.  Its name is a digest of what was
asked; its header repeats the question and the body's digest, so that a damaged or
misplaced entry is noticed, removed and fetched again.  Entries are written whole or not
at all.  A cache that cannot be written costs time, never a verdict.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from signward.frozen import decoder
from signward.wire.whole import write_whole

MAX_ENTRIES = 2000
"""Entries kept; the oldest go first."""

MAX_HEADER_OCTETS = 16 * 1024


Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry answers, and until when it does without asking again."""

    version: int = 1
    url: str
    question: str = ""
    fetched: Instant
    fresh_until: Instant
    etag: str = ""
    last_modified: str = ""
    sha256: str


class Cached(msgspec.Struct, frozen=True):
    """An entry as it was read."""

    header: Header
    body: bytes


class Cache:
    """A folder of entries; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, url: str, question: bytes, max_octets: int) -> Cached | None:
        """Return the entry for ``url`` and a request body, or None; a corrupt one is removed."""
        path = self._path(url, question)
        if path is None:
            return None
        try:
            if path.stat().st_size > max_octets + MAX_HEADER_OCTETS:
                raise ValueError("too large")
            first, _, body = path.read_bytes().partition(b"\n")
            header = decoder(Header).decode(first)
        except OSError:
            return None
        except (ValueError, RecursionError):
            self.discard(url, question)
            return None
        asked = (1, url, question.hex(), hashlib.sha256(body).hexdigest())
        if (header.version, header.url, header.question, header.sha256) != asked:
            self.discard(url, question)
            return None
        return Cached(header, body)

    def write(self, header: Header, body: bytes) -> None:
        """Keep an entry, replacing an older one; does nothing where that is not possible."""
        path = self._path(header.url, bytes.fromhex(header.question))
        if path is None:
            return
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._prune(path.parent)
            write_whole(path, msgspec.json.encode(header) + b"\n" + body)

    def discard(self, url: str, question: bytes) -> None:
        """Forget an entry."""
        path = self._path(url, question)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, url: str, question: bytes) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256(url.encode() + b"\0" + hashlib.sha256(question).digest())
        return self._folder / digest.hexdigest()

    def _prune(self, folder: Path) -> None:
        entries = list(folder.iterdir())
        if len(entries) >= MAX_ENTRIES:
            oldest = sorted(entries, key=lambda entry: entry.stat().st_mtime)
            for entry in oldest[: len(entries) - MAX_ENTRIES // 2]:
                entry.unlink()


def default_folder() -> Path | None:
    """Return ``$XDG_CACHE_HOME/signward/fetch``, or below ``~/.cache``; None without a home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "signward" / "fetch"
