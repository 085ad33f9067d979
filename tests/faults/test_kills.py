"""Kill -9 at every step between intent and result, and at any moment: nothing lost or doubled."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from signward.authority.log.entry import Kind
from signward.verbs.authority import intents
from signward.verbs.authority.realm import Realm
from tests.builders.deeds import DEEDS, Nursery, Order, running
from tests.builders.ledger import Ledger, found_authority

KILLED = -signal.SIGKILL

BEFORE = {"revoke": ("issue",), "checkpoint": ("stamp",)}
"""What must be done first, so that there is something to do."""

STRIDE = 4
"""Steps from one kill to the next on PostgreSQL, where a process takes longer to begin."""

ROUNDS = 30
"""Rounds in which two processes are killed at any moment, on each database."""

MOST_SECONDS = 0.6
MANY = 10_000
"""How long they live at most, and more deeds than they can do meanwhile."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Start the process that forks the ones to be killed."""
    with running() as started:
        yield started


class Place(NamedTuple):
    """An authority's folder, its database, and the journal of its processes."""

    folder: Path
    database: str
    journal: Path

    def order(self, *deeds: str, **fields: object) -> Order:
        """Return an order for this authority."""
        return Order(
            folder=str(self.folder), journal=str(self.journal), database=self.database,
            deeds=list(deeds), **fields,  # type: ignore[arg-type]
        )  # fmt: skip

    def ledger(self) -> Ledger:
        """Start the authority again, and check everything."""
        ledger = Ledger(self.folder, self.database, self.journal)
        ledger.check()
        return ledger


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    """Found an authority."""
    made = Place(tmp_path / "authority", database_url, tmp_path / "journal")
    found_authority(made.folder, made.database)
    return made


def test_without_a_kill_every_deed_leaves_an_answer(place: Place, nursery: Nursery) -> None:
    assert nursery.run(place.order(*DEEDS)) == 0
    ledger = place.ledger()
    assert [one["deed"] for one in ledger.journal if one["what"] == "left"] == [
        "issue", "revoke", "stamp", "sign", "checkpoint",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("deed", DEEDS)
def test_a_kill_at_every_step_of_a_deed(place: Place, nursery: Nursery, deed: str) -> None:
    """A process opens the authority, does the deed, and dies one step later each time.

    How many steps there are depends on what the dead ones left, so it goes on until one lives.
    """
    deeds = (*BEFORE.get(deed, ()), deed)
    assert nursery.run(place.order(*deeds)) == 0
    steps = int(place.ledger().journal[-1]["steps"])
    stride = 1 if place.database.startswith("sqlite") else STRIDE
    step = 1
    while (code := nursery.run(place.order(*deeds, step=step))) == KILLED:
        place.ledger()
        step += stride
    assert code == 0
    assert step >= steps * 3 // 4
    place.ledger()


@pytest.mark.slow
def test_kills_at_any_moment_of_two_processes_at_work(place: Place, nursery: Nursery) -> None:
    """Two processes share the authority, do whatever the lot says, and die at any moment."""
    lot = random.Random(ROUNDS)
    with running() as other:
        for _ in range(ROUNDS):
            for one in (nursery, other):
                seconds, seed = lot.uniform(0, MOST_SECONDS), lot.randrange(2**32)
                one.send(place.order(*["any"] * MANY, seconds=seconds, seed=seed))
            assert [nursery.wait(), other.wait()] == [KILLED, KILLED]
            place.ledger()
    ledger = place.ledger()
    assert {one["deed"] for one in ledger.journal if one["what"] == "left"} == set(DEEDS)
    assert ledger.of(Kind.ABANDONED)  # some were killed between intent and result


@pytest.mark.slow
def test_a_process_that_lives_is_not_taken_for_dead(place: Place, nursery: Nursery) -> None:
    """Another one starts again and again, and closes what dead ones left: nothing of ours."""
    nursery.send(place.order(*["any"] * 60, seed=1))
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(nursery.wait)
        while not ended.done():
            realm = Realm.open(place.folder, database=place.database)
            assert intents.sweep(realm) == 0
            realm.close()
            time.sleep(0.2)
    assert ended.result() == 0
    place.ledger()
