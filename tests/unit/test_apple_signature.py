"""What a superblob claims: every directory bound, every blob covered, ad hoc told apart."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from signward.errors import AmbiguousError, BadInputError, MalformedError
from signward.findings import Code
from signward.formats._apple_signature import AppleSignature, digests_of, open_superblob
from signward.integrity import check_seals, check_signature, wanted_slots
from signward.state import BrokenSignature, IntactSignature, SignedArtifact
from signward.wire.source import BytesSource
from tests.builders import macho
from tests.signing import identity

CODE = bytes(range(256)) * 40
PLIST = b'<?xml version="1.0"?><plist version="1.0"><dict/></plist>'
ALWAYS = macho.blob(0xFADE0C00, b"\0\0\0\1" * 2)
"""The requirement that everything meets."""
BLOBS = {
    2: macho.superblob([(3, ALWAYS)], magic=0xFADE0C01),
    5: macho.blob(0xFADE7171, PLIST),
    7: macho.blob(0xFADE7172, b"\x70\x00"),
}
ONE = {2: BLOBS[2]}


def artifact_of(opened: AppleSignature, code: bytes = CODE) -> SignedArtifact:
    return SignedArtifact(
        format="macho",
        source=BytesSource("code", code),
        signatures=opened.claimed,
        required={claim.label: opened.required for claim in opened.claimed},
        seals=opened.seals,
    )


def checked(blob: bytes, code: bytes = CODE, **asked: Any) -> IntactSignature | BrokenSignature:
    opened = open_superblob(blob, **asked)
    artifact = artifact_of(opened, code)
    computed = digests_of(opened, artifact.source, wanted_slots(artifact))
    return check_signature(artifact, opened.claimed[0], computed)


def codes(result: IntactSignature | BrokenSignature) -> list[Code]:
    assert isinstance(result, BrokenSignature)
    return [finding.code for finding in result.findings]


@pytest.mark.parametrize("kinds", [(1,), (2,), (3,), (4,), (1, 2), (1, 3, 2, 4)])
def test_directories_of_every_kind_are_intact(kinds: tuple[int, ...]) -> None:
    result = checked(macho.signature(CODE, kinds=kinds, blobs=BLOBS))
    assert isinstance(result, IntactSignature)
    names = {slot.name for slot in result.claimed.slots}
    assert {"page:0", "page:2", "special:requirements", "special:entitlements",
            "special:entitlements-der"} <= names  # fmt: skip
    assert len(result.claimed.slots) == len(kinds) * 6


def test_the_strongest_directory_stands_first() -> None:
    opened = open_superblob(macho.signature(CODE, kinds=(1, 3, 2)))
    assert opened.directories[0].digest == "sha1"
    assert opened.best.kind == 2
    assert opened.claimed[0].slots[0].algorithm == "sha256"
    assert opened.facts["cdhash"] == hashlib.sha256(opened.best.raw).hexdigest()[:40]


@pytest.mark.parametrize("at", [0, 4095, 4096, len(CODE) - 1])
@pytest.mark.parametrize("kinds", [(2,), (1, 2)])
def test_a_changed_page_breaks_it(at: int, kinds: tuple[int, ...]) -> None:
    changed = CODE[:at] + bytes([CODE[at] ^ 1]) + CODE[at + 1 :]
    result = checked(macho.signature(CODE, kinds=kinds), changed)
    assert codes(result) == [Code.PAGE_HASH_MISMATCH]


def test_code_that_ends_early_breaks_it() -> None:
    assert codes(checked(macho.signature(CODE), CODE[:-1])) == [Code.PAGE_HASH_MISMATCH]


@pytest.mark.parametrize("kind", BLOBS)
def test_a_changed_blob_breaks_it(kind: int) -> None:
    good = macho.signature(CODE, blobs=BLOBS)
    at = good.index(BLOBS[kind]) + len(BLOBS[kind]) - 1
    result = checked(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    assert codes(result) == [Code.DIGEST_MISMATCH]


def test_a_blob_that_was_taken_out_is_missed() -> None:
    made = macho.directory(CODE, special=BLOBS)
    signed = macho.signed(made, extra=macho.listed([made]))
    parts = [(0, made), (2, BLOBS[2]), (5, BLOBS[5]), (0x10000, macho.blob(0xFADE0B01, signed))]
    assert codes(checked(macho.superblob(parts))) == [Code.DIGEST_MISMATCH]


def test_a_blob_that_no_directory_covers_is_refused() -> None:
    blob = macho.signature(CODE, further=[(5, BLOBS[5])])
    with pytest.raises(MalformedError, match="special:entitlements that a sha256 directory"):
        open_superblob(blob)
    with pytest.raises(MalformedError, match="a blob of type 0x77"):
        open_superblob(macho.signature(CODE, further=[(0x77, BLOBS[5])]))


def test_a_second_directory_that_nobody_signed_breaks_it() -> None:
    other = macho.directory(CODE, kind=2, special={2: BLOBS[2]})
    good = macho.directory(CODE, kind=1, special={2: BLOBS[2]})
    for attributes in ([], macho.listed([good])):
        cms = macho.blob(0xFADE0B01, macho.signed(good, extra=attributes))
        blob = macho.superblob([(0, good), (2, BLOBS[2]), (0x1000, other), (0x10000, cms)])
        assert codes(checked(blob)) == [Code.DIGEST_MISMATCH]


def test_a_directory_that_was_taken_out_breaks_it() -> None:
    one = macho.directory(CODE, kind=1, special={2: BLOBS[2]})
    two = macho.directory(CODE, kind=2, special={2: BLOBS[2]})
    cms = macho.blob(0xFADE0B01, macho.signed(one, extra=macho.listed([one, two])))
    blob = macho.superblob([(0, one), (2, BLOBS[2]), (0x10000, cms)])
    assert set(codes(checked(blob))) == {Code.DIGEST_MISMATCH}


@pytest.mark.parametrize(("plist", "whole"), [(True, False), (False, True)])
def test_one_of_the_two_lists_is_enough(plist: bool, whole: bool) -> None:
    made = [macho.directory(CODE, kind=k, special={2: BLOBS[2]}) for k in (1, 2)]
    attributes = macho.listed(made, plist=plist, whole=whole)
    blob = macho.signature(CODE, kinds=(1, 2), attributes=attributes, blobs=ONE)
    assert isinstance(checked(blob), IntactSignature)


def test_a_whole_digest_that_is_cut_short_breaks_it() -> None:
    made = macho.directory(CODE, special={2: BLOBS[2]})
    attribute = macho.listed([made], plist=False)[0]
    digest = hashlib.sha256(made).digest()
    wrong = attribute.replace(digest, digest[:20] + bytes(12))
    blob = macho.signature(CODE, attributes=[wrong], blobs=ONE)
    assert codes(checked(blob)) == [Code.DIGEST_MISMATCH]


def test_directories_that_speak_of_different_code_are_ambiguous() -> None:
    one = macho.directory(CODE, kind=1, identifier="a", special={2: BLOBS[2]})
    two = macho.directory(CODE, kind=2, identifier="b", special={2: BLOBS[2]})
    cms = macho.blob(0xFADE0B01, macho.signed(one, extra=macho.listed([one, two])))
    with pytest.raises(AmbiguousError, match="different code"):
        open_superblob(macho.superblob([(0, one), (2, BLOBS[2]), (0x1000, two), (0x10000, cms)]))


def test_two_directories_of_one_kind_are_ambiguous() -> None:
    with pytest.raises(AmbiguousError, match="of one kind"):
        open_superblob(macho.signature(CODE, kinds=(2, 2)))


@pytest.mark.parametrize("wrapper", [None, b""])
def test_ad_hoc_is_sealed_and_signed_by_nobody(wrapper: bytes | None) -> None:
    opened = open_superblob(macho.signature(CODE, ad_hoc=True, cms_blob=wrapper))
    assert opened.claimed == ()
    artifact = artifact_of(opened)
    computed = digests_of(opened, artifact.source, wanted_slots(artifact))
    assert [f.code for f in check_seals(artifact, computed)] == [Code.AD_HOC]
    changed = artifact_of(opened, CODE[:-1] + b"\0")
    computed = digests_of(opened, changed.source, wanted_slots(changed))
    assert [f.code for f in check_seals(changed, computed)] == [Code.PAGE_HASH_MISMATCH]


def test_ad_hoc_and_signed_at_once_is_ambiguous() -> None:
    cms = macho.signed(macho.directory(CODE, flags=2))
    with pytest.raises(AmbiguousError, match="ad hoc flag"):
        open_superblob(macho.signature(CODE, ad_hoc=True, cms_blob=cms))
    with pytest.raises(MalformedError, match="neither a CMS nor"):
        open_superblob(macho.signature(CODE, cms_blob=b""))


def test_a_cms_over_something_else_breaks_it() -> None:
    cms = macho.signed(macho.directory(b"other"))
    assert codes(checked(macho.signature(CODE, cms_blob=cms))) == [Code.DIGEST_MISMATCH]


def test_a_cms_with_content_of_its_own_is_refused() -> None:
    made = macho.directory(CODE, special={2: BLOBS[2]})
    with pytest.raises(MalformedError, match="content of its own"):
        open_superblob(macho.signature(CODE, cms_blob=macho.signed(made, inside=made)))


def test_a_cms_of_two_signers_is_ambiguous() -> None:
    """Apple's systems ask the first one alone: who asks the other sees another signer."""
    made = macho.directory(CODE, special={2: BLOBS[2]})
    with pytest.raises(AmbiguousError, match="2 signatures"):
        open_superblob(macho.signature(CODE, cms_blob=macho.signed(made, signers=2), blobs=ONE))


def test_a_cms_without_signed_attributes_is_over_the_directory_itself() -> None:
    made = macho.directory(CODE, special={2: BLOBS[2]})
    cms = macho.signed(made, attributes=False)
    assert isinstance(checked(macho.signature(CODE, cms_blob=cms, blobs=ONE)), IntactSignature)


def test_what_lies_outside_is_left_out_with_a_note_or_asked_for() -> None:
    info = b"<plist/>"
    blob = macho.signature(CODE, special={1: info})
    opened = open_superblob(blob)
    assert [f.subject for f in opened.findings] == ["signature 1, special:info-plist"]
    assert "special:info-plist" not in {slot.name for slot in opened.claimed[0].slots}
    opened = open_superblob(blob, outside={1: info})
    assert opened.findings == ()
    artifact = artifact_of(opened)
    for content, intact in ((info, True), (b"other", False), (None, False)):
        outside = {} if content is None else {1: content}
        computed = digests_of(opened, artifact.source, wanted_slots(artifact), outside=outside)
        result = check_signature(artifact, opened.claimed[0], computed)
        assert isinstance(result, IntactSignature) is intact


def test_labels_and_prefixes_name_the_slice() -> None:
    opened = open_superblob(macho.signature(CODE), label="arm64", prefix="arm64/")
    assert opened.claimed[0].label == "arm64"
    assert {slot.name.partition("/")[0] for slot in opened.claimed[0].slots} == {"arm64"}
    assert opened.required == {"arm64/special:requirements"}
    found = digests_of(opened, BytesSource("fat", b"head" + CODE),
                       frozenset((s.name, s.algorithm) for s in opened.claimed[0].slots),
                       start=4)  # fmt: skip
    assert found["arm64/page:0", "sha256"] == hashlib.sha256(CODE[:4096]).digest()


def test_facts_are_what_the_directory_says() -> None:
    blob = macho.signature(
        CODE, version=0x20500, team="TEAM123456", runtime=0x0D0102, flags=0x10000
    )
    facts = open_superblob(blob).facts
    assert (facts["identifier"], facts["team-id"]) == ("org.example.tool", "TEAM123456")
    assert (facts["runtime"], facts["flags"]) == ("13.1.2", "runtime")


def test_every_flipped_octet_is_refused_or_broken() -> None:
    good = macho.signature(b"code" * 1100, kinds=(1, 2), blobs=BLOBS, who=identity())
    certificate = identity().certificate
    start = good.index(certificate)
    for at in range(len(good)):
        bad = good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1 :]
        try:
            result = checked(bad, b"code" * 1100)
        except BadInputError:
            continue
        except IndexError:  # no claimed signature: ad hoc, which is not accepted either
            continue
        if isinstance(result, IntactSignature):
            # The certificate's own signature is trust's to check, its key and name are used.
            assert start < at < start + len(certificate)
