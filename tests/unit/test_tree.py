"""Folders as one artifact: walked once, read through no link, still the same at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from signward.errors import LimitError, MalformedError, UnreadableError
from signward.findings import Code
from signward.wire import tree as wire_tree
from signward.wire.tree import FolderTree, Subtree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "A.app"
    (root / "Contents" / "Resources").mkdir(parents=True)
    (root / "Contents" / "Info.plist").write_bytes(b"info")
    (root / "Contents" / "Resources" / "a").write_bytes(b"aaa")
    (root / "Contents" / "Resources.link").symlink_to("Resources")
    (root / "Contents0").write_bytes(b"beside")
    return root


def test_everything_is_told_in_order_and_links_are_not_followed(folder: Path) -> None:
    with FolderTree(folder) as tree:
        assert [(e.path, e.kind) for e in tree.entries()] == [
            ("Contents", "directory"), ("Contents/Info.plist", "file"),
            ("Contents/Resources", "directory"), ("Contents/Resources.link", "link"),
            ("Contents/Resources/a", "file"), ("Contents0", "file"),
        ]  # fmt: skip
        link = tree.entries()[3]
        assert link.target == "Resources"
        assert tree.open("Contents/Resources/a").read(0, 3) == b"aaa"
        tree.check_unchanged()


@pytest.mark.parametrize(
    "path", ["Contents/Resources.link/a", "../secret", "/etc/passwd", "", "Contents/../Contents0"]
)
def test_only_names_that_were_walked_are_opened(folder: Path, path: str) -> None:
    (folder.parent / "secret").write_bytes(b"s")
    with FolderTree(folder) as tree, pytest.raises(MalformedError):
        tree.open(path).read(0, 1)


def test_a_folder_that_becomes_a_link_is_a_change(folder: Path) -> None:
    with FolderTree(folder) as tree:
        source = tree.open("Contents/Resources/a")
        (folder / "Contents" / "Resources").rename(folder / "Contents" / "Moved")
        (folder / "Contents" / "Resources").symlink_to("Moved")
        with pytest.raises(UnreadableError) as error:
            source.read(0, 3)
    assert error.value.finding.code is Code.CHANGED_WHILE_READ


def test_a_file_that_is_another_than_was_walked_is_a_change(folder: Path) -> None:
    with FolderTree(folder) as tree:
        tree.entries()
        other = folder.parent / "other"
        other.write_bytes(b"bbb")
        other.replace(folder / "Contents" / "Resources" / "a")
        with pytest.raises(UnreadableError):
            tree.open("Contents/Resources/a").read(0, 3)
        with pytest.raises(UnreadableError):
            tree.check_unchanged()


def test_what_is_added_meanwhile_is_noticed(folder: Path) -> None:
    with FolderTree(folder) as tree:
        tree.entries()
        (folder / "Contents" / "late").write_bytes(b"x")
        with pytest.raises(UnreadableError):
            tree.check_unchanged()


def test_more_files_are_read_than_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_tree, "OPEN_FILES", 3)
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(b"%d" % number)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with FolderTree(tmp_path) as tree:
        sources = [tree.open(str(number)) for number in range(20)]
        for _ in range(2):
            assert [s.read(0, s.length) for s in sources] == [b"%d" % n for n in range(20)]
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_bounds_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_tree, "MAX_DEPTH", 3)
    monkeypatch.setattr(wire_tree, "MAX_ENTRIES", 5)
    (tmp_path / "a/b/c/d/e").mkdir(parents=True)
    with FolderTree(tmp_path) as tree, pytest.raises(LimitError):
        tree.entries()
    (tmp_path / "f").mkdir()
    for number in range(6):
        (tmp_path / "f" / str(number)).touch()
    with FolderTree(tmp_path / "f") as tree, pytest.raises(LimitError):
        tree.entries()


def test_a_folder_inside_is_a_tree_of_its_own(folder: Path) -> None:
    with FolderTree(folder) as tree:
        inner = Subtree(tree, "Contents")
        assert [e.path for e in inner.entries()] == [
            "Info.plist", "Resources", "Resources.link", "Resources/a",
        ]  # fmt: skip
        assert inner.open("Resources/a").read(0, 3) == b"aaa"
        assert inner.name == f"{folder}/Contents"


def test_what_is_no_folder_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as error:
        FolderTree(tmp_path / "absent")
    assert error.value.finding.code is Code.UNREADABLE
    (tmp_path / "file").touch()
    with pytest.raises(UnreadableError):
        FolderTree(tmp_path / "file")


def test_attributes_are_told_where_the_file_system_has_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    try:
        os.setxattr(tmp_path / "a", "user.com.apple.FinderInfo", b"x")
    except OSError:
        pytest.skip("extended attributes: this file system has none")
    with FolderTree(tmp_path) as tree:
        tree.entries()
        assert tree.attributes("a") == ("user.com.apple.FinderInfo",)
