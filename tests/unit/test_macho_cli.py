"""Mach-O at the command line: signed, shown, timestamped afterwards, stripped."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders import tsa
from tests.builders.web import Server
from tests.desk import Desk, untouched
from tests.samples.macho import ENTITLEMENTS, fat, program

UNIVERSAL = fat((("x86_64", program()), ("arm64", program("arm64"))))


def test_entitlements_are_read_from_the_file_that_is_named(desk: Desk) -> None:
    tool, asked = desk.file("tool", program()), desk.file("own.plist", ENTITLEMENTS)
    words = ("--option", f"entitlements={asked}", "--option", "identifier=org.example.tool")
    assert desk.sign(*words, tool) == 0, desk.err
    assert desk.verify(tool) == "accepted"
    assert desk.run("show", tool) in (0, 1)
    assert "org.example.tool" in desk.out
    assert "com.apple.security.app-sandbox" in desk.out
    assert 'designated => identifier "org.example.tool" and certificate leaf = H"' in desk.out


def test_a_file_that_is_named_must_be_there_and_text(desk: Desk) -> None:
    said = untouched(desk, "--option", "entitlements=/nowhere/own.plist", code=2)
    assert "/nowhere/own.plist" in said
    octets = desk.file("octets", b"\xff\xfe")
    assert "a file of text" in untouched(desk, "--option", f"entitlements={octets}", code=2)
    assert "NAME of" in untouched(desk, "--option", "entitlement=x", code=2)


def test_options_that_cannot_be_met_leave_the_file_alone(desk: Desk) -> None:
    tool = desk.file("tool", program())
    broken = desk.file("own.plist", b"<plist")
    assert desk.sign("--option", f"entitlements={broken}", tool) == 1
    assert "property list" in desk.err
    assert desk.sign("--option", "requirements=anchor banana", tool) == 1
    assert tool.read_bytes() == program()


def _proven(desk: Desk, path: Path) -> list[bool]:
    desk.run("verify", "--json", "--anchor", desk.folder / "root.pem", path)
    record = json.loads(desk.out)
    assert record["outcome"] == "accepted", desk.out
    return [bool(one["proven_time"]) for one in record["signatures"]]


def test_every_slice_is_timestamped_then_or_afterwards(desk: Desk, server: Server) -> None:
    server.routes["/tsa"] = tsa.answering()
    url = server.url("/tsa")
    then, after = desk.file("then", UNIVERSAL), desk.file("after", UNIVERSAL)
    assert desk.sign("--timestamp", url, then) == 0, desk.err
    assert desk.sign(after) == 0
    size = after.stat().st_size
    assert desk.run("timestamp", "--timestamp", url, after) == 0, desk.err
    assert after.stat().st_size == size == then.stat().st_size
    assert len(server.asked("/tsa")) == 4
    assert _proven(desk, then) == _proven(desk, after) == [True, True]


def test_tokens_beyond_the_room_are_refused(desk: Desk, server: Server) -> None:
    server.routes["/tsa"] = tsa.answering()
    tool = desk.file("tool", program())
    assert desk.sign(tool) == 0
    words = ("timestamp", "--timestamp", server.url("/tsa"), "--again", tool)
    for _ in range(12):
        before = tool.read_bytes()
        if desk.run(*words):
            break
    assert "sign anew with the timestamp" in desk.err
    assert tool.read_bytes() == before
    assert desk.verify(tool) == "accepted"


def test_stripped_files_are_as_they_were(desk: Desk) -> None:
    tool = desk.file("tool", UNIVERSAL)
    assert desk.sign(tool) == 0
    assert desk.run("strip", tool) == 0, desk.err
    assert tool.read_bytes() == UNIVERSAL
    assert desk.verify(tool) == "unsigned"
