"""Everything osslsigncode can do to a file, in every format it knows, judged by us.

Signed plain, with its offline authority's timestamp, nested, with a blob that nobody
authenticated, and with the signature taken away again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue, pem
from cryptography.hazmat.primitives import serialization

from signward.findings import Code
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.verify import assess_path
from tests.signing import authority, context, identity, strip_bytes

pytestmark = [
    pytest.mark.interop,
    pytest.mark.confirms("pe", "verify", "osslsigncode"),
    pytest.mark.confirms("catalog", "verify", "osslsigncode"),
    pytest.mark.confirms("script", "verify", "osslsigncode"),
    pytest.mark.confirms("msi", "verify", "osslsigncode"),
    pytest.mark.confirms("cab", "verify", "osslsigncode"),
    pytest.mark.confirms("msix", "verify", "osslsigncode"),
    pytest.mark.skipif(not shutil.which("osslsigncode"), reason="osslsigncode is not installed"),
]

FORMATS: Mapping[str, tuple[str, str]] = {
    "exe": ("pe", "plus.exe"),
    "dll": ("pe", "plain.dll"),
    "cat": ("catalog", "driver.cat"),
    "ps1": ("script", "utf-8.ps1"),
    "mof": ("script", "utf-8.mof"),
    "psc1": ("script", "utf-8.psc1"),
    "msi": ("msi", "package.msi"),
    "cab": ("cab", "plain.cab"),
    "appx": ("msix", "plain.appx"),
}
"""Extensions to the format that judges them and the name of its sample."""

NO_NESTING = {"appx", "cat"}
"""osslsigncode puts a second signature in the place of the first there, or refuses it."""

TEXTS = {"ps1", "mof", "psc1"}


def ran(*words: object) -> subprocess.CompletedProcess[str]:
    command = ["osslsigncode", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)


@cache
def stamper() -> Identity:
    return issue("Matrix TSA", issuer=authority(), subject_key=key("rsa2048", "matrix-tsa"),
                 ekus=(EKU_TIME_STAMPING,), eku_critical=True)  # fmt: skip


@cache
def who() -> Identity:
    """The publisher that MSIX samples name."""
    return identity()


class Bench:
    """A folder with keys, one unsigned file, and what osslsigncode makes of it."""

    def __init__(self, extension: str, folder: Path) -> None:
        self.extension, self.folder = extension, folder
        form, name = FORMATS[extension]
        samples = import_module(f"tests.samples.{form}").SAMPLES
        self.name = f"file.{extension}"
        self.unsigned = self.write("unsigned", samples[name]())
        for label, one in (("signer", who()), ("tsa", stamper())):
            (folder / f"{label}.pem").write_bytes(pem(one.certificate))
            (folder / f"{label}.key").write_bytes(_private(one))

    def write(self, stage: str, data: bytes) -> Path:
        place = self.folder / stage
        place.mkdir()
        (place / self.name).write_bytes(data)
        return place / self.name

    def make(self, stage: str, command: str, source: Path, *words: object) -> Path:
        (self.folder / stage).mkdir()
        target = self.folder / stage / self.name
        done = ran(command, *words, "-in", source, "-out", target)
        assert target.exists(), done.stdout + done.stderr
        return target

    def sign(self, stage: str, source: Path, *words: object) -> Path:
        keys = ("-certs", self.folder / "signer.pem", "-key", self.folder / "signer.key")
        return self.make(stage, "sign", source, *keys, "-h", "sha256", *words)

    def judge(self, path: Path) -> Verdict:
        return assess_path(path, context(self.folder))


def _private(one: Identity) -> bytes:
    found: bytes = one.key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return found


@pytest.fixture(params=sorted(FORMATS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


def accepted(verdict: Verdict) -> TrustedSignature:
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    signature = verdict.signatures[verdict.judged or 0]
    assert isinstance(signature, TrustedSignature)
    return signature


def test_signed(bench: Bench) -> None:
    signed = bench.sign("signed", bench.unsigned)
    accepted(bench.judge(signed))
    data = bytearray(signed.read_bytes())
    if bench.extension in TEXTS:
        data[4] ^= 1
        signed.write_bytes(data)
        assert bench.judge(signed).cause is Code.DIGEST_MISMATCH


def test_timestamped_by_its_own_authority(bench: Bench) -> None:
    stamp = ("-TSA-certs", bench.folder / "tsa.pem", "-TSA-key", bench.folder / "tsa.key",
             "-TSA-time", int(NOW.timestamp()))  # fmt: skip
    signature = accepted(bench.judge(bench.sign("stamped", bench.unsigned, *stamp)))
    assert signature.proven_time is not None
    assert signature.proven_time.instant == NOW


@pytest.mark.parametrize("bench", sorted(FORMATS.keys() - NO_NESTING), indirect=True)
def test_nested(bench: Bench) -> None:
    first = bench.sign("first", bench.unsigned)
    second = bench.sign("second", first, "-nest", "-h", "sha384")
    verdict = bench.judge(second)
    accepted(verdict)
    assert len(verdict.signatures) == 2


def test_with_an_unauthenticated_blob(bench: Bench) -> None:
    signed = bench.sign("signed", bench.unsigned)
    added = bench.make("added", "add", signed, "-addUnauthenticatedBlob")
    verdict = bench.judge(added)
    signature = accepted(verdict)
    assert Code.UNAUTHENTICATED_DATA in {f.code for f in signature.findings}


def test_removed_by_either_of_us(bench: Bench) -> None:
    signed = bench.sign("signed", bench.unsigned)
    if bench.extension not in ("ps1", "mof", "psc1", "cat", "appx"):
        removed = bench.make("removed", "remove-signature", signed)
        assert bench.judge(removed).cause is Code.UNSIGNED
    stripped = bench.write("stripped", strip_bytes(bench.name, signed.read_bytes()))
    assert bench.judge(stripped).cause is Code.UNSIGNED
    accepted(bench.judge(bench.sign("again", stripped)))
