"""Intents: what was begun and cannot be undone, until its result stands in its place.

An instance is a process; it says now and then that it lives.  What one leaves behind that no
longer does is taken away by `abandon`, and its result, should it come after all, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from signward.errors import ConflictError
from signward.frozen import Frozen
from signward.store.tables import instance, intent
from signward.store.upsert import insert_new


class Intent(Frozen, frozen=True, kw_only=True):
    """Something begun: ``id`` is 64 hexadecimal digits at most, ``body`` the log entry of it."""

    id: str
    instance: str
    kind: str
    at: int
    body: bytes


_FIELDS = Intent.__struct_fields__
_ADD = insert(intent)
_FINISH = (
    delete(intent).where(intent.c.id.in_(bindparam("which", expanding=True))).returning(intent.c.id)
)


def begin(connection: Connection, begun: Intent) -> None:
    """Store an intent.  Raises ``ConflictError`` where its like is under way."""
    alive(connection, begun.instance, begun.at)
    if not insert_new(connection, intent, asdict(begun)):
        raise ConflictError(f"intent {begun.id}", "one that is under way", "a new one")


def add(connection: Connection, begun: Sequence[Intent]) -> None:
    """Store intents whose identifiers were just drawn, of an instance that said it lives."""
    if begun:
        connection.execute(_ADD, [asdict(one) for one in begun])


def find(connection: Connection, identifier: str) -> Intent | None:
    """Return an intent that is open; None where it has its result, or was taken away."""
    columns = [intent.c[name] for name in _FIELDS]
    row = connection.execute(select(*columns).where(intent.c.id == identifier)).one_or_none()
    return None if row is None else Intent(**dict(zip(_FIELDS, row, strict=True)))


def finish(connection: Connection, identifier: str) -> None:
    """Take an intent away, in the transaction that stores its result.

    Raises ``ConflictError`` where it was abandoned: nobody may have the result then.
    """
    if not finish_all(connection, [identifier]):
        raise given_up(identifier)


def finish_all(connection: Connection, identifiers: Sequence[str]) -> frozenset[str]:
    """Take intents away as `finish` does; return those that were there."""
    return frozenset(connection.execute(_FINISH, {"which": list(identifiers)}).scalars())


def given_up(identifier: str) -> ConflictError:
    """Return what is said of an intent that was abandoned before its result came."""
    return ConflictError(
        f"intent {identifier}", "none: it was given up as a dead process's", "one",
        hint="this process did not say for too long that it lives; ask again",
    )  # fmt: skip


def alive(connection: Connection, identifier: str, at: int) -> None:
    """Say that an instance lives; the first time enters it."""
    seen = connection.execute(update(instance).where(instance.c.id == identifier).values(seen=at))
    if seen.rowcount == 0:
        connection.execute(insert(instance).values(id=identifier, started=at, seen=at))


def leave(connection: Connection, identifier: str) -> None:
    """Take an instance away that ends in order; its intents, should it have any, are abandoned."""
    connection.execute(delete(instance).where(instance.c.id == identifier))


def abandon(connection: Connection, silent_since: int) -> list[Intent]:
    """Take away instances not heard of since then and their intents; return the latter."""
    living = select(instance.c.id).where(instance.c.seen >= silent_since)
    orphaned = intent.c.instance.not_in(living)
    columns = [intent.c[name] for name in _FIELDS]
    rows = connection.execute(select(*columns).where(orphaned).with_for_update()).all()
    found = [Intent(**dict(zip(_FIELDS, row, strict=True))) for row in rows]
    connection.execute(delete(intent).where(intent.c.id.in_([one.id for one in found])))
    connection.execute(delete(instance).where(instance.c.seen < silent_since))
    return found
