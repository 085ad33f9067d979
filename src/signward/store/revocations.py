"""Revocations: written once, made graver at most, never taken back."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from signward.errors import ConflictError
from signward.store import status
from signward.store.certificates import Revocation
from signward.store.tables import revocation
from signward.store.upsert import insert_new

_FIELDS = Revocation.__struct_fields__


def add(connection: Connection, revoked: Revocation) -> None:
    """Store a revocation.  Raises ``ConflictError`` where another came first.

    The certificate must be stored.
    """
    values = {name: getattr(revoked, name) for name in _FIELDS}
    if not insert_new(connection, revocation, values):
        raise ConflictError(
            f"serial number {revoked.serial}", "revoked a moment ago", "one that is not",
            hint="look again, and say whether it is graver",
        )  # fmt: skip
    _changed(connection, revoked.issuer)


def amend(connection: Connection, revoked: Revocation) -> None:
    """Replace reason and invalidity date of a revocation; its own date stays."""
    connection.execute(
        update(revocation)
        .where(revocation.c.issuer == revoked.issuer, revocation.c.serial == revoked.serial)
        .values(reason=revoked.reason, invalidity=revoked.invalidity, revoked_by=revoked.revoked_by)
    )
    _changed(connection, revoked.issuer)


def of(connection: Connection, issuer: str) -> list[Revocation]:
    """Return every revocation of an issuer's certificates."""
    columns = [revocation.c[name] for name in _FIELDS]
    rows = connection.execute(select(*columns).where(revocation.c.issuer == issuer))
    return [Revocation(**dict(zip(_FIELDS, row, strict=True))) for row in rows]


def count(connection: Connection, issuer: str) -> int:
    """Return how many certificates of an issuer are revoked."""
    chosen = select(func.count()).select_from(revocation).where(revocation.c.issuer == issuer)
    return int(connection.execute(chosen).scalar_one())


def _changed(connection: Connection, issuer: str) -> None:
    """Raise the number by which OCSP responders see that their kept answers are old."""
    status.changed(connection, issuer)
