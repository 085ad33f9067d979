"""`signward show`: the tree of what signatures claim, as data and drawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from signward.cli.commands import run
from signward.cli.show import extract
from signward.errors import EvidenceError
from signward.findings import Code
from signward.policy.record import printable_json
from signward.report.tree import text, tree
from signward.state import (
    Algorithm,
    Attribute,
    ClaimedSignature,
    ClaimedTimestamp,
    Endorsement,
    Region,
    SignedArtifact,
    SignerId,
    Slot,
)
from signward.trust.x509 import load_certificate
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders.records import accepted, refused
from tests.unit.test_record import LEAF, ROOT, TSA

WHEN = datetime(2024, 6, 6, 12, 30, tzinfo=UTC)
DIGEST = bytes(range(32))


def attribute(oid: str, *values: bytes) -> Attribute:
    return Attribute(oid=oid, values=values)


OPUS = der.sequence(
    der.encode(0xA0, der.encode(0x80, "Prögram\u202e".encode("utf-16-be"))),
    der.encode(0xA1, der.encode(0x80, b"https://example.org")),
)


def claimed(label: str, **changes: Any) -> ClaimedSignature:
    leaf = load_certificate(LEAF)
    fields: dict[str, Any] = {
        "label": label,
        "envelope": "cms",
        "slots": (
            Slot(name="image", algorithm="sha256", digest=DIGEST),
            Slot(name="page:0", algorithm="sha1", digest=b"1"),
            Slot(name="page:4096", algorithm="sha1", digest=b"2"),
        ),
        "bindings": (),
        "algorithm": Algorithm(scheme="ecdsa", digest="sha256"),
        "to_be_verified": b"",
        "value": b"v" * 70,
        "claimed_signer": SignerId(issuer=leaf.issuer, serial=leaf.serial),
        "claimed_certificates": (LEAF, ROOT),
        "content_type": "1.3.6.1.4.1.311.2.1.4",
        "signed_attributes": (
            attribute("1.2.840.113549.1.9.4", der.encode(der.OCTET_STRING, DIGEST)),
            attribute("1.3.6.1.4.1.311.2.1.12", OPUS),
            attribute("1.2.3.4", b"\xff\xff not asn.1"),
        ),
        "unsigned_attributes": (attribute("1.3.6.1.4.1.311.3.3.1", b"\x30\x00"),),
        "raw": b"cms " + label.encode(),
    }
    return ClaimedSignature(**{**fields, **changes})


def stamp() -> ClaimedTimestamp:
    tsa = load_certificate(TSA)
    token = claimed(
        "t",
        claimed_certificates=(TSA,),
        claimed_signer=SignerId(issuer=tsa.issuer, serial=tsa.serial),
    )
    return ClaimedTimestamp(
        kind="rfc3161", signature=token, claimed_time=WHEN, imprint=None, policy="1.2.3", serial=255
    )


def artifact(*signatures: ClaimedSignature) -> SignedArtifact:
    return SignedArtifact(
        format="pe",
        source=BytesSource("a.exe", b""),
        signatures=signatures or (claimed("1", timestamps=(stamp(),)), claimed("1.1")),
        regions=(Region(start=1, end=5, what="checksum", exempt="PE Format"),),
        endorsements=tuple(
            Endorsement(algorithm="sha256", digest=bytes([n]), kind="image") for n in range(3)
        ),
        facts={"machine": "x64"},
    )


def test_the_tree_holds_every_part() -> None:
    branch = tree(artifact(), accepted("a.exe"))
    (signature,) = branch["signatures"]
    assert signature["state"] == "trusted"
    assert signature["content type"] == "SpcIndirectDataContent (1.3.6.1.4.1.311.2.1.4)"
    assert signature["digests"] == [
        {"slot": "image", "algorithm": "sha256", "digest": DIGEST.hex()}
    ]
    assert signature["page hashes"] == {"algorithm": "sha1", "count": 2}
    assert [c["subject"] for c in signature["certificates"]] == ["CN=Leaf", "CN=Root"]
    assert branch["endorsements"] == [{"kind": "image", "algorithm": "sha256", "count": 3}]
    assert branch["not covered"][0]["exempt"] == "PE Format"
    assert branch["facts"] == {"machine": "x64"}


def test_nested_signatures_lie_below_their_own() -> None:
    deep = artifact(claimed("1"), claimed("1.1"), claimed("1.1.1"), claimed("2"))
    first, second = tree(deep, refused("a"))["signatures"]
    assert (first["label"], second["label"]) == ("1", "2")
    assert first["nested"][0]["nested"][0]["label"] == "1.1.1"
    assert first["signer"]["subject"] == "CN=Leaf"
    assert first["state"] == "claimed"


def test_attributes_have_names_and_readable_values() -> None:
    signed = tree(artifact(), accepted("a"))["signatures"][0]["signed attributes"]
    assert [a["name"] for a in signed] == ["messageDigest", "SpcSpOpusInfo", ""]
    assert signed[0]["values"] == [DIGEST.hex()]
    assert signed[1]["values"] == ["Prögram\u202e, https://example.org"]
    assert signed[2]["values"][0].startswith("12 octets, SHA-256 ")


def test_timestamps_name_kind_time_and_authority() -> None:
    (told,) = tree(artifact(), accepted("a"))["signatures"][0]["timestamps"]
    assert told["kind"] == "rfc3161"
    assert told["time"] == "2024-06-06T12:30:00Z"
    assert told["serial"] == "ff"
    assert told["signer"]["subject"] == "CN=TSA"


def test_the_tree_is_drawn_in_unicode_and_in_ascii() -> None:
    branch = tree(artifact(), accepted("né.exe"))
    drawn, plain = text(branch), text(branch, unicode=False)
    assert plain.isascii()
    assert drawn.splitlines()[0] == "né.exe"
    assert plain.splitlines()[0] == "n\\xe9.exe"
    assert "├─ signatures (1)" in drawn
    assert "|- signatures (1)" in plain
    assert "signature 1.1: claimed" in drawn
    assert "image sha256 " + DIGEST.hex() in drawn
    assert "3 image sha256" in drawn
    assert "checksum at 1 to 5, exempt by PE Format" in drawn
    assert "\u202e" not in drawn
    assert "Prögram\\u202e" in drawn


def test_a_file_that_could_not_be_parsed_still_has_a_tree() -> None:
    drawn = text(tree(None, refused("a\nb.exe", Code.MALFORMED)))
    assert drawn.splitlines()[0] == "a\\x0ab.exe"
    assert "reject malformed" in drawn
    assert "signatures" not in drawn


def test_the_tree_is_json() -> None:
    branch = tree(artifact(), accepted("a\u202e.exe"))
    data = printable_json(branch)
    assert "\u202e" not in data.decode()
    assert json.loads(data) == json.loads(json.dumps(branch))


def test_parts_are_extracted_under_safe_names(tmp_path: Path) -> None:
    paths = extract(artifact(), "../ö\n.exe", tmp_path / "new")
    assert all(p.parent == tmp_path / "new" and p.name.isascii() for p in paths)
    written = {p.name: p.read_bytes() for p in paths}
    assert b"cms 1" in written.values()
    assert b"cms 1.1" in written.values()
    pems = [data for data in written.values() if data.startswith(b"-----BEGIN CERTIFICATE-----\n")]
    assert len(pems) == 3


def test_extraction_twice_gives_the_same_files(tmp_path: Path) -> None:
    assert extract(artifact(), "a.exe", tmp_path) == extract(artifact(), "a.exe", tmp_path)


def test_extraction_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.exe-1.p7s").write_bytes(b"something else")
    with pytest.raises(EvidenceError, match="another file"):
        extract(artifact(), "a.exe", tmp_path)


def test_extraction_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"cms 1")
    (tmp_path / "a.exe-1.p7s").symlink_to(target)
    with pytest.raises(EvidenceError):
        extract(artifact(), "a.exe", tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EvidenceError, match="--extract"):
        extract(artifact(), "a.exe", tmp_path / "file")


def test_show_on_what_is_no_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    assert run(["show", str(file), str(tmp_path / "absent")]) == 3
    told = capsys.readouterr().out
    assert "cause: unsigned" in told
    assert "cause: unreadable" in told


def test_show_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "empty.exe"
    file.write_bytes(b"")
    run(["show", "--json", str(file)])
    assert json.loads(capsys.readouterr().out)["file"] == str(file)


def test_show_draws_ascii_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "é.ps1"
    file.write_text("Get-Date\n")
    assert run(["show", "--ascii", str(file)]) == 0
    assert capsys.readouterr().out.isascii()
