"""VSIX packages: every part signed, every relationship selected, nothing read in two ways
(THREATS 29, 30, 32)."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, instant, issue

from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Existing
from signward.formats.vsix import FORMAT
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.builders.vsix import RELS_DEFAULT, archive, extension, members, related, rels
from tests.signing import authority, context, identity, sign_bytes, strip_bytes

NAME = "sample.vsix"
FOLDER = "package/services/digital-signature/"
ORIGIN_TYPE = (
    "http://schemas.openxmlformats.org/package/2006/relationships/digital-signature/origin"
)
Members = dict[str, bytes]
Judge = Callable[..., Verdict]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def judged(data: bytes, **options: Any) -> Verdict:
        return assess(BytesSource(NAME, data), context(tmp_path, **options))

    return judged


def changed(data: bytes, change: Callable[[Members], object]) -> bytes:
    """Return a package with its members changed, packed again."""
    parts = members(data)
    change(parts)
    return archive(parts)


def _signature(parts: Members) -> str:
    return next(name for name in parts if name.endswith(".psdsxs"))


def _edit(name: str, was: bytes, becomes: bytes) -> Callable[[Members], None]:
    def change(parts: Members) -> None:
        path = _signature(parts) if name == "signature" else name
        assert was in parts[path]
        parts[path] = parts[path].replace(was, becomes)

    return change


def _add(name: str, data: bytes) -> Callable[[Members], None]:
    def change(parts: Members) -> None:
        parts[name] = data

    return change


SIGNED = sign_bytes(NAME, related())

CHANGES: dict[str, tuple[Callable[[Members], object], Code]] = {
    "a changed part": (_edit("Sample.dll", b"MZ", b"ZM"), Code.DIGEST_MISMATCH),
    "a part that went": (lambda p: p.pop("Sample.dll"), Code.DIGEST_MISMATCH),
    "a part that came": (_add("Added.dll", b"MZ"), Code.SLOT_MISSING),
    "a part that came beside the signature": (
        _add(f"{FOLDER}xml-signature/x.dll", b"MZ"), Code.SLOT_MISSING,
    ),
    "a part of a type that is not signed": (
        _edit("[Content_Types].xml", b'"text/xml"', b'"text/html"'), Code.DIGEST_MISMATCH,
    ),
    "an override of a part's type": (
        _edit("[Content_Types].xml", b"<Default Ext",
              b'<Override PartName="/Sample.dll" ContentType="a/b"/><Default Ext'),
        Code.AMBIGUOUS,
    ),
    "a relationship that came": (
        _edit("_rels/.rels", b"<Relationship Id=\"R1\"",
              b'<Relationship Id="R9" Type="x:y" Target="/Sample.dll"/><Relationship Id="R1"'),
        Code.UNCOVERED_CONTENT,
    ),
    "a relationship that leads elsewhere": (
        _edit("_rels/.rels", b'Target="/Sample.dll"', b'Target="/extension.vsixmanifest"'),
        Code.DIGEST_MISMATCH,
    ),
    "a relationship that means something else": (
        _edit("_rels/Sample.dll.rels", b"example.org/data", b"example.org/code"),
        Code.DIGEST_MISMATCH,
    ),
    "a relationship that became external": (
        _edit("_rels/.rels", b'Target="/Sample', b'TargetMode="External" Target="/Sample'),
        Code.DIGEST_MISMATCH,
    ),
    "relationships of a part that came": (
        _add("_rels/extension.vsixmanifest.rels", rels(("A", "x:y", "/Sample.dll"))),
        Code.SLOT_MISSING,
    ),
    "two relationships of one Id": (
        _edit("_rels/.rels", b'Id="R2"', b'Id="R1"'), Code.AMBIGUOUS,
    ),
    "two origins": (
        _edit("_rels/.rels", b"</Relationships>",
              f'<Relationship Id="Z" Type="{ORIGIN_TYPE}" Target="/x"/></Relationships>'.encode()),
        Code.AMBIGUOUS,
    ),
    "an origin with content": (_add(f"{FOLDER}origin.psdor", b"MZ"), Code.MALFORMED),
    "something else hanging on the origin": (
        _edit(f"{FOLDER}_rels/origin.psdor.rels", b"</Relationships>",
              b'<Relationship Id="Z" Type="x:y" Target="/x"/></Relationships>'),
        Code.MALFORMED,
    ),
    "a signature that is none": (
        lambda p: p.update({_signature(p): b"<x/>"}), Code.MALFORMED,
    ),
    "another name for a part": (_add("SAMPLE.DLL", b"MZ"), Code.AMBIGUOUS),
    "an escaped name for a part": (_add("Sample%2Edll", b"MZ"), Code.AMBIGUOUS),
    "a part in pieces": (_add("Sample.dll/[0].piece", b"MZ"), Code.AMBIGUOUS),
    "no content types": (lambda p: p.pop("[Content_Types].xml"), Code.MALFORMED),
    "a type for an extension twice": (
        _edit("[Content_Types].xml", b'Extension="dll"', b'Extension="VSIXMANIFEST"'),
        Code.AMBIGUOUS,
    ),
    "an override that names no part": (
        _edit("[Content_Types].xml", b"</Types>",
              b'<Override PartName="/Sample.dll/" ContentType="a/b"/></Types>'),
        Code.MALFORMED,
    ),
    "a changed reference": (
        _edit("signature", b"/Sample.dll?", b"/Sample.dlx?"), Code.SLOT_MISSING,
    ),
    "an Object nobody speaks of": (
        _edit("signature", b"</Signature>", b"<Object>MZ</Object></Signature>"), Code.MALFORMED,
    ),
    "a second package Object": (
        _edit("signature", b"</Signature>", b'<Object Id="idPackageObject"/></Signature>'),
        Code.AMBIGUOUS,
    ),
    "a package Object moved into another": (
        lambda p: p.update({_signature(p): re.sub(
            rb'<Object Id="idPackageObject">(.*?)</Object>',
            rb'<Object Id="x"><Object Id="idPackageObject">\1</Object></Object>'
            rb'<Object Id="y"><Manifest/></Object>', p[_signature(p)], flags=re.DOTALL)}),
        Code.MALFORMED,
    ),
    "a selection by something else": (
        _edit("signature", b"RelationshipReference", b"RelationshipRule"), Code.MALFORMED,
    ),
    "relationships of another type": (
        _edit("[Content_Types].xml", b"relationships+xml", b"relationships"), Code.MALFORMED,
    ),
    "a DTD": (_edit("signature", b"<Signature", b"<!DOCTYPE x><Signature"), Code.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused(judge: Judge, change: str) -> None:
    make, cause = CHANGES[change]
    verdict = judge(changed(SIGNED, make))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause is cause, [str(f) for f in verdict.findings]


def test_packing_it_anew_changes_nothing(judge: Judge) -> None:
    assert judge(changed(SIGNED, lambda _parts: None)).outcome is Outcome.ACCEPTED
    parts = members(SIGNED)
    assert judge(archive(dict(sorted(parts.items())))).outcome is Outcome.ACCEPTED


def _signing_block(data: bytes) -> bytes:
    """Put bytes between members and directory, where Android has its signatures."""
    end = data.rindex(b"PK\5\6")
    start = struct.unpack_from("<I", data, end + 16)[0]
    block = b"PK\3\4 and so on" + b"APK Sig Block 42"
    moved = struct.pack("<I", start + len(block))
    return data[:start] + block + data[start : end + 16] + moved + data[end + 20 :]


def _archive_in_comment(data: bytes) -> bytes:
    other = archive({"evil.dll": b"MZ"}) + b"."
    return data[:-2] + struct.pack("<H", len(other)) + other


@pytest.mark.parametrize("change", [_signing_block, _archive_in_comment])
def test_an_archive_around_the_signed_parts_that_reads_two_ways_is_ambiguous(
    judge: Judge, change: Callable[[bytes], bytes]
) -> None:
    """The signature covers parts, so nothing but this keeps a second archive out (row 32)."""
    data = sign_bytes(NAME, extension())
    assert judge(data).outcome is Outcome.ACCEPTED
    assert judge(change(data)).cause is Code.AMBIGUOUS


def test_a_type_that_changes_by_an_override_is_rejected(judge: Judge) -> None:
    signed = sign_bytes(NAME, extension({"a.bin": b"1"}, types=(
        '<Override PartName="/a.bin" ContentType="text/plain"/>')))  # fmt: skip
    assert judge(signed).outcome is Outcome.ACCEPTED
    wrong = changed(signed, _edit("[Content_Types].xml", b"text/plain", b"text/html"))
    assert judge(wrong).cause is Code.DIGEST_MISMATCH


def test_types_stand_by_name_before_extension(judge: Judge) -> None:
    override = b'<Override PartName="/sample.DLL" ContentType="a/b"/></Types>'
    wrong = changed(SIGNED, _edit("[Content_Types].xml", b"</Types>", override))
    assert judge(wrong).cause is Code.DIGEST_MISMATCH


def test_relationships_may_be_selected_by_type(judge: Judge) -> None:
    """A selection by type takes in what is added of that type, whose digest then differs."""
    from signward.envelopes.xmldsig import Transform
    from signward.formats import _opc as opc
    from signward.formats import _vsix_signature as signatures
    from signward.wire import xmltree

    package = opc.read_package(BytesSource(NAME, related()))
    part = package.part("/_rels/.rels")
    assert part is not None
    text = (
        f'<Transform xmlns:m="{signatures.MDSSI}"><m:RelationshipsGroupReference'
        ' SourceType="http://example.org/program"/></Transform>'
    )
    element = xmltree.parse(text.encode(), "t").getroot()
    transform = Transform(uri=signatures.RELATIONSHIP_TRANSFORM, element=element)
    (chosen,) = signatures._selected(package, part, transform, "t")
    assert chosen.identifier == "R1"


def test_the_relationships_transform_is_what_the_standard_says() -> None:
    """OPC 10.5.8: sorted by Id, TargetMode written out, in canonical form."""
    from signward.formats import _opc as opc

    package = opc.read_package(BytesSource(NAME, related()))
    assert opc.transformed(package.relationships("")) == (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        b'<Relationship Id="R1" Target="/Sample.dll" TargetMode="Internal"'
        b' Type="http://example.org/program"></Relationship>'
        b'<Relationship Id="R2" Target="/extension.vsixmanifest" TargetMode="Internal"'
        b' Type="http://example.org/manifest"></Relationship></Relationships>'
    )


def _doubled(second: bytes) -> bytes:
    """Put another signature part beside the one of SIGNED."""

    def change(parts: Members) -> None:
        parts[f"{FOLDER}xml-signature/second.psdsxs"] = second
        origin = f"{FOLDER}_rels/origin.psdor.rels"
        kind = ORIGIN_TYPE.replace("origin", "signature")
        lead = f'<Relationship Id="B" Type="{kind}" Target="/{FOLDER}xml-signature/second.psdsxs"/>'
        parts[origin] = parts[origin].replace(b"</Rel", lead.encode() + b"</Rel")

    return changed(SIGNED, change)


def test_each_of_several_signatures_must_be_intact(judge: Judge) -> None:
    other = members(sign_bytes(NAME, related(), who=identity("p256", "Second Signer")))
    verdict = judge(_doubled(other[_signature(other)]))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert len(verdict.signatures) == 2
    plain = members(sign_bytes(NAME, extension()))
    assert judge(_doubled(plain[_signature(plain)])).cause is Code.SLOT_MISSING


def test_leftovers_of_a_signature_are_told(judge: Judge) -> None:
    verdict = judge(changed(SIGNED, _edit("_rels/.rels", ORIGIN_TYPE.encode(), b"x:y")))
    assert verdict.cause is Code.UNSIGNED
    assert Code.LEFTOVER_SIGNATURE in {f.code for f in verdict.findings}


def test_certificates_may_be_parts_of_their_own(judge: Judge) -> None:
    def detach(parts: Members) -> None:
        name = _signature(parts)
        parts[name] = re.sub(rb"<KeyInfo>.*?</KeyInfo>", b"", parts[name])
        parts[f"{FOLDER}certificate/a.cer"] = identity().certificate
        kind = ORIGIN_TYPE.replace("origin", "certificate")
        rel = f"{FOLDER}xml-signature/_rels/{name.rpartition('/')[2]}.rels"
        parts[rel] = rels(("A", kind, f"/{FOLDER}certificate/a.cer"))
        types = b"application/vnd.openxmlformats-package.digital-signature-certificate"
        default = b'<Default Extension="cer" ContentType="' + types + b'"/></Types>'
        parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", default)

    assert judge(changed(SIGNED, detach)).outcome is Outcome.ACCEPTED

    def hide(parts: Members) -> None:
        detach(parts)
        parts[f"{FOLDER}certificate/a.cer"] += b"MZ"

    assert judge(changed(SIGNED, hide)).cause is Code.MALFORMED


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_a_timestamp_speaks_of_the_value_as_it_stands(judge: Judge, kind: str) -> None:
    stamper = issue(
        "VSIX TSA", issuer=authority(), subject_key=key("rsa2048", "vsix-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    who = issue("Short", issuer=authority(), subject_key=key(kind, "vsix-short"),
                not_before=instant(2024), not_after=instant(2025))  # fmt: skip
    signed = sign_bytes(
        NAME, related(), who=who,
        stamp=lambda value: tsa.token_der(value, stamper, at=instant(2024, 6)),
    )  # fmt: skip
    verdict = judge(signed)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    (only,) = verdict.signatures
    assert isinstance(only, TrustedSignature)
    assert only.proven_time is not None
    assert only.intact.claimed.claimed_time == instant(2026)
    assert judge(sign_bytes(NAME, related(), who=who)).cause is Code.EXPIRED


@pytest.mark.parametrize(
    ("data", "asked", "word"),
    [
        (extension({"a.bin": b"1"}), {}, "content type"),
        (related(), {"who": identity("ed25519", "Ed"), "digest": "sha512"}, "RSA"),
        (SIGNED, {"existing": Existing.NESTED}, "--replace"),
    ],
)
def test_what_cannot_be_signed_is_refused(data: bytes, asked: Mapping[str, Any], word: str) -> None:
    with pytest.raises(NotSignableError, match=word):
        sign_bytes(NAME, data, **asked)


def test_stripping_takes_away_what_signing_added() -> None:
    assert members(strip_bytes(NAME, SIGNED)) == members(related())
    bare = members(strip_bytes(NAME, sign_bytes(NAME, extension())))
    added = RELS_DEFAULT.replace(" /", "/").encode()
    assert bare.keys() == members(extension()).keys()
    assert len(bare["[Content_Types].xml"]) > len(members(extension())["[Content_Types].xml"])
    assert added.split(b"ContentType")[1] in bare["[Content_Types].xml"]


def test_envelopes_are_the_signature_parts() -> None:
    (envelope,) = FORMAT.envelopes(BytesSource(NAME, SIGNED))
    assert envelope == members(SIGNED)[_signature(members(SIGNED))]
    with pytest.raises(NotSignableError, match="2 signatures"):
        FORMAT.embed(BytesSource(NAME, related()), (envelope, envelope))


def test_a_part_named_like_the_slot_of_a_selection_is_not_covered(judge: Judge) -> None:
    """The slot of selected relationships once had a name that a part could take."""
    name = "_rels/.rels, as signature 1 selects it"
    assert judge(changed(SIGNED, _add(name, b"MZ"))).cause is Code.SLOT_MISSING


def test_a_dot_in_a_folder_makes_no_extension() -> None:
    """OPC 7.3.7: the extension is of the last segment; ``/a.b/dll`` has none."""
    from signward.formats import _opc as opc

    package = opc.read_package(BytesSource(NAME, extension({"a.b/dll": b"1", "dll": b"2"})))
    for name in ("/a.b/dll", "/dll"):
        part = package.part(name)
        assert part is not None
        assert package.content_type(part) == ""


CANONICAL = (
    b'<Transforms><Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315">'
    b"</Transform></Transforms>"
)


def canonically_signed(manifest: bytes) -> bytes:
    """Return a package whose signature is over the canonical form of its manifest."""
    from signward.envelopes.xmldsig_draft import digest_text
    from signward.formats import _vsix_sign as signing
    from signward.wire import xmltree

    octets = xmltree.canonical(xmltree.parse(manifest, "m"), xmltree.METHODS[xmltree.C14N], "m")
    name, plain = "/extension.vsixmanifest", signing._reference

    def reference(package: Any, part: Any, request: Any) -> str:
        text = plain(package, part, request)
        if part.name != name:
            return text
        digest = digest_text("sha256", hashlib.sha256(octets).digest())
        return re.sub("><DigestMethod.*</DigestValue>", f">{CANONICAL.decode()}{digest}", text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "_reference", reference)
        signed = sign_bytes(NAME, related())
    return changed(signed, lambda parts: parts.update({name[1:]: manifest}))


def test_comments_that_canonical_form_leaves_out_are_not_covered(judge: Judge) -> None:
    manifest = members(related())["extension.vsixmanifest"]
    assert judge(canonically_signed(manifest)).outcome is Outcome.ACCEPTED
    spaced = canonically_signed(manifest.replace(b' Version="1.0"', b'  Version="1.0"'))
    assert judge(spaced).outcome is Outcome.ACCEPTED
    verdict = judge(canonically_signed(manifest + b"<!--\n\ncode that some host runs\n-->"))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNCOVERED_CONTENT)


def _certificate_at(path: str) -> Callable[[Members], None]:
    """Make a part of the package look like a certificate of the signature's."""

    def change(parts: Members) -> None:
        name = _signature(parts).rpartition("/")[2]
        kind = ORIGIN_TYPE.replace("origin", "certificate")
        parts[path] = identity().certificate
        parts[f"{FOLDER}xml-signature/_rels/{name}.rels"] = rels(("A", kind, f"/{path}"))
        of_type = "application/vnd.openxmlformats-package.digital-signature-certificate"
        override = f'<Override PartName="/{path}" ContentType="{of_type}"/></Types>'.encode()
        _edit("[Content_Types].xml", b"</Types>", override)(parts)

    return change


def test_a_file_of_the_extension_does_not_pass_for_a_certificate(judge: Judge) -> None:
    """A certificate may hold anything in an extension, a .pkgdef's lines too."""
    inside = changed(SIGNED, _certificate_at(f"{FOLDER}certificate/a.cer"))
    assert judge(inside).outcome is Outcome.ACCEPTED
    verdict = judge(changed(SIGNED, _certificate_at("added.pkgdef")))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.MALFORMED)


@pytest.mark.parametrize(
    "name",
    [
        "/./Sample.dll", "//Sample.dll", "/x/../Sample.dll", "\\Sample.dll", "/x\\..\\Sample.dll",
        "/Sample.dll?x", "/Sample.dll#x", "/Sample.dll ", "/Sample.dll%2f", "/%2e/Sample.dll",
        "/x%5cSample.dll",
    ],
)  # fmt: skip
def test_an_override_that_some_reader_takes_for_a_parts_is_malformed(
    judge: Judge, name: str
) -> None:
    override = f'<Override PartName="{name}" ContentType="a/b"/></Types>'.encode()
    wrong = changed(SIGNED, _edit("[Content_Types].xml", b"</Types>", override))
    assert judge(wrong).cause is Code.MALFORMED


@pytest.mark.parametrize("name", ["_rels/.rels", "_rels/Sample.dll.rels", "[Content_Types].xml"])
def test_a_base_that_no_selection_signs_is_malformed(judge: Judge, name: str) -> None:
    based = changed(SIGNED, _edit(name, b" xmlns=", b' xml:base="http://example.org/" xmlns='))
    assert judge(based).cause is Code.MALFORMED


def test_a_timestamp_holds_nothing_else(judge: Judge) -> None:
    stamp = (
        b'<Object><TimeStamp xmlns="http://schemas.openxmlformats.org/package/2006/'
        b'digital-signature"><EncodedTime>AAAA</EncodedTime>%s</TimeStamp></Object></Signature>'
    )
    for more, outcome in ((b"<Comment/>", Outcome.ACCEPTED), (b"<x>code</x>", Outcome.REJECTED)):
        verdict = judge(changed(SIGNED, _edit("signature", b"</Signature>", stamp % more)))
        assert verdict.outcome is outcome


@pytest.mark.parametrize(
    "name",
    ["Sample.dll/", "SAMPLE.DLL/", "[Content_Types].xml/", "../x/", "a/../b/", "a\\b/", "//"],
)
def test_a_folder_that_leads_elsewhere_or_stands_for_a_part_is_malformed(
    judge: Judge, name: str
) -> None:
    assert judge(changed(SIGNED, _add("folder/", b""))).outcome is Outcome.ACCEPTED
    assert judge(changed(SIGNED, _add(name, b""))).cause is Code.MALFORMED
