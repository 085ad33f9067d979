"""Judging one delivered file: itself, and whatever lies in it.

1. What a deny rule or a block list names is refused, and so is what holds such a thing.
2. What the policy lets in by itself is let in, if nothing in it could be denied unseen.
3. An archive, which runs nothing by itself, is let in if everything in it is.
4. Kinds that the caller lets pass (texts, pictures) are let in unless 1 says otherwise.
5. The rest is not: it is refused, or nobody can tell.

The path that rules see is the one below the delivery: whoever delivers has chosen it, so no rule
may let in by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from signward.errors import PolicyError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.formats import peek_at
from signward.frozen import Frozen, replace
from signward.inventory.classify import KINDS, classify
from signward.inventory.containers import SEPARATOR, Member, open_members
from signward.policy.record import one_line, record, safe_text
from signward.policy.rules.decide import FINAL
from signward.policy.rules.force import in_force
from signward.policy.rules.model import Action, Rule, RuleSet
from signward.state import Companions, Outcome, Source
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source

ARCHIVES = frozenset({"zip", "tar", "gzip", "bzip2", "xz", "zstd"})
"""Kinds that are nothing but what they hold: unpacking them runs nothing."""

PASSABLE = frozenset({"text", "image", "font", "pdf", "empty", "x509", "crl"})
"""Kinds that a caller may let pass unjudged: nothing starts them."""


_DENIED = FINAL | {Code.POLICY_DENIED}
"""Causes that say that somebody refuses the very file."""


class Judged(Frozen, frozen=True, kw_only=True):
    """What the gate makes of a file.

    ``rule`` let in or refused (``pass KIND`` and ``members`` are the gate's own); ``why`` tells
    the rest in one line, ``publisher`` who signed it.
    """

    outcome: Outcome
    rule: str = ""
    why: str = ""
    kind: str = ""
    publisher: str = ""


class _Word(NamedTuple):
    """What the policy says of one file or member."""

    name: str
    outcome: Outcome
    kind: str = ""
    rule: str = ""
    denied: bool = False
    why: str = ""
    publisher: str = ""


class PolicyJudge:
    """Judges files by the rules in force at one instant.

    Raises ``PolicyError`` for rules that let in whatever has the right name.
    """

    def __init__(
        self, rules: RuleSet, options: Options, at: datetime, passing: frozenset[str] = frozenset()
    ) -> None:
        _check_passing(passing)
        for rule in in_force(rules, at).rules:
            _check_rule(rule)
        self._denies = any(rule.action is Action.DENY for rule in rules.rules)
        self._context = Context(replace(options, rules=rules, at=at))
        self._passing = passing

    def judge(self, path: Path, name: str) -> Judged:
        """Return what becomes of a file of ours; ``name`` is its path below the delivery."""
        try:
            with open_source(path, name) as source, FolderCompanions(str(path.parent)) as beside:
                judged = self._judged(source, beside)
                source.check_unchanged()
                return judged
        except UnreadableError as error:
            return Judged(outcome=Outcome.INDETERMINATE, why=one_line(error.finding))

    def _judged(self, source: Source, beside: Companions) -> Judged:
        kind = classify(peek_at(source))
        own = self._word(source, kind, "", beside)
        if own.denied:
            return _refused(own, own)
        if not KINDS[kind].container:
            return _result(own)
        inside = list(self._inside(source, kind))
        denied = next((word for word in inside if word.denied), None)
        if denied is not None:
            return _refused(own, denied)
        if own.outcome is Outcome.ACCEPTED:
            hidden = next((w for w in inside if w.outcome is Outcome.INDETERMINATE), None)
            return _undecided(own, hidden) if hidden and self._denies else _result(own)
        return _of_members(own, inside) if kind in ARCHIVES else _result(own)

    def _inside(self, source: Source, kind: str) -> Iterator[_Word]:
        """Yield a word for every member that counts, and for what kept some from being seen."""
        accepted: list[str] = []
        for item in open_members(source, kind, wanted=lambda kind: kind not in self._passing):
            if isinstance(item, Finding):
                if item.effect in (Effect.UNKNOWN, Effect.REJECT):
                    name = safe_text(item.subject)
                    yield _Word(name, Outcome.INDETERMINATE, why=one_line(item))
                continue
            if item.source is None:
                continue
            word = self._word(item.source, item.kind, source.name, None)
            covered = any(item.path.startswith(name) for name in accepted)
            if word.outcome is Outcome.ACCEPTED:
                accepted.append(item.path + SEPARATOR)
            if word.denied or not (covered or _is_only_archive(item)):
                yield word

    def _word(self, source: Source, kind: str, container: str, beside: Companions | None) -> _Word:
        verdict = assess(source, self._context, beside)
        made = record(verdict, kind=kind, size=source.length, container=container)
        denied = verdict.cause in _DENIED
        outcome, rule = verdict.outcome, verdict.rule
        if outcome is not Outcome.ACCEPTED and kind in self._passing and not denied:
            outcome, rule = Outcome.ACCEPTED, f"pass {kind}"
        return _Word(
            name=made.subject,
            kind=kind,
            outcome=outcome,
            rule=rule,
            denied=denied,
            why="" if outcome is Outcome.ACCEPTED else made.message,
            publisher=made.publisher.name if made.publisher else "",
        )


def _is_only_archive(member: Member) -> bool:
    return member.kind in ARCHIVES


def _result(own: _Word) -> Judged:
    return Judged(outcome=own.outcome, rule=own.rule, why=own.why, kind=own.kind,
                  publisher=own.publisher)  # fmt: skip


def _refused(own: _Word, by: _Word) -> Judged:
    why = by.why if by is own else f"it holds {by.name}: {by.why}"
    return Judged(outcome=Outcome.REJECTED, rule=by.rule, why=why, kind=own.kind,
                  publisher=own.publisher)  # fmt: skip


def _undecided(own: _Word, hidden: _Word) -> Judged:
    why = f"something in it could be denied: {hidden.why}"
    return Judged(outcome=Outcome.INDETERMINATE, rule=hidden.rule, why=why, kind=own.kind,
                  publisher=own.publisher)  # fmt: skip


def _of_members(own: _Word, inside: list[_Word]) -> Judged:
    """Judge an archive by its members; an empty one holds nothing that could be let in."""
    if not inside:
        return _result(own)
    worst = min(inside, key=lambda word: _BADNESS.index(word.outcome))
    if worst.outcome is Outcome.ACCEPTED:
        return Judged(outcome=Outcome.ACCEPTED, rule="members", kind=own.kind,
                      why=f"{len(inside)} of its members judged, all let in")  # fmt: skip
    return Judged(outcome=worst.outcome, rule=worst.rule, kind=own.kind,
                  why=f"it holds {worst.name}: {worst.why}")  # fmt: skip


_BADNESS = (Outcome.REJECTED, Outcome.INDETERMINATE, Outcome.ACCEPTED)


def _check_passing(kinds: frozenset[str]) -> None:
    for kind in sorted(kinds - PASSABLE):
        raise PolicyError("--pass", repr(kind[:40]), f"one of {', '.join(sorted(PASSABLE))}")


def _check_rule(rule: Rule) -> None:
    """Raise ``PolicyError`` for a rule that lets in by what whoever delivers may choose."""
    firm = rule.publisher or rule.signers or rule.identity or rule.digest or rule.catalog
    if rule.action is not Action.DENY and not firm:
        raise PolicyError(
            f"rule {rule.id}", "nothing but names and places to let in by",
            "a signer, an identity, a digest or a catalog",
            hint="whoever delivers chooses path, product and kind himself",
        )  # fmt: skip
