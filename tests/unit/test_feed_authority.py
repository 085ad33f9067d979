"""The authority's feed: what goes in, when a version is made, and that none is used twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.cases.base import signed_image
from conformance.authenticode.pki import default_pki
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from sqlalchemy import insert, select, update

from signward.authority.log.entry import decode
from signward.cli import main
from signward.errors import AuthorityError, EvidenceError, RealmError, StoreError
from signward.store.engine import Outcome
from signward.store.published import Document as Stored
from signward.store.tables import certificate, log_entry, revocation
from signward.trust.feed import Document, RevokedPublisher, open_feed
from signward.trust.sealed import read_keys
from signward.trust.x509 import load_certificate
from signward.verbs import feed_entries
from signward.verbs.authority import feed
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import FeedSettings, KeySettings, Settings, dump

PKI = default_pki()
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = RevokedPublisher(identity="subject:Later/Later", revoked=START)
BAD = RevokedPublisher(identity="subject:Bad/Bad", revoked=START, note="theft")


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


def prepare(folder: Path, *, hours: int = 24, has_feed: bool = True) -> None:
    """Write the settings and the key of an authority."""
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feed.pem").write_bytes(pem)
    settings = Settings(
        name="Example Ltd",
        url="http://127.0.0.1:8650",
        keys={"feed": KeySettings(uri="file:feed.pem")},
        feed=FeedSettings(key="feed", hours=hours) if has_feed else None,
    )
    (folder / "signward.toml").write_text(dump(settings))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def realm(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Realm]:
    prepare(tmp_path / "data")
    opened = Realm.open(tmp_path / "data", database=database_url, clock=clock)
    yield opened
    opened.close()


def read(realm: Realm, document: Stored) -> Document:
    """Return what a published version says, its signature checked with the published key."""
    return open_feed("feed", document.body, read_keys("key", feed.public_key(realm))).document


def logged(realm: Realm) -> list[dict[str, object]]:
    with realm.store.read() as connection:
        bodies = connection.execute(select(log_entry.c.body).order_by(log_entry.c.position))
        entries = [decode(body) for body in bodies.scalars()]
    assert {entry.kind.value for entry in entries} <= {"feed"}
    return [dict(entry.fields) for entry in entries]


def revoke(realm: Realm, der: bytes, *, reason: int = 1, invalidity: int | None = None) -> None:
    """Store a certificate of an authority here, revoked now."""
    seen = load_certificate(der)
    at = int(realm.now().timestamp()) * 1_000_000

    def job(connection: object) -> Outcome[None]:
        values = {
            "issuer": "issuing", "serial": f"{seen.serial:x}", "fingerprint": seen.sha256,
            "spki_digest": seen.sha256, "subject": "", "profile": "", "holder": "",
            "not_before": 0, "not_after": 0, "issued": 0, "der": der,
        }  # fmt: skip
        connection.execute(insert(certificate).values(values))  # type: ignore[attr-defined]
        connection.execute(insert(revocation).values(  # type: ignore[attr-defined]
            issuer="issuing", serial=f"{seen.serial:x}", at=at, reason=reason,
            invalidity=invalidity, revoked_by="me",
        ))  # fmt: skip
        return Outcome(None)

    realm.store.write(job).result()


def test_a_first_version_is_empty_and_signed(realm: Realm) -> None:
    made = feed.publish(realm)
    said = read(realm, made)
    assert (said.version, said.authority, said.issued) == (1, "Example Ltd", START)
    assert said.expires == START + timedelta(hours=24)
    assert (said.certificates, said.publishers, said.digests) == ((), (), ())
    assert feed.current(realm) == made
    (entry,) = logged(realm)
    assert (entry["deed"], entry["version"], entry["entries"]) == ("published", 1, 0)


def test_a_version_is_made_only_when_there_is_something_to_say(realm: Realm, clock: Clock) -> None:
    first = feed.publish(realm)
    assert feed.publish(realm) == first
    clock.at += timedelta(hours=11, minutes=59)
    assert feed.publish(realm) == first
    feed.add(realm, BAD, "me")
    second = feed.publish(realm)
    assert (second.version, read(realm, second).publishers) == (2, (BAD,))
    assert feed.publish(realm, always=True).version == 3


def test_half_way_to_its_end_a_version_is_renewed(realm: Realm, clock: Clock) -> None:
    feed.publish(realm)
    clock.at += timedelta(hours=12)
    made = feed.publish(realm)
    assert made.version == 2
    assert read(realm, made).expires == clock.at + timedelta(hours=24)


def test_the_authoritys_revocations_are_in_it(realm: Realm) -> None:
    feed.publish(realm)
    micros = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    revoke(realm, PKI.leaf.certificate, reason=1, invalidity=micros)
    made = feed.try_to_publish(realm)
    assert isinstance(made, Stored)
    (entry,) = read(realm, made).certificates
    assert made.version == 2
    assert (entry.reason, entry.revoked) == ("keyCompromise", START)
    assert entry.invalid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert entry.sha256 == load_certificate(PKI.leaf.certificate).sha256.hex()
    assert bytes.fromhex(entry.issuer) == PKI.leaf.issuer_subject


def test_an_amended_revocation_makes_a_version(realm: Realm) -> None:
    publisher = feed.Publisher(realm)
    revoke(realm, PKI.leaf.certificate, reason=4)
    first = publisher.publish_if_due()

    def job(connection: object) -> Outcome[None]:
        connection.execute(update(revocation).values(reason=1))  # type: ignore[attr-defined]
        return Outcome(None)

    assert publisher.publish_if_due() == first
    realm.store.write(job).result()
    second = publisher.publish_if_due()
    assert first is not None
    assert second is not None
    assert (first.version, second.version) == (1, 2)
    assert read(realm, second).certificates[0].reason == "keyCompromise"


def test_what_is_due_is_published_by_whoever_looks(realm: Realm, clock: Clock) -> None:
    publisher = feed.Publisher(realm)
    assert publisher.publish_if_due() == publisher.publish_if_due()
    feed.add(realm, BAD, "me")
    clock.at += timedelta(seconds=1)
    made = publisher.publish_if_due()
    assert made is not None
    assert made.version == 2
    clock.at += timedelta(hours=12)
    renewed = publisher.publish_if_due()
    assert renewed is not None
    assert renewed.version == 3


def test_entries_are_added_listed_and_taken_out(realm: Realm, clock: Clock) -> None:
    first = feed.add(realm, BAD, "ann")
    clock.at += timedelta(seconds=1)
    second = feed.add(realm, LATER, "bob")
    assert [(row.id, row.entry, row.by) for row in feed.listing(realm)] == [
        (first, BAD, "ann"), (second, LATER, "bob"),
    ]  # fmt: skip
    assert feed.add(realm, BAD, "cid") == first  # known already: nothing happens
    changed = RevokedPublisher(identity=BAD.identity, revoked=START, note="two thefts")
    assert feed.add(realm, changed, "cid") == first
    assert feed.remove(realm, second[:8], "ann") == second
    (row,) = feed.listing(realm)
    assert (row.entry, row.by) == (changed, "cid")
    deeds = [(entry["deed"], entry["by"]) for entry in logged(realm)]
    assert deeds == [("added", "ann"), ("added", "bob"), ("added", "cid"), ("removed", "ann")]


@pytest.mark.parametrize("identifier", ["", "%", "zz"])
def test_what_was_not_added_is_not_taken_out(realm: Realm, identifier: str) -> None:
    feed.add(realm, BAD, "me")
    feed.add(realm, LATER, "me")
    with pytest.raises(AuthorityError, match="required one"):
        feed.remove(realm, identifier, "me")
    assert len(feed.listing(realm)) == 2


def test_many_at_once_use_no_version_twice(realm: Realm) -> None:
    versions: list[int] = []

    def publish() -> None:
        versions.append(feed.publish(realm, always=True).version)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = feed.current(realm)
    assert newest is not None
    assert newest.version == max(versions) == 8
    published = [entry["version"] for entry in logged(realm)]
    assert published == sorted(set(published))  # type: ignore[type-var]


def test_a_version_that_came_too_late_is_dropped(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version is begun, another one overtakes it: the later number stays."""
    signed = feed._signed

    def overtaken(*arguments: object) -> tuple[bytes, bytes]:
        monkeypatch.setattr(feed, "_signed", signed)
        feed.publish(realm, always=True)
        return signed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(feed, "_signed", overtaken)
    made = feed.publish(realm, always=True)
    assert made.version == 2
    assert feed.current(realm) == made
    assert [entry["version"] for entry in logged(realm)] == [2]


def test_a_key_that_fails_leaves_the_last_version(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = feed.publish(realm)
    key = realm.key("feed")
    monkeypatch.setattr(type(key), "sign", lambda *_: bytes(64))
    with pytest.raises(RealmError, match=r"keys\.feed"):
        feed.publish(realm, always=True)
    assert feed.current(realm) == first
    monkeypatch.undo()
    assert feed.publish(realm, always=True).version == 3  # number 2 was spent


def test_a_key_that_is_not_at_hand_is_told(realm: Realm) -> None:
    (realm.folder / "feed.pem").unlink()
    told = feed.try_to_publish(realm)
    assert isinstance(told, str)
    assert "signward feed publish" in told


def test_a_store_that_fails_publishes_nothing(realm: Realm) -> None:
    feed.publish(realm)
    realm.store.close()
    with pytest.raises(StoreError):
        feed.publish(realm, always=True)


@pytest.mark.parametrize("deed", ["publish", "add"])
def test_an_authority_without_a_feed_says_so(tmp_path: Path, deed: str) -> None:
    prepare(tmp_path, has_feed=False)
    opened = Realm.open(tmp_path)
    deeds: dict[str, Callable[[], object]] = {
        "publish": lambda: feed.publish(opened),
        "add": lambda: feed.add(opened, BAD, "me"),
    }
    with pytest.raises(RealmError, match="no such table"):
        deeds[deed]()
    assert feed.Publisher(opened).publish_if_due() is None
    assert feed.try_to_publish(opened) == ""
    opened.close()


# --- entries as a user names them --------------------------------------------------------------

DATES: feed_entries.Dates = {"revoked": START}


def test_a_certificate_is_named_in_every_way(tmp_path: Path) -> None:
    path = tmp_path / "leaf.pem"
    path.write_bytes(PKI.leaf.pem)
    entry = feed_entries.certificate(str(path), "superseded", DATES)
    seen = load_certificate(PKI.leaf.certificate)
    assert (entry.serial, entry.sha256) == (f"{seen.serial:x}", seen.sha256.hex())
    assert (entry.reason, entry.revoked) == ("superseded", START)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: feed_entries.publisher("Example Ltd", DATES),
        lambda folder: feed_entries.publisher("subject:" + "x" * 2000, DATES),
        lambda folder: feed_entries.file(str(folder / "absent"), DATES),
        lambda folder: feed_entries.digest("file", "sha256:00", DATES),
        lambda folder: feed_entries.digest("file", "md5:" + "00" * 16, DATES),
        lambda folder: feed_entries.digest("file", "zz", DATES),
        lambda folder: feed_entries.certificate(str(folder / "bad.pem"), "", DATES),
    ],
)
def test_what_names_nothing_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (tmp_path / "bad.pem").write_bytes(b"0\x03abc")
    with pytest.raises(EvidenceError):
        make(tmp_path)


# --- the command line ------------------------------------------------------------------------


def test_from_adding_to_refusing_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "data")
    monkeypatch.setenv("SIGNWARD_DATA", str(tmp_path / "data"))
    (tmp_path / "root.pem").write_bytes(PKI.root.pem)
    (tmp_path / "a.exe").write_bytes(signed_image())
    out, key = str(tmp_path / "feed.json"), str(tmp_path / "key.pem")

    def told(*words: str, code: int = 0) -> str:
        assert main(list(words)) == code
        return capsys.readouterr().out

    def verify(code: int) -> str:
        anchor = str(tmp_path / "root.pem")
        return told("verify", "--anchor", anchor, "--feed", out, "--feed-key", key,
                    str(tmp_path / "a.exe"), code=code)  # fmt: skip

    assert told("feed", "publish", "-o", out, "--key-out", key).startswith("version 1,")
    verify(0)
    added = told("feed", "add", "--file", str(tmp_path / "a.exe"), "--note", "bad build")
    told("feed", "publish", "-o", out)
    assert "digest-revoked" in verify(1)
    assert "bad build" in told("feed", "list")
    (row,) = json.loads(told("feed", "list", "--json"))
    assert added.startswith(row["id"][:16])
    shown = told("feed", "show", out, "--feed-key", key)
    assert "version 2" in shown
    assert "bad build" in shown
    assert json.loads(told("feed", "show", out, "--feed-key", key, "--json"))["version"] == 2
    told("feed", "remove", row["id"][:16])
    told("feed", "publish", "-o", out)
    verify(0)
    told("feed", "remove", "feed", code=2)


def test_a_locked_key_opens_with_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "feed.pem").write_bytes(locked)
    (tmp_path / "pass.txt").write_text("secret\n")
    words = ["feed", "publish", "--data", str(tmp_path)]
    assert main(words) == 2
    assert "password" in capsys.readouterr().err
    assert main([*words, "--pass-file", str(tmp_path / "pass.txt")]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--publisher", "subject:A/B"),
        ("--digest", "sha256:" + "00" * 32),
        ("--content", "sha1:" + "00" * 20, "--invalid-from", "2026-01-01"),
        ("--certificate", "LEAF", "--reason", "keyCompromise", "--revoked", "2026-02-01"),
    ],
)
def test_every_kind_can_be_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    prepare(tmp_path)
    (tmp_path / "leaf.pem").write_bytes(PKI.leaf.pem)
    given = [str(tmp_path / "leaf.pem") if word == "LEAF" else word for word in words]
    assert main(["feed", "add", "--data", str(tmp_path), *given]) == 0
    capsys.readouterr()
    assert main(["feed", "list", "--data", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["by"].startswith("local:")


def test_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "list", "--data", str(tmp_path / "none")]) == 2
    assert "signward.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag", ["--publisher", "--certificate", "--file", "--digest", "--content"]
)
def test_an_entry_about_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    prepare(tmp_path)
    assert main(["feed", "add", "--data", str(tmp_path), flag, ""]) == 2
    assert "required" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dates",
    [
        ("--revoked", "2199-01-01"),
        ("--invalid-from", "2199-01-01"),
        ("--revoked", "2026-01-01", "--invalid-from", "2026-02-01"),
    ],
)
def test_an_entry_that_would_not_count_yet_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dates: tuple[str, ...]
) -> None:
    prepare(tmp_path)
    words = ("feed", "add", "--data", str(tmp_path), "--publisher", "subject:A/B")
    assert main([*words, *dates]) == 2
    assert "required one " in capsys.readouterr().err
    assert main(["feed", "list", "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_feed_commands_do_is_told_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path / "data")

    def told(*words: str) -> Any:
        assert main(["feed", words[0], *words[1:], "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    data = ("--data", str(tmp_path / "data"))
    out, key = str(tmp_path / "feed.json"), str(tmp_path / "feed.pem")
    added = told("add", *data, "--publisher", "subject:A/B")
    assert len(added["id"]) == 64
    made = told("publish", *data, "-o", out, "--key-out", key)
    assert (made["version"], made["entries"]) == (1, 1)
    assert made["expires"] > made["issued"]
    assert told("remove", *data, added["id"][:8]) == {"id": added["id"]}


def test_a_version_that_cannot_be_written_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path / "data")
    words = ("feed", "publish", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "no" / "f"))
    assert main([*words]) == 2
    assert "a place that can be written" in capsys.readouterr().err
    assert main(["feed", "publish", "--data", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out.startswith("version 1,")
