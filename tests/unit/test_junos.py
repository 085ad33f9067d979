"""Junos packages: signed manifests as Juniper's published code takes them, and stricter."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.envelopes import veriexec
from signward.envelopes.veriexec import read_manifest
from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.findings import Code
from signward.formats import _junos_package as junos
from signward.formats import peek_at, recognise
from signward.inventory.classify import classify
from signward.state import Outcome, TrustedSignature, Verdict
from signward.wire.source import BytesSource
from tests.builders.junos import (
    FILES,
    NAME,
    archive,
    armoured,
    chain,
    manifest,
    package,
    signature,
    signed,
)
from tests.signing import assess_bytes, identity


def judged(data: bytes, tmp_path: Path) -> Verdict:
    return assess_bytes(NAME, data, tmp_path)


def packed(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    return gzip.compress(archive(files, links), mtime=0)


@pytest.mark.parametrize("again", [True, False])
def test_a_signed_package_is_accepted(again: bool, tmp_path: Path) -> None:
    data = package(again=again)
    assert classify(peek_at(BytesSource(NAME, data))) == "junos"
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    (one,) = verdict.signatures
    assert isinstance(one, TrustedSignature)
    assert ("hashed again" in one.intact.claimed.read_as) is again


def test_an_rsa_signature_is_over_the_manifest_alone(tmp_path: Path) -> None:
    who = identity()
    assert judged(package(who=who, again=False), tmp_path).outcome is Outcome.ACCEPTED
    assert judged(package(who=who, again=True), tmp_path).cause is Code.SIGNATURE_MISMATCH


def test_both_signatures_are_judged(tmp_path: Path) -> None:
    text, other = manifest(), identity()
    both = {**signed(text), **signed(text, other), **FILES}
    verdict = judged(packed(both), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    both["manifest.rsig"] = signature(b"another", other)
    assert judged(packed(both), tmp_path).cause is Code.SIGNATURE_MISMATCH


def test_a_package_in_a_folder_of_its_own(tmp_path: Path) -> None:
    files = {f"./os/{path}": data for path, data in FILES.items()}
    whole = {**signed(manifest(), folder="os/"), **files}
    assert judged(packed(whole), tmp_path).outcome is Outcome.ACCEPTED
    beside = judged(packed({**whole, "other": b"x"}), tmp_path)
    assert beside.cause is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize("path", FILES)
def test_a_changed_file_is_rejected(path: str, tmp_path: Path) -> None:
    parts = {**signed(manifest()), **FILES, path: FILES[path] + b"x"}
    assert judged(packed(parts), tmp_path).cause is Code.DIGEST_MISMATCH


def test_a_changed_manifest_is_rejected(tmp_path: Path) -> None:
    changed = {**FILES, "scripts/rc": b"#!/bin/sh\nevil\n"}
    parts = {**signed(manifest()), **changed, "manifest": manifest(changed)}
    assert judged(packed(parts), tmp_path).cause is Code.SIGNATURE_MISMATCH


def test_what_the_list_does_not_cover_is_rejected(tmp_path: Path) -> None:
    for more in ({"evil.sh": b"x"}, {"manifest.certs": b"x"}, {"manifest.rcerts": b"x"},
                 {"sub/manifest": b"x"}):  # fmt: skip
        assert judged(package(more=more), tmp_path).cause is Code.UNCOVERED_CONTENT
    link = packed({**signed(manifest()), **FILES}, {"scripts/link": "/etc/passwd"})
    assert judged(link, tmp_path).cause is Code.UNCOVERED_CONTENT
    unhashed = manifest() + b"evil.sh no_hash\n"
    parts = {**signed(unhashed), **FILES, "evil.sh": b"x"}
    assert judged(packed(parts), tmp_path).cause is Code.UNCOVERED_CONTENT


def test_a_listed_file_that_is_gone(tmp_path: Path) -> None:
    parts = {**signed(manifest()), **{p: d for p, d in FILES.items() if p != "scripts/rc"}}
    assert judged(packed(parts), tmp_path).cause is Code.SLOT_MISSING
    assert judged(packed(parts, {"scripts/rc": "kernel"}), tmp_path).cause in (
        Code.SLOT_MISSING, Code.UNCOVERED_CONTENT,
    )  # fmt: skip


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_only_the_list_gives_a_file_its_owners_rights(mode: int, tmp_path: Path) -> None:
    def raised(text: bytes) -> Verdict:
        parts = {**signed(text), **FILES}
        return judged(gzip.compress(archive(parts, modes={"scripts/rc": mode})), tmp_path)

    assert raised(manifest()).cause is Code.UNCOVERED_CONTENT
    said = manifest()[:-1].removesuffix(b"444") + b"%o\n" % mode
    assert raised(said).outcome is Outcome.ACCEPTED
    assert raised(manifest()[:-1] + b" nomode=6755\n").cause is Code.UNCOVERED_CONTENT


def test_manifests_of_many_folders_are_not_all_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(junos, "MAX_HELD", 3000)
    assert judged(package(), tmp_path).outcome is Outcome.ACCEPTED
    many = {f"{number}/manifest": bytes(300) for number in range(10)}
    assert judged(package(more=many), tmp_path).cause is Code.LIMIT_EXCEEDED


def test_sha1_is_too_weak(tmp_path: Path) -> None:
    parts = {**signed(manifest(algorithm="sha1")), **FILES}
    assert judged(packed(parts), tmp_path).cause is Code.WEAK_DIGEST
    parts = {**signed(manifest(algorithm="sha512")), **FILES}
    assert judged(packed(parts), tmp_path).outcome is Outcome.ACCEPTED


def test_without_a_signed_manifest_nobody_can_tell(tmp_path: Path) -> None:
    for parts in (FILES, {**FILES, "manifest": manifest()}):
        verdict = judged(packed(dict(parts)), tmp_path)
        assert (verdict.outcome, verdict.cause) == (
            Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND,
        )  # fmt: skip


def test_the_signer_is_he_whose_certificate_stands_first(tmp_path: Path) -> None:
    who, other = identity("p256", "Junos test signer"), identity("p256", "Somebody else")
    parts = {**signed(manifest(), who), **FILES}
    parts["manifest.ecerts"] = chain(other) + chain(who)
    assert judged(packed(parts), tmp_path).cause is Code.SIGNATURE_MISMATCH
    parts["manifest.ecerts"] = chain(who) + chain(other)
    assert judged(packed(parts), tmp_path).outcome is Outcome.ACCEPTED
    parts["manifest.ecerts"] = chain(identity())
    assert judged(packed(parts), tmp_path).cause is Code.MALFORMED


@pytest.mark.parametrize("spoilt", [
    b"", b"text", armoured("SIGNATURE", b"x") * 2, b"-----BEGIN A-----\nQR==\n-----END A-----\n",
    b"-----BEGIN A-----\n!\n-----END A-----\n",
])  # fmt: skip
def test_signatures_that_are_none(spoilt: bytes, tmp_path: Path) -> None:
    parts = {**signed(manifest()), **FILES, "manifest.esig": spoilt}
    assert judged(packed(parts), tmp_path).cause is Code.MALFORMED
    del parts["manifest.ecerts"]
    assert judged(packed(parts), tmp_path).cause is Code.MALFORMED


def test_a_path_that_stands_twice_or_leads_out(tmp_path: Path) -> None:
    import io
    import tarfile

    whole = {**signed(manifest()), **FILES}
    for name, cause in (("scripts/rc", Code.AMBIGUOUS), ("./scripts/rc", Code.AMBIGUOUS),
                        ("../evil", Code.MALFORMED), ("/etc/evil", Code.MALFORMED),
                        ("a//b", Code.MALFORMED)):  # fmt: skip
        out = io.BytesIO(archive(whole))
        with tarfile.open(fileobj=out, mode="a") as tar:
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
        assert judged(gzip.compress(out.getvalue()), tmp_path).cause is cause


def test_what_lies_behind_the_stream(tmp_path: Path) -> None:
    data = package()
    assert judged(data + b"x", tmp_path).cause is Code.AMBIGUOUS
    assert judged(data + gzip.compress(b"more"), tmp_path).cause is Code.AMBIGUOUS
    for end in range(1, len(data), 97):
        assert judged(data[:-end], tmp_path).outcome is not Outcome.ACCEPTED


def test_no_flipped_bit_of_what_is_unpacked_matters_and_is_accepted(tmp_path: Path) -> None:
    """Only headers of members are nobody's word: their owners, modes and times."""
    plain = archive({**signed(manifest()), **FILES})
    for offset in range(0, len(plain), 61):
        changed = bytearray(plain)
        changed[offset] ^= 4
        verdict = judged(gzip.compress(bytes(changed)), tmp_path)
        if verdict.outcome is Outcome.ACCEPTED:
            assert plain[offset] == 0, offset  # padding, or a field that nobody reads


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = package()
    monkeypatch.setattr(junos, "MAX_MEMBERS", 2)
    assert judged(data, tmp_path).cause is Code.LIMIT_EXCEEDED
    monkeypatch.undo()
    monkeypatch.setattr(junos, "RATIO_FLOOR", 1000)
    monkeypatch.setattr(junos, "RATIO", 0)
    assert judged(data, tmp_path).cause is Code.LIMIT_EXCEEDED
    monkeypatch.undo()
    for name in ("MAX_OCTETS", "MAX_BESIDE"):
        monkeypatch.setattr(junos, name, 10)
        assert judged(data, tmp_path).cause is Code.LIMIT_EXCEEDED
    monkeypatch.setattr(veriexec, "MAX_OCTETS", 10)
    with pytest.raises(LimitError):
        read_manifest(manifest())


@pytest.mark.parametrize("text", [
    "a", "a md5=" + "0" * 32, "/a sha256=" + "0" * 64, "../a sha256=" + "0" * 64,
    "a sha256=" + "0" * 62, "a  mode=444 sha256=" + "0" * 64, "a//b sha256=" + "0" * 64,
    "a sha256=" + "0" * 64 + "  junk!", "a sha512=" + "0" * 64,
])  # fmt: skip
def test_lines_that_are_none(text: str) -> None:
    with pytest.raises(MalformedError):
        read_manifest(text.encode())


def test_a_path_listed_twice() -> None:
    with pytest.raises(AmbiguousError):
        read_manifest(manifest() + manifest())


@given(st.binary(max_size=300))
def test_any_octets_are_a_manifest_or_none(data: bytes) -> None:
    try:
        read_manifest(data)
    except BadInputError:
        return


def test_another_name_is_another_kind() -> None:
    data = package()
    assert recognise(peek_at(BytesSource("a.tgz", data))) is None
    assert classify(peek_at(BytesSource("a.tgz", data))) == "gzip"
