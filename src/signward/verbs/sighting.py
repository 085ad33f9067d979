"""Sighting: the kind of every file of a walk, from the cache where nothing changed.

A file whose identity is the one it was last classified with is neither opened nor read;
its directory entry's status is all that is asked of the system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from signward.inventory.cache import Cache, Kinds, settled
from signward.inventory.walk import Folder, Glance, Trouble, glance
from signward.wire.source import Identity


@dataclass(frozen=True, slots=True)
class Sighted:
    """Some files of a walk: the kind of each, and in order those to judge and troubles."""

    kinds: list[str] = field(default_factory=list)
    items: list[Glance | Trouble] = field(default_factory=list)

    def add(self, seen: Glance | Trouble, wanted: frozenset[str]) -> None:
        """Add one file; it is an item if its kind is wanted."""
        if isinstance(seen, Trouble):
            self.items.append(seen)
            return
        self.kinds.append(seen.kind)
        if seen.kind in wanted:
            self.items.append(seen)


def sightings(
    walked: Iterable[str | Folder | Trouble], wanted: frozenset[str], cache: Cache | None, now: int
) -> Iterator[Sighted]:
    """Yield what is seen of each item of a walk, in its order.

    ``wanted`` are the kinds to judge, ``now`` is the instant of the scan in seconds since
    1970.
    """
    for item in walked:
        if isinstance(item, Folder) and cache is not None:
            yield _recalled(item, wanted, cache, now)
            continue
        sighted = Sighted()
        for one in item.items if isinstance(item, Folder) else (item,):
            sighted.add(_read(one), wanted)
        yield sighted


def _read(item: str | os.DirEntry[str] | Trouble) -> Glance | Trouble:
    if isinstance(item, Trouble):
        return item
    return glance(item if isinstance(item, str) else item.path)


def _recalled(folder: Folder, wanted: frozenset[str], cache: Cache, now: int) -> Sighted:
    """See a directory's files; look into those only that are not as they were."""
    before = cache.find_kinds(folder.identity, folder.part, now)
    after: Kinds = {}
    sighted = Sighted()
    begun = time.time_ns()  # what changes from here on must not pass for what was read
    for item in folder.items:
        if isinstance(item, Trouble):
            sighted.items.append(item)
            continue
        name = item.name.encode("utf-8", "surrogateescape")
        known = before.get(name)
        if known is not None and _is_unchanged(item, known[1]):
            after[name] = known
            sighted.kinds.append(known[0])
            if known[0] in wanted:
                sighted.items.append(Glance(item.path, known[0], Identity(*known[1])))
            continue
        seen = glance(item.path)
        sighted.add(seen, wanted)
        if isinstance(seen, Glance) and settled(seen.identity, begun):
            after[name] = (seen.kind, seen.identity)
    if after != before:
        cache.keep_kinds(folder.identity, folder.part, after, now)
    return sighted


def _is_unchanged(entry: os.DirEntry[str], identity: tuple[int, int, int, int, int]) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # it vanished since the directory was read
        return False
    return identity == (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip
