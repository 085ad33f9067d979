"""What the revocation feed is made of: entries added by hand, and the authority's revocations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from signward.frozen import Frozen
from signward.store import counters
from signward.store.tables import certificate, feed_entry, published, revocation


class Added(Frozen, frozen=True, kw_only=True):
    """An entry that somebody added; ``body`` is its JSON, ``at`` in microseconds."""

    id: str
    kind: str
    body: bytes
    at: int
    added_by: str


class Revoked(Frozen, frozen=True, kw_only=True):
    """One of the authority's own certificates (DER) that is revoked; instants in microseconds."""

    der: bytes
    at: int
    reason: int
    invalidity: int | None


State = tuple[Any, ...]
"""Changes whenever the feed must; compared for equality only."""

_CHANGES = "changes of feed entries"

_ADDED = Added.__struct_fields__


def put(connection: Connection, added: Added) -> bool:
    """Store an entry in place of one about the same; say whether anything changed."""
    known = find(connection, added.id)
    if known is not None and known.body == added.body:
        return False
    remove(connection, added.id)
    connection.execute(insert(feed_entry).values({n: getattr(added, n) for n in _ADDED}))
    counters.lease(connection, _CHANGES)
    return True


def find(connection: Connection, identifier: str) -> Added | None:
    """Return the entry of that identifier."""
    chosen = select(*(feed_entry.c[n] for n in _ADDED)).where(feed_entry.c.id == identifier)
    row = connection.execute(chosen).one_or_none()
    return None if row is None else Added(**dict(zip(_ADDED, row, strict=True)))


def remove(connection: Connection, identifier: str) -> bool:
    """Take an entry out; say whether it was there."""
    done = connection.execute(delete(feed_entry).where(feed_entry.c.id == identifier))
    if done.rowcount:
        counters.lease(connection, _CHANGES)
    return bool(done.rowcount)


def added(connection: Connection) -> list[Added]:
    """Return every entry that was added, oldest first."""
    chosen = select(*(feed_entry.c[n] for n in _ADDED)).order_by(feed_entry.c.at, feed_entry.c.id)
    return [Added(**dict(zip(_ADDED, row, strict=True))) for row in connection.execute(chosen)]


def starting_with(connection: Connection, prefix: str) -> list[str]:
    """Return the identifiers that start so."""
    chosen = select(feed_entry.c.id).where(feed_entry.c.id.startswith(prefix, autoescape=True))
    return list(connection.execute(chosen).scalars())


def revoked(connection: Connection) -> list[Revoked]:
    """Return every revoked certificate of every authority here."""
    same = (certificate.c.issuer == revocation.c.issuer) & (
        certificate.c.serial == revocation.c.serial
    )
    columns = (certificate.c.der, revocation.c.at, revocation.c.reason, revocation.c.invalidity)
    chosen = select(*columns).select_from(revocation.join(certificate, same))
    names = ("der", "at", "reason", "invalidity")
    return [Revoked(**dict(zip(names, row, strict=True))) for row in connection.execute(chosen)]


def version(connection: Connection, name: str) -> int:
    """Return the version of the published document of that name, 0 where there is none."""
    chosen = select(published.c.version).where(published.c.name == name)
    return int(connection.execute(chosen).scalar() or 0)


def state(connection: Connection) -> State:
    """Return what changes with every revocation, amended ones too, and every entry.

    Counts and dates alone would not do: clocks step back, and changes may cancel out in a sum.
    """
    dates = func.coalesce(revocation.c.invalidity, 0)
    own = select(
        func.count(), func.max(revocation.c.at), func.sum(revocation.c.reason), func.sum(dates)
    )
    counted = (connection.execute(own).one(), (counters.reached(connection, _CHANGES),))
    return tuple(str(value) for row in counted for value in row)
