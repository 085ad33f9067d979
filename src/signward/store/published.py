"""Signed documents of which the newest counts: CRLs, the feed."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from signward.frozen import Frozen
from signward.store.tables import published


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
    """Store a document unless a newer one stands there already; say whether it was stored."""
    chosen = select(published.c.version).where(published.c.name == document.name)
    version = connection.execute(chosen.with_for_update()).scalar()
    if version is not None and version >= document.version:
        return False
    connection.execute(delete(published).where(published.c.name == document.name))
    connection.execute(insert(published).values({n: getattr(document, n) for n in _FIELDS}))
    return True
