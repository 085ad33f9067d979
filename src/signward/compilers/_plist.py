"""Property lists: written in XML, always the same for the same value; read within bounds.

The form is Apple's ``PropertyList-1.0.dtd``.  What XML 1.0 cannot hold becomes U+FFFD.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping
from typing import Any
from xml.parsers.expat import ExpatError

from signward.errors import PolicyError

MAX_OCTETS = 64 * 1024 * 1024
"""Largest list read: 100,000 rules of some hundred octets, several times over."""
MAX_DEPTH = 32
"""A profile nests six deep."""

_NOT_XML = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Outside ``Char`` (XML 1.0 2.2), and the carriage return, which readers turn into a line feed."""


def plain(text: str) -> str:
    """Return text as a property list can hold it."""
    return _NOT_XML.sub("\ufffd", text)


def write(value: Mapping[str, Any] | list[Any]) -> bytes:
    """Return a dictionary or array in XML (UTF-8), keys in order, text through `plain`."""
    return plistlib.dumps(_cleaned(value), fmt=plistlib.FMT_XML, sort_keys=False)


def read(name: str, data: bytes) -> Any:
    """Return the value of a list in XML.  Entities are refused.  Raises ``PolicyError``."""
    if len(data) > MAX_OCTETS:
        raise PolicyError(name, f"{len(data)} octets", f"at most {MAX_OCTETS} in a property list")
    try:
        value = plistlib.loads(data, fmt=plistlib.FMT_XML)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, ExpatError) as error:
        raise PolicyError(
            name, f"{type(error).__name__}: {str(error)[:200]}", "a property list in XML",
            hint="plutil -convert xml1 turns a binary one into it",
        ) from None  # fmt: skip
    if _deeper(value, MAX_DEPTH):
        raise PolicyError(name, "values nested too deeply", f"at most {MAX_DEPTH} levels")
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Say whether containers nest more than ``levels`` deep; looks no further down than that."""
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    items = value.values() if isinstance(value, dict) else value
    return any(_deeper(item, levels - 1) for item in items)
