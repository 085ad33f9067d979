"""Scan: walk, classify, look up, judge in parallel, remember.

Records come in the order of the walk, whatever process finished first.  The scan holds
a bounded window of files; a killed worker costs the one file it was judging; Ctrl-C
keeps every verdict reached so far in the cache.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from signward.findings import Effect
from signward.inventory.cache import MAX_AGE_SECONDS, Cache, Entry, settled
from signward.inventory.classify import KINDS
from signward.inventory.containers import Limits
from signward.inventory.walk import Folder, Glance, Trouble, WalkOptions, walk_folders
from signward.policy.record import Record
from signward.state import Outcome, Source
from signward.verbs.epoch import code_epoch, good_until, trust_epoch
from signward.verbs.judging import Job, Judge, JudgeFactory, Result, Task, undecided
from signward.verbs.pool import WorkerPool
from signward.verbs.sighting import sightings

BATCH_TASKS = 32
"""Files judged per call of a worker: the call costs about as much as one small file."""

BATCH_BYTES = 16 * 1024 * 1024
"""A batch ends here, so that large files spread over the workers."""

BATCH_ITEMS = 4096
"""Files of any kind per batch: bounds what a batch of text files holds."""

WINDOW = 4
"""Batches under way per worker."""

COMMIT_SECONDS = 1.0
"""The cache is written at least this often, so that an interrupted scan loses little."""


def default_judge(options: Any) -> Judge:
    """Return the judge that `signward verify` uses, for ``verbs.context.Options``."""
    from signward.policy.record import record
    from signward.verbs.context import Context
    from signward.verbs.verify import assess

    context = Context(options)

    def judge(source: Source, kind: str, container: str) -> Record:
        verdict = assess(source, context)
        return record(verdict, kind=kind, size=source.length, container=container)

    return judge


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What to scan and how.  ``trust`` is ``verbs.context.Options``; 0 jobs: one per CPU."""

    paths: tuple[str, ...]
    trust: Any
    jobs: int = 0
    cache: Path | None = None
    walk: WalkOptions = field(default_factory=WalkOptions)
    limits: Limits = field(default_factory=Limits)
    containers: bool = True
    only: frozenset[str] = frozenset()
    factory: JudgeFactory = default_judge


@dataclass(slots=True)
class Tally:
    """What the scan has seen so far; read it at any time."""

    files: int = 0
    judged: int = 0
    cached: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    done: int = 0
    """Files whose records were handed out (or that have none): what progress counts."""


@dataclass(slots=True)
class _Batch:
    """Files in the order of the walk: settled ones, and places of those under way.

    ``begun`` is from before any of its files was read, in nanoseconds since 1970.
    """

    begun: int = field(default_factory=time.time_ns)
    items: list[Result | Task] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    seen: int = 0
    size: int = 0

    @property
    def full(self) -> bool:
        return (
            len(self.tasks) >= BATCH_TASKS
            or self.size >= BATCH_BYTES
            or self.seen >= BATCH_ITEMS
        )  # fmt: skip


class Scan:
    """One scan.  Iterate :meth:`run`; ``tally`` counts along."""

    def __init__(self, options: ScanOptions) -> None:
        self.options = options
        self.tally = Tally()
        asked: datetime | None = options.trust.at
        self.at = asked or datetime.now(UTC)
        self._timeless = asked is not None
        trust = replace(options.trust, at=self.at)
        self._job = Job(
            factory=options.factory,
            options=trust,
            at=self.at,
            limits=options.limits,
            containers=options.containers,
        )
        self._wanted = frozenset(kind for kind in KINDS if _concerns(options, kind))
        self._cache = self._open_cache(options)
        self._committed = time.monotonic()

    def _open_cache(self, options: ScanOptions) -> Cache | None:
        if options.cache is None:
            return None
        code = code_epoch()
        epoch = trust_epoch(options.trust, options.limits, options.containers, code=code)
        return Cache(options.cache, epoch, self._now, classifier=code)

    def run(self) -> Iterator[Record]:
        """Yield the records in walk order.

        Raises ``EvidenceError`` when an option is at fault.  However it ends, what was
        judged is in the cache and the workers are gone.
        """
        started = time.monotonic()
        pool = WorkerPool(self._job, self.options.jobs or os.cpu_count() or 1)
        try:
            for result in self._results(pool):
                self.tally.members.update(result.entry.members)
                for record in result.entry.records:
                    self.tally.outcomes[record.outcome] += 1
                    yield record
        finally:
            pool.close()
            self.tally.seconds = time.monotonic() - started
            self._close_cache()

    def _close_cache(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self.tally.warnings += self._cache.warnings

    def _results(self, pool: WorkerPool) -> Iterator[Result]:
        """Keep a window of batches under way and give back the oldest."""
        batches = self._batches()
        first = list(islice(batches, 2))
        if len(first) < 2:
            pool.stay_local()
        waiting: deque[tuple[_Batch, Any]] = deque()
        try:
            for batch in _chain(first, batches):
                waiting.append((batch, pool.submit(tuple(batch.tasks))))
                while len(waiting) >= WINDOW * pool.jobs:
                    yield from self._finish(*waiting.popleft(), pool)
            while waiting:
                yield from self._finish(*waiting.popleft(), pool)
        finally:
            for batch, ticket in waiting:  # interrupted: keep what is already known
                self._remember(batch, pool.ready(ticket))

    def _finish(self, batch: _Batch, ticket: Any, pool: WorkerPool) -> Iterator[Result]:
        results = pool.collect(ticket)
        self._remember(batch, results)
        fresh = iter(results)
        self.tally.done += batch.seen
        for item in batch.items:
            yield next(fresh) if isinstance(item, Task) else item

    def _remember(self, batch: _Batch, results: tuple[Result, ...]) -> None:
        self.tally.judged += len(results)
        if self._cache is None:
            return
        for task, result in zip(batch.tasks, results, strict=False):
            if result.keep and settled(task.identity, batch.begun):
                until = good_until(result.entry.records, self.at, timeless=self._timeless)
                self._cache.keep(
                    task.path, task.identity, result.entry, judged=self._since, good_until=until
                )
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self._cache.commit(self._now)
            self._committed = time.monotonic()

    @property
    def _now(self) -> int:
        return int(self.at.timestamp())

    @property
    def _since(self) -> int:
        """From when on a verdict counts: always for a fixed instant, else from this scan."""
        return 0 if self._timeless else self._now

    def _batches(self) -> Iterator[_Batch]:
        batch = _Batch()
        walked = walk_folders(self.options.paths, self.options.walk)
        for sighted in sightings(walked, self._wanted, self._cache, self._now):
            self.tally.files += len(sighted.kinds)
            self.tally.kinds.update(sighted.kinds)
            batch.seen += len(sighted.kinds)
            for seen in sighted.items:
                if batch.full:
                    yield batch
                    batch = _Batch()
                if isinstance(seen, Trouble):
                    self._trouble(seen, batch)
                else:
                    self._place(seen, batch)
        yield batch

    def _trouble(self, trouble: Trouble, batch: _Batch) -> None:
        batch.seen += 1
        if trouble.finding.effect is Effect.NOTE:
            self.tally.left_out.append(str(trouble.finding))
            return
        record = undecided(trouble.path, "", (trouble.finding,), self.at)
        batch.items.append(Result(entry=Entry(records=(record,))))

    def _place(self, seen: Glance, batch: _Batch) -> None:
        """Put a file to judge or to open in the batch, or what is known of it."""
        cache = self._cache
        entry = cache.find(seen.path, seen.identity, self._now) if cache is not None else None
        if entry is not None:
            self.tally.cached += 1
            batch.items.append(Result(entry=entry))
            return
        task = Task(path=seen.path, kind=seen.kind, identity=seen.identity)
        batch.items.append(task)
        batch.tasks.append(task)
        batch.size += seen.identity.size


def _concerns(options: ScanOptions, kind: str) -> bool:
    """Say whether a scan judges files of this kind or opens them."""
    if options.only and kind not in options.only:
        return False
    known = KINDS[kind]
    return known.signable or (options.containers and bool(known.container))


def _chain(first: list[_Batch], rest: Iterator[_Batch]) -> Iterator[_Batch]:
    yield from first
    yield from rest


def count_files(options: ScanOptions) -> int:
    """Walk without opening anything; return how many files a scan will look at."""
    walked = walk_folders(options.paths, replace(options.walk, stable=False))
    return sum(len(item.items) if isinstance(item, Folder) else 1 for item in walked)


__all__ = ["MAX_AGE_SECONDS", "Scan", "ScanOptions", "Tally", "count_files", "default_judge"]
