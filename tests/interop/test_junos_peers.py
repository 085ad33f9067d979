"""Junos packages: OpenSSL and tar make them, as FreeBSD's README says customers may check them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.findings import Code
from signward.state import Outcome
from tests.builders.junos import FILES, NAME, armoured, chain, manifest
from tests.signing import assess_bytes, identity

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not (shutil.which("openssl") and shutil.which("tar")),
        reason="openssl or tar is not installed",
    ),
]


def _run(folder: Path, *words: str) -> bytes:
    done = subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.confirms("junos", "verify", "openssl dgst")
@pytest.mark.parametrize(("kind", "again"), [("p256", True), ("p256", False), ("rsa2048", False)])
def test_we_accept_what_openssl_and_tar_make(kind: str, again: bool, tmp_path: Path) -> None:
    who = identity(kind, f"Junos by OpenSSL {kind}")
    raw = who.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(raw)
    tree = tmp_path / "tree"
    for path, data in FILES.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    text = manifest()
    (tree / "manifest").write_bytes(text)
    (tmp_path / "signed").write_bytes(hashlib.sha256(text).hexdigest().encode() if again else text)
    ending = "e" if kind == "p256" else "r"
    _run(tmp_path, "openssl", "dgst", "-sha256", "-sign", "key.pem", "-out", "value", "signed")
    value = armoured("SIGNATURE", (tmp_path / "value").read_bytes())
    (tree / f"manifest.{ending}sig").write_bytes(value)
    (tree / f"manifest.{ending}certs").write_bytes(chain(who))
    _run(tree, "tar", "czf", f"../{NAME}", ".")
    verdict = assess_bytes(NAME, (tmp_path / NAME).read_bytes(), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    (tree / "scripts/rc").write_bytes(b"#!/bin/sh\nevil\n")
    _run(tree, "tar", "czf", f"../{NAME}", ".")
    changed = assess_bytes(NAME, (tmp_path / NAME).read_bytes(), tmp_path)
    assert changed.cause is Code.DIGEST_MISMATCH
