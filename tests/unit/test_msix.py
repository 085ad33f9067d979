"""MSIX packages and bundles: digests, block map, publisher, the archive (THREATS 8, 27, 32, 54-55).

Each rule is broken alone and must be refused for that reason.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import random
import re
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import catalog as catalogs
from conformance.authenticode import cms, pe
from conformance.authenticode.pki import Identity
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import (
    AmbiguousError,
    BadInputError,
    LimitError,
    MalformedError,
    NotSignableError,
)
from signward.findings import Code
from signward.formats import Existing, Match, peek_at
from signward.formats._msix_digest import PartHasher
from signward.formats._msix_package import read_package
from signward.formats._msix_publisher import name_of, name_text, parse_name
from signward.formats._msix_xml import read_elements, signed_types, unsigned_types
from signward.formats._spc import SIP_INFO
from signward.formats.msix import FORMAT, _digests, _Layout
from signward.inventory.classify import KINDS, classify
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.deep import InsideOut
from signward.verbs.verify import assess_path
from signward.wire import der
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource, open_source
from signward.wire.zip import ZipMember, place, read_directory
from signward.wire.zip_patch import Member, changed
from tests.builders import msix
from tests.signing import assess_bytes, context, identity, patch_of, sign_bytes

TYPES = "[Content_Types].xml"
SIGNATURE = "AppxSignature.p7x"
PACKAGE_SIP = bytes.fromhex("4bdfc50a07cee24db76e23c839a09fd1")
BUNDLE_SIP = bytes.fromhex("b3585f0fdeaa9a4ba43495742d92eceb")


def signed(data: bytes, name: str = "a.msix", **asked: Any) -> bytes:
    return sign_bytes(name, data, **asked)


def cause(data: bytes, folder: Path, name: str = "a.msix") -> Code | None:
    return assess_bytes(name, data, folder).cause


def findings(verdict: Verdict, code: Code) -> list[str]:
    own = [f for s in verdict.signatures for f in s.findings]
    return sorted({str(f) for f in (*verdict.findings, *own) if f.code is code})


def zipped_content(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def rezipped(data: bytes, **members: Member | None) -> bytes:
    """Change members of a signed package as any ZIP tool would, the signature left as it is."""
    source = BytesSource("a.msix", data)
    return b"".join(pieces(Patched(source, changed(source, members))))


def forced(
    data: bytes,
    *,
    who: Identity | None = None,
    digest: str = "sha256",
    signer: str = "",
    change_blob: Any = bytes,
    sip: bytes = PACKAGE_SIP,
    embed_certificates: bool = True,
    trailing: bytes = b"",
) -> bytes:
    """Sign what `sign` itself would refuse, with one rule broken."""
    who = who or identity()
    source = BytesSource("a.msix", data)
    bare = BytesSource(
        "a.msix", rezipped(data, **{TYPES: Member(data=msix.content_types(signed=True))})
    )
    layout = _Layout(package=read_package(bare))
    names = ("AXPC", "AXCD", "AXCT", "AXBM")
    computed = _digests(bare, layout, frozenset((n, digest) for n in names))
    blob = b"APPX" + b"".join(n.encode() + computed[n, digest] for n in names)
    value = der.sequence(der.integer(0x01010000), der.octet_string(sip), *[der.integer(0)] * 5)
    content = cms.indirect_data(SIP_INFO, value, digest, change_blob(blob))
    envelope = cms.sign(
        content, cms.Signer(identity=who, digest=signer or digest),
        certificates=[one.certificate for one in who.path] if embed_certificates else (),
        trailing=trailing,
    )  # fmt: skip
    return b"".join(pieces(Patched(source, FORMAT.embed(source, (envelope,)))))


# What is accepted


def test_kinds_are_recognised_by_content_and_name() -> None:
    for data, name in ((msix.package(), "a.bin"), (msix.bundle(make_appx=False), "b.bin")):
        assert FORMAT.recognise(peek_at(BytesSource(name, data))) is Match.SPECIFIC
    other = msix.Zip()
    other.add("readme.txt", b"text")
    plain = other.finish()
    assert FORMAT.recognise(peek_at(BytesSource("a.zip", plain))) is Match.NO
    assert FORMAT.recognise(peek_at(BytesSource("a.msix", plain))) is Match.MAGIC
    assert KINDS[classify(peek_at(BytesSource("a.msixbundle", msix.bundle())))].signable


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519", "ml-dsa-65"])
def test_every_hash_method_and_key(digest: str, kind: str, tmp_path: Path) -> None:
    who = identity(kind, f"Maker {kind}")
    data = msix.package(publisher=f"CN=Maker {kind}, O=Conformance", digest=digest)
    verdict = assess_bytes("a.msix", signed(data, who=who, digest=digest), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.facts["package"] == "Signward.Sample"


def test_a_file_named_as_a_package_that_is_no_archive_is_malformed(tmp_path: Path) -> None:
    assert cause(b"text", tmp_path) is Code.MALFORMED
    assert cause(b"text", tmp_path, "a.txt") is Code.UNSIGNED


def test_an_archive_that_cannot_be_read_is_not_called_unsigned(tmp_path: Path) -> None:
    plain = msix.Zip(make_appx=False)
    plain.add("a.txt", b"text")
    data = plain.finish()
    assert cause(data, tmp_path, "a.zip") is Code.UNSIGNED
    assert cause(data[:-9], tmp_path, "a.zip") is Code.MALFORMED
    assert cause(data[data.index(b"PK\1\2") :], tmp_path, "a") is Code.MALFORMED


def test_files_of_many_blocks(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024 + b"end"
    files = {"a.bin": content, "empty.txt": b"", "exact.bin": bytes(msix.BLOCK * 2)}
    for stored in ((), ("a.bin", "exact.bin")):
        data = signed(msix.package(files, stored=stored))
        assert cause(data, tmp_path) is None
        changed_block = bytearray(data)
        changed_block[data.index(content[:64]) + 100_000 if stored else 200] ^= 1
        assert cause(bytes(changed_block), tmp_path) is Code.DIGEST_MISMATCH


def test_a_package_without_a_signature_is_unsigned(tmp_path: Path) -> None:
    assert cause(msix.package(without=("AppxManifest.xml",)), tmp_path) is Code.UNSIGNED


# The five digests


@pytest.mark.parametrize("member", ["App.exe", "AppxManifest.xml", "AppxBlockMap.xml", TYPES])
def test_a_changed_member_is_named(member: str, tmp_path: Path) -> None:
    """Row 27: whatever a ZIP tool changes, the part it changed is reported."""
    data = signed(msix.package())
    source = BytesSource("a", data)
    old = next(m for m in read_directory(source).members if m.name == member)
    content = zipped_content(data, old.name)
    new = content.replace(b"x64", b"x86") if b"x64" in content else content + b" "
    verdict = assess_bytes("a.msix", rezipped(data, **{member: Member(data=new)}), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    slot = {"AppxBlockMap.xml": "AXBM", TYPES: "AXCT"}.get(member, f"file:{member}")
    assert any(slot in text for text in findings(verdict, Code.DIGEST_MISMATCH))


def test_a_changed_time_in_the_directory_is_axcd(tmp_path: Path) -> None:
    data = bytearray(signed(msix.package()))
    data[data.index(b"PK\1\2") + 12] ^= 1
    verdict = assess_bytes("a.msix", bytes(data), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert any("AXCD" in text for text in findings(verdict, Code.DIGEST_MISMATCH))


def test_a_changed_time_in_a_local_header_is_axpc(tmp_path: Path) -> None:
    data = bytearray(signed(msix.package()))
    data[10] ^= 1
    verdict = assess_bytes("a.msix", bytes(data), tmp_path)
    assert any("AXPC" in text for text in findings(verdict, Code.DIGEST_MISMATCH))


@pytest.mark.parametrize(
    "change",
    [
        lambda blob: b"APPY" + blob[4:],
        lambda blob: blob[:-1],
        lambda blob: blob + blob[-36:],
        lambda blob: blob[:4] + b"AXXX" + blob[8:],
        lambda blob: blob + b"AX",
    ],
)
def test_a_blob_of_digests_that_is_none_is_malformed(change: Any, tmp_path: Path) -> None:
    assert cause(forced(msix.package(), change_blob=change), tmp_path) is Code.MALFORMED


def test_a_digest_left_out_is_missed(tmp_path: Path) -> None:
    data = forced(msix.package(), change_blob=lambda blob: blob[:-36])
    assert cause(data, tmp_path) is Code.SLOT_MISSING


def test_a_signature_over_another_kind_is_malformed(tmp_path: Path) -> None:
    data = forced(msix.package(), sip=bytes(16))
    assert cause(data, tmp_path) is Code.MALFORMED


def test_a_bundles_identifier_on_a_package_is_a_warning(tmp_path: Path) -> None:
    data = forced(msix.package(), sip=BUNDLE_SIP)
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert findings(verdict, Code.ATTRIBUTE_RULE)


def test_digests_of_two_algorithms_are_inconsistent(tmp_path: Path) -> None:
    """Row 8: the block map's hash method, the content's digest and the signer's are one."""
    data = msix.package(digest="sha384")
    assert cause(forced(data), tmp_path) is Code.ALGORITHM_INCONSISTENT
    data = forced(msix.package(), signer="sha384")
    assert cause(data, tmp_path) is Code.ALGORITHM_INCONSISTENT


def test_an_unknown_hash_method_cannot_be_judged(tmp_path: Path) -> None:
    data = msix.package(change_map=lambda text: text.replace("xmlenc#sha256", "xmlenc#sm3"))
    assert cause(forced(data), tmp_path) is Code.UNSUPPORTED_ALGORITHM


# The block map


def test_a_file_the_block_map_does_not_list_is_missed(tmp_path: Path) -> None:
    data = msix.package(unlisted={"evil.exe": b"MZ evil"})
    verdict = assess_bytes("a.msix", signed(data), tmp_path)
    assert verdict.cause is Code.SLOT_MISSING
    assert any("file:evil.exe" in text for text in findings(verdict, Code.SLOT_MISSING))


def test_the_content_types_that_jsign_6_leaves_behind_are_no_file(tmp_path: Path) -> None:
    data = msix.package(unlisted={"[Content_Types].old": msix.content_types()})
    assert cause(signed(data), tmp_path) is None


def test_a_file_added_to_a_signed_package_is_missed(tmp_path: Path) -> None:
    data = rezipped(signed(msix.package()), **{"evil.exe": Member(data=b"MZ"), SIGNATURE: None})
    blob = FORMAT.envelopes(BytesSource("a", signed(msix.package())))[0]
    whole = rezipped(data, **{SIGNATURE: Member(data=b"PKCX" + blob, stored=True)})
    assert cause(whole, tmp_path) is Code.SLOT_MISSING


def test_a_file_behind_the_signature_is_ambiguous(tmp_path: Path) -> None:
    data = rezipped(signed(msix.package()), **{"evil.exe": Member(data=b"MZ")})
    assert cause(data, tmp_path) is Code.AMBIGUOUS


def test_a_file_removed_is_a_mismatch(tmp_path: Path) -> None:
    data = rezipped(signed(msix.package()), **{"App.exe": None})
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert any("file:App.exe" in text for text in findings(verdict, Code.DIGEST_MISMATCH))


def test_a_signer_whose_block_map_lies_is_refused(tmp_path: Path) -> None:
    """Row 27: everything is signed, and the block map's digests are still not the files'."""
    other = base64.b64encode(bytes(32)).decode()
    data = msix.package(
        change_map=lambda text: re.sub('Hash="[^"]*"', f'Hash="{other}"', text, count=1)
    )
    assert cause(signed(data), tmp_path) is Code.DIGEST_MISMATCH


def lies(old: str, new: str) -> bytes:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return signed(msix.package({"App.exe": bytes(100_000)}, change_map=change))


def test_a_wrong_local_header_size_is_refused(tmp_path: Path) -> None:
    verdict = assess_bytes("a.msix", lies('LfhSize="37"', 'LfhSize="38"'), tmp_path)
    assert verdict.cause is Code.AMBIGUOUS
    assert any("local header of 38" in text for text in findings(verdict, Code.AMBIGUOUS))


def _sizes() -> list[int]:
    return msix.deflate(bytes(100_000))[1]


def test_wrong_packed_sizes_are_refused(tmp_path: Path) -> None:
    first, _last = _sizes()
    data = lies(f'Size="{first}"', f'Size="{first + 9}"')
    assert cause(data, tmp_path) is Code.DIGEST_MISMATCH


def test_packed_sizes_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    _first, last = _sizes()
    assert cause(lies(f'Size="{last}"', f'Size="{last - 2}"'), tmp_path) is Code.AMBIGUOUS


def test_shifted_block_boundaries_are_refused(tmp_path: Path) -> None:
    first, second = _sizes()

    def change(text: str) -> str:
        text = text.replace(f'Size="{first}"', f'Size="{first + 1}"', 1)
        return text.replace(f'Size="{second}"', f'Size="{second - 1}"', 1)

    data = signed(msix.package({"App.exe": bytes(100_000)}, change_map=change))
    assert cause(data, tmp_path) is Code.DIGEST_MISMATCH


def test_packed_sizes_of_a_stored_file_are_refused(tmp_path: Path) -> None:
    def change(text: str) -> str:
        return text.replace('="/>', '=" Size="7"/>', 1)

    data = msix.package({"a.bin": b"content"}, stored=("a.bin",), change_map=change)
    assert cause(signed(data), tmp_path) is Code.AMBIGUOUS


def test_deflated_files_without_packed_sizes_warn(tmp_path: Path) -> None:
    def change(text: str) -> str:
        return re.sub(r'(="[^"]*=") Size="\d+"', r"\1", text)

    verdict = assess_bytes("a.msix", signed(msix.package(change_map=change)), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert findings(verdict, Code.AMBIGUOUS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('Size="100000"', 'Size="200000"'),
        ('Size="100000"', 'Size="65536"'),
        ('Size="100000"', 'Size="-1"'),
        ('Size="100000"', ""),
        ('LfhSize="37"', ""),
        ('Hash="', 'Hash="!'),
        ('Name="AppxManifest.xml"', 'Name="App.exe"'),
        ('Name="AppxManifest.xml"', 'Name="[Content_Types].xml"'),
        ("</BlockMap>", ""),
        ("<BlockMap", "<!DOCTYPE x [<!ENTITY y 'z'>]><BlockMap"),
    ],
)
def test_a_malformed_block_map(old: str, new: str, tmp_path: Path) -> None:
    data = msix.package({"App.exe": bytes(100_000)},
                        change_map=lambda text: text.replace(old, new, 1))  # fmt: skip
    assert cause(forced(data), tmp_path) is Code.MALFORMED


def test_a_block_map_without_files_is_malformed(tmp_path: Path) -> None:
    data = msix.package(change_map=lambda text: re.sub("<File.*</File>", "", text))
    assert cause(forced(data), tmp_path) is Code.MALFORMED


def test_extensions_of_the_block_map_are_left_aside(tmp_path: Path) -> None:
    def change(text: str) -> str:
        return text.replace("</File>", '<x:FileHash xmlns:x="urn:x" Hash="?"/></File>')

    assert cause(signed(msix.package(change_map=change)), tmp_path) is None


# The publisher


def test_another_publisher_than_the_signer_is_refused(tmp_path: Path) -> None:
    data = forced(msix.package(publisher="CN=Somebody Else, O=Conformance"))
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.cause is Code.PUBLISHER_MISMATCH
    (text,) = findings(verdict, Code.PUBLISHER_MISMATCH)
    assert "CN=Somebody Else, O=Conformance" in text
    assert "CN=Signing Test Publisher, O=Conformance" in text
    policy = Policy(stage=Stage.INTACT)
    assert assess_bytes("a.msix", data, tmp_path, policy=policy).cause is Code.PUBLISHER_MISMATCH


def test_another_publisher_cannot_be_signed() -> None:
    with pytest.raises(NotSignableError, match="Somebody") as caught:
        signed(msix.package(publisher="CN=Somebody"))
    assert "CN=Signing Test Publisher, O=Conformance" in str(caught.value)


def test_a_publisher_that_is_no_name(tmp_path: Path) -> None:
    data = msix.package(publisher="Signing Test Publisher")
    with pytest.raises(NotSignableError, match="CN=Name"):
        signed(data)
    assert cause(forced(data), tmp_path) is Code.PUBLISHER_MISMATCH


def test_a_certificate_that_is_not_embedded_leaves_the_publisher_open(tmp_path: Path) -> None:
    data = forced(msix.package(), embed_certificates=False)
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(identity().pem)
    verdict = assess_bytes("a.msix", data, tmp_path, certificates=(str(leaf),))
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.KEY_MISSING)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=A, O=B", "cn = A,O=B"),
        ("CN=A; O=B", "CN=A, O=B"),
        ('CN="A", O=B', "CN=A, O=B"),
        ("OID.2.5.4.3=A", "CN=A"),
        ("S=Bavaria", "ST=Bavaria"),
        ("CN=A + OU=B", "OU=B+CN=A"),
        ('CN="A ""B"" C"', 'CN="A ""B"" C"'),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert parse_name(one) == parse_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=A, O=B", "O=B, CN=A"),
        ("CN=A", "CN=a"),
        ("CN=A  B", "CN=A B"),
        ("CN=A", "CN=A, O=B"),
        ("CN=A + OU=B", "CN=A, OU=B"),
        ('CN=" A"', "CN=A"),
    ],
)
def test_names_that_differ(one: str, other: str) -> None:
    assert parse_name(one) != parse_name(other)


@pytest.mark.parametrize("text", ["", "A", "CN", "XX=A", "CN=A,", 'CN="A', "CN=A\nO=B", "CN=a<b"])
def test_texts_that_are_no_names(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_name(text)


def test_a_name_has_a_bound() -> None:
    with pytest.raises(LimitError):
        parse_name("CN=" + "A" * 9000)


@given(st.lists(st.tuples(st.sampled_from(["2.5.4.3", "2.5.4.10", "2.5.4.8", "1.2.3"]),
                          st.text(max_size=20)), min_size=1, max_size=5))  # fmt: skip
def test_a_subject_written_as_windows_does_is_read_back(pairs: list[tuple[str, str]]) -> None:
    subject = der.sequence(
        *(der.set_of(der.sequence(der.oid(o), der.utf8(t))) for o, t in pairs if t.isprintable())
    )
    name = name_of(subject)
    assert not name or parse_name(name_text(name)) == name


def test_a_value_that_is_no_string_is_written_as_hexadecimal() -> None:
    pair = der.sequence(der.oid("2.5.4.3"), der.integer(5))
    name = name_of(der.sequence(der.set_of(pair)))
    assert name == ((("2.5.4.3", "#020105"),),)


# XML


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE Package><Package/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a>&undeclared;</a>",
        "<a>",
        "",
        '<?xml version="1.0" encoding="no-such-codec"?><a/>',
        '<?xml version="1.0" encoding="utf-7"?><a/>',
    ],
)
def test_xml_that_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        read_elements(text.encode(), "part", lambda *_: None)


def test_xml_nested_too_deeply() -> None:
    with pytest.raises(LimitError):
        read_elements(b"<a>" * 70 + b"</a>" * 70, "part", lambda *_: None)


@given(st.binary(max_size=64))
def test_bytes_that_are_hardly_xml_raise_only_bad_input(data: bytes) -> None:
    for wrapped in (data, b"<a " + data + b"/>"):
        with contextlib.suppress(BadInputError):
            read_elements(wrapped, "part", lambda *_: None)


def test_a_manifest_with_two_identities_is_malformed(tmp_path: Path) -> None:
    text = msix.manifest().replace(b"</Package>", b"<Identity Publisher='CN=X'/></Package>")
    assert cause(forced(msix.package(manifest_xml=text)), tmp_path) is Code.MALFORMED


def test_a_package_without_a_manifest_is_malformed(tmp_path: Path) -> None:
    data = msix.package(without=("AppxManifest.xml",))
    assert cause(forced(data), tmp_path) is Code.MALFORMED


# Content types


def test_the_override_is_written_once_and_taken_off() -> None:
    plain = msix.content_types()
    assert signed_types(plain) == msix.content_types(signed=True)
    assert signed_types(signed_types(plain)) == signed_types(plain)
    assert unsigned_types(signed_types(plain)) == plain


def test_the_override_takes_the_roots_prefix() -> None:
    text = b'<ct:Types xmlns:ct="http://schemas.openxmlformats.org/package/2006/content-types">'
    assert b"<ct:Override PartName" in signed_types(text + b"</ct:Types>")


@pytest.mark.parametrize(
    "data",
    [
        b'<Types xmlns="x"/>',
        msix.content_types(signed=True).replace(b"appx.signature", b"appx.other"),
        msix.content_types().decode().replace("utf-8", "utf-16").encode("utf-16"),
    ],
)
def test_content_types_that_cannot_be_edited(data: bytes) -> None:
    with pytest.raises(NotSignableError):
        signed(msix.package(types=data))


# Bundles


@pytest.mark.parametrize(
    ("old", "new"),
    [('Offset="', 'Offset="1'), ('Size="', 'Size="1'), ('FileName="app', 'FileName="no')],
)
def test_packages_that_lie_elsewhere_are_refused(old: str, new: str, tmp_path: Path) -> None:
    data = msix.bundle(change_manifest=lambda text: text.replace(old, new, 1))
    verdict = assess_bytes("a.msixbundle", signed(data, "a.msixbundle"), tmp_path)
    expected = Code.SLOT_MISSING if old.startswith("FileName") else Code.AMBIGUOUS
    assert verdict.cause is expected


def test_a_flat_bundle_speaks_of_files_beside_it(tmp_path: Path) -> None:
    extra = '<Package FileName="beside.msix" Size="5"/></Packages>'
    data = msix.bundle(change_manifest=lambda text: text.replace("</Packages>", extra))
    assert cause(signed(data, "a.msixbundle"), tmp_path, "a.msixbundle") is None


def test_a_changed_package_in_a_bundle_is_refused(tmp_path: Path) -> None:
    data = bytearray(signed(msix.bundle(), "a.msixbundle"))
    data[200] ^= 1
    assert cause(bytes(data), tmp_path, "a.msixbundle") is Code.DIGEST_MISMATCH


def test_packages_behind_the_content_types_stay_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(NotSignableError, match="packages behind it"):
        signed(msix.bundle(types_first=True), "a.msixbundle")


# CodeIntegrity.cat


def _catalog(*programs: bytes, **signer: Any) -> bytes:
    members = [catalogs.member(program) for program in programs]
    who = identity()
    chain = [one.certificate for one in who.path]
    return catalogs.signed(members, cms.Signer(identity=who, **signer), certificates=chain)


def test_code_integrity_has_its_own_digest(tmp_path: Path) -> None:
    program = pe.image()
    data = signed(msix.package({"App.exe": program}, catalog=_catalog(program)))
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert not findings(verdict, Code.SLOT_MISSING)
    assert ("AXCI-sha256") in verdict.digests
    removed = rezipped(data, **{"AppxMetadata/CodeIntegrity.cat": None})
    assert cause(removed, tmp_path) is Code.DIGEST_MISMATCH


def test_code_integrity_that_nobody_signed_for_is_missed(tmp_path: Path) -> None:
    program = pe.image()
    data = forced(msix.package({"App.exe": program}, catalog=_catalog(program)))
    assert cause(data, tmp_path) is Code.SLOT_MISSING


def test_code_integrity_with_a_broken_signature_is_refused(tmp_path: Path) -> None:
    program = pe.image()
    data = signed(msix.package({"App.exe": program}, catalog=_catalog(program, break_value=True)))
    assert cause(data, tmp_path) is Code.SIGNATURE_MISMATCH


def test_a_program_the_catalog_leaves_out_is_told(tmp_path: Path) -> None:
    program, other = pe.image(), pe.image(plus=False)
    files = {"App.exe": program, "Other.dll": other, "text.dll": b"no image"}
    verdict = assess_bytes(
        "a.msix", signed(msix.package(files, catalog=_catalog(program))), tmp_path
    )
    assert verdict.outcome is Outcome.ACCEPTED
    assert ["Other.dll" in text for text in findings(verdict, Code.SLOT_MISSING)] == [True]


# The signature part and the archive


def _part(data: bytes, content: bytes, **form: Any) -> bytes:
    return rezipped(data, **{SIGNATURE: Member(data=content, **form)})


def test_bytes_behind_the_pkcs7_are_uncovered(tmp_path: Path) -> None:
    data = signed(msix.package())
    blob = FORMAT.envelopes(BytesSource("a", data))[0]
    assert cause(_part(data, b"PKCX" + blob), tmp_path) is None  # deflated, as osslsigncode does
    assert cause(_part(data, b"PKCX" + blob + b"x"), tmp_path) is Code.UNCOVERED_CONTENT
    assert cause(_part(data, b"PKCY" + blob), tmp_path) is Code.MALFORMED


def test_bytes_behind_the_deflate_data_are_uncovered(tmp_path: Path) -> None:
    data = signed(msix.package(make_appx=False))
    blob = b"PKCX" + FORMAT.envelopes(BytesSource("a", data))[0]
    packed = msix.deflate(blob)[0] + b"hidden"
    whole = _part(data, blob)
    member = next(m for m in read_directory(BytesSource("a", whole)).members if m.name == SIGNATURE)
    where = place(BytesSource("a", whole), member)
    sizes = len(packed).to_bytes(4, "little")
    local = bytearray(whole[where.start : where.data])
    local[18:22] = sizes
    central = bytearray(whole[member.record : member.record_end])
    central[20:24] = sizes
    end = bytearray(whole[member.record_end :])
    start = int.from_bytes(end[16:20], "little") + len(packed) - member.packed
    end[16:20] = start.to_bytes(4, "little")
    directory = whole[where.end : member.record]
    crafted = whole[: where.start] + local + packed + directory + central + end
    assert cause(crafted, tmp_path) is Code.UNCOVERED_CONTENT


def _with_signature_header(data: bytes, *, extra: bytes = b"", comment: bytes = b"") -> bytes:
    """Put an extra field and a comment into the signature's central header."""
    source = BytesSource("a", data)
    directory = read_directory(source)
    member = directory.members[-1]
    record = bytearray(data[member.record : member.record_end])
    record[30:34] = len(extra).to_bytes(2, "little") + len(comment).to_bytes(2, "little")
    end = bytearray(data[member.record_end :])
    grown = len(extra) + len(comment)
    size = int.from_bytes(end[12:16], "little") + grown
    end[12:16] = size.to_bytes(4, "little")
    return data[: member.record] + bytes(record) + extra + comment + bytes(end)


def test_what_hides_in_the_signatures_headers_is_uncovered(tmp_path: Path) -> None:
    data = signed(msix.package(make_appx=False))
    assert cause(_with_signature_header(data), tmp_path) is None
    hidden = _with_signature_header(data, comment=b"hidden")
    assert cause(hidden, tmp_path) is Code.UNCOVERED_CONTENT
    hidden = _with_signature_header(data, extra=b"\x99\x99\x04\0evil")
    assert cause(hidden, tmp_path) is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize("where", ["before", "behind", "between"])
def test_bytes_outside_the_members_are_ambiguous(where: str, tmp_path: Path) -> None:
    """Row 32."""
    data = signed(msix.package(make_appx=False))
    start = read_directory(BytesSource("a", data)).start
    if where == "between":
        end = bytearray(data[start:])
        at = len(end) - 6
        end[at : at + 4] = (start + 4).to_bytes(4, "little")
        data = data[:start] + b"evil" + bytes(end)
    else:
        data = b"evil" + data if where == "before" else data + b"evil"
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.outcome is not Outcome.ACCEPTED
    if where != "before":
        assert verdict.cause is Code.AMBIGUOUS


def test_an_apk_signing_block_behind_the_signature_is_ambiguous(tmp_path: Path) -> None:
    """No digest reaches it: AXPC ends at the signature, AXCD begins with the directory."""
    data = signed(msix.package(make_appx=False))
    start = read_directory(BytesSource("a", data)).start
    block = b"evil" * 10 + b"APK Sig Block 42"
    end = bytearray(data[start:])
    at = len(end) - 6
    end[at : at + 4] = (start + len(block)).to_bytes(4, "little")
    assert cause(data[:start] + block + bytes(end), tmp_path) is Code.AMBIGUOUS


def test_a_signature_under_another_spelling_is_ambiguous(tmp_path: Path) -> None:
    """Its name is in no digest; who knows no escapes finds no signature."""
    data = signed(msix.package(make_appx=False))
    source = BytesSource("a.msix", data)
    envelope = b"PKCX" + FORMAT.envelopes(source)[0]
    members = {SIGNATURE: None, "AppxSignature%2Ep7x": Member(data=envelope, stored=True)}
    assert cause(rezipped(data, **members), tmp_path) is Code.AMBIGUOUS


def test_a_package_with_a_bundles_manifest_too_is_ambiguous(tmp_path: Path) -> None:
    """Else the publisher of the one is compared, and the other's is installed."""
    other = msix.manifest("CN=Somebody Else")
    ours = f'<Bundle><Identity Name="a" Version="1.0.0.0" Publisher="{msix.PUBLISHER}"/></Bundle>'
    files = {"AppxMetadata/AppxBundleManifest.xml": ours.encode()}
    data = msix.package(files, manifest_xml=other)
    assert cause(data, tmp_path) is Code.AMBIGUOUS
    with pytest.raises(AmbiguousError, match="a package or a bundle"):
        signed(data)


def test_packed_bytes_behind_a_files_data_are_a_mismatch(tmp_path: Path) -> None:
    """Also where the data ends with a piece that was read, and the rest comes in the next."""
    content = bytes(70_000)
    part = zlib.compress(content, wbits=-15) + b"evil"
    hasher = PartHasher(_member(part, content), ("file:a", "sha256"), blocks=True)
    for at in range(len(part)):
        hasher.update(memoryview(part)[at : at + 1])
    assert hasher.digest() is None


def _member(packed: bytes, content: bytes) -> ZipMember:
    return ZipMember(
        raw_name=b"a", name="a", flags=0, method=8, crc=zlib.crc32(content), packed=len(packed),
        size=len(content), local=0, record=0, record_end=0,
    )  # fmt: skip


def test_an_unpacker_lives_no_longer_than_its_part() -> None:
    """A package may hold 200,000 parts: their unpackers would take gigabytes at once."""
    content = random.Random(1).randbytes(70_000)
    part = zlib.compress(content, wbits=-15)
    tracemalloc.start()
    try:
        hashers = []
        for _ in range(200):
            hashers.append(PartHasher(_member(part, content), ("a", "sha256"), blocks=False))
            hashers[-1].update(memoryview(part))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {hasher.digest() for hasher in hashers} == {hashlib.sha256(content).digest()}
    assert all(hasher._unpacker is None for hasher in hashers)
    assert held < 200 * 4096


def test_two_members_of_one_name_are_ambiguous(tmp_path: Path) -> None:
    for twin in ("App.exe", "app.EXE", "App%2Eexe"):
        archive = msix.Zip()
        for name in ("App.exe", twin, "AppxManifest.xml"):
            archive.add(name, msix.manifest())
        assert cause(archive.finish(), tmp_path) is Code.AMBIGUOUS


def test_members_no_package_may_hold(tmp_path: Path) -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("AppxManifest.xml", "x", compress_type=zipfile.ZIP_BZIP2)
    assert cause(output.getvalue(), tmp_path) is Code.MALFORMED
    crypt = bytearray(msix.package())
    for magic in (b"PK\3\4", b"PK\1\2"):
        crypt[crypt.index(magic) + (6 if magic[2] == 3 else 8)] |= 1
    assert cause(bytes(crypt), tmp_path) is Code.MALFORMED


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """Row 55."""
    data = msix.package({"a.bin": bytes(80 * 1024 * 1024)})
    assert cause(data, tmp_path) is Code.LIMIT_EXCEEDED


# Signing


@pytest.mark.parametrize("part", ["AppxBlockMap.xml", TYPES, "AppxManifest.xml"])
def test_what_is_not_packed_cannot_be_signed(part: str) -> None:
    with pytest.raises(NotSignableError, match="MakeAppx pack"):
        signed(msix.package(without=(part,)))


def test_another_digest_than_the_block_maps_cannot_be_signed() -> None:
    with pytest.raises(NotSignableError, match="sha256, the hash method of the block map"):
        signed(msix.package(), digest="sha384")


def test_signatures_do_not_nest() -> None:
    once = signed(msix.package())
    with pytest.raises(NotSignableError, match="no nested signatures"):
        signed(once, existing=Existing.NESTED)
    assert signed(once, existing=Existing.REPLACE) == once


def test_only_what_signing_needs_is_changed() -> None:
    data = msix.package()
    patch = patch_of(BytesSource("a.msix", data))
    types = next(m for m in read_directory(BytesSource("a", data)).members if m.name == TYPES)
    assert all(edit.start >= types.local for edit in patch.edits)


def test_disk_numbers_become_zero() -> None:
    data = msix.package()
    assert data[-18:-14] == b"\xff" * 4
    assert signed(data)[-18:-14] == bytes(4)


# Signing inside out


def _deep(name: str, data: bytes) -> tuple[bytes, list[str]]:
    inside = InsideOut(Existing.REFUSE, lambda _form, source: Patched(source, patch_of(source)))
    bare = b"".join(pieces(inside(BytesSource(name, data))))
    return signed(bare, name), inside.names


PROGRAMS = {"App.exe": pe.image(), "a/Other & x.dll": pe.image(plus=False) + bytes(150_000),
            "empty.txt": b"", "a.txt": b"text"}  # fmt: skip


@pytest.mark.parametrize("make_appx", [True, False])
def test_signing_programs_inside_brings_the_block_map_up_to_date(
    make_appx: bool, tmp_path: Path
) -> None:
    before = msix.package(PROGRAMS, make_appx=make_appx)
    data, names = _deep("a.msix", before)
    assert names == ["App.exe", "a/Other%20%26%20x.dll"]
    verdict = assess_bytes("a.msix", data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert assess_bytes("App.exe", zipped_content(data, "App.exe"), tmp_path).cause is None
    assert zipped_content(data, "a.txt") == b"text"
    old = zipped_content(before, "AppxBlockMap.xml")
    new = zipped_content(data, "AppxBlockMap.xml")
    kept = re.findall(rb"<File Name=.(?:a.txt|empty.txt|AppxManifest.xml).*?</File>", old)
    assert len(kept) == 3
    assert all(element in new for element in kept)


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_files_changed_before_signing_are_listed_anew(digest: str, tmp_path: Path) -> None:
    data = msix.package({"a.bin": b"old", "b.bin": b"other"}, digest=digest)
    content = bytes(range(256)) * 600
    changed_data = rezipped(data, **{"a.bin": Member(data=content)})
    fresh = b"".join(pieces(FORMAT.relisted(BytesSource("a.msix", changed_data))))
    verdict = assess_bytes("a.msix", signed(fresh, digest=digest), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    source = BytesSource("a.msix", data)
    assert FORMAT.relisted(source) is source


def test_signing_packages_inside_a_bundle_brings_its_manifest_up_to_date(tmp_path: Path) -> None:
    packages = {"one.msix": msix.package(PROGRAMS), "two.msix": msix.package()}
    data, names = _deep("a.msixbundle", msix.bundle(packages))
    assert "one.msix!App.exe" in names
    assert names[-1] == "two.msix"
    verdict = assess_bytes("a.msixbundle", data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    for name in packages:
        assert assess_bytes(name, zipped_content(data, name), tmp_path).cause is None


def test_a_package_that_keeps_its_signature_keeps_what_it_covers(tmp_path: Path) -> None:
    """Programs in it that nobody signed stay so: signing them would break its own."""
    kept = signed(msix.package(PROGRAMS), "one.msix")
    packages = {"one.msix": kept, "two.msix": msix.package()}
    data, names = _deep("a.msixbundle", msix.bundle(packages))
    assert names == ["two.msix"]
    assert zipped_content(data, "one.msix") == kept
    for name in packages:
        assert assess_bytes(name, zipped_content(data, name), tmp_path).cause is None


def test_a_bomb_is_not_opened_to_be_signed() -> None:
    """Members that overlap promise far more than there is; each alone would be let pass."""
    archive = msix.Zip(make_appx=False)
    archive.add("a.exe", bytes(60 << 20))
    central = archive.central[0]
    archive.central += [central.replace(b"a.exe", b"%c.exe" % one) for one in b"bcdef"]
    inside = InsideOut(Existing.REFUSE, lambda _form, source: source)
    with pytest.raises(LimitError, match="packed into"):
        inside(BytesSource("a.zip", archive.finish()))


def test_lists_that_are_no_utf_8_are_not_edited() -> None:
    data = msix.package()
    text = zipped_content(data, "AppxBlockMap.xml").decode().replace("UTF-8", "UTF-16")
    utf16 = rezipped(data, **{"AppxBlockMap.xml": Member(data=text.encode("utf-16")),
                              "App.exe": Member(data=b"changed")})  # fmt: skip
    with pytest.raises(NotSignableError, match="UTF-8"):
        FORMAT.relisted(BytesSource("a.msix", utf16))


# Memory


def test_a_large_package_is_read_and_signed_in_pieces(tmp_path: Path) -> None:
    """Only edits are held: the members' bytes stay in the file."""
    path = tmp_path / "large.msix"
    content = random.Random(5).randbytes(5 * 1024 * 1024)
    path.write_bytes(msix.package({"a.bin": content}, stored=("a.bin",)))
    with open_source(path) as source:
        patch = patch_of(source)
        assert sum(edit.length for edit in patch.edits) < 16 * 1024
        path.with_suffix(".appx").write_bytes(b"".join(pieces(Patched(source, patch))))
    verdict = assess_path(path.with_suffix(".appx"), context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED


_CHILD = """
import sys
from pathlib import Path
from signward.verbs.deep import InsideOut
from signward.verbs.verify import assess_path
from signward.wire.patch import Patched, pieces
from signward.wire.source import open_source
from tests.signing import context, patch_of
path, out = Path(sys.argv[1]), Path(sys.argv[2])
with open_source(path) as source, out.open("wb") as target:
    for piece in pieces(Patched(source, patch_of(source))):
        target.write(piece)
print(assess_path(out, context(out.parent)).outcome)
print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
def test_a_package_of_100_mb_is_signed_and_verified_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.msix"
    chooser = random.Random(6)
    files = {f"{n}.bin": chooser.randbytes(10_000_000) + bytes(200_000) for n in range(10)}
    path.write_bytes(msix.package(files))
    assert path.stat().st_size > 100_000_000
    command = [sys.executable, "-c", _CHILD, str(path), str(tmp_path / "signed.msix")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    outcome, peak = told.stdout.split()
    assert outcome == "accepted"
    assert int(peak) < 80_000  # KiB: an interpreter with its libraries takes 33,000


def test_embedding_works_on_sources_in_memory() -> None:
    inner = signed(msix.package())
    source = BytesSource("inner.msix", inner)
    envelopes = FORMAT.envelopes(source)
    bare = b"".join(pieces(Patched(source, FORMAT.embed(source, ()))))
    again = BytesSource("inner.msix", bare)
    assert b"".join(pieces(Patched(again, FORMAT.embed(again, envelopes)))) == inner
