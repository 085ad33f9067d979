"""Ways in which a file can be vouched for, as reports count them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from signward.policy.case import BY_CATALOG, BY_PACKAGE
from signward.state import Outcome

EMBEDDED, PACKAGE, CATALOG, NOBODY = "embedded", "package", "catalog", "nobody"
"""By its own signature, its package's, a catalog's, or not at all."""

WAYS = (EMBEDDED, PACKAGE, CATALOG, NOBODY)
"""In the order in which they are asked (decision 54)."""

FETCH = "package-fetch"
"""Fact of a file whose package is not at hand: what `apt-get download` calls the package."""

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


def told_fetch(packages: Collection[str]) -> str:
    """Return how evidence for a scan's files is fetched, in one command; empty for no packages."""
    if not packages:
        return ""
    many = f"{len(packages):,} package{'' if len(packages) == 1 else 's'}"
    return (
        f"{many} not at hand would speak of files here: the same scan with --fetch-debs fetches "
        "them (--fetch-dry-run names them; for another system's files give --debs)"
    )
