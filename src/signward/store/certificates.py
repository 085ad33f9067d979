"""Certificates that were issued, and which of them were revoked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select

from signward.errors import ConflictError
from signward.frozen import Frozen
from signward.store.tables import certificate, revocation
from signward.store.upsert import insert_new

MAX_LISTED = 100_000
"""Rows of one listing."""


class Issued(Frozen, frozen=True, kw_only=True):
    """A certificate that ``issuer`` (its name in the settings) made.

    ``serial`` is lower-case hexadecimal, digests are SHA-256, instants microseconds.
    """

    issuer: str
    serial: str
    fingerprint: bytes
    spki_digest: bytes
    subject: str
    profile: str
    holder: str
    not_before: int
    not_after: int
    issued: int
    der: bytes


class Revocation(Frozen, frozen=True, kw_only=True):
    """A revocation: when, why (CRLReason), invalid since when, by whom; microseconds."""

    issuer: str
    serial: str
    at: int
    reason: int
    invalidity: int | None
    revoked_by: str


class Listed(Frozen, frozen=True, kw_only=True):
    """A certificate with what became of it."""

    issued: Issued
    revocation: Revocation | None


def add(connection: Connection, issued: Issued) -> None:
    """Store a certificate.  Raises ``ConflictError`` where its serial number was given before."""
    values = {name: getattr(issued, name) for name in _ISSUED}
    if not insert_new(connection, certificate, values):
        raise ConflictError(f"serial number {issued.serial}", "one that is taken", "a new one")


def find(connection: Connection, issuer: str, serial: str) -> Listed | None:
    """Return the certificate of that serial number."""
    chosen = _listing().where(certificate.c.issuer == issuer, certificate.c.serial == serial)
    rows = _rows(connection, chosen)
    return rows[0] if rows else None


def with_serial(connection: Connection, serial: str) -> list[Listed]:
    """Return the certificates of that serial number, of whatever issuer."""
    return _rows(connection, _listing().where(certificate.c.serial == serial))


def with_fingerprint(connection: Connection, digest: bytes) -> Listed | None:
    """Return the certificate whose DER has that SHA-256 digest."""
    rows = _rows(connection, _listing().where(certificate.c.fingerprint == digest))
    return rows[0] if rows else None


def with_key(connection: Connection, spki_digest: bytes) -> list[Listed]:
    """Return the certificates of a key (SHA-256 of its DER SubjectPublicKeyInfo)."""
    return _rows(connection, _listing().where(certificate.c.spki_digest == spki_digest))


def listing(
    connection: Connection,
    *,
    issuer: str = "",
    profile: str = "",
    ends_before: int | None = None,
    ends_after: int | None = None,
    only_revoked: bool = False,
    least_serial: str = "",
    most: int = MAX_LISTED,
) -> list[Listed]:
    """Return certificates by issuer and serial number, at most ``most``.

    ``least_serial`` pages: only those of a greater serial number.
    """
    wanted = [
        certificate.c.issuer == issuer if issuer else None,
        certificate.c.profile == profile if profile else None,
        certificate.c.not_after < ends_before if ends_before is not None else None,
        certificate.c.not_after >= ends_after if ends_after is not None else None,
        revocation.c.at.is_not(None) if only_revoked else None,
        certificate.c.serial > least_serial if least_serial else None,
    ]
    chosen = _listing().where(*(one for one in wanted if one is not None))
    order = (certificate.c.issuer, certificate.c.serial)
    return _rows(connection, chosen.order_by(*order).limit(min(most, MAX_LISTED)))


_ISSUED = Issued.__struct_fields__
_REVOCATION = Revocation.__struct_fields__
_SAME = and_(
    revocation.c.issuer == certificate.c.issuer, revocation.c.serial == certificate.c.serial
)


def _listing() -> Select[Any]:
    columns = [certificate.c[name] for name in _ISSUED] + [revocation.c[n] for n in _REVOCATION]
    return select(*columns).select_from(certificate.outerjoin(revocation, _SAME))


def _rows(connection: Connection, chosen: Select[Any]) -> list[Listed]:
    return [_listed(row) for row in connection.execute(chosen)]


def _listed(row: Row[Any]) -> Listed:
    split = len(_ISSUED)
    issued = Issued(**dict(zip(_ISSUED, row[:split], strict=True)))
    revoked = dict(zip(_REVOCATION, row[split:], strict=True))
    gone = None if revoked["at"] is None else Revocation(**revoked)
    return Listed(issued=issued, revocation=gone)
