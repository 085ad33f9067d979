"""Walks end, follow no links, open nothing that blocks, and lose nothing in silence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from signward.findings import Code, Effect
from signward.inventory import walk as walking
from signward.inventory.walk import Glance, Trouble, WalkOptions, glance, printable, walk


def paths(root: Path, options: WalkOptions | None = None) -> list[str]:
    items = walk([str(root)], options)
    return [os.path.relpath(item, root) for item in items if isinstance(item, str)]


def troubles(*roots: Path | str, options: WalkOptions | None = None) -> list[Trouble]:
    return [t for t in walk([str(r) for r in roots], options) if isinstance(t, Trouble)]


def test_every_file_once_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b/z", "b/a", "a", "c/d/e", "B"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    expected = ["B", "a", "b/a", "b/z", "c/d/e"]
    assert paths(tmp_path) == expected
    assert sorted(paths(tmp_path, WalkOptions(stable=False))) == sorted(expected)


def test_overlapping_roots_are_entered_once(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    items = list(walk([str(tmp_path), str(tmp_path / "d"), str(tmp_path)]))
    assert items == [str(tmp_path / "d" / "f")]


def test_links_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "d" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "d" / "f")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert paths(tmp_path) == ["d/f"]
    assert not troubles(tmp_path)


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "lf").symlink_to("d/f")
    assert list(walk([str(tmp_path / "l")])) == [str(tmp_path / "l" / "f")]
    (target,) = walk([str(tmp_path / "lf")])
    assert isinstance(target, str)
    assert isinstance(glance(target), Glance)


def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.close()
    found = {t.path.rpartition("/")[2]: t.finding for t in troubles(tmp_path)}
    assert found["fifo"].found == "a FIFO"
    assert found["socket"].found == "a socket"
    assert {f.code for f in found.values()} == {Code.NOT_A_FILE}
    (device,) = troubles("/dev/null")
    assert device.finding.found == "a character device"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read_when_glanced_at(path: str) -> None:
    seen = glance(path)
    assert isinstance(seen, Trouble)
    assert seen.finding.code is Code.NOT_A_FILE


def test_glancing_at_a_fifo_returns(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    seen = glance(str(tmp_path / "fifo"))
    assert isinstance(seen, Trouble)
    assert seen.finding.found == "a FIFO"


def test_glancing_at_what_vanished_or_became_a_link(tmp_path: Path) -> None:
    seen = glance(str(tmp_path / "gone"))
    assert isinstance(seen, Trouble)
    assert seen.finding.code is Code.UNREADABLE
    (tmp_path / "target").write_bytes(b"MZ")
    (tmp_path / "link").symlink_to("target")
    assert isinstance(glance(str(tmp_path / "link")), Trouble)


def test_a_name_with_nul_is_a_finding() -> None:
    assert isinstance(glance("a\0b"), Trouble)
    assert [t.finding.code for t in troubles("a\0b")] == [Code.UNREADABLE]


def test_an_absent_root_is_a_finding(tmp_path: Path) -> None:
    (trouble,) = troubles(tmp_path / "absent")
    assert trouble.finding.code is Code.UNREADABLE
    assert "no such file" in trouble.finding.found


def test_an_unreadable_directory_is_a_finding(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "f").write_bytes(b"x")
    (tmp_path / "shut").write_bytes(b"x")
    closed.chmod(0)
    (tmp_path / "shut").chmod(0)
    tmp_path.chmod(0o755)
    script = (
        f"import os, sys; sys.path[:] = {sys.path!r}\n"
        "from signward.inventory.walk import walk, glance\n"
        "if os.geteuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for item in walk(['.']):\n"
        "    seen = glance(item) if isinstance(item, str) else item\n"
        "    print(seen.finding)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    closed.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("permission denied") == 2, done.stdout


def test_an_unreadable_directory_from_the_system_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("signward.inventory.walk.os.scandir", refuse)
    (trouble,) = troubles(tmp_path)
    assert trouble.finding.code is Code.UNREADABLE


def test_a_crowded_directory_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "DIRECTORY_ENTRIES", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"x")
    items = list(walk([str(tmp_path)]))
    assert len([i for i in items if isinstance(i, str)]) == 3
    (trouble,) = [i for i in items if isinstance(i, Trouble)]
    assert trouble.finding.code is Code.LIMIT_EXCEEDED


def test_a_deep_tree_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "TREE_DEPTH", 2)
    deep = tmp_path / "1" / "2" / "3"
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"x")
    assert [t.finding.code for t in troubles(tmp_path)] == [Code.LIMIT_EXCEEDED]


def test_a_path_longer_than_the_system_takes_is_a_finding(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    descriptors = [here]
    try:
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=descriptors[-1])
            descriptors.append(os.open("d" * 250, os.O_RDONLY, dir_fd=descriptors[-1]))
        assert [t.finding.found for t in troubles(tmp_path)] == ["file name too long"]
    finally:
        for parent in reversed(descriptors[:-1]):
            os.rmdir("d" * 250, dir_fd=parent)
        for number in descriptors:
            os.close(number)


def test_excluded_directories_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_bytes(b"x")
    (tmp_path / "y").write_bytes(b"x")
    assert paths(tmp_path, WalkOptions(exclude=frozenset({".git"}))) == ["y"]


def test_a_kernel_file_system_below_the_root_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(walking, "_pseudo_mounts", lambda: frozenset({str(tmp_path / "proc")}))
    real = walking._open_folder
    opened: list[str] = []

    def elsewhere(path: str, *, follow: bool) -> tuple[int, os.stat_result]:
        opened.append(path)
        number, status = real(path, follow=follow)
        fields = list(status)
        fields[2] = status.st_dev + path.endswith("proc")
        return number, os.stat_result(fields)

    monkeypatch.setattr(walking, "_open_folder", elsewhere)
    (trouble,) = troubles(tmp_path)
    assert trouble.finding.effect is Effect.NOTE
    assert opened == [str(tmp_path)]
    monkeypatch.setattr(walking, "_pseudo_mounts", frozenset)
    assert not troubles(tmp_path)
    (trouble,) = troubles(tmp_path, options=WalkOptions(one_file_system=True))
    assert trouble.finding.found == "another file system"


def test_mount_points_of_kernel_file_systems_are_read() -> None:
    lines = [
        "22 28 0:21 / /proc rw,nosuid - proc proc rw",
        "30 28 0:25 / /mnt/a\\040b rw shared:1 - sysfs sysfs rw",
        "31 28 8:1 / / rw - ext4 /dev/sda1 rw",
        "broken",
        "30 28 0:25 / /x rw -",
    ]
    assert list(walking._pseudo_points(lines)) == ["/proc", "/mnt/a b"]


def test_names_that_are_not_utf8_are_walked_and_printable(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x1b[31m\n.exe"
    Path(os.fsdecode(name)).write_bytes(b"MZ")
    (path,) = [item for item in walk([str(tmp_path)]) if isinstance(item, str)]
    assert os.fsencode(path) == name
    assert isinstance(glance(path), Glance)
    shown = printable(path.rpartition("/")[2])
    assert shown == "\\xff\\x1b[31m\\x0a.exe"
    assert printable("naïve\u202e\U000e0001") == "naïve\\u202e\\U000e0001"


def test_a_file_is_classified_with_its_identity(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_bytes(
        b"\x7fELF".ljust(16, b"\0") + b"\1\0" + bytes(5000) + b"~Module signature appended~\n"
    )
    seen = glance(str(file))
    assert isinstance(seen, Glance)
    assert seen.kind == "kernel-module"
    assert seen.identity.size == file.stat().st_size
