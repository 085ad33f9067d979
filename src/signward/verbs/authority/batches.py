"""Signing many small things at once: what gathers while keys are busy is signed in one go.

A token costs a third of a millisecond of signing; handing each to a thread and back, and its log
entry to the writer, would cost more.  So a thread takes several, appends their entries in one
call, signs while the disk writes, and hands all of them back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from signward.envelopes import Draft
from signward.errors import SignwardError
from signward.keys import RotatedError
from signward.store.engine import Store, Written
from signward.verbs.credential import Credential, Standing

MAX_BATCH = 32
"""Drafts that a thread signs before it answers: bounds how long the first waits for the last."""


class _Order(NamedTuple):
    draft: Draft
    entry: bytes
    standing: Standing
    done: asyncio.Future[bytes]


class Batches:
    """Signs drafts with one credential, each with a log entry.  For one event loop."""

    def __init__(self, store: Store, credential: Credential, threads: int) -> None:
        self._store, self._credential = store, credential
        self._threads = ThreadPoolExecutor(threads, "signing")
        self._idle = threads
        self._waiting: deque[_Order] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def signed(self, draft: Draft, entry: bytes, standing: Standing) -> bytes:
        """Return the sealed draft, once its entry is durable.

        Raises ``StoreError`` where it is not, and as ``Credential.sign`` does.
        """
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Order(draft, entry, standing, done))
        self._dispatch()
        return await done

    def _dispatch(self) -> None:
        """Give each idle thread its share of what waits."""
        while self._waiting and self._idle:
            share = min(MAX_BATCH, -(-len(self._waiting) // self._idle))
            batch = [self._waiting.popleft() for _ in range(share)]
            self._idle -= 1
            task = asyncio.get_running_loop().create_task(self._make(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _make(self, batch: list[_Order]) -> None:
        """Have a batch logged and signed; the thread is free again before the disk is done."""
        try:
            logged, made = await self._logged_and_signed(batch)
            await asyncio.wrap_future(logged)
        except Exception as error:  # noqa: BLE001 - whatever it is, everyone who waits must hear
            made = [error] * len(batch)
        _deliver(batch, made)

    async def _logged_and_signed(
        self, batch: list[_Order]
    ) -> tuple[Future[Written[None]], list[bytes | Exception]]:
        try:
            logged = self._store.append(*(order.entry for order in batch))
            made = await asyncio.wrap_future(self._threads.submit(self._values, batch))
        finally:
            self._idle += 1
            self._dispatch()
        return logged, made

    def _values(self, batch: list[_Order]) -> list[bytes | Exception]:
        """Sign a batch, in a thread."""
        return [self._value(order) for order in batch]

    def _value(self, order: _Order) -> bytes | Exception:
        draft, standing = order.draft, order.standing
        try:
            return self._credential.sign(standing, draft.to_be_signed, draft.algorithm)
        except RotatedError as error:
            self._credential.refresh(standing)  # whoever asks next gets the new leaf
            return error
        except SignwardError as error:
            return error

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _deliver(batch: list[_Order], made: list[bytes | Exception]) -> None:
    for order, result in zip(batch, made, strict=True):
        if order.done.done():
            continue  # whoever asked has gone away
        if isinstance(result, bytes):
            order.done.set_result(order.draft.seal(result))
        else:
            order.done.set_exception(result)
