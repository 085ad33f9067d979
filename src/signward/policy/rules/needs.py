"""Needs: which rules would let in what is stopped, and what they would let in besides.

Files that the same rules could let in are one group.  A rule by publisher or product costs one,
and one more for each known file that it would let in though nobody needs it; a rule by digests
costs more for each digest (`DIGEST_COST`).  The cover of least cost is approached greedily
(`cover`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from signward.frozen import Frozen, replace
from signward.policy.rules.candidates import (
    Candidate,
    RuleNames,
    Tier,
    as_rule,
    base_name,
    candidates,
    digest_of,
    is_rule,
)
from signward.policy.rules.cover import Offer, cover
from signward.policy.rules.decide import decide
from signward.policy.rules.fleet import Known
from signward.policy.rules.index import Index
from signward.policy.rules.model import MAX_VALUES, Action, Rule, RuleSet
from signward.policy.rules.subject import Subject, Version
from signward.state import Outcome

MAX_GROUPS = 50_000
"""Groups of needed files; beyond them files are counted as uncovered."""

MAX_CANDIDATES = 200_000
"""Rules thought of; beyond them files can be named by digest only."""

MAX_DIGESTS = 200_000
"""Digests kept for rules, of all groups together: some 30 MB."""

DIGEST_COST = 10
"""What naming a file by digest costs: as much as ten known files let in though nobody needs them.

Each new version of the file needs another rule, and is stopped until there is one.
"""

MAX_TRIALS = 2_000
"""Rules kept ready for trying whether a file meets the policy's requirements."""


class Idea(Frozen, frozen=True, kw_only=True):
    """A rule that is proposed, with what is known of it before it is tried."""

    rule: Rule
    candidate: Candidate
    denied: int
    known: int


class _Group:
    """Needed files that the same candidates could let in."""

    __slots__ = ("complete", "digests", "files", "floor", "name", "versioned")

    def __init__(self, name: str) -> None:
        self.name = name
        self.files = 0
        self.digests: list[str] = []
        self.complete = True
        self.floor: Version | None = None
        self.versioned = True

    def add(self, digest: str, version: Version | None) -> None:
        self.files += 1
        if digest:
            self.digests.append(digest)
        self.complete = self.complete and bool(digest)
        self.versioned = self.versioned and version is not None
        if version is not None:
            self.floor = version if self.floor is None else min(self.floor, version)


class _Matches:
    """Known files that a candidate matches: unneeded ones, denied ones, those let in already."""

    __slots__ = ("denied", "groups", "known", "unneeded")

    def __init__(self) -> None:
        self.unneeded = self.denied = self.known = 0
        self.groups: list[int] = []


class Needs:
    """Takes known files in with what became of them, and tells which rules to add."""

    def __init__(
        self, rules: RuleSet, at: datetime, tiers: frozenset[Tier] = frozenset(Tier)
    ) -> None:
        """Propose rules of these tiers only, for a policy in force at ``at``."""
        self._rules, self._at = rules, at
        self._tiers = tiers
        self._trials: dict[Candidate, Index] = {}
        self._matches: dict[Candidate, _Matches] = {}
        self._groups: dict[tuple[Candidate, ...], int] = {}
        self._members: list[_Group] = []
        self._digests = 0

    def add(self, known: Known, *, needed: bool, denied: bool, wanting: bool) -> None:
        """Take a file in: needed by somebody, denied somewhere, in want of a rule somewhere."""
        found = self._candidates(known.subject)
        if needed:
            self._add_needed(known, found)
        for candidate in found:
            matches = self._matches[candidate]
            if denied:
                matches.denied += 1
            elif not wanting:
                matches.known += 1
            elif not needed:
                matches.unneeded += 1

    def _candidates(self, subject: Subject) -> tuple[Candidate, ...]:
        return tuple(c for c in candidates(subject) if c.tier in self._tiers and self._takes(c))

    def _takes(self, candidate: Candidate) -> bool:
        """Say whether a rule is thought of, now or already."""
        if candidate in self._matches:
            return True
        if len(self._matches) >= MAX_CANDIDATES or not is_rule(candidate):
            return False
        self._matches[candidate] = _Matches()
        return True

    def _lets_in(self, candidate: Candidate, subject: Subject) -> bool:
        """Try a rule alone: a signature may be too old, or too weak, for what is required."""
        trial = self._trials.get(candidate)
        if trial is None:
            if len(self._trials) >= MAX_TRIALS:
                self._trials.clear()
            alone = replace(self._rules, rules=(as_rule("trial", candidate, None, ""),), spared={})
            trial = self._trials[candidate] = Index(alone)
        return decide(trial, subject, self._at).outcome is Outcome.ACCEPTED

    def _add_needed(self, known: Known, found: tuple[Candidate, ...]) -> None:
        parties = {_party(c): True for c in found}
        for party in parties:
            parties[party] = self._lets_in(party, known.subject)
        found = tuple(c for c in found if parties[_party(c)])
        name = base_name(known.subject.original_name or known.places[0].path)
        key = found or (Candidate(Tier.DIGEST, name),)
        number = self._groups.get(key)
        if number is None:
            if len(self._groups) >= MAX_GROUPS:
                return
            number = self._groups[key] = len(self._members)
            self._members.append(_Group(name))
            for candidate in found:
                self._matches[candidate].groups.append(number)
        digest = digest_of(known.subject) if self._digests < MAX_DIGESTS else ""
        self._digests += bool(digest)
        self._members[number].add(digest, known.subject.version)

    def ideas(self, names: RuleNames) -> Iterator[Idea]:
        """Yield the rules to add, those that cover most for their cost first."""
        offers, what = [], []
        for candidate, matches in self._matches.items():
            if matches.groups:
                groups = tuple(matches.groups)
                offers.append(Offer(1 + matches.unneeded, candidate.tier, groups))
                what.append(candidate)
        for number, group in enumerate(self._members):
            if group.complete and len(group.digests) <= MAX_VALUES and Tier.DIGEST in self._tiers:
                cost = DIGEST_COST * len(group.digests)
                offers.append(Offer(cost, Tier.DIGEST, (number,)))
                what.append(Candidate(Tier.DIGEST, group.name))
        for index, fresh in cover([group.files for group in self._members], offers):
            yield self._idea(what[index], [self._members[number] for number in fresh], names)

    def _idea(self, candidate: Candidate, groups: list[_Group], names: RuleNames) -> Idea:
        files = sum(group.files for group in groups)
        note = f"for {files:,} known files" if files > 1 else "for one known file"
        if candidate.tier is Tier.DIGEST:
            rule = _by_digest(names.name("file", candidate.name), groups[0], note)
            return Idea(rule=rule, candidate=candidate, denied=0, known=0)
        floor = _floor(groups) if candidate.tier is Tier.PRODUCT else None
        name = names.name(*_called(candidate))
        matches = self._matches[candidate]
        return Idea(
            rule=as_rule(name, candidate, floor, note),
            candidate=candidate,
            denied=matches.denied,
            known=matches.known,
        )


def _party(candidate: Candidate) -> Candidate:
    """Return whoever signs: whether that meets what is required, no product changes."""
    if candidate.tier is Tier.PUBLISHER:
        return candidate
    return candidate._replace(tier=Tier.PUBLISHER, product="", original_name="")


def _called(candidate: Candidate) -> tuple[str, ...]:
    product = candidate.product or candidate.original_name
    if product.casefold().startswith(candidate.name.casefold()):
        return (product,)
    return (candidate.name, product)


def _floor(groups: list[_Group]) -> Version | None:
    """Return the lowest version needed, unless some file has none."""
    if not all(group.versioned for group in groups):
        return None
    return min((group.floor for group in groups if group.floor), default=None)


def _by_digest(name: str, group: _Group, note: str) -> Rule:
    digests = tuple(sorted(set(group.digests)))
    return Rule(id=name, action=Action.ALLOW, note=note, digest=digests)
