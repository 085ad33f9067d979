"""Answering OCSP requests for one certification authority (RFC 6960).

Answers without a nonce are kept and given again to whoever asks the same: signing one costs a
thousand look-ups.  An answer is forgotten as soon as any certificate of its issuer is revoked,
by this process or another: each such change raises a revision in the database, which is looked
at before answering, but at most every `REVISION_SECONDS`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from signward.authority import ocsp
from signward.authority.ocsp import Failure, Known, Question, Request
from signward.errors import BadInputError, SigningError, StoreError
from signward.frozen import Frozen
from signward.state import Status
from signward.verbs.authority.authorities import certificate_of, hexadecimal, instant, settings_of
from signward.verbs.authority.realm import Realm
from signward.verbs.credential import Credential

if TYPE_CHECKING:
    from signward.store import status

REVISION_SECONDS = 0.25
"""How long an answer may be given after its certificate was revoked by another process."""

ANSWER_LIFE = timedelta(hours=24)
"""From an answer's thisUpdate to its nextUpdate: how long clients may lean on it."""

MAX_KEPT = 10_000
"""Answers kept for an issuer: some 2 kB each.  The one not asked for longest gives way."""

_SMALL_REQUEST = 256
"""Octets of requests whose decoded form is kept: a request about one certificate has 60 to 120."""


class Answer(Frozen, frozen=True, kw_only=True):
    """An OCSPResponse (DER).  ``made`` is None where nobody may keep it and give it again.

    So it is with failures, with answers to a nonce, and with *unknown*: the certificate may be
    issued the next moment.
    """

    body: bytes
    made: datetime | None = None


class _Kept(Frozen, frozen=True, kw_only=True):
    answer: Answer
    revision: int
    since: datetime
    until: datetime


class Responder:
    """Answers for ``[ca.NAME]``.  Thread-safe; a process has one for each authority."""

    def __init__(
        self, realm: Realm, name: str, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the responder's key.

        Raises ``AuthorityError`` where its certificate may not answer, and as
        ``Realm.credential`` does.
        """
        settings = settings_of(realm, name)
        self._realm, self._name, self._steady = realm, name, steady
        self._issuer = certificate_of(realm, name)
        self._credential: Credential = realm.credential(settings.ocsp_key or settings.key)
        ocsp.check_responder(self._credential.standing.leaf, self._issuer)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Question, ...], _Kept] = OrderedDict()
        self._revision, self._looked = -1, float("-inf")

    def kept(self, data: bytes) -> Answer | None:
        """Return the answer to a request if it is at hand and known to be current.

        Takes microseconds and never waits, for database or key; None means: ask `answer`.
        """
        if self._steady() - self._looked > REVISION_SECONDS or len(data) > _SMALL_REQUEST:
            return None
        try:
            request = _remembered(data)
        except BadInputError:
            return Answer(body=ocsp.failure(Failure.MALFORMED_REQUEST))
        return None if request.nonce else self._at_hand(request.questions)

    def _at_hand(self, questions: tuple[Question, ...]) -> Answer | None:
        with self._lock:
            kept = self._kept.get(questions)
            if kept is None:
                return None
            if kept.revision < self._revision or not kept.since <= self._realm.now() < kept.until:
                del self._kept[questions]
                return None
            self._kept.move_to_end(questions)
            return kept.answer

    def answer(self, data: bytes) -> Answer:
        """Return the answer to a request (DER), whatever it is; may wait for database and key."""
        try:
            request = ocsp.read_request(data)
        except BadInputError:
            return Answer(body=ocsp.failure(Failure.MALFORMED_REQUEST))
        if not all(ocsp.is_about(one, self._issuer) for one in request.questions):
            return Answer(body=ocsp.failure(Failure.UNAUTHORIZED))
        try:
            self._look()
            at_hand = None if request.nonce else self._at_hand(request.questions)
            return at_hand or self._signed(request)
        except StoreError:
            return Answer(body=ocsp.failure(Failure.TRY_LATER))
        except SigningError:
            return Answer(body=ocsp.failure(Failure.INTERNAL_ERROR))

    def _look(self) -> None:
        """Learn whether anything was revoked, unless that was learnt a moment ago."""
        from signward.store import status

        began = self._steady()
        if began - self._looked <= REVISION_SECONDS:
            return
        with self._realm.store.read() as connection:
            revision = status.revision(connection, self._name)
        with self._lock:
            self._revision, self._looked = max(revision, self._revision), began

    def _signed(self, request: Request) -> Answer:
        """Sign an answer to every question, and keep it where it may be given again."""
        revision, known = self._known(request.questions)
        standing = self._credential.standing
        at = self._realm.now()
        until = min(at + ANSWER_LIFE, standing.leaf.not_after)
        if at >= until:
            raise SigningError(standing.leaf.label, f"validity until {until}", "a later end")
        draft = ocsp.draft(
            list(zip(request.questions, known, strict=True)),
            issuer=self._issuer, signer=standing.signer, responder=standing.leaf,
            at=at, until=until, nonce=request.nonce,
        )  # fmt: skip
        value = self._credential.sign(standing, draft.to_be_signed, draft.algorithm)
        body = draft.seal(value)
        if request.nonce or any(one.status is Status.UNKNOWN for one in known):
            return Answer(body=body)
        answer = Answer(body=body, made=at)
        if len(request.questions) == 1:
            # Signed anew at half its life: what is given is good for the other half at least.
            half = at + (until - at) / 2
            kept = _Kept(answer=answer, revision=revision, since=at, until=half)
            self._keep(request.questions, kept)
        return answer

    def _known(self, questions: tuple[Question, ...]) -> tuple[int, list[Known]]:
        """Return what the database says of each, and the revision at which it says so."""
        from signward.store import status

        with self._realm.store.read() as connection:
            revision = status.revision(connection, self._name)
            rows = [
                status.look_up(connection, self._name, hexadecimal(one.cert_id.serial))
                for one in questions
            ]
        return revision, [_known(row) for row in rows]

    def _keep(self, questions: tuple[Question, ...], kept: _Kept) -> None:
        with self._lock:
            self._kept[questions] = kept
            self._kept.move_to_end(questions)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


_remembered = lru_cache(maxsize=MAX_KEPT)(ocsp.read_request)


def _known(row: status.Row | None) -> Known:
    if row is None:
        return ocsp.UNKNOWN
    if row.revoked_at is None:
        return ocsp.GOOD
    return Known(
        status=Status.REVOKED,
        revoked_at=instant(row.revoked_at),
        reason=row.reason or 0,
        invalid_from=None if row.invalidity is None else instant(row.invalidity),
    )
