"""What a scan hands to its workers and gets back: plain values, cheap to load and to send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from signward.findings import Effect, Finding, worst
from signward.inventory.cache import Entry, Place
from signward.inventory.classify import KINDS
from signward.inventory.limits import Limits
from signward.policy.record import Record, finding_record, one_line, safe_text, to_json
from signward.state import Outcome, Source, Stage
from signward.wire.source import Identity

Judge = Callable[[Source, str, str], Record]
"""Judges a source of a kind, a member of the container named last (or empty)."""

JudgeFactory = Callable[[Any], Judge]
"""Makes a judge from picklable options, once per process."""

RULE = "scan"
"""Rule named by records that no policy decided: the file never came that far."""


class Task(msgspec.Struct, frozen=True, gc=False):
    """A file to judge, as the walk saw it."""

    path: str
    kind: str
    identity: Identity
    place: Place


class Job(msgspec.Struct, frozen=True):
    """What all tasks of a scan share.  Picklable.

    ``further`` kinds are judged although no signature scheme exists for them; with ``packaged``
    files of every kind are, for packages may vouch for them, but not members of containers.
    """

    factory: JudgeFactory
    options: Any
    at: datetime
    limits: Limits
    containers: bool = True
    further: frozenset[str] = frozenset()
    packaged: bool = False

    def wants(self, kind: str) -> bool:
        """Say whether files and members of a kind are judged."""
        return KINDS[kind].signable or kind in self.further


class Result(msgspec.Struct, frozen=True, gc=False):
    """What a task came to; ``keep`` until when it may be used again, 0 if not at all.

    In seconds since 1970, if the verdict was reached at "now".
    """

    entry: Entry
    keep: int = 0


def entry_of(records: Iterable[Record], members: Mapping[str, int] | None = None) -> Entry:
    """Return what a file came to as it is stored and sent."""
    return Entry(lines=tuple(map(to_json, records)), members=dict(members or {}))


def undecided(
    subject: str,
    kind: str,
    findings: tuple[Finding, ...],
    at: datetime,
    *,
    container: str = "",
    size: int | None = None,
) -> Record:
    """Return the record of what no format judged.  It is never ACCEPTED.

    REJECTED when a finding rejects, else INDETERMINATE.
    """
    gravity = worst(findings)
    deciding = next(f for f in findings if f.effect is gravity)
    outcome = Outcome.REJECTED if gravity is Effect.REJECT else Outcome.INDETERMINATE
    name = safe_text(subject)
    return Record(
        subject=name,
        subject_hex="" if name == subject else subject.encode("utf-8", "surrogateescape").hex(),
        container=safe_text(container),
        kind=kind,
        size=size,
        stage=Stage.ACCEPTED,
        outcome=outcome,
        cause=deciding.code.value,
        message=one_line(deciding),
        rule=RULE,
        at=at,
        findings=tuple(finding_record(finding) for finding in findings),
    )
