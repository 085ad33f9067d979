"""The builders' good files, seen by tools that share no code with them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.authenticode import catalog, cms, pe, revocation, script, tsa
from conformance.authenticode.cases import all_cases
from conformance.authenticode.cases.base import Answer, sign_image
from conformance.authenticode.keys import key
from conformance.authenticode.pki import (
    default_pki,
    explicit_curve_spki,
    instant,
    key_usage,
    make_pki,
    stranger_pki,
)
from conformance.authenticode.runners import Reply, find
from conformance.authenticode.suite import Request

_PKI = default_pki()
_AT = instant(2026)


def _ask(tool: str, folder: Path, file: str, data: bytes, catalogs: Path | None = None) -> Reply:
    try:
        runner, _version = find(tool)
    except LookupError as error:
        pytest.skip(str(error))
    (folder / file).write_bytes(data)
    (folder / "root.pem").write_bytes(_PKI.root.pem)
    anchors = (folder / "root.pem",)
    return runner(Request(file=folder / file, at=_AT, anchors=anchors, catalogs=catalogs))


def _openssl(*words: str | Path) -> str:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_IMAGES = {
    "pe32plus": {},
    "pe32": {"plus": False},
    "efi": {"subsystem": pe.EFI},
    "driver": {"driver": True},
    "overlay": {"overlay": b"overlay" * 99},
    "large": {"data": bytes(range(256)) * 100},
}


@pytest.mark.interop
@pytest.mark.parametrize("tool", ["osslsigncode", "lief", "signify"])
@pytest.mark.parametrize("name", _IMAGES)
@pytest.mark.parametrize("pages", [False, True], ids=["plain", "page-hashes"])
def test_image_is_accepted_by(tool: str, name: str, pages: bool, tmp_path: Path) -> None:
    whole = pe.image(**_IMAGES[name])  # type: ignore[arg-type]
    blob = sign_image(whole, content={"pages": pages})
    assert _ask(tool, tmp_path, "image.exe", pe.signed(whole, blob)).answer is Answer.ACCEPTED


@pytest.mark.interop
@pytest.mark.parametrize("tool", ["osslsigncode", "lief", "signify"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_timestamped_image_is_accepted_by(tool: str, digest: str, tmp_path: Path) -> None:
    whole = pe.image()
    stamp = tsa.token(_PKI.tsa, at=instant(2025), digest=digest, imprint_digest=digest)
    blob = sign_image(whole, signer={"digest": digest, "unsigned": (stamp,)})
    assert _ask(tool, tmp_path, "image.exe", pe.signed(whole, blob)).answer is Answer.ACCEPTED


@pytest.mark.interop
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
@pytest.mark.parametrize("extension", ["ps1", "psm1", "psd1", "ps1xml", "psc1", "cdxml", "mof"])
def test_script_is_accepted_by_osslsigncode(extension: str, encoding: str, tmp_path: Path) -> None:
    blob = cms.sign(
        script.content(extension, encoding=encoding),
        cms.Signer(identity=_PKI.leaf),
        certificates=_PKI.chain,
    )
    data = script.signed(extension, blob, encoding=encoding)
    assert _ask("osslsigncode", tmp_path, f"x.{extension}", data).answer is Answer.ACCEPTED
    turned = data.replace(
        "i".encode(encoding.replace("-sig", "")), "j".encode(encoding.replace("-sig", "")), 1
    )
    assert _ask("osslsigncode", tmp_path, f"y.{extension}", turned).answer is Answer.REJECTED


@pytest.mark.interop
@pytest.mark.parametrize(("version", "digest"), [(1, "sha1"), (2, "sha256")])
def test_catalog_vouches_for_osslsigncode(version: int, digest: str, tmp_path: Path) -> None:
    whole = pe.image()
    data = catalog.signed(
        [catalog.member(whole, digest, "image.exe")],
        cms.Signer(identity=_PKI.leaf),
        certificates=_PKI.chain,
        version=version,
    )
    (tmp_path / "c.cat").write_bytes(data)
    reply = _ask("osslsigncode", tmp_path, "image.exe", whole, catalogs=tmp_path)
    assert reply.answer is Answer.ACCEPTED
    reply = _ask("osslsigncode", tmp_path, "other.exe", pe.image(code=b"\xcc"), catalogs=tmp_path)
    assert reply.answer is not Answer.ACCEPTED


@pytest.mark.interop
def test_openssl_verifies_a_path_and_reads_every_kind_of_certificate(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(_PKI.root.pem)
    (tmp_path / "ca.pem").write_bytes(_PKI.intermediate.pem)
    (tmp_path / "leaf.pem").write_bytes(_PKI.leaf.pem)
    said = _openssl(
        "verify",
        "-x509_strict",
        "-attime",
        str(int(_AT.timestamp())),
        "-CAfile",
        tmp_path / "root.pem",
        "-untrusted",
        tmp_path / "ca.pem",
        tmp_path / "leaf.pem",
    )
    assert said.strip().endswith("OK")
    for kind in ("p256", "p384", "p521", "ed25519", "dsa2048", "rsa1024"):
        leaf = make_pki(leaf={"kind": kind}).leaf
        (tmp_path / "x.pem").write_bytes(leaf.pem)
        said = _openssl(
            "verify",
            "-CAfile",
            tmp_path / "root.pem",
            "-untrusted",
            tmp_path / "ca.pem",
            "-auth_level",
            "0",
            tmp_path / "x.pem",
        )
        assert said.strip().endswith("OK"), kind
    odd = key("p256", "explicit test")
    leaf = make_pki(leaf={"subject_key": odd, "spki": explicit_curve_spki(odd)}).leaf
    (tmp_path / "x.pem").write_bytes(leaf.pem)
    assert "Field Type: prime-field" in _openssl(
        "x509", "-in", tmp_path / "x.pem", "-noout", "-text"
    )


@pytest.mark.interop
def test_openssl_verifies_a_token(tmp_path: Path) -> None:
    value = b"a signature value"
    (tmp_path / "value").write_bytes(value)
    (tmp_path / "root.pem").write_bytes(_PKI.root.pem)
    for number, arguments in enumerate(({}, {"ess": "v1"}, {"imprint_digest": "sha512"})):
        token = tsa.token_der(value, _PKI.tsa, at=instant(2025), **arguments)  # type: ignore[arg-type]
        path = tmp_path / f"{number}.tst"
        path.write_bytes(token)
        said = _openssl(
            "ts",
            "-verify",
            "-in",
            path,
            "-token_in",
            "-data",
            tmp_path / "value",
            "-CAfile",
            tmp_path / "root.pem",
        )
        assert "Verification: OK" in said


@pytest.mark.interop
def test_openssl_reads_lists_and_answers(tmp_path: Path) -> None:
    entry = revocation.Revoked(
        serial=_PKI.leaf.serial,
        at=instant(2025),
        reason="superseded",
        invalid_from=instant(2024, 6),
    )
    (tmp_path / "x.crl").write_bytes(revocation.crl(_PKI.intermediate, [entry], delta_base=3))
    (tmp_path / "ca.pem").write_bytes(_PKI.intermediate.pem)
    said = _openssl("crl", "-inform", "DER", "-in", tmp_path / "x.crl", "-noout", "-text")
    assert "Superseded" in said
    assert "Jun  1 00:00:00 2024" in said
    assert "Delta CRL Indicator: critical" in said
    (tmp_path / "x.ocsp").write_bytes(
        revocation.ocsp(_PKI.leaf, revoked_at=instant(2025), archive_cutoff=instant(2020))
    )
    said = _openssl("ocsp", "-respin", tmp_path / "x.ocsp", "-resp_text", "-noverify")
    assert "Cert Status: revoked" in said
    assert "OCSP Archive Cutoff" in said


def test_key_usage_drops_trailing_zero_bits() -> None:
    assert key_usage("digitalSignature") == bytes.fromhex("03020780")
    assert key_usage("keyCertSign", "cRLSign") == bytes.fromhex("03020106")
    assert key_usage("decipherOnly") == bytes.fromhex("0303070080")


def test_strangers_share_neither_names_nor_keys() -> None:
    other = stranger_pki()
    for own, foreign in zip(_PKI.leaf.path, other.leaf.path, strict=True):
        assert own.subject != foreign.subject
        assert own.key.spki != foreign.key.spki


def test_image_digest_ignores_what_signing_changes() -> None:
    whole = pe.image()
    data = pe.signed(whole, sign_image(whole))
    assert pe.image_digest(data) == pe.image_digest(whole)
    assert pe.image_digest(pe.with_checksum(data, 1)) == pe.image_digest(whole)
    assert pe.image_digest(data.replace(b"\x31\xc0", b"\x31\xc1", 1)) != pe.image_digest(whole)


def test_every_case_has_its_own_id_and_no_refusal_lacks_a_cause() -> None:
    for one in all_cases():
        assert bool(one.cause) == (one.expected is not Answer.ACCEPTED), one.id
        assert one.anchors, one.id
