"""Authenticated variables both ways with efitools, sbvarsign and OpenSSL; dbx on Debian's files."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import pem

from signward.cli.commands import run
from signward.findings import Code
from signward.formats.efi_variable import FORMAT
from signward.policy.dbx import read_dbx
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.show import show
from signward.verbs.stores import load_store
from signward.verbs.verify import assess, assess_path
from signward.wire import siglist
from signward.wire.siglist import SHA256, X509, Entry
from signward.wire.source import BytesSource
from tests.builders.keyfiles import encoded
from tests.corpus import require
from tests.schemas import schemas
from tests.signing import authority, identity, sign_bytes

pytestmark = pytest.mark.interop

OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
SIGNER = identity()


def tool(name: str, *arguments: str | Path, code: int | None = 0) -> str:
    """Run a tool; skip where it is absent, fail where it ends otherwise than with ``code``."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    command = [name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a key, its certificate, its root and a list to be signed."""
    (tmp_path / "key.pem").write_bytes(encoded(SIGNER.key))
    (tmp_path / "cert.pem").write_bytes(pem(SIGNER.certificate))
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    entries = [Entry(kind=SHA256, owner=OWNER, data=bytes([n]) * 32) for n in range(3)]
    (tmp_path / "content.esl").write_bytes(siglist.write_lists(entries))
    return tmp_path


def judged(path: Path, files: Path, **options: Any) -> Verdict:
    return assess_path(path, Context(Options(anchors=(str(files / "cert.pem"),), **options)))


def refused_once_changed(path: Path, files: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    context = Context(Options(anchors=(str(files / "cert.pem"),)))
    verdict = assess(BytesSource(path.name, bytes(data)), context)
    assert verdict.cause in {Code.SIGNATURE_MISMATCH, Code.DIGEST_MISMATCH}


@pytest.mark.confirms("efi-variable", "verify", "efitools")
@pytest.mark.parametrize(("name", "append"), [
    ("PK", False), ("KEK", False), ("KEK", True), ("db", True), ("dbx", False), ("dbx", True),
])  # fmt: skip
def test_what_sign_efi_sig_list_signs_is_accepted(files: Path, name: str, append: bool) -> None:
    out = files / f"{name}.auth"
    tool("sign-efi-sig-list", *(["-a"] if append else []), "-k", files / "key.pem", "-c",
         files / "cert.pem", name, files / "content.esl", out)  # fmt: skip
    verdict = judged(out, files)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.facts["signed-as"] == f"{name}, {'append' if append else 'replace'}"
    refused_once_changed(out, files)
    unnamed = out.rename(files / "update.bin")
    assert judged(unnamed, files).facts["signed-as"] == verdict.facts["signed-as"]
    assert judged(unnamed.rename(files / "dbt.auth"), files).cause is Code.SIGNATURE_MISMATCH


@pytest.mark.confirms("efi-variable", "verify", "sbvarsign")
@pytest.mark.parametrize("name", ["db", "dbx", "KEK"])
def test_what_sbvarsign_signs_is_accepted(files: Path, name: str) -> None:
    out = files / f"{name}.auth"
    tool("sbvarsign", "--key", files / "key.pem", "--cert", files / "cert.pem", "--output", out,
         name, files / "content.esl")  # fmt: skip
    verdict = judged(out, files)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    refused_once_changed(out, files)


def _signed(files: Path, name: str, *options: str) -> Path:
    path = files / f"{name}.esl"
    path.write_bytes((files / "content.esl").read_bytes())
    uri = f"file:{files / 'key.pem'}"
    asked = [word for option in options for word in ("--option", option)]
    words = ["sign", "--key", uri, "--cert", str(files / "cert.pem"), *asked, str(path)]
    assert run(words) == 0
    return path


@pytest.mark.confirms("efi-variable", "sign", "openssl smime with efitools")
@pytest.mark.parametrize("name", ["db", "dbx", "PK"])
def test_openssl_accepts_ours_over_what_efitools_would_sign(files: Path, name: str) -> None:
    """efitools writes what is to be signed for one time; OpenSSL checks our value over it."""
    signed = _signed(files, name, *(["append=yes"] if name == "dbx" else []))
    update = siglist.read_update(signed.read_bytes())
    data = siglist.to_be_signed(name, update.content, update.at, append=name == "dbx")
    bundle = files / "bundle"
    tool("sign-efi-sig-list", *(["-a"] if name == "dbx" else []), "-g", siglist.VENDORS[name],
         "-t", f"{update.at:%Y-%m-%d %H:%M:%S}", "-o", name, files / "content.esl", bundle,
         )  # fmt: skip
    theirs, at = bundle.read_bytes(), 2 * len(name) + 20
    assert theirs[:at] + data[at : at + 16] + theirs[at + 16 :] == data  # they may know DST
    (envelope,) = FORMAT.envelopes(BytesSource(signed.name, signed.read_bytes()))
    (files / "p7").write_bytes(envelope)
    (files / "data").write_bytes(data)
    check = ("smime", "-verify", "-inform", "DER", "-in", files / "p7", "-binary", "-content",
             files / "data", "-CAfile", files / "root.pem", "-purpose", "any",
             "-no_check_time", "-out", files / "out")  # fmt: skip
    tool("openssl", *check)
    (files / "data").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "failure" in tool("openssl", *check, code=None).lower()


def test_hash_to_efi_sig_list_writes_what_siglist_writes(files: Path) -> None:
    program = _debian("fwupd", "fwupdx64.efi.signed")
    tool("hash-to-efi-sig-list", program, files / "theirs.esl")
    assert run(["siglist", "--image", str(program), "-o", str(files / "ours.esl")]) == 0
    ours = siglist.read_lists((files / "ours.esl").read_bytes())
    theirs = siglist.read_lists((files / "theirs.esl").read_bytes())
    assert [(e.kind, e.data) for e in ours] == [(e.kind, e.data) for e in theirs]


def test_virt_firmware_reads_the_lists_we_write(files: Path) -> None:
    sigdb = pytest.importorskip("virt.firmware.efi.siglist", reason="virt-firmware is absent")
    words = ["siglist", "--certificate", str(files / "root.pem"), "--sha256", "ab" * 32,
             "--owner", OWNER, "-o", str(files / "db.esl")]  # fmt: skip
    assert run(words) == 0
    theirs = sigdb.EfiSigDB((files / "db.esl").read_bytes())
    text = repr(theirs) + "".join(str(item) for item in theirs)
    assert "Signing Test Root" in text or len(list(theirs)) == 2


# --- dbx on real files -----------------------------------------------------------------------


def _debian(package: str, name: str) -> Path:
    return next(path for path in require(package).rglob(name) if path.is_file())


def _listed(folder: Path, kind: str, data: bytes) -> str:
    path = folder / "dbx.esl"
    path.write_bytes(siglist.write_lists([Entry(kind=kind, owner=OWNER, data=data)]))
    return str(path)


def test_debians_shim_stands_under_microsofts_published_list() -> None:
    """443 x64 images and more are listed; a current shim is none of them."""
    info = str(schemas() / "dbx_info_msft_latest.json")
    shim = _debian("shim", "shimx64.efi.signed")
    verdict = assess_path(shim, Context(Options(dbx=(info,), sbat_level="latest")))
    assert verdict.outcome is Outcome.ACCEPTED
    digest = verdict.digests["image-sha256"]
    assert not any(digest == denied.digest for denied in read_dbx(
        "info", Path(info).read_bytes()).images)  # fmt: skip


def test_a_shim_of_two_signatures_falls_with_one_authority(tmp_path: Path) -> None:
    """UEFI 2.8 32.5.3.3: no present signature may be reflected in dbx."""
    shim = _debian("shim", "shimx64.efi.signed")
    old = next(a.certificate for a in load_store("uefi").anchors()
               if a.certificate.common_name == "Microsoft Corporation UEFI CA 2011")  # fmt: skip
    verdict = assess_path(shim, Context(Options(dbx=(_listed(tmp_path, X509, old.der),))))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REVOKED)
    image = verdict.digests["image-sha256"]
    verdict = assess_path(shim, Context(Options(dbx=(_listed(tmp_path, SHA256, image),))))
    assert verdict.cause is Code.DIGEST_REVOKED


def test_shims_own_levels_and_debians_grub(tmp_path: Path) -> None:
    shim, grub = _debian("shim", "shimx64.efi.signed"), _debian("grub", "grubx64.efi.signed")
    anchor = tmp_path / "debian.pem"
    artifact, _ = show(grub, Context(Options()))
    assert artifact is not None
    assert artifact.facts["sbat"] == "sbat,1 grub,5 grub.debian,5 grub.debian12,1"
    anchor.write_bytes(pem(artifact.signatures[0].claimed_certificates[0]))
    for level, cause in ((str(shim), None), (str(_level(tmp_path)), Code.SBAT_REVOKED)):
        options = Options(anchors=(str(anchor),), sbat_level=level)
        assert assess_path(grub, Context(options)).cause is cause
    shown, _ = show(shim, Context(Options()))
    assert shown is not None
    assert shown.facts["sbat-level"] == "2025051000 shim,4 grub,5 grub.proxmox,2"


def _level(folder: Path) -> Path:
    path = folder / "SbatLevel.csv"
    path.write_bytes(b"sbat,1,2030010100\nshim,4\ngrub,6\n")
    return path


@pytest.mark.slow
def test_no_changed_offset_of_a_real_write_is_accepted(vectors: Path) -> None:
    """go-uefi's PK.auth, signed with attributes: every byte that anything reads is covered."""
    path = vectors / "go-uefi/tests/data/signatures/varsign/PK.auth"
    keys = vectors / "go-uefi/tests/data/signatures/secureboot/keys"
    context = Context(Options(anchors=(str(keys / "PK/PK.pem"), str(keys / "KEK/KEK.pem")),
                              at=datetime(2020, 5, 7, tzinfo=UTC)))  # fmt: skip
    data = path.read_bytes()
    assert assess(BytesSource("PK.auth", data), context).outcome is Outcome.ACCEPTED
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset % 8)
        verdict = assess(BytesSource("PK.auth", bytes(changed)), context)
        assert verdict.outcome is not Outcome.ACCEPTED, offset


def test_sbsign_and_dbx(files: Path) -> None:
    """What sbsign signs of ours falls once its certificate is listed."""
    from tests.unit.test_firmware import program

    (files / "a.efi").write_bytes(program())
    tool("sbsign", "--key", files / "key.pem", "--cert", files / "cert.pem", "--output",
         files / "b.efi", files / "a.efi")  # fmt: skip
    assert judged(files / "b.efi", files).outcome is Outcome.ACCEPTED
    dbx = _listed(files, X509, SIGNER.certificate)
    assert judged(files / "b.efi", files, dbx=(dbx,)).cause is Code.REVOKED


def test_replayed_writes(files: Path) -> None:
    data = sign_bytes("db.esl", (files / "content.esl").read_bytes())
    (files / "db.auth").write_bytes(data)
    after = datetime(2030, 1, 1, tzinfo=UTC)
    assert judged(files / "db.auth", files, after=after).cause is Code.REPLAYED


def test_debians_fwupd_is_intact_though_sbsign_named_its_digest_oddly() -> None:
    """Its SpcIndirectDataContent speaks of 1.3.6.1.4.1.311.2.1.21; sbverify takes it, too."""
    fwupd = _debian("fwupd", "fwupdx64.efi.signed")
    assert "signature certificates" in tool("sbverify", "--list", fwupd)
    assert assess_path(fwupd, Context(Options())).cause is Code.NO_PATH  # to Debian's own CA
    data = bytearray(fwupd.read_bytes())
    data[0x1400] ^= 1
    verdict = assess(BytesSource("fwupdx64.efi", bytes(data)), Context(Options()))
    assert verdict.cause is Code.DIGEST_MISMATCH
