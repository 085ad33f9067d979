"""VMware installation bundles: what covers what, and forged levels."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue

from signward import frozen
from signward.envelopes.cms_detached import by_own_certificate
from signward.errors import BadInputError, LimitError, NotSignableError
from signward.findings import Code, Effect, worst
from signward.formats import ParseOptions, _vib_descriptor, peek_at, vib
from signward.formats._vib_descriptor import read_descriptor
from signward.integrity import check_signature, wanted_slots
from signward.inventory.classify import classify
from signward.state import BrokenSignature, IntactSignature, Outcome, Verdict
from signward.wire import ar
from signward.wire.ar import read_ar
from signward.wire.certificate import organizations, outline
from signward.wire.source import BytesSource
from tests.samples.vib import PAYLOAD, archive, descriptor, member, payload, split
from tests.samples.vib import vib as sample
from tests.signing import assess_bytes, authority, identity, patch_of, sign_beside, sign_bytes

NAME = "driver.vib"


def built(*members: tuple[str, bytes], described: bytes, **asked: object) -> bytes:
    """Return a signed VIB of a descriptor and whatever members."""
    return sign_bytes(NAME, archive(("descriptor.xml", described), ("sig.pkcs7", b""), *members),
                      **asked)  # fmt: skip


def judged(data: bytes, tmp_path: Path) -> Verdict:
    return assess_bytes(NAME, data, tmp_path)


def test_it_is_recognised_and_told(tmp_path: Path) -> None:
    data = sign_bytes(NAME, sample())
    assert classify(peek_at(BytesSource(NAME, data))) == "vib"
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert dict(verdict.facts) == {
        "acceptance-level": "CommunitySupported", "package": "driver", "version": "1.0-1",
        "vendor": "Example",
    }  # fmt: skip


@pytest.mark.parametrize("level", ["certified", "accepted"])
def test_a_forged_level_is_rejected(level: str, tmp_path: Path) -> None:
    forged = _over(descriptor(payload("p", PAYLOAD), level=level))
    verdict = judged(forged, tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.PUBLISHER_MISMATCH)
    with pytest.raises(NotSignableError, match="one that this signer may give"):
        patch_of(BytesSource(NAME, sample(level)))


def _over(described: bytes, *, der: bool = False) -> bytes:
    """Return a VIB signed without our asking what its level is."""
    from signward.formats._detached import DetachedFormat

    blob = sign_beside(DetachedFormat(), described)
    value = blob if der else vib._pem(blob)
    return archive(("descriptor.xml", described), ("sig.pkcs7", value), ("p", PAYLOAD))


def test_a_raised_level_breaks_the_signature(tmp_path: Path) -> None:
    data = sign_bytes(NAME, sample()).replace(b"community", b"certified")
    assert judged(data, tmp_path).cause is Code.DIGEST_MISMATCH


def test_vmware_may_give_its_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert organizations(identity().certificate) == ("Conformance",)
    monkeypatch.setattr(vib, "OWNERS", frozenset({"conformance"}))
    assert judged(sign_bytes(NAME, sample("certified")), tmp_path).outcome is Outcome.ACCEPTED


def test_the_name_alone_gives_no_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls himself VMware, under a root of his own, is nobody."""
    monkeypatch.setattr(vib, "OWNERS", frozenset({"conformance"}))
    root = issue("Own Root", subject_key=key("p256", "own-root"), ca=True, ekus=None,
                 usage=("keyCertSign",))  # fmt: skip
    who = issue("Forger", issuer=root, subject_key=key("p256", "forger"))
    verdict = judged(sign_bytes(NAME, sample("certified"), who=who), tmp_path)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause in {Code.UNTRUSTED_ROOT, Code.NO_PATH}


def test_who_is_asked_for_his_organization_is_who_signed(tmp_path: Path) -> None:
    """A certificate of VMware's look beside the signature is no use: its own key must fit."""
    theirs = hashlib.sha256(identity().certificate).digest()
    data = sign_bytes(NAME, sample())
    claimed = vib.FORMAT.parse(BytesSource(NAME, data), ParseOptions()).signatures[0]
    assert ("sha256", theirs) in claimed.claimed_certificate_digests
    fake = issue("Signing Test Publisher", issuer=authority(), subject_key=key("p384", "fake"),
                 serial=outline(identity().certificate).serial)  # fmt: skip
    swapped = frozen.replace(claimed, claimed_certificates=(fake.certificate,))
    bound = by_own_certificate(frozen.replace(swapped, claimed_certificate_digests=()))
    artifact = vib.FORMAT.parse(BytesSource(NAME, data), ParseOptions())
    computed = vib.FORMAT.digests(artifact, wanted_slots(artifact))
    loose, held = (
        check_signature(artifact, one, computed, [identity().certificate])
        for one in (frozen.replace(swapped, claimed_certificate_digests=()), bound)
    )
    assert isinstance(loose, IntactSignature), "the attack works where nothing binds the two"
    assert isinstance(held, BrokenSignature)
    assert worst(held.findings) is Effect.REJECT


def test_der_and_pem_are_read(tmp_path: Path) -> None:
    described = descriptor(payload("p", PAYLOAD))
    for der in (True, False):
        assert judged(_over(described, der=der), tmp_path).outcome is Outcome.ACCEPTED


def swapped(data: bytes, name: str, content: bytes) -> bytes:
    return archive(*((n, content if n == name else d) for n, d in split(data)))


def test_another_payload_is_rejected(tmp_path: Path) -> None:
    other = bytearray(PAYLOAD)
    other[4] ^= 1  # the time in the gzip header: it unpacks to the very same
    assert gzip.decompress(bytes(other)) == gzip.decompress(PAYLOAD)
    verdict = judged(swapped(sign_bytes(NAME, sample()), "payload1", bytes(other)), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH


def test_what_it_unpacks_to_is_checked(tmp_path: Path) -> None:
    text = payload("p", PAYLOAD)
    wrong = text[: text.rindex("</checksum>") - 1] + "z"[:0] + (
        "0</checksum></payload>" if text[text.rindex("</checksum>") - 1] != "0" else
        "1</checksum></payload>")  # fmt: skip
    data = built(("p", PAYLOAD), described=descriptor(wrong))
    verdict = judged(data, tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert any("part:unpacked:p" in f.subject for f in verdict.findings)


def test_payloads_of_several_gzip_files_are_unpacked_whole(tmp_path: Path) -> None:
    twice = PAYLOAD + PAYLOAD
    data = built(("p", twice), described=descriptor(payload("p", twice)))
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("spoil", [PAYLOAD[:-5], b"no gzip", PAYLOAD + b"behind"])
def test_payloads_that_do_not_unpack_are_malformed(spoil: bytes, tmp_path: Path) -> None:
    listed = payload("p", PAYLOAD, sums="1z")
    sums = payload("p", spoil, sums="256").split(">", 1)[1].replace("</payload>", "")
    whole = f'<payload name="p" size="{len(spoil)}">{sums}{listed.split(">", 1)[1]}'
    data = built(("p", spoil), described=descriptor(whole))
    assert judged(data, tmp_path).cause is Code.MALFORMED


def test_unpacking_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(1 << 22), mtime=0)
    data = built(("p", bomb), described=descriptor(payload("p", bomb)))
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED
    monkeypatch.setattr(vib, "MAX_UNPACKED", 1 << 20)
    assert judged(data, tmp_path).cause is Code.LIMIT_EXCEEDED


def test_gzip_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a copy of what is behind it: a million empty ones would cost hours."""
    many = gzip.compress(b"", mtime=0) * 3
    data = built(("p", many), described=descriptor(payload("p", many)))
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED
    monkeypatch.setattr(vib, "MAX_STREAMS", 2)
    assert judged(data, tmp_path).cause is Code.LIMIT_EXCEEDED


def test_members_that_nothing_covers_are_rejected(tmp_path: Path) -> None:
    signed = sign_bytes(NAME, sample())
    assert judged(signed + member("more", b"x"), tmp_path).cause is Code.UNCOVERED_CONTENT
    bare = built(("p", PAYLOAD), described=descriptor(payload("p", PAYLOAD, sums="")))
    assert judged(bare, tmp_path).cause is Code.UNCOVERED_CONTENT


def test_a_missing_payload_is_rejected(tmp_path: Path) -> None:
    signed = archive(*split(sign_bytes(NAME, sample()))[:2])
    assert judged(signed, tmp_path).cause is Code.SLOT_MISSING


@pytest.mark.parametrize("sums", ["1", "1z", "256z"])
def test_weak_digests_alone_do_not_cover(sums: str, tmp_path: Path) -> None:
    assert judged(sign_bytes(NAME, sample(sums=sums)), tmp_path).cause is Code.WEAK_DIGEST


def test_a_size_that_is_another_is_rejected(tmp_path: Path) -> None:
    wrong = payload("p", PAYLOAD).replace(f'size="{len(PAYLOAD)}"', 'size="1"')
    assert judged(built(("p", PAYLOAD), described=descriptor(wrong)), tmp_path).cause is (
        Code.DIGEST_MISMATCH
    )


def test_an_empty_signature_is_none(tmp_path: Path) -> None:
    assert judged(sample(), tmp_path).cause is Code.UNSIGNED
    absent = archive(*(one for one in split(sample()) if one[0] != "sig.pkcs7"))
    assert judged(absent, tmp_path).cause is Code.UNSIGNED
    assert judged(sign_bytes(NAME, absent), tmp_path).outcome is Outcome.ACCEPTED


def test_a_signature_elsewhere_or_of_no_form_is_malformed(tmp_path: Path) -> None:
    first, second, third = split(sign_bytes(NAME, sample()))
    assert judged(archive(first, third, second), tmp_path).cause is Code.MALFORMED
    for text in (b"junk", second[1] + b"x", second[1].replace(b"=", b"", 1) + b"\n\n",
                 b"-----BEGIN PKCS7-----\nA=\n-----END PKCS7-----\n"):  # fmt: skip
        assert judged(archive(first, ("sig.pkcs7", text), third), tmp_path).cause is Code.MALFORMED


def test_a_signature_of_another_vib_is_rejected(tmp_path: Path) -> None:
    ours, theirs = split(sign_bytes(NAME, sample())), split(sign_bytes(NAME, sample("partner")))
    assert judged(archive(theirs[0], ours[1], ours[2]), tmp_path).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize(
    "text",
    [
        b"<vib", b"", b"<bundle/>", b"<vib><payloads/></vib>",
        b'<!DOCTYPE vib [<!ENTITY a "b">]>' + descriptor(),
        descriptor(level="highest"),
        descriptor().replace(b"</vib>", b"<acceptance-level>partner</acceptance-level></vib>"),
        descriptor(payload("p", PAYLOAD), payload("p", PAYLOAD)),
        descriptor(payload("p", PAYLOAD).replace("sha-256", "md5")),
        descriptor(payload("p", PAYLOAD).replace("gunzip", "bunzip2")),
        descriptor(payload("p", PAYLOAD).replace("</checksum>", "x</checksum>")),
        descriptor(payload("p", PAYLOAD).replace('name="p"', "")),
        descriptor(payload("p", PAYLOAD).replace('size="', 'size="-')),
        b"<vib>" + b"<a>" * 40 + b"</a>" * 40 + b"</vib>",
        b"<vib><name>" + b"x" * 70_000 + b"</name></vib>",
        descriptor().replace(b"<acceptance-level>", b"<acceptance-level>certified<i/>"),
        descriptor(payload("p", PAYLOAD).replace("</checksum>", "<i/></checksum>")),
        descriptor(payload("p", PAYLOAD).replace('process="gunzip">', 'process="gunzip">00<i/>')),
    ],
)  # fmt: skip
def test_descriptors_that_readers_may_take_otherwise_are_refused(text: bytes) -> None:
    with pytest.raises(BadInputError):
        read_descriptor(text)


def test_descriptors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = descriptor(payload("p", PAYLOAD), payload("q", PAYLOAD))
    for name in ("MAX_OCTETS", "MAX_ELEMENTS", "MAX_PAYLOADS"):
        with monkeypatch.context() as patch:
            patch.setattr(_vib_descriptor, name, 1)
            with pytest.raises(LimitError):
                read_descriptor(text)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"!<arch>", ar.MAGIC + b"x", archive(("a", b"x"))[:-1],
        archive(("a", b"x"))[:-1] + b"x", archive(("a", b"x"), ("a", b"y")),
        archive(("a", b"xx"))[:-1], archive(("a", b"x")).replace(b"`", b"'"),
        archive(("/", b"x")), archive(("//", b"x")), archive(("#1/20", b"x")),
        archive(("a", b"x")).replace(b"1         `", b"0x1       `"),
        archive(("a", b"x")).replace(b"1         `", b"-1        `"),
    ],
)  # fmt: skip
def test_archives_that_readers_may_take_otherwise_are_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        read_ar(BytesSource("a.vib", data))


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ar, "MAX_MEMBERS", 1)
    with pytest.raises(LimitError):
        read_ar(BytesSource("a.vib", archive(("a", b""), ("b", b""))))


def test_who_is_named_twice_gives_no_level() -> None:
    assert organizations(authority().certificate) == ("Conformance",)
    assert organizations(b"junk") == ()
