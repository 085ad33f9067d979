"""What many files repeat, read once, in memories that are bounded in octets (decision 19)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

from signward.errors import BadInputError
from signward.wire import der

REPEATED_OCTETS = 256
"""Elements up to this size are remembered: many are the same in every file of a signer."""

REPEATED = 1024
"""Elements remembered, and so at most 256 KiB of their octets."""

CERTIFICATE_OCTETS = 16 * 1024
"""Certificates up to this size, and what is read from them, are remembered; the largest real one
seen has 9 kB.  Four thousand of them are 64 MiB, whatever files hold."""

_Value = TypeVar("_Value")
_Key = TypeVar("_Key")


def remembering(
    count: int, octets: int, size: Callable[[Any], int] = len
) -> Callable[[Callable[[_Key], _Value]], Callable[[_Key], _Value]]:
    """Have a pure function remember ``count`` answers, none about more than ``octets``.

    ``size`` says how many octets its argument is or holds.  What raises is not remembered.
    """

    def decorate(read: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
        known = lru_cache(maxsize=count)(read)

        @wraps(read)
        def reading(key: _Key) -> _Value:
            return read(key) if size(key) > octets else known(key)

        return reading

    return decorate


def kept(node: der.Node, what: str, read: Callable[[der.Node, str], _Value]) -> _Value:
    """Return what ``read`` makes of an element; remembered if the element is short.

    ``read`` must look at nothing but the element.  Raises what ``read`` raises: a fault is
    not remembered but read again in place, so that the finding names its place.
    """
    if node.next - node.offset > REPEATED_OCTETS:
        return read(node, what)
    value: _Value | None = remembered(node.data[node.offset : node.next], read)
    return read(node, what) if value is None else value


def kept_alone(raw: bytes, what: str, read: Callable[[der.Node, str], _Value]) -> _Value:
    """Return the same for the one element that ``raw`` holds."""
    value: _Value | None = remembered(raw, read) if len(raw) <= REPEATED_OCTETS else None
    return read(der.parse(raw, what), what) if value is None else value


@lru_cache(maxsize=REPEATED)
def remembered(raw: bytes, read: Callable[[der.Node, str], _Value]) -> _Value | None:
    """Return what ``read`` makes of an element of at most ``REPEATED_OCTETS``; None for a fault."""
    try:
        return read(der.parse(raw, "element"), "element")
    except BadInputError:
        return None
