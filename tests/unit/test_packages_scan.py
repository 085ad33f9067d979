"""scan and verify with a system's packages: every way counted, the order of ways, the cache."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conformance.authenticode.cases import all_cases

from signward.cli.commands import run
from signward.cli.fetch_debs import fetch
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.inventory.packages.rooted import Root
from signward.policy.ways import told_ways, way_of
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.packages import archives
from signward.verbs.packages.places import is_owned, reaches
from signward.verbs.verify import assess_path
from signward.verbs.vouching import vouched
from signward.wire.source import open_source
from tests.builders.debian import AT, MADE, Deb, File, Machine

SIGNED = next(c for c in all_cases() if c.expected == "accepted" and not c.catalogs
              and c.file.endswith(".exe"))  # fmt: skip
UNTRUSTED = next(c for c in all_cases() if c.cause == "untrusted-root" and c.file.endswith(".exe"))
LISTED = next(c for c in all_cases() if c.catalogs and c.expected == "accepted")

DEB = Deb(
    name="tool",
    files={
        "/usr/bin/tool": File(b"#!/bin/sh\necho hello\n", 0o755),
        "/usr/share/tool/notes.txt": File(b"notes\n"),
        "/usr/share/tool/signed.exe": File(SIGNED.data),
        "/usr/share/tool/untrusted.exe": File(UNTRUSTED.data),
        "/usr/share/tool/listed.exe": File(LISTED.data),
    },
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "system", (DEB,)).write()
    machine.put("/usr/bin/stray", b"#!/bin/sh\n", 0o755)
    return machine


def scanned(machine: Machine, *more: str, code: int = 0) -> dict[str, dict[str, Any]]:
    out = machine.root.parent / "out.jsonl"
    words = ["scan", str(machine.root / "usr"), "--system-root", str(machine.root), "--jobs", "1"]
    words += ["--at", "2024-06-01", "--format", "jsonl", "--output", str(out), "--quiet"]
    assert run([*words, *more]) == code
    records = [json.loads(line) for line in out.read_text().splitlines()]
    return {one["subject"].removeprefix(str(machine.root)): one for one in records}


def test_a_scan_judges_files_of_every_kind(machine: Machine) -> None:
    told = scanned(machine, "--no-cache")
    assert told["/usr/share/tool/notes.txt"]["rule"] == "by-package"
    assert told["/usr/bin/tool"]["outcome"] == "accepted"
    assert told["/usr/bin/stray"]["cause"] == "unsigned"
    assert set(told) == {*DEB.files, "/usr/bin/stray"}


def test_without_packages_it_is_as_before(machine: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["scan", str(machine.root), "--no-packages", "--no-cache", "--jobs", "1", "--quiet"]
    assert run([*words, "--format", "jsonl", "--output", str(out)]) == 0
    subjects = [json.loads(line)["subject"] for line in out.read_text().splitlines()]
    assert subjects
    assert not [one for one in subjects if one.endswith("notes.txt")]


def test_verdicts_are_remembered_until_a_packages_word_changes(machine: Machine) -> None:
    cache = ("--cache", str(machine.root.parent / "scan.sqlite"))
    first = scanned(machine, *cache)
    assert scanned(machine, *cache) == first
    (machine.root / f"var/cache/apt/archives/{DEB.filename}").unlink()
    gone = scanned(machine, *cache)
    assert gone["/usr/bin/tool"]["cause"] == "not-vouched"
    assert gone["/usr/bin/stray"]["cause"] == "unsigned"


def test_what_is_in_a_vouched_container_is_vouched_for(tmp_path: Path) -> None:
    import gzip

    packed = gzip.compress(b"#!/bin/sh\necho hi\n" * 50, mtime=0)
    deb = Deb(name="packed", files={"/usr/share/packed/x.ps1.gz": File(packed)})
    machine = Machine(tmp_path / "system", (deb,)).write()
    assert set(scanned(machine, "--no-cache")) == {"/usr/share/packed/x.ps1.gz"}
    machine.put("/usr/share/packed/x.ps1.gz", gzip.compress(b"Get-Date\n" * 50, mtime=0))
    told = scanned(machine, "--no-cache")
    assert told["/usr/share/packed/x.ps1.gz"]["cause"] == "digest-mismatch"
    assert told["/usr/share/packed/x.ps1.gz!/x.ps1"]["cause"] == "unsigned"


def test_lists_that_deny_are_asked_about_members_too(tmp_path: Path) -> None:
    import gzip

    script = gzip.compress(b"Get-Date\n" * 50, mtime=0)
    deb = Deb(name="packed", files={"/usr/share/packed/x.ps1.gz": File(script)})
    machine = Machine(tmp_path / "system", (deb,)).write()
    denying = tmp_path / "list.xml"
    denying.write_bytes(
        b'<?xml version="1.0"?><SiPolicy xmlns="urn:schemas-microsoft-com:sipolicy"></SiPolicy>'
    )
    told = scanned(machine, "--no-cache", "--block-list", str(denying))
    assert told["/usr/share/packed/x.ps1.gz"]["outcome"] == "accepted"
    assert told["/usr/share/packed/x.ps1.gz!/x.ps1"]["cause"] == "unsigned"


def test_reports_count_who_vouches(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    page = machine.root.parent / "page.html"
    words = ["scan", str(machine.root / "usr"), "--system-root", str(machine.root), "--jobs", "1",
             "--at", "2024-06-01", "--no-cache", "--html", str(page)]  # fmt: skip
    assert run(words) == 0
    assert "vouched for by its package 5, nobody 1" in capsys.readouterr().out
    assert "Vouched for by: its package 5, nobody 1." in page.read_text()


def test_verify_gives_the_same_word(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", "--system-root", str(machine.root), "--at", "2024-06-01"]
    assert run([*words, str(machine.root / "usr/bin/tool")]) == 0
    assert capsys.readouterr().out.startswith("ACCEPTED")
    assert run([*words, str(machine.root / "usr/bin/stray")]) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-packages", "--debs", "/tmp"], "--no-packages"),
        (["--fetch-debs", "--system-root", "/tmp"], "--fetch-debs"),
        (["--debs", "/nowhere-at-all"], "no folder there"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert run(["verify", *words, str(file)]) == 2
    assert told in capsys.readouterr().err


def options(machine: Machine, **how: object) -> Options:
    packages = PackageOptions(root=str(machine.root))
    return replace(Options(at=AT, packages=packages), **how)


def anchored(machine: Machine, case: Any) -> Options:
    anchor = machine.root.parent / "anchor.pem"
    anchor.write_bytes(b"".join(case.anchors))
    return options(machine, at=case.at, anchors=(str(anchor),))


def test_a_signature_of_its_own_comes_first(machine: Machine) -> None:
    place = machine.root / "usr/share/tool/signed.exe"
    chosen = anchored(machine, SIGNED)
    verdict = assess_path(place, Context(chosen))
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "accepted/best")
    assert verdict.facts["package"] == "tool"
    assert Code.BY_PACKAGE in {f.code for f in verdict.findings}


def test_its_own_signature_counts_though_the_package_says_otherwise(machine: Machine) -> None:
    place = machine.put("/usr/share/tool/notes.txt", SIGNED.data)
    verdict = assess_path(place, Context(anchored(machine, SIGNED)))
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "accepted/best")
    warned = {f.code for f in verdict.findings if f.effect is Effect.WARN}
    assert Code.DIGEST_MISMATCH in warned


def test_the_package_comes_second(machine: Machine) -> None:
    """A signature of its own that nobody trusts is outweighed by the archive's."""
    place = machine.root / "usr/share/tool/untrusted.exe"
    verdict = assess_path(place, Context(options(machine)))
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-package")
    place.write_bytes(UNTRUSTED.data + bytes(8))
    assert assess_path(place, Context(options(machine))).outcome is Outcome.REJECTED


def test_the_catalog_comes_third(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "catalogs"
    folder.mkdir()
    for number, data in enumerate(LISTED.catalogs):
        (folder / f"{number}.cat").write_bytes(data)
    chosen = replace(anchored(machine, LISTED), catalogs=(str(folder),))
    by_package = assess_path(machine.root / "usr/share/tool/listed.exe", Context(chosen))
    assert by_package.rule in ("by-package", "by-catalog")
    stray = machine.put("/usr/share/tool/elsewhere.exe", LISTED.data)
    verdict = assess_path(stray, Context(chosen))
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-catalog")


@pytest.mark.parametrize("code", [Code.REVOKED, Code.BLOCKED, Code.DIGEST_REVOKED])
def test_a_denial_stands_whoever_vouches(machine: Machine, code: Code) -> None:
    place, context = machine.root / "usr/bin/tool", Context(options(machine))
    denial = Finding(code=code, effect=Effect.REJECT, subject="x", found="it", required="not")
    accepted = assess_path(place, context)
    denied: Verdict = replace(
        accepted, outcome=Outcome.REJECTED, cause=code, findings=(denial,), rule="artifact"
    )
    with open_source(place) as source:
        assert vouched(denied, source, context) is denied


def test_a_publisher_that_was_asked_for_may_be_the_archives(machine: Machine) -> None:
    policy = replace(Options().policy, publishers=(f"openpgp:{machine.key.fingerprint.hex()}",))
    place = machine.root / "usr/bin/tool"
    assert assess_path(place, Context(options(machine, policy=policy))).outcome is Outcome.ACCEPTED
    other = replace(policy, publishers=("somebody else",))
    verdict = assess_path(place, Context(options(machine, policy=other)))
    assert verdict.cause is Code.PUBLISHER_MISMATCH


def test_older_releases_are_remembered_on_the_running_system(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older Release than one that counted is played back; images of others are only older."""
    context = Context(Options(at=AT))
    root = Root(str(machine.root))
    older = dict(machine.release) | {"Date": "Mon, 01 Apr 2024 00:00:00 UTC"}

    def told() -> list[Code]:
        (one,), _ = archives.read_archives(root, context)
        return [finding.code for finding in one.warrant.findings]

    assert told() == []
    machine.release = older
    machine.lists()
    assert told() == []
    monkeypatch.setattr(Root, "is_running", True)
    monkeypatch.setattr(root, "place", Root.place.__get__(root))
    monkeypatch.setattr(root, "_outside", lambda path: f"{machine.root}{path}")
    assert told() == []
    machine.release = {}
    machine.lists()
    assert told() == []
    machine.release = older
    machine.lists()
    assert told() == [Code.REPLAYED]


def test_ways_in_words() -> None:
    assert way_of(Outcome.ACCEPTED, "by-package") == "package"
    assert way_of(Outcome.ACCEPTED, "accepted/best") == "embedded"
    assert way_of(Outcome.REJECTED, "by-package") == "nobody"
    assert told_ways({"nobody": 1200, "embedded": 2}) == "its own signature 2, nobody 1,200"


def test_where_packages_lie() -> None:
    assert is_owned("/usr/bin/ls")
    assert not is_owned("/usr/local/bin/ls")
    assert not is_owned("/home/x")
    assert reaches("/")
    assert reaches("/usr/share")
    assert not reaches("/tmp")


@pytest.mark.parametrize("dry", [False, True])
def test_fetching_is_told_first(
    dry: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def record(command: list[str], **how: object) -> SimpleNamespace:
        assert "apt-get download a:amd64=1 b=2" in capsys.readouterr().err
        assert how["cwd"].is_dir()  # type: ignore[attr-defined]
        asked.append(command)
        return SimpleNamespace(returncode=100, stderr="E: no network\n")

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setattr("os.access", lambda *_: True)
    fetch(("a:amd64=1", "b=2"), dry=dry)
    assert [one[-3:] for one in asked] == ([] if dry else [["--", "a:amd64=1", "b=2"]])
    if not dry:
        assert "warning: apt-get download: E: no network" in capsys.readouterr().err


def test_what_would_be_fetched(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "system", (DEB,), at_hand=False).write()
    system = Context(options(machine)).system
    assert system is not None
    assert system.absent([str(machine.root / "usr")]) == ("tool:amd64=1.0-1",)
    assert system.absent([str(machine.root / "usr/bin/stray")]) == ()
    assert MADE < AT


def test_a_scan_tells_the_command_that_fetches_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path / "system", (DEB,), at_hand=False).write()
    page, lines = tmp_path / "page.html", tmp_path / "lines"
    words = ["scan", str(machine.root / "usr"), "--system-root", str(machine.root), "--jobs", "1",
             "--at", "2024-06-01", "--no-cache", "--html", str(page)]  # fmt: skip
    assert run(words) == 0
    told = "1 package not at hand would speak of files here: the same scan with --fetch-debs"
    assert told in capsys.readouterr().out
    assert told in page.read_text()
    assert run([*words, "--format", "jsonl", "--output", str(lines), "--quiet"]) == 0
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {one["facts"]["package-fetch"] for one in records} == {"tool:amd64=1.0-1"}


@pytest.mark.parametrize("verb", ["scan", "verify"])
def test_what_could_not_be_used_is_told(
    verb: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that is not the Release's, and keys that the image brought itself."""
    path = machine.root / "var/lib/apt/lists"
    (one,) = path.glob("*_Packages")
    one.write_bytes(one.read_bytes() + b"\n")
    place = machine.root / "usr/bin/tool"
    more = ["--no-cache", "--jobs", "1", "--quiet"] if verb == "scan" else []
    run([verb, str(place), "--system-root", str(machine.root), "--at", "2024-06-01", *more])
    told = capsys.readouterr().err
    assert "not the list that" in told
    assert "judged by the keys it holds itself" in told


def test_nothing_but_names_of_packages_is_handed_to_apt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetch(("a:amd64=1", "-o=Dir::Etc=x", "b\x1b[2J=1", "c=1/../x", "d"), dry=True)
    assert capsys.readouterr().err.endswith("apt-get download a:amd64=1\n")
