"""Signed documents of which the newest counts: CRLs, the feed."""

from __future__ import annotations

from sqlalchemy import Connection, select

from signward.frozen import Frozen
from signward.store.tables import published
from signward.store.upsert import insertion


class Document(Frozen, frozen=True, kw_only=True):
    """A published document; versions rise, instants are microseconds."""

    name: str
    version: int
    body: bytes
    at: int
    expires: int


_FIELDS = Document.__struct_fields__


def current(connection: Connection, name: str) -> Document | None:
    """Return the newest document of that name."""
    columns = [published.c[field] for field in _FIELDS]
    row = connection.execute(select(*columns).where(published.c.name == name)).one_or_none()
    return None if row is None else Document(**dict(zip(_FIELDS, row, strict=True)))


def put(connection: Connection, document: Document) -> bool:
    """Store a document unless one as new stands there already; say whether it was stored."""
    values = {name: getattr(document, name) for name in _FIELDS}
    insert = insertion(connection, published, values)
    statement = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={name: insert.excluded[name] for name in _FIELDS[1:]},
        where=published.c.version < insert.excluded.version,
    )
    return connection.execute(statement.returning(published.c.name)).first() is not None
