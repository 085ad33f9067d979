"""Answers made in other threads, handed back to the event loop: one wake-up for many.

Waking a loop that sleeps takes a system call, and a switch between threads when it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class Handback(Generic[T]):
    """What tasks of one event loop wait for, and other threads make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[tuple[asyncio.Future[T], T]] = []

    async def made(self, ask: Callable[[Callable[[T], None]], None]) -> T:
        """Return what is made; ``ask`` is given whom to tell, from whatever thread."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        ask(partial(self._tell, future))
        return await future

    def _tell(self, future: asyncio.Future[T], made: T) -> None:
        with self._lock:
            asleep = not self._made
            self._made.append((future, made))
        if asleep:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        with self._lock:
            made, self._made = self._made, []
        for future, result in made:
            if not future.done():  # else whoever waited has gone away
                future.set_result(result)
