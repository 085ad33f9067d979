"""Android packages, what stands beside their signers: v4 files, source stamps, bare lineages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import NOW, Identity, pem

from signward.cli import main
from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource
from tests.builders import apk
from tests.builders.apk import Beside, By, Holder
from tests.signing import identity

FIRST = identity("rsa2048", "First Holder")
SECOND = identity("rsa2048", "Second Holder")
STORE = identity("rsa2048", "A Store")
THIRD = identity("p256", "Third Holder")

Judge = Callable[..., Verdict]


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Judge a package with what lies beside it (the first holder pinned, if nobody else)."""

    def judge(
        data: bytes, idsig: bytes = b"", pins: tuple[Identity, ...] = (FIRST,),
        stage: Stage = Stage.ACCEPTED, **more: Any,
    ) -> Verdict:  # fmt: skip
        paths = []
        for number, pin in enumerate(pins):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(pem(pin.certificate))
            paths.append(str(path))
        options = Options(anchors=tuple(paths), at=NOW, policy=Policy(stage=stage), **more)
        beside = {"a.apk.idsig": BytesSource("a.apk.idsig", idsig)} if idsig else {}
        return assess(BytesSource("a.apk", data), Context(options), MappedCompanions(beside))

    return judge


def accepted(verdict: Verdict) -> None:
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


def refused(verdict: Verdict, cause: Code) -> None:
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause is cause, [str(f) for f in verdict.findings]


# --- v4 --------------------------------------------------------------------------

PLAIN = apk.archive({"assets/a": bytes(range(256)) * 70}, oldest=28)
PACKAGE = apk.signed(PLAIN, v3=By(who=FIRST))
DIGEST = apk.content_digest(PLAIN, apk.RSA256)
SEVEN = apk.archive(oldest=24)
FAITHFUL = Beside(who=FIRST, digest=DIGEST)
STEPS = apk.lineage(Holder(who=FIRST), Holder(who=SECOND))
ROTATED = apk.signed(
    PLAIN,
    v3=By(who=FIRST, attributes=(apk.rotates_from(33),)),
    v31=By(who=SECOND, platforms=(33, apk.NEWEST), attributes=(STEPS,)),
)


def test_a_v4_signature_beside_a_package_counts(judged: Judge) -> None:
    verdict = judged(PACKAGE, apk.idsig(PACKAGE, FAITHFUL))
    accepted(verdict)
    intact = judged(PACKAGE, apk.idsig(PACKAGE, FAITHFUL), stage=Stage.INTACT)
    assert [s.claimed.label for s in intact.signatures] == ["v3:1", "v4"]  # type: ignore[union-attr]
    accepted(judged(PACKAGE, apk.idsig(PACKAGE, FAITHFUL, tree=b"")))


def test_v4_of_a_package_with_v2_alone(judged: Judge) -> None:
    data = apk.signed(SEVEN, v2=By(who=FIRST))
    good = Beside(who=FIRST, digest=apk.content_digest(SEVEN, apk.RSA256))
    accepted(judged(data, apk.idsig(data, good)))


def test_the_tree_of_a_package_with_several_levels(judged: Judge) -> None:
    """More than 128 pages, whose digests fill more than one."""
    plain = apk.archive({"assets/a": bytes(700_001)}, oldest=28)
    data = apk.signed(plain, v3=By(who=FIRST))
    good = Beside(who=FIRST, digest=apk.content_digest(plain, apk.RSA256))
    accepted(judged(data, apk.idsig(data, good)))
    tree = apk.file_root(data)[1]
    refused(judged(data, apk.idsig(data, good, tree=tree[:-1] + b"\1")), Code.DIGEST_MISMATCH)


def test_v4_of_a_package_that_was_rotated(judged: Judge) -> None:
    newer = Beside(who=SECOND, digest=DIGEST)
    accepted(judged(ROTATED, apk.idsig(ROTATED, FAITHFUL, newer)))
    refused(judged(ROTATED, apk.idsig(ROTATED, FAITHFUL)), Code.ATTRIBUTE_RULE)
    accepted(judged(ROTATED, apk.idsig(ROTATED, FAITHFUL), newest_sdk=32))
    accepted(judged(ROTATED, apk.idsig(ROTATED, FAITHFUL, newer), newest_sdk=32))


BAD_V4 = {
    "by somebody else": (apk.idsig(PACKAGE, Beside(who=SECOND, digest=DIGEST)),
                         Code.ATTRIBUTE_RULE),
    "another content digest": (apk.idsig(PACKAGE, Beside(who=FIRST, digest=bytes(32))),
                               Code.ATTRIBUTE_RULE),
    "another root": (apk.idsig(PACKAGE, FAITHFUL, root=bytes(32)), Code.DIGEST_MISMATCH),
    "another tree": (apk.idsig(PACKAGE, FAITHFUL, tree=bytes(4096)), Code.DIGEST_MISMATCH),
    "another length": (apk.idsig(PACKAGE, Beside(who=FIRST, digest=DIGEST, size=1)),
                       Code.SIGNATURE_MISMATCH),
    "another key": (apk.idsig(PACKAGE, Beside(who=FIRST, digest=DIGEST, key=SECOND.key.spki)),
                    Code.SIGNATURE_MISMATCH),
    "an unknown method": (apk.idsig(PACKAGE, Beside(who=FIRST, digest=DIGEST, method=0x999)),
                          Code.MALFORMED),
    "another version": (apk.idsig(PACKAGE, FAITHFUL, version=3), Code.MALFORMED),
    "a salt": (apk.idsig(PACKAGE, FAITHFUL, salt=b"salt"), Code.MALFORMED),
    "a signer for v3.1 that is not there": (
        apk.idsig(PACKAGE, FAITHFUL, Beside(who=FIRST, digest=DIGEST)), Code.ATTRIBUTE_RULE),
    "an unknown block": (
        apk.idsig(PACKAGE, FAITHFUL, FAITHFUL, block=0x1234), Code.MALFORMED),
    "octets behind it": (apk.idsig(PACKAGE, FAITHFUL) + b"\0", Code.MALFORMED),
    "nothing": (b"\2\0\0\0", Code.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize(("idsig", "cause"), BAD_V4.values(), ids=BAD_V4)
def test_a_v4_signature_that_is_wrong_rejects(idsig: bytes, cause: Code, judged: Judge) -> None:
    refused(judged(PACKAGE, idsig, (FIRST, SECOND)), cause)


def test_v4_alone_is_no_signature(judged: Judge) -> None:
    refused(judged(PLAIN, apk.idsig(PLAIN, FAITHFUL)), Code.ATTRIBUTE_RULE)


def test_platforms_before_v4_do_not_look_at_it(judged: Judge) -> None:
    accepted(judged(PACKAGE, b"junk", newest_sdk=29))


def test_no_flipped_octet_of_a_v4_signature_is_accepted(judged: Judge) -> None:
    data = apk.idsig(PACKAGE, FAITHFUL)
    whole = [*range(2048), *range(2048, len(data), 61)]
    for offset in whole:
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset * 5 % 8)
        assert judged(PACKAGE, bytes(changed)).outcome is Outcome.REJECTED, offset
    for size in range(1, len(data), 97):
        if size != len(data) - 4 - 4096:  # a file may leave the tree out
            assert judged(PACKAGE, data[:size]).outcome is Outcome.REJECTED, size


def test_what_is_asked_counts_where_the_file_is_named(tmp_path: Path) -> None:
    """Platforms and source stamp, with --detached as without."""
    for name, data in (("a.apk", PACKAGE), ("any.idsig", apk.idsig(PACKAGE, FAITHFUL)),
                       ("pin.pem", pem(FIRST.certificate))):  # fmt: skip
        (tmp_path / name).write_bytes(data)

    def named(**more: Any) -> Verdict:
        options = Options(anchors=(str(tmp_path / "pin.pem"),), at=NOW, **more)
        apart = str(tmp_path / "any.idsig")
        return assess_detached(str(tmp_path / "a.apk"), apart, Context(options))

    accepted(named())
    accepted(named(oldest_sdk=33))
    refused(named(source_stamp=True), Code.SLOT_MISSING)
    unread = named(newest_sdk=29)
    refused(unread, Code.SLOT_MISSING)
    assert any("no platform asked about" in finding.found for finding in unread.findings)


def test_verify_finds_the_file_beside_the_package(tmp_path: Path) -> None:
    (tmp_path / "a.apk").write_bytes(PACKAGE)
    (tmp_path / "first.pem").write_bytes(pem(FIRST.certificate))
    context = Context(Options(anchors=(str(tmp_path / "first.pem"),), at=NOW))
    (tmp_path / "a.apk.idsig").write_bytes(apk.idsig(PACKAGE, FAITHFUL))
    accepted(assess_path(tmp_path / "a.apk", context))
    (tmp_path / "a.apk.idsig").write_bytes(apk.idsig(PACKAGE + b"\0", FAITHFUL))
    refused(assess_path(tmp_path / "a.apk", context), Code.SIGNATURE_MISMATCH)


def test_a_scan_finds_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.apk").write_bytes(PACKAGE)
    (tmp_path / "first.pem").write_bytes(pem(FIRST.certificate))
    words = ["scan", str(tmp_path / "code"), "--anchor", str(tmp_path / "first.pem"),
             "--cache", str(tmp_path / "cache")]  # fmt: skip
    for idsig, accepted in ((apk.idsig(PACKAGE, FAITHFUL), 1), (b"junk", 0)):
        (tmp_path / "code/a.apk.idsig").write_bytes(idsig)
        main(words)
        assert f"{accepted} accepted" in capsys.readouterr().out


# --- source stamps ---------------------------------------------------------------


def named(who: Identity = STORE, **more: Any) -> bytes:
    """Return a package that names whoever stamps it."""
    digest = hashlib.sha256(who.certificate).digest()
    return apk.archive({"stamp-cert-sha256": digest}, **more)


NAMING = named()
CONTENT = apk.pairs_of((1, apk.content_digest(NAMING, apk.RSA256)))
BOTH = {2: CONTENT, 3: CONTENT}
TIME = apk.attribute(0xE43C5946, (1_700_000_000).to_bytes(8, "little"))


def stamped(stamp: bytes, package: bytes = NAMING, number: int = apk.STAMP) -> bytes:
    v2 = apk.scheme_value(package, apk.V2, By(who=FIRST, attributes=(apk.stripping(),)))
    v3 = apk.scheme_value(package, apk.V3, By(who=FIRST))
    return apk.with_block(package, (apk.V2, v2), (apk.V3, v3), (number, stamp))


def ask(judged: Judge, data: bytes, *pins: Identity, **more: Any) -> Verdict:
    return judged(data, pins=pins or (FIRST, STORE), source_stamp=True, **more)


def test_a_stamp_that_is_asked_for_counts(judged: Judge) -> None:
    verdict = ask(judged, stamped(apk.stamp(STORE, BOTH, apk.stamp_attributes(TIME))))
    accepted(verdict)
    assert verdict.facts["source-stamp"] == hashlib.sha256(STORE.certificate).hexdigest()
    assert verdict.facts["source-stamp-time"] == "2023-11-14T22:13:20+00:00"
    accepted(ask(judged, stamped(apk.stamp(STORE, BOTH))))


def test_whose_stamp_it_is_matters(judged: Judge) -> None:
    data = stamped(apk.stamp(STORE, BOTH))
    refused(ask(judged, data, FIRST), Code.UNTRUSTED_ROOT)
    refused(ask(judged, data, STORE), Code.UNTRUSTED_ROOT)


def test_nobody_is_asked_for_a_stamp_otherwise(judged: Judge) -> None:
    accepted(judged(stamped(b"junk")))
    accepted(judged(stamped(apk.stamp(STORE, BOTH))))


def test_a_stamp_for_one_platform_speaks_of_its_scheme_alone(judged: Judge) -> None:
    accepted(ask(judged, stamped(apk.stamp(STORE, {3: CONTENT})), oldest_sdk=28))


def test_a_stamp_that_was_handed_on(judged: Judge) -> None:
    steps = apk.lineage(Holder(who=SECOND), Holder(who=STORE))[4:]
    said = apk.stamp_attributes(apk.attribute(0x9D6303F7, steps))
    data = stamped(apk.stamp(STORE, BOTH, said))
    accepted(ask(judged, data, FIRST, SECOND))
    forged = apk.lineage(Holder(who=SECOND), Holder(who=STORE, signed_by=STORE))[4:]
    said = apk.stamp_attributes(apk.attribute(0x9D6303F7, forged))
    refused(ask(judged, stamped(apk.stamp(STORE, BOTH, said)), FIRST, SECOND),
            Code.SIGNATURE_MISMATCH)  # fmt: skip
    away = apk.lineage(Holder(who=STORE), Holder(who=SECOND))[4:]
    said = apk.stamp_attributes(apk.attribute(0x9D6303F7, away))
    refused(ask(judged, stamped(apk.stamp(STORE, BOTH, said))), Code.MALFORMED)


OTHER = apk.pairs_of((1, bytes(32)))
UNKNOWN = apk.prefixed(apk.u32(9) + apk.prefixed(b"value"))
BAD_STAMPS = {
    "none": (apk.signed(NAMING, v2=By(who=FIRST), v3=By(who=FIRST)), Code.SLOT_MISSING),
    "over something else": (stamped(apk.stamp(STORE, {2: CONTENT, 3: OTHER})),
                            Code.SIGNATURE_MISMATCH),
    "nothing about a scheme": (stamped(apk.stamp(STORE, {2: CONTENT})), Code.SLOT_MISSING),
    "by whom the package does not name": (
        stamped(apk.stamp(SECOND, BOTH)), Code.SIGNATURE_MISMATCH),
    "a package that names nobody": (
        stamped(apk.stamp(STORE, {2: CONTENT}), apk.archive()), Code.SIGNATURE_MISMATCH),
    "by no known method": (
        stamped(apk.stamp(STORE, BOTH, values=dict.fromkeys(BOTH, UNKNOWN))),
        Code.MALFORMED),
    "two times": (stamped(apk.stamp(STORE, BOTH, apk.stamp_attributes(TIME, TIME))),
                  Code.AMBIGUOUS),
    "a time of another size": (
        stamped(apk.stamp(STORE, BOTH, apk.stamp_attributes(TIME[:-1]))), Code.MALFORMED),
    "octets behind it": (stamped(apk.stamp(STORE, BOTH) + b"\0"), Code.MALFORMED),
    "two of them": (
        apk.with_block(NAMING, (apk.V2, apk.scheme_value(NAMING, apk.V2, By(who=FIRST))),
                       *[(apk.STAMP, apk.stamp(STORE, {2: CONTENT}))] * 2), Code.AMBIGUOUS),
}  # fmt: skip


@pytest.mark.parametrize(("data", "cause"), BAD_STAMPS.values(), ids=BAD_STAMPS)
def test_a_stamp_that_is_wrong_rejects(data: bytes, cause: Code, judged: Judge) -> None:
    refused(ask(judged, data, FIRST, STORE, SECOND), cause)


def test_a_stamp_of_the_first_kind_is_not_judged(judged: Judge) -> None:
    verdict = ask(judged, stamped(apk.stamp(STORE, BOTH), number=apk.STAMP_V1))
    assert verdict.outcome is Outcome.INDETERMINATE
    assert verdict.cause is Code.UNSUPPORTED_KIND


def test_no_flipped_octet_of_a_stamp_is_accepted(judged: Judge) -> None:
    stamp = apk.stamp(STORE, BOTH, apk.stamp_attributes(TIME))
    data = stamped(stamp)
    start = data.index(stamp)
    for offset in range(len(stamp)):
        changed = bytearray(data)
        changed[start + offset] ^= 1 << (offset * 5 % 8)
        assert ask(judged, bytes(changed)).outcome is not Outcome.ACCEPTED, offset


def test_the_word_for_stamps(tmp_path: Path) -> None:
    (tmp_path / "a.apk").write_bytes(stamped(apk.stamp(STORE, BOTH)))
    (tmp_path / "pins.pem").write_bytes(pem(FIRST.certificate))
    words = ["verify", str(tmp_path / "a.apk"), "--anchor", str(tmp_path / "pins.pem")]
    assert main(words) == 0
    assert main([*words, "--source-stamp"]) == 1
    (tmp_path / "pins.pem").write_bytes(pem(FIRST.certificate) + pem(STORE.certificate))
    assert main([*words, "--source-stamp"]) == 0


# --- lineages in files of their own ----------------------------------------------

LINEAGE = apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND), Holder(who=THIRD))


def test_a_lineage_is_judged_by_its_oldest_holder(judged: Judge) -> None:
    verdict = judged(LINEAGE)
    accepted(verdict)
    assert verdict.format == "apk-lineage"
    assert verdict.facts["holders"] == 3
    third = hashlib.sha256(THIRD.certificate).hexdigest()
    assert verdict.facts["holder-3"] == f"sha256:{third}"
    assert verdict.facts["holder-1-keeps"] == "installed-data shared-uid permission auth"
    refused(judged(LINEAGE, pins=(SECOND,)), Code.UNTRUSTED_ROOT)


BAD_LINEAGES = {
    "signed by the successor": (
        apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND, signed_by=SECOND)),
        Code.SIGNATURE_MISMATCH,
    ),
    "a later step that is broken": (
        apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND), Holder(who=THIRD, signed_by=FIRST)),
        Code.SIGNATURE_MISMATCH,
    ),
    "a holder twice": (
        apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND), Holder(who=FIRST)),
        Code.MALFORMED,
    ),
    "an unknown method": (
        apk.lineage_file(Holder(who=FIRST, method=0x999), Holder(who=SECOND)),
        Code.MALFORMED,
    ),
    "one holder": (apk.lineage_file(Holder(who=FIRST)), Code.UNSIGNED),
    "octets behind it": (LINEAGE + b"\0", Code.MALFORMED),
    "cut": (LINEAGE[:-9], Code.MALFORMED),
}


@pytest.mark.parametrize(("data", "cause"), BAD_LINEAGES.values(), ids=BAD_LINEAGES)
def test_a_lineage_that_is_wrong_rejects(data: bytes, cause: Code, judged: Judge) -> None:
    refused(judged(data, pins=(FIRST, SECOND, THIRD)), cause)


def test_a_flipped_octet_of_a_lineage_counts_but_for_capabilities(judged: Judge) -> None:
    """What holders keep is signed in packages only, and by whom the last one would sign."""
    kept = []
    for offset in range(len(LINEAGE)):
        changed = bytearray(LINEAGE)
        changed[offset] ^= 1 << (offset * 5 % 8)
        if judged(bytes(changed)).outcome is Outcome.ACCEPTED:
            kept.append(offset)
    flags = LINEAGE.index(THIRD.certificate) + len(THIRD.certificate) + 4
    open_to_all = [LINEAGE.index(w.certificate) + len(w.certificate) + 4 for w in (FIRST, SECOND)]
    expected = {at + n for at in open_to_all for n in range(4)}
    assert set(kept) == expected | set(range(flags, flags + 8))
