"""What counts as an answer, what is kept, and when it is asked for again."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, Pki, authority, default_pki, issue, pem
from conformance.authenticode.revocation import ISSUED, NEXT, Revoked, crl, ocsp

from signward.errors import FetchError, ReplayedError
from signward.fetch.cache import MAX_ENTRIES, Cache, default_folder
from signward.fetch.fetcher import MAX_AGE, Fetcher, max_age
from signward.trust.crl import load_crl
from signward.trust.ocsp import load_response
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import der
from tests.builders.web import Reply, Request, Server, ocsp_question, running

SOON = NOW + timedelta(hours=1)
LATER = NOW + MAX_AGE + timedelta(hours=1)
"""After what was fetched at NOW must be asked for again, before NEXT."""


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetcher(folder: Path | None, now: datetime = NOW) -> Fetcher:
    return Fetcher(Cache(folder), now, private=True)


def certificates(pki: Pki) -> tuple[Certificate, Certificate, Certificate]:
    return (
        load_certificate(pki.leaf.certificate),
        load_certificate(pki.intermediate.certificate),
        load_certificate(pki.root.certificate),
    )


PKI = default_pki()
LEAF, INTERMEDIATE, ROOT = certificates(PKI)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", None),
        ("public", None),
        ("max-age=60", 60),
        ('Public, Max-Age="7", no-transform', 7),
        ("s-maxage=9", None),
        ("no-cache", 0),
        ("max-age=60, no-store", 0),
        ("max-age=-1", None),
        ("max-age=soon", None),
        ("max-age=99999999999999999999", 999_999_999),
    ],
)
def test_how_long_a_server_lets_an_answer_be_used(said: str, seconds: int | None) -> None:
    assert max_age(said) == (None if seconds is None else timedelta(seconds=seconds))


def test_an_authority_that_says_so_is_asked_again_soon(server: Server, folder: Path) -> None:
    data = crl(PKI.intermediate)
    url = server.serve("/soon.crl", data, headers={"Cache-Control": "max-age=1"})
    for seconds in (0, 0, 0.9, 1, 1.9, 2):
        assert fetcher(folder, NOW + timedelta(seconds=seconds)).crl(url, INTERMEDIATE) == data
    assert len(server.requests) == 3


def test_within_one_run_nothing_is_asked_twice(server: Server, folder: Path) -> None:
    url = server.serve("/never.crl", crl(PKI.intermediate), headers={"Cache-Control": "no-cache"})
    run = fetcher(folder)
    assert run.crl(url, INTERMEDIATE) == run.crl(url, INTERMEDIATE)
    assert len(server.requests) == 1


# --- issuers -----------------------------------------------------------------------


def bundle(*ders: bytes) -> bytes:
    """Return a SignedData without content and signers (RFC 5652 5.1)."""
    signed = der.sequence(
        der.integer(1), der.set_of(), der.sequence(der.oid("1.2.840.113549.1.7.1")),
        der.context(0, b"".join(ders)), der.set_of(),
    )  # fmt: skip
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed))


@pytest.mark.parametrize(
    "data",
    [
        INTERMEDIATE.der,
        pem(INTERMEDIATE.der),
        pem(ROOT.der) + pem(INTERMEDIATE.der),
        bundle(ROOT.der, INTERMEDIATE.der),
    ],
    ids=["der", "pem", "two in pem", "pkcs7"],
)
def test_an_issuer_comes_in_any_wrapping(server: Server, data: bytes) -> None:
    assert INTERMEDIATE in fetcher(None).issuers(server.serve("/ca", data), LEAF)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", LEAF.der, ROOT.der, INTERMEDIATE.der[:-1], bundle()]
)
def test_an_answer_without_the_issuer_is_refused(server: Server, folder: Path, data: bytes) -> None:
    with pytest.raises(FetchError):
        fetcher(folder).issuers(server.serve("/ca", data), LEAF)
    assert not folder.exists()


def test_an_issuer_of_the_same_name_and_another_key_is_refused(server: Server) -> None:
    namesake = authority(
        "Conformance Code Signing CA", PKI.root, subject_key=key("rsa2048", "other")
    )
    with pytest.raises(FetchError, match="no certificate of the issuer"):
        fetcher(None).issuers(server.serve("/ca", namesake.certificate), LEAF)


# --- CRLs, cache and freshness ------------------------------------------------------


def test_a_crl_is_fetched_once_while_it_is_fresh(server: Server, folder: Path) -> None:
    data = crl(PKI.intermediate)
    url = server.serve("/a.crl", data)
    assert fetcher(folder).crl(url, INTERMEDIATE) == data
    assert fetcher(folder, SOON).crl(url, INTERMEDIATE) == data
    assert len(server.requests) == 1


def test_a_crl_in_pem_is_taken(server: Server) -> None:
    data = crl(PKI.intermediate)
    url = server.serve("/a.crl", pem(data, "X509 CRL"))
    assert fetcher(None).crl(url, INTERMEDIATE) == data


def test_nothing_is_fresh_for_longer_than_a_day(server: Server, folder: Path) -> None:
    url = server.serve("/a.crl", crl(PKI.intermediate))
    assert LATER < NEXT
    fetcher(folder).crl(url, INTERMEDIATE)
    fetcher(folder, LATER).crl(url, INTERMEDIATE)
    assert len(server.requests) == 2


def test_next_update_ends_freshness(server: Server, folder: Path) -> None:
    url = server.serve("/a.crl", crl(PKI.intermediate, next_update=NOW + timedelta(minutes=5)))
    fetcher(folder).crl(url, INTERMEDIATE)
    fetcher(folder, SOON).crl(url, INTERMEDIATE)
    assert len(server.requests) == 2


def test_a_clock_that_went_back_asks_again(server: Server, folder: Path) -> None:
    url = server.serve("/a.crl", crl(PKI.intermediate))
    fetcher(folder).crl(url, INTERMEDIATE)
    fetcher(folder, NOW - timedelta(hours=1)).crl(url, INTERMEDIATE)
    assert len(server.requests) == 2


def test_what_has_not_changed_is_not_sent_again(server: Server, folder: Path) -> None:
    data = crl(PKI.intermediate)
    validators = {"ETag": '"v1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    url = server.serve("/a.crl", data, headers=validators)
    fetcher(folder).crl(url, INTERMEDIATE)
    server.serve("/a.crl", status=304)
    assert fetcher(folder, LATER).crl(url, INTERMEDIATE) == data
    asked = server.requests[-1].headers
    assert asked["if-none-match"] == '"v1"'
    assert asked["if-modified-since"] == validators["Last-Modified"]
    fetcher(folder, LATER + timedelta(hours=1)).crl(url, INTERMEDIATE)
    assert len(server.requests) == 2


def test_not_modified_means_nothing_where_nothing_was_kept(server: Server) -> None:
    with pytest.raises(FetchError, match="nothing was kept"):
        fetcher(None).crl(server.serve("/a.crl", status=304), INTERMEDIATE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes((data[-1] ^ 1,)),
        lambda data: b"{}" + data,
        lambda data: b"",
        lambda data: data.replace(b'"version":1', b'"version":2'),
        lambda data: data.replace(b"/a.crl", b"/b.crl"),
        lambda data: data.replace(b'Z"', b'"', 2),
    ],
)
def test_a_corrupt_entry_is_thrown_away(server: Server, folder: Path, damage) -> None:  # type: ignore[no-untyped-def]
    data = crl(PKI.intermediate)
    url = server.serve("/a.crl", data)
    fetcher(folder).crl(url, INTERMEDIATE)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert fetcher(folder, SOON).crl(url, INTERMEDIATE) == data
    assert len(server.requests) == 2
    assert Cache(folder).read(url, b"", 1 << 20) is not None


def test_wrong_content_is_refused_and_not_kept(server: Server, folder: Path) -> None:
    for number, data in enumerate((b"", b"<html>busy</html>", LEAF.der, crl(PKI.root)[:-1])):
        with pytest.raises(FetchError):
            fetcher(folder).crl(server.serve(f"/{number}", data), INTERMEDIATE)
    assert not folder.exists()


def test_a_crl_by_another_key_is_handed_on_but_not_kept(server: Server, folder: Path) -> None:
    """It may be an indirect CRL, which trust can judge, or a forgery: neither may stay."""
    foreign = crl(authority("Conformance Code Signing CA", subject_key=key("rsa2048", "other")))
    assert fetcher(folder).crl(server.serve("/a.crl", foreign), INTERMEDIATE) == foreign
    assert not folder.exists()


def test_a_crl_that_must_not_be_used_is_not_kept(server: Server, folder: Path) -> None:
    odd = crl(PKI.intermediate, extensions=(("1.3.6.1.4.1.99999.8", True, b"\5\0"),))
    assert fetcher(folder).crl(server.serve("/a.crl", odd), INTERMEDIATE) == odd
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_changes_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    data = crl(PKI.intermediate)
    url = server.serve("/a.crl", data)
    assert fetcher(tmp_path / "file" / "cache").crl(url, INTERMEDIATE) == data


def test_old_entries_make_room(server: Server, folder: Path) -> None:
    folder.mkdir()
    for number in range(MAX_ENTRIES):
        (folder / f"{number:064x}").write_bytes(b"")
    fetcher(folder).crl(server.serve("/a.crl", crl(PKI.intermediate)), INTERMEDIATE)
    assert len(list(folder.iterdir())) <= MAX_ENTRIES // 2 + 1


def test_the_cache_lies_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/signward/fetch")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/a")
    assert default_folder() == Path("/home/a/.cache/signward/fetch")


def test_a_user_without_a_home_has_no_cache(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() is None
    data = crl(PKI.intermediate)
    assert fetcher(default_folder()).crl(server.serve("/a.crl", data), INTERMEDIATE) == data


# --- OCSP --------------------------------------------------------------------------


def test_a_small_question_goes_by_get(server: Server, folder: Path) -> None:
    answer = ocsp(PKI.leaf)
    url = server.serve("/ocsp", answer)
    assert fetcher(folder).ocsp(url, LEAF, INTERMEDIATE) == answer
    assert fetcher(folder, SOON).ocsp(url, LEAF, INTERMEDIATE) == answer
    (request,) = server.requests
    assert request.method == "GET"
    assert ocsp_question(request)[:1] == b"\x30"


def test_a_large_question_is_posted(server: Server) -> None:
    url = server.serve("/" + "x" * 250, ocsp(PKI.leaf))
    fetcher(None).ocsp(url, LEAF, INTERMEDIATE)
    (request,) = server.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/ocsp-request")


def test_get_and_post_ask_the_same(server: Server) -> None:
    def post_only(request: Request) -> Reply:
        return Reply(ocsp(PKI.leaf)) if request.method == "POST" else Reply(status=405)

    server.routes["/ocsp"] = post_only
    fetcher(None).ocsp(server.url("/ocsp"), LEAF, INTERMEDIATE)
    get, post = server.requests
    assert ocsp_question(get) == ocsp_question(post)


def test_answers_are_kept_by_question(server: Server, folder: Path) -> None:
    other = issue("Second", issuer=PKI.intermediate)
    path = "/" + "x" * 250
    answers = {PKI.leaf.serial: ocsp(PKI.leaf), other.serial: ocsp(other)}

    def route(request: Request) -> Reply:
        serial = PKI.leaf.serial.to_bytes(2, "big")
        return Reply(answers[PKI.leaf.serial if serial in request.body else other.serial])

    server.routes[path] = route
    url, second = server.url(path), load_certificate(other.certificate)
    for now in (NOW, SOON):
        assert fetcher(folder, now).ocsp(url, LEAF, INTERMEDIATE) == answers[PKI.leaf.serial]
        assert fetcher(folder, now).ocsp(url, second, INTERMEDIATE) == answers[other.serial]
    assert len(server.requests) == 2


def test_an_answer_about_another_certificate_is_refused(server: Server, folder: Path) -> None:
    other = issue("Third", issuer=PKI.intermediate)
    with pytest.raises(FetchError, match="another certificate"):
        fetcher(folder).ocsp(server.serve("/ocsp", ocsp(other)), LEAF, INTERMEDIATE)
    assert not folder.exists()


def test_a_status_without_an_answer_is_refused(server: Server) -> None:
    try_later = der.sequence(der.encode(der.ENUMERATED, b"\3"))
    with pytest.raises(FetchError, match="tryLater"):
        fetcher(None).ocsp(server.serve("/ocsp", try_later), LEAF, INTERMEDIATE)


def test_a_forged_answer_is_not_kept(server: Server, folder: Path) -> None:
    forged = ocsp(PKI.leaf, break_signature=True)
    url = server.serve("/ocsp", forged)
    assert load_response(fetcher(folder).ocsp(url, LEAF, INTERMEDIATE)).data == forged
    assert not folder.exists()


def test_a_revoked_answer_is_kept_like_any(server: Server, folder: Path) -> None:
    url = server.serve("/ocsp", ocsp(PKI.leaf, revoked_at=ISSUED))
    fetcher(folder).ocsp(url, LEAF, INTERMEDIATE)
    assert len(list(folder.iterdir())) == 1


# --- within one run ----------------------------------------------------------------


def test_a_failure_is_not_asked_for_twice(server: Server) -> None:
    one, url = fetcher(None), server.url("/nothing")
    for _ in range(3):
        with pytest.raises(FetchError, match="status 404"):
            one.crl(url, INTERMEDIATE)
    assert len(server.requests) == 1


def test_a_dead_host_is_left_alone_after_two_tries(server: Server) -> None:
    def hang_up(request: Request) -> Reply:
        return Reply(headers={"Content-Length": "9"}, write=lambda write, _: write(b"x"))

    for number in range(4):
        server.routes[f"/{number}"] = hang_up
    one = fetcher(None)
    for number in range(4):
        with pytest.raises(FetchError):
            one.crl(server.url(f"/{number}"), INTERMEDIATE)
    assert len(server.requests) == 2


def test_statuses_do_not_make_a_host_dead(server: Server) -> None:
    one = fetcher(None)
    for number in range(4):
        with pytest.raises(FetchError, match="404"):
            one.crl(server.url(f"/{number}"), INTERMEDIATE)
    data = crl(PKI.intermediate, [Revoked(serial=1, at=ISSUED)])
    assert one.crl(server.serve("/a.crl", data), INTERMEDIATE) == data


# --- hostile content ---------------------------------------------------------------


@pytest.mark.parametrize("what", ["issuer", "crl", "ocsp"])
def test_mutated_answers_are_refused_or_handed_on(server: Server, what: str, folder: Path) -> None:
    """Nothing but ``FetchError`` comes out, and what is kept is what was signed."""
    whole = {"issuer": INTERMEDIATE.der, "crl": crl(PKI.intermediate), "ocsp": ocsp(PKI.leaf)}[what]
    random_, current = random.Random(20261123), [whole]
    server.routes["/e"] = lambda request: Reply(current[0])
    url = server.url("/e")
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(random_.randrange(1, 4)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        current[0] = bytes(data[: random_.randrange(len(data))] if random_.random() < 0.2 else data)
        one = fetcher(folder)
        with contextlib.suppress(FetchError):
            if what == "issuer":
                one.issuers(url, LEAF)
            elif what == "crl":
                one.crl(url, INTERMEDIATE)
            else:
                one.ocsp(url, LEAF, INTERMEDIATE)
    for entry in folder.iterdir() if folder.exists() else ():
        body = entry.read_bytes().partition(b"\n")[2]
        assert what == "issuer" or signed_part(what, body) == signed_part(what, whole)


def signed_part(what: str, data: bytes) -> bytes:
    """Return the octets under the signature: a change beside them may be kept, none in them."""
    return load_crl(data).tbs if what == "crl" else load_response(data).tbs


# --- answers of before -------------------------------------------------------------


def test_a_replayed_crl_is_refused_and_the_newer_one_kept(server: Server, folder: Path) -> None:
    older, newer = (
        crl(PKI.intermediate, this_update=ISSUED + timedelta(minutes=m)) for m in (0, 1)
    )
    url = server.serve("/a.crl", newer, headers={"Cache-Control": "no-cache"})
    assert fetcher(folder).crl(url, INTERMEDIATE) == newer
    server.serve("/a.crl", older, headers={"Cache-Control": "no-cache"})
    for _ in range(2):
        with pytest.raises(ReplayedError, match="older than the one") as refused:
            fetcher(folder, SOON).crl(url, INTERMEDIATE)
        assert refused.value.kept == newer


def test_a_crl_by_somebody_else_does_not_displace_one_that_is_current(
    server: Server, folder: Path
) -> None:
    honest = crl(PKI.intermediate)
    url = server.serve("/a.crl", honest, headers={"Cache-Control": "no-cache"})
    assert fetcher(folder).crl(url, INTERMEDIATE) == honest
    forged = crl(authority("Somebody else"), this_update=ISSUED - timedelta(days=1))
    server.serve("/a.crl", forged)
    with pytest.raises(FetchError, match="who should sign it") as refused:
        fetcher(folder, SOON).crl(url, INTERMEDIATE)
    assert refused.value.kept == honest
    assert fetcher(folder, NEXT + timedelta(hours=1)).crl(url, INTERMEDIATE) == forged


OLDER, NEWER = (
    ocsp(PKI.leaf, this_update=ISSUED + timedelta(minutes=m), revoked_at=ISSUED if m else None)
    for m in (0, 1)
)
"""Good, and a minute later revoked."""


@pytest.mark.parametrize("refused", ["nothing", "GET", "POST"])
@pytest.mark.parametrize("first", ["GET", "POST"])
def test_an_ocsp_answer_is_not_replayed_by_the_other_way_of_asking(
    server: Server, folder: Path, first: str, refused: str
) -> None:
    """Whichever of GET and POST whoever stands between leaves us: the newer answer is known."""
    now = {"answer": NEWER, "refused": "POST" if first == "GET" else "GET"}

    def answer(request: Request) -> Reply:
        if request.method == now["refused"]:
            return Reply(status=500)
        return Reply(now["answer"], headers={"Cache-Control": "no-cache"})  # type: ignore[arg-type]

    server.routes["/ocsp"] = answer
    url = server.url("/ocsp")
    assert fetcher(folder).ocsp(url, LEAF, INTERMEDIATE) == NEWER
    now.update(answer=OLDER, refused=refused)
    with pytest.raises(FetchError) as told:
        fetcher(folder, SOON).ocsp(url, LEAF, INTERMEDIATE)
    assert told.value.kept == NEWER
    if refused != "POST":  # which is asked last
        assert isinstance(told.value, ReplayedError)


def test_with_a_nonce_too_an_older_answer_is_refused(server: Server, folder: Path) -> None:
    """An answer without a nonce counts by its dates, and they are known to be old."""
    url = server.serve("/ocsp", NEWER, headers={"Cache-Control": "no-cache"})
    assert fetcher(folder).ocsp(url, LEAF, INTERMEDIATE) == NEWER
    server.serve("/ocsp", OLDER)
    careful = Fetcher(Cache(folder), SOON, private=True, nonces=True)
    with pytest.raises(ReplayedError, match="older than the one") as refused:
        careful.ocsp(url, LEAF, INTERMEDIATE)
    assert refused.value.kept == NEWER


@pytest.mark.parametrize("what", ["gone", "nonsense"])
def test_a_server_that_fails_does_not_make_us_forget(
    server: Server, folder: Path, what: str
) -> None:
    url = server.serve("/ocsp", NEWER, headers={"Cache-Control": "no-cache"})
    assert fetcher(folder).ocsp(url, LEAF, INTERMEDIATE) == NEWER
    server.serve("/ocsp", b"nonsense", status=503 if what == "gone" else 200)
    with pytest.raises(FetchError) as told:
        fetcher(folder, SOON).ocsp(url, LEAF, INTERMEDIATE)
    assert told.value.kept == NEWER
