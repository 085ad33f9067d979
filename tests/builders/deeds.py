"""Deeds of an authority in processes that are killed, and a journal of what left them.

``python -m tests.builders.deeds`` reads orders (`Order`, one JSON line each) and answers each with
a line.  For an order it forks a process that opens the authority, does the deeds, and writes to
the journal, with one ``write`` each, which key was used on what, and what was answered.

Killed it is by its own hand at the n-th step, SIGKILL, or by ours after some seconds.  Steps are
counted around everything that matters: every statement and every commit, once a batch is durable
but nobody was told, before and after a key signs, before and after a file is replaced, and before
an answer leaves.  The product knows nothing of this: its functions are wrapped in the child.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Engine, event

from signward.authority.access import Identity
from signward.envelopes import tsp
from signward.errors import ConflictError
from signward.keys import _served
from signward.state import Algorithm
from signward.store import certificates
from signward.store.engine import Store
from signward.verbs.authority import issue, revoke, sign, stamp, transparency
from signward.verbs.authority.files import replace_file
from signward.verbs.authority.realm import Realm
from signward.verbs.credential import Credential, Standing

REPOSITORY = Path(__file__).resolve().parents[2]
ISSUER = "issuing"
SIGNING = "release"
ORDERED = b"octets that somebody orders to be signed: "
"""Begins what is signed for others, so that it is known for that."""
SECONDS = 60
TESTER = Identity(kind="local", subject="tester")

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True):
    """What a process is to do, and when it is to die (step 0, no seconds: it lives)."""

    folder: str
    journal: str
    """A folder."""
    deeds: list[str]
    database: str = ""
    step: int = 0
    seconds: float | None = None
    seed: int = 0


# --- in the process that is killed ----------------------------------------------------------


class Steps:
    """Counts steps in every thread; at the chosen one the process ends as if power were cut."""

    def __init__(self, last: int) -> None:
        self._last, self.count = last, 0
        self._lock = threading.Lock()

    def __call__(self, *_: object, **__: object) -> None:
        """Take one step."""
        with self._lock:
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


class Journal:
    """Lines that are with the system as soon as they are written, but for one that a kill cuts.

    Each process has a file of its own in a folder: what comes after a cut line is another's.
    """

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(exist_ok=True)
        name = f"{folder}/{time.time_ns()}-{os.getpid()}"
        self._descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def __call__(self, what: str, **fields: object) -> None:
        """Write a line: bytes become hexadecimal."""
        plain = {n: v.hex() if isinstance(v, bytes) else v for n, v in fields.items()}
        line = json.dumps({"what": what, **plain}).encode() + b"\n"
        assert os.write(self._descriptor, line) == len(line)


class Worker:
    """One process's deeds."""

    def __init__(self, order: Order) -> None:
        self.journal, self.step = Journal(order.journal), Steps(order.step)
        self._random = random.Random(order.seed)
        self._watch()
        self.realm = Realm.open(Path(order.folder), database=order.database)
        self._stamper: stamp.Stamper | None = None

    def _watch(self) -> None:
        event.listen(Engine, "before_cursor_execute", self.step)
        event.listen(Engine, "commit", self.step)
        patch = pytest.MonkeyPatch()
        patch.setattr(Store, "_transact", self._around(Store._transact))
        patch.setattr(transparency, "replace_file", self._around(replace_file))
        patch.setattr(Credential, "sign", self._noted(Credential.sign))

    def _around(self, function: Callable[..., T]) -> Callable[..., T]:
        def stepping(*arguments: Any, **named: Any) -> T:
            self.step()
            result = function(*arguments, **named)
            self.step()
            return result

        return stepping

    def _noted(self, function: Callable[..., bytes]) -> Callable[..., bytes]:
        stepping = self._around(function)

        def noting(
            credential: Credential, standing: Standing, data: bytes, algorithm: Algorithm
        ) -> bytes:
            self.journal("used", leaf=standing.leaf.sha256, data=data)
            return stepping(credential, standing, data, algorithm)

        return noting

    def left(self, deed: str, **fields: object) -> None:
        """Note an answer, which leaves with that."""
        self.step()
        self.journal("left", deed=deed, **fields)

    def do(self, deed: str) -> None:
        """Do one deed; ``any`` is one by lot."""
        if deed == "any":
            deed = self._random.choice(list(DEEDS))
        DEEDS[deed](self)

    def issue(self) -> None:
        """Issue a certificate for a new key."""
        spki = _new_key()
        order = issue.order(self.realm, ISSUER, "code-signing", spki, subject="Somebody")
        made = issue.issue(self.realm, ISSUER, order, "tester")
        self.left("issue", der=made.certificate.der, position=made.position)

    def revoke(self) -> None:
        """Revoke the first certificate for code that is not revoked; publish the CRL."""
        with self.realm.store.read() as connection:
            listed = [
                one for one in certificates.listing(connection, issuer=ISSUER)
                if one.revocation is None and one.issued.holder == "tester"
            ]  # fmt: skip
        if not listed:
            return self.issue()
        try:
            done = revoke.revoke(self.realm, listed[0], "keyCompromise", "tester")
        except ConflictError:  # another process was quicker
            return None
        return self.left("revoke", serial=done.revocation.serial, position=done.position)

    def stamp(self) -> None:
        """Timestamp a random digest."""
        if self._stamper is None:
            self._stamper = stamp.Stamper(self.realm)
        imprint = os.urandom(32)
        query = tsp.write_request("sha256", imprint, secrets.randbits(64))
        answer = tsp.read_answer(self._stamper.answer(query).result(SECONDS))
        assert answer.granted, answer
        self.left("stamp", token=answer.token, imprint=imprint)

    def sign(self) -> None:
        """Sign random octets for somebody."""
        credential = self.realm.credential(SIGNING)
        algorithm = credential.standing.signer.algorithm
        ordered = _served.OrderedAlgorithm(scheme=algorithm.scheme, digest=algorithm.digest)
        data = ORDERED + os.urandom(32)
        order = _served.Order(
            data=data, algorithm=ordered, format="raw", file="a.exe", timestamp=True
        )  # fmt: skip
        answer = sign.sign(self.realm, SIGNING, TESTER, secrets.token_hex(16), order)
        self.left("sign", value=answer.value, data=data, receipt=answer.receipt,
                  token=answer.tokens[0])  # fmt: skip

    def checkpoint(self) -> None:
        """Sign a checkpoint."""
        self.left("checkpoint", note=transparency.transparency_of(self.realm).checkpoint())

    def close(self) -> None:
        """End in order."""
        if self._stamper is not None:
            self._stamper.close()
        self.realm.close()


DEEDS: dict[str, Callable[[Worker], None]] = {
    "issue": Worker.issue,
    "revoke": Worker.revoke,
    "stamp": Worker.stamp,
    "sign": Worker.sign,
    "checkpoint": Worker.checkpoint,
}


def _new_key() -> bytes:
    """Return the public key (SPKI, DER) of somebody's new key."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _work(order: Order, ready: int) -> None:
    worker = Worker(order)
    os.write(ready, b"+")
    for deed in order.deeds:
        worker.do(deed)
    worker.close()
    worker.journal("ended", steps=worker.step.count)


# --- in the process that forks them ---------------------------------------------------------


def _run(order: Order) -> int:
    """Fork a process for an order; return how it ended."""
    receiving, ready = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiving)
        code = 1
        try:
            _work(order, ready)
            code = 0
        finally:  # whatever happens: this is no place to go on from
            if code:
                import traceback

                traceback.print_exc()
            os._exit(code)
    os.close(ready)
    if order.seconds is not None and os.read(receiving, 1):
        time.sleep(order.seconds)
        os.kill(child, signal.SIGKILL)
    ended = os.waitpid(child, 0)[1]
    os.close(receiving)
    return os.waitstatus_to_exitcode(ended)


def main() -> int:
    """Carry out orders until there are none."""
    for line in sys.stdin:
        sys.stdout.write(f"{_run(msgspec.json.decode(line, type=Order))}\n")
        sys.stdout.flush()
    return 0


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of every process's file, the earlier process's first."""
    files = sorted(folder.glob("*"))
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


# --- in the tests ---------------------------------------------------------------------------


class Nursery:
    """A process that has imported everything, and forks the ones that are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.deeds"],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, order: Order) -> None:
        """Have an order carried out; `wait` for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        """Return how the process of the order ended: its exit code, or minus a signal's number."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def run(self, order: Order) -> int:
        """Carry out an order; return how its process ended."""
        self.send(order)
        return self.wait()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@contextmanager
def running() -> Iterator[Nursery]:
    """Start the process that forks others; end it."""
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


if __name__ == "__main__":
    raise SystemExit(main())
