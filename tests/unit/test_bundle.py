"""Bundles: signed inside out, accepted whole, rejected for what is not sealed (THREATS 39)."""

from __future__ import annotations

import os
import plistlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, issue, pem

from signward.findings import Code
from signward.formats._bundle_code import open_code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess_path
from signward.wire.source import BytesSource
from tests.builders.bundle import application, flat, framework, info, lay_out, told
from tests.builders.ticket import ticket
from tests.desk import write_key
from tests.samples.macho import program
from tests.signing import authority, context, identity, sign_bytes


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application signed once: tests copy it."""
    return _signed(tmp_path_factory.mktemp("signed"), "App.app", application())


def _signed(folder: Path, name: str, files: dict[str, bytes | str], *words: str) -> Path:
    from signward.cli.commands import run

    path = lay_out(folder / name, files)
    uri = write_key(folder / "key.pem", identity())
    root = folder / "root.pem"
    root.write_bytes(pem(authority().certificate))
    assert run(["sign", "--key", uri, "--anchor", str(root), *words, str(path)]) == 0
    return path


@pytest.fixture
def app(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "App.app", symlinks=True))


@pytest.fixture
def judging(tmp_path: Path) -> Context:
    return context(tmp_path, authority())


def _now(path: Path, folder: Path) -> Verdict:
    from datetime import UTC, datetime

    return assess_path(path, context(folder, authority(), at=datetime.now(UTC)))


def _told(verdict: Verdict) -> list[str]:
    return [
        str(f) for f in (*verdict.findings, *(f for s in verdict.signatures for f in s.findings))
    ]


def test_what_is_signed_is_accepted(app: Path, tmp_path: Path) -> None:
    verdict = _now(app, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, _told(verdict)
    assert verdict.subject == str(app)
    assert verdict.format == "bundle"
    assert verdict.facts["identifier"] == "org.example.App"
    assert verdict.facts["bundle"] == ".app"
    assert verdict.publisher is not None


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("Kit.framework", framework()),
        ("Flat.app", flat()),
        ("App.app", application(universal=True)),
        (
            "Driver.kext",
            {"Contents/Info.plist": info("Driver"), "Contents/MacOS/Driver": program()},
        ),
        ("a.systemextension", {"Contents/Info.plist": info("a"), "Contents/MacOS/a": program()}),
    ],
)
def test_every_shape_is_signed_and_accepted(
    tmp_path: Path, name: str, files: dict[str, bytes | str]
) -> None:
    path = _signed(tmp_path, name, files)
    verdict = _now(path, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, _told(verdict)


def test_nothing_but_code_and_lists_is_changed(signed: Path) -> None:
    before, after = application(), told(signed)
    new = set(after) - set(before)
    assert new == {
        "Contents/_CodeSignature/CodeResources",
        "Contents/Frameworks/Kit.framework/Versions/A/_CodeSignature/CodeResources",
        "Contents/PlugIns/Plug.bundle/Contents/_CodeSignature/CodeResources",
    }
    assert {path for path in before if before[path] != after[path]} == {
        "Contents/MacOS/App", "Contents/MacOS/helper",
        "Contents/Frameworks/Kit.framework/Versions/A/Kit",
        "Contents/PlugIns/Plug.bundle/Contents/MacOS/Plug",
    }  # fmt: skip


def test_unsigned_is_unsigned(tmp_path: Path) -> None:
    verdict = _now(lay_out(tmp_path / "App.app", application()), tmp_path)
    assert verdict.cause is Code.UNSIGNED


def _write(path: str, data: bytes = b"\xcf\xfa\xed\xfe added") -> Callable[[Path], None]:
    def change(app: Path) -> None:
        target = app / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    return change


def _remove(path: str) -> Callable[[Path], None]:
    return lambda app: (app / path).unlink()


def _link(path: str, target: str) -> Callable[[Path], None]:
    def change(app: Path) -> None:
        (app / path).unlink(missing_ok=True)
        (app / path).symlink_to(target)

    return change


def _swap(path: str, by: str) -> Callable[[Path], None]:
    """Put a link to a copy of the content in place of a file."""

    def change(app: Path) -> None:
        (app / path).rename(app.parent / by)
        (app / path).symlink_to(app.parent / by)

    return change


def _fifo(app: Path) -> None:
    os.mkfifo(app / "Contents/Resources/pipe")


def _drop_list(app: Path) -> None:
    shutil.rmtree(app / "Contents/_CodeSignature")


def _weaken(app: Path) -> None:
    path = app / "Contents/_CodeSignature/CodeResources"
    whole = plistlib.loads(path.read_bytes())
    whole["rules2"]["^MacOS/evil$"] = {"omit": True, "weight": 3000.0}
    path.write_bytes(plistlib.dumps(whole))
    (app / "Contents/MacOS/evil").write_bytes(program())


def _first_version_only(app: Path) -> None:
    path = app / "Contents/_CodeSignature/CodeResources"
    whole = plistlib.loads(path.read_bytes())
    del whole["files2"], whole["rules2"]
    path.write_bytes(plistlib.dumps(whole))


def _strip_nested(app: Path) -> None:
    (app / "Contents/MacOS/helper").write_bytes(program())


def _ad_hoc_nested(app: Path) -> None:
    kit = app / "Contents/Frameworks/Kit.framework/Versions/A"
    shutil.rmtree(kit / "_CodeSignature")
    (kit / "Kit").write_bytes(program())


def _others_nested(app: Path) -> None:
    other = identity("p256", "Somebody Else")
    data = sign_bytes("helper", program(), who=other)
    (app / "Contents/MacOS/helper").write_bytes(data)


KIT = "Contents/Frameworks/Kit.framework"


def _another_version(folder: Path, who: Identity) -> Path:
    """Return a folder with a framework's files, all signed by somebody."""
    from signward.cli.commands import run

    path = lay_out(folder / "other" / "Kit.framework", framework())
    assert run(["sign", "--key", write_key(folder / "other.pem", who), str(path)]) == 0
    return path / "Versions/A"


def _version_of(who: Identity) -> Callable[[Path], None]:
    def change(app: Path) -> None:
        (app / KIT / "Versions").mkdir(exist_ok=True)
        shutil.copytree(_another_version(app.parent, who), app / KIT / "Versions/B")

    return change


def _stranger() -> Identity:
    root = issue("A Strange Root", subject_key=key("p256", "strange-root"), ca=True, ekus=None,
                 usage=("keyCertSign",))  # fmt: skip
    return issue("A Stranger", issuer=root, subject_key=key("p256", "stranger"))


def _nested_ticket(app: Path) -> None:
    """Staple what a stranger says of the very code to a nested bundle."""
    plug = app / "Contents/PlugIns/Plug.bundle/Contents"
    code = open_code(BytesSource("Plug", (plug / "MacOS/Plug").read_bytes()), {})
    (plug / "CodeResources").write_bytes(ticket(code.hashes, _stranger()))


ATTACKS: dict[str, tuple[Callable[[Path], None], frozenset[Code]]] = {
    "resource changed": (_write("Contents/Resources/a.txt"), frozenset({Code.DIGEST_MISMATCH})),
    "resource added": (_write("Contents/Resources/new"), frozenset({Code.UNCOVERED_CONTENT})),
    "resource removed": (_remove("Contents/Resources/a.txt"), frozenset({Code.DIGEST_MISMATCH})),
    "base localization removed": (
        _remove("Contents/Resources/Base.lproj/c.nib"), frozenset({Code.DIGEST_MISMATCH})),
    "localization changed": (
        _write("Contents/Resources/en.lproj/b.strings"), frozenset({Code.DIGEST_MISMATCH})),
    "localization added": (
        _write("Contents/Resources/de.lproj/b.strings"), frozenset({Code.UNCOVERED_CONTENT})),
    "file added where code lies": (
        _write("Contents/MacOS/evil", program()), frozenset({Code.UNCOVERED_CONTENT})),
    "file added beside Contents": (_write("evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "folder added beside Contents": (_write("evil/a"), frozenset({Code.UNCOVERED_CONTENT})),
    "file added in Contents": (_write("Contents/evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "nested bundle added": (
        _write("Contents/Frameworks/Evil.framework/Evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "code as a file that may lie beside Contents": (
        _write(".DS_Store", program()), frozenset({Code.UNCOVERED_CONTENT})),
    "code as a receipt": (
        _write("Contents/_MASReceipt/receipt", program()), frozenset({Code.UNCOVERED_CONTENT})),
    "code among a framework's versions": (
        _write(f"{KIT}/Versions/.DS_Store", b"#!/bin/sh"), frozenset({Code.UNCOVERED_CONTENT})),
    "file beside the list": (
        _write("Contents/_CodeSignature/evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "code in a receipt's folder": (
        _write("Contents/_MASReceipt/evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "AppleDouble": (_write("Contents/Resources/._a.txt"), frozenset({Code.UNCOVERED_CONTENT})),
    "code as .DS_Store": (
        _write("Contents/Resources/.DS_Store", program()), frozenset({Code.UNCOVERED_CONTENT})),
    "script as .DS_Store": (
        _write("Contents/MacOS/.DS_Store", b"#!/bin/sh\n"), frozenset({Code.UNCOVERED_CONTENT})),
    ".DS_Store a link": (
        _link("Contents/Resources/.DS_Store", "a.txt"), frozenset({Code.UNCOVERED_CONTENT})),
    ".DS_Store a link to nothing": (
        _link("Contents/Resources/.DS_Store", "nothing"), frozenset({Code.UNCOVERED_CONTENT})),
    "link changed": (
        _link("Contents/Resources/link.txt", "link.txt/../a.txt"),
        frozenset({Code.DIGEST_MISMATCH, Code.UNCOVERED_CONTENT})),
    "link leaves the bundle": (
        _link("Contents/Resources/link.txt", "../../../../../etc/passwd"),
        frozenset({Code.UNCOVERED_CONTENT})),
    "link to anywhere": (
        _link("Contents/Resources/link.txt", "/etc/passwd"), frozenset({Code.UNCOVERED_CONTENT})),
    "link in circles": (
        _link("Contents/Resources/link.txt", "link.txt"), frozenset({Code.UNCOVERED_CONTENT})),
    "file becomes a link": (
        _swap("Contents/Resources/a.txt", "a.txt"),
        frozenset({Code.UNCOVERED_CONTENT, Code.DIGEST_MISMATCH})),
    "executable becomes a link": (_swap("Contents/MacOS/App", "App"), frozenset({Code.MALFORMED})),
    "list becomes a link": (
        _swap("Contents/_CodeSignature/CodeResources", "list"),
        frozenset({Code.UNCOVERED_CONTENT})),
    "pipe": (_fifo, frozenset({Code.UNCOVERED_CONTENT})),
    "list removed": (_drop_list, frozenset({Code.SLOT_MISSING})),
    "rules weakened": (_weaken, frozenset({Code.UNCOVERED_CONTENT})),
    "version 1 only": (_first_version_only, frozenset({Code.MALFORMED})),
    "Info.plist changed": (
        _write("Contents/Info.plist", info("App", CFBundleVersion="2")),
        frozenset({Code.DIGEST_MISMATCH})),
    "Info.plist names another program": (
        _write("Contents/Info.plist", info("helper")),
        frozenset({Code.DIGEST_MISMATCH, Code.UNCOVERED_CONTENT})),
    "Info.plist leads out": (
        _write("Contents/Info.plist", info("../MacOS/App")), frozenset({Code.MALFORMED})),
    "nested code unsigned": (_strip_nested, frozenset({Code.UNSIGNED})),
    "nested framework unsigned": (_ad_hoc_nested, frozenset({Code.UNSIGNED})),
    "nested code by somebody else": (_others_nested, frozenset({Code.REQUIREMENT_FAILED})),
    "nested framework's resource changed": (
        _write("Contents/Frameworks/Kit.framework/Versions/A/Resources/data.txt"),
        frozenset({Code.DIGEST_MISMATCH})),
    "nested framework's file added": (
        _write("Contents/Frameworks/Kit.framework/Versions/A/evil"),
        frozenset({Code.UNCOVERED_CONTENT})),
    "file beside a framework's versions": (
        _write("Contents/Frameworks/Kit.framework/evil"), frozenset({Code.UNCOVERED_CONTENT})),
    "framework's alias leads elsewhere": (
        _link("Contents/Frameworks/Kit.framework/Kit", "Versions/A/Resources/data.txt"),
        frozenset({Code.UNCOVERED_CONTENT})),
    "another version without a signature": (
        _write("Contents/Frameworks/Kit.framework/Versions/B/Kit", program()),
        frozenset({Code.MALFORMED, Code.UNSIGNED})),
    "another version by a stranger": (
        _version_of(_stranger()), frozenset({Code.UNTRUSTED_ROOT, Code.NO_PATH})),
    "another version by somebody else who is trusted": (
        _version_of(identity("p256", "Somebody Else")), frozenset({Code.REQUIREMENT_FAILED})),
    "a stranger's ticket on nested code": (_nested_ticket, frozenset({Code.TICKET})),
    "code as a second list of properties": (
        _write(f"{KIT}/Versions/A/Info.plist", program()), frozenset({Code.UNCOVERED_CONTENT})),
    "no ticket where a ticket lies": (
        _write("Contents/CodeResources", b"anything"), frozenset({Code.TICKET})),
    "a broken ticket": (
        _write("Contents/CodeResources", b"s8ch" + bytes(40)), frozenset({Code.TICKET})),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_rejected_with_its_cause(app: Path, tmp_path: Path, attack: str) -> None:
    change, causes = ATTACKS[attack]
    change(app)
    verdict = _now(app, tmp_path)
    assert verdict.outcome is Outcome.REJECTED, _told(verdict)
    assert verdict.cause in causes, _told(verdict)


def test_a_framework_may_have_other_versions_of_its_signer(app: Path, tmp_path: Path) -> None:
    _version_of(identity())(app)
    verdict = _now(app, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, _told(verdict)
    alone = _now(app / KIT, tmp_path)
    assert alone.outcome is Outcome.ACCEPTED, _told(alone)


def test_a_framework_alone_has_no_versions_of_strangers(app: Path, tmp_path: Path) -> None:
    _version_of(_stranger())(app)
    assert _now(app / KIT, tmp_path).outcome is Outcome.REJECTED


def test_many_versions_cost_little(app: Path, tmp_path: Path) -> None:
    for number in range(300):
        (app / KIT / f"Versions/{number}").mkdir()
    started = time.process_time()
    assert _now(app, tmp_path).cause is Code.LIMIT_EXCEEDED
    assert time.process_time() - started < 5


def test_nested_code_of_a_stranger_rejects_though_its_name_is_asked_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A requirement of the outer signer's may say no more than an identifier."""
    files = application()
    files["Contents/MacOS/helper"] = sign_bytes("helper", program(), who=_stranger())
    asked = "signward.formats._bundle_sign.designated_text"
    monkeypatch.setattr(asked, lambda _code: "identifier helper")
    path = lay_out(
        tmp_path / "App.app", {p: d for p, d in files.items() if p.startswith("Contents/MacOS/")}
    )
    lay_out(path, {"Contents/Info.plist": info("App")})
    from signward.cli.commands import run

    run(["sign", "--key", write_key(tmp_path / "key.pem", identity()), str(path)])
    assert _now(path, tmp_path).outcome is Outcome.ACCEPTED  # the very code that the list names
    other = sign_bytes("helper", program(symbols=80), who=_stranger())
    (path / "Contents/MacOS/helper").write_bytes(other)
    verdict = _now(path, tmp_path)
    assert verdict.cause in {Code.UNTRUSTED_ROOT, Code.NO_PATH}, _told(verdict)


def test_names_that_continue_anothers_hide_nothing(tmp_path: Path) -> None:
    """In order of bytes "a.bundle-2.bundle" stands between "a.bundle" and what is in it."""
    files = application()
    plug = {p: d for p, d in files.items() if "/Plug.bundle/" in p}
    files |= {p.replace("Plug.bundle/", "Plug.bundle-2.bundle/"): d for p, d in plug.items()}
    path = _signed(tmp_path, "App.app", files)
    assert _now(path, tmp_path).outcome is Outcome.ACCEPTED, _told(_now(path, tmp_path))
    listed = plistlib.loads((path / "Contents/_CodeSignature/CodeResources").read_bytes())
    assert not [p for p in listed["files2"] if p.startswith("PlugIns/Plug.bundle/")]


def test_paths_longer_than_any_on_macos_are_refused(app: Path, tmp_path: Path) -> None:
    (app / "Contents/Resources" / "/".join(["x" * 200] * 6)).mkdir(parents=True)
    assert _now(app, tmp_path).cause is Code.LIMIT_EXCEEDED


def test_what_may_be_taken_out_or_added_may(app: Path, tmp_path: Path) -> None:
    (app / "Contents/Resources/en.lproj/b.strings").unlink()
    (app / "Contents/Resources/.DS_Store").write_bytes(b"other")
    (app / "Contents/.DS_Store").write_bytes(b"new")
    (app / "Contents/Resources/fr.lproj").mkdir()
    (app / "Contents/Resources/fr.lproj/locversion.plist").write_bytes(b"<plist/>")
    (app / ".DS_Store").write_bytes(b"new")
    verdict = _now(app, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, _told(verdict)


def test_every_changed_file_is_named(app: Path, tmp_path: Path) -> None:
    for name in ("Resources/a.txt", "Resources/Base.lproj/c.nib", "MacOS/notes.txt"):
        (app / "Contents" / name).write_bytes(b"changed")
    said = "\n".join(_told(_now(app, tmp_path)))
    for name in ("a.txt", "c.nib", "notes.txt"):
        assert name in said


@pytest.mark.slow
def test_no_flipped_byte_of_any_file_is_accepted(app: Path, tmp_path: Path) -> None:
    exempt = {"PkgInfo", ".DS_Store"}
    for path in sorted(p for p in app.rglob("*") if p.is_file() and not p.is_symlink()):
        data = path.read_bytes()
        limit = len(data) if len(data) < 200 else 24
        for offset in {(index * len(data)) // limit for index in range(limit)}:
            changed = bytearray(data)
            changed[offset] ^= 1 << (offset % 8)
            path.write_bytes(changed)
            verdict = _now(app, tmp_path)
            if verdict.outcome is Outcome.ACCEPTED:
                assert path.name in exempt, (path, offset)
        path.write_bytes(data)


def test_a_folder_that_is_no_bundle_is_a_folder(tmp_path: Path, judging: Context) -> None:
    (tmp_path / "a.app").mkdir()
    assert assess_path(tmp_path / "a.app", judging).cause is Code.NOT_A_FILE
    assert assess_path(tmp_path, judging).cause is Code.NOT_A_FILE


@pytest.mark.parametrize(
    "data",
    [b"", b"<plist", plistlib.dumps({"CFBundleExecutable": 3}), b"bplist00",
     plistlib.dumps({"CFBundleExecutable": "a\0b"}, fmt=plistlib.FMT_BINARY)],
)  # fmt: skip
def test_property_lists_at_fault_are_rejected(app: Path, tmp_path: Path, data: bytes) -> None:
    (app / "Contents/Info.plist").write_bytes(data)
    assert _now(app, tmp_path).cause in {Code.MALFORMED, Code.AMBIGUOUS}


def test_a_bundle_without_code_is_unsigned_or_not_judged(tmp_path: Path) -> None:
    plist = plistlib.dumps({"CFBundleIdentifier": "org.example.data"})
    path = lay_out(tmp_path / "Data.bundle", {"Contents/Info.plist": plist})
    assert _now(path, tmp_path).cause is Code.UNSIGNED
    lay_out(path, {"Contents/_CodeSignature/CodeDirectory": b"anything"})
    verdict = _now(path, tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)


def test_an_executable_may_be_called_as_its_bundle_is(tmp_path: Path) -> None:
    plist = plistlib.dumps({"CFBundleIdentifier": "org.example.app"})
    files = {"Contents/Info.plist": plist, "Contents/MacOS/App": program()}
    path = _signed(tmp_path, "App.app", dict(files))
    assert _now(path, tmp_path).outcome is Outcome.ACCEPTED


def test_two_spellings_of_one_name_are_refused(app: Path, tmp_path: Path) -> None:
    for name in ("\u00e9", "e\u0301"):
        (app / "Contents/Resources" / name).write_bytes(b"x")
    assert _now(app, tmp_path).cause is Code.AMBIGUOUS


def test_forks_are_content_that_nobody_signed(app: Path, tmp_path: Path) -> None:
    try:
        os.setxattr(app / "Contents/Resources/a.txt", "user.com.apple.ResourceFork", b"x")
    except OSError:
        pytest.skip("extended attributes: this file system has none")
    assert _now(app, tmp_path).cause is Code.UNCOVERED_CONTENT
