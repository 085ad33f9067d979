"""The feed over HTTP: tags, waiting for news, and who may wait."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.cli import main
from signward.service.roles import feed as role
from signward.service.roles import load_role
from signward.trust.feed import RevokedPublisher, open_feed
from signward.trust.sealed import read_keys
from signward.verbs.authority import feed
from signward.verbs.authority.authorities import certificate_of
from signward.verbs.authority.finding import find
from signward.verbs.authority.issue import issue, order
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.revoke import revoke
from tests.builders.authority import Clock, founded, private
from tests.builders.authority import key as own_key
from tests.builders.service import Answer, Running, serving
from tests.builders.web import running as running_web
from tests.unit.test_feed_authority import prepare

BAD = RevokedPublisher(identity="subject:Bad/Bad", revoked=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    prepare(tmp_path / "data")
    opened = Realm.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def running(realm: Realm) -> Iterator[Running]:
    feed.publish(realm)
    with serving(realm, [load_role("feed")]) as service:
        yield service


def ask(service: Running, tag: str = "", wait: int = 0) -> Answer:
    headers = {"If-None-Match": tag} if tag else {}
    if wait:
        headers["Prefer"] = f"respond-async, wait={wait}"
    return service.ask("GET", "/feed", headers=headers)


def test_anybody_gets_the_newest_version(running: Running, realm: Realm) -> None:
    answer = ask(running)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/vnd.dsse+json"
    assert answer.headers["cache-control"] == "no-cache"
    key = read_keys("key", feed.public_key(realm))
    assert open_feed("feed", answer.body, key).document.version == 1


def test_who_has_it_gets_nothing(running: Running) -> None:
    tag = ask(running).headers["etag"]
    again = ask(running, tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert ask(running, '"other"').status == 200
    assert ask(running, f'"other", {tag}').status == 304


def test_a_revocation_of_another_process_is_published_by_this_one(
    running: Running, realm: Realm
) -> None:
    tag = ask(running).headers["etag"]
    other = Realm.open(realm.folder)
    feed.add(other, BAD, "me")
    other.close()
    began = time.monotonic()
    answer = ask(running, tag, wait=20)
    assert answer.status == 200
    assert time.monotonic() - began < 5
    key = read_keys("key", feed.public_key(realm))
    assert open_feed("feed", answer.body, key).document.publishers == (BAD,)


def test_many_wait_for_one_version(running: Running, realm: Realm) -> None:
    tag = ask(running).headers["etag"]
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(ask, running, tag, 20) for _ in range(20)]
        time.sleep(0.5)
        assert not any(one.done() for one in waiting)
        feed.publish(realm, always=True)
        answers = [one.result(10) for one in waiting]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1


def test_the_wait_has_an_end(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = ask(running).headers["etag"]
    began = time.monotonic()
    assert ask(running, tag, wait=1).status == 304
    assert 0.9 < time.monotonic() - began < 5
    monkeypatch.setattr(role, "MAX_WAIT", 0.5)
    assert ask(running, tag, wait=10**8).status == 304
    assert time.monotonic() - began < 10


def test_waiting_for_what_one_does_not_have_is_no_waiting(running: Running) -> None:
    began = time.monotonic()
    assert ask(running, wait=30).status == 200
    assert ask(running, '"old"', wait=30).status == 200
    assert time.monotonic() - began < 5


def test_too_many_are_answered_at_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(role, "MAX_WAITERS", 1)
    tag = ask(running).headers["etag"]
    first = threading.Thread(target=ask, args=(running, tag, 3))
    first.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert ask(running, tag, wait=30).status == 304
    assert time.monotonic() - began < 2
    first.join()


def test_whoever_leaves_gives_their_place_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role, "MAX_WAITERS", 3)
    tag = ask(running).headers["etag"]
    head = f"GET /feed HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\nPrefer: wait=50\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(head.encode())
            time.sleep(0.3)
            assert running.gate.under_way
    deadline = time.monotonic() + 5
    while running.gate.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    began = time.monotonic()
    assert ask(running, tag, wait=1).status == 304
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 0), ("wait=5", 5), ("respond-async, wait=7", 7), ('Wait = "9"', 9), ("wait=-1", 0),
        ("await=5", 0), ("wait=99999999999", role.MAX_WAIT), ("wait", 0), ("wait=1e3", 1),
    ],
)  # fmt: skip
def test_how_long_a_client_prefers_to_wait(prefer: str, seconds: float) -> None:
    assert role._seconds(prefer) == seconds


def test_before_the_first_version_there_is_none(realm: Realm) -> None:
    quiet = type("Quiet", (role.FeedRole,), {"tasks": lambda self, realm: ()})()
    with serving(realm, [quiet]) as service:
        assert ask(service).status == 404


def test_an_authority_without_a_feed_serves_none(tmp_path: Path) -> None:
    prepare(tmp_path, has_feed=False)
    opened = Realm.open(tmp_path)
    assert (role.ROLE.routes(opened), role.ROLE.tasks(opened)) == ((), ())
    opened.close()


def test_a_client_follows_the_service(
    running: Running,
    realm: Realm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "key.pem").write_bytes(feed.public_key(realm))
    out = tmp_path / "feed.json"
    words = ["feed", "pull", f"{running.url}/feed", "--feed-key", str(tmp_path / "key.pem")]
    assert main([*words, "-o", str(out)]) == 0
    assert "version 1" in capsys.readouterr().out
    threading.Timer(0.5, lambda: feed.add(realm, BAD, "me")).start()
    assert main([*words, "--wait", "20"]) == 0
    assert "version 2" in capsys.readouterr().out
    assert open_feed("f", out.read_bytes(), read_keys("k", feed.public_key(realm))).document


# --- from revoking to refusing ------------------------------------------------------------------


@pytest.mark.slow
def test_revoked_in_one_process_and_refused_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An authority serves its feed; its certificate signs; two seconds after it is revoked the
    same file is refused, and a replay of the feed from before is too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    owner = founded(tmp_path / "data", Clock(datetime.now(UTC)))
    wanted = order(owner, "issuing", "code-signing", own_key("feed-release").public_key,
                   subject="Release")  # fmt: skip
    made = issue(owner, "issuing", wanted, "me")
    written = {
        "root.pem": pem(certificate_of(owner, "root").der),
        "path.pem": b"".join(pem(one.der) for one in made.path),
        "key.pem": private("feed-release", "p-256").private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "a.exe": pe.image(),
        "feed-key.pem": feed.public_key(owner),
    }
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    place = {name: str(tmp_path / name) for name in written}
    signing = ["sign", "--key", f"file:{place['key.pem']}", "--cert", place["path.pem"]]
    assert main([*signing, place["a.exe"]]) == 0
    old = feed.publish(owner)
    serving_realm = Realm.open(tmp_path / "data")
    with serving(serving_realm, [load_role("feed")]) as service:
        verify = ["verify", "--anchor", place["root.pem"], "--feed", f"{service.url}/feed",
                  "--feed-key", place["feed-key.pem"], place["a.exe"]]  # fmt: skip
        assert main(verify) == 0
        began = time.monotonic()
        revoke(owner, find(owner, made.serial), "keyCompromise", "me", publish=False)
        capsys.readouterr()
        while main(verify) == 0 and time.monotonic() - began < 10:
            time.sleep(0.1)
        assert time.monotonic() - began < 5  # a busy machine's two seconds
        assert "revoked" in capsys.readouterr().out
    serving_realm.close()
    with running_web() as replay:
        url = replay.serve("/feed", old.body)
        (kept,) = (tmp_path / "state" / "signward" / "feeds").glob("*.json")
        name = hashlib.sha256(url.encode()).hexdigest()
        kept.rename(kept.with_name(f"{name}.json"))  # as if it had come from there
        verify[4] = url
        assert main([*verify, "--explain"]) == 1
        assert "found version 1, required 2 or later" in capsys.readouterr().out
    owner.close()
