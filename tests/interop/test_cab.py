"""Cabinets and their second opinions: osslsigncode, jsign, gcab and cabextract, both ways."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.pki import NOW, default_pki, instant, pem

from signward.findings import Code
from signward.formats import Existing
from signward.formats.cab import FORMAT
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.samples.cab import SAMPLES, cabinet
from tests.signing import authority, context, identity, sign_bytes, strip_bytes

JSIGN = Path.home() / ".m2/repository/net/jsign/jsign/7.4/jsign-7.4.jar"

VECTORS = {
    "jsign/jsign-core/src/test/resources/mscab/sample2-disk2.cab": True,
    "jsign/jsign-core/src/test/resources/mscab/sample4.cab": False,
    "relic/functest/packages/dummy.cab": False,
}
"""Unsigned cabinets of other makers; True for a part of a set."""

pytestmark = [pytest.mark.interop]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test identity, its root, and a timestamp authority, as PEM."""
    folder = tmp_path_factory.mktemp("identity")
    pki, who = default_pki(), identity()
    (folder / "root.pem").write_bytes(pem(authority().certificate))
    (folder / "chain.pem").write_bytes(b"".join(pem(one.certificate) for one in who.path))
    (folder / "key.pem").write_bytes(who.key.pem)
    (folder / "tsa-root.pem").write_bytes(pki.root.pem)
    (folder / "tsa.pem").write_bytes(pki.tsa.pem + pki.root.pem)
    (folder / "tsa-key.pem").write_bytes(pki.tsa.key.pem)
    return folder


@pytest.fixture(scope="module")
def judge(folder: Path) -> Callable[[bytes], Verdict]:
    trusting = context(folder, authority(), default_pki().root)
    return lambda data: assess(BytesSource("a.cab", data), trusting)


def flipped(data: bytes) -> bytes:
    """Return the cabinet with one octet of a stored file changed."""
    place = data.index(b"The first file")
    return data[:place] + b"A" + data[place + 1 :]


def ossl_accepts(data: bytes, folder: Path) -> tuple[bool, str]:
    path = folder / "verify.cab"
    path.write_bytes(data)
    done = run(
        tool("osslsigncode"), "verify", "-ignore-cdp", "-CAfile", folder / "root.pem",
        "-TSA-CAfile", folder / "tsa-root.pem", "-time", str(int(NOW.timestamp())), "-in", path,
    )  # fmt: skip
    return done.returncode == 0, done.stdout + done.stderr


def ossl_signs(data: bytes, folder: Path, *more: str | Path) -> bytes:
    source, target = folder / "in.cab", folder / "out.cab"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    done = run(
        tool("osslsigncode"), "sign", "-certs", folder / "chain.pem", "-key", folder / "key.pem",
        *more, "-in", source, "-out", target,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return target.read_bytes()


@pytest.mark.confirms("cab", "sign", "osslsigncode")
@pytest.mark.parametrize("name", ["plain.cab", "folders.cab", "first.cab"])
def test_osslsigncode_accepts_what_we_sign(name: str, folder: Path) -> None:
    signed = sign_bytes(name, SAMPLES[name](), description="A cabinet", url="https://example.org/")
    accepted, said = ossl_accepts(signed, folder)
    assert accepted, said
    assert "A cabinet" in said
    refused, said = ossl_accepts(flipped(signed), folder)
    assert not refused, said


@pytest.mark.confirms("cab", "sign", "osslsigncode")
def test_osslsigncode_accepts_our_nested_signature_and_timestamp(
    folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    stamped = sign_bytes("a.cab", cabinet(), stamp=_stamp)
    both = sign_bytes("a.cab", stamped, existing=Existing.NESTED, digest="sha384")
    accepted, said = ossl_accepts(both, folder)
    assert accepted, said
    assert "Number of verified signatures: 2" in said
    assert "Timestamp Server Signature verification: ok" in said
    refused, said = ossl_accepts(flipped(both), folder)
    assert not refused, said
    verdict = judge(stamped)
    assert isinstance(verdict.signatures[0], TrustedSignature)
    assert verdict.signatures[0].proven_time is not None


def _stamp(value: bytes) -> bytes:
    return tsa.token_der(value, default_pki().tsa, at=instant(2025))


@pytest.mark.confirms("cab", "verify", "osslsigncode")
@pytest.mark.parametrize("name", ["plain.cab", "folders.cab"])
def test_we_accept_what_osslsigncode_signs(
    name: str, folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    data = SAMPLES[name]()
    signed = ossl_signs(data, folder)
    assert judge(signed).outcome is Outcome.ACCEPTED, judge(signed).findings
    assert judge(flipped(signed)).cause is Code.DIGEST_MISMATCH
    assert strip_bytes(name, signed) == data
    nested = ossl_signs(signed, folder, "-nest", "-h", "sha384")
    verdict = judge(nested)
    assert (verdict.outcome, len(verdict.signatures)) == (Outcome.ACCEPTED, 2)
    ours = sign_bytes(name, signed, existing=Existing.NESTED)
    assert ossl_accepts(ours, folder)[0]


def test_osslsigncode_leaves_out_the_next_cabinets_name_when_it_signs(
    folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    """It hashes the name when it verifies: a first part of a set that it signs it refuses too."""
    signed = ossl_signs(SAMPLES["first.cab"](), folder)
    assert not ossl_accepts(signed, folder)[0]
    assert judge(signed).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("cab", "verify", "osslsigncode")
def test_we_accept_osslsigncodes_timestamp(folder: Path, judge: Callable[[bytes], Verdict]) -> None:
    stamp = ("-TSA-certs", folder / "tsa.pem", "-TSA-key", folder / "tsa-key.pem",
             "-TSA-time", str(int(instant(2025).timestamp())))  # fmt: skip
    verdict = judge(ossl_signs(cabinet(), folder, *stamp))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert isinstance(verdict.signatures[0], TrustedSignature)
    proven = verdict.signatures[0].proven_time
    assert proven is not None
    assert proven.instant == instant(2025)


@pytest.mark.confirms("cab", "sign", "osslsigncode")
def test_osslsigncode_strips_what_we_sign_to_what_it_was(folder: Path) -> None:
    source, target = folder / "signed.cab", folder / "stripped.cab"
    source.write_bytes(sign_bytes("a.cab", cabinet()))
    target.unlink(missing_ok=True)
    done = run(tool("osslsigncode"), "remove-signature", "-in", source, "-out", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.read_bytes() == cabinet()


# --- jsign ---------------------------------------------------------------------------


def jsign(path: Path, folder: Path, *words: str) -> None:
    java, maven = tool("java"), tool("mvn")
    if not JSIGN.is_file():
        run(maven, "-q", "dependency:get", "-Dartifact=net.jsign:jsign:7.4", "-Dtransitive=false")
    if not JSIGN.is_file():
        pytest.skip("jsign 7.4 could not be fetched")
    keys = () if words else ("--keyfile", folder / "key.pem", "--certfile", folder / "chain.pem")
    done = run(java, "-jar", JSIGN, *words, *keys, path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.confirms("cab", "verify", "jsign")
@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_jsign_signs_and_we_accept(
    name: str, folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    """A part of a set and reserve areas too, which osslsigncode cannot sign."""
    path = folder / name
    path.write_bytes(SAMPLES[name]())
    jsign(path, folder)
    signed = path.read_bytes()
    assert judge(signed).outcome is Outcome.ACCEPTED, judge(signed).findings
    number = signed[:34] + b"\x07" + signed[35:]
    assert judge(number).cause is Code.DIGEST_MISMATCH
    if b"The first file" in signed:
        assert judge(flipped(signed)).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("cab", "sign", "jsign")
@pytest.mark.slow
def test_jsign_adds_to_and_removes_what_we_sign(
    folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    path = folder / "both.cab"
    ours = sign_bytes("both.cab", SAMPLES["middle.cab"]())
    path.write_bytes(ours)
    jsign(path, folder)
    verdict = judge(path.read_bytes())
    assert (verdict.outcome, len(verdict.signatures)) == (Outcome.ACCEPTED, 2)
    jsign(path, folder, "remove")
    assert judge(path.read_bytes()).cause is Code.UNSIGNED


@pytest.mark.slow
@pytest.mark.parametrize("name", VECTORS)
def test_jsign_and_we_agree_on_cabinets_of_other_makers(
    name: str, vectors: Path, folder: Path, judge: Callable[[bytes], Verdict]
) -> None:
    data = (vectors / name).read_bytes()
    assert judge(data).cause is Code.UNSIGNED
    ours = sign_bytes("a.cab", data)
    assert judge(ours).outcome is Outcome.ACCEPTED
    assert strip_bytes("a.cab", ours) == data
    path = folder / "vector.cab"
    path.write_bytes(data)
    jsign(path, folder)
    assert judge(path.read_bytes()).outcome is Outcome.ACCEPTED
    if not VECTORS[name]:
        path.write_bytes(ours)
        assert run(tool("cabextract"), "-t", path).returncode == 0


# --- gcab and cabextract -------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False], ids=["mszip", "stored"])
def test_gcabs_cabinets_extract_as_before_when_signed(
    compressed: bool,
    tmp_path: Path,
    judge: Callable[[bytes], Verdict],
) -> None:
    contents = {f"file-{n}.bin": hashlib.sha512(bytes((n,))).digest() * 2000 for n in range(3)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "made.cab"
    options = ("-z",) if compressed else ()
    made = run(tool("gcab"), *options, "-c", path, *(tmp_path / name for name in contents))
    assert made.returncode == 0, made.stderr
    signed = sign_bytes("made.cab", path.read_bytes())
    assert judge(signed).outcome is Outcome.ACCEPTED
    assert strip_bytes("made.cab", signed) == path.read_bytes()
    path.write_bytes(signed)
    out = tmp_path / "out"
    out.mkdir()
    done = run(tool("cabextract"), "-q", "-d", out, path)
    assert done.returncode == 0, done.stderr
    found = {file.name: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert found == contents


@pytest.mark.parametrize("name", ["plain.cab", "folders.cab", "reserves.cab", "middle.cab"])
def test_cabextract_reads_our_samples_signed_and_not(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for data in (SAMPLES[name](), sign_bytes(name, SAMPLES[name]())):
        path.write_bytes(data)
        done = run(tool("cabextract"), "-t", path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(" OK ") == 2


def test_strip_reports_no_envelopes() -> None:
    source = BytesSource("a.cab", sign_bytes("a.cab", cabinet()))
    (blob,) = FORMAT.envelopes(source)
    assert blob in source.read(0, source.length)
    assert FORMAT.envelopes(BytesSource("a.cab", cabinet())) == ()
