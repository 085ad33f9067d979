"""Using a key for a batch of cases: values, timestamps, results, receipts.

Each case has its intent.  What fails for one fails for that one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection

from signward.authority.log.tree import leaf_hash
from signward.errors import KeyProviderError
from signward.frozen import replace
from signward.keys import RotatedError
from signward.keys._served import Answer
from signward.store import intents, requests
from signward.store.engine import Outcome
from signward.store.requests import Result, State
from signward.verbs.authority import tokens
from signward.verbs.authority.cases import Case
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import SignSettings
from signward.verbs.authority.transparency import transparency_of
from signward.verbs.credential import Credential, Standing
from signward.verbs.stamping import Stamper, StampError

STAMPED_AT_ONCE = 8
"""Timestamps asked of other authorities at once, for one batch."""

T = TypeVar("T")
R = TypeVar("R")


class Job(NamedTuple):
    """A case that was allowed; its result will stand in the log at ``floor`` or behind it."""

    case: Case
    floor: int


class _Made(NamedTuple):
    """What came of a job, with the entry that says so."""

    job: Job
    result: Answer | Exception
    entry: bytes


def use(
    realm: Realm, credential: Credential, rules: SignSettings, jobs: Sequence[Job]
) -> list[Answer | Exception]:
    """Sign, make the results durable, and return them with receipts.

    Raises ``StoreError``, and what ``Transparency.receipt`` does.
    """
    standing = credential.standing
    values = _at_once(
        partial(_value, credential, standing), jobs, min(credential.parallel, len(jobs))
    )
    answers = _stamped(realm, rules, standing, jobs, values)
    return _finished(realm, jobs, answers)


# --- values -------------------------------------------------------------------------------------


def _value(credential: Credential, standing: Standing, job: Job) -> bytes:
    order = job.case.order
    try:
        return credential.sign(standing, order.data, order.algorithm.algorithm)
    except RotatedError:
        credential.refresh(standing)  # for whoever asks next
        raise


def _at_once(work: Callable[[T], R], given: Sequence[T], threads: int) -> list[R | Exception]:
    """Return what ``work`` makes of each, or what it raised, done in so many threads."""
    if threads == 1:
        return [_tried(work, one) for one in given]
    shares = [given[start::threads] for start in range(threads)]
    with ThreadPoolExecutor(threads - 1, "key") as pool:
        others = [pool.submit(_share, work, share) for share in shares[1:]]
        done = [_share(work, shares[0]), *(one.result() for one in others)]
    return [done[i % threads][i // threads] for i in range(len(given))]


def _share(work: Callable[[T], R], given: Sequence[T]) -> list[R | Exception]:
    return [_tried(work, one) for one in given]


def _tried(work: Callable[[T], R], given: T) -> R | Exception:
    try:
        return work(given)
    except Exception as error:  # noqa: BLE001 - it is told to whoever asked, and logged
        return error


# --- timestamps ---------------------------------------------------------------------------------


def _stamped(
    realm: Realm,
    rules: SignSettings,
    standing: Standing,
    jobs: Sequence[Job],
    values: Sequence[bytes | Exception],
) -> list[Answer | Exception]:
    """Return the answers, with tokens over those values that are to have one."""
    wanted = [
        value
        for job, value in zip(jobs, values, strict=True)
        if isinstance(value, bytes) and job.case.order.timestamp
    ]
    made = iter(_tokens(realm, rules, standing.signer.digest, wanted))
    answers: list[Answer | Exception] = []
    for job, value in zip(jobs, values, strict=True):
        if isinstance(value, Exception):
            answers.append(value)
            continue
        stamps = next(made) if job.case.order.timestamp else ()
        answers.append(stamps if isinstance(stamps, Exception) else Answer(
            id=job.case.identifier, state=State.SIGNED, value=value,
            certificates=standing.signer.certificates, tokens=stamps,
        ))  # fmt: skip
    return answers


def _tokens(
    realm: Realm, rules: SignSettings, digest: str, values: Sequence[bytes]
) -> Sequence[tuple[bytes, ...] | Exception]:
    """Return tokens from whom the key's settings name; none where they name nobody."""
    if not rules.timestamp or not values:
        return [()] * len(values)
    if rules.timestamps:
        theirs = partial(_theirs, rules.timestamps, digest, realm.now())
        return _at_once(theirs, values, min(STAMPED_AT_ONCE, len(values)))
    if realm.settings.tsa is None:
        return [()] * len(values)
    asked = [_tried(partial(tokens.asked, realm, digest), value) for value in values]
    return [one if isinstance(one, Exception) else _tried(_ours, one) for one in asked]


def _ours(answering: Future[bytes]) -> tuple[bytes, ...]:
    return (tokens.own_token(answering),)


def _theirs(urls: Sequence[str], digest: str, at: datetime, value: bytes) -> tuple[bytes, ...]:
    """Return another authority's token.  Raises ``KeyProviderError``: ask again."""
    try:
        return Stamper(urls, digest, at)(value)
    except StampError as error:
        raise KeyProviderError(error.subject, error.found, error.required) from None


# --- results ------------------------------------------------------------------------------------


def _finished(
    realm: Realm, jobs: Sequence[Job], answers: Sequence[Answer | Exception]
) -> list[Answer | Exception]:
    """Store results and their entries; of what failed nothing is left but its entry."""
    at = realm.now()
    made = [
        _Made(job, one, job.case.failure_entry(one, at) if isinstance(one, Exception)
              else job.case.result_entry(one, at))
        for job, one in zip(jobs, answers, strict=True)
    ]  # fmt: skip
    written = realm.store.write(partial(_finish, made)).result()
    there = written.value
    positions = iter(range(written.first, written.first + len(there)))
    logged = [next(positions) if one.job.case.identifier in there else None for one in made]
    return _with_receipts(realm, made, logged)


def _finish(made: Sequence[_Made], connection: Connection) -> Outcome[frozenset[str]]:
    """Put results in the intents' place; return whose intents were still there."""
    there = intents.finish_all(connection, [one.job.case.identifier for one in made])
    kept = [one for one in made if one.job.case.identifier in there]
    requests.finish(connection, [
        Result(one.result.id, msgspec.json.encode(one.result), leaf_hash(one.entry), one.job.floor)
        for one in kept if isinstance(one.result, Answer)
    ])  # fmt: skip
    for one in kept:
        if isinstance(one.result, Exception):
            requests.remove(connection, one.job.case.identifier)
    return Outcome(there, tuple(one.entry for one in kept))


def _with_receipts(
    realm: Realm, made: Sequence[_Made], logged: Sequence[int | None]
) -> list[Answer | Exception]:
    results: list[Answer | Exception] = [
        one.result if position is not None else intents.given_up(one.job.case.identifier)
        for one, position in zip(made, logged, strict=True)
    ]
    due = [
        (position, one.entry)
        for one, result, position in zip(made, results, logged, strict=True)
        if isinstance(result, Answer) and position is not None
    ]
    if realm.settings.log is None or not due:
        return results
    proofs = iter(transparency_of(realm).receipts(due))
    return [
        replace(one, receipt=next(proofs)) if isinstance(one, Answer) else one for one in results
    ]
