"""ClickOnce manifests: what signing covers, what both signatures must agree on, what is refused
(THREATS 29)."""

from __future__ import annotations

import base64
import builtins
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import cms, tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, instant, issue

from signward.envelopes import cms as cms_reader
from signward.findings import Code, Effect
from signward.formats import Match, Peek, Request
from signward.formats import _clickonce_sign as signing
from signward.formats._clickonce_publisher import windows_name
from signward.formats.clickonce import FORMAT
from signward.frozen import replace
from signward.inventory.classify import classify
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.builders.clickonce import application, deployment, hash_element
from tests.signing import authority, context, identity, sign_bytes, signer_of

PROGRAM, SETTINGS = b"MZ program", b"settings"
APPLICATION = application(PROGRAM, {"data\\settings.txt": SETTINGS})
FILES = {"App.exe": PROGRAM, "data/settings.txt": SETTINGS}
NAME = "App.exe.manifest"
FOLDER = "Application Files/App_1"
DEPLOYMENT = deployment("Application Files\\App_1\\App.exe.manifest", APPLICATION, mapped=True)
DEPLOYED = {
    f"{FOLDER}/App.exe.manifest": APPLICATION,
    f"{FOLDER}/App.exe.deploy": PROGRAM,
    f"{FOLDER}/data/settings.txt.deploy": SETTINGS,
}


def beside(files: Mapping[str, bytes]) -> MappedCompanions:
    return MappedCompanions({name: BytesSource(name, data) for name, data in files.items()})


def signed(data: bytes = APPLICATION, name: str = NAME, **asked: Any) -> bytes:
    return sign_bytes(name, data, **asked)


def crafted(changes: Mapping[str, Any], *, second: Identity | None = None) -> bytes:
    """Return a manifest signed although it is wrong: ``changes`` are made once it is prepared.

    ``second`` makes the outer signature, where another key is to.
    """
    source, who = BytesSource(NAME, APPLICATION), identity()
    request = Request(signer=signer_of(who), at=NOW)
    prepared = replace(signing.prepare(source, request), **changes)
    inner = signing.draft_licence(prepared, request)
    sealed = inner.seal(who.key.sign(inner.to_be_signed))
    outer_request = replace(request, signer=signer_of(second or who))
    outer = signing.draft_manifest(prepared, outer_request, sealed)
    envelope = outer.seal((second or who).key.sign(outer.to_be_signed))
    return b"".join(pieces(Patched(source, signing.placed(prepared, envelope))))


Judge = Callable[..., Verdict]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def judged(
        data: bytes, files: Mapping[str, bytes] | None = FILES, name: str = NAME, **options: Any
    ) -> Verdict:
        companions = beside(files) if files is not None else None
        return assess(BytesSource(name, data), context(tmp_path, **options), companions)

    return judged


def test_a_signed_manifest_with_its_files_is_accepted(judge: Judge) -> None:
    verdict = judge(signed())
    assert verdict.outcome is Outcome.ACCEPTED
    trusted = [s for s in verdict.signatures if isinstance(s, TrustedSignature)]
    assert [s.intact.claimed.label for s in trusted] == ["1", "1.1"]
    slots = {slot.name for slot in trusted[1].intact.claimed.slots}
    assert slots == {"manifest", "licence", "file:App.exe", "file:data/settings.txt"}


def test_changed_content_is_rejected(judge: Judge) -> None:
    verdict = judge(signed().replace(b'parameters=""', b'parameters="x"'))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_rejected(judge: Judge, name: str) -> None:
    verdict = judge(signed(), {**FILES, name: b"other"})
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert f"file:{name}" in str(verdict.findings)


@pytest.mark.parametrize("files", [None, {}, {"App.exe": PROGRAM}])
def test_a_missing_file_leaves_the_verdict_open(
    judge: Judge, files: Mapping[str, bytes] | None
) -> None:
    verdict = judge(signed(), files)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.COMPANION_MISSING)


def test_a_changed_manifest_is_rejected_though_files_are_missing(judge: Judge) -> None:
    verdict = judge(signed().replace(b"neutral", b"neutrax", 1), {})
    assert verdict.outcome is Outcome.REJECTED


def test_a_file_the_manifest_gives_no_digest_of_is_rejected(judge: Judge) -> None:
    data = signed(application(PROGRAM, {}, hashed=False))
    assert judge(data).cause is Code.SLOT_MISSING


def test_an_optional_file_may_be_absent(judge: Judge) -> None:
    extra = f'<file name="help.chm" optional="true">{hash_element(b"help")}</file>'
    data = signed(application(PROGRAM, {}, extra=extra))
    assert judge(data).outcome is Outcome.ACCEPTED
    assert judge(data, {**FILES, "help.chm": b"other"}).cause is Code.DIGEST_MISMATCH


def test_a_name_given_two_digests_is_malformed(judge: Judge) -> None:
    extra = f'<file name="data\\x">{hash_element(b"other")}</file>'
    data = signed(application(PROGRAM, {}, extra=extra))
    assert judge(data.replace(b"data\\x", b"APP.exe")).cause is Code.MALFORMED


def test_a_file_stored_for_a_web_server_counts_beside_the_plain_one(judge: Judge) -> None:
    data = signed()
    assert judge(data, {f"{n}.deploy": d for n, d in FILES.items()}).outcome is Outcome.ACCEPTED
    assert judge(data, {**FILES, "App.exe.deploy": b"other"}).cause is Code.DIGEST_MISMATCH


def test_a_deployment_covers_what_its_application_names(judge: Judge) -> None:
    data = signed(DEPLOYMENT, "App.application")
    assert judge(data, DEPLOYED, "App.application").outcome is Outcome.ACCEPTED
    for name, content in DEPLOYED.items():
        verdict = judge(data, {**DEPLOYED, name: content + b" "}, "App.application")
        assert verdict.cause is Code.DIGEST_MISMATCH, name
    missing = dict(DEPLOYED)
    del missing[f"{FOLDER}/App.exe.deploy"]
    assert judge(data, missing, "App.application").cause is Code.COMPANION_MISSING


def test_mapped_files_are_looked_for_under_their_mapped_names_alone(judge: Judge) -> None:
    plain = {name.removesuffix(".deploy"): data for name, data in DEPLOYED.items()}
    data = signed(DEPLOYMENT, "App.application")
    assert judge(data, plain, "App.application").cause is Code.COMPANION_MISSING


def forced(data: bytes, name: str = NAME) -> bytes:
    """Return a manifest signed without a look at the files it names: hostile, and intact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "_file_edits", lambda *_: ())
        return signed(data, name)


@pytest.mark.parametrize(
    "name",
    [
        "..\\x.dll", "a\\..\\x", ".\\x", "/etc/x", "C:\\x.dll", "\\\\server\\share\\x",
        "a\\\\b", "x.dll:stream", "CON", "nul.txt", "COM1 .dll", "data\\aux", "x.dll.", "x.dll ",
        "%2e%2e\\x", "%2E%2e%5cx", "a%2fb", "c%3A", "x*", "x?y", "x&#x9;y",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_malformed_though_optional(judge: Judge, name: str) -> None:
    extra = f'<file name="{name}" optional="true">{hash_element(b"x")}</file>'
    assert judge(forced(application(PROGRAM, {}, extra=extra))).cause is Code.MALFORMED


@pytest.mark.parametrize("name", ["100%.txt", "a b.dll", "config", "x..y", ".net\\.x", "a%20b"])
def test_an_odd_name_is_a_name(judge: Judge, name: str) -> None:
    extra = f'<file name="{name}">{hash_element(b"x")}</file>'
    data, path = signed(application(PROGRAM, {}, extra=extra)), name.replace("\\", "/")
    assert judge(data, {**FILES, path: b"x"}).outcome is Outcome.ACCEPTED
    assert judge(data, {**FILES, path: b"y"}).cause is Code.DIGEST_MISMATCH


_OTHER = hash_element(b"other")
_VALUE = re.compile(r"<dsig:DigestValue>.*</dsig:DigestValue>")


@pytest.mark.parametrize(
    "element",
    [
        '<file xmlns="urn:schemas-microsoft-com:asm.v3" name="y"/>',
        '<file xmlns="" name="y"/>',
        '<dependency xmlns="urn:schemas-microsoft-com:asm.v3"/>',
        '<dependency><d:dependentAssembly xmlns:d="x:y" codebase="y"/></dependency>',
        '<asmv1:deployment install="true"/>',
        '<dependency><file name="y"/></dependency>',
        '<application><x><asmv1:file name="y"/></x></application>',
        '<dependentAssembly dependencyType="install" codebase="y"/>',
        f'<file name="y">{_VALUE.sub("", _OTHER)}</file>',
        f'<file name="y">{_VALUE.sub(lambda found: 2 * found[0], _OTHER)}</file>',
        f'<file name="y">{_OTHER.replace("</hash>", "<x/></hash>")}</file>',
        f'<file name="y">{_OTHER.replace("dsig:Transform ", "dsig:DigestValue ")}</file>',
    ],
)
def test_an_entry_that_two_readers_could_take_for_two_is_malformed(
    judge: Judge, element: str
) -> None:
    data = forced(application(PROGRAM, {}, extra=element))
    assert judge(data, {**FILES, "y": b"other"}).cause is Code.MALFORMED


def test_another_vocabulary_may_have_files(judge: Judge) -> None:
    extra = '<v:addIn xmlns:v="urn:schemas-microsoft-com:vsta.v3"><v:file name="y"/></v:addIn>'
    assert judge(forced(application(PROGRAM, {}, extra=extra))).outcome is Outcome.ACCEPTED


def test_thousands_of_names_with_a_double_are_refused_in_time(judge: Judge) -> None:
    entry = '<file name="f{}"/>'
    names = [*range(32_000), "same", "same"]
    data = forced(application(PROGRAM, {}, extra="".join(entry.format(name) for name in names)))
    started = time.process_time()
    assert judge(data).cause is Code.MALFORMED
    assert time.process_time() - started < 10


def deployed(
    data: bytes = DEPLOYMENT, was: bytes = b"", becomes: bytes = b"", *, inner: bytes | None = None
) -> tuple[bytes, Mapping[str, bytes]]:
    """Return a signed deployment, changed before, and the files it lists."""
    assert was in data
    files = DEPLOYED if inner is None else {**DEPLOYED, f"{FOLDER}/App.exe.manifest": inner}
    return forced(data.replace(was, becomes, 1), "App.application"), files


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"install"', b'"preRequisite"'),
        (b"<deployment ", b"<deployment/><deployment "),
        (b'mapFileExtensions="true"', b'mapFileExtensions="perhaps"'),
    ],
)
def test_a_deployment_that_says_too_little_or_too_much_is_malformed(
    judge: Judge, was: bytes, becomes: bytes
) -> None:
    data, files = deployed(DEPLOYMENT, was, becomes)
    assert judge(data, files, "App.application").cause is Code.MALFORMED


def test_an_application_is_never_optional(judge: Judge) -> None:
    data, _ = deployed(DEPLOYMENT, b"<dependency>", b'<dependency optional="true">')
    assert judge(data, {}, "App.application").cause is Code.COMPANION_MISSING


def test_a_truth_value_may_be_a_number(judge: Judge) -> None:
    data, files = deployed(DEPLOYMENT, b'mapFileExtensions="true"', b'mapFileExtensions="1"')
    assert judge(data, files, "App.application").outcome is Outcome.ACCEPTED


def test_more_applications_than_anybody_deploys_are_refused(judge: Judge) -> None:
    one = re.search(rb"<dependency>.*</dependency>", DEPLOYMENT)
    assert one
    more = b"".join(one[0].replace(b"App_1", b"App_%d" % n) for n in range(2, 18))
    data, files = deployed(DEPLOYMENT, one[0], one[0] + more)
    assert judge(data, files, "App.application").cause is Code.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "inner",
    [
        deployment("x.manifest", APPLICATION),
        APPLICATION.replace(b"com:asm.v1", b"com:asm.v9"),
    ],
)
def test_an_application_manifest_that_is_none_is_malformed(judge: Judge, inner: bytes) -> None:
    whole = deployment("Application Files\\App_1\\App.exe.manifest", inner, mapped=True)
    data, files = deployed(whole, inner=inner)
    assert judge(data, files, "App.application").cause is Code.MALFORMED


def test_another_application_than_the_deployment_asks_for_is_rejected(judge: Judge) -> None:
    """Windows: the reference does not match the identity in the application manifest."""
    inner = APPLICATION.replace(b'name="App.exe" version="1.0.0.0"', b'name="App.exe" version="2"')
    whole = deployment("Application Files\\App_1\\App.exe.manifest", inner, mapped=True)
    data, files = deployed(whole, inner=inner)
    verdict = judge(data, files, "App.application")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.ATTRIBUTE_RULE)


# What both signatures, key, certificate and manifest must agree on (row 29)


def test_the_token_of_another_key_is_rejected(judge: Judge) -> None:
    other = signing.Text(BytesSource(NAME, APPLICATION))
    prepared = signing._prepared(
        other, "0123456789abcdef", windows_name(identity().certificate), "00"
    )
    verdict = judge(crafted({f: getattr(prepared, f) for f in ("edits", "octets", "attributes")}))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.SIGNATURE_MISMATCH)
    assert "publicKeyToken" in str(verdict.findings)


def test_a_licence_for_another_assembly_is_rejected(judge: Judge) -> None:
    verdict = judge(crafted({"attributes": ' name="Other.exe" version="1.0.0.0"'}))
    assert verdict.cause is Code.ATTRIBUTE_RULE


def test_a_licence_for_other_content_is_rejected(judge: Judge) -> None:
    good = signing.prepare(
        BytesSource(NAME, APPLICATION), Request(signer=signer_of(identity()), at=NOW)
    )
    licence = signing._licence_text(good, Request(signer=signer_of(identity()), at=NOW), "")
    digest = re.search('Hash="([0-9a-f]+)"', licence)
    assert digest
    data = crafted({"octets": b"other"})
    # The outer digest is put right, so that the licence alone speaks of other content.
    assert digest[1].encode() not in data
    verdict = judge(data)
    assert verdict.cause is Code.DIGEST_MISMATCH


def test_another_name_than_the_certificates_is_rejected(judge: Judge) -> None:
    verdict = judge(crafted({"name": "CN=Microsoft Corporation"}))
    assert verdict.cause is Code.ATTRIBUTE_RULE


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(rb'issuerKeyHash="[0-9a-f]+"', b'issuerKeyHash="00"'), (rb'name="CN=[^"]+"', b'name="CN=A"')],
)
def test_a_publisher_identity_that_is_not_the_signers_is_rejected(
    judge: Judge, was: bytes, becomes: bytes
) -> None:
    source = BytesSource(NAME, APPLICATION)
    good = signing.prepare(source, Request(signer=signer_of(identity()), at=NOW))
    wrong = re.sub(was, becomes, good.publisher.encode())
    before, mark, behind = good.octets.partition(b"<publisherIdentity")
    octets = before + mark + re.sub(was, becomes, behind, count=1)
    verdict = judge(crafted({"publisher": wrong.decode(), "octets": octets}))
    assert verdict.cause is Code.ATTRIBUTE_RULE


def test_two_keys_are_rejected(judge: Judge) -> None:
    verdict = judge(crafted({}, second=identity("rsa3072", "Somebody Else")))
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_certificates_without_the_signers_are_rejected(judge: Judge) -> None:
    data = signed()
    other = issue("Other", issuer=authority(), subject_key=key("rsa2048", "other-clickonce"))
    mine = base64.b64encode(identity().certificate)
    verdict = judge(data.replace(mine, base64.b64encode(other.certificate)))
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_a_strong_name_alone_is_unsigned(judge: Judge) -> None:
    data = re.sub(rb"<msrel:RelData.*</msrel:RelData>", b"", signed())
    verdict = judge(data)
    assert verdict.cause is Code.UNSIGNED
    assert Code.LEFTOVER_SIGNATURE in {f.code for f in verdict.findings}


# Tricks with XML signatures (row 29)


def _moved(data: bytes) -> bytes:
    """Put the signed manifest into another one, beside the signature it fits."""
    signature = re.search(rb'<Signature Id="StrongNameSignature".*</Signature>', data)
    assert signature
    kept = data.partition(b"?>\n")[2].replace(signature[0], b"")
    other = data.replace(signature[0], b"").replace(b'codebase="App', b'codebase="Bad')
    return other.replace(b"</asmv1:assembly>", kept + signature[0] + b"</asmv1:assembly>")


EXTERNAL = b'<Reference URI="http://192.0.2.1/x">'
XPATH = b'<Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>'
ENVELOPED = b'<Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
RSA_SHA256 = b'<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha256"/>'
HMAC = (
    b'<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1">'
    b"<HMACOutputLength>1</HMACOutputLength></SignatureMethod>"
)

TRICKS: dict[str, tuple[Callable[[bytes], bytes], frozenset[Code]]] = {
    "wrapping": (_moved, frozenset({Code.MALFORMED})),
    "two signatures": (
        lambda d: re.sub(rb"(<Signature Id=\"StrongName.*)(</asmv1)", rb"\1\1\2", d),
        frozenset({Code.AMBIGUOUS}),
    ),
    "a third signature in the content": (
        lambda d: d.replace(
            b"<application />",
            b'<application><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/></application>',
        ),
        frozenset({Code.AMBIGUOUS}),
    ),
    "a comment in the publisher's name": (
        lambda d: d.replace(b"X509SubjectName>CN=", b"X509SubjectName>CN=Good<!-- -->"),
        frozenset({Code.MALFORMED}),
    ),
    "a comment in a digest": (
        lambda d: d.replace(b"<DigestValue>", b"<DigestValue><!-- -->"),
        frozenset({Code.MALFORMED}),
    ),
    "a truncated MAC (CVE-2009-0217)": (
        lambda d: d.replace(RSA_SHA256, HMAC), frozenset({Code.MALFORMED}),
    ),
    "an XPath transform": (
        lambda d: d.replace(ENVELOPED, ENVELOPED + XPATH), frozenset({Code.MALFORMED}),
    ),
    "a reference elsewhere": (
        lambda d: d.replace(b'<Reference URI="">', EXTERNAL), frozenset({Code.MALFORMED}),
    ),
    "two references": (
        lambda d: re.sub(rb"(<Reference URI.*?</Reference>)", rb"\1\1", d),
        frozenset({Code.MALFORMED}),
    ),
    "two SignedInfo": (
        lambda d: re.sub(rb"(<SignedInfo>.*?</SignedInfo>)", rb"\1\1", d),
        frozenset({Code.MALFORMED}),
    ),
    "an element in KeyInfo that nobody knows": (
        lambda d: d.replace(b"<KeyInfo>", b"<KeyInfo><RetrievalMethod URI='x'/>"),
        frozenset({Code.MALFORMED}),
    ),
    "a DTD": (
        lambda d: d.replace(b"?>\n", b'?>\n<!DOCTYPE x [<!ENTITY a "b">]>', 1),
        frozenset({Code.MALFORMED}),
    ),
    "a digest of another transform": (
        lambda d: d.replace(b"HashTransforms.Identity", b"HashTransforms.Other"),
        frozenset({Code.MALFORMED}),
    ),
    "an unknown signature method": (
        lambda d: d.replace(RSA_SHA256, RSA_SHA256.replace(b"rsa-sha256", b"rsa-whirlpool")),
        frozenset({Code.UNSUPPORTED_ALGORITHM}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused(judge: Judge, trick: str) -> None:
    change, causes = TRICKS[trick]
    data = signed()
    changed = change(data)
    assert changed != data
    verdict = judge(changed)
    assert verdict.outcome is not Outcome.ACCEPTED
    assert verdict.cause in causes, [str(f) for f in verdict.findings]


def test_a_bomb_is_refused_in_time(judge: Judge) -> None:
    many = b"<x a='1'/>" * 500_000
    verdict = judge(APPLICATION.replace(b"</asmv1:assembly>", many + b"</asmv1:assembly>"))
    assert verdict.cause is Code.LIMIT_EXCEEDED
    deep = b"<x>" * 5000 + b"</x>" * 5000
    nested = APPLICATION.replace(b"</asmv1:assembly>", deep + b"</asmv1:assembly>")
    assert judge(nested).cause is Code.MALFORMED


# Algorithms and time


def test_sha1_is_weak_anywhere_in_the_chain(judge: Judge) -> None:
    assert judge(signed(digest="sha1")).cause is Code.WEAK_DIGEST
    data = signed(application(PROGRAM, {"data\\settings.txt": SETTINGS}, algorithm="sha1"))
    assert judge(data).cause is Code.WEAK_DIGEST


@cache
def _stamper() -> Identity:
    return issue(
        "ClickOnce TSA", issuer=authority(), subject_key=key("rsa2048", "clickonce-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True, not_before=instant(2010),
        not_after=instant(2039),
    )  # fmt: skip


@cache
def _short() -> Identity:
    return issue(
        "Short Publisher", issuer=authority(), subject_key=key("rsa2048", "clickonce-short"),
        not_before=instant(2024), not_after=instant(2025),
    )  # fmt: skip


def _token(value: bytes) -> bytes:
    return tsa.token_der(value, _stamper(), at=instant(2024, 6))


def _older_token(value: bytes) -> bytes:
    """A PKCS#7 over the value itself, as timestamp servers gave before RFC 3161."""
    signer = cms.Signer(identity=_stamper(), digest="sha256", signing_time=instant(2024, 6))
    return cms.sign(
        value, signer, content_type=cms_reader.DATA, octets=True,
        certificates=[_stamper().certificate],
    )  # fmt: skip


@pytest.mark.parametrize("stamp", [_token, _older_token])
@pytest.mark.parametrize("rule", SignatureRule)
def test_the_licences_timestamp_outlives_the_certificate(
    judge: Judge, stamp: Callable[[bytes], bytes], rule: SignatureRule
) -> None:
    policy = Policy(signatures=rule)
    verdict = judge(signed(who=_short(), stamp=stamp), policy=policy)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    first = verdict.signatures[0]
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None
    assert first.proven_time.instant == instant(2024, 6)
    assert judge(signed(who=_short()), policy=policy).cause is Code.EXPIRED


@pytest.mark.parametrize(
    ("stamp", "code"),
    [
        (lambda _value: b"junk", Code.TIMESTAMP_MALFORMED),
        (lambda value: _token(value[::-1]), Code.TIMESTAMP_MISMATCH),
        (lambda value: _older_token(value[::-1]), Code.TIMESTAMP_MISMATCH),
    ],
)
def test_a_token_that_fails_proves_nothing(
    judge: Judge, stamp: Callable[[bytes], bytes], code: Code
) -> None:
    verdict = judge(signed(who=_short(), stamp=stamp))
    assert verdict.cause is Code.EXPIRED
    assert code in {f.code for f in verdict.findings if f.effect is not Effect.REJECT}


# Without lxml


def test_without_lxml_nothing_is_said(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = signed(), builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "lxml":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    verdict = judge(data)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    assert "pip install signward[xml]" in str(verdict.findings[0])


# What is recognised


def _peek(data: bytes, name: str) -> Peek:
    return Peek(name, data, data[-1024:], len(data))


@pytest.mark.parametrize("name", ["App.exe.manifest", "App.application", "App.vsto"])
def test_clickonce_is_recognised(name: str) -> None:
    for data in (APPLICATION, b"\xef\xbb\xbf" + DEPLOYMENT, signed()):
        assert FORMAT.recognise(_peek(data, name)) is Match.SPECIFIC
        assert classify(_peek(data, name)) == "clickonce"
    utf16 = APPLICATION.replace(b"utf-8", b"utf-16").decode().encode("utf-16")
    assert FORMAT.recognise(_peek(utf16, name)) is Match.SPECIFIC


def test_a_side_by_side_manifest_is_none_of_clickonces() -> None:
    data = (
        b'<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">'
        b'<trustInfo xmlns="urn:schemas-microsoft-com:asm.v2"/></assembly>'
    )
    assert FORMAT.recognise(_peek(data, "app.exe.manifest")) is Match.NO
    assert classify(_peek(data, "app.exe.manifest")) == "text"
    assert FORMAT.recognise(_peek(b"MZ" + APPLICATION, "app.manifest")) is Match.NO


def test_a_manifest_in_utf16_is_judged(judge: Judge) -> None:
    text = signed().decode().replace('encoding="utf-8"', 'encoding="utf-16"')
    assert judge(text.encode("utf-16")).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("encoding", ["utf-7", "Utf-8", "iso-8859-1"])
def test_other_encodings_are_refused(judge: Judge, encoding: str) -> None:
    data = signed().replace(b'encoding="utf-8"', f'encoding="{encoding}"'.encode())
    assert judge(data).cause is Code.MALFORMED
