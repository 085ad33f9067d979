"""What an OCSP responder asks the database: one certificate's status, and whether any changed."""

from __future__ import annotations

from sqlalchemy import Connection, and_, select

from signward.frozen import Frozen
from signward.store import counters
from signward.store.tables import certificate, revocation

_JOINED = certificate.outerjoin(
    revocation,
    and_(revocation.c.issuer == certificate.c.issuer, revocation.c.serial == certificate.c.serial),
)


class Row(Frozen, frozen=True, kw_only=True):
    """A certificate that was issued; the other fields are None unless it was revoked.

    Instants are microseconds since 1970, ``reason`` is a CRLReason (RFC 5280 5.3.1).
    """

    not_after: int
    revoked_at: int | None
    reason: int | None
    invalidity: int | None


def look_up(connection: Connection, issuer: str, serial: str) -> Row | None:
    """Return what is known of a serial number; None if ``issuer`` never issued it."""
    chosen = (
        select(
            certificate.c.not_after, revocation.c.at, revocation.c.reason, revocation.c.invalidity
        )
        .select_from(_JOINED)
        .where(certificate.c.issuer == issuer, certificate.c.serial == serial)
    )
    row = connection.execute(chosen).one_or_none()
    if row is None:
        return None
    return Row(not_after=row[0], revoked_at=row[1], reason=row[2], invalidity=row[3])


def revision(connection: Connection, issuer: str) -> int:
    """Return how often an issuer's revocations changed: what was signed before may be wrong."""
    return counters.reached(connection, _name(issuer))


def changed(connection: Connection, issuer: str) -> None:
    """Say that an issuer's revocations change, in the transaction that changes them."""
    counters.lease(connection, _name(issuer))


def _name(issuer: str) -> str:
    return f"revocations of {issuer}"
