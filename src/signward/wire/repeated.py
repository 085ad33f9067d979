"""Short elements that many files repeat, read once (decision 19)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from signward.errors import BadInputError
from signward.wire import der

REPEATED_OCTETS = 256
"""Elements up to this size are remembered: many are the same in every file of a signer."""

REPEATED = 1024
"""Elements remembered, and so at most 256 KiB of their octets."""

_Value = TypeVar("_Value")


def kept(node: der.Node, what: str, read: Callable[[der.Node, str], _Value]) -> _Value:
    """Return what ``read`` makes of an element; remembered if the element is short.

    ``read`` must look at nothing but the element.  Raises what ``read`` raises: a fault is
    not remembered but read again in place, so that the finding names its place.
    """
    if node.next - node.offset > REPEATED_OCTETS:
        return read(node, what)
    value: _Value | None = _read_alone(node.raw, read)
    return read(node, what) if value is None else value


@lru_cache(maxsize=REPEATED)
def _read_alone(raw: bytes, read: Callable[[der.Node, str], _Value]) -> _Value | None:
    try:
        return read(der.parse(raw, "element"), "element")
    except BadInputError:
        return None
