"""The scan cache: which kind and which verdict a file had, as long as nothing changed.

One SQLite file (WAL).  A verdict is good for the same path with the same identity
(device, inode, size, mtime, ctime) under the same *trust epoch*, a digest of all that
a verdict depends on besides the file.  ``ctime`` cannot be set back by ``utime``, so a
same-size edit with a restored mtime is noticed.

The kinds of files, judged or not, are remembered a directory at a time: by the
directory's device and inode, the file's name and identity, under a digest of the code
that classifies.  An unchanged file is neither opened nor read.

What this does not see: a file system without a change time of its own (some FUSE and
network file systems copy mtime), a system clock that was set back, writes that go past
the file system to the block device.  There, scan with ``--no-cache``.

The cache is trusted as much as the scanner: it is used only when nobody else may write
to it, and a row that was damaged does not pass its check.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from signward.errors import EvidenceError
from signward.policy.record import Record
from signward.wire.source import Identity

APPLICATION_ID = 0x53474E57
"""``SGNW`` in the database header: a file without it is not ours to write to."""

SCHEMA = 2
EPOCHS = 8
"""Trust epochs kept; rows of older ones are deleted."""

BATCH = 256
BATCH_OCTETS = 4 * 1024 * 1024
"""Rows, and octets of their content, written per transaction."""

MAX_AGE_SECONDS = 24 * 3600
"""A verdict at "now" is judged again after this, whatever certificates say."""

SETTLED_NS = 100_000_000
COARSE_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within one tick of its
time stamps (a kernel tick; 2 s where whole seconds suggest a coarse file system)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (digest BLOB PRIMARY KEY, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS verdict (
    path BLOB NOT NULL, epoch BLOB NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
    judged INTEGER NOT NULL, good_until INTEGER NOT NULL,
    entry BLOB NOT NULL, proof BLOB NOT NULL,
    PRIMARY KEY (path, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kinds (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, part INTEGER NOT NULL,
    classifier BLOB NOT NULL, files BLOB NOT NULL, proof BLOB NOT NULL,
    PRIMARY KEY (device, inode, part)) WITHOUT ROWID;
"""
_FIND = "SELECT device, inode, size, mtime, ctime, judged, good_until, entry, proof FROM verdict WHERE path = ? AND epoch = ?"  # noqa: E501
_KEEP = "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND_KINDS = (
    "SELECT classifier, files, proof FROM kinds WHERE device = ? AND inode = ? AND part = ?"
)
_KEEP_KINDS = "INSERT OR REPLACE INTO kinds VALUES (?, ?, ?, ?, ?, ?)"
_DROP = "".join(f"DROP TABLE IF EXISTS {name};" for name in ("verdict", "epoch", "kinds"))
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_INTEGER = 1 << 63


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a file came to: its records, and how many members of each kind it held."""

    records: tuple[Record, ...] = ()
    members: dict[str, int] = {}


Kinds = dict[bytes, tuple[str, tuple[int, int, int, int, int]]]
"""The kind and identity of the files in (a part of) a directory, by their names' octets."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_kinds_decoder = msgspec.msgpack.Decoder(Kinds)


def default_path() -> Path:
    """Return ``$XDG_CACHE_HOME/signward/scan.sqlite`` (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".cache"
    return base / "signward" / "scan.sqlite"


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
        self._kinds: list[tuple[object, ...]] = []
        self._octets = 0
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

    def find(self, path: str, identity: Identity, now: int) -> Entry | None:
        """Return what the file came to, if nothing says that it may have changed."""
        key = os.fsencode(path)
        row = self._row(_FIND, (key, self._epoch), now)
        if row is None or row[:5] != _signed(identity) or not row[5] <= now < row[6]:
            return None
        if row[8] != _proof(key, self._epoch, row[:7], row[7]):
            return None
        try:
            return _decoder.decode(row[7])
        except msgspec.DecodeError:
            return None

    def keep(
        self, path: str, identity: Identity, entry: Entry, *, judged: int, good_until: int
    ) -> None:
        """Remember ``entry``; it is written with the next batch."""
        key, packed = os.fsencode(path), _encoder.encode(entry)
        fields = (*_signed(identity), judged, good_until)
        proof = _proof(key, self._epoch, fields, packed)
        self._verdicts.append((key, self._epoch, *fields, packed, proof))
        self._grown(len(packed), judged)

    def find_kinds(self, folder: tuple[int, int], part: int, now: int) -> Kinds:
        """Return the kinds of a directory's files as they were last seen."""
        place = (*_signed(folder), part)
        row = self._row(_FIND_KINDS, place, now)
        if row is None or row[0] != self._classifier:
            return {}
        if row[2] != _proof(b"", self._classifier, place, row[1]):
            return {}
        try:
            return _kinds_decoder.decode(row[1])
        except msgspec.DecodeError:
            return {}

    def keep_kinds(self, folder: tuple[int, int], part: int, kinds: Kinds, now: int) -> None:
        """Remember the kinds of a directory's files instead of what was known of it."""
        place, packed = (*_signed(folder), part), _encoder.encode(kinds)
        proof = _proof(b"", self._classifier, place, packed)
        self._kinds.append((*place, self._classifier, packed, proof))
        self._grown(len(packed), now)

    def _row(self, query: str, key: tuple[object, ...], now: int) -> tuple[Any, ...] | None:
        if self._connection is None:
            return None
        try:
            row: tuple[Any, ...] | None = self._connection.execute(query, key).fetchone()
        except sqlite3.Error as error:
            self._failed(error, now)
            return None
        return row

    def _grown(self, octets: int, now: int) -> None:
        self._octets += octets
        if len(self._verdicts) + len(self._kinds) >= BATCH or self._octets >= BATCH_OCTETS:
            self.commit(now)

    def commit(self, now: int) -> None:
        """Write what waits, in one transaction."""
        verdicts, self._verdicts = self._verdicts, []
        kinds, self._kinds = self._kinds, []
        self._octets = 0
        if self._connection is None or not (verdicts or kinds):
            return
        try:
            with self._connection:
                self._connection.executemany(_KEEP, verdicts)
                self._connection.executemany(_KEEP_KINDS, kinds)
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
            if reason := _unsafe(self.path):
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


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or make sure that they are ours and of this schema."""
    if _is_ready(connection, path):
        connection.execute("PRAGMA synchronous = NORMAL")
        return
    with suppress(sqlite3.OperationalError):  # busy: another first scan is switching it
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


def _proof(key: bytes, epoch: bytes, fields: tuple[int, ...], entry: bytes) -> bytes:
    """Return a check of the whole row, against damage (not against an attacker)."""
    text = repr((key, epoch, fields)).encode()
    return hashlib.blake2b(text + entry, digest_size=16).digest()


def _unsafe(path: Path) -> str:
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
