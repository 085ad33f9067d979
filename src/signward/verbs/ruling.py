"""Rules over verdicts: what they ask of a file is got, then they decide."""

from __future__ import annotations

from signward.policy.record import record, safe_text
from signward.policy.rules.decide import decide
from signward.policy.rules.ruling import ruled, with_digests
from signward.policy.rules.sighted import CONTENT, WHOLE_FILE, subject_of
from signward.policy.rules.subject import Subject
from signward.state import Source, Stage, Verdict, Wanted
from signward.verbs.context import Context
from signward.wire.source import whole_digest

_FILE = "digest:file:"
_AUTHENTICODE = "digest:authenticode:"


def by_rules(verdict: Verdict, source: Source, kind: str, context: Context) -> Verdict:
    """Return a verdict as the context's rules decide it; as it is, if there are none.

    Rules say what is wanted: the last stage's question.  Digests that are asked for are told
    either way.
    """
    verdict = with_digests(verdict, _file_digests(source, context.asked))
    if context.rules is None or context.policy.stage is not Stage.ACCEPTED:
        return verdict
    subject = subject_for(verdict, kind, context)
    return ruled(verdict, decide(context.rules, subject, context.at), context.rules)


def subject_for(verdict: Verdict, kind: str, context: Context) -> Subject:
    """Return what rules are held against: the file where it really lies, on the context's host."""
    options = context.options
    path = safe_text(context.place(verdict.subject))
    return subject_of(record(verdict, kind=kind), options.host, options.tags, path)


def asked_content(asked: frozenset[str]) -> Wanted:
    """Return the slots whose digests rules may name."""
    algorithms = [a.removeprefix(_AUTHENTICODE) for a in asked if a.startswith(_AUTHENTICODE)]
    return frozenset((slot, algorithm) for slot in CONTENT for algorithm in algorithms)


def _file_digests(source: Source, asked: frozenset[str]) -> dict[str, bytes]:
    """Return the digests of all octets that rules name."""
    algorithms = sorted(a.removeprefix(_FILE) for a in asked if a.startswith(_FILE))
    return {f"{WHOLE_FILE}-{name}": whole_digest(source, name) for name in algorithms}
