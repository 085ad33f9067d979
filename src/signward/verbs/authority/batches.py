"""Signing many small things at once: what gathers while keys are busy is signed in one go.

A token costs a third of a millisecond of signing; handing each to a thread and back, and its log
entry to the writer, would cost more.  So a thread takes several, appends their entries in one
call, signs while the disk writes, and hands all of them back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from signward.envelopes import Draft
from signward.errors import SignwardError
from signward.keys import RotatedError
from signward.store.engine import Store
from signward.verbs.credential import Credential, Standing

MAX_BATCH = 32
"""Drafts that a thread signs before it answers: bounds how long the first waits for the last."""


class _Order(NamedTuple):
    draft: Draft
    entry: bytes
    standing: Standing
    done: Future[bytes]


class Batches:
    """Signs drafts with one credential, each with a log entry.  Thread-safe."""

    def __init__(self, store: Store, credential: Credential, threads: int) -> None:
        self._store, self._credential = store, credential
        self._threads = ThreadPoolExecutor(threads, "signing")
        self._lock = threading.Lock()
        self._idle = threads
        self._waiting: deque[_Order] = deque()

    def signed(self, draft: Draft, entry: bytes, standing: Standing) -> Future[bytes]:
        """Return the sealed draft, once its entry is durable; does not wait.

        The future holds ``StoreError`` where it is not, else what ``Credential.sign`` raises.
        """
        done: Future[bytes] = Future()
        with self._lock:
            self._waiting.append(_Order(draft, entry, standing, done))
            self._dispatch()
        return done

    def _dispatch(self) -> None:
        """Give each idle thread its share of what waits; the lock is held."""
        while self._waiting and self._idle:
            share = min(MAX_BATCH, -(-len(self._waiting) // self._idle))
            batch = [self._waiting.popleft() for _ in range(share)]
            self._idle -= 1
            self._threads.submit(self._make, batch)

    def _make(self, batch: Sequence[_Order]) -> None:
        """Have a batch logged and signed; the thread is free again before the disk is done."""
        try:
            logged = self._store.append(*(order.entry for order in batch))
            made = [self._one(order) for order in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, everyone who waits must hear
            _deliver(batch, [error] * len(batch))
        else:
            logged.add_done_callback(partial(_logged, batch, made))
        with self._lock:
            self._idle += 1
            self._dispatch()

    def _one(self, order: _Order) -> bytes | Exception:
        draft, standing = order.draft, order.standing
        try:
            value = self._credential.sign(standing, draft.to_be_signed, draft.algorithm)
        except RotatedError as error:
            self._credential.refresh(standing)  # whoever asks next gets the new leaf
            return error
        except SignwardError as error:
            return error
        return draft.seal(value)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _logged(batch: Sequence[_Order], made: list[bytes | Exception], appended: Future[Any]) -> None:
    error = appended.exception()
    _deliver(batch, made if error is None else [_exception(error)] * len(batch))


def _exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _deliver(batch: Sequence[_Order], made: Sequence[bytes | Exception]) -> None:
    for order, result in zip(batch, made, strict=True):
        if not order.done.set_running_or_notify_cancel():
            continue  # whoever asked has gone away
        if isinstance(result, bytes):
            order.done.set_result(result)
        else:
            order.done.set_exception(result)
