"""Where a timestamp's processor time goes: its steps one by one, in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.builders.realm import POLICY, make_realm

from bench.serving import query
from signward.authority import tsa
from signward.authority.log.entry import Kind, encode
from signward.integrity import check_value
from signward.store.engine import Store
from signward.verbs.authority.batches import MAX_BATCH
from signward.verbs.authority.realm import Realm

CALLS = 400
ROUNDS = 5


class Steps(NamedTuple):
    """Seconds of processor time for one token each; ``append`` is a share of a whole batch's."""

    sign: float
    check: float
    octets: float
    append: float


def steps() -> Steps:
    """Measure the steps, each the least of some rounds: what else runs only adds."""
    with tempfile.TemporaryDirectory() as name:
        realm = make_realm(Path(name))
        try:
            return _steps(realm)
        finally:
            realm.close()


def _steps(realm: Realm) -> Steps:
    asked, at = query(), realm.now()
    key, standing = realm.key("tsa"), realm.credential("tsa").standing
    policy = tsa.Policy(oid=POLICY, accuracy_ms=1000)
    serial = 1 << 72

    def entry() -> bytes:
        read = tsa.read_query(asked)
        fields = {"serial": f"{serial:x}", "policy": policy.oid,
                  "digest": f"{read.digest}:{read.hashed.hex()}"}  # fmt: skip
        return encode(Kind.TIMESTAMPED, fields, at)

    draft = tsa.draft(tsa.read_query(asked), policy, standing.signer, serial=serial, at=at)
    signed = draft.to_be_signed
    value = key.sign(signed, draft.algorithm)

    def octets() -> None:
        made = tsa.draft(tsa.read_query(asked), policy, standing.signer, serial=serial, at=at)
        tsa.granted(made.seal(value))

    return Steps(
        sign=_least(lambda: key.sign(signed, draft.algorithm)),
        check=_least(lambda: check_value(standing.leaf.spki, draft.algorithm, signed, value)),
        octets=_least(octets) + _least(entry),
        append=_least(lambda: _append(realm.store, entry()), CALLS // 10) / MAX_BATCH,
    )


def _append(store: Store, entry: bytes) -> None:
    store.append(*[entry] * MAX_BATCH).result()


def _least(work: Callable[[], object], calls: int = CALLS) -> float:
    """Return the least seconds of processor time, of all threads, that one call takes."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            work()
        taken.append((time.process_time() - began) / calls)
    return min(taken)
