"""Requests for signatures: what was asked for, under which idempotency key, and what became of it.

All functions run in a job of ``Store.write`` (or read in a snapshot): what a job reads here
nobody changes before its transaction ends.  Instants are microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec.structs import asdict
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, update

from signward.frozen import Frozen
from signward.store.tables import log_entry, sign_approval, sign_request

MAX_LISTED = 500
"""Requests in one answer."""


_table = sign_request.c
# What runs for every signature is put together once.
_BY_IDEMPOTENCY = select(sign_request).where(
    _table.key == bindparam("key"),
    _table.requester == bindparam("requester"),
    _table.idempotency == bindparam("idempotency"),
)
_KNOWN = select(_table.requester, _table.idempotency).where(
    _table.key == bindparam("key"),
    _table.requester.in_(bindparam("requesters", expanding=True)),
    _table.idempotency.in_(bindparam("under", expanding=True)),
)
_PUT = insert(sign_request)
_FINISH = (
    update(sign_request)
    .where(_table.id == bindparam("which"))
    .values(
        state="signed",
        answer=bindparam("answer"),
        entry=bindparam("entry"),
        floor=bindparam("floor"),
    )
)


class State(StrEnum):
    """How far a request has come."""

    PENDING = "pending"
    """It waits for approvals, or has them and waits for whoever asked to come back."""
    SIGNING = "signing"
    """The key is being used: an intent is open, or was left by a process that died."""
    SIGNED = "signed"
    DENIED = "denied"
    EXPIRED = "expired"


class StoredRequest(Frozen, frozen=True, kw_only=True):
    """One request.

    ``requester`` is an identity's ``unique``, ``asked`` the SHA-256 of the whole order,
    ``digest`` that of the octets to sign; ``answer`` is kept once there is one, with the leaf
    hash of its ``entry`` in the log, which stands at ``floor`` or behind it.
    """

    id: str
    key: str
    requester: str
    idempotency: str
    asked: bytes
    state: State
    format: str
    file: str
    content: str
    digest: bytes
    algorithm: str
    at: int
    expires: int
    answer: bytes | None = None
    entry: bytes | None = None
    floor: int | None = None


class Approval(Frozen, frozen=True, kw_only=True):
    """Somebody's consent; ``approver`` is an identity's ``unique``."""

    approver: str
    name: str
    at: int


def by_idempotency(
    connection: Connection, key: str, requester: str, idempotency: str
) -> StoredRequest | None:
    """Return the request that somebody made under an idempotency key."""
    asked = {"key": key, "requester": requester, "idempotency": idempotency}
    row = connection.execute(_BY_IDEMPOTENCY, asked).one_or_none()
    return None if row is None else _request(row)


def by_id(connection: Connection, identifier: str) -> StoredRequest | None:
    """Return a request by its identifier."""
    return _one(connection, select(sign_request).where(sign_request.c.id == identifier))


def known(
    connection: Connection, key: str, asked: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those pairs of requester and idempotency key that a request stands under."""
    requesters, under = {one for one, _ in asked}, {one for _, one in asked}
    rows = connection.execute(
        _KNOWN, {"key": key, "requesters": list(requesters), "under": list(under)}
    )
    return {(requester, idempotency) for requester, idempotency in rows}


def put(connection: Connection, new: Sequence[StoredRequest]) -> None:
    """Store new requests."""
    if new:
        connection.execute(_PUT, [asdict(request) for request in new])


def change(connection: Connection, identifier: str, **fields: Any) -> None:
    """Change fields of a request."""
    chosen = update(sign_request).where(sign_request.c.id == identifier)
    connection.execute(chosen.values(**fields))


class Result(NamedTuple):
    """What became of the request ``which``, as `StoredRequest` has it."""

    which: str
    answer: bytes
    entry: bytes
    floor: int


def finish(connection: Connection, results: Sequence[Result]) -> None:
    """Store results."""
    if results:
        connection.execute(_FINISH, [result._asdict() for result in results])


def remove(connection: Connection, identifier: str) -> None:
    """Forget a request: the next under its idempotency key is a new one."""
    connection.execute(delete(sign_approval).where(sign_approval.c.request == identifier))
    connection.execute(delete(sign_request).where(sign_request.c.id == identifier))


def pending(connection: Connection, keys: tuple[str, ...], at: int) -> tuple[StoredRequest, ...]:
    """Return the requests for ``keys`` that wait and have not expired, oldest first."""
    table = sign_request.c
    chosen = select(sign_request).where(
        table.state == State.PENDING, table.key.in_(keys), table.expires > at
    )
    rows = connection.execute(chosen.order_by(table.at).limit(MAX_LISTED))
    return tuple(map(_request, rows))


def waiting_of(connection: Connection, key: str, requester: str) -> int:
    """Return how many requests of somebody's for a key wait."""
    table = sign_request.c
    chosen = select(func.count()).where(
        table.state == State.PENDING, table.key == key, table.requester == requester
    )
    return int(connection.execute(chosen).scalar_one())


def expired(connection: Connection, at: int) -> tuple[StoredRequest, ...]:
    """Return requests that still count as waiting and have expired."""
    table = sign_request.c
    chosen = select(sign_request).where(table.state == State.PENDING, table.expires <= at)
    return tuple(map(_request, connection.execute(chosen.limit(MAX_LISTED))))


def forget(connection: Connection, before: int) -> None:
    """Forget requests made before an instant, whose state will not change any more."""
    table = sign_request.c
    old = select(table.id).where(
        table.at < before, table.state.not_in((State.PENDING, State.SIGNING))
    )
    connection.execute(delete(sign_approval).where(sign_approval.c.request.in_(old)))
    connection.execute(delete(sign_request).where(table.id.in_(old)))


def approve(connection: Connection, identifier: str, approval: Approval) -> None:
    """Store a consent."""
    connection.execute(insert(sign_approval).values(
        request=identifier, approver=approval.approver, name=approval.name, at=approval.at
    ))  # fmt: skip


def approvals(connection: Connection, identifier: str) -> tuple[Approval, ...]:
    """Return the consents to a request, oldest first."""
    table = sign_approval.c
    chosen = select(table.approver, table.name, table.at).where(table.request == identifier)
    rows = connection.execute(chosen.order_by(table.at, table.approver))
    return tuple(Approval(approver=row.approver, name=row.name, at=row.at) for row in rows)


def logged(connection: Connection, request: StoredRequest) -> tuple[int, bytes] | None:
    """Return where the result's entry stands in the log, and the entry; None without one."""
    if request.entry is None or request.floor is None:
        return None
    table = log_entry.c
    chosen = select(table.position, table.body).where(
        table.position >= request.floor, table.leaf_hash == request.entry
    )
    row = connection.execute(chosen.order_by(table.position).limit(1)).one_or_none()
    return None if row is None else (row.position, row.body)


def _one(connection: Connection, chosen: Select[Any]) -> StoredRequest | None:
    row = connection.execute(chosen).one_or_none()
    return None if row is None else _request(row)


def _request(row: Row[Any]) -> StoredRequest:
    fields = dict(row._mapping)  # noqa: SLF001 - public by SQLAlchemy's documentation
    return StoredRequest(**{**fields, "state": State(fields["state"])})
