"""Group commit: what is answered is durable, a job's failure is its own, waiting is bounded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from signward.authority.log.tree import EMPTY_ROOT, Frontier, leaf_hash
from signward.errors import StoreError
from signward.store import engine as store_engine
from signward.store import log
from signward.store.counters import lease
from signward.store.engine import Outcome, Store
from signward.store.log import TILE_WIDTH
from signward.store.tables import counter, log_entry, log_tile
from tests.builders.storing import SECONDS, Held, log_is_whole
from tests.stores import connected


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Open a new store."""
    opened = Store.open(database_url)
    yield opened
    opened.close()


def named(name: str, *entries: bytes) -> store_engine.Job[str]:
    """Return a job that writes one row, with entries."""

    def job(connection: Connection) -> Outcome[str]:
        connection.execute(insert(counter).values(name=name, next=1))
        return Outcome(name, entries)

    return job


def names(store: Store) -> set[str]:
    """Return the rows that such jobs wrote."""
    with store.read() as connection:
        return set(connection.execute(select(counter.c.name)).scalars())


def test_what_is_answered_stands_in_the_log_and_in_its_table(store: Store) -> None:
    first = store.write(named("a", b"one", b"two")).result(SECONDS)
    second = store.append(b"three").result(SECONDS)
    assert (first.value, first.first) == ("a", 0)
    assert (second.value, second.first, second.size) == (None, 2, 3)
    assert names(store) == {"a"}
    with store.read() as connection:
        bodies = connection.execute(select(log_entry.c.body).order_by(log_entry.c.position))
        assert list(bodies.scalars()) == [b"one", b"two", b"three"]


def test_an_empty_log_has_the_empty_root(store: Store) -> None:
    with store.read() as connection:
        assert log.frontier(connection).root == EMPTY_ROOT


def test_positions_are_those_of_the_batch_in_order(store: Store) -> None:
    held = Held(store)
    futures = [store.append(*[b"%d.%d" % (i, j) for j in range(i % 3)]) for i in range(50)]
    held.release()
    written = [future.result(SECONDS) for future in futures]
    assert [one.first for one in written] == [sum(j % 3 for j in range(i)) for i in range(50)]
    assert {one.size for one in written} == {sum(i % 3 for i in range(50))}


def test_a_job_that_fails_undoes_itself_alone(store: Store) -> None:
    def failing(connection: Connection) -> Outcome[None]:
        connection.execute(insert(counter).values(name="half", next=1))
        raise ValueError("no")

    held = Held(store)
    before, failed, after = (
        store.write(named("before", b"1")), store.write(failing), store.write(named("after", b"2"))
    )  # fmt: skip
    held.release()
    with pytest.raises(ValueError, match="no"):
        failed.result(SECONDS)
    assert (before.result(SECONDS).first, after.result(SECONDS).first) == (0, 1)
    assert before.result().size == after.result().size == 2  # one transaction
    assert names(store) == {"before", "after"}


def test_a_refused_row_undoes_its_job_alone(store: Store) -> None:
    held = Held(store)
    futures = [store.write(named("same", b"%d" % i)) for i in range(3)]
    held.release()
    assert futures[0].result(SECONDS).size == 1
    for future in futures[1:]:
        with pytest.raises(IntegrityError):
            future.result(SECONDS)
    assert log_is_whole(store) == 1


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_a_job_that_ends_the_transaction_spoils_the_batch_and_no_later_one(
    store: Store, statement: str
) -> None:
    def ending(connection: Connection) -> Outcome[None]:
        connection.exec_driver_sql(statement)
        return Outcome(None, (b"never",))

    held = Held(store)
    doomed: list[Future[Any]] = [store.write(ending), store.write(named("doomed", b"x"))]
    held.release()
    for future in doomed:
        with pytest.raises(StoreError):
            future.result(SECONDS)
    assert store.append(b"fine").result(SECONDS).first == 0
    assert log_is_whole(store) == 1
    assert names(store) == set()


def test_a_job_that_wants_to_end_the_process_does_not_silence_the_store(store: Store) -> None:
    def leaving(_connection: Connection) -> Outcome[None]:
        raise SystemExit(3)

    with pytest.raises(StoreError):
        store.write(leaving).result(SECONDS)
    assert store.append(b"fine").result(SECONDS).size == 1


def test_a_cancelled_job_does_not_run(store: Store) -> None:
    held = Held(store)
    cancelled, kept = store.write(named("cancelled")), store.write(named("kept"))
    assert cancelled.cancel()
    held.release()
    kept.result(SECONDS)
    assert names(store) == {"kept"}


def test_too_many_waiting_are_refused_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_engine, "MAX_WAITING", 3)
    store = Store.open(database_url)
    held = Held(store)
    waiting = [store.append(b"%d" % i) for i in range(3)]
    with pytest.raises(StoreError, match="found 3 writes waiting"):
        store.append(b"too much")
    held.release()
    wait(waiting, SECONDS)
    assert store.append(b"again").result(SECONDS).first == 3
    store.close()


def test_closing_writes_what_waits_and_refuses_more(database_url: str) -> None:
    store = Store.open(database_url)
    held = Held(store)
    futures = [store.append(b"%d" % i) for i in range(2000)]  # more than one batch
    held.release()
    store.close()
    assert all(future.done() for future in futures)
    assert futures[-1].result().size == 2000
    with pytest.raises(StoreError, match="closed"):
        store.append(b"late")
    store.close()


def test_a_forked_process_is_told_that_the_store_is_not_its_own(store: Store) -> None:
    child = os.fork()
    if not child:
        try:
            store.append(b"from a child")
        except StoreError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_readers_see_one_state_and_cannot_write(store: Store) -> None:
    with store.read() as connection:
        before = log.frontier(connection)
        store.append(b"meanwhile").result(SECONDS)
        assert log.frontier(connection) == before
    with store.read() as connection:
        assert log.frontier(connection).size == 1


def test_a_reader_on_postgresql_cannot_write(postgresql_url: str) -> None:
    store = Store.open(postgresql_url)
    with (
        pytest.raises(StoreError, match="read-only transaction while reading"),
        store.read() as connection,
    ):
        connection.execute(insert(counter).values(name="x", next=1))
    store.close()


def test_leased_numbers_never_repeat(store: Store) -> None:
    def job(connection: Connection) -> Outcome[int]:
        return Outcome(lease(connection, "tsa", 3))

    assert [store.write(job).result(SECONDS).value for _ in range(3)] == [1, 4, 7]


def test_many_threads_write_without_gaps_and_the_tree_is_right(store: Store) -> None:
    futures: list[Future[Any]] = []

    def work(number: int) -> None:
        futures.extend([store.append(b"%d.%d" % (number, i)) for i in range(700)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = sorted(future.result(SECONDS).first for future in futures)
    assert positions == list(range(2800))
    assert log_is_whole(store) == 2800


def test_tiles_of_every_level_are_stored_once_they_are_full(store: Store) -> None:
    size = TILE_WIDTH * TILE_WIDTH + 5
    entries = [b"%d" % i for i in range(size)]
    for start in range(0, size, 10_000):
        store.append(*entries[start : start + 10_000]).result(SECONDS)
    with store.read() as connection:
        chosen = select(log_tile.c.level, func.count()).group_by(log_tile.c.level)
        counts = {row[0]: row[1] for row in connection.execute(chosen)}
        assert counts == {0: TILE_WIDTH, 1: 1}
        assert log.frontier(connection) == Frontier().extended([leaf_hash(e) for e in entries])
    assert log_is_whole(store) == size


def test_a_wrong_tile_would_be_found(store: Store) -> None:
    store.append(*[b"%d" % i for i in range(TILE_WIDTH)]).result(SECONDS)
    assert log_is_whole(store) == TILE_WIDTH

    def spoil(connection: Connection) -> Outcome[None]:
        connection.execute(log_tile.update().values(hashes=b"\0" * 32 * TILE_WIDTH))
        return Outcome(None)

    store.write(spoil).result(SECONDS)
    with pytest.raises(AssertionError):
        log_is_whole(store)


def test_commits_are_durable_whatever_the_defaults(database_url: str) -> None:
    with connected(database_url) as connection:
        if connection.dialect.name == "sqlite":
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
        else:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("mysql://x/y", "found mysql"),
        ("nothing", "found nothing"),
        ("sqlite://", "found SQLite without a file"),
        ("sqlite:///:memory:", "found SQLite without a file"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file while opening"),
        ("postgresql://x@/y?host=/nowhere", "while opening"),
        ("postgresql://[/", "while opening"),
    ],
)
def test_what_cannot_be_opened_is_told(url: str, found: str) -> None:
    with pytest.raises(StoreError, match=found):
        Store.open(url)


def test_a_store_error_of_one_waiter_is_not_another_waiters(store: Store) -> None:
    def ending(connection: Connection) -> Outcome[None]:
        connection.exec_driver_sql("COMMIT")
        return Outcome(None)

    held = Held(store)
    futures = [store.write(ending), store.append(b"x")]
    held.release()
    first, second = (future.exception(SECONDS) for future in futures)
    assert first is not second
    assert str(first) == str(second)
