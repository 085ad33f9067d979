"""X.509 certificates: read once, tolerantly, with every broken rule named (RFC 5280 4).

What cannot be read at all raises ``MalformedError``.  What can be read but breaks a
rule of RFC 5280 section 4 is kept as a finding in ``Certificate.problems``: REJECT
where accepting it could make two readers disagree about what was certified, NOTE or
WARN for what certificates in the wild do and section 6 tells validators to bear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from signward import integrity
from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.trust.names import (
    COMMON_NAME,
    ORGANIZATION,
    attribute_values,
    name_text,
    normalized_name,
    same_name,
)
from signward.wire import der
from signward.wire.algorithms import EC_PUBLIC_KEY, signature_algorithm
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

__all__ = ["Certificate", "is_signed_by", "load_certificate", "normalized_name", "same_name"]

MAX_CERTIFICATE_OCTETS = 1024 * 1024
"""Largest certificate read; the largest real one seen has 9 KB."""

MAX_EXTENSIONS = 64
MAX_URLS = 32
MAX_SERIAL_OCTETS = 20
"""RFC 5280 4.1.2.2."""

SUBJECT_KEY_IDENTIFIER, KEY_USAGE = "2.5.29.14", "2.5.29.15"
SUBJECT_ALT_NAME, BASIC_CONSTRAINTS = "2.5.29.17", "2.5.29.19"
NAME_CONSTRAINTS, CRL_DISTRIBUTION = "2.5.29.30", "2.5.29.31"
CERTIFICATE_POLICIES, POLICY_MAPPINGS = "2.5.29.32", "2.5.29.33"
AUTHORITY_KEY_IDENTIFIER, POLICY_CONSTRAINTS = "2.5.29.35", "2.5.29.36"
EXTENDED_KEY_USAGE, INHIBIT_ANY_POLICY = "2.5.29.37", "2.5.29.54"
AUTHORITY_INFORMATION = "1.3.6.1.5.5.7.1.1"

_OCSP, _CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_URI = 0x86

KEY_USAGES = (
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
"""RFC 5280 4.2.1.3, by bit."""

_NEVER_CRITICAL = {
    AUTHORITY_KEY_IDENTIFIER: "RFC 5280 4.2.1.1",
    SUBJECT_KEY_IDENTIFIER: "RFC 5280 4.2.1.2",
    AUTHORITY_INFORMATION: "RFC 5280 4.2.2.1",
}


class Certificate(Frozen, frozen=True, kw_only=True, eq=False, dict=True, gc=True):
    """One certificate as its issuer wrote it; equal when the DER is.

    ``subject``, ``issuer`` and ``spki`` are raw DER, ``tbs`` the octets that were
    signed, ``sha256`` the digest of ``der``.  ``is_ca``, ``key_usage`` and ``ekus``
    are None where the extension is absent (or unreadable: ``problems`` says so).
    Not slotted: what only messages need (text forms) is computed when asked for.
    """

    der: bytes
    sha256: bytes
    version: int
    serial: int
    subject: bytes
    issuer: bytes
    not_before: datetime
    not_after: datetime
    spki: bytes
    tbs: bytes
    signature_algorithm: Algorithm
    signature_value: bytes
    extensions: Mapping[str, tuple[bool, bytes]]
    key_identifier: bytes | None
    authority_key_identifier: bytes | None
    is_ca: bool | None
    path_length: int | None
    key_usage: frozenset[str] | None
    ekus: frozenset[str] | None
    crl_urls: tuple[str, ...]
    ocsp_urls: tuple[str, ...]
    issuer_urls: tuple[str, ...]
    problems: tuple[Finding, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Certificate):
            return NotImplemented
        return self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"<Certificate {self.subject_text} {self.sha256.hex()[:16]}>"

    @cached_property
    def subject_text(self) -> str:
        """The subject in the form of RFC 4514."""
        return name_text(self.subject)

    @cached_property
    def issuer_text(self) -> str:
        """The issuer in the form of RFC 4514."""
        return name_text(self.issuer)

    @cached_property
    def common_name(self) -> str:
        """The most specific common name of the subject; empty if there is none."""
        return next(reversed(attribute_values(self.subject, COMMON_NAME)), "")

    @cached_property
    def organization(self) -> str:
        """The organization of the subject; empty if there is none."""
        return next(reversed(attribute_values(self.subject, ORGANIZATION)), "")

    @cached_property
    def self_issued(self) -> bool:
        """Whether subject and issuer are one name (RFC 5280 3.2)."""
        return same_name(self.subject, self.issuer)

    @cached_property
    def label(self) -> str:
        """How findings name this certificate."""
        return _label(self.subject, self.serial)


@remembering(4096, CERTIFICATE_OCTETS)
def load_certificate(data: bytes) -> Certificate:
    """Read one DER certificate (RFC 5280 4.1).

    Raises ``MalformedError`` or ``LimitError`` for what cannot be read.
    """
    if len(data) > MAX_CERTIFICATE_OCTETS:
        raise LimitError("certificate", f"{len(data)} bytes", f"at most {MAX_CERTIFICATE_OCTETS}")
    fields = der.parse(data, "certificate").fields("certificate", 3)
    if len(fields) != 3:
        raise MalformedError("certificate", f"{len(fields)} fields", "3", "RFC 5280 4.1")
    return _Reader(data, fields).certificate()


def certificate_size(certificate: Certificate) -> int:
    """Return how many octets a certificate is, for memories of what is read from it."""
    return len(certificate.der)


def is_signed_by(child: Certificate, issuer: Certificate) -> bool:
    """Return whether ``issuer``'s key made ``child``'s signature value.

    Names, usage and dates are not looked at.
    """
    short = len(child.der) <= CERTIFICATE_OCTETS >= len(issuer.der)
    return (_known_to_fit if short else _fits)(child, issuer)


def _fits(child: Certificate, issuer: Certificate) -> bool:
    algorithm = child.signature_algorithm
    try:
        integrity.check_value(issuer.spki, algorithm, child.tbs, child.signature_value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True


_known_to_fit = lru_cache(maxsize=8192)(_fits)


def _label(subject: bytes, serial: int) -> str:
    try:
        text = name_text(subject)
    except BadInputError:
        text = ""
    text = text if len(text) <= 160 else text[:157] + "..."
    return f"certificate {text}" if text else f"certificate with serial {serial:x}"


def malformed_finding(certificate: Certificate, error: BadInputError) -> Finding:
    """Return the finding that an extension of ``certificate`` cannot be read."""
    limit = isinstance(error, LimitError)
    return Finding(
        code=Code.LIMIT_EXCEEDED if limit else Code.CERTIFICATE_MALFORMED,
        effect=Effect.REJECT,
        subject=f"{certificate.label}, {error.finding.subject}",
        found=error.finding.found,
        required=error.finding.required,
        clause=error.finding.clause or "RFC 5280 4.2",
    )


# DNS names: labels, most specific first, lower case.


class _Reader:
    """Reads one certificate and collects the rules it breaks."""

    def __init__(self, data: bytes, fields: list[der.Node]) -> None:
        self.data = data
        self.tbs, self.algorithm, self.signature = fields
        self.problems: list[Finding] = []
        self.label = "certificate"

    def certificate(self) -> Certificate:
        """Return the whole certificate; raises ``BadInputError``."""
        fields = self.tbs.fields("certificate", 6)
        version, fields = self._version(fields)
        if len(fields) < 6:
            raise MalformedError("certificate", f"{len(fields)} fields", "6", "RFC 5280 4.1")
        serial, inner, issuer, validity, subject, spki, *rest = fields
        number = serial.expect(der.INTEGER, "serial number").integer("serial number")
        self.label = _label(subject.raw, number)
        normalized_name(issuer.raw), normalized_name(subject.raw)
        self._check_serial(serial, number)
        self._check_frame(inner, issuer)
        not_before, not_after = self._validity(validity)
        extensions = self._extensions(version, rest)
        self._check_key(spki)
        known = self._known(extensions)
        self._check_authority(known, subject)
        value = self._signature_value()
        return Certificate(
            der=self.data,
            sha256=hashlib.sha256(self.data).digest(),
            version=version,
            serial=number,
            subject=subject.raw,
            issuer=issuer.raw,
            not_before=not_before,
            not_after=not_after,
            spki=spki.raw,
            tbs=self.tbs.raw,
            signature_algorithm=signature_algorithm(self.algorithm, what="certificate"),
            signature_value=value,
            extensions=MappingProxyType(extensions),
            problems=tuple(self.problems),
            **known,
        )

    def _problem(
        self,
        effect: Effect,
        found: str,
        required: str,
        clause: str,
        code: Code = Code.CERTIFICATE_MALFORMED,
    ) -> None:
        self.problems.append(
            Finding(
                code=code,
                effect=effect,
                subject=self.label,
                found=found,
                required=required,
                clause=clause,
            )
        )

    def _version(self, fields: list[der.Node]) -> tuple[int, list[der.Node]]:
        """Read ``[0] Version DEFAULT v1`` (RFC 5280 4.1.2.1)."""
        if fields[0].tag != 0xA0:
            return 1, fields
        inner = fields[0].children()
        if len(inner) != 1:
            raise MalformedError("certificate", "an odd version", "one INTEGER", "RFC 5280 4.1")
        version = inner[0].integer("version") + 1
        if not 1 <= version <= 3:
            self._problem(Effect.REJECT, f"version {version}", "1 to 3", "RFC 5280 4.1.2.1")
        elif version == 1:
            self._problem(
                Effect.NOTE, "an encoded default version", "none", "X.690 11.5", Code.NOT_DER
            )
        return version, fields[1:]

    def _check_serial(self, serial: der.Node, number: int) -> None:
        """Bear serial numbers that are not positive (RFC 5280 4.1.2.2, last paragraph)."""
        if number <= 0:
            kind = "negative" if number < 0 else "zero"
            self._problem(
                Effect.NOTE, f"a {kind} serial number", "a positive one", "RFC 5280 4.1.2.2"
            )
        octets = (number.bit_length() + 7) // 8
        if octets > MAX_SERIAL_OCTETS:
            self._problem(
                Effect.REJECT, f"a serial number of {octets} octets",
                f"at most {MAX_SERIAL_OCTETS}", "RFC 5280 4.1.2.2",
            )  # fmt: skip
        content = serial.content
        if len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80:
            self._problem(
                Effect.WARN, "a padded serial number", "the fewest octets", "X.690 8.3.2",
                Code.NOT_DER,
            )  # fmt: skip

    def _check_frame(self, inner: der.Node, issuer: der.Node) -> None:
        if inner.raw != self.algorithm.raw:
            self._problem(
                Effect.REJECT, "two different signature algorithms",
                "the same inside and outside what is signed", "RFC 5280 4.1.1.2",
                Code.ALGORITHM_INCONSISTENT,
            )  # fmt: skip
        if not issuer.content:
            self._problem(Effect.REJECT, "an empty issuer", "a name", "RFC 5280 4.1.2.4")
        if not _minimal([self.tbs, *self.tbs.children()]):
            self._problem(
                Effect.WARN, "lengths in more octets than needed", "DER", "X.690 10.1", Code.NOT_DER
            )

    def _validity(self, validity: der.Node) -> tuple[datetime, datetime]:
        fields = validity.fields("validity", 2)
        if len(fields) != 2:
            raise MalformedError("validity", f"{len(fields)} times", "2", "RFC 5280 4.1.2.5")
        not_before, not_after = fields[0].time("notBefore"), fields[1].time("notAfter")
        for node, instant in zip(fields, (not_before, not_after), strict=True):
            wanted = 13 if instant.year < 2050 else 15
            if node.end - node.start != wanted:
                self._problem(
                    Effect.NOTE, f"a time written {node.content.decode('ascii')}",
                    "UTCTime with seconds through 2049, then GeneralizedTime without fraction",
                    "RFC 5280 4.1.2.5",
                )  # fmt: skip
        if not_after < not_before:
            self._problem(
                Effect.REJECT, "an end before the beginning", "a period", "RFC 5280 4.1.2.5"
            )
        return not_before, not_after

    def _extensions(self, version: int, rest: list[der.Node]) -> dict[str, tuple[bool, bytes]]:
        """Read what follows the key: unique identifiers and ``[3] Extensions``."""
        extensions: dict[str, tuple[bool, bytes]] = {}
        last = 0
        for field in rest:
            if field.tag not in (0x81, 0xA1, 0x82, 0xA2, 0xA3) or field.tag & 0x1F <= last:
                raise MalformedError(
                    self.label, f"field {field.tag:#04x}", "[1], [2], [3] in order",
                    "RFC 5280 4.1", offset=field.offset,
                )  # fmt: skip
            last = field.tag & 0x1F
            if field.tag == 0xA3:
                self._read_extensions(field, extensions)
        needed = 3 if last == 3 else 2 if last else 1
        if version < needed:
            self._problem(
                Effect.REJECT, f"version {version} with fields of version {needed}",
                f"version {needed}", "RFC 5280 4.1.2.1",
            )  # fmt: skip
        return extensions

    def _read_extensions(self, field: der.Node, extensions: dict[str, tuple[bool, bytes]]) -> None:
        inner = field.children()
        if len(inner) != 1:
            raise MalformedError(self.label, "odd extensions", "one SEQUENCE", "RFC 5280 4.1")
        nodes = inner[0].fields("extensions")
        if not nodes:
            self._problem(Effect.REJECT, "no extension in the list", "one", "RFC 5280 4.1.2.9")
        if len(nodes) > MAX_EXTENSIONS:
            raise LimitError(self.label, f"{len(nodes)} extensions", f"at most {MAX_EXTENSIONS}")
        for node in nodes:
            oid, critical, value = self._extension(node)
            if oid in extensions:
                self._problem(Effect.REJECT, f"extension {oid} twice", "each once", "RFC 5280 4.2")
            extensions.setdefault(oid, (critical, value))

    def _extension(self, node: der.Node) -> tuple[str, bool, bytes]:
        parts = node.fields("extension", 2)
        critical = len(parts) == 3 and parts[1].boolean("critical")
        if len(parts) > 3:
            raise MalformedError("extension", f"{len(parts)} fields", "at most 3", "RFC 5280 4.1")
        if len(parts) == 3 and parts[1].content != b"\xff":
            self._problem(
                Effect.NOTE, "criticality not written as DER asks", "TRUE as FF, no default",
                "X.690 11.1, 11.5", Code.NOT_DER,
            )  # fmt: skip
        oid = parts[0].oid("extension")
        if critical and oid in _NEVER_CRITICAL:
            self._problem(
                Effect.REJECT, f"extension {oid} critical", "not critical", _NEVER_CRITICAL[oid]
            )
        return oid, critical, parts[-1].octets("extension value")

    def _check_key(self, spki: der.Node) -> None:
        """Refuse curves given by parameters: they may share a real key's point (CVE-2020-0601)."""
        algorithm, _ = spki.fields("public key", 2)[:2]
        oid, *parameters = algorithm.fields("public key algorithm", 1)
        if oid.oid() != EC_PUBLIC_KEY or (parameters and parameters[0].tag == der.OID):
            return
        self._problem(
            Effect.REJECT, "an elliptic curve given by its parameters", "a named curve",
            "RFC 5480 2.1.1", Code.EXPLICIT_CURVE,
        )  # fmt: skip

    def _signature_value(self) -> bytes:
        """Return the signature's octets; no algorithm makes one that ends inside an octet."""
        content = self.signature.expect(der.BIT_STRING, "certificate signature").content
        if content[:1] != b"\0":
            self._problem(
                Effect.REJECT, "a signature value with unused bits", "whole octets",
                "RFC 5280 4.1.1.3",
            )  # fmt: skip
        return content[1:]

    def _known(self, extensions: dict[str, tuple[bool, bytes]]) -> dict[str, Any]:
        """Read the extensions that every use of a certificate looks at."""
        known: dict[str, Any] = dict(_ABSENT)
        for oid, (read, effect) in _READERS.items():
            if oid not in extensions:
                continue
            critical, value = extensions[oid]
            try:
                known.update(read(value))
            except BadInputError as error:
                gravity = Effect.REJECT if critical else effect
                self._problem(
                    gravity, f"extension {oid} with {error.finding.found}",
                    error.finding.required, error.finding.clause or "RFC 5280 4.2",
                )  # fmt: skip
        return known

    def _check_authority(self, known: dict[str, Any], subject: der.Node) -> None:
        usage = known["key_usage"]
        if known["is_ca"] and not subject.content:
            self._problem(Effect.REJECT, "a CA without a name", "a name", "RFC 5280 4.1.2.6")
        if usage is not None and "keyCertSign" in usage and not known["is_ca"]:
            effect = Effect.REJECT if known["is_ca"] is False else Effect.NOTE
            self._problem(
                effect, "keyCertSign without the cA flag", "both or neither", "RFC 5280 4.2.1.9",
                Code.BASIC_CONSTRAINTS,
            )  # fmt: skip


def _minimal(nodes: list[der.Node]) -> bool:
    """Return whether no length is indefinite or longer than DER allows."""
    for node in nodes:
        size = node.end - node.start
        octets = 0 if size < 0x80 else (size.bit_length() + 7) // 8
        if node.indefinite or node.start - node.offset != 2 + octets:
            return False
    return True


_ABSENT: dict[str, Any] = {
    "key_identifier": None,
    "authority_key_identifier": None,
    "is_ca": None,
    "path_length": None,
    "key_usage": None,
    "ekus": None,
    "crl_urls": (),
    "ocsp_urls": (),
    "issuer_urls": (),
}


def _read_key_identifier(value: bytes) -> dict[str, Any]:
    return {"key_identifier": der.parse(value, "subjectKeyIdentifier").octets()}


def _read_authority_key_identifier(value: bytes) -> dict[str, Any]:
    for field in der.parse(value, "authorityKeyIdentifier").fields("authorityKeyIdentifier"):
        if field.tag == 0x80:
            return {"authority_key_identifier": field.content}
    return {}


def _read_basic_constraints(value: bytes) -> dict[str, Any]:
    """Read ``SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }``."""
    fields = der.parse(value, "basicConstraints").fields("basicConstraints")
    is_ca, length = False, None
    if fields and fields[0].tag == der.BOOLEAN:
        is_ca = fields.pop(0).boolean("cA")
    if fields:
        length = fields.pop(0).expect(der.INTEGER, "pathLenConstraint").integer()
    if fields or (length is not None and length < 0):
        raise MalformedError(
            "basicConstraints", "other fields", "cA and pathLenConstraint", "RFC 5280 4.2.1.9"
        )
    return {"is_ca": is_ca, "path_length": length}


def _read_key_usage(value: bytes) -> dict[str, Any]:
    """Read the named BIT STRING of RFC 5280 4.2.1.3."""
    content = der.parse(value, "keyUsage").expect(der.BIT_STRING, "keyUsage").content
    if not content or content[0] > 7:
        raise MalformedError("keyUsage", "no bits", "a BIT STRING", "RFC 5280 4.2.1.3")
    flags = content[1:]
    return {
        "key_usage": frozenset(
            name
            for bit, name in enumerate(KEY_USAGES)
            if bit // 8 < len(flags) and flags[bit // 8] & 0x80 >> bit % 8
        )
    }


def _read_ekus(value: bytes) -> dict[str, Any]:
    purposes = der.parse(value, "extKeyUsage").fields("extKeyUsage", 1)
    return {"ekus": frozenset(p.oid("extKeyUsage") for p in purposes)}


def _read_information(value: bytes) -> dict[str, Any]:
    """Read AuthorityInfoAccess (RFC 5280 4.2.2.1); only URIs are kept."""
    found: dict[str, list[str]] = {_OCSP: [], _CA_ISSUERS: []}
    for description in der.parse(value, "authorityInfoAccess").fields("authorityInfoAccess"):
        method, location = description.fields("access description", 2)[:2]
        if location.tag == _URI and method.oid() in found:
            found[method.oid()].append(_url(location))
    return {
        "ocsp_urls": tuple(found[_OCSP][:MAX_URLS]),
        "issuer_urls": tuple(found[_CA_ISSUERS][:MAX_URLS]),
    }


def _read_distribution(value: bytes) -> dict[str, Any]:
    """Read the full-name URIs of CRLDistributionPoints (RFC 5280 4.2.1.13)."""
    urls = []
    for point in der.parse(value, "cRLDistributionPoints").fields("cRLDistributionPoints"):
        for field in point.fields("distribution point"):
            names = field.children() if field.tag == 0xA0 else []
            if names and names[0].tag == 0xA0:
                urls += [_url(n) for n in names[0].children() if n.tag == _URI]
    return {"crl_urls": tuple(urls[:MAX_URLS])}


def _url(node: der.Node) -> str:
    return node.content.decode("ascii", "replace")


_READERS: dict[str, tuple[Callable[[bytes], dict[str, Any]], Effect]] = {
    BASIC_CONSTRAINTS: (_read_basic_constraints, Effect.REJECT),
    KEY_USAGE: (_read_key_usage, Effect.REJECT),
    EXTENDED_KEY_USAGE: (_read_ekus, Effect.REJECT),
    SUBJECT_KEY_IDENTIFIER: (_read_key_identifier, Effect.WARN),
    AUTHORITY_KEY_IDENTIFIER: (_read_authority_key_identifier, Effect.WARN),
    AUTHORITY_INFORMATION: (_read_information, Effect.WARN),
    CRL_DISTRIBUTION: (_read_distribution, Effect.WARN),
}
"""What is read at once, and what an unreadable one does: lookups only lose a hint."""
