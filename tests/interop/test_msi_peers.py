"""Installer packages both ways: osslsigncode, jsign, signify, msitools; what signtool signed."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.compound import PACKAGE, Tree, compound
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue, pem
from conformance.authenticode.runners import signify

from signward.findings import Code, Effect
from signward.formats import Existing, ParseOptions
from signward.formats.msi import FORMAT, SIGNATURE_STREAM
from signward.integrity import wanted_slots
from signward.state import Outcome, TrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from signward.wire.cfb import open_compound
from signward.wire.source import BytesSource
from tests.interop.test_jsign import VERSION as JSIGN
from tests.samples.msi import SAMPLES
from tests.signing import authority, context, identity, sign_bytes

pytestmark = pytest.mark.interop

AT = datetime(2026, 11, 23, tzinfo=UTC)

EX = pytest.mark.parametrize("ex", [True, False], ids=["ex", "plain"])

WIX = """<?xml version='1.0' encoding='utf-8'?>
<Wix xmlns='http://schemas.microsoft.com/wix/2006/wi'>
<Product Name='T' Id='ABCDDCBA-86C7-4D14-AEC0-86416A69ABDE' Language='1033' Codepage='1252'
 UpgradeCode='ABCDDCBA-7349-453F-94F6-BCB5110BA4FD' Version='1.0.0' Manufacturer='T'>
<Package Id='*' Description='T' Manufacturer='T' InstallerVersion='100' Languages='1033'
 Compressed='yes' SummaryCodepage='1252'/>
<Media Id='1' Cabinet='T.cab' EmbedCab='yes'/>
<Directory Id='TARGETDIR' Name='SourceDir'><Directory Id='ProgramFilesFolder' Name='P'>
<Component Id='C' Guid='ABCDDCBA-83F1-4F22-985B-FDB3C8ABD471'>
<File Id='F1' Name='big.bin' DiskId='1' Source='big.bin' KeyPath='yes'/></Component>
</Directory></Directory>
<Feature Id='A' Level='1'><ComponentRef Id='C'/></Feature>
</Product></Wix>
"""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, check=check, capture_output=True, text=True, timeout=120
    )


def packages() -> dict[str, bytes]:
    """Packages by file name: sectors of both sizes, storages, a FAT that needs a DIFAT."""
    tree: Tree = {"\5SummaryInformation": b"s" * 300, "Binary": bytes(range(256)) * 30}
    return {
        **{name: made() for name, made in SAMPLES.items()},
        "flat.msp": bytes(compound({"T1": {"x": b"1" * 90}, "#T1": {"x": b"2"}, "s": b"3"})),
        "wide.msi": bytes(compound(tree, size=4096, clsid=PACKAGE)),
        "long.msi": bytes(compound({**tree, "big": bytes(range(256)) * 31000})),
    }


PACKAGES = packages()
NAMES = pytest.mark.parametrize("name", sorted(PACKAGES))
SIGNED_BY_OSSLSIGNCODE = pytest.mark.parametrize("name", sorted({*PACKAGES} - {"patch.msp"}))
"""osslsigncode 2.9 writes a storage inside a storage so that it cannot read it back itself."""


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test identity's root, chain and key as PEM, and a timestamper's."""
    folder = tmp_path_factory.mktemp("signer")
    who = identity()
    tsa = issue(
        "MSI Test TSA", issuer=authority(), subject_key=key("rsa2048", "msi-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    (folder / "root.pem").write_bytes(pem(authority().certificate))
    for label, one in (("signer", who), ("tsa", tsa)):
        (folder / f"{label}.pem").write_bytes(b"".join(chain(one)))
        (folder / f"{label}.key").write_bytes(one.key.pem)
    return folder


def chain(who: Identity) -> Iterator[bytes]:
    for one in who.path:
        if one.issuer:
            yield pem(one.certificate)


@pytest.fixture
def peer_sign(signer: Path, tmp_path: Path) -> Callable[..., Path]:
    """Sign with osslsigncode: name and bytes, further options; returns the file."""

    def sign(name: str, data: bytes, *options: str) -> Path:
        source, target = tmp_path / f"in-{name}", tmp_path / f"out-{name}"
        source.write_bytes(data)
        target.unlink(missing_ok=True)
        run(
            tool("osslsigncode"), "sign", "-certs", str(signer / "signer.pem"), "-key",
            str(signer / "signer.key"), *options, "-in", str(source), "-out", str(target),
            cwd=tmp_path,
        )  # fmt: skip
        return target

    return sign


@pytest.fixture
def peer_accepts(signer: Path, tmp_path: Path) -> Callable[[str, bytes], bool]:
    """Say whether osslsigncode verifies these bytes with every signature in them."""

    def accepts(name: str, data: bytes) -> bool:
        path = tmp_path / f"judged-{name}"
        path.write_bytes(data)
        done = run(
            tool("osslsigncode"), "verify", "-CAfile", str(signer / "root.pem"), "-TSA-CAfile",
            str(signer / "root.pem"), "-time", str(int(NOW.timestamp())), "-in", str(path),
            cwd=tmp_path, check=False,
        )  # fmt: skip
        return done.returncode == 0

    return accepts


def flipped(data: bytes) -> bytes:
    """Return a package with one byte of content changed, in its largest stream of all."""
    members = list(open_compound(BytesSource("m", data)).root.children)
    for member in members:
        members += member.children
    content = [m for m in members if m.name != SIGNATURE_STREAM and m.spans]
    at = max(content, key=lambda member: member.size).spans[0][0]
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.confirms("msi", "verify", "osslsigncode")
@SIGNED_BY_OSSLSIGNCODE
@EX
def test_what_osslsigncode_signs_is_accepted(
    name: str, ex: bool, peer_sign: Callable[..., Path], tmp_path: Path
) -> None:
    path = peer_sign(name, PACKAGES[name], "-h", "sha256", *["-add-msi-dse"] * ex)
    judging = context(tmp_path)
    verdict = assess_path(path, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    warned = {f.code for f in verdict.findings if f.effect is Effect.WARN}
    assert (Code.UNAUTHENTICATED_DATA in warned) is not ex
    path.write_bytes(flipped(path.read_bytes()))
    assert assess_path(path, judging).cause is Code.DIGEST_MISMATCH


@EX
@pytest.mark.parametrize("digest", ["sha384", "sha512"])
def test_other_digests_of_osslsigncode(
    digest: str, ex: bool, peer_sign: Callable[..., Path], tmp_path: Path
) -> None:
    path = peer_sign("a.msi", PACKAGES["cabinet.msi"], "-h", digest, *["-add-msi-dse"] * ex)
    assert assess_path(path, context(tmp_path)).outcome is Outcome.ACCEPTED


@EX
def test_nested_signatures_of_osslsigncode(
    ex: bool, peer_sign: Callable[..., Path], tmp_path: Path
) -> None:
    options = ["-h", "sha256", *["-add-msi-dse"] * ex]
    once = peer_sign("a.msi", PACKAGES["flat.msp"], *options).read_bytes()
    verdict = assess_path(peer_sign("a.msi", once, "-nest", *options), context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2


def test_a_timestamp_of_osslsigncodes_own_authority(
    peer_sign: Callable[..., Path], signer: Path, tmp_path: Path
) -> None:
    path = peer_sign(
        "a.msi", PACKAGES["cabinet.msi"], "-h", "sha256", "-add-msi-dse", "-TSA-certs",
        str(signer / "tsa.pem"), "-TSA-key", str(signer / "tsa.key"), "-TSA-time",
        str(int(NOW.timestamp())),
    )  # fmt: skip
    verdict = assess_path(path, context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED
    (signature,) = verdict.signatures
    assert isinstance(signature, TrustedSignature)
    assert signature.proven_time is not None
    assert signature.proven_time.instant == NOW


@pytest.mark.confirms("msi", "sign", "osslsigncode")
@NAMES
@EX
def test_osslsigncode_accepts_ours(
    name: str, ex: bool, peer_accepts: Callable[[str, bytes], bool]
) -> None:
    data = sign_bytes(name, PACKAGES[name], options={"ex": "yes" if ex else "no"})
    assert peer_accepts(name, data)
    assert not peer_accepts(name, flipped(data))
    twice = sign_bytes(name, data, existing=Existing.NESTED, who=identity(name="Second"))
    assert peer_accepts(name, twice)


def test_osslsigncode_nests_into_ours_and_we_into_its(
    peer_sign: Callable[..., Path], peer_accepts: Callable[[str, bytes], bool], tmp_path: Path
) -> None:
    ours = sign_bytes("a.msi", PACKAGES["cabinet.msi"])
    both = peer_sign("a.msi", ours, "-nest", "-add-msi-dse", "-h", "sha256")
    assert len(assess_path(both, context(tmp_path)).signatures) == 2
    assert assess_path(both, context(tmp_path)).outcome is Outcome.ACCEPTED
    theirs = peer_sign("a.msi", PACKAGES["cabinet.msi"], "-add-msi-dse", "-h", "sha256")
    mixed = sign_bytes("a.msi", theirs.read_bytes(), existing=Existing.NESTED)
    assert peer_accepts("a.msi", mixed)


@pytest.fixture(scope="module")
def jsign() -> list[str]:
    jar = Path.home() / f".m2/repository/net/jsign/jsign/{JSIGN}/jsign-{JSIGN}.jar"
    if not jar.is_file():
        artifact = f"-Dartifact=net.jsign:jsign:{JSIGN}"
        subprocess.run(
            [tool("mvn"), "-q", "dependency:get", artifact, "-Dtransitive=false"], timeout=300
        )
    if not jar.is_file():
        pytest.skip(f"jsign {JSIGN} could not be fetched")
    return [tool("java"), "-jar", str(jar)]


@pytest.mark.confirms("msi", "verify", "jsign")
@NAMES
def test_what_jsign_signs_is_accepted(
    name: str, jsign: list[str], signer: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(PACKAGES[name])
    arguments = ["--keyfile", str(signer / "signer.key"), "--certfile", str(signer / "signer.pem")]
    run(*jsign, *arguments, str(path), cwd=tmp_path)
    verdict = assess_path(path, context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    path.write_bytes(flipped(path.read_bytes()))
    assert assess_path(path, context(tmp_path)).cause is Code.DIGEST_MISMATCH


def test_jsign_nests_into_ours_and_reads_the_same_envelope(
    jsign: list[str], signer: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.msi"
    path.write_bytes(sign_bytes("a.msi", PACKAGES["cabinet.msi"]))
    run(*jsign, "extract", "--format", "DER", str(path), cwd=tmp_path)
    (envelope,) = FORMAT.envelopes(BytesSource("a.msi", path.read_bytes()))
    assert (tmp_path / "a.msi.sig").read_bytes() == envelope
    arguments = ["--keyfile", str(signer / "signer.key"), "--certfile", str(signer / "signer.pem")]
    run(*jsign, *arguments, str(path), cwd=tmp_path)
    verdict = assess_path(path, context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert len(verdict.signatures) == 2


@NAMES
@EX
def test_signify_computes_the_same_digests(name: str, ex: bool, tmp_path: Path) -> None:
    if not signify.version():
        pytest.skip("signify is not installed, or cannot be imported")
    msi = importlib.import_module("signify.authenticode.signed_file.msi")
    data = sign_bytes(name, PACKAGES[name], options={"ex": "yes" if ex else "no"})
    path = tmp_path / name
    path.write_bytes(data)
    artifact = FORMAT.parse(BytesSource(name, data), ParseOptions())
    ours = FORMAT.digests(artifact, wanted_slots(artifact))
    with path.open("rb") as handle:
        theirs = msi.SignedMsiFile(handle)
        assert theirs.has_prehash is ex
        assert theirs.get_fingerprint(hashlib.sha256) == ours["content", "sha256"]


def test_msitools_read_the_same_tables_and_streams(tmp_path: Path) -> None:
    """A real database as wixl makes it: what msidump sees of it stays what it was."""
    (tmp_path / "a.wxs").write_text(WIX)
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 300)
    run(tool("wixl"), "-o", "a.msi", "a.wxs", cwd=tmp_path)
    before = (tmp_path / "a.msi").read_bytes()
    seen = dumped(tmp_path / "a.msi", tmp_path / "before")
    assert any(name.endswith(".idt") for name in seen)
    (tmp_path / "a.msi").write_bytes(sign_bytes("a.msi", before))
    assert assess_path(tmp_path / "a.msi", context(tmp_path)).outcome is Outcome.ACCEPTED
    after = dumped(tmp_path / "a.msi", tmp_path / "after")
    signature = {name for name in after if "DigitalSignature" in name}
    assert len(signature) == 2
    assert {name: data for name, data in after.items() if name not in signature} == seen


def dumped(package: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    run(tool("msidump"), "-t", "-s", "-d", str(folder), str(package), cwd=folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.corpus
@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_real_packages_are_accepted(machine: str, corpus: Callable[[str], Path]) -> None:
    """Signed by signtool, with the metadata digest, remains in slack and a proven time."""
    (path,) = corpus("vgamepad").rglob(f"ViGEmBusSetup_{machine}.msi")
    verdict = assess_path(path, Context(Options(at=AT)))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.publisher is not None
    assert "Nefarius" in verdict.publisher.name


@pytest.mark.corpus
def test_a_real_package_is_signed_anew_and_nested(
    corpus: Callable[[str], Path],
    peer_accepts: Callable[[str, bytes], bool],
    tmp_path: Path,
) -> None:
    (path,) = corpus("vgamepad").rglob("ViGEmBusSetup_x64.msi")
    data = sign_bytes("a.msi", path.read_bytes(), existing=Existing.REPLACE)
    assert peer_accepts("a.msi", data)
    (tmp_path / "nested.msi").write_bytes(
        sign_bytes("a.msi", path.read_bytes(), existing=Existing.NESTED)
    )
    verdict = assess_path(tmp_path / "nested.msi", Context(Options(at=AT)))
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
