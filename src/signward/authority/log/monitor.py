"""Following a log: from a checkpoint seen before to a later one, every entry between re-hashed.

The old right edge, as tiles give it, must lead to the old root, and with the new entries' hashes
to the new one: then nothing that was there changed, and the entries read are those logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signward.authority.log.checkpoint import Checkpoint
from signward.authority.log.entry import Entry, decode, texts
from signward.authority.log.faults import ForkError, NotIncludedError
from signward.authority.log.proof import Hashes, TileReader, check_consistency, consistency
from signward.authority.log.tiles import ENTRIES, WIDTH, Tile, split_bundle, width
from signward.authority.log.tree import EMPTY_ROOT, Frontier, leaf_hash
from signward.errors import AuthorityError, BadInputError
from signward.frozen import Frozen

MAX_FOREIGN = 10
"""Entries of another form that are told one by one; the others are counted."""

MAX_SIGHTINGS = 100_000
"""Entries reported at once: they are held until the whole is proven."""


class Sighting(Frozen, frozen=True, kw_only=True):
    """An entry that concerns what is watched, or that nobody can read.

    ``entry`` is None for one that is not in the form of our logs; ``why`` says what it named.
    """

    index: int
    entry: Entry | None
    why: str


class Followed(Frozen, frozen=True, kw_only=True):
    """What came between two checkpoints; ``count`` entries, all of them in the new tree.

    ``foreign`` is how many of those are not in the form of our logs.
    """

    head: Checkpoint
    count: int
    sightings: tuple[Sighting, ...]
    foreign: int


def empty(origin: str) -> Checkpoint:
    """Return the head of a log nobody has seen yet."""
    return Checkpoint(origin=origin, size=0, root=EMPTY_ROOT)


def follow(
    old: Checkpoint, new: Checkpoint, read: TileReader, watched: frozenset[str] | None
) -> Followed:
    """Go from ``old`` to ``new``, both of them checked notes' heads.

    ``watched`` are texts an entry is reported for when any of its fields holds one (names of
    keys, digests and serial numbers of certificates, identities); None reports every entry.
    ``read`` need not be trusted.  Raises ``RollbackError``, ``ForkError``, ``NotIncludedError``,
    ``BadInputError``, ``AuthorityError`` where too many are to be told, and what ``read`` raises.
    """
    if old.origin != new.origin:
        raise ForkError("the log", f"origin {new.origin[:200]!r}", f"{old.origin[:200]!r}")
    if old.size > new.size:
        check_consistency(old, new, ())
    hashes = Hashes(new.size, read)
    check_reached(hashes.frontier(new.size), new, "the log's tiles")
    check_consistency(old, new, consistency(hashes, old.size))
    frontier = hashes.frontier(old.size)
    sightings: list[Sighting] = []
    foreign = 0
    for tile, skipped in bundles(old.size, new.size):
        entries = split_bundle(read(tile), tile)[skipped:]
        seen = _seen(frontier.size, entries, watched)
        sightings += [one for one in seen if one.entry is not None]
        others = [one for one in seen if one.entry is None]
        sightings += others[: max(0, MAX_FOREIGN - foreign)]
        foreign += len(others)
        if len(sightings) > MAX_SIGHTINGS:
            raise AuthorityError(
                "the log", f"more than {MAX_SIGHTINGS} entries to tell", "fewer",
                hint="watch for less, or let the monitor run more often",
            )  # fmt: skip
        frontier = frontier.extended([leaf_hash(entry) for entry in entries])
    check_reached(frontier, new, "the log's entries")
    sightings.sort(key=lambda one: one.index)
    count = new.size - old.size
    return Followed(head=new, count=count, sightings=tuple(sightings), foreign=foreign)


def bundles(start: int, size: int) -> Iterator[tuple[Tile, int]]:
    """Yield the bundles that hold entries from ``start`` on, each with how many come before."""
    for number in range(start // WIDTH, -(-size // WIDTH)):
        tile = Tile(ENTRIES, number, width(ENTRIES, number, size))
        yield tile, max(0, start - number * WIDTH)


def _seen(first: int, entries: Iterable[bytes], watched: frozenset[str] | None) -> list[Sighting]:
    found = (_sighting(first + i, data, watched) for i, data in enumerate(entries))
    return [one for one in found if one is not None]


def _sighting(index: int, data: bytes, watched: frozenset[str] | None) -> Sighting | None:
    try:
        entry = decode(data)
    except BadInputError as error:
        return Sighting(index=index, entry=None, why=str(error))
    if watched is None:
        return Sighting(index=index, entry=entry, why="")
    named = sorted(watched & texts(entry.fields))
    return Sighting(index=index, entry=entry, why=", ".join(named)) if named else None


def check_reached(frontier: Frontier, head: Checkpoint, what: str) -> None:
    """Raise ``NotIncludedError`` unless what was read is all that the checkpoint speaks of."""
    if (frontier.size, frontier.root) != (head.size, head.root):
        raise NotIncludedError(
            what, "others, whose hashes lead to another root",
            f"those of the checkpoint's {head.size} entries", "c2sp.org/tlog-tiles",
            hint="what is served is not what was logged",
        )  # fmt: skip
