"""Opening the database, reading it, and writing it by group commit.

A commit that survives a power cut costs an fsync, a few hundred a second; many writers
therefore share one.  They hand jobs to one thread, which runs all that have gathered in one
transaction, appends the log entries they return, commits, and only then answers each.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from signward.errors import StoreError
from signward.store import log
from signward.store.migrate import migrate

T = TypeVar("T")

MAX_BATCH = 1024
"""Jobs in one transaction: bounds how long the first of them waits for the last."""

MAX_WAITING = 16 * 1024
"""Jobs waiting for the writer; more are refused at once rather than answered too late."""

BUSY_SECONDS = 10.0
"""How long SQLite waits for another process's transaction."""

_CLOSE: Any = None

_READING: dict[str, dict[str, Any]] = {
    "sqlite": {"reading": True},  # see _begin_sqlite; its readers see one state anyway
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


class Outcome(NamedTuple, Generic[T]):
    """What a job returns: its result, and the entries that go into the log with it."""

    value: T
    entries: tuple[bytes, ...] = ()


class Written(NamedTuple, Generic[T]):
    """A job's result, durable; its first entry's position, and the size of the committed log."""

    value: T
    first: int
    size: int


Job = Callable[[Connection], Outcome[T]]


class _Waiting(NamedTuple):
    job: Job[Any] | None
    entries: tuple[bytes, ...]
    future: Future[Any]


class Store:
    """One database, shared by the threads of a process and by other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.Queue[_Waiting] = queue.Queue(MAX_WAITING)
        self._closing = threading.Lock()
        self._closed = False
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, url: str) -> Store:
        """Open ``sqlite:///path`` or ``postgresql://…``, brought to the present schema.

        Raises ``StoreError``.
        """
        try:
            engine = _engine(url)
            migrate(engine)
        except (SQLAlchemyError, OSError, ImportError) as error:
            raise _store_error("opening", error) from error
        return cls(engine)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state.  Raises ``StoreError``."""
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(**_READING[self.dialect])
        except SQLAlchemyError as error:
            raise _store_error("reading", error) from error

    def write(self, job: Job[T]) -> Future[Written[T]]:
        """Run ``job`` in the next transaction; the future is done when it is durable.

        What the job raises undoes the job alone and arrives in its future; ``StoreError``
        arrives when the transaction as a whole came to nothing.
        """
        return self._hand_over(_Waiting(job, (), Future()))

    def append(self, *entries: bytes) -> Future[Written[None]]:
        """Append entries to the log; the future is done when they are durable."""
        return self._hand_over(_Waiting(None, entries, Future()))

    def _hand_over(self, waiting: _Waiting) -> Future[Any]:
        with self._closing:
            if self._closed:
                raise StoreError("the store", "closed", "an open store")
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise StoreError(
                    "the store", f"{MAX_WAITING} writes waiting", "fewer at once",
                    hint="the database is too slow for this load, or does not answer",
                ) from None  # fmt: skip
        return waiting.future

    def close(self) -> None:
        """Write what waits, and let go of the database."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._queue.put(_CLOSE)
        self._writer.join()
        self._engine.dispose()

    def _write_all(self) -> None:
        while (first := self._queue.get()) is not _CLOSE:
            batch, last = self._gather(first)
            self._commit(batch)
            if last:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Return what waits, and whether nothing will follow."""
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is _CLOSE:
                return batch, True
            batch.append(waiting)
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> None:
        batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
        try:
            with self._engine.begin() as connection:
                done = [_run(connection, one) for one in batch]
                entries = [entry for one in done for entry in one.entries]
                position, size = log.append(connection, entries)
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiter must hear of it
            failed = _store_error("writing", error)
            for one in batch:
                one.future.set_exception(failed)
            return
        for one, result in zip(batch, done, strict=True):
            if result.error is not None:
                one.future.set_exception(result.error)
            else:
                one.future.set_result(Written(result.value, position, size))
            position += len(result.entries)


class _Done(NamedTuple):
    value: Any = None
    entries: tuple[bytes, ...] = ()
    error: Exception | None = None


def _run(connection: Connection, waiting: _Waiting) -> _Done:
    """Run one job under a savepoint, so that its failure is its own."""
    if waiting.job is None:
        return _Done(entries=waiting.entries)
    try:
        with connection.begin_nested():
            outcome = waiting.job(connection)
    except Exception as error:
        if not connection.in_transaction() or connection.invalidated:
            raise
        return _Done(error=error)
    return _Done(outcome.value, outcome.entries)


def _engine(url: str) -> Engine:
    if url.startswith("sqlite:"):
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise StoreError("--database", scheme or "no URL", "sqlite:///… or postgresql://…")
    return create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Durable commits (synchronous=FULL) beside which others can read (WAL)."""
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Begin as a writer at once: a reader that turns writer could be refused half-way."""
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")


def _store_error(doing: str, error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    said = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
    return StoreError(
        "the database", f"{said[0][:300] or type(error).__name__} while {doing}",
        "a database that answers and has room",
    )  # fmt: skip
