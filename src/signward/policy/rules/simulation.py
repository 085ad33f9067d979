"""Simulation: what a policy would do to a known fleet, before it bites.

Counts what would run and what would be stopped, why, and on how many hosts.  Where a decision
hangs on something that the inventory does not know, the file is *unsettled*, and what is missing
is named: it counts neither as stopped nor as running.  The policy's mode is not asked: monitoring
stops nothing, and what enforcing would stop is the question here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from signward.frozen import Frozen, replace
from signward.policy.rules.candidates import Tier, digest_of, is_suspect, publisher_name
from signward.policy.rules.decide import FINAL, decide
from signward.policy.rules.decision import Decision
from signward.policy.rules.fleet import Host, Known, Place, host_bits
from signward.policy.rules.index import Index
from signward.policy.rules.model import Action, RuleSet
from signward.policy.rules.needs import Needs
from signward.policy.rules.simulated import (
    Fate,
    HostShare,
    Listed,
    RuleUse,
    Share,
    Simulation,
    Tally,
)
from signward.policy.rules.subject import Subject
from signward.state import Outcome

MAX_NAMES = 2_000
"""Names counted apart in one table; the rest are counted together: anybody makes up names."""

MAX_LISTED = 500
"""Files listed one by one: those on most hosts."""

MAX_HOSTS_LISTED = 50
"""Hosts listed one by one: those where most is stopped."""

MAX_IDLE = 100
"""Rules listed that no known file needs."""

OTHERS = "(others)"
UNNAMED = "(host not known)"


class Wanted(Frozen, frozen=True, kw_only=True):
    """Which stopped files rules are proposed for: those on at least ``hosts`` hosts.

    With ``tags``, counting only hosts that have one of them.  ``tiers`` are the rules proposed.
    """

    hosts: int = 1
    tags: frozenset[str] = frozenset()
    tiers: frozenset[Tier] = frozenset(Tier)


class Numbers:
    """A set of files' numbers, one octet each: a million of them are a megabyte."""

    __slots__ = ("_flags",)

    def __init__(self) -> None:
        self._flags = bytearray()

    def add(self, number: int) -> None:
        """Put a number in."""
        if number >= len(self._flags):
            self._flags.extend(bytes(number + 1 - len(self._flags) + 4096))
        self._flags[number] = 1

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and number < len(self._flags) and bool(self._flags[number])


class Seen(NamedTuple):
    """Places of one file, summed up: how often it was seen, and its hosts as bits."""

    places: list[Place]
    times: int
    bits: int


def seen_at(places: list[Place]) -> Seen:
    """Return places summed up."""
    return Seen(places, sum([place.times for place in places]), host_bits(places))


class Count:
    """Adds up files, sightings and hosts."""

    __slots__ = ("bits", "files", "sightings")

    def __init__(self) -> None:
        self.files = self.sightings = self.bits = 0

    def add(self, seen: Seen) -> None:
        """Count one file where it was seen."""
        self.files += 1
        self.sightings += seen.times
        self.bits |= seen.bits

    def tally(self) -> Tally:
        """Return the sums."""
        return Tally(files=self.files, sightings=self.sightings, hosts=self.bits.bit_count())


class Table:
    """Counts by name, what is stopped and what is unsettled apart."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[Count, Count]] = {}

    def add(self, name: str, fate: Fate, seen: Seen, kind: str = "") -> None:
        """Count one file under a name."""
        key = (kind, name)
        if key not in self._rows and len(self._rows) >= MAX_NAMES:
            key = (kind, OTHERS)
        row = self._rows.setdefault(key, (Count(), Count()))
        row[fate is Fate.UNSETTLED].add(seen)

    def shares(self) -> tuple[Share, ...]:
        """Return the rows, most files first."""
        found = [
            Share(name=name, kind=kind, stopped=stopped.tally(), unsettled=unsettled.tally())
            for (kind, name), (stopped, unsettled) in self._rows.items()
        ]
        return tuple(
            sorted(found, key=lambda s: (-s.stopped.files - s.unsettled.files, s.kind, s.name))
        )


class Judge:
    """Decides about known files: once for each file and whatever else the rules look at."""

    def __init__(self, rules: RuleSet, hosts: Sequence[Host], at: datetime) -> None:
        """Take rules in force."""
        self._index = Index(rules)
        self._hosts = hosts
        self._at = at
        asked = [*rules.rules, *(c for several in rules.spared.values() for c in several)]
        self._by_path = any(rule.path for rule in asked)
        named = frozenset(name for rule in asked for name in rule.hosts)
        self._by_host = [_told_apart(host, named) for host in hosts] if named else None

    def judged(self, known: Known) -> list[tuple[Decision, list[Place]]]:
        """Return what is decided, and at which places."""
        if not self._by_path and self._by_host is None:
            return [(self._decided(known.subject, known.places[0]), known.places)]
        found: dict[tuple[str, object], Decision] = {}
        groups: dict[Decision, list[Place]] = {}
        for place in known.places:
            key = (place.path if self._by_path else "",
                   self._by_host[place.host] if self._by_host else None)  # fmt: skip
            if key not in found:
                found[key] = self._decided(known.subject, place)
            groups.setdefault(found[key], []).append(place)
        return list(groups.items())

    def _decided(self, subject: Subject, place: Place) -> Decision:
        host = self._hosts[place.host]
        there = replace(subject, path=place.path, host=host.name, tags=host.tags)
        return decide(self._index, there, self._at)


def _told_apart(host: Host, named: frozenset[str]) -> object:
    """Return what rules that name hosts or tags can see of a host."""
    name = host.name.casefold()
    return (host.tags & named, name if name in named else "")


def fate_of(decision: Decision) -> Fate:
    """Return what becomes of a file where policies are enforced."""
    if decision.outcome is Outcome.INDETERMINATE:
        return Fate.UNSETTLED
    if decision.outcome is Outcome.REJECTED:
        return Fate.STOPPED
    return Fate.AUDITED if decision.action is Action.AUDIT else Fate.RUNS


def reason_of(decision: Decision, subject: Subject) -> tuple[str, str]:
    """Return the sort of reason for which a file is not let in, and what it names."""
    if decision.outcome is Outcome.INDETERMINATE:
        return "missing", ", ".join(decision.missing)
    if subject.cause in FINAL:
        return "withdrawn", subject.cause
    if decision.action is Action.DENY:
        return "denied", decision.rule
    if decision.unmet:
        return "unmet", ", ".join(decision.unmet)
    return "no-rule", ""


def is_final(decision: Decision, subject: Subject) -> bool:
    """Say whether a file is stopped, and no allow rule could change that."""
    if decision.outcome is not Outcome.REJECTED:
        return False
    return decision.action is Action.DENY or subject.cause in FINAL


def wants_rule(decision: Decision, subject: Subject) -> bool:
    """Say whether a file is stopped for want of a rule: no denial stands against it."""
    return decision.outcome is Outcome.REJECTED and not is_final(decision, subject)


def is_outside(subject: Subject) -> bool:
    """Say whether nothing starts such a file, so that nobody asks a policy about it."""
    return bool(subject.kind) and not subject.file_class and "kind" not in subject.unknown


class Rehearsal:
    """Takes known files one by one, and tells what a policy would do to them."""

    def __init__(self, rules: RuleSet, hosts: Sequence[Host], at: datetime, wanted: Wanted) -> None:
        """Take rules in force at ``at``."""
        self.rules, self.hosts, self.at = rules, hosts, at
        self._judge = Judge(rules, hosts, at)
        self._wanted = wanted
        self._wanted_bits = _bits_of(hosts, wanted.tags)
        self.needs = Needs(rules, at, wanted.tiers)
        self._seen, self._needed, self._suspect = Count(), Count(), Count()
        self._outside = 0
        self._fates = {fate: Count() for fate in Fate}
        self._reasons, self._causes, self._missing = Table(), Table(), Table()
        self._publishers, self._kinds = Table(), Table()
        self._used: dict[str, Count] = {}
        self._on_hosts: dict[Fate, Counter[int]] = {
            fate: Counter() for fate in (Fate.STOPPED, Fate.UNSETTLED)
        }
        self._listed: list[tuple[int, int, int, Listed]] = []
        self._refusals = 0
        self.open, self.needed = Numbers(), Numbers()

    def add(self, known: Known) -> None:
        """Take one file in."""
        if is_outside(known.subject):
            self._outside += 1
            return
        judged = self._judge.judged(known)
        whole = seen_at(known.places)
        self._seen.add(whole)
        for decision, places in judged:
            fate = fate_of(decision)
            seen = whole if len(judged) == 1 else seen_at(places)
            self._fates[fate].add(seen)
            if decision.rule:
                self._used.setdefault(decision.rule, Count()).add(seen)
            if fate in self._on_hosts:
                self._refused(known, decision, fate, seen)
        self._note(known, judged)

    def _note(self, known: Known, judged: list[tuple[Decision, list[Place]]]) -> None:
        """Remember who could be let in by which rules."""
        subject = known.subject
        wanting = [place for decision, places in judged for place in places
                   if wants_rule(decision, subject)]  # fmt: skip
        needed = bool(wanting) and self._is_needed(subject, wanting)
        if needed:
            self._needed.add(seen_at(wanting))
            self.needed.add(known.number)
        denied = any(is_final(decision, subject) for decision, _ in judged)
        self.needs.add(known, needed=needed, denied=denied, wanting=bool(wanting))
        unsettled = any(fate_of(decision) is Fate.UNSETTLED for decision, _ in judged)
        if wanting or unsettled:
            self.open.add(known.number)

    def _is_needed(self, subject: Subject, wanting: list[Place]) -> bool:
        if is_suspect(subject):
            return False
        bits = host_bits(wanting) & self._wanted_bits
        return bits.bit_count() >= self._wanted.hosts

    def _refused(self, known: Known, decision: Decision, fate: Fate, seen: Seen) -> None:
        subject = known.subject
        sort, name = reason_of(decision, subject)
        if fate is Fate.STOPPED:
            self._reasons.add(name, fate, seen, sort)
            if is_suspect(subject):
                self._suspect.add(seen)
        for field in decision.missing:
            self._missing.add(field, fate, seen)
        self._causes.add(subject.cause or str(subject.outcome), fate, seen)
        self._publishers.add(_signed_by(subject), fate, seen)
        self._kinds.add(subject.file_class or "not known", fate, seen)
        self._on_hosts[fate].update({place.host for place in seen.places})
        self._list(known, decision, fate, seen)

    def _list(self, known: Known, decision: Decision, fate: Fate, seen: Seen) -> None:
        """Keep a file if it is among those on most hosts."""
        self._refusals += 1
        rank = (seen.bits.bit_count(), seen.times, -self._refusals)
        if len(self._listed) >= MAX_LISTED and rank <= self._listed[0][:3]:
            return
        tally = Tally(files=1, sightings=seen.times, hosts=rank[0])
        row = _listed(known.subject, decision, fate, seen.places[0].path, tally)
        if len(self._listed) < MAX_LISTED:
            heapq.heappush(self._listed, (*rank, row))
        else:
            heapq.heapreplace(self._listed, (*rank, row))

    def result(self) -> Simulation:
        """Return what the policy would do, without proposals."""
        actions = {rule.id: rule.action for rule in self.rules.rules}
        idle = [rule.id for rule in self.rules.rules if rule.id not in self._used]
        used = [
            RuleUse(rule=name, action=actions[name], decided=count.tally())
            for name, count in self._used.items()
            if name in actions
        ]
        return Simulation(
            policy=self.rules.name,
            version=self.rules.version,
            mode=self.rules.mode,
            at=self.at,
            seen=self._seen.tally(),
            outside=self._outside,
            fates={fate: count.tally() for fate, count in self._fates.items()},
            reasons=self._reasons.shares(),
            causes=self._causes.shares(),
            publishers=self._publishers.shares(),
            kinds=self._kinds.shares(),
            missing=self._missing.shares(),
            hosts=self._worst_hosts(),
            hosts_touched=len(set().union(*self._on_hosts.values())),
            used=tuple(sorted(used, key=lambda use: (-use.decided.files, use.rule))),
            idle=tuple(idle[:MAX_IDLE]),
            idle_more=max(0, len(idle) - MAX_IDLE),
            listed=tuple(row for *_, row in sorted(self._listed, key=_rank, reverse=True)),
            listed_more=self._refusals - len(self._listed),
            needed=self._needed.tally(),
            suspect=self._suspect.tally(),
            uncovered=self._needed.files,
            proposals=(),
        )

    def _worst_hosts(self) -> tuple[HostShare, ...]:
        stopped, unsettled = self._on_hosts[Fate.STOPPED], self._on_hosts[Fate.UNSETTLED]
        worst = heapq.nsmallest(
            MAX_HOSTS_LISTED, stopped | unsettled, key=lambda h: (-stopped[h], -unsettled[h], h)
        )
        return tuple(
            HostShare(
                name=self.hosts[h].name or UNNAMED, stopped=stopped[h], unsettled=unsettled[h]
            )
            for h in worst
        )


def _rank(item: tuple[int, int, int, Listed]) -> tuple[int, int, int]:
    return item[:3]


def _bits_of(hosts: Sequence[Host], tags: frozenset[str]) -> int:
    """Return the hosts with one of these tags; all of them where none is asked for."""
    chosen = [Place(n, "") for n, host in enumerate(hosts) if not tags or host.tags & tags]
    return host_bits(chosen) if chosen else 0


def _signed_by(subject: Subject) -> str:
    if "signers" in subject.unknown:
        return "not known"
    return publisher_name(subject.signers[0]) if subject.signers else "nobody trusted"


def _listed(subject: Subject, decision: Decision, fate: Fate, path: str, seen: Tally) -> Listed:
    sort, name = reason_of(decision, subject)
    return Listed(
        path=path or subject.original_name or "(path not known)",
        fate=fate,
        reason=sort,
        named=name,
        kind=subject.file_class or subject.kind,
        cause=subject.cause,
        publisher=_signed_by(subject),
        product=subject.product,
        digest=digest_of(subject),
        seen=seen,
        missing=decision.missing,
    )
