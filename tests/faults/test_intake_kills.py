"""Kill -9 while a delivery is taken in, at any moment: every file is somewhere, whole, and the next
run goes on; and nothing is accepted without its receipt."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from conformance.authenticode.keys import key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.verbs.intake.audit import State, audit
from signward.verbs.intake.delivery import STAGING
from tests.architecture.code import REPOSITORY
from tests.builders.feeds import spki

ROUNDS = 12
FILES = 60
MOST_SECONDS = 0.25

PROGRAM = """\
import sys
from datetime import UTC, datetime
from signward.keys import open_key
from signward.state import Outcome
from signward.verbs.intake.gate import Gate, folders
from signward.verbs.intake.judging import Judged
from signward.verbs.intake.receipts import Terms, policy_resources
from signward.verbs.sealing import Sealer

def judge(path, name):
    outcome = Outcome.ACCEPTED if "good" in name else Outcome.REJECTED
    return Judged(outcome=outcome)

sealer = Sealer(open_key("file:gate.pem", lambda _: None))
terms = Terms(verifier="v", at=datetime.now(UTC), policies=policy_resources([("p", 1)], [b""]))
gate = Gate(folders("in", "held"), judge, terms, sealer)
print("ready", flush=True)
for _ in gate.take("inbox"):
    pass
"""


def delivered(folder: Path) -> set[bytes]:
    whole = set()
    for number in range(FILES):
        name = f"{'good' if number % 2 else 'bad'}-{number}"
        path = folder / "inbox" / f"v{number % 5}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = f"{number}".encode() * 3000
        path.write_bytes(data)
        whole.add(data)
    return whole


def run(folder: Path, seconds: float | None) -> int:
    """Take the delivery in; kill after so many seconds of work."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if seconds is not None:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        return process.wait(60)


def held(folder: Path) -> set[bytes]:
    """Return the contents under the names that people look at."""
    return {
        path.read_bytes()
        for root in ("inbox", "in", "held")
        for path in (folder / root).rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def test_no_file_is_lost_and_none_accepted_without_a_receipt(tmp_path: Path) -> None:
    signer = key("p256", "gate")
    (tmp_path / "gate.pem").write_bytes(
        signer.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    whole = delivered(tmp_path)
    moments, killed = random.Random(5), 0
    for _ in range(ROUNDS):
        killed += run(tmp_path, moments.uniform(0, MOST_SECONDS)) == -signal.SIGKILL
        assert whole - held(tmp_path) == set()
        told = audit(tmp_path / "in", tmp_path / "in.receipts", [spki(signer)])
        # Copies of a gate that was killed before it judged them are told, and are in nobody's way.
        states = {one.state for one in told if not one.name.startswith(STAGING)}
        assert states <= {State.UNCHANGED, State.MISSING}  # a receipt comes before its file
    assert killed
    assert run(tmp_path, None) == 0
    rest = [path.name for path in (tmp_path / "inbox").rglob("*") if path.is_file()]
    assert all(name.startswith(".signward-taken-") for name in rest)  # killed before its removal
    accepted = {path.name for path in (tmp_path / "in").rglob("good*")}
    assert len(accepted) == FILES // 2
    assert len([p for p in (tmp_path / "held").rglob("bad*") if p.is_file()]) == FILES // 2
    assert not list((tmp_path / "in").glob(".signward-intake-*"))
