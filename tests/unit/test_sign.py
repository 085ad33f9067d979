"""Signing from the command line: what is said, what is written, what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_SERVER_AUTH, instant, issue
from conformance.authenticode.pki import pem as as_pem
from conformance.authenticode.script import FAMILIES

from signward.errors import KeyProviderError
from signward.keys import RotatedError
from signward.keys.file import PROVIDER
from signward.verbs import stamping
from signward.verbs.sign import Signatory, SignOptions
from tests.builders import tsa
from tests.builders.web import Reply, Request, Server
from tests.desk import Desk, untouched, write_key
from tests.signing import authority, identity


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamping, "PAUSE_SECONDS", 0.0)
    monkeypatch.delenv("SIGNWARD_PASSWORD", raising=False)


def test_files_of_every_kind_in_one_call(desk: Desk) -> None:
    scripts = [desk.file(f"s.{e}", f.sample.encode()) for e, f in FAMILIES.items()]
    assert desk.sign(desk.exe, *scripts) == 0
    assert "12 files: 12 signed" in desk.err or "11 files: 11 signed" in desk.err
    assert set(desk.verify(desk.exe, *scripts).split(",")) == {"accepted"}
    assert desk.leftovers == []


def test_mode_and_times_are_kept(desk: Desk) -> None:
    desk.exe.chmod(0o750)
    os.utime(desk.exe, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    assert desk.sign(desk.exe) == 0
    status = desk.exe.stat()
    assert stat.S_IMODE(status.st_mode) == 0o750
    assert status.st_mtime_ns == 1_500_000_000_987_654_321


def test_a_symbolic_link_stays_one(desk: Desk) -> None:
    link = desk.folder / "link.exe"
    link.symlink_to("setup.exe")
    assert desk.sign(link) == 0
    assert link.is_symlink()
    assert desk.verify(desk.exe) == "accepted"


def test_out_leaves_the_file_alone(desk: Desk) -> None:
    before = desk.exe.read_bytes()
    assert desk.sign(desk.exe, "--out", desk.folder / "signed") == 0
    assert desk.exe.read_bytes() == before
    assert desk.verify(desk.folder / "signed" / "setup.exe") == "accepted"


def test_two_files_never_become_one(desk: Desk) -> None:
    (desk.folder / "a").mkdir()
    other = desk.file("a/setup.exe", pe.image(plus=False))
    assert desk.sign(desk.exe, other, "--out", desk.folder / "signed") == 1
    assert "a second file of that output" in desk.err


def test_dry_run_writes_nothing(desk: Desk) -> None:
    before = desk.exe.read_bytes()
    assert desk.sign("--dry-run", desk.exe, "--out", desk.folder / "signed") == 0
    assert "PLANNED" in desk.out
    assert desk.exe.read_bytes() == before
    assert not (desk.folder / "signed").exists()


def test_one_failure_does_not_lose_the_others(desk: Desk) -> None:
    broken = desk.file("broken.exe", pe.image()[:200])
    text = desk.file("note.txt", b"nothing to sign")
    assert desk.sign("--json", broken, desk.exe, text, desk.folder / "absent.exe") == 1
    outcomes = {Path(r["path"]).name: r for r in map(json.loads, desk.out.splitlines())}
    assert [r["outcome"] for r in outcomes.values()] == ["failed", "signed", "failed", "failed"]
    assert "--detached" in outcomes["note.txt"]["hint"]
    assert "no such file" in outcomes["absent.exe"]["problem"]
    assert desk.verify(desk.exe) == "accepted"
    assert broken.read_bytes() == pe.image()[:200]


def test_many_files_in_their_order(desk: Desk) -> None:
    files = [desk.file(f"{number}.exe", pe.image()) for number in range(40)]
    assert desk.sign("--json", *files) == 0
    assert [json.loads(line)["path"] for line in desk.out.splitlines()] == list(map(str, files))


# --- what is wrong is said, and the file left as it was ---------------------------


def test_a_wrong_password(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = write_key(desk.folder / "locked.pem", identity(), password=b"correct horse")
    (desk.folder / "pass").write_text("wrong donkey\n")
    said = untouched(desk, "--pass-file", desk.folder / "pass", key=locked, code=2)
    assert "a password that does not open it" in said
    assert "wrong donkey" not in said
    (desk.folder / "pass").write_text("correct horse\n")
    assert desk.sign("--pass-file", desk.folder / "pass", desk.exe, key=locked) == 0


def test_no_password(desk: Desk) -> None:
    locked = write_key(desk.folder / "locked.pem", identity(), password=b"x")
    assert "an encrypted key and no password" in untouched(desk, key=locked, code=2)


def test_a_certificate_that_does_not_match(desk: Desk) -> None:
    bare = write_key(desk.folder / "bare.pem", identity(), certificate=False)
    other = desk.file("other.pem", as_pem(identity(name="Somebody Else", kind="p256").certificate))
    assert "the certificate does not match the key" in untouched(
        desk, "--cert", other, key=bare, code=2
    )
    assert "give it, and its issuers, with --cert" in untouched(desk, key=bare, code=2)


def test_an_expired_certificate(desk: Desk) -> None:
    old = issue("Old", issuer=authority(), subject_key=key("rsa2048", "old"),
                not_before=instant(2020), not_after=instant(2021))  # fmt: skip
    said = untouched(desk, key=write_key(desk.folder / "old.pem", old))
    assert "validity 2020-01-01 to 2021-01-01" in said
    assert "has expired" in said


def test_a_certificate_for_something_else(desk: Desk) -> None:
    tls = issue("TLS", issuer=authority(), subject_key=key("rsa2048", "tls"),
                ekus=(EKU_SERVER_AUTH,))  # fmt: skip
    assert "code signing" in untouched(desk, key=write_key(desk.folder / "tls.pem", tls))
    wrong = issue("Usage", issuer=authority(), subject_key=key("rsa2048", "usage"),
                  usage=("keyEncipherment",))  # fmt: skip
    assert "key usage keyEncipherment" in untouched(
        desk, key=write_key(desk.folder / "usage.pem", wrong)
    )


def test_no_authority_that_answers(desk: Desk, server: Server) -> None:
    server.routes["/busy"] = lambda _request: Reply(b"no", 503)
    said = untouched(desk, "--timestamp", "http://127.0.0.1:1/", "--timestamp", server.url("/busy"))
    assert "Connection refused" in said
    assert "status 503" in said
    assert len(server.requests) == stamping.ROUNDS


@pytest.mark.parametrize("url", ["ftp://tsa.example/", "tsa.example", "http://a b/", "http://h:x/"])
def test_an_authority_that_nobody_could_ask_is_refused_at_once(
    desk: Desk, server: Server, url: str
) -> None:
    said = untouched(desk, "--timestamp", server.url("/tsa"), "--timestamp", url, code=2)
    assert "required an http or https URL" in said
    assert desk.run("timestamp", "--timestamp", url, desk.exe) == 2
    assert server.requests == []


def test_a_token_of_a_later_second_than_the_run_began_is_accepted(
    desk: Desk, server: Server
) -> None:
    def slow(request: Request) -> Reply:
        time.sleep(1.1)  # tokens tell whole seconds
        return tsa.answering()(request)

    server.routes["/slow"] = slow
    root = desk.folder / "root.pem"
    stamped = ("--timestamp", server.url("/slow"), "--require-accepted", "--anchor", root)
    assert desk.sign(*stamped, desk.exe) == 0
    assert desk.verify(desk.exe) == "accepted"


def test_a_read_only_file(desk: Desk) -> None:
    desk.exe.chmod(0o444)
    assert "a read-only file" in untouched(desk)
    assert desk.sign(desk.exe, "--out", desk.folder / "signed") == 0


def test_a_full_disk(desk: Desk, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["-o", "size=128k", "tmpfs", str(disk)]
    subprocess.run(["mount", "-t", "tmpfs", *size], check=True)
    try:
        desk.exe = disk / "setup.exe"
        desk.exe.write_bytes(pe.image(overlay=bytes(80_000)))
        assert "no space left on device" in untouched(desk)
        assert [p.name for p in disk.iterdir()] == ["setup.exe"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_result_that_must_be_accepted(desk: Desk) -> None:
    assert "certificate of its issuer" in untouched(desk, "--require-accepted")
    root = desk.folder / "root.pem"
    assert desk.sign("--require-accepted", "--anchor", root, desk.exe) == 0
    assert "warning" not in desk.err


def test_a_path_nobody_knows_is_a_warning(desk: Desk) -> None:
    other = desk.file("other.exe", pe.image(plus=False))
    assert desk.sign(desk.exe, other) == 0
    assert desk.err.count("warning:") == 1


def test_a_signature_that_is_there(desk: Desk) -> None:
    assert desk.sign(desk.exe) == 0
    assert "--replace puts the new signature" in untouched(desk)
    assert desk.sign("--nested", desk.exe) == 0
    assert desk.verify(desk.exe) == "accepted"
    assert desk.sign("--replace", desk.exe) == 0


def test_an_unknown_scheme_or_option(desk: Desk) -> None:
    assert "one of" in untouched(desk, key="card:1", code=2)
    assert "required NAME=VALUE" in untouched(desk, "--option", "colour=red", code=2)


def test_a_file_that_changes_meanwhile_is_not_overwritten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatory = Signatory(SignOptions(key=desk.key))
    check = signatory._assessor.check

    def and_change(*arguments: object) -> list[str]:
        desk.exe.write_bytes(b"somebody else's work")
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(signatory._assessor, "check", and_change)
    with signatory:
        result = signatory.sign(str(desk.exe))
    assert result.failed
    assert "changed while it was signed" in result.problem
    assert desk.exe.read_bytes() == b"somebody else's work"
    assert desk.leftovers == []


def test_killed_at_any_moment_leaves_the_old_file_or_the_new(desk: Desk) -> None:
    data = pe.image(overlay=bytes(3_000_000))
    signed = desk.file("whole.exe", data)
    assert desk.sign(signed) == 0
    for number in range(12):
        desk.exe.write_bytes(data)
        process = subprocess.Popen(
            [sys.executable, "-m", "signward", "sign", "--key", desk.key, desk.exe],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.1 + number * 0.04)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert desk.exe.read_bytes() in (data, signed.read_bytes())


# --- timestamps ------------------------------------------------------------------


def proven(desk: Desk, path: Path) -> datetime | None:
    desk.run("verify", "--json", "--anchor", desk.folder / "root.pem", path)
    record = json.loads(desk.out)
    assert record["outcome"] == "accepted"
    time_ = record["signatures"][record["judged"]]["proven_time"]
    return datetime.fromisoformat(time_["instant"]) if time_ else None


def test_a_timestamp_proves_when(desk: Desk, server: Server) -> None:
    server.routes["/tsa"] = tsa.answering()
    assert desk.sign("--timestamp", server.url("/tsa"), desk.exe) == 0
    instant_ = proven(desk, desk.exe)
    assert instant_ is not None
    assert abs(instant_ - datetime.now(UTC)) < timedelta(minutes=1)
    asked = server.asked("/tsa")[0]
    assert {k.lower(): v for k, v in asked.headers.items()}["content-type"] == (
        "application/timestamp-query"
    )


DEFECTS: dict[str, dict[str, Any]] = {
    "another-nonce": {"nonce": 1},
    "no-nonce": {"nonce": None},
    "another-imprint": {"imprint": bytes(32)},
    "bad-value": {"break_value": True},
    "long-ago": {"at": datetime(2025, 6, 1, tzinfo=UTC)},
    "refused": {"status": 2, "text": "come back tomorrow"},
    "not-a-tsa": {"who": "signer"},
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_bad_token_is_not_embedded_and_the_next_authority_asked(
    desk: Desk, server: Server, defect: str
) -> None:
    fields = dict(DEFECTS[defect])
    if fields.pop("who", ""):
        fields["who"] = identity()
    server.routes["/bad"] = tsa.answering(**fields)
    server.routes["/good"] = tsa.answering()
    said = untouched(desk, "--timestamp", server.url("/bad"))
    assert "a token from one of the authorities" in said
    words = ("--timestamp", server.url("/bad"), "--timestamp", server.url("/good"))
    assert desk.sign(*words, desk.exe) == 0
    assert proven(desk, desk.exe) is not None
    assert len(server.asked("/good")) == 1


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\x30\x03\x02\x01\x05", b"\x30" * 5000])
def test_an_answer_that_is_none(desk: Desk, server: Server, answer: bytes) -> None:
    url = server.serve("/tsa", answer)
    assert "a token from one of the authorities" in untouched(desk, "--timestamp", url)


def test_timestamping_afterwards(desk: Desk, server: Server) -> None:
    server.routes["/tsa"] = tsa.answering()
    words = ("timestamp", "--timestamp", server.url("/tsa"))
    assert desk.run(*words, desk.exe) == 1
    assert "sign the file first" in desk.err
    desk.sign(desk.exe)
    desk.sign("--nested", desk.exe)
    assert desk.run(*words, desk.exe) == 0
    assert proven(desk, desk.exe) is not None
    assert len(server.asked("/tsa")) == 2
    assert desk.run(*words, desk.exe) == 1
    assert "--again" in desk.err
    assert desk.run(*words, "--again", desk.exe) == 0
    script = desk.file("s.ps1", b"Get-Date\r\n")
    desk.sign(script)
    assert desk.run(*words, script) == 0
    assert proven(desk, script) is not None


# --- strip and catalog -----------------------------------------------------------


def test_strip_gives_back_what_was_signed(desk: Desk) -> None:
    before = desk.exe.read_bytes()
    assert desk.run("strip", desk.exe) == 1
    assert "no signature" in desk.err
    desk.sign(desk.exe)
    desk.sign("--nested", desk.exe)
    assert desk.run("strip", desk.exe) == 0
    assert desk.exe.read_bytes() == before
    assert desk.verify(desk.exe) == "unsigned"


def test_a_catalog_vouches_once_it_is_signed(desk: Desk) -> None:
    text, catalog = desk.file("read.me", b"hello"), desk.folder / "all.cat"
    at = ("--at", "2026-01-01")
    assert desk.run("catalog", desk.exe, text, "-o", catalog, *at) == 0
    first = catalog.read_bytes()
    assert desk.verify(catalog) == "unsigned"
    assert desk.run("catalog", desk.exe, "-o", catalog) == 1
    assert "a file of that name" in desk.err
    catalog.unlink()
    assert desk.run("catalog", desk.exe, text, "-o", catalog, *at) == 0
    assert catalog.read_bytes() == first
    assert desk.sign(catalog) == 0
    words = ("verify", "--anchor", desk.folder / "root.pem", "--catalog", catalog)
    assert desk.run(*words, desk.exe, text) == 0
    text.write_bytes(b"hallo")
    assert desk.run(*words, text) == 4


def test_a_catalog_of_a_folder_or_of_nothing(desk: Desk) -> None:
    folder = desk.folder / "tree" / "deep"
    folder.mkdir(parents=True)
    assert desk.run("catalog", desk.folder / "tree", "-o", desk.folder / "x.cat") == 1
    assert "no file to list" in desk.err
    (folder / "a.txt").write_text("a")
    assert desk.run("catalog", desk.folder / "tree", "-o", desk.folder / "x.cat") == 0
    assert "1 files listed" in desk.out
    assert desk.run("catalog", desk.folder / "absent", "-o", desk.folder / "y.cat") == 1


# --- a leaf that rotates ---------------------------------------------------------


class Rotating:
    """A key whose service issues another leaf after every few signatures."""

    parallel = 4
    in_memory = False

    def __init__(self, folder: Path) -> None:
        names = ("Leaf One", "Leaf Two", "Leaf Three")
        leaves = [identity(kind, name) for kind, name in zip(
            ("rsa2048", "p256", "rsa3072"), names, strict=True)]  # fmt: skip
        self._keys = [
            PROVIDER.open(
                write_key(folder / f"{n}.pem", leaf).removeprefix("file:"), lambda _: None
            )
            for n, leaf in enumerate(leaves)
        ]
        self._open, self.count = 0, 0
        self._lock = threading.Lock()

    @property
    def _current(self) -> int:
        return min(self.count // 5, len(self._keys) - 1)

    @property
    def public_key(self) -> bytes:
        return self._keys[self._open].public_key

    @property
    def certificates(self) -> tuple[bytes, ...]:
        return self._keys[self._open].certificates

    def sign(self, data: bytes, algorithm: object) -> bytes:
        with self._lock:
            if self._current != self._open:
                raise RotatedError("service", "another leaf", "the one opened")
            self.count += 1
            return self._keys[self._open].sign(data, algorithm)  # type: ignore[arg-type]

    def refresh(self) -> None:
        with self._lock:
            self._open = self._current

    def close(self) -> None:
        pass


def test_a_leaf_that_rotates_in_the_middle_loses_no_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Rotating(desk.folder)
    monkeypatch.setattr("signward.verbs.sign.open_key", lambda _uri, _secrets: service)
    files = [desk.file(f"{number}.exe", pe.image()) for number in range(20)]
    assert desk.sign(*files, key="cloud:x") == 0, desk.err
    assert set(desk.verify(*files).split(",")) == {"accepted"}
    signers = {json.loads(line)["publisher"]["subject"] for line in desk.out.splitlines()}
    assert len(signers) == 3


def test_a_signature_that_does_not_fit_is_never_used(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Rotating(desk.folder)
    monkeypatch.setattr(service, "sign", lambda _data, _algorithm: bytes(256))
    monkeypatch.setattr("signward.verbs.sign.open_key", lambda _uri, _secrets: service)
    assert "a signature that does not fit" in untouched(desk, key="cloud:x")


def test_a_key_that_fails_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Rotating(desk.folder)

    def refuse(_data: bytes, _algorithm: object) -> bytes:
        raise KeyProviderError("token", "a locked PIN", "one that is not", "unlock it")

    monkeypatch.setattr(service, "sign", refuse)
    monkeypatch.setattr("signward.verbs.sign.open_key", lambda _uri, _secrets: service)
    assert "token: found a locked PIN" in untouched(desk, key="cloud:x")


def test_copies_are_whole_after_sign(desk: Desk) -> None:
    copy = desk.folder / "copy.exe"
    shutil.copy(desk.exe, copy)
    assert desk.sign(desk.exe) == 0
    assert desk.sign(copy) == 0
    assert desk.exe.read_bytes() == copy.read_bytes()


# --- containers, inside out ------------------------------------------------------


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10))
            info.external_attr = 0o100755 << 16
            archive.writestr(info, data)
    return path


def test_deep_signs_what_a_zip_holds(desk: Desk) -> None:
    vendor = desk.file("vendor.exe", pe.image(plus=False))
    desk.sign(vendor)
    inner = zipped(desk.folder / "inner.zip", {"deep.dll": pe.image()}).read_bytes()
    members = {
        "a/setup.exe": pe.image(), "vendor.exe": vendor.read_bytes(), "read.me": b"text",
        "page.js": b"alert(1)", "s.ps1": b"Get-Date\r\n", "inner.zip": inner,
    }  # fmt: skip
    outer = zipped(desk.folder / "outer.zip", members)
    assert desk.sign("--deep", "--json", outer) == 0
    result = json.loads(desk.out)
    assert result["members"] == ["a/setup.exe", "s.ps1", "inner.zip!deep.dll"]
    with zipfile.ZipFile(outer) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(members)
        for name in ("vendor.exe", "read.me", "page.js"):
            assert archive.read(name) == members[name]
        info = archive.getinfo("a/setup.exe")
        assert (info.date_time, info.external_attr >> 16) == ((2024, 5, 6, 7, 8, 10), 0o100755)
        archive.extractall(desk.folder / "x")
    assert desk.verify(desk.folder / "x" / "a" / "setup.exe") == "accepted"
    with zipfile.ZipFile(desk.folder / "x" / "inner.zip") as archive:
        archive.extract("deep.dll", desk.folder / "x")
    assert desk.verify(desk.folder / "x" / "deep.dll") == "accepted"


def test_deep_fails_whole(desk: Desk) -> None:
    broken = zipped(desk.folder / "b.zip", {"a.exe": pe.image(), "b.exe": pe.image()[:300]})
    before = broken.read_bytes()
    assert desk.sign("--deep", broken) == 1
    assert broken.read_bytes() == before
    text = zipped(desk.folder / "t.zip", {"read.me": b"text"})
    assert desk.sign("--deep", text) == 1
    assert "ZIP archive" in desk.err


def test_deep_knows_its_limits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pe.image()
    for depth in range(7):
        data = zipped(desk.folder / f"{depth}.zip", {f"in{depth}": data}).read_bytes()
    assert desk.sign("--deep", desk.folder / "6.zip") == 1
    assert "containers nested deeper" in desk.err
    assert desk.sign("--deep", desk.folder / "2.zip") == 0
    monkeypatch.setattr("signward.verbs.deep.MAX_HELD", 1000)
    assert desk.sign("--deep", desk.folder / "3.zip") == 1
    assert "more bytes to hold" in desk.err


# --- detached --------------------------------------------------------------------


def test_any_file_is_signed_beside_itself(desk: Desk, server: Server) -> None:
    server.routes["/tsa"] = tsa.answering()
    image = desk.file("firmware.bin", bytes(range(256)) * 50)
    beside, before = desk.folder / "firmware.bin.p7s", image.read_bytes()
    assert desk.sign("--detached", "--timestamp", server.url("/tsa"), image) == 0
    assert image.read_bytes() == before
    assert stat.S_IMODE(beside.stat().st_mode) == stat.S_IMODE(image.stat().st_mode)
    words = ("verify", "--anchor", desk.folder / "root.pem", "--json", "--detached", beside)
    assert desk.run(*words, image) == 0
    record = json.loads(desk.out)
    assert record["signatures"][0]["proven_time"] is not None
    assert desk.sign("--detached", image) == 1
    assert "--replace writes it anew" in desk.err
    assert desk.sign("--detached", "--nested", image) == 1
    assert desk.sign("--detached", "--replace", image) == 0
    image.write_bytes(before[:-1])
    assert desk.run(*words, image) == 1


def test_a_detached_signature_elsewhere(desk: Desk) -> None:
    out = desk.folder / "signatures"
    assert desk.sign("--detached", "--dry-run", desk.exe, "--out", out) == 0
    assert not out.exists()
    assert desk.sign("--detached", desk.exe, "--out", out) == 0
    assert [p.name for p in out.iterdir()] == ["setup.exe.p7s"]
    assert desk.verify(desk.exe) == "unsigned"
    desk.exe.chmod(0o444)
    assert desk.sign("--detached", desk.exe) == 0
    root = desk.folder / "root.pem"
    assert desk.sign("--detached", "--replace", "--require-accepted", desk.exe) == 1
    words = ("--detached", "--replace", "--require-accepted", "--anchor", root)
    assert desk.sign(*words, desk.exe) == 0
