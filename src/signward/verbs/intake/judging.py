"""Judging one delivered file: itself, and whatever lies in it.

1. What a deny rule or a block list names is refused, and so is what holds such a thing.
2. What the policy lets in by itself is let in, if nothing in it could be denied unseen.
3. An archive, by content and by name, runs nothing by itself: it is let in if everything in it is.
4. Kinds that the caller lets pass (texts, pictures), under names of such, are let in unless 1 says
   otherwise.
5. The rest is not: it is refused, or nobody can tell.

The path that rules see is the one below the delivery: whoever delivers has chosen it, so no rule
may let in by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from signward.errors import PolicyError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.formats import peek_at
from signward.frozen import Frozen, replace
from signward.inventory.classify import KINDS, classify, extension_of
from signward.inventory.containers import Member, open_members
from signward.policy.record import one_line, record, safe_text
from signward.policy.rules.decide import FINAL
from signward.policy.rules.force import in_force
from signward.policy.rules.model import CONDITIONS, Action, Conditions, RuleSet
from signward.state import Companions, Outcome, Source
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source

ARCHIVES = frozenset({"zip", "tar", "gzip", "bzip2", "xz", "zstd"})
"""Kinds that are nothing but what they hold: unpacking them runs nothing."""

ARCHIVE_NAMES = frozenset(
    {"zip", "tar", "tgz", "gz", "tbz", "tbz2", "bz2", "txz", "xz", "tzst", "zst"}
)
"""Extensions of archives.  Under another name an archive may be a program as well: the names of its
members, or what lies between them, are lines of a batch file or a shell script."""

_UNCOVERED = 1 << 32
"""Deeper than any member."""

PASSABLE: Mapping[str, frozenset[str]] = {
    "text": frozenset({"txt", "text", "md", "rst", "adoc", "log", "csv", "tsv", "json", "yaml",
                       "yml", "toml", "sha256", "sha512"}),
    "image": frozenset({"png", "jpg", "jpeg", "gif", "ico", "cur"}),
    "font": frozenset({"ttf", "otf", "woff", "woff2"}),
    "pdf": frozenset({"pdf"}),
    "x509": frozenset({"pem", "crt", "cer", "der"}),
    "crl": frozenset({"crl", "pem"}),
    "empty": frozenset(),
}  # fmt: skip
"""Kinds that a caller may let pass unjudged, each with the extensions under which nothing starts
them: text is a program as ``x.hta``, and what begins like a picture may be one as ``x.js``."""

TEXTS = frozenset({"readme", "license", "licence", "copying", "notice", "authors", "changelog",
                   "changes", "news", "install", "contributing"})  # fmt: skip
"""Texts without an extension, whatever their case."""

FIRM = ("publisher", "signers", "identity", "digest", "catalog")
"""Conditions that whoever delivers cannot meet by a name, a place or a claim."""

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

    Raises ``PolicyError`` for rules and exceptions that let in whatever has the right name.
    """

    def __init__(
        self, rules: RuleSet, options: Options, at: datetime, passing: frozenset[str] = frozenset()
    ) -> None:
        _check_passing(passing)
        forced = in_force(rules, at)
        for rule in forced.rules:
            if rule.action is not Action.DENY:
                _check_conditions("rule", rule)
        for waiver in forced.waivers:
            _check_conditions("exception", waiver)
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
        if kind not in ARCHIVES:
            return _result(own)
        return _of_members(own, inside) if _is_named_so(source.name) else _misnamed(own)

    def _inside(self, source: Source, kind: str) -> Iterator[_Word]:
        """Yield a word for every member that counts, and for what kept some from being seen.

        What lies in a member that is let in is let in with it: members come depth first.
        """
        covering = _UNCOVERED
        for item in open_members(source, kind, wanted=lambda _: True, unpackable=True):
            if isinstance(item, Finding):
                if item.effect in (Effect.UNKNOWN, Effect.REJECT):
                    name = safe_text(item.subject)
                    yield _Word(name, Outcome.INDETERMINATE, why=one_line(item))
                continue
            if item.source is None:
                continue
            word = self._word(item.source, item.kind, source.name, None)
            covered = item.depth > covering
            if not covered:
                covering = item.depth if word.outcome is Outcome.ACCEPTED else _UNCOVERED
            if word.denied or not (covered or self._is_nothing_itself(item)):
                yield word

    def _is_nothing_itself(self, member: Member) -> bool:
        """Whether a member is nothing but its own members, or passes by its kind."""
        archive = member.kind in ARCHIVES and _is_named_so(member.path)
        return archive or self._passes(member.kind, member.path)

    def _passes(self, kind: str, name: str) -> bool:
        """Whether a kind passes under that name; an empty file does under any."""
        if kind not in self._passing:
            return False
        plain = kind == "text" and name.rpartition("/")[2].casefold() in TEXTS
        return plain or kind == "empty" or extension_of(name) in PASSABLE[kind]

    def _word(self, source: Source, kind: str, container: str, beside: Companions | None) -> _Word:
        verdict = assess(source, self._context, beside)
        made = record(verdict, kind=kind, size=source.length, container=container)
        denied = verdict.cause in _DENIED
        outcome, rule = verdict.outcome, verdict.rule
        why = made.message
        if outcome is not Outcome.ACCEPTED and kind in self._passing and not denied:
            if self._passes(kind, source.name):
                outcome, rule = Outcome.ACCEPTED, f"pass {kind}"
            else:
                why = f"{kind} that is not named as such: {why}"
        return _Word(
            name=made.subject,
            kind=kind,
            outcome=outcome,
            rule=rule,
            denied=denied,
            why="" if outcome is Outcome.ACCEPTED else why,
            publisher=made.publisher.name if made.publisher else "",
        )


def _is_named_so(name: str) -> bool:
    return extension_of(name) in ARCHIVE_NAMES


def _misnamed(own: _Word) -> Judged:
    why = f"it is an archive that is not named as one (.zip, .tar ...): {own.why}"
    return Judged(outcome=own.outcome, rule=own.rule, why=why, kind=own.kind)


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
    for kind in sorted(kinds - PASSABLE.keys()):
        raise PolicyError("--pass", repr(kind[:40]), f"one of {', '.join(sorted(PASSABLE))}")


def _check_conditions(what: str, conditions: Conditions) -> None:
    """Raise ``PolicyError`` for what lets in by that which whoever delivers may choose."""
    if any(getattr(conditions, field) for field in FIRM):
        return
    chosen = " and ".join(field for field in CONDITIONS if getattr(conditions, field))
    raise PolicyError(
        f"{what} {conditions.id}", f"nothing but {chosen} to let in by",
        f"one of {', '.join(FIRM)} as well",
        hint="whoever delivers a file chooses where it lies, what it is called, what kind it is "
        "and where it is said to come from",
    )  # fmt: skip
