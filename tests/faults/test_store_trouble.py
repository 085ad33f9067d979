"""Disk full, file read-only, database locked or gone: a clear answer, nothing lost, all goes on."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import OperationalError

from signward.errors import StoreError
from signward.store import database
from signward.store import engine as store_engine
from signward.store.engine import Outcome, Store
from signward.store.tables import counter
from tests.builders import disks, postgres
from tests.builders.appender import entry, go, start
from tests.builders.storing import SECONDS, Held, log_is_whole
from tests.faults.test_store_races import bodies

TMPFS_OCTETS = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a megabyte; its mount point is yielded."""
    with disks.small_disk(tmp_path / "disk", TMPFS_OCTETS) as folder:
        yield folder


@pytest.fixture
def cluster() -> Iterator[postgres.Cluster]:
    """Run a PostgreSQL server that the test may stop."""
    if missing := postgres.missing_tool():
        pytest.skip(missing)
    with postgres.running() as running:
        yield running


def fill(store: Store, size: int) -> StoreError:
    """Append until it is refused; return the refusal."""
    for i in range(10_000):
        try:
            store.append(b"%d" % i + bytes(size)).result(SECONDS)
        except StoreError as error:
            return error
    raise AssertionError("never full")


def test_a_full_disk_is_told_and_what_was_answered_stays(small_disk: Path) -> None:
    store = Store.open(f"sqlite:///{small_disk / 'a.db'}")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(TMPFS_OCTETS // 4))
    error = fill(store, 20_000)
    assert "full" in error.found
    whole = log_is_whole(store)
    with pytest.raises(StoreError, match="full"):
        store.append(bytes(20_000)).result(SECONDS)
    filler.unlink()
    assert store.append(b"room again").result(SECONDS).first == whole
    assert log_is_whole(store) == whole + 1
    store.close()
    reopened = Store.open(f"sqlite:///{small_disk / 'a.db'}")
    assert log_is_whole(reopened) == whole + 1
    reopened.close()


def test_a_disk_that_fills_in_the_middle_of_a_batch_undoes_the_batch(small_disk: Path) -> None:
    """SQLite may roll back the whole transaction: later jobs must not run outside of one."""
    store = Store.open(f"sqlite:///{small_disk / 'a.db'}")

    def large(connection: Connection) -> Outcome[None]:
        rows = [{"name": f"{i}-" + "x" * 190, "next": i} for i in range(20_000)]
        connection.execute(insert(counter), rows)
        return Outcome(None, (b"large",))

    def small(connection: Connection) -> Outcome[None]:
        connection.execute(insert(counter).values(name="small", next=1))
        return Outcome(None, (b"small",))

    held = Held(store)
    futures = [store.write(small), store.write(large), store.append(b"after")]
    held.release()
    outcomes = [future.exception(SECONDS) for future in futures]
    size = log_is_whole(store)
    assert size == sum(outcome is None for outcome in outcomes)
    assert isinstance(outcomes[1], StoreError | OperationalError)
    with store.read() as connection:
        rows = connection.execute(counter.select()).all()
    assert (len(rows) == 1) == (outcomes[0] is None)
    assert store.append(b"fine").result(SECONDS).first == size
    store.close()


def test_a_read_only_file_system_is_told(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'a.db'}"
    store = Store.open(url)
    store.append(b"one").result(SECONDS)
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match=r"read-only|readonly|unable to open"):
        Store.open(url).append(b"two").result(SECONDS)


@contextmanager
def another_writer(url: str) -> Iterator[None]:
    """Have another process's turn last as long as the block."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as other:
            other.execute(f"SELECT pg_advisory_xact_lock({database._ADVISORY_LOCK})")
            yield
        return
    descriptor = os.open(url.removeprefix("sqlite:///") + "-turn", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_a_turn_that_does_not_come_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    monkeypatch.setattr(store_engine, "TRIES", 1)
    store = Store.open(database_url)
    with (
        another_writer(database_url),
        pytest.raises(StoreError, match=r"locked by another process|lock timeout"),
    ):
        store.append(b"x").result(SECONDS)
    assert store.append(b"y").result(SECONDS).first == 0
    assert log_is_whole(store) == 1
    store.close()


def test_sqlite_locked_by_a_stranger_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}")
    stranger = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked while writing"):
        store.append(b"x").result(SECONDS)
    stranger.close()
    assert store.append(b"y").result(SECONDS).first == 0
    store.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"something else altogether" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{tmp_path / 'a.db'}")


@pytest.mark.interop
def test_a_stopped_server_is_told_and_a_started_one_is_used_again(
    cluster: postgres.Cluster,
) -> None:
    store = Store.open(cluster.new_database())
    assert store.append(b"before").result(SECONDS).first == 0
    cluster.stop()
    with pytest.raises(StoreError, match="while writing"):
        store.append(b"meanwhile").result(SECONDS)
    with pytest.raises(StoreError, match="while reading"), store.read() as connection:
        connection.execute(counter.select())
    cluster.start()
    assert store.append(b"after").result(SECONDS).first == 1
    assert log_is_whole(store) == 2
    store.close()


@pytest.mark.interop
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_ends_under_load_loses_nothing_it_answered(
    cluster: postgres.Cluster, ending: int
) -> None:
    url = cluster.new_database()
    process = start(url, "p", 100_000)
    go(process)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(100)]
    cluster.stop(ending)
    cluster.start()
    process.kill()  # it may have found the server again and go on
    lines += process.communicate(timeout=SECONDS)[0].splitlines(keepends=True)
    whole = [line.split() for line in lines if line.endswith("\n")]
    answered = {int(position): entry("p", int(number)) for position, number, _ in whole}
    store = Store.open(url)
    log_is_whole(store)
    stands = bodies(store)
    assert all(stands[position] == body for position, body in answered.items())
    assert len(set(stands)) == len(stands)
    store.close()


@pytest.mark.interop
def test_a_writer_whose_session_is_ended_tries_again(postgresql_url: str) -> None:
    store = Store.open(postgresql_url)
    calls: list[None] = []

    def job(connection: Connection) -> Outcome[None]:
        calls.append(None)
        if len(calls) == 1:
            _end_other_sessions(postgresql_url)
        connection.execute(insert(counter).values(name="x", next=1))
        return Outcome(None, (b"once",))

    assert store.write(job).result(SECONDS).size == 1
    assert len(calls) == 2
    assert log_is_whole(store) == 1
    store.close()


def _end_other_sessions(url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _lost(monkeypatch: pytest.MonkeyPatch, lose: Callable[[Any, Callable[[], None]], None]) -> None:
    """Have the connection be lost at the next commit of a writer; ``lose`` says how."""
    commit = Connection.commit
    armed = [True]

    def losing(connection: Connection) -> None:
        if not armed or connection.dialect.name != "postgresql":
            commit(connection)
            return
        armed.clear()
        lose(connection.connection.dbapi_connection, lambda: commit(connection))
        error = psycopg.OperationalError("server closed the connection unexpectedly")
        raise OperationalError("COMMIT", None, error, connection_invalidated=True)

    monkeypatch.setattr(Connection, "commit", losing)


@pytest.mark.interop
def test_a_commit_whose_answer_was_lost_counts_once(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(postgresql_url)
    _lost(monkeypatch, lambda _raw, commit: commit())
    written = store.append(b"once").result(SECONDS)
    assert (written.first, written.size) == (0, 1)
    assert store.append(b"next").result(SECONDS).first == 1
    assert log_is_whole(store) == 2
    store.close()


@pytest.mark.interop
def test_a_commit_that_never_arrived_is_made_again(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(postgresql_url)
    _lost(monkeypatch, lambda raw, _commit: raw.close())
    assert store.append(b"once").result(SECONDS).first == 0
    assert log_is_whole(store) == 1
    store.close()


@pytest.mark.interop
def test_where_nobody_knows_whether_it_was_written_that_is_told(
    cluster: postgres.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    store = Store.open(cluster.new_database())
    _lost(monkeypatch, lambda _raw, _commit: cluster.stop())
    with pytest.raises(StoreError, match="whether this was written is not known"):
        store.append(b"perhaps").result(SECONDS)
    cluster.start()
    assert store.append(b"surely").result(SECONDS).first == 0
    store.close()


class _SerializationError(Exception):
    sqlstate = "40001"


def test_what_passes_is_tried_again_and_what_lasts_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_engine, "RETRY_SECONDS", 0)
    calls: list[None] = []

    def job(connection: Connection) -> Outcome[int]:
        connection.execute(insert(counter).values(name="x", next=1))
        calls.append(None)
        if len(calls) % store_engine.TRIES:
            raise OperationalError("SELECT", None, _SerializationError("conflict"))
        return Outcome(len(calls), (b"x",))

    def lasting(_connection: Connection) -> Outcome[None]:
        raise OperationalError("SELECT", None, _SerializationError("for ever"))

    store = Store.open(database_url)
    assert store.write(job).result(SECONDS).value == store_engine.TRIES
    with pytest.raises(StoreError, match="for ever"):
        store.write(lasting).result(SECONDS)
    assert log_is_whole(store) == 1
    store.close()
