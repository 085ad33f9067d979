"""Opening the database, reading it, and writing it by group commit.

A commit that survives a power cut costs an fsync; many writers therefore share one.  They hand
jobs to one thread, which runs all that have gathered in one transaction, appends the log entries
they return, commits, and only then answers each.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from signward.errors import StoreError
from signward.store import log
from signward.store.database import (
    DoubtfulError,
    is_intact,
    is_passing,
    make_engine,
    reading,
    store_error,
    was_committed,
    writing,
)
from signward.store.migrate import migrate

T = TypeVar("T")

MAX_BATCH = 1024
"""Jobs in one transaction: bounds how long the first of them waits for the last."""

MAX_WAITING = 16 * 1024
"""Jobs waiting for the writer; more are refused at once rather than answered too late."""

TRIES = 3
RETRY_SECONDS = 0.2
"""How often a transaction is tried that failed for what passes, and how long between tries."""

_CLOSE: Any = None


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
"""Changes the database and nothing else: it runs again when the transaction is tried again."""


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
            engine = make_engine(url)
            try:
                migrate(engine)
            except BaseException:
                engine.dispose()
                raise
        except (SQLAlchemyError, OSError, ImportError) as error:
            raise store_error("opening", error) from error
        return cls(engine)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state.  Raises ``StoreError``."""
        try:
            with reading(self._engine) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise store_error("reading", error) from error

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
            if self._closed or not self._writer.is_alive():  # as in a process that was forked
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
            done, position, size = self._transact(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, every waiter must hear of it
            for one in batch:
                one.future.set_exception(store_error("writing", error))
            return
        for one, result in zip(batch, done, strict=True):
            if result.error is not None:
                one.future.set_exception(result.error)
            else:
                one.future.set_result(Written(result.value, position, size))
            position += len(result.entries)

    def _transact(self, batch: list[_Waiting]) -> _Committed:
        """Run a batch in one transaction, again if what hinders it passes."""
        tries = TRIES
        while True:
            tries -= 1
            try:
                with writing(self._engine) as connection:
                    committed = _run_all(connection, batch)
            except DoubtfulError as doubt:
                if was_committed(self._engine, doubt.number):
                    return committed
                if not tries:
                    raise
            except SQLAlchemyError as error:
                if not tries or not is_passing(error):
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                return committed


class _Done(NamedTuple):
    value: Any = None
    entries: tuple[bytes, ...] = ()
    error: Exception | None = None


class _Committed(NamedTuple):
    done: list[_Done]
    first: int
    size: int


def _run_all(connection: Connection, batch: list[_Waiting]) -> _Committed:
    done = [_run(connection, one) for one in batch]
    return _Committed(done, *log.append(connection, [e for one in done for e in one.entries]))


def _run(connection: Connection, waiting: _Waiting) -> _Done:
    """Run one job under a savepoint, so that its failure is its own."""
    if waiting.job is None:
        return _Done(entries=waiting.entries)
    connection.exec_driver_sql("SAVEPOINT job")  # SQLAlchemy's own take four times as long
    try:
        outcome = waiting.job(connection)
    except Exception as error:
        if is_passing(error) or not is_intact(connection):
            raise
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
        return _Done(error=error)
    connection.exec_driver_sql("RELEASE SAVEPOINT job")
    return _Done(outcome.value, outcome.entries)
