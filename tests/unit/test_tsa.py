"""The time-stamping authority: what it reads, stamps, refuses, and writes down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_CODE_SIGNING, EKU_TIME_STAMPING, timestamper
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import select

from signward.authority import tsa
from signward.authority.log.entry import decode
from signward.authority.log.tree import Frontier, leaf_hash
from signward.authority.tsa import Failure, RefusedError
from signward.envelopes import tsp
from signward.envelopes.cms import open_token
from signward.errors import AuthorityError, KeyProviderError, RealmError, StoreError
from signward.frozen import replace
from signward.integrity import check_timestamp
from signward.keys import RotatedError
from signward.service.roles import Access
from signward.service.roles.tsa import TsaRole
from signward.state import IntactTimestamp
from signward.store import log
from signward.store.tables import log_entry
from signward.verbs.authority import stamp
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.stamp import Stamper, Watch
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS
from tests.builders.realm import POLICY, Clock, make_realm, open_realm, root, stamper

NOW = datetime(2026, 11, 23, 16, 0, 0, 250_000, tzinfo=UTC)
DATA = b"a signature value"
POLICIES = tsa.Policy(oid=POLICY, accuracy_ms=1000)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def realm(tmp_path: Path, clock: Clock, database_url: str) -> Iterator[Realm]:
    """A realm on SQLite, and on PostgreSQL."""
    made = make_realm(tmp_path, clock=clock, database=database_url)
    yield made
    made.close()


@pytest.fixture
def authority(realm: Realm, clock: Clock) -> Iterator[Stamper]:
    made = Stamper(realm, clock.steady)
    yield made
    made.close()


def query(*extra: bytes, digest: str = "sha256", imprint: bytes | None = None) -> bytes:
    """Return a query; ``extra`` follows the imprint."""
    hashed = hashlib.new(digest, DATA).digest() if imprint is None else imprint
    algorithm = der.sequence(der.oid(DIGEST_OIDS[digest]), der.null())
    return der.sequence(der.integer(1), der.sequence(algorithm, der.octet_string(hashed)), *extra)


def ask(authority: Stamper, data: bytes) -> bytes:
    return authority.answer(data).result(30)


def token_of(answer: bytes) -> bytes:
    read = tsp.read_answer(answer)
    assert read.granted, read
    return read.token


def info_of(answer: bytes) -> tsp.TstInfo:
    checked = check_timestamp(open_token(token_of(answer), DATA), [stamper().certificate])
    assert isinstance(checked, IntactTimestamp), checked
    assert checked.signature.findings == ()
    return tsp.read_tst_info(checked.signature.claimed.content)


def failure_of(answer: bytes) -> Failure:
    status, text, bits = der.parse(answer, "a").children()[0].children()
    assert status.integer() == 2
    assert text.children()[0].text()
    octets = bits.content[1:]
    (number,) = [i for i in range(8 * len(octets)) if octets[i // 8] & 0x80 >> i % 8]
    assert bits.content[0] == 7 - number % 8  # named bits: no zeros behind the last (X.690 11.2)
    return Failure(number)


def entries(realm: Realm) -> list[dict[str, Any]]:
    with realm.store.read() as connection:
        bodies = connection.execute(select(log_entry.c.body).order_by(log_entry.c.position))
        return [dict(decode(body).fields) for body in bodies.scalars()]


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_a_token_says_what_was_asked(authority: Stamper, digest: str) -> None:
    answer = ask(authority, query(der.integer(2**63 + 5), der.boolean(True), digest=digest))
    info = info_of(answer)
    assert info.policy == POLICY
    assert (info.imprint_algorithm, info.imprint) == (digest, hashlib.new(digest, DATA).digest())
    assert info.nonce == 2**63 + 5
    assert info.time == NOW
    assert info.accuracy_seconds == 1.0


@pytest.mark.parametrize("kind", ["rsa3072", "p256", "p384", "ed25519", "ml-dsa-44"])
def test_keys_of_every_kind_stamp(tmp_path: Path, kind: str) -> None:
    holder = timestamper("TSA " + kind, root(), subject_key=key(kind, "tsa"))
    realm = make_realm(tmp_path, stamps=holder)
    answer = ask(Stamper(realm), query())
    checked = check_timestamp(open_token(token_of(answer), DATA), [holder.certificate])
    assert isinstance(checked, IntactTimestamp), checked
    realm.close()


def test_certificates_come_only_when_asked_for(authority: Stamper) -> None:
    bare = open_token(token_of(ask(authority, query())), DATA)
    full = open_token(token_of(ask(authority, query(der.boolean(True)))), DATA)
    assert bare.signature is not None
    assert full.signature is not None
    assert bare.signature.claimed_certificates == ()
    assert full.signature.claimed_certificates == (stamper().certificate,)
    certificate = hashlib.sha256(stamper().certificate).digest()
    assert bare.signature.claimed_certificate_digests == (("sha256", certificate),)


def test_without_a_nonce_there_is_none(authority: Stamper) -> None:
    assert info_of(ask(authority, query())).nonce is None


def test_a_negative_nonce_comes_back(authority: Stamper) -> None:
    assert info_of(ask(authority, query(der.integer(-5)))).nonce == -5


def test_the_policy_may_be_asked_for(authority: Stamper) -> None:
    assert info_of(ask(authority, query(der.oid(POLICY)))).policy == POLICY


def test_an_imprint_without_parameters_comes_back_without(authority: Stamper) -> None:
    plain = query().replace(b"\x05\0", b"", 1)
    plain = bytes((plain[0], plain[1] - 2)) + plain[2:]
    at = plain.index(b"\x06\x09\x60")
    plain = (plain[: at - 3] + bytes((plain[at - 3] - 2,)) + plain[at - 2 : at - 1]
             + bytes((plain[at - 1] - 2,)) + plain[at:])  # fmt: skip
    imprint = der.parse(plain, "q").children()[1].raw
    answer = ask(authority, plain)
    assert info_of(answer).imprint == hashlib.sha256(DATA).digest()
    assert imprint in answer


@pytest.mark.parametrize(
    ("accuracy", "written"),
    [(1000, "3003020101"), (500, "3004800201f4"), (1001, "3006020101800101"), (0, ""),
     (128, "3004800200" + "80"), (60_000, "300302013c")],
)  # fmt: skip
def test_accuracy_is_written_as_short_as_it_can(accuracy: int, written: str) -> None:
    assert tsa._accuracy(accuracy).hex() == written


def test_the_time_has_no_zeros_behind(authority: Stamper) -> None:
    assert tsa.gen_time(NOW) == b"\x18\x1220261123160000.25Z"
    assert tsa.gen_time(NOW.replace(microsecond=0)) == b"\x18\x0f20261123160000Z"
    assert tsa.gen_time(NOW.replace(microsecond=999)) == b"\x18\x0f20261123160000Z"
    assert tsa.gen_time(NOW.replace(microsecond=7_000)) == b"\x18\x1320261123160000.007Z"


def test_ordering_is_claimed_only_where_it_holds(realm: Realm) -> None:
    signer = realm.credential("tsa").standing.signer
    asked = tsa.read_query(query())
    plain = tsa.draft(asked, POLICIES, signer, serial=1, at=NOW).content
    ordered = tsa.draft(asked, replace(POLICIES, ordering=True), signer, serial=1, at=NOW).content
    assert b"\x01\x01\xff" not in plain
    assert b"\x01\x01\xff" in ordered


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (query(digest="sha1"), Failure.BAD_ALG),
        (query(digest="md5"), Failure.BAD_ALG),
        (query(digest="sha224"), Failure.BAD_ALG),
        (query(digest="sha3_256"), Failure.BAD_ALG),
        (query(digest="sha256", imprint=bytes(20)), Failure.BAD_DATA_FORMAT),
        (query(digest="sha512", imprint=bytes(32)), Failure.BAD_DATA_FORMAT),
        (b"", Failure.BAD_REQUEST),
        (b"garbage", Failure.BAD_REQUEST),
        (query() + b"\0", Failure.BAD_REQUEST),
        (query().replace(b"\x02\x01\x01", b"\x02\x01\x02"), Failure.BAD_REQUEST),
        (query(der.boolean(True), der.integer(1)), Failure.BAD_REQUEST),
        (query(der.null()), Failure.BAD_REQUEST),
        (query(der.integer(1), der.integer(1)), Failure.BAD_REQUEST),
        (query(der.octet_string(bytes(5000))), Failure.BAD_REQUEST),
        (query(der.oid("1.2.3")), Failure.UNACCEPTED_POLICY),
        (query(der.context(0, der.sequence())), Failure.UNACCEPTED_EXTENSION),
        (query(der.integer(1), der.context(0, b"")), Failure.UNACCEPTED_EXTENSION),
        (query(der.integer(1 << 8 * 128)), Failure.ADD_INFO_NOT_AVAILABLE),
    ],
)
def test_what_is_not_stamped_is_refused_for_its_reason(
    authority: Stamper, realm: Realm, data: bytes, failure: Failure
) -> None:
    assert failure_of(ask(authority, data)) is failure
    assert entries(realm) == []


@given(st.binary(max_size=120))
def test_no_octets_surprise_the_reader(data: bytes) -> None:
    try:
        tsa.read_query(data)
    except RefusedError:
        return


@given(st.data())
def test_no_change_of_a_query_surprises_the_reader(data: st.DataObject) -> None:
    octets = bytearray(query(der.oid(POLICY), der.integer(77), der.boolean(True)))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        tsa.read_query(bytes(octets))
    except RefusedError:
        return


def test_without_its_log_nothing_is_stamped(
    authority: Stamper, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(authority, query())

    def full(*_: bytes) -> Future[None]:
        failed: Future[None] = Future()
        failed.set_exception(StoreError("the database", "a full disk", "room"))
        return failed

    monkeypatch.setattr(realm.store, "append", full)
    assert failure_of(ask(authority, query())) is Failure.SYSTEM_FAILURE


def test_without_its_key_nothing_is_stamped(
    authority: Stamper, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> bytes:
        raise KeyProviderError("pkcs11", "no token", "one")

    monkeypatch.setattr(realm.credential("tsa"), "sign", gone)
    assert failure_of(ask(authority, query())) is Failure.SYSTEM_FAILURE


def test_a_leaf_that_rotates_is_read_anew(
    authority: Stamper, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = realm.credential("tsa")
    refreshed: list[object] = []

    def rotated(*_: object) -> bytes:
        raise RotatedError("pkcs11", "another key", "the one opened")

    monkeypatch.setattr(credential, "sign", rotated)
    monkeypatch.setattr(credential, "refresh", refreshed.append)
    assert failure_of(ask(authority, query())) is Failure.SYSTEM_FAILURE
    assert refreshed == [credential.standing]


def test_an_expired_authority_does_not_stamp(tmp_path: Path, clock: Clock) -> None:
    holder = timestamper("TSA short", root(), not_after=NOW - timedelta(seconds=1))
    realm = make_realm(tmp_path, clock=clock, stamps=holder)
    assert failure_of(ask(Stamper(realm, clock.steady), query())) is Failure.SYSTEM_FAILURE
    realm.close()


def test_more_than_it_can_bear_is_refused_at_once(
    authority: Stamper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamp, "MAX_PENDING", 2)

    asked = [authority.answer(query()) for _ in range(5)]
    granted = [tsp.read_answer(answer.result(30)).granted for answer in asked]
    assert granted == [True, True, False, False, False]
    assert tsp.read_answer(ask(authority, query())).granted


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"ekus": (EKU_CODE_SIGNING,)}, "extended key usages"),
        ({"ekus": (EKU_TIME_STAMPING, EKU_CODE_SIGNING)}, "extended key usages"),
        ({"eku_critical": False}, "not critical"),
        ({"usage": ("digitalSignature", "keyCertSign")}, "key usage"),
    ],
)
def test_a_certificate_that_may_not_stamp_is_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    realm = make_realm(tmp_path, stamps=timestamper("Unfit TSA", root(), **changes))
    with pytest.raises(AuthorityError, match=found):
        Stamper(realm)
    realm.close()


def test_settings_without_an_authority_have_none(realm: Realm) -> None:
    realm.settings = replace(realm.settings, tsa=None)
    with pytest.raises(RealmError):
        Stamper(realm)
    assert TsaRole().routes(realm) == ()


# --- serial numbers and the log ------------------------------------------------------------------


def test_every_token_has_one_entry(authority: Stamper, realm: Realm) -> None:
    info = [info_of(ask(authority, query())) for _ in range(3)]
    assert entries(realm) == [
        {"serial": f"{one.serial:x}", "policy": POLICY,
         "digest": f"sha256:{hashlib.sha256(DATA).hexdigest()}"}
        for one in info
    ]  # fmt: skip


def test_serial_numbers_never_repeat(
    tmp_path: Path, clock: Clock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas at once, one leasing four times, and a restart."""
    monkeypatch.setattr(stamp, "LEASED", 7)
    realms = [make_realm(tmp_path, clock=clock, database=database_url),
              open_realm(tmp_path, clock=clock, database=database_url)]  # fmt: skip

    def asked(realm: Realm, count: int) -> list[Future[bytes]]:
        authority = Stamper(realm, clock.steady)
        return [authority.answer(query()) for _ in range(count)]

    answers = [one.result(30) for one in asked(realms[0], 25) + asked(realms[1], 10)]
    for realm in realms:
        realm.close()
    again = open_realm(tmp_path, clock=clock, database=database_url)
    answers += [one.result(30) for one in asked(again, 10)]
    again.close()
    serials = {info_of(answer).serial for answer in answers}
    assert len(serials) == 45
    assert max(serials).bit_length() < 160
    assert len({serial >> stamp.SALT_BITS for serial in serials}) == 45


def test_replicas_that_race_share_one_log_and_no_serial_number(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three services at once, leasing all the time, each asked by two callers."""
    monkeypatch.setattr(stamp, "LEASED", 5)
    realms = [make_realm(tmp_path, database=database_url)]
    realms += [open_realm(tmp_path, database=database_url) for _ in range(2)]
    stampers = [Stamper(realm) for realm in realms]
    with ThreadPoolExecutor(6) as callers:
        asked = [callers.submit(_asked_in_turn, one, 20) for one in stampers for _ in range(2)]
        answers = [answer for one in asked for answer in one.result(60)]
    serials = [f"{info_of(answer).serial:x}" for answer in answers]
    assert len(set(serials)) == len(serials) == 120
    assert sorted(entry["serial"] for entry in entries(realms[0])) == sorted(serials)
    with realms[0].store.read() as connection:
        rows = connection.execute(select(log_entry).order_by(log_entry.c.position)).all()
        assert [row.position for row in rows] == list(range(120))
        leaves = [leaf_hash(row.body) for row in rows]
        assert log.frontier(connection) == Frontier().extended(leaves)
    for realm, made in zip(realms, stampers, strict=True):
        made.close()
        realm.close()


def _asked_in_turn(authority: Stamper, count: int) -> list[bytes]:
    return [ask(authority, query()) for _ in range(count)]


def test_a_database_from_a_backup_repeats_no_serial_number(tmp_path: Path, clock: Clock) -> None:
    make_realm(tmp_path, clock=clock).close()
    kept = (tmp_path / "signward.db").read_bytes()
    serials = []
    for _ in range(2):
        (tmp_path / "signward.db").write_bytes(kept)
        realm = open_realm(tmp_path, clock=clock)
        serials.append(info_of(ask(Stamper(realm, clock.steady), query())).serial)
        realm.close()
        for name in ("signward.db-wal", "signward.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
    assert serials[0] >> stamp.SALT_BITS == serials[1] >> stamp.SALT_BITS
    assert serials[0] != serials[1]


# --- the clock -----------------------------------------------------------------------------------


def watch(clock: Clock) -> Watch:
    return Watch(clock.now, timedelta(seconds=1), clock.steady)


def test_a_clock_that_goes_on_is_read(clock: Clock) -> None:
    watched = watch(clock)
    for _ in range(100):
        clock.passes(3.7)
        assert watched.read() == clock.wall


def test_a_clock_that_leaps_forward_is_read(clock: Clock) -> None:
    """A machine that slept: the steady clock stood still meanwhile."""
    watched = watch(clock)
    watched.read()
    clock.wall += timedelta(hours=8)
    assert watched.read() == clock.wall


def test_a_clock_that_steps_back_is_refused_until_it_has_caught_up(clock: Clock) -> None:
    watched = watch(clock)
    watched.read()
    clock.wall -= timedelta(seconds=30)
    with pytest.raises(RefusedError, match=r"TIME_NOT_AVAILABLE.*30"):
        watched.read()
    clock.passes(29.5)
    with pytest.raises(RefusedError):  # 30 s behind still, by the steady clock
        watched.read()
    clock.wall += timedelta(seconds=29.5)
    assert watched.read() == clock.wall


def test_a_step_back_after_a_pause_is_seen_by_the_steady_clock_alone(clock: Clock) -> None:
    watched = watch(clock)
    first = watched.read()
    clock.passes(3600)
    clock.wall -= timedelta(seconds=5)
    assert clock.wall > first
    with pytest.raises(RefusedError):
        watched.read()


def test_small_steps_back_do_not_add_up(clock: Clock) -> None:
    watched = watch(clock)
    watched.read()
    clock.wall -= timedelta(seconds=0.6)
    watched.read()
    clock.wall -= timedelta(seconds=0.6)
    with pytest.raises(RefusedError):
        watched.read()


def test_a_step_back_is_answered_with_time_not_available(
    authority: Stamper, realm: Realm, clock: Clock
) -> None:
    ask(authority, query())
    clock.wall -= timedelta(seconds=2)
    assert failure_of(ask(authority, query())) is Failure.TIME_NOT_AVAILABLE
    assert len(entries(realm)) == 1


def test_a_step_back_while_nobody_looked_is_seen_in_the_database(
    tmp_path: Path, clock: Clock, database_url: str
) -> None:
    realm = make_realm(tmp_path, clock=clock, database=database_url)
    ask(Stamper(realm, clock.steady), query())
    realm.close()
    realm = open_realm(tmp_path, clock=clock, database=database_url)
    clock.wall -= timedelta(seconds=5)
    late = Stamper(realm, clock.steady)
    for _ in range(2):
        assert failure_of(ask(late, query())) is Failure.TIME_NOT_AVAILABLE
    clock.passes(5)
    assert info_of(ask(late, query())).time == clock.wall
    realm.close()


def test_replicas_whose_clocks_differ_within_the_accuracy_both_stamp(
    tmp_path: Path, clock: Clock, database_url: str
) -> None:
    realm = make_realm(tmp_path, clock=clock, database=database_url)
    slow = Clock(NOW - timedelta(seconds=0.7))
    other = open_realm(tmp_path, clock=slow, database=database_url)
    assert info_of(ask(Stamper(realm, clock.steady), query())).time == NOW
    assert info_of(ask(Stamper(other, slow.steady), query())).time == slow.wall.replace(
        microsecond=550_000
    )
    realm.close()
    other.close()


def test_the_stored_mark_keeps_up(tmp_path: Path, clock: Clock) -> None:
    """However long one process stamps, the next one knows until when, but for the accuracy."""
    realm = make_realm(tmp_path, clock=clock)
    first = Stamper(realm, clock.steady)
    for _ in range(40):
        clock.passes(0.4)
        info_of(ask(first, query()))
    realm.close()
    behind = Clock(clock.wall - timedelta(seconds=2.1))
    realm = open_realm(tmp_path, clock=behind)
    assert failure_of(ask(Stamper(realm, behind.steady), query())) is Failure.TIME_NOT_AVAILABLE
    realm.close()


# --- over HTTP -----------------------------------------------------------------------------------


def test_http_answers_queries_and_refusals_alike(realm: Realm) -> None:
    (route,) = TsaRole().routes(realm)
    assert route.opt["access"] is Access.PUBLIC
    with TestClient(Litestar([route])) as client:
        headers = {"Content-Type": "application/timestamp-query"}
        good = client.post("/tsa", content=query(), headers=headers)
        bad = client.post("/tsa", content=b"garbage", headers=headers)
        assert client.get("/tsa").status_code == 405
    assert (good.status_code, bad.status_code) == (200, 200)
    assert good.headers["content-type"] == "application/timestamp-reply"
    assert good.headers["cache-control"] == "no-store"
    assert tsp.read_answer(good.content).granted
    assert failure_of(bad.content) is Failure.BAD_REQUEST
