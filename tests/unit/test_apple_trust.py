"""Apple's roots, what its certificates are for, and whose code says it is whose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue

from signward.findings import Code, Effect
from signward.policy.record import record
from signward.policy.rules import apple_code
from signward.policy.rules.sighted import subject_of
from signward.state import Outcome, Verdict
from signward.trust import apple
from signward.verbs.stores import load_store
from signward.verbs.verify import assess
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders import macho
from tests.samples.macho import DYLIB, fat, program
from tests.signing import context, identity

PUBLISHED = {
    "Apple Root CA": "B0:B1:73:0E:CB:C7:FF:45:05:14:2C:49:F1:29:5E:6E:"
                     "DA:6B:CA:ED:7E:2C:68:C5:BE:91:B5:A1:10:01:F0:24",
    "Apple Root CA - G2": "C2:B9:B0:42:DD:57:83:0E:7D:11:7D:AC:55:AC:8A:E1:"
                          "94:07:D3:8E:41:D8:8F:32:15:BC:3A:89:04:44:A0:50",
    "Apple Root CA - G3": "63:34:3A:BF:B8:9A:6A:03:EB:B5:7E:9B:3F:5F:A7:BE:"
                          "7C:4F:5C:75:6F:30:17:B3:A8:C4:88:C3:65:3E:91:79",
}  # fmt: skip
"""SHA-256 fingerprints as www.apple.com/certificateauthority prints them."""

ARC = "1.2.840.113635.100.6."
DEVELOPER_ID = (f"{ARC}1.13", f"{ARC}2.6")
TEAM = "TEAM123456"
ROOTS = frozenset(one.hex() for one in apple.ROOTS)


def test_the_store_holds_the_roots_that_apple_publishes() -> None:
    anchors = {a.certificate.common_name: a.certificate for a in load_store("apple").anchors()}
    assert {n: c.sha256.hex(":").upper() for n, c in anchors.items()} == PUBLISHED
    assert {c.sha256 for c in anchors.values()} == apple.ROOTS
    installers = {a.certificate for a in load_store("apple-installer").anchors()}
    assert installers == set(anchors.values())


@cache
def root() -> Identity:
    return issue("Stand-in Root", subject_key=key("rsa2048", "apple-root"), ca=True, ekus=None,
                 usage=("keyCertSign", "cRLSign"),
                 not_before=datetime.fromisoformat("2010-01-01T00:00Z"),
                 not_after=datetime.fromisoformat("2040-01-01T00:00Z"))  # fmt: skip


@pytest.fixture
def as_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in pass for one of Apple's roots: nobody else has the keys of those."""
    own = hashlib.sha256(root().certificate).digest()
    monkeypatch.setattr(apple, "ROOTS", apple.ROOTS | {own})


def mark(oid: str, *, critical: bool = True) -> tuple[str, bool, bytes]:
    return oid, critical, b"\x05\0"


def developer(
    leaf: str = DEVELOPER_ID[0],
    issuer: str = DEVELOPER_ID[1],
    unit: str = TEAM,
    organization: str = "Developer Inc",
) -> Identity:
    """Return a signer whose certificate and whose issuer's carry these marks."""
    middle = issue("Stand-in Authority", issuer=root(), ca=True, ekus=None,
                   usage=("keyCertSign",), subject_key=key("rsa2048", "apple-middle"),
                   extensions=(mark(issuer, critical=False),) if issuer else ())  # fmt: skip
    return issue("A Developer", issuer=middle, subject=_name(unit, organization),
                 subject_key=key("rsa2048", "apple-leaf"),
                 extensions=(mark(leaf),) if leaf else ())  # fmt: skip


def _name(unit: str, organization: str) -> bytes:
    parts = [("2.5.4.10", organization), ("2.5.4.11", unit), ("2.5.4.3", "A Developer")]
    return der.sequence(*(der.set_of(der.sequence(der.oid(o), der.utf8(t))) for o, t in parts if t))


def judged(folder: Path, who: Identity, *, team: str = TEAM, **asked: Any) -> Verdict:
    data = macho.signed_file(program(), who=who, team=team, **asked)
    return assess(BytesSource("tool", data), context(folder, root()))


def causes(verdict: Verdict, effect: Effect) -> list[Code]:
    return [f.code for f in verdict.findings if f.effect is effect]


@pytest.mark.usefixtures("as_apple")
@pytest.mark.parametrize("one", apple.CODE_MARKS, ids=lambda one: one.text)
def test_marks_for_code_count(one: apple.Mark, tmp_path: Path) -> None:
    verdict = judged(tmp_path, developer(one.leaf, one.issuer))
    assert verdict.outcome is Outcome.ACCEPTED
    assert (Code.WRONG_USAGE in causes(verdict, Effect.WARN)) is bool(one.limited)


@pytest.mark.usefixtures("as_apple")
@pytest.mark.parametrize(
    ("leaf", "issuer"),
    [("", ""), ("", DEVELOPER_ID[1]), (DEVELOPER_ID[0], ""), (f"{ARC}1.14", f"{ARC}2.6"),
     (DEVELOPER_ID[0], f"{ARC}2.1")],
    ids=["none", "leaf", "issuer", "installer", "crossed"],
)  # fmt: skip
def test_certificates_of_apples_for_other_things_do_not_count(
    leaf: str, issuer: str, tmp_path: Path
) -> None:
    assert judged(tmp_path, developer(leaf, issuer)).cause is Code.WRONG_USAGE


def test_other_authorities_are_asked_for_no_marks(tmp_path: Path) -> None:
    assert judged(tmp_path, developer("", ""), team="").outcome is Outcome.ACCEPTED


def test_extensions_that_nobody_knows_still_stop_a_path(tmp_path: Path) -> None:
    assert judged(tmp_path, developer(f"{ARC}1.999")).cause is Code.CRITICAL_EXTENSION


@pytest.mark.usefixtures("as_apple")
def test_code_of_another_team_than_its_signers_is_rejected(tmp_path: Path) -> None:
    assert judged(tmp_path, developer(unit="OTHER12345")).cause is Code.REQUIREMENT_FAILED
    assert judged(tmp_path, developer(unit="")).outcome is Outcome.ACCEPTED


@pytest.mark.usefixtures("as_apple")
@pytest.mark.parametrize("one", [m for m in apple.CODE_MARKS if m.store], ids=lambda m: m.text)
def test_what_a_store_signs_is_of_the_team_that_it_says(one: apple.Mark, tmp_path: Path) -> None:
    """The leaf is Apple's own (``OU=iPhone, O=Apple Inc.``) and names no team."""
    verdict = judged(tmp_path, developer(one.leaf, one.issuer, "iPhone", "Apple Inc."))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert apple_code.team_id({"team-id": TEAM}, "iPhone", "Apple Inc.", next(iter(ROOTS))) == TEAM


def test_a_unit_of_other_organizations_is_no_store() -> None:
    for root_of in (next(iter(ROOTS)), "00" * 32):
        assert not apple_code.team_id({"team-id": TEAM}, "iPhone", "Apple Incorporated", root_of)
    assert not apple_code.team_id({"team-id": TEAM}, "iPhone", "Apple Inc.", "00" * 32)


def test_code_under_apples_roots_needs_apples_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SecStaticCode::verifySignature`` refuses it, whoever else is trusted for time."""
    other = issue("Other Root", subject_key=key("rsa2048", "other-root"), ca=True, ekus=None,
                  usage=("keyCertSign", "cRLSign"),
                  not_before=datetime.fromisoformat("2010-01-01T00:00Z"),
                  not_after=datetime.fromisoformat("2040-01-01T00:00Z"))  # fmt: skip
    token = _stamped("sha256", other)
    data = macho.signed_file(program(), who=developer(), team=TEAM, unsigned=(token,))
    judging = context(tmp_path, root(), other)
    assert assess(BytesSource("tool", data), judging).outcome is Outcome.ACCEPTED
    own = hashlib.sha256(root().certificate).digest()
    monkeypatch.setattr(apple, "ROOTS", apple.ROOTS | {own})
    verdict = assess(BytesSource("tool", data), judging)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.TIMESTAMP_UNTRUSTED)


def _stamped(signer_digest: str, by: Identity | None = None) -> Any:
    clock = issue("Stand-in Clock", issuer=by or root(), ekus=(EKU_TIME_STAMPING,),
                  eku_critical=True, subject_key=key("rsa2048", "apple-clock"))  # fmt: skip
    return tsa.token(clock, at=NOW, digest=signer_digest)


def test_rules_see_hash_identifier_team_and_class(tmp_path: Path) -> None:
    seen = subject_of(record(judged(tmp_path, developer("", ""))))
    (digest,) = (d for d in seen.digests if d.startswith("cdhash:"))
    assert digest.startswith("cdhash:sha256:")
    assert len(digest.rpartition(":")[2]) == 40
    assert (seen.bundle_id, seen.file_class) == ("org.example.tool", "executable")
    assert [s.team_id for s in seen.signers] == [TEAM]
    assert not seen.unknown & {"digest:cdhash", "bundle-id", "kind"}


def test_a_team_that_only_the_signer_claims_is_none(tmp_path: Path) -> None:
    seen = subject_of(record(judged(tmp_path, developer("", "", unit="OTHER12345"))))
    assert [s.team_id for s in seen.signers] == [""]


def seen_of(data: bytes, folder: Path) -> Any:
    return subject_of(record(assess(BytesSource("tool", data), context(folder))))


def test_the_hash_of_code_that_was_changed_stands_for_nothing(tmp_path: Path) -> None:
    data = bytearray(macho.signed_file(program()))
    data[0x700] ^= 1
    assert not [d for d in seen_of(bytes(data), tmp_path).digests if d.startswith("cdhash")]


def test_ad_hoc_code_is_known_by_its_hash(tmp_path: Path) -> None:
    seen = seen_of(macho.signed_file(program(), ad_hoc=True), tmp_path)
    assert [d for d in seen.digests if d.startswith("cdhash:sha256:")]
    assert seen.signers == ()


def test_a_hash_of_one_slice_leaves_the_others_open(tmp_path: Path) -> None:
    data = fat([(cpu, macho.signed_file(program(cpu))) for cpu in ("x86_64", "arm64")])
    seen = seen_of(data, tmp_path)
    assert len([d for d in seen.partial if d.startswith("cdhash:")]) == 2
    assert not [d for d in seen.digests if d.startswith("cdhash:")]


def test_libraries_are_libraries(tmp_path: Path) -> None:
    assert seen_of(macho.signed_file(program(kind=DYLIB)), tmp_path).file_class == "library"


def timestamped(digest: str, who: Identity) -> bytes:
    return macho.signed_file(program(), who=who, team=TEAM, unsigned=(_stamped(digest),))


def _instants(verdict: Verdict) -> Sequence[object]:
    return [getattr(s, "proven_time", None) for s in verdict.signatures]


def test_apples_clock_may_sign_with_sha1_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = timestamped("sha1", developer())
    judging = context(tmp_path, root())
    assert _instants(assess(BytesSource("tool", data), judging)) == [None]
    own = hashlib.sha256(root().certificate).digest()
    monkeypatch.setattr(apple, "ROOTS", apple.ROOTS | {own})
    verdict = assess(BytesSource("tool", data), judging)
    assert verdict.outcome is Outcome.ACCEPTED
    assert _instants(verdict) != [None]


def test_the_test_identity_is_no_apple(tmp_path: Path) -> None:
    data = macho.signed_file(program(), who=identity())
    assert assess(BytesSource("tool", data), context(tmp_path)).outcome is Outcome.ACCEPTED
