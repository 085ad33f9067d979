"""Write the first migration anew from ``store/tables.py``, as long as no version is released.

Afterwards a change of tables is a migration of its own, and this tool has done its work.

Run as ``python -m tools.first_migration``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp, MigrateOperation, UpgradeOps
from sqlalchemy import create_engine

from signward.store.tables import metadata

PATH = Path(__file__).parents[1] / "src/signward/store/migrations/versions/0001_first.py"

_HEAD = '''"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and the state of an empty log."""
{calls}
    state = sa.table("log_state", sa.column("id"), sa.column("size"), sa.column("frontier"))
    op.bulk_insert(state, [{{"id": 1, "size": 0, "frontier": b""}}])


def downgrade() -> None:
    """Refuse: there is nothing before."""
    raise NotImplementedError
'''


def script() -> str:
    """Return the migration's text, unformatted."""
    with create_engine("sqlite://").connect() as connection:
        found = produce_migrations(MigrationContext.configure(connection), metadata).upgrade_ops
    assert found is not None
    names, functions = [], []
    for operations in _by_table(found):
        name = f"_make_{operations[0].table_name}"  # type: ignore[attr-defined]
        body = render_python_code(UpgradeOps(operations))
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("#")]
        names.append(name)
        functions.append("\n".join([f"\n\ndef {name}() -> None:", *lines]))
    calls = "\n".join(f"    {name}()" for name in names)
    return _HEAD.format(calls=calls) + "".join(functions) + "\n"


def _by_table(operations: UpgradeOps) -> list[list[MigrateOperation]]:
    """Return operations a table at a time: it, then its indexes; whoever refers to it, later."""
    groups: dict[str, list[MigrateOperation]] = {table.name: [] for table in metadata.sorted_tables}
    for operation in operations.ops:
        if isinstance(operation, CreateTableOp):
            groups[operation.table_name].append(operation)
        else:
            groups[re.sub(r"^.*\.", "", operation.table_name)].append(operation)  # type: ignore[attr-defined]
    return list(groups.values())


def main() -> int:
    """Write the migration, formatted."""
    PATH.write_text(script())
    for command in (["format", "-q"], ["check", "--fix", "-q"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, str(PATH)], check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
