"""The scan: order, workers, cache, misbehaving files.  A stand-in judge counts its calls."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import struct
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signward.errors import EvidenceError
from signward.frozen import replace
from signward.inventory.cache import MAX_AGE_SECONDS, Place
from signward.inventory.walk import Glance, WalkOptions, glance
from signward.policy.record import Record, from_json
from signward.state import Outcome
from signward.verbs import judging, sighting, tasks
from signward.verbs import scan as scanning_verb
from signward.verbs.epoch import trust_epoch
from signward.verbs.scan import Scan, ScanOptions, count_files
from tests.unit.scanning import Options, make_judge

HEAD = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0"


def program(words: str = "good") -> bytes:
    return HEAD + words.encode()


class Tree:
    """A tree to scan, with the log of what was judged."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.cache = root / "tree", root / "log", root / "cache"
        self.root.mkdir()

    def add(self, name: str, data: bytes) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def scan(
        self, *, jobs: int = 1, cached: bool = True, **trust: Any
    ) -> tuple[list[Record], Scan]:
        scan = Scan(self.options(jobs=jobs, cached=cached, **trust))
        return [from_json(line) for line in scan.run()], scan

    def options(self, *, jobs: int = 1, cached: bool = True, **trust: Any) -> ScanOptions:
        return ScanOptions(
            paths=(str(self.root),),
            trust=Options(log=str(self.log), **trust),
            jobs=jobs,
            cache=self.cache if cached else None,
            factory=make_judge,
        )

    def judged(self) -> list[str]:
        """Return what was judged since the last question."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [os.path.relpath(line, self.root) for line in lines]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    for module in (scanning_verb, sighting):
        monkeypatch.setattr(module, "settled", lambda _identity, _now: True)
    return Tree(tmp_path)


def short(records: list[Record]) -> list[tuple[str, str, str | None]]:
    return [(r.subject.rpartition("/")[2], r.outcome.value, r.cause) for r in records]


def test_what_can_be_signed_is_judged_and_the_rest_counted(tree: Tree) -> None:
    tree.add("a.exe", program())
    tree.add("b.dll", program("bad"))
    tree.add("c.txt", b"text")
    tree.add("d.bin", b"\0\1\2\3")
    records, scan = tree.scan()
    assert short(records) == [("a.exe", "accepted", None), ("b.dll", "rejected", "unsigned")]
    assert scan.tally.kinds == {"pe": 2, "text": 1, "data": 1}
    assert (scan.tally.files, scan.tally.judged, scan.tally.done) == (4, 2, 4)
    assert count_files(tree.options()) == 4


def test_members_of_containers_are_judged(tree: Tree) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("in/x.exe", program())
        archive.writestr("t.txt", "text")
    path = tree.add("o.zip", out.getvalue())
    records, scan = tree.scan()
    assert [(r.subject, r.container, r.kind) for r in records] == [
        (f"{path}!/in/x.exe", str(path), "pe")
    ]
    assert scan.tally.members == {"pe": 1, "text": 1}
    tree.judged()
    again, scan = tree.scan()
    assert again == records
    assert not tree.judged()
    assert scan.tally.members == {"pe": 1, "text": 1}


def test_a_container_that_reads_in_two_ways_is_rejected(tree: Tree) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "good")
    tree.add("plain.zip", out.getvalue().replace(b"META-INF/", b"META_INF/") + b"tail")
    tree.add("signed.jar", out.getvalue() + b"tail")
    records, _ = tree.scan()
    assert short(records) == [
        ("plain.zip", "rejected", "ambiguous"),
        ("signed.jar", "rejected", "ambiguous"),
    ]


def test_records_come_in_walk_order_from_many_workers(tree: Tree) -> None:
    for number in range(150):
        tree.add(f"{number:03}.exe", program("good slow" if number == 3 else "good"))
    records, scan = tree.scan(jobs=2)
    assert [r.subject.rpartition("/")[2] for r in records] == [f"{n:03}.exe" for n in range(150)]
    assert scan.tally.judged == 150
    alone, _ = tree.scan(jobs=1, cached=False)
    assert [r.subject for r in alone] == [r.subject for r in records]


def test_a_second_scan_of_an_unchanged_tree_judges_nothing(tree: Tree) -> None:
    for number in range(5):
        tree.add(f"{number}.exe", program())
    first, _ = tree.scan()
    assert len(tree.judged()) == 5
    second, scan = tree.scan()
    assert tree.judged() == []
    assert second == first
    assert (scan.tally.cached, scan.tally.judged) == (5, 0)


def test_a_same_size_edit_with_restored_mtime_is_noticed(tree: Tree) -> None:
    file = tree.add("a.exe", program("good"))
    tree.add("b.exe", program())
    tree.scan()
    tree.judged()
    before = file.stat()
    time.sleep(0.02)
    with file.open("r+b") as out:
        out.write(program("evil"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size, before.st_mtime_ns, before.st_ino
    )  # fmt: skip
    records, _ = tree.scan()
    assert tree.judged() == ["a.exe"]
    assert short(records)[0] == ("a.exe", "rejected", "unsigned")


@pytest.fixture
def opened(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the tree's files that this process opened, as they come."""
    names: list[str] = []
    real = os.open

    def watched(path: Any, *words: Any, **more: Any) -> int:
        if str(path).startswith(f"{tree.root}/") and not words[0] & os.O_DIRECTORY:
            names.append(os.path.relpath(path, tree.root))
        return real(path, *words, **more)

    monkeypatch.setattr(os, "open", watched)
    return names


def test_a_second_scan_opens_no_unchanged_file(tree: Tree, opened: list[str]) -> None:
    tree.add("a.exe", program())
    tree.add("b.txt", b"text")
    tree.add(os.fsdecode(b"below/\xff.bin"), b"\0\1")
    first, before = tree.scan()
    assert set(opened) == {"a.exe", "b.txt", os.fsdecode(b"below/\xff.bin")}
    opened.clear()
    tree.judged()
    second, after = tree.scan()
    assert opened == tree.judged() == []
    assert second == first
    assert after.tally.kinds == before.tally.kinds == {"pe": 1, "text": 1, "data": 1}
    assert after.tally.files == after.tally.done == 3
    tree.scan(cached=False)
    assert len(set(opened)) == 3


def test_a_file_that_is_not_judged_is_looked_at_again_when_it_changed(
    tree: Tree, opened: list[str]
) -> None:
    file = tree.add("a", b"some words, as many as it takes")
    for name in ("b", "c"):
        tree.add(name, b"text")
    tree.scan()
    before = file.stat()
    time.sleep(0.02)
    with file.open("r+b") as out:
        out.write(b"#!/usr/bin/pwsh\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree.root / "c").rename(tree.root / "d.js")
    opened.clear()
    _, scan = tree.scan()
    assert set(opened) == {"a", "d.js"}
    assert tree.judged() == ["a", "d.js"]
    assert scan.tally.kinds == {"powershell": 1, "text": 1, "javascript": 1}


def remembered(tree: Tree) -> set[str]:
    """Return the paths below the tree that the cache holds a row for."""
    database = sqlite3.connect(tree.cache)
    rows = database.execute("SELECT folder, name FROM verdict").fetchall()
    rows += database.execute("SELECT folder, NULL FROM listing").fetchall()
    database.close()
    paths = (os.fsdecode(f if n is None else f + b"/" + n) for f, n in rows)
    return {os.path.relpath(path, tree.root) for path in paths}


def test_what_is_deleted_is_forgotten(tree: Tree) -> None:
    for name in ("a.exe", "b.exe", "c/d.exe", "c/e/f.exe", "g/h.exe", "i"):
        tree.add(name, program())
    tree.scan()
    everything = {".", "a.exe", "b.exe", "c", "c/d.exe", "c/e", "c/e/f.exe", "g", "g/h.exe", "i"}
    assert remembered(tree) == everything
    tree.scan(anchors=("another epoch",))
    (tree.root / "a.exe").unlink()
    (tree.root / "c").rename(tree.root / "j")
    (tree.root / "i").unlink()
    tree.add("i/k.exe", program())
    tree.scan()
    left = {".", "b.exe", "g", "g/h.exe", "i", "i/k.exe", "j", "j/d.exe", "j/e", "j/e/f.exe"}
    assert remembered(tree) == left
    shutil.rmtree(tree.root)
    tree.root.mkdir()
    tree.scan()
    assert remembered(tree) == {"."}


def test_what_a_scan_leaves_out_is_not_forgotten(tree: Tree) -> None:
    for name in ("a.exe", "b/c.exe", "b/d/e.ps1"):
        tree.add(name, program())
    tree.scan()
    before = remembered(tree)
    for changes in (
        {"walk": WalkOptions(exclude=frozenset({"b"}))},
        {"only": frozenset({"powershell"})},
        {"paths": (str(tree.root / "b" / "d"),)},
        {"paths": (str(tree.root / "b" / "d" / "e.ps1"), str(tree.root / "absent"))},
    ):
        list(Scan(replace(tree.options(), **changes)).run())
    assert before <= remembered(tree)
    tree.judged()
    tree.scan()
    assert not tree.judged()


def test_a_directory_that_shrinks_forgets_its_later_parts(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.inventory.walk.FOLDER_FILES", 2)
    for number in range(5):
        tree.add(f"{number}.exe", program())
    tree.scan()
    for number in range(3):
        (tree.root / f"{number}.exe").unlink()
    tree.scan()
    assert remembered(tree) == {".", "3.exe", "4.exe"}
    database = sqlite3.connect(tree.cache)
    parts = database.execute("SELECT part FROM listing UNION SELECT part FROM verdict").fetchall()
    database.close()
    assert parts == [(0,)]


def test_nothing_is_written_when_nothing_changed(tree: Tree) -> None:
    tree.add("a.exe", program())
    tree.add("b/c.txt", b"text")
    tree.scan()
    tree.judged()
    before = (tree.cache.read_bytes(), tree.cache.stat().st_mtime_ns)
    tree.scan()
    assert (tree.cache.read_bytes(), tree.cache.stat().st_mtime_ns) == before


def test_no_worker_is_started_when_there_is_nothing_to_judge(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning_verb, "BATCH_ITEMS", 2)
    for number in range(10):
        tree.add(f"{number}.exe", program())
        tree.add(f"{number}.txt", b"text")
    first, _ = tree.scan(jobs=2)
    tree.judged()

    def refuse(*_: object) -> None:
        raise AssertionError("a pool of workers was made")

    monkeypatch.setattr("signward.verbs.pool.WorkerPool.__init__", refuse)
    second, scan = tree.scan(jobs=2)
    assert second == first
    assert scan.tally.cached == 10
    tree.add("0.exe", program("better than good"))
    with pytest.raises(AssertionError, match="was made"):
        tree.scan(jobs=2)


def test_a_batch_ends_where_its_entries_have_grown_large(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        tree.add(f"{number}.exe", program())
    tree.scan()
    tree.judged()
    monkeypatch.setattr(scanning_verb, "BATCH_BYTES", 1000)
    batches = list(Scan(tree.options())._batches())
    assert len(batches) > 2
    assert all(len(batch.items) < 10 for batch in batches)


def test_another_classifier_looks_at_every_file_again(
    tree: Tree, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a", b"text")
    tree.add("b.txt", b"text")
    tree.scan()
    opened.clear()
    monkeypatch.setattr("signward.__version__", "another")
    monkeypatch.setattr("signward.inventory.walk.quick_kind", lambda *_: "data")
    _, scan = tree.scan()
    assert opened == ["a", "b.txt"]
    assert scan.tally.kinds == {"data": 2}


def test_another_anchor_needs_no_second_look_at_what_is_not_judged(
    tree: Tree, opened: list[str]
) -> None:
    tree.add("a.txt", b"text")
    tree.add("b.exe", program())
    tree.scan()
    opened.clear()
    tree.scan(anchors=("other",))
    assert set(opened) == {"b.exe"}


def test_the_kind_of_a_file_changed_a_moment_ago_is_not_remembered(
    tree: Tree, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a", b"text")
    monkeypatch.setattr(sighting, "settled", lambda _identity, _now: False)
    tree.scan()
    opened.clear()
    tree.scan()
    assert opened == ["a"]


def test_a_file_counts_as_settled_by_the_time_before_it_was_read(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a.exe", program("good slow"))
    asked: list[int] = []

    def settled(_identity: Any, when: int) -> bool:
        asked.append(when)
        return True

    for module in (scanning_verb, sighting):
        monkeypatch.setattr(module, "settled", settled)
    started = time.time_ns()
    tree.scan()
    assert len(asked) == 2
    assert max(asked) < started + 200_000_000


def test_a_large_directory_is_remembered_in_parts(
    tree: Tree, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.inventory.walk.FOLDER_FILES", 2)
    for number in range(5):
        tree.add(f"{number}.txt", b"text")
    tree.scan()
    opened.clear()
    _, scan = tree.scan()
    assert opened == []
    assert scan.tally.kinds == {"text": 5}
    assert count_files(tree.options()) == 5


def test_a_replaced_file_is_noticed(tree: Tree) -> None:
    file = tree.add("a.exe", program("good"))
    tree.scan()
    tree.judged()
    other = tree.add("new", program("evil"))
    os.utime(other, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    tree.scan()
    assert tree.judged() == ["a.exe"]


def test_a_changed_anchor_judges_again(tree: Tree, tmp_path: Path) -> None:
    tree.add("a.exe", program())
    anchor = tmp_path / "root.pem"
    anchor.write_text("one")
    tree.scan(anchors=(str(anchor),))
    tree.judged()
    tree.scan(anchors=(str(anchor),))
    assert tree.judged() == []
    anchor.write_text("two")
    tree.scan(anchors=(str(anchor),))
    assert tree.judged() == ["a.exe"]
    tree.scan()
    assert tree.judged() == ["a.exe"]


def test_another_instant_judges_again_and_a_fixed_one_lasts(tree: Tree) -> None:
    tree.add("a.exe", program())
    fixed = datetime(2020, 1, 1, tzinfo=UTC)
    tree.scan(at=fixed)
    assert tree.judged() == ["a.exe"]
    tree.scan(at=fixed)
    assert tree.judged() == []
    tree.scan(at=fixed + timedelta(days=1))
    assert tree.judged() == ["a.exe"]


def later(seconds: int) -> type[datetime]:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    return Later


@pytest.mark.parametrize(
    ("seconds", "again"), [(60, False), (MAX_AGE_SECONDS + 60, True), (-60, True)]
)
def test_a_verdict_of_now_is_judged_again_a_day_later(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, seconds: int, again: bool
) -> None:
    tree.add("a.exe", program())
    tree.scan()
    tree.judged()
    monkeypatch.setattr(scanning_verb, "datetime", later(seconds))
    tree.scan()
    assert bool(tree.judged()) is again


def test_a_verdict_is_judged_again_when_a_certificate_of_its_path_ends(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a.exe", program())
    ends = datetime.now(UTC) + timedelta(minutes=30)
    tree.scan(not_after=ends)
    tree.judged()
    monkeypatch.setattr(scanning_verb, "datetime", later(60))
    tree.scan(not_after=ends)
    assert tree.judged() == []
    monkeypatch.setattr(scanning_verb, "datetime", later(3600))
    tree.scan(not_after=ends)
    assert tree.judged() == ["a.exe"]


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    file = tree.add("a.exe", program())
    future = time.time_ns() + 10**10
    os.utime(file, ns=(future, future))
    tree.scan()
    assert tree.judged() == ["a.exe"]
    tree.scan()
    assert tree.judged() == ["a.exe"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_that_misbehave_cost_only_themselves(
    tree: Tree, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning_verb, "BATCH_TASKS", 2)
    for name, words in (
        ("a", "good"), ("b", "raise"), ("c", "malformed"), ("d", "grow"), ("e", "vanish"),
        ("f", "good"),
    ):  # fmt: skip
        tree.add(name, program(words))
    os.mkfifo(tree.root / "g")
    records, _ = tree.scan(jobs=jobs)
    assert short(records) == [
        ("a", "accepted", None),
        ("b", "indeterminate", "judge-failed"),
        ("c", "rejected", "malformed"),
        ("d", "indeterminate", "changed-while-read"),
        ("e", "indeterminate", "changed-while-read"),
        ("f", "accepted", None),
        ("g", "indeterminate", "not-a-file"),
    ]
    tree.judged()
    tree.scan()
    assert sorted(set(tree.judged())) == ["b", "d"]


def test_a_killed_worker_costs_one_file(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning_verb, "BATCH_TASKS", 2)
    for number in range(8):
        tree.add(f"{number}.exe", program("die" if number == 3 else "good"))
    records, _ = tree.scan(jobs=2)
    assert [r.cause for r in records] == [None] * 3 + ["judge-failed"] + [None] * 4
    assert records[3].outcome is Outcome.INDETERMINATE
    assert "killed" in records[3].message


def test_a_file_replaced_between_walk_and_judgement(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree.add("a.exe", program())
    real = glance

    def swap(name: str) -> Any:
        seen = real(name)
        path.write_bytes(program("other and longer"))
        return seen

    monkeypatch.setattr(sighting, "glance", swap)
    records, _ = tree.scan()
    assert short(records) == [("a.exe", "indeterminate", "changed-while-read")]
    assert not tree.judged()


def test_a_file_that_vanishes_between_walk_and_judgement(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree.add("a.exe", program())
    real = glance

    def remove(name: str) -> Any:
        seen = real(name)
        path.unlink()
        return seen

    monkeypatch.setattr(sighting, "glance", remove)
    records, _ = tree.scan()
    assert short(records) == [("a.exe", "indeterminate", "unreadable")]


def test_a_file_that_takes_too_long_is_a_limit(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    task_path = tree.add("a.exe", program("slow"))
    monkeypatch.setattr(judging, "TIME_LIMIT", 0.05)
    options = tree.options()
    seen = glance(str(task_path))
    assert isinstance(seen, Glance)
    job = tasks.Job(
        factory=make_judge,
        options=Options(log=str(tree.log), at=datetime.now(UTC)),
        at=datetime.now(UTC),
        limits=options.limits,
    )
    handlers = [(s, signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGALRM)]
    try:
        judging.start_worker(job)
        task = tasks.Task(seen.path, seen.kind, seen.identity, Place(seen.path))
        (result,) = judging.run_tasks((task,))
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert from_json(result.entry.lines[0]).cause == "limit-exceeded"
    assert not result.keep


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fault_of_the_options_ends_the_scan(
    tree: Tree, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning_verb, "BATCH_TASKS", 1)
    for number in range(4):
        tree.add(f"{number}.exe", program())
    with pytest.raises(EvidenceError, match="not a certificate"):
        tree.scan(jobs=jobs, anchors=("broken",))


def test_only_some_kinds(tree: Tree) -> None:
    tree.add("a.exe", program())
    tree.add("b.ps1", b"good")
    options = ScanOptions(
        paths=(str(tree.root),),
        trust=Options(log=str(tree.log)),
        only=frozenset({"powershell"}),
        factory=make_judge,
    )
    records = [from_json(line) for line in Scan(options).run()]
    assert short(records) == [("b.ps1", "accepted", None)]


def test_what_is_left_out_is_told(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    from signward.inventory import walk as walking

    trouble = walking._left_out("/x", "another file system")
    monkeypatch.setattr(scanning_verb, "walk_folders", lambda *_: iter([trouble]))
    records, scan = tree.scan()
    assert records == []
    assert len(scan.tally.left_out) == 1


def test_stopping_early_keeps_what_was_judged(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning_verb, "BATCH_TASKS", 2)
    for number in range(40):
        tree.add(f"{number:02}.exe", program())
    records = Scan(tree.options()).run()
    next(records)
    records.close()  # type: ignore[attr-defined]
    first = tree.judged()
    assert first
    assert len(first) < 40
    again, scan = tree.scan()
    assert len(again) == 40
    assert scan.tally.cached == len(first)
    assert not set(first) & set(tree.judged())


def test_stopping_early_ends_the_workers(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr(scanning_verb, "BATCH_TASKS", 2)
    for number in range(40):
        tree.add(f"{number:02}.exe", program("good slow"))
    records = Scan(tree.options(jobs=2)).run()
    next(records)
    started = time.monotonic()
    records.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert time.monotonic() - started < 30


def test_a_walk_option_reaches_the_walk(tree: Tree) -> None:
    tree.add("skip/a.exe", program())
    options = ScanOptions(
        paths=(str(tree.root),),
        trust=Options(log=str(tree.log)),
        walk=WalkOptions(exclude=frozenset({"skip"})),
        factory=make_judge,
    )
    assert list(Scan(options).run()) == []


def test_the_epoch_is_the_same_in_any_order_and_tells_content(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.pem", tmp_path / "cats"
    file.write_bytes(b"1")
    folder.mkdir()
    base = trust_epoch(frozenset({"a", "b"}), (str(file),), {"x": 1, "y": 2})
    assert trust_epoch(frozenset({"b", "a"}), (str(file),), {"y": 2, "x": 1}) == base
    file.write_bytes(b"2")
    assert trust_epoch(frozenset({"a", "b"}), (str(file),), {"x": 1, "y": 2}) != base
    empty = trust_epoch(str(folder))
    (folder / "x.cat").write_bytes(b"x")
    assert trust_epoch(str(folder)) != empty
