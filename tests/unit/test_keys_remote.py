"""Served keys from the client's side: what is sent, what is believed, what is waited for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import END, issue
from conformance.authenticode.pki import authority as root

from signward.cli import requests
from signward.cli.commands import run
from signward.errors import KeyProviderError
from signward.integrity import check_value
from signward.keys import Purpose, RotatedError, _rest, open_key, remote
from signward.keys._served import MAX_DATA
from signward.state import Algorithm
from signward.verbs.authority import approvals
from signward.verbs.authority.approvals import Answering, Waiting
from signward.verbs.authority.realm import Realm
from signward.verbs.secrets import SecretFinder
from tests.builders import signing_service as service
from tests.builders.service import Running
from tests.builders.signing_service import ALICE, BOB, CI, EVE, person
from tests.builders.web import Reply, Request, Server, running
from tests.signing import authority, identity
from tests.unit.test_keys_tls import CLIENT_EKU, tls_server
from tests.unit.test_octets import attributes
from tests.unit.test_sign_service import kinds

RSA = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
PURPOSE = Purpose(format="pe", name="setup.exe", timestamp=True)
TWO: dict[str, Any] = {"approvals": 2, "approvers": [ALICE, BOB]}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rest, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(_rest, "MAX_WAIT", 0.05)
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(remote, "MAX_PAUSE", 0.1)
    for name in ("SIGNWARD_TOKEN", "SIGNWARD_TOKEN_FILE", "SIGNWARD_RUN", "SIGNWARD_LOG_KEY",
                 "SIGNWARD_CLIENT_CERT", "SIGNWARD_CLIENT_KEY", "SIGNWARD_CA"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def opened(url: str, who: str = CI, **environment: str) -> remote.RemoteKey:
    found = open_key(url, SecretFinder(environment={"SIGNWARD_TOKEN": f"{who}-token",
                                                    **environment}))  # fmt: skip
    assert isinstance(found, remote.RemoteKey)
    return found


# --- a real service ---------------------------------------------------------------------------


class World:
    """A running service, a folder with a file to sign, and what the command said."""

    def __init__(self, realm: Realm, served: Running, folder: Path, capsys: Any) -> None:
        self.realm, self.served, self.folder, self._capsys = realm, served, folder, capsys
        self.url = f"{served.url}/keys/release"
        self.file = folder / "setup.exe"
        self.file.write_bytes(pe.image())
        (folder / "root.pem").write_bytes(authority().pem)

    def sign(self, *words: str, url: str = "") -> tuple[int, str]:
        code = run(["sign", "--key", url or self.url, *words, str(self.file)])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def requests(self, *words: str) -> tuple[int, str]:
        code = run(["requests", *words])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def posts(self) -> int:
        return sum(one.get("method") == "POST" for one in self.served.log)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:  # fmt: skip
    rules = getattr(request, "param", {})
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{CI}-token")
    with service.realm(tmp_path / "realm", rules) as realm, service.running(realm) as served:
        yield World(realm, served, tmp_path, capsys)


def test_a_file_is_signed_timestamped_and_its_receipt_written(world: World) -> None:
    code, said = world.sign("--json", "--receipts", str(world.folder / "receipts"))
    assert code == 0, said
    result = json.loads(said)
    (receipt,) = result["receipts"]
    assert receipt == str(world.folder / "receipts" / "setup.exe.receipt")
    assert Path(receipt).read_text().startswith("c2sp.org/tlog-proof@v1\n")
    assert run(["verify", "--anchor", str(world.folder / "root.pem"), str(world.file)]) == 0


def test_nothing_of_the_file_travels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    honest = _rest.Rest._once

    def watched(self: Any, method: str, path: str, body: bytes | None, heads: Any) -> Any:
        sent.append(body or b"")
        return honest(self, method, path, body, heads)

    monkeypatch.setattr(_rest.Rest, "_once", watched)
    before = world.file.read_bytes()
    assert world.sign()[0] == 0
    (order,) = [json.loads(body) for body in sent if body]
    assert set(order) == {"data", "algorithm", "format", "file", "content", "timestamp"}
    assert order["file"] == "setup.exe"
    assert order["content"] == f"sha256:{hashlib.sha256(before).hexdigest()}"
    assert len(base64.b64decode(order["data"])) < 300


def test_own_timestamp_authorities_are_asked_instead(world: World) -> None:
    code, said = world.sign("--timestamp", "http://127.0.0.1:9/tsa", "--json")
    assert code == 1
    assert "127.0.0.1:9" in json.loads(said)["problem"]


def test_a_bare_digest_is_not_signed_and_what_names_it_is(world: World) -> None:
    """A service's log is to say what was signed: a digest without a word about it says nothing."""
    code, said = world.sign("--ima-sigfile")
    assert (code, "--ima-version 3" in said) == (1, True)
    assert world.posts() == 0
    code, said = world.sign("--ima-sigfile", "--ima-version", "3")
    assert code == 0, said
    code, said = world.sign("--fs-verity")
    assert code == 0, said


def test_receipts_are_only_had_from_keys_that_bring_them(world: World) -> None:
    (world.folder / "key.pem").write_bytes(identity().key.pem + identity().pem)
    code, said = world.sign("--receipts", str(world.folder / "r"),
                            url=f"file:{world.folder / 'key.pem'}")  # fmt: skip
    assert code == 1
    assert "a key that brings none" in said
    assert world.file.read_bytes() == pe.image()


def test_several_receipts_of_one_name_do_not_replace_each_other(world: World) -> None:
    other = world.folder / "other" / "setup.exe"
    other.parent.mkdir()
    other.write_bytes(pe.image())
    code, said = world.sign("--json", "--receipts", str(world.folder / "r"), str(other))
    assert code == 0
    named = [name for line in said.splitlines() for name in json.loads(line)["receipts"]]
    assert {Path(name).name for name in named} == {"setup.exe.receipt", "setup.exe.2.receipt"}
    assert len({Path(name).read_bytes() for name in named}) == 2


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (f"{EVE}-token", r"status 403.*does not sign for"),
        (f"{ALICE}-token", r"status 403"),
        ("stale-token", r"status 401.*the token expired"),
    ],
)
def test_somebody_else_is_told_why_not(
    world: World, monkeypatch: pytest.MonkeyPatch, token: str, told: str
) -> None:
    monkeypatch.setenv("SIGNWARD_TOKEN", token)
    code, said = world.sign()
    assert code == 2
    assert re.search(told, said)
    assert token not in said
    assert world.file.read_bytes() == pe.image()


def test_nobody_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNWARD_TOKEN")
    assert "status 401" in world.sign()[1]


def test_a_key_that_is_not_served(world: World) -> None:
    assert "status 403" in world.sign(url=f"{world.served.url}/keys/other")[1]


@pytest.mark.parametrize("world", [{"formats": ["msi"]}], indirect=True)
def test_another_file_type(world: World) -> None:
    code, said = world.sign()
    assert code == 1
    assert "found format 'pe', required one of msi" in said


@pytest.mark.parametrize("world", [{"rate": ["1/day"]}], indirect=True)
def test_over_the_rate_is_not_tried_again_and_again(world: World) -> None:
    assert world.sign()[0] == 0
    before = world.posts()
    code, said = world.sign("--replace")
    assert code == 1
    assert "status 429" in said
    assert "at most 1/day" in said
    assert world.posts() - before == 1


@pytest.mark.parametrize("world", [TWO], indirect=True)
def test_approvals_are_waited_for_and_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, str]] = []

    def approve() -> None:
        for who in (ALICE, BOB):
            while not (seen := approvals.waiting(world.realm, person(who))):
                time.sleep(0.02)
            approvals.answer(world.realm, person(who), seen[0].id, Answering.APPROVE)
            time.sleep(0.3)

    thread = threading.Thread(target=approve)
    thread.start()
    done.append(world.sign())
    thread.join()
    code, said = done[0]
    assert code == 0
    assert "has 0 of 2 approvals" in said
    assert "has 1 of 2 approvals" in said


@pytest.mark.parametrize("world", [TWO], indirect=True)
def test_a_wait_has_an_end_and_the_next_run_finds_the_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNWARD_RUN", "build 4711")
    code, said = world.sign(url=f"{world.url}?wait=0")
    assert code == 1
    assert "0 of 2 approvals within 0 seconds" in said
    (seen,) = approvals.waiting(world.realm, person(ALICE))
    assert f"request {seen.id} still waits" in said
    for who in (ALICE, BOB):
        approvals.answer(world.realm, person(who), seen.id, Answering.APPROVE)
    assert world.sign(url=f"{world.url}?wait=5")[0] == 0
    assert approvals.waiting(world.realm, person(ALICE)) == ()


@pytest.mark.parametrize("world", [TWO], indirect=True)
def test_a_denial_ends_the_wait(world: World) -> None:
    def deny() -> None:
        while not (seen := approvals.waiting(world.realm, person(ALICE))):
            time.sleep(0.02)
        approvals.answer(world.realm, person(ALICE), seen[0].id, Answering.DENY)

    thread = threading.Thread(target=deny)
    thread.start()
    code, said = world.sign()
    thread.join()
    assert code == 1
    assert "a request that was denied" in said
    assert world.file.read_bytes() == pe.image()


@pytest.mark.parametrize("world", [TWO], indirect=True)
def test_whoever_gives_up_waits_no_longer(world: World) -> None:
    found = opened(world.url)
    told = threading.Event()
    found.tell = lambda line: told.set()

    def give_up() -> None:
        told.wait(10)
        found.give_up()

    threading.Thread(target=give_up).start()
    began = time.monotonic()
    with pytest.raises(KeyProviderError, match="until it was given up"):
        found.sign_for(attributes(), RSA, PURPOSE)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("world", [{**TWO, "signers": [CI, ALICE]}], indirect=True)
def test_requests_are_listed_approved_and_denied_from_the_command_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sign(url=f"{world.url}?wait=0")
    at = ("--url", world.served.url)
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{ALICE}-token")
    code, said = world.requests("list", *at, "--json")
    seen = json.loads(said)
    assert (code, seen["file"], seen["by"], seen["approvals"]) == (0, "setup.exe", CI, [])
    assert "key release: setup.exe (pe), for oidc:ci" in world.requests("list", *at)[1]
    code, said = world.requests("approve", *at, seen["id"])
    assert (code, "1 of 2 approvals (alice)" in said) == (0, True)
    code, said = world.requests("approve", *at, seen["id"])
    assert code == 1
    assert "a second approval by one person" in said
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{BOB}-token")
    code, said = world.requests("deny", *at, seen["id"], "0" * 32)
    assert code == 1
    assert f"{seen['id']}  denied" in said
    assert "none of that name" in said
    assert "nothing waits for you" in world.requests("list", *at)[1]
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{CI}-token")
    assert world.requests("list", *at)[0] == 2


# --- a service that lies ----------------------------------------------------------------------


def test_no_word_of_a_service_drives_the_approvers_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    texts = ("id", "key", "state", "by", "by_issuer", "by_kind", "format", "file", "content",
             "digest", "algorithm")  # fmt: skip
    now = datetime.now(UTC)
    told = Waiting(at=now, expires=now, approvals=(evil,), required=1, **dict.fromkeys(texts, evil))
    requests._tell(told, json=False)
    requests._tell(told, json=True)
    said = capsys.readouterr().out
    assert "owned" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)


class Liar:
    """A service that passes everything on to an honest one, and changes what comes back."""

    def __init__(self, honest: Running, server: Server) -> None:
        self.honest, self.url = honest, server.url("/keys/release")
        self.change: Callable[[dict[str, Any]], None] = lambda answer: None
        self.lose = 0
        self.keys: list[str] = []
        server.routes[""] = self

    def __call__(self, request: Request) -> Reply:
        heads = {n: v for n, v in request.headers.items()
                 if n in ("content-type", "idempotency-key", "authorization")}  # fmt: skip
        found = self.honest.ask(request.method, request.path, request.body or None, headers=heads)
        if request.method == "POST":
            self.keys.append(request.headers["idempotency-key"])
            if self.lose:
                self.lose -= 1
                return Reply(b"{", headers={"Content-Length": "9999"})
        answer = found.json
        if request.method == "POST":
            self.change(answer)
        kind = {"Content-Type": found.headers["content-type"]}
        return Reply(json.dumps(answer).encode(), found.status, kind)


@pytest.fixture
def liar(world: World) -> Iterator[Liar]:
    with running() as server:
        yield Liar(world.served, server)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flipped(text: str, at: int) -> str:
    data = bytearray(base64.b64decode(text))
    data[at] ^= 1
    return b64(bytes(data))


def refused(world: World, liar: Liar) -> str:
    before = world.file.read_bytes()
    code, said = world.sign("--receipts", str(world.folder / "r"), url=liar.url)
    assert code == 1, said
    assert world.file.read_bytes() == before
    assert not list((world.folder / "r").glob("*.receipt"))
    return said


def test_an_honest_relay_is_believed(world: World, liar: Liar) -> None:
    assert world.sign(url=liar.url)[0] == 0


def test_a_changed_value_is_refused(world: World, liar: Liar) -> None:
    liar.change = lambda answer: answer.update(value=flipped(answer["value"], 100))
    assert "does not fit" in refused(world, liar)


def test_anothers_certificate_is_refused(world: World, liar: Liar) -> None:
    other = b64(issue("Somebody", issuer=authority()).certificate)
    liar.change = lambda answer: answer.update(certificates=[other])
    assert "next leaf" in refused(world, liar)


def test_a_changed_token_is_refused(world: World, liar: Liar) -> None:
    liar.change = lambda answer: answer.update(tokens=[flipped(answer["tokens"][0], -5)])
    assert "timestamp" in refused(world, liar)


def test_a_token_over_another_value_is_refused(world: World, liar: Liar) -> None:
    kept: list[str] = []

    def swap(answer: dict[str, Any]) -> None:
        kept.extend(answer["tokens"])
        answer["tokens"] = kept[:1]

    liar.change = swap
    assert world.sign(url=liar.url)[0] == 0
    world.file.write_bytes(pe.image() + bytes(8))
    assert "timestamp" in refused(world, liar)


@pytest.mark.parametrize("at", [5, 200, 700, -20, -70])
def test_a_changed_receipt_is_refused(world: World, liar: Liar, at: int) -> None:
    liar.change = lambda answer: answer.update(receipt=flipped(answer["receipt"], at))
    assert "receipt" in refused(world, liar)


def test_a_receipt_of_another_signature_is_refused(world: World, liar: Liar) -> None:
    kept: list[str] = []

    def swap(answer: dict[str, Any]) -> None:
        kept.append(answer["receipt"])
        answer["receipt"] = kept[0]

    liar.change = swap
    assert world.sign(url=liar.url)[0] == 0
    world.file.write_bytes(pe.image() + bytes(8))
    assert "a proof of something else" in refused(world, liar)


def test_a_receipt_that_is_missing_is_refused(world: World, liar: Liar) -> None:
    liar.change = lambda answer: answer.update(receipt="")
    assert "receipt" in refused(world, liar)


def test_a_log_of_another_key_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(world.url)._page
    monkeypatch.setenv("SIGNWARD_LOG_KEY", page.log)
    assert world.sign()[0] == 0
    monkeypatch.setenv("SIGNWARD_LOG_KEY", page.log.replace("tests.example", "other.example"))
    code, said = world.sign("--replace")
    assert code == 2
    assert "SIGNWARD_LOG_KEY" in said


def test_a_lost_answer_is_asked_for_again_and_signed_once(world: World, liar: Liar) -> None:
    liar.lose = 2
    assert world.sign(url=liar.url)[0] == 0
    assert len(liar.keys) == 3
    assert len(set(liar.keys)) == 1
    entries = [e for e in world.served.log if e.get("method") == "POST"]
    assert [e["status"] for e in entries] == [200, 200, 200]
    assert kinds(world.realm).count("signed") == 1


def test_answers_that_are_lost_for_good_are_given_up(world: World, liar: Liar) -> None:
    liar.lose = 99
    assert "no answer from" in refused(world, liar)
    assert len(liar.keys) == remote.MAX_LOST


def test_an_answer_that_is_none_is_refused(world: World, liar: Liar) -> None:
    def spoil(answer: dict[str, Any]) -> None:
        answer["certificates"] = "all of them"

    liar.change = spoil
    assert "not as documented" in refused(world, liar)


# --- URLs, tokens, certificates ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://signer.example/keys/release", "http to another machine"),
        ("https://signer.example/release", "/keys/NAME"),
        ("https://signer.example/keys/", "/keys/NAME"),
        ("https://signer.example/keys/a/b", "/keys/NAME"),
        ("https://signer.example/keys/..%2Fx", "/keys/NAME"),
        ("https://user:secret@signer.example/keys/release", "no URL"),
        ("https://signer.example/keys/release?wait=x", "wait=SECONDS"),
        ("https://signer.example/keys/release?wait=9999999", "wait=SECONDS"),
        ("https://signer.example/keys/release?token=secret", "wait=SECONDS"),
        ("ftp://signer.example/keys/release", "scheme 'ftp'"),
    ],
)
def test_other_urls_are_refused_before_anything_is_sent(url: str, told: str) -> None:
    with pytest.raises(KeyProviderError, match=told) as caught:
        open_key(url, SecretFinder(environment={}))
    assert "user" not in str(caught.value)


def test_the_scheme_may_be_said(world: World) -> None:
    assert opened(f"remote:{world.url}").certificates == opened(world.url).certificates
    assert "release" in repr(opened(world.url))


def test_a_token_comes_from_a_file_too(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CI}-token\n")
    found = open_key(world.url, SecretFinder(
        environment={"SIGNWARD_TOKEN_FILE": str(tmp_path / "token")}))  # fmt: skip
    value = found.sign_for(attributes(), RSA, PURPOSE).value  # type: ignore[attr-defined]
    check_value(found.public_key, RSA, attributes(), value)


def test_octets_without_a_known_purpose_are_signed_for_no_format(world: World) -> None:
    check_value(identity().key.spki, RSA, attributes(), opened(world.url).sign(attributes(), RSA))
    with pytest.raises(KeyProviderError, match="at most"):
        opened(world.url).sign(bytes(MAX_DATA + 1), RSA)


def test_a_leaf_that_rotated_is_told(world: World, liar: Liar) -> None:
    found = opened(liar.url)
    liar.change = lambda answer: answer.update(certificates=[b64(b"0")])
    with pytest.raises(RotatedError):
        found.sign_for(attributes(), RSA, PURPOSE)
    found.refresh()
    found.close()


def test_a_key_without_certificates_is_refused() -> None:
    with running() as server:
        server.serve("/keys/release", b'{"name":"release","certificates":[]}')
        with pytest.raises(KeyProviderError, match="without certificate"):
            opened(server.url("/keys/release"))


def test_a_client_certificate_shows_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = root("TLS Test Root")
    client = issue("client", issuer=ca, ekus=(CLIENT_EKU,), not_after=END)
    (tmp_path / "client.pem").write_bytes(client.pem)
    (tmp_path / "client.key").write_bytes(client.key.pem)
    page = json.dumps({"name": "release", "certificates": [b64(identity().certificate)]}).encode()
    with running(tls_server(ca, tmp_path, "localhost", clients=True)) as server:
        server.serve("/keys/release", page)
        url = f"https://localhost:{server.port}/keys/release"
        with pytest.raises(KeyProviderError, match="no answer"):
            opened(url)
        monkeypatch.setenv("SIGNWARD_CA", str(tmp_path / "ca.pem"))
        with pytest.raises(KeyProviderError, match="no answer"):
            opened(url)
        monkeypatch.setenv("SIGNWARD_CLIENT_CERT", str(tmp_path / "client.pem"))
        monkeypatch.setenv("SIGNWARD_CLIENT_KEY", str(tmp_path / "client.key"))
        assert opened(url).certificates == (identity().certificate,)


@pytest.mark.parametrize("name", ["SIGNWARD_CA", "SIGNWARD_CLIENT_CERT"])
def test_certificates_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "x.pem").write_text("no PEM")
    for path in (tmp_path / "x.pem", tmp_path / "absent.pem"):
        monkeypatch.setenv(name, str(path))
        with pytest.raises(KeyProviderError, match="PEM files in SIGNWARD_CLIENT_CERT"):
            opened("https://localhost:1/keys/release")
