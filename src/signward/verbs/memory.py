"""The newest version of each thing that counted here, by a name: what older ones are refused by.

State, not cache: who clears it takes that measure away.  A folder of small files, JSON, below
``$XDG_STATE_HOME/signward``; one process at a time changes them, so that none puts an older
version back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import msgspec

from signward.frozen import Frozen, decoder
from signward.wire.whole import write_whole

MAX_OCTETS = 4096
"""Largest file of the memory read: it holds a number and a digest."""


class Known(Frozen, frozen=True, kw_only=True):
    """The newest that counted; ``sha256`` (hexadecimal) is of its payload."""

    version: int
    sha256: str


class Step(Enum):
    """How a version stands to the newest that counted: newer, the very same, older, or another."""

    NEWER, SAME, OLDER, OTHER = range(4)


def step(known: Known | None, new: Known) -> Step:
    """Return how a version stands to what is known, which may be nothing yet."""
    if known is None or new.version > known.version:
        return Step.NEWER
    if new.version < known.version:
        return Step.OLDER
    return Step.SAME if new.sha256 == known.sha256 else Step.OTHER


class Memory:
    """The newest versions, in a folder of small files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from the memory meanwhile.  Raises ``OSError``."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def known(self, name: str) -> Known | None:
        """Return the newest of a name; None if none counted yet.

        What cannot be read is no leave to start anew: raises ``OSError``, and ``ValueError``
        (msgspec's and Unicode's errors are such) or ``RecursionError`` for what is no version.
        """
        try:
            with self.place(name).open("rb") as file:
                return decoder(Known).decode(file.read(MAX_OCTETS))
        except FileNotFoundError:
            return None

    def keep(self, name: str, newest: Known) -> None:
        """Remember a version.  Raises ``OSError``."""
        write_whole(self.place(name), msgspec.json.encode(newest))

    def place(self, name: str) -> Path:
        """Return the file of a name, which is to have letters, digits and ``._-`` only."""
        return self._folder / f"{name}.json"


def state_memory(kind: str) -> Memory | None:
    """Return the memory of one kind of thing, for this user; None where he has no home."""
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Memory(base / "signward" / kind)
