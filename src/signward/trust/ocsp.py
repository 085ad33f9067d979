"""OCSP: reading responses, who may sign them, and writing requests (RFC 6960).

A response speaks about certificates by CertID: digests of the issuer's name and key,
and a serial number.  It counts when the issuer's own key signed it, or a certificate
that the same issuer made for that purpose (id-kp-OCSPSigning).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from signward import integrity
from signward.errors import BadInputError, EvidenceError, LimitError, MalformedError
from signward.findings import Effect, worst
from signward.frozen import Frozen
from signward.state import Algorithm, Status
from signward.trust.crl import INVALIDITY_DATE, REASON_CODE, CrlEntry, read_extensions, read_reason
from signward.trust.names import normalized_name, same_name
from signward.trust.x509 import Certificate, is_signed_by, load_certificate
from signward.wire import der
from signward.wire.algorithms import COMPUTABLE, DIGEST_OIDS, digest_name, signature_algorithm
from signward.wire.spki import key_bits

MAX_RESPONSE_OCTETS = 1024 * 1024
"""Largest response read; real ones have 0.5 to 3 KB."""

MAX_SINGLE_RESPONSES = 1000
MAX_CERTIFICATES = 16

BASIC_RESPONSE, NONCE = "1.3.6.1.5.5.7.48.1.1", "1.3.6.1.5.5.7.48.1.2"
CRL_REFERENCE, NO_CHECK = "1.3.6.1.5.5.7.48.1.3", "1.3.6.1.5.5.7.48.1.5"
ARCHIVE_CUTOFF, EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.6", "1.3.6.1.5.5.7.48.1.9"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"

_KNOWN = frozenset({NONCE, EXTENDED_REVOKE})
_KNOWN_IN_SINGLE = frozenset({CRL_REFERENCE, ARCHIVE_CUTOFF, REASON_CODE, INVALIDITY_DATE})
_WEAK_DIGESTS = frozenset({"md2", "md5"})

_RESPONSE_STATUS = {
    0: "successful",
    1: "malformedRequest",
    2: "internalError",
    3: "tryLater",
    5: "sigRequired",
    6: "unauthorized",
}
"""OCSPResponseStatus (RFC 6960 4.2.1)."""


class CertId(Frozen, frozen=True, kw_only=True):
    """Which certificate: digests of its issuer's name and key, and its serial number."""

    digest: str
    name_hash: bytes
    key_hash: bytes
    serial: int


class SingleResponse(Frozen, frozen=True, kw_only=True):
    """What a response says about one certificate.

    ``archive_cutoff`` is the instant back to which the responder keeps answers about
    expired certificates, ``unusable`` why this one must not be used.
    """

    cert_id: CertId
    status: Status
    entry: CrlEntry | None
    this_update: datetime
    next_update: datetime | None
    archive_cutoff: datetime | None
    unusable: str


class OcspResponse(Frozen, frozen=True, kw_only=True, eq=False):
    """One successful basic response; who signed it is not known yet.

    ``responder_name`` (raw Name) or ``responder_key`` (SHA-1 of the key) names the
    signer, ``certificates`` are those it carries.
    """

    data: bytes
    sha256: bytes
    produced_at: datetime
    responder_name: bytes
    responder_key: bytes
    responses: tuple[SingleResponse, ...]
    nonce: bytes | None
    tbs: bytes
    algorithm: Algorithm
    value: bytes
    certificates: tuple[Certificate, ...]
    unusable: str


class Responder(Frozen, frozen=True, kw_only=True):
    """Who signed a response.  ``to_check`` asks for the delegate's own revocation status."""

    certificate: Certificate
    delegated: bool
    to_check: bool


@lru_cache(maxsize=1024)
def load_response(data: bytes) -> OcspResponse:
    """Read an OCSPResponse, or the BasicOCSPResponse in it (RFC 6960 4.2.1).

    Raises ``BadInputError`` for what cannot be read, and for a response that is an
    error status and says nothing about any certificate.
    """
    if len(data) > MAX_RESPONSE_OCTETS:
        raise LimitError("OCSP response", f"{len(data)} bytes", f"<= {MAX_RESPONSE_OCTETS}")
    node = der.parse(data, "OCSP response")
    fields = node.fields("OCSP response", 1)
    if fields[0].tag == der.ENUMERATED:
        node = der.parse(_basic(fields), "OCSP response")
        fields = node.fields("OCSP response", 3)
    if len(fields) < 3:
        raise MalformedError("OCSP response", f"{len(fields)} fields", "3", "RFC 6960 4.2.1")
    tbs = _ResponseData(fields[0])
    return OcspResponse(
        data=data,
        sha256=hashlib.sha256(data).digest(),
        produced_at=tbs.produced_at,
        responder_name=tbs.name,
        responder_key=tbs.key,
        responses=tbs.responses,
        nonce=tbs.nonce,
        tbs=fields[0].raw,
        algorithm=signature_algorithm(fields[1], what="OCSP response"),
        value=fields[2].bits("OCSP signature"),
        certificates=_certificates(fields[3:]),
        unusable=tbs.unusable,
    )


def _basic(fields: list[der.Node]) -> bytes:
    code = fields[0].integer("responseStatus", der.ENUMERATED)
    if code != 0 or len(fields) < 2:
        name = _RESPONSE_STATUS.get(code, str(code))
        raise MalformedError("OCSP response", f"status {name}", "an answer", "RFC 6960 4.2.1")
    inner = fields[1].expect(0xA0, "OCSP responseBytes").children()
    if len(inner) != 1:
        raise MalformedError("OCSP response", "odd responseBytes", "one", "RFC 6960 4.2.1")
    kind, octets = inner[0].fields("OCSP responseBytes", 2)[:2]
    if kind.oid() != BASIC_RESPONSE:
        raise MalformedError("OCSP response", f"type {kind.oid()}", "basic", "RFC 6960 4.2.1")
    return octets.octets("OCSP response")


def _certificates(fields: list[der.Node]) -> tuple[Certificate, ...]:
    """Return the certificates that can be read; the others cannot help."""
    nodes = [n for f in fields if f.tag == 0xA0 for s in f.children() for n in s.children()]
    if len(nodes) > MAX_CERTIFICATES:
        raise LimitError("OCSP response", f"{len(nodes)} certificates", f"<= {MAX_CERTIFICATES}")
    found = []
    for node in nodes:
        try:
            found.append(load_certificate(node.raw))
        except BadInputError:
            continue
    return tuple(found)


class _ResponseData:
    """Reads ResponseData (RFC 6960 4.2.1)."""

    def __init__(self, node: der.Node) -> None:
        fields = node.fields("OCSP response", 3)
        if fields[0].tag == 0xA0:
            fields.pop(0)
        if len(fields) < 3:
            raise MalformedError("OCSP response", f"{len(fields)} fields", "3", "RFC 6960 4.2.1")
        self._responder(fields[0])
        self.produced_at = fields[1].time("producedAt")
        singles = fields[2].fields("OCSP responses")
        if len(singles) > MAX_SINGLE_RESPONSES:
            raise LimitError("OCSP response", f"{len(singles)} answers", f"{MAX_SINGLE_RESPONSES}")
        self.responses = tuple(_single(single) for single in singles)
        extensions, self.unusable = _tagged_extensions(fields[3:], _KNOWN)
        nonce = extensions.get(NONCE)
        self.nonce = _nonce_octets(nonce) if nonce is not None else None

    def _responder(self, node: der.Node) -> None:
        inner = node.children()
        if len(inner) != 1 or node.tag not in (0xA1, 0xA2):
            raise MalformedError("OCSP responderID", f"tag {node.tag:#x}", "byName or byKey")
        self.name = inner[0].raw if node.tag == 0xA1 else b""
        self.key = inner[0].octets("KeyHash") if node.tag == 0xA2 else b""
        if self.name:
            normalized_name(self.name)


def _tagged_extensions(
    fields: list[der.Node], known: frozenset[str]
) -> tuple[dict[str, bytes], str]:
    """Read ``[1] EXPLICIT Extensions`` where present; also why they forbid any use."""
    for field in fields:
        if field.tag == 0xA1:
            inner = field.children()
            if len(inner) != 1:
                raise MalformedError("OCSP response", "odd extensions", "one SEQUENCE")
            values, critical = read_extensions(inner[0])
            unknown = min(critical - known, default="")
            return values, f"unknown critical extension {unknown}" if unknown else ""
    return {}, ""


def _nonce_octets(value: bytes) -> bytes:
    """Return a nonce, which some write bare, without its OCTET STRING (RFC 9654 2.1)."""
    try:
        return der.parse(value, "nonce").octets("nonce")
    except BadInputError:
        return value


def _single(node: der.Node) -> SingleResponse:
    cert_id, status, this_update, *rest = node.fields("SingleResponse", 3)
    values, unusable = _tagged_extensions(rest, _KNOWN_IN_SINGLE)
    kind, entry = _cert_status(status, values)
    return SingleResponse(
        cert_id=read_cert_id(cert_id),
        status=kind,
        entry=entry,
        this_update=this_update.time("thisUpdate"),
        next_update=_next_update(rest),
        archive_cutoff=_cutoff(values.get(ARCHIVE_CUTOFF)),
        unusable=unusable,
    )


def _next_update(fields: list[der.Node]) -> datetime | None:
    return next((f.children()[0].time() for f in fields if f.tag == 0xA0 and f.children()), None)


def _cutoff(value: bytes | None) -> datetime | None:
    return None if value is None else der.parse(value, "archiveCutoff").time("archiveCutoff")


def read_cert_id(node: der.Node) -> CertId:
    """Decode a CertID (RFC 6960 4.1.1).  Raises ``BadInputError``."""
    algorithm, name, key, serial = node.fields("CertID", 4)[:4]
    return CertId(
        digest=digest_name(algorithm),
        name_hash=name.octets("issuerNameHash"),
        key_hash=key.octets("issuerKeyHash"),
        serial=serial.integer("serialNumber"),
    )


def _cert_status(node: der.Node, values: dict[str, bytes]) -> tuple[Status, CrlEntry | None]:
    """Read CertStatus; an invalidity date stands among the extensions (RFC 6960 4.4.5)."""
    if node.tag == 0x80:
        return Status.GOOD, None
    if node.tag in (0x82, 0xA2):
        return Status.UNKNOWN, None
    if node.tag != 0xA1:
        raise MalformedError("CertStatus", f"tag {node.tag:#x}", "[0] to [2]", "RFC 6960 4.2.1")
    fields = node.children()
    if not fields:
        raise MalformedError("CertStatus", "no revocationTime", "one", "RFC 6960 4.2.1")
    reason = read_reason(fields[1].content) if len(fields) > 1 and fields[1].tag == 0xA0 else ""
    invalid = values.get(INVALIDITY_DATE)
    if not reason and REASON_CODE in values:
        reason = read_reason(values[REASON_CODE])
    return Status.REVOKED, CrlEntry(
        revoked_at=fields[0].time("revocationTime"),
        reason=reason,
        invalid_from=der.parse(invalid, "invalidityDate").time() if invalid else None,
    )


@lru_cache(maxsize=1024)
def _hashes(issuer: Certificate, digest: str) -> tuple[bytes, bytes]:
    """Return issuerNameHash and issuerKeyHash (RFC 6960 4.1.1)."""
    return (
        hashlib.new(digest, issuer.subject, usedforsecurity=False).digest(),
        key_hash(issuer, digest),
    )


@lru_cache(maxsize=1024)
def key_hash(certificate: Certificate, digest: str) -> bytes:
    """Return the digest of a certificate's subjectPublicKey octets (RFC 6960 4.1.1, 4.2.1)."""
    return hashlib.new(digest, key_bits(certificate.spki), usedforsecurity=False).digest()


def names_issuer(cert_id: CertId, issuer: Certificate) -> bool:
    """Return whether a CertID speaks of certificates that ``issuer`` made."""
    if cert_id.digest not in COMPUTABLE:
        return False
    return _hashes(issuer, cert_id.digest) == (cert_id.name_hash, cert_id.key_hash)


def responder(
    response: OcspResponse, issuer: Certificate, at: datetime, more: Sequence[Certificate] = ()
) -> Responder | str:
    """Return who signed ``response`` and may (RFC 6960 4.2.2.2), or why nobody did.

    The issuer itself, or a certificate it made with id-kp-OCSPSigning that is valid at
    ``at`` (the validation instant, or producedAt if that is later).
    """
    why = "no certificate of its signer at hand"
    for certificate in (issuer, *response.certificates, *more):
        if not _named(response, certificate):
            continue
        why = "its signature does not fit the responder's key"
        if not _signed_with(response, certificate.spki):
            continue
        if certificate.spki == issuer.spki and same_name(certificate.subject, issuer.subject):
            return Responder(certificate=issuer, delegated=False, to_check=False)
        why = _delegation_fault(certificate, issuer, max(at, response.produced_at))
        if not why:
            check = NO_CHECK not in certificate.extensions
            return Responder(certificate=certificate, delegated=True, to_check=check)
    return why


def _named(response: OcspResponse, certificate: Certificate) -> bool:
    if response.responder_name:
        return same_name(response.responder_name, certificate.subject)
    return key_hash(certificate, "sha1") == response.responder_key


def _delegation_fault(certificate: Certificate, issuer: Certificate, at: datetime) -> str:
    """Return why ``certificate`` may not answer for ``issuer``; empty if it may."""
    if not same_name(certificate.issuer, issuer.subject) or not is_signed_by(certificate, issuer):
        return "its responder was not made by the certificate's issuer (RFC 6960 4.2.2.2)"
    if OCSP_SIGNING not in (certificate.ekus or ()):
        return "its responder has no id-kp-OCSPSigning (RFC 6960 4.2.2.2)"
    if certificate.key_usage is not None and "digitalSignature" not in certificate.key_usage:
        return "its responder's key usage is not digitalSignature"
    if not certificate.not_before <= at <= certificate.not_after:
        return f"its responder is not valid at {at:%Y-%m-%d}"
    if worst(certificate.problems) == Effect.REJECT:
        return "its responder's certificate is malformed"
    return ""


@lru_cache(maxsize=1024)
def _signed_with(response: OcspResponse, spki: bytes) -> bool:
    if response.algorithm.digest in _WEAK_DIGESTS:
        return False
    try:
        integrity.check_value(spki, response.algorithm, response.tbs, response.value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True


def request(
    certificate: Certificate, issuer: Certificate, nonce: bytes = b"", digest: str = "sha1"
) -> bytes:
    """Return a DER OCSPRequest about one certificate (RFC 6960 4.1.1).

    ``digest`` names the CertID's hash: SHA-1 is what responders index by (RFC 5019
    2.1.1) and protects nothing here.  ``nonce`` is 1 to 32 octets (RFC 9654), or none.
    """
    name_hash, key_hash = _hashes(issuer, digest)
    cert_id = der.sequence(
        der.sequence(der.oid(DIGEST_OIDS[digest]), der.null()),
        der.octet_string(name_hash),
        der.octet_string(key_hash),
        der.integer(certificate.serial),
    )
    parts = [der.sequence(der.sequence(cert_id))]
    if nonce:
        value = der.octet_string(der.octet_string(nonce))
        parts.append(der.context(2, der.sequence(der.sequence(der.oid(NONCE), value))))
    return der.sequence(der.sequence(*parts))


def check_nonce(response: OcspResponse, sent: bytes) -> bool:
    """Return whether the nonce we sent came back; False if the responder uses none.

    Raises ``EvidenceError`` for another nonce: an answer to somebody else's question.
    """
    if response.nonce is None:
        return False
    if response.nonce != sent:
        raise EvidenceError("OCSP response: its nonce is not the one that was sent")
    return True
