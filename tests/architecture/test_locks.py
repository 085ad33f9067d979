"""The lock files: every distribution pinned by hashes, no host named, nothing forgotten."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.code import REPOSITORY

LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def pins(lock: Path) -> dict[str, tuple[str, int]]:
    """Return the version and the number of hashes of each distribution in a lock file."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text()):
        match = re.match(r"(\S+)==([^\s;]+)", entry)
        assert match, f"{lock.name}: {entry[:60]!r} pins nothing"
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)
        found[canonicalize_name(match[1])] = (match[2], len(hashes))
    return found


def test_there_are_the_three_locks() -> None:
    assert [lock.stem for lock in LOCKS] == ["build", "run", "test"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_pins_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--(extra-)?index-url|--find-links)", text, re.MULTILINE)
    assert [name for name, (_, hashes) in pins(lock).items() if hashes == 0] == []


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("build", PROJECT["build-system"]["requires"]),
        ("run", PROJECT["project"]["dependencies"]),
        ("test", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["test"]),
    ],
)
def test_a_lock_holds_what_the_project_declares(lock: str, declared: list[str]) -> None:
    locked = pins(REPOSITORY / "requirements" / f"{lock}.txt")
    for requirement in map(Requirement, declared):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"run `make lock`: {requirement}"


def test_run_and_test_agree() -> None:
    run, test = (pins(REPOSITORY / "requirements" / f"{name}.txt") for name in ("run", "test"))
    assert {name: test[name] for name in run} == run
