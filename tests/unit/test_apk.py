"""Android packages: schemes by platform, signers, lineages, stripping, what nothing covers."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, Identity, issue, pem

from signward.cli import main
from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Match, Peek, recognise
from signward.formats.apk import FORMAT
from signward.policy.record import record
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.verify import assess
from signward.wire.apk_block import write_block
from signward.wire.source import BytesSource
from tests.builders import apk
from tests.builders.apk import By, Holder
from tests.signing import identity, sign_bytes

FIRST = identity("rsa2048", "First Holder")
SECOND = identity("rsa2048", "Second Holder")
THIRD = identity("p256", "Third Holder")
PACKAGE = apk.archive()
NINE = apk.archive(oldest=28)
OLD = apk.archive(oldest=21)


def lineage(*changes: Holder) -> bytes:
    return apk.lineage(*(changes or (Holder(who=FIRST), Holder(who=SECOND))))


@pytest.fixture
def judged(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Judge a package with pins (the first holder's, unless others are given)."""

    def judge(data: bytes, *pins: Identity, stage: Stage = Stage.ACCEPTED, **more: Any) -> Verdict:
        paths = []
        for number, pin in enumerate(pins or (FIRST,)):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(pem(pin.certificate))
            paths.append(str(path))
        policy = Policy(stage=stage)
        options = Options(anchors=tuple(paths), at=NOW, policy=policy, **more)
        return assess(BytesSource("a.apk", data), Context(options))

    return judge


def accepted(verdict: Verdict) -> None:
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


GOOD = {
    "v2": apk.signed(PACKAGE, v2=By(who=FIRST)),
    "v3": apk.signed(NINE, v3=By(who=FIRST)),
    "v2 and v3": apk.signed(PACKAGE, v2=By(who=FIRST, attributes=(apk.stripping(),)),
                            v3=By(who=FIRST)),
    "sha512": apk.signed(PACKAGE, v2=By(who=FIRST, methods=(apk.RSA512,))),
    "pss": apk.signed(PACKAGE, v2=By(who=FIRST, methods=(apk.PSS256,))),
    "two methods": apk.signed(PACKAGE, v2=By(who=FIRST, methods=(apk.RSA256, apk.RSA512))),
    "padded": apk.signed(PACKAGE, v2=By(who=FIRST), padding=bytes(100)),
}  # fmt: skip


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_a_pinned_signer_is_accepted(data: bytes, judged) -> None:  # type: ignore[no-untyped-def]
    accepted(judged(data))
    verdict = judged(data, SECOND)
    assert verdict.cause is Code.UNTRUSTED_ROOT


def test_an_authority_above_the_signer_is_no_pin(judged) -> None:  # type: ignore[no-untyped-def]
    root = issue("Root", subject_key=key("rsa2048", "apk-root"), ca=True, ekus=None,
                 usage=("keyCertSign",))  # fmt: skip
    leaf = issue("Leaf", issuer=root, subject_key=key("rsa2048", "apk-leaf"))
    data = apk.signed(PACKAGE, v2=By(who=leaf))
    assert judged(data, root).cause is Code.UNTRUSTED_ROOT
    accepted(judged(data, leaf))


def test_dates_do_not_count(judged) -> None:  # type: ignore[no-untyped-def]
    ended = issue("Ended", subject_key=key("rsa2048", "apk-first"),
                  not_before=NOW.replace(year=2000), not_after=NOW.replace(year=2001))  # fmt: skip
    accepted(judged(apk.signed(PACKAGE, v2=By(who=ended)), ended))


def test_curves_and_trees(judged) -> None:  # type: ignore[no-untyped-def]
    accepted(judged(apk.signed(PACKAGE, v2=By(who=THIRD, methods=(apk.EC256,))), THIRD))
    filler = {"filler": bytes(3 * (1 << 20) + 5)}
    size = len(apk.parts(apk.archive(filler))[0])
    filler["filler"] += bytes(-size % 4096)
    paged = apk.archive(filler)
    data = apk.signed(paged, v2=By(who=FIRST, methods=(apk.VERITY_RSA,)))
    accepted(judged(data))
    changed = bytearray(data)
    changed[len(filler["filler"]) // 2] ^= 1
    assert judged(bytes(changed)).cause is Code.DIGEST_MISMATCH
    broken = apk.signed(PACKAGE, v2=By(who=FIRST, methods=(apk.VERITY_RSA,)))
    assert judged(broken).cause is Code.MALFORMED


def test_chunks_of_a_long_package(judged) -> None:  # type: ignore[no-untyped-def]
    long = apk.archive({"filler": random.Random(7).randbytes((2 << 20) + 77)})
    data = apk.signed(long, v2=By(who=FIRST, methods=(apk.RSA256, apk.RSA512)))
    accepted(judged(data))


BAD = {
    "another digest": (
        apk.signed(PACKAGE, v2=By(who=FIRST, digest=bytes(32))), Code.DIGEST_MISMATCH),
    "another key's value": (
        apk.signed(PACKAGE, v2=By(who=FIRST, values={apk.RSA256: bytes(256)})),
        Code.SIGNATURE_MISMATCH),
    "a key that is not the certificate's": (
        apk.signed(PACKAGE, v2=By(who=FIRST, key=SECOND.key.spki)), Code.SIGNATURE_MISMATCH),
    "somebody's certificate": (
        apk.signed(PACKAGE, v2=By(who=SECOND, certificates=(FIRST.certificate,))),
        Code.SIGNATURE_MISMATCH),
    "no certificate": (apk.signed(PACKAGE, v2=By(who=FIRST, certificates=())), Code.MALFORMED),
    "no signature": (apk.signed(PACKAGE, v2=By(who=FIRST, methods=())), Code.MALFORMED),
    "an unknown method alone": (
        apk.signed(PACKAGE, v2=By(who=FIRST, methods=(0x999,))), Code.MALFORMED),
    "methods that differ from digests": (
        apk.signed(PACKAGE, v2=By(who=FIRST, listed=(apk.RSA256, apk.RSA512))),
        Code.ALGORITHM_INCONSISTENT),
    "a method without its digest": (
        apk.signed(PACKAGE, v2=By(who=FIRST, listed=(apk.RSA512,))), Code.ALGORITHM_INCONSISTENT),
    "no signer": (apk.signed(PACKAGE, v2=()), Code.MALFORMED),
    "eleven signers": (apk.signed(PACKAGE, v2=[By(who=FIRST)] * 11), Code.MALFORMED),
    "a second signer's value broken": (
        apk.signed(PACKAGE, v2=(By(who=FIRST),
                                By(who=SECOND, values={apk.RSA256: bytes(256)}))),
        Code.SIGNATURE_MISMATCH),
    "v3 stripped": (
        apk.signed(PACKAGE, v2=By(who=FIRST, attributes=(apk.stripping(),))), Code.SLOT_MISSING),
    "v3.1 stripped": (
        apk.signed(NINE, v3=By(who=FIRST,
                                  attributes=(apk.rotates_from(33),))), Code.SLOT_MISSING),
    "v3.1 without v3": (
        apk.signed(NINE, v31=By(who=FIRST)), Code.SLOT_MISSING),
    "platforms that are not the signed ones": (
        apk.signed(NINE, v3=By(who=FIRST, outer=(28, 99))),
        Code.MALFORMED),
    "platforms nobody signs for": (
        apk.signed(NINE, v3=By(who=FIRST, platforms=(28, 40))), Code.SLOT_MISSING),
    "two signers for one platform": (
        apk.signed(NINE, v3=(By(who=FIRST, platforms=(28, 40)),
                                By(who=FIRST, platforms=(40, apk.NEWEST)))), Code.ATTRIBUTE_RULE),
    "v2 by somebody else than v3": (
        apk.signed(PACKAGE, v2=By(who=SECOND), v3=By(who=FIRST)), Code.ATTRIBUTE_RULE),
    "a lineage whose step another key signed": (
        apk.signed(NINE, v3=By(who=SECOND, attributes=(
            lineage(Holder(who=FIRST), Holder(who=SECOND, signed_by=SECOND)),))),
        Code.SIGNATURE_MISMATCH),
    "a lineage that ends with somebody else": (
        apk.signed(NINE, v3=By(who=FIRST, attributes=(lineage(),))), Code.MALFORMED),
    "a lineage that turns back": (
        apk.signed(NINE, v3=By(who=FIRST, attributes=(
            lineage(Holder(who=FIRST), Holder(who=SECOND), Holder(who=FIRST)),))), Code.MALFORMED),
    "a lineage of another version": (
        apk.signed(NINE, v3=By(who=FIRST, attributes=(
            apk.lineage(Holder(who=FIRST), version=2),))), Code.MALFORMED),
    "padding that holds something": (
        apk.signed(PACKAGE, v2=By(who=FIRST), padding=b"\0x\0"), Code.UNCOVERED_CONTENT),
    "two values of one scheme": (
        apk.with_block(PACKAGE, *[(apk.V2, apk.scheme_value(PACKAGE, apk.V2, By(who=FIRST)))] * 2),
        Code.AMBIGUOUS),
    "another mark": (
        apk.with_block(PACKAGE, (apk.V2, apk.scheme_value(PACKAGE, apk.V2, By(who=FIRST))),
                       magic=b"APK Sig Block 41"), Code.UNCOVERED_CONTENT),
    "octets behind the signers": (
        apk.with_block(PACKAGE,
                       (apk.V2, apk.scheme_value(PACKAGE, apk.V2, By(who=FIRST)) + b"\0")),
        Code.MALFORMED),
    "code before the archive (Janus)": (
        b"dex\n035\0" + apk.signed(PACKAGE, v2=By(who=FIRST)), Code.AMBIGUOUS),
    "a JAR signature that lacks": (
        apk.signed(OLD, v2=By(who=FIRST)), Code.SLOT_MISSING),
    "nothing signed": (PACKAGE, Code.UNSIGNED),
}  # fmt: skip


@pytest.mark.parametrize(("data", "cause"), BAD.values(), ids=BAD)
def test_what_is_refused(data: bytes, cause: Code, judged) -> None:  # type: ignore[no-untyped-def]
    verdict = judged(data, FIRST, SECOND, THIRD)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause is cause, [str(f) for f in verdict.findings]


def test_unknown_pairs_and_attributes_are_passed_over(judged) -> None:  # type: ignore[no-untyped-def]
    value = apk.scheme_value(
        PACKAGE, apk.V2, By(who=FIRST, attributes=(apk.attribute(0x1234, b"x"),))
    )
    accepted(judged(apk.with_block(PACKAGE, (0x777, b"anything"), (apk.V2, value))))


def test_unknown_methods_beside_a_known_one_are_passed_over(judged) -> None:  # type: ignore[no-untyped-def]
    accepted(judged(apk.signed(PACKAGE, v2=By(who=FIRST, methods=(0x999, apk.RSA256)))))


def test_every_one_of_several_signers_must_be_pinned(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(PACKAGE, v2=(By(who=FIRST), By(who=SECOND)))
    accepted(judged(data, FIRST, SECOND))
    assert judged(data, FIRST).cause is Code.UNTRUSTED_ROOT
    assert judged(data, SECOND).cause is Code.UNTRUSTED_ROOT


# --- rotation --------------------------------------------------------------------


def rotated(*holders: Holder) -> bytes:
    return apk.signed(
        PACKAGE,
        v2=By(who=FIRST, attributes=(apk.stripping(),)),
        v3=By(who=SECOND, attributes=(lineage(*holders),)),
    )


def test_a_pin_goes_along_the_lineage(judged) -> None:  # type: ignore[no-untyped-def]
    verdict = judged(rotated(), FIRST)
    accepted(verdict)
    assert verdict.publisher is not None
    assert "Second Holder" in verdict.publisher.identity


def test_a_pin_of_the_new_signer_does_not_reach_the_old_one(judged) -> None:  # type: ignore[no-untyped-def]
    assert judged(rotated(), SECOND).cause is Code.UNTRUSTED_ROOT
    accepted(judged(rotated(), SECOND, oldest_sdk=28))


def test_a_holder_without_rights_hands_nothing_on(judged) -> None:  # type: ignore[no-untyped-def]
    data = rotated(Holder(who=FIRST, flags=0x16), Holder(who=SECOND))
    verdict = judged(data, FIRST)
    assert verdict.cause is Code.UNTRUSTED_ROOT
    assert any("gave up" in f.found for f in verdict.findings)
    accepted(judged(data, SECOND, oldest_sdk=28))


def test_three_holders(judged) -> None:  # type: ignore[no-untyped-def]
    holders = (Holder(who=FIRST), Holder(who=SECOND), Holder(who=THIRD, method=apk.EC256))
    # The last step is signed by the second holder's key, by the method that holder signs with.
    value = apk.lineage(*holders[:2], Holder(who=THIRD))
    data = apk.signed(PACKAGE, v2=By(who=FIRST),
                      v3=By(who=THIRD, methods=(apk.EC256,), attributes=(value,)))  # fmt: skip
    accepted(judged(data, FIRST))
    assert judged(data, SECOND).cause is Code.UNTRUSTED_ROOT
    accepted(judged(data, SECOND, oldest_sdk=28))


def test_newer_platforms_take_v31(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(
        PACKAGE,
        v2=By(who=FIRST),
        v3=By(who=FIRST, attributes=(apk.rotates_from(33),)),
        v31=By(who=SECOND, platforms=(33, apk.NEWEST), attributes=(lineage(),)),
    )
    accepted(judged(data, FIRST))
    accepted(judged(data, SECOND, oldest_sdk=33, stage=Stage.INTACT))
    assert judged(data, SECOND).cause is Code.UNTRUSTED_ROOT


@pytest.mark.parametrize("said", [(), (apk.rotates_from(34),)])
def test_v31_must_be_as_v3_says(said: tuple[bytes, ...], judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(
        NINE,
        v3=By(who=FIRST, attributes=said),
        v31=By(who=SECOND, platforms=(33, apk.NEWEST), attributes=(lineage(),)),
    )
    assert judged(data, FIRST).cause is Code.ATTRIBUTE_RULE


def test_v31_must_come_from_v3(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(
        NINE,
        v3=By(who=THIRD, methods=(apk.EC256,),
              attributes=(apk.rotates_from(33),)),
        v31=By(who=SECOND, platforms=(33, apk.NEWEST), attributes=(lineage(),)),
    )  # fmt: skip
    assert judged(data, FIRST, THIRD).cause is Code.ATTRIBUTE_RULE


def test_platforms_before_v31_take_v3_whatever_v31_says(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(
        NINE,
        v3=By(who=FIRST, platforms=(28, 29), attributes=(apk.rotates_from(30),)),
        v31=By(who=SECOND, platforms=(30, apk.NEWEST), attributes=(lineage(),)),
    )
    assert judged(data, FIRST).cause is Code.SLOT_MISSING
    accepted(judged(data, FIRST, newest_sdk=29))


def test_attributes_that_stand_twice_are_refused(judged) -> None:  # type: ignore[no-untyped-def]
    """Platforms refuse a second lineage, others take the first or the last."""
    twice = (lineage(), lineage(Holder(who=THIRD), Holder(who=SECOND)))
    data = apk.signed(NINE, v3=By(who=SECOND, attributes=twice))
    assert judged(data, FIRST).cause is Code.AMBIGUOUS


# --- platforms -------------------------------------------------------------------


def test_only_schemes_that_platforms_asked_about_take_count(judged) -> None:  # type: ignore[no-untyped-def]
    broken = By(who=FIRST, digest=bytes(32))
    data = apk.signed(PACKAGE, v2=broken, v3=By(who=FIRST))
    assert judged(data).cause is Code.DIGEST_MISMATCH
    accepted(judged(data, oldest_sdk=28))
    data = apk.signed(PACKAGE, v2=By(who=FIRST), v3=By(who=FIRST, digest=bytes(32)))
    assert judged(data).cause is Code.DIGEST_MISMATCH
    accepted(judged(data, newest_sdk=27))


def test_old_platforms_ask_for_a_jar_signature(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(OLD, v2=By(who=FIRST))
    assert judged(data).cause is Code.SLOT_MISSING
    accepted(judged(data, oldest_sdk=24))


def test_platforms_before_v3_ask_for_v2_or_a_jar_signature(judged) -> None:  # type: ignore[no-untyped-def]
    data = apk.signed(PACKAGE, v3=By(who=FIRST))
    assert judged(data).cause is Code.SLOT_MISSING
    accepted(judged(data, oldest_sdk=28))


def jar_signed(who: Identity, package: bytes) -> bytes:
    """Return the package with a JAR signature, made as of a JAR."""
    return sign_bytes("a.jar", package, who=who)


def test_a_jar_signature_alone(judged) -> None:  # type: ignore[no-untyped-def]
    data = jar_signed(FIRST, OLD)
    accepted(judged(data))
    assert judged(data, SECOND).cause is Code.UNTRUSTED_ROOT
    assert judged(jar_signed(FIRST, apk.archive(oldest=21, target=30))).cause is Code.SLOT_MISSING


def test_a_jar_signature_beside_newer_ones(judged) -> None:  # type: ignore[no-untyped-def]
    base = jar_signed(FIRST, OLD)
    accepted(judged(apk.signed(base, v2=By(who=FIRST), v3=By(who=FIRST))))
    other = apk.signed(base, v2=By(who=SECOND))
    assert judged(other, FIRST, SECOND).cause is Code.ATTRIBUTE_RULE
    rotated = apk.signed(base, v3=By(who=SECOND, attributes=(lineage(),)))
    accepted(judged(rotated, FIRST))


def test_a_member_that_a_jar_signature_does_not_reach(judged) -> None:  # type: ignore[no-untyped-def]
    out = io.BytesIO(jar_signed(FIRST, OLD))
    with zipfile.ZipFile(out, "a") as package:
        package.writestr(zipfile.ZipInfo("classes2.dex"), b"dex\n035\0")
    assert judged(out.getvalue()).cause is Code.SLOT_MISSING


# --- the contract ----------------------------------------------------------------


def test_no_flipped_byte_is_accepted(judged) -> None:  # type: ignore[no-untyped-def]
    data = GOOD["v2 and v3"]
    assert len(data) < 8 * 1024
    kept = []
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset * 5 % 8)
        verdict = judged(bytes(changed))
        if verdict.outcome is Outcome.ACCEPTED:
            kept.append(offset)
    assert kept == []


def test_no_truncation_is_accepted(judged) -> None:  # type: ignore[no-untyped-def]
    data = GOOD["v2 and v3"]
    for size in range(len(data)):
        assert judged(data[:size]).outcome is not Outcome.ACCEPTED


def test_recognised_by_name_or_manifest() -> None:
    assert FORMAT.recognise(Peek("x", PACKAGE, PACKAGE[-1024:], len(PACKAGE))) is Match.SPECIFIC
    assert FORMAT.recognise(Peek("x.jar", b"PK\3\4" + bytes(60), b"", 64)) is Match.NO
    found = recognise(Peek("x.apk", b"dex\n" + PACKAGE, PACKAGE[-1024:], len(PACKAGE) + 4))
    assert found is FORMAT


def test_codenames_ask_the_most(judged) -> None:  # type: ignore[no-untyped-def]
    package = apk.archive({"AndroidManifest.xml": apk.manifest(4, codename=True)})
    verdict = judged(apk.signed(package, v2=By(who=FIRST)))
    assert verdict.cause is Code.SLOT_MISSING
    assert verdict.facts["min-sdk"] == 1


@pytest.mark.parametrize("data", [b"", b"<manifest/>", apk.manifest()[:-3], apk.manifest()[:40]])
def test_a_manifest_that_cannot_be_read(data: bytes, judged) -> None:  # type: ignore[no-untyped-def]
    package = apk.archive({"AndroidManifest.xml": data})
    assert judged(apk.signed(package, v2=By(who=FIRST))).cause is Code.MALFORMED


# --- signing ---------------------------------------------------------------------


def test_stored_members_keep_their_places() -> None:
    package = apk.archive({"resources.arsc": bytes(40)}, oldest=21)
    signed = sign_bytes("a.apk", package, who=FIRST)
    assert signed.startswith(apk.parts(package)[0])


def test_old_platforms_that_know_no_sha2_are_refused() -> None:
    with pytest.raises(NotSignableError, match="SHA-1"):
        sign_bytes("a.apk", apk.archive(oldest=16), who=FIRST)
    sign_bytes("a.apk", apk.archive(oldest=16), who=FIRST, options={"schemes": "v2,v3"})
    with pytest.raises(NotSignableError, match="schemes"):
        sign_bytes("a.apk", PACKAGE, who=FIRST, options={"schemes": "v2,v4"})


def test_schemes_are_chosen_by_name(judged) -> None:  # type: ignore[no-untyped-def]
    for schemes in ("v1", "v2", "v3"):
        oldest = {"v1": 21, "v2": 24, "v3": 28}[schemes]
        package = apk.archive(oldest=oldest)
        data = sign_bytes("a.apk", package, who=FIRST, options={"schemes": schemes})
        verdict = judged(data)
        accepted(verdict)
        assert verdict.facts["schemes"] == schemes


def test_a_member_that_would_move_is_not_signed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), b"Manifest-Version: 1.0\r\n\r\n")
        package.writestr(zipfile.ZipInfo("AndroidManifest.xml"), apk.manifest(24))
        info = zipfile.ZipInfo("resources.arsc")
        start = out.tell() + 30 + len(info.filename)
        info.extra = (
            b"\x35\xd9" + ((-start - 4) % 4).to_bytes(2, "little") + bytes((-start - 4) % 4)
        )
        package.writestr(info, bytes(40))
    with pytest.raises(NotSignableError, match="alignment"):
        sign_bytes("a.apk", out.getvalue(), who=FIRST)


# --- on the command line ---------------------------------------------------------


def test_platforms_and_pin_on_the_command_line(tmp_path: Path) -> None:
    path, pin = tmp_path / "a.apk", tmp_path / "pin.pem"
    path.write_bytes(apk.signed(PACKAGE, v3=By(who=FIRST)))
    pin.write_bytes(pem(FIRST.certificate))
    words = ["verify", str(path), "--at", NOW.isoformat()]
    assert main(words) == 1
    assert main([*words, "--anchor", str(pin)]) == 1
    assert main([*words, "--anchor", str(pin), "--min-sdk", "28"]) == 0
    assert main([*words, "--anchor", str(pin), "--min-sdk", "28", "--max-sdk", "40"]) == 0
    with pytest.raises(SystemExit):
        main([*words, "--min-sdk", "0"])


def test_platforms_are_kept_as_evidence(tmp_path: Path) -> None:
    path, pin = tmp_path / "a.apk", tmp_path / "pin.pem"
    path.write_bytes(apk.signed(PACKAGE, v3=By(who=FIRST)))
    pin.write_bytes(pem(FIRST.certificate))
    options = Options(anchors=(str(pin),), at=NOW, oldest_sdk=28)
    [verdict], _ = assess_with_evidence((str(path),), options, str(tmp_path / "bundle"))
    accepted(verdict)
    assert record(replay(str(tmp_path / "bundle"), str(path))) == record(verdict)


def test_a_stripped_package_is_unsigned_again(judged, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = sign_bytes("a.apk", OLD, who=FIRST)
    accepted(judged(data))
    path = tmp_path / "a.apk"
    path.write_bytes(data)
    assert main(["strip", str(path)]) == 0
    assert path.read_bytes() == OLD


def spread(package: bytes, gaps: list[bytes]) -> bytes:
    """Return a package with these octets in front of its first members."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    members, directory, end = apk.parts(package)
    stops = [info.header_offset for info in infos[1:]] + [len(members)]
    moved, places = b"", dict[str, int]()
    for info, stop, gap in zip(infos, stops, gaps, strict=False):
        moved += gap
        places[info.filename] = len(moved)
        moved += members[info.header_offset : stop]
    central, at = bytearray(directory), 0
    while at < len(central):
        named, extra, comment = struct.unpack_from("<HHH", central, at + 28)
        name = central[at + 46 : at + 46 + named].decode()
        struct.pack_into("<I", central, at + 42, places[name])
        at += 46 + named + extra + comment
    return moved + bytes(central) + end[:16] + apk.u32(len(moved)) + end[20:]


FILLERS = {f"res/{number}": b"x" for number in range(20)}


def test_many_gaps_hide_nothing_behind_them(judged) -> None:  # type: ignore[no-untyped-def]
    """Zeros between members are harmless, and the members behind them are read all the same."""
    data = jar_signed(FIRST, apk.archive(FILLERS, oldest=21))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        count = len(archive.namelist())
    zeros = [bytes(4)] * count
    accepted(judged(spread(data, zeros)))
    filled = spread(data, [*zeros[:-1], b"dex\n"])
    assert judged(filled).cause is Code.UNCOVERED_CONTENT
    other = bytearray(spread(data, zeros))
    at = other.rindex(b"PK\3\4")
    other[at + 30] ^= 1  # the last member's name, in its local header
    assert judged(bytes(other)).cause is Code.AMBIGUOUS


def test_nothing_hides_before_a_signing_block(judged) -> None:  # type: ignore[no-untyped-def]
    """A JAR signature does not reach what stands between the members and a block."""
    members, directory, end = apk.parts(jar_signed(FIRST, OLD))
    block = write_block([(0x12345678, b"")])
    for hidden, cause in ((b"", None), (b"hidden", Code.UNCOVERED_CONTENT)):
        front = members + hidden + block
        data = front + directory + end[:16] + apk.u32(len(front)) + end[20:]
        assert judged(data).cause is cause


def test_methods_that_android_does_not_know_are_refused(judged) -> None:  # type: ignore[no-untyped-def]
    """Android takes bzip2 for stored or for deflated data, whoever reads it."""
    for name in ("classes2.dex", "AndroidManifest.xml"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as package:
            for own, data in {
                "AndroidManifest.xml": apk.manifest(21), "classes2.dex": b"dex"
            }.items():  # fmt: skip
                method = zipfile.ZIP_BZIP2 if own == name else zipfile.ZIP_STORED
                package.writestr(zipfile.ZipInfo(own), data, method)
        assert judged(jar_signed(FIRST, out.getvalue())).cause is Code.MALFORMED


def test_a_member_named_as_a_slot_does_not_stand_in_for_the_content(judged) -> None:  # type: ignore[no-untyped-def]
    """The content digest is itself a SHA-256, of octets that anybody can put into a member."""
    chunks = [
        hashlib.sha256(b"\xa5" + apk.u32(len(part)) + part).digest() for part in apk.parts(PACKAGE)
    ]
    preimage = b"\x5a" + apk.u32(len(chunks)) + b"".join(chunks)
    assert hashlib.sha256(preimage).digest() == apk.content_digest(PACKAGE, apk.RSA256)
    value = apk.scheme_value(PACKAGE, apk.V2, By(who=FIRST))
    accepted(judged(apk.with_block(PACKAGE, (apk.V2, value))))
    forged = apk.archive({"classes.dex": b"dex\n035\0 of somebody else", "apk-chunks": preimage})
    verdict = judged(apk.with_block(forged, (apk.V2, value)))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause is Code.DIGEST_MISMATCH
