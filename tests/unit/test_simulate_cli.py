"""``scan --inventory``, ``policy simulate`` and ``policy derive`` as their users meet them."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from conformance.authenticode.rpm import delta

from signward.cli.commands import run
from signward.errors import EvidenceError
from signward.inventory.fleet import Fleet, Size
from signward.policy.rules.fleet import Host
from signward.policy.rules.model import Mode
from signward.policy.rules.reading import read_document
from signward.verbs.policies.known import opened_fleet
from tests.builders.policies import AT
from tests.unit.test_audited_lines import FAPOLICYD, SANTA

RPM = delta()
"""Of a kind that no format judges yet: a difference between two packages."""

HEAD = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
SCRIPT = b"WScript.Echo 1\r\n"
DIGEST = f"file:sha256:{hashlib.sha256(SCRIPT).hexdigest()}"

POLICY = f"""schema = 1
name = "desks"
version = 2

[[rule]]
id = "echo"
action = "allow"
digest = ["{DIGEST}"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "echo.vbs").write_bytes(SCRIPT)
    (root / "other.vbs").write_bytes(b"WScript.Echo 2\r\n")
    (root / "broken.exe").write_bytes(HEAD + bytes(300))
    (root / "tool").write_bytes(RPM)
    return root


@pytest.fixture
def fleet(tree: Path) -> Path:
    path = tree.parent / "fleet.db"
    assert scan(tree, "--inventory", str(path), "--host", "desk-1", "--tag", "desk") == 0
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def scan(tree: Path, *words: str) -> int:
    return run(["scan", str(tree), "--cache", str(tree.parent / "cache"), "--quiet", *words])


def simulate(policy: Path, fleet: Path, *words: str) -> int:
    return run(["policy", "simulate", str(policy), "--inventory", str(fleet), *words])


def simulated(policy: Path, fleet: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> dict:  # type: ignore[type-arg]
    simulate(policy, fleet, "--format", "json")
    found: dict[str, object] = json.loads(capfdbinary.readouterr().out)
    return found


def test_a_scan_keeps_what_a_host_has(fleet: Path, tree: Path) -> None:
    with Fleet(fleet) as opened:
        assert opened.hosts() == (Host(name="desk-1", tags=frozenset({"desk"})),)
        assert opened.size() == Size(1, 4, 4)
        found = {known.places[0].path: known.subject for known in opened.known()}
    echo = found[str(tree / "echo.vbs")]
    assert DIGEST in echo.digests
    assert (echo.file_class, echo.cause) == ("script", "unsigned")
    assert "signers" in found[str(tree / "tool")].unknown, "no format judged it"
    assert "origin" in echo.unknown
    assert "host" not in echo.unknown


def test_verdicts_remembered_without_digests_are_not_used(tree: Path) -> None:
    assert scan(tree) == 0
    path = tree.parent / "fleet.db"
    assert scan(tree, "--inventory", str(path)) == 0
    with Fleet(path) as opened:
        assert all(known.subject.digests for known in opened.known())


def test_what_a_policy_decided_is_not_what_is_kept(
    tree: Path, policy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tree.parent / "fleet.db"
    assert scan(tree, "--inventory", str(path), "--policy", str(policy), "--format", "jsonl") == 0
    assert '"no-rule"' in capfd.readouterr().out
    with Fleet(path) as opened:
        causes = {known.subject.cause for known in opened.known()}
    assert causes == {"unsigned", "malformed", "unsupported-kind"}


def test_a_second_scan_says_what_is_there_now(fleet: Path, tree: Path) -> None:
    (tree / "other.vbs").unlink()
    assert scan(tree, "--inventory", str(fleet), "--host", "desk-1") == 0
    assert scan(tree, "--inventory", str(fleet), "--host", "desk-2") == 0
    with Fleet(fleet) as opened:
        assert opened.size() == Size(2, 3, 6)


def test_what_is_skipped_in_the_report_is_kept(tree: Path) -> None:
    path = tree.parent / "fleet.db"
    assert scan(tree, "--inventory", str(path), "--skip-unsigned") == 0
    with Fleet(path) as opened:
        assert opened.size().files == 4
        assert opened.hosts()[0].name


def test_a_scan_does_not_write_into_another_database(tree: Path, policy: Path) -> None:
    assert scan(tree, "--inventory", str(policy)) == 2
    assert policy.read_text() == POLICY


def test_files_that_would_be_stopped_are_told(
    policy: Path, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(policy, fleet) == 1
    out = capsys.readouterr().out
    assert "desks 2 (enforce)" in out
    assert "Of 4 files on 1 host, 1 would run; 3 would be stopped, on 1 host." in out
    for word in ("no rule lets it in", "file-other.vbs", "unsupported-kind", "broken.exe"):
        assert word in out
    assert "1 file stopped were altered" in out


def test_json_holds_all_of_it(
    policy: Path, fleet: Path, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    found = simulated(policy, fleet, capfdbinary)
    assert found["schema"] == 1
    assert found["fates"]["stopped"] == {"files": 3, "sightings": 3, "hosts": 1}
    assert found["suspect"]["files"] == 1, "a broken image is not proposed"
    assert {p["rule"]["id"] for p in found["proposals"]} == {"file-other.vbs", "file-tool"}
    assert str(tree / "broken.exe") in {row["path"] for row in found["listed"]}


def test_nothing_stopped_ends_with_0(policy: Path, tree: Path) -> None:
    for name in ("other.vbs", "broken.exe", "tool"):
        (tree / name).unlink()
    fleet = tree.parent / "one.db"
    scan(tree, "--inventory", str(fleet))
    assert simulate(policy, fleet) == 0


def test_reports_are_written_whole(policy: Path, fleet: Path, tmp_path: Path) -> None:
    for form in ("table", "json", "html"):
        assert simulate(policy, fleet, "--format", form, "--output", str(tmp_path / form)) == 1
    assert simulate(policy, fleet, "--html", str(tmp_path / "page"), "--quiet") == 1
    assert (tmp_path / "page").read_bytes()[:9] == b"<!doctype"
    assert "file-other.vbs" in (tmp_path / "table").read_text()
    assert json.loads((tmp_path / "json").read_bytes())["policy"] == "desks"
    assert not list(tmp_path.glob(".*"))


def test_what_is_proposed_lets_it_in(
    policy: Path, fleet: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    added = tmp_path / "proposed.toml"
    simulate(policy, fleet, "--propose", str(added))
    assert read_document("p", added.read_bytes()).supplements == "desks"
    capfdbinary.readouterr()
    both = ["policy", "simulate", str(policy), str(added), "--inventory", str(fleet)]
    assert run([*both, "--format", "json"]) == 1
    fates = json.loads(capfdbinary.readouterr().out)["fates"]
    assert (fates["runs"]["files"], fates["stopped"]["files"]) == (3, 1)


def test_a_derived_policy_lets_in_what_it_came_from(
    fleet: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    made = tmp_path / "golden.toml"
    words = ["policy", "derive", "--inventory", str(fleet), "--name", "golden"]
    assert run([*words, "-o", str(made)]) == 0
    assert b"3 rules let in 3 of 3 files" in capfdbinary.readouterr().err
    document = read_document("golden", made.read_bytes())
    assert (document.name, document.mode, len(document.rule)) == ("golden", Mode.MONITOR, 3)
    found = simulated(made, fleet, capfdbinary)
    assert (found["fates"]["runs"]["files"], found["fates"]["stopped"]["files"]) == (3, 1)
    assert run([*words, "--mode", "enforce", "--quiet"]) == 0
    assert b'mode = "enforce"' in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--least-hosts", "0"], ["--least-hosts", "x"], ["--by", "path"], ["--format", "csv"],
        ["--at", "yesterday"],
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(policy: Path, fleet: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        simulate(policy, fleet, *words)


def test_an_absent_inventory_is_told(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(policy, tmp_path / "none.db") == 2
    assert "none.db" in capsys.readouterr().err


def test_records_stand_for_an_inventory(policy: Path, tree: Path) -> None:
    records = tree.parent / "desk-9.jsonl"
    assert scan(tree, "--format", "jsonl", "--output", str(records)) == 0
    with opened_fleet([records], AT) as fleet:
        assert fleet.hosts() == (Host(name="desk-9"),)
        assert fleet.size().files == 4
    assert simulate(policy, records) == 3, "no digest is known, and the policy asks for one"


def test_several_sources_are_one_fleet(fleet: Path, tree: Path) -> None:
    records = tree.parent / "desk-9.jsonl"
    other = tree.parent / "other.db"
    scan(tree, "--format", "jsonl", "--output", str(records))
    shutil.copy(fleet, other)
    with opened_fleet([fleet, other, records], AT) as all_of_it:
        assert {host.name for host in all_of_it.hosts()} == {"desk-1", "desk-9"}
        assert all_of_it.size().hosts == 2
        paths = [place.path for known in all_of_it.known() for place in known.places]
    assert len(paths) == 8
    with Fleet(fleet) as opened:
        assert opened.size().hosts == 1, "what was read is left alone"


def test_the_log_of_an_enforcer_stands_for_an_inventory(
    policy: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    log, other = tmp_path / "santa.log", tmp_path / "fapolicyd.log"
    signed = SANTA.replace("agent|args", "signed|args").replace("a" * 64, "d" * 64)
    log.write_text(f"{SANTA}\n{SANTA}\n{signed}\n", "utf-8")
    other.write_text(f"{FAPOLICYD}\n", "utf-8")
    policy.write_text(
        f'{POLICY}\n[[rule]]\nid = "agent"\naction = "allow"\ndigest = ["file:sha256:{"a" * 64}"]\n'
    )
    simulate(policy, log, "--inventory", str(other), "--format", "json")
    found = json.loads(capfdbinary.readouterr().out)
    assert found["fates"]["runs"] == {"files": 1, "sightings": 2, "hosts": 1}
    assert found["fates"]["stopped"] == {"files": 1, "sightings": 1, "hosts": 1}
    assert found["fates"]["unsettled"] == {"files": 1, "sightings": 1, "hosts": 1}
    assert [m["name"] for m in found["missing"]] == ["digest:file"], "fapolicyd tells no digest"
    (proposal,) = found["proposals"]
    assert proposal["rule"]["publisher"]["team_id"] == "EXAMPLE001"
    assert proposal["known"] == 1


def test_what_is_no_source_is_told(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(b"nothing of the sort\n")
    assert simulate(policy, tmp_path / "x") == 2
    assert "no log that is known" in capsys.readouterr().err


def test_a_broken_record_is_told(tree: Path) -> None:
    records = tree.parent / "desk-9.jsonl"
    scan(tree, "--format", "jsonl", "--output", str(records))
    with records.open("ab") as out:
        out.write(b'{"schema":1,\n')
    with pytest.raises(EvidenceError), opened_fleet([records], AT):
        pass


def test_files_are_kept_where_they_really_lie(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tree / "tools.zip", "w") as archive:
        archive.writestr("inner.vbs", SCRIPT + SCRIPT)
    (tree.parent / "link").symlink_to(tree)
    monkeypatch.chdir(tree.parent)
    path = tree.parent / "fleet.db"
    assert scan(Path("link"), "--inventory", str(path)) == 0
    with Fleet(path) as opened:
        places = {place.path for known in opened.known() for place in known.places}
    assert {str(tree / "echo.vbs"), f"{tree}/tools.zip!/inner.vbs"} <= places
    assert all(place.startswith(str(tree)) for place in places)


def test_scripts_that_nothing_signs_are_kept(tree: Path) -> None:
    (tree / "run.py").write_bytes(b"#!/usr/bin/python3\nprint(1)\n")
    path = tree.parent / "fleet.db"
    assert scan(tree, "--inventory", str(path)) == 0
    with Fleet(path) as opened:
        found = {known.places[0].path: known.subject for known in opened.known()}
    assert found[str(tree / "run.py")].file_class == "script"


def test_tags_that_no_source_tells_are_unknown(policy: Path, tree: Path) -> None:
    records = tree.parent / "desk-9.jsonl"
    scan(tree, "--format", "jsonl", "--output", str(records))
    allowed = '[[rule]]\nid = "{}"\naction = "allow"\nhosts = ["{}"]\n'
    head = 'schema = 1\nname = "kiosks"\nversion = 1\n'
    policy.write_text(head + allowed.format("k", "kiosk"))
    assert simulate(policy, records) == 3, "the host may have this tag"
    policy.write_text(head + allowed.format("d", "desk-9"))
    assert simulate(policy, records) == 0
