"""EFI binaries of Debian: shim's two signatures, and what shim itself vouches for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from signward.findings import Code
from signward.state import Outcome, TrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.stores import load_store
from signward.verbs.verify import assess_path

THUMBPRINTS = {
    "580a6f4cc4e4b669b9ebdc1b2b3e087b80d0678d",
    "46def63b5ce61cf8ba0de2e6639c1019d0ed14f3",
    "45a0fa32604773c82433c3b7d59e7466b3ac0c67",
    "b5eeb4a6706048073f0ed296e7f580a790b59eaa",
    "3fb39e2b8bd183bf9e4594e72183ca60afcd4277",
}
"""SHA-1 thumbprints as Microsoft's Secure Boot key guidance prints them, section 1.4."""


def test_uefi_store_holds_the_published_certificates() -> None:
    import hashlib

    anchors = load_store("uefi").anchors()
    digests = {hashlib.sha1(a.certificate.der, usedforsecurity=False) for a in anchors}
    assert {d.hexdigest() for d in digests} == THUMBPRINTS


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack Debian's signed shim and its helpers, fetched by name."""
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    folder = tmp_path_factory.mktemp("efi")
    names = ["shim-signed", "shim-helpers-amd64-signed"]
    command = ["apt-get", "download", "-qq", *names]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120).returncode:
        pytest.skip("apt-get could not download shim-signed")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, timeout=60)
    return folder / "usr/lib/shim"


@pytest.mark.interop
def test_both_signatures_of_shim_are_trusted(packages: Path) -> None:
    verdict = assess_path(packages / "shimx64.efi.signed", Context(Options()))
    assert verdict.outcome is Outcome.ACCEPTED
    assert all(isinstance(s, TrustedSignature) for s in verdict.signatures)
    assert verdict.publisher
    assert verdict.publisher.name == "Microsoft Corporation"


@pytest.mark.interop
def test_an_unrelated_certificate_does_not_vouch_for_shim(packages: Path, tmp_path: Path) -> None:
    """Every signature is judged on its own path, not on the other one's."""
    from conformance.authenticode.pki import default_pki

    anchor = tmp_path / "unrelated.pem"
    anchor.write_bytes(default_pki().root.pem)
    verdict = assess_path(packages / "shimx64.efi.signed", Context(Options(anchors=(str(anchor),))))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause in (Code.NO_PATH, Code.UNTRUSTED_ROOT)


@pytest.mark.interop
def test_shim_helpers_are_debians_not_microsofts(packages: Path) -> None:
    verdict = assess_path(packages / "mmx64.efi.signed", Context(Options()))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.NO_PATH)
