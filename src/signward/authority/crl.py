"""Certificate revocation lists: full ones, of one authority's own certificates (RFC 5280 5).

A list keeps what it once named, expired or not, and says so (expiredCertsOnCRL, X.509 9.5.2.9):
signatures with a timestamp outlive their certificate.  There is no delta, and nothing is held or
removed: revocation is final.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from signward.authority.algorithm import identifier
from signward.authority.certificate import Issuer, authority_key
from signward.authority.signed import SignedDraft
from signward.errors import AuthorityError
from signward.frozen import Frozen
from signward.trust.crl import (
    AUTHORITY_KEY,
    CRL_NUMBER,
    EXPIRED_CERTS,
    INVALIDITY_DATE,
    MAX_ENTRIES,
    REASON_CODE,
)
from signward.wire import der

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}
"""Reasons that may be given; ``unspecified`` is told by giving none (RFC 5280 5.3.1)."""

COMPROMISES = frozenset({REASONS["keyCompromise"], REASONS["cACompromise"]})
MAX_NUMBER_OCTETS = 20
"""RFC 5280 5.2.3."""


class Revoked(Frozen, frozen=True, kw_only=True):
    """One revoked certificate; instants are aware UTC, ``reason`` a CRLReason."""

    serial: int
    at: datetime
    reason: int = 0
    invalid_from: datetime | None = None


def draft(
    issuer: Issuer,
    revoked: Iterable[Revoked],
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> SignedDraft:
    """Return the draft of a CRL; numbers must rise, and never repeat.

    Raises ``AuthorityError`` where dates or number are out of bounds or entries too many.
    """
    if not this_update < next_update:
        raise AuthorityError("CRL", f"nextUpdate {next_update}", f"later than {this_update}",
                             "RFC 5280 5.1.2.5")  # fmt: skip
    if not 0 < number < 1 << 8 * MAX_NUMBER_OCTETS - 1:
        raise AuthorityError("CRL", f"number {number}", "1 to 20 octets", "RFC 5280 5.2.3")
    entries = [_entry(one) for one in sorted(revoked, key=lambda one: (one.at, one.serial))]
    if len(entries) > MAX_ENTRIES:
        raise AuthorityError("CRL", f"{len(entries)} entries", f"at most {MAX_ENTRIES}")
    tbs = der.sequence(
        der.integer(1),
        identifier(issuer.algorithm),
        issuer.certificate.subject,
        der.utc_time(this_update),
        der.utc_time(next_update),
        der.sequence(*entries) if entries else b"",
        der.context(0, der.sequence(*_extensions(issuer, number))),
    )
    return SignedDraft(what="CRL", to_be_signed=tbs, algorithm=issuer.algorithm)


def _extensions(issuer: Issuer, number: int) -> tuple[bytes, ...]:
    """Return the list's extensions, none critical.

    Everything ever revoked stays listed: whatever ended since the authority began.
    """
    since = der.generalized_time(issuer.certificate.not_before)
    return (
        _extension(AUTHORITY_KEY, authority_key(issuer.certificate)),
        _extension(CRL_NUMBER, der.integer(number)),
        _extension(EXPIRED_CERTS, since),
    )


def _extension(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.octet_string(value))


def _entry(revoked: Revoked) -> bytes:
    return der.sequence(
        der.integer(revoked.serial), der.utc_time(revoked.at), _entry_extensions(revoked)
    )


def _entry_extensions(revoked: Revoked) -> bytes:
    reason = _reason(revoked.reason) if revoked.reason else b""
    invalid = revoked.invalid_from
    since = b"" if invalid is None else _extension(INVALIDITY_DATE, der.generalized_time(invalid))
    return der.sequence(reason, since) if reason or since else b""


@lru_cache(maxsize=16)
def _reason(code: int) -> bytes:
    if code not in REASONS.values():
        raise AuthorityError("CRL entry", f"reason {code}", f"one of {', '.join(REASONS)}",
                             "RFC 5280 5.3.1")  # fmt: skip
    return _extension(REASON_CODE, der.encode(der.ENUMERATED, bytes((code,))))
