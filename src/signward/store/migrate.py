"""Bringing a database to the present schema: whoever comes first does it, the others wait."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from signward.errors import StoreError
from signward.store.database import reading, writing

HEAD = "0001"
"""The newest of the migrations: what this version works with."""

FOLDER = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Bring the database to `HEAD`, in one transaction.

    Raises ``StoreError`` where it is not of this version or an older one, and SQLAlchemy's errors.
    """
    with reading(engine) as connection:
        if revision(connection) == HEAD:
            return  # without alembic, which takes a while to import
    with writing(engine) as connection:
        _upgrade(connection)


def revision(connection: Connection) -> str:
    """Return the migration the database stands at; empty where there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _upgrade(connection: Connection) -> None:
    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = revision(connection)
    if found and found not in known:
        raise StoreError(
            "the database", f"schema {found}", f"at most {HEAD}",
            hint="a newer signward has written it: use that one; there is no way back",
        )  # fmt: skip
    upgrade(config, "head")
