"""What an intruder with root may write: links, modes, diversions, lists.  No evidence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from signward.errors import UnreadableError
from signward.findings import Code, Effect
from signward.frozen import replace
from signward.inventory.packages.rooted import MAX_LINKS, Root
from signward.state import Outcome, Verdict
from signward.trust.feed import RevokedDigest, RevokedPublisher
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.verify import assess_path
from signward.wire.source import FileSource, open_source
from tests.builders.debian import AT, Deb, File, Machine
from tests.builders.feeds import feed, files

PROGRAM = b"#!/bin/sh\necho hello\n" * 40
NOTES = b"#!/bin/sh\nchmod 4755 /bin/sh\n"
TOOL = Deb(
    name="tool",
    files={
        "/usr/bin/tool": File(PROGRAM, 0o755),
        "/usr/bin/t": File(link="tool"),
        "/usr/lib/tool/run": File(b"run", 0o755),
        "/usr/lib/other/run": File(b"another run", 0o755),
        "/usr/share/doc/tool/example.sh": File(NOTES, 0o755),
        "/usr/share/man/man1/tool.1.gz": File(b"a page"),
    },
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "system", (TOOL,)).write()


def judge(machine: Machine, path: str, **how: object) -> Verdict:
    packages = PackageOptions(root=str(machine.root), ledger=str(machine.root.parent / "ledger"))
    chosen = replace(Options(at=AT, packages=packages), **how)
    return assess_path(machine.root / path.lstrip("/"), Context(chosen))


def diverted(machine: Machine, old: str, new: str) -> Verdict:
    machine.put("/var/lib/dpkg/diversions", f"{old}\n{new}\nsomebody\n".encode())
    machine.put(new, TOOL.files[old].content, TOOL.files[old].mode)
    return judge(machine, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/usr/share/doc/tool/example.sh", "/usr/bin/sudo"),
        ("/usr/share/doc/tool/example.sh", "/etc/cron.daily/example.distrib.sh"),
        ("/usr/share/doc/tool/example.sh", "/usr/share/doc/tool/example.sh.conf"),
        ("/usr/bin/tool", "/usr/bin/tool3"),
        ("/usr/bin/tool", "/usr/bin/tool.3"),
        ("/usr/bin/tool", "/usr/bin/distrib.tool"),
        ("/usr/bin/tool", "/usr/bin/tool.distrib.conf"),
    ],
)
def test_a_diversion_to_a_name_that_may_be_run_is_not_believed(
    machine: Machine, old: str, new: str
) -> None:
    verdict = diverted(machine, old, new)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.NOT_VOUCHED)
    assert "a diversion that nobody signed" in verdict.findings[0].found
    assert verdict.facts["diverted-from"] == old


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/usr/bin/tool", "/usr/bin/tool.distrib"),
        ("/usr/bin/tool", "/usr/bin/tool.tool"),
        ("/usr/share/man/man1/tool.1.gz", "/usr/share/man/man1/tool.wrapper.1.gz"),
    ],
)
def test_a_diversion_out_of_the_way_is_named(machine: Machine, old: str, new: str) -> None:
    verdict = diverted(machine, old, new)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts["diverted-from"] == old


@pytest.mark.parametrize("line", ["/usr/bin/sudo", "/usr/bin/../bin/sudo", "/usr/bin/sudo/"])
def test_a_line_in_dpkgs_list_makes_no_file_a_packages(machine: Machine, line: str) -> None:
    info = machine.root / "var/lib/dpkg/info/tool.list"
    info.write_bytes(info.read_bytes() + f"{line}\n".encode())
    machine.put("/usr/bin/sudo", PROGRAM, 0o755)
    assert judge(machine, "/usr/bin/sudo").cause is Code.UNSIGNED


def test_rights_that_only_statoverride_has_are_not_accepted(machine: Machine) -> None:
    (machine.root / "usr/bin/tool").chmod(0o4755)
    machine.put("/var/lib/dpkg/statoverride", b"root root 4755 /usr/bin/tool\n")
    verdict = judge(machine, "/usr/bin/tool")
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.ATTRIBUTE_RULE)
    assert "dpkg-statoverride has them, which nobody signed" in str(verdict.findings)


def test_capabilities_are_rights_that_no_package_gives(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cap_setuid on an interpreter is as good as setuid; the content is the package's own."""
    told = {"security.capability": b"\1\0\0\2" + bytes(16)}
    monkeypatch.setattr(FileSource, "attribute", lambda _, name: told.get(name, b""))
    verdict = judge(machine, "/usr/bin/tool")
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.ATTRIBUTE_RULE)
    told.clear()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


def test_a_link_in_place_of_a_program_is_rejected(machine: Machine) -> None:
    place = machine.root / "usr/bin/tool"
    place.unlink()
    place.symlink_to("../share/doc/tool/example.sh")
    verdict = judge(machine, "/usr/bin/tool")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)


def test_a_link_to_the_same_content_elsewhere_is_what_the_package_brings(machine: Machine) -> None:
    place = machine.root / "usr/bin/tool"
    place.rename(machine.root / "usr/bin/moved")
    place.symlink_to("moved")
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED
    assert judge(machine, "/usr/bin/moved").cause is Code.UNSIGNED


@pytest.mark.parametrize("target", ["../share/doc/tool/example.sh", "./tool", "../lib/tool/run"])
def test_a_packages_link_that_leads_elsewhere_is_rejected(machine: Machine, target: str) -> None:
    assert judge(machine, "/usr/bin/t").outcome is Outcome.ACCEPTED
    place = machine.root / "usr/bin/t"
    place.unlink()
    place.symlink_to(target)
    verdict = judge(machine, "/usr/bin/t")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    assert "a link to tool, as tool 1.0-1" in verdict.findings[0].required


def test_a_folder_that_is_a_link_brings_no_other_packages_files(machine: Machine) -> None:
    folder = machine.root / "usr/lib/tool"
    (folder / "run").unlink()
    folder.rmdir()
    folder.symlink_to("other")
    verdict = judge(machine, "/usr/lib/tool/run")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    assert judge(machine, "/usr/lib/other/run").outcome is Outcome.ACCEPTED


def test_a_link_on_the_way_of_links_is_looked_at(machine: Machine) -> None:
    """Links that nobody claims (alternatives) are followed, to what packages claim."""
    (machine.root / "usr/bin/any").symlink_to("../../etc/any")
    (machine.root / "etc/any").symlink_to("../usr/bin/t")
    assert judge(machine, "/usr/bin/any").outcome is Outcome.ACCEPTED
    place = machine.root / "usr/bin/t"
    place.unlink()
    place.symlink_to("../share/doc/tool/example.sh")
    assert judge(machine, "/usr/bin/any").cause is Code.DIGEST_MISMATCH


def test_too_many_links_lead_nowhere(tmp_path: Path) -> None:
    """The system would follow the last ones itself, and out of the root."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"x")
    for number in range(MAX_LINKS):
        (root / f"l{number}").symlink_to(f"l{number + 1}")
    (root / f"l{MAX_LINKS}").symlink_to(outside)
    with pytest.raises(UnreadableError), open_source(Root(str(root)).place("/l0")):
        pass
    assert Root(str(root)).read("/l0", 100) is None


def test_findings_of_hostile_systems_never_pass_for_less(machine: Machine) -> None:
    (machine.root / "usr/bin/tool").chmod(0o4755)
    verdict = judge(machine, "/usr/bin/tool")
    assert [f.effect for f in verdict.findings if f.code is Code.ATTRIBUTE_RULE] == [Effect.REJECT]


def test_an_archive_whose_key_a_feed_revokes_vouches_for_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    since = AT.replace(year=2023)
    named = RevokedPublisher(identity=f"openpgp:{machine.key.fingerprint.hex()}", revoked=since)
    path, public = files(tmp_path / "feed", feed(named, issued=AT))
    verdict = judge(machine, "/usr/bin/tool", feeds=(path,), feed_keys=(public,))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.PUBLISHER_REVOKED)
    other = RevokedPublisher(identity="openpgp:" + "00" * 20, revoked=since)
    path, public = files(tmp_path / "feed", feed(other, issued=AT))
    verdict = judge(machine, "/usr/bin/tool", feeds=(path,), feed_keys=(public,))
    assert verdict.outcome is Outcome.ACCEPTED


def test_a_file_whose_digest_a_feed_revokes_stays_so(machine: Machine, tmp_path: Path) -> None:
    digest = hashlib.sha256(PROGRAM).hexdigest()
    named = RevokedDigest(of="file", algorithm="sha256", digest=digest, revoked=AT)
    path, public = files(tmp_path / "feed", feed(named, issued=AT))
    verdict = judge(machine, "/usr/bin/tool", feeds=(path,), feed_keys=(public,))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_REVOKED)
