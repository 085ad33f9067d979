"""Signing for others: who, what, when and how often; once only; all of it in the log first."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from signward.authority.access import Identity
from signward.authority.log.checkpoint import Policy
from signward.authority.log.entry import Entry, Kind, decode
from signward.authority.log.note import read_key
from signward.authority.log.proof import open_receipt
from signward.envelopes.cms import open_token
from signward.errors import (
    AuthorityError,
    ConflictError,
    DeniedError,
    KeyProviderError,
    LimitedError,
    StoreError,
)
from signward.integrity import check_timestamp, check_value
from signward.keys import RotatedError
from signward.keys._served import Answer, Order
from signward.state import Algorithm, IntactTimestamp
from signward.store import intents
from signward.store.engine import Outcome
from signward.store.tables import intent, log_entry, sign_request
from signward.verbs.authority import approvals, deciding, sign
from signward.verbs.authority.approvals import Answering
from signward.verbs.authority.realm import Realm
from tests.builders import signing_service as service
from tests.builders.signing_service import ALICE, BOB, CI, EVE, Clock, person
from tests.signing import identity
from tests.unit.test_octets import attributes

RSA: dict[str, Any] = {"scheme": "rsa-pkcs1v15", "digest": "sha256"}
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def order(**fields: Any) -> Order:
    given = {"data": attributes(), "algorithm": RSA, "format": "pe", "file": "setup.exe", **fields}
    return msgspec.convert(given, Order)


def ask(realm: Realm, idempotency: str = "", who: str = CI, **fields: Any) -> Answer:
    under = idempotency or secrets.token_hex(16)
    return sign.sign(realm, "release", person(who), under, order(**fields))


def entries(realm: Realm) -> list[Entry]:
    with realm.store.read() as connection:
        bodies = connection.execute(select(log_entry.c.body).order_by(log_entry.c.position))
        return [decode(body) for body in bodies.scalars()]


def kinds(realm: Realm) -> list[str]:
    return [entry.kind.value for entry in entries(realm)]


@contextmanager
def plain(
    folder: Path, database: str = "", clock: Clock | None = None, **rules: Any
) -> Iterator[Realm]:
    """Open a realm that serves under ``rules``, without timestamps and receipts: they take time."""
    with service.realm(
        folder, rules, database=database, clock=clock, log=False, tsa=False
    ) as realm:
        yield realm


# --- what is signed ---------------------------------------------------------------------------


def test_a_value_fits_and_its_entries_stand_before_it_leaves(
    tmp_path: Path, database_url: str
) -> None:
    with service.realm(tmp_path, database=database_url) as realm:
        asked = order(timestamp=True, content=f"sha256:{'ab' * 32}")
        answer = sign.sign(realm, "release", person(CI), "k" * 16, asked)
        told = entries(realm)
        page = sign.page(realm, "release", person(CI))
    check_value(identity().key.spki, Algorithm(**RSA), asked.data, answer.value)
    assert answer.certificates == page.certificates
    assert answer.certificates[0] == identity().certificate
    assert [one.kind.value for one in told] == [
        "sign-request", "sign-decision", "timestamped", "signed"
    ]  # fmt: skip
    request, decision, _, signed = (one.fields for one in told)
    assert request["intent"] == decision["intent"] == signed["intent"] == answer.id
    assert request["digest"] == f"sha256:{hashlib.sha256(asked.data).hexdigest()}"
    assert (request["by"], request["by-kind"]) == (CI, "oidc")
    assert (request["file"], request["format"]) == ("setup.exe", "pe")
    assert request["content"] == asked.content
    assert decision["ruling"] == "allowed"
    assert signed["value"] == f"sha256:{hashlib.sha256(answer.value).hexdigest()}"


def test_the_token_speaks_of_the_value_and_the_receipt_of_the_entry(tmp_path: Path) -> None:
    with service.realm(tmp_path) as realm:
        answer = ask(realm, timestamp=True)
        page = sign.page(realm, "release", person(CI))
        told = entries(realm)
    (token,) = answer.tokens
    assert isinstance(check_timestamp(open_token(token, answer.value)), IntactTimestamp)
    proven = open_receipt(answer.receipt, Policy(log=read_key(page.log)))
    assert decode(proven.entry) == told[proven.index]
    assert told[proven.index].kind is Kind.SIGNED


def test_no_token_where_none_is_asked_for_or_the_key_gives_none(tmp_path: Path) -> None:
    with service.realm(tmp_path / "a") as realm:
        assert ask(realm).tokens == ()
    with service.realm(tmp_path / "b", {"timestamp": False}) as realm:
        assert ask(realm, timestamp=True).tokens == ()


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("rsa2048", {"scheme": "rsa-pss", "digest": "sha384", "mgf_digest": "sha384",
                     "salt_length": 48}),
        ("p256", {"scheme": "ecdsa", "digest": "sha256"}),
        ("ed25519", {"scheme": "ed25519"}),
        ("ml-dsa-65", {"scheme": "ml-dsa-65"}),
    ],
)  # fmt: skip
def test_other_algorithms(tmp_path: Path, kind: str, algorithm: dict[str, Any]) -> None:
    who = identity(kind, f"Signing Test Publisher {kind}")
    with service.realm(tmp_path, who=who, log=False, tsa=False) as realm:
        asked = attributes(size=hashlib.new(algorithm.get("digest", "sha384")).digest_size)
        answer = ask(realm, algorithm=algorithm, data=asked)
    check_value(who.key.spki, Algorithm(**algorithm), asked, answer.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"algorithm": {"scheme": "ecdsa", "digest": "sha256"}},
        {"algorithm": {"scheme": "ed25519"}},
        {"algorithm": {"scheme": "rsa-pkcs1v15"}},
        {"algorithm": {"scheme": "rsa-pkcs1v15", "digest": "sha512"}},
        {"algorithm": {"scheme": "rsa-pss", "digest": "sha256", "mgf_digest": "sha256",
                       "salt_length": 0}},
        {"algorithm": {"scheme": "rsa-pss", "digest": "sha256", "mgf_digest": "sha512",
                       "salt_length": 32}},
        {"format": "vsix"},
        {"format": "catalog"},
        {"data": b"anything"},
    ],
)  # fmt: skip
def test_what_does_not_fit_the_key_or_itself_is_not_signed(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    with plain(tmp_path) as realm:
        with pytest.raises(AuthorityError):
            ask(realm, **fields)
        assert kinds(realm) == []


# --- who, what, when, how often ---------------------------------------------------------------


def test_nobody_else_signs(tmp_path: Path) -> None:
    with plain(tmp_path) as realm:
        for who in (EVE, ALICE, "nobody"):
            with pytest.raises(DeniedError, match="does not sign for"):
                ask(realm, who=who)
        with pytest.raises(DeniedError, match="does not sign for"):
            sign.sign(realm, "other", person(CI), "k" * 16, order())
        with pytest.raises(DeniedError):
            sign.page(realm, "release", person(EVE))
        stranger = Identity(kind="mtls", subject=CI, issuer=service.ISSUER)
        with pytest.raises(DeniedError):
            sign.sign(realm, "release", stranger, "k" * 16, order())


def test_an_approver_who_is_no_signer_is_refused_and_that_is_logged(tmp_path: Path) -> None:
    with plain(tmp_path, approvals=1, approvers=[ALICE]) as realm:
        with pytest.raises(DeniedError, match="may not sign"):
            ask(realm, who=ALICE)
        assert kinds(realm) == ["sign-request", "sign-decision"]
        assert entries(realm)[1].fields["reason"] == "no-signer"


def test_a_file_type_that_is_not_allowed(tmp_path: Path) -> None:
    with plain(tmp_path, formats=["msi"]) as realm:
        with pytest.raises(DeniedError, match="format 'pe', required one of msi"):
            ask(realm)
        assert ask(realm, format="msi").state == "signed"
        assert kinds(realm)[:2] == ["sign-request", "sign-decision"]
        assert [e.fields.get("ruling") for e in entries(realm)][1] == "denied"


def test_out_of_hours(tmp_path: Path) -> None:
    clock = Clock(MONDAY)
    with plain(tmp_path, clock=clock, hours=["Mon-Fri 10:00-18:00"]) as realm:
        with pytest.raises(LimitedError, match=r"Mon 09:30 UTC, required Mon-Fri") as caught:
            ask(realm)
        clock.at = MONDAY + timedelta(seconds=caught.value.retry_seconds)
        assert ask(realm).state == "signed"


def test_over_the_rate(tmp_path: Path, database_url: str) -> None:
    clock = Clock(MONDAY)
    rate = ["2/minute", "3/hour"]
    with plain(tmp_path, database_url, clock, rate=rate) as realm:
        ask(realm)
        ask(realm)
        with pytest.raises(LimitedError, match="at most 2/minute") as caught:
            ask(realm)
        assert caught.value.retry_seconds == 60
        clock.at = MONDAY + timedelta(minutes=1)
        ask(realm)
        with pytest.raises(LimitedError, match="at most 3/hour"):
            ask(realm)
    with plain(tmp_path, database_url, clock, rate=rate) as replica, pytest.raises(LimitedError):
        ask(replica)


def test_what_is_refused_counts_for_no_rate_and_blocks_no_idempotency_key(tmp_path: Path) -> None:
    clock = Clock(MONDAY)
    with plain(tmp_path, clock=clock, rate=["1/minute"]) as realm:
        ask(realm)
        for _ in range(3):
            with pytest.raises(LimitedError):
                ask(realm, "again" * 4)
        clock.at = MONDAY + timedelta(minutes=1)
        assert ask(realm, "again" * 4).state == "signed"


# --- once only --------------------------------------------------------------------------------


def test_the_same_order_again_gets_the_stored_answer(tmp_path: Path, database_url: str) -> None:
    with service.realm(tmp_path, database=database_url) as realm:
        first = ask(realm, "k" * 16, timestamp=True)
        before = len(kinds(realm))
        again = ask(realm, "k" * 16, timestamp=True)
        assert (again.value, again.tokens, again.id) == (first.value, first.tokens, first.id)
        assert len(kinds(realm)) == before
        page = sign.page(realm, "release", person(CI))
        log = Policy(log=read_key(page.log))
        proofs = open_receipt(first.receipt, log), open_receipt(again.receipt, log)
        assert proofs[0].entry == proofs[1].entry


def test_another_order_under_the_same_key_is_refused(tmp_path: Path) -> None:
    with plain(tmp_path) as realm:
        ask(realm, "k" * 16)
        for other in ({"file": "other.exe"}, {"data": attributes(b"other")}, {"timestamp": True}):
            with pytest.raises(ConflictError, match="another order"):
                ask(realm, "k" * 16, **other)
        assert kinds(realm).count("signed") == 1


def test_an_idempotency_key_is_its_callers_own(tmp_path: Path) -> None:
    with plain(tmp_path, signers=[CI, BOB]) as realm:
        first = ask(realm, "k" * 16)
        other = ask(realm, "k" * 16, who=BOB, file="other.exe")
        assert first.id != other.id


def test_the_same_order_while_it_is_signed_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:
        seen: list[Answer] = []
        honest = realm.credential("release").sign

        def slow(*arguments: Any) -> bytes:
            seen.append(ask(realm, "k" * 16))
            return honest(*arguments)

        monkeypatch.setattr(realm.credential("release"), "sign", slow)
        first = ask(realm, "k" * 16)
        assert [one.state for one in seen] == ["signing"]
        assert seen[0].id == first.id
        assert seen[0].value == b""
        assert kinds(realm).count("signed") == 1


def test_a_key_that_fails_leaves_nothing_but_its_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:
        credential = realm.credential("release")

        def gone(*_: Any) -> bytes:
            raise KeyProviderError("--key", "no token in the slot", "one")

        with monkeypatch.context() as broken:
            broken.setattr(credential, "sign", gone)
            with pytest.raises(KeyProviderError):
                ask(realm, "k" * 16)
        assert kinds(realm)[-1] == "sign-failed"
        assert _open_intents(realm) == []
        assert ask(realm, "k" * 16).state == "signed"


def test_a_leaf_that_rotated_is_read_anew_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:
        credential = realm.credential("release")
        before = credential.standing

        def rotated(*_: Any) -> bytes:
            raise RotatedError("--key", "another leaf", "the one opened")

        with monkeypatch.context() as broken:
            broken.setattr(credential, "sign", rotated)
            with pytest.raises(RotatedError):
                ask(realm, "k" * 16)
        assert credential.standing is not before
        assert ask(realm, "k" * 16).state == "signed"


def test_a_value_that_does_not_fit_never_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:
        monkeypatch.setattr(realm.key("release"), "sign", lambda *_: bytes(256), raising=False)
        with pytest.raises(KeyProviderError, match="does not fit"):
            ask(realm)
        assert kinds(realm) == ["sign-request", "sign-decision", "sign-failed"]


def _open_intents(realm: Realm) -> list[str]:
    with realm.store.read() as connection:
        return list(connection.execute(select(intent.c.id)).scalars())


def test_a_result_that_cannot_be_stored_does_not_leave_and_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain(tmp_path) as realm:

        def full(*_: Any) -> None:
            raise StoreError("the database", "disk full", "room")

        with monkeypatch.context() as broken:
            broken.setattr("signward.store.requests.finish", full)
            with pytest.raises(StoreError):
                ask(realm, "k" * 16)
        assert len(_open_intents(realm)) == 1
        assert ask(realm, "k" * 16).state == "signed"
        assert kinds(realm) == ["sign-request", "sign-decision", "abandoned", "sign-request",
                                "sign-decision", "signed"]  # fmt: skip
        assert _open_intents(realm) == []


def test_what_a_dead_process_began_is_under_way_until_it_is_swept(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(MONDAY)

    def killed(*_: Any) -> None:
        raise SystemExit

    with plain(tmp_path, database_url, clock) as dying, monkeypatch.context() as broken:
        broken.setattr("signward.verbs.authority.sign.use", killed)
        with pytest.raises(SystemExit):
            ask(dying, "k" * 16)
    with plain(tmp_path, database_url, clock) as realm:
        assert ask(realm, "k" * 16).state == "signing"

        def sweep(connection: Any) -> Outcome[int]:
            return Outcome(len(intents.abandon(connection, 2**62)))

        assert realm.store.write(sweep).result().value == 1
        assert ask(realm, "k" * 16).state == "signed"
        assert _open_intents(realm) == []


# --- approvals --------------------------------------------------------------------------------

TWO: dict[str, Any] = {"approvals": 2, "approvers": [ALICE, BOB], "approval_hours": 1}


def say(realm: Realm, who: str, identifier: str, said: Answering = Answering.APPROVE) -> str:
    return approvals.answer(realm, person(who), identifier, said).state


def test_two_of_two_approve_and_it_is_signed_for_whoever_asked(
    tmp_path: Path, database_url: str
) -> None:
    with plain(tmp_path, database_url, **TWO) as realm:
        first = ask(realm, "k" * 16)
        assert (first.state, first.approvals, first.required) == ("pending", 0, 2)
        assert first.value == b""
        (seen,) = approvals.waiting(realm, person(ALICE))
        assert (seen.id, seen.by, seen.file, seen.format) == (first.id, CI, "setup.exe", "pe")
        say(realm, ALICE, first.id)
        assert ask(realm, "k" * 16).approvals == 1
        say(realm, BOB, first.id)
        assert sign.look(realm, "release", person(CI), first.id).state == "approved"
        assert kinds(realm).count("signed") == 0
        answer = ask(realm, "k" * 16)
        assert (answer.state, answer.id) == ("signed", first.id)
        assert sign.look(realm, "release", person(CI), first.id).value == answer.value
        assert sign.look(realm, "release", person(ALICE), first.id).value == b""
        assert approvals.waiting(realm, person(ALICE)) == ()
        told = [e.fields for e in entries(realm) if e.kind is Kind.APPROVAL]
        assert [(one["by"], one["said"], one["ruling"]) for one in told] == [
            (ALICE, "approve", "allowed"), (BOB, "approve", "allowed")
        ]  # fmt: skip


def test_nobody_approves_twice_or_their_own_or_without_being_asked(tmp_path: Path) -> None:
    with plain(tmp_path, **{**TWO, "signers": [CI, ALICE]}) as realm:
        own, other = ask(realm, who=ALICE), ask(realm)
        with pytest.raises(DeniedError, match="one's own"):
            say(realm, ALICE, own.id)
        say(realm, ALICE, other.id)
        with pytest.raises(DeniedError, match="second approval"):
            say(realm, ALICE, other.id)
        for who in (CI, EVE):
            with pytest.raises(DeniedError, match="may not approve"):
                say(realm, who, other.id)
        refused = [e.fields["reason"] for e in entries(realm) if e.fields.get("said")]
        assert refused == ["own-request", "allowed", "approved-already", "no-approver",
                           "no-approver"]  # fmt: skip
        with pytest.raises(DeniedError, match="none of that name"):
            say(realm, ALICE, "0" * 32)


def test_a_denial_ends_a_request(tmp_path: Path) -> None:
    with plain(tmp_path, **TWO) as realm:
        first = ask(realm, "k" * 16)
        say(realm, ALICE, first.id)
        assert say(realm, BOB, first.id, Answering.DENY) == "denied"
        with pytest.raises(DeniedError, match="denied"):
            ask(realm, "k" * 16)
        with pytest.raises(ConflictError, match="denied"):
            say(realm, BOB, first.id)
        with pytest.raises(ConflictError):
            say(realm, BOB, first.id, Answering.DENY)
        assert sign.look(realm, "release", person(CI), first.id).state == "denied"
        assert kinds(realm).count("signed") == 0


def test_whoever_asked_may_withdraw_and_a_stranger_may_not(tmp_path: Path) -> None:
    with plain(tmp_path, **TWO) as realm:
        first = ask(realm)
        with pytest.raises(DeniedError, match="may not deny"):
            say(realm, EVE, first.id, Answering.DENY)
        assert say(realm, CI, first.id, Answering.DENY) == "denied"


def test_a_request_expires_with_and_without_a_sweep(tmp_path: Path, database_url: str) -> None:
    clock = Clock(MONDAY)
    with plain(tmp_path, database_url, clock, **TWO) as realm:
        asked = [ask(realm, f"{n}" * 16) for n in range(2)]
        for who in (ALICE, BOB):
            say(realm, who, asked[0].id)
        clock.at = MONDAY + timedelta(hours=1)
        assert sign.look(realm, "release", person(CI), asked[0].id).state == "expired"
        assert approvals.waiting(realm, person(ALICE)) == ()
        with pytest.raises(DeniedError, match="expired"):
            ask(realm, "0" * 16)
        with pytest.raises(ConflictError, match="expired"):
            say(realm, ALICE, asked[1].id)
        assert approvals.sweep(realm) == 1
        assert approvals.sweep(realm) == 0
        with pytest.raises(DeniedError, match="expired"):
            ask(realm, "1" * 16)
        told = [e.fields.get("reason") for e in entries(realm)]
        assert told.count("expired") == 2
        assert kinds(realm).count("signed") == 0


def test_what_is_old_is_forgotten_and_what_is_new_is_not(tmp_path: Path, database_url: str) -> None:
    clock = Clock(MONDAY)
    with plain(tmp_path, database_url, clock, rate=["5/minute"]) as realm:
        ask(realm, "k" * 16)
        clock.at = MONDAY + approvals.RETENTION + timedelta(seconds=1)
        ask(realm, "n" * 16)
        approvals.sweep(realm)
        with realm.store.read() as connection:
            left = connection.execute(select(sign_request.c.idempotency)).scalars().all()
        assert left == ["n" * 16]


def test_approved_requests_still_obey_hours_and_rate(tmp_path: Path) -> None:
    clock = Clock(MONDAY)
    rules = {**TWO, "approval_hours": 24, "hours": ["Mon 09:00-10:00", "Tue 00:00-24:00"]}
    with plain(tmp_path, clock=clock, **rules) as realm:
        first = ask(realm, "k" * 16)
        clock.at = MONDAY + timedelta(hours=2)
        for who in (ALICE, BOB):
            say(realm, who, first.id)
        with pytest.raises(LimitedError):
            ask(realm, "k" * 16)
        clock.at = MONDAY + timedelta(hours=16)
        assert ask(realm, "k" * 16).state == "signed"


def test_a_request_is_nobody_elses_business(tmp_path: Path) -> None:
    with plain(tmp_path, **{**TWO, "signers": [CI, EVE]}) as realm:
        first = ask(realm)
        with pytest.raises(DeniedError, match="none of that name"):
            sign.look(realm, "release", person(EVE), first.id)
        with pytest.raises(DeniedError, match="none of that name"):
            sign.look(realm, "release", person(CI), "0" * 32)


def test_nobody_hides_the_requests_of_others_behind_many_of_their_own(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither rate nor retention bounds what only waits."""
    monkeypatch.setattr(deciding, "MAX_PENDING", 3)
    rules: dict[str, Any] = {"approvals": 1, "approvers": [ALICE], "signers": [CI, BOB]}
    with plain(tmp_path, database_url, **rules) as realm:
        for number in range(3):
            assert ask(realm, f"{number}" * 16).state == "pending"
        with pytest.raises(LimitedError, match="3 requests that wait") as caught:
            ask(realm)
        assert caught.value.retry_seconds
        assert ask(realm, "0" * 16).state == "pending"
        assert ask(realm, who=BOB).state == "pending"
        first = approvals.waiting(realm, person(ALICE))[0].id
        approvals.answer(realm, person(ALICE), first, Answering.DENY)
        assert ask(realm).state == "pending"
