"""Cabinets: the signature's place, its digest, and what must not pass (THREATS 8, 25, 54, 55)."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from pathlib import Path

import pytest
from conformance.authenticode import cms

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code
from signward.formats import Existing, ParseOptions, all_formats, peek_at, recognise
from signward.formats import _cab_layout as layout_module
from signward.formats._cab_layout import read_layout
from signward.formats.cab import FORMAT
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire import der
from signward.wire.source import BytesSource
from tests.samples.cab import SAMPLES, cabinet
from tests.signing import assess_bytes, context, identity, sign_bytes, strip_bytes

NAME = "a.cab"
POINTER = struct.Struct("<II8s")
POINTER_AT = 44
SPC_LINK, SPC_PE = "1.3.6.1.4.1.311.2.1.25", "1.3.6.1.4.1.311.2.1.15"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return context(tmp_path_factory.mktemp("anchors"))


@pytest.fixture(scope="module")
def signed() -> bytes:
    return sign_bytes(NAME, cabinet())


def judged(data: bytes, trusting: Context) -> Verdict:
    return assess(BytesSource(NAME, data), trusting)


def cause(data: bytes, trusting: Context) -> Code | None:
    return judged(data, trusting).cause


def changed(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def with_pointer(data: bytes, offset: int, size: int) -> bytes:
    return changed(data, POINTER_AT, struct.pack("<II", offset, size))


def pointer(data: bytes) -> tuple[int, int]:
    offset, size, _ = POINTER.unpack_from(data, POINTER_AT)
    return offset, size


@pytest.mark.parametrize("name", SAMPLES)
def test_signed_is_accepted_and_stripped_is_as_before(name: str, trusting: Context) -> None:
    data = SAMPLES[name]()
    signed = sign_bytes(name, data)
    assert judged(signed, trusting).outcome is Outcome.ACCEPTED
    assert strip_bytes(name, signed) == data
    assert strip_bytes(name, data) == data
    assert cause(data, trusting) is Code.UNSIGNED


def test_only_this_format_claims_a_cabinet(signed: bytes) -> None:
    peek = peek_at(BytesSource("no-extension", signed))
    assert recognise(peek) is FORMAT
    assert [f.name for f in all_formats() if f.recognise(peek)] == ["cab"]


def test_signature_follows_the_cabinet_and_offsets_moved(signed: bytes) -> None:
    plain = cabinet()
    offset, size = pointer(signed)
    assert (offset, offset + size) == (len(plain) + 24, len(signed))
    assert size % 8 == 0
    assert struct.unpack_from("<I", signed, 8) == (offset,)
    for field, moved in ((16, 16), (36, 60)):
        before = struct.unpack_from("<I", plain, field)[0]
        assert struct.unpack_from("<I", signed, moved)[0] == before + 24
    assert signed[offset - 700 : offset] == plain[-700:]


def test_signing_again_is_refused_replaced_or_nested(signed: bytes, trusting: Context) -> None:
    with pytest.raises(NotSignableError, match="--replace"):
        sign_bytes(NAME, signed)
    assert sign_bytes(NAME, signed, existing=Existing.REPLACE) == signed
    both = sign_bytes(NAME, signed, existing=Existing.NESTED, digest="sha384")
    verdict = judged(both, trusting)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    assert strip_bytes(NAME, both) == cabinet()


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519", "ml-dsa-65"])
def test_keys_and_digests(kind: str, digest: str, trusting: Context) -> None:
    data = sign_bytes(NAME, cabinet(), who=identity(kind), digest=digest)
    assert judged(data, trusting).outcome is Outcome.ACCEPTED


def test_facts_say_what_the_cabinet_says(trusting: Context) -> None:
    facts = judged(sign_bytes(NAME, SAMPLES["middle.cab"]()), trusting).facts
    assert facts["cabinet-number"] == 1
    assert (facts["previous-cabinet"], facts["next-cabinet"]) == ("disk1.cab", "disk3.cab")
    assert (facts["files"], facts["folders"]) == (2, 1)


# --- THREATS row 25 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "offset"),
    [("set id", 32), ("number in the set", 34), ("file count", 28), ("flags", 31),
     ("reserved2", 12), ("reserved3", 20)],
)  # fmt: skip
def test_changed_header_field_is_a_digest_mismatch(
    what: str, offset: int, signed: bytes, trusting: Context
) -> None:
    assert cause(changed(signed, offset, b"\x40"), trusting) is Code.DIGEST_MISMATCH, what


@pytest.mark.parametrize("name", [b"disk1", b"Disk 1", b"disk3", b"Disk 3"])
def test_changed_name_of_a_neighbour_is_a_digest_mismatch(name: bytes, trusting: Context) -> None:
    data = sign_bytes(NAME, SAMPLES["middle.cab"]())
    assert cause(data.replace(name, b"x" * len(name), 1), trusting) is Code.DIGEST_MISMATCH


def test_changed_data_is_a_digest_mismatch(signed: bytes, trusting: Context) -> None:
    place = signed.index(b"The first file")
    assert cause(changed(signed, place, b"AN"), trusting) is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 8, b"x", b"MZ" * 40])
def test_bytes_behind_the_signature_are_uncovered(
    tail: bytes, signed: bytes, trusting: Context
) -> None:
    assert cause(signed + tail, trusting) is Code.UNCOVERED_CONTENT


def test_bytes_behind_the_pkcs7_are_uncovered(signed: bytes, trusting: Context) -> None:
    offset, size = pointer(signed)
    hidden = with_pointer(signed + b"hidden data inside", offset, size + 18)
    assert cause(hidden, trusting) is Code.UNCOVERED_CONTENT
    zeros = with_pointer(signed + bytes(8), offset, size + 8)
    assert cause(zeros, trusting) is Code.UNCOVERED_CONTENT


def test_bytes_between_cabinet_and_signature_are_uncovered(
    signed: bytes, trusting: Context
) -> None:
    offset, size = pointer(signed)
    wedged = signed[:offset] + b"between" + signed[offset:]
    assert cause(with_pointer(wedged, offset + 7, size), trusting) is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize("place", [52, 59])
def test_data_behind_the_pointer_is_uncovered(place: int, signed: bytes, trusting: Context) -> None:
    assert cause(changed(signed, place, b"!"), trusting) is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1), (60, 8), (1 << 31, 8), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_lying_pointer_is_malformed(
    offset: int, size: int, signed: bytes, trusting: Context
) -> None:
    assert cause(with_pointer(signed, offset, size), trusting) is Code.MALFORMED


def test_pointer_without_a_size_is_malformed(signed: bytes, trusting: Context) -> None:
    assert cause(with_pointer(signed, pointer(signed)[0], 0), trusting) is Code.MALFORMED


def test_cleared_pointer_is_unsigned_and_the_leftover_is_reported(
    signed: bytes, trusting: Context
) -> None:
    verdict = judged(with_pointer(signed, 0, 0), trusting)
    assert verdict.cause is Code.UNSIGNED
    assert Code.LEFTOVER_SIGNATURE in {f.code for f in verdict.findings}


@pytest.mark.parametrize("area", [b"somebody's own data!", b"\x05\0\x10\0short", b"\xff" * 40])
def test_reserve_area_in_other_use_is_unsigned_and_not_ours_to_take(
    area: bytes, trusting: Context
) -> None:
    data = cabinet(reserve=area)
    assert cause(data, trusting) is Code.UNSIGNED
    with pytest.raises(NotSignableError, match="reserve area"):
        sign_bytes(NAME, data)


@pytest.mark.parametrize("area", [bytes(20), bytes(64), bytes(6144), bytes(3)])
def test_reserve_area_of_zeros_is_room(area: bytes, trusting: Context) -> None:
    data = cabinet(reserve=area)
    signed = sign_bytes(NAME, data)
    assert judged(signed, trusting).outcome is Outcome.ACCEPTED
    # An area no larger than the pointer's looks like one that signing made, and goes.
    assert strip_bytes(NAME, signed) == (data if len(area) > 20 else cabinet())


def test_first_structure_of_the_reserve_area_is_signed(trusting: Context) -> None:
    data = cabinet(reserve=struct.pack("<HH", 5, 0) + b"owner" + bytes(30))
    signed = sign_bytes(NAME, data)
    assert judged(signed, trusting).outcome is Outcome.ACCEPTED
    assert strip_bytes(NAME, signed) == data
    assert cause(signed.replace(b"owner", b"0wner"), trusting) is Code.DIGEST_MISMATCH


def test_signature_inside_the_reserve_area_is_not_judged(trusting: Context) -> None:
    area = struct.pack("<HH", 0, 300) + b"\x30\x82" + bytes(298)
    verdict = judged(cabinet(reserve=area), trusting)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)


@pytest.mark.parametrize(("folder", "data"), [(4, 0), (0, 4), (0, 1), (255, 255)])
def test_reserve_sizes_outside_the_digest_must_fit(
    folder: int, data: int, signed: bytes, trusting: Context
) -> None:
    assert cause(changed(signed, 38, bytes((folder, data))), trusting) is Code.MALFORMED


def test_reserve_sizes_cannot_be_taken_away(trusting: Context) -> None:
    data = sign_bytes(NAME, cabinet(folder_reserve=4, data_reserve=4))
    assert judged(data, trusting).outcome is Outcome.ACCEPTED
    assert cause(changed(data, 39, b"\0"), trusting) is Code.MALFORMED
    assert cause(changed(data, 38, b"\0"), trusting) is Code.MALFORMED


def test_reserve_size_of_data_blocks_that_are_not_there(trusting: Context) -> None:
    data = sign_bytes(NAME, cabinet({}))
    assert cause(changed(data, 39, b"\x80"), trusting) is Code.MALFORMED


def test_parts_of_a_set_do_not_take_each_others_place(trusting: Context) -> None:
    first = sign_bytes(NAME, cabinet(following=("b.cab", "2")))
    second = sign_bytes(NAME, cabinet(number=1, previous=("a.cab", "1")))
    assert {judged(d, trusting).outcome for d in (first, second)} == {Outcome.ACCEPTED}
    assert cause(changed(second, 34, b"\x02"), trusting) is Code.DIGEST_MISMATCH


# --- rows 8, 54, 55, and lying sizes -------------------------------------------------


@pytest.mark.parametrize(
    ("what", "offset", "value"),
    [
        ("reserved1", 4, b"\1"),
        ("cabinet longer than its file", 8, b"\xff\xff\xff\x7f"),
        ("cabinet shorter than a header", 8, struct.pack("<I", 30)),
        ("files elsewhere", 16, struct.pack("<I", 4000)),
        ("version", 24, b"\4\1"),
        ("more folders than fit", 26, b"\xff\xff"),
        ("reserve area beyond the end", 36, b"\xff\xff"),
        ("first folder's data before the files", 60, struct.pack("<I", 8)),
        ("first folder's data behind the end", 60, struct.pack("<I", 1 << 30)),
        ("more blocks than there are", 64, b"\xff\xff"),
    ],
)
def test_lying_sizes_are_malformed(
    what: str, offset: int, value: bytes, signed: bytes, trusting: Context
) -> None:
    assert cause(changed(signed, offset, value), trusting) is Code.MALFORMED, what


def test_name_without_an_end_is_malformed(trusting: Context) -> None:
    data = cabinet(previous=("x" * 256, ""))
    assert cause(data, trusting) is Code.MALFORMED
    assert cause(data[:36] + b"y" * (len(data) - 36), trusting) is Code.MALFORMED


def test_folders_that_share_data_are_malformed() -> None:
    data = cabinet(folders=2)
    second = data[44:52]
    with pytest.raises(MalformedError, match="share"):
        sign_bytes(NAME, changed(data, 36, second))


def test_blocks_are_counted(monkeypatch: pytest.MonkeyPatch, signed: bytes) -> None:
    monkeypatch.setattr(layout_module, "MAX_BLOCKS", 1)
    with pytest.raises(LimitError, match="data blocks"):
        FORMAT.parse(BytesSource(NAME, signed), ParseOptions())


def test_different_digests_in_one_signature(signed: bytes, trusting: Context) -> None:
    """Row 8: SpcIndirectData says SHA-384 where the SignerInfo says SHA-256."""
    sha256, sha384 = (bytes.fromhex(f"060960864801650304020{n}") for n in (1, 2))
    place = signed.index(sha256, signed.index(sha256) + 1)
    assert cause(changed(signed, place, sha384), trusting) is Code.ALGORITHM_INCONSISTENT


def test_bytes_behind_an_unsigned_cabinet_keep_it_from_being_signed() -> None:
    with pytest.raises(NotSignableError, match="behind the cabinet"):
        sign_bytes(NAME, cabinet() + b"more")


def test_no_flipped_byte_is_accepted(trusting: Context) -> None:
    for name in ("plain.cab", "middle.cab", "empty.cab"):
        data = sign_bytes(name, SAMPLES[name]())
        accepted = Counter[int]()
        for offset in range(len(data)):
            flipped = changed(data, offset, bytes((data[offset] ^ 1 << offset * 5 % 8,)))
            if judged(flipped, trusting).outcome is Outcome.ACCEPTED:
                accepted[offset] += 1
        assert not accepted, name


def test_no_truncation_is_accepted(signed: bytes, trusting: Context) -> None:
    for size in (*range(0, len(signed), 53), *range(len(signed) - 20, len(signed))):
        assert judged(signed[:size], trusting).outcome is not Outcome.ACCEPTED


def test_large_cabinets_are_not_read_whole(tmp_path: Path) -> None:
    """Hashing goes through ``feed``; reads are of headers and blocks' heads only."""

    class Watched(BytesSource):
        largest = 0

        def read(self, offset: int, size: int) -> bytes:
            Watched.largest = max(Watched.largest, size)
            return super().read(offset, size)

    data = sign_bytes(NAME, cabinet({"big": bytes(900_000)}))
    verdict = assess(Watched(NAME, data), context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED
    assert Watched.largest <= 64 * 1024


def test_wrong_signer_is_untrusted(tmp_path: Path) -> None:
    from conformance.authenticode.pki import stranger_pki

    data = sign_bytes(NAME, cabinet(), who=stranger_pki().leaf)
    assert assess_bytes(NAME, data, tmp_path).cause in {Code.UNTRUSTED_ROOT, Code.NO_PATH}


# --- what signing must not lose or break on --------------------------------------------


@pytest.mark.parametrize("behind", [b"PAYLOAD!", bytes(16)])
def test_bytes_beside_the_old_signature_are_not_lost(signed: bytes, behind: bytes) -> None:
    with pytest.raises(NotSignableError, match="behind the signature"):
        strip_bytes(NAME, signed + behind)
    with pytest.raises(NotSignableError, match="behind the signature"):
        sign_bytes(NAME, signed + behind, existing=Existing.REPLACE)


def test_first_structure_that_leaves_no_room_for_a_pointer_is_refused() -> None:
    full = cabinet(reserve=struct.pack("<HH", 65531, 0) + b"A" * 65531)
    with pytest.raises(NotSignableError, match="room for a pointer"):
        sign_bytes(NAME, full)


@pytest.mark.parametrize("start", [0, 10, 0xFFFFFFFF])
@pytest.mark.parametrize("blocks", [0, 1])
def test_folder_that_starts_outside_is_malformed_and_no_overflow(
    signed: bytes, start: int, blocks: int
) -> None:
    if not start and not blocks:
        return  # a folder without data starts nowhere
    for data in (signed, cabinet()):
        entry = layout_module.read_layout(BytesSource(NAME, data)).folders[0].entry
        broken = BytesSource(NAME, changed(data, entry, struct.pack("<IH", start, blocks)))
        for envelopes in ((), (bytes(16),)):
            if envelopes or data is signed:
                with pytest.raises(MalformedError, match="behind the files"):
                    FORMAT.embed(broken, envelopes)


def test_digest_of_something_else_is_not_the_cabinets(signed: bytes, trusting: Context) -> None:
    """Signed again as of a PE image (1.3.6.1.4.1.311.2.1.15), the digest being the same."""
    pointed = read_layout(BytesSource(NAME, signed))
    hasher = hashlib.sha256()
    BytesSource(NAME, signed).feed(pointed.covered(), [hasher])
    room = signed[: pointed.end]
    for kind, expected in ((SPC_LINK, None), (SPC_PE, Code.MALFORMED)):
        blob = cms.sign(
            cms.indirect_data(kind, der.null(), "sha256", hasher.digest()),
            cms.Signer(identity=identity()), certificates=[identity().certificate],
        )  # fmt: skip
        padded = blob + bytes(-len(blob) % 8)
        found = cause(with_pointer(room + padded, len(room), len(padded)), trusting)
        assert found is expected
