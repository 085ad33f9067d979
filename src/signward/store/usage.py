"""How often each key signed, in stretches of time that replicas count together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from signward.authority.access import Window
from signward.store.tables import sign_usage

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def counts(connection: Connection, key: str, windows: Sequence[Window]) -> tuple[int, ...]:
    """Return how many signatures each window holds so far, in their order.

    In a job of ``Store.write`` nobody counts further before the transaction ends.
    """
    if not windows:
        return ()
    table = sign_usage.c
    newest = min(window.start for window in windows)
    chosen = select(table.seconds, table.start, table.count).where(
        table.key == key, table.start >= newest
    )
    found = {Window(row.seconds, row.start): row[2] for row in connection.execute(chosen)}
    return tuple(found.get(window, 0) for window in windows)


def add(connection: Connection, key: str, counted: Mapping[Window, int]) -> None:
    """Count so many further signatures in each window."""
    for window, count in counted.items():
        insert = _INSERT[connection.dialect.name](sign_usage).values(
            key=key, seconds=window.seconds, start=window.start, count=count
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["key", "seconds", "start"],
                set_={"count": sign_usage.c.count + insert.excluded.count},
            )
        )


def forget(connection: Connection, before: int) -> None:
    """Forget windows that began before an instant (seconds since 1970) and are over."""
    table = sign_usage.c
    connection.execute(delete(sign_usage).where(table.start + table.seconds < before))
