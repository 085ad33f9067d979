"""The OCSP responder: what it reads, says, keeps and forgets."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_CODE_SIGNING, EKU_OCSP_SIGNING, issue, name
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.testing import TestClient

from signward.authority import ocsp as core
from signward.errors import (
    AuthorityError,
    BadInputError,
    KeyProviderError,
    RealmError,
    StoreError,
)
from signward.service.express import Express
from signward.service.roles import Access
from signward.service.roles.ocsp import MAX_AGE, OcspRole, decoded
from signward.state import Status
from signward.trust import ocsp
from signward.trust.crl import CrlEntry
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.authority import respond
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.respond import Answer, Responder
from signward.wire import der
from tests.builders.realm import (
    AUTHORITY,
    Clock,
    delegate,
    issuing,
    make_realm,
    open_realm,
    register,
    revoke,
    root,
)
from tests.builders.service import Running, serving

NOW = datetime(2026, 11, 23, 16, 0, 0, 250_000, tzinfo=UTC)
ISSUER = load_certificate(issuing().certificate)
LEAF_HOLDER = issue("Realm Publisher", issuer=issuing())
LEAF = load_certificate(LEAF_HOLDER.certificate)
OTHER_HOLDER = issue("Realm Publisher 2", issuer=issuing())
OTHER = load_certificate(OTHER_HOLDER.certificate)
STRANGER = load_certificate(issue("Nobody knows it", issuer=issuing()).certificate)
FOREIGN = load_certificate(issue("Of the root", issuer=root()).certificate)

MALFORMED = bytes.fromhex("30030a0101")
INTERNAL = bytes.fromhex("30030a0102")
TRY_LATER = bytes.fromhex("30030a0103")
UNAUTHORIZED = bytes.fromhex("30030a0106")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def realm(tmp_path: Path, clock: Clock, database_url: str) -> Iterator[Realm]:
    """A realm on SQLite, and on PostgreSQL."""
    made = make_realm(tmp_path, clock=clock, database=database_url)
    register(made, [LEAF_HOLDER, OTHER_HOLDER])
    yield made
    made.close()


@pytest.fixture
def responder(realm: Realm, clock: Clock) -> Responder:
    return Responder(realm, AUTHORITY, clock.steady)


def read(answer: Answer) -> ocsp.OcspResponse:
    response = ocsp.load_response(answer.body)
    signer = ocsp.responder(response, ISSUER, NOW)
    assert isinstance(signer, ocsp.Responder), signer
    assert signer.delegated
    assert not signer.to_check
    return response


def single(answer: Answer) -> ocsp.SingleResponse:
    (one,) = read(answer).responses
    return one


def about(*certificates: Certificate, digest: str = "sha1", null: bool = True) -> bytes:
    """Return a request about several certificates of ``ISSUER``."""
    return _request([_cert_id(one, digest, null=null) for one in certificates])


def _cert_id(certificate: Certificate, digest: str = "sha1", *, null: bool = True) -> bytes:
    written = ocsp.request(certificate, ISSUER, digest=digest)
    raw = der.parse(written, "r").children()[0].children()[0].children()[0].children()[0].raw
    return raw if null else raw.replace(b"\x05\0", b"", 1).replace(
        raw[:4], bytes((raw[0], raw[1] - 2, raw[2], raw[3] - 2)), 1
    )  # fmt: skip


def _request(ids: list[bytes], *extra: bytes, before: bytes = b"", behind: bytes = b"") -> bytes:
    listed = der.sequence(*(der.sequence(one) for one in ids))
    return der.sequence(der.sequence(before, listed, *extra), behind)


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(der.oid(oid), der.boolean(True) if critical else b"",
                        der.octet_string(value))  # fmt: skip


def _with_nonce(value: bytes) -> bytes:
    extensions = der.sequence(_extension(ocsp.NONCE, value))
    return _request([_cert_id(LEAF)], der.context(2, extensions))


# --- what it says -----------------------------------------------------------------------


def test_an_issued_certificate_is_good_for_a_day(responder: Responder) -> None:
    answer = responder.answer(ocsp.request(LEAF, ISSUER))
    one = single(answer)
    assert one.status is Status.GOOD
    assert one.this_update == NOW.replace(microsecond=0)
    assert one.next_update == one.this_update + timedelta(hours=24)
    assert read(answer).produced_at == one.this_update
    assert one.cert_id.serial == LEAF.serial


def test_it_is_named_by_its_key_and_brings_its_certificate(responder: Responder) -> None:
    response = read(responder.answer(ocsp.request(LEAF, ISSUER)))
    signer = load_certificate(delegate().certificate)
    assert response.responder_key == ocsp.key_hash(signer, "sha1")
    assert response.certificates == (signer,)


def test_nothing_was_forgotten_since_the_issuer_began(responder: Responder) -> None:
    one = single(responder.answer(ocsp.request(LEAF, ISSUER)))
    assert one.archive_cutoff == ISSUER.not_before


@pytest.mark.parametrize("reason", [0, 1, 5, 10])
def test_a_revoked_certificate_is_told_with_date_and_reason(
    realm: Realm, responder: Responder, reason: int
) -> None:
    when, invalid = NOW - timedelta(days=2), NOW - timedelta(days=9)
    revoke(realm, LEAF.serial, at=when, reason=reason, invalid=invalid)
    one = single(responder.answer(ocsp.request(LEAF, ISSUER)))
    names = {0: "", 1: "keyCompromise", 5: "cessationOfOperation", 10: "aACompromise"}
    assert one.status is Status.REVOKED
    assert one.entry == CrlEntry(
        revoked_at=when.replace(microsecond=0), reason=names[reason],
        invalid_from=invalid.replace(microsecond=0),
    )  # fmt: skip


def test_a_serial_number_never_issued_is_unknown_and_not_kept(responder: Responder) -> None:
    answer = responder.answer(ocsp.request(STRANGER, ISSUER))
    one = single(answer)
    assert one.status is Status.UNKNOWN
    assert one.archive_cutoff is None
    assert answer.made is None
    assert responder.kept(ocsp.request(STRANGER, ISSUER)) is None


def test_another_issuers_certificate_is_none_of_its_business(responder: Responder) -> None:
    foreign = ocsp.request(FOREIGN, load_certificate(root().certificate))
    assert responder.answer(foreign).body == UNAUTHORIZED
    both = _request([_cert_id(LEAF), der.parse(foreign, "r").children()[0].children()[0]
                     .children()[0].children()[0].raw])  # fmt: skip
    assert responder.answer(both).body == UNAUTHORIZED


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("null", [True, False])
def test_the_answer_names_the_certificate_as_it_was_asked(
    responder: Responder, digest: str, null: bool
) -> None:
    asked = _cert_id(LEAF, digest, null=null)
    answer = responder.answer(about(LEAF, digest=digest, null=null))
    assert single(answer).status is Status.GOOD
    assert asked in answer.body


@pytest.mark.parametrize("digest", ["md5", "sha384", "sha512"])
def test_other_digests_are_not_answered(responder: Responder, digest: str) -> None:
    assert responder.answer(ocsp.request(LEAF, ISSUER, digest=digest)).body == UNAUTHORIZED


def test_several_are_answered_at_once_in_order(realm: Realm, responder: Responder) -> None:
    revoke(realm, OTHER.serial, at=NOW)
    response = read(responder.answer(about(LEAF, OTHER, STRANGER)))
    assert [(one.cert_id.serial, one.status) for one in response.responses] == [
        (LEAF.serial, Status.GOOD),
        (OTHER.serial, Status.REVOKED),
        (STRANGER.serial, Status.UNKNOWN),
    ]


def test_the_issuer_itself_may_answer(tmp_path: Path, clock: Clock) -> None:
    realm = make_realm(tmp_path, clock=clock, answers=issuing())
    register(realm, [LEAF_HOLDER])
    response = ocsp.load_response(Responder(realm, AUTHORITY).answer(about(LEAF)).body)
    signer = ocsp.responder(response, ISSUER, NOW)
    assert isinstance(signer, ocsp.Responder)
    assert not signer.delegated
    assert response.certificates == ()
    realm.close()


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "ml-dsa-44"])
def test_keys_of_every_kind_answer(tmp_path: Path, clock: Clock, kind: str) -> None:
    holder = delegate(f"OCSP {kind}", subject_key=key(kind, "ocsp"))
    realm = make_realm(tmp_path, clock=clock, answers=holder)
    register(realm, [LEAF_HOLDER])
    assert single(Responder(realm, AUTHORITY).answer(about(LEAF))).status is Status.GOOD
    realm.close()


def test_an_answer_ends_with_its_signers_certificate(tmp_path: Path, clock: Clock) -> None:
    end = NOW.replace(microsecond=0) + timedelta(hours=3)
    realm = make_realm(tmp_path, clock=clock, answers=delegate("short", not_after=end))
    register(realm, [LEAF_HOLDER])
    responder = Responder(realm, AUTHORITY, clock.steady)
    assert single(responder.answer(about(LEAF))).next_update == end
    clock.passes(3 * 3600 + 1)
    assert responder.answer(about(LEAF)).body == INTERNAL
    realm.close()


# --- nonces (RFC 9654) ----------------------------------------------------------------------


@pytest.mark.parametrize("octets", [1, 32, 128])
def test_a_nonce_comes_back_and_nothing_is_kept(responder: Responder, octets: int) -> None:
    nonce = bytes(range(octets))
    answer = responder.answer(ocsp.request(LEAF, ISSUER, nonce))
    assert read(answer).nonce == nonce
    assert answer.made is None
    assert responder.kept(ocsp.request(LEAF, ISSUER, nonce)) is None


@pytest.mark.parametrize("octets", [0, 129])
def test_a_nonce_of_another_length_is_malformed(responder: Responder, octets: int) -> None:
    asked = _with_nonce(der.octet_string(bytes(octets)))
    assert responder.answer(asked).body == MALFORMED


def test_a_bare_nonce_is_malformed(responder: Responder) -> None:
    assert responder.answer(_with_nonce(bytes(20))).body == MALFORMED


# --- requests ---------------------------------------------------------------------------------


def test_what_does_not_matter_is_read_over(responder: Responder) -> None:
    named = der.context(1, der.context(4, name("Somebody")))
    version = der.context(0, der.integer(0))
    signature = der.context(0, der.sequence(der.sequence(der.oid("1.2.3")), der.bit_string(b"x")))
    other = der.context(2, der.sequence(_extension("1.2.3.4", b"x")))
    asked = _request([_cert_id(LEAF)], other, before=version + named, behind=signature)
    assert single(responder.answer(asked)).status is Status.GOOD
    inner = der.context(0, der.sequence(_extension("1.2.3.4", b"x")))
    assert single(responder.answer(_request([_cert_id(LEAF) + inner]))).status is Status.GOOD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\0",
        b"garbage",
        about(LEAF) + b"\0",
        der.sequence(der.sequence(der.sequence())),
        _request([_cert_id(LEAF)], before=der.context(0, der.integer(1))),
        _request([_cert_id(LEAF)], der.context(2, der.sequence(
            _extension("1.2.3.4", b"x", critical=True)))),
        _request([_cert_id(LEAF) + der.context(0, der.sequence(
            _extension("1.2.3.4", b"x", critical=True)))]),
        _request([_cert_id(LEAF)], der.null(), der.null()),
        _request([_cert_id(LEAF)] * (core.MAX_QUESTIONS + 1)),
        _request([_cert_id(LEAF)], behind=der.null()),
        about(LEAF)[:-1],
        b"\x30\x83\x01\0\0" + bytes(65536),
    ],
    ids=lambda _: "request",  # octets that are others in each run
)  # fmt: skip
def test_what_is_no_request_is_malformed(responder: Responder, data: bytes) -> None:
    assert responder.answer(data).body == MALFORMED
    assert responder.answer(data).made is None


def test_the_most_questions_are_answered(responder: Responder) -> None:
    asked = _request([_cert_id(LEAF, "sha256")] * core.MAX_QUESTIONS)
    assert len(read(responder.answer(asked)).responses) == core.MAX_QUESTIONS


@given(st.binary(max_size=200))
def test_no_octets_surprise_the_reader(data: bytes) -> None:
    try:
        core.read_request(data)
    except BadInputError:
        return


@given(st.data())
def test_no_change_of_a_request_surprises_the_reader(data: st.DataObject) -> None:
    octets = bytearray(_with_nonce(der.octet_string(bytes(8))))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        core.read_request(bytes(octets))
    except BadInputError:
        return


# --- what is kept -------------------------------------------------------------------------------


def test_an_answer_is_kept_and_given_again(responder: Responder, clock: Clock) -> None:
    asked = about(LEAF)
    assert responder.kept(asked) is None
    first = responder.answer(asked)
    clock.passes(0.2)
    assert responder.kept(asked) is first
    clock.passes(3600)
    assert responder.kept(asked) is None  # nothing is given before the revision was looked at
    assert responder.answer(asked) is first
    assert responder.kept(asked) is first


def test_an_answer_of_the_future_is_not_given_again(responder: Responder, clock: Clock) -> None:
    """It was signed while the clock was wrong; clients refuse it."""
    asked = about(LEAF)
    responder.answer(asked)
    clock.wall -= timedelta(days=2)
    assert responder.kept(asked) is None
    again = single(responder.answer(asked))
    assert again.this_update == clock.wall.replace(microsecond=0)


def test_each_form_of_a_question_is_kept_for_itself(responder: Responder) -> None:
    forms = [about(LEAF, digest=d, null=n) for d in ("sha1", "sha256") for n in (True, False)]
    bodies = {responder.answer(form).body for form in forms}
    assert len(bodies) == 4
    assert {kept.body for form in forms if (kept := responder.kept(form))} == bodies


def test_an_answer_is_signed_anew_at_half_its_life(responder: Responder, clock: Clock) -> None:
    first = responder.answer(about(LEAF))
    clock.passes(12 * 3600 - 1)
    assert responder.answer(about(LEAF)) is first
    clock.passes(2)
    second = responder.answer(about(LEAF))
    assert single(second).this_update == clock.wall.replace(microsecond=0)


def test_a_revocation_is_told_at_most_a_quarter_second_later(
    realm: Realm, responder: Responder, clock: Clock
) -> None:
    responder.answer(about(LEAF))
    revoke(realm, LEAF.serial, at=NOW)
    clock.passes(respond.REVISION_SECONDS + 0.01)
    assert responder.kept(about(LEAF)) is None
    assert single(responder.answer(about(LEAF))).status is Status.REVOKED
    kept = responder.kept(about(LEAF))
    assert kept is not None
    assert single(kept).status is Status.REVOKED


def test_a_revocation_by_another_process_is_told_too(
    realm: Realm, responder: Responder, clock: Clock, tmp_path: Path, database_url: str
) -> None:
    responder.answer(about(LEAF))
    other = open_realm(tmp_path, database=database_url)
    revoke(other, LEAF.serial, at=NOW)
    other.close()
    clock.passes(respond.REVISION_SECONDS + 0.01)
    assert single(responder.answer(about(LEAF))).status is Status.REVOKED


def test_an_answer_signed_while_a_revocation_came_is_not_kept(
    realm: Realm, responder: Responder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = realm.credential("ocsp").sign

    def slowly(*arguments: object) -> bytes:
        monkeypatch.undo()
        revoke(realm, LEAF.serial, at=NOW)
        clock.passes(1)
        responder.answer(about(OTHER))  # looks at the revision meanwhile
        return sign(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(realm.credential("ocsp"), "sign", slowly)
    late = responder.answer(about(LEAF))
    assert single(late).status is Status.GOOD  # it was, when it was asked
    assert responder.kept(about(LEAF)) is None
    assert single(responder.answer(about(LEAF))).status is Status.REVOKED


def test_the_database_is_looked_at_no_more_often_than_that(
    realm: Realm, responder: Responder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder.answer(about(LEAF))
    looks = []
    real = realm.store.read

    def counted() -> object:
        looks.append(1)
        return real()

    monkeypatch.setattr(realm.store, "read", counted)
    for _ in range(100):
        clock.passes(0.05)
        responder.kept(about(LEAF)) or responder.answer(about(LEAF))
    assert 15 <= len(looks) <= 20  # in five seconds


def test_what_is_kept_is_bounded(responder: Responder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond, "MAX_KEPT", 2)
    forms = [about(LEAF), about(OTHER), about(LEAF, digest="sha256")]
    for form in forms:
        responder.answer(form)
    assert [responder.kept(form) is not None for form in forms] == [False, True, True]


def test_threads_may_ask_at_once(realm: Realm) -> None:
    responder = Responder(realm, AUTHORITY)
    wrong: list[Status] = []

    def asks() -> None:
        for _ in range(20):
            for asked in (about(LEAF), about(LEAF, OTHER)):
                told = read(responder.answer(asked)).responses
                wrong.extend(one.status for one in told if one.status is not Status.GOOD)

    threads = [threading.Thread(target=asks) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- what goes wrong ---------------------------------------------------------------------------


def test_without_its_database_it_says_try_later(
    realm: Realm, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise StoreError("the database", "nobody", "an answer")

    monkeypatch.setattr(realm.store, "read", gone)
    assert responder.answer(about(LEAF)).body == TRY_LATER


def test_without_its_key_it_says_internal_error(
    realm: Realm, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise KeyProviderError("pkcs11", "no token", "one")

    monkeypatch.setattr(realm.credential("ocsp"), "sign", gone)
    assert responder.answer(about(LEAF)).body == INTERNAL


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"ekus": (EKU_CODE_SIGNING,)}, "extended key usages"),
        ({"ekus": (EKU_OCSP_SIGNING, EKU_CODE_SIGNING)}, "extended key usages"),
        ({"extensions": ()}, "nocheck"),
        ({"issuer": root()}, "another issuer"),
    ],
)
def test_a_certificate_that_may_not_answer_is_refused_at_once(
    tmp_path: Path, changes: dict[str, object], found: str
) -> None:
    realm = make_realm(tmp_path, answers=delegate("Unfit", **changes))
    with pytest.raises(AuthorityError, match=found):
        Responder(realm, AUTHORITY)
    realm.close()


# --- over HTTP ---------------------------------------------------------------------------------


@pytest.fixture
def client(realm: Realm) -> Iterator[TestClient[Litestar]]:
    with TestClient(Litestar(list(OcspRole().routes(realm)))) as made:
        yield made


def _path(question: bytes) -> str:
    return quote(base64.b64encode(question).decode(), safe="")


def test_get_and_post_give_the_same_answer(client: TestClient[Litestar]) -> None:
    asked = about(LEAF)
    got = client.get(f"/ocsp/{AUTHORITY}/{_path(asked)}")
    posted = client.post(f"/ocsp/{AUTHORITY}", content=asked,
                         headers={"Content-Type": "application/ocsp-request"})  # fmt: skip
    assert got.status_code == posted.status_code == 200
    assert got.content == posted.content
    assert (
        got.headers["content-type"]
        == posted.headers["content-type"]
        == ("application/ocsp-response")
    )
    assert single(Answer(body=got.content)).status is Status.GOOD


def test_what_may_be_cached_says_so(client: TestClient[Litestar]) -> None:
    url = f"/ocsp/{AUTHORITY}/{_path(about(LEAF))}"
    got = client.get(url)
    assert f"max-age={MAX_AGE}" in got.headers["cache-control"]
    assert got.headers["last-modified"] == "Mon, 23 Nov 2026 16:00:00 GMT"
    again = client.get(url, headers={"If-None-Match": got.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(url, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, got.content)


@pytest.mark.parametrize(
    "asked",
    [ocsp.request(STRANGER, ISSUER), ocsp.request(LEAF, ISSUER, b"nonce"), b"garbage"],
    ids=["stranger", "nonce", "garbage"],
)
def test_what_may_not_be_cached_says_so(client: TestClient[Litestar], asked: bytes) -> None:
    got = client.get(f"/ocsp/{AUTHORITY}/{_path(asked)}")
    assert got.headers["cache-control"] == "no-store"
    assert "etag" not in got.headers


def _slashed() -> bytes:
    """Return a request whose base64 has slashes in a row, and one at its end: many ones do it."""
    start = b"".join(node.raw for node in der.parse(_cert_id(LEAF), "id").children()[:3])
    for octets in range(8, 12):
        serial = (1 << 8 * octets - 1) - 1
        asked = _request([der.sequence(start, der.integer(serial))])
        if base64.b64encode(asked).endswith(b"//"):
            return asked
    raise AssertionError("no length without padding")


def test_paths_are_read_as_clients_write_them(client: TestClient[Litestar]) -> None:
    asked = _slashed()
    text = base64.b64encode(asked).decode()
    for written in (text, quote(text, safe=""), "/" + text, "/" + quote(text, safe=""),
                    quote(text)):  # fmt: skip
        got = client.get(f"/ocsp/{AUTHORITY}/{written}")
        assert single(Answer(body=got.content)).status is Status.UNKNOWN, written
    padded = base64.b64encode(about(LEAF)).decode()
    got = client.get(f"/ocsp/{AUTHORITY}/{padded.rstrip('=')}")
    assert single(Answer(body=got.content)).status is Status.GOOD


@pytest.mark.parametrize("text", ["MEM!", "MEM", "%FF%FE", "a", "M%C3%9CM="])
def test_a_path_that_is_no_base64_is_malformed(client: TestClient[Litestar], text: str) -> None:
    got = client.get(f"/ocsp/{AUTHORITY}/{text}")
    assert (got.status_code, got.content) == (200, MALFORMED)


def test_an_authority_that_is_not_here_is_not_found(client: TestClient[Litestar]) -> None:
    assert client.get(f"/ocsp/other/{_path(about(LEAF))}").status_code == 404


def test_every_route_is_public(realm: Realm) -> None:
    assert [route.opt["access"] for route in OcspRole().routes(realm)] == [Access.PUBLIC] * 2


@given(st.binary(max_size=60))
def test_no_path_surprises_the_decoder(path: bytes) -> None:
    assert isinstance(decoded(path), bytes)


# --- past the router ------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    realm = make_realm(tmp_path)
    register(realm, [LEAF_HOLDER])
    with serving(realm, [OcspRole()]) as made:
        yield made
    realm.close()


def test_a_kept_answer_passes_the_router_by(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respond, "REVISION_SECONDS", 60.0)
    url = f"/ocsp/{AUTHORITY}/{_path(about(LEAF))}"
    routed = running.ask("GET", url)
    monkeypatch.setattr(Responder, "answer", None)  # nobody gets there any more
    kept = running.ask("GET", url)
    assert (kept.status, kept.body) == (200, routed.body)
    assert set(kept.headers) == set(routed.headers)
    etag = {"If-None-Match": kept.headers["etag"]}
    assert running.ask("GET", url, headers=etag).status == 304
    metrics = running.ask("GET", "/metrics", roles="operator").body.decode()
    counted = [line for line in metrics.splitlines()
               if line.startswith("signward_requests_total") and "ocsp" in line]  # fmt: skip
    assert len(counted) == 2  # by status; one name for the route, whichever way
    assert all('route="/ocsp/{name}/{question}"' in line for line in counted)


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/", "/ocsp/x", f"/ocsp/{AUTHORITY}", "/", "//"])
def test_what_has_no_answer_goes_the_usual_way(running: Running, path: str) -> None:
    assert running.ask("GET", path).status in (404, 405)


def test_only_public_routes_may_have_a_lane() -> None:
    @get("/planted", opt={"access": Access.AUDITOR, "express": lambda scope: None})
    async def planted() -> None:
        """Nothing."""

    with pytest.raises(RealmError, match="public"):
        Express(Litestar(), [planted])
