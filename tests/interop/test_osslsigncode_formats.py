"""What osslsigncode signs, our formats find intact: images with page hashes, scripts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from signward.errors import BadInputError
from signward.findings import Code
from signward.formats import Format, ParseOptions
from signward.formats.pe import FORMAT as PE
from signward.formats.script import FORMAT as SCRIPT
from signward.integrity import check_regions, check_signature, wanted_slots
from signward.state import IntactSignature
from signward.wire.source import BytesSource
from tests.builders import images

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("osslsigncode"), reason="osslsigncode is not installed"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]

TEXT = "Write-Host 'h\u00e9llo \u20ac'\n$x = 1\n"
FAMILIES = ("ps1", "psm1", "psd1", "ps1xml", "psc1", "cdxml", "mof")
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"\xef\xbb\xbf",
    "utf-16-le": b"\xff\xfe",
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("key")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem",
            "-out", "c.pem", "-days", "30", "-subj", "/CN=formats",
            "-addext", "extendedKeyUsage=codeSigning"]  # fmt: skip
    subprocess.run(make, cwd=folder, check=True, capture_output=True)
    return ["-certs", str(folder / "c.pem"), "-key", str(folder / "k.pem")]


def sign(data: bytes, name: str, key: list[str], folder: Path, *options: str) -> bytes:
    source, target = folder / f"in-{name}", folder / f"out-{name}"
    source.write_bytes(data)
    command = ["osslsigncode", "sign", *key, *options, "-in", str(source), "-out", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def codes(signable: Format, data: bytes, name: str) -> set[Code]:
    """The codes that keep these bytes from being intact; UNSIGNED where there is no signature."""
    try:
        artifact = signable.parse(BytesSource(name, data), ParseOptions())
        computed = signable.digests(artifact, wanted_slots(artifact))
    except BadInputError as error:
        return {error.finding.code}
    states = [check_signature(artifact, s, computed) for s in artifact.signatures]
    broken = [f for s in states if not isinstance(s, IntactSignature) for f in s.findings]
    found = {f.code for f in (*check_regions(artifact), *broken)}
    return found if states else {Code.UNSIGNED}


@pytest.mark.confirms("script", "verify", "osslsigncode")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", ""])
def test_scripts(family: str, encoding: str, line_end: str, key: list[str], tmp_path: Path) -> None:
    text = TEXT.replace("\n", line_end) if line_end else TEXT.rstrip("\n")
    mark, codec = ENCODINGS[encoding], encoding.removesuffix("-sig")
    name = f"a.{family}"
    signed = sign(mark + text.encode(codec), name, key, tmp_path, "-h", "sha256")
    assert codes(SCRIPT, signed, name) == set()
    behind = signed + "evil\r\n".encode(codec)
    assert codes(SCRIPT, behind, name) == {Code.UNCOVERED_CONTENT}


@pytest.mark.confirms("pe", "verify", "osslsigncode")
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384"])
@pytest.mark.parametrize("plus", [False, True])
def test_images(digest: str, plus: bool, key: list[str], tmp_path: Path) -> None:
    signed = sign(images.image(plus=plus), "a.exe", key, tmp_path, "-h", digest)
    assert codes(PE, signed, "a.exe") == set()


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("alignment", [0x1000, 0x2000])
def test_page_hashes(digest: str, alignment: int, key: list[str], tmp_path: Path) -> None:
    unsigned = images.image(body=b"\xc3" * 0x2600, alignment=alignment)
    signed = sign(unsigned, "a.exe", key, tmp_path, "-h", digest, "-ph")
    assert codes(PE, signed, "a.exe") == set()
    artifact = PE.parse(BytesSource("a.exe", signed), ParseOptions())
    assert sum(s.name.startswith("page:") for s in artifact.signatures[0].slots) > 3


def test_nested_signature(key: list[str], tmp_path: Path) -> None:
    once = sign(images.image(), "a.exe", key, tmp_path, "-h", "sha1")
    twice = sign(once, "b.exe", key, tmp_path, "-h", "sha256", "-nest")
    assert codes(PE, twice, "b.exe") == set()
    artifact = PE.parse(BytesSource("b.exe", twice), ParseOptions())
    assert [s.label for s in artifact.signatures] == ["1", "1.1"]
