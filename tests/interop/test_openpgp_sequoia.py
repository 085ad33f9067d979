"""Sequoia, by pysequoia: the second opinion on version 6, which GnuPG 2.2 does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from signward.cli.commands import run
from signward.envelopes.openpgp_packets import packets
from signward.envelopes.openpgp_signature import read_signature
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options

pytestmark = pytest.mark.interop

pysequoia = pytest.importorskip("pysequoia", reason="pysequoia is not installed")

CONTENT = b"any file at all" * 1000
SUITES = ("Cv25519", "P256", "P384", "P521", "RSA2k", "RSA3k")
PROFILES = {4: "RFC4880", 6: "RFC9580"}
CASES = [(version, suite) for version in PROFILES for suite in SUITES]


def tsk(version: int, suite: str) -> Any:
    return pysequoia.Tsk.generate(
        user_id="Ann <ann@example.org>", profile=getattr(pysequoia.Profile, PROFILES[version]),
        cipher_suite=getattr(pysequoia.CipherSuite, suite),
    )  # fmt: skip


def accepts(certificate: Any, signature: bytes, content: bytes) -> bool:
    try:
        pysequoia.verify(bytes=content, store=lambda _: [certificate],
                         signature=pysequoia.Sig.from_bytes(signature))  # fmt: skip
    except Exception:  # noqa: BLE001 - it raises nothing more special
        return False
    return True


def judged(folder: Path) -> Verdict:
    context = Context(Options(keyrings=(str(folder / "ring.pgp"),)))
    return assess_detached(str(folder / "file"), str(folder / "file.asc"), context)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.confirms("openpgp", "sign", "Sequoia")
@pytest.mark.parametrize(("version", "suite"), CASES)
def test_sequoia_takes_what_its_key_signs_here(version: int, suite: str, folder: Path) -> None:
    key = tsk(version, suite)
    certificate = key.extract_certificate()
    (folder / "key.pgp").write_bytes(bytes(key))
    assert run(["sign", "--key", f"file:{folder / 'key.pgp'}", "--detached",
                str(folder / "file")]) == 0  # fmt: skip
    signature = (folder / "file.asc").read_bytes()
    assert pysequoia.Sig.from_bytes(signature).version == version
    assert accepts(certificate, signature, CONTENT)
    assert not accepts(certificate, signature, CONTENT + b"!")
    assert not accepts(tsk(version, suite).extract_certificate(), signature, CONTENT)


@pytest.mark.confirms("openpgp", "verify", "Sequoia")
@pytest.mark.parametrize(("version", "suite"), CASES)
def test_we_take_what_sequoia_signs(version: int, suite: str, folder: Path) -> None:
    key = tsk(version, suite)
    signature = pysequoia.sign(key.signer(), CONTENT, mode=pysequoia.SignatureMode.DETACHED,
                               armor=False)  # fmt: skip
    (packet,) = packets(signature)
    assert read_signature(packet.body).version == version
    (folder / "ring.pgp").write_bytes(bytes(key.extract_certificate()))
    (folder / "file.asc").write_bytes(signature)
    verdict = judged(folder)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    (folder / "file").write_bytes(CONTENT + b"!")
    assert judged(folder).cause is Code.SIGNATURE_MISMATCH
