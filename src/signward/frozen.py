"""The base of small values: frozen, slotted, cheap to define and to make.

A ``dataclass`` compiles six functions per class at import; with some fifty of them that
is a fifth of what a start of the command may take (decision 17).
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

replace = msgspec.structs.replace
"""Return a copy of a value with some fields changed."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A value.

    Subclasses repeat the first two words: type checkers ask for the one, and the other
    speaks of a class's own fields only.  ``gc=False`` they inherit: all that a value holds
    was there before it, so no cycle goes through it, and the garbage collector need not look.
    """


_MAKING = threading.Lock()


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return the JSON decoder of a type, made once.

    Made by one thread at a time, and that is its point: msgspec (0.22) hands out what it knows
    of a class while it is still finding it out, so that two threads that meet a class for the
    first time can end the process.  Whoever converts to a class in some other way asks for
    its decoder first.
    """
    with _MAKING:
        made: msgspec.json.Decoder[T] = _decoder(kind)  # type: ignore[arg-type]
    return made


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
