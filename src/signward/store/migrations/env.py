"""What alembic runs for every command: ours give it a connection, in a transaction of theirs."""

from __future__ import annotations

from alembic import context

from signward.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
