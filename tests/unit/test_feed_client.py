"""Following a feed: what goes backwards is refused, and the last good one counts meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode.cases.base import signed_image
from conformance.authenticode.pki import default_pki

from signward.cli import main
from signward.errors import EvidenceError
from signward.fetch import feed as client
from signward.fetch.feed import Pulled, pull
from signward.trust.feed import RevokedDigest
from tests.builders.feeds import (
    ISSUED,
    drafted,
    feed,
    feed_key,
    of_certificate,
    public_pem,
    sealed,
    spki,
)
from tests.builders.web import Reply, Request, Server, running

NOW = ISSUED + timedelta(hours=1)
KEYS = (spki(feed_key()),)
MALLORY = feed_key("ed25519", "mallory")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as listening:
        yield listening


class Follower:
    """One client of one URL."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.url = server, folder, server.url("/feed")

    def serve(self, data: bytes, etag: str = "") -> None:
        self.server.serve("/feed", data, headers={"ETag": etag} if etag else {})

    def pull(self, now: datetime = NOW, *keys: bytes, wait: int = 0) -> Pulled:
        return pull(self.url, keys or KEYS, self.folder, now, wait=wait)

    def pulled(self, data: bytes, now: datetime = NOW, *keys: bytes) -> Pulled:
        self.serve(data)
        return self.pull(now, *keys)


@pytest.fixture
def follower(server: Server, tmp_path: Path) -> Follower:
    return Follower(server, tmp_path / "state" / "feeds")


def version(pulled: Pulled) -> int:
    return pulled.feed.document.version if pulled.feed else 0


def test_a_first_document_is_kept(follower: Follower) -> None:
    data = feed(version=4)
    pulled = follower.pulled(data)
    assert (version(pulled), pulled.problem, pulled.changed) == (4, "", True)
    assert pulled.path is not None
    assert pulled.path.read_bytes() == data
    assert follower.folder.stat().st_mode & 0o777 == 0o700


def test_a_later_version_takes_its_place(follower: Follower) -> None:
    follower.pulled(feed(version=4))
    assert version(follower.pulled(feed(version=5))) == 5
    assert not follower.pulled(feed(version=5)).changed


def test_the_same_document_is_asked_for_by_its_tag(follower: Follower) -> None:
    data = feed(version=4)

    def answer(request: Request) -> Reply:
        known = request.headers.get("if-none-match") == '"four"'
        return Reply(status=304) if known else Reply(data, headers={"ETag": '"four"'})

    follower.server.routes["/feed"] = answer
    assert follower.pull().changed
    again = follower.pull()
    assert (version(again), again.problem, again.changed) == (4, "", False)
    assert "prefer" not in follower.server.requests[-1].headers
    follower.pull(wait=20)
    assert follower.server.requests[-1].headers["prefer"] == "wait=20"
    follower.pull(wait=10**9)
    assert follower.server.requests[-1].headers["prefer"] == f"wait={client.MAX_WAIT}"


def test_a_tag_of_another_document_is_not_sent(follower: Follower) -> None:
    follower.serve(feed(version=4), '"four"')
    path = follower.pull().path
    assert path is not None
    path.write_bytes(feed(version=3))
    follower.pull()
    assert "if-none-match" not in follower.server.requests[-1].headers


REFUSED = {
    "an older version": (feed(version=3), "found version 3, required 4 or later"),
    "a second document of the version": (
        feed(RevokedDigest(of="file", algorithm="sha256", digest="00", revoked=ISSUED), version=4),
        "second document of version 4",
    ),
    "one that has ended": (feed(version=9, hours=1), "ended 2026-09-01T13:00:00Z"),
    "a forged one": (sealed(drafted(version=9), MALLORY), "does not fit"),
    "one by another key": (feed(version=9, of=MALLORY), "found a signature by key"),
    "a page of a captive portal": (b"<html>", "DSSE envelope"),
    "nothing": (b"", "DSSE envelope"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_must_not_count_is_refused_and_the_last_good_one_kept(
    follower: Follower, what: str
) -> None:
    good = feed(version=4)
    follower.pulled(good)
    bad, why = REFUSED[what]
    pulled = follower.pulled(bad)
    assert why in pulled.problem
    assert pulled.refused
    assert version(pulled) == 4
    assert pulled.path is not None
    assert pulled.path.read_bytes() == good
    assert version(follower.pulled(feed(version=5))) == 5


@pytest.mark.parametrize("what", [w for w in REFUSED if w not in list(REFUSED)[:2]])
def test_nothing_bad_is_kept_at_first(follower: Follower, what: str) -> None:
    pulled = follower.pulled(REFUSED[what][0])
    assert (pulled.feed, pulled.path, pulled.refused) == (None, None, True)
    assert list(follower.folder.glob("*.json")) == []


def test_the_same_payload_signed_again_is_the_same_document(follower: Follower) -> None:
    key = feed_key("p256")
    draft = drafted(version=4, of=key)
    first, second = (draft.seal(key.sign(draft.to_be_signed, "sha256")) for _ in range(2))
    assert first != second
    follower.pulled(first, NOW, spki(key))
    again = follower.pulled(second, NOW, spki(key))
    assert (again.problem, again.changed) == ("", False)


def test_a_server_that_is_gone_is_no_refusal(follower: Follower) -> None:
    follower.pulled(feed(version=4))
    follower.server.routes.clear()
    pulled = follower.pull()
    assert "status 404" in pulled.problem
    assert not pulled.refused
    assert version(pulled) == 4


def test_not_modified_without_anything_kept(follower: Follower) -> None:
    follower.server.serve("/feed", status=304)
    pulled = follower.pull()
    assert (pulled.feed, "nothing was kept" in pulled.problem) == (None, True)


def test_a_key_that_is_trusted_no_more_sets_no_measure(follower: Follower) -> None:
    follower.pulled(feed(version=2**40))
    key = feed_key("p256")
    pulled = follower.pulled(feed(version=1, of=key), NOW, spki(key))
    assert (version(pulled), pulled.problem) == (1, "")


def test_a_damaged_file_is_fetched_again(follower: Follower) -> None:
    follower.serve(feed(version=4), '"four"')
    path = follower.pull().path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-20])
    assert follower.pull().changed


def test_two_feeds_do_not_share_a_place(server: Server, tmp_path: Path) -> None:
    one = server.serve("/one", feed(version=9))
    two = server.serve("/two", feed(version=1))
    assert version(pull(one, KEYS, tmp_path, NOW)) == 9
    assert version(pull(two, KEYS, tmp_path, NOW)) == 1


def test_without_a_place_to_keep_it_nothing_is_followed(follower: Follower) -> None:
    with pytest.raises(EvidenceError, match="no folder"):
        pull(follower.url, KEYS, None, NOW)
    follower.folder.parent.mkdir(parents=True)
    follower.folder.write_bytes(b"a file")
    with pytest.raises(EvidenceError, match="cannot be kept"):
        follower.pull()


def test_of_many_at_once_the_latest_is_kept(follower: Follower) -> None:
    documents = [feed(version=n) for n in range(1, 13)]
    turn = iter(documents)
    lock = threading.Lock()

    def answer(request: Request) -> Reply:
        with lock:
            return Reply(next(turn))

    follower.server.routes["/feed"] = answer
    threads = [threading.Thread(target=follower.pull) for _ in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = follower.folder.glob("*.json")
    assert kept.read_bytes() == documents[-1]


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert client.default_folder() == Path("/somewhere/signward/feeds")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert client.default_folder() == Path("/home/me/.local/state/signward/feeds")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    assert client.default_folder() is None


# --- the command line ----------------------------------------------------------------------

PKI = default_pki()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "root.pem").write_bytes(PKI.root.pem)
    (tmp_path / "feed.pem").write_bytes(public_pem())
    (tmp_path / "a.exe").write_bytes(signed_image())
    return tmp_path


def told(home: Path, url: str, *words: str) -> list[str]:
    return [
        words[0], "--anchor", str(home / "root.pem"), "--feed", url,
        "--feed-key", str(home / "feed.pem"), *words[1:], str(home / "a.exe"),
    ]  # fmt: skip


def current(*entries: RevokedDigest, version: int) -> bytes:
    return feed(*entries, version=version, issued=datetime.now(UTC))


def listed(data: bytes) -> RevokedDigest:
    value = hashlib.sha256(data).hexdigest()
    return RevokedDigest(of="file", algorithm="sha256", digest=value, revoked=ISSUED)


def test_verify_follows_a_url(
    home: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.serve("/feed", current(version=1))
    assert main(told(home, url, "verify")) == 0
    server.serve("/feed", current(listed((home / "a.exe").read_bytes()), version=2))
    assert main(told(home, url, "verify")) == 1
    assert "digest-revoked" in capsys.readouterr().out
    server.serve("/feed", current(version=1))
    assert main(told(home, url, "verify")) == 1  # the replayed old one does not undo it


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_a_feed_that_cannot_be_had_is_told_of(
    home: Path, server: Server, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    words = ("verify", "--revocation", mode, "--json")
    code = main(told(home, server.url("/feed"), *words))
    record = json.loads(capsys.readouterr().out)
    assert code == (0 if mode == "prefer" else 3)
    (note,) = [f for f in record["findings"] if f["code"] == "revocation-feed"]
    assert note["effect"] == ("warn" if mode == "prefer" else "unknown")
    assert "no feed counts" in note["required"]


@pytest.mark.parametrize(
    ("answer", "effect"), [(feed(version=1, of=MALLORY), "warn"), (b"", "warn"), (None, "note")]
)
def test_what_was_wrong_is_a_finding(
    home: Path, server: Server, capsys: pytest.CaptureFixture[str], answer: bytes | None,
    effect: str,
) -> None:  # fmt: skip
    entry = of_certificate(PKI.intermediate.certificate, datetime.now(UTC) + timedelta(days=9))
    url = server.serve("/feed", feed(entry, version=3, issued=datetime.now(UTC)))
    assert main(told(home, url, "verify")) == 0
    server.routes.clear()
    if answer is not None:
        server.serve("/feed", answer)
    capsys.readouterr()
    assert main(told(home, url, "verify", "--json")) == 0
    record = json.loads(capsys.readouterr().out)
    (note,) = [f for f in record["findings"] if f["code"] == "revocation-feed"]
    assert note["effect"] == effect
    assert "version 3 counts" in note["required"]


def test_a_scan_asks_once(home: Path, server: Server) -> None:
    for number in range(40):
        os.link(home / "a.exe", home / f"{number}.exe")
    url = server.serve("/feed", current(listed((home / "a.exe").read_bytes()), version=2))
    words = told(home, url, "scan", "--fail-on", "rejected", "--jobs", "2")
    words[-1] = str(home)
    assert main(words) == 1
    assert len(server.asked("/feed")) == 1
    server.serve("/feed", current(version=3))
    assert main(words) == 0
