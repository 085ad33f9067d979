"""Deciding: one subject under the rules in force, and what every rule has to say of it.

1. What was blocked or revoked by itself stays so: no rule lets it in.
2. A deny rule that matches, and does not spare it, rejects; one that may match leaves it open.
3. Else rules that let in are tried in the order of ``precedence``; the first that matches and
   whose requirements are met decides.
4. Else one that may match, or may be met, leaves it open; if there is none, it is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from signward.findings import Code
from signward.policy.rules.decision import Decision, RuleWord
from signward.policy.rules.index import Index, Ready
from signward.policy.rules.matching import MET, UNMET, Held, Test, all_of, is_below
from signward.policy.rules.model import Action, Mode
from signward.policy.rules.requiring import NOTHING, Lack, lack_of
from signward.policy.rules.subject import Subject
from signward.state import Outcome

FINAL = frozenset({Code.BLOCKED, Code.DIGEST_REVOKED, Code.PUBLISHER_REVOKED, Code.SBAT_REVOKED})
"""Causes that no rule overcomes."""


def decide(index: Index, subject: Subject, at: datetime) -> Decision:
    """Return what the rules say of a subject at ``at`` (aware UTC)."""
    if subject.cause in FINAL:
        return _decision(index, Outcome.REJECTED)
    return _decided(index, index.candidates(subject), subject, at)


def explain(index: Index, subject: Subject, at: datetime) -> tuple[RuleWord, ...]:
    """Return what every rule has to say, in the order they are asked."""
    decision = decide(index, subject, at)
    return tuple(_word(ready, subject, at, decision) for ready in index.rules)


def _decided(index: Index, candidates: Sequence[Ready], subject: Subject, at: datetime) -> Decision:
    possible: list[tuple[Ready, frozenset[str]]] = []
    letting_in = 0
    for ready in candidates:
        if ready.rule.action is not Action.DENY:
            break
        letting_in += 1
        held = reach(ready, subject)
        if held == MET:
            return _decision(index, Outcome.REJECTED, ready)
        if held is not None:
            possible.append((ready, held))
    if possible:
        return _open(index, possible)
    return _let_in(index, candidates[letting_in:], subject, at)


def _let_in(index: Index, candidates: Sequence[Ready], subject: Subject, at: datetime) -> Decision:
    possible: list[tuple[Ready, frozenset[str]]] = []
    failed: list[tuple[Ready, frozenset[str]]] = []
    for ready in candidates:
        held = _held(ready.tests, subject)
        if held is None:
            continue
        lacking = _lack(ready, subject, at) if held == MET else Lack(missing=held)
        if lacking == NOTHING:
            return _decision(index, Outcome.ACCEPTED, ready)
        if lacking.unmet:
            failed.append((ready, lacking.unmet))
        else:
            possible.append((ready, lacking.missing))
    if possible:
        return _open(index, possible)
    first = failed[0][0] if failed else None
    older = None if first else next((r for r in candidates if _is_older(r, subject)), None)
    return _decision(index, Outcome.REJECTED, first, unmet=_names(failed), older=older)


def _is_older(ready: Ready, subject: Subject) -> bool:
    """Say whether a rule would match, were the file not of an older version than its floor."""
    product = ready.rule.product
    if product is None or not is_below(product, subject):
        return False
    return all(test(subject) == MET for name, test in ready.tests if name != "product")


def reach(ready: Ready, subject: Subject) -> Held:
    """Return how a rule matches, what it spares left out."""
    held = _held(ready.tests, subject)
    if held is None:
        return UNMET
    for _, tests in ready.spared:
        spared = _held(tests, subject)
        if spared == MET:
            return UNMET
        if spared is not None:
            held |= spared
    return held


def _held(tests: Sequence[tuple[str, Test]], subject: Subject) -> Held:
    """Return `all_of` the tests, without a generator's cost: this runs once a candidate."""
    missing = MET
    for _, test in tests:
        held = test(subject)
        if held is None:
            return UNMET
        if held:
            missing |= held
    return missing


def _lack(ready: Ready, subject: Subject, at: datetime) -> Lack:
    """Return what the signers a rule relies on lack of its requirements."""
    unmet: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    for reliance in ready.relies:
        one = lack_of(reliance, ready.requirements, subject, at)
        unmet |= one.unmet
        missing |= one.missing
    return Lack(unmet=unmet, missing=missing)


def _open(index: Index, possible: Sequence[tuple[Ready, frozenset[str]]]) -> Decision:
    return _decision(index, Outcome.INDETERMINATE, possible[0][0], missing=_names(possible))


def _names(found: Iterable[tuple[Ready, frozenset[str]]]) -> tuple[str, ...]:
    return tuple(sorted(frozenset[str]().union(*(names for _, names in found))))


def _decision(
    index: Index,
    outcome: Outcome,
    ready: Ready | None = None,
    *,
    missing: tuple[str, ...] = (),
    unmet: tuple[str, ...] = (),
    older: Ready | None = None,
) -> Decision:
    return Decision(
        outcome=outcome,
        stopped=index.mode is not Mode.MONITOR and outcome is not Outcome.ACCEPTED,
        rule=ready.rule.id if ready else "",
        action=ready.rule.action if ready else None,
        missing=missing,
        unmet=unmet,
        older=older.rule.id if older else "",
        floor=older.rule.product.minimum_version if older and older.rule.product else "",
    )


def _word(ready: Ready, subject: Subject, at: datetime, decision: Decision) -> RuleWord:
    each = [(name, test(subject)) for name, test in ready.tests]
    held = all_of(one for _, one in each)
    denies = ready.rule.action is Action.DENY
    lacking = Lack() if denies or held != MET else _lack(ready, subject, at)
    spared = next((who for who, tests in ready.spared if _held(tests, subject) == MET), "")
    missing = (reach(ready, subject) if denies and not spared else held) or frozenset()
    return RuleWord(
        rule=ready.rule.id,
        action=ready.rule.action,
        matched=held == MET,
        decided=bool(decision.rule) and decision.rule == ready.rule.id,
        failed=tuple(name for name, one in each if one is None),
        missing=tuple(sorted(missing | lacking.missing)),
        unmet=tuple(sorted(lacking.unmet)),
        spared=spared if held is not None else "",
    )
