"""How many inputs a fuzzing test makes, and a guard against one that never ends.

``SIGNWARD_FUZZ_SEED`` is the first seed (0); with ``SIGNWARD_FUZZ_SECONDS`` each test goes
on after its inputs until that much wall time has passed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FIRST_SEED = int(os.environ.get("SIGNWARD_FUZZ_SEED", "0"))
SECONDS = float(os.environ.get("SIGNWARD_FUZZ_SECONDS", "0"))
GUARD_SECONDS = 20
"""Processor seconds after which an input counts as a hang; the usual is a millisecond."""


def rounds(inputs: int) -> Iterator[int]:
    """Yield seeds: ``inputs`` of them, then more while there is time."""
    end = time.monotonic() + SECONDS
    seed = FIRST_SEED
    while seed < FIRST_SEED + inputs or time.monotonic() < end:
        yield seed
        seed += 1


class HangError(BaseException):
    """An input took longer than the guard allows; nothing in between may swallow this."""


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"more than {GUARD_SECONDS} seconds")


@contextmanager
def watched() -> Iterator[None]:
    """Raise ``HangError`` in a body that takes the guard's processor time."""
    before = signal.signal(signal.SIGVTALRM, _ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, GUARD_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
