"""SQLite and PostgreSQL, made to behave alike: durable commits, writers taking turns.

``writing`` gives the one transaction that may write at a time, across threads, processes and
replicas.  What a job reads in it nobody else changes before it is committed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from signward.errors import SignwardError, StoreError

BUSY_SECONDS = 10
"""How long a writer waits for its turn; then whoever has it is taken for stuck."""

STUCK_SECONDS = 60
"""After this, PostgreSQL ends the transaction of a writer that does nothing in it."""

CONNECT_SECONDS = 10
SILENT_MILLISECONDS = 30_000
"""How long a connection to PostgreSQL may be silent before it is taken for lost."""

CONNECTIONS = 32
"""Connections of one process; who asks for more at once waits."""

_TURN_SUFFIX = "-turn"
_TURN_POLL_SECONDS = 0.002

_ADVISORY_LOCK = 0x5369676E77617264
"""The PostgreSQL advisory lock of whose turn it is to write: ``Signward`` in ASCII."""

_POSTGRESQL_TURN = text("SELECT pg_current_xact_id()::text, pg_advisory_xact_lock(:lock)")

_PASSING_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""SQLSTATEs after which the same may succeed: serialization failure, deadlock, lock not
available, and the server shutting down, crashing or starting (PostgreSQL, appendix A)."""

_READING: dict[str, dict[str, Any]] = {
    "sqlite": {"reading": True},  # see _begin_sqlite; its readers see one state anyway
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


class DoubtfulError(SignwardError):
    """The connection was lost while a transaction was being committed; ``number`` is its own."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number


def make_engine(url: str) -> Engine:
    """Return an engine for ``sqlite:///path`` or ``postgresql://…``; nothing is opened yet.

    Raises ``StoreError``, SQLAlchemy's errors, and ``ImportError`` without a driver.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return _sqlite_engine(make_url(url))
    if scheme in ("postgresql", "postgres"):
        return _postgresql_engine(make_url(f"postgresql+psycopg://{rest}"))
    raise StoreError("--database", scheme or "no URL", "sqlite:///… or postgresql://…")


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("--database", "SQLite without a file", "sqlite:///path")
    engine = create_engine(
        url, connect_args={"timeout": BUSY_SECONDS}, pool_size=CONNECTIONS, max_overflow=0
    )
    event.listen(engine, "do_connect", partial(_make_file, url.database))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_file(path: str, *_: Any) -> None:
    """Make a new database's file its owner's alone; SQLite gives those beside it its mode."""
    with contextlib.suppress(OSError):  # it is there, or SQLite says why it cannot be
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Durable commits (synchronous=FULL) beside which others can read (WAL)."""
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        (path,) = connection.execute("SELECT file FROM pragma_database_list").fetchone()
        with _turn(path):  # of two that change the mode at once, SQLite refuses one
            connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    """Begin as a writer at once: a reader that turns writer could be refused half-way."""
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def _turn(database: str) -> Iterator[None]:
    """Hold the lock of who writes an SQLite file, or checkpoints it, which commits may do.

    SQLite has writers take turns, but before 3.51.3 two checkpoints at once could damage the
    file (sqlite.org/wal.html, "the WAL-reset bug"); most machines have an older one.
    """
    descriptor = os.open(f"{database}{_TURN_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, time.monotonic() + BUSY_SECONDS)
        yield
    finally:
        os.close(descriptor)  # and with it the lock, as when the process dies


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreError(
                    "the database", "locked by another process", "a turn to write it",
                    hint=f"it has been so for {BUSY_SECONDS} s: is a process stopped?",
                ) from None  # fmt: skip
            time.sleep(_TURN_POLL_SECONDS)
        else:
            return


def _postgresql_engine(url: URL) -> Engine:
    defaults = {
        "connect_timeout": str(CONNECT_SECONDS),
        "tcp_user_timeout": str(SILENT_MILLISECONDS),
        "keepalives_idle": str(SILENT_MILLISECONDS // 1000),
    }
    url = url.update_query_dict({**defaults, **url.query})
    engine = create_engine(url, pool_pre_ping=True, pool_size=CONNECTIONS, max_overflow=0)
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """Durable commits, whatever the server's default; nobody waits for ever."""
    settings = {
        "synchronous_commit": "on",
        "lock_timeout": f"{BUSY_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{STUCK_SECONDS}s",
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")
    connection.commit()


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection that sees one consistent state and cannot write."""
    with engine.connect() as connection:
        yield connection.execution_options(**_READING[engine.dialect.name])


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give the transaction whose turn it is to write; commit it at the end of the block.

    Raises ``StoreError`` and SQLAlchemy's errors where it came to nothing, `DoubtfulError` where
    that is not known: ask `was_committed`.
    """
    if engine.dialect.name == "sqlite":
        with _turn(str(engine.url.database)), engine.begin() as connection:
            yield connection
        return
    with engine.connect() as connection:
        number = connection.execute(_POSTGRESQL_TURN, {"lock": _ADVISORY_LOCK}).scalar_one()
        yield connection
        try:
            connection.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                connection.invalidate()  # else giving it back would fail, and hide the doubt
                raise DoubtfulError(number) from error
            raise


def was_committed(engine: Engine, number: str) -> bool:
    """Say whether a transaction of PostgreSQL's was committed.

    One that is still under way is waited for as long as for a turn.  Raises ``StoreError``
    where nobody knows.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    query = text("SELECT pg_xact_status(CAST(:number AS xid8))")
    while time.monotonic() < deadline:
        with contextlib.suppress(SQLAlchemyError), reading(engine) as connection:
            status = connection.execute(query, {"number": number}).scalar()
            if status in ("committed", "aborted"):
                return bool(status == "committed")
        time.sleep(100 * _TURN_POLL_SECONDS)
    raise StoreError(
        "the database", "lost while it committed", "its answer",
        hint="whether this was written is not known: look before it is asked again",
    )  # fmt: skip


def is_passing(error: BaseException) -> bool:
    """Say whether what failed may succeed when it is tried again at once."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state in _PASSING_STATES


def is_intact(connection: Connection) -> bool:
    """Say whether there still is a transaction after an error in it: some end it as a whole."""
    if connection.invalidated or not connection.in_transaction():
        return False
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":  # disk full, an I/O error: it has rolled back
        return bool(raw.in_transaction)
    return raw.info.transaction_status.name in ("INTRANS", "INERROR")


def store_error(doing: str, error: BaseException) -> StoreError:
    """Return what is told of an error of the database's."""
    if isinstance(error, StoreError):
        return StoreError(error.subject, error.found, error.required, error.clause, error.hint)
    said = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
    return StoreError(
        "the database", f"{said[0][:300] or type(error).__name__} while {doing}",
        "a database that answers and has room",
    )  # fmt: skip
