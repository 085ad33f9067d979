"""The log's public face: signed checkpoints, tiles, receipts; and never two histories.

Every checkpoint that is signed is kept in the data folder before anybody sees it.  The next one
is signed only for a tree that begins with the last one's, and a database that lost entries, or
holds others, is refused by name: whoever has an old receipt or checkpoint could prove the loss.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from signward.authority.log.checkpoint import (
    Checkpoint,
    Policy,
    SignedCheckpoint,
    draft,
    open_checkpoint,
    parse_text,
)
from signward.authority.log.entry import Kind, Value, encode
from signward.authority.log.faults import ForkError, LogFaultError, RollbackError
from signward.authority.log.note import MAX_NOTE, key_of, parse
from signward.authority.log.proof import Hashes, Receipt, Rows, inclusion
from signward.authority.log.tiles import Tile, width
from signward.authority.log.tree import Frontier
from signward.errors import BadInputError, MalformedError, RealmError
from signward.integrity import UnsupportedKeyError, ValueMismatchError, check_value
from signward.verbs.authority.files import replace_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from signward.store.log_read import Tiles
    from signward.verbs.authority.realm import Realm

FILE_NAME = "log-checkpoint"
"""The last checkpoint signed, in the data folder; keep it in another place than the database."""

_HINT = (
    "restore a newer backup of the database; if what was lost is lost for good, say so in the log: "
    "signward log checkpoint --accept-loss REASON"
)


class Transparency:
    """A realm's log for readers.  Thread-safe; what it gives never blocks the log's writer."""

    def __init__(self, realm: Realm) -> None:
        """Open the log's key.  Raises ``RealmError``, ``KeyProviderError``."""
        from signward.store.log_read import Tiles

        if realm.settings.log is None:
            raise RealmError("[log]", "no such table", "one, with the log's key and origin")
        self.folder, self.store = realm.folder, realm.store  # not the realm: see transparency_of
        self._tiles = Tiles()
        self._key = realm.key(realm.settings.log.key)
        try:
            self.verifier = key_of(realm.settings.log.origin, self._key.public_key)
        except MalformedError as error:
            raise RealmError(
                "[log]", str(error), "an origin without blanks, an Ed25519 key"
            ) from None
        self.policy = Policy(log=self.verifier)
        self._signing = threading.Lock()
        self._last: SignedCheckpoint | None = None
        self._kept: dict[Tile, Rows] = {}

    @property
    def path(self) -> Path:
        """Where the last checkpoint is kept."""
        return self.folder / FILE_NAME

    def check(self) -> None:
        """Return if the database holds all that was published: call it at start-up.

        Raises ``RollbackError``, ``ForkError``, ``RealmError``, ``StoreError``.
        """
        with self._signing, self._folder_locked():
            self._published()

    def checkpoint(self, least: int = 0) -> bytes:
        """Return a checkpoint of ``least`` entries or more, or (0) of all that are committed.

        Those who ask at once share one signature.  Raises as `check` does, and
        ``KeyProviderError``.
        """
        return self._covering(least).note

    def receipt(self, position: int, entry: bytes) -> bytes:
        """Return the proof that the committed ``entry`` is in the log, as text.

        Raises as `checkpoint` does.
        """
        return self.receipts([(position, entry)])[0]

    def receipts(self, logged: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """Return `receipt` for each position and entry, all under one checkpoint."""
        signed = self._covering(max(position for position, _ in logged) + 1)
        hashes = Hashes(signed.checkpoint.size, self._stored, self._kept)
        return [
            Receipt(
                index=position, path=inclusion(hashes, position), note=signed.note, entry=entry
            ).text
            for position, entry in logged
        ]

    def entry(self, position: int) -> bytes:
        """Return a committed entry.  Raises ``StoreError`` where there is none."""
        from signward.store.log_read import entries

        with self.store.read() as connection:
            return entries(connection, position, 1)[0]

    def _stored(self, tile: Tile) -> bytes:
        with self.store.read() as connection:
            return self._tiles.read(connection, tile)

    def tile(self, tile: Tile) -> bytes | None:
        """Return a tile or bundle of the committed log, or None where it is not there (yet)."""
        from signward.store import log

        with self.store.read() as connection:
            size = log.frontier(connection).size
            if tile.width > width(tile.level, tile.number, size):
                return None
            return self._tiles.read(connection, tile)

    def accept_loss(self, reason: str, by: str, at: datetime) -> bytes:
        """Go on although the database is not the one that was published; log that, and why.

        Also where the file that says what was published is damaged, or signed by an earlier key.
        Returns the first checkpoint of the log as it is now; the last one is kept beside it.
        Raises ``RealmError`` where nothing was lost.
        """
        with self._signing, self._folder_locked():
            lost = self._lost()
            facts: dict[str, Value] = {"deed": "log-loss-accepted", "reason": reason, "by": by}
            if lost is not None:
                facts |= {"size": lost.size, "root": lost.root.hex(), "origin": lost.origin}
            self.store.append(encode(Kind.ADMIN, facts, at)).result()
            name = f"{FILE_NAME}.lost-{lost.size if lost else 'damaged'}"
            self.path.rename(self.path.with_name(name))
            self._last = None
        return self.checkpoint()

    def _lost(self) -> Checkpoint | None:
        """Return the published head that the database does not have; None for one not legible."""
        try:
            self._published()
        except LogFaultError:
            return _head(_read(self.path) or b"")
        except BadInputError:
            return None
        raise RealmError("the log", "all that was published", "a loss to accept")

    def _covering(self, least: int) -> SignedCheckpoint:
        if (known := self._known(least)) is not None:
            return known
        with self._signing:
            known = self._known(least)  # whoever signed meanwhile may have signed for us too
            if known is not None:
                return known
            with self._folder_locked():
                return self._renewed(least)

    def _known(self, least: int) -> SignedCheckpoint | None:
        last = self._last
        return last if last is not None and 0 < least <= last.checkpoint.size else None

    def _renewed(self, least: int) -> SignedCheckpoint:
        last = self._published()
        if (known := self._known(least)) is not None:  # another process's
            return known
        frontier = self._continued(last.checkpoint if last else None)
        if last is None or frontier.size > last.checkpoint.size:
            last = self._signed(frontier)
        if last.checkpoint.size < least:
            size = last.checkpoint.size
            raise RollbackError("the log", f"{size} entries", f"{least} or more", hint=_HINT)
        return last

    @contextmanager
    def _folder_locked(self) -> Iterator[None]:
        """Keep other processes on this folder from signing meanwhile."""
        try:
            lock = self.path.with_name(f"{FILE_NAME}.lock").open("a")
        except OSError as error:
            why = error.strerror or "an error"
            raise RealmError(str(self.path), why.lower(), "a folder to write in") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _signed(self, frontier: Frontier) -> SignedCheckpoint:
        """Sign the tree's head, keep it, then let others have it."""
        unsigned = draft(frontier, self.verifier)
        value = self._key.sign(unsigned.to_be_signed, unsigned.algorithm)
        try:
            check_value(self._key.public_key, unsigned.algorithm, unsigned.to_be_signed, value)
        except (ValueMismatchError, UnsupportedKeyError) as error:
            raise RealmError("the log's key", str(error), "a signature that fits it") from None
        signed = SignedCheckpoint(checkpoint=unsigned.checkpoint, note=unsigned.seal(value))
        replace_file(self.path, signed.note)
        self._last = signed
        return signed

    def _published(self) -> SignedCheckpoint | None:
        """Return the last checkpoint, once it is known that the database continues it."""
        kept = _read(self.path)
        if kept is None:
            self._last = None
        elif self._last is None or kept != self._last.note:  # another process's, or the first
            signed = open_checkpoint(kept, self.policy)
            self._continued(signed.checkpoint)
            self._last = signed
        return self._last

    def _continued(self, last: Checkpoint | None) -> Frontier:
        with self.store.read() as connection:
            try:
                return _continued(connection, last, self._tiles, self._kept)
            except LogFaultError:
                self._kept.clear()
                raise


def check_published(realm: Realm) -> None:
    """Return if the database holds all that was published; needs no key, so that all may ask.

    For start-up: nothing is to be issued, revoked or signed on top of a database that lost
    entries.  Raises ``RollbackError``, ``ForkError``, ``RealmError``, ``StoreError``.
    """
    from signward.store.log_read import Tiles

    path = realm.folder / FILE_NAME
    if (kept := _read(path)) is None:
        return
    try:
        head = _head(kept)
    except BadInputError as error:
        raise RealmError(str(path), str(error), "the last checkpoint", hint=_HINT) from None
    with realm.store.read() as connection:
        _continued(connection, head, Tiles(), {})


def _head(kept: bytes) -> Checkpoint:
    return parse_text(parse(kept).text)


def _continued(
    connection: Connection, last: Checkpoint | None, tiles: Tiles, kept: dict[Tile, Rows]
) -> Frontier:
    """Return the committed tree's edge if the tree begins with the one published last.

    Tiles in ``kept`` are believed: they led to what was published, and must lead to the edge.
    Raises ``RollbackError``, ``ForkError``.
    """
    from signward.store import log

    frontier = log.frontier(connection)
    if last is None or (last.size, last.root) == (frontier.size, frontier.root):
        return frontier
    if last.size > frontier.size:
        raise RollbackError("the database", f"a log of {frontier.size} entries",
                            f"the {last.size} that were published", hint=_HINT)  # fmt: skip
    hashes = Hashes(frontier.size, lambda tile: tiles.read(connection, tile), kept)
    edges = (hashes.frontier(last.size).root, hashes.frontier(frontier.size).root)
    if edges != (last.root, frontier.root):
        raise ForkError("the database", f"other entries before the {last.size}th",
                        "those that were published", hint=_HINT)  # fmt: skip
    return frontier


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_NOTE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RealmError(str(path), error.strerror or "an error", "a file to be read") from None


_OPENED: WeakKeyDictionary[Realm, Transparency] = WeakKeyDictionary()
_OPENING = threading.Lock()


def transparency_of(realm: Realm) -> Transparency:
    """Return a realm's log, opened once, and let go together with the realm.

    Raises ``RealmError``, ``KeyProviderError``.
    """
    with _OPENING:
        if realm not in _OPENED:
            _OPENED[realm] = Transparency(realm)
        return _OPENED[realm]
