"""Sign for others: who asks is known, what is asked is weighed, and all of it is logged.

In this order, each step durable before the next: the request and the decision (with an intent,
if it is to be signed) stand in the log; the key signs, the value is checked against the
certificate, an authority timestamps it; the result stands in the log and is kept under the
idempotency key; the answer leaves.  So no signature exists that the log does not announce, and
whoever asks again under the same idempotency key gets the same answer.

Orders for one key that come while others are under way are taken together: a transaction each
for what goes before the key is used and for what comes after, and one checkpoint for all.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from weakref import WeakKeyDictionary

from signward.authority.access import Decision, Identity
from signward.authority.octets import check_octets
from signward.errors import AuthorityError, DeniedError, LimitedError, SignwardError
from signward.frozen import decoder, replace
from signward.keys._served import Answer, KeyPage, Order
from signward.store import requests
from signward.store.requests import State, StoredRequest
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.cases import Case, opened
from signward.verbs.authority.deciding import UNDER_WAY, Begun, begin
from signward.verbs.authority.gathering import Gathering
from signward.verbs.authority.intents import HEARTBEAT_SECONDS
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import SignSettings
from signward.verbs.authority.transparency import transparency_of
from signward.verbs.authority.using import Job, use
from signward.verbs.credential import Credential, permitted

THREADS = 8
"""For each key: batches that are begun beside one another where the key is slow."""

MAX_BATCH = 64
"""Orders taken together: bounds how long the first of them waits for the last."""


# --- what callers ask ---------------------------------------------------------------------------


def page(realm: Realm, name: str, caller: Identity) -> KeyPage:
    """Return what a client must know of a key.  Raises ``DeniedError``."""
    rules = rules_for(realm, name, caller)
    signer = realm.credential(rules.key).standing.signer
    log = transparency_of(realm).verifier.text if realm.settings.log else ""
    return KeyPage(name=name, certificates=signer.certificates, approvals=rules.approvals, log=log)


def sign(realm: Realm, name: str, caller: Identity, idempotency: str, order: Order) -> Answer:
    """Sign, or say what is missing; waits for it.  Raises as `ordered` says."""
    return ordered(realm, name, caller, idempotency, order).result()


def ordered(
    realm: Realm, name: str, caller: Identity, idempotency: str, order: Order
) -> Future[Answer]:
    """Have an order signed, or told what is missing; does not wait.

    Raises ``DeniedError`` for somebody the key does not know.  The future has an answer, or
    ``DeniedError`` (``LimitedError`` where it is a matter of time), ``ConflictError`` where the
    idempotency key stands for another order, ``AuthorityError`` for an order that no rule would
    allow, ``SigningError`` where key or timestamp authority fail.
    """
    names = realm.settings.access.names_of(caller)
    rules = _rules(realm, name, names)
    case = opened(name, rules, caller, names, idempotency, order, realm.now())
    done: Future[Answer] = Future()
    _gathering(realm, name).add(_Ordered(realm, case, done))
    return done


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
    return _rules(realm, name, realm.settings.access.names_of(caller))


def _rules(realm: Realm, name: str, names: frozenset[str]) -> SignSettings:
    rules = realm.settings.sign.get(name)
    if rules is None or not names & {*rules.signers, *rules.approvers}:
        raise DeniedError(
            f"key {name[:100]}", "somebody it does not sign for", "one of its signers",
            hint="[sign.NAME] and [access.identities] of signward.toml name them",
        )  # fmt: skip
    return rules


# --- batches ------------------------------------------------------------------------------------


class _Ordered(NamedTuple):
    """A case that waits for its turn; all that are taken together are for one key."""

    realm: Realm
    case: Case
    done: Future[Answer]


_GATHERINGS: WeakKeyDictionary[Realm, dict[str, Gathering[_Ordered]]] = WeakKeyDictionary()
_OPENING = threading.Lock()


def _gathering(realm: Realm, name: str) -> Gathering[_Ordered]:
    """Return where orders for a key gather: a slow key holds up no other."""
    with _OPENING:
        keys = _GATHERINGS.setdefault(realm, {})
        if name not in keys:
            keys[name] = Gathering(_answer_all, THREADS, MAX_BATCH, f"sign-{name}")
        return keys[name]


def _answer_all(waiting: list[_Ordered]) -> None:
    """Answer each; what keeps all of them from it, all are told."""
    batch = [one for one in waiting if one.done.set_running_or_notify_cancel()]
    try:
        answers = _answers(batch[0].realm, [one.case for one in batch]) if batch else []
    except BaseException as error:  # noqa: BLE001 - whatever it is, everyone who waits must hear
        answers = [error] * len(batch)
    for one, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Answer):
            one.done.set_result(answer)
        else:
            one.done.set_exception(answer)


def _answers(realm: Realm, cases: Sequence[Case]) -> Sequence[Answer | BaseException]:
    """Return what became of each case.  Raises what concerns all."""
    credential = realm.credential(cases[0].rules.key)
    faults = [_fault(credential, case) for case in cases]
    fit = [case for case, fault in zip(cases, faults, strict=True) if fault is None]
    decided = iter(_decided(realm, credential, fit) if fit else ())
    return [next(decided) if fault is None else fault for fault in faults]


def _fault(credential: Credential, case: Case) -> SignwardError | None:
    """Return what is wrong with an order by itself; None, too, for whom rules refuse anyway."""
    if not case.names & set(case.rules.signers):
        return None
    try:
        _check(credential, case.order)
    except SignwardError as error:
        return error
    return None


def _check(credential: Credential, order: Order) -> None:
    """Raise ``AuthorityError`` for an order that does not fit the key, or itself."""
    algorithm = order.algorithm.algorithm
    allowed = permitted(credential.standing.leaf.spki)
    if algorithm not in allowed:
        fitting = ", ".join(sorted(map(str, allowed)))
        raise AuthorityError("algorithm", str(algorithm), f"one of {fitting}")
    check_octets(order.format, order.data, algorithm)


def _decided(
    realm: Realm, credential: Credential, cases: Sequence[Case]
) -> list[Answer | Exception]:
    """Decide about cases, and sign for those that are allowed."""
    rules, at = cases[0].rules, cases[0].at
    announce = at - _ANNOUNCED.get(realm, _LONG_AGO) > _ANNOUNCE_AFTER
    jobs: list[Job] = []
    try:
        begun = begin(realm, cases, announce=announce)
        if announce:
            _ANNOUNCED[realm] = at
        jobs = [
            Job(case._replace(identifier=one.request.id), one.floor)
            for case, one in zip(cases, begun, strict=True)
            if isinstance(one, Begun) and one.request and one.allowed
        ]
        signed = iter(use(realm, credential, rules, jobs) if jobs else ())
    finally:
        UNDER_WAY.difference_update(case.identifier for case in cases)
        UNDER_WAY.difference_update(job.case.identifier for job in jobs)
    return [
        next(signed) if isinstance(one, Begun) and one.allowed else _told(realm, case, one)
        for case, one in zip(cases, begun, strict=True)
    ]


_ANNOUNCED: WeakKeyDictionary[Realm, datetime] = WeakKeyDictionary()
_ANNOUNCE_AFTER = timedelta(seconds=HEARTBEAT_SECONDS)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _told(realm: Realm, case: Case, begun: Begun | SignwardError) -> Answer | Exception:
    """Return what is told of an order that is not to be signed now."""
    if isinstance(begun, SignwardError):
        return begun
    if begun.request is None:
        return _refusal(case.name, begun.decision)
    if begun.request.state in (State.DENIED, State.EXPIRED):
        return DeniedError("the request", f"one that was {begun.request.state}",
                           "approvals in time",
                           hint="ask anew, under another idempotency key")  # fmt: skip
    try:
        return answer_of(realm, begun.request, begun.approvals, case.rules)
    except SignwardError as error:
        return error


def _refusal(name: str, decision: Decision | None) -> DeniedError:
    assert decision is not None  # noqa: S101 - no request is stored of what is denied
    kind = LimitedError if decision.retry_seconds else DeniedError
    hint = f"again in {decision.retry_seconds} seconds" if decision.retry_seconds else decision.hint
    error = kind(f"key {name}", decision.found, decision.required, hint=hint)
    if isinstance(error, LimitedError):
        error.retry_seconds = decision.retry_seconds
    return error


# --- answers ------------------------------------------------------------------------------------


def answer_of(realm: Realm, request: StoredRequest, approvals: int, rules: SignSettings) -> Answer:
    """Return a stored request as its maker is told of it."""
    if request.answer is not None:
        answer = decoder(Answer).decode(request.answer)
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
