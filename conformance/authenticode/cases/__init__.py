"""The cases: one module per group of rows in THREATS.md."""

from __future__ import annotations

from functools import lru_cache

from conformance.authenticode.cases import (
    cabinets,
    envelopes,
    images,
    nugets,
    packages,
    paths,
    peers,
    revocations,
    texts,
    times,
)
from conformance.authenticode.cases.base import Answer, Case

GROUPS = (images, envelopes, paths, times, revocations, texts, packages, cabinets, nugets, peers)


@lru_cache(maxsize=1)
def all_cases() -> tuple[Case, ...]:
    """Return every case; made once per process, in a fixed order.

    Raises ``ValueError`` when two cases share an id.
    """
    found = tuple(one for group in GROUPS for one in group.cases())
    ids = [one.id for one in found]
    twice = {id_ for id_ in ids if ids.count(id_) > 1}
    if twice:
        raise ValueError(f"two cases share the ids {sorted(twice)}")
    return found


__all__ = ["Answer", "Case", "all_cases"]
