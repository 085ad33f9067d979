"""Bringing a database to the present schema."""

from __future__ import annotations

from sqlalchemy import Engine

from signward.store.tables import metadata


def migrate(engine: Engine) -> None:
    """Make the tables that are missing.  Raises ``StoreError`` and SQLAlchemy's errors."""
    metadata.create_all(engine)
