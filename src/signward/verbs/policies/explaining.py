"""Explaining: what each rule of a policy has to say of one file."""

from __future__ import annotations

import os

from signward.errors import PolicyError, UnreadableError
from signward.formats import peek_at
from signward.frozen import Frozen
from signward.inventory.classify import classify
from signward.policy.record import Record, record
from signward.policy.rules.decide import decide, explain
from signward.policy.rules.decision import Decision, RuleWord
from signward.policy.rules.subject import Subject
from signward.verbs.context import Context
from signward.verbs.ruling import subject_for
from signward.verbs.verify import assess, unreadable
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source


class Explained(Frozen, frozen=True, kw_only=True):
    """A file's verdict, and what led the rules to it; nothing of them where it cannot be read."""

    record: Record
    subject: Subject | None = None
    decision: Decision | None = None
    words: tuple[RuleWord, ...] = ()


def explain_file(path: str, context: Context) -> Explained:
    """Return what the context's rules say of a file, one by one.

    Never raises for what the file is or holds.  Raises ``PolicyError`` without rules.
    """
    rules = context.rules
    if rules is None:
        raise PolicyError("explain", "no policy", "one: --policy FILE")
    try:
        folder = os.path.dirname(path)  # noqa: PTH120 - paths stay strings
        with open_source(path) as source, FolderCompanions(folder) as companions:
            verdict = assess(source, context, companions)
            subject = subject_for(verdict, classify(peek_at(source)), context)
            source.check_unchanged()
    except UnreadableError as error:
        return Explained(record=record(unreadable(path, error, context)))
    return Explained(
        record=record(verdict),
        subject=subject,
        decision=decide(rules, subject, context.at),
        words=explain(rules, subject, context.at),
    )
