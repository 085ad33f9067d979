"""Inserting where a row may stand already, as SQLite and PostgreSQL both have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insertion(connection: Connection, table: Table, values: Mapping[str, Any]) -> Any:
    """Return the INSERT of the connection's dialect, which has ``on_conflict_do_…``."""
    return _INSERT[connection.dialect.name](table).values(values)


def insert_new(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless one of its key stands there; say whether it was inserted.

    Of two replicas the second waits for the first's transaction.
    """
    statement = insertion(connection, table, values).on_conflict_do_nothing()
    key = next(iter(table.primary_key.columns))
    return connection.execute(statement.returning(key)).first() is not None
