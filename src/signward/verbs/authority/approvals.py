"""Approvals: what waits for them, who gives or refuses them, and what nobody answered in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from signward.authority.access import (
    Decision,
    Identity,
    KeyRules,
    Ruling,
    decide_approval,
    decide_denial,
)
from signward.authority.log.entry import Kind, Value, encode
from signward.errors import ConflictError, DeniedError
from signward.frozen import Frozen
from signward.store import requests, usage
from signward.store.engine import Outcome
from signward.store.requests import Approval, State, StoredRequest
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.cases import digest_text, named
from signward.verbs.authority.deciding import expire
from signward.verbs.authority.realm import Realm

RETENTION = timedelta(days=30)
"""How long an idempotency key stands for its answer, and a refusal is remembered; the log keeps
everything."""


class Answering(StrEnum):
    """What an approver says."""

    APPROVE = "approve"
    DENY = "deny"


class Waiting(Frozen, frozen=True, kw_only=True):
    """A request as approvers see it.

    ``content`` and ``digest`` (of the octets to be signed) are ``sha256:`` and hexadecimal,
    ``approvals`` the names of those who gave theirs.
    """

    id: str
    key: str
    state: str
    by: str
    by_issuer: str
    by_kind: str
    format: str
    file: str
    content: str
    digest: str
    algorithm: str
    at: datetime
    expires: datetime
    approvals: tuple[str, ...]
    required: int


def waiting(realm: Realm, caller: Identity) -> tuple[Waiting, ...]:
    """Return the requests that wait for approvals which ``caller`` may give, oldest first."""
    names = realm.settings.access.names_of(caller)
    keys = tuple(n for n, rules in realm.settings.sign.items() if names & set(rules.approvers))
    with realm.store.read() as connection:
        found = requests.pending(connection, keys, micros(realm.now()))
        return tuple(_told(realm, connection, request) for request in found)


def answer(realm: Realm, caller: Identity, identifier: str, said: Answering) -> Waiting:
    """Approve a request, or end it by a denial.

    Raises ``DeniedError`` for somebody who may not (or knows of no such request), and
    ``ConflictError`` where it waits for nobody any more.
    """
    written = realm.store.write(partial(_answer, _Said(realm, caller, identifier, said))).result()
    told, decision = written.value
    if decision.ruling is Ruling.DENIED:
        raise DeniedError(f"request {identifier[:40]}", decision.found, decision.required)
    return told


class _Said(NamedTuple):
    realm: Realm
    caller: Identity
    identifier: str
    said: Answering


def _answer(said: _Said, connection: Connection) -> Outcome[tuple[Waiting, Decision]]:
    realm, at = said.realm, said.realm.now()
    request = requests.by_id(connection, said.identifier)
    rules = realm.settings.sign.get(request.key) if request else None
    if request is None or rules is None:
        raise DeniedError(f"request {said.identifier[:40]}", "none of that name", "one that waits")
    decision = _decide(said, connection, request, rules)
    if decision.ruling is Ruling.ALLOWED:
        _check_waiting(request, at)
        if said.said is Answering.DENY:
            requests.change(connection, request.id, state=State.DENIED)
        else:
            approval = Approval(
                approver=said.caller.unique, name=said.caller.subject, at=micros(at)
            )
            requests.approve(connection, request.id, approval)
    changed = requests.by_id(connection, request.id) or request
    told = _told(realm, connection, changed)
    return Outcome((told, decision), (_entry(said, request, decision, at),))


def _decide(
    said: _Said, connection: Connection, request: StoredRequest, rules: KeyRules
) -> Decision:
    names = said.realm.settings.access.names_of(said.caller)
    if said.said is Answering.DENY:
        return decide_denial(rules, said.caller, names, request.requester)
    given = [one.approver for one in requests.approvals(connection, request.id)]
    return decide_approval(rules, said.caller, names, request.requester, given)


def _check_waiting(request: StoredRequest, at: datetime) -> None:
    over = request.state is State.PENDING and request.expires <= micros(at)
    state = State.EXPIRED if over else request.state
    if state is not State.PENDING:
        raise ConflictError(f"request {request.id}", f"one that is {state}", "one that waits")


def _entry(said: _Said, request: StoredRequest, decision: Decision, at: datetime) -> bytes:
    fields: dict[str, Value] = {
        "intent": request.id, "key": request.key, "digest": digest_text(request.digest),
        "said": said.said.value, "ruling": decision.ruling.value, "reason": decision.reason,
        **named(said.caller),
    }  # fmt: skip
    return encode(Kind.APPROVAL, fields, at)


def _told(realm: Realm, connection: Connection, request: StoredRequest) -> Waiting:
    kind, issuer, subject = msgspec.json.decode(request.requester, type=tuple[str, str, str])
    rules = realm.settings.sign.get(request.key)
    given = requests.approvals(connection, request.id)
    return Waiting(
        id=request.id, key=request.key, state=request.state, by=subject, by_issuer=issuer,
        by_kind=kind, format=request.format, file=request.file, content=request.content,
        digest=digest_text(request.digest), algorithm=request.algorithm,
        at=instant(request.at), expires=instant(request.expires),
        approvals=tuple(one.name for one in given), required=rules.approvals if rules else 0,
    )  # fmt: skip


def sweep(realm: Realm) -> int:
    """End what nobody answered in time, forget what is old; return how many requests ended."""
    return realm.store.write(partial(_sweep, realm.now())).result().value


def _sweep(at: datetime, connection: Connection) -> Outcome[int]:
    ended = requests.expired(connection, micros(at))
    entries = [expire(connection, request, at).entries for request in ended]
    requests.forget(connection, micros(at - RETENTION))
    usage.forget(connection, int((at - timedelta(days=1)).timestamp()))
    return Outcome(len(ended), tuple(one for some in entries for one in some))
