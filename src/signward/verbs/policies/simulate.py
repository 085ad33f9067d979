"""Simulating a policy on a known fleet, and deriving one from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from signward.inventory.fleet import Fleet
from signward.policy.rules.derive import MOST, derived, empty_policy
from signward.policy.rules.fleet import Known
from signward.policy.rules.force import in_force
from signward.policy.rules.model import Document, Mode, RuleSet
from signward.policy.rules.proposing import MAX_PROPOSALS, Proposing
from signward.policy.rules.simulated import Simulation
from signward.policy.rules.simulation import Rehearsal, Wanted

STEP = 2_000
"""Sightings between two words about how far it is."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, how many sightings are through, and how many there are."""


def unwatched(_what: str, _done: int, _whole: int) -> None:
    """Say nothing about how far it is."""


def simulate(
    rules: RuleSet,
    fleet: Fleet,
    at: datetime,
    *,
    wanted: Wanted,
    watch: Watch = unwatched,
    most: int = MAX_PROPOSALS,
) -> Simulation:
    """Return what ``rules`` (merged, not yet in force) would do on the fleet at ``at``.

    Reads the fleet twice: to decide, and to try the rules that would let in what is stopped.
    """
    with fleet.unchanged():
        whole = fleet.size().sightings
        rehearsal = Rehearsal(in_force(rules, at), fleet.hosts(), at, wanted)
        for known in _watched("deciding", fleet.known(), whole, watch):
            rehearsal.add(known)
        proposing = Proposing(rehearsal, most)
        proposing.try_on(_watched("trying rules", fleet.known(rehearsal.open), whole, watch))
        return proposing.result()


def derive(
    name: str,
    fleet: Fleet,
    at: datetime,
    *,
    wanted: Wanted,
    mode: Mode = Mode.MONITOR,
    watch: Watch = unwatched,
) -> tuple[Document, Simulation]:
    """Return a first policy for what is on these hosts, and what it leaves out.

    Raises ``PolicyError`` for a name that no policy may have.
    """
    found = simulate(empty_policy(name), fleet, at, wanted=wanted, watch=watch, most=MOST)
    return derived(found, mode), found


def _watched(what: str, known: Iterable[Known], whole: int, watch: Watch) -> Iterator[Known]:
    done = told = 0
    for each in known:
        yield each
        done += len(each.places)
        if done - told >= STEP:
            told = done
            watch(what, done, whole)
    watch(what, whole, whole)
