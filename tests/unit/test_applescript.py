"""AppleScript: no format of it has a place for a signature, and whoever asks is told so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signward.formats import Peek
from signward.inventory.classify import KINDS, classify
from tests.builders.bundle import info, lay_out
from tests.desk import Desk
from tests.samples.macho import program

SCRIPTS = {
    "compiled.scpt": b"FasdUAS 1.101.10\x0e\x00\x00\x00\x04\x0f\xff",
    "source.applescript": b'display dialog "hello"\n',
    "run": b"#!/usr/bin/osascript\nreturn 1\n",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_told_by_content_or_name(name: str) -> None:
    data = SCRIPTS[name]
    kind = classify(Peek(name, data, data, len(data)))
    assert kind == "applescript"
    assert not KINDS[kind].signable


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_unsigned_and_the_way_out_is_told(desk: Desk, name: str) -> None:
    path = desk.file(name, SCRIPTS[name])
    assert desk.run("verify", "--explain", path) == 4
    assert "no place for a signature" in desk.out
    assert "--detached" in desk.out


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_signature_beside_it_counts(desk: Desk, name: str) -> None:
    path = desk.file(name, SCRIPTS[name])
    assert desk.sign("--detached", path) == 0
    words = ("verify", "--anchor", desk.folder / "root.pem", "--detached", f"{path}.p7s", path)
    assert desk.run(*words) == 0
    path.write_bytes(SCRIPTS[name] + b" ")
    assert desk.run(*words) == 1


def test_an_applet_is_a_bundle(desk: Desk, tmp_path: Path) -> None:
    """What Script Editor saves as an application: a small program, and the script as a resource."""
    script = "Contents/Resources/Scripts/main.scpt"
    files = {"Contents/Info.plist": info("applet", OSAAppletShowStartupScreen=False),
             "Contents/MacOS/applet": program(), script: SCRIPTS["compiled.scpt"]}  # fmt: skip
    applet = lay_out(tmp_path / "Script.app", files)
    assert desk.sign(applet) == 0
    desk.run("verify", "--json", "--anchor", desk.folder / "root.pem", applet)
    assert json.loads(desk.out)["outcome"] == "accepted"
    (applet / script).write_bytes(SCRIPTS["compiled.scpt"] + b"changed")
    assert desk.run("verify", "--anchor", desk.folder / "root.pem", applet) == 1
