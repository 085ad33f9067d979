"""Deeds that cannot be undone: said before, done, told after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection

from signward.authority.log.entry import Kind, Value, decode, encode
from signward.store import intents
from signward.store.engine import Outcome
from signward.verbs.authority.authorities import micros
from signward.verbs.authority.realm import Realm

SILENT = timedelta(seconds=90)
"""How long an instance may say nothing before its intents count as abandoned."""

HEARTBEAT_SECONDS = 15.0
"""How often a service says that it lives: several times before anybody doubts it."""


def intent(
    realm: Realm, identifier: str, kind: Kind, fields: Mapping[str, Value]
) -> intents.Intent:
    """Return an intent; its body is the log entry that announces it."""
    now = realm.now()
    body = encode(kind, {**fields, "intent": identifier}, now)
    return intents.Intent(
        id=identifier, instance=realm.instance, kind=kind.value, at=micros(now), body=body
    )


def sweep(realm: Realm) -> int:
    """Close the intents that dead processes left, each with an entry; return how many."""
    now = realm.now()

    def job(connection: Connection) -> Outcome[int]:
        found = intents.abandon(connection, micros(now - SILENT))
        entries = [abandoned(one) for one in found]
        return Outcome(len(found), tuple(encode(Kind.ABANDONED, e, now) for e in entries))

    return realm.store.write(job).result().value


def abandoned(begun: intents.Intent) -> dict[str, Value]:
    """Return what the log is told: what was begun, in the words it was announced in."""
    fields = dict(decode(begun.body).fields)
    return {**fields, "intent": begun.id, "of": begun.kind}


def heartbeat(realm: Realm) -> None:
    """Say that this process lives."""
    at = micros(realm.now())

    def job(connection: Connection) -> Outcome[None]:
        intents.alive(connection, realm.instance, at)
        return Outcome(None)

    realm.store.write(job).result()
