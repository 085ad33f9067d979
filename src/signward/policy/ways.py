"""Ways in which a file can be vouched for, as reports count them."""

from __future__ import annotations

from collections.abc import Mapping

from signward.policy.case import BY_CATALOG, BY_PACKAGE
from signward.state import Outcome

EMBEDDED, PACKAGE, CATALOG, NOBODY = "embedded", "package", "catalog", "nobody"
"""By its own signature, its package's, a catalog's, or not at all."""

WAYS = (EMBEDDED, PACKAGE, CATALOG, NOBODY)
"""In the order in which they are asked (decision 54)."""

_BY_RULE = {BY_PACKAGE: PACKAGE, BY_CATALOG: CATALOG}
_WORDS = {
    EMBEDDED: "its own signature",
    PACKAGE: "its package",
    CATALOG: "a catalog",
    NOBODY: "nobody",
}


def way_of(outcome: Outcome, rule: str) -> str:
    """Return which way vouches for a file, by its verdict's outcome and rule."""
    return _BY_RULE.get(rule, EMBEDDED) if outcome is Outcome.ACCEPTED else NOBODY


def told_ways(counts: Mapping[str, int]) -> str:
    """Return the counts in words: ``its package 12, nobody 3``."""
    return ", ".join(f"{_WORDS[way]} {counts[way]:,}" for way in WAYS if counts.get(way))
