"""Several processes on one database: no gap, no number twice, one right tree."""

from __future__ import annotations

import signal

import pytest
from sqlalchemy import select

from signward.store.engine import Store
from signward.store.tables import log_entry
from tests.builders.appender import entry, go, start
from tests.builders.storing import log_is_whole

PROCESSES = 4
EACH = 300


def bodies(store: Store) -> list[bytes]:
    """Return the log's entries."""
    with store.read() as connection:
        chosen = select(log_entry.c.body).order_by(log_entry.c.position)
        return list(connection.execute(chosen).scalars())


def test_replicas_append_and_lease_without_gaps_or_duplicates(database_url: str) -> None:
    processes = {f"p{i}": start(database_url, f"p{i}", EACH) for i in range(PROCESSES)}
    for process in processes.values():
        go(process)
    answers = {name: process.communicate()[0].split("\n") for name, process in processes.items()}
    assert [process.returncode for process in processes.values()] == [0] * PROCESSES
    told = {}
    for name, lines in answers.items():
        for line in filter(None, lines):
            position, number, size = map(int, line.split())
            assert position < size
            told[position] = entry(name, number)
    store = Store.open(database_url)
    assert log_is_whole(store) == PROCESSES * EACH
    assert [told[position] for position in range(PROCESSES * EACH)] == bodies(store)
    numbers = sorted(int(body.split()[1]) for body in told.values())
    assert numbers == list(range(1, PROCESSES * EACH + 1))
    store.close()


def test_a_stopped_process_does_not_keep_others_from_writing(database_url: str) -> None:
    """SIGSTOP between two turns: whoever is stopped within one is waited for, and given up on."""
    stopped, going = start(database_url, "stopped", EACH), start(database_url, "going", EACH)
    stopped.send_signal(signal.SIGSTOP)
    go(going)
    assert len(going.communicate()[0].split()) == 3 * EACH
    stopped.send_signal(signal.SIGCONT)
    go(stopped)
    assert len(stopped.communicate()[0].split()) == 3 * EACH
    store = Store.open(database_url)
    assert log_is_whole(store) == 2 * EACH
    store.close()


@pytest.mark.parametrize("killed_after", [1, 40, 110])
def test_killed_processes_leave_a_whole_log_with_all_they_answered(
    database_url: str, killed_after: int
) -> None:
    processes = {f"p{i}": start(database_url, f"p{i}", 100 * EACH) for i in range(2)}
    answered: dict[int, bytes] = {}
    for process in processes.values():
        go(process)
    for name, process in processes.items():
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(killed_after)]
        process.kill()
        lines += process.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # the last may be cut off
                position, number, _ = map(int, line.split())
                answered[position] = entry(name, number)
    store = Store.open(database_url)
    size = log_is_whole(store)
    stands = bodies(store)
    assert len(answered) >= 2 * killed_after
    assert all(stands[position] == body for position, body in answered.items())
    numbers = [int(body.split()[1]) for body in stands]
    assert len(set(numbers)) == size
    store.close()
