"""VIBs: binutils' ar and OpenSSL on ours, and ours on theirs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.state import Outcome
from tests.samples.vib import archive, split, vib
from tests.signing import assess_bytes, authority, identity, sign_bytes

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

NAME = "driver.vib"
DIGESTS = (("rsa2048", "sha256"), ("p256", "sha256"), ("p384", "sha384"))


def _run(*words: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, cwd=cwd, capture_output=True, check=False, timeout=60)


def _verify(folder: Path) -> int:
    at = str(int(NOW.timestamp()))
    return _run("openssl", "cms", "-verify", "-binary", "-inform", "PEM", "-in", "sig.pkcs7",
                "-content", "descriptor.xml", "-CAfile", "root.pem", "-purpose", "any",
                "-attime", at, "-out", "/dev/null", cwd=folder).returncode  # fmt: skip


def _lay_out(data: bytes, folder: Path) -> None:
    for name, content in split(data):
        (folder / name).write_bytes(content)
    (folder / "root.pem").write_bytes(pem(authority().certificate))


@pytest.mark.confirms("vib", "sign", "openssl cms")
@pytest.mark.parametrize(("kind", "digest"), DIGESTS)
def test_openssl_accepts_what_we_sign(kind: str, digest: str, tmp_path: Path) -> None:
    _lay_out(sign_bytes(NAME, vib(), who=identity(kind), digest=digest), tmp_path)
    assert _verify(tmp_path) == 0
    described = (tmp_path / "descriptor.xml").read_bytes()
    (tmp_path / "descriptor.xml").write_bytes(described.replace(b"community", b"certified"))
    assert _verify(tmp_path) != 0


@pytest.mark.confirms("vib", "verify", "openssl cms")
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_we_accept_what_openssl_signs(form: str, tmp_path: Path) -> None:
    who = identity()
    _lay_out(vib(), tmp_path)
    raw = who.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(raw)
    (tmp_path / "leaf.pem").write_bytes(pem(who.certificate))
    made = _run("openssl", "cms", "-sign", "-binary", "-md", "sha256", "-signer", "leaf.pem",
                "-inkey", "key.pem", "-in", "descriptor.xml", "-outform", form,
                "-out", "sig.pkcs7", cwd=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    names = [name for name, _ in split(vib())]
    data = archive(*((name, (tmp_path / name).read_bytes()) for name in names))
    verdict = assess_bytes(NAME, data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


@pytest.mark.skipif(shutil.which("ar") is None, reason="ar is not installed")
def test_ar_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    data = sign_bytes(NAME, vib())
    (tmp_path / NAME).write_bytes(data)
    assert _run("ar", "x", NAME, cwd=tmp_path).returncode == 0
    names = [name for name, _ in split(data)]
    assert [(name, (tmp_path / name).read_bytes()) for name in names] == split(data)
    assert _run("ar", "qcD", "again.vib", *names, cwd=tmp_path).returncode == 0
    again = (tmp_path / "again.vib").read_bytes()
    assert assess_bytes(NAME, again, tmp_path).outcome is Outcome.ACCEPTED
