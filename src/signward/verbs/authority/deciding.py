"""Deciding about orders: requests, decisions and intents of a batch in one transaction.

What is new is decided about together, with one look at the counters; whose idempotency key is
known already, one by one: that is rare, and has more ways to go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from signward.authority.access import Asked, Decision, Ruling, Window, decide
from signward.authority.log.entry import Kind, Value, encode
from signward.errors import ConflictError, LimitedError, SignwardError
from signward.frozen import replace
from signward.store import intents, requests, usage
from signward.store.engine import Outcome
from signward.store.intents import Intent
from signward.store.requests import State, StoredRequest
from signward.verbs.authority.authorities import micros
from signward.verbs.authority.cases import Case, decision_entry
from signward.verbs.authority.intents import abandoned
from signward.verbs.authority.realm import Realm

MAX_PENDING = 200
"""Requests by one person for one key that wait for approvals: more than a release has files to
be approved, and few enough that nobody's hide all others from those who approve."""

PENDING_RETRY_SECONDS = 300

UNDER_WAY: set[str] = set()
"""Requests that this process signs at present: an intent of ours that is not among them was left
by a result that could not be written."""


class Begun(NamedTuple):
    """What an order came to: a request as it stands, or the decision against it.

    An allowed one has its intent; its result stands in the log at ``floor`` or behind it.
    """

    request: StoredRequest | None
    decision: Decision | None = None
    approvals: int = 0
    floor: int = 0

    @property
    def allowed(self) -> bool:
        """Whether the key may be used now."""
        return self.decision is not None and self.decision.ruling is Ruling.ALLOWED


class _Step(NamedTuple):
    """A decision with what has to be stored of it."""

    begun: Begun
    entries: tuple[bytes, ...] = ()
    new: StoredRequest | None = None
    intent: Intent | None = None


def begin(realm: Realm, cases: Sequence[Case], *, announce: bool) -> list[Begun | SignwardError]:
    """Find or store the requests, all for one key, and decide; open intents for those allowed.

    With ``announce`` the process says that it lives, since intents of dead ones are closed.
    What is wrong with one case stands in its place.  Raises ``StoreError``.
    """
    instance = realm.instance
    written = realm.store.write(partial(_begin_new, cases, instance, announce=announce)).result()
    size = written.size
    return [
        _begun_again(realm, case) if one is None else _with_floor(one, size)
        for case, one in zip(cases, written.value, strict=True)
    ]


def _with_floor(begun: Begun | SignwardError, size: int) -> Begun | SignwardError:
    return begun._replace(floor=size) if isinstance(begun, Begun) else begun


def _begun_again(realm: Realm, case: Case) -> Begun | SignwardError:
    try:
        written = realm.store.write(partial(_begin_again, case, realm.instance)).result()
    except SignwardError as error:
        return error
    return _with_floor(written.value, written.size)


# --- new orders ---------------------------------------------------------------------------------


def _begin_new(
    cases: Sequence[Case],
    instance: str,
    connection: Connection,
    *,
    announce: bool,
) -> Outcome[list[Begun | SignwardError | None]]:
    """Decide about each case whose idempotency key is new; None stands for the others."""
    name = cases[0].name
    known = requests.known(connection, name, [(c.requester, c.idempotency) for c in cases])
    tally = _Tally(connection, name)
    steps: list[_Step | SignwardError | None] = []
    for case in cases:
        mark = (case.requester, case.idempotency)
        steps.append(None if mark in known else _step(case, instance, tally))
        known.add(mark)  # the same twice in one batch: the second comes after the first
    if announce:
        intents.alive(connection, instance, max(micros(case.at) for case in cases))
    done = [step for step in steps if isinstance(step, _Step)]
    _store(connection, done)
    tally.store()
    entries = tuple(entry for step in done for entry in step.entries)
    return Outcome([one.begun if isinstance(one, _Step) else one for one in steps], entries)


def _step(case: Case, instance: str, tally: _Tally) -> _Step | SignwardError:
    windows = case.rules.windows(case.at)
    try:
        step = _decided(case, instance, None, 0, tally.counts(windows))
    except SignwardError as error:  # a file name that no entry can hold
        return error
    if step.begun.allowed:
        tally.add(windows)
    elif step.new and not tally.may_wait(case.requester):
        return _too_many(case)
    return step


def _too_many(case: Case) -> LimitedError:
    error = LimitedError(
        f"key {case.name}", f"{MAX_PENDING} requests that wait", "answers to those first",
        hint="approvers answer, or whoever asked takes some back: signward requests",
    )  # fmt: skip
    error.retry_seconds = PENDING_RETRY_SECONDS
    return error


class _Tally:
    """A key's counters within one transaction: read when needed, written once."""

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection, self._key = connection, key
        self._read: dict[Window, int] = {}
        self._added: dict[Window, int] = {}
        self._pending: dict[str, int] = {}

    def counts(self, windows: Sequence[Window]) -> tuple[int, ...]:
        """Return how many signatures each window holds."""
        if any(window not in self._read for window in windows):
            found = usage.counts(self._connection, self._key, windows)
            self._read |= dict(zip(windows, found, strict=True))
        return tuple(self._read[one] + self._added.get(one, 0) for one in windows)

    def add(self, windows: Sequence[Window]) -> None:
        """Count a signature."""
        for window in dict.fromkeys(windows):
            self._added[window] = self._added.get(window, 0) + 1

    def may_wait(self, requester: str) -> bool:
        """Count a request that waits for approvals; say whether it may."""
        if requester not in self._pending:
            known = requests.waiting_of(self._connection, self._key, requester)
            self._pending[requester] = known
        self._pending[requester] += 1
        return self._pending[requester] <= MAX_PENDING

    def store(self) -> None:
        """Write what was counted."""
        usage.add(self._connection, self._key, self._added)


# --- orders that were made before ---------------------------------------------------------------


def _begin_again(case: Case, instance: str, connection: Connection) -> Outcome[Begun]:
    """Go on with the request that stands under a case's idempotency key."""
    found = requests.by_idempotency(connection, case.name, case.requester, case.idempotency)
    if found is not None and found.asked != case.asked:
        raise ConflictError(
            "Idempotency-Key", "one that stands for another order", "a new one for a new order"
        )
    entries: tuple[bytes, ...] = ()
    if found is not None and found.state is State.SIGNING:
        open_intent = intents.find(connection, found.id)
        if open_intent and (open_intent.instance != instance or found.id in UNDER_WAY):
            return Outcome(Begun(found))
        requests.remove(connection, found.id)  # whoever signed did not live to answer
        if open_intent:
            intents.finish(connection, found.id)
            entries = (encode(Kind.ABANDONED, abandoned(open_intent), case.at),)
        found = None
    if found is not None and found.state is not State.PENDING:
        return Outcome(Begun(found))
    if found is not None and found.expires <= micros(case.at):
        return expire(connection, found, case.at)
    step = _decided_alone(case, instance, connection, found)
    return Outcome(step.begun, entries + step.entries)


def _decided_alone(
    case: Case, instance: str, connection: Connection, found: StoredRequest | None
) -> _Step:
    approvals = len(requests.approvals(connection, found.id)) if found else 0
    tally, windows = _Tally(connection, case.name), case.rules.windows(case.at)
    step = _decided(case, instance, found, approvals, tally.counts(windows))
    if step.begun.allowed:
        tally.add(windows)
        tally.store()
        intents.alive(connection, instance, micros(case.at))
        if found is not None:
            requests.change(connection, found.id, state=State.SIGNING)
    _store(connection, [step])
    return step


def expire(connection: Connection, request: StoredRequest, at: datetime) -> Outcome[Begun]:
    """End a request that waited too long."""
    requests.change(connection, request.id, state=State.EXPIRED)
    decision = Decision(ruling=Ruling.DENIED, reason="expired")
    fields: dict[str, Value] = {"intent": request.id, "key": request.key}
    entry = decision_entry(fields, decision, at)
    return Outcome(Begun(replace(request, state=State.EXPIRED)), (entry,))


# --- either -------------------------------------------------------------------------------------


def _decided(
    case: Case,
    instance: str,
    found: StoredRequest | None,
    approvals: int,
    used: tuple[int, ...],
) -> _Step:
    """Decide about a case; raises what `encode` does."""
    decision = decide(case.rules, Asked(
        names=case.names, format=case.order.format, at=case.at, approvals=approvals, used=used,
    ))  # fmt: skip
    if found is not None and decision.ruling is Ruling.WAITING:
        return _Step(Begun(found, None, approvals))
    request = found or case.request
    case = case._replace(identifier=request.id)
    said = decision_entry(case.fields, decision, case.at)
    entries = (said,) if found else (case.request_entry(), said)
    if decision.ruling is Ruling.DENIED:
        return _Step(Begun(None, decision), entries)
    if decision.ruling is Ruling.WAITING:
        return _Step(Begun(request, decision, approvals), entries, new=request)
    intent = Intent(id=request.id, instance=instance, kind=Kind.SIGN_DECISION,
                    at=micros(case.at), body=said)  # fmt: skip
    new = None if found else replace(request, state=State.SIGNING)
    return _Step(Begun(request, decision, approvals), entries, new, intent)


def _store(connection: Connection, steps: Sequence[_Step]) -> None:
    requests.put(connection, [step.new for step in steps if step.new])
    opened = [step.intent for step in steps if step.intent]
    UNDER_WAY.update(intent.id for intent in opened)
    intents.add(connection, opened)
