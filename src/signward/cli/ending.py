"""Ending in order: the signals that ask a command to end, and are not lost on their way.

What a handler raises can get lost: Python drops it where it comes up in a weak reference's
callback or a destructor, and importing modules and starting threads run such.  So a signal is
also remembered, and whoever does one thing after another asks in between (`check`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALLED = 128
"""Added to a signal's number: the exit code of who ended for it, as shells have it."""

_ASKING: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
"""Signals that ask to end, and what is there where nobody ignores (nohup) or handles them."""

_heard: list[int] = []


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let each signal that asks to end raise, as Ctrl-C does: what is half done is cleared away."""
    _heard.clear()
    taken = [number for number, usual in _ASKING.items() if signal.getsignal(number) is usual]
    try:
        for number in taken:
            signal.signal(number, _hear)
    except ValueError:  # not the main thread, where signals do not go
        taken = []
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, _ASKING[number])


def check() -> None:
    """Raise what a signal that was heard raised: ``KeyboardInterrupt`` or ``SystemExit``."""
    if _heard:
        raise _end(_heard[-1])


def _hear(number: int, _frame: object) -> None:
    _heard.append(number)
    raise _end(number)


def _end(number: int) -> BaseException:
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    return SystemExit(_SIGNALLED + number)
