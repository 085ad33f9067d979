"""Detached CMS signatures: drafted, opened, and judged with the file they speak of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import cms, tsa
from conformance.authenticode.pki import NOW
from conformance.authenticode.pki import pem as as_pem

from signward.cli.commands import run
from signward.envelopes.cms import DATA, SIGNED_DATA
from signward.envelopes.cms_detached import draft_detached
from signward.envelopes.cms_external import is_plain
from signward.envelopes.cms_plain import PlainDraft
from signward.findings import Code
from signward.formats._detached import DetachedFormat
from signward.formats._fsverity import FsVerityFormat
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.detached import assess_detached
from signward.verbs.verify import assess_as
from signward.wire import der
from signward.wire.source import BytesSource, whole_digest
from tests.builders.tsa import stamper
from tests.signing import authority, context, identity, sign_beside, signer_of

CONTENT = b"any file at all" * 1000


def signed(content: bytes = CONTENT, kind: str = "rsa2048", digest: str = "sha256") -> bytes:
    who = identity(kind)
    source = BytesSource("file.bin", content)
    draft = draft_detached(whole_digest(source, digest), signer_of(who, digest), NOW)
    value = who.key.sign(draft.to_be_signed, draft.algorithm.digest or digest)
    return draft.seal(value, (tsa.token_der(value, stamper(), at=NOW),))


def judged(blob: bytes, folder: Path, content: bytes = CONTENT) -> Verdict:
    return assess_as(DetachedFormat(blob), BytesSource("file.bin", content), context(folder))


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("rsa2048", "sha256"), ("p384", "sha384"), ("ed25519", "sha512"), ("ml-dsa-65", "sha384")],
)
def test_a_file_and_its_signature(kind: str, digest: str, tmp_path: Path) -> None:
    verdict = judged(signed(kind=kind, digest=digest), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    signature = verdict.signatures[0]
    assert isinstance(signature, TrustedSignature)
    assert signature.proven_time is not None
    assert signature.intact.claimed.claimed_time == NOW


def test_one_byte_changed_added_or_gone(tmp_path: Path) -> None:
    blob = signed()
    for changed in (CONTENT[:-1], CONTENT + b"\0", b"b" + CONTENT[1:]):
        assert judged(blob, tmp_path, changed).cause is Code.DIGEST_MISMATCH


def test_no_flipped_byte_of_the_signature_lets_another_file_in(tmp_path: Path) -> None:
    blob = signed()
    other = CONTENT + b"evil"
    judging = context(tmp_path)
    for offset in range(len(blob)):
        changed = bytearray(blob)
        changed[offset] ^= 1 << (offset % 8)
        form = DetachedFormat(bytes(changed))
        verdict = assess_as(form, BytesSource("file.bin", other), judging)
        assert verdict.outcome is not Outcome.ACCEPTED, offset


def _cms(**fields: Any) -> bytes:
    signer = cms.Signer(identity=identity(), **fields.pop("signer", {}))
    return cms.sign(CONTENT, signer, content_type=DATA, octets=True, **fields)


def _with_info(blob: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Return a message whose one SignerInfo has other fields."""
    whole = der.parse(blob, "cms").children()[1].children()[0].children()
    info = [field.raw for field in whole[-1].children()[0].children()]
    parts = [f.raw for f in whole[:-1]] + [der.set_of(der.sequence(*change(info)))]
    return der.sequence(der.oid(SIGNED_DATA), der.context(0, der.sequence(*parts)))


def test_content_inside_is_not_a_file_beside_it(tmp_path: Path) -> None:
    verdict = judged(_cms(certificates=(identity().certificate,)), tmp_path)
    assert verdict.cause is Code.MALFORMED


def plain(content: bytes, kind: str = "rsa2048", digest: str = "sha256") -> bytes:
    """Return what ``openssl cms -sign -noattr`` makes: no attributes, and the certificates."""
    who = identity(kind)
    made = PlainDraft(
        content=content, signer=signer_of(who, digest), attached=False, certificates=True
    )
    return made.seal(who.key.sign(content, made.algorithm.digest or digest))


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("rsa2048", "sha256"), ("p384", "sha384"), ("ed25519", "sha512"), ("ml-dsa-65", "sha512")],
)
def test_no_signed_attributes(kind: str, digest: str, tmp_path: Path) -> None:
    verdict = judged(plain(CONTENT, kind, digest), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    for changed in (CONTENT[:-1], CONTENT + b"\0", b"b" + CONTENT[1:]):
        verdict = judged(plain(CONTENT, kind, digest), tmp_path, changed)
        assert verdict.cause is Code.SIGNATURE_MISMATCH
        assert "over file" in str(verdict.findings[0])


def test_dates_count_without_attributes_too(tmp_path: Path) -> None:
    """What is signed so is judged as any file's signature, not as the kernel's keyrings would."""
    late = context(tmp_path, at=NOW + timedelta(days=20_000))
    path, beside = tmp_path / "file.bin", tmp_path / "file.bin.p7s"
    path.write_bytes(CONTENT)
    beside.write_bytes(plain(CONTENT))
    assert assess_detached(str(path), str(beside), late).cause is not None
    verdict = assess_detached(str(path), str(beside), context(tmp_path))
    assert (verdict.outcome, verdict.format) == (Outcome.ACCEPTED, "detached")


def test_attributes_taken_out_of_a_message_are_no_content(tmp_path: Path) -> None:
    """The value of a signature with attributes fits, without them, a file that is they."""
    whole = der.parse(signed(), "cms").children()[1].children()[0].children()
    info = whole[-1].children()[0].children()
    attributes = next(field for field in info if field.tag == 0xA0).der(der.SET)
    bare = [f.raw for f in info if f.tag not in (0xA0, 0xA1)]
    parts = [f.raw for f in whole[:-1]] + [der.set_of(der.sequence(*bare))]
    blob = der.sequence(der.oid(SIGNED_DATA), der.context(0, der.sequence(*parts)))
    assert is_plain(blob)
    verdict = judged(blob, tmp_path, attributes)
    assert verdict.cause is Code.MALFORMED
    assert "signed attributes" in str(verdict.findings[0])


def test_an_empty_set_of_attributes_binds_nothing(tmp_path: Path) -> None:
    blob = _with_info(plain(CONTENT), lambda info: [*info[:3], b"\xa0\0", *info[3:]])
    assert judged(blob, tmp_path).cause is Code.MALFORMED


def test_a_plain_message_is_told_as_what_its_value_fits(tmp_path: Path) -> None:
    """The same form of message is an fs-verity built-in signature, or one over the file."""
    path, beside = tmp_path / "file.bin", tmp_path / "signature"
    path.write_bytes(CONTENT)
    judging = context(tmp_path, authority(), identity())
    for blob, form in ((plain(CONTENT), "detached"),
                       (sign_beside(FsVerityFormat(), CONTENT), "fs-verity")):  # fmt: skip
        beside.write_bytes(blob)
        path.write_bytes(CONTENT)
        verdict = assess_detached(str(path), str(beside), judging)
        assert (verdict.outcome, verdict.format) == (Outcome.ACCEPTED, form)
        path.write_bytes(CONTENT + b"!")
        verdict = assess_detached(str(path), str(beside), judging)
        assert verdict.cause is Code.SIGNATURE_MISMATCH
        assert "the content or its signature was changed" in str(verdict.findings[0])


def test_a_plain_message_of_another_digest_is_over_the_file(tmp_path: Path) -> None:
    """fs-verity knows SHA-256 and SHA-512 only, and messages of 16,128 octets."""
    path, beside = tmp_path / "file.bin", tmp_path / "signature"
    path.write_bytes(CONTENT)
    beside.write_bytes(plain(CONTENT, digest="sha384"))
    judging = context(tmp_path)
    assert assess_detached(str(path), str(beside), judging).outcome is Outcome.ACCEPTED
    path.write_bytes(CONTENT + b"!")
    assert assess_detached(str(path), str(beside), judging).cause is Code.SIGNATURE_MISMATCH


def test_nobodys_signature(tmp_path: Path) -> None:
    for blob in (b"", b"\x30\x80", b"no signature", CONTENT):
        assert judged(blob, tmp_path).cause is Code.MALFORMED


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, root, beside = (tmp_path / n for n in ("file.bin", "root.pem", "file.bin.p7s"))
    path.write_bytes(CONTENT)
    root.write_bytes(as_pem(authority().certificate))
    beside.write_bytes(signed())
    words = ["verify", "--anchor", str(root), "--at", NOW.isoformat(), "--detached"]
    assert run([*words, str(beside), str(path)]) == 0
    beside.write_bytes(as_pem(signed(), "CMS"))
    assert run([*words, str(beside), str(path)]) == 0
    path.write_bytes(CONTENT[1:])
    assert run([*words, str(beside), str(path)]) == 1
    assert run([*words, str(beside), str(tmp_path / "absent")]) == 3
    assert run([*words, str(tmp_path / "absent"), str(path)]) == 2
    assert run([*words, str(beside), str(path), str(path)]) == 2
    assert run([*words, str(beside), "--evidence", str(tmp_path / "e"), str(path)]) == 2
    assert "bundles hold no detached signatures" in capsys.readouterr().err
