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
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from signward.findings import Effect
from signward.frozen import Frozen, replace
from signward.inventory.cache import MAX_AGE_SECONDS, Cache, Entry, Place, settled
from signward.inventory.classify import KINDS
from signward.inventory.limits import Limits
from signward.inventory.walk import Folder, Glance, Trouble, WalkOptions, walk_folders
from signward.policy.record import Record
from signward.state import Source
from signward.verbs.bundles import BUNDLE, noting_bundles
from signward.verbs.epoch import code_epoch, rules_epoch, trust_epoch
from signward.verbs.sighting import sightings
from signward.verbs.tasks import Job, Judge, JudgeFactory, Result, Task, entry_of, undecided

if TYPE_CHECKING:
    from signward.verbs.packages.system import System
    from signward.verbs.pool import Ticket, WorkerPool

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


FAR = 253_402_300_799
"""Seconds since 1970 of the last instant a datetime can hold (9999-12-31T23:59:59Z)."""


def default_judge(options: Any) -> Judge:
    """Return the judge that `signward verify` uses, for ``verbs.context.Options``."""
    from signward.policy.record import record
    from signward.verbs.context import Context
    from signward.verbs.verify import assess, assess_path
    from signward.wire.companions import FolderCompanions

    context = Context(options)

    def judge(source: Source, kind: str, container: str) -> Record:
        if kind == BUNDLE:  # its name is all that the source holds: a folder is opened by it
            return record(assess_path(source.name, context), kind=kind)
        if KINDS[kind].beside and not container:
            folder = os.path.dirname(source.name)  # noqa: PTH120 - paths stay strings
            with FolderCompanions(folder) as companions:
                verdict = assess(source, context, companions)
        else:
            verdict = assess(source, context)
        return record(verdict, kind=kind, size=source.length, container=container)

    return judge


class ScanOptions(Frozen, frozen=True, kw_only=True):
    """What to scan and how.  ``trust`` is ``verbs.context.Options``; 0 jobs: one per CPU."""

    paths: tuple[str, ...]
    trust: Any
    jobs: int = 0
    cache: Path | None = None
    walk: WalkOptions = WalkOptions()
    limits: Limits = Limits()
    containers: bool = True
    only: frozenset[str] = frozenset()
    factory: JudgeFactory = default_judge


class Tally(msgspec.Struct):
    """What the scan has seen so far; read it at any time."""

    files: int = 0
    judged: int = 0
    cached: int = 0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    members: Counter[str] = msgspec.field(default_factory=Counter)
    left_out: list[str] = []
    warnings: list[str] = []
    seconds: float = 0.0
    done: int = 0
    """Files whose records were handed out (or that have none): what progress counts."""


class _Batch(msgspec.Struct):
    """Files in the order of the walk: entries of settled ones, and tasks under way.

    ``begun`` is from before any of its files was read, in nanoseconds since 1970; ``size``
    counts the octets to judge and those of the entries held.
    """

    begun: int = msgspec.field(default_factory=time.time_ns)
    items: list[Entry | Task] = []
    tasks: list[Task] = []
    kinds: list[str] = []
    seen: int = 0
    size: int = 0

    def add(self, task: Task) -> None:
        """Take up what is to be judged."""
        self.items.append(task)
        self.tasks.append(task)
        self.size += task.identity.size

    @property
    def full(self) -> bool:
        return (
            len(self.tasks) >= BATCH_TASKS
            or self.size >= BATCH_BYTES
            or self.seen >= BATCH_ITEMS
        )  # fmt: skip


class Scan:
    """One scan.  Iterate :meth:`run`; ``tally`` counts along.

    Workers are started when there is something to judge.
    """

    def __init__(self, options: ScanOptions) -> None:
        self.tally = Tally()
        asked: datetime | None = options.trust.at
        self.at = asked or datetime.now(UTC)
        self._timeless = asked is not None
        options = replace(options, trust=_followed(options.trust))
        self.options = options
        self._system = _system(options.trust, self.at)
        self.tally.warnings += self._system.ledger.troubles if self._system else ()
        trust = replace(options.trust, at=self.at)
        self._job = Job(
            factory=options.factory,
            options=trust,
            at=self.at,
            limits=options.limits,
            containers=options.containers,
            further=_further(options),
            packaged=self._system is not None,
        )
        further = self._job.further
        self._judged = frozenset(kind for kind in KINDS if _concerns(options, kind, further))
        self._wanted = self._judged | (options.only or KINDS.keys() if self._system else set())
        self._cache = self._open_cache(options)
        self._committed = time.monotonic()
        self._jobs = options.jobs or os.cpu_count() or 1
        self._pool: WorkerPool | None = None

    def _open_cache(self, options: ScanOptions) -> Cache | None:
        if options.cache is None:
            return None
        code = code_epoch()
        # Rules are told by themselves: what stands in them names no files of this machine.
        rules = rules_epoch(getattr(options.trust, "rules", None), self.at)
        trust = replace(options.trust, rules=None) if rules else options.trust
        state = ""
        if self._system is not None:  # likewise: its files are told by its own state
            trust, state = replace(trust, packages=None), self._system.state
        epoch = trust_epoch(trust, options.limits, options.containers, rules, state, code=code)
        return Cache(options.cache, epoch, self._now, classifier=code)

    def run(self) -> Iterator[bytes]:
        """Yield the records in walk order, each as a line of JSON (``policy.record``).

        Raises ``EvidenceError`` when an option is at fault.  However it ends, what was
        judged is in the cache and the workers are gone.
        """
        started = time.monotonic()
        try:
            for entry in self._entries():
                if entry.members:
                    self.tally.members.update(entry.members)
                yield from entry.lines
        finally:
            if self._pool is not None:
                self._pool.close()
            self.tally.seconds = time.monotonic() - started
            self._close_cache()

    def _close_cache(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self.tally.warnings += self._cache.warnings

    def _entries(self) -> Iterator[Entry]:
        """Keep a window of batches under way and give back the oldest."""
        batches = self._batches()
        first = list(islice(batches, 2))
        if len(first) < 2:  # starting workers would take longer than the work
            self._jobs = 1
        waiting: deque[tuple[_Batch, Ticket | None]] = deque()
        try:
            for batch in chain(first, batches):
                waiting.append((batch, self._submit(batch)))
                while len(waiting) >= WINDOW * self._jobs:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())
        finally:
            for batch, ticket in waiting:  # interrupted: keep what is already known
                if self._pool is not None and ticket is not None:
                    self._remember(batch, self._pool.ready(ticket))

    def _submit(self, batch: _Batch) -> Ticket | None:
        if not batch.tasks:
            return None
        if self._pool is None:
            from signward.verbs.pool import WorkerPool

            self._pool = WorkerPool(self._job, self._jobs)
        return self._pool.submit(tuple(batch.tasks))

    def _finish(self, batch: _Batch, ticket: Ticket | None) -> Iterator[Entry]:
        if self._pool is not None and ticket is not None:
            results = self._pool.collect(ticket)
            self._remember(batch, results)
            fresh = iter(results)
        self.tally.done += batch.seen
        for item in batch.items:
            yield next(fresh).entry if isinstance(item, Task) else item

    def _remember(self, batch: _Batch, results: tuple[Result, ...]) -> None:
        self.tally.judged += len(results)
        if self._cache is None:
            return
        for task, result in zip(batch.tasks, results, strict=False):
            if result.keep and settled(task.identity, batch.begun):
                until = FAR if self._timeless else result.keep
                self._cache.keep(
                    task.place, task.identity, result.entry, judged=self._since, good_until=until
                )
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self._cache.commit(self._now)
            self._committed = time.monotonic()

    def _is_packaged(self, path: str) -> bool:
        """Say whether a file that nothing signs may still be vouched for by a package."""
        return self._system is not None and self._system.concerns(path)

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
        bundles: list[Task] = []
        walked = noting_bundles(walked, bundles) if BUNDLE in self._judged else walked
        for sighted in sightings(walked, self._wanted, self._cache, self._now):
            while bundles:
                batch.add(bundles.pop(0))
                batch.kinds.append(BUNDLE)
            self.tally.files += len(sighted.kinds)
            batch.kinds += sighted.kinds
            batch.seen += len(sighted.kinds)
            for seen, place in zip(sighted.items, sighted.places, strict=True):
                if batch.full:
                    yield self._counted(batch)
                    batch = _Batch()
                if isinstance(seen, Trouble):
                    self._trouble(seen, batch)
                else:
                    self._place(seen, place, batch)
        yield self._counted(batch)

    def _counted(self, batch: _Batch) -> _Batch:
        self.tally.kinds.update(batch.kinds)
        return batch

    def _trouble(self, trouble: Trouble, batch: _Batch) -> None:
        batch.seen += 1
        if trouble.finding.effect is Effect.NOTE:
            self.tally.left_out.append(str(trouble.finding))
            return
        record = undecided(trouble.path, "", (trouble.finding,), self.at)
        batch.items.append(entry_of((record,)))

    def _place(self, seen: Glance, place: Place, batch: _Batch) -> None:
        """Put a file to judge or to open in the batch, or what is known of it."""
        if seen.kind not in self._judged and not self._is_packaged(seen.path):
            return
        cache = self._cache
        entry = cache.find(place, seen.identity, self._now) if cache is not None else None
        if entry is not None:
            self.tally.cached += 1
            batch.items.append(entry)
            batch.size += sum(map(len, entry.lines))
            return
        batch.add(Task(seen.path, seen.kind, seen.identity, place))


def _system(trust: Any, at: datetime) -> System | None:
    """Return the system whose packages may vouch, loaded here first: workers find it kept.

    Raises ``EvidenceError`` where there is none.
    """
    if getattr(trust, "packages", None) is None:
        return None
    from signward.verbs.context import Context

    return Context(replace(trust, at=at)).system


def _followed(trust: Any) -> Any:
    """Return the options with feeds fetched: once, before workers start and keys are made."""
    if not getattr(trust, "feeds", ()):
        return trust
    from signward.verbs.feeds import followed

    return followed(trust)


def _concerns(options: ScanOptions, kind: str, further: frozenset[str]) -> bool:
    """Say whether a scan judges files of this kind or opens them."""
    if options.only and kind not in options.only:
        return False
    known = KINDS[kind]
    if known.signable or kind in further:
        return True
    return options.containers and bool(known.container)


def _further(options: ScanOptions) -> frozenset[str]:
    """Return the kinds that nothing signs, but that rules speak of: Python scripts, say.

    An inventory keeps them too, for policies to come; a manifest or a digest list speaks of files
    of any kind.
    """
    trust = options.trust
    if _trees_listed(trust) or bool(getattr(trust, "digest_lists", ())):
        return frozenset(kind for kind in KINDS if not KINDS[kind].signable)
    if getattr(trust, "rules", None) is None and not getattr(trust, "asked", ()):
        return frozenset()
    from signward.policy.rules.kinds import class_of

    return frozenset(kind for kind in KINDS if not KINDS[kind].signable and class_of(kind, {}))


def _trees_listed(trust: Any) -> bool:
    """Say whether manifests are among the catalogs; none may be older than those seen before.

    That is asked here too, for verdicts out of the cache are not judged anew.
    """
    if not getattr(trust, "catalogs", ()):
        return False
    from signward.verbs.catalogs import opened_manifests

    return opened_manifests(trust)


def count_files(options: ScanOptions) -> int:
    """Walk without opening anything; return how many files a scan will look at."""
    unordered = replace(options.walk, stable=False)
    walked = walk_folders(options.paths, unordered)
    return sum(len(item.items) if isinstance(item, Folder) else 1 for item in walked)


__all__ = ["MAX_AGE_SECONDS", "Scan", "ScanOptions", "Tally", "count_files", "default_judge"]
