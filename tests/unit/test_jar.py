"""JARs: every entry covered by every signature, or the right cause says why not (THREATS 36)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, instant, issue

from signward.envelopes.cms_plain import PlainDraft
from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Existing, Match, all_formats, peek_at, recognise
from signward.formats import _jar_manifest as text
from signward.inventory.classify import classify
from signward.state import Outcome, Verdict
from signward.wire.source import BytesSource
from tests.builders import jars
from tests.builders.jars import archive, changed, members_of
from tests.signing import (
    assess_bytes,
    authority,
    identity,
    sign_bytes,
    signer_of,
    strip_bytes,
)

SF, BLOCK = "META-INF/SIGNER.SF", "META-INF/SIGNER.RSA"
CLASS = "a/Main.class"


def judged(data: bytes, folder: Path, **options: object) -> Verdict:
    return assess_bytes("a.jar", data, folder, **options)


def cause(data: bytes, folder: Path) -> Code | None:
    verdict = judged(data, folder)
    assert (verdict.outcome is Outcome.ACCEPTED) == (verdict.cause is None)
    return verdict.cause


def signed(members: Mapping[str, bytes] = jars.MEMBERS, **asked: object) -> bytes:
    return sign_bytes("a.jar", archive(members), **asked)


def block_over(data: bytes, digest: str = "sha256") -> bytes:
    """Return a block without signed attributes, as jarsigner made them for long."""
    signer = signer_of(identity(), digest)
    draft = PlainDraft(content=data, signer=signer, attached=False, certificates=True)
    return draft.seal(identity().key.sign(draft.to_be_signed, digest))


def attr(algorithm: str, data: bytes, suffix: str = text.DIGEST) -> text.Pair:
    return text.digest_pair(algorithm, hashlib.new(algorithm, data).digest(), suffix)


def by_hand(
    members: Mapping[str, bytes],
    *,
    manifest: bytes | None = None,
    main: list[text.Pair] | None = None,
    sections: Mapping[str, bytes] | None = None,
    algorithm: str = "sha256",
    version: str = "1.0",
) -> bytes:
    """Return a JAR signed by hand: signature file over a manifest, section by section.

    ``main`` are the attributes of its main section, ``sections`` the octets of the manifest that
    it takes for the entries'.
    """
    listed = {
        name: text.write_section([("Name", name), attr(algorithm, data)])
        for name, data in members.items()
    }
    manifest = manifest or jars.MANIFEST + b"".join(listed.values())
    if main is None:
        main = [attr(algorithm, jars.MANIFEST, text.OF_MAIN)]
    own = text.write_section([("Signature-Version", version), *main]) + b"".join(
        text.write_section([("Name", name), attr(algorithm, octets)])
        for name, octets in (listed if sections is None else sections).items()
    )
    return archive({"META-INF/MANIFEST.MF": manifest, SF: own, BLOCK: block_over(own), **members})


ONE = {"a/b.txt": b"text\n"}


# --- what is accepted ------------------------------------------------------------


def test_a_signed_jar_is_accepted_and_named(tmp_path: Path) -> None:
    verdict = judged(signed(), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.format == "jar"
    assert verdict.publisher is not None
    assert verdict.publisher.identity == "subject:Conformance/Signing Test Publisher"


def test_repacked_members_stay_signed(tmp_path: Path) -> None:
    assert cause(archive(members_of(signed()), comment=b"anything"), tmp_path) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_block_without_attributes_counts(tmp_path: Path, algorithm: str) -> None:
    assert cause(by_hand(ONE, algorithm=algorithm), tmp_path) is None


def test_sections_may_be_digested_without_the_line_behind_them(tmp_path: Path) -> None:
    section = text.write_section([("Name", "a/b.txt"), attr("sha256", ONE["a/b.txt"])])
    data = by_hand(ONE, sections={"a/b.txt": section[:-2]})
    assert cause(data, tmp_path) is None


def test_a_jar_in_a_jar_is_an_entry_like_others(tmp_path: Path) -> None:
    inner = signed()
    assert cause(archive({"lib/inner.jar": inner}), tmp_path) is Code.UNSIGNED
    outer = signed({"lib/inner.jar": inner})
    assert cause(outer, tmp_path) is None
    other = changed(outer, {"lib/inner.jar": signed({"x": b"other"})})
    assert cause(other, tmp_path) is Code.DIGEST_MISMATCH


def test_names_are_taken_in_any_case(tmp_path: Path) -> None:
    members = members_of(signed())
    renamed = {
        name.replace("SIGNER.SF", "signer.sf").replace("META-INF/MANIFEST.MF",
                                                       "meta-inf/manifest.mf"): data
        for name, data in members.items()
    }  # fmt: skip
    assert cause(archive(renamed), tmp_path) is None


# --- entries ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["evil.class", "META-INF/versions/9/a/Main.class", "META-INF/services/x", "META-INF/SIG-X.YZ",
     "META-INF/INDEX.LIST", "META-INF/SUB/X.SF", "META-INF/OTHER.SF", "META-INF/OTHER.RSA",
     "META-INF/\u017f.\u017ff"],
)  # fmt: skip
def test_an_added_entry_is_not_covered(tmp_path: Path, name: str) -> None:
    verdict = judged(changed(signed(), {name: b"\xca\xfe\xba\xbe"}), tmp_path)
    assert verdict.cause is Code.SLOT_MISSING
    assert any(name in finding.found for s in verdict.signatures for finding in s.findings)


def test_a_changed_entry_is_told(tmp_path: Path) -> None:
    verdict = judged(changed(signed(), {CLASS: b"other"}), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert any(CLASS in finding.subject for s in verdict.signatures for finding in s.findings)


def test_a_removed_entry_is_told(tmp_path: Path) -> None:
    assert cause(changed(signed(), {CLASS: None}), tmp_path) is Code.DIGEST_MISMATCH


def test_a_folder_with_content_must_be_covered(tmp_path: Path) -> None:
    assert cause(changed(signed(), {"b/": b""}), tmp_path) is None
    assert cause(changed(signed(), {"b/": b"hidden"}), tmp_path) is Code.SLOT_MISSING


def test_what_is_added_to_manifest_and_signature_file_is_no_use(tmp_path: Path) -> None:
    data = signed()
    section = text.write_section([("Name", "evil.class"), attr("sha256", b"evil")])
    manifest = members_of(data)["META-INF/MANIFEST.MF"] + section
    added = {"evil.class": b"evil", "META-INF/MANIFEST.MF": manifest}
    assert cause(changed(data, added), tmp_path) is Code.SLOT_MISSING
    listed = text.write_section([("Name", "evil.class"), attr("sha256", section)])
    with_file = {**added, SF: members_of(data)[SF] + listed}
    assert cause(changed(data, with_file), tmp_path) is Code.DIGEST_MISMATCH


# --- the manifest ----------------------------------------------------------------


def test_main_attributes_are_covered(tmp_path: Path) -> None:
    data = signed()
    manifest = members_of(data)["META-INF/MANIFEST.MF"]
    other = manifest.replace(b"Main-Class: a.Main", b"Main-Class: a.Evil")
    assert cause(changed(data, {"META-INF/MANIFEST.MF": other}), tmp_path) is Code.DIGEST_MISMATCH


def test_main_attributes_that_nobody_digested_are_not_covered(tmp_path: Path) -> None:
    assert cause(by_hand(ONE, main=[]), tmp_path) is Code.SLOT_MISSING


def test_a_digest_of_the_whole_manifest_does(tmp_path: Path) -> None:
    section = text.write_section([("Name", "a/b.txt"), attr("sha256", ONE["a/b.txt"])])
    whole = attr("sha256", jars.MANIFEST + section, text.OF_MANIFEST)
    assert cause(by_hand(ONE, main=[whole]), tmp_path) is None
    # ... of entries that the signature file names, and of no others.
    assert cause(by_hand(ONE, main=[whole], sections={}), tmp_path) is Code.SLOT_MISSING


def test_a_section_of_a_package_must_be_covered(tmp_path: Path) -> None:
    section = text.write_section([("Name", "a/b.txt"), attr("sha256", ONE["a/b.txt"])])
    sealed = text.write_section([("Name", "a/"), ("Sealed", "false")])
    data = by_hand(ONE, manifest=jars.MANIFEST + section + sealed)
    assert cause(data, tmp_path) is Code.SLOT_MISSING


def test_a_section_that_is_gone_is_told(tmp_path: Path) -> None:
    data = by_hand(ONE, manifest=jars.MANIFEST)
    assert cause(data, tmp_path) is Code.DIGEST_MISMATCH


def test_a_section_that_was_changed_is_told(tmp_path: Path) -> None:
    section = text.write_section([("Name", "a/b.txt"), attr("sha256", ONE["a/b.txt"])])
    data = by_hand(ONE, sections={"a/b.txt": section + b"Java-Bean: True\r\n"})
    assert cause(data, tmp_path) is Code.DIGEST_MISMATCH


def test_two_sections_of_one_entry_are_refused(tmp_path: Path) -> None:
    section = text.write_section([("Name", "a/b.txt"), attr("sha256", ONE["a/b.txt"])])
    data = by_hand(ONE, manifest=jars.MANIFEST + section + section)
    assert cause(data, tmp_path) is Code.AMBIGUOUS


def test_magic_is_not_judged(tmp_path: Path) -> None:
    section = text.write_section(
        [("Name", "a/b.txt"), ("Magic", "x"), attr("sha256", ONE["a/b.txt"])]
    )
    data = by_hand(ONE, manifest=jars.MANIFEST + section, sections={"a/b.txt": section})
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.INDETERMINATE
    assert verdict.cause is Code.UNSUPPORTED_ALGORITHM


# --- digests ---------------------------------------------------------------------


def entry(*pairs: text.Pair) -> bytes:
    section = text.write_section([("Name", "a/b.txt"), *pairs])
    return by_hand(ONE, manifest=jars.MANIFEST + section, sections={"a/b.txt": section})


def test_a_weak_digest_anywhere_in_the_chain_is_weak(tmp_path: Path) -> None:
    assert cause(entry(attr("sha1", ONE["a/b.txt"])), tmp_path) is Code.WEAK_DIGEST
    assert cause(by_hand(ONE, algorithm="sha1"), tmp_path) is Code.WEAK_DIGEST
    weak = [attr("sha1", jars.MANIFEST, text.OF_MAIN)]
    assert cause(by_hand(ONE, main=weak), tmp_path) is Code.WEAK_DIGEST


def test_of_several_digests_the_strongest_counts_and_all_must_fit(tmp_path: Path) -> None:
    good, weak = attr("sha256", ONE["a/b.txt"]), attr("sha1", ONE["a/b.txt"])
    assert cause(entry(weak, good), tmp_path) is None
    wrong = attr("sha1", b"other")
    assert cause(entry(wrong, good), tmp_path) is Code.DIGEST_MISMATCH
    assert cause(entry(weak, attr("sha256", b"other")), tmp_path) is Code.DIGEST_MISMATCH


def test_an_algorithm_nobody_knows_is_passed_by_beside_one_that_is(tmp_path: Path) -> None:
    unknown = ("Whirlpool-Digest", "AAAA")
    assert cause(entry(attr("sha256", ONE["a/b.txt"]), unknown), tmp_path) is None
    assert cause(entry(unknown), tmp_path) is Code.UNSUPPORTED_ALGORITHM
    assert cause(entry(("X-Other", "yes")), tmp_path) is Code.SLOT_MISSING


# --- blocks and signature files --------------------------------------------------


def test_a_signature_file_without_a_block_signs_nothing(tmp_path: Path) -> None:
    for gone in (SF, BLOCK):
        verdict = judged(changed(signed(), {gone: None}), tmp_path)
        assert verdict.cause is Code.UNSIGNED
        assert Code.LEFTOVER_SIGNATURE in {finding.code for finding in verdict.findings}


def test_a_changed_signature_file_is_told(tmp_path: Path) -> None:
    data = signed()
    other = members_of(data)[SF].replace(b"Created-By: S", b"Created-By: T")
    assert cause(changed(data, {SF: other}), tmp_path) is Code.DIGEST_MISMATCH
    plain = by_hand(ONE)
    other = members_of(plain)[SF].replace(b"1.0\r\n", b"1.0\r\nX-Added: yes\r\n", 1)
    assert cause(changed(plain, {SF: other}), tmp_path) is Code.SIGNATURE_MISMATCH


def test_another_version_is_refused(tmp_path: Path) -> None:
    assert cause(by_hand(ONE, version="2.0"), tmp_path) is Code.MALFORMED


def test_a_block_with_content_of_its_own_is_refused(tmp_path: Path) -> None:
    data = signed()
    own = members_of(data)[SF]
    signer = signer_of(identity())
    draft = PlainDraft(content=own, signer=signer, attached=True, certificates=True)
    block = draft.seal(identity().key.sign(own, "sha256"))
    assert cause(changed(data, {BLOCK: block}), tmp_path) is Code.MALFORMED


def test_a_signature_without_a_manifest_is_malformed(tmp_path: Path) -> None:
    gone = changed(signed(), {"META-INF/MANIFEST.MF": None})
    assert cause(gone, tmp_path) is Code.MALFORMED


def test_names_that_differ_in_case_are_two_readers_choice(tmp_path: Path) -> None:
    data = signed()
    for name in ("META-INF/Manifest.mf", "META-INF/signer.sf", "META-INF/SIGNER.rsa"):
        assert cause(changed(data, {name: b"x"}), tmp_path) is Code.AMBIGUOUS


@pytest.mark.parametrize("where", ["before", "behind", "twice"])
def test_what_two_readers_see_differently_is_refused(tmp_path: Path, where: str) -> None:
    data = signed()
    if where == "twice":
        name = b"a/Main.class"
        twice = changed(data, {"a/Mbin.class": b"x"})
        assert cause(twice.replace(b"a/Mbin.class", name), tmp_path) is Code.AMBIGUOUS
        return
    added = b"#!/bin/sh\n" + data if where == "before" else data + b"behind"
    assert cause(added, tmp_path) is Code.AMBIGUOUS


def test_bombs_are_bounded(tmp_path: Path) -> None:
    assert cause(by_hand({"a": b"\0" * (80 << 20)}), tmp_path) is Code.LIMIT_EXCEEDED


def test_too_many_signatures_are_bounded(tmp_path: Path) -> None:
    members = {f"META-INF/{n}.{kind}": b"x" for n in range(17) for kind in ("SF", "RSA")}
    assert cause(archive({**jars.MEMBERS, **members}), tmp_path) is Code.LIMIT_EXCEEDED


# --- several signers -------------------------------------------------------------


def other() -> Identity:
    return identity("p256", "Second Publisher")


def test_a_second_signer_stands_beside_the_first(tmp_path: Path) -> None:
    both = sign_bytes("a.jar", signed(), who=other(), digest="sha384", existing=Existing.NESTED)
    verdict = judged(both, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    assert {"META-INF/SIGNER.RSA", "META-INF/SIGNER2.EC"} <= set(members_of(both))
    assert cause(changed(both, {"evil.class": b"x"}), tmp_path) is Code.SLOT_MISSING


def test_a_first_signer_who_saw_less_is_told(tmp_path: Path) -> None:
    data = changed(signed(), {"added.class": b"x"})
    with pytest.raises(NotSignableError):
        sign_bytes("a.jar", data, who=other(), existing=Existing.NESTED)
    # As jarsigner does it: the manifest grows, and only the second signature covers the entry.
    first = members_of(signed())
    manifest = first["META-INF/MANIFEST.MF"] + text.write_section(
        [("Name", "added.class"), attr("sha256", b"x")]
    )
    grown = archive({**first, "META-INF/MANIFEST.MF": manifest, "added.class": b"x"})
    second = members_of(strip_bytes("a.jar", grown)) | {"META-INF/MANIFEST.MF": manifest}
    theirs = members_of(sign_bytes("a.jar", archive(second), who=other(),
                                   options={"signature-file": "two"}))  # fmt: skip
    assert theirs["META-INF/MANIFEST.MF"] == manifest
    both = archive({**members_of(grown), "META-INF/TWO.SF": theirs["META-INF/TWO.SF"],
                    "META-INF/TWO.EC": theirs["META-INF/TWO.EC"]})  # fmt: skip
    verdict = judged(both, tmp_path)
    assert verdict.cause is Code.SLOT_MISSING
    found = [f.found for s in verdict.signatures for f in s.findings if f.code is verdict.cause]
    assert found
    assert all("added.class" in one for one in found)


def test_an_untrusted_second_signer_does_not_spoil_the_first(tmp_path: Path) -> None:
    root = issue("Nobody's Root", subject_key=key("p256", "jar-root"), ca=True, ekus=None,
                 usage=("keyCertSign", "cRLSign"))  # fmt: skip
    nobody = issue("Nobody", issuer=root, subject_key=key("p256", "jar-nobody"))
    both = sign_bytes("a.jar", signed(), who=nobody, existing=Existing.NESTED)
    assert cause(both, tmp_path) is None
    alone = sign_bytes("a.jar", archive(), who=nobody)
    assert cause(alone, tmp_path) in (Code.UNTRUSTED_ROOT, Code.NO_PATH)


# --- usage and time --------------------------------------------------------------


def test_a_certificate_that_names_no_usage_may_sign_and_one_for_servers_not(
    tmp_path: Path,
) -> None:
    silent = issue("Silent", issuer=authority(), subject_key=key("p256", "jar-silent"), ekus=None)
    assert cause(signed(who=silent), tmp_path) is None
    server = issue("Server", issuer=authority(), subject_key=key("p256", "jar-server"),
                   ekus=("1.3.6.1.5.5.7.3.1",))  # fmt: skip
    assert cause(signed(who=server), tmp_path) is Code.WRONG_USAGE


def test_a_timestamp_outlives_the_certificate(tmp_path: Path) -> None:
    short = issue("Short", issuer=authority(), subject_key=key("p256", "jar-short"),
                  not_before=instant(2024), not_after=instant(2027))  # fmt: skip
    stamper = issue(
        "JAR TSA", issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    stamped = signed(who=short, stamp=lambda value: tsa.token_der(value, stamper, at=NOW))
    later = instant(2029)
    assert judged(stamped, tmp_path, at=later).outcome is Outcome.ACCEPTED
    assert judged(signed(who=short), tmp_path, at=later).cause is Code.EXPIRED


# --- recognising and signing -----------------------------------------------------


@pytest.mark.parametrize("name", ["a.jar", "a.WAR", "a.ear", "plugin"])
def test_jars_are_told_by_name_or_manifest(name: str) -> None:
    form = recognise(peek_at(BytesSource(name, archive())))
    assert form is not None
    assert form.name == "jar"
    assert classify(peek_at(BytesSource(name, archive()))) == "jar"


def test_other_archives_are_no_jars() -> None:
    form = next(form for form in all_formats() if form.name == "jar")
    assert form.recognise(peek_at(BytesSource("a.zip", archive({"x": b""})))) is Match.NO
    assert form.recognise(peek_at(BytesSource("a.jar", b"MZ"))) is Match.NO
    assert form.recognise(peek_at(BytesSource("a.apk", archive()))) is Match.NO
    android = archive({**jars.MEMBERS, "AndroidManifest.xml": b"x"})
    assert form.recognise(peek_at(BytesSource("a", android))) is Match.NO


def test_attributes_that_are_no_digests_are_kept() -> None:
    once = signed(jars.MULTI_RELEASE)
    manifest = members_of(once)["META-INF/MANIFEST.MF"]
    assert b"Multi-Release: true" in manifest
    assert b"Name: a/\nSealed: true\n\n" in manifest
    assert re.search(rb"Name: a/Main.class\r\nX-Kept: yes\r\nSHA-256-Digest: ", manifest)
    stripped = members_of(strip_bytes("a.jar", once))
    assert b"Digest" not in stripped["META-INF/MANIFEST.MF"]
    assert b"X-Kept: yes" in stripped["META-INF/MANIFEST.MF"]
    assert set(stripped) == set(jars.MULTI_RELEASE)


def test_stripping_what_was_never_signed_changes_nothing() -> None:
    assert strip_bytes("a.jar", archive()) == archive()


def test_what_stands_first_is_what_streams_need() -> None:
    names = list(members_of(signed()))
    assert names[:3] == ["META-INF/MANIFEST.MF", SF, BLOCK]


def test_lines_are_no_longer_than_72_octets_with_their_end() -> None:
    members = members_of(signed({"\u00e9" * 300 + ".txt": b"x"}))
    for name in ("META-INF/MANIFEST.MF", SF):
        assert max(len(line) + 2 for line in members[name].split(b"\r\n")) <= 72


def test_signing_replaces_half_a_signature(tmp_path: Path) -> None:
    data = sign_bytes("a.jar", changed(archive(), {"META-INF/OLD.SF": b"x"}))
    assert "META-INF/OLD.SF" not in members_of(data)
    assert cause(data, tmp_path) is None


@pytest.mark.parametrize("name", ["", "much-too-long", "a/b", "a b", "\u00e9"])
def test_names_of_signatures_are_checked(name: str) -> None:
    if not name:
        assert "META-INF/MINE_1.SF" in members_of(signed(options={"signature-file": "mine_1"}))
        return
    with pytest.raises(NotSignableError):
        signed(options={"signature-file": name})


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(NotSignableError):
        sign_bytes("a.jar", signed(), who=other(), existing=Existing.NESTED,
                   options={"signature-file": "SIGNER"})  # fmt: skip


def test_blocks_are_put_back_one_for_one() -> None:
    data = signed()
    form = recognise(peek_at(BytesSource("a.jar", data)))
    source = BytesSource("a.jar", data)
    assert form is not None
    envelopes = form.envelopes(source)  # type: ignore[attr-defined]
    assert envelopes == (members_of(data)[BLOCK],)
    with pytest.raises(NotSignableError):
        form.embed(source, envelopes * 2)  # type: ignore[attr-defined]


def test_digests_are_those_of_the_content() -> None:
    members = members_of(signed())
    found = text.read_sections(members["META-INF/MANIFEST.MF"], "manifest").entries
    expected = base64.b64encode(hashlib.sha256(members[CLASS]).digest()).decode()
    assert found[CLASS].value("SHA-256-Digest") == expected
