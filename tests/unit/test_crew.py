"""Many files at once: copies of the process, the order of results, what a killed copy loses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conformance.authenticode import pe

from signward.verbs import crew
from signward.verbs.crew import PAYS_FROM, Crew, Finish, Task, copies_for
from signward.verbs.outcome import FileResult
from tests.desk import write_key
from tests.signing import identity

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


def tasks_of(names: Sequence[str], work: Callable[[str], str]) -> list[Task]:
    """Return tasks whose second half says what ``work`` made of the name."""

    def task(name: str) -> Task:
        def begin() -> Finish:
            told = work(name)
            return lambda: FileResult(path=name, outcome="signed", signer=told)

        return begin

    return [task(name) for name in names]


def done_by(names: Sequence[str], work: Callable[[str], str], copies: int) -> list[FileResult]:
    return list(Crew(names, tasks_of(names, work), copies).results())


NAMES = [f"{number}.exe" for number in range(40)]


@pytest.mark.parametrize("copies", [0, pytest.param(1, marks=linux), pytest.param(3, marks=linux)])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 5000])
def test_every_task_is_done_once_and_told_in_order(count: int, copies: int) -> None:
    names = [str(number) for number in range(count)]
    if copies and not count:
        copies = 0
    results = done_by(names, lambda name: f"by {name}", copies)
    assert [result.path for result in results] == names
    assert [result.signer for result in results] == [f"by {name}" for name in names]


@linux
def test_copies_take_their_share_and_the_first_task_is_done_here() -> None:
    parent = os.getpid()

    def slowly(_name: str) -> str:
        # Slower here, so that the copy has begun, on a busy machine too, before nothing is left.
        time.sleep(0.05 if os.getpid() == parent else 0.01)
        return str(os.getpid())

    workers = [result.signer for result in done_by(NAMES, slowly, 1)]
    assert workers[0] == str(os.getpid())
    assert len(set(workers)) == 2


@linux
def test_a_killed_copy_loses_only_what_it_had_begun() -> None:
    parent = os.getpid()

    def fatal(name: str) -> str:
        # Slower here, so that the copy has begun, on a busy machine too, before nothing is left.
        time.sleep(0.05 if os.getpid() == parent else 0.01)
        if os.getpid() != parent and name > "2":
            os.kill(os.getpid(), signal.SIGKILL)
        return "here"

    results = done_by(NAMES, fatal, 1)
    assert [result.path for result in results] == NAMES
    lost = [result for result in results if result.failed]
    assert 1 <= len(lost) <= 1 + crew.WAITING + 1
    assert all("killed" in result.problem for result in lost)


@linux
def test_where_no_copy_can_be_made_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    results = done_by(NAMES, lambda _name: str(os.getpid()), 3)
    assert {result.signer for result in results} == {str(os.getpid())}


def test_nobody_works_on_when_the_caller_stops_asking() -> None:
    begun: list[str] = []

    def note(name: str) -> str:
        begun.append(name)
        time.sleep(0.005)
        return ""

    results = Crew(NAMES, tasks_of(NAMES, note), 0).results()
    next(results)
    results.close()  # type: ignore[attr-defined]
    told = len(begun)
    assert told < len(NAMES)
    time.sleep(0.05)
    assert len(begun) == told


def test_a_fault_of_ours_is_not_swallowed() -> None:
    def faulty(name: str) -> str:
        if name == "7.exe":
            raise ZeroDivisionError
        return ""

    with pytest.raises(ZeroDivisionError):
        done_by(NAMES, faulty, 0)


@linux
def test_a_process_with_threads_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    program = f"from signward.verbs.crew import copies_for; print(copies_for({3 * PAYS_FROM}))"
    alone = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_getaffinity = lambda _: [0, 1, 2]; {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert alone.stdout == "2\n"
    held = threading.Event()
    other = threading.Thread(target=held.wait)
    other.start()
    assert copies_for(3 * PAYS_FROM) == 0
    held.set()
    other.join()


@linux
def test_copies_of_a_command_end_with_it(tmp_path: Path) -> None:
    uri = write_key(tmp_path / "key.pem", identity())
    files = [tmp_path / f"{number}.exe" for number in range(4 * PAYS_FROM)]
    for path in files:
        path.write_bytes(pe.image())
    command = [sys.executable, "-m", "signward", "sign", "--json", "--key", uri, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["path"] for one in told] == [str(path) for path in files]
    assert {one["outcome"] for one in told} == {"signed"}
    assert not any("Traceback" in line for line in done.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@linux
def test_a_killed_command_leaves_no_copy_and_whole_files(tmp_path: Path) -> None:
    uri = write_key(tmp_path / "key.pem", identity())
    image = pe.image(overlay=bytes(200_000))
    files = [tmp_path / f"{number}.exe" for number in range(150)]
    for path in files:
        path.write_bytes(image)
    command = [sys.executable, "-m", "signward", "sign", "--quiet", "--key", uri, *map(str, files)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and files[20].stat().st_size == len(image):
        time.sleep(0.001)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while _running_with(uri) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _running_with(uri) == []
    sizes = {path.stat().st_size for path in files}
    assert len(image) in sizes
    assert len(sizes) == 2


def _running_with(uri: str) -> list[int]:
    """Return processes whose command line holds the key's URI."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if uri.encode() in line:
                found.append(int(folder.name))
    return found
