"""The first migration makes what ``store.tables`` says; two processes may migrate at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from signward.errors import StoreError
from signward.store import migrate
from signward.store.engine import Store
from signward.store.tables import log_state, metadata
from tests.stores import connected

PROCESSES = 6


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    """Give a connection to a database that was just migrated."""
    with connected(database_url) as connection:
        yield connection


def shape(connection: sa.Connection) -> dict[str, Any]:
    """Return all that the database tells of its tables."""
    found = sa.inspect(connection)
    return {
        name: (
            [{**column, "type": repr(column["type"])} for column in found.get_columns(name)],
            found.get_pk_constraint(name),
            sorted(found.get_foreign_keys(name), key=repr),
            sorted(found.get_indexes(name), key=repr),
            sorted(found.get_unique_constraints(name), key=repr),
        )
        for name in found.get_table_names()
        if name != "alembic_version"
    }


def test_the_migrations_make_what_the_metadata_says(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    assert compare_metadata(context, metadata) == []


def test_keys_indexes_and_references_too_are_those_of_the_metadata(
    connection: sa.Connection, tmp_path: Path
) -> None:
    migrated_shape = shape(connection)
    metadata.drop_all(connection)
    metadata.create_all(connection)
    assert migrated_shape == shape(connection)
    assert set(migrated_shape) == set(metadata.tables)


def test_a_missing_column_would_be_found(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE certificate DROP COLUMN holder"))
    found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert [difference[0] for difference in found] == ["add_column"]


def test_a_new_log_is_empty(connection: sa.Connection) -> None:
    assert connection.execute(sa.select(log_state)).all() == [(1, 0, b"")]


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory(migrate.FOLDER).get_current_head() == migrate.HEAD


def test_there_is_no_way_back() -> None:
    for script in ScriptDirectory(migrate.FOLDER).walk_revisions():
        with pytest.raises(NotImplementedError):
            script.module.downgrade()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(StoreError, match=r"found schema 9999, required at most .*\nhint: a newer"):
        Store.open(database_url)


def test_a_migrated_database_is_opened_without_alembic(database_url: str) -> None:
    Store.open(database_url).close()
    program = (
        "import sys; from signward.store.engine import Store; Store.open(sys.argv[1]).close();"
        "assert not any(name.startswith('alembic') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, database_url], check=True)


def test_a_migration_that_fails_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("a test", "trouble", "none")

    monkeypatch.setattr("alembic.op.bulk_insert", broken)
    with pytest.raises(StoreError, match="trouble"):
        Store.open(database_url)
    with connected(database_url, migrated=False) as connection:
        assert sa.inspect(connection).get_table_names() == []
    monkeypatch.undo()
    Store.open(database_url).close()


def test_processes_that_migrate_at_once_take_turns(database_url: str) -> None:
    program = (
        "import sys; from signward.store.engine import Store; sys.stdin.readline();"
        "Store.open(sys.argv[1]).close()"
    )
    command = [sys.executable, "-c", program, database_url]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    errors = [process.communicate()[1].decode() for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, errors
    with connected(database_url, migrated=False) as connection:
        assert migrate.revision(connection) == migrate.HEAD
        assert connection.execute(sa.select(sa.func.count()).select_from(log_state)).scalar() == 1
