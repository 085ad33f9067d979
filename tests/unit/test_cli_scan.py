"""`signward scan` as its users meet it: reports, exit codes, Ctrl-C, a terminal."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conformance.authenticode.rpm import delta

from signward.cli.commands import run
from tests.unit.scanning import make_judge

RPM = delta()
"""Of a kind that no format judges yet: a difference between two packages."""

HEAD = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "plain.vbs").write_bytes(b"WScript.Echo 1\r\n")
    (root / "broken.exe").write_bytes(HEAD + bytes(300))
    (root / "readme.txt").write_bytes(b"text")
    (root / "p").write_bytes(RPM)
    return root


def scan(tree: Path, *words: str) -> int:
    return run(["scan", str(tree), "--cache", str(tree.parent / "cache"), *words])


def test_a_table_and_a_summary(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(tree) == 0
    out = capsys.readouterr().out
    assert "4 files" in out
    for word in ("unsigned", "unsupported-kind", "malformed", "3 files judged"):
        assert word in out
    assert scan(tree, "--quiet") == 0
    assert not capsys.readouterr().out


def test_long_tables_are_cut_unless_all_is_asked(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.cli.scan.SHOWN", 1)
    scan(tree)
    assert "2 more that were not accepted" in capsys.readouterr().out
    scan(tree, "--all")
    assert "more that were" not in capsys.readouterr().out


def test_every_format_is_written_whole(tree: Path, capsysbinary: object) -> None:
    root = tree.parent
    for form in ("table", "json", "jsonl", "csv", "sarif", "html"):
        assert scan(tree, "--format", form, "--output", str(root / form), "--quiet") == 0
    lines = [json.loads(line) for line in (root / "jsonl").read_text().splitlines()]
    assert [Path(line["subject"]).name for line in lines] == ["broken.exe", "p", "plain.vbs"]
    assert len(json.loads((root / "json").read_text())["records"]) == 3
    assert len(list(csv.reader((root / "csv").read_text().splitlines()))) == 4
    assert json.loads((root / "sarif").read_text())["version"] == "2.1.0"
    assert "<html" in (root / "html").read_text()
    assert "unsigned" in (root / "table").read_text()
    assert not list(root.glob(".*"))


def test_json_lines_go_to_the_terminal_and_the_summary_beside(
    tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert scan(tree, "--format", "jsonl", "--skip-unsigned") == 0
    captured = capfdbinary.readouterr()
    causes = [json.loads(line)["cause"] for line in captured.out.splitlines()]
    assert causes == ["malformed", "unsupported-kind"]
    assert b"unsigned" in captured.err


def test_json_lines_and_a_page_are_written_together(tree: Path) -> None:
    lines, page = tree.parent / "lines", tree.parent / "page"
    words = ("--format", "jsonl", "--quiet", "--at", "2026-01-01", "--output")
    assert scan(tree, *words, str(lines), "--html", str(page)) == 0
    assert len(lines.read_bytes().splitlines()) == 3
    assert b"broken.exe" in page.read_bytes()
    other = tree.parent / "other"
    os.mkfifo(other)
    reader = os.open(other, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert scan(tree, *words, str(other)) == 0
        assert os.read(reader, 1 << 20) == lines.read_bytes()
    finally:
        os.close(reader)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "sarif", "html"])
def test_a_second_scan_writes_what_the_first_did(tree: Path, form: str) -> None:
    words = ("--format", form, "--quiet", "--at", "2026-01-01", "--output")
    assert scan(tree, *words, str(tree.parent / "first")) == 0
    assert scan(tree, *words, str(tree.parent / "second")) == 0
    first = (tree.parent / "first").read_bytes()
    assert (tree.parent / "second").read_bytes() == first
    assert b"broken.exe" in first


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 0),
        (("--fail-on", "rejected"), 1),
        (("--fail-on", "indeterminate"), 3),
        (("--fail-on", "unsigned"), 4),
        (("--fail-on", "unsigned", "--fail-on", "indeterminate"), 3),
        (("--only", "vbscript", "--fail-on", "rejected"), 0),
        (("--only", "vbscript", "--fail-on", "unsigned"), 4),
        (("--only", "nonsense"), 2),
        (("--output", "/nonexistent/x"), 2),
    ],
)
def test_exit_codes(tree: Path, words: tuple[str, ...], code: int) -> None:
    assert scan(tree, "--quiet", *words) == code


def test_a_path_that_is_absent_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(tree / "absent", "--no-containers") == 3
    assert "unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "1000"])
def test_nonsense_jobs_are_refused(tree: Path, jobs: str) -> None:
    with pytest.raises(SystemExit) as error:
        scan(tree, "--jobs", jobs)
    assert error.value.code == 2


def test_an_unusable_cache_is_a_warning(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree.parent / "cache").write_bytes(b"not a database " * 100)
    assert scan(tree) == 0
    assert "set aside" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["scan", "--help"])
    assert "signward scan /srv/share --html report.html" in capsys.readouterr().out


def test_a_report_that_fails_leaves_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("halfway")

    target = tree.parent / "report"
    target.write_text("old")
    monkeypatch.setattr("signward.cli.scan.write_report", fail)
    with pytest.raises(RuntimeError):
        scan(tree, "--output", str(target))
    assert target.read_text() == "old"
    assert not list(tree.parent.glob(".report*"))


SLOW = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a CI in the background ignores it
sys.path[:] = {sys.path!r}
from signward import frozen
from signward.cli import scan as command
from signward.cli.commands import run
from signward.verbs import scan as verb
from tests.unit.scanning import Options, make_judge
verb.BATCH_TASKS = 2
real = command._scan_options
def options(arguments, ledger):
    trust = Options(log=sys.argv[1])
    return frozen.replace(real(arguments, ledger), trust=trust, factory=make_judge)
command._scan_options = options
if __name__ == "__main__":
    raise SystemExit(run(["scan", *sys.argv[2:]]))
"""


def slow_tree(tmp_path: Path, count: int = 40) -> tuple[Path, Path, list[str]]:
    root, log, script = tmp_path / "slow", tmp_path / "log", tmp_path / "slow.py"
    root.mkdir()
    script.write_text(SLOW)
    for number in range(count):
        (root / f"{number:02}.exe").write_bytes(HEAD + b"good slow")
    time.sleep(0.15)  # the cache keeps only what was not changed a moment ago
    words = [sys.executable, str(script), str(log), str(root), "--cache", str(tmp_path / "cache")]
    return root, log, words


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_cleanly_and_the_next_scan_resumes(tmp_path: Path, jobs: str) -> None:
    _, log, words = slow_tree(tmp_path)
    words += ["--jobs", jobs, "--output", str(tmp_path / "report"), "--format", "jsonl"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and len(log.read_bytes().splitlines()) >= 8:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "report").exists()
    log.unlink()
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0, done.stderr
    again = len(log.read_bytes().splitlines())
    assert 0 < again < 40
    assert len((tmp_path / "report").read_text().splitlines()) == 40


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    _, _, words = slow_tree(tmp_path, 6)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*words, "--jobs", "1"], stderr=slave, stdout=subprocess.DEVNULL, cwd=REPOSITORY,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"scanning" in seen
    assert b"files/s" in seen
    assert b"/6" in seen


def test_the_stand_in_is_only_a_stand_in() -> None:
    from signward.verbs.scan import ScanOptions, default_judge

    assert ScanOptions(paths=(), trust=None).factory is default_judge
    assert default_judge is not make_judge


def test_a_fifo_is_written_to_and_a_link_is_followed(tree: Path, tmp_path: Path) -> None:
    """Once a report meant for a device took the device's place."""
    import os
    import stat
    import threading

    fifo, link, target = tmp_path / "fifo", tmp_path / "link", tmp_path / "target"
    os.mkfifo(fifo)
    link.symlink_to(target)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    assert scan(tree, "--format", "jsonl", "--output", str(fifo), "--quiet") == 0
    reader.join(timeout=30)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert scan(tree, "--format", "jsonl", "--output", str(link), "--quiet") == 0
    assert link.is_symlink()
    assert read[0].count(b"\n") == target.read_bytes().count(b"\n") > 0


LOADED = """
import sys
from signward.cli import main
code = main(sys.argv[1:])
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
print("OURS", *sorted(name for name in sys.modules if name.startswith("signward")))
raise SystemExit(code)
"""


def test_a_second_scan_loads_neither_validator_nor_workers(tree: Path) -> None:
    words = ("scan", str(tree), "--cache", str(tree.parent / "cache"), "--quiet")
    heavy = {"cryptography", "multiprocessing", "concurrent", "rich", "zipfile", "email", "ssl"}

    def loaded() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", LOADED, *words],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return set(done.stdout.split())

    time.sleep(0.2)  # until the files count as settled
    assert {"cryptography", "signward.verbs.verify"} <= loaded()
    second = loaded()
    assert not second & heavy
    assert not second & {"signward.verbs.pool", "signward.verbs.verify", "signward.integrity"}
