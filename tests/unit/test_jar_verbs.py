"""JARs on the command line: signed, stamped, signed again, shown, scanned, stripped."""

from __future__ import annotations

import json

import pytest

from signward.formats import ParseOptions
from signward.formats.jar import FORMAT
from signward.wire.source import BytesSource
from tests.builders import jars
from tests.builders.jars import archive, changed, members_of
from tests.builders.web import Server
from tests.desk import Desk, write_key
from tests.signing import identity


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519"])
def test_a_jar_from_signing_to_stripping(desk: Desk, server: Server, kind: str) -> None:
    key = write_key(desk.folder / "second.pem", identity(kind, f"JAR Publisher {kind}"))
    path = desk.file("a.jar", archive())
    assert desk.verify(path) == "unsigned"
    assert desk.sign(path, key=key) == 0
    assert desk.verify(path) == "accepted"
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), path) == 0
    assert desk.verify(path) == "accepted"
    (only,) = FORMAT.parse(BytesSource("a", path.read_bytes()), ParseOptions()).signatures
    assert [stamp.kind for stamp in only.timestamps] == ["rfc3161"]
    assert not [finding for stamp in only.timestamps for finding in stamp.findings]
    assert desk.sign(path) == 1
    assert desk.sign("--nested", "--timestamp", server.url("/tsa"), path) == 0
    assert desk.verify(path) == "accepted"
    assert len(FORMAT.envelopes(BytesSource("a", path.read_bytes()))) == 2
    assert desk.run("strip", path) == 0
    assert members_of(path.read_bytes()) == dict(jars.MEMBERS)


def test_a_jar_is_shown_and_said_to_be_incomplete(desk: Desk) -> None:
    path = desk.file("a.jar", archive())
    assert desk.sign("--option", "signature-file=MINE", path) == 0
    path.write_bytes(changed(path.read_bytes(), {"evil.class": b"x"}))
    assert desk.verify(path) == "slot-missing"
    desk.run("verify", "--explain", "--anchor", desk.folder / "root.pem", path)
    assert "no digest of evil.class" in desk.out
    desk.run("show", "--json", "--anchor", desk.folder / "root.pem", path)
    assert json.loads(desk.out)["format"] == "jar"


def test_a_scan_judges_jars_and_what_is_in_them(desk: Desk) -> None:
    inner = desk.file("inner.jar", archive())
    assert desk.sign(inner) == 0
    desk.file("outer.war", archive({"WEB-INF/lib/inner.jar": inner.read_bytes()}))
    root = desk.folder / "root.pem"
    desk.run("scan", "--no-cache", "--format", "jsonl", "--anchor", root, desk.folder)
    found = [json.loads(line) for line in desk.out.splitlines()]
    told = {
        record["subject"].rpartition("/")[2] if "!/" not in record["subject"] else "inside":
        record.get("cause") or record["outcome"]
        for record in found if record.get("kind") == "jar"
    }  # fmt: skip
    assert told == {"inner.jar": "accepted", "outer.war": "unsigned", "inside": "accepted"}
