"""LIEF's Authenticode hash and PE checksum of real images equal ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from signward.formats import ParseOptions
from signward.formats._pe_checksum import checksum
from signward.formats.pe import FORMAT
from signward.wire.source import open_source
from tests.corpus import pe_files

lief = pytest.importorskip("lief", reason="lief is not installed")

VECTORS = (
    "uthenticode/test/assets/32/pegoat-authenticode-nested.exe",
    "uthenticode/test/assets/32/pegoat-authenticode_duplicated.exe",
    "uthenticode/test/assets/64/pegoat-authenticode-nested.exe",
    "go-uefi/authenticode/testdata/test.pecoff",
    "go-uefi/authenticode/testdata/test.pecoff.signed",
    "authenticode-rs/authenticode/tests/testdata/tiny32.efi",
)


def disagreement(path: Path) -> str:
    """Return what differs between LIEF's reading of an image and ours."""
    algorithms = {
        "sha1": lief.PE.ALGORITHMS.SHA_1,
        "sha256": lief.PE.ALGORITHMS.SHA_256,
        "sha512": lief.PE.ALGORITHMS.SHA_512,
    }
    lief.logging.disable()
    theirs = lief.PE.parse(str(path))
    with open_source(path) as source:
        artifact = FORMAT.parse(source, ParseOptions())
        ours = FORMAT.digests(artifact, frozenset(("image", name) for name in algorithms))
        summed = checksum(source, artifact.layout)
    for name, algorithm in algorithms.items():
        if bytes(theirs.authentihash(algorithm)) != ours["image", name]:
            return f"{path.name}: {name}"
    return f"{path.name}: checksum" if theirs.compute_checksum() != summed else ""


@pytest.mark.interop
@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str, vectors: Path) -> None:
    assert disagreement(vectors / name) == ""


@pytest.mark.interop
@pytest.mark.corpus
@pytest.mark.parametrize("tree", ["debugpy", "mssql-cli"])
def test_corpus(tree: str, corpus: Callable[[str], Path]) -> None:
    files = pe_files(corpus(tree))[::5]
    assert len(files) > 1
    assert [d for d in map(disagreement, files) if d] == []
