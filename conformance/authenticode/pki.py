"""Test certificates, CRLs and OCSP responses: written as data, every rule breakable.

``issue`` makes one certificate; ``make_pki`` the usual five (root, intermediate, leaf, a
time-stamping authority), with overrides per role as plain dictionaries::

    pki = make_pki(leaf={"ekus": (EKU_SERVER_AUTH,)}, intermediate={"path_length": 0})

The TBS octets are written here and signed directly, because libraries refuse to sign what
this suite needs: SHA-1 and MD5, explicit curves, missing extensions.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from conformance.authenticode.keys import Key, key, signature_algorithm
from signward.wire import der

EKU_CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
EKU_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
EKU_SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
EKU_OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
EKU_LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13"
EKU_SUBSCRIBER_ARC = "1.3.6.1.4.1.311.97"
EKU_DOCUMENT_SIGNING = "1.3.6.1.4.1.311.10.3.12"

_KEY_USAGE_BITS = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "",
    "removeFromCRL",
    "privilegeWithdrawn",
    "aACompromise",
)

Extension = tuple[str, bool, bytes]
"""Dotted OID, critical, and the DER value that goes into the OCTET STRING."""


def instant(year: int, month: int = 1, day: int = 1, hour: int = 0) -> datetime:
    """Return an aware UTC instant."""
    return datetime(year, month, day, hour, tzinfo=UTC)


BEGIN, END = instant(2010), instant(2040)
"""Validity of authorities."""
LEAF_BEGIN, LEAF_END = instant(2024), instant(2035)
"""Validity of a leaf unless a case says otherwise; long, because some tools ask the wall clock."""
NOW = instant(2026)
"""The instant at which cases are judged unless they say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate (DER) with the key behind it and who issued it (None: itself)."""

    name: str
    certificate: bytes
    subject: bytes
    serial: int
    key: Key
    issuer: Identity | None = None

    @property
    def issuer_subject(self) -> bytes:
        """The issuer's DER Name."""
        return self.issuer.subject if self.issuer else self.subject

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return pem(self.certificate)

    @property
    def key_identifier(self) -> bytes:
        """SHA-1 of the public key's octets (RFC 5280 4.2.1.2, method 1)."""
        return key_identifier(self.key)

    @property
    def path(self) -> tuple[Identity, ...]:
        """The certificate and its issuers, leaf first."""
        return (self, *self.issuer.path) if self.issuer else (self,)


def pem(certificate: bytes, label: str = "CERTIFICATE") -> bytes:
    """Return DER as PEM with 64 characters to a line (RFC 7468)."""
    text = base64.b64encode(certificate).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def name(common_name: str, organization: str = "Conformance") -> bytes:
    """Return a DER Name: O and CN as UTF8String."""
    parts = (("2.5.4.10", organization), ("2.5.4.3", common_name))
    return der.sequence(
        *(der.set_of(der.sequence(der.oid(oid), der.utf8(text))) for oid, text in parts if text)
    )


def key_identifier(of: Key) -> bytes:
    """Return SHA-1 of the subjectPublicKey octets (RFC 5280 4.2.1.2, method 1)."""
    return hashlib.sha1(der.parse(of.spki, "SPKI").children()[1].bits()).digest()


def key_usage(*bits: str) -> bytes:
    """Return a KeyUsage BIT STRING in DER: trailing zero bits removed (RFC 5280 4.2.1.3)."""
    numbers = [_KEY_USAGE_BITS.index(bit) for bit in bits]
    if not numbers:
        return der.encode(der.BIT_STRING, b"\0")
    width = max(numbers) // 8 + 1
    value = sum(1 << (width * 8 - 1 - number) for number in numbers)
    unused = 7 - max(numbers) % 8
    return der.encode(der.BIT_STRING, bytes((unused,)) + value.to_bytes(width, "big"))


def basic_constraints(ca: bool, path_length: int | None = None) -> bytes:  # noqa: FBT001 - the value
    """Return BasicConstraints (RFC 5280 4.2.1.9); ``cA FALSE`` is the default and left out."""
    length = der.integer(path_length) if path_length is not None else b""
    return der.sequence(der.boolean(True) if ca else b"", length)  # noqa: FBT003


def name_constraints(*, permitted: Sequence[bytes] = (), excluded: Sequence[bytes] = ()) -> bytes:
    """Return NameConstraints over directory names (RFC 5280 4.2.1.10)."""

    def subtrees(number: int, names: Sequence[bytes]) -> bytes:
        bases = (der.sequence(der.context(4, one)) for one in names)
        return der.context(number, b"".join(bases)) if names else b""

    return der.sequence(subtrees(0, permitted), subtrees(1, excluded))


def explicit_curve_spki(of: Key) -> bytes:
    """Return a P-256 key whose curve is spelled out in parameters (CVE-2020-0601)."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    g = bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    field = der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(p))
    curve = der.sequence(
        der.octet_string((p - 3).to_bytes(32, "big")), der.octet_string(b.to_bytes(32, "big"))
    )
    parameters = der.sequence(
        der.integer(1), field, curve, der.octet_string(g), der.integer(n), der.integer(1)
    )
    point = der.parse(of.spki, "SPKI").children()[1].raw
    return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), parameters), point)


_serials = iter(range(0x1001, 1 << 62))


def issue(
    common_name: str,
    *,
    issuer: Identity | None = None,
    subject_key: Key | None = None,
    not_before: datetime = LEAF_BEGIN,
    not_after: datetime = LEAF_END,
    digest: str = "sha256",
    pss: bool = False,
    ca: bool | None = False,
    path_length: int | None = None,
    usage: Sequence[str] | None = ("digitalSignature",),
    ekus: Sequence[str] | None = (EKU_CODE_SIGNING,),
    eku_critical: bool = False,
    constraints: bytes = b"",
    extensions: Sequence[Extension] = (),
    subject: bytes | None = None,
    issuer_name: bytes | None = None,
    serial: int | None = None,
    spki: bytes | None = None,
    version: int = 3,
    identifiers: bool = True,
    authority_key_identifier: bytes | None = None,
    inner_algorithm: bytes | None = None,
    break_signature: bool = False,
    trailing: bytes = b"",
) -> Identity:
    """Issue one certificate (RFC 5280 4.1); every argument is a rule that can be broken.

    ``ca`` None leaves basicConstraints out; ``usage`` and ``ekus`` None likewise.
    ``issuer_name`` differs from the issuer's subject to break name chaining;
    ``inner_algorithm`` replaces tbsCertificate.signature; ``trailing`` follows the whole.
    """
    subject_key = subject_key or key("rsa2048", common_name)
    signer = issuer.key if issuer else subject_key
    subject = subject if subject is not None else name(common_name)
    serial = serial if serial is not None else next(_serials)
    listed: list[Extension] = []
    if ca is not None:
        listed.append(("2.5.29.19", True, basic_constraints(ca, path_length)))
    if usage is not None:
        listed.append(("2.5.29.15", True, key_usage(*usage)))
    if ekus is not None:
        listed.append(("2.5.29.37", eku_critical, der.sequence(*map(der.oid, ekus))))
    if identifiers:
        listed.append(("2.5.29.14", False, der.octet_string(key_identifier(subject_key))))
        authority = authority_key_identifier or key_identifier(signer)
        value = der.sequence(der.context(0, authority, constructed=False))
        listed.append(("2.5.29.35", False, value))
    if constraints:
        listed.append(("2.5.29.30", True, constraints))
    listed.extend(extensions)
    algorithm = signature_algorithm(signer, digest, pss=pss)
    fallback = issuer.subject if issuer else subject
    tbs = der.sequence(
        der.context(0, der.integer(version - 1)) if version > 1 else b"",
        der.integer(serial),
        inner_algorithm or algorithm,
        issuer_name if issuer_name is not None else fallback,
        der.sequence(der.utc_time(not_before), der.utc_time(not_after)),
        subject,
        spki or subject_key.spki,
        der.context(3, der.sequence(*map(extension, listed))) if listed and version == 3 else b"",
    )
    value = signer.sign(tbs, digest, pss=pss)
    if break_signature:
        value = broken(value)
    certificate = der.sequence(tbs, algorithm, der.bit_string(value)) + trailing
    return Identity(
        name=common_name,
        certificate=certificate,
        subject=subject,
        serial=serial,
        key=subject_key,
        issuer=issuer,
    )


def extension(parts: Extension) -> bytes:
    """Return one Extension; ``critical FALSE`` is the default and left out."""
    oid, critical, value = parts
    flag = der.boolean(True) if critical else b""  # noqa: FBT003
    return der.sequence(der.oid(oid), flag, der.octet_string(value))


def broken(value: bytes) -> bytes:
    """Return ``value`` with one bit of its last octet turned."""
    return value[:-1] + bytes((value[-1] ^ 1,))


_CA: dict[str, Any] = {
    "ca": True,
    "usage": ("keyCertSign", "cRLSign", "digitalSignature"),
    "ekus": None,
    "not_before": BEGIN,
    "not_after": END,
}
_TSA: dict[str, Any] = {
    "ekus": (EKU_TIME_STAMPING,),
    "eku_critical": True,
    "not_before": BEGIN,
    "not_after": END,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Root, intermediate, code signing leaf, and a TSA under the same root."""

    root: Identity
    intermediate: Identity
    leaf: Identity
    tsa: Identity

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates a signer embeds: leaf and intermediate, no root."""
        return (self.leaf.certificate, self.intermediate.certificate)


def make_pki(
    *,
    root: dict[str, Any] | None = None,
    intermediate: dict[str, Any] | None = None,
    leaf: dict[str, Any] | None = None,
    tsa: dict[str, Any] | None = None,
) -> Pki:
    """Make the usual PKI; each role's dictionary overrides arguments of ``issue``."""
    top = _issue("Conformance Root", None, _CA, root)
    middle = _issue("Conformance Code Signing CA", top, _CA, intermediate)
    end = _issue("Conformance Publisher", middle, {}, leaf)
    stamper = _issue("Conformance Timestamp Service", top, _TSA, tsa)
    return Pki(root=top, intermediate=middle, leaf=end, tsa=stamper)


@lru_cache(maxsize=1)
def default_pki() -> Pki:
    """Return the PKI without any override, the same one for every caller in the process."""
    return make_pki()


def stranger_pki() -> Pki:
    """Return a PKI that shares neither a name nor a key with ``default_pki``."""
    roles = {"root": "Root", "intermediate": "Code Signing CA", "leaf": "Publisher", "tsa": "TSA"}
    return make_pki(**{role: {"common_name": f"Stranger {name}"} for role, name in roles.items()})


def authority(common_name: str, issuer: Identity | None = None, **changes: Any) -> Identity:
    """Issue a CA certificate with the usual extensions."""
    return _issue(common_name, issuer, _CA, changes)


def timestamper(common_name: str, issuer: Identity, **changes: Any) -> Identity:
    """Issue a TSA certificate with the usual extensions (RFC 3161 2.3)."""
    return _issue(common_name, issuer, _TSA, changes)


def _issue(
    role: str, issuer: Identity | None, usual: dict[str, Any], changes: dict[str, Any] | None
) -> Identity:
    arguments = {**usual, **(changes or {})}
    common_name = arguments.pop("common_name", role)
    kind = arguments.pop("kind", None)
    if kind is not None:
        arguments["subject_key"] = key(kind, common_name)
    arguments.setdefault("issuer", issuer)
    return issue(common_name, **arguments)
