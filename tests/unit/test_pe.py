"""PE images: layout, certificate table rules, image hash, page hashes (THREATS 1, 2, 4-6)."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek, peek_at, recognise
from signward.formats._pe_checksum import SUMMED, checksum
from signward.formats.pe import FORMAT, IMAGE, MAX_ENTRIES, PADDED_IMAGE
from signward.integrity import check_regions, check_signature, wanted_slots
from signward.state import BrokenSignature, IntactSignature, SignedArtifact
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders import images

BOTH = pytest.mark.parametrize("plus", [False, True], ids=["pe32", "pe32+"])


def parse(data: bytes, name: str = "a.exe") -> SignedArtifact:
    return FORMAT.parse(BytesSource(name, data), ParseOptions())


def checked(data: bytes) -> list[IntactSignature | BrokenSignature]:
    artifact = parse(data)
    computed = FORMAT.digests(artifact, wanted_slots(artifact))
    return [check_signature(artifact, s, computed) for s in artifact.signatures]


def findings(data: bytes) -> list[Finding]:
    """Every finding that integrity makes of the bytes."""
    artifact = parse(data)
    broken = [f for s in checked(data) for f in s.findings]
    return [*artifact.findings, *check_regions(artifact), *broken]


def codes(data: bytes, effect: Effect = Effect.REJECT) -> set[Code]:
    return {f.code for f in findings(data) if f.effect == effect}


def blob(unsigned: bytes) -> bytes:
    return images.pkcs7(images.pe_content(images.image_digest(unsigned)))


@BOTH
@pytest.mark.parametrize("machine", [0x14C, 0x8664, 0xAA64, 0x5064])
def test_signed_image_is_intact(plus: bool, machine: int) -> None:
    data = images.signed_image(images.image(plus=plus, machine=machine), plus=plus)
    assert [type(s) for s in checked(data)] == [IntactSignature]
    assert codes(data) == set()


def test_unsigned_image_has_no_signatures_and_no_findings() -> None:
    artifact = parse(images.image())
    assert artifact.signatures == ()
    assert artifact.findings == ()


def test_every_covered_byte_counts() -> None:
    unsigned = images.image(body=b"\xc3" * 0x200)
    data = images.signed_image(unsigned)
    entry = images.directory_offset(plus=True)
    exempt = {*range(images.CHECKSUM, images.CHECKSUM + 4), *range(entry, entry + 8)}
    for offset in range(len(unsigned)):
        if offset in exempt:
            continue
        changed = bytearray(data)
        changed[offset] ^= 0x10
        try:
            states = checked(bytes(changed))
        except BadInputError:
            continue
        assert not any(isinstance(s, IntactSignature) for s in states), offset


def test_checksum_field_may_change_and_is_reported() -> None:
    data = bytearray(images.signed_image(images.image()))
    struct.pack_into("<I", data, images.CHECKSUM, 0x1234)
    (finding,) = findings(bytes(data))
    assert (finding.code, finding.effect) == (Code.CHECKSUM_MISMATCH, Effect.NOTE)


@pytest.mark.parametrize(("name", "subsystem"), [("a.sys", 3), ("a.exe", 1)])
def test_wrong_checksum_of_a_driver_warns(name: str, subsystem: int) -> None:
    data = bytearray(images.signed_image(images.image(subsystem=subsystem)))
    struct.pack_into("<I", data, images.CHECKSUM, 0x1234)
    (finding,) = parse(bytes(data), name).findings
    assert finding.effect == Effect.WARN


def test_right_checksum_is_no_finding() -> None:
    data = bytearray(images.signed_image(images.image()))
    artifact = parse(bytes(data))
    right = checksum(artifact.source, artifact.layout)
    struct.pack_into("<I", data, images.CHECKSUM, right)
    assert parse(bytes(data)).findings == ()
    assert FORMAT.facts(parse(bytes(data)))["computed-checksum"] == right


@pytest.mark.parametrize("length", [SUMMED - 512, SUMMED + 1, 3 * SUMMED + 7, 5 * SUMMED])
@pytest.mark.parametrize("filling", [b"\xff\xfe\x01", b"\xff", b"\0"])
def test_checksum_is_the_sum_of_words_with_the_carry_added(length: int, filling: bytes) -> None:
    data = bytearray(images.image())
    data += (filling * length)[:length]
    struct.pack_into("<I", data, images.CHECKSUM, 0)
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2], "little")
        total = (total & 0xFFFF) + (total >> 16)
    artifact = parse(bytes(data))
    assert checksum(artifact.source, artifact.layout) == total + len(data)


@pytest.mark.parametrize("extra", [b"\0" * 8, b"hidden!!", b"\0" * 7 + b"x"])
def test_cve_2013_3900_data_behind_the_pkcs7(extra: bytes) -> None:
    unsigned = images.image()
    own = blob(unsigned)
    padding = bytes(-len(own) % 8) + extra
    data = images.with_table(unsigned, images.certificate(own, padding=padding))
    assert codes(data) == {Code.UNCOVERED_CONTENT}
    assert all(isinstance(s, IntactSignature) for s in checked(data))


def test_ms12_024_data_in_the_table_behind_its_entry() -> None:
    unsigned = images.image()
    table = images.certificate(blob(unsigned)) + b"MSCF" + b"A" * 60
    assert codes(images.with_table(unsigned, table)) == {Code.UNCOVERED_CONTENT}


def test_ms12_024_data_behind_the_table() -> None:
    assert codes(images.signed_image(images.image()) + b"installer payload") == {
        Code.UNCOVERED_CONTENT
    }


def test_zeros_behind_the_table_are_uncovered_too() -> None:
    assert codes(images.signed_image(images.image()) + bytes(8)) == {Code.UNCOVERED_CONTENT}


def test_overlay_is_inside_the_hash() -> None:
    unsigned = images.image(overlay=b"payload!" * 4)
    assert codes(images.signed_image(unsigned)) == set()
    tampered = images.signed_image(unsigned).replace(b"payload!", b"PAYLOAD!", 1)
    assert codes(tampered) == {Code.DIGEST_MISMATCH}


@pytest.mark.parametrize("unpadded", [True, False])
def test_length_with_or_without_padding_is_accepted(unpadded: bool) -> None:
    unsigned = images.image()
    own = blob(unsigned)
    if len(own) % 8 == 0:
        pytest.skip("this signature happens to need no padding")
    length = 8 + len(own) if unpadded else None
    data = images.with_table(unsigned, images.certificate(own, length=length))
    assert codes(data) == set()


def test_section_mapped_over_the_table_is_uncovered() -> None:
    """The loader would map bytes that the image hash leaves out."""
    unsigned = bytearray(images.image())
    section = images.directory_offset(plus=True) - 32 + 128
    size = struct.unpack_from("<I", unsigned, section + 16)[0]
    struct.pack_into("<I", unsigned, section + 16, size + 0x200)
    assert Code.UNCOVERED_CONTENT in codes(images.signed_image(bytes(unsigned)))


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1 << 30, 64), (0x408, None), (0x10, 64), (0, 64), (None, 1 << 20), (None, 4)],
    ids=["outside", "unaligned", "in-headers", "at-zero", "too-long", "too-short"],
)
def test_misplaced_table_is_malformed(offset: int | None, size: int | None) -> None:
    unsigned = images.image()
    table = images.certificate(blob(unsigned))
    if offset == 0x408:
        offset = len(unsigned) + 4
    with pytest.raises(MalformedError):
        parse(images.with_table(unsigned, table, offset=offset, size=size))


@pytest.mark.parametrize(
    "fields", [{"revision": 0x100}, {"revision": 0x201}, {"kind": 1}, {"kind": 0xEF1},
               {"length": 8}, {"length": 0}, {"length": 1 << 31}],
)  # fmt: skip
def test_bad_first_entry_is_malformed(fields: dict[str, Any]) -> None:
    unsigned = images.image()
    with pytest.raises(MalformedError):
        parse(images.with_table(unsigned, images.certificate(blob(unsigned), **fields)))


def test_pkcs7_without_signers_is_malformed_not_unsigned() -> None:
    unsigned = images.image()
    empty = der.sequence(
        der.oid("1.2.840.113549.1.7.2"),
        der.context(0, der.sequence(
            der.integer(1), der.set_of(),
            der.sequence(der.oid(images.INDIRECT), der.context(0, images.pe_content(bytes(32)))),
            der.set_of(),
        )),
    )  # fmt: skip
    with pytest.raises(MalformedError):
        parse(images.with_table(unsigned, images.certificate(empty)))


@pytest.mark.parametrize(
    ("subsystem", "rejected"),
    [(10, set()), (3, {Code.SEVERAL_ENTRIES})],
    ids=["efi", "windows"],
)
def test_two_entries_are_two_signatures(subsystem: int, rejected: set[Code]) -> None:
    unsigned = images.image(subsystem=subsystem)
    table = images.certificate(blob(unsigned)) * 2
    data = images.with_table(unsigned, table)
    assert [s.claimed.label for s in checked(data)] == ["1", "2"]
    assert all(isinstance(s, IntactSignature) for s in checked(data))
    assert codes(data) == rejected


def test_second_entry_over_another_image_is_not_intact() -> None:
    unsigned = images.image(subsystem=10)
    other = images.image(subsystem=10, body=b"\xcc" * 0x300)
    table = images.certificate(blob(unsigned)) + images.certificate(blob(other))
    first, second = checked(images.with_table(unsigned, table))
    assert isinstance(first, IntactSignature)
    assert isinstance(second, BrokenSignature)


def test_second_entry_that_is_no_pkcs7_is_uncovered() -> None:
    unsigned = images.image()
    table = images.certificate(blob(unsigned)) + images.certificate(b"payload!", kind=1)
    assert codes(images.with_table(unsigned, table)) == {Code.UNCOVERED_CONTENT}


def test_entries_are_bounded() -> None:
    unsigned = images.image()
    table = images.certificate(blob(unsigned)) * (MAX_ENTRIES + 1)
    with pytest.raises(LimitError):
        parse(images.with_table(unsigned, table))


def test_cleared_directory_is_unsigned_with_a_leftover() -> None:
    data = bytearray(images.signed_image(images.image(overlay=b"overlay!")))
    entry = images.directory_offset(plus=True)
    data[entry : entry + 8] = bytes(8)
    artifact = parse(bytes(data))
    assert artifact.signatures == ()
    assert [f.code for f in artifact.findings] == [Code.LEFTOVER_SIGNATURE]


@pytest.mark.parametrize("alignment", [0x1000, 0x2000, 0x200])
def test_page_hashes_are_checked(alignment: int) -> None:
    unsigned = images.image(body=b"\xc3" * 0x2400, alignment=alignment)
    size = alignment if alignment == 0x2000 else 4096
    data = images.signed_image(unsigned, pages=images.page_table(unsigned, size=size))
    (signature,) = checked(data)
    assert isinstance(signature, IntactSignature)
    names = [s.name for s in signature.claimed.slots]
    assert names[:2] == [IMAGE, "page:0"]
    assert signature.claimed.slots[-1].digest == bytes(32)


@pytest.mark.parametrize("page", [0, 1, 3])
def test_wrong_page_hash(page: int) -> None:
    unsigned = images.image(body=b"\xc3" * 0x2400)
    table = bytearray(images.page_table(unsigned))
    table[page * 36 + 10] ^= 1
    assert codes(images.signed_image(unsigned, pages=bytes(table))) == {Code.PAGE_HASH_MISMATCH}


def test_page_table_that_leaves_a_page_out() -> None:
    unsigned = images.image(body=b"\xc3" * 0x2400)
    table = images.page_table(unsigned)
    short = table[:36] + table[72:]
    assert codes(images.signed_image(unsigned, pages=short)) == {Code.SLOT_MISSING}


def test_pages_that_overlap_are_hashed_one_by_one() -> None:
    unsigned = bytearray(images.image(body=b"\xc3" * 0x1000))
    count_at, first = images.PE_OFFSET + 6, images.directory_offset(plus=True) - 32 + 128
    struct.pack_into("<H", unsigned, count_at, 2)
    unsigned[first + 40 : first + 80] = unsigned[first : first + 40]
    struct.pack_into("<II", unsigned, first + 40 + 16, 0x200, 0x600)
    artifact = parse(bytes(unsigned))
    got = FORMAT.digests(artifact, frozenset({("page:1536", "sha256"), ("page:1024", "sha256")}))
    second = bytes(unsigned[0x600:0x800]).ljust(4096, b"\0")
    assert got["page:1536", "sha256"] == hashlib.sha256(second).digest()
    assert got["page:1024", "sha256"] == hashlib.sha256(bytes(unsigned[0x400:0x1400])).digest()


def test_sections_beyond_the_file_do_not_hash_for_ever() -> None:
    unsigned = bytearray(images.image(body=b"\xc3" * 0x1000))
    section = images.directory_offset(plus=True) - 32 + 128
    table = images.page_table(bytes(unsigned))
    struct.pack_into("<I", unsigned, section + 16, 0xFFFFFE00)
    with pytest.raises(LimitError):
        parse(images.signed_image(bytes(unsigned), pages=table))


def test_several_algorithms_in_one_pass() -> None:
    unsigned = images.image()
    wanted = frozenset((IMAGE, a) for a in ("md5", "sha1", "sha256", "sha384"))
    computed = FORMAT.digests(parse(unsigned), wanted)
    assert set(computed) == wanted
    for name, algorithm in wanted:
        expected = images.image_digest(unsigned, algorithm=algorithm)
        assert computed[name, algorithm] == expected


def test_padded_image_is_what_a_signer_would_hash() -> None:
    odd = images.image(overlay=b"12345")
    computed = FORMAT.digests(parse(odd), frozenset({(PADDED_IMAGE, "sha256"), (IMAGE, "sha256")}))
    assert computed[IMAGE, "sha256"] == images.image_digest(odd)
    assert computed[PADDED_IMAGE, "sha256"] == images.image_digest(odd + bytes(3))


def test_unknown_slot_is_left_out() -> None:
    assert FORMAT.digests(parse(images.image()), frozenset({("page:7", "sha256")})) == {}


def test_directory_beyond_the_optional_header_is_none() -> None:
    """Eight bytes of the section table must not fall out of the hash."""
    unsigned = bytearray(images.image())
    struct.pack_into("<H", unsigned, images.PE_OFFSET + 20, 112 + 24)
    artifact = parse(bytes(unsigned))
    assert artifact.layout.directory_offset is None
    assert artifact.signatures == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", b"MZ" + bytes(62), b"MZ" + bytes(58) + struct.pack("<I", 1 << 31),
     images.image()[:0x90], images.image()[: images.PE_OFFSET + 60]],
)  # fmt: skip
def test_truncated_image_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


def test_truncation_is_never_intact() -> None:
    data = images.signed_image(images.image(body=b"\xc3" * 0x200))
    for end in range(0, len(data), 7):
        try:
            artifact = parse(data[:end])
        except BadInputError:
            continue
        assert artifact.signatures == (), end


def test_recognised_by_content() -> None:
    assert FORMAT.recognise(peek_at(BytesSource("x", images.image()))) == Match.MAGIC
    assert recognise(peek_at(BytesSource("x", images.image()))) is FORMAT
    assert FORMAT.recognise(Peek("x.exe", b"MZ" + bytes(100), b"", 102)) == Match.NO
    assert FORMAT.recognise(Peek("x.exe", b"\x7fELF", b"", 4)) == Match.NO


def test_facts_name_machine_and_kind() -> None:
    facts = FORMAT.facts(parse(images.image(machine=0xAA64, subsystem=10)))
    assert (facts["machine"], facts["image"]) == ("arm64", "pe32+")
    assert facts["subsystem"] == "efi-application"
    assert parse(images.image(machine=7, subsystem=99)).facts["subsystem"] == "99"
