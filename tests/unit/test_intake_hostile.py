"""Deliveries and folders that were made to trip the gate."""
# ruff: noqa: F811 - fixtures of another file are named as what they give

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from signward.errors import EvidenceError
from signward.state import Outcome
from signward.verbs.intake.audit import State, audit
from signward.verbs.intake.delivery import Copied, Delivery, Left
from signward.verbs.intake.gate import Folders, Gate
from signward.verbs.intake.judging import Judged
from signward.verbs.sealing import Sealer
from tests.unit.test_intake_gate import (  # noqa: F401 - fixtures
    KEYS,
    by_name,
    files,
    inbox,
    sealer,
    taken,
    terms,
    to,
)


def copied(folder: Path, staging: Path) -> dict[str, Copied | Left]:
    return {"/".join(one.parts): one for one in Delivery(str(folder)).copied(staging)}


def test_a_file_that_grows_as_fast_as_it_is_read_ends(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reads = os.read, 0

    def read(descriptor: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 100
        with (inbox / "odd.bin").open("ab") as file:
            file.write(bytes(300_000))
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    found = copied(inbox, tmp_path / "staging")
    assert found["odd.bin"] == Left(("odd.bin",), "a file that changed while it was read")


def test_a_sparse_file_does_not_fill_the_disk(inbox: Path, tmp_path: Path) -> None:
    os.truncate(inbox / "odd.bin", 1 << 43)
    with pytest.raises(EvidenceError, match=r"(?i)no space left"):
        copied(inbox, tmp_path / "staging")
    made = sum(p.stat().st_blocks for p in (tmp_path / "staging").rglob("*"))
    assert made < 1000


def test_a_folder_that_goes_away_is_named(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def look(path: Any, **given: Any) -> os.stat_result:
        if path == "vendor" and given.get("dir_fd") is not None:
            shutil.rmtree(inbox / "vendor", ignore_errors=True)
        return real(path, **given)

    monkeypatch.setattr(os, "stat", look)
    found = copied(inbox, tmp_path / "staging")
    assert found["vendor"] == Left(("vendor",), "no such file or directory")


def test_a_folder_that_cannot_be_read_is_named(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def enter(path: Any, *given: Any, **more: Any) -> int:
        if path == "vendor":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *given, **more)

    monkeypatch.setattr(os, "open", enter)
    found = copied(inbox, tmp_path / "staging")
    assert found["vendor"] == Left(("vendor",), "permission denied")


def test_devices_are_not_even_opened(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(inbox / "pipe")
    real = os.open

    def enter(path: Any, *given: Any, **more: Any) -> int:
        assert path != "pipe"
        return real(path, *given, **more)

    monkeypatch.setattr(os, "open", enter)
    assert copied(inbox, tmp_path / "s")["pipe"] == Left(("pipe",), "no regular file")


def test_a_path_too_long_for_the_gate_stops_no_other(tmp_path: Path, to: Folders) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "good.exe").write_bytes(b"good")
    descriptor = os.open(inbox, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("good", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    found = list(Gate(to, by_name, terms(), None).take(str(inbox)))
    assert [bool(one.left) for one in found] == [True, False] or [
        bool(one.left) for one in found
    ] == [False, True]
    assert any("file name too long" in one.left for one in found)


def test_names_that_are_one_where_they_go_stop_no_other(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without case: the second finds the place taken."""
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "good.exe").write_bytes(b"GOOD.EXE of the same delivery")
    found = copied(inbox, staging)
    assert found["good.exe"] == Left(("good.exe",), "no place of its name at the gate: file exists")
    assert isinstance(found["odd.bin"], Copied)


def test_a_single_file_named_as_the_gates_own_is_left(tmp_path: Path, to: Folders) -> None:
    one = tmp_path / ".signward-good"
    one.write_bytes(b"x")
    (found,) = Gate(to, by_name, terms(), None).take(str(one))
    assert "begins with" in found.left


def test_manifests_find_what_lies_beside_them(inbox: Path, to: Folders, sealer: Sealer) -> None:
    """What comes before in the order of names is still there when a later file is judged."""
    beside: dict[str, set[str]] = {}

    def judge(path: Path, name: str) -> Judged:
        beside[name] = {one.name for one in path.parent.iterdir()}
        return Judged(outcome=Outcome.ACCEPTED)

    taken(to, inbox, sealer, judge)
    assert beside["odd.bin"] == {"good.exe", "odd.bin", "vendor"}


def test_an_original_that_cannot_be_removed_is_told_as_that(
    inbox: Path, to: Folders, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", refuse)
    left = {one.left for one in taken(to, inbox, sealer)}
    assert left == {"the original cannot be removed: read-only file system"}


def test_receipts_are_no_delivery(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    with pytest.raises(EvidenceError, match="apart"):
        list(Gate(to, by_name, terms(), sealer).take(str(to.accept_receipts)))
    assert files(to.accept_receipts)


def test_no_receipt_for_what_cannot_be_placed(inbox: Path, to: Folders, sealer: Sealer) -> None:
    """A file of the name that the delivery has for a folder."""
    to.accept.mkdir()
    (to.accept / "vendor").write_bytes(b"a file")
    found = {one.name: one for one in taken(to, inbox, sealer)}
    assert "another file is there already" in found["vendor/deep/good.dll"].left
    assert set(files(to.accept_receipts)) == {"good.exe.intoto.jsonl"}


def test_a_link_as_a_folder_of_copies_is_refused(
    inbox: Path, to: Folders, sealer: Sealer, tmp_path: Path
) -> None:
    to.accept.mkdir()
    (tmp_path / "precious").mkdir()
    (to.accept / ".signward-intake-1").symlink_to(tmp_path / "precious")
    with pytest.raises(EvidenceError, match="symbolic link"):
        taken(to, inbox, sealer)
    assert (tmp_path / "precious").is_dir()
    assert len(files(inbox)) == 4


def test_an_accepted_file_that_cannot_be_read_is_another(
    inbox: Path, to: Folders, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    to.accept.mkdir()
    (to.accept / "good.exe").write_bytes(b"good")
    monkeypatch.setattr("signward.verbs.intake.moving.sha256_of", refuse)
    found = {one.name: one for one in taken(to, inbox, sealer)}
    assert "another file is there already" in found["good.exe"].left


# The audit


def test_a_pipe_as_a_receipt_stops_no_audit(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    receipt = to.accept_receipts / "good.exe.intoto.jsonl"
    receipt.unlink()
    os.mkfifo(receipt)
    found = {one.name: one for one in audit(to.accept, to.accept_receipts, KEYS)}
    assert found["good.exe"].state is State.BROKEN
    assert "no regular file" in found["good.exe"].why


@pytest.mark.parametrize(
    "name", [".signward-evil", ".signward-intake-1/evil", ".signward-intake.lock"]
)
def test_names_of_the_gate_hide_nothing_from_the_audit(
    inbox: Path, to: Folders, sealer: Sealer, name: str
) -> None:
    taken(to, inbox, sealer)
    evil = to.accept / name
    evil.parent.mkdir(exist_ok=True)
    evil.write_bytes(b"evil")
    found = {one.name: one.state for one in audit(to.accept, to.accept_receipts, KEYS)}
    assert found.pop(name) is State.WITHOUT
    assert set(found.values()) == {State.UNCHANGED}


def test_an_audit_leaves_a_gate_at_work_alone(inbox: Path, to: Folders, sealer: Sealer) -> None:
    seen: list[Any] = []

    def judge(path: Path, name: str) -> Judged:
        seen.extend(audit(to.accept, to.accept_receipts, KEYS))
        return by_name(path, name)

    taken(to, inbox, sealer, judge)
    assert seen == []


def test_an_audit_tells_when_each_file_was_accepted(
    inbox: Path, to: Folders, sealer: Sealer
) -> None:
    taken(to, inbox, sealer)
    found = list(audit(to.accept, to.accept_receipts, KEYS))
    assert {one.verified for one in found} == {terms().at}


def test_modes_of_copies_are_ours(inbox: Path, tmp_path: Path) -> None:
    (inbox / "good.exe").chmod(0o4777)
    one = copied(inbox, tmp_path / "s")["good.exe"]
    assert isinstance(one, Copied)
    assert stat.S_IMODE(one.copy.stat().st_mode) == 0o755
