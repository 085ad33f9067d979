"""``signward log`` as its users meet it: in a data folder, and over HTTP, honest or not."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from signward.authority.log.checkpoint import draft
from signward.authority.log.entry import Kind, encode
from signward.authority.log.proof import open_receipt, read_receipt
from signward.authority.log.tree import Frontier, leaf_hash
from signward.cli.commands import run
from signward.errors import EvidenceError, LimitError
from signward.trust.x509 import load_certificate
from signward.verbs.authority.log_reading import MAX_KEY_FILE, read_bounded, watched_texts
from signward.verbs.authority.transparency import Transparency
from tests import signing
from tests.builders import images, logs, web


class Log(NamedTuple):
    """A log in a folder, served at ``url``; the key that checks it in a file."""

    folder: Path
    url: str
    key: Path
    public: Transparency


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    folder = logs.make_folder(tmp_path / "data")
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 300)
        public = Transparency(realm)
        key = tmp_path / "log.key"
        key.write_text(public.verifier.text + "\n")
        with logs.published(public) as url:
            yield Log(folder, url, key, public)


@pytest.fixture(params=["folder", "url"])
def where(request: pytest.FixtureRequest, log: Log) -> list[str]:
    """Return the arguments that name the log: once its folder, once its URL."""
    if request.param == "folder":
        return ["--data", str(log.folder)]
    return ["--url", log.url, "--log-key", str(log.key)]


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Said:
    def said(*words: object) -> tuple[int, str, str]:
        try:
            code = run(["log", *map(str, words)])
        except SystemExit as ended:  # argparse's own
            code = int(str(ended.code))
        return (code, *capsys.readouterr())

    return said


def test_key(log: Log, say: Said) -> None:
    assert say("key", "--data", log.folder) == (0, log.key.read_text(), "")


def test_checkpoint(log: Log, where: list[str], say: Said) -> None:
    code, out, _ = say("checkpoint", *where)
    assert code == 0
    assert out.encode() == log.public.checkpoint()
    assert out.startswith(f"{logs.ORIGIN}\n300\n")


def test_prove_and_verify(log: Log, where: list[str], say: Said, tmp_path: Path) -> None:
    receipt = tmp_path / "r.tlog-proof"
    assert say("prove", *where, "--index", 257, "-o", receipt) == (0, "", "")
    assert open_receipt(receipt.read_bytes(), log.public.policy).index == 257
    code, out, _ = say("prove", *where, "--index", 257)
    assert (code, out.encode()) == (0, receipt.read_bytes())
    code, out, _ = say("verify", receipt, "--log-key", log.key)
    assert code == 0
    first, second = out.splitlines()
    assert first == f"{receipt}: entry 257 of {logs.ORIGIN}, proven in a tree of 300"
    assert second.encode() == logs.entries(257, 1)[0]
    code, out, err = say("prove", *where, "--index", 300)
    assert (code, out) == (2, "")
    assert "entry 300: found a log of 300" in err


def test_verify_with_the_entry_beside_it(log: Log, say: Said, tmp_path: Path) -> None:
    receipt, entry = tmp_path / "r", tmp_path / "e"
    made = read_receipt(log.public.receipt(3, log.public.entry(3)))
    receipt.write_bytes(made.text.replace(b"extra ", b"extra ", 1))
    entry.write_bytes(logs.entries(3, 1)[0])
    assert say("verify", receipt, "--entry", entry, "--data", log.folder)[0] == 0
    entry.write_bytes(logs.entries(4, 1)[0])
    code, _, err = say("verify", receipt, "--entry", entry, "--data", log.folder)
    assert code == 1
    assert "leads elsewhere" in err


def test_verify_says_whether_a_receipt_speaks_of_a_file(
    log: Log, say: Said, tmp_path: Path
) -> None:
    signed = signing.sign_bytes("a.exe", images.image())
    file = tmp_path / "a.exe"
    file.write_bytes(signed)
    (claimed,) = _claimed(signed)
    told = {
        "whole": f"sha256:{hashlib.sha256(signed).hexdigest()}",
        "signed": f"sha256:{hashlib.sha256(claimed.to_be_verified).hexdigest()}",
        "value": f"sha256:{hashlib.sha256(claimed.value).hexdigest()}",
        "else": f"sha256:{hashlib.sha256(b'').hexdigest()}",
    }
    for name, digest in told.items():
        entry = encode(Kind.SIGNED, {"digest": digest}, logs.AT)
        first = log.public.store.append(entry).result(30).first
        receipt = tmp_path / name
        receipt.write_bytes(log.public.receipt(first, entry))
        code, _, err = say("verify", receipt, file, "--log-key", log.key)
        assert code == (1 if name == "else" else 0), err
    assert "speaks of something else" in err


def _claimed(data: bytes) -> Any:
    from signward.verbs.show import parsed
    from signward.wire.source import BytesSource

    artifact = parsed(BytesSource("a.exe", data))
    assert artifact is not None
    return artifact.signatures


def test_monitor_follows_from_day_to_day(
    log: Log, where: list[str], say: Said, tmp_path: Path
) -> None:
    state = tmp_path / "seen"
    told = ["monitor", *where, "--state", state, "--watch", "a007"]
    code, out, _ = say(*told)
    assert code == 0
    first, last = out.splitlines()
    assert first.startswith("7: 2026-11-23T12:00:00Z revoked ")
    assert last.startswith(f"{logs.ORIGIN}: 300 entries, 300 of them new; 1 told;")
    assert state.read_bytes() == log.public.checkpoint()
    assert "0 of them new; 0 told" in say(*told)[1]
    logs.fill(log.public, 0, 9)  # the same again: revoked twice is told twice
    code, out, _ = say(*told)
    assert (code, out.partition(":")[0]) == (0, "307")
    assert "309 entries, 9 of them new; 1 told" in out
    assert state.read_bytes() == log.public.checkpoint()


class _Full(io.StringIO):
    """A standard output on a disk without room."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_could_not_be_told_is_told_again(
    log: Log, say: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["monitor", "--data", log.folder, "--state", tmp_path / "s", "--watch", "a007"]
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", _Full())
        assert run(["log", *map(str, words)]) == 2
        sys.stdout.close()  # the null device that took its place
    assert not (tmp_path / "s").exists()
    assert say(*words)[1].startswith("7: ")


def test_monitor_tells_of_certificates_and_of_everything(
    log: Log, say: Said, tmp_path: Path
) -> None:
    who = signing.identity()
    certificate = load_certificate(who.certificate)
    pem = tmp_path / "release.pem"
    pem.write_bytes(who.pem)
    entries = [
        encode(Kind.ISSUED, {"certificate": hashlib.sha256(who.certificate).hexdigest()}, logs.AT),
        encode(Kind.SIGNED, {"spki": hashlib.sha256(certificate.spki).hexdigest()}, logs.AT),
        encode(Kind.REVOKED, {"serial": f"{certificate.serial:x}"}, logs.AT),
        encode(Kind.SIGNED, {"certificate": "00" * 32}, logs.AT),
    ]
    log.public.store.append(*entries).result(30)
    words = ["monitor", "--url", log.url, "--log-key", log.key, "--state", tmp_path / "s"]
    code, out, _ = say(*words, "--certificate", pem)
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()[:-1]] == ["300", "301", "302"]
    (tmp_path / "s").unlink()
    assert len(say(*words, "--all")[1].splitlines()) == 305
    assert watched_texts([], []) == frozenset()


def test_more_than_can_be_told_is_no_fault_of_the_log(
    log: Log, say: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.authority.log.monitor.MAX_SIGHTINGS", 50)
    words = ["monitor", "--data", log.folder, "--state", tmp_path / "s"]
    code, out, err = say(*words, "--all")
    assert (code, out) == (2, "")
    assert "more than 50 entries to tell" in err
    assert say(*words)[0] == 0


def test_monitor_notices_a_rollback(log: Log, say: Said, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    words = ["monitor", "--log-key", log.key, "--state", state, "--url"]
    old = log.public.checkpoint()
    logs.fill(log.public, 300, 9)
    assert say(*words, log.url)[0] == 0
    kept = state.read_bytes()
    with logs.published(log.public, [lambda p, d: old if p == "checkpoint" else d]) as url:
        code, out, err = say(*words, url)
    assert (code, out) == (1, "")
    assert "found 300 entries, required 309 or more" in err
    assert state.read_bytes() == kept


def test_monitor_notices_a_fork(log: Log, say: Said, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    words = ["monitor", "--log-key", log.key, "--state", state, "--url"]
    assert say(*words, log.url)[0] == 0
    kept = state.read_bytes()
    with logs.opened(logs.make_folder(tmp_path / "other")) as realm:
        logs.fill(realm, 1, 400)
        with logs.published(Transparency(realm)) as url:
            code, _, err = say(*words, url)
    assert code == 1
    assert "a log that only grows" in err
    assert state.read_bytes() == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, d: d.replace(b"\n300\n", b"\n299\n"), "a value that does not fit"),
        (lambda p, d: d[:-1] + b"\0" if p.startswith("tile/0") else d, "another root"),
        (lambda p, d: d[:-1] + b"\0" if p.startswith("tile/ent") else d, "another root"),
        (lambda p, d: d[:-1], "required"),
        (lambda p, d: b"", "required"),
        (lambda p, d: d + bytes(20_000_000) if p.startswith("tile/ent") else d, "at most"),
    ],
)
def test_monitor_notices_lies(
    log: Log, say: Said, tmp_path: Path, change: logs.Change, said: str
) -> None:
    state = tmp_path / "seen"
    with logs.published(log.public, [change]) as url:
        code, out, err = say("monitor", "--url", url, "--log-key", log.key, "--state", state)
    assert code in (1, 3)
    assert out == ""
    assert said in err
    assert not state.exists()


def test_monitor_does_not_believe_another_key(log: Log, say: Said, tmp_path: Path) -> None:
    other = logs.make_folder(tmp_path / "other", seed=b"o" * 32)
    with logs.opened(other) as realm:
        key = Transparency(realm).verifier.text
    code, _, err = say("monitor", "--url", log.url, "--log-key", key, "--state", tmp_path / "s")
    assert code == 1
    assert f"required one of {key}" in err


def test_monitor_reports_foreign_entries(log: Log, say: Said, tmp_path: Path) -> None:
    log.public.store.append(b"\x1b[2Jnot ours").result(30)
    words = ["monitor", "--data", log.folder, "--state", tmp_path / "s"]
    code, out, _ = say(*words)
    assert code == 0
    assert out.startswith("300: an entry that cannot be read: log entry: found ")
    assert "1 of the new entries are in another form" in out
    assert "\x1b" not in out


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(log: Log, say: Said) -> None:
    """A log may drop partial tiles once full ones are there (c2sp.org/tlog-tiles)."""
    note = log.public.checkpoint()
    logs.fill(log.public, 300, 300)
    gone: list[str] = []

    def answer(request: web.Request) -> web.Reply:
        from signward.authority.log.tiles import read_path

        path = request.path.removeprefix("/log/")
        if path == "checkpoint":
            return web.Reply(note)
        if path in ("tile/0/001.p/44", "tile/entries/001.p/44"):
            gone.append(path)
            return web.Reply(status=404)
        data = log.public.tile(read_path(path))
        return web.Reply(data) if data else web.Reply(status=404)

    with web.running() as server:
        server.routes["/log"] = answer
        url = server.url("/log")
        code, out, err = say("prove", "--url", url, "--log-key", log.key, "--index", 290)
    assert code == 0, err
    assert open_receipt(out.encode(), log.public.policy).signed.checkpoint.size == 300
    assert sorted(gone) == ["tile/0/001.p/44", "tile/entries/001.p/44"]


def test_a_log_that_is_not_there(log: Log, say: Said, tmp_path: Path) -> None:
    with web.running() as server:
        url = server.url("/nothing")
        code, _, err = say("checkpoint", "--url", url, "--log-key", log.key)
    assert (code, "status 404" in err) == (3, True)
    code, _, err = say("checkpoint", "--data", tmp_path / "absent")
    assert (code, "signward.toml" in err) == (2, True)


def test_a_loss_is_accepted_from_the_command_line(log: Log, say: Said) -> None:
    code, _, err = say("checkpoint", "--data", log.folder, "--accept-loss", "none")
    assert (code, "a loss to accept" in err) == (2, True)
    edge = Frontier().extended([leaf_hash(b"%d" % i) for i in range(400)])
    unsigned = draft(edge, log.public.verifier)
    value = log.public._key.sign(unsigned.to_be_signed, unsigned.algorithm)
    log.public.path.write_bytes(unsigned.seal(value))
    code, _, err = say("checkpoint", "--data", log.folder)
    assert (code, "the 400 that were published" in err) == (1, True)
    code, out, _ = say("checkpoint", "--data", log.folder, "--accept-loss", "a bad day")
    assert (code, out.split("\n")[1]) == (0, "301")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prove"], "--index"),
        (["verify"], "FILE"),
        (["verify", "a", "b", "c"], "unrecognized arguments: c"),
        ([], "ACTION"),
        (["monitor"], "--state"),
        (["checkpoint", "--url", "http://127.0.0.1:9/"], "--log-key"),
        (["checkpoint", "--url", "http://127.0.0.1:9/", "--log-key", "absent"], "absent"),
        (["verify", "absent"], "absent"),
        (["checkpoint", "--quorum", "1"], "--quorum"),
        (["monitor", "--state", "s", "--certificate", "absent"], "absent"),
    ],
)
def test_mistakes_are_told(log: Log, say: Said, words: list[str], said: str) -> None:
    if words and "--url" not in words:
        words = [*words, "--data", str(log.folder)]
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_witness_is_asked_for(log: Log, say: Said) -> None:
    witness = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    code, _, err = say("checkpoint", "--data", log.folder, "--witness", witness)
    assert (code, "0 witnesses that are known, required 1" in err) == (1, True)
    code, _, _ = say("checkpoint", "--data", log.folder, "--witness", witness, "--quorum", 0)
    assert code == 0


def test_small_files_have_bounds(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x" * (MAX_KEY_FILE + 1))
    with pytest.raises(LimitError):
        read_bounded(path, MAX_KEY_FILE)
    with pytest.raises(EvidenceError, match="no such name"):
        read_bounded(Path("a\0b"), MAX_KEY_FILE)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Kind.SIGN_REQUEST, "digest"),
        (Kind.SIGN_FAILED, "digest"),
        (Kind.ABANDONED, "digest"),
        (Kind.SIGNED, "file"),
        (Kind.SIGNED, "content"),
        (Kind.SIGNED, "by"),
    ],
)
def test_a_receipt_of_a_wish_or_of_a_name_is_none_for_the_file(
    log: Log, say: Said, tmp_path: Path, kind: Kind, field: str
) -> None:
    """Whoever asks for a signature chooses what ``file`` and ``content`` say."""
    file, receipt = tmp_path / "evil.exe", tmp_path / "r"
    file.write_bytes(b"evil")
    digest = f"sha256:{hashlib.sha256(b'evil').hexdigest()}"
    entry = encode(kind, {"digest": "sha256:00", field: digest}, logs.AT)
    receipt.write_bytes(log.public.receipt(log.public.store.append(entry).result(30).first, entry))
    code, out, err = say("verify", receipt, file, "--log-key", log.key)
    assert (code, out) == (1, "")
    assert "required" in err


@pytest.mark.parametrize("index", [-1, 300, 10**30])
def test_an_entry_that_is_not_there_is_no_fault_of_the_log(log: Log, say: Said, index: int) -> None:
    code, out, err = say("prove", "--data", log.folder, "--index", index)
    assert (code, out) == (2, "")
    assert "required 0 to 299" in err


def test_a_state_that_is_no_checkpoint_is_told_by_its_name(
    log: Log, say: Said, tmp_path: Path
) -> None:
    state = tmp_path / "seen"
    state.write_text("somebody's shopping list\n")
    code, out, err = say("monitor", "--data", log.folder, "--state", state)
    assert (code, out) == (2, "")
    assert str(state) in err
    assert state.read_text() == "somebody's shopping list\n"


def test_a_state_that_could_not_be_kept_is_told_before_the_log_is_read(
    log: Log, say: Said, tmp_path: Path
) -> None:
    code, out, err = say("monitor", "--data", log.folder, "--state", tmp_path / "none" / "seen")
    assert (code, out) == (2, "")
    assert "a place that can be written" in err


def test_what_is_found_is_told_as_json(log: Log, say: Said, tmp_path: Path) -> None:
    receipt = tmp_path / "r"
    assert say("prove", "--data", log.folder, "--index", 3, "-o", receipt)[0] == 0
    code, out, _ = say("verify", receipt, "--data", log.folder, "--json")
    told = json.loads(out)
    assert (code, told["index"], told["size"], told["origin"]) == (0, 3, 300, logs.ORIGIN)
    assert told["entry"] == logs.entries(3, 1)[0].decode()
    words = ["monitor", "--data", log.folder, "--state", tmp_path / "seen", "--json"]
    code, out, _ = say(*words, "--all")
    told = json.loads(out)
    assert (code, told["size"], told["new"], len(told["entries"])) == (0, 300, 300, 300)
    assert told["entries"][7]["index"] == 7
    assert json.loads(say(*words)[1])["new"] == 0
    code, out, _ = say("checkpoint", "--data", log.folder, "--json")
    told = json.loads(out)
    assert (code, told["size"], told["origin"]) == (0, 300, logs.ORIGIN)
    assert told["note"].startswith(logs.ORIGIN)
