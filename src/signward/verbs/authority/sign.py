"""Sign for others: who asks is known, what is asked is weighed, and all of it is logged.

In this order, each step durable before the next: the request and the decision (with an intent,
if it is to be signed) stand in the log; the key signs, the value is checked against the
certificate, an authority timestamps it; the result stands in the log and is kept under the
idempotency key; the answer leaves.  So no signature exists that the log does not announce, and
whoever asks again under the same idempotency key gets the same answer.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Connection

from signward.authority.access import Asked, Decision, Identity, Ruling, decide
from signward.authority.log.entry import Kind, Value, encode
from signward.authority.log.tree import leaf_hash
from signward.authority.octets import check_octets
from signward.errors import (
    AuthorityError,
    ConflictError,
    DeniedError,
    KeyProviderError,
    LimitedError,
    SignwardError,
)
from signward.frozen import replace
from signward.keys import RotatedError
from signward.keys._served import Answer, KeyPage, Order
from signward.store import intents, requests, usage
from signward.store.engine import Outcome
from signward.store.intents import Intent
from signward.store.requests import State, StoredRequest
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.intents import HEARTBEAT_SECONDS, abandoned
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import SignSettings
from signward.verbs.authority.tokens import own_token
from signward.verbs.authority.transparency import transparency_of
from signward.verbs.credential import Credential, permitted
from signward.verbs.stamping import Stamper, StampError

_HOUR = 3_600_000_000
"""Microseconds."""


class Case(NamedTuple):
    """An order with everything it is decided by; ``asked`` is the SHA-256 of the whole order."""

    identifier: str
    name: str
    rules: SignSettings
    caller: Identity
    names: frozenset[str]
    idempotency: str
    order: Order
    asked: bytes
    at: datetime
    announce: bool
    """Whether this process has to say that it lives, since intents of dead ones are closed."""

    @property
    def fields(self) -> dict[str, Value]:
        """What every entry says of it."""
        return {"intent": self.identifier, "key": self.name, **named(self.caller)}

    @property
    def request(self) -> StoredRequest:
        """What is stored of it."""
        order, at = self.order, micros(self.at)
        return StoredRequest(
            id=self.identifier, key=self.name, requester=self.caller.unique,
            idempotency=self.idempotency, asked=self.asked, state=State.PENDING,
            format=order.format, file=order.file, content=order.content,
            digest=hashlib.sha256(order.data).digest(), algorithm=str(order.algorithm.algorithm),
            at=at, expires=at + self.rules.approval_hours * _HOUR,
        )  # fmt: skip


class _Begun(NamedTuple):
    """What the first transaction came to: a request as it stands, or the decision against it."""

    request: StoredRequest | None
    decision: Decision | None = None
    approvals: int = 0

    @property
    def allowed(self) -> bool:
        return self.decision is not None and self.decision.ruling is Ruling.ALLOWED


# --- what callers ask ---------------------------------------------------------------------------


def page(realm: Realm, name: str, caller: Identity) -> KeyPage:
    """Return what a client must know of a key.  Raises ``DeniedError``."""
    rules = rules_for(realm, name, caller)
    signer = realm.credential(rules.key).standing.signer
    log = transparency_of(realm).verifier.text if realm.settings.log else ""
    return KeyPage(name=name, certificates=signer.certificates, approvals=rules.approvals, log=log)


def sign(realm: Realm, name: str, caller: Identity, idempotency: str, order: Order) -> Answer:
    """Sign, or say what is missing.

    Raises ``DeniedError`` (``LimitedError`` where it is a matter of time), ``ConflictError``
    where the idempotency key stands for another order, ``AuthorityError`` for an order that no
    rule would allow, ``SigningError`` where key or timestamp authority fail.
    """
    rules = rules_for(realm, name, caller)
    names = realm.settings.access.names_of(caller)
    credential, at = realm.credential(rules.key), realm.now()
    if names & set(rules.signers):
        _check(credential, order)
    case = Case(
        secrets.token_hex(16), name, rules, caller, names, idempotency, order,
        hashlib.sha256(msgspec.json.encode(order)).digest(), at,
        at - _ANNOUNCED.get(realm, _LONG_AGO) > _ANNOUNCE_AFTER,
    )  # fmt: skip
    written = realm.store.write(partial(_begin, case, realm.instance)).result()
    if case.announce:
        _ANNOUNCED[realm] = at
    begun = written.value
    if begun.request is None:
        raise _refusal(name, begun.decision)
    if begun.allowed:
        try:
            case = case._replace(identifier=begun.request.id)
            return _sign(realm, credential, case, written.size)
        finally:
            _UNDER_WAY.discard(case.identifier)
    if begun.request.state in (State.DENIED, State.EXPIRED):
        raise DeniedError("the request", f"one that was {begun.request.state}", "approvals in time",
                          hint="ask anew, under another idempotency key")  # fmt: skip
    return answer_of(realm, begun.request, begun.approvals, rules)


def look(realm: Realm, name: str, caller: Identity, identifier: str) -> Answer:
    """Return how far a request is; its signature is for whoever asked for it alone.

    Raises ``DeniedError``, also where there is no such request.
    """
    rules = rules_for(realm, name, caller)
    with realm.store.read() as connection:
        request = requests.by_id(connection, identifier)
        count = len(requests.approvals(connection, identifier))
    if request is None or request.key != name:
        raise DeniedError("the request", "none of that name", "one of one's own")
    if request.requester == caller.unique:
        return answer_of(realm, request, count, rules)
    if realm.settings.access.names_of(caller) & set(rules.approvers):
        return answer_of(realm, replace(request, answer=None), count, rules)
    raise DeniedError("the request", "none of that name", "one of one's own")


def rules_for(realm: Realm, name: str, caller: Identity) -> SignSettings:
    """Return the rules of a key, for whoever it knows.

    Raises ``DeniedError``: a key that does not exist and one of others look alike.
    """
    rules = realm.settings.sign.get(name)
    names = realm.settings.access.names_of(caller)
    if rules is None or not names & {*rules.signers, *rules.approvers}:
        raise DeniedError(
            f"key {name[:100]}", "somebody it does not sign for", "one of its signers",
            hint="[sign.NAME] and [access.identities] of signward.toml name them",
        )  # fmt: skip
    return rules


# --- before the key is used ---------------------------------------------------------------------


def _check(credential: Credential, order: Order) -> None:
    """Raise ``AuthorityError`` for an order that does not fit the key, or itself."""
    algorithm = order.algorithm.algorithm
    allowed = permitted(credential.standing.leaf.spki)
    if algorithm not in allowed:
        fitting = ", ".join(sorted(map(str, allowed)))
        raise AuthorityError("algorithm", str(algorithm), f"one of {fitting}")
    check_octets(order.format, order.data, algorithm)


def _begin(case: Case, instance: str, connection: Connection) -> Outcome[_Begun]:
    """Find or store the request and decide about it; open an intent if it is to be signed."""
    found = requests.by_idempotency(connection, case.name, case.caller.unique, case.idempotency)
    if found is not None and found.asked != case.asked:
        raise ConflictError(
            "Idempotency-Key", "one that stands for another order", "a new one for a new order"
        )
    entries: tuple[bytes, ...] = ()
    if found is not None and found.state is State.SIGNING:
        open_intent = intents.find(connection, found.id)
        if open_intent and (open_intent.instance != instance or found.id in _UNDER_WAY):
            return Outcome(_Begun(found))
        requests.remove(connection, found.id)  # whoever signed did not live to answer
        if open_intent:
            intents.finish(connection, found.id)
            entries = (encode(Kind.ABANDONED, abandoned(open_intent), case.at),)
        found = None
    if found is not None and found.state is not State.PENDING:
        return Outcome(_Begun(found))
    if found is not None and found.expires <= micros(case.at):
        return expire(connection, found, case.at)
    return _decided(case, instance, connection, found, entries)


def _decided(
    case: Case,
    instance: str,
    connection: Connection,
    found: StoredRequest | None,
    entries: tuple[bytes, ...],
) -> Outcome[_Begun]:
    windows = case.rules.windows(case.at)
    approvals = len(requests.approvals(connection, found.id)) if found else 0
    decision = decide(case.rules, Asked(
        names=case.names, format=case.order.format, at=case.at, approvals=approvals,
        used=usage.counts(connection, case.name, windows),
    ))  # fmt: skip
    if found is not None and decision.ruling is Ruling.WAITING:
        return Outcome(_Begun(found, None, approvals))
    request = found or case.request
    case = case._replace(identifier=request.id)
    if found is None:
        entries += (encode(Kind.SIGN_REQUEST, _asked_fields(case), case.at),)
        if decision.ruling is not Ruling.DENIED:
            allowed = decision.ruling is Ruling.ALLOWED
            state = State.SIGNING if allowed else State.PENDING
            requests.put(connection, replace(request, state=state))
    entries += (_decision_entry(case.fields, decision, case.at),)
    if decision.ruling is Ruling.DENIED:
        return Outcome(_Begun(None, decision), entries)
    if decision.ruling is Ruling.ALLOWED:
        usage.add(connection, case.name, windows)
        _UNDER_WAY.add(request.id)
        if found is not None:
            requests.change(connection, request.id, state=State.SIGNING)
        if case.announce:
            intents.alive(connection, instance, micros(case.at))
        intents.add(connection, Intent(
            id=request.id, instance=instance, kind=Kind.SIGN_DECISION, at=micros(case.at),
            body=entries[-1],
        ))  # fmt: skip
    return Outcome(_Begun(request, decision, approvals), entries)


_ANNOUNCED: WeakKeyDictionary[Realm, datetime] = WeakKeyDictionary()
_ANNOUNCE_AFTER = timedelta(seconds=HEARTBEAT_SECONDS)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_UNDER_WAY: set[str] = set()
"""Requests that this process signs at present: an intent of ours that is not among them was left
by a result that could not be written."""


def expire(connection: Connection, request: StoredRequest, at: datetime) -> Outcome[_Begun]:
    """End a request that waited too long."""
    requests.change(connection, request.id, state=State.EXPIRED)
    decision = Decision(ruling=Ruling.DENIED, reason="expired")
    fields: dict[str, Value] = {"intent": request.id, "key": request.key}
    entry = _decision_entry(fields, decision, at)
    return Outcome(_Begun(replace(request, state=State.EXPIRED)), (entry,))


def _refusal(name: str, decision: Decision | None) -> DeniedError:
    assert decision is not None  # noqa: S101 - no request is stored of what is denied
    kind = LimitedError if decision.retry_seconds else DeniedError
    hint = f"again in {decision.retry_seconds} seconds" if decision.retry_seconds else decision.hint
    error = kind(f"key {name}", decision.found, decision.required, hint=hint)
    if isinstance(error, LimitedError):
        error.retry_seconds = decision.retry_seconds
    return error


# --- using the key ------------------------------------------------------------------------------


def _sign(realm: Realm, credential: Credential, case: Case, floor: int) -> Answer:
    """Use the key and make the result durable; on failure nothing is left of the request."""
    try:
        answer = _signed(realm, credential, case)
    except SignwardError as error:
        _write_failure(realm, case, error)
        raise
    entry = encode(Kind.SIGNED, _result_fields(case, answer), realm.now())

    def finish(connection: Connection) -> Outcome[None]:
        body = msgspec.json.encode(answer)
        intents.finish(connection, case.identifier)
        requests.finish(connection, case.identifier, body, leaf_hash(entry), floor)
        return Outcome(None, (entry,))

    written = realm.store.write(finish).result()
    return _with_receipt(realm, answer, written.first, entry)


def _signed(realm: Realm, credential: Credential, case: Case) -> Answer:
    standing, order = credential.standing, case.order
    try:
        value = credential.sign(standing, order.data, order.algorithm.algorithm)
    except RotatedError:
        credential.refresh(standing)  # for whoever asks next
        raise
    return Answer(
        id=case.identifier,
        state=State.SIGNED,
        value=value,
        certificates=standing.signer.certificates,
        tokens=_tokens(realm, case, value, standing.signer.digest) if order.timestamp else (),
    )


def _tokens(realm: Realm, case: Case, value: bytes, digest: str) -> tuple[bytes, ...]:
    """Return a token over a value, from whom the key's settings name; none where they name nobody.

    Raises ``KeyProviderError``: whoever asks may ask again.
    """
    if not case.rules.timestamp:
        return ()
    if not case.rules.timestamps:
        return (own_token(realm, value, digest),) if realm.settings.tsa else ()
    try:
        return Stamper(case.rules.timestamps, digest, realm.now())(value)
    except StampError as error:
        raise KeyProviderError(error.subject, error.found, error.required) from None


def _write_failure(realm: Realm, case: Case, error: SignwardError) -> None:
    fields = {**case.fields, "reason": type(error).__name__}

    def fail(connection: Connection) -> Outcome[None]:
        intents.finish(connection, case.identifier)
        requests.remove(connection, case.identifier)
        return Outcome(None, (encode(Kind.SIGN_FAILED, fields, realm.now()),))

    realm.store.write(fail).result()


# --- answers ------------------------------------------------------------------------------------


def answer_of(realm: Realm, request: StoredRequest, approvals: int, rules: SignSettings) -> Answer:
    """Return a stored request as its maker is told of it."""
    if request.answer is not None:
        answer = msgspec.json.decode(request.answer, type=Answer)
        with realm.store.read() as connection:
            logged = requests.logged(connection, request)
        return answer if logged is None else _with_receipt(realm, answer, *logged)
    state: str = request.state
    if request.state is State.PENDING:
        expired = request.expires <= micros(realm.now())
        approved = "approved" if approvals >= rules.approvals else state
        state = State.EXPIRED if expired else approved
    return Answer(
        id=request.id, state=state, approvals=approvals, required=rules.approvals,
        expires=instant(request.expires),
    )  # fmt: skip


def _with_receipt(realm: Realm, answer: Answer, position: int, entry: bytes) -> Answer:
    if realm.settings.log is None:
        return answer
    return replace(answer, receipt=transparency_of(realm).receipt(position, entry))


# --- entries ------------------------------------------------------------------------------------


def named(caller: Identity) -> dict[str, Value]:
    """Return how entries name somebody."""
    return {"by": caller.subject, "by-issuer": caller.issuer, "by-kind": caller.kind}


def _asked_fields(case: Case) -> Mapping[str, Value]:
    order = case.order
    return {
        **case.fields,
        "digest": digest_text(hashlib.sha256(order.data).digest()),
        "algorithm": str(order.algorithm.algorithm),
        "format": order.format,
        "file": order.file,
        "content": order.content,
    }


def _decision_entry(fields: Mapping[str, Value], decision: Decision, at: datetime) -> bytes:
    told = {"ruling": decision.ruling.value, "reason": decision.reason}
    return encode(Kind.SIGN_DECISION, {**fields, **told}, at)


def _result_fields(case: Case, answer: Answer) -> Mapping[str, Value]:
    return {
        **_asked_fields(case),
        "certificate": hashlib.sha256(answer.certificates[0]).hexdigest(),
        "value": digest_text(hashlib.sha256(answer.value).digest()),
        "timestamps": [digest_text(hashlib.sha256(one).digest()) for one in answer.tokens],
    }


def digest_text(digest: bytes) -> str:
    """Return a SHA-256 as entries have it."""
    return f"sha256:{digest.hex()}"
