"""Arista's images: what the signature covers, what may stand in its member, and what it tells."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, issue, pem
from hypothesis import given
from hypothesis import strategies as st

from signward.envelopes import swi as member
from signward.envelopes.swi import read_text, room_for, with_crc
from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect
from signward.formats import (
    Match,
    ParseOptions,
    Peek,
    Request,
    all_formats,
    peek_at,
    recognise,
    swi,
)
from signward.inventory.classify import classify
from signward.keys._local import LocalKey
from signward.state import Outcome, Verdict
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.builders import apk
from tests.samples.swi import archive, extension, image
from tests.signing import (
    assess_bytes,
    authority,
    identity,
    patch_of,
    sign_bytes,
    signer_of,
)

NAME = "EOS.swi"
SIZE = member.ROOM


def signed_member(data: bytes) -> bytes:
    """Return the signature member's octets."""
    at = data.index(b"HashAlgorithm:")
    return data[at : at + SIZE]


def with_member(data: bytes, lines: bytes) -> bytes:
    """Return a signed image whose member says something else, of the same CRC-32."""
    at = data.index(b"HashAlgorithm:")
    filling = SIZE - len(lines) - len(b"Padding:\nCRCPadding:") - 4
    text = lines + b"Padding:" + b"*" * filling + b"\nCRCPadding:"
    return data[:at] + with_crc(text, zlib.crc32(bytes(SIZE))) + data[at + SIZE :]


def judged(data: bytes, tmp_path: Path, name: str = NAME) -> Verdict:
    return assess_bytes(name, data, tmp_path)


def test_it_is_recognised_and_told(tmp_path: Path) -> None:
    data = sign_bytes(NAME, image())
    assert classify(peek_at(BytesSource(NAME, data))) == "swi"
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert dict(verdict.facts) == {"version": "4.28.10.1M", "numbered-version": "4.28.10.1"}
    assert set(verdict.digests) == {"archive-sha256"}


def test_it_is_recognised_by_its_member_under_another_name(tmp_path: Path) -> None:
    assert judged(sign_bytes(NAME, image()), tmp_path, "image.bin").outcome is Outcome.ACCEPTED
    tool = sign_bytes("tool.swix", extension())
    assert judged(tool, tmp_path, "tool.zip").outcome is Outcome.ACCEPTED
    longer = archive({"my-swi-signature": b"x"})
    peek = peek_at(BytesSource("a.zip", longer))
    assert swi.FORMAT.recognise(peek) is Match.NO
    assert swi.FORMAT.recognise(Peek("a.swi", b"MZ", b"", 2)) is Match.NO


def test_a_file_of_another_format_is_none_by_a_member_more() -> None:
    """No dates are looked at in images: whose key is long expired might put one in."""
    data = sign_bytes(NAME, image())
    for name, form in (
        ("a.vsix", "vsix"),
        ("a.jar", "jar"),
        ("a.nupkg", "nupkg"),
        ("a.zip", "swi"),
    ):
        found = recognise(peek_at(BytesSource(name, data)))
        assert found is not None
        assert found.name == form


@pytest.mark.parametrize("name", ["a.swi", "a.swix"])
def test_an_image_with_a_manifest_of_androids_is_no_package(name: str) -> None:
    """A pinned signer of packages signs no images."""
    peek = peek_at(BytesSource(name, apk.archive()))
    assert [form.name for form in all_formats() if form.recognise(peek)] == ["swi"]


def test_an_extension_signed_as_an_image_is_refused(tmp_path: Path) -> None:
    """Who verifies by the file's name does not see this signature."""
    data = sign_bytes(NAME, image())
    assert judged(data, tmp_path, "EOS.swix").cause is Code.MALFORMED


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (b"SWI_VERSION=4.27.2F\n", "4.27.2.0"),
        (b"BLESSED=1\nSWI_VERSION=42.0.0\n", "42.0.0.0"),
        (b"SWI_VERSION=4.24.1.1FX-7368\n", "4.24.1.1"),
        (b"SWI_VERSION=4.24.1.1.9\n", ""),
        (b"SWI_VERSION=build-7\n", ""),
        (b"SWI_VERSION=4.1.1\nSWI_VERSION=4.9.9\n", ""),
    ],
)
def test_versions(version: bytes, told: str) -> None:
    source = BytesSource(NAME, image(version))
    facts = swi.FORMAT.parse(source, ParseOptions(extension=".swi")).facts
    assert facts.get("numbered-version", "") == told


def test_room_for_a_signature_is_none(tmp_path: Path) -> None:
    data = sign_bytes(NAME, image()).replace(signed_member(sign_bytes(NAME, image())), bytes(SIZE))
    verdict = judged(data, tmp_path)
    assert verdict.cause is Code.UNSIGNED
    assert Code.LEFTOVER_SIGNATURE in {f.code for f in verdict.findings}
    assert sign_bytes(NAME, data) == sign_bytes(NAME, image())


def lines(data: bytes) -> bytes:
    return signed_member(data).partition(b"Padding:")[0]


def test_other_lines_are_refused(tmp_path: Path) -> None:
    data = sign_bytes(NAME, image())
    right = lines(data)
    assert judged(with_member(data, right), tmp_path).outcome is Outcome.ACCEPTED
    wrong = (
        right + b"Note:hidden\n",
        right.replace(b"Version:1\n", b""),
        right + right,
        right.replace(b"Signature:", b"Signature: "),
    )
    for other in wrong:
        assert judged(with_member(data, other), tmp_path).cause is Code.MALFORMED


def test_what_nobody_knows_is_not_judged(tmp_path: Path) -> None:
    data = sign_bytes(NAME, image())
    for other in (lines(data).replace(b"SHA-256", b"SHA-512"),
                  lines(data).replace(b"Version:1", b"Version:2")):  # fmt: skip
        verdict = judged(with_member(data, other), tmp_path)
        assert (verdict.outcome, verdict.cause) == (
            Outcome.INDETERMINATE, Code.UNSUPPORTED_ALGORITHM,
        )  # fmt: skip


def test_another_certificate_beside_the_signature_is_no_use(tmp_path: Path) -> None:
    data = sign_bytes(NAME, image())
    other = identity("rsa2048", "Somebody else")
    theirs = base64.b64encode(pem(other.certificate))
    own = lines(data).split(b"\n")[1].partition(b":")[2]
    verdict = judged(with_member(data, lines(data).replace(own, theirs)), tmp_path)
    assert verdict.cause is Code.SIGNATURE_MISMATCH
    both = base64.b64encode(pem(other.certificate) + base64.b64decode(own))
    verdict = judged(with_member(data, lines(data).replace(own, both)), tmp_path)
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_text_around_the_certificate_is_told(tmp_path: Path) -> None:
    """It is no part of what is signed; Arista's tool takes the certificate's file as it is."""
    data = sign_bytes(NAME, image())
    own = lines(data).split(b"\n")[1].partition(b":")[2]
    hidden = base64.b64encode(b"#!/bin/sh\nevil\n" + base64.b64decode(own) + b"\n")
    verdict = judged(with_member(data, lines(data).replace(own, hidden)), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    (told,) = [f for f in verdict.findings if f.code is Code.UNAUTHENTICATED_DATA]
    assert (told.effect, told.found[:9]) == (Effect.WARN, "14 octets")
    plain = judged(data, tmp_path).findings
    assert Code.UNAUTHENTICATED_DATA not in {finding.code for finding in plain}


@pytest.mark.parametrize("spoilt", [b"", b"QUJD", b"QUJDQ", b"-----BEGIN"])
def test_certificates_that_are_none(spoilt: bytes, tmp_path: Path) -> None:
    data = sign_bytes(NAME, image())
    own = lines(data).split(b"\n")[1]
    changed = with_member(data, lines(data).replace(own, b"IssuerCert:" + spoilt))
    assert judged(changed, tmp_path).cause is Code.MALFORMED


def test_base64_that_hides_bits_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_text(b"HashAlgorithm:SHA-256\nIssuerCert:QQ==\nSignature:QR==\nVersion:1\n"
                  b"Padding:\nCRCPadding:abcd")  # fmt: skip


def test_more_certificates_than_anybody_reads() -> None:
    block = pem(identity().certificate)
    many = base64.b64encode(block * (member.MAX_CERTIFICATES + 1))
    text = b"HashAlgorithm:SHA-256\nIssuerCert:" + many + b"\nSignature:QUJD\nVersion:1\nPadding:\n"
    with pytest.raises(LimitError):
        read_text(text + b"CRCPadding:abcd")
    with pytest.raises(NotSignableError):
        room_for([identity().certificate] * (member.MAX_CERTIFICATES + 1))


def test_a_packed_or_damaged_member_is_refused(tmp_path: Path) -> None:
    import io
    import zipfile

    out = io.BytesIO(image())
    with zipfile.ZipFile(out, "a") as file:
        file.writestr("swi-signature", signed_member(sign_bytes(NAME, image())),
                      zipfile.ZIP_DEFLATED)  # fmt: skip
    assert judged(out.getvalue(), tmp_path).cause is Code.MALFORMED
    data = bytearray(sign_bytes(NAME, image()))
    data[data.index(b"Padding:*") + 20] = ord("+")
    assert judged(bytes(data), tmp_path).cause is Code.MALFORMED


def test_several_images_are_told_and_not_signed(tmp_path: Path) -> None:
    several = image(swimSqshMap=b"Default=a.sqsh\nSand-4GB=b.sqsh\n")
    with pytest.raises(NotSignableError, match="several images"):
        patch_of(BytesSource(NAME, several))
    plain = sign_bytes(NAME, image(swimSqshMaq=b"Default=a.sqsh\n"))
    told = {finding.code for finding in judged(plain, tmp_path).findings}
    assert Code.UNAUTHENTICATED_DATA not in told
    source = BytesSource(NAME, plain.replace(b"swimSqshMaq", b"swimSqshMap"))
    (found,) = swi.FORMAT.parse(source, ParseOptions(extension=".swi")).findings
    assert (found.code, found.effect) == (Code.UNAUTHENTICATED_DATA, Effect.NOTE)
    assert judged(source.read(0, source.length), tmp_path).cause is Code.SIGNATURE_MISMATCH


def test_a_long_path_has_more_room(tmp_path: Path) -> None:
    root, who = authority(), None
    issuer = root
    from conformance.authenticode.keys import key

    for number in range(4):
        issuer = issue(f"Step {number}", issuer=issuer, subject_key=key("rsa4096", f"s{number}"),
                       ca=True, ekus=None, usage=("keyCertSign",))  # fmt: skip
    who = issue("Far signer", issuer=issuer, subject_key=key("rsa2048", "far"))
    data = sign_bytes(NAME, image(), who=who)
    assert b"\0" not in data[data.index(b"HashAlgorithm") :][: 2 * SIZE - 4]
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED


def test_no_dates_are_looked_at_and_usage_is(tmp_path: Path) -> None:
    from datetime import timedelta

    from conformance.authenticode.keys import key

    old = issue("Old signer", issuer=authority(), subject_key=key("rsa2048", "old"),
                not_before=NOW - timedelta(900), not_after=NOW - timedelta(600))  # fmt: skip
    assert judged(sign_bytes(NAME, image(), who=old), tmp_path).outcome is Outcome.ACCEPTED
    web = issue("Web", issuer=authority(), subject_key=key("rsa2048", "web"),
                ekus=("1.3.6.1.5.5.7.3.1",))  # fmt: skip
    assert judged(sign_bytes(NAME, image(), who=web), tmp_path).cause is Code.WRONG_USAGE


def test_a_large_archive_goes_to_its_key_as_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    small = sign_bytes(NAME, image())
    monkeypatch.setattr(swi, "WHOLE", 100)
    source, who = BytesSource(NAME, image()), identity()
    request = Request(signer=signer_of(who), at=NOW, extension=".swi")
    rounds = swi.FORMAT.sign(source, request)
    draft = next(rounds)
    assert draft.algorithm.digested
    assert len(draft.to_be_signed) == 32
    value = LocalKey("test", who.key.private).sign(draft.to_be_signed, draft.algorithm)
    with pytest.raises(StopIteration) as stop:
        rounds.send(draft.seal(value))
    assert b"".join(pieces(Patched(source, stop.value.value))) == small


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=0xFFFFFFFF))
def test_any_octets_can_be_given_any_crc(data: bytes, wanted: int) -> None:
    made = with_crc(data, wanted)
    assert made[:-4] == data
    assert zlib.crc32(made) == wanted
