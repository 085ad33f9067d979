"""Signatures of minisign and signify beside a file (THREATS 45)."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.envelopes import minisign
from signward.envelopes.minisign import read_keys, read_text
from signward.errors import BadInputError
from signward.findings import Code
from signward.policy.record import record
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, PinnedKey, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import form_of
from signward.verbs.options import Options
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource

CONTENT = b"any file at all" * 1000
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEY_ID = bytes(range(8))


def public(key: Ed25519PrivateKey = KEY, key_id: bytes = KEY_ID) -> bytes:
    raw = b"Ed" + key_id + key.public_key().public_bytes_raw()
    return b"untrusted comment: a key\n" + b64encode(raw) + b"\n"


def signed(
    content: bytes = CONTENT,
    *,
    by: Ed25519PrivateKey = KEY,
    letters: bytes = b"ED",
    key_id: bytes = KEY_ID,
    comment: str | None = "timestamp:1700000000\tfile:f",
    signed_comment: str | None = None,
    commenter: Ed25519PrivateKey | None = None,
) -> bytes:
    value = by.sign(hashlib.blake2b(content).digest() if letters == b"ED" else content)
    lines = ["untrusted comment: x", b64encode(letters + key_id + value).decode()]
    if comment is not None:
        told = comment if signed_comment is None else signed_comment
        second = (commenter or by).sign(value + told.encode())
        lines += [f"trusted comment: {comment}", b64encode(second).decode()]
    return ("\n".join(lines) + "\n").encode()


def judged(blob: bytes, folder: Path, content: bytes = CONTENT, **options: Any) -> Verdict:
    path = folder / "key.pub"
    path.write_bytes(public())
    context = Context(Options(**{"keyrings": (str(path),), **options}))
    return assess_as(form_of(blob), BytesSource("file.bin", content), context)


@pytest.mark.parametrize("letters", [b"ED", b"Ed"])
@pytest.mark.parametrize("comment", ["timestamp:1", "", None])
def test_a_file_and_its_signature(letters: bytes, comment: str | None, tmp_path: Path) -> None:
    if comment is None:
        letters = b"Ed"  # signify has no other
    blob = signed(letters=letters, comment=comment)
    verdict = judged(blob, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    made = verdict.signatures[0]
    assert isinstance(made, TrustedSignature)
    kind = "signify" if comment is None else "minisign"
    assert isinstance(made.basis, PinnedKey)
    assert (made.basis.kind, made.basis.key) == (kind, "0706050403020100")
    assert verdict.publisher is not None
    raw = b64decode(public().splitlines()[1])
    assert verdict.publisher.identity == f"{kind}:{hashlib.sha256(raw).hexdigest()}"
    assert verdict.facts.get("trusted-comment") == (comment or None)
    holder = record(verdict).signatures[0].holder
    assert holder is not None
    assert (holder.kind, holder.key) == (kind, "0706050403020100")
    assert judged(blob, tmp_path, CONTENT + b"x").cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("rule", SignatureRule)
def test_a_comment_that_was_changed_rejects_by_every_rule(
    rule: SignatureRule, tmp_path: Path
) -> None:
    policy = Policy(signatures=rule)
    for blob in (signed(signed_comment="another"), signed(commenter=OTHER)):
        verdict = judged(blob, tmp_path, policy=policy)
        assert verdict.outcome is Outcome.REJECTED
        assert verdict.cause is Code.SIGNATURE_MISMATCH
    assert judged(signed(), tmp_path, policy=policy).outcome is Outcome.ACCEPTED


def test_the_other_way_of_hashing_is_another_signature(tmp_path: Path) -> None:
    digest = hashlib.blake2b(CONTENT).digest()
    blob = signed(digest, letters=b"Ed")
    assert judged(blob, tmp_path, digest).outcome is Outcome.ACCEPTED
    relabelled = signed(letters=b"Ed", content=digest)
    raw = relabelled.replace(b64encode(b"Ed" + KEY_ID)[:3], b64encode(b"ED" + KEY_ID)[:3])
    assert raw != relabelled
    verdict = judged(raw, tmp_path)
    # The value fits the file's digest as well: only the letters, which nobody signs, tell them
    # apart, so whoever can sign one has signed both; minisign itself judges so.
    assert verdict.outcome is Outcome.ACCEPTED


def test_keys(tmp_path: Path) -> None:
    assert judged(signed(by=OTHER), tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert judged(signed(key_id=bytes(8)), tmp_path).cause is Code.KEY_MISSING
    nobody = judged(signed(), tmp_path, keyrings=())
    assert (nobody.outcome, nobody.cause) == (Outcome.INDETERMINATE, Code.KEY_MISSING)


def test_two_keys_of_one_number_are_two_publishers(tmp_path: Path) -> None:
    (tmp_path / "other.pub").write_bytes(public(OTHER))
    rings = str(tmp_path / "key.pub"), str(tmp_path / "other.pub")
    verdicts = [judged(signed(by=by), tmp_path, keyrings=rings) for by in (KEY, OTHER)]
    assert {one.outcome for one in verdicts} == {Outcome.ACCEPTED}
    assert len({one.publisher.identity for one in verdicts if one.publisher}) == 2


def test_a_file_too_long_for_memory_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minisign, "MAX_CONTENT", 10)
    verdict = judged(signed(letters=b"Ed"), tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.LIMIT_EXCEEDED)
    assert judged(signed(), tmp_path).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "blob",
    [
        signed().replace(b"trusted comment: t", b"trusted commend: t"),
        signed().replace(b"ED"[:0] + b64encode(b"ED" + KEY_ID)[:3], b"RWx"),
        signed() + b"more\n",
        signed()[:-20],
        b"untrusted comment: x\n",
        b"untrusted comment: x\nAAAA\n",
        b"untrusted comment: x\n\xff\xfe\n",
        signed(comment=None),
        b"untrusted comment: " + b"x" * 70_000,
    ],
)
def test_octets_that_are_no_signature(blob: bytes, tmp_path: Path) -> None:
    assert judged(blob, tmp_path).cause in (Code.MALFORMED, Code.LIMIT_EXCEEDED)


def test_no_flipped_octet_is_accepted_but_in_the_untrusted_comment(tmp_path: Path) -> None:
    blob = signed()
    start = blob.index(b"\n") + 1
    accepted = []
    for offset in range(start, len(blob)):
        changed = bytearray(blob)
        changed[offset] ^= 1
        if judged(bytes(changed), tmp_path).outcome is Outcome.ACCEPTED:
            accepted.append(offset)
    assert accepted == []


@given(st.binary(max_size=300))
def test_any_octets(data: bytes) -> None:
    for read in (read_text, read_keys):
        for one in (data, b"untrusted comment: " + data, b"untrusted comment: x\n" + data):
            try:
                read(one)
            except BadInputError:
                continue


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (("f", CONTENT), ("f.minisig", signed()), ("k.pub", public())):
        (tmp_path / name).write_bytes(data)
    asked = ["verify", "--detached", str(tmp_path / "f.minisig"), str(tmp_path / "f")]
    assert run([*asked, "--keyring", str(tmp_path / "k.pub")]) == 0
    assert "minisign key 0706050403020100" in capsys.readouterr().out
    (tmp_path / "k.pub").write_bytes(public(OTHER))
    assert run([*asked, "--keyring", str(tmp_path / "k.pub")]) == 1
