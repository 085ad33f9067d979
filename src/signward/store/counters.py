"""Numbers that are handed out once, whoever asks: across threads, restarts and replicas."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from signward.store.tables import counter

_MARK = "mark:"
"""Begins the names of marks, which stand in the same table."""

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def lease(connection: Connection, name: str, count: int = 1) -> int:
    """Return the first of ``count`` numbers that nobody had before; the first ever is 1.

    They count as handed out with the transaction: those never used leave a gap.
    """
    _begun(connection, name, 1)
    after = connection.execute(
        update(counter).where(counter.c.name == name)
        .values(next=counter.c.next + count).returning(counter.c.next)
    ).scalar_one()  # fmt: skip
    return int(after) - count


def reached(connection: Connection, name: str) -> int:
    """Return how many numbers were handed out; 0 where none ever was."""
    after = connection.execute(select(counter.c.next).where(counter.c.name == name)).scalar()
    return 0 if after is None else int(after) - 1


def raised(connection: Connection, name: str, value: int) -> int:
    """Raise a mark to ``value`` unless it is higher already; return where it stood (first: 0).

    A mark never falls: the latest instant that was ever vouched for, say.
    """
    mark = _MARK + name
    _begun(connection, mark, 0)
    before = connection.execute(
        select(counter.c.next).where(counter.c.name == mark).with_for_update()
    ).scalar_one()
    if value > before:
        connection.execute(update(counter).where(counter.c.name == mark).values(next=value))
    return int(before)


def skip(connection: Connection, count: int) -> None:
    """Leave out the next ``count`` numbers of every counter: somebody may have had them.

    Marks stay: they are no numbers that anybody is given.
    """
    numbers = counter.c.name.not_like(f"{_MARK}%")
    connection.execute(update(counter).where(numbers).values(next=counter.c.next + count))


def _begun(connection: Connection, name: str, first: int) -> None:
    insert = _INSERT[connection.dialect.name](counter).values(name=name, next=first)
    connection.execute(insert.on_conflict_do_nothing())
