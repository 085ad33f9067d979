"""Orders that are taken together: each gets what it would have got alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from signward.authority.log.checkpoint import Policy
from signward.authority.log.note import read_key
from signward.authority.log.proof import open_receipt
from signward.errors import AuthorityError, ConflictError, KeyProviderError, LimitedError
from signward.integrity import check_value
from signward.keys._served import Answer
from signward.state import Algorithm
from signward.store import intents
from signward.store.engine import Outcome
from signward.store.tables import intent, sign_usage
from signward.verbs.authority import gathering, sign, using
from signward.verbs.authority.gathering import Gathering
from signward.verbs.authority.realm import Realm
from tests.builders import signing_service as service
from tests.builders.signing_service import BOB, CI, Clock, person
from tests.signing import identity
from tests.unit.test_octets import attributes
from tests.unit.test_sign_service import MONDAY, RSA, ask, kinds, order, plain

SECONDS = 60.0


@contextmanager
def together(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold an order back until the block ends: what is ordered in it is one batch."""
    started, go = threading.Event(), threading.Event()
    honest = sign._answers

    def watched(opened: Realm, cases: Any) -> Any:
        if not started.is_set():
            started.set()
            assert go.wait(SECONDS)
        return honest(opened, cases)

    with monkeypatch.context() as watching:
        watching.setattr(gathering, "PATIENCE_SECONDS", SECONDS)
        watching.setattr(sign, "_answers", watched)
        held = put(realm, "held" * 4)
        assert started.wait(SECONDS)
        yield
        go.set()
        assert held.result(SECONDS).state == "signed"


def put(realm: Realm, idempotency: str, who: str = CI, **fields: Any) -> Future[Answer]:
    return sign.ordered(realm, "release", person(who), idempotency, order(**fields))


def left(realm: Realm) -> list[str]:
    with realm.store.read() as connection:
        return list(connection.execute(select(intent.c.id)).scalars())


def test_each_gets_its_own_value_and_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    datas = [attributes(b"%d" % number) for number in range(5)]
    with service.realm(tmp_path, database=database_url) as realm:
        with together(realm, monkeypatch):
            futures = [
                put(realm, f"{n}" * 16, data=data, timestamp=True) for n, data in enumerate(datas)
            ]
        answers = [future.result(SECONDS) for future in futures]
        log = Policy(log=read_key(sign.page(realm, "release", person(CI)).log))
        for data, answer in zip(datas, answers, strict=True):
            check_value(identity().key.spki, Algorithm(**RSA), data, answer.value)
            assert answer.id.encode() in open_receipt(answer.receipt, log).entry
            assert len(answer.tokens) == 1
        assert left(realm) == []
        assert len({answer.receipt.partition(b"\n\n")[2] for answer in answers}) == 1
        told = kinds(realm)
    assert told[-5:] == ["signed"] * 5
    assert told.count("sign-request") == 6


def test_what_is_wrong_with_one_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with plain(tmp_path) as realm:
        ask(realm, "known" * 4)
        honest = realm.credential("release").sign
        bad = attributes(b"bad")

        def failing(standing: Any, data: bytes, algorithm: Algorithm) -> bytes:
            if data == bad:
                raise KeyProviderError("--key", "no token in the slot", "one")
            return honest(standing, data, algorithm)

        monkeypatch.setattr(realm.credential("release"), "sign", failing)
        with together(realm, monkeypatch):
            good = put(realm, "good" * 4)
            other = put(realm, "known" * 4, file="other.exe")
            again = put(realm, "known" * 4)
            unfit = put(realm, "unfit" * 4, data=b"anything")
            broken = put(realm, "broken" * 4, data=bad)
        assert good.result(SECONDS).state == again.result(SECONDS).state == "signed"
        for future, error in ((other, ConflictError), (unfit, AuthorityError),
                              (broken, KeyProviderError)):  # fmt: skip
            with pytest.raises(error):
                future.result(SECONDS)
        assert left(realm) == []
        assert kinds(realm).count("signed") == 3
        assert kinds(realm).count("sign-failed") == 1
        monkeypatch.setattr(realm.credential("release"), "sign", honest)
        assert ask(realm, "broken" * 4, data=bad).state == "signed"


def test_the_rate_holds_within_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    with plain(tmp_path, database_url, Clock(MONDAY), rate=["4/minute", "9/hour"]) as realm:
        with together(realm, monkeypatch):
            futures = [put(realm, f"{n}" * 16) for n in range(6)]
        errors = [future.exception(SECONDS) for future in futures]
        with realm.store.read() as connection:
            counted = connection.execute(select(sign_usage.c.count)).scalars().all()
    assert [type(error) for error in errors] == [type(None)] * 3 + [LimitedError] * 3
    assert counted == [4, 4]


def test_the_same_order_twice_in_a_batch_is_signed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path, signers=[CI, BOB]) as realm:
        with together(realm, monkeypatch):
            first, second = put(realm, "k" * 16), put(realm, "k" * 16)
            other = put(realm, "k" * 16, BOB)
        assert first.result(SECONDS).state == "signed"
        assert second.result(SECONDS).state == "signing"
        assert second.result().id == first.result().id != other.result(SECONDS).id
        assert ask(realm, "k" * 16).value == first.result().value
        assert kinds(realm).count("signed") == 3


def test_one_given_up_as_dead_meanwhile_gets_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sweeps closed its intent: the value that was made all the same does not leave."""
    with plain(tmp_path) as realm:
        honest = using._finished

        def swept(opened: Realm, jobs: Any, answers: Any) -> Any:
            def sweep(connection: Any) -> Outcome[int]:
                doomed = [job.case.identifier for job in jobs if job.case.idempotency[0] == "d"]
                return Outcome(len(intents.finish_all(connection, doomed)))

            realm.store.write(sweep).result()
            return honest(opened, jobs, answers)

        monkeypatch.setattr(using, "_finished", swept)
        with together(realm, monkeypatch):
            doomed, lucky = put(realm, "doomed" * 4), put(realm, "lucky" * 4)
        with pytest.raises(ConflictError, match="given up"):
            doomed.result(SECONDS)
        assert lucky.result(SECONDS).state == "signed"
        assert kinds(realm).count("signed") == 2


def test_whoever_left_before_the_turn_came_is_not_signed_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:
        with together(realm, monkeypatch):
            gone, there = put(realm, "gone" * 4), put(realm, "there" * 4)
            assert gone.cancel()
        assert there.result(SECONDS).state == "signed"
        assert kinds(realm).count("sign-request") == 2


# --- gathering ----------------------------------------------------------------------------------


def test_what_gathers_while_a_batch_is_at_work_is_taken_in_one_go() -> None:
    batches: list[list[int]] = []
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    def work(batch: list[int]) -> None:
        batches.append(batch)
        started.set()
        assert go.wait(SECONDS)
        if sum(map(len, batches)) == 6:
            done.set()

    gathered = Gathering(work, 1, 4, "test")
    gathered.add(0)
    assert started.wait(SECONDS)
    for number in range(1, 6):
        gathered.add(number)
    go.set()
    assert done.wait(SECONDS)
    assert batches == [[0], [1, 2, 3, 4], [5]]


def test_a_slow_batch_holds_up_the_next_for_a_moment_only() -> None:
    both, done = threading.Barrier(2), threading.Semaphore(0)

    def work(batch: list[int]) -> None:
        both.wait(SECONDS)
        done.release()

    gathered = Gathering(work, 2, 1, "test")
    gathered.add(0)
    gathered.add(1)
    for _ in range(2):
        assert done.acquire(timeout=SECONDS)
    assert not both.broken
