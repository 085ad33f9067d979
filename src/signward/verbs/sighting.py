"""Sighting: the kind of every file of a walk, from the cache where nothing changed.

A file whose identity is the one it was last classified with is neither opened nor read;
its directory entry's status is all that is asked of the system.  Where that is so of all
files of a directory, its listing is compared as a whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

import msgspec

from signward.inventory.cache import Cache, Listing, Numbers, Place, octets, settled
from signward.inventory.walk import Folder, Glance, Trouble, glance, join
from signward.wire.source import Identity


class Sighted(msgspec.Struct, gc=False):
    """Some files of a walk: the kind of each, and in order those to judge and troubles.

    ``places`` are those of the items, each that of a ``Trouble`` too.
    """

    kinds: list[str] = []
    items: list[Glance | Trouble] = []
    places: list[Place] = []

    def add(self, seen: Glance | Trouble, place: Place, wanted: frozenset[str]) -> None:
        """Add one file; it is an item if its kind is wanted."""
        if isinstance(seen, Glance):
            self.kinds.append(seen.kind)
            if seen.kind not in wanted:
                return
        self.items.append(seen)
        self.places.append(place)


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
        if isinstance(item, Folder):
            for entry in item.items:
                sighted.add(_read(item, entry), _place(item, entry), wanted)
        else:
            seen = item if isinstance(item, Trouble) else glance(item)
            sighted.add(seen, Place(seen.path), wanted)
        yield sighted


def _read(folder: Folder, item: os.DirEntry[str] | Trouble) -> Glance | Trouble:
    return item if isinstance(item, Trouble) else glance(join(folder.path, item.name))


def _place(folder: Folder, item: os.DirEntry[str] | Trouble) -> Place:
    if isinstance(item, Trouble):
        return Place(item.path)
    return Place(folder.path, folder.part, item.name)


def _recalled(folder: Folder, wanted: frozenset[str], cache: Cache, now: int) -> Sighted:
    """See a directory's files; look into those only that are not as they were."""
    before = cache.find_listing(folder.path, folder.part, now)
    begun = time.time_ns()  # what changes from here on must not pass for what was read
    names = octets(*[item.name for item in folder.items if not isinstance(item, Trouble)])
    present = [_identity(item) for item in folder.items]
    below = octets(*folder.below)
    if (names, below) == (before.names, before.below) and present == before.identities:
        return _unchanged(folder, before, wanted)
    sighted, after = _compared(folder, present, before, wanted, begun)
    after = msgspec.structs.replace(after, below=below)
    if after != before:
        _forget(folder, before, cache, now)
        cache.keep_listing(folder.path, folder.part, after, now)
    return sighted


def _identity(item: os.DirEntry[str] | Trouble) -> Numbers | None:
    """Return the identity of a file as it is now; None if there is none any more."""
    if isinstance(item, Trouble):
        return None
    try:
        status = item.stat(follow_symlinks=False)
    except OSError:  # it vanished since the directory was read
        return None
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip


def _unchanged(folder: Folder, listing: Listing, wanted: frozenset[str]) -> Sighted:
    """See a directory in which every file is the one in the listing."""
    sighted = Sighted(kinds=listing.kinds)
    if wanted.isdisjoint(listing.kinds):
        return sighted
    for item, kind, identity in zip(folder.items, listing.kinds, listing.identities, strict=True):
        if kind in wanted:
            place = _place(folder, item)
            path = join(folder.path, place.name)
            sighted.items.append(Glance(path, kind, Identity(*identity)))
            sighted.places.append(place)
    return sighted


def _compared(
    folder: Folder,
    present: list[Numbers | None],
    before: Listing,
    wanted: frozenset[str],
    begun: int,
) -> tuple[Sighted, Listing]:
    """See a directory file by file; return the listing to remember too.

    ``present`` are the identities of the folder's items, ``begun`` is from before they
    were looked at, in nanoseconds since 1970.
    """
    former = zip(before.kinds, before.identities, strict=True)
    known = dict(zip(_split(before.names), former, strict=False))  # only names may be known
    sighted, names, after = Sighted(), [], Listing(kinds=[], identities=[])
    for item, identity in zip(folder.items, present, strict=True):
        place = _place(folder, item)
        kind, then = known.get(octets(place.name), ("", None))
        if identity is not None and identity == then:
            seen: Glance | Trouble = Glance(
                join(folder.path, place.name), kind, Identity(*identity)
            )
        else:
            seen = _read(folder, item)
        sighted.add(seen, place, wanted)
        if isinstance(seen, Glance) and (identity == then or settled(seen.identity, begun)):
            names.append(place.name)
            after.kinds.append(seen.kind)
            after.identities.append((*seen.identity,))
    return sighted, msgspec.structs.replace(after, names=octets(*names))


def _split(names: bytes) -> list[bytes]:
    return names.split(b"\0") if names else []


def _forget(folder: Folder, before: Listing, cache: Cache, now: int) -> None:
    """Have the cache forget what was in a directory and is there no longer."""
    if not (before.names or before.below):
        return
    there = {item.name for item in folder.items if not isinstance(item, Trouble)}
    there.update(folder.below)
    kept = set(_split(octets(*there)))
    for name in _split(before.names) + _split(before.below):
        if name not in kept:
            cache.forget(folder.path, folder.part, name, now)
    if folder.last:
        cache.forget_parts(folder.path, folder.part + 1, now)
