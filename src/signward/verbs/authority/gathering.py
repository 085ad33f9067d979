"""Work done in batches: what gathers while a batch is at work is taken in one go.

A transaction, a checkpoint and a change of threads cost the same for one as for thirty.  So
there is one batch at a time, as long as that goes fast; where it does not (a key in a service
takes its time, the disk is slow), further ones are begun beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 0.05
"""How long a batch waits for the one before it: some thirty local signatures and their disk."""


class Gathering(Generic[T]):
    """Has ``work`` done on what was added, ``most`` at once, in ``threads`` threads at most.

    ``work`` must not raise: nobody would hear of it.  Thread-safe.
    """

    def __init__(self, work: Callable[[list[T]], None], threads: int, most: int, name: str) -> None:
        self._work, self._most = work, most
        self._threads = ThreadPoolExecutor(threads, name)
        self._changed = threading.Condition()
        self._idle, self._at_work = threads, 0
        self._taking = False
        self._waiting: deque[T] = deque()

    def add(self, one: T) -> None:
        """Have something done soon; does not wait."""
        with self._changed:
            self._waiting.append(one)
            self._wake()

    def _wake(self) -> None:
        """Have an idle thread take what waits, unless another is about to; the lock is held."""
        if self._waiting and self._idle and not self._taking:
            self._taking = True
            self._idle -= 1
            self._threads.submit(self._run)

    def _run(self) -> None:
        self._work(self._taken())
        with self._changed:
            self._at_work -= 1
            self._idle += 1
            self._changed.notify_all()
            self._wake()

    def _taken(self) -> list[T]:
        """Wait a little for the batch before this one, then take what is there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, PATIENCE_SECONDS)
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._taking = False
            self._at_work += 1
            self._wake()
            return batch
