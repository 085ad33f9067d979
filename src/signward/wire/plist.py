"""Property lists from files nobody vouched for yet: XML or binary, within bounds.

Forms: Apple's ``PropertyList-1.0.dtd`` (XML) and ``bplist00``.  A key that a dictionary has
twice is refused: readers differ in which of the two they take, and whoever checks a list must
read what whoever obeys it reads.  Entities are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from signward.errors import AmbiguousError, LimitError, MalformedError

MAX_OCTETS = 64 * 1024 * 1024
"""Largest list read: the resources of a bundle with 200,000 files take about 50 MiB."""

MAX_VALUES = 2_000_000
"""Most values, each counted as often as it is reached: a binary list may name one twice, and so
have 2^60 of them in 700 octets.  A list of resources has three for each file."""

MAX_DEPTH = 64
"""Deepest nesting: a list of resources has four levels, entitlements rarely more."""

_BINARY = b"bplist00"
_FAULTS = (
    ValueError, OverflowError, TypeError, AttributeError, LookupError, struct.error, MemoryError,
)  # fmt: skip
"""What the library raises for lists that are none, beside what its XML parser does."""


class _Unique(dict[str, Any]):
    """A dictionary that takes each key once."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            raise _TwiceError(key)
        super().__setitem__(key, value)


class _TwiceError(Exception):
    """A key stands in a dictionary twice."""


def read_plist(data: bytes, what: str, *, most: int = MAX_OCTETS) -> Mapping[str, Any]:
    """Return the dictionary that a property list is, of ``most`` octets at most.

    Raises ``MalformedError`` for what is none, ``AmbiguousError`` for a key that stands twice,
    ``LimitError`` beyond the bounds.
    """
    if len(data) > most:
        raise LimitError(what, f"{len(data)} octets", f"at most {most} in a property list")
    import plistlib  # and expat with it, for few runs only
    from xml.parsers.expat import ExpatError

    if not data.startswith(_BINARY):
        # No XML then, says the standard; Apple's parser reads it, and node's entitlements begin so.
        data = data.lstrip(b" \t\r\n")
    form = plistlib.FMT_BINARY if data.startswith(_BINARY) else plistlib.FMT_XML
    try:
        value = plistlib.loads(data, fmt=form, dict_type=_Unique)
    except _TwiceError as error:
        raise AmbiguousError(what, f"the key {error.args[0]!r} twice", "each key once") from None
    except RecursionError:
        raise LimitError(what, "a list nested deeper", f"at most {MAX_DEPTH} levels") from None
    except (*_FAULTS, ExpatError) as error:
        found = f"no property list ({type(error).__name__})"
        raise MalformedError(what, found, "one, in XML or binary") from None
    if not isinstance(value, dict):
        raise MalformedError(what, f"a {type(value).__name__}", "a dictionary")
    _check_extent(value, what)
    return value


def _check_extent(value: Any, what: str) -> None:
    """Walk level by level, each list once: a binary one may stand in many, and in itself."""
    level, total = {id(value): (value, 1)}, 1
    for _ in range(MAX_DEPTH):
        below: dict[int, tuple[Any, int]] = {}
        for item, times in level.values():
            inner = item.values() if isinstance(item, dict) else item
            total += times * len(item)
            for one in inner:
                if isinstance(one, dict | list):
                    below[id(one)] = (one, below.get(id(one), (one, 0))[1] + times)
        if total > MAX_VALUES:
            raise LimitError(what, f"{total} values", f"at most {MAX_VALUES} in a property list")
        level = below
        if not level:
            return
    raise LimitError(what, "a list nested deeper", f"at most {MAX_DEPTH} levels")


def write_plist(value: Mapping[str, Any]) -> bytes:
    """Return a dictionary in XML (UTF-8), keys sorted, a tab for each level, as Apple writes."""
    import plistlib

    written = plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=True)
    return written.replace(b".0</real>", b"</real>")  # in text a "<" stands as "&lt;"
