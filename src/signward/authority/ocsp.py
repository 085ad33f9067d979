"""OCSP: reading requests, and drafting the answers to them (RFC 6960, RFC 9654, RFC 9919).

Answers name their signer by key, say *good* only of certificates that were issued, and carry
an archive cutoff: certificates stay known for ever, expired ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from functools import lru_cache

from signward.authority.signed import signed
from signward.envelopes import Signer
from signward.errors import AuthorityError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm, Status
from signward.trust.crl import INVALIDITY_DATE, read_extensions
from signward.trust.ocsp import (
    ARCHIVE_CUTOFF,
    BASIC_RESPONSE,
    NO_CHECK,
    NONCE,
    OCSP_SIGNING,
    CertId,
    key_hash,
    names_issuer,
    read_cert_id,
)
from signward.trust.x509 import Certificate, is_signed_by
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS

MAX_REQUEST_OCTETS = 16 * 1024
"""Largest request read: the most questions with SHA-256, a signature and its certificates."""

MAX_QUESTIONS = 32
"""Certificates asked about at once: each costs a look into the database."""

MAX_NONCE_OCTETS = 128
"""RFC 9654 2.1: at least 1 and at most 128, else the request is malformed."""

DIGESTS = frozenset({"sha1", "sha256"})
"""What a CertID may be made with: SHA-1 protects nothing here (RFC 6960 4.3, RFC 9919 3.1.1)."""

_WHAT = "OCSP request"
_CLAUSE = "RFC 6960 4.1.1"


class Failure(IntEnum):
    """OCSPResponseStatus other than successful (RFC 6960 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


class Question(Frozen, frozen=True, kw_only=True):
    """One certificate asked about; ``null`` tells whether its digest has NULL parameters.

    The answer names it in the same form: some clients compare octets.
    """

    cert_id: CertId
    null: bool

    @property
    def written(self) -> bytes:
        """The CertID in DER."""
        asked = self.cert_id
        parameters = der.null() if self.null else b""
        return der.sequence(
            der.sequence(der.oid(DIGEST_OIDS[asked.digest]), parameters),
            der.octet_string(asked.name_hash),
            der.octet_string(asked.key_hash),
            der.integer(asked.serial),
        )


class Request(Frozen, frozen=True, kw_only=True):
    """An OCSPRequest; ``nonce`` is empty where there is none."""

    questions: tuple[Question, ...]
    nonce: bytes


class Known(Frozen, frozen=True, kw_only=True):
    """What an authority knows of a serial number; ``reason`` is a CRLReason (RFC 5280 5.3.1)."""

    status: Status
    revoked_at: datetime | None = None
    reason: int = 0
    invalid_from: datetime | None = None


UNKNOWN = Known(status=Status.UNKNOWN)
GOOD = Known(status=Status.GOOD)


class OcspDraft(Frozen, frozen=True, kw_only=True):
    """A BasicOCSPResponse that lacks its signature value (an ``envelopes.Draft``).

    ``certificates`` (DER) travel along: the delegate's, or none where the issuer itself signs.
    """

    to_be_signed: bytes
    algorithm: Algorithm
    certificates: tuple[bytes, ...]

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the whole OCSPResponse; it has no place for timestamps."""
        carried = b"".join(self.certificates)
        behind = der.context(0, der.sequence(carried)) if carried else b""
        basic = signed(self.to_be_signed, self.algorithm, value, behind)
        octets = der.sequence(der.oid(BASIC_RESPONSE), der.octet_string(basic))
        return der.sequence(der.encode(der.ENUMERATED, b"\0"), der.context(0, octets))


def failure(status: Failure) -> bytes:
    """Return the OCSPResponse that is an error status and nothing else (RFC 6960 2.3)."""
    return der.sequence(der.encode(der.ENUMERATED, bytes((status,))))


def read_request(data: bytes) -> Request:
    """Decode an OCSPRequest (RFC 6960 4.1.1).  Raises ``BadInputError``.

    Its signature, if any, is not looked at: anybody may ask (RFC 9919 3.1.2).
    """
    if len(data) > MAX_REQUEST_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_REQUEST_OCTETS}")
    outer = der.parse(data, _WHAT).fields(_WHAT, 1)
    if len(outer) > 2 or (len(outer) == 2 and outer[1].tag != 0xA0):
        raise MalformedError(_WHAT, "an odd structure", "a request, perhaps signed", _CLAUSE)
    fields = _after_version(outer[0].fields(_WHAT, 1))
    if fields and fields[0].tag == 0xA1:
        fields = fields[1:]  # requestorName
    if not fields or len(fields) > 2:
        raise MalformedError(_WHAT, f"{len(fields)} fields", "requestList, extensions", _CLAUSE)
    listed = fields[0].fields(_WHAT, 1)
    if len(listed) > MAX_QUESTIONS:
        raise LimitError(_WHAT, f"{len(listed)} certificates", f"at most {MAX_QUESTIONS}")
    extensions = _extensions(fields[1], 0xA2, {NONCE}) if len(fields) == 2 else {}
    return Request(
        questions=tuple(_question(one) for one in listed),
        nonce=_nonce(extensions[NONCE]) if NONCE in extensions else b"",
    )


def _after_version(fields: list[der.Node]) -> list[der.Node]:
    """Return what follows ``[0] Version DEFAULT v1``."""
    if fields[0].tag != 0xA0:
        return fields
    inner = fields[0].children()
    if len(inner) != 1 or inner[0].integer(_WHAT) != 0:
        raise MalformedError(_WHAT, "another version", "version 1", _CLAUSE)
    return fields[1:]


def _extensions(field: der.Node, tag: int, known: set[str]) -> dict[str, bytes]:
    """Return ``[n] EXPLICIT Extensions``; a critical one nobody knows is refused (RFC 6960 4.4)."""
    inner = field.expect(tag, _WHAT).children()
    if len(inner) != 1:
        raise MalformedError(_WHAT, "odd extensions", "one SEQUENCE", _CLAUSE)
    values, critical = read_extensions(inner[0])
    unknown = min(critical - known, default="")
    if unknown:
        raise MalformedError(_WHAT, f"unknown critical extension {unknown}", "none", "RFC 6960 4.4")
    return values


def _question(node: der.Node) -> Question:
    fields = node.fields(_WHAT, 1)
    if len(fields) > 2:
        raise MalformedError(_WHAT, f"{len(fields)} fields", "CertID, extensions", _CLAUSE)
    if len(fields) == 2:
        _extensions(fields[1], 0xA0, set())
    algorithm = fields[0].fields(_WHAT, 4)[0]
    return Question(cert_id=read_cert_id(fields[0]), null=len(algorithm.children()) > 1)


def _nonce(value: bytes) -> bytes:
    nonce = der.parse(value, "nonce").expect(der.OCTET_STRING, "nonce").content
    if not 1 <= len(nonce) <= MAX_NONCE_OCTETS:
        raise MalformedError(
            "nonce", f"{len(nonce)} octets", f"1 to {MAX_NONCE_OCTETS}", "RFC 9654 2.1"
        )
    return nonce


def is_about(question: Question, issuer: Certificate) -> bool:
    """Return whether a question is about certificates that ``issuer`` makes."""
    return question.cert_id.digest in DIGESTS and names_issuer(question.cert_id, issuer)


def check_responder(responder: Certificate, issuer: Certificate) -> None:
    """Check that a certificate may answer for ``issuer`` (RFC 6960 4.2.2.2).

    The issuer itself may.  A delegate was made by it for OCSP signing alone, and says that its
    own revocation is not to be asked for: it lives short instead.  Raises ``AuthorityError``.
    """
    if responder.spki == issuer.spki and responder.subject == issuer.subject:
        return
    if responder.issuer != issuer.subject or not is_signed_by(responder, issuer):
        raise _unfit(responder, "another issuer", f"one made by {issuer.subject_text}")
    if responder.ekus != frozenset({OCSP_SIGNING}):
        raise _unfit(responder, "no or further extended key usages", "id-kp-OCSPSigning alone")
    if NO_CHECK not in responder.extensions:
        raise _unfit(responder, "no id-pkix-ocsp-nocheck", "it, as nobody answers for answers")


def _unfit(responder: Certificate, found: str, required: str) -> AuthorityError:
    return AuthorityError(responder.label, found, required, "RFC 6960 4.2.2.2")


def draft(
    answers: Sequence[tuple[Question, Known]],
    *,
    issuer: Certificate,
    signer: Signer,
    responder: Certificate,
    at: datetime,
    until: datetime,
    nonce: bytes = b"",
) -> OcspDraft:
    """Return the draft of an answer given ``at``, good ``until`` then (RFC 6960 4.2.1).

    ``responder`` is the signer's leaf: the issuer, or its delegate.  Times are written in
    whole seconds.
    """
    singles = [_single(question, known, issuer, at, until) for question, known in answers]
    data = der.sequence(
        der.context(2, der.octet_string(key_hash(responder, "sha1"))),
        der.generalized_time(at),
        der.sequence(*singles),
        _tagged(_extension(NONCE, der.octet_string(nonce))) if nonce else b"",
    )
    delegated = responder.spki != issuer.spki
    return OcspDraft(
        to_be_signed=data,
        algorithm=signer.algorithm,
        certificates=(responder.der,) if delegated else (),
    )


def _single(
    question: Question, known: Known, issuer: Certificate, at: datetime, until: datetime
) -> bytes:
    extensions = [_cutoff(issuer)] if known.status is not Status.UNKNOWN else []
    if known.invalid_from is not None:
        extensions.append(_extension(INVALIDITY_DATE, der.generalized_time(known.invalid_from)))
    return der.sequence(
        question.written,
        _status(known),
        der.generalized_time(at),
        der.context(0, der.generalized_time(until)),
        _tagged(*extensions) if extensions else b"",
    )


@lru_cache(maxsize=16)
def _cutoff(issuer: Certificate) -> bytes:
    """Return the archive cutoff (RFC 6960 4.4.4): since the issuer began, nothing was forgotten."""
    return _extension(ARCHIVE_CUTOFF, der.generalized_time(issuer.not_before))


def _status(known: Known) -> bytes:
    """Return CertStatus; a reason that is unspecified is left out (RFC 5280 5.3.1)."""
    if known.status is Status.GOOD:
        return der.context(0, b"", constructed=False)
    if known.status is Status.UNKNOWN or known.revoked_at is None:
        return der.context(2, b"", constructed=False)
    reason = der.context(0, der.encode(der.ENUMERATED, bytes((known.reason,))))
    when = der.generalized_time(known.revoked_at)
    return der.context(1, when + (reason if known.reason else b""))


def _extension(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.octet_string(value))


def _tagged(*extensions: bytes) -> bytes:
    return der.context(1, der.sequence(*extensions))
