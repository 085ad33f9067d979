"""The estate: certificates that sign for an organisation, bought or its own, and their faults.

A certificate ends whether or not anybody looks.  What was signed with it and carries no
timestamp ends with it; what does carry one stays good.  So the releases that hang on a
certificate, and how many of them are timestamped, belong to what is known of it.

Publicly trusted code signing certificates issued since 2026-03-01 may be valid for 460 days at
most (CA/Browser Forum Code Signing Baseline Requirements, CSBR, 6.3.2; ballot CSC-31).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen

MAX_PUBLIC_DAYS = 460
"""Longest validity of publicly trusted code signing certificates, in days of 86,400 seconds."""

PUBLIC_DAYS_SINCE = datetime(2026, 3, 1, tzinfo=UTC)
"""From this issue on `MAX_PUBLIC_DAYS` holds; before it were 39 months."""

LEAST_PUBLIC_RSA, PUBLIC_RSA_SINCE = 3072, datetime(2021, 6, 1, tzinfo=UTC)
"""CSBR 6.1.5: bits of an RSA key, from this issue on."""

LEAST_RSA = 2048

WARN_DAYS = 60
"""How long before its end a certificate is told of, unless somebody says otherwise: buying one
takes days to weeks, with an organisation's identity to be validated anew."""

_SECOND = timedelta(seconds=1)
_RSA = re.compile(r"rsa-(\d+)")


class Trust(StrEnum):
    """Whose root a certificate hangs on."""

    PUBLIC = "public"
    OWN = "own"
    UNKNOWN = "unknown"


class Release(Frozen, frozen=True, kw_only=True):
    """A file that was signed; ``timestamped`` is its proven time, None without one."""

    file: str
    timestamped: datetime | None = None


class Held(Frozen, frozen=True, kw_only=True):
    """A certificate of the estate.

    ``fingerprint`` is its SHA-256, ``serial`` hexadecimal, ``key`` the kind of its key
    (``rsa-3072``, empty where only a scan tells of it).  ``quantum_safe`` says that neither its
    key nor its issuer's signature is known to fall to a quantum computer.
    """

    fingerprint: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str
    quantum_safe: bool
    trust: Trust
    code_signing: bool
    holder: str
    key_location: str
    added: datetime
    sources: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    revoked: datetime | None = None

    @property
    def untimestamped(self) -> int:
        """How many releases end with the certificate."""
        return sum(release.timestamped is None for release in self.releases)

    def ends_within(self, days: int, at: datetime) -> bool:
        """Say whether it has not ended at ``at`` and does so within ``days``."""
        return at <= self.not_after < at + timedelta(days=days)


def findings(held: Held, at: datetime, days: int = WARN_DAYS) -> tuple[Finding, ...]:
    """Return what is to be said about a certificate at ``at``, ``days`` ahead of its end."""
    return (*_dates(held, at, days), *_revocation(held, at), *_period(held), *_key(held))


def _dates(held: Held, at: datetime, days: int) -> Iterator[Finding]:
    told = f"{held.not_after:%Y-%m-%d}, {len(held.releases)} releases, {held.untimestamped} of them"
    told += " without a timestamp"
    if held.not_after < at:
        yield _finding(held, Code.EXPIRED, f"ended {told}", "one that has not ended", "",
                       "what was signed without a timestamp is no longer accepted")  # fmt: skip
    elif held.ends_within(days, at):
        left = (held.not_after - at).days
        yield _finding(held, Code.EXPIRES_SOON, f"{left} days left, until {told}",
                       f"more than {days} days", "", "order its successor, and timestamp what "
                       "it signs until then")  # fmt: skip
    if at < held.not_before:
        yield _finding(held, Code.NOT_YET_VALID, f"valid from {held.not_before:%Y-%m-%d}",
                       "one that has begun")  # fmt: skip


def _revocation(held: Held, at: datetime) -> Iterator[Finding]:
    if held.revoked is not None and held.revoked <= at:
        yield _finding(held, Code.REVOKED, f"revoked {held.revoked:%Y-%m-%d}", "not revoked")


def _period(held: Held) -> Iterator[Finding]:
    """Hold the validity, both ends included (RFC 5280 4.1.2.5), against what is permitted."""
    if held.trust is not Trust.PUBLIC or not held.code_signing:
        return
    period = held.not_after - held.not_before + _SECOND
    if held.not_before >= PUBLIC_DAYS_SINCE and period > timedelta(days=MAX_PUBLIC_DAYS):
        days = -(-period // timedelta(days=1))
        yield _finding(
            held, Code.VALIDITY_PERIOD, f"{days} days, issued {held.not_before:%Y-%m-%d}",
            f"at most {MAX_PUBLIC_DAYS} for publicly trusted ones issued since "
            f"{PUBLIC_DAYS_SINCE:%Y-%m-%d}", "CSBR 6.3.2 (ballot CSC-31)",
            "its authority must revoke what it should not have issued: ask it",
        )  # fmt: skip


def _key(held: Held) -> Iterator[Finding]:
    found = _RSA.fullmatch(held.key)
    public = held.trust is Trust.PUBLIC and held.not_before >= PUBLIC_RSA_SINCE
    least = LEAST_PUBLIC_RSA if public else LEAST_RSA
    if found and int(found[1]) < least:
        yield _finding(held, Code.WEAK_KEY, held.key, f"an RSA key of {least} bits or more",
                       "CSBR 6.1.5" if public else "")  # fmt: skip


def _finding(
    held: Held, code: Code, found: str, required: str, clause: str = "", hint: str = ""
) -> Finding:
    return Finding(
        code=code,
        effect=Effect.WARN,
        subject=f"certificate {held.subject}",
        found=found,
        required=required,
        clause=clause,
        hint=hint,
    )
