"""Signing a tree, killed at any moment: every file is signed or not, and the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from signward.formats._ima import ImaFormat
from signward.state import Outcome
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource
from tests.builders.keyfiles import encoded
from tests.signing import context, identity

FILES = 400
OWN = identity()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(FILES):
        path = root / f"d{number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content {number}\n".encode() * (number * 7 % 500 + 1))
    try:
        os.setxattr(path, "security.ima", b"\4\4" + bytes(32))
    except OSError as error:
        pytest.skip(f"system: security.ima cannot be set here ({error.strerror})")
    os.removexattr(path, "security.ima")
    (tmp_path / "key.pem").write_bytes(encoded(OWN.key) + OWN.pem)
    return root


def begin(tree: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "signward", "sign", "--key", f"file:{tree.parent / 'key.pem'}",
         "--ima", "--json", str(tree)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def signed(tree: Path) -> int:
    """Return how many files carry a signature; each must be intact and by our key."""
    judging, count = context(tree.parent, OWN), 0
    for path in sorted(p for p in tree.rglob("*") if p.is_file()):
        if "security.ima" not in os.listxattr(path):
            continue
        source = BytesSource(path.name, path.read_bytes())
        verdict = assess_as(ImaFormat(os.getxattr(path, "security.ima")), source, judging)
        assert verdict.outcome is Outcome.ACCEPTED, path
        count += 1
    return count


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_ended_is_gone_on_with(number: int, tree: Path) -> None:
    reached = []
    for _ in range(4):
        with begin(tree) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02)
            process.send_signal(number)
            process.stdout.read()
        reached.append(signed(tree))
        if reached[-1] == FILES:
            break
    assert reached == sorted(reached)
    with begin(tree) as process:
        told = process.communicate()[0].splitlines()
    assert process.returncode == 0
    outcomes = Counter(json.loads(line)["outcome"] for line in told)
    assert outcomes["kept"] == reached[-1]
    assert outcomes.total() == signed(tree) == FILES
