"""Work that threads take several pieces at a time: what gathers while they are busy.

A token costs a third of a millisecond of signing; handing each to a thread and back, and its log
entry to the writer, would cost as much again.  So a thread takes several at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_BATCH = 16
"""Pieces that a thread takes before it answers: bounds how long the first waits for the last."""


class Batches(Generic[T]):
    """Hands what it is given to ``work``, in threads.  Thread-safe."""

    def __init__(self, work: Callable[[Sequence[T]], None], threads: int, name: str) -> None:
        """Start ``threads``; ``work`` tells whoever waits what came of it, and never raises."""
        self._work = work
        self._threads = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._idle = threads
        self._waiting: deque[T] = deque()

    def give(self, piece: T) -> None:
        """Have a piece worked on; does not wait."""
        with self._lock:
            self._waiting.append(piece)
            if self._idle:
                self._idle -= 1
                self._threads.submit(self._work_off)

    def _work_off(self) -> None:
        """Work until nothing waits."""
        while batch := self._take():
            self._work(batch)

    def _take(self) -> list[T]:
        """Return this thread's share of what waits; with none it is idle again."""
        with self._lock:
            share = min(MAX_BATCH, -(-len(self._waiting) // (self._idle + 1)))
            if not share:
                self._idle += 1
            return [self._waiting.popleft() for _ in range(share)]

    def close(self) -> None:
        """Work off what waits, and end the threads."""
        self._threads.shutdown()
