"""Proposing: the rules that would let in what is needed, tried before they are shown.

Whatever was thought of is put beside the policy's own rules, and every file that is not let in
today is decided again: what a proposal says that it covers, and what else it would let in, is
what deciding says.
"""

from __future__ import annotations

from collections.abc import Iterable

from signward.frozen import replace
from signward.policy.rules.candidates import RuleNames
from signward.policy.rules.fleet import Known, Place
from signward.policy.rules.needs import Idea
from signward.policy.rules.simulated import Fate, Proposal, Simulation
from signward.policy.rules.simulation import Count, Judge, Rehearsal, fate_of, seen_at, wants_rule

MAX_PROPOSALS = 500
"""Rules proposed, those that cover most for their cost; nobody reads more."""

EXAMPLES = 5
"""Paths named of what a proposal would let in besides."""


class _Trial:
    """What one proposal does."""

    __slots__ = ("also", "covers", "examples", "idea", "unsigned")

    def __init__(self, idea: Idea) -> None:
        self.idea = idea
        self.covers, self.also = Count(), Count()
        self.unsigned = 0
        self.examples: list[str] = []

    def add(self, known: Known, places: list[Place], *, needed: bool) -> None:
        seen = seen_at(places)
        if needed:
            self.covers.add(seen)
            return
        self.also.add(seen)
        self.unsigned += not known.subject.signers
        if len(self.examples) < EXAMPLES:
            self.examples.append(places[0].path)

    def proposal(self) -> Proposal:
        return Proposal(
            rule=self.idea.rule,
            tier=self.idea.candidate.tier.name.lower(),
            name=self.idea.candidate.name,
            covers=self.covers.tally(),
            also=self.also.tally(),
            also_unsigned=self.unsigned,
            denied=self.idea.denied,
            known=self.idea.known,
            examples=tuple(self.examples),
        )


class Proposing:
    """Tries the rules that a rehearsal asks for on what was not let in there."""

    def __init__(self, rehearsal: Rehearsal, most: int = MAX_PROPOSALS) -> None:
        """Take what was rehearsed; propose at most so many rules."""
        rules = rehearsal.rules
        names = RuleNames({item.id for item in (*rules.rules, *rules.waivers)})
        ideas = list(rehearsal.needs.ideas(names))
        self._trials = {idea.rule.id: _Trial(idea) for idea in ideas[:most]}
        self._more = max(0, len(ideas) - most)
        added = tuple(trial.idea.rule for trial in self._trials.values())
        tried = replace(rules, rules=rules.rules + added)
        self._judge = Judge(tried, rehearsal.hosts, rehearsal.at)
        self._rehearsal = rehearsal
        self._uncovered = rehearsal.result().needed.files

    def try_on(self, known: Iterable[Known]) -> None:
        """Decide again about files in ``rehearsal.open``; others may be among them."""
        for each in known:
            if each.number in self._rehearsal.open:
                self._try(each)

    def _try(self, known: Known) -> None:
        needed = known.number in self._rehearsal.needed
        places: dict[str, list[Place]] = {}
        stopped = False
        for decision, there in self._judge.judged(known):
            stopped = stopped or wants_rule(decision, known.subject)
            if fate_of(decision) is Fate.RUNS and decision.rule in self._trials:
                places.setdefault(decision.rule, []).extend(there)
        for name, there in places.items():
            self._trials[name].add(known, there, needed=needed)
        self._uncovered -= needed and not stopped

    def result(self) -> Simulation:
        """Return the simulation with the proposals that let something in, the widest first."""
        trials = [trial for trial in self._trials.values() if trial.covers.files]
        proposals = tuple(
            sorted(
                (trial.proposal() for trial in trials),
                key=lambda p: (-p.covers.files, -p.covers.hosts, p.rule.id),
            )
        )
        return replace(
            self._rehearsal.result(),
            proposals=proposals,
            proposals_more=self._more,
            uncovered=self._uncovered,
        )
