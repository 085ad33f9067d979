"""NuGet packages: what NuGet refuses is refused by its right cause (THREATS 31, 32)."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pki as certificates
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, instant, issue

from signward.envelopes.cms import (
    COUNTERSIGNATURE,
    DATA,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
)
from signward.envelopes.cms_counter import draft_counter
from signward.envelopes.cms_draft import (
    Form,
    attribute,
    draft,
    signing_certificate,
    signing_time,
    with_nested,
    with_unsigned,
)
from signward.errors import BadInputError, MalformedError, NotSignableError
from signward.findings import Code, Effect
from signward.formats import Existing, Match, ParseOptions, Peek, nupkg, peek_at, recognise
from signward.formats._nuget import (
    COMMITMENT_TYPE,
    LIFETIME_SIGNING,
    OWNERS,
    PACKAGE,
    SERVICE_INDEX,
    is_service_index,
    open_package_signature,
    read_content,
)
from signward.formats._nuget_sign import write_content
from signward.formats.nupkg import FORMAT, SIGNATURE
from signward.frozen import replace
from signward.integrity import check_signature, wanted_slots
from signward.policy.settings import Policy, SignatureRule
from signward.state import (
    BrokenSignature,
    IntactSignature,
    Outcome,
    Stage,
    TrustedSignature,
    Verdict,
)
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire import der, zip_patch
from signward.wire.patch import Patched, PatchSet, pieces
from signward.wire.source import BytesSource
from signward.wire.unzip import read_member
from signward.wire.zip import place, read_directory
from signward.wire.zip_patch import Member, changed
from tests.builders.packages import MEMBERS, package
from tests.signing import authority, context, identity, sign_bytes, signer_of, strip_bytes

URL = "https://packages.example/v3/index.json"
REPOSITORY = {"type": "repository", "service-index": URL, "owners": "one;two"}
ORIGIN, RECEIPT = "1.2.840.113549.1.9.16.6.1", "1.2.840.113549.1.9.16.6.2"
UNSIGNED = package()


def signed(data: bytes = UNSIGNED, **asked: Any) -> bytes:
    return sign_bytes("a.nupkg", data, **asked)


def countersigned(**asked: Any) -> bytes:
    who = asked.pop("who", identity(name="Signing Test Repository"))
    return signed(signed(), who=who, options=REPOSITORY, **asked)


@pytest.fixture
def judging(tmp_path: Path) -> Context:
    return context(tmp_path)


def under(
    folder: Path, rule: SignatureRule, *anchors: Identity, stage: Stage = Stage.ACCEPTED
) -> Context:
    return context(folder, *anchors, policy=Policy(signatures=rule, stage=stage))


def verdict(data: bytes, judging: Context) -> Verdict:
    return assess(BytesSource("a.nupkg", data), judging)


def rejected(data: bytes, judging: Context, cause: Code, word: str = "") -> None:
    """Assert the outcome, its cause, and that the deciding finding speaks of ``word``."""
    answer = verdict(data, judging)
    assert (answer.outcome, answer.cause) == (Outcome.REJECTED, cause), answer.findings
    deciding = [f for f in answer.findings if f.effect is Effect.REJECT]
    assert word in str(deciding[0]), deciding[0]


def blob_of(data: bytes) -> bytes:
    return FORMAT.envelopes(BytesSource("a.nupkg", data))[0]


def embedded(blob: bytes, data: bytes = UNSIGNED) -> bytes:
    """Return a package with ``blob`` as its signature, put there as NuGet would."""
    source = BytesSource("a.nupkg", data)
    return applied(source, FORMAT.embed(source, (blob,)))


def applied(source: BytesSource, patch: PatchSet) -> bytes:
    return b"".join(pieces(Patched(source, patch)))


# --- what is right ---------------------------------------------------------------


def test_an_author_signature(judging: Context) -> None:
    answer = verdict(signed(), judging)
    assert answer.outcome is Outcome.ACCEPTED
    assert answer.facts == {"signature-type": "author"}
    (one,) = answer.signatures
    assert isinstance(one, TrustedSignature)
    assert [slot.name for slot in one.intact.claimed.slots] == [PACKAGE]
    assert answer.digests == {"package-sha256": hashlib.sha256(UNSIGNED).digest()}


def test_a_repository_signature(judging: Context) -> None:
    answer = verdict(signed(options=REPOSITORY), judging)
    assert answer.outcome is Outcome.ACCEPTED
    facts = {"signature-type": "repository", "service-index": URL, "owners": "one;two"}
    assert answer.facts == facts


@pytest.mark.parametrize("rule", SignatureRule)
def test_a_repository_countersignature(tmp_path: Path, rule: SignatureRule) -> None:
    answer = verdict(countersigned(), under(tmp_path, rule))
    assert answer.outcome is Outcome.ACCEPTED, answer.findings
    assert answer.facts == {
        "signature-type": "author",
        "countersignature": "repository",
        "service-index": URL,
        "owners": "one;two",
    }
    author, repository = answer.signatures
    assert isinstance(author, TrustedSignature)
    assert isinstance(repository, IntactSignature if rule == "best" else TrustedSignature)
    assert answer.judged == 0
    assert answer.publisher is not None
    assert answer.publisher.name == "Conformance"


def test_a_countersignature_keeps_the_author_as_he_was() -> None:
    before = open_package_signature(blob_of(signed())).primary
    after = open_package_signature(blob_of(countersigned()))
    for name in ("value", "signed_attributes", "content", "claimed_signer", "to_be_verified"):
        assert getattr(after.primary, name) == getattr(before, name)
    (repository,) = after.counters
    assert (repository.label, repository.countersigns) == ("1/countersignature", "1")
    assert not after.primary.timestamps


def test_a_token_on_a_countersignature_is_its_own(tmp_path: Path) -> None:
    stamper = issue(
        "Signing Test TSA", issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    data = countersigned(stamp=lambda value: tsa.token_der(value, stamper, at=NOW))
    author, repository = verdict(data, under(tmp_path, SignatureRule.ALL)).signatures
    assert isinstance(author, TrustedSignature)
    assert isinstance(repository, TrustedSignature)
    assert author.proven_time is None
    assert repository.proven_time is not None
    assert repository.proven_time.instant == NOW


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_the_digest_is_of_the_package_without_its_signature(digest: str) -> None:
    data = signed(digest=digest)
    content = open_package_signature(blob_of(data)).primary.content
    expected = base64.b64encode(hashlib.new(digest, UNSIGNED).digest())
    assert content.startswith(b"Version:1\n\n2.16.840.1.101.3.4.2.")
    assert content.endswith(b"-Hash:" + expected + b"\n\n")
    assert strip_bytes("a.nupkg", data) == UNSIGNED


def test_a_signature_that_is_not_last_covers_the_same(judging: Context) -> None:
    blob = blob_of(signed())
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(UNSIGNED)) as old, zipfile.ZipFile(out, "w") as new:
        new.writestr(zipfile.ZipInfo(SIGNATURE), b"")
        for info in old.infolist():
            new.writestr(info, old.read(info), compress_type=info.compress_type)
    first = embedded(blob, _plain_attributes(out.getvalue()))
    assert first.index(SIGNATURE.encode()) < 50
    assert verdict(first, judging).outcome is Outcome.ACCEPTED


def _plain_attributes(data: bytes) -> bytes:
    """Zero what Python's writer puts into the signature's attributes."""
    changed_ = bytearray(data)
    at = data.rindex(SIGNATURE.encode()) - 46
    changed_[at + 38 : at + 42] = bytes(4)
    return bytes(changed_)


def test_recognised_by_name_or_by_what_is_inside() -> None:
    assert FORMAT.recognise(peek_at(BytesSource("x.zip", UNSIGNED))) is Match.SPECIFIC
    assert recognise(peek_at(BytesSource("x.snupkg", package({"a": b""})))) is FORMAT
    for name, head in (("a.nupkg", b"MZ"), ("a.zip", package({"x/a.nuspec": b""}))):
        assert FORMAT.recognise(Peek(name, head, head, len(head))) is Match.NO
    streamed = package({"a": b"1", "b.nuspec": b"2"}, streamed=True)
    assert FORMAT.recognise(peek_at(BytesSource("x.zip", streamed))) is Match.NO


def test_unsigned_whatever_else_is_odd(judging: Context) -> None:
    assert verdict(UNSIGNED, judging).cause is Code.UNSIGNED
    assert verdict(UNSIGNED + b"behind", judging).cause is Code.UNSIGNED


# --- countersignatures reach content through what they countersign ----------------


def stranger() -> Identity:
    return issue("Stranger Publisher", issuer=certificates.authority("Stranger Root"))


def test_a_repository_does_not_stand_in_for_an_untrusted_author(tmp_path: Path) -> None:
    repository = identity(name="Signing Test Repository")
    data = signed(signed(who=stranger()), who=repository, options=REPOSITORY)
    for rule in (SignatureRule.BEST, SignatureRule.ALL):
        rejected(data, under(tmp_path, rule), Code.NO_PATH)
    assert verdict(data, under(tmp_path, SignatureRule.ANY)).outcome is Outcome.ACCEPTED


def test_a_stronger_digest_does_not_make_a_repository_decide(tmp_path: Path) -> None:
    repository = identity(name="Signing Test Repository")
    data = signed(signed(who=stranger()), who=repository, digest="sha512", options=REPOSITORY)
    rejected(data, under(tmp_path, SignatureRule.BEST), Code.NO_PATH)
    data = countersigned(digest="sha512")
    assert isinstance(verdict(data, context(tmp_path)).signatures[0], TrustedSignature)


def test_an_untrusted_repository_does_not_spoil_an_author(tmp_path: Path) -> None:
    data = countersigned(who=stranger())
    assert verdict(data, under(tmp_path, SignatureRule.BEST)).outcome is Outcome.ACCEPTED
    rejected(data, under(tmp_path, SignatureRule.ALL), Code.NO_PATH)


@pytest.mark.parametrize("rule", SignatureRule)
def test_a_countersignature_over_a_changed_package_vouches_for_nothing(
    tmp_path: Path, rule: SignatureRule
) -> None:
    data = embedded(blob_of(countersigned()), package({**MEMBERS, "lib/evil.dll": b"evil"}))
    answer = verdict(data, under(tmp_path, rule))
    assert (answer.outcome, answer.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    assert all(isinstance(s, BrokenSignature) for s in answer.signatures)


@pytest.mark.parametrize("rule", SignatureRule)
def test_a_countersigned_value_under_other_attributes_vouches_for_nothing(
    tmp_path: Path, rule: SignatureRule
) -> None:
    """The value is the repository's to vouch for; what it is over was replaced by a thief."""
    other = package({**MEMBERS, "lib/evil.dll": b"evil"})
    old = open_package_signature(blob_of(countersigned()))
    forged = draft(
        DATA, write_content("sha256", hashlib.sha256(other).digest()), signer_of(identity()),
        form=Form.CMS, attributes=attributes(),
    ).seal(old.primary.value)  # fmt: skip
    (counter,) = [a for a in old.primary.unsigned_attributes if a.oid == COUNTERSIGNATURE]
    blob = with_unsigned(forged, 0, attribute(COUNTERSIGNATURE, *counter.values))
    answer = verdict(embedded(blob, other), under(tmp_path, rule))
    assert answer.outcome is Outcome.REJECTED
    assert answer.cause is Code.SIGNATURE_MISMATCH
    assert all(isinstance(s, BrokenSignature) for s in answer.signatures)


def test_a_broken_countersignature_is_not_intact(judging: Context) -> None:
    data = bytearray(countersigned())
    counter = open_package_signature(blob_of(bytes(data))).counters[0]
    data[data.index(counter.value) + 5] ^= 1
    patched = _mended(bytes(data))
    rejected(patched, judging, Code.SIGNATURE_MISMATCH, "countersignature")


def _mended(data: bytes) -> bytes:
    """Return a package whose signature has the CRC-32 of what it now is."""
    source = BytesSource("a", data)
    (member,) = [m for m in read_directory(source).members if m.name == SIGNATURE]
    where = place(source, member)
    return embedded(data[where.data : where.data_end], strip_bytes("a.nupkg", data))


def test_a_countersignature_alone_is_not_intact() -> None:
    """Whatever a format makes of it: without what it is over it reaches no content."""
    artifact = FORMAT.parse(BytesSource("a.nupkg", countersigned()), ParseOptions())
    computed = FORMAT.digests(artifact, wanted_slots(artifact))
    author, repository = artifact.signatures
    assert isinstance(check_signature(artifact, repository, computed), IntactSignature)
    alone = replace(artifact, signatures=(repository,))
    broken = check_signature(alone, repository, computed)
    assert isinstance(broken, BrokenSignature)
    assert [f.code for f in broken.findings] == [Code.SLOT_MISSING]
    lost = replace(author, claimed_certificates=())
    unsettled = check_signature(replace(artifact, signatures=(lost,)), repository, computed)
    assert [(f.code, f.effect) for f in unsettled.findings] == [(Code.KEY_MISSING, Effect.UNKNOWN)]


# --- attributes ------------------------------------------------------------------


def commitment(*oids: str) -> bytes:
    return attribute(COMMITMENT_TYPE, *(der.sequence(der.oid(oid)) for oid in oids))


def attributes(**other: bytes) -> tuple[bytes, ...]:
    """Return what an author signs, some of it replaced or (by empty octets) left out."""
    usual = {
        "time": signing_time(NOW),
        "type": commitment(ORIGIN),
        "certificate": signing_certificate([identity().certificate]),
    }
    return tuple(value for value in {**usual, **other}.values() if value)


def ess(*parts: bytes, oid: str = SIGNING_CERTIFICATE_V2) -> bytes:
    return attribute(oid, der.sequence(der.sequence(der.sequence(*parts))))


def with_attributes(
    given: Sequence[bytes], *, who: Identity | None = None, content: bytes = b"", kind: str = DATA
) -> bytes:
    """Return a package signed with just these signed attributes (and this content)."""
    who = who or identity()
    content = content or write_content("sha256", hashlib.sha256(UNSIGNED).digest())
    signer = signer_of(who)
    plan = draft(kind, content, signer, form=Form.CMS, attributes=given)
    return embedded(plan.seal(who.key.sign(plan.to_be_signed, "sha256")))


LEAF_DIGEST = der.octet_string(hashlib.sha256(identity().certificate).digest())
OTHER_ISSUER = der.sequence(
    der.sequence(der.context(4, identity().subject)), der.integer(identity().serial)
)
URL_ATTRIBUTE = attribute(SERVICE_INDEX, der.encode(0x16, URL.encode()))


def owners(*names: str) -> bytes:
    return attribute(OWNERS, der.sequence(*(der.utf8(name) for name in names)))


ATTRIBUTES: Mapping[str, tuple[dict[str, bytes], str]] = {
    "no-type": ({"type": b""}, "no one commitment type"),
    "both-types": ({"type": commitment(ORIGIN, RECEIPT)}, "no one commitment type"),
    "unknown-type": (
        {"type": commitment("1.2.840.113549.1.9.16.6.5")}, "no one commitment type",
    ),
    "no-time": ({"time": b""}, "no signing-time"),
    "no-certificate": ({"certificate": b""}, "0 signing-certificate-v2"),
    "no-issuer-serial": ({"certificate": ess(LEAF_DIGEST)}, "no issuerSerial"),
    "other-issuer-serial": (
        {"certificate": ess(LEAF_DIGEST, OTHER_ISSUER)}, "another issuerSerial",
    ),
    "version-1-too": (
        {
            "more": ess(
                der.octet_string(hashlib.sha1(identity().certificate).digest()),
                oid=SIGNING_CERTIFICATE,
            )
        },
        "version 1",
    ),
    "no-url": ({"type": commitment(RECEIPT)}, "0 service index URLs"),
    "http-url": (
        {
            "type": commitment(RECEIPT),
            "url": attribute(SERVICE_INDEX, der.encode(0x16, b"http://packages.example/")),
        },
        "service index 'http:",
    ),
    "no-owner": (
        {"type": commitment(RECEIPT), "url": URL_ATTRIBUTE, "owners": owners()}, "without a name",
    ),
    "blank-owner": (
        {"type": commitment(RECEIPT), "url": URL_ATTRIBUTE, "owners": owners("one", " ")},
        "without a name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_nuget_asks_for(judging: Context, case: str) -> None:
    other, word = ATTRIBUTES[case]
    rejected(with_attributes(attributes(**other)), judging, Code.ATTRIBUTE_RULE, word)


def test_the_attributes_by_themselves_are_accepted(judging: Context) -> None:
    assert verdict(with_attributes(attributes()), judging).outcome is Outcome.ACCEPTED
    more = {"type": commitment(RECEIPT), "url": URL_ATTRIBUTE, "owners": owners("one")}
    assert verdict(with_attributes(attributes(**more)), judging).outcome is Outcome.ACCEPTED


def test_a_certificate_named_by_a_weak_digest(judging: Context) -> None:
    sha1 = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
    digest = der.octet_string(hashlib.sha1(identity().certificate).digest())
    own = signing_certificate([identity().certificate])
    issuer_serial = der.parse(own, "a").children()[1].children()[0]
    last = issuer_serial.children()[0].children()[0].children()[-1].raw
    data = with_attributes(attributes(certificate=ess(sha1, digest, last)))
    rejected(data, judging, Code.UNSUPPORTED_ALGORITHM, "signing-certificate-v2 by sha1")


def test_nuget_knows_no_key_but_rsa(judging: Context) -> None:
    who = identity("p256", "Curve Publisher")
    data = with_attributes(attributes(certificate=signing_certificate([who.certificate])), who=who)
    rejected(data, judging, Code.UNSUPPORTED_ALGORITHM, "signature algorithm ecdsa/sha256")


def test_nor_a_certificate_that_another_kind_of_key_signed(tmp_path: Path) -> None:
    root = certificates.authority("Curve Root", subject_key=key("p256", "curve-root"))
    who = issue("Certified By A Curve", issuer=root, subject_key=key("rsa2048", "by-a-curve"))
    data = with_attributes(attributes(certificate=signing_certificate([who.certificate])), who=who)
    cause, word = Code.UNSUPPORTED_ALGORITHM, "a signer certified by ecdsa/sha256"
    rejected(data, context(tmp_path, root), cause, word)
    with pytest.raises(NotSignableError, match="signed by ecdsa"):
        signed(who=who)


def test_a_signer_for_its_lifetime_only_is_none_of_nugets(judging: Context) -> None:
    ekus = (certificates.EKU_CODE_SIGNING, LIFETIME_SIGNING)
    who = issue("Lifetime Publisher", issuer=authority(), subject_key=key("rsa2048", "lifetime"),
                ekus=ekus)  # fmt: skip
    data = with_attributes(attributes(certificate=signing_certificate([who.certificate])), who=who)
    rejected(data, judging, Code.ATTRIBUTE_RULE, "lifetime")
    with pytest.raises(NotSignableError, match="lifetime"):
        signed(who=who)


def test_a_short_rsa_key_is_weak(judging: Context) -> None:
    who = identity("rsa1024", "Short Publisher")
    data = with_attributes(attributes(certificate=signing_certificate([who.certificate])), who=who)
    rejected(data, judging, Code.WEAK_KEY)
    with pytest.raises(NotSignableError, match="1024 bits"):
        signed(who=who)


def test_two_signers_are_one_too_many(judging: Context) -> None:
    blob = blob_of(signed())
    fields = der.parse(blob, "a").children()[1].children()[0].children()
    signers = fields[-1].content
    body = b"".join(f.raw for f in fields[:-1]) + der.encode(der.SET, signers * 2)
    two = der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, der.sequence(body)))
    rejected(embedded(two), judging, Code.MALFORMED, "2 signers")


def test_a_nested_signature_is_ignored_and_said(judging: Context) -> None:
    blob = blob_of(signed())
    answer = verdict(embedded(with_nested(blob, blob)), judging)
    assert answer.outcome is Outcome.ACCEPTED
    assert len(answer.signatures) == 1
    assert any("nested signature" in f.found for f in answer.findings)


def counter_blob(blob: bytes, role: str = RECEIPT) -> bytes:
    """Return the SignedData countersigned once more, whoever did so before."""
    who = identity(name="Signing Test Repository")
    value = open_package_signature(blob).primary.value
    given = [signing_time(NOW), commitment(role), signing_certificate([who.certificate])]
    plan = draft_counter(blob, value, signer_of(who), [*given, URL_ATTRIBUTE])
    return plan.seal(who.key.sign(plan.to_be_signed, "sha256"))


def test_two_repository_countersignatures(judging: Context) -> None:
    data = embedded(counter_blob(counter_blob(blob_of(signed()))))
    rejected(data, judging, Code.ATTRIBUTE_RULE, "2 repository countersignatures")


def test_a_repository_countersigned_by_a_repository(judging: Context) -> None:
    data = embedded(counter_blob(blob_of(signed(options=REPOSITORY))))
    rejected(data, judging, Code.ATTRIBUTE_RULE, "a repository's signature with")


def test_another_countersignature_is_left_alone_and_is_no_time(judging: Context) -> None:
    answer = verdict(embedded(counter_blob(blob_of(signed()), ORIGIN)), judging)
    assert answer.outcome is Outcome.ACCEPTED
    (one,) = answer.signatures
    assert isinstance(one, TrustedSignature)
    assert (one.proven_time, one.intact.claimed.timestamps) == (None, ())


def test_an_expired_author_without_a_token(tmp_path: Path) -> None:
    late = context(tmp_path, at=instant(2039))
    rejected(countersigned(), late, Code.EXPIRED)


# --- the signed content ----------------------------------------------------------

HASH = b"2.16.840.1.101.3.4.2.1-Hash:" + base64.b64encode(hashlib.sha256(UNSIGNED).digest())
CONTENTS: Mapping[str, tuple[bytes, str]] = {
    "version-2": (b"Version:2\r\n\r\n" + HASH + b"\r\n\r\n", "version '2'"),
    "no-version": (b"A:1\r\n\r\n" + HASH + b"\r\n\r\n", "version 'none'"),
    "one-section": (b"Version:1\r\n" + HASH + b"\r\n\r\n", "without end"),
    "no-end": (b"Version:1\r\n\r\n" + HASH, "without end"),
    "no-digest": (b"Version:1\r\n\r\nA:1\r\n\r\n", "no package digest"),
    "sha1-alone": (b"Version:1\r\n\r\n1.3.14.3.2.26-Hash:AAAA\r\n\r\n", "no package digest"),
    "no-base64": (b"Version:1\r\n\r\n2.16.840.1.101.3.4.2.1-Hash:A=B\r\n\r\n", "base64"),
    "unused-bits": (b"Version:1\r\n\r\n" + HASH[:-2] + b"J=\r\n\r\n", "base64"),
    "twice": (b"Version:1\r\nVersion:1\r\n\r\n", "each name once"),
    "odd-name": (b"Version:1\r\n\r\na b:1\r\n\r\n", "each name once"),
    "no-text": (b"\xff\xfe\r\n\r\n", "no text"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_content_that_cannot_be_read(judging: Context, case: str) -> None:
    content, word = CONTENTS[case]
    rejected(with_attributes(attributes(), content=content), judging, Code.MALFORMED, word)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_any_way(judging: Context, end: bytes) -> None:
    content = end.join([b"Version:1", b"", HASH, b"", b""])
    data = with_attributes(attributes(), content=content)
    assert verdict(data, judging).outcome is Outcome.ACCEPTED


def test_content_with_lines_for_later_versions() -> None:
    (slot,) = read_content(DATA, b"Version:1\nNew:1\n\n" + HASH + b"\nNew:2\n\nNew:3")
    assert (slot.algorithm, slot.digest) == ("sha256", hashlib.sha256(UNSIGNED).digest())


def test_each_digest_named_must_match(judging: Context) -> None:
    other = b"\r\n2.16.840.1.101.3.4.2.3-Hash:" + base64.b64encode(bytes(64))
    content = b"Version:1\r\n\r\n" + HASH + other + b"\r\n\r\n"
    rejected(with_attributes(attributes(), content=content), judging, Code.DIGEST_MISMATCH)
    with pytest.raises(MalformedError, match="content type"):
        read_content("1.2.3.4", content)


# --- the archive -----------------------------------------------------------------


def repacked(data: bytes, *, order: Sequence[str] = (), drop: str = "", add: str = "") -> bytes:
    """Return the archive written anew, its local and central entries in another order."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in order or old.namelist():
            if name != drop:
                new.writestr(old.getinfo(name), old.read(name))
        if add:
            new.writestr(zipfile.ZipInfo(add), b"added")
    return out.getvalue()


def test_entries_moved_added_removed_or_renamed_break_the_digest(judging: Context) -> None:
    blob = blob_of(signed())
    assert verdict(embedded(blob, repacked(UNSIGNED)), judging).outcome is Outcome.ACCEPTED
    for changed_ in (
        repacked(UNSIGNED, order=sorted(MEMBERS)),
        repacked(UNSIGNED, drop="lib/net8.0/Signward.Sample.dll"),
        repacked(UNSIGNED, add="tools/init.ps1"),
        UNSIGNED.replace(b"lib/net8.0", b"lib/net9.0"),
        package(comment=b"added"),
    ):
        rejected(embedded(blob, changed_), judging, Code.DIGEST_MISMATCH, "package")


def test_central_headers_in_another_order_break_the_digest(judging: Context) -> None:
    data = signed()
    directory = read_directory(BytesSource("a", data))
    first, second = directory.members[:2]
    swapped = (
        data[: first.record] + data[second.record : second.record_end]
        + data[first.record : first.record_end] + data[second.record_end :]
    )  # fmt: skip
    rejected(swapped, judging, Code.DIGEST_MISMATCH)


def test_a_compressed_signature(judging: Context) -> None:
    source = BytesSource("a", UNSIGNED)
    packed = changed(source, {SIGNATURE: Member(data=blob_of(signed()))})
    data = applied(source, packed)
    rejected(data, judging, Code.MALFORMED, "compression method")


@pytest.mark.parametrize(
    "name",
    [
        ".SIGNATURE.P7S",
        "./.signature.p7s",
        "\\.signature.p7s",
        ".signature.p7s.",
        "/.signature.p7s",
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_names_another_reader_takes_for_the_signature(
    judging: Context, name: str, *, alone: bool
) -> None:
    source = BytesSource("a", UNSIGNED if alone else signed())
    with_name = changed(source, {name: Member(data=b"", stored=True)})
    rejected(applied(source, with_name), judging, Code.AMBIGUOUS)


def test_a_signature_in_a_folder_is_none(judging: Context) -> None:
    source = BytesSource("a", UNSIGNED)
    inside = changed(source, {"x/" + SIGNATURE: Member(data=b"", stored=True)})
    data = applied(source, inside)
    assert verdict(data, judging).cause is Code.UNSIGNED


def test_two_signature_entries(judging: Context) -> None:
    data = signed(package({**MEMBERS, ".signature.p7t": b"2"}))
    rejected(data.replace(b".signature.p7t", b".signature.p7s"), judging, Code.AMBIGUOUS)


LOCAL_FIELDS = {
    "version": 4,
    "flags": 6,
    "method": 8,
    "time": 10,
    "crc": 14,
    "packed": 18,
    "size": 22,
}


@pytest.mark.parametrize("field", LOCAL_FIELDS)
@pytest.mark.parametrize("central", [False, True])
def test_no_field_of_the_signature_entry_can_be_changed(
    judging: Context, field: str, *, central: bool
) -> None:
    data = bytearray(signed())
    source = BytesSource("a", bytes(data))
    (member,) = [m for m in read_directory(source).members if m.name == SIGNATURE]
    at = LOCAL_FIELDS[field] + (member.record + 2 if central else member.local)
    data[at] ^= 0x20
    answer = verdict(bytes(data), judging)
    assert answer.outcome is Outcome.REJECTED
    assert answer.cause in (Code.AMBIGUOUS, Code.MALFORMED)


@pytest.mark.parametrize(("offset", "what"), [(34, "disk"), (36, "attributes"), (38, "attributes")])
def test_attributes_of_the_signature_entry(judging: Context, offset: int, what: str) -> None:
    data = bytearray(signed())
    data[data.rindex(SIGNATURE.encode()) - 46 + offset] = 1
    rejected(bytes(data), judging, Code.MALFORMED, what)


def inserted(data: bytes, at: int, added: bytes, *, length_at: int) -> bytes:
    """Return an archive with bytes put into a central header, a length in it changed to suit."""
    out = bytearray(data[:at] + added + data[at:])
    struct.pack_into("<H", out, length_at, len(added))
    end = out.rindex(b"PK\5\6")
    size = struct.unpack_from("<I", out, end + 12)[0]
    struct.pack_into("<I", out, end + 12, size + len(added))
    return bytes(out)


@pytest.mark.parametrize("length", [30, 32])
def test_bytes_hidden_in_the_signatures_central_header(judging: Context, length: int) -> None:
    data = signed()
    name = data.rindex(SIGNATURE.encode())
    hidden = inserted(
        data, name + len(SIGNATURE), b"\xfe\xca\4\0hide", length_at=name - 46 + length
    )
    rejected(hidden, judging, Code.MALFORMED, "extra field or comment")


def moved_directory(data: bytes, added: bytes) -> bytes:
    """Return an archive with bytes put in front of its central directory."""
    start = read_directory(BytesSource("a", data)).start
    out = bytearray(data[:start] + added + data[start:])
    struct.pack_into("<I", out, out.rindex(b"PK\5\6") + 16, start + len(added))
    return bytes(out)


def test_bytes_before_behind_and_between_members(judging: Context) -> None:
    data = signed()
    for other in (b"MZ" + data, data + b"behind", moved_directory(data, b"between")):
        rejected(other, judging, Code.AMBIGUOUS)
    rejected(embedded(blob_of(data), UNSIGNED[:-2] + b"\4\0more"), judging, Code.DIGEST_MISMATCH)


def with_zip64_end(data: bytes) -> bytes:
    at = data.rindex(b"PK\5\6")
    count, _, size, offset = struct.unpack_from("<HHII", data, at + 8)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    return data[:at] + record + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1) + data[at:]


def with_zip64_field() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open("big", "w", force_zip64=True) as big:
            big.write(b"data")
        for name, data in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def test_zip64_is_neither_signed_nor_accepted(judging: Context) -> None:
    for data in (with_zip64_end(UNSIGNED), with_zip64_field()):
        with pytest.raises(NotSignableError, match="ZIP64"):
            signed(data)
        blob = blob_of(signed())
        rejected(embedded(blob, data), judging, Code.AMBIGUOUS, "ZIP64")


def test_an_oversized_signature(judging: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    data = signed()
    monkeypatch.setattr(nupkg, "MAX_SIGNATURE", 100)
    rejected(data, judging, Code.LIMIT_EXCEEDED)


def test_a_signature_that_is_no_cms(judging: Context) -> None:
    rejected(embedded(b"no CMS"), judging, Code.MALFORMED)
    rejected(embedded(b""), judging, Code.MALFORMED)
    rejected(embedded(blob_of(signed()) + b"\0"), judging, Code.MALFORMED, "behind")


# --- signing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"type": "both"}, "author or repository"),
        ({"service-index": URL}, "type"),
        ({"owners": "one"}, "type"),
        ({"type": "repository"}, "service-index"),
        ({"type": "repository", "service-index": "http://a.example"}, "https URL"),
        ({"type": "repository", "service-index": URL, "owners": "one;;two"}, "owners"),
    ],
)
def test_options_without_sense(options: Mapping[str, str], word: str) -> None:
    with pytest.raises(NotSignableError, match=word):
        signed(options=options)


@pytest.mark.parametrize(
    "url", ["https:///x", "https://a b/", "ftp://a/", "//a/", "https://[", "https://\u00e4/"]
)
def test_no_service_index(url: str) -> None:
    assert not is_service_index(url)


def test_a_repository_signs_what_no_repository_signed() -> None:
    for data in (signed(options=REPOSITORY), countersigned()):
        for existing in (Existing.REFUSE, Existing.NESTED):
            with pytest.raises(NotSignableError):
                signed(data, options=REPOSITORY, existing=existing)
    replaced = signed(countersigned(), options=REPOSITORY, existing=Existing.REPLACE)
    assert replaced == signed(options=REPOSITORY)


def test_an_author_signs_what_nobody_signed() -> None:
    for existing in (Existing.REFUSE, Existing.NESTED):
        with pytest.raises(NotSignableError):
            signed(signed(), existing=existing)


def test_archives_that_read_in_two_ways_are_not_signed() -> None:
    for data in (b"MZ" + UNSIGNED, UNSIGNED + b"x", moved_directory(UNSIGNED, b"between")):
        with pytest.raises(BadInputError):
            signed(data)


def test_more_members_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nupkg, "MAX_ENTRIES", 2)
    with pytest.raises(NotSignableError, match="at most 2"):
        signed()


def test_the_entry_is_written_as_nuget_writes_it() -> None:
    source = BytesSource("a", signed())
    member = read_directory(source).members[-1]
    assert (member.name, member.method, member.flags) == (SIGNATURE, 0, 0)
    assert read_member(source, member, 1 << 20) == blob_of(signed())
    record = source.read(member.record, 46)
    assert struct.unpack_from("<HHHHI", record, 28) == (14, 0, 0, 0, 0)
    assert struct.unpack_from("<I", record, 12)[0] == zip_patch.EARLIEST


def test_a_malformed_entry_is_stripped_before_it_is_replaced() -> None:
    data = bytearray(signed())
    data[data.rindex(SIGNATURE.encode()) - 46 + 38] = 1
    with pytest.raises(MalformedError, match="attributes"):
        signed(bytes(data), existing=Existing.REPLACE)
    assert strip_bytes("a.nupkg", bytes(data)) == UNSIGNED


class Watched(BytesSource):
    """A source that remembers the largest piece anybody asked for."""

    largest = 0

    def read(self, offset: int, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return super().read(offset, size)


def test_a_large_package_is_not_read_whole(judging: Context) -> None:
    data = signed(package({**MEMBERS, "lib/large.dll": bytes(20 << 20)}, method=zipfile.ZIP_STORED))
    source = Watched("a.nupkg", data)
    assert assess(source, judging).outcome is Outcome.ACCEPTED
    assert source.largest <= 1 << 17
