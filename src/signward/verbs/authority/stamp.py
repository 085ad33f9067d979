"""Stamping: answering timestamp queries (RFC 3161).

A token's time is the clock's, watched: against a steady clock that nobody sets, and against the
latest time that any process of this authority ever vouched for, which the database keeps.  Its
serial number comes from a leased range.  Its entry in the log is durable before it leaves.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from signward.authority import tsa
from signward.authority.log.entry import Kind, encode
from signward.authority.tsa import Failure, Policy, Query, RefusedError
from signward.envelopes.cms_draft import CmsDraft
from signward.errors import RealmError, SigningError, SignwardError, StoreError
from signward.keys import RotatedError
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.batches import Batches
from signward.verbs.authority.realm import Realm
from signward.verbs.credential import Standing

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from signward.store.engine import Outcome

LEASED = 1000
"""Serial numbers taken from the database at once; a process that ends leaves the rest unused."""

SALT_BITS = 62
"""Random bits below each number, drawn with the lease: a database restored from a backup hands
out numbers again, serial numbers still do not repeat.  They may have 160 bits (RFC 3161 2.4.2)."""

MAX_PENDING = 2000
"""Tokens under way at once; more would wait for seconds, and are refused at once instead."""

LEAST_TOLERANCE = timedelta(milliseconds=100)
"""How far clocks may disagree at least: a thread can be put aside so long between two readings."""

_SERIALS, _LATEST = "timestamp serials", "timestamp latest"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Watch:
    """The clock, refused where it stepped back by more than ``tolerance``.

    ``read`` compares with the last reading, moved on by a steady clock, and with the latest
    time vouched for, so that many small steps do not add up either.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        tolerance: timedelta,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._steady, self._tolerance = clock, steady, tolerance
        self._offset: timedelta | None = None
        self.latest = _EPOCH

    def read(self) -> datetime:
        """Return the time, UTC.  Raises ``RefusedError``."""
        steady, at = timedelta(seconds=self._steady()), self._clock()
        expected = at if self._offset is None else _EPOCH + steady + self._offset
        behind = max(expected, self.latest) - at
        if behind > self._tolerance:
            raise RefusedError(
                Failure.TIME_NOT_AVAILABLE,
                f"the clock stepped back by {behind.total_seconds():.3f} s",
            )
        self._offset = at - _EPOCH - steady
        self.latest = max(self.latest, at)
        return at


Tell = Callable[[bytes], object]
"""Takes an answer, in whatever thread; neither waits nor raises."""


class _Asked(NamedTuple):
    data: bytes
    tell: Tell


class _Order(NamedTuple):
    """A token to be signed: its draft, its log entry, the leaf it names, and who waits for it."""

    draft: CmsDraft
    entry: bytes
    standing: Standing
    tell: Tell


class Stamper:
    """The time-stamping authority of a realm.  Thread-safe."""

    def __init__(self, realm: Realm, steady: Callable[[], float] = time.monotonic) -> None:
        """Open the key.

        Raises ``RealmError`` where ``[tsa]`` is missing, ``AuthorityError`` where its
        certificate may not stamp, and as ``Realm.credential`` does.
        """
        settings = realm.settings.tsa
        if settings is None:
            raise RealmError("[tsa]", "no such table", "the time-stamping authority's settings")
        self._realm = realm
        self._policy = Policy(oid=settings.policy, accuracy_ms=settings.accuracy_ms)
        self._credential = realm.credential(settings.key)
        tsa.check_certificate(self._credential.standing.leaf)
        self._slack = max(timedelta(milliseconds=settings.accuracy_ms), LEAST_TOLERANCE)
        self._watch = Watch(realm.now, self._slack, steady)
        self._lock, self._marking = threading.Lock(), threading.Lock()
        self._numbers: list[int] = []
        self._marked = _EPOCH
        self._pending = 0
        self._batches = Batches(self._stamp, os.cpu_count() or 1, "stamping")

    def answer(self, data: bytes) -> Future[bytes]:
        """Return the TimeStampResp to a TimeStampReq (DER), whatever it is; does not wait."""
        done: Future[bytes] = Future()
        self.ask(data, partial(_resolve, done))
        return done

    def ask(self, data: bytes, tell: Tell) -> None:
        """Have ``tell`` called with the TimeStampResp to a TimeStampReq; does not wait."""
        with self._lock:
            busy = self._pending >= MAX_PENDING
            self._pending += not busy
        if busy:
            tell(_refusal(RefusedError(Failure.SYSTEM_FAILURE, "too many requests at once")))
        else:
            self._batches.give(_Asked(data, tell))

    def _stamp(self, batch: Sequence[_Asked]) -> None:
        """Have a batch logged and signed; the thread is free again before the disk is done."""
        orders: list[_Order] = []
        for asked in batch:
            try:
                orders.append(self._order(asked))
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear
                self._deliver([asked.tell], [_refusal(error)])
        if not orders:
            return
        tellers = [order.tell for order in orders]
        try:
            logged = self._realm.store.append(*(order.entry for order in orders))
            made = [self._made(order) for order in orders]  # while the disk writes
        except Exception as error:  # noqa: BLE001 - whatever it is, everyone who waits must hear
            self._deliver(tellers, [_refusal(error)] * len(tellers))
        else:
            logged.add_done_callback(partial(self._logged, tellers, made))

    def _order(self, asked: _Asked) -> _Order:
        """Return the draft of the token that is asked for.  Raises ``RefusedError``."""
        query = tsa.read_query(asked.data)
        tsa.check_policy(query, self._policy)
        serial, at = self._taken()
        standing = self._credential.standing
        if not standing.leaf.not_before <= at <= standing.leaf.not_after:
            raise RefusedError(Failure.SYSTEM_FAILURE, "the certificate is not valid now")
        draft = tsa.draft(query, self._policy, standing.signer, serial=serial, at=at)
        return _Order(draft, self._entry(query, serial, at), standing, asked.tell)

    def _made(self, order: _Order) -> bytes:
        """Sign a token; return the answer that carries it, or says why there is none."""
        draft, standing = order.draft, order.standing
        try:
            value = self._credential.sign(standing, draft.to_be_signed, draft.algorithm)
        except RotatedError as error:
            self._credential.refresh(standing)  # whoever asks next gets the new leaf
            return _refusal(error)
        except SignwardError as error:
            return _refusal(error)
        return tsa.granted(draft.seal(value))

    def _logged(
        self, tellers: Sequence[Tell], made: Sequence[bytes], appended: Future[Any]
    ) -> None:
        """Answer once the entries are durable; where they are not, nobody gets a token."""
        error = appended.exception()
        self._deliver(tellers, made if error is None else [_refusal(error)] * len(tellers))

    def _deliver(self, tellers: Sequence[Tell], answers: Sequence[bytes]) -> None:
        with self._lock:
            self._pending -= len(tellers)
        for tell, answer in zip(tellers, answers, strict=True):
            tell(answer)

    def _taken(self) -> tuple[int, datetime]:
        """Return a serial number and the time; asks the database first where it must."""
        taken = self._take()
        if taken is None:
            with self._marking:
                while (taken := self._take()) is None:
                    self._mark(self._watch.latest)
        return taken

    def _take(self) -> tuple[int, datetime] | None:
        """Return a serial number and the time; None where the database must be asked first."""
        with self._lock:
            at = self._watch.read()
            if not self._numbers or at - self._marked > self._slack:
                return None
            return self._numbers.pop(), at

    def _entry(self, query: Query, serial: int, at: datetime) -> bytes:
        fields = {
            "serial": f"{serial:x}",
            "policy": self._policy.oid,
            "digest": f"{query.digest}:{query.hashed.hex()}",
        }
        return encode(Kind.TIMESTAMPED, fields, at)

    def _mark(self, at: datetime) -> None:
        """Store that ``at`` is vouched for, before it is; lease serial numbers where none is left.

        So the stored mark is never older than the last token by more than the clock may err.
        Raises ``RefusedError`` where somebody vouched for a later time, and ``StoreError``.
        """
        from signward.store import counters
        from signward.store.engine import Outcome

        leases = not self._numbers

        def job(connection: Connection) -> Outcome[tuple[int, int]]:
            latest = counters.raised(connection, _LATEST, micros(at))
            return Outcome((latest, counters.lease(connection, _SERIALS, LEASED) if leases else 0))

        latest, first = self._realm.store.write(job).result().value
        stored = instant(latest)
        with self._lock:
            if leases:
                salt = secrets.randbits(SALT_BITS)
                numbers = reversed(range(first, first + LEASED))
                self._numbers = [number << SALT_BITS | salt for number in numbers]
            self._marked = max(stored, at)
            self._watch.latest = max(self._watch.latest, stored)
        if stored - at > self._slack:
            raise RefusedError(
                Failure.TIME_NOT_AVAILABLE,
                f"the clock is {(stored - at).total_seconds():.3f} s behind an earlier token",
            )

    def close(self) -> None:
        """End the threads."""
        self._batches.close()


def _refusal(error: BaseException) -> bytes:
    """Return the answer that says why there is no token, whatever went wrong."""
    if not isinstance(error, RefusedError):
        words = {StoreError: "the log cannot be written", SigningError: "the key cannot be used"}
        text = next((text for kind, text in words.items() if isinstance(error, kind)), "a fault")
        error = RefusedError(Failure.SYSTEM_FAILURE, text)
    return tsa.refused(error)


def _resolve(done: Future[bytes], answer: bytes) -> None:
    if done.set_running_or_notify_cancel():  # else whoever asked has gone away
        done.set_result(answer)
