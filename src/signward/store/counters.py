"""Numbers that are handed out once, whoever asks: across threads, restarts and replicas."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update
from sqlalchemy.dialects import postgresql, sqlite

from signward.store.tables import counter

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def lease(connection: Connection, name: str, count: int = 1) -> int:
    """Return the first of ``count`` numbers that nobody had before; the first ever is 1.

    They count as handed out with the transaction: those never used leave a gap.
    """
    insert = _INSERT[connection.dialect.name](counter).values(name=name, next=1)
    connection.execute(insert.on_conflict_do_nothing())
    after = connection.execute(
        update(counter).where(counter.c.name == name)
        .values(next=counter.c.next + count).returning(counter.c.next)
    ).scalar_one()  # fmt: skip
    return int(after) - count


def skip(connection: Connection, count: int) -> None:
    """Leave out the next ``count`` numbers of every counter: somebody may have had them."""
    connection.execute(update(counter).values(next=counter.c.next + count))
