"""Disk images: the trailer and its arithmetic, and that nothing escapes the code directory.

(THREATS 41)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, issue

from signward.errors import BadInputError, NotSignableError
from signward.findings import Code, Effect
from signward.formats import Existing, Match, ParseOptions, Request, peek_at
from signward.formats._apple_sign import Content, draft_code, read_settings
from signward.formats._dmg_layout import KOLY, SIGNATURE_AT, SIZE_AT, read_trailer
from signward.formats.dmg import FORMAT
from signward.frozen import replace
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire import superblob as sb
from signward.wire.code_directory import read_code_directory, write_code_directory
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.builders.ticket import notary, ticket
from tests.samples.dmg import CONTENT, PLIST, image, trailer
from tests.signing import authority, context, identity, sign_bytes, signer_of, strip_bytes


@pytest.fixture
def judging(tmp_path: Path) -> Context:
    return context(tmp_path)


def judged(data: bytes, judging: Context, name: str = "a.dmg") -> Verdict:
    return assess(BytesSource(name, data), judging)


def signature_of(data: bytes) -> tuple[int, int]:
    """Return where the signature lies: its offset and size."""
    return struct.unpack_from(">QQ", data, len(data) - KOLY + SIGNATURE_AT)


def with_numbers(data: bytes, offset: int, size: int) -> bytes:
    at = len(data) - KOLY + SIGNATURE_AT
    return data[:at] + struct.pack(">QQ", offset, size) + data[at + 16 :]


# --- tampering --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (lambda d: 0, Code.PAGE_HASH_MISMATCH),
        (lambda d: signature_of(d)[0] - 1, Code.PAGE_HASH_MISMATCH),
        (lambda d: len(d) - KOLY + 64, Code.DIGEST_MISMATCH),
        (lambda d: len(d) - KOLY + 340, Code.DIGEST_MISMATCH),
        (lambda d: len(d) - 1, Code.DIGEST_MISMATCH),
        (lambda d: len(d) - KOLY + SIZE_AT + 7, Code.MALFORMED),
        (lambda d: len(d) - KOLY + SIGNATURE_AT + 7, Code.MALFORMED),
    ],
)
def test_a_changed_octet_rejects(
    place: Callable[[bytes], int], cause: Code, judging: Context
) -> None:
    data = bytearray(sign_bytes("a.dmg", image()))
    data[place(bytes(data))] ^= 1
    assert judged(bytes(data), judging).cause is cause


@pytest.mark.parametrize("count", [1, 40, 500])
def test_a_trailer_that_is_not_last_is_malformed(count: int, judging: Context) -> None:
    data = sign_bytes("a.dmg", image()) + b"\0" * count
    verdict = judged(data, judging)
    assert verdict.cause is Code.MALFORMED
    assert "appended" in verdict.findings[0].hint


def test_much_that_is_appended_leaves_no_disk_image(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    assert judged(data + bytes(4096), judging).cause is Code.UNSIGNED


def test_a_second_trailer_behind_the_first_rejects(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    assert judged(data + data[-KOLY:], judging).cause is Code.MALFORMED


def test_a_signature_elsewhere_than_in_front_of_the_trailer_rejects(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    offset, size = signature_of(data)
    for wrong in ((offset - 8, size + 8), (offset, size - 8), (offset, 0), (0, size),
                  (offset + 8, size), ((1 << 64) - 8, size)):  # fmt: skip
        assert judged(with_numbers(data, *wrong), judging).cause is Code.MALFORMED
    gap = data[: offset + size] + bytes(8) + data[offset + size :]
    assert judged(gap, judging).cause is Code.MALFORMED
    zeros = with_numbers(gap, offset, size + 8)
    assert judged(zeros, judging).cause is Code.MALFORMED


def test_a_signature_over_another_image_rejects(judging: Context) -> None:
    mine, other = sign_bytes("a.dmg", image()), image(CONTENT[::-1])
    offset, size = signature_of(mine)
    blob = mine[offset : offset + size]
    moved = with_numbers(other[:-KOLY] + blob + other[-KOLY:], offset, size)
    assert judged(moved, judging).cause is Code.PAGE_HASH_MISMATCH


def test_a_signature_cut_out_leaves_an_unsigned_image(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    offset, _ = signature_of(data)
    cut = with_numbers(data[:offset] + data[-KOLY:], 0, 0)
    assert cut == image()
    assert judged(cut, judging).cause is Code.UNSIGNED


# --- what a signer may leave out --------------------------------------------------


def forged(data: bytes, change: Callable[[Content], Content]) -> bytes:
    """Return the image signed by our key with another code directory."""
    source = BytesSource("a.dmg", data)
    found = read_trailer(source)
    limit = found.at
    whole = Content(
        source=source, limit=limit, page_size=0,
        parts={sb.REP_SPECIFIC_SLOT: found.with_signature(limit, 0)},
    )  # fmt: skip
    request = Request(signer=signer_of(identity()), at=NOW)
    draft = draft_code(change(whole), read_settings(request, "a"), request)
    blob = draft.seal(identity().key.sign(draft.to_be_signed, "sha256"))
    return data[:limit] + blob + found.with_signature(limit, len(blob))


def test_the_forger_makes_good_images_too(judging: Context) -> None:
    verdict = judged(forged(image(), lambda content: content), judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


def test_a_code_directory_without_the_trailers_digest_is_refused(judging: Context) -> None:
    data = forged(image(), lambda content: replace(content, parts={}))
    assert judged(data, judging).cause is Code.MALFORMED


def test_content_behind_the_code_limit_is_uncovered(judging: Context) -> None:
    data = forged(image(), lambda content: replace(content, limit=content.limit - 100))
    verdict = judged(data, judging)
    assert verdict.cause is Code.UNCOVERED_CONTENT
    assert any("100 bytes" in f.found for f in verdict.findings)


def test_pages_do_as_one_digest_does(judging: Context) -> None:
    large = image(bytes(range(256)) * 40)
    data = forged(large, lambda content: replace(content, page_size=4096))
    assert judged(data, judging).outcome is Outcome.ACCEPTED
    broken = data[:9000] + b"!" + data[9001:]
    assert judged(broken, judging).cause is Code.PAGE_HASH_MISMATCH


def test_a_code_limit_beyond_the_signature_is_refused(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    offset, size = signature_of(data)
    blobs = dict(sb.read_superblob(data[offset : offset + size], "x"))
    old = read_code_directory(blobs[sb.DIRECTORY_SLOT])
    blobs[sb.DIRECTORY_SLOT] = write_code_directory(
        kind=old.kind, identifier=old.identifier, code=old.code, code_limit=old.code_limit + 9,
        page_size=0, special=old.special,
    )  # fmt: skip
    blob = sb.write_superblob(blobs)
    wrong = with_numbers(data[:offset] + blob + data[-KOLY:], offset, len(blob))
    assert judged(wrong, judging).cause is Code.MALFORMED


# --- trailers ---------------------------------------------------------------------

BROKEN = {
    "another version": trailer(len(CONTENT), len(PLIST), version=3),
    "several segments": trailer(len(CONTENT), len(PLIST), segments=2),
    "content beyond the end": trailer(1 << 40, len(PLIST)),
    "a property list beyond the end": trailer(len(CONTENT), len(PLIST) + 1),
    "a signature without a place": trailer(len(CONTENT), len(PLIST), size=1),
    "a signature without a size": trailer(
        len(CONTENT), len(PLIST), offset=len(CONTENT) + len(PLIST)
    ),
    "a signature inside the content": trailer(
        len(CONTENT), len(PLIST), offset=len(CONTENT), size=len(PLIST)
    ),
    "another size of itself": trailer(len(CONTENT), len(PLIST)).replace(b"\0\0\2\0", b"\0\0\4\0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_trailers_are_refused(name: str, judging: Context) -> None:
    verdict = judged(CONTENT + PLIST + BROKEN[name], judging)
    assert verdict.cause is Code.MALFORMED, [str(f) for f in verdict.findings]


def test_short_files_and_huge_signatures_are_refused() -> None:
    with pytest.raises(BadInputError, match="512 at least"):
        read_trailer(BytesSource("a.dmg", b"koly" * 100))
    huge = trailer(0, 0, offset=0, size=1 << 40)
    with pytest.raises(BadInputError, match="at most"):
        read_trailer(BytesSource("a.dmg", huge))


def test_under_other_names_the_end_alone_says_nothing() -> None:
    """A script whose last octets are a trailer runs as a script: it is judged as one."""
    data = b"Write-Host 'one'\r\n" + image()
    assert FORMAT.recognise(peek_at(BytesSource("a.ps1", data))) is Match.NO
    assert FORMAT.recognise(peek_at(BytesSource("a.dmg", data))) is Match.EXTENSION
    assert FORMAT.recognise(peek_at(BytesSource("a.dmg", bytes(600)))) is Match.NO


# --- tickets ----------------------------------------------------------------------


def stapled(data: bytes, content: bytes) -> bytes:
    """Return an image with a ticket in its superblob, as the stapler puts it there."""
    offset, size = signature_of(data)
    blobs = dict(sb.read_superblob(data[offset : offset + size], "x"))
    blobs[sb.TICKET_SLOT] = sb.make_blob(sb.BLOB_WRAPPER, content)
    blob = sb.write_superblob(blobs)
    return with_numbers(data[:offset] + blob + data[-KOLY:], offset, len(blob))


def test_a_ticket_must_name_the_code_directory(judging: Context) -> None:
    data = sign_bytes("a.dmg", image())
    apple, stranger = notary(), identity("p256", "T")
    cdhash = bytes.fromhex(str(judged(data, judging).facts["cdhash"]))
    verdict = judged(stapled(data, ticket([cdhash], apple)), judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert Code.TICKET not in {f.code for f in verdict.findings}
    theirs = ticket([cdhash], stranger)
    for broken in (theirs, ticket([bytes(20)], apple), b"ticket", theirs[:-9]):
        assert judged(stapled(data, broken), judging).cause is Code.TICKET


def test_a_ticket_says_whether_code_is_notarized(judging: Context) -> None:
    """A requirement that asks for it is met with a ticket of Apple's, and open without one."""
    data = sign_bytes("a.dmg", image(), options={"requirements": "notarized"})
    cdhash = bytes.fromhex(str(judged(data, judging).facts["cdhash"]))

    def answers(one: bytes) -> list[Effect]:
        verdict = judged(one, judging)
        (signature,) = verdict.signatures
        return [f.effect for f in signature.findings if f.code is Code.REQUIREMENT_FAILED]

    assert answers(data) == [Effect.WARN]
    assert answers(stapled(data, ticket([cdhash], notary()))) == []
    others = (ticket([bytes(20)], notary()), ticket([cdhash], identity("p256", "T")))
    assert [answers(stapled(data, other)) for other in others] == [[Effect.WARN]] * 2


# --- signing ----------------------------------------------------------------------


def test_an_image_is_called_what_its_file_is_called(judging: Context) -> None:
    data = sign_bytes("Some Tool.dmg", image())
    assert judged(data, judging, "Some Tool.dmg").facts["identifier"] == "Some Tool"
    named = sign_bytes("a.dmg", image(), options={"identifier": "org.example.tool"})
    assert judged(named, judging).facts["identifier"] == "org.example.tool"


def test_both_digests_are_written_for_old_systems(judging: Context) -> None:
    data = sign_bytes("a.dmg", image(), options={"digests": "sha1+sha256"})
    verdict = judged(data, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    [claimed] = FORMAT.parse(BytesSource("a.dmg", data), ParseOptions()).signatures
    assert {slot.algorithm for slot in claimed.slots} == {"sha1", "sha256"}


def test_stripping_gives_back_the_image() -> None:
    assert strip_bytes("a.dmg", sign_bytes("a.dmg", image())) == image()
    assert strip_bytes("a.dmg", image()) == image()


def test_a_token_is_added_to_the_cms(judging: Context) -> None:
    source = BytesSource("a.dmg", sign_bytes("a.dmg", image()))
    [claimed] = FORMAT.parse(source, ParseOptions()).signatures
    stamper = issue(
        "Image Test TSA", issuer=authority(), subject_key=key("rsa2048", "dmg-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    value = FORMAT.stamped(claimed)
    assert value is not None
    [blob] = FORMAT.envelopes(source)
    stamped = FORMAT.with_token(blob, claimed, tsa.token_der(value, stamper, at=NOW))
    data = b"".join(pieces(Patched(source, FORMAT.embed(source, (stamped,)))))
    verdict = judged(data, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    [first] = verdict.signatures
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None


def test_there_is_no_second_signature() -> None:
    data = sign_bytes("a.dmg", image())
    with pytest.raises(NotSignableError, match="no second"):
        sign_bytes("a.dmg", data, existing=Existing.NESTED)
    with pytest.raises(NotSignableError, match="one, or none"):
        FORMAT.embed(BytesSource("a.dmg", data), (b"a", b"b"))
