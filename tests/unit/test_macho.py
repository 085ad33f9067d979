"""Mach-O: every slice judged, all agreeing, and no octet that runs left uncovered."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue, stranger_pki

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect
from signward.formats import ParseOptions, peek_at, recognise
from signward.formats.macho import FORMAT
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, Stage, Verdict
from signward.verbs.verify import assess
from signward.wire.macho import MAX_COMMANDS, MAX_SLICES, Slice, read_image, read_slices
from signward.wire.source import BytesSource
from tests.builders import macho
from tests.samples.macho import BUNDLE, DYLIB, INFO, fat, program
from tests.signing import authority, context, identity

INTACT = Policy(stage=Stage.INTACT)
CPUS = ("x86_64", "arm64", "i386", "ppc")


def verdict_of(data: bytes, folder: Path, policy: Policy | None = None) -> Verdict:
    judging = context(folder) if policy is None else context(folder, policy=policy)
    return assess(BytesSource("tool", data), judging)


def cause_of(data: bytes, folder: Path) -> Code | None:
    return verdict_of(data, folder).cause


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("kinds", [(2,), (1, 2), (3,), (4,)])
def test_a_signed_program_is_accepted(cpu: str, kinds: tuple[int, ...], tmp_path: Path) -> None:
    verdict = verdict_of(macho.signed_file(program(cpu), kinds=kinds), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.format == "macho"
    expected = "ppc" if cpu == "ppc" else cpu
    assert verdict.facts["architecture"] == expected


def test_sha1_alone_is_weak(tmp_path: Path) -> None:
    assert cause_of(macho.signed_file(program(), kinds=(1,)), tmp_path) is Code.WEAK_DIGEST


def test_an_unsigned_program_is_unsigned(tmp_path: Path) -> None:
    assert cause_of(program(), tmp_path) is Code.UNSIGNED
    assert cause_of(fat((("x86_64", program()), ("arm64", program("arm64")))), tmp_path) is (
        Code.UNSIGNED
    )


@pytest.mark.parametrize("flags", [0, 0x20000])
def test_ad_hoc_is_a_state_of_its_own(flags: int, tmp_path: Path) -> None:
    data = macho.signed_file(program(), ad_hoc=True, flags=flags)
    for policy in (None, INTACT):
        assert verdict_of(data, tmp_path, policy).cause is Code.AD_HOC
    broken = bytearray(data)
    broken[0x900] ^= 1
    assert cause_of(bytes(broken), tmp_path) is Code.PAGE_HASH_MISMATCH


@pytest.mark.parametrize("at", [24, 0x600, 0xFFF, 0x1000, 0x1000 + 40])
def test_changed_code_is_not_accepted(at: int, tmp_path: Path) -> None:
    data = bytearray(macho.signed_file(program()))
    data[at] ^= 1
    assert cause_of(bytes(data), tmp_path) is Code.PAGE_HASH_MISMATCH


# --- what the signature does not reach ---------------------------------------------------


def test_what_stands_behind_the_signature_is_uncovered(tmp_path: Path) -> None:
    data = macho.signed_file(program())
    for tail in (b"\0", b"x" * 100):
        assert cause_of(data + tail, tmp_path) is Code.UNCOVERED_CONTENT


def test_room_behind_the_superblob_is_zero_or_a_linkers(tmp_path: Path) -> None:
    code = program()
    assert verdict_of(macho.signed_file(code), tmp_path).outcome is Outcome.ACCEPTED
    bad = macho.signed_file(code, left=b"\1" + bytes(20))
    assert cause_of(bad, tmp_path) is Code.UNCOVERED_CONTENT
    last = bytearray(macho.signed_file(code))
    last[-1] = 1
    assert cause_of(bytes(last), tmp_path) is Code.UNCOVERED_CONTENT


def test_digests_that_a_linker_left_are_room(tmp_path: Path) -> None:
    code = program("arm64")
    plain = macho.signed_file(code)
    signed = plain[: len(code) + -len(code) % 16]
    pages = [signed[i : i + 4096] for i in range(0, len(signed), 4096)]
    digests = b"".join(hashlib.sha256(page).digest() for page in pages)
    for left in (digests[40:], digests[40:140], digests[32:]):
        data = macho.signed_file(code, left=left)
        assert verdict_of(data, tmp_path).outcome is Outcome.ACCEPTED, len(left)
        changed = macho.signed_file(code, left=left[:-1] + bytes([left[-1] ^ 1]))
        assert cause_of(changed, tmp_path) is Code.UNCOVERED_CONTENT


def test_a_code_limit_that_falls_short_leaves_code_uncovered(tmp_path: Path) -> None:
    data = program(symbols=4096)
    short = macho.signed_file(data, code_limit=0x1000, pages=[hashlib.sha256(
        macho.signed_file(data)[:0x1000]).digest()])  # fmt: skip
    assert cause_of(short, tmp_path) is Code.UNCOVERED_CONTENT
    inside = macho.signed_file(data, code_limit=0x100, pages=[bytes(32)])
    assert cause_of(inside, tmp_path) is Code.UNCOVERED_CONTENT
    long = macho.signed_file(data, code_limit=len(data) + 16,
                             pages=[bytes(32)] * 3)  # fmt: skip
    assert cause_of(long, tmp_path) is Code.MALFORMED


def test_a_ticket_inside_code_is_uncovered(tmp_path: Path) -> None:
    data = macho.signed_file(program(), further=[(0x10002, macho.blob(0xFADE0B01, b"ticket"))])
    assert cause_of(data, tmp_path) is Code.UNCOVERED_CONTENT


def test_digests_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signward.formats._macho_code.MAX_DIGESTS", 3)
    assert cause_of(both(), tmp_path) is Code.LIMIT_EXCEEDED


def test_a_segment_behind_the_code_limit_is_uncovered(tmp_path: Path) -> None:
    data = bytearray(macho.signed_file(program()))
    at = data.index(b"__LINKEDIT")
    data[at : at + 10] = b"__LINKEDIX"
    assert cause_of(bytes(data), tmp_path) is Code.UNCOVERED_CONTENT


# --- universal files ---------------------------------------------------------------------


def both(**second: object) -> bytes:
    one = macho.signed_file(program())
    two = macho.signed_file(program("arm64"), **second)  # type: ignore[arg-type]
    return fat((("x86_64", one), ("arm64", two)))


@pytest.mark.parametrize("wide", [False, True])
def test_slices_of_one_signer_are_accepted(wide: bool, tmp_path: Path) -> None:
    parts = [(cpu, macho.signed_file(program(cpu))) for cpu in ("x86_64", "arm64", "i386")]
    verdict = verdict_of(fat(parts, wide=wide), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 3
    assert verdict.facts["architecture"] == "x86_64,arm64,i386"
    assert str(verdict.facts["cdhash"]).count(",") == 2


@pytest.mark.parametrize("policy", [None, INTACT, Policy(signatures=SignatureRule.ANY)])
@pytest.mark.parametrize(
    "second",
    [{"who": "other"}, {"identifier": "org.example.other"}, {"ad_hoc": True},
     {"team": "TEAM123456"}],
    ids=["signer", "identifier", "ad-hoc", "team"],
)  # fmt: skip
def test_slices_that_disagree_are_rejected(
    second: dict[str, object], policy: Policy | None, tmp_path: Path
) -> None:
    if second.get("who") == "other":
        second = {"who": identity(name="Somebody Else")}
    verdict = verdict_of(both(**second), tmp_path, policy)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.SLICES_DISAGREE)


def test_an_unsigned_slice_beside_a_signed_one_is_rejected(tmp_path: Path) -> None:
    for parts in (("x86_64", "ppc"), ("ppc", "x86_64")):
        slices = [(c, macho.signed_file(program(c)) if c == "x86_64" else program(c))
                  for c in parts]  # fmt: skip
        assert cause_of(fat(slices), tmp_path) is Code.SLICES_DISAGREE


@pytest.mark.parametrize("policy", [None, INTACT, Policy(signatures=SignatureRule.ANY)])
def test_every_slice_must_be_intact(policy: Policy | None, tmp_path: Path) -> None:
    whole = both()
    slices = read_slices(BytesSource("fat", whole))
    for one in slices:
        data = bytearray(whole)
        data[one.start + 0x700] ^= 1
        verdict = verdict_of(bytes(data), tmp_path, policy)
        assert verdict.cause is Code.PAGE_HASH_MISMATCH


@pytest.mark.parametrize("rule", list(SignatureRule))
def test_every_slice_must_be_trusted(rule: SignatureRule, tmp_path: Path) -> None:
    """The same name and team, in a certificate that nobody trusts in the second slice."""
    stranger = issue("Signing Test Publisher", issuer=stranger_pki().leaf.issuer,
                     subject_key=key("rsa2048", "stranger"))  # fmt: skip
    assert stranger.subject == identity().subject
    one = macho.signed_file(program(), team="TEAM123456", kinds=(4,))
    two = macho.signed_file(program("arm64"), team="TEAM123456", who=stranger)
    for pair in ((("x86_64", one), ("arm64", two)), (("arm64", two), ("x86_64", one))):
        verdict = verdict_of(fat(pair), tmp_path, Policy(signatures=rule))
        assert verdict.outcome is Outcome.REJECTED
        assert verdict.cause in (Code.UNTRUSTED_ROOT, Code.NO_PATH)


def test_what_lies_between_and_behind_slices_is_uncovered(tmp_path: Path) -> None:
    data = both()
    first, second = read_slices(BytesSource("fat", data))
    for at in (48, first.start - 1, second.start - 1):
        changed = bytearray(data)
        changed[at] = 1
        assert cause_of(bytes(changed), tmp_path) is Code.UNCOVERED_CONTENT, at
    assert cause_of(data + b"\0", tmp_path) is Code.UNCOVERED_CONTENT


def test_tables_that_lie_are_refused(tmp_path: Path) -> None:
    data = both()

    def changed(at: int, value: int) -> bytes:
        return data[:at] + struct.pack(">I", value) + data[at + 4 :]

    assert cause_of(changed(8, 7), tmp_path) is Code.AMBIGUOUS  # another processor
    assert cause_of(changed(28, 0x01000007), tmp_path) is Code.AMBIGUOUS  # the same twice
    assert cause_of(changed(28, 0), tmp_path) is Code.MALFORMED  # no processor at all
    assert cause_of(changed(36, 0x1000), tmp_path) is Code.MALFORMED  # not aligned
    assert cause_of(changed(20, 1 << 30), tmp_path) is Code.MALFORMED  # beyond the file
    assert cause_of(changed(20, 0x7010), tmp_path) is Code.AMBIGUOUS  # overlapping
    assert cause_of(changed(24, 31), tmp_path) is Code.LIMIT_EXCEEDED  # alignment
    assert cause_of(changed(4, 1), tmp_path) is Code.UNCOVERED_CONTENT  # one slice hidden
    with pytest.raises(LimitError):
        read_slices(BytesSource("fat", changed(4, MAX_SLICES + 1)))


def test_a_second_entry_for_one_processor_is_ambiguous() -> None:
    one = macho.signed_file(program())
    with pytest.raises(AmbiguousError, match="for one processor"):
        read_slices(BytesSource("fat", fat((("x86_64", one), ("x86_64", one)))))


# --- one slice ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "value"), [(0, 1), (8, 0), (16, 1), (24, 1), (32, 7), (36, 4)],
    ids=["address", "extent", "offset-is-free", "size", "most", "rights"],
)  # fmt: skip
def test_page_zero_holds_nothing(offset: int, value: int) -> None:
    data = bytearray(macho.signed_file(_dynamic(program())))
    at = data.index(b"__PAGEZERO") + 16
    form = "<Q" if offset < 32 else "<I"
    struct.pack_into(form, data, at + offset, value)
    source = BytesSource("tool", bytes(data))
    if offset == 16:
        FORMAT.parse(source, ParseOptions())
        return
    with pytest.raises(MalformedError, match="__PAGEZERO"):
        FORMAT.parse(source, ParseOptions())


def _dynamic(data: bytes) -> bytes:
    """Return a program that asks for the dynamic linker."""
    end = 32 + int.from_bytes(data[20:24], "little")
    command = struct.pack("<3I", 0xE, 32, 12) + b"/usr/lib/dyld\0".ljust(20, b"\0")
    out = bytearray(data)
    out[end : end + 32] = command
    struct.pack_into("<II", out, 16, int.from_bytes(data[16:20], "little") + 1, end)
    return bytes(out)


def test_a_program_without_page_zero_is_refused() -> None:
    data = _dynamic(program()).replace(b"__PAGEZERO", b"__PAGEZERX")
    with pytest.raises(MalformedError, match="no __PAGEZERO"):
        FORMAT.parse(BytesSource("tool", data), ParseOptions())


def test_load_commands_are_bounded() -> None:
    def changed(at: int, value: int) -> BytesSource:
        data = program()
        return BytesSource("tool", data[:at] + struct.pack("<I", value) + data[at + 4 :])

    whole = Slice(0, len(program()))
    for at, value in ((16, MAX_COMMANDS + 1), (20, 1 << 30)):
        with pytest.raises(LimitError):
            read_image(changed(at, value), whole)
    for at, value in ((16, 99), (20, len(program())), (36, 6), (36, 0), (36, 1 << 20)):
        with pytest.raises(MalformedError):
            read_image(changed(at, value), whole)


def test_two_signatures_are_ambiguous() -> None:
    once = bytearray(macho.signed_file(program()))
    count, octets = struct.unpack_from("<II", once, 16)
    once[32 + octets : 48 + octets] = once[16 + octets : 32 + octets]
    struct.pack_into("<II", once, 16, count + 1, octets + 16)
    with pytest.raises(AmbiguousError, match="2 signatures"):
        FORMAT.parse(BytesSource("tool", bytes(once)), ParseOptions())


@pytest.mark.parametrize(
    ("delta", "room"), [(-(1 << 20), None), (1 << 20, None), (None, 4), (None, 1 << 20)]
)
def test_a_signature_elsewhere_is_refused(delta: int | None, room: int | None) -> None:
    data = bytearray(macho.signed_file(program()))
    at = 32 + int.from_bytes(data[20:24], "little") - 16
    offset, size = struct.unpack_from("<II", data, at + 8)
    moved = (offset + delta) % (1 << 32) if delta else offset
    struct.pack_into("<II", data, at + 8, moved, size if room is None else room)
    with pytest.raises(BadInputError):
        FORMAT.parse(BytesSource("tool", bytes(data)), ParseOptions())


def test_a_property_list_inside_the_code_is_covered(tmp_path: Path) -> None:
    code = program(info=INFO)
    good = macho.signed_file(code, special={1: INFO})
    verdict = verdict_of(good, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert not [f for f in verdict.findings if f.code is Code.COMPANION_MISSING]
    bad = macho.signed_file(code, special={1: INFO + b" "})
    assert cause_of(bad, tmp_path) is Code.DIGEST_MISMATCH


def test_what_belongs_to_a_bundle_is_told(tmp_path: Path) -> None:
    verdict = verdict_of(macho.signed_file(program(), special={1: b"i", 3: b"r"}), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    missing = [f.subject for f in verdict.findings if f.code is Code.COMPANION_MISSING]
    assert missing == ["signature 1, special:info-plist", "signature 1, special:resources"]


def test_libraries_entitlements_and_requirements_are_shown() -> None:
    entitlements = macho.blob(0xFADE7171, b'<plist version="1.0"><dict><key>a.b</key><true/>'
                              b"</dict></plist>")  # fmt: skip
    blobs = {2: macho.blob(0xFADE0C01, bytes(4)), 5: entitlements}
    code = program(libraries=("/usr/lib/libSystem.B.dylib", "@rpath/libx.dylib"), kind=DYLIB)
    artifact = FORMAT.parse(BytesSource("l", macho.signed_file(code, blobs=blobs)), ParseOptions())
    facts = FORMAT.with_facts(artifact).facts
    assert facts["library 2"] == "@rpath/libx.dylib (load)"
    assert facts["entitlement a.b"] == "true"
    assert facts["type"] == "dylib"


@pytest.mark.parametrize(
    "plist",
    [
        # a dictionary under "a" with a key that is no text
        b"bplist00\xd1\x01\x02Qa\xd1\x03\x04AkX"[:-1] + b"\x09" + bytes([8, 11, 13, 16, 18])
        + bytes(6) + b"\1\1" + (5).to_bytes(8, "big") + bytes(8) + (19).to_bytes(8, "big"),
        # a list under "a" that holds the dictionary it is in
        b"bplist00\xd1\x01\x02Qa\xa1\x02" + bytes([8, 11, 13])
        + bytes(6) + b"\1\1" + (3).to_bytes(8, "big") + bytes(8) + (15).to_bytes(8, "big"),
    ],
    ids=["key", "itself"],
)  # fmt: skip
def test_odd_entitlements_are_shown_as_such(plist: bytes) -> None:
    blobs = {2: macho.blob(0xFADE0C01, bytes(4)), 5: macho.blob(0xFADE7171, plist)}
    artifact = FORMAT.parse(
        BytesSource("l", macho.signed_file(program(), blobs=blobs)), ParseOptions()
    )
    facts = FORMAT.with_facts(artifact).facts
    assert "(cannot be shown)" in (facts.get("entitlement a"), facts.get("entitlements"))


def test_slices_of_one_claimed_team_by_two_signers_disagree(tmp_path: Path) -> None:
    """Both signers are trusted, but under no authority of Apple's anybody may claim a team."""
    one = macho.signed_file(program(), team="TEAM123456")
    two = macho.signed_file(program("arm64"), team="TEAM123456", who=identity(name="Somebody Else"))
    assert cause_of(fat((("x86_64", one), ("arm64", two))), tmp_path) is Code.SLICES_DISAGREE


def test_slices_signed_before_and_after_a_renewal_agree(tmp_path: Path) -> None:
    renewed = issue("Signing Test Publisher", issuer=authority(),
                    subject_key=key("rsa2048", "renewed"), serial=4711)  # fmt: skip
    one = macho.signed_file(program(), team="TEAM123456")
    two = macho.signed_file(program("arm64"), team="TEAM123456", who=renewed)
    assert cause_of(fat((("x86_64", one), ("arm64", two))), tmp_path) is None


# --- recognition and robustness ----------------------------------------------------------


@pytest.mark.parametrize(
    "made", [program, lambda: program("ppc"), lambda: program(kind=BUNDLE), both],
    ids=["thin", "big-endian", "plug-in", "universal"],
)  # fmt: skip
def test_what_is_mach_o_is_recognised(made: Callable[[], bytes]) -> None:
    form = recognise(peek_at(BytesSource("x", made())))
    assert form is not None
    assert form.name == "macho"


def test_a_java_class_is_none_of_ours() -> None:
    java = b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(100)
    assert recognise(peek_at(BytesSource("A.class", java))) is None


def test_no_truncation_is_accepted(tmp_path: Path) -> None:
    data = both()
    judging = context(tmp_path)
    for length in range(0, len(data), 211):
        verdict = assess(BytesSource("tool", data[:length]), judging)
        assert verdict.outcome is not Outcome.ACCEPTED


def test_no_flipped_octet_is_accepted(tmp_path: Path) -> None:
    """Every octet of the signature and the headers, and a share of the rest."""
    data = macho.signed_file(program(symbols=64), room=4096, kinds=(1, 2))
    judging = context(tmp_path)
    certificate = data.index(identity().certificate)
    accepted = []
    for at in (*range(0x600), *range(0x600, 0x1000, 16), *range(0x1000, len(data))):
        changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        verdict = assess(BytesSource("tool", changed), judging)
        assert not [f for f in verdict.findings if f.effect is Effect.REJECT] or verdict.cause
        if verdict.outcome is Outcome.ACCEPTED:
            accepted.append(at - certificate)
    assert accepted == []
