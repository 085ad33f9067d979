"""The gate: what it moves, what it leaves, what it vouches for, and that nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.envelopes import dsse
from signward.errors import EvidenceError
from signward.keys import open_key
from signward.policy.summary import PREDICATE, Resource, read
from signward.state import Outcome
from signward.verbs.intake import delivery as delivering
from signward.verbs.intake import moving
from signward.verbs.intake.audit import Audited, State, audit
from signward.verbs.intake.delivery import Copied, Delivery, Left
from signward.verbs.intake.gate import Folders, Gate, Taken, folders
from signward.verbs.intake.judging import Judged
from signward.verbs.intake.moving import TakenError, move, move_aside
from signward.verbs.intake.receipts import Terms, kept, open_receipt, policy_resources, wanted
from signward.verbs.sealing import Sealer
from tests.builders.feeds import spki

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIGNER = key("p256", "gate")
KEYS = (spki(SIGNER),)


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    path = tmp_path / "gate.pem"
    path.write_bytes(
        SIGNER.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return Sealer(open_key(f"file:{path}", lambda _: None))


def terms(**changes: Any) -> Terms:
    policies = policy_resources([("vendors", 7)], [b"policy"])
    return Terms(**{"verifier": "urn:test:gate", "at": AT, "policies": policies, **changes})


def by_name(path: Path, name: str) -> Judged:
    """Let in what is called good, whatever it is; cannot tell what is called odd."""
    outcome = Outcome.ACCEPTED if "good" in name else Outcome.REJECTED
    if "odd" in name:
        outcome = Outcome.INDETERMINATE
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    return Judged(outcome=outcome, rule="by-name", why="its name")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "vendor" / "deep").mkdir(parents=True)
    (folder / "good.exe").write_bytes(b"good")
    (folder / "vendor" / "bad.exe").write_bytes(b"bad")
    (folder / "vendor" / "deep" / "good.dll").write_bytes(b"")
    (folder / "odd.bin").write_bytes(bytes(300_000))
    return folder


@pytest.fixture
def to(tmp_path: Path) -> Folders:
    return folders(str(tmp_path / "in"), str(tmp_path / "held"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.endswith(".lock")
    }


def taken(to: Folders, inbox: Path, sealer: Sealer | None, judge: Any = by_name) -> list[Taken]:
    return list(Gate(to, judge, terms(), sealer).take(str(inbox)))


def test_every_file_goes_where_it_belongs(inbox: Path, to: Folders, sealer: Sealer) -> None:
    found = {one.name: one for one in taken(to, inbox, sealer)}
    assert files(to.accept) == {"good.exe": b"good", "vendor/deep/good.dll": b""}
    assert files(to.quarantine) == {"odd.bin": bytes(300_000), "vendor/bad.exe": b"bad"}
    assert files(inbox) == {}
    assert inbox.is_dir()
    assert not (inbox / "vendor").exists()
    assert [found[name].accepted for name in sorted(found)] == [True, False, False, True]
    assert found["vendor/bad.exe"].place == str(to.quarantine / "vendor/bad.exe")
    assert not any(one.left for one in found.values())


def test_the_receipt_is_a_verification_summary(inbox: Path, to: Folders, sealer: Sealer) -> None:
    found = {one.name: one for one in taken(to, inbox, sealer)}
    receipt = Path(found["vendor/bad.exe"].receipt)
    assert receipt == to.quarantine_receipts / "vendor/bad.exe.intoto.jsonl"
    assert receipt.read_bytes().count(b"\n") == 1
    envelope = dsse.open_envelope(receipt.read_bytes())
    assert envelope.claimed_type == "application/vnd.in-toto+json"
    digest = hashlib.sha256(b"bad").hexdigest()
    assert json.loads(envelope.claimed_payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "vendor/bad.exe", "digest": {"sha256": digest}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "urn:test:gate"},
            "timeVerified": "2026-11-23T12:00:00Z",
            "resourceUri": f"pkg:generic/vendor/bad.exe?checksum=sha256:{digest}",
            "policy": {
                "uri": "urn:signward:policy:vendors:7",
                "digest": {"sha256": hashlib.sha256(b"policy").hexdigest()},
            },
            "verificationResult": "FAILED",
            "verifiedLevels": ["FAILED"],
            "slsaVersion": "1.0",
            "urn:signward:decision:1": {
                "outcome": "rejected",
                "rule": "by-name",
                "why": "its name",
            },
        },
    }
    good = open_receipt(Path(found["good.exe"].receipt), KEYS)
    assert good.passed
    assert good.predicate.verified_levels == ("SIGNWARD_POLICY_ACCEPTED",)


def test_what_nobody_can_tell_is_not_passed(inbox: Path, to: Folders, sealer: Sealer) -> None:
    found = {one.name: one for one in taken(to, inbox, sealer)}
    statement = open_receipt(Path(found["odd.bin"].receipt), KEYS)
    assert not statement.passed
    assert statement.predicate.reason is not None
    assert statement.predicate.reason.outcome == "indeterminate"


def test_a_resource_of_ones_own(inbox: Path, to: Folders, sealer: Sealer) -> None:
    (inbox / "good ü.exe").write_bytes(b"1")
    gate = Gate(to, by_name, terms(resource="https://files.example/in/"), sealer)
    found = {one.name: one for one in gate.take(str(inbox))}
    statement = open_receipt(Path(found["good ü.exe"].receipt), KEYS)
    assert statement.predicate.resource_uri == "https://files.example/in/good%20%C3%BC.exe"


def test_a_dry_run_changes_nothing(inbox: Path, to: Folders) -> None:
    before = files(inbox)
    found = taken(to, inbox, None)
    assert [one.accepted for one in found] == [True, False, False, True]
    assert files(inbox) == before
    assert not to.accept.exists()
    assert not to.quarantine.exists()


def test_a_single_file_is_a_delivery(inbox: Path, to: Folders, sealer: Sealer) -> None:
    (one,) = taken(to, inbox / "vendor" / "deep" / "good.dll", sealer)
    assert one.place == str(to.accept / "good.dll")
    assert (inbox / "vendor" / "deep").is_dir()


def test_another_file_of_that_name_stays_where_it_was_delivered(
    inbox: Path, to: Folders, sealer: Sealer
) -> None:
    taken(to, inbox, sealer)
    (inbox / "good.exe").write_bytes(b"good, but another")
    receipt = (to.accept_receipts / "good.exe.intoto.jsonl").read_bytes()
    (one,) = taken(to, inbox, sealer)
    assert "another file is there already" in one.left
    assert files(inbox) == {"good.exe": b"good, but another"}
    assert files(to.accept)["good.exe"] == b"good"
    assert (to.accept_receipts / "good.exe.intoto.jsonl").read_bytes() == receipt


def test_the_same_file_again_is_the_same_file(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    (inbox / "good.exe").write_bytes(b"good")
    (one,) = taken(to, inbox, sealer)
    assert (one.left, one.place) == ("", str(to.accept / "good.exe"))
    assert files(inbox) == {}


def test_quarantine_has_room_for_many_of_one_name(inbox: Path, to: Folders, sealer: Sealer) -> None:
    for number in range(3):
        (inbox / "bad").write_bytes(str(number).encode())
        taken(to, inbox, sealer)
    assert {n: d for n, d in files(to.quarantine).items() if n.startswith("bad")} == {
        "bad": b"0", "bad~1": b"1", "bad~2": b"2",
    }  # fmt: skip
    assert open_receipt(to.quarantine_receipts / "bad~2.intoto.jsonl", KEYS).speaks_of(
        hashlib.sha256(b"2").hexdigest()
    )


def test_links_and_special_files_are_not_followed(
    inbox: Path, to: Folders, sealer: Sealer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "good.key").write_bytes(b"secret")
    (inbox / "good-link").symlink_to(secret / "good.key")
    (inbox / "good-folder").symlink_to(secret)
    os.mkfifo(inbox / "good-fifo")
    left = {one.name: one.left for one in taken(to, inbox, sealer) if one.left}
    assert left == {
        "good-link": "a symbolic link", "good-folder": "a symbolic link",
        "good-fifo": "no regular file",
    }  # fmt: skip
    assert (secret / "good.key").read_bytes() == b"secret"
    assert b"secret" not in files(to.accept).values()


def test_a_folder_swapped_for_a_link_leads_nowhere(
    inbox: Path, to: Folders, sealer: Sealer, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "bad.exe"
    victim.write_bytes(b"bad")

    def swap(path: Path, name: str) -> Judged:
        if name == "vendor/bad.exe":
            (inbox / "vendor").rename(tmp_path / "aside")
            (inbox / "vendor").symlink_to(outside)
        return by_name(path, name)

    found = {one.name: one for one in taken(to, inbox, sealer, swap)}
    assert "its folder is gone, or another" in found["vendor/bad.exe"].left
    assert victim.read_bytes() == b"bad"


def test_a_file_that_grows_after_it_was_copied_stays(
    inbox: Path, to: Folders, sealer: Sealer
) -> None:
    def grow(path: Path, name: str) -> Judged:
        if name == "good.exe":
            with (inbox / "good.exe").open("ab") as file:
                file.write(b", more")
        return by_name(path, name)

    found = {one.name: one for one in taken(to, inbox, sealer, grow)}
    assert "it changed" in found["good.exe"].left
    assert (inbox / "good.exe").read_bytes() == b"good, more"
    assert (to.accept / "good.exe").read_bytes() == b"good"
    assert [p.name for p in inbox.iterdir()] == ["good.exe"]


def test_whoever_has_the_file_open_cannot_reach_what_was_accepted(
    inbox: Path, to: Folders, sealer: Sealer
) -> None:
    with (inbox / "good.exe").open("r+b") as file:
        taken(to, inbox, sealer)
        file.write(b"evil")
        file.flush()
    assert (to.accept / "good.exe").read_bytes() == b"good"


def test_modes_are_kept_but_for_what_gives_rights(inbox: Path, to: Folders, sealer: Sealer) -> None:
    (inbox / "good.exe").chmod(0o6777)
    os.utime(inbox / "good.exe", (1_700_000_000, 1_700_000_000))
    taken(to, inbox, sealer)
    status = (to.accept / "good.exe").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755, 1_700_000_000)


def test_names_that_are_the_gates_own_are_left(inbox: Path, to: Folders, sealer: Sealer) -> None:
    (inbox / ".signward-intake.lock").write_bytes(b"good")
    (inbox / ".signward-good").mkdir()
    (inbox / ".signward-good" / "x").write_bytes(b"")
    left = {one.name for one in taken(to, inbox, sealer) if one.left}
    assert left == {".signward-intake.lock", ".signward-good"}


def test_names_of_any_octets(inbox: Path, to: Folders, sealer: Sealer) -> None:
    name = os.fsdecode(b"good \xff\x1b[31m\n.exe")
    (inbox / name).write_bytes(b"odd name")
    found = [one for one in taken(to, inbox, sealer) if "xff" in one.name]
    assert [one.left for one in found] == [""]
    assert (to.accept / name).read_bytes() == b"odd name"
    assert {a.state for a in audit(to.accept, to.accept_receipts, KEYS)} == {State.UNCHANGED}


def test_a_stopped_run_is_gone_on_with(inbox: Path, to: Folders, sealer: Sealer) -> None:
    gate = Gate(to, by_name, terms(), sealer).take(str(inbox))
    next(gate)
    del gate
    old = to.accept / ".signward-intake-old"
    old.mkdir()
    (old / "x").write_bytes(b"")
    taken(to, inbox, sealer)
    assert files(inbox) == {}
    assert not old.exists()
    assert set(files(to.accept)) == {"good.exe", "vendor/deep/good.dll"}


@pytest.mark.parametrize("step", ["write", "move", "remove"])
def test_whatever_fails_every_file_is_somewhere(
    inbox: Path, to: Folders, sealer: Sealer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise EvidenceError("no more room")

    whole = set(files(inbox).values())
    target = {
        "write": "signward.verbs.intake.gate.write",
        "move": "signward.verbs.intake.gate.move",
    }
    if step == "remove":
        monkeypatch.setattr(Delivery, "remove", lambda *_: "it stays")
    else:
        monkeypatch.setattr(target[step], fail)
    found = taken(to, inbox, sealer)
    assert [bool(one.left) for one in found if one.accepted] == [True, True]
    everywhere = {
        *files(inbox).values(),
        *files(to.accept).values(),
        *files(to.quarantine).values(),
    }
    assert everywhere == whole
    if step == "write":
        assert files(to.accept) == {}


def test_two_gates_do_not_work_in_one_folder(inbox: Path, to: Folders, sealer: Sealer) -> None:
    first = Gate(to, by_name, terms(), sealer).take(str(inbox))
    next(first)
    with pytest.raises(EvidenceError, match="another intake is at work"):
        taken(to, inbox, sealer)
    first.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("accept", "quarantine", "path"),
    [("a", "a", "i"), ("a", "a/b", "i"), ("a/b", "a", "i"), ("i/a", "q", "i"), ("a", "q", "a"),
     ("a", "a.receipts", "i"), ("a", "q", "a/i")],
)  # fmt: skip
def test_folders_within_each_other_are_refused(
    tmp_path: Path, sealer: Sealer, accept: str, quarantine: str, path: str
) -> None:
    (tmp_path / path).mkdir(parents=True)
    with pytest.raises(EvidenceError, match="apart from each other"):
        taken(folders(str(tmp_path / accept), str(tmp_path / quarantine)), tmp_path / path, sealer)


def test_deliveries_that_are_none(tmp_path: Path, to: Folders, sealer: Sealer) -> None:
    with pytest.raises(EvidenceError, match="no such file"):
        taken(to, tmp_path / "none", sealer)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(EvidenceError, match="special file"):
        taken(to, tmp_path / "fifo", sealer)


def test_bounds(inbox: Path, to: Folders, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "MAX_DEPTH", 2)
    left = [one.name for one in taken(to, inbox, None) if "deeper" in one.left]
    assert left == ["vendor/deep"]
    monkeypatch.setattr(delivering, "MAX_FILES", 2)
    with pytest.raises(EvidenceError, match="more than 2 files"):
        taken(to, inbox, sealer)
    assert len(files(inbox)) == 4


def test_a_file_that_changes_while_it_is_copied_is_left(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = delivering._copy_octets

    def copy(*given: Any) -> str:
        made = real(*given)
        os.utime(inbox / "good.exe", (1, 1))
        return made

    monkeypatch.setattr(delivering, "_copy_octets", copy)
    staging = tmp_path / "staging"
    found = {one.parts: one for one in Delivery(str(inbox)).copied(staging)}
    assert found[("good.exe",)] == Left(("good.exe",), "a file that changed while it was read")
    assert not (staging / "good.exe").exists()
    assert isinstance(found[("odd.bin",)], Copied)


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP])
def test_moving_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"content")
    copy.chmod(0o755)
    calls = iter([failing(number)])
    real = os.link
    monkeypatch.setattr(os, "link", lambda *a, **k: next(calls, real)(*a, **k))  # noqa: PLW0108
    sha256 = hashlib.sha256(b"content").hexdigest()
    place = move(copy, tmp_path / "to", ("a", "b"), sha256)
    assert place.read_bytes() == b"content"
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert not copy.exists()
    assert [p.name for p in place.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
def test_moving_without_links_writes_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    copy, other = tmp_path / "copy", tmp_path / "to" / "b"
    copy.write_bytes(b"content")
    other.parent.mkdir()
    other.write_bytes(b"other")
    calls = iter([failing(number)])
    real = os.link
    monkeypatch.setattr(os, "link", lambda *a, **k: next(calls, real)(*a, **k))  # noqa: PLW0108
    with pytest.raises(TakenError):
        move(copy, tmp_path / "to", ("b",), "0" * 64)
    assert (other.read_bytes(), copy.read_bytes()) == (b"other", b"content")
    assert [p.name for p in other.parent.iterdir()] == ["b"]


def test_moving_across_file_systems(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    import tempfile

    with tempfile.TemporaryDirectory(dir=memory) as folder:
        copy = Path(folder) / "copy"
        copy.write_bytes(b"content")
        sha256 = hashlib.sha256(b"content").hexdigest()
        assert move(copy, tmp_path / "to", ("x",), sha256).read_bytes() == b"content"
        assert not copy.exists()


def test_a_file_where_a_folder_is_wanted(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"1")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a").write_bytes(b"file")
    sha256 = hashlib.sha256(b"1").hexdigest()
    for parts in (("a", "b"), ("a", "b", "c")):
        with pytest.raises(TakenError):
            move(copy, tmp_path / "to", parts, sha256)
    assert copy.exists()


def test_a_link_in_the_gates_folder_leads_nowhere(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"1")
    (tmp_path / "to").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvidenceError, match="leads out of the folder"):
        move(copy, tmp_path / "to", ("a", "b"), "")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_names_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "MOST_NAMES", 1)
    copy = tmp_path / "copy"
    copy.write_bytes(b"1")
    (tmp_path / "x").write_bytes(b"2")
    with pytest.raises(EvidenceError, match="no name is free"):
        move_aside(copy, tmp_path, ("x",), "0" * 64)


# Audit


def audited(to: Folders, keys: Any = KEYS) -> dict[str, State]:
    return {one.name: one.state for one in audit(to.accept, to.accept_receipts, keys)}


def test_what_was_accepted_is_unchanged(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    (first, _) = audit(to.accept, to.accept_receipts, KEYS)
    digest = hashlib.sha256(b"good").hexdigest()
    assert first == Audited(
        name="good.exe", state=State.UNCHANGED, found=digest, accepted=digest, verified=AT
    )


def test_every_later_change_is_noticed(inbox: Path, to: Folders, sealer: Sealer) -> None:
    for name in ("good1", "good2", "good3", "good4", "good5", "good6"):
        (inbox / name).write_bytes(name.encode())
    taken(to, inbox, sealer)
    (to.accept / "good1").write_bytes(b"good2")
    (to.accept / "good2").unlink()
    (to.accept / "good3").unlink()
    (to.accept / "good3").symlink_to(to.accept / "good4")
    (to.accept / "new").write_bytes(b"new")
    (to.accept / "folder").mkdir()
    (to.accept / "folder" / "link").symlink_to(inbox)
    receipts = to.accept_receipts
    (receipts / "good4.intoto.jsonl").write_bytes(b"{}")
    refused = (to.quarantine_receipts / "vendor/bad.exe.intoto.jsonl").read_bytes()
    (receipts / "good5.intoto.jsonl").write_bytes(refused)
    assert audited(to) == {
        "folder/link": State.WITHOUT, "good.exe": State.UNCHANGED, "good1": State.CHANGED,
        "good2": State.MISSING, "good3": State.UNREADABLE, "good4": State.BROKEN,
        "good5": State.REFUSED, "good6": State.UNCHANGED, "new": State.WITHOUT,
        "vendor/deep/good.dll": State.UNCHANGED,
    }  # fmt: skip


def test_a_receipt_of_another_file_is_none(inbox: Path, to: Folders, sealer: Sealer) -> None:
    (inbox / "good2").write_bytes(b"2")
    taken(to, inbox, sealer)
    (to.accept / "good2").write_bytes(b"good")
    receipts = to.accept_receipts
    other = (receipts / "good.exe.intoto.jsonl").read_bytes()
    (receipts / "good2.intoto.jsonl").write_bytes(other)
    assert audited(to)["good2"] is State.REFUSED


def test_another_key_vouches_for_nothing(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    other = (spki(key("p256", "another gate")),)
    assert set(audited(to, other).values()) == {State.BROKEN}


def test_receipts_are_found_by_verifier_and_file(inbox: Path, to: Folders, sealer: Sealer) -> None:
    taken(to, inbox, sealer)
    digest = hashlib.sha256(b"good").hexdigest()
    found = [one.name for one in wanted(to.accept_receipts, KEYS, "urn:test:gate", digest)]
    assert found == ["good.exe"]
    assert list(wanted(to.accept_receipts, KEYS, "urn:test:other", digest)) == []
    assert len(list(kept(to.accept_receipts, KEYS))) == 2


# Statements


STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"digest": {"sha256": "00"}}],
    "predicateType": PREDICATE,
    "predicate": {
        "verifier": {"id": "https://example.com/v", "version": {"x": "1"}},
        "timeVerified": "1985-04-12T23:20:50.52Z",
        "resourceUri": "https://example.com/example-1.2.3.tar.gz",
        "policy": {"uri": "https://example.com/p", "digest": {"sha256": "1234"}, "other": 1},
        "inputAttestations": [{"uri": "https://example.com/a", "digest": {"sha256": "abcd"}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
        "dependencyLevels": {"SLSA_BUILD_LEVEL_3": 5},
        "slsaVersion": "1.0",
    },
}


def test_the_summary_of_the_specifications_example_is_read() -> None:
    statement = read("x", json.dumps(STATEMENT).encode())
    assert statement.passed
    assert statement.predicate.policy == Resource(
        uri="https://example.com/p", digest={"sha256": "1234"}
    )
    assert statement.speaks_of("00")
    assert not statement.speaks_of("")


def test_a_summary_that_says_both_did_not_pass() -> None:
    changed = json.loads(json.dumps(STATEMENT))
    changed["predicate"]["verifiedLevels"] = ["FAILED"]
    assert not read("x", json.dumps(changed).encode()).passed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "https://slsa.dev/provenance/v1"),
        (("subject",), []),
        (("subject",), [{"digest": {"sha256": 1}}]),
        (("predicate", "verificationResult"), "passed"),
        (("predicate", "timeVerified"), "1985-04-12T23:20:50"),
        (("predicate", "timeVerified"), "now"),
        (("predicate", "verifier"), "x"),
        (("predicate", "verifiedLevels"), None),
    ],
)
def test_what_is_no_summary(place: tuple[str, ...], value: object) -> None:
    changed = json.loads(json.dumps(STATEMENT))
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(EvidenceError):
        read("x", json.dumps(changed).encode())


def test_a_receipt_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.intoto.jsonl"
    path.write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(EvidenceError, match="more than"):
        open_receipt(path, KEYS)
