"""Trust stores: from PEM and DER, joined, and what an anchor's limits object to."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from signward.errors import EvidenceError
from signward.findings import Code
from signward.frozen import replace
from signward.trust import anchors
from signward.trust.anchors import (
    TrustAnchor,
    TrustStore,
    joined,
    store_from_certificates,
    store_from_pem,
)
from tests.builders.revocation import DAY, T0, Ca

ONE, TWO = Ca("One Root"), Ca("Two Root")
CODE_SIGNING, SERVER = "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.1"


def pem(ca: Ca) -> bytes:
    return load_der_x509_certificate(ca.certificate.der).public_bytes(Encoding.PEM)


def anchor(**limits: object) -> TrustAnchor:
    plain = TrustAnchor(certificate=ONE.certificate, name="One", store="test")
    return replace(plain, **limits)


def test_finding_anchors_by_certificate_and_by_name() -> None:
    store = store_from_certificates("mine", [ONE.certificate.der, TWO.certificate.der])
    assert len(store) == 2
    found = store.find(ONE.certificate)
    assert found is not None
    assert (found.name, found.store, found.usages) == ("One Root", "mine", None)
    assert store.by_subject(TWO.raw_name)[0].certificate == TWO.certificate
    assert store.find(Ca("Three").certificate) is None
    assert store.by_subject(Ca("Three").raw_name) == ()


def test_names_match_whatever_their_case_spacing_and_string_type() -> None:
    store = store_from_certificates("mine", [ONE.certificate.der])
    attribute = x509.NameAttribute(
        x509.NameOID.COMMON_NAME, "ONE  root", x509.name._ASN1Type.PrintableString
    )
    assert store.by_subject(x509.Name([attribute]).public_bytes())


def test_two_anchors_of_one_name() -> None:
    twin = Ca("One Root")
    store = store_from_certificates("mine", [ONE.certificate.der, twin.certificate.der])
    assert {a.certificate for a in store.by_subject(ONE.raw_name)} == {
        ONE.certificate,
        twin.certificate,
    }


def test_pem_with_text_between_and_der() -> None:
    both = b"first\n" + pem(ONE) + b"# second\n" + pem(TWO) + b"end\n"
    assert len(store_from_pem("mine", both)) == 2
    assert len(store_from_pem("mine", ONE.certificate.der)) == 1
    assert len(store_from_pem("mine", pem(ONE).replace(b"\n", b"\r\n"))) == 1


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"hello",
        b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ONE.certificate.der[:-1],
        ONE.certificate.der + b"\0",
    ],
    ids=["empty", "text", "Base64", "octets", "key", "truncated", "trailing"],
)
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(EvidenceError, match="store mine"):
        store_from_pem("mine", junk)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors, "MAX_ANCHORS", 1)
    with pytest.raises(EvidenceError, match="at most 1"):
        store_from_pem("mine", pem(ONE) + pem(TWO))
    monkeypatch.setattr(anchors, "MAX_STORE_OCTETS", 10)
    with pytest.raises(EvidenceError, match="at most 10"):
        store_from_pem("mine", pem(ONE))


def test_the_digest_changes_with_certificates_and_limits_only() -> None:
    plain = TrustStore("a", [anchor()])
    assert plain.digest == TrustStore("b", [anchor(name="other")]).digest
    assert plain.digest != TrustStore("a", [anchor(usages=frozenset({SERVER}))]).digest
    assert plain.digest != TrustStore("a", [anchor(disabled_from=T0)]).digest
    assert plain.digest != store_from_certificates("a", [TWO.certificate.der]).digest


def test_joined_stores_answer_in_turn() -> None:
    limited = TrustStore("limited", [anchor(usages=frozenset({SERVER}))])
    other = store_from_certificates("other", [ONE.certificate.der, TWO.certificate.der])
    both = joined("both", [limited, other])
    found = both.find(ONE.certificate)
    assert found is not None
    assert found.usages == frozenset({SERVER})
    assert [a.store for a in both.by_subject(ONE.raw_name)] == ["test"]
    assert [a.store for a in both.by_subject(TWO.raw_name)] == ["other"]
    assert len(both.anchors()) == len(both) == 3
    assert both.digest not in (limited.digest, other.digest)
    assert joined("one", [other]) is other
    assert repr(both) == "<TrustStore both, 3 anchors>"


@pytest.mark.parametrize(
    ("limits", "eku", "issued", "at", "code"),
    [
        ({}, CODE_SIGNING, T0, T0, None),
        ({"usages": frozenset({SERVER})}, CODE_SIGNING, T0, T0, Code.WRONG_USAGE),
        ({"usages": frozenset({SERVER})}, SERVER, T0, T0, None),
        ({"usages": frozenset({SERVER})}, None, T0, T0, None),
        ({"denied_usages": frozenset({CODE_SIGNING})}, CODE_SIGNING, T0, T0, Code.WRONG_USAGE),
        ({"denied_usages": frozenset({SERVER})}, CODE_SIGNING, T0, T0, None),
        ({"disabled_from": T0}, CODE_SIGNING, T0 - DAY, T0, Code.DISTRUSTED),
        ({"disabled_from": T0}, CODE_SIGNING, T0 - DAY, T0 - timedelta(seconds=1), None),
        ({"no_issue_after": T0}, CODE_SIGNING, T0, T0 + DAY, Code.DISTRUSTED),
        ({"no_issue_after": T0}, CODE_SIGNING, T0 - DAY, T0 + DAY, None),
        (
            {"no_issue_after": T0, "no_issue_usages": frozenset({SERVER})},
            CODE_SIGNING, T0 + DAY, T0 + DAY, None,
        ),
        (
            {"no_issue_after": T0, "no_issue_usages": frozenset({CODE_SIGNING})},
            CODE_SIGNING, T0 + DAY, T0 + DAY, Code.DISTRUSTED,
        ),
    ],
)  # fmt: skip
def test_what_limits_object_to(
    limits: dict[str, object], eku: str | None, issued: datetime, at: datetime, code: Code | None
) -> None:
    found = anchor(**limits).objections(eku, issued, at)
    assert [f.code for f in found] == ([code] if code else [])
    assert all(f.subject == "trust anchor One" for f in found)
