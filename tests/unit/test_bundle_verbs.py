"""Bundles from the command line: what is written, what is left alone, whatever happens."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from signward.formats._bundle_code import open_code
from signward.formats._macho_sign import read_rooms
from signward.verbs import folders
from signward.wire.source import BytesSource
from signward.wire.superblob import CMS_SLOT, DIRECTORY_SLOT, read_superblob, write_superblob
from tests.builders.bundle import application, framework, info, lay_out, told
from tests.builders.web import Server
from tests.desk import Desk, write_key
from tests.samples.macho import program
from tests.signing import identity, sign_bytes


@pytest.fixture
def app(desk: Desk) -> Path:
    return lay_out(desk.folder / "App.app", application())


def _verified(desk: Desk, path: Path) -> dict[str, Any]:
    desk.run("verify", "--json", "--anchor", desk.folder / "root.pem", path)
    found: dict[str, Any] = json.loads(desk.out)
    return found


def _left(desk: Desk) -> set[str]:
    return {path.name for path in desk.folder.iterdir()}


def test_a_bundle_is_signed_in_place(desk: Desk, app: Path) -> None:
    before = _left(desk)
    (app / "Contents/MacOS/App").chmod(0o755)
    os.utime(app / "Contents/Resources/a.txt", ns=(10**18, 10**18))
    assert desk.sign("--json", app) == 0
    said = json.loads(desk.out)
    assert (said["outcome"], said["format"], said["output"]) == ("signed", "bundle", str(app))
    inside = ("Frameworks/Kit.framework", "PlugIns/Plug.bundle", "MacOS/helper")
    assert said["members"] == [f"Contents/{path}" for path in inside]
    assert _verified(desk, app)["outcome"] == "accepted"
    assert (app / "Contents/MacOS/App").stat().st_mode & 0o777 == 0o755
    assert (app / "Contents/Resources/a.txt").stat().st_mtime_ns == 10**18
    assert _left(desk) == before


def test_a_slash_at_the_end_means_the_same(desk: Desk, app: Path) -> None:
    assert desk.sign(f"{app}/") == 0
    assert _verified(desk, Path(f"{app}/"))["outcome"] == "accepted"


def test_a_link_to_a_bundle_stays_one(desk: Desk, app: Path) -> None:
    link = desk.folder / "Link.app"
    link.symlink_to("App.app")
    assert desk.sign(link) == 0
    assert link.is_symlink()
    assert _verified(desk, app)["outcome"] == "accepted"


def test_out_leaves_the_bundle_alone(desk: Desk, app: Path) -> None:
    before = told(app)
    assert desk.sign(app, "--out", desk.folder / "signed") == 0
    assert told(app) == before
    signed = desk.folder / "signed" / "App.app"
    assert _verified(desk, signed)["outcome"] == "accepted"
    assert not (signed / "Contents/Resources/a.txt").samefile(app / "Contents/Resources/a.txt")


def test_other_names_of_its_files_keep_their_content(desk: Desk, app: Path) -> None:
    other = desk.folder / "other"
    other.hardlink_to(app / "Contents/MacOS/App")
    before = other.read_bytes()
    assert desk.sign(app) == 0
    assert other.read_bytes() == before


def test_a_dry_run_writes_nothing(desk: Desk, app: Path) -> None:
    before, names = told(app), _left(desk)
    assert desk.sign("--dry-run", app) == 0
    assert "PLANNED" in desk.out
    assert (told(app), _left(desk)) == (before, names)


def test_a_second_signature_needs_a_word(desk: Desk, app: Path) -> None:
    assert desk.sign(app) == 0
    once = told(app)
    assert desk.sign(app) == 1
    assert "--replace" in desk.out + desk.err
    assert told(app) == once
    assert desk.sign("--replace", app) == 0
    assert _verified(desk, app)["outcome"] == "accepted"
    assert desk.sign("--nested", app) == 1


def test_nested_code_keeps_the_signature_it_has(desk: Desk, app: Path) -> None:
    theirs = sign_bytes("helper", program(), who=identity("p256", "Somebody Else"))
    (app / "Contents/MacOS/helper").write_bytes(theirs)
    assert desk.sign("--json", app) == 0
    assert "Contents/MacOS/helper" not in json.loads(desk.out)["members"]
    assert (app / "Contents/MacOS/helper").read_bytes() == theirs
    assert _verified(desk, app)["outcome"] == "accepted"
    assert desk.sign("--replace", app) == 0
    assert (app / "Contents/MacOS/helper").read_bytes() != theirs


def _ad_hoc(data: bytes) -> bytes:
    """Return a program with the digests of a signature of ours, and nobody's name."""
    signed = sign_bytes("helper", data)
    (room,) = read_rooms(BytesSource("helper", signed))
    blobs = dict(read_superblob(room, "helper"))
    del blobs[CMS_SLOT]
    directory = bytearray(blobs[DIRECTORY_SLOT])
    directory[15] |= 2  # CS_ADHOC, in the flags
    blobs[DIRECTORY_SLOT] = bytes(directory)
    return signed.replace(room, write_superblob(blobs).ljust(len(room), b"\0"))


def test_nested_code_that_nobody_signed_is_signed(desk: Desk, app: Path) -> None:
    (app / "Contents/MacOS/helper").write_bytes(_ad_hoc(program()))
    assert desk.run("verify", app / "Contents/MacOS/helper") == 4
    assert "ad-hoc" in desk.out
    assert desk.sign(app) == 0
    assert _verified(desk, app)["outcome"] == "accepted"
    assert _verified(desk, app / "Contents/MacOS/helper")["outcome"] == "accepted"


def test_the_very_code_that_a_list_names_needs_no_signer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As codesign seals ad hoc code: by its hash, which the signed list gives."""
    files = {"Contents/Info.plist": info("App"), "Contents/MacOS/App": program(),
             "Contents/MacOS/helper": _ad_hoc(program())}  # fmt: skip
    app = lay_out(desk.folder / "App.app", files)
    monkeypatch.setattr("signward.verbs.sign_bundle.is_signed", lambda _source: True)
    assert desk.sign(app) == 0
    assert (app / "Contents/MacOS/helper").read_bytes() == files["Contents/MacOS/helper"]
    assert _verified(desk, app)["outcome"] == "accepted"
    (app / "Contents/MacOS/helper").write_bytes(_ad_hoc(program(symbols=80)))
    assert _verified(desk, app)["outcome"] == "rejected"


def test_what_speaks_of_one_program_is_asked_of_the_main_one_only(desk: Desk, app: Path) -> None:
    asks = desk.file("asks.plist", plistlib.dumps({"org.example.right": True}))
    options = ["--option", f"entitlements={asks}", "--option", "identifier=org.example.chosen",
               "--option", "runtime=13.0.0"]  # fmt: skip
    assert desk.sign(*options, app) == 0
    assert _verified(desk, app)["outcome"] == "accepted"
    main = open_code(BytesSource("App", (app / "Contents/MacOS/App").read_bytes()), {}).artifact
    helper = open_code(BytesSource("h", (app / "Contents/MacOS/helper").read_bytes()), {}).artifact
    assert main.facts["identifier"] == "org.example.chosen"
    assert main.layout.code[0].signature.entitlements
    assert helper.facts["identifier"] == "helper"
    assert not helper.layout.code[0].signature.entitlements
    assert "runtime" in str(main.facts["flags"])
    assert "runtime" in str(helper.facts["flags"])


def test_stripping_leaves_what_was_signed(desk: Desk) -> None:
    plain = {"Contents/Info.plist": info("App"), "Contents/MacOS/App": program(),
             "Contents/Resources/a": b"a"}  # fmt: skip
    app = lay_out(desk.folder / "App.app", plain)
    assert desk.sign(app) == 0
    (app / "Contents/CodeResources").write_bytes(b"s8ch, a ticket")
    assert desk.run("strip", app) == 0
    assert told(app) == plain
    assert desk.run("strip", app) == 1
    assert "no signature" in desk.out + desk.err


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("Contents/Resources/out", "/etc/passwd", "a link to"),
        ("Contents/Frameworks/odd.folder/a", b"x", "a bundle"),
        ("Contents/MacOS/App", b"text", "Mach-O"),
    ],
)
def test_what_no_signature_could_cover_is_refused(
    desk: Desk, path: str, content: bytes | str, said: str
) -> None:
    app = lay_out(desk.folder / "App.app", {**application(), path: content})
    before = told(app)
    assert desk.sign(app) == 1
    assert said in desk.out + desk.err
    assert told(app) == before
    assert not [name for name in _left(desk) if name.startswith(".signward")]


def test_nothing_is_written_where_links_lead(desk: Desk, app: Path) -> None:
    outside = desk.folder / "outside"
    outside.mkdir()
    (outside / "CodeResources").write_bytes(b"somebody's file")
    (app / "Contents/_CodeSignature").symlink_to(outside)
    before = told(app)
    assert desk.sign(app) == 1
    assert "a link" in desk.err
    assert told(app) == before
    desk.run("strip", app)
    assert told(outside) == {"CodeResources": b"somebody's file"}


def test_a_pipe_is_not_waited_for(desk: Desk, app: Path) -> None:
    os.mkfifo(app / "Contents/Resources/pipe")
    assert desk.sign(app) == 1
    assert "neither a file" in desk.out + desk.err


def test_what_changes_meanwhile_is_not_lost(
    desk: Desk, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = folders.check_same

    def late(path: str, before: folders.Snapshot) -> None:
        (app / "Contents/Resources/late.txt").write_bytes(b"written while it was signed")
        check(path, before)

    monkeypatch.setattr("signward.verbs.sign.check_same", late)
    assert desk.sign(app) == 1
    assert "changed while it was signed" in desk.out + desk.err
    assert (app / "Contents/Resources/late.txt").is_file()


def test_file_systems_without_an_exchange_do_too(
    desk: Desk, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_exchange", lambda _one, _other: False)
    before = _left(desk)
    assert desk.sign(app) == 0
    assert _verified(desk, app)["outcome"] == "accepted"
    assert _left(desk) == before


@pytest.mark.parametrize("failing", [1, 2])
def test_an_interrupt_between_two_renames_loses_nothing(
    desk: Desk, app: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    before, rename, left = told(app), os.rename, [failing]

    def interrupted(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(folders, "_exchange", lambda _one, _other: False)
    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folders.put_in_place(_copy_of(app), str(app))
    assert told(app) == before


def _copy_of(app: Path) -> str:
    return str(shutil.copytree(app, app.parent / "copy" / app.name, symlinks=True))


def test_the_old_folder_never_waits_where_its_copy_is_removed(
    desk: Desk, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing could be put back: both folders must be left, wherever they are."""
    before, rename, left = told(app), os.rename, [1]

    def failing(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(folders, "_exchange", lambda _one, _other: False)
    monkeypatch.setattr(os, "rename", failing)
    assert desk.sign(app) == 1
    (kept,) = (path for path in desk.folder.glob(".*/App.app") if path.is_dir())
    assert told(kept) == before


def test_an_exchange_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="No such file"):
        folders._exchange(str(tmp_path / "a"), str(tmp_path / "b"))


_KILLED = """
import os, sys
from signward.verbs import folders
names = {"link": (os, "link"), "replace": (os, "replace"), "exchange": (folders, "_exchange"),
         "rmtree": (folders.shutil, "rmtree")}
place, name = names[sys.argv[1]]
real, left = getattr(place, name), [int(sys.argv[2])]
def dying(*a, **k):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    return real(*a, **k)
setattr(place, name, dying)
from signward.cli.commands import run
run(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("call", "after"),
    [("link", 0), ("link", 5), ("replace", 0), ("replace", 3), ("exchange", 0), ("rmtree", 0)],
)
def test_a_kill_at_any_moment_leaves_a_whole_bundle(
    desk: Desk, app: Path, call: str, after: int
) -> None:
    before = told(app)
    words = ["sign", "--key", desk.key, str(app)]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, call, str(after), *words], check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    if told(app) != before:
        assert _verified(desk, app)["outcome"] == "accepted"
    assert desk.sign("--replace", app) == 0
    assert _verified(desk, app)["outcome"] == "accepted"


def test_a_scan_has_one_record_of_each_bundle(desk: Desk, app: Path) -> None:
    assert desk.sign(app) == 0
    (desk.folder / "odd.bundle" / "Resources").mkdir(parents=True)
    (app / "Contents/Resources/a.txt").write_bytes(b"changed")
    for _ in range(2):  # the second time from the cache, which holds no bundles
        desk.run("scan", "--format", "jsonl", "--anchor", desk.folder / "root.pem",
                 "--cache", desk.folder / "cache.sqlite", desk.folder)  # fmt: skip
        records = {
            r["subject"]: r for r in map(json.loads, desk.out.splitlines()) if "subject" in r
        }
        bundles = {Path(s).name: r["outcome"] for s, r in records.items() if r["kind"] == "bundle"}
        assert bundles == {
            "App.app": "rejected", "Kit.framework": "accepted", "Plug.bundle": "accepted",
        }  # fmt: skip
        assert records[str(app / "Contents/MacOS/helper")]["outcome"] == "accepted"


def test_show_tells_what_a_bundle_holds(desk: Desk, app: Path) -> None:
    assert desk.sign(app) == 0
    assert desk.run("show", "--json", "--anchor", desk.folder / "root.pem", app) == 0
    text = desk.out
    assert "Contents/Frameworks/Kit.framework" in text
    assert "libSystem" in text
    assert desk.run("show", desk.folder) == 3


def test_many_bundles_in_one_call(desk: Desk) -> None:
    paths = [lay_out(desk.folder / f"Kit{n}.framework", framework(f"Kit{n}")) for n in range(6)]
    assert desk.sign("--json", *paths, desk.exe) == 0
    assert [json.loads(line)["outcome"] for line in desk.out.splitlines()] == ["signed"] * 7
    assert {_verified(desk, path)["outcome"] for path in paths} == {"accepted"}


def test_a_timestamp_is_added_to_the_bundles_signature(
    desk: Desk, app: Path, server: Server
) -> None:
    assert desk.sign(app) == 0
    before = told(app)
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), app) == 0
    after = told(app)
    assert {path for path in after if after[path] != before[path]} == {"Contents/MacOS/App"}
    said = _verified(desk, app)
    assert said["outcome"] == "accepted"
    assert any(one["timestamps"] for one in said["signatures"])
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), "--out", desk.folder, app) == 1


def test_another_certificates_bundle_is_not_trusted(desk: Desk, app: Path) -> None:
    assert desk.sign(app) == 0
    other = desk.folder / "other.pem"
    write_key(other, identity("p256", "Somebody Else"))
    code = desk.run("verify", "--anchor", other, app)
    assert code == 1
