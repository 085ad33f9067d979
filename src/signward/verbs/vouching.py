"""Who vouches for a file: the order in which ways are asked (decision 54).

Its own signature first, then the package that brought it, then a catalog that lists it, then
nobody.  The first way that accepts decides.  A denial (revoked, blocked, refused by firmware)
stands whoever vouches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signward.findings import GRAVITY, Code, Effect, Finding
from signward.policy.case import BY_CATALOG, BY_PACKAGE, LISTED_BY, Case
from signward.policy.evaluate import evaluate, with_remarks
from signward.state import Outcome, Source, Verdict
from signward.verbs.context import Context
from signward.verbs.feeds import publishers_revoked
from signward.verbs.packages.word import Word, word_for

DENIED = frozenset(
    {Code.REVOKED, Code.DISTRUSTED, Code.BLOCKED, Code.PUBLISHER_REVOKED, Code.DIGEST_REVOKED}
    | {Code.SBAT_REVOKED, Code.REPLAYED, Code.KERNEL_POLICY, Code.CHANGED_WHILE_READ}
    | {Code.UNREADABLE}
)
"""Causes that no other way outweighs: somebody entitled to said no, or nothing was read."""


_LISTED = frozenset({"catalog", LISTED_BY})
"""Facts of who listed a file."""


def vouched(verdict: Verdict, source: Source, context: Context) -> Verdict:
    """Return the verdict with the word of the system's packages, in the order above.

    ``verdict`` is what the file's own signatures and the catalogs came to.
    """
    word = word_for(source, context.system) if context.system is not None else None
    if word is None or _is_denied(verdict):
        return verdict
    accepted = verdict.outcome is Outcome.ACCEPTED
    if accepted and verdict.rule != BY_CATALOG:
        return _noted(verdict, word)
    by_package = _by_package(verdict, word, context)
    if by_package.outcome is Outcome.ACCEPTED:
        return by_package
    if accepted or verdict.signatures:
        return _noted(verdict, word)
    return by_package


def _is_denied(verdict: Verdict) -> bool:
    return any(f.effect is Effect.REJECT and f.code in DENIED for f in verdict.findings)


def _by_package(verdict: Verdict, word: Word, context: Context) -> Verdict:
    """Decide by the package's word alone; what else was found stays as a note.

    Whatever the file's own form is, these are the octets that the package's signer listed.
    """
    notes = _at_most(Effect.NOTE, (f for f in verdict.findings if f.code is not Code.UNSIGNED))
    case = Case(
        subject=verdict.subject,
        format=verdict.format,
        judged=word.signatures if word.vouches else (),
        findings=(*publishers_revoked(word.signatures, context), *word.findings, *notes),
        at=verdict.at,
        vouched=BY_PACKAGE if word.vouches else "",
        digests=verdict.digests,
        facts={**_own_facts(verdict), **word.facts},
    )
    return evaluate(case, context.policy)


def _own_facts(verdict: Verdict) -> dict[str, str | int]:
    """Return what is told of the file itself, not of a catalog that listed it."""
    return {name: value for name, value in verdict.facts.items() if name not in _LISTED}


def _noted(verdict: Verdict, word: Word) -> Verdict:
    """Return a verdict with what packages say beside; that they say otherwise is a warning."""
    return with_remarks(verdict, tuple(_at_most(Effect.WARN, word.findings)), word.facts)


def _at_most(limit: Effect, findings: Iterable[Finding]) -> Iterator[Finding]:
    for finding in findings:
        graver = GRAVITY[finding.effect] > GRAVITY[limit]
        yield finding.with_effect(limit) if graver else finding
