"""Files of an RPM system: by the signed headers in its database."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from signward.findings import Code
from signward.frozen import replace
from signward.inventory.packages import FILE
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.packages.rpmdb import read_rpmdb
from signward.verbs.verify import assess_path
from tests.builders import openpgp as pgp
from tests.unit.test_rpm import NOW, key, ring
from tests.unit.test_rpmdb import database, signed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    database(tmp_path / "system", signed())
    (tmp_path / "ring.gpg").write_bytes(ring(key()))
    return tmp_path / "system"


def options(root: Path) -> Options:
    keyrings = (str(root.parent / "ring.gpg"),)
    return Options(keyrings=keyrings, at=NOW, packages=PackageOptions(root=str(root)))


def judge(root: Path, path: str, chosen: Options | None = None) -> Verdict:
    return assess_path(root / path.lstrip("/"), Context(chosen or options(root)))


def a_file(root: Path) -> tuple[str, bytes, int]:
    """Return a file that the header lists: its path, digest and mode."""
    (holding,), _ = read_rpmdb(str(root), Context(options(root)))
    entry = next(one for one in holding.entries if one.kind == FILE and one.size)
    return entry.path, entry.digest, entry.mode


def put(root: Path, path: str, data: bytes, mode: int) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    place.chmod(mode)


def content(digest: bytes) -> bytes:
    from conformance.authenticode import rpm

    known = [file.content for file in rpm.FILES if hasattr(file, "content")]
    return next(one for one in known if hashlib.sha256(one).digest() == digest)


def test_a_file_is_vouched_for_by_its_header(root: Path) -> None:
    path, digest, mode = a_file(root)
    put(root, path, content(digest), mode)
    verdict = judge(root, path)
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-package"), verdict.findings
    assert verdict.facts["package"] == "tool"
    assert "header-sha256" in verdict.facts


def test_a_changed_file_is_rejected(root: Path) -> None:
    path, digest, mode = a_file(root)
    put(root, path, content(digest)[:-1] + b"!", mode)
    assert judge(root, path).cause is Code.DIGEST_MISMATCH


def test_without_the_signers_key_nothing_is_said(root: Path) -> None:
    path, digest, mode = a_file(root)
    put(root, path, content(digest), mode)
    bare = replace(options(root), keyrings=())
    assert judge(root, path, bare).outcome is Outcome.INDETERMINATE
    (root.parent / "ring.gpg").write_bytes(ring(pgp.Key()))
    put(root, path, content(digest)[:-1] + b"!", mode)
    verdict = judge(root, path)
    assert verdict.cause is Code.NOT_VOUCHED
    assert "--keyring" in verdict.findings[0].hint


def test_a_stray_file_is_unsigned(root: Path) -> None:
    put(root, "/usr/bin/stray", b"#!/bin/sh", 0o755)
    assert judge(root, "/usr/bin/stray").cause is Code.UNSIGNED
