"""Databases for tests: each test that takes ``database_url`` runs on SQLite and on PostgreSQL.

``conftest.py`` offers these fixtures to every test.  One PostgreSQL server serves a whole run
(each worker's own under pytest-xdist); every test has a new database in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders import postgres

if TYPE_CHECKING:
    from sqlalchemy import Connection

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.interop))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Cluster]:
    """Run a PostgreSQL server that tests share: they may not stop it."""
    if missing := postgres.missing_tool():
        pytest.skip(missing)
    with postgres.running() as cluster:
        yield cluster


@pytest.fixture
def postgresql_url(postgresql: postgres.Cluster) -> str:
    """Return the URL of a new, empty PostgreSQL database."""
    return postgresql.new_database()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new, empty database: once SQLite's, once PostgreSQL's."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'signward.db'}"
    url = request.getfixturevalue("postgresql_url")
    assert isinstance(url, str)
    return url


@contextmanager
def connected(url: str, *, migrated: bool = True) -> Iterator[Connection]:
    """Give a connection to a database, brought to the present schema, without a store."""
    from signward.store.database import make_engine  # not for tests that take no database
    from signward.store.migrate import migrate

    engine = make_engine(url)
    try:
        if migrated:
            migrate(engine)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
