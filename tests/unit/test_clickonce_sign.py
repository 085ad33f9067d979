"""Signing ClickOnce manifests: names and tokens, digests brought up to date, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from signward.errors import MalformedError, NotSignableError
from signward.formats import Existing
from signward.formats._clickonce_publisher import (
    issuer_key_hash,
    name_values,
    public_key_token,
    windows_name,
)
from signward.formats.clickonce import FORMAT
from signward.state import Outcome
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from signward.wire.spki import rsa_key
from signward.wire.xmlspans import spans, with_attribute
from tests.builders.clickonce import TOKEN, application, deployment
from tests.signing import authority, context, identity, sign_bytes, strip_bytes

NAME = "App.exe.manifest"
APPLICATION = application(b"MZ program", {})

MICROSOFT_MODULUS = int(
    "07d1fa57c4aed9f0a32e84aa0faefd0de9e8fd6aec8f87fb03766c834c99921eb23be79ad9d5dcc1dd9ad2361321"
    "02900b723cf980957fc4e177108fc607774f29e8320e92ea05ece4e821c0a5efe8f1645c4c0c93c1ab99285d622c"
    "aa652c1dfad63d745d6f2de5f17e5eaf0fc4963d261c8a12436518206dc093344d5ad293",
    16,
)
"""The key of Microsoft's public assemblies, as it stands (last octet first) in a reference."""


def beside(files: Mapping[str, bytes]) -> MappedCompanions:
    return MappedCompanions({name: BytesSource(name, data) for name, data in files.items()})


def test_the_token_of_a_known_key() -> None:
    modulus = int.from_bytes(MICROSOFT_MODULUS.to_bytes(128, "big"), "little")
    assert public_key_token(rsa_key(modulus, 65537)) == "b03f5f7f11d50a3a"


def test_a_token_is_of_an_rsa_key() -> None:
    with pytest.raises(MalformedError):
        public_key_token(key("p256", "clickonce-ec").spki)


NAMES = [
    ([(NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "A, Inc."),
      (NameOID.COMMON_NAME, "A")], 'CN=A, O="A, Inc.", C=US'),
    ([(NameOID.STATE_OR_PROVINCE_NAME, "WA"), (NameOID.COMMON_NAME, 'The "B"')],
     'CN="The ""B""", S=WA'),
    ([(ObjectIdentifier("1.3.6.1.4.1.311.60.2.1.3"), "DE"), (NameOID.EMAIL_ADDRESS, "a@b")],
     "E=a@b, OID.1.3.6.1.4.1.311.60.2.1.3=DE"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "written"), NAMES)
def test_names_are_written_as_dotnet_writes_them(parts: Any, written: str) -> None:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]).public_bytes()
    certificate = issue("x", issuer=authority(), subject=subject).certificate
    assert windows_name(certificate) == written
    assert name_values(written) == sorted(value for _, value in parts)


def test_the_issuers_key_is_known_from_its_certificate_or_by_its_identifier() -> None:
    leaf, root = identity(), authority()
    digest = root.key_identifier.hex()
    assert issuer_key_hash(leaf.certificate, [root.certificate]) == digest
    assert issuer_key_hash(leaf.certificate, []) == digest
    assert issuer_key_hash(root.certificate, []) == digest


def test_nothing_else_is_written_anew() -> None:
    signed = sign_bytes(NAME, APPLICATION)
    head, _, tail = APPLICATION.partition(TOKEN.encode())
    assert signed.startswith(head)
    assert tail.removesuffix(b"</asmv1:assembly>") in signed
    assert strip_bytes(NAME, signed) == APPLICATION


def test_a_digest_that_is_not_current_is_refused() -> None:
    files = beside({"App.exe": b"MZ newer"})
    with pytest.raises(NotSignableError, match="update=yes"):
        sign_bytes(NAME, APPLICATION, companions=files)


def test_digests_are_written_anew_when_asked(tmp_path: Path) -> None:
    files = beside({"App.exe": b"MZ a newer program"})
    signed = sign_bytes(NAME, APPLICATION, companions=files, options={"update": "yes"})
    assert b'size="18"' in signed
    verdict = assess(BytesSource(NAME, signed), context(tmp_path), files)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    with pytest.raises(NotSignableError, match="no such file"):
        sign_bytes(NAME, APPLICATION, companions=beside({}), options={"update": "yes"})


def test_a_deployment_takes_over_the_application_as_it_was_signed(tmp_path: Path) -> None:
    unsigned = deployment("App.exe.manifest", APPLICATION)
    inner = sign_bytes(NAME, APPLICATION)
    files = beside({"App.exe.manifest": inner, "App.exe": b"MZ program"})
    with pytest.raises(NotSignableError):
        sign_bytes("App.application", unsigned, companions=files)
    signed = sign_bytes("App.application", unsigned, companions=files, options={"update": "yes"})
    assert TOKEN.encode() not in signed
    verdict = assess(BytesSource("App.application", signed), context(tmp_path), files)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


@pytest.mark.parametrize("names", ["", "w3c"])
def test_algorithms_are_named_as_microsoft_or_the_standard_does(tmp_path: Path, names: str) -> None:
    signed = sign_bytes(NAME, APPLICATION, options={"algorithms": names} if names else {})
    assert (b"xmldsig#rsa-sha256" in signed) is not bool(names)
    assert (b"xmldsig-more#rsa-sha256" in signed) is bool(names)
    verdict = assess(
        BytesSource(NAME, signed), context(tmp_path), beside({"App.exe": b"MZ program"})
    )
    assert verdict.outcome is Outcome.ACCEPTED


def test_the_licence_repeats_the_identity_as_it_is_written() -> None:
    """.NET's verifier counts attributes, and a namespace declaration is one to it."""
    signed = sign_bytes("App.application", deployment("App.exe.manifest", APPLICATION))
    start = signed.index(b"<as:assemblyIdentity")
    listed = signed[start : signed.index(b"/>", start)]
    assert listed.endswith(b' xmlns="urn:schemas-microsoft-com:asm.v1"')
    assert listed.count(b"=") == 6


def test_description_and_url_stand_in_the_licence() -> None:
    signed = sign_bytes(NAME, APPLICATION, description='A <"tool">', url="https://example.org/")
    assert b'Description="A &lt;&quot;tool&quot;&gt;" Url="https://example.org/"' in signed
    with pytest.raises(NotSignableError):
        sign_bytes(NAME, APPLICATION, description="a\0b")


@pytest.mark.parametrize(
    ("data", "asked", "word"),
    [
        (APPLICATION, {"who": identity("p256", "EC")}, "RSA"),
        (APPLICATION, {"digest": "sha384"}, "sha384"),
        (APPLICATION.decode().replace("utf-8", "utf-16").encode("utf-16"), {}, "UTF-8"),
        (sign_bytes(NAME, APPLICATION), {"existing": Existing.NESTED}, "--replace"),
    ],
)
def test_what_cannot_be_signed_is_refused(data: bytes, asked: Mapping[str, Any], word: str) -> None:
    with pytest.raises(NotSignableError, match=word):
        sign_bytes(NAME, data, **asked)


def _embedded(data: bytes, *envelopes: bytes) -> bytes:
    source = BytesSource(NAME, data)
    return b"".join(pieces(Patched(source, FORMAT.embed(source, envelopes))))


def test_a_signature_goes_back_to_its_manifest_and_to_no_other(tmp_path: Path) -> None:
    signed = sign_bytes(NAME, APPLICATION)
    (envelope,) = FORMAT.envelopes(BytesSource(NAME, signed))
    back = _embedded(APPLICATION, envelope)
    verdict = assess(BytesSource(NAME, back), context(tmp_path), beside({"App.exe": b"MZ program"}))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    with pytest.raises(NotSignableError, match="another manifest"):
        _embedded(application(b"other", {}), envelope)
    with pytest.raises(NotSignableError, match="2 signatures"):
        _embedded(APPLICATION, envelope, envelope)


def test_spans_are_those_of_the_elements() -> None:
    data = b"<?x <a> ?><!-- <b> --><r a='>' b=\"/\"><c/><![CDATA[<d>]]><e>t</e></r>"
    found = [data[span.start : span.end] for span in spans(data)]
    assert found == [data[22:], b"<c/>", b"<e>t</e>"]


def test_an_attribute_is_changed_where_it_stands() -> None:
    tag = b'<a b = \'c="1"\'  c="2" />'
    assert with_attribute(tag, "c", "<3>") == b'<a b = \'c="1"\'  c="&lt;3&gt;" />'
    assert with_attribute(b"<a/>", "b", "1") == b'<a b="1"/>'


def test_a_deployment_asks_for_the_application_that_is_there(tmp_path: Path) -> None:
    """Its digest may be current and its identity not: Windows refuses what that would make."""
    inner = APPLICATION.replace(b'version="1.0.0.0"', b'version="2.0.0.0"', 1)
    files = {NAME: inner, "App.exe": b"MZ program"}
    data = deployment(NAME, inner)
    with pytest.raises(NotSignableError, match="update=yes"):
        sign_bytes("App.application", data, companions=beside(files))
    signed = sign_bytes(
        "App.application", data, companions=beside(files), options={"update": "yes"}
    )
    assert signed.count(b'version="2.0.0.0"') == 1
    verdict = assess(BytesSource("App.application", signed), context(tmp_path), beside(files))
    assert verdict.outcome is Outcome.ACCEPTED
