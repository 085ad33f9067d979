"""How a database came to have the tables of ``store.tables``: alembic's scripts, one a change."""
