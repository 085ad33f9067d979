"""Who vouches for a file of a Debian system: its package, through the archive's signed list."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from signward.errors import EvidenceError
from signward.findings import Code, Effect
from signward.frozen import replace
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.verify import assess_path
from signward.wire.compressed import pack
from tests.builders.debian import AT, KEYRING, MADE, PREFIX, Deb, File, Machine
from tests.builders.openpgp import Key, certificate, packet
from tests.builders.openpgp_clear import block, clear

PROGRAM = b"#!/bin/sh\necho hello\n" * 40
TOOL = Deb(
    name="tool",
    files={
        "/bin/tool": File(PROGRAM, 0o755),
        "/usr/share/tool/again": File(hard="/bin/tool"),
        "/usr/share/tool/link": File(link="../../bin/tool"),
        "/usr/share/tool/empty": File(b""),
        "/etc/tool.conf": File(b"colour = green\n"),
        "/usr/share/tool/data": File(bytes(range(256)) * 5000),
    },
    config=("/etc/tool.conf",),
)
OTHER = Deb(name="other", files={"/usr/bin/other": File(b"\x7fELF other", 0o755)})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "system", (TOOL, OTHER)).write()


def options(machine: Machine, at: datetime = AT, **how: object) -> Options:
    packages = PackageOptions(root=str(machine.root), ledger=str(machine.root.parent / "ledger"))
    return replace(Options(at=at, packages=packages), **how)


def judge(machine: Machine, path: str, at: datetime = AT, **how: object) -> Verdict:
    place = machine.root / path.lstrip("/")
    return assess_path(place, Context(options(machine, at, **how)))


def gist(verdict: Verdict) -> tuple[Outcome, Code | None]:
    return verdict.outcome, verdict.cause


@pytest.mark.parametrize("path", sorted(TOOL.files))
def test_every_file_is_vouched_for_by_its_package(machine: Machine, path: str) -> None:
    verdict = judge(machine, path)
    assert gist(verdict) == (Outcome.ACCEPTED, None)
    assert verdict.rule == "by-package"
    assert verdict.publisher is not None
    assert verdict.publisher.identity == f"openpgp:{machine.key.fingerprint.hex()}"
    facts = {name: verdict.facts[name] for name in ("package", "package-version", "archive")}
    assert facts == {"package": "tool", "package-version": "1.0-1", "archive": "Sample sample"}


def test_a_merged_folder_is_one(machine: Machine) -> None:
    assert judge(machine, "/bin/tool").outcome is Outcome.ACCEPTED
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


def test_where_folders_are_not_merged_each_is_its_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "system", (TOOL,), merged=False).write()
    assert judge(machine, "/bin/tool").outcome is Outcome.ACCEPTED
    machine.put("/usr/bin/tool", PROGRAM, 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.UNSIGNED


def test_a_changed_file_is_rejected_with_both_digests(machine: Machine) -> None:
    machine.put("/usr/bin/tool", PROGRAM[:-1] + b"!", 0o755)
    verdict = judge(machine, "/usr/bin/tool")
    assert gist(verdict) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    finding = next(f for f in verdict.findings if f.code is Code.DIGEST_MISMATCH)
    assert finding.found.startswith("sha256 ")
    assert "as tool 1.0-1 (amd64) has it" in finding.required
    assert finding.found.split()[1] != finding.required.split()[1].rstrip(",")


def test_a_grown_file_is_rejected(machine: Machine) -> None:
    machine.put("/usr/bin/tool", PROGRAM + b"#", 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.DIGEST_MISMATCH


def test_another_packages_file_in_its_place_is_rejected(machine: Machine) -> None:
    machine.put("/usr/bin/tool", OTHER.files["/usr/bin/other"].content, 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.DIGEST_MISMATCH


def test_a_file_in_place_of_a_link_is_rejected(machine: Machine) -> None:
    (machine.root / "usr/share/tool/link").unlink()
    machine.put("/usr/share/tool/link", PROGRAM)
    verdict = judge(machine, "/usr/share/tool/link")
    assert gist(verdict) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    assert "a link to ../../bin/tool" in str(verdict.findings[0])


def test_a_changed_configuration_file_is_named_so(machine: Machine) -> None:
    machine.put("/etc/tool.conf", b"colour = red\n")
    verdict = judge(machine, "/etc/tool.conf")
    assert gist(verdict) == (Outcome.REJECTED, Code.UNSIGNED)
    assert "a configuration file that was changed here" in verdict.findings[0].found
    assert verdict.facts["package-file"] == "configuration"


def test_that_a_file_is_configuration_is_the_packages_word(machine: Machine) -> None:
    """dpkg's database may call anything so; that makes no changed file a configured one."""
    claiming = Deb(name="tool", files=TOOL.files, config=("/etc/tool.conf", "/bin/tool"))
    status = b"\n".join(map(machine.status, (claiming, OTHER)))
    machine.put("/var/lib/dpkg/status", status)
    machine.put("/usr/bin/tool", PROGRAM[:-1] + b"!", 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.DIGEST_MISMATCH


def test_a_stray_file_is_unsigned(machine: Machine) -> None:
    machine.put("/usr/bin/stray", PROGRAM, 0o755)
    verdict = judge(machine, "/usr/bin/stray")
    assert gist(verdict) == (Outcome.REJECTED, Code.UNSIGNED)
    assert verdict.findings[0].found == "no package's file"


def test_what_is_made_here_is_named_so(machine: Machine) -> None:
    machine.put("/usr/lib/python3/__pycache__/a.cpython-311.pyc", b"compiled")
    verdict = judge(machine, "/usr/lib/python3/__pycache__/a.cpython-311.pyc")
    assert gist(verdict) == (Outcome.REJECTED, Code.UNSIGNED)
    assert "by py3compile" in verdict.findings[0].found
    assert verdict.facts["package-file"] == "generated"


def test_a_package_that_is_not_at_hand_leaves_it_open(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "system", (TOOL,), at_hand=False).write()
    verdict = judge(machine, "/usr/bin/tool")
    assert gist(verdict) == (Outcome.INDETERMINATE, Code.NOT_VOUCHED)
    finding = verdict.findings[0]
    assert "vouched for by nobody here" in finding.found
    assert finding.hint.startswith("apt-get download tool:amd64=1.0-1, then --debs .")


def test_packages_lie_where_the_caller_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "system", (TOOL,), at_hand=False).write()
    folder = tmp_path / "debs"
    folder.mkdir()
    (folder / "any-name.deb").write_bytes(TOOL.data)
    packages = PackageOptions(root=str(machine.root), debs=(str(folder),))
    verdict = judge(machine, "/usr/bin/tool", packages=packages)
    assert verdict.outcome is Outcome.ACCEPTED


def test_a_package_of_another_version_does_not_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "system", (TOOL,), at_hand=False).write()
    newer = Deb(name="tool", files=TOOL.files, version="2.0-1", config=TOOL.config)
    machine.put(f"/var/cache/apt/archives/{newer.filename}", newer.data)
    assert judge(machine, "/usr/bin/tool").cause is Code.NOT_VOUCHED


def test_a_package_that_nobody_lists_does_not_count(machine: Machine) -> None:
    files = {**TOOL.files, "/bin/tool": File(b"evil", 0o755)}
    evil = Deb(name="tool", files=files, config=TOOL.config)
    machine.put(f"/var/cache/apt/archives/{evil.filename}", evil.data)
    machine.put("/usr/bin/tool", b"evil", 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.NOT_VOUCHED


def test_a_list_that_is_not_the_releases_does_not_count(machine: Machine) -> None:
    files = {**TOOL.files, "/bin/tool": File(b"evil", 0o755)}
    evil = Deb(name="tool", files=files, config=TOOL.config)
    machine.put(f"/var/cache/apt/archives/{evil.filename}", evil.data)
    machine.put(f"/var/lib/apt/lists/{PREFIX}main_binary-amd64_Packages", evil.listed)
    machine.put("/usr/bin/tool", b"evil", 0o755)
    context = Context(options(machine))
    verdict = assess_path(machine.root / "usr/bin/tool", context)
    assert gist(verdict) == (Outcome.INDETERMINATE, Code.NOT_VOUCHED)
    assert context.system is not None
    assert "not the list that" in context.system.ledger.troubles[0]


def test_a_listed_package_under_another_name_does_not_count(tmp_path: Path) -> None:
    """An archive that lists one package's file as another's is not followed."""
    machine = Machine(tmp_path / "system", (TOOL,)).write()
    listed = TOOL.listed.replace(b"Package: tool", b"Package: other")
    machine.debs = (OTHER,)
    machine.put("/var/lib/dpkg/status", machine.status(OTHER))
    machine.packages = lambda: listed  # type: ignore[method-assign]
    machine.lists()
    context = Context(options(machine))
    assert context.system is not None
    assert "listed as other" in context.system.ledger.troubles[0]


def test_without_a_trusted_key_nothing_is_accepted(machine: Machine) -> None:
    machine.put(KEYRING, certificate(Key()))
    assert gist(judge(machine, "/usr/bin/tool")) == (Outcome.INDETERMINATE, Code.KEY_MISSING)


def test_lists_that_nobody_trusted_signed_call_nothing_changed(machine: Machine) -> None:
    machine.put("/usr/bin/tool", PROGRAM + b"#", 0o755)
    machine.put(KEYRING, certificate(Key()))
    assert gist(judge(machine, "/usr/bin/tool")) == (Outcome.INDETERMINATE, Code.NOT_VOUCHED)


def test_the_callers_keys_replace_the_systems(machine: Machine, tmp_path: Path) -> None:
    other = tmp_path / "other.gpg"
    other.write_bytes(certificate(Key()))
    verdict = judge(machine, "/usr/bin/tool", keyrings=(str(other),))
    assert gist(verdict) == (Outcome.INDETERMINATE, Code.KEY_MISSING)
    other.write_bytes(certificate(machine.key))
    verdict = judge(machine, "/usr/bin/tool", keyrings=(str(other),))
    assert verdict.outcome is Outcome.ACCEPTED


def test_a_signature_that_does_not_fit_rejects(machine: Machine) -> None:
    forged = machine.text().replace(b"Origin: Sample", b"Origin: Simple")
    body = machine.key.sign(machine.text(), made=MADE, kind=1)
    data = block(forged, packet(2, body), b"Hash: SHA256\n")
    machine.put(f"/var/lib/apt/lists/{PREFIX}InRelease", data)
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.REJECTED


def test_one_key_of_several_is_enough(machine: Machine) -> None:
    data = clear(machine.text(), Key(), machine.key, made=MADE)
    machine.put(f"/var/lib/apt/lists/{PREFIX}InRelease", data)
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("where", ["before", "behind"])
def test_text_outside_the_block_never_counts(machine: Machine, where: str) -> None:
    data = clear(machine.text(), machine.key, made=MADE)
    data = b"Origin: Evil\n" + data if where == "before" else data + b"Origin: Evil\n"
    machine.put(f"/var/lib/apt/lists/{PREFIX}InRelease", data)
    assert gist(judge(machine, "/usr/bin/tool")) == (Outcome.INDETERMINATE, Code.NOT_VOUCHED)


def test_a_release_and_its_signature_may_lie_apart(machine: Machine) -> None:
    machine.lists_apart()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED
    machine.put(f"/var/lib/apt/lists/{PREFIX}Release", machine.text() + b"Label: x\n")
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.REJECTED


def test_a_release_without_a_signature_does_not_count(machine: Machine) -> None:
    machine.lists_apart()
    (machine.root / f"var/lib/apt/lists/{PREFIX}Release.gpg").unlink()
    assert gist(judge(machine, "/usr/bin/tool")) == (Outcome.REJECTED, Code.UNSIGNED)


def test_a_release_that_ended_leaves_it_open(tmp_path: Path) -> None:
    until = {"Valid-Until": "Sat, 01 Jun 2024 12:00:00 UTC"}
    machine = Machine(tmp_path / "system", (TOOL,), release=until).write()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED
    later = judge(machine, "/usr/bin/tool", at=AT + timedelta(days=1))
    assert gist(later) == (Outcome.INDETERMINATE, Code.EXPIRED)


def test_a_release_of_the_future_rejects(machine: Machine) -> None:
    early = judge(machine, "/usr/bin/tool", at=MADE - timedelta(days=1))
    assert gist(early) == (Outcome.REJECTED, Code.NOT_YET_VALID)


def test_a_release_of_another_suite_rejects(tmp_path: Path) -> None:
    names = {"Suite": "unstable", "Codename": "mixed"}
    machine = Machine(tmp_path / "system", (TOOL,), release=names).write()
    assert gist(judge(machine, "/usr/bin/tool")) == (Outcome.REJECTED, Code.ATTRIBUTE_RULE)


def test_a_list_that_no_source_asks_for_is_not_read(machine: Machine) -> None:
    machine.put("/etc/apt/sources.list.d/sample.sources", b"")
    assert judge(machine, "/usr/bin/tool").cause is Code.NOT_VOUCHED


def test_a_component_that_no_source_asks_for_is_not_read(machine: Machine) -> None:
    sources = machine.sources().replace(b"Components: main", b"Components: contrib")
    machine.put("/etc/apt/sources.list.d/sample.sources", sources)
    assert judge(machine, "/usr/bin/tool").cause is Code.NOT_VOUCHED


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".zst": lambda data: pack("zstd", data, "list"),
}


@pytest.mark.parametrize("ending", PACKED)
def test_lists_may_be_compressed(machine: Machine, ending: str) -> None:
    path = machine.root / f"var/lib/apt/lists/{PREFIX}main_binary-amd64_Packages"
    path.with_name(path.name + ending).write_bytes(PACKED[ending](path.read_bytes()))
    path.unlink()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


def test_a_list_may_be_an_lz4_frame(machine: Machine) -> None:
    frame = pytest.importorskip("lz4.frame", reason="the library lz4 is not installed")
    path = machine.root / f"var/lib/apt/lists/{PREFIX}main_binary-amd64_Packages"
    path.with_name(path.name + ".lz4").write_bytes(frame.compress(path.read_bytes()))
    path.unlink()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("ending", PACKED)
def test_packages_may_be_compressed_otherwise(tmp_path: Path, ending: str) -> None:
    deb = Deb(name="tool", files=TOOL.files, config=TOOL.config, pack=PACKED[ending],
              suffix=ending)  # fmt: skip
    machine = Machine(tmp_path / "system", (deb,)).write()
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED


def test_diverted_files_are_their_packages_own(tmp_path: Path) -> None:
    """The diverted package's file lies elsewhere; the diverting one's in its place."""
    wrapper = Deb(name="wrapper", files={"/bin/tool": File(b"wrapped", 0o755)})
    diversions = "/bin/tool\n/bin/tool.real\nwrapper\n"
    machine = Machine(tmp_path / "system", (TOOL, wrapper), diversions=diversions).write()
    machine.put("/usr/bin/tool.real", PROGRAM, 0o755)
    assert judge(machine, "/usr/bin/tool").facts["package"] == "wrapper"
    moved = judge(machine, "/usr/bin/tool.real")
    assert moved.outcome is Outcome.ACCEPTED
    assert (moved.facts["package"], moved.facts["diverted-from"]) == ("tool", "/bin/tool")
    machine.put("/usr/bin/tool", PROGRAM, 0o755)
    assert judge(machine, "/usr/bin/tool").cause is Code.DIGEST_MISMATCH


def test_permissions_that_lend_rights_reject(machine: Machine) -> None:
    (machine.root / "usr/bin/tool").chmod(0o4755)
    verdict = judge(machine, "/usr/bin/tool")
    assert gist(verdict) == (Outcome.REJECTED, Code.ATTRIBUTE_RULE)
    machine.put("/var/lib/dpkg/statoverride", b"root root 4755 /bin/tool\n")
    asked = judge(machine, "/usr/bin/tool")
    assert gist(asked) == (Outcome.INDETERMINATE, Code.ATTRIBUTE_RULE)


def test_other_permissions_are_a_warning(machine: Machine) -> None:
    (machine.root / "usr/bin/tool").chmod(0o777)
    verdict = judge(machine, "/usr/bin/tool")
    assert verdict.outcome is Outcome.ACCEPTED
    assert [f.found for f in verdict.findings if f.effect is Effect.WARN] == ["permissions 0777"]


def test_files_outside_the_system_are_not_its_business(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(PROGRAM)
    verdict = assess_path(tmp_path / "elsewhere", Context(options(machine)))
    assert gist(verdict) == (Outcome.REJECTED, Code.UNSIGNED)
    assert verdict.rule == "signed"


def test_a_system_without_packages_is_told(tmp_path: Path) -> None:
    context = Context(Options(packages=PackageOptions(root=str(tmp_path))))
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/file").write_bytes(b"x")
    with pytest.raises(EvidenceError, match="no /var/lib/dpkg/status"):
        assess_path(tmp_path / "usr/file", context)


def test_what_was_read_is_kept_until_something_changes(machine: Machine, tmp_path: Path) -> None:
    from signward.verbs.packages import system

    context = Context(options(machine))
    assert context.system is not None
    machine.put("/var/lib/dpkg/diversions", b"/bin/tool\n/bin/tool.real\n:\n")
    changed = Context(options(machine))
    assert changed.system is not None
    assert changed.system.ledger.key != context.system.ledger.key
    assert "/usr/bin/tool.real" in changed.system.ledger.files
    key = system.ledger_key(system.places_of(PackageOptions(root=str(machine.root))))
    assert key == changed.system.ledger.key


def test_links_of_an_image_lead_to_places_in_it(machine: Machine) -> None:
    """An image's keyring that is a link to an absolute path is not this machine's file."""
    (machine.root / KEYRING.lstrip("/")).rename(machine.root / "etc/keys.gpg")
    (machine.root / KEYRING.lstrip("/")).symlink_to("/etc/keys.gpg")
    assert judge(machine, "/usr/bin/tool").outcome is Outcome.ACCEPTED
