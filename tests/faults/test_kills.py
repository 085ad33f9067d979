"""Kill -9 at every step between intent and result, and at any moment: nothing lost or doubled."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders.deeds import DEEDS, Nursery, Order
from tests.builders.ledger import Ledger, found_authority

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Start the process that forks the ones to be killed."""
    started = Nursery()
    yield started
    started.close()


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
    """A process opens the authority, does the deed, and dies one step later each time."""
    deeds = ("issue", "revoke") if deed == "revoke" else (deed,)
    assert nursery.run(place.order(*deeds)) == 0
    steps = int(place.ledger().journal[-1]["steps"])
    for step in range(1, steps + 1):
        assert nursery.run(place.order(*deeds, step=step)) == KILLED, f"step {step} of {steps}"
        place.ledger()
    assert nursery.run(place.order(*deeds)) == 0
    place.ledger()
