"""Work done in batches: what gathers while threads are busy is taken in one go.

A transaction, a checkpoint and a change of threads cost the same for one as for thirty.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Gathering(Generic[T]):
    """Has ``threads`` threads do ``work`` on what was added, at most ``most`` at once.

    ``work`` must not raise: nobody would hear of it.  Thread-safe.
    """

    def __init__(self, work: Callable[[list[T]], None], threads: int, most: int, name: str) -> None:
        self._work, self._most = work, most
        self._threads = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._idle = threads
        self._waiting: deque[T] = deque()

    def add(self, one: T) -> None:
        """Have something done soon; does not wait."""
        with self._lock:
            self._waiting.append(one)
            if self._idle:
                self._idle -= 1
                self._threads.submit(self._run)

    def _run(self) -> None:
        """Work until nothing waits."""
        while batch := self._taken():
            self._work(batch)

    def _taken(self) -> list[T]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._idle += not batch
            return batch
