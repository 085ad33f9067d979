"""A time-stamping authority: reading queries, drafting tokens, answering (RFC 3161, RFC 5816)."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from functools import lru_cache

from signward.envelopes import Signer
from signward.envelopes.cms import CMS_TIMESTAMP
from signward.envelopes.cms_draft import CmsDraft, Form, signing_certificate
from signward.envelopes.cms_draft import draft as cms_draft
from signward.envelopes.tsp import TST_INFO
from signward.errors import AuthorityError, BadInputError, SignwardError
from signward.findings import Effect, worst
from signward.frozen import Frozen
from signward.trust.rules import EKU_TIME_STAMPING
from signward.trust.x509 import EXTENDED_KEY_USAGE, Certificate
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS, digest_name

MAX_QUERY_OCTETS = 4 * 1024
"""Largest query read; real ones have 40 to 120."""

MAX_NONCE_OCTETS = 128
"""Longest nonce repeated; clients send 8 to 20."""

IMPRINT_OCTETS = {"sha256": 32, "sha384": 48, "sha512": 64}
"""Digests that are stamped, by their length; SHA-1 is not among them."""

_WHAT = "timestamp query"
_GRANTED, _REJECTION = 0, 2


class Failure(IntEnum):
    """PKIFailureInfo: bits of a BIT STRING (RFC 3161 2.4.2)."""

    BAD_ALG = 0
    BAD_REQUEST = 2
    BAD_DATA_FORMAT = 5
    TIME_NOT_AVAILABLE = 14
    UNACCEPTED_POLICY = 15
    UNACCEPTED_EXTENSION = 16
    ADD_INFO_NOT_AVAILABLE = 17
    SYSTEM_FAILURE = 25


class RefusedError(SignwardError):
    """No token: ``failure`` and ``text`` go to whoever asked."""

    def __init__(self, failure: Failure, text: str) -> None:
        self.failure, self.text = failure, text
        super().__init__(f"{failure.name}: {text}")


class Policy(Frozen, frozen=True, kw_only=True):
    """What an authority promises: its policy's OID, the error of its clock, ordering.

    ``ordering`` may be claimed only where no two tokens can carry the same time.
    """

    oid: str
    accuracy_ms: int
    ordering: bool = False


class Query(Frozen, frozen=True, kw_only=True):
    """A TimeStampReq (RFC 3161 2.4.1); ``imprint`` is its MessageImprint in DER.

    ``digest`` and ``hashed`` are what stands in it; ``policy`` is empty where none was asked for.
    """

    imprint: bytes
    digest: str
    hashed: bytes
    policy: str
    nonce: int | None
    certificates: bool


def read_query(data: bytes) -> Query:
    """Decode a TimeStampReq.  Raises ``RefusedError`` with the failure that fits."""
    if len(data) > MAX_QUERY_OCTETS:
        raise RefusedError(
            Failure.BAD_REQUEST, f"{len(data)} octets; at most {MAX_QUERY_OCTETS} are read"
        )
    try:
        fields = der.parse(data, _WHAT).fields(_WHAT, 2)
        if fields[0].integer(_WHAT) != 1:
            raise RefusedError(Failure.BAD_REQUEST, "not version 1")
        imprint, digest, hashed = _imprint(fields[1])
        policy, nonce, certificates = _options(fields[2:])
    except BadInputError as error:
        raise RefusedError(Failure.BAD_REQUEST, str(error)) from None
    return Query(
        imprint=imprint, digest=digest, hashed=hashed, policy=policy, nonce=nonce,
        certificates=certificates,
    )  # fmt: skip


def _imprint(node: der.Node) -> tuple[bytes, str, bytes]:
    """Return MessageImprint in DER, its digest's name and its octets."""
    fields = node.fields(_WHAT, 2)
    if len(fields) != 2:
        raise RefusedError(Failure.BAD_REQUEST, "a messageImprint of other than two fields")
    digest = _digest(fields[0])
    hashed = fields[1].octets(_WHAT)
    if len(hashed) != IMPRINT_OCTETS[digest]:
        raise RefusedError(
            Failure.BAD_DATA_FORMAT,
            f"an imprint of {len(hashed)} octets; {digest} has {IMPRINT_OCTETS[digest]}",
        )
    null = der.null() if len(fields[0].children()) > 1 else b""
    algorithm = der.sequence(der.oid(DIGEST_OIDS[digest]), null)
    return der.sequence(algorithm, der.octet_string(hashed)), digest, hashed


def _digest(node: der.Node) -> str:
    try:
        digest = digest_name(node, _WHAT)
    except BadInputError as error:
        raise RefusedError(Failure.BAD_ALG, str(error)) from None
    if digest not in IMPRINT_OCTETS:
        raise RefusedError(
            Failure.BAD_ALG, f"imprint by {digest}; stamped are {', '.join(IMPRINT_OCTETS)}"
        )
    return digest


def _options(fields: list[der.Node]) -> tuple[str, int | None, bool]:
    """Return reqPolicy, nonce and certReq, each optional and in this order."""
    policy, nonce, certificates, rest = "", None, False, list(fields)
    if rest and rest[0].tag == der.OID:
        policy = rest.pop(0).oid(_WHAT)
    if rest and rest[0].tag == der.INTEGER:
        if rest[0].end - rest[0].start > MAX_NONCE_OCTETS:
            raise RefusedError(
                Failure.ADD_INFO_NOT_AVAILABLE,
                f"a nonce of more than {MAX_NONCE_OCTETS} octets is not repeated",
            )
        nonce = rest.pop(0).integer(_WHAT)
    if rest and rest[0].tag == der.BOOLEAN:
        certificates = rest.pop(0).boolean(_WHAT)
    if rest and rest[0].tag == 0xA0:
        raise RefusedError(Failure.UNACCEPTED_EXTENSION, "no extension is supported")
    if rest:
        raise RefusedError(Failure.BAD_REQUEST, f"an unexpected field {rest[0].tag:#04x}")
    return policy, nonce, certificates


def check_policy(query: Query, policy: Policy) -> None:
    """Refuse a query that asks for another policy than the one there is."""
    if query.policy not in ("", policy.oid):
        raise RefusedError(
            Failure.UNACCEPTED_POLICY, f"policy {query.policy}; the only one here is {policy.oid}"
        )


def draft(query: Query, policy: Policy, signer: Signer, *, serial: int, at: datetime) -> CmsDraft:
    """Return the draft of the token that answers ``query``, stamped ``at`` (to the millisecond).

    Certificates go into it only where they were asked for (certReq).
    """
    info = der.sequence(
        der.integer(1),
        der.oid(policy.oid),
        query.imprint,
        der.integer(serial),
        gen_time(at),
        _accuracy(policy.accuracy_ms),
        der.boolean(True) if policy.ordering else b"",  # noqa: FBT003 - DEFAULT FALSE is left out
        der.integer(query.nonce) if query.nonce is not None else b"",
    )
    return cms_draft(
        TST_INFO,
        info,
        signer,
        form=Form.CMS,
        attributes=(_signing_certificate(signer),),
        token_oid=CMS_TIMESTAMP,
        certificates=query.certificates,
    )


@lru_cache(maxsize=16)
def _signing_certificate(signer: Signer) -> bytes:
    """Return SigningCertificateV2 naming the leaf (RFC 5816 2.2.1), the same for every token."""
    return signing_certificate(signer.certificates[:1])


def gen_time(instant: datetime) -> bytes:
    """Return a GeneralizedTime to the millisecond, without trailing zeros (RFC 3161 2.4.2)."""
    fraction = f".{instant.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return der.encode(der.GENERALIZED_TIME, f"{instant:%Y%m%d%H%M%S}{fraction}Z".encode())


@lru_cache(maxsize=16)
def _accuracy(milliseconds: int) -> bytes:
    """Return Accuracy (RFC 3161 2.4.2); what is zero is left out, and so is an empty one."""
    seconds, millis = divmod(milliseconds, 1000)
    parts = der.integer(seconds) if seconds else b""
    if millis:
        parts += der.encode(0x80, der.parse(der.integer(millis), "millis").content)
    return der.sequence(parts) if parts else b""


def granted(token: bytes) -> bytes:
    """Return the TimeStampResp that carries a token (DER ContentInfo)."""
    return der.sequence(der.sequence(der.integer(_GRANTED)), token)


def refused(error: RefusedError) -> bytes:
    """Return the TimeStampResp that says why there is no token."""
    octets = bytearray(error.failure // 8 + 1)
    octets[-1] = 0x80 >> error.failure % 8
    unused = 7 - error.failure % 8
    return der.sequence(
        der.sequence(
            der.integer(_REJECTION),
            der.sequence(der.utf8(error.text)),
            der.encode(der.BIT_STRING, bytes((unused, *octets))),
        )
    )


def check_certificate(certificate: Certificate) -> None:
    """Check that a certificate may stamp (RFC 3161 2.3).  Raises ``AuthorityError``.

    Its extended key usage is timeStamping alone, and critical.
    """
    if certificate.ekus != frozenset({EKU_TIME_STAMPING}):
        raise _unfit(certificate, "no or further extended key usages", "id-kp-timeStamping alone")
    if not certificate.extensions[EXTENDED_KEY_USAGE][0]:
        raise _unfit(certificate, "an extended key usage that is not critical", "a critical one")
    usage = certificate.key_usage
    if usage is not None and not usage <= {"digitalSignature", "nonRepudiation"}:
        raise _unfit(certificate, f"key usage {', '.join(sorted(usage))}", "digitalSignature")
    if worst(certificate.problems) is Effect.REJECT:
        raise _unfit(certificate, str(certificate.problems[0]), "a well-formed certificate")


def _unfit(certificate: Certificate, found: str, required: str) -> AuthorityError:
    return AuthorityError(certificate.label, found, required, "RFC 3161 2.3")
