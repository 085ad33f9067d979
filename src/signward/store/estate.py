"""The estate's certificates: what is known of each, where it was found, what hangs on it."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from signward.frozen import Frozen
from signward.store.tables import (
    certificate,
    estate_certificate,
    estate_release,
    estate_source,
    revocation,
)


class Row(Frozen, frozen=True, kw_only=True):
    """A certificate; ``quantum_safe`` is 0 or 1, instants are microseconds."""

    fingerprint: str
    subject: str
    issuer: str
    serial: str
    not_before: int
    not_after: int
    key_kind: str
    quantum_safe: int
    trust: str
    holder: str
    key_location: str
    added: int
    der: bytes | None = None


class ReleaseRow(Frozen, frozen=True, kw_only=True):
    """A file that hangs on a certificate; ``name`` is the SHA-256 (hex) of ``file``."""

    fingerprint: str
    name: str
    file: str
    timestamped: int | None
    at: int


_FIELDS = Row.__struct_fields__
_RELEASE = ReleaseRow.__struct_fields__


def put(connection: Connection, row: Row) -> bool:
    """Store a certificate, or what is new about it; say whether it was unknown.

    What was known stays unless the new row knows it and the old did not; a row with the
    certificate itself outweighs one from a scan.
    """
    known = find(connection, row.fingerprint)
    if known is None:
        connection.execute(insert(estate_certificate).values({n: getattr(row, n) for n in _FIELDS}))
        return True
    better = row if known.der is None and row.der is not None else known
    other = known if better is row else row
    changes = {
        "holder": known.holder or row.holder,
        "key_location": known.key_location or row.key_location,
        "key_kind": better.key_kind or other.key_kind,
        "quantum_safe": better.quantum_safe,
        "trust": better.trust if better.trust != "unknown" else other.trust,
        "der": better.der,
    }
    _change(connection, row.fingerprint, changes)
    return False


def _change(connection: Connection, fingerprint: str, changes: dict[str, object]) -> None:
    place = estate_certificate.c.fingerprint == fingerprint
    connection.execute(update(estate_certificate).where(place).values(changes))


def describe(
    connection: Connection, fingerprint: str, holder: str | None, key_location: str | None
) -> None:
    """Set who holds a certificate's key, and where it is; None leaves it."""
    wanted = {"holder": holder, "key_location": key_location}
    changes: dict[str, object] = {n: value for n, value in wanted.items() if value is not None}
    if changes:
        _change(connection, fingerprint, changes)


def find(connection: Connection, fingerprint: str) -> Row | None:
    """Return a certificate."""
    chosen = select(*(estate_certificate.c[n] for n in _FIELDS))
    row = connection.execute(
        chosen.where(estate_certificate.c.fingerprint == fingerprint)
    ).one_or_none()
    return None if row is None else Row(**dict(zip(_FIELDS, row, strict=True)))


def everything(connection: Connection) -> list[Row]:
    """Return every certificate, the one that ends first first."""
    order = (estate_certificate.c.not_after, estate_certificate.c.fingerprint)
    chosen = select(*(estate_certificate.c[n] for n in _FIELDS)).order_by(*order)
    return [Row(**dict(zip(_FIELDS, row, strict=True))) for row in connection.execute(chosen)]


def starting_with(connection: Connection, prefix: str) -> list[str]:
    """Return the fingerprints that start so."""
    column = estate_certificate.c.fingerprint
    return list(connection.execute(select(column).where(column.startswith(prefix, autoescape=True))
                                   .order_by(column)).scalars())  # fmt: skip


def forget(connection: Connection, fingerprint: str) -> None:
    """Forget a certificate and all about it."""
    for table in (estate_release, estate_source, estate_certificate):
        connection.execute(delete(table).where(table.c.fingerprint == fingerprint))


def add_source(connection: Connection, fingerprint: str, source: str, at: int) -> None:
    """Note where a certificate was found, last at ``at``."""
    place = (estate_source.c.fingerprint == fingerprint) & (estate_source.c.source == source)
    connection.execute(delete(estate_source).where(place))
    values = {"fingerprint": fingerprint, "source": source, "at": at}
    connection.execute(insert(estate_source).values(values))


def add_release(connection: Connection, release: ReleaseRow) -> None:
    """Note that a file hangs on a certificate, as it was seen last."""
    columns = estate_release.c
    place = (columns.fingerprint == release.fingerprint) & (columns.name == release.name)
    connection.execute(delete(estate_release).where(place))
    connection.execute(insert(estate_release).values({n: getattr(release, n) for n in _RELEASE}))


def sources(connection: Connection) -> dict[str, list[str]]:
    """Return where each certificate was found."""
    found: dict[str, list[str]] = {}
    chosen = select(estate_source.c.fingerprint, estate_source.c.source)
    for fingerprint, source in connection.execute(chosen.order_by(estate_source.c.source)):
        found.setdefault(fingerprint, []).append(source)
    return found


def releases(connection: Connection) -> dict[str, list[ReleaseRow]]:
    """Return what hangs on each certificate, by the files' names."""
    found: dict[str, list[ReleaseRow]] = {}
    chosen = select(*(estate_release.c[n] for n in _RELEASE)).order_by(estate_release.c.file)
    for row in connection.execute(chosen):
        release = ReleaseRow(**dict(zip(_RELEASE, row, strict=True)))
        found.setdefault(release.fingerprint, []).append(release)
    return found


def revocations(connection: Connection) -> dict[str, int]:
    """Return when each of the authority's own revoked certificates was, by SHA-256 (hex)."""
    same = (certificate.c.issuer == revocation.c.issuer) & (
        certificate.c.serial == revocation.c.serial
    )
    chosen = select(certificate.c.fingerprint, revocation.c.at)
    rows = connection.execute(chosen.select_from(revocation.join(certificate, same)))
    return {fingerprint.hex(): at for fingerprint, at in rows}


def issued(connection: Connection) -> list[tuple[str, str, bytes]]:
    """Return the authority's own certificates: issuer's name, holder, DER."""
    columns = (certificate.c.issuer, certificate.c.holder, certificate.c.der)
    rows = connection.execute(select(*columns).order_by(certificate.c.issued))
    return [(issuer, holder, der) for issuer, holder, der in rows]
