"""Manifests of trees: made, brought up to date, checked, and taken for catalogs (THREATS 26)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import NOW

from signward.cli import main
from signward.envelopes import dsse
from signward.errors import (
    EvidenceError,
    LimitError,
    MalformedError,
    NotSignableError,
    SigningError,
)
from signward.findings import Code
from signward.formats import _manifest, peek_at, recognise
from signward.state import Outcome
from signward.verbs import manifests
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.source import BytesSource
from tests.builders.manifests import judge, keyfile, make, populated, statement, told, update

KINDS = ("rsa2048", "p256", "p384", "p521", "ed25519", "ml-dsa-65")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return populated(tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_listed_is_accepted_by_its_signer(place: Path, kind: str) -> None:
    keyfile(place, kind)
    assert make(place).named
    for name in ("bin/start.sh", "etc/conf", "etc/empty"):
        verdict = judge(place, name)
        assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
        assert verdict.rule == "by-catalog"
        assert verdict.publisher
        assert verdict.publisher.identity == "subject:Conformance/Signing Test Publisher"


def test_the_statement_lists_files_links_folders_and_modes(place: Path) -> None:
    (place / "tree" / "bin" / "start.sh").chmod(0o4755)
    make(place)
    said = statement((place / "1.manifest").read_bytes())
    assert [one["name"] for one in said["subject"]] == ["bin/start.sh", "etc/conf", "etc/empty"]
    assert said["subject"][0]["annotations"]["mode"] == "4755"
    assert said["predicate"]["links"] == [{"name": "etc/link", "target": "conf"}]
    assert [one["name"] for one in said["predicate"]["folders"]] == ["bin", "etc"]
    assert (said["predicate"]["name"], said["predicate"]["version"]) == ("tree", 1)


def test_a_changed_file_is_rejected_and_an_added_one_unsigned(place: Path) -> None:
    make(place)
    (place / "tree" / "etc" / "conf").write_bytes(b"x = 2\n")
    (place / "tree" / "etc" / "new").write_bytes(b"y = 2\n")
    for name in ("etc/conf", "etc/new"):
        verdict = judge(place, name)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNSIGNED)


def test_without_the_manifest_they_are_not_accepted(place: Path) -> None:
    context = Context(Options(anchors=(str(place / "root.pem"),), at=NOW))
    for name in ("bin/start.sh", "etc/conf", "etc/empty"):
        assert assess_path(place / "tree" / name, context).outcome is Outcome.REJECTED


def test_a_signer_that_nobody_trusts_vouches_for_nothing(place: Path) -> None:
    make(place)
    keyfile(place, "p256")
    verdict = judge(place, "etc/conf", anchors=(str(place / "leaf.pem"),))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause in {Code.UNTRUSTED_ROOT, Code.NO_PATH}
    assert not (place / "state").exists(), "its version must not be remembered"


def test_without_certificates_it_cannot_be_a_catalog(place: Path) -> None:
    made = make(place, key=f"file:{place / 'bare.pem'}")
    assert not made.named
    verdict = judge(place, "etc/conf")
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.KEY_MISSING)
    assert told(place) == []


def test_certificates_may_be_given_apart(place: Path) -> None:
    given = (str(place / "leaf.pem"),)
    assert make(place, key=f"file:{place / 'bare.pem'}", certificates=given).named
    assert judge(place, "etc/conf").outcome is Outcome.ACCEPTED


def test_certificates_of_another_key_are_refused(place: Path) -> None:
    key = (place / "bare.pem").read_bytes()
    keyfile(place, "p256")
    (place / "bare.pem").write_bytes(key)
    with pytest.raises(SigningError, match="certificates of other keys"):
        make(place, key=f"file:{place / 'bare.pem'}", certificates=(str(place / "leaf.pem"),))
    assert not (place / "1.manifest").exists()


def test_another_payload_under_the_same_value_is_rejected(place: Path) -> None:
    make(place)
    whole = json.loads((place / "1.manifest").read_bytes())
    said = statement((place / "1.manifest").read_bytes())
    (place / "tree" / "etc" / "evil").write_bytes(b"evil\n")
    said["subject"][1]["digest"]["sha256"] = hashlib.sha256(b"evil\n").hexdigest()
    payload = json.dumps(said, separators=(",", ":")).encode()
    whole["payload"] = base64.b64encode(payload).decode()
    (place / "1.manifest").write_text(json.dumps(whole, separators=(",", ":")))
    verdict = judge(place, "etc/evil")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.SIGNATURE_MISMATCH)
    with pytest.raises(EvidenceError, match="does not fit its key"):
        told(place)


def test_no_flipped_octet_changes_what_is_vouched_for(place: Path) -> None:
    keyfile(place, "p256")
    make(place)
    data = (place / "1.manifest").read_bytes()
    context = Context(Options(anchors=(str(place / "root.pem"),), at=NOW))
    good = assess(BytesSource("a.manifest", data), context)
    assert good.outcome is Outcome.ACCEPTED
    for offset in range(0, len(data), 3):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset * 5 % 8)
        verdict = assess(BytesSource("a.manifest", bytes(changed)), context)
        if verdict.outcome is Outcome.ACCEPTED:  # the name of a field that nobody needs
            assert verdict.signatures[0].intact.claimed.content == (  # type: ignore[union-attr]
                good.signatures[0].intact.claimed.content  # type: ignore[union-attr]
            )
    for size in range(0, len(data), 41):
        cut = assess(BytesSource("a.manifest", data[:size]), context)
        assert cut.outcome is not Outcome.ACCEPTED


def test_an_older_version_is_refused_once_a_newer_one_counted(place: Path) -> None:
    make(place)
    update(place)
    assert judge(place, "etc/conf").outcome is Outcome.ACCEPTED
    assert judge(place, "etc/conf", "2.manifest").outcome is Outcome.ACCEPTED
    with pytest.raises(EvidenceError, match="found version 1, required 2 or later"):
        judge(place, "etc/conf")
    (place / "renamed").write_bytes((place / "1.manifest").read_bytes())
    with pytest.raises(EvidenceError, match="required 2 or later"):
        judge(place, "etc/conf", "renamed")


def test_an_older_version_beside_a_newer_one_does_not_count_either(place: Path) -> None:
    make(place)
    (place / "tree" / "etc" / "conf").write_bytes(b"x = 3\n")
    update(place)
    (place / "reach").mkdir()
    for name, data in (("a", "1.manifest"), ("b", "2.manifest")):
        (place / "reach" / f"{name}.manifest").write_bytes((place / data).read_bytes())
    with pytest.raises(EvidenceError, match="found version 1, required 2 or later"):
        judge(place, "etc/conf", "reach")


def test_a_listed_file_vouches_for_no_program_with_that_image_digest(place: Path) -> None:
    data = pe.image()
    hashed = b"".join(
        data[offset : offset + 1] for offset in range(len(data)) if not _left_out(data, offset)
    )
    (place / "tree" / "blob").write_bytes(hashed)
    make(place)
    (place / "tree" / "run.exe").write_bytes(data)
    assert judge(place, "blob").outcome is Outcome.ACCEPTED
    assert judge(place, "run.exe").cause is Code.UNSIGNED


def _left_out(data: bytes, offset: int) -> bool:
    """Say whether an octet is out of the image digest: checksum, entry of the signatures."""
    optional = int.from_bytes(data[60:64], "little") + 24
    entry = optional + (112 if data[optional : optional + 2] == b"\x0b\x02" else 96) + 4 * 8
    return optional + 64 <= offset < optional + 68 or entry <= offset < entry + 8


def test_check_refuses_an_older_version_too(place: Path) -> None:
    make(place)
    update(place)
    assert told(place) == told(place, "2.manifest") == []
    with pytest.raises(EvidenceError, match="found version 1, required 2 or later"):
        told(place)


def test_a_second_manifest_of_one_version_is_refused(place: Path) -> None:
    make(place)
    (place / "tree" / "etc" / "conf").write_bytes(b"x = 3\n")
    make(place, "other.manifest")
    assert told(place) == [("changed", "etc/conf")]
    with pytest.raises(EvidenceError, match="a second manifest of version 1"):
        told(place, "other.manifest")


def test_a_memory_that_cannot_be_read_is_said(place: Path) -> None:
    make(place)
    assert told(place) == []
    (known,) = (place / "state" / "signward" / "manifests").glob("*.json")
    known.write_bytes(b"{")
    with pytest.raises(EvidenceError, match="remove it to begin anew"):
        told(place)


def test_where_nothing_can_be_remembered_nothing_counts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(place)
    (place / "full").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "full"))
    with pytest.raises(EvidenceError, match="cannot be remembered"):
        told(place)


def test_an_update_reads_only_what_is_not_the_very_same(place: Path) -> None:
    assert make(place).hashed == 3
    conf = place / "tree" / "etc" / "conf"
    before = conf.stat()
    conf.write_bytes(b"x = 9\n")  # of the same size, and the same time as before
    os.utime(conf, ns=(before.st_atime_ns, before.st_mtime_ns))
    (place / "tree" / "etc" / "new").write_bytes(b"new\n")
    made = update(place)
    assert (made.version, made.hashed, made.kept) == (2, 2, 2)
    assert told(place, "2.manifest") == []


def test_an_update_equals_a_manifest_made_anew(place: Path) -> None:
    make(place)
    (place / "tree" / "etc" / "conf").write_bytes(b"x = 9\n")
    (place / "tree" / "bin" / "start.sh").unlink()
    update(place)
    make(place, "3.manifest", least=2)
    read = [statement((place / f"{n}.manifest").read_bytes()) for n in (2, 3)]
    assert read[0] == read[1]


def test_what_was_just_changed_gets_no_identity(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "YOUNG_NS", 2_000_000_000)
    make(place)
    said = statement((place / "1.manifest").read_bytes())
    assert all("seen" not in one["annotations"] for one in said["subject"])
    assert update(place).hashed == 3


def test_an_update_takes_no_digests_from_a_stranger(place: Path) -> None:
    make(place)
    keyfile(place, "p256")
    with pytest.raises(EvidenceError, match="required"):
        update(place)
    assert not (place / "2.manifest").exists()


def test_a_change_of_keys_is_told(place: Path) -> None:
    make(place)
    old = (place / "leaf.pem").rename(place / "old.pem")
    keyfile(place, "p256")
    assert update(place, old_keys=(str(old),)).kept == 3
    assert told(place, "2.manifest") == []


def test_check_names_what_is_not_as_signed(place: Path) -> None:
    make(place)
    tree = place / "tree"
    (tree / "bin" / "start.sh").chmod(0o777)
    (tree / "etc" / "conf").write_bytes(b"x = 2\n")
    (tree / "etc" / "empty").unlink()
    (tree / "etc" / "link").unlink()
    (tree / "etc" / "link").symlink_to("/etc/shadow")
    (tree / "etc" / "new").write_bytes(b"")
    assert told(place) == [
        ("changed", "bin/start.sh"), ("changed", "etc/conf"), ("changed", "etc/link"),
        ("added", "etc/new"), ("missing", "etc/empty"),
    ]  # fmt: skip


def test_check_sees_a_file_where_a_link_was(place: Path) -> None:
    make(place)
    (place / "tree" / "etc" / "link").unlink()
    (place / "tree" / "etc" / "link").write_bytes(b"x = 1\n")
    assert told(place) == [("changed", "etc/link")]


def test_two_files_that_change_places_are_changed(place: Path) -> None:
    (place / "tree" / "etc" / "same").write_bytes(b"y = 1\n")
    make(place)
    one, other = place / "tree" / "etc" / "conf", place / "tree" / "etc" / "same"
    one.rename(place / "aside")
    other.rename(one)
    (place / "aside").rename(other)
    assert told(place) == [("changed", "etc/conf"), ("changed", "etc/same")]


def test_other_kinds_are_named_and_not_listed(place: Path) -> None:
    os.mkfifo(place / "tree" / "pipe")
    assert make(place).others == ("pipe",)
    assert told(place) == [("added", "pipe")]


def test_the_output_is_outside_and_replaces_only_what_it_updates(place: Path) -> None:
    with pytest.raises(SigningError, match="cannot list itself"):
        make(place, "tree/etc/1.manifest")
    make(place)
    with pytest.raises(SigningError, match="a file of that name"):
        make(place)
    assert update(place, "1.manifest").version == 2


def test_names_are_unicode_and_few_enough(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsencode(place / "tree") + b"/\xff"
    Path(os.fsdecode(odd)).write_bytes(b"")
    with pytest.raises(NotSignableError, match=r"no UTF-8"):
        make(place)
    Path(os.fsdecode(odd)).unlink()
    monkeypatch.setattr(manifests, "MAX_FILES", 5)
    with pytest.raises(NotSignableError, match="at most 5"):
        make(place)


def test_a_tree_without_a_file_is_refused(place: Path) -> None:
    for name in ("bin/start.sh", "etc/conf", "etc/empty"):
        (place / "tree" / name).unlink()
    with pytest.raises(MalformedError, match="no file"):
        make(place)


def spoiled(said: dict[str, Any], spot: str) -> None:
    """Break one rule of a statement."""
    predicate = said["predicate"]
    match spot:
        case "climbs":
            said["subject"][0]["name"] = "../start.sh"
        case "absolute":
            said["subject"][0]["name"] = "/bin/start.sh"
        case "twice":
            said["subject"][1] = said["subject"][0]
        case "order":
            said["subject"].reverse()
        case "two kinds":
            predicate["links"].append({"name": "etc/conf", "target": "x"})
        case "digest":
            said["subject"][0]["digest"]["sha256"] = "0" * 63
        case "version":
            predicate["version"] = 0
        case "unknown":
            predicate["more"] = 1


@pytest.mark.parametrize(
    "spot", ["climbs", "absolute", "twice", "order", "two kinds", "digest", "version", "unknown"]
)
def test_a_statement_that_breaks_a_rule_is_malformed(place: Path, spot: str) -> None:
    make(place)
    said = statement((place / "1.manifest").read_bytes())
    said["predicate"]["links"] = list(said["predicate"]["links"])
    spoiled(said, spot)
    if spot == "two kinds":
        said["predicate"]["links"].sort(key=lambda one: one["name"])
    with pytest.raises(MalformedError):
        _manifest.read(json.dumps(said).encode())


def test_reading_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(place)
    data = (place / "1.manifest").read_bytes()
    payload = base64.b64decode(json.loads(data)["payload"])
    monkeypatch.setattr(_manifest, "MAX_FILES", 5)
    with pytest.raises(LimitError):
        _manifest.read(payload)
    monkeypatch.setattr(dsse, "MAX_OCTETS", len(data) - 1)
    verdict = assess(BytesSource("a.manifest", data), Context(Options(at=NOW)))
    assert verdict.cause is Code.LIMIT_EXCEEDED


def test_certificates_beside_a_signature_are_bounded() -> None:
    signature = {"sig": "AA==", "x5c": ["AA=="] * (dsse.MAX_CERTIFICATES + 1)}
    made = {"payload": "", "payloadType": "x", "signatures": [signature]}
    with pytest.raises(LimitError):
        dsse.open_envelope(msgspec.json.encode(made))


def test_other_attestations_are_not_taken_for_manifests() -> None:
    other = {"_type": _manifest.STATEMENT, "predicateType": "https://slsa.dev/provenance/v1"}
    payload = base64.b64encode(json.dumps(other, separators=(",", ":")).encode()).decode()
    for text in (payload, "", "%%%", payload[:-3]):
        whole = json.dumps({"payload": text, "payloadType": _manifest.PAYLOAD_TYPE})
        assert recognise(peek_at(BytesSource("a.manifest", whole.encode()))) is None


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_the_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, key = place / "tree", f"file:{place / 'key.pem'}"
    made, leaf = place / "1.manifest", place / "leaf.pem"
    assert run("manifest", "make", tree, "--key", key, "-o", made) == 0
    assert "version 1, 3 files (3 read), 1 links, 2 folders" in capsys.readouterr().out
    assert run("manifest", "make", tree, "--key", key, "--update", made, "-o", made) == 0
    assert "version 2, 3 files (0 read)" in capsys.readouterr().out
    assert run("manifest", "check", tree, "--manifest", made, "--key", leaf) == 0
    assert "all as signed" in capsys.readouterr().out
    (tree / "etc" / "conf").unlink()
    assert run("manifest", "check", tree, "--manifest", made, "--key", leaf, "--json") == 1
    assert json.loads(capsys.readouterr().out)["differences"] == [
        {"kind": "missing", "path": "etc/conf", "found": "nothing", "required": "file 0644"}
    ]
    assert run("manifest", "check", place / "none", "--manifest", made, "--key", leaf) == 2
    assert run("manifest", "make", place / "none", "--key", key, "-o", place / "x") == 2


def test_a_scan_judges_every_file_of_a_tree(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(place)
    tree, made = place / "tree", place / "1.manifest"
    (tree / "etc" / "new").write_bytes(b"new\n")
    (tree / "etc" / "conf").write_bytes(b"x = 2\n")
    common = ("scan", tree, "--catalog", made, "--anchor", place / "root.pem", "--at",
              NOW.isoformat(), "--cache", place / "cache", "--jobs", 1, "--format", "jsonl",
              "--all")  # fmt: skip
    assert run(*common) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {Path(one["subject"]).name: one["outcome"] for one in lines}
    assert found == {"start.sh": "accepted", "empty": "accepted", "new": "rejected",
                     "conf": "rejected"}  # fmt: skip
    update(place)
    assert judge(place, "etc/conf", "2.manifest").outcome is Outcome.ACCEPTED
    assert run(*common) == 2, "verdicts of an older manifest are not taken from the cache"
    assert "required 2 or later" in capsys.readouterr().err
