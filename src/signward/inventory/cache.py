"""The scan cache: which kind and which verdict a file had, as long as nothing changed.

One SQLite file (WAL).  A verdict is good for the same path with the same identity
(device, inode, size, mtime, ctime) under the same *trust epoch*, a digest of all that
a verdict depends on besides the file.  ``ctime`` cannot be set back by ``utime``, so a
same-size edit with a restored mtime is noticed.

The kinds of files, judged or not, are remembered a directory at a time: by the file's
name and identity, under a digest of the code that classifies.  An unchanged file is
neither opened nor read.  A directory's listing also tells what is there no longer; that is
forgotten, so that the cache does not outgrow the trees that are scanned.

What this does not see: a file system without a change time of its own (some FUSE and
network file systems copy mtime), a system clock that was set back, writes that go past
the file system to the block device.  There, scan with ``--no-cache``.

The cache is trusted as much as the scanner: it is used only when nobody else may write
to it, and a row that was damaged does not pass its check.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from signward.errors import EvidenceError
from signward.wire.source import Identity

APPLICATION_ID = 0x53474E57
"""``SGNW`` in the database header: a file without it is not ours to write to."""

SCHEMA = 3
EPOCHS = 8
"""Trust epochs kept; rows of older ones are deleted."""

EPOCH_SECONDS = 3600
"""How exactly it is noted when an epoch was last in use: nothing is written more often."""

BATCH = 256
BATCH_OCTETS = 4 * 1024 * 1024
"""Rows, and octets of their content, written per transaction."""

MAX_AGE_SECONDS = 24 * 3600
"""A verdict at "now" is judged again after this, whatever certificates say."""

SETTLED_NS = 100_000_000
COARSE_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within one tick of its
time stamps (a kernel tick; 2 s where whole seconds suggest a coarse file system)."""

PAGE_OCTETS = 32 * 1024
"""Octets of a page of a new cache: a verdict has some six thousand, and is read in half the time
where it does not lie on a chain of pages of four."""

SHELF_OCTETS = 4 * 1024 * 1024
"""Octets of verdicts read ahead for the files of one directory."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (digest BLOB PRIMARY KEY, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdict (
    epoch BLOB NOT NULL, folder BLOB NOT NULL, part INTEGER NOT NULL, name BLOB NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
    judged INTEGER NOT NULL, good_until INTEGER NOT NULL,
    entry BLOB NOT NULL, proof INTEGER NOT NULL,
    PRIMARY KEY (epoch, folder, part, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listing (
    folder BLOB NOT NULL, part INTEGER NOT NULL,
    classifier BLOB NOT NULL, files BLOB NOT NULL, proof INTEGER NOT NULL,
    PRIMARY KEY (folder, part)) WITHOUT ROWID;
"""
_ROW = "SELECT name, device, inode, size, mtime, ctime, judged, good_until, entry, proof FROM verdict WHERE epoch = ? AND folder = ? AND part = ?"  # noqa: E501
_KEEP = "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND_LISTING = "SELECT classifier, files, proof FROM listing WHERE folder = ? AND part = ?"
_KEEP_LISTING = "INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?, ?)"
_EVERY_EPOCH = "DELETE FROM verdict WHERE epoch IN (SELECT digest FROM epoch) AND "
_FORGET_FILE = f"{_EVERY_EPOCH} folder = ? AND part = ? AND name = ?"
_FORGET_PARTS = (
    f"{_EVERY_EPOCH} folder = ? AND part >= ?",
    "DELETE FROM listing WHERE folder = ? AND part >= ?",
)
_FORGET_BELOW = (
    f"{_EVERY_EPOCH} folder >= ? AND folder < ?",
    "DELETE FROM listing WHERE folder >= ? AND folder < ?",
)
_TABLES = ("verdict", "epoch", "kinds", "listing")  # kinds: of schema 2
_DROP = "".join(f"DROP TABLE IF EXISTS {name};" for name in _TABLES)
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_INTEGER = 1 << 63


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a file came to: its records' lines, and how many members of each kind it held."""

    lines: tuple[bytes, ...] = ()
    members: dict[str, int] = {}


Numbers = tuple[int, int, int, int, int]
"""The fields of an ``Identity``, in their order."""


class Listing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The files of (a part of) a directory: octets of their names, kinds, identities.

    Names are separated by NUL, which no name holds.  ``below`` names directories likewise.
    """

    names: bytes = b""
    kinds: list[str] = []
    identities: list[Numbers] = []
    below: bytes = b""


class Place(NamedTuple):
    """Where a file was found: directory, part of the directory, name.

    A root that is a file stands in no directory: its path as ``folder``, no ``name``.
    """

    folder: str
    part: int = 0
    name: str = ""


def octets(*names: str) -> bytes:
    """Return names as the system spells them, NUL between them."""
    return "\0".join(names).encode("utf-8", "surrogateescape")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_NUMBERS, _PART = struct.Struct("<8q"), struct.Struct("<q")
_listing_decoder = msgspec.msgpack.Decoder(Listing)


def default_path() -> Path:
    """Return ``$XDG_CACHE_HOME/signward/scan.sqlite`` (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".cache"
    return base / "signward" / "scan.sqlite"


class _Shelf:
    """The rows of one directory's files, by name; unless ``whole``, others may exist."""

    __slots__ = ("key", "rows", "whole")

    def __init__(self, key: tuple[object, ...] = ()) -> None:
        self.key, self.whole = key, True
        self.rows: dict[bytes, tuple[Any, ...]] = {}


def settled(identity: Identity, now_ns: int) -> bool:
    """Say whether a later change of the file must show in its time stamps."""
    newest = max(identity.mtime_ns, identity.ctime_ns)
    coarse = identity.ctime_ns % 1_000_000_000 == 0
    return newest + (COARSE_NS if coarse else SETTLED_NS) <= now_ns


class Cache:
    """An open cache for one trust epoch.  Never raises for a broken file.

    ``warnings`` collects what went wrong; a cache that cannot be used finds nothing and
    keeps nothing.  Times are seconds since 1970, UTC, given by the caller.
    """

    def __init__(self, path: Path, epoch: bytes, now: int, *, classifier: bytes = b"") -> None:
        """Open or make the cache at ``path``.

        ``epoch`` stands for all that verdicts depend on, ``classifier`` for what kinds do.
        Raises ``EvidenceError`` if ``path`` is a SQLite file of somebody else's.
        """
        self.path, self._epoch, self._classifier = path, epoch, classifier
        self.warnings: list[str] = []
        self._verdicts: list[tuple[object, ...]] = []
        self._listings: list[tuple[object, ...]] = []
        self._gone: list[tuple[str, tuple[object, ...]]] = []
        self._octets = 0
        self._shelf = _Shelf()
        self._here = _here()
        self._latest = ("", b"")
        self._connection = self._connect(now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def find(self, place: Place, identity: Identity, now: int) -> Entry | None:
        """Return what the file came to, if nothing says that it may have changed."""
        folder, name = self._key(place.folder), octets(place.name)
        row = self._verdict(folder, place.part, name, now)
        if row is None or row[1:6] != _signed(identity) or not row[6] <= now < row[7]:
            return None
        if row[9] != _proof((self._epoch, folder, name), (place.part, *row[1:8]), row[8]):
            return None
        try:
            return _decoder.decode(row[8])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def keep(
        self, place: Place, identity: Identity, entry: Entry, *, judged: int, good_until: int
    ) -> None:
        """Remember ``entry``; it is written with the next batch."""
        folder, name = self._key(place.folder), octets(place.name)
        packed = _encoder.encode(entry)
        fields = (*_signed(identity), judged, good_until)
        proof = _proof((self._epoch, folder, name), (place.part, *fields), packed)
        key = (self._epoch, folder, place.part, name)
        self._verdicts.append((*key, *fields, packed, proof))
        self._grown(len(packed), judged)

    def find_listing(self, folder: str, part: int, now: int) -> Listing:
        """Return what is known of a directory's files as they were last seen.

        Another classifier's kinds do not count: of its listings only names remain.
        """
        key = self._key(folder)
        row = self._row(_FIND_LISTING, (key, part), now)
        if row is None or row[2] != _proof((row[0], key), (part,), row[1]):
            return Listing()
        try:
            listing = _listing_decoder.decode(row[1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Listing()
        if row[0] != self._classifier:
            return Listing(names=listing.names, below=listing.below)
        return listing

    def keep_listing(self, folder: str, part: int, listing: Listing, now: int) -> None:
        """Remember a directory's files instead of what was known of them."""
        key, packed = self._key(folder), _encoder.encode(listing)
        proof = _proof((self._classifier, key), (part,), packed)
        self._listings.append((key, part, self._classifier, packed, proof))
        self._grown(len(packed), now)

    def forget(self, folder: str, part: int, name: bytes, now: int) -> None:
        """Forget, under every epoch, a file or directory that is no more, and all below it."""
        key = self._key(folder)
        self._gone.append((_FORGET_FILE, (key, part, name)))
        path = key.rstrip(b"/") + b"/" + name
        for query in _FORGET_BELOW:
            self._gone.append((query, (path + b"/", path + b"0")))  # "0" follows "/"
        for query in _FORGET_PARTS:
            self._gone.append((query, (path, 0)))
        self._grown(0, now)

    def forget_parts(self, folder: str, part: int, now: int) -> None:
        """Forget the parts of a directory from ``part`` on: it has shrunk."""
        for query in _FORGET_PARTS:
            self._gone.append((query, (self._key(folder), part)))
        self._grown(0, now)

    def _key(self, folder: str) -> bytes:
        """Return what stands for a directory: a relative path is one from here."""
        if folder != self._latest[0]:
            name = octets(folder)
            key = name if name.startswith(b"/") else self._here + b"\0" + name
            self._latest = (folder, key)
        return self._latest[1]

    def _verdict(self, folder: bytes, part: int, name: bytes, now: int) -> tuple[Any, ...] | None:
        """Return a file's row; those of its directory are read at once, as far as they fit."""
        key = (self._epoch, folder, part)
        if self._shelf.key != key:
            self._shelf = self._read_shelf(key, now)
        row = self._shelf.rows.pop(name, None)
        if row is not None or self._shelf.whole:
            return row
        return self._row(f"{_ROW} AND name = ?", (*key, name), now)

    def _read_shelf(self, key: tuple[object, ...], now: int) -> _Shelf:
        shelf = _Shelf(key)
        if self._connection is None:
            return shelf
        held = 0
        try:
            for row in self._seeing(self._connection).execute(_ROW, key):
                shelf.rows[row[0]] = row
                held += len(row[8])
                if held > SHELF_OCTETS:
                    shelf.whole = False
                    break
        except sqlite3.Error as error:
            self._failed(error, now)
            return _Shelf(key)
        return shelf

    def _row(self, query: str, key: tuple[object, ...], now: int) -> tuple[Any, ...] | None:
        if self._connection is None:
            return None
        try:
            row: tuple[Any, ...] | None
            row = self._seeing(self._connection).execute(query, key).fetchone()
        except sqlite3.Error as error:
            self._failed(error, now)
            return None
        return row

    @staticmethod
    def _seeing(connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return a connection with a transaction to read in.

        One for many queries: each would else lock the database, unlock it and look for changes.
        """
        if not connection.in_transaction:
            connection.execute("BEGIN")
        return connection

    def _grown(self, more: int, now: int) -> None:
        self._octets += more
        waiting = len(self._verdicts) + len(self._listings) + len(self._gone)
        if waiting >= BATCH or self._octets >= BATCH_OCTETS:
            self.commit(now)

    def commit(self, now: int) -> None:
        """Write what waits, in one transaction; what was forgotten goes first."""
        verdicts, self._verdicts = self._verdicts, []
        listings, self._listings = self._listings, []
        gone, self._gone = self._gone, []
        self._octets = 0
        self._shelf = _Shelf()
        if self._connection is None or not (verdicts or listings or gone):
            return
        try:
            self._connection.rollback()  # ends the reading: writing begins at what is there now
            with self._connection:
                for query, key in gone:
                    self._connection.execute(query, key)
                self._connection.executemany(_KEEP, verdicts)
                self._connection.executemany(_KEEP_LISTING, listings)
        except sqlite3.Error as error:
            self._failed(error, now)

    def close(self) -> None:
        """Write what waits and let go of the file."""
        self.commit(0)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, now: int) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if reason := unsafe(self.path):
                self.warnings.append(f"cache {self.path} is not used: {reason}")
                return None
            return self._open(now)
        except sqlite3.Error as error:
            return self._rebuilt(error, now)
        except OSError as error:
            self.warnings.append(f"cache {self.path} is not used: {error.strerror}")
            return None

    def _open(self, now: int) -> sqlite3.Connection:
        old_mask = os.umask(0o077)
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=10.0)
            _prepare(connection, self.path)
            _enter_epoch(connection, self._epoch, now)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        finally:
            os.umask(old_mask)
        return connection

    def _rebuilt(self, error: sqlite3.Error, now: int) -> sqlite3.Connection | None:
        """Set a corrupt file aside and begin anew; leave a busy or full disk alone."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BROKEN:
            self.warnings.append(f"cache {self.path} is not used: {error}")
            return None
        aside = _set_aside(self.path)
        self.warnings.append(f"cache {self.path} was damaged ({error}); set aside as {aside}")
        try:
            return self._open(now)
        except (sqlite3.Error, OSError) as again:
            self.warnings.append(f"cache {self.path} is not used: {again}")
            return None

    def _failed(self, error: sqlite3.Error, now: int) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._rebuilt(error, now)


def remembered(path: Path) -> Iterator[bytes]:
    """Yield the lines of every verdict in a cache, of whatever epoch; damaged ones are left out.

    Raises ``EvidenceError`` for a file that is no cache of this schema, or not safe to read.
    """
    if reason := unsafe(path) or ("" if path.is_file() else "there is none"):
        raise EvidenceError(f"cache {path}: {reason}")
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            if not _is_ready(connection, path):
                raise EvidenceError(f"cache {path}: of another schema")
            for (entry,) in connection.execute("SELECT entry FROM verdict"):
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    yield from _decoder.decode(entry).lines
    except sqlite3.Error as error:
        raise EvidenceError(f"cache {path}: {error}") from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or make sure that they are ours and of this schema."""
    if _is_ready(connection, path):
        connection.execute("PRAGMA synchronous = NORMAL")
        return
    with suppress(sqlite3.OperationalError):  # busy: another first scan is switching it
        connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # one look and one change: another scan may have been faster
        if not _is_marked(connection, path):
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}"
            for statement in f"{marks}; {_DROP} {_SCHEMA}".split(";"):
                connection.execute(statement)


def _is_ready(connection: sqlite3.Connection, path: Path) -> bool:
    """Say whether the tables are there; see the marks and the tables at one instant."""
    connection.execute("BEGIN")
    try:
        return _is_marked(connection, path)
    finally:
        connection.rollback()


def _is_marked(connection: sqlite3.Connection, path: Path) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and tables:
        raise EvidenceError(f"{path} is a database of another program: choose another --cache")
    return bool(application == APPLICATION_ID and version == SCHEMA and tables)


def _enter_epoch(connection: sqlite3.Connection, epoch: bytes, now: int) -> None:
    """Note that the epoch is in use, and delete what the oldest ones left."""
    known = connection.execute("SELECT used FROM epoch WHERE digest = ?", (epoch,)).fetchone()
    if known is not None and abs(now - known[0]) < EPOCH_SECONDS:
        return
    with connection:
        connection.execute("INSERT OR REPLACE INTO epoch VALUES (?, ?)", (epoch, now))
        old = "SELECT digest FROM epoch ORDER BY used DESC, digest LIMIT -1 OFFSET ?"
        gone = connection.execute(old, (EPOCHS,)).fetchall()
        for digest in gone:
            connection.execute("DELETE FROM verdict WHERE epoch = ?", digest)
            connection.execute("DELETE FROM epoch WHERE digest = ?", digest)


def _signed(identity: tuple[int, ...]) -> tuple[int, ...]:
    """SQLite integers have a sign: fold the unsigned 64 bits of inode and device."""
    if max(identity) < _INTEGER:
        return tuple(identity)
    return tuple(value - 2 * _INTEGER if value >= _INTEGER else value for value in identity)


def _proof(key: tuple[bytes, ...], fields: tuple[int, ...], content: bytes) -> int:
    """Return a check of the whole row, against damage (not against an attacker)."""
    numbers = _NUMBERS.pack(*fields) if len(fields) == 8 else _PART.pack(*fields)
    start = zlib.crc32(b"\0".join(key) + numbers)
    return zlib.crc32(content, start)


def _here() -> bytes:
    """Return the current directory, as far as there is one."""
    try:
        return os.fsencode(Path.cwd())
    except OSError:
        return b""


def unsafe(path: Path) -> str:
    """Say why somebody else might write to the cache; nothing if nobody can."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return ""


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{os.getpid()}")
    try:
        path.rename(aside)
    except FileNotFoundError:  # a concurrent scan was faster
        return aside
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside
