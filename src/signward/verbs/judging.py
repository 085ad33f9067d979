"""Judging one file of a scan: itself, then the members of the container it is.

What runs in a worker process.  Whatever happens to one file becomes a record about
that file; nothing but a fault of the caller's own options ends the scan.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import msgspec

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.inventory.classify import KINDS
from signward.inventory.containers import Member, open_members
from signward.policy.case import BY_PACKAGE
from signward.policy.record import Record, UnruledRecord, safe_text
from signward.state import Outcome, Source
from signward.verbs.bundles import BUNDLE
from signward.verbs.epoch import horizon_of
from signward.verbs.tasks import Job, Judge, Result, Task, entry_of, undecided
from signward.wire.source import BytesSource, open_source

TIME_LIMIT = 600
"""Seconds for one file and all its members in a worker: a 100 GB file hashes in 100."""


class _TimeUpError(Exception):
    """The alarm rang."""


def judge_task(task: Task, job: Job, judge: Judge) -> Result:
    """Judge one file.  Raises only ``EvidenceError`` (the caller's options are at fault)."""
    try:
        if task.kind == BUNDLE:
            return _judge_folder(task, job, judge)
        with open_source(task.path) as source:
            if source.identity != task.identity:
                return _undecided(task, job, changed(task.path))
            records, members = _judge_all(source, task, job, judge)
            source.check_unchanged()
            # Nothing tells the cache that a file beside this one changed.
            keep = 0 if KINDS[task.kind].beside else horizon_of(records, job.at)
            return Result(entry_of(records, members), keep)
    except UnreadableError as error:
        return _undecided(task, job, error.finding)
    except _TimeUpError:
        return _undecided(task, job, _out_of_time(task.path))
    except EvidenceError:
        raise
    except Exception as error:  # noqa: BLE001  one file must not end a scan of a million
        return _undecided(task, job, failed(task.path, f"{type(error).__name__}: {error}"))


def _judge_folder(task: Task, job: Job, judge: Judge) -> Result:
    """Judge a folder by its name; one that only looks like a bundle has no record."""
    record = _judge_one(BytesSource(task.path, b""), task.kind, "", job, judge)
    return Result(entry_of(() if record.cause == Code.NOT_A_FILE else (record,)))


def _judge_all(
    source: Source, task: Task, job: Job, judge: Judge
) -> tuple[list[Record], Counter[str]]:
    records: list[Record] = []
    members: Counter[str] = Counter()
    if job.wants(task.kind) or job.packaged:
        records.append(_judge_one(source, task.kind, "", job, judge))
    findings: list[Finding] = []
    if job.containers and KINDS[task.kind].container and not _is_packaged(records, job):
        inner = open_members(source, task.kind, limits=job.limits, wanted=job.wants)
        records += _judge_members(inner, task.path, members, findings, job, judge)
    if findings:
        records[:0] = [_with_findings(task, job, findings, records)]
    return records, members


_DENIALS = ("block_lists", "feeds", "dbx")
"""Options that may deny a member, whoever vouches for the container."""


def _is_packaged(records: list[Record], job: Job) -> bool:
    """Say whether a container is vouched for by its package: so is all that is in it.

    Where lists deny files, each member is asked about all the same.
    """
    if any(getattr(job.options, name, ()) for name in _DENIALS):
        return False
    return any(
        one.rule == BY_PACKAGE and one.outcome is Outcome.ACCEPTED and one.unruled is None
        for one in records
    )


def _judge_members(
    inner: Iterator[Member | Finding],
    container: str,
    members: Counter[str],
    findings: list[Finding],
    job: Job,
    judge: Judge,
) -> Iterator[Record]:
    for item in inner:
        if isinstance(item, Finding):
            findings.append(item)
            continue
        members[item.kind] += 1
        if item.source is not None:
            yield _judge_one(item.source, item.kind, container, job, judge)


def _judge_one(source: Source, kind: str, container: str, job: Job, judge: Judge) -> Record:
    try:
        return judge(source, kind, container)
    except BadInputError as error:  # a verb says this in its verdict; a judge may raise it
        finding = error.finding
        return undecided(source.name, kind, (finding,), job.at, container=container)


def _with_findings(task: Task, job: Job, findings: list[Finding], records: list[Record]) -> Record:
    """Return the container's own record with what its members' reading found.

    A record of the container that stands first in ``records`` is taken out and merged:
    what reads in two ways is not accepted by a signature over one of them.
    """
    own = undecided(task.path, task.kind, tuple(findings), job.at, size=task.identity.size)
    if not records or records[0].subject != own.subject:
        return own
    judged = _also_unruled(records.pop(0), own)
    if judged.outcome is not Outcome.ACCEPTED or own.outcome is Outcome.ACCEPTED:
        return msgspec.structs.replace(judged, findings=judged.findings + own.findings)
    return msgspec.structs.replace(
        judged,
        outcome=own.outcome,
        cause=own.cause,
        message=own.message,
        rule=own.rule,
        findings=judged.findings + own.findings,
    )


def _also_unruled(judged: Record, own: Record) -> Record:
    """Return a record rules decided with signatures that are worth no more than the container."""
    if judged.unruled is None or own.outcome is Outcome.ACCEPTED:
        return judged
    worth = UnruledRecord(outcome=own.outcome, cause=own.cause)
    return msgspec.structs.replace(judged, unruled=worth)


def _undecided(task: Task, job: Job, finding: Finding) -> Result:
    record = undecided(task.path, task.kind, (finding,), job.at, size=task.identity.size)
    return Result(entry_of((record,)))


def changed(path: str) -> Finding:
    """Return the finding about a file that another one replaced during the scan."""
    return Finding(
        code=Code.CHANGED_WHILE_READ,
        effect=Effect.UNKNOWN,
        subject=safe_text(path),
        found="a file that changed between the walk and its judgement",
        required="the same file from the walk to the verdict",
        hint="scan again when nothing writes to it",
    )


def failed(path: str, why: str) -> Finding:
    """Return the finding about a file on which the judge itself broke down."""
    return Finding(
        code=Code.JUDGE_FAILED,
        effect=Effect.UNKNOWN,
        subject=safe_text(path),
        found=safe_text(why),
        required="a judgement",
        hint="this is a defect of Signward, or memory ran out: please report it",
    )


def _out_of_time(path: str) -> Finding:
    return Finding(
        code=Code.LIMIT_EXCEEDED,
        effect=Effect.UNKNOWN,
        subject=safe_text(path),
        found="a judgement still under way",
        required=f"at most {TIME_LIMIT} seconds for one file",
    )


class _Worker:
    """A worker process's share: its job and the judge made once from it."""

    job: Job | None = None
    judge: Judge | None = None


def start_worker(job: Job) -> None:
    """Prepare this process: Ctrl-C is the parent's to answer, an alarm bounds each file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _ring)
    _Worker.job = job
    _Worker.judge = None


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _TimeUpError


def run_tasks(tasks: tuple[Task, ...]) -> tuple[Result, ...]:
    """Judge ``tasks`` in this worker.  Raises ``EvidenceError``."""
    job = _Worker.job
    if job is None:
        raise RuntimeError("start_worker was not called")
    if _Worker.judge is None:
        _Worker.judge = job.factory(job.options)
    return tuple(_run_timed(task, job, _Worker.judge) for task in tasks)


def _run_timed(task: Task, job: Job, judge: Judge) -> Result:
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
    try:
        return judge_task(task, job, judge)
    except _TimeUpError:  # it rang on the way out
        return _undecided(task, job, _out_of_time(task.path))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
