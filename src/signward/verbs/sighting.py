"""Sighting: the kind of every file of a walk, from the cache where nothing changed.

A file whose identity is the one it was last classified with is neither opened nor read;
its directory entry's status is all that is asked of the system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from signward.inventory.cache import Cache, Kinds, settled
from signward.inventory.walk import Folder, Glance, Trouble, glance, unreadable
from signward.wire.source import Identity


def sightings(
    walked: Iterable[str | Folder | Trouble], cache: Cache | None, now: int
) -> Iterator[Glance | Trouble]:
    """Yield what is seen of each item of a walk, in its order.

    ``now`` is the instant of the scan in seconds since 1970.
    """
    for item in walked:
        if isinstance(item, Trouble):
            yield item
        elif isinstance(item, str):
            yield glance(item)
        elif cache is None:
            yield from _read(item)
        else:
            yield from _recalled(item, cache, now)


def _read(folder: Folder) -> Iterator[Glance | Trouble]:
    for entry in folder.items:
        yield entry if isinstance(entry, Trouble) else glance(entry.path)


def _recalled(folder: Folder, cache: Cache, now: int) -> Iterator[Glance | Trouble]:
    """See a directory's files; look into those only that are not as they were."""
    before = cache.find_kinds(folder.identity, folder.part, now)
    after: Kinds = {}
    begun = time.time_ns()  # what changes from here on must not pass for what was read
    for entry in folder.items:
        if isinstance(entry, Trouble):
            yield entry
            continue
        name = os.fsencode(entry.name)
        seen = _unchanged(entry, before.get(name)) or glance(entry.path)
        if isinstance(seen, Glance) and settled(seen.identity, begun):
            after[name] = (seen.kind, seen.identity)
        yield seen
    if after != before:
        cache.keep_kinds(folder.identity, folder.part, after, now)


def _unchanged(
    entry: os.DirEntry[str], known: tuple[str, tuple[int, ...]] | None
) -> Glance | Trouble | None:
    """Return the file as it is known; nothing if there is a need to look."""
    if known is None:
        return None
    try:
        identity = Identity.of(entry.stat(follow_symlinks=False))
    except OSError as error:  # it vanished since the directory was read
        return unreadable(entry.path, error)
    return Glance(entry.path, known[0], identity) if identity == known[1] else None
