"""MSIX packages and bundles: osslsigncode and jsign, both ways, and what each refuses.

jsign has no verification: its second opinion on ours is the digests it computes when it
signs our file anew, which must be the ones we signed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.pki import pem

from signward.findings import Code
from signward.formats.msix import FORMAT
from signward.state import Outcome
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders import msix
from tests.samples.msix import SAMPLES
from tests.signing import assess_bytes, authority, identity, sign_bytes

JSIGN = "7.4"

pytestmark = [pytest.mark.interop]
needs_osslsigncode = pytest.mark.skipif(
    not shutil.which("osslsigncode"), reason="osslsigncode is not installed"
)

FILES = {
    "Maler & Söhne.txt": b"text",
    "a.bin": bytes(range(256)) * 1024,
    "stored.bin": bytes(70_000),
    "empty.txt": b"",
}
"""Percent-encoded names, several blocks, stored and empty members."""

DATA = {
    **SAMPLES,
    "files.msix": lambda: msix.package(FILES, stored=("stored.bin",)),
    "files.appx": lambda: msix.package(FILES, stored=("stored.bin",), make_appx=False),
    "sha384.msix": lambda: msix.package(digest="sha384"),
    "sha512.msix": lambda: msix.package(digest="sha512"),
}


def digest_of(name: str) -> str:
    return name.partition(".")[0] if name.startswith("sha") else "sha256"


@pytest.fixture
def key(tmp_path: Path) -> list[str]:
    """Write the test identity's path and key; return them as the peers' file names."""
    who = identity()
    chain, key, root = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "root.pem"
    chain.write_bytes(b"".join(one.pem for one in who.path if one.issuer))
    key.write_bytes(who.key.pem)
    root.write_bytes(pem(authority().certificate))
    return [str(chain), str(key), str(root)]


def blob(data: bytes) -> bytes:
    """Return the digests in a signature: the octets of its SpcIndirectDataContent's DigestInfo."""
    (envelope,) = FORMAT.envelopes(BytesSource("a", data))
    signed = der.parse(envelope, "p7").children()[1].children()[0].children()
    content = signed[2].children()[1].children()[0]
    return content.children()[1].children()[1].octets()


# osslsigncode


def ossl_verify(data: bytes, name: str, folder: Path, root: str) -> tuple[bool, str]:
    path = folder / f"verify-{name}"
    path.write_bytes(data)
    command = ["osslsigncode", "verify", "-CAfile", root, "-time", "1767225600", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.confirms("msix", "sign", "osslsigncode")
@needs_osslsigncode
@pytest.mark.parametrize("name", DATA)
def test_osslsigncode_accepts_ours_and_refuses_a_flipped_byte(
    name: str, key: list[str], tmp_path: Path
) -> None:
    data = sign_bytes(name, DATA[name](), digest=digest_of(name))
    accepted, told = ossl_verify(data, name, tmp_path, key[2])
    assert accepted, told
    changed = bytearray(data)
    changed[60] ^= 1
    accepted, told = ossl_verify(bytes(changed), name, tmp_path, key[2])
    assert not accepted, told
    assert assess_bytes(name, bytes(changed), tmp_path).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("msix", "verify", "osslsigncode")
@needs_osslsigncode
@pytest.mark.parametrize("name", DATA)
def test_osslsigncodes_are_accepted(name: str, key: list[str], tmp_path: Path) -> None:
    unsigned, signed = tmp_path / name, tmp_path / f"signed-{name}"
    unsigned.write_bytes(DATA[name]())
    command = ["osslsigncode", "sign", "-certs", key[0], "-key", key[1],
               "-h", digest_of(name), "-in", str(unsigned), "-out", str(signed)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    data = signed.read_bytes()
    verdict = assess_bytes(name, data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    changed = bytearray(data)
    changed[60] ^= 1
    assert assess_bytes(name, bytes(changed), tmp_path).cause is Code.DIGEST_MISMATCH


@needs_osslsigncode
def test_osslsigncode_cannot_read_a_zip64_field_with_the_offset_alone(
    key: list[str], tmp_path: Path
) -> None:
    """APPNOTE 4.5.3: a ZIP64 field holds what does not fit, and only that.

    Past 4 GiB the offset alone does not.  osslsigncode 2.9 asks for three numbers and says
    "Invalid zip64 central directory entry"; jsign and Info-ZIP read it, as we do.
    """
    data = sign_bytes("a.msixbundle", msix.bundle(offset64=True))
    assert assess_bytes("a.msixbundle", data, tmp_path).outcome is Outcome.ACCEPTED
    accepted, _ = ossl_verify(data, "a.msixbundle", tmp_path, key[2])
    assert not accepted
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    unzip = shutil.which("unzip")
    if unzip:
        assert subprocess.run([unzip, "-tq", str(path)], capture_output=True).returncode == 0


# jsign


@pytest.fixture(scope="module")
def jsign() -> list[str]:
    """Return jsign's command line, fetched by name where Maven does not have it yet."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        pytest.skip("jsign needs java and mvn")
    jar = Path.home() / f".m2/repository/net/jsign/jsign/{JSIGN}/jsign-{JSIGN}.jar"
    if not jar.is_file():
        artifact = f"-Dartifact=net.jsign:jsign:{JSIGN}"
        subprocess.run([maven, "-q", "dependency:get", artifact, "-Dtransitive=false"], timeout=300)
    if not jar.is_file():
        pytest.skip(f"jsign {JSIGN} could not be fetched")
    return [java, "-jar", str(jar)]


def jsigned(
    jsign: list[str], key: list[str], files: dict[str, bytes], folder: Path, *options: str
) -> dict[str, bytes]:
    """Return what jsign makes of files of one digest."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [*jsign, "--keyfile", key[1], "--certfile", key[0], *options, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=folder)
    return {name: (folder / name).read_bytes() for name in files}


@pytest.mark.confirms("msix", "verify", "jsign")
@pytest.mark.slow
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_jsigns_are_accepted(digest: str, jsign: list[str], key: list[str], tmp_path: Path) -> None:
    files = {name: make() for name, make in DATA.items() if digest_of(name) == digest}
    for name, data in jsigned(jsign, key, files, tmp_path, "--alg", digest).items():
        verdict = assess_bytes(name, data, tmp_path)
        assert verdict.outcome is Outcome.ACCEPTED, (name, [str(f) for f in verdict.findings])
        changed = bytearray(data)
        changed[60] ^= 1
        assert assess_bytes(name, bytes(changed), tmp_path).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("msix", "sign", "jsign")
@pytest.mark.slow
def test_jsign_computes_the_digests_we_signed(
    jsign: list[str], key: list[str], tmp_path: Path
) -> None:
    ours = {n: sign_bytes(n, make()) for n, make in DATA.items() if digest_of(n) == "sha256"}
    theirs = jsigned(jsign, key, ours, tmp_path, "--replace", "--alg", "sha256")
    assert {n: blob(d) for n, d in theirs.items()} == {n: blob(d) for n, d in ours.items()}
    changed = {n: d[:60] + bytes((d[60] ^ 1,)) + d[61:] for n, d in ours.items()}
    others = jsigned(jsign, key, changed, tmp_path, "--replace", "--alg", "sha256")
    assert all(blob(others[n]) != blob(ours[n]) for n in ours)
