"""Evidence bundles: what is written replays to the same bytes; what was altered is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import catalog, cms, pe, tsa
from conformance.authenticode.cases.base import signed_image
from conformance.authenticode.pki import NOW, Pki, default_pki, instant, make_pki
from conformance.authenticode.revocation import Revoked, crl

import signward.verbs.stores
from signward.cli import main
from signward.errors import EvidenceError
from signward.policy.record import record, to_json
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.x509 import load_certificate
from signward.verbs.bundle import read_bundle, read_manifest
from signward.verbs.context import Context
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.verify import assess_path

PKI = default_pki()


class Made:
    """Files, what is trusted, and the options of their judgement."""

    def __init__(self, folder: Path, pki: Pki = PKI, **options: Any) -> None:
        self.folder = folder
        self.anchor = self.write("root.pem", pki.root.pem)
        self.options = Options(anchors=(self.anchor,), at=NOW, **options)

    def write(self, name: str, data: bytes) -> str:
        """Write a file; return its path."""
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def bundle(self, *paths: str, options: Options | None = None) -> tuple[str, list[bytes]]:
        """Judge files with evidence; return the bundle and the verdicts as JSON."""
        folder = str(self.folder / "bundle")
        verdicts, digest = assess_with_evidence(paths, options or self.options, folder)
        assert len(digest) == 64
        return folder, [to_json(record(verdict)) for verdict in verdicts]

    def plain(self, path: str, options: Options | None = None) -> bytes:
        """Judge a file without any bundle."""
        return to_json(record(assess_path(path, Context(options or self.options))))


def replayed(bundle: str, path: str) -> bytes:
    return to_json(record(replay(bundle, path)))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


STAMPED = signed_image(signer={"unsigned": (tsa.token(PKI.tsa, at=instant(2025)),)})


def kinds() -> dict[str, tuple[str, bytes, str]]:
    """Return files of every outcome: name, bytes, and the outcome."""
    foreign = make_pki(root={"common_name": "Another Root"})
    whole = pe.image()
    tampered = bytearray(signed_image())
    tampered[len(whole) - 1] ^= 1
    return {
        "accepted": ("a.exe", signed_image(), "accepted"),
        "timestamped": ("a.dll", STAMPED, "accepted"),
        "tampered": ("a.exe", bytes(tampered), "rejected"),
        "untrusted": ("a.exe", signed_image(pki=foreign), "rejected"),
        "unsigned": ("a.exe", whole, "rejected"),
        "malformed": ("a.exe", whole[:70], "rejected"),
        "text": ("a.txt", b"hello", "rejected"),
        "empty": ("a.exe", b"", "rejected"),
        "not judged yet": ("a.jar", b"PK\x03\x04" + bytes(40), "indeterminate"),
    }


@pytest.mark.parametrize("kind", kinds())
def test_every_outcome_replays_to_the_same_bytes(made: Made, kind: str) -> None:
    name, data, outcome = kinds()[kind]
    path = made.write(name, data)
    bundle, (judged,) = made.bundle(path)
    if kind != "not judged yet":
        assert json.loads(judged)["outcome"] == outcome
    assert judged == made.plain(path)
    assert replayed(bundle, path) == judged


def test_several_files_share_a_bundle(made: Made) -> None:
    paths = [made.write(f"{n}-{name}", data) for n, (name, data, _) in enumerate(kinds().values())]
    bundle, judged = made.bundle(*paths)
    assert [replayed(bundle, path) for path in paths] == judged


def test_a_file_vouched_for_by_a_catalog(made: Made) -> None:
    text = b"echo hello\r\n"
    signed = catalog.signed(
        [catalog.member(text)], cms.Signer(identity=PKI.leaf), certificates=PKI.chain
    )
    other = catalog.signed(
        [catalog.member(b"x")], cms.Signer(identity=PKI.leaf), certificates=PKI.chain
    )
    folder = made.folder / "catalogs"
    folder.mkdir()
    (folder / "a.cat").write_bytes(signed)
    (folder / "b.cat").write_bytes(other)
    path = made.write("run.cmd", text)
    options = Options(anchors=(made.anchor,), at=NOW, catalogs=(str(folder),))
    bundle, (judged,) = made.bundle(path, options=options)
    assert json.loads(judged)["outcome"] == "accepted"
    assert judged == made.plain(path, options)
    shutil.rmtree(folder)
    assert replayed(bundle, path) == judged
    assert [c.name.rpartition("/")[2] for c in read_manifest(Path(bundle)).catalogs] == ["a.cat"]


def test_a_revoked_signer_and_the_callers_evidence(made: Made) -> None:
    entry = Revoked(serial=PKI.leaf.serial, at=instant(2025, 6), reason="keyCompromise")
    listed = made.write("ca.crl", crl(PKI.intermediate, [entry]))
    path = made.write("a.exe", signed_image(certificates=(PKI.leaf.certificate,)))
    middle = made.write("ca.pem", PKI.intermediate.pem)
    options = Options(anchors=(made.anchor,), at=NOW, crls=(listed,), certificates=(middle,))
    bundle, (judged,) = made.bundle(path, options=options)
    assert json.loads(judged)["cause"] == "revoked"
    for gone in (listed, middle, made.anchor):
        Path(gone).unlink()
    assert replayed(bundle, path) == judged


def test_no_trust_list_is_needed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of the profile's name is consulted once; the replay lives without it."""
    path = made.write("a.exe", STAMPED)
    options = Options(at=NOW)
    bundle, (judged,) = made.bundle(path, options=options)
    assert judged == made.plain(path, options)

    def absent(name: str) -> None:
        raise EvidenceError(f"store {name}: not installed")

    monkeypatch.setattr(signward.verbs.stores, "load_store", absent)
    monkeypatch.setattr("signward.verbs.context.load_store", absent)
    assert replayed(bundle, path) == judged


def test_the_file_may_have_moved_and_the_clock_gone_on(made: Made) -> None:
    """Without --at the instant of the first judgement is the bundle's."""
    path = made.write("a.exe", STAMPED)
    bundle, (judged,) = made.bundle(path, options=Options(anchors=(made.anchor,)))
    moved = made.write("elsewhere.bin", STAMPED)
    Path(path).unlink()
    assert replayed(bundle, moved) == judged


def test_a_name_that_is_no_utf8(made: Made) -> None:
    path = os.fsdecode(os.fsencode(made.folder) + b"/a\xff.exe")
    Path(path).write_bytes(STAMPED)
    anchor = os.fsdecode(os.fsencode(made.folder) + b"/root\xff.pem")
    Path(anchor).write_bytes(PKI.root.pem)
    options = Options(anchors=(anchor,), at=NOW)
    bundle, (judged,) = made.bundle(path, options=options)
    assert json.loads(judged)["outcome"] == "accepted"
    assert replayed(bundle, path) == judged == made.plain(path, options)


def test_a_file_that_cannot_be_read_has_a_verdict_and_no_place(made: Made) -> None:
    path = made.write("a.exe", STAMPED)
    bundle, (first, second) = made.bundle(path, str(made.folder / "absent"))
    assert json.loads(second)["cause"] == "unreadable"
    assert [entry.name for entry in read_manifest(Path(bundle)).files] == [path]
    assert replayed(bundle, path) == first


def test_limits_of_anchors_travel(made: Made) -> None:
    manifest = read_manifest(Path(made.bundle(made.write("a.exe", STAMPED))[0]))
    (store,) = manifest.stores.values()
    anchors = {anchor.sha256 for anchors in store.subjects.values() for anchor in anchors}
    assert anchors == {hashlib.sha256(PKI.root.certificate).hexdigest()}
    roles = {member.role for member in manifest.members}
    assert {"anchor", "certificate", "signature", "token", "verdict"} <= roles


@pytest.mark.parametrize(
    "limits",
    [
        {"usages": frozenset({"1.3.6.1.5.5.7.3.1"})},
        {"denied_usages": frozenset({"1.3.6.1.5.5.7.3.3"})},
        {"disabled_from": instant(2020)},
        {"no_issue_after": instant(2020)},
        {"no_issue_after": instant(2020), "no_issue_usages": frozenset({"1.3.6.1.5.5.7.3.3"})},
        {"no_issue_after": instant(2020), "no_issue_usages": frozenset({"1.3.6.1.5.5.7.3.1"})},
        {"usages": frozenset({"1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8"})},
    ],
    ids=["usages", "denied", "disabled", "issue", "issue-for", "issue-other", "two-usages"],
)
def test_each_limit_of_an_anchor_travels(
    made: Made, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    root = load_certificate(PKI.root.certificate)
    anchor = TrustAnchor(certificate=root, name="A root", store="limited", **limits)
    store = TrustStore("limited", [anchor])
    monkeypatch.setattr("signward.verbs.context.load_store", lambda name: store)
    path = made.write("a.exe", signed_image())
    options = Options(stores=("limited",), at=NOW)
    bundle, (judged,) = made.bundle(path, options=options)
    assert judged == made.plain(path, options)
    monkeypatch.undo()
    assert replayed(bundle, path) == judged
    refuses = "1.3.6.1.5.5.7.3.3" not in limits.get("usages", {"1.3.6.1.5.5.7.3.3"}) or (
        set(limits) & {"denied_usages", "disabled_from", "no_issue_after"}
        and limits.get("no_issue_usages") != frozenset({"1.3.6.1.5.5.7.3.1"})
    )
    assert (json.loads(judged)["outcome"] == "rejected") == bool(refuses)


# --- refusals ----------------------------------------------------------------------


@pytest.fixture
def bundle(made: Made) -> tuple[Path, str]:
    path = made.write("a.exe", STAMPED)
    return Path(made.bundle(path)[0]), path


def test_another_file_is_refused(bundle: tuple[Path, str], made: Made) -> None:
    with pytest.raises(EvidenceError, match="does not know"):
        replay(str(bundle[0]), made.write("b.exe", signed_image()))


def test_every_member_is_needed(bundle: tuple[Path, str]) -> None:
    folder, path = bundle
    for member in read_manifest(folder).members:
        name = folder / member.path
        data = name.read_bytes()
        name.unlink()
        with pytest.raises(EvidenceError):
            replay(str(folder), path)
        name.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
        with pytest.raises(EvidenceError, match="other bytes"):
            replay(str(folder), path)
        name.write_bytes(data)
    replay(str(folder), path)


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(version=2),
        lambda m: m.update(format="other"),
        lambda m: m.update(extra=1),
        lambda m: m.pop("stores"),
        lambda m: m.update(stores={}),
        lambda m: m.update(at="2026-01-01T00:00:00"),
        lambda m: m.update(at="2020-01-01T00:00:00Z"),
        lambda m: m.update(profile="none"),
        lambda m: m["policy"].update(stage="intact"),
        lambda m: m["policy"]["trust"].update(sha1_cutoff="2016-01-01T00:00:00"),
        lambda m: m["files"][0].update(name="b.exe"),
        lambda m: m["files"][0].update(sha256="0" * 64),
        lambda m: m["files"][0].update(verdict="0" * 64),
        lambda m: m["files"][0].update(name_hex="zz"),
        lambda m: m["files"][0].update(size=1),
        lambda m: m["files"][0].update(evidence=["0" * 64]),
        lambda m: m["files"].clear(),
        lambda m: m["members"].clear(),
        lambda m: m["members"][0].update(path="../../etc/passwd"),
        lambda m: m["members"][0].update(path="anchors/../" + "0" * 64 + ".der"),
        lambda m: m["members"][0].update(role="unknown"),
        lambda m: m["members"][0].update(size=1 << 40),
        lambda m: m["stores"]["authenticode"].update(name="other", subjects={}, found=[]),
    ],
)
def test_an_altered_manifest_is_refused(
    bundle: tuple[Path, str], change: Callable[[dict[str, Any]], object]
) -> None:
    folder, path = bundle
    _change(folder, change)
    with pytest.raises(EvidenceError):
        replay(str(folder), path)


def test_an_anchor_limit_added_later_is_noticed(bundle: tuple[Path, str]) -> None:
    folder, path = bundle

    def limit(manifest: dict[str, Any]) -> None:
        for store in manifest["stores"].values():
            for anchors in (*store["subjects"].values(), store["found"]):
                for anchor in anchors:
                    anchor["disabled_from"] = "2015-01-01T00:00:00Z"

    _change(folder, limit)
    with pytest.raises(EvidenceError, match="altered"):
        replay(str(folder), path)


def test_mutated_manifests_never_surprise(bundle: tuple[Path, str]) -> None:
    """Whatever one octet becomes: the same bytes again, or a clear refusal."""
    folder, path = bundle
    before, data = replayed(str(folder), path), (folder / "manifest.json").read_bytes()
    random_ = random.Random(20261123)
    refused = 0
    for _ in range(400):
        position = random_.randrange(len(data))
        octet = bytes((random_.randrange(256),))
        mutated = data[:position] + octet + data[position + 1 :]
        (folder / "manifest.json").write_bytes(mutated)
        try:
            assert replayed(str(folder), path) == before
        except EvidenceError:
            refused += 1
    assert refused > 200


def test_what_the_manifest_does_not_name_is_ignored(bundle: tuple[Path, str]) -> None:
    folder, path = bundle
    (folder / "manifest.json.sig").write_bytes(b"a signature over the manifest")
    before = read_bundle(folder).manifest
    assert replayed(str(folder), path)
    assert before.files[0].size == len(STAMPED)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_nothing_is_overwritten(made: Made, there: str) -> None:
    target = made.folder / "bundle"
    if there == "file":
        target.write_bytes(b"mine")
    elif there == "folder":
        target.mkdir()
        (target / "mine").write_bytes(b"")
    else:
        target.symlink_to(made.folder / "nowhere")
    with pytest.raises(EvidenceError, match="new or empty"):
        made.bundle(made.write("a.exe", STAMPED))


def test_a_bundle_appears_whole_or_not_at_all(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = made.write("a.exe", STAMPED)
    before = sorted(made.folder.iterdir())
    monkeypatch.setattr("signward.verbs.bundle.os.fsync", full)
    with pytest.raises(EvidenceError, match="No space left"):
        made.bundle(path)
    assert sorted(made.folder.iterdir()) == before


def test_an_empty_folder_may_be_filled(made: Made) -> None:
    (made.folder / "bundle").mkdir()
    path = made.write("a.exe", STAMPED)
    bundle, (judged,) = made.bundle(path)
    assert replayed(bundle, path) == judged


# --- the command -------------------------------------------------------------------


def test_the_command(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = made.write("a.exe", STAMPED), str(made.folder / "deep" / "bundle")
    words = ["verify", "--json", "--anchor", made.anchor, "--at", "2026-01-01", path]
    assert main([*words, "--evidence", folder]) == 0
    written = capsys.readouterr()
    assert "manifest SHA-256" in written.err
    assert main(["verify", "--json", "--replay", folder, path]) == 0
    assert capsys.readouterr().out == written.out
    assert main(words) == 0
    assert capsys.readouterr().out == written.out


@pytest.mark.parametrize("more", [["--at", "2026-01-01"], ["--store", "uefi"], ["--online"]])
def test_a_replay_takes_nothing_beside_its_bundle(
    bundle: tuple[Path, str], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert main(["verify", "--replay", str(bundle[0]), *more, bundle[1]]) == 2
    assert "bundle alone" in capsys.readouterr().err


def test_a_bad_bundle_is_a_fault_of_the_command_line(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.write("a.exe", STAMPED)
    assert main(["verify", "--replay", str(made.folder / "absent"), path]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_what_signatures_carry_is_kept_for_readers(made: Made) -> None:
    folder = Path(made.bundle(made.write("a.exe", STAMPED))[0])
    (entry,) = read_manifest(folder).files
    paths = {m.sha256: m.path.partition("/")[0] for m in read_manifest(folder).members}
    kept = {paths[sha256] for sha256 in entry.evidence}
    assert {"signatures", "certificates", "tokens"} <= kept


@pytest.mark.corpus
def test_real_files_under_the_real_trust_list(
    corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    """Microsoft's own files, the signed root list, and no root list at replay."""
    from tests.corpus import pe_files

    paths = [str(path) for path in pe_files(corpus("debugpy"))]
    options = Options(at=instant(2026, 11, 20))
    folder = str(tmp_path / "bundle")
    verdicts, _ = assess_with_evidence(paths, options, folder)
    context = Context(options)
    assert {verdict.outcome for verdict in verdicts} == {"accepted"}
    for path, verdict in zip(paths, verdicts, strict=True):
        judged = to_json(record(verdict))
        assert judged == to_json(record(assess_path(path, context)))
        assert judged == replayed(folder, path)
    (store,) = read_manifest(Path(folder)).stores.values()
    anchors = [anchor for found in store.subjects.values() for anchor in found]
    assert {anchor.store for anchor in anchors} == {"authenticode"}
