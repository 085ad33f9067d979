"""How code stands to a requirement: met, unmet, or nothing this machine knows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache

import pytest
from conformance.authenticode.keys import key
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from signward.trust.requirement import Code, Standing, evaluate
from signward.trust.x509 import Certificate, load_certificate
from signward.wire.requirement import read_requirement, write_requirement
from signward.wire.requirement_text import parse_requirement

DEVELOPER_ID_LEAF = "1.2.840.113635.100.6.1.13"
DATED = "1.2.840.113635.100.6.1.33"
POLICY = "1.2.840.113635.100.5.1"


def _certificate(names: dict[x509.ObjectIdentifier, str], *extensions: x509.ExtensionType) -> bytes:
    private = key("rsa2048", "requirement").private
    assert isinstance(private, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in names.items()])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(7)
        .public_key(private.public_key())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
    )  # fmt: skip
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(private, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


@cache
def _path() -> tuple[Certificate, ...]:
    date = b"\x0c\x0f20190301000000Z"
    leaf = _certificate(
        {
            NameOID.COMMON_NAME: "Developer ID Application: Example",
            NameOID.ORGANIZATIONAL_UNIT_NAME: "TEAM123456",
            NameOID.EMAIL_ADDRESS: "a@example.org",
        },
        x509.UnrecognizedExtension(x509.ObjectIdentifier(DEVELOPER_ID_LEAF), b"\x05\x00"),
        x509.UnrecognizedExtension(x509.ObjectIdentifier(DATED), date),
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(POLICY), None)]),
        x509.SubjectAlternativeName([x509.RFC822Name("b@example.org")]),
    )
    intermediate = _certificate(
        {
            NameOID.COMMON_NAME: "Apple Code Signing Certification Authority",
            NameOID.ORGANIZATION_NAME: "Apple Inc.",
        }
    )
    root = _certificate({NameOID.COMMON_NAME: "A Root"})
    return tuple(load_certificate(one) for one in (leaf, intermediate, root))


def _code(**changed: object) -> Code:
    known: dict[str, object] = {
        "identifier": "com.example.tool",
        "cdhashes": frozenset({b"\x11" * 20}),
        "path": _path(),
        "apple": True,
        "info": {
            "CFBundleVersion": "1.10", "on": True, "off": False, "kinds": ["red", "blue"],
            "when": datetime(2020, 1, 1),  # noqa: DTZ001 - as plistlib reads one
            "number": 5,
        },
        "entitlements": {},
        **changed,
    }  # fmt: skip
    return Code(**known)  # type: ignore[arg-type]


def _standing(text: str, code: Code) -> Standing:
    return evaluate(read_requirement(write_requirement(parse_requirement(text))), code)


SHA1 = hashlib.sha1(_path()[0].der, usedforsecurity=False).hexdigest()

MET = (
    "always", "! never", 'identifier "com.example.tool"', "anchor apple generic", "anchor apple",
    f'cdhash H"{"11" * 20}"', f'certificate leaf = H"{SHA1}"', f'certificate -3 = H"{SHA1}"',
    "certificate leaf[subject.OU] = TEAM123456", "certificate leaf[subject.CN] = Developer*",
    "certificate leaf[subject.CN] = *Example", "certificate leaf[subject.CN] ~ Application",
    f"certificate leaf[field.{DEVELOPER_ID_LEAF}] exists", "certificate 1[field.1.2.3] absent",
    f"certificate leaf[policy.{POLICY}] exists", "certificate root[policy.1.2.3] absent",
    f'certificate leaf[timestamp.{DATED}] < timestamp "20190408000000Z"',
    f'certificate leaf[timestamp.{DATED}] = timestamp "20190301000000Z"',
    f'certificate leaf[timestamp.{DATED}] >= timestamp "20190301000000Z"',
    f"certificate root[timestamp.{DATED}] absent", f"certificate 9[timestamp.{DATED}] absent",
    'info[CFBundleVersion] > "1.9"', 'info[CFBundleVersion] >= "1.10"',
    'info[CFBundleVersion] < "1.11"',
    'info[CFBundleVersion] <= "1.10"', "info[on] exists", "info[kinds] = blue", "info[gone] absent",
    'info[when] > timestamp "20191231235959Z"', "entitlement[x] absent", "platform = 0",
    "never or always", "always and ! never", "always or notarized",
)  # fmt: skip

UNMET = (
    "never", "! always", "identifier other", f'cdhash H"{"22" * 20}"',
    f'certificate root = H"{SHA1}"', f'certificate 5 = H"{SHA1}"', f'certificate -4 = H"{SHA1}"',
    "certificate leaf[subject.OU] = OTHER", "certificate root[subject.OU] absent",
    "certificate 3[subject.CN] exists", "certificate leaf[field.1.2.3] exists",
    "certificate 3[field.1.2.3] absent", "certificate leaf[policy.1.2.3] exists",
    f'certificate leaf[timestamp.{DATED}] > timestamp "20190408000000Z"',
    'info[CFBundleVersion] < "1.9"', "info[off] exists", "info[kinds] = green", "info[on] absent",
    "info[gone] exists", "info[number] = \"5\"", "info[gone] = x", "entitlement[x] exists",
    'info[CFBundleVersion] > timestamp "20190408000000Z"', "platform = 2", "never and notarized",
)  # fmt: skip

UNKNOWN = (
    "anchor trusted", "certificate leaf trusted", "anchor apple extras", "(extras)", "legacy",
    "notarized", "! notarized", "always and notarized", "never or notarized",
)  # fmt: skip


@pytest.mark.parametrize("text", MET, ids=range(len(MET)))
def test_met(text: str) -> None:
    assert _standing(text, _code()) is Standing.MET


@pytest.mark.parametrize("text", UNMET, ids=range(len(UNMET)))
def test_unmet(text: str) -> None:
    assert _standing(text, _code()) is Standing.UNMET


@pytest.mark.parametrize("text", UNKNOWN, ids=range(len(UNKNOWN)))
def test_unknown(text: str) -> None:
    assert _standing(text, _code()) is Standing.UNKNOWN


def test_other_anchors_are_not_apples() -> None:
    for text in ("anchor apple", "anchor apple generic"):
        assert _standing(text, _code(apple=False)) is Standing.UNMET
    assert _standing("anchor apple", _code(path=_path()[:1])) is Standing.UNMET
    assert _standing("anchor apple", _code(path=_path()[::2])) is Standing.UNMET


def test_lists_that_are_not_at_hand_are_unknown() -> None:
    code = _code(info=None, entitlements=None)
    assert _standing("info[a] exists", code) is Standing.UNKNOWN
    assert _standing("entitlement[a] absent", code) is Standing.UNKNOWN


def test_what_is_told_of_notarization_counts() -> None:
    assert _standing("notarized", _code(notarized=True)) is Standing.MET
    assert _standing("notarized", _code(notarized=False)) is Standing.UNMET


def test_unknown_operations_count_as_they_say() -> None:
    failing = bytes.fromhex("fade0c00 00000014 00000001 800000ff 00000000")
    skipped = bytes.fromhex("fade0c00 00000018 00000001 400000ff 00000000 00000001")
    other = bytes.fromhex("fade0c00 00000010 00000002 00000000")
    assert evaluate(read_requirement(failing), _code()) is Standing.UNMET
    assert evaluate(read_requirement(skipped), _code()) is Standing.MET
    assert evaluate(read_requirement(other), _code()) is Standing.UNKNOWN


def test_an_unknown_comparison_never_holds() -> None:
    blob = bytes.fromhex("fade0c00 00000020 00000001 0000000a 00000002 6f6e0000 00000063 00000000")
    assert evaluate(read_requirement(blob), _code()) is Standing.UNMET


def test_addresses_are_those_of_subject_and_alternative_names() -> None:
    for name in (b"a@example.org", b"b@example.org"):
        body = b"\0\0\0\x0b" + bytes(4) + b"\0\0\0\5email\0\0\0" + b"\0\0\0\1"
        body += len(name).to_bytes(4, "big") + name + bytes(-len(name) % 4)
        blob = b"\xfa\xde\x0c\x00" + (12 + len(body)).to_bytes(4, "big") + b"\0\0\0\1" + body
        assert evaluate(read_requirement(blob), _code()) is Standing.MET
