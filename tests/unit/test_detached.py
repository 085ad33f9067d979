"""Detached CMS signatures: drafted, opened, and judged with the file they speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import cms, tsa
from conformance.authenticode.pki import NOW
from conformance.authenticode.pki import pem as as_pem

from signward.cli.commands import run
from signward.envelopes.cms import DATA
from signward.envelopes.cms_detached import draft_detached
from signward.findings import Code
from signward.formats._detached import DetachedFormat
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource, whole_digest
from tests.builders.tsa import stamper
from tests.signing import authority, context, identity, signer_of

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


def test_content_inside_is_not_a_file_beside_it(tmp_path: Path) -> None:
    verdict = judged(_cms(certificates=(identity().certificate,)), tmp_path)
    assert verdict.cause is Code.MALFORMED


def test_no_signed_attributes(tmp_path: Path) -> None:
    from signward.wire import der

    whole = _cms(signer={"attributes": False}, certificates=(identity().certificate,))
    fields = der.parse(whole, "cms").children()[1].children()[0].children()
    bare = der.sequence(der.oid(DATA))
    parts = [bare if i == 2 else f.raw for i, f in enumerate(fields)]
    blob = der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, der.sequence(*parts)))
    verdict = judged(blob, tmp_path)
    assert verdict.cause is Code.MALFORMED
    assert "messageDigest" in str(verdict.findings[0])


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
