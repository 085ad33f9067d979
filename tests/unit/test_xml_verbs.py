"""ClickOnce manifests and VSIX packages on the command line: signed, stamped, shown, stripped."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest

from signward.formats import ParseOptions
from signward.formats.clickonce import FORMAT as CLICKONCE
from signward.formats.vsix import FORMAT as VSIX
from signward.wire.source import BytesSource
from tests.builders.clickonce import application
from tests.builders.vsix import members, related
from tests.builders.web import Server
from tests.desk import Desk, write_key
from tests.signing import identity


def test_a_clickonce_manifest_from_signing_to_stripping(desk: Desk, server: Server) -> None:
    unsigned = application(b"MZ", {})
    program, path = desk.file("App.exe", b"MZ"), desk.file("App.exe.manifest", unsigned)
    assert desk.verify(path) == "unsigned"
    assert desk.sign(path) == 0
    assert desk.verify(path) == "accepted"
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), path) == 0
    assert desk.verify(path) == "accepted"
    source = BytesSource("a", path.read_bytes())
    outer, inner = CLICKONCE.parse(source, ParseOptions()).signatures
    assert [stamp.kind for stamp in inner.timestamps] == ["rfc3161"]
    assert outer.timestamps == inner.timestamps
    parts = desk.folder / "parts"
    desk.run("show", "--json", "--anchor", desk.folder / "root.pem", "--extract", parts, path)
    assert {part.suffix for part in parts.iterdir()} == {".xml", ".pem"}
    shown = json.loads(desk.out)
    assert shown["facts"]["assembly"] == "App.exe"
    program.write_bytes(b"MZ newer")
    assert desk.verify(path) == "digest-mismatch"
    assert desk.sign("--replace", path) == 1
    assert "update=yes" in desk.out + desk.err
    assert desk.sign("--replace", "--option", "update=yes", path) == 0
    assert desk.verify(path) == "accepted"
    program.unlink()
    assert desk.verify(path) == "companion-missing"
    assert desk.run("strip", path) == 0
    assert b"<Signature" not in path.read_bytes()


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_a_vsix_package_from_signing_to_stripping(desk: Desk, server: Server, kind: str) -> None:
    key = write_key(desk.folder / "second.pem", identity(kind, f"VSIX Publisher {kind}"))
    path = desk.file("a.vsix", related())
    assert desk.sign(path, key=key) == 0
    assert desk.verify(path) == "accepted"
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), path) == 0
    assert desk.verify(path) == "accepted"
    (only,) = VSIX.parse(BytesSource("a", path.read_bytes()), ParseOptions()).signatures
    assert [stamp.kind for stamp in only.timestamps] == ["rfc3161"]
    assert not [finding for stamp in only.timestamps for finding in stamp.findings]
    assert desk.sign("--replace", "--timestamp", server.url("/tsa"), path, key=key) == 0
    assert desk.verify(path) == "accepted"
    assert desk.run("strip", path) == 0
    assert members(path.read_bytes()) == members(related())


def test_a_scan_looks_at_the_files_beside_a_manifest_every_time(desk: Desk) -> None:
    program = desk.file("App.exe", b"MZ")
    path = desk.file("App.exe.manifest", application(b"MZ", {}))
    assert desk.sign(path) == 0
    cache = desk.folder / "cache.db"

    def cause() -> str:
        root = desk.folder / "root.pem"
        desk.run("scan", "--format", "jsonl", "--anchor", root, "--cache", cache, path)
        records = [json.loads(line) for line in desk.out.splitlines()]
        (found,) = [record for record in records if record.get("kind") == "clickonce"]
        return str(found.get("cause") or found["outcome"])

    assert cause() == "accepted"
    program.write_bytes(b"MZ newer")
    assert cause() == "digest-mismatch"


@pytest.mark.parametrize("name", ["App.exe.manifest", "a.vsix"])
def test_without_lxml_signing_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = builtins.__import__

    def absent(module: str, *rest: Any, **more: Any) -> Any:
        if module.partition(".")[0] == "lxml":
            raise ImportError(module)
        return found(module, *rest, **more)

    path = desk.file(name, related() if name == "a.vsix" else application(b"MZ", {}))
    before = path.read_bytes()
    monkeypatch.setattr(builtins, "__import__", absent)
    assert desk.sign(path) == 1
    assert "pip install signward[xml]" in desk.out + desk.err
    assert path.read_bytes() == before
    assert desk.verify(path) == "unsupported-kind"
