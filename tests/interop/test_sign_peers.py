"""What we sign, others accept, and refuse once one byte of content is changed.

PE images, scripts and catalogs; the other formats have modules of their own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe as pe_builder
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue
from conformance.authenticode.pki import pem as as_pem
from conformance.authenticode.script import FAMILIES, encode
from cryptography.hazmat.primitives import serialization

from signward.envelopes.cms import TIMESTAMP_TOKENS
from signward.formats import Existing, Format, ParseOptions
from signward.formats.pe import FORMAT as PE
from signward.formats.script import FORMAT as SCRIPT
from signward.state import Outcome
from signward.verbs.detached import DETACHED, assess_detached
from signward.verbs.sign import Signatory, SignOptions
from signward.verbs.verify import assess_path
from signward.wire.source import BytesSource
from tests.builders.web import Reply, Request, running
from tests.samples import catalog, pe
from tests.signing import assess_bytes, authority, context, identity, sign_bytes

pytestmark = pytest.mark.interop


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def said(*command: object) -> tuple[int, str]:
    """Run a command; return its exit code and everything it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(as_pem(authority().certificate))
    return path


def osslsigncode(path: Path, root: Path, *options: object) -> bool:
    """Ask osslsigncode at the instant the tests judge at."""
    command = [tool("osslsigncode"), "verify", "-CAfile", root, "-TSA-CAfile", root,
               "-time", int(NOW.timestamp()), *options, "-in", path]  # fmt: skip
    code, text = said(*command)
    return code == 0 and "Succeeded" in text


def flipped(data: bytes, offset: int) -> bytes:
    changed = bytearray(data)
    changed[offset] ^= 1
    return bytes(changed)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sha384": {"digest": "sha384"},
    "sha512": {"digest": "sha512"},
    "pages": {"page_hashes": True},
    "described": {"description": "Prüfstück", "url": "https://example.org/"},
    "p256": {"who": "p256"},
    "p384": {"who": "p384", "digest": "sha384"},
}


def signed_variant(name: str, data: bytes, variant: str) -> bytes:
    asked = dict(VARIANTS[variant])
    who = asked.pop("who", "")
    return sign_bytes(name, data, who=identity(who, f"Peer {who}") if who else None, **asked)


@pytest.mark.confirms("pe", "sign", "osslsigncode")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["plus.exe", "plain.dll", "odd.exe", "paged.sys"])
def test_osslsigncode_on_images(name: str, variant: str, root: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(signed_variant(name, pe.SAMPLES[name](), variant))
    assert osslsigncode(path, root)
    path.write_bytes(flipped(path.read_bytes(), 0x400))
    assert not osslsigncode(path, root)


@pytest.mark.confirms("pe", "sign", "osslsigncode")
def test_osslsigncode_on_nested_images(root: Path, tmp_path: Path) -> None:
    path, first = tmp_path / "a.exe", sign_bytes("a.exe", pe_builder.image())
    path.write_bytes(sign_bytes("a.exe", first, existing=Existing.NESTED, digest="sha384"))
    assert osslsigncode(path, root)
    path.write_bytes(flipped(path.read_bytes(), 0x400))
    assert not osslsigncode(path, root)


# osslsigncode signs and checks js by PowerShell's rule; Windows' own package and jsign use
# another (docs/decisions/0011), and so do we: it knows no vbs or wsf at all.
OSSL_SCRIPTS = ("ps1", "psm1", "psd1", "ps1xml", "psc1", "cdxml", "mof")


@pytest.mark.confirms("script", "sign", "osslsigncode")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
@pytest.mark.parametrize("family", OSSL_SCRIPTS)
def test_osslsigncode_on_scripts(family: str, encoding: str, root: Path, tmp_path: Path) -> None:
    path = tmp_path / f"s.{family}"
    path.write_bytes(sign_bytes(path.name, encode(FAMILIES[family].sample, encoding)))
    assert osslsigncode(path, root)
    path.write_bytes(flipped(path.read_bytes(), 14))
    assert not osslsigncode(path, root)


@pytest.mark.confirms("catalog", "sign", "osslsigncode")
def test_osslsigncode_on_catalogs(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "driver.cat"
    data = sign_bytes(path.name, catalog.SAMPLES["driver.cat"]())
    path.write_bytes(data)
    assert osslsigncode(path, root)
    path.write_bytes(flipped(data, data.index(bytes(range(32))) + 5))
    assert not osslsigncode(path, root)


@pytest.mark.confirms("catalog", "sign", "osslsigncode")
def test_osslsigncode_finds_a_member_in_our_catalog(root: Path, tmp_path: Path) -> None:
    from signward.verbs.list_files import write_catalog

    exe, listed = tmp_path / "a.exe", tmp_path / "a.cat"
    exe.write_bytes(pe_builder.image())
    write_catalog([str(exe)], str(listed), NOW)
    listed.write_bytes(sign_bytes("a.cat", listed.read_bytes()))
    assert osslsigncode(exe, root, "-catalog", listed)
    exe.write_bytes(flipped(exe.read_bytes(), 0x400))
    assert not osslsigncode(exe, root, "-catalog", listed)


@pytest.mark.confirms("catalog", "verify", "osslsigncode")
def test_osslsigncode_signs_a_catalog_we_accept(tmp_path: Path) -> None:
    source, target = tmp_path / "in.cat", tmp_path / "out.cat"
    source.write_bytes(sign_bytes("in.cat", catalog.SAMPLES["driver.cat"]()))
    (tmp_path / "key.pem").write_bytes(_private(identity()))
    (tmp_path / "cert.pem").write_bytes(as_pem(identity().certificate))
    code, text = said(tool("osslsigncode"), "sign", "-certs", tmp_path / "cert.pem", "-key",
                      tmp_path / "key.pem", "-in", source, "-out", target)  # fmt: skip
    assert code == 0, text
    assert assess_path(target, context(tmp_path)).outcome is Outcome.ACCEPTED
    data = target.read_bytes()
    target.write_bytes(flipped(data, data.index(bytes(range(32))) + 5))
    assert assess_path(target, context(tmp_path)).outcome is Outcome.REJECTED


@pytest.mark.confirms("pe", "sign", "LIEF")
@pytest.mark.parametrize("name", sorted(pe.SAMPLES))
def test_lief_on_images(name: str) -> None:
    import lief

    data = sign_bytes(name, pe.SAMPLES[name](), **pe.OPTIONS.get(name, {}))
    image = lief.PE.parse(data)
    assert image is not None
    assert image.verify_signature() == lief.PE.Signature.VERIFICATION_FLAGS.OK
    broken = lief.PE.parse(flipped(data, 0x400))
    assert broken is not None
    assert broken.verify_signature() != lief.PE.Signature.VERIFICATION_FLAGS.OK


# --- Secure Boot -----------------------------------------------------------------


@pytest.mark.confirms("pe", "sign", "sbverify")
def test_sbverify_on_an_efi_image(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "boot.efi"
    path.write_bytes(sign_bytes("boot.efi", pe.SAMPLES["boot.efi"]()))
    assert said(tool("sbverify"), "--cert", root, path)[0] == 0
    path.write_bytes(flipped(path.read_bytes(), 0x400))
    assert said(tool("sbverify"), "--cert", root, path)[0] != 0


@pytest.mark.confirms("pe", "sign", "pesign")
def test_pesign_reads_our_efi_signature_and_hash(tmp_path: Path) -> None:
    path, data = tmp_path / "boot.efi", pe.SAMPLES["boot.efi"]()
    path.write_bytes(sign_bytes("boot.efi", data))
    code, text = said(tool("pesign"), "-n", _nss(tmp_path), "-i", path, "-S")
    assert code == 0
    assert "Signing Test Publisher" in text
    code, text = said(tool("pesign"), "-n", tmp_path / "nss", "-i", path, "-h", "-d", "sha256")
    assert pe_builder.image_digest(data, "sha256").hex() in text


def _nss(folder: Path) -> Path:
    (folder / "nss").mkdir()
    said(tool("certutil") if shutil.which("certutil") else "true", "-N", "-d", folder / "nss",
         "--empty-password")  # fmt: skip
    return folder / "nss"


@pytest.mark.confirms("pe", "verify", "sbsign")
def test_sbsign_signs_what_we_accept(root: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "boot.efi", tmp_path / "signed.efi"
    source.write_bytes(pe.SAMPLES["boot.efi"]())
    (tmp_path / "key.pem").write_bytes(_private(identity()))
    (tmp_path / "cert.pem").write_bytes(as_pem(identity().certificate))
    code, text = said(tool("sbsign"), "--key", tmp_path / "key.pem", "--cert",
                      tmp_path / "cert.pem", "--output", target, source)  # fmt: skip
    assert code == 0, text
    assert assess_path(target, context(tmp_path)).outcome is Outcome.ACCEPTED
    again = sign_bytes("boot.efi", target.read_bytes(), existing=Existing.NESTED)
    verdict = assess_bytes("boot.efi", again, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2


def _private(who: Identity) -> bytes:
    found: bytes = who.key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return found


# --- timestamps ------------------------------------------------------------------

_CONFIGURATION = """
[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.pem
certs = root.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@cache
def _stamper() -> Identity:
    return issue("Peer TSA", issuer=authority(), subject_key=key("rsa2048", "peer-tsa"),
                 ekus=(EKU_TIME_STAMPING,), eku_critical=True)  # fmt: skip


@pytest.fixture
def openssl_tsa(tmp_path: Path, root: Path) -> Iterator[str]:
    """Run an authority whose every answer `openssl ts` makes; yield its URL."""
    (tmp_path / "tsa.conf").write_text(_CONFIGURATION)
    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "tsa.pem").write_bytes(as_pem(_stamper().certificate))
    (tmp_path / "tsa.key").write_bytes(_private(_stamper()))

    def answer(request: Request) -> Reply:
        (tmp_path / "query").write_bytes(request.body)
        make = [tool("openssl"), "ts", "-reply", "-config", "tsa.conf", "-queryfile", "query"]
        done = subprocess.run(make, cwd=tmp_path, capture_output=True, check=True, timeout=60)
        return Reply(done.stdout)

    with running() as server:
        server.routes["/tsa"] = answer
        yield server.url("/tsa")


def _write_key(folder: Path) -> str:
    path = folder / "key.pem"
    path.write_bytes(_private(identity()) + as_pem(identity().certificate))
    return f"file:{path}"


@pytest.mark.confirms("timestamp", "sign", "openssl ts")
@pytest.mark.parametrize(("name", "form"), [("a.exe", PE), ("s.ps1", SCRIPT)])
def test_openssl_stamps_and_checks_our_signatures(
    name: str, form: Format, openssl_tsa: str, tmp_path: Path, root: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(pe_builder.image() if name == "a.exe" else b"Get-Date\r\n")
    options = SignOptions(key=_write_key(tmp_path), timestamps=(openssl_tsa,))
    with Signatory(options) as signatory:
        result = signatory.sign(str(path))
    assert not result.failed, result
    source = BytesSource(name, path.read_bytes())
    claimed = form.parse(source, ParseOptions(extension=path.suffix)).signatures[0]
    tokens = [v for a in claimed.unsigned_attributes if a.oid in TIMESTAMP_TOKENS for v in a.values]
    (tmp_path / "token").write_bytes(tokens[0])
    (tmp_path / "value").write_bytes(claimed.value)
    check = [tool("openssl"), "ts", "-verify", "-token_in", "-in", tmp_path / "token",
             "-data", tmp_path / "value", "-CAfile", root]  # fmt: skip
    assert "Verification: OK" in said(*check)[1]
    (tmp_path / "value").write_bytes(flipped(claimed.value, 0))
    assert "Verification: OK" not in said(*check)[1]
    code, text = said(tool("osslsigncode"), "verify", "-CAfile", root, "-TSA-CAfile", root,
                      "-in", path)  # fmt: skip
    assert code == 0, text
    assert "Timestamp Server Signature verification: ok" in text


# --- the image hash ---------------------------------------------------------------


@pytest.mark.confirms("pe", "verify", "LIEF")
def test_lief_and_we_agree_on_the_image_hash() -> None:
    import lief

    data = sign_bytes("a.exe", pe_builder.image())
    image = lief.PE.parse(data)
    assert image is not None
    artifact = PE.parse(BytesSource("a.exe", data), ParseOptions())
    slot = artifact.signatures[0].slots[0]
    assert bytes(image.authentihash(lief.PE.ALGORITHMS.SHA_256)) == slot.digest


# --- detached --------------------------------------------------------------------


@pytest.mark.confirms("detached", "sign", "openssl cms")
def test_openssl_checks_our_detached_signature(tmp_path: Path, root: Path) -> None:
    content = tmp_path / "image.bin"
    content.write_bytes(bytes(range(256)) * 100)
    with Signatory(SignOptions(key=_write_key(tmp_path), beside=DETACHED)) as signatory:
        result = signatory.sign(str(content))
    assert not result.failed, result
    check = [tool("openssl"), "cms", "-verify", "-inform", "DER", "-in", result.output, "-binary",
             "-content", content, "-CAfile", root, "-purpose", "any",
             "-out", tmp_path / "out"]  # fmt: skip
    assert said(*check)[0] == 0
    content.write_bytes(flipped(content.read_bytes(), 9))
    assert said(*check)[0] != 0


@pytest.mark.confirms("detached", "verify", "openssl cms")
@pytest.mark.parametrize("form", ["DER", "PEM"])
def test_openssl_makes_detached_signatures_we_accept(form: str, tmp_path: Path, root: Path) -> None:
    content, signature = tmp_path / "image.bin", tmp_path / "image.p7s"
    content.write_bytes(bytes(range(256)) * 100)
    key_file = _write_key(tmp_path).removeprefix("file:")
    code, text = said(tool("openssl"), "cms", "-sign", "-binary", "-md", "sha256", "-in", content,
                      "-signer", key_file, "-outform", form, "-out", signature)  # fmt: skip
    assert code == 0, text
    judging = context(tmp_path)
    assert assess_detached(str(content), str(signature), judging).outcome is Outcome.ACCEPTED
    content.write_bytes(flipped(content.read_bytes(), 9))
    assert assess_detached(str(content), str(signature), judging).outcome is Outcome.REJECTED
