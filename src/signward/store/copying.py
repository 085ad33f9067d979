"""Copying a whole database, between SQLite and PostgreSQL or within one of them."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from signward.errors import StoreError
from signward.store.database import make_engine, reading, store_error, writing
from signward.store.migrate import migrate
from signward.store.tables import metadata

ROWS = 1024
"""Rows written at once."""


def export(source: Connection, path: Path) -> None:
    """Write all that ``source`` sees into a new SQLite file.  Raises ``StoreError``."""
    _copy_into(f"sqlite:///{path.absolute()}", source)


def load(path: Path, url: str) -> None:
    """Write all of an SQLite file into an empty database, in one transaction.

    Raises ``StoreError``, where it is not empty too.
    """
    engine = make_engine(f"sqlite:///{path.absolute()}")
    try:
        with reading(engine) as source:
            _copy_into(url, source)
    finally:
        engine.dispose()


def _copy_into(url: str, source: Connection) -> None:
    try:
        engine = make_engine(url)
        try:
            migrate(engine)
            with writing(engine) as target:
                _check_empty(target)
                _copy(source, target)
        finally:
            engine.dispose()
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise store_error("copying", error) from error


def _check_empty(target: Connection) -> None:
    for table in metadata.sorted_tables:
        rows = count_rows(target, table.name)
        if rows > (table.name == "log_state"):
            raise StoreError(
                "the database", f"{rows} rows in {table.name}", "an empty database",
                hint="nothing was written: name another one",
            )  # fmt: skip


def count_rows(connection: Connection, name: str) -> int:
    """Return how many rows a table has."""
    chosen = select(func.count()).select_from(metadata.tables[name])
    return int(connection.execute(chosen).scalar_one())


def _copy(source: Connection, target: Connection) -> None:
    """Copy every table; those that others refer to come first."""
    for table in metadata.sorted_tables:
        target.execute(delete(table))  # an empty log's state
        rows = source.execute(select(table).execution_options(yield_per=ROWS))
        for part in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in part])
