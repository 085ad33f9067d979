"""The fleet inventory: which files which hosts have, each distinct file stored once.

One SQLite file.  A file's subject (``policy.rules.subject``) is stored without path and host,
under a digest of itself, and of its path too where no digest of the file is known: two such files
are one only if they lie in the same place.  A sighting says on which host and where it was seen.
What a scan or a log tells is gathered in a temporary table on disk and enters in one transaction:
a host is there as it was or as it is now, never half, and a scan that is interrupted changes
nothing.  Several processes may gather at once; they take turns for the moment of entering.

The journal is a rollback journal and not a write-ahead log: an inventory often lies on a network
share, where a log's shared memory does not work (sqlite.org/wal.html).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from signward.errors import EvidenceError
from signward.frozen import replace
from signward.policy.rules.fleet import MAX_HOSTS, Host, Known, Place
from signward.policy.rules.subject import Subject

APPLICATION_ID = 0x53475746
"""``SGWF`` in the database header: a file without it is not ours to write to."""

SCHEMA = 1

MAGIC = b"SQLite format 3\0"
"""How every SQLite file begins."""

TURN_SECONDS = 300.0
"""How long one waits to enter what was gathered: others may be reading a million rows."""

MAX_FILE_NUMBER = 100_000_000
"""Highest number of a file: whoever reads an inventory keeps an octet for each."""

BATCH = 2000
"""Rows gathered per call of the database."""

_SCHEMA = """
CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, tags TEXT NOT NULL,
    seen INTEGER NOT NULL);
CREATE TABLE subject (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE sighting (subject INTEGER NOT NULL, host INTEGER NOT NULL, path TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (subject, host, path)) WITHOUT ROWID;
CREATE INDEX sighting_host ON sighting (host);
"""
_TEMPORARY = """
CREATE TEMP TABLE gathered_host (name TEXT PRIMARY KEY, tags TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE gathered_subject (digest BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE gathered (host TEXT NOT NULL, digest BLOB NOT NULL, path TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (host, digest, path)) WITHOUT ROWID;
"""
_TEMPORARIES = ("gathered_host", "gathered_subject", "gathered")
_GATHER = (
    "INSERT INTO gathered VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET count = count + excluded.count"
)
_ENTER_HOSTS = (
    "INSERT INTO host (name, tags, seen) SELECT name, tags, ? FROM gathered_host WHERE true"
    " ON CONFLICT DO UPDATE SET tags = excluded.tags, seen = excluded.seen"
)
_LEAVING = (
    "CREATE TEMP TABLE leaving AS SELECT DISTINCT subject FROM sighting WHERE host IN"
    " (SELECT id FROM host WHERE name IN (SELECT name FROM gathered_host))"
)
_FORGET = (
    "DELETE FROM sighting WHERE host IN"
    " (SELECT id FROM host WHERE name IN (SELECT name FROM gathered_host))"
)
_ENTER_SUBJECTS = "INSERT OR IGNORE INTO subject (digest, body) SELECT * FROM gathered_subject"
_ENTER = (
    "INSERT INTO sighting SELECT s.id, h.id, g.path, g.count FROM gathered g"
    " JOIN subject s ON s.digest = g.digest JOIN host h ON h.name = g.host WHERE true"
    " ON CONFLICT DO UPDATE SET count = count + excluded.count"
)
_DROP_UNSEEN = (
    "DELETE FROM subject WHERE id IN (SELECT subject FROM leaving)"
    " AND NOT EXISTS (SELECT 1 FROM sighting WHERE sighting.subject = subject.id)"
)
_KNOWN = (
    "SELECT sighting.subject, host, path, count FROM sighting ORDER BY sighting.subject, host, path"
)
_SUBJECTS = "SELECT id, body FROM subject ORDER BY id"
_SIZE = (
    "SELECT (SELECT count(*) FROM host), (SELECT count(*) FROM subject),"
    " (SELECT count(*) FROM sighting)"
)
_HOSTS = "SELECT name, tags FROM host ORDER BY id"
_NOT_OURS = (
    "SELECT EXISTS (SELECT 1 FROM host WHERE typeof(name) <> 'text' OR typeof(tags) <> 'text')"
    " OR EXISTS (SELECT 1 FROM subject WHERE typeof(body) <> 'blob' OR id NOT BETWEEN 1 AND ?)"
    " OR EXISTS (SELECT 1 FROM sighting WHERE typeof(path) <> 'text'"
    "  OR typeof(count) <> 'integer' OR count NOT BETWEEN 1 AND 4294967295"
    "  OR NOT EXISTS (SELECT 1 FROM host WHERE host.id = sighting.host))"
)

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Subject)
_tags_decoder = msgspec.json.Decoder(list[str])


class Size(NamedTuple):
    """How much an inventory holds."""

    hosts: int
    files: int
    sightings: int


class Gathering:
    """Takes subjects in, until all of them enter the inventory at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._subjects: dict[bytes, bytes] = {}
        self._rows: list[tuple[str, bytes, str, int]] = []
        self._hosts: dict[str, frozenset[str]] = {}

    def host(self, name: str, tags: frozenset[str] = frozenset()) -> None:
        """Name a host that was looked at, though perhaps nothing was found there.

        Its tags are all that anybody tells: a log beside a scan knows of none.
        """
        known = self._hosts.get(name)
        if known is None or not tags <= known:
            self._hosts[name] = tags = tags | (known or frozenset())
            row = (name, msgspec.json.encode(sorted(tags)).decode())
            self._connection.execute("INSERT OR REPLACE INTO gathered_host VALUES (?, ?)", row)

    def add(self, subject: Subject, count: int = 1) -> None:
        """Take a file in where it was seen: its own ``host``, ``tags`` and ``path``."""
        self.host(subject.host, subject.tags)
        body = _encoder.encode(replace(subject, path="", host="", tags=frozenset()))
        told_apart = body if subject.digests else body + subject.path.encode("utf-8", "replace")
        digest = hashlib.sha256(told_apart).digest()[:16]
        self._subjects[digest] = body
        self._rows.append((subject.host, digest, subject.path, count))
        if len(self._rows) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Put what was added into the temporary tables."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO gathered_subject VALUES (?, ?)", self._subjects.items()
        )
        self._connection.executemany(_GATHER, self._rows)
        self._subjects.clear()
        self._rows.clear()


class Fleet:
    """An open inventory.  Raises ``EvidenceError`` for a file that is none, or cannot be used."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if not create and not path.is_file():
            raise EvidenceError(f"inventory {path}: there is none")
        with self._told():
            self._connection = sqlite3.connect(path, timeout=TURN_SECONDS, isolation_level=None)
            try:
                self._prepare(create)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, create: bool) -> None:  # noqa: FBT001
        self._connection.execute("PRAGMA temp_store = FILE")
        self._connection.execute("BEGIN IMMEDIATE" if create else "BEGIN")
        try:
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if create and not tables:
                self._make()
            elif (application, version) != (APPLICATION_ID, SCHEMA):
                raise EvidenceError(f"inventory {self.path}: no inventory of schema {SCHEMA}")
            else:
                self._check()
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _check(self) -> None:
        """Refuse rows that Signward never wrote: columns of SQLite hold whatever is put there."""
        (found,) = self._connection.execute(_NOT_OURS, (MAX_FILE_NUMBER,)).fetchone()
        if found:
            raise EvidenceError(f"inventory {self.path}: rows that no inventory has")

    def _make(self) -> None:
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA};"
        for statement in f"{marks}{_SCHEMA}".split(";"):
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EvidenceError(f"inventory {self.path}: {error}") from None

    @contextmanager
    def gathering(self, at: int, *, instead: bool) -> Iterator[Gathering]:
        """Gather subjects; all of them enter when the block ends, none if it raises.

        ``at`` is when they were seen, in seconds since 1970.  With ``instead`` they replace what
        was known of their hosts (a scan), else they are added to it (a log).
        """
        with self._told():
            try:
                for statement in _TEMPORARY.split(";"):
                    self._connection.execute(statement)
                self._connection.execute("BEGIN")
                gathering = Gathering(self._connection)
                yield gathering
                gathering.flush()
                self._connection.execute("COMMIT")
                self._enter(at, instead=instead)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                for table in (*_TEMPORARIES, "leaving"):
                    self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def _enter(self, at: int, *, instead: bool) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_ENTER_HOSTS, (at,))
        (hosts,) = self._connection.execute("SELECT count(*) FROM host").fetchone()
        if hosts > MAX_HOSTS:
            raise EvidenceError(f"inventory {self.path}: {hosts} hosts, at most {MAX_HOSTS}")
        if instead:
            self._connection.execute(_LEAVING)
            self._connection.execute(_FORGET)
        self._connection.execute(_ENTER_SUBJECTS)
        self._connection.execute(_ENTER)
        if instead:
            self._connection.execute(_DROP_UNSEEN)
        self._connection.execute("COMMIT")

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """See one state of the inventory, however often it is read in the block."""
        with self._told():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def size(self) -> Size:
        """Return how many hosts, distinct files and sightings are known."""
        with self._told():
            return Size(*self._connection.execute(_SIZE).fetchone())

    def hosts(self) -> Sequence[Host]:
        """Return the hosts in the order that `Place.host` counts them in, from 0."""
        with self._told():
            rows = self._connection.execute(_HOSTS).fetchall()
        try:
            return tuple(Host(name=name, tags=frozenset(_tags_decoder.decode(tags)))
                         for name, tags in rows)  # fmt: skip
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise EvidenceError(f"inventory {self.path}: tags: {error}") from None

    def known(self, only: Container[int] | None = None) -> Iterator[Known]:
        """Yield each distinct file with everywhere it was seen; files by their numbers.

        Bounded memory: one file at a time.  With ``only``, files of these numbers.
        """
        with self._told():
            ids = self._connection.execute("SELECT id FROM host ORDER BY id")
            order = {identifier: place for place, (identifier,) in enumerate(ids)}
            with (
                closing(self._connection.execute(_SUBJECTS)) as subjects,
                closing(self._connection.execute(_KNOWN)) as rows,
            ):
                for number, group in groupby(rows, itemgetter(0)):
                    body = next((row[1] for row in subjects if row[0] == number), None)
                    if only is None or number in only:
                        places = [Place(order[host], path, times) for _, host, path, times in group]
                        yield Known(number, self._subject(number, body), places)

    def _subject(self, number: int, body: Any) -> Subject:
        try:
            return _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise EvidenceError(f"inventory {self.path}: file {number}: {error}") from None


def is_fleet(head: bytes) -> bool:
    """Say whether a file that begins so (100 octets will do) is an inventory of ours.

    The application's number stands at offset 68, big-endian (sqlite.org/fileformat.html, 1.3).
    """
    return head[:16] == MAGIC and int.from_bytes(head[68:72], "big") == APPLICATION_ID
