"""JSON that somebody else wrote, read strictly: UTF-8, and every name of an object once.

Two readers of a name that stands there twice may take one value each (RFC 8259 section 4).
"""

from __future__ import annotations

import json
from typing import Any

from signward.errors import PolicyError


def read(name: str, data: bytes, max_octets: int) -> Any:
    """Return the value in a file called ``name``.  Raises ``PolicyError``."""
    if len(data) > max_octets:
        raise PolicyError(name, f"{len(data)} octets", f"at most {max_octets}")
    try:
        return json.loads(data.decode(), object_pairs_hook=once)
    except RecursionError:
        raise PolicyError(name, "values nested too deeply", "JSON") from None
    except ValueError as error:
        raise PolicyError(name, str(error)[:200], "JSON in UTF-8") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members.  Raises ``ValueError`` for a name that stands there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands there twice")
    return found
