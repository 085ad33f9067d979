"""Tiles, proofs and following a log: against the definition by recursion, and at tile edges."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from signward.authority.log.checkpoint import Checkpoint
from signward.authority.log.faults import (
    ForkError,
    LogFaultError,
    NotIncludedError,
    RollbackError,
)
from signward.authority.log.monitor import empty, follow
from signward.authority.log.proof import (
    Hashes,
    check_consistency,
    check_inclusion,
    consistency,
    inclusion,
)
from signward.authority.log.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    bundle,
    read_path,
    split_bundle,
    width,
)
from signward.authority.log.tree import leaf_hash, node_hash
from signward.errors import BadInputError, LimitError, MalformedError
from tests.builders.logs import root

ORIGIN = "example.test/log"
BIG = 200_000
EDGES = (255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 131_072, BIG - 1, BIG)


class Memory:
    """A log's tiles held in memory, every level, full and partial."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)
        self.levels = [[leaf_hash(entry) for entry in entries]]
        while len(self.levels[-1]) >= WIDTH:
            below = self.levels[-1]
            full = range(0, len(below) - WIDTH + 1, WIDTH)
            self.levels.append([_fold(below[i : i + WIDTH]) for i in full])

    def read(self, tile: Tile) -> bytes:
        start = tile.number * WIDTH
        if tile.level == ENTRIES:
            return bundle(self.entries[start : start + tile.width])
        row = self.levels[tile.level][start : start + tile.width]
        assert len(row) == tile.width  # nobody asks for what is not there
        return b"".join(row)

    def head(self, size: int) -> Checkpoint:
        root = Hashes(size, self.read).span(0, size)
        return Checkpoint(origin=ORIGIN, size=size, root=root)


def _fold(row: list[bytes]) -> bytes:
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def entry(index: int) -> bytes:
    return b"entry %d" % index


@lru_cache(maxsize=1)
def big() -> Memory:
    return Memory([entry(i) for i in range(BIG)])


@lru_cache(maxsize=1)
def small() -> Memory:
    return Memory([entry(i) for i in range(700)])


def path(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return PATH as RFC 6962 2.1.1 defines it."""
    if len(leaves) == 1:
        return ()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return (*path(index, leaves[:split]), root(leaves[split:]))
    return (*path(index - split, leaves[split:]), root(leaves[:split]))


def subproof(old: int, leaves: Sequence[bytes], *, whole: bool) -> tuple[bytes, ...]:
    """Return SUBPROOF as RFC 6962 2.1.2 defines it."""
    if old == len(leaves):
        return () if whole else (root(leaves),)
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return (*subproof(old, leaves[:split], whole=whole), root(leaves[split:]))
    return (*subproof(old - split, leaves[split:], whole=False), root(leaves[:split]))


@given(st.integers(1, 700), st.data())
def test_proofs_are_those_the_rfc_defines(size: int, data: st.DataObject) -> None:
    log, leaves = small(), small().levels[0][:size]
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    hashes, head = Hashes(size, log.read), log.head(size)
    assert head.root == root(leaves) == hashes.frontier(size).root
    assert inclusion(hashes, index) == path(index, leaves)
    assert consistency(hashes, old) == subproof(old, leaves, whole=True)
    check_inclusion(leaves[index], index, head, inclusion(hashes, index))
    check_consistency(log.head(old), head, consistency(hashes, old))


@pytest.mark.parametrize("size", EDGES)
def test_every_entry_at_an_edge_is_proven(size: int) -> None:
    log = big()
    hashes, head = Hashes(size, log.read), log.head(size)
    near = {0, 1, size // 2, *(e + d for e in EDGES for d in (-2, -1, 0, 1)), size - 1}
    for index in sorted(i for i in near if i < size):
        check_inclusion(leaf_hash(entry(index)), index, head, inclusion(hashes, index))
    for old in (e for e in (0, 1, *EDGES) if e <= size):
        before = log.head(old)
        check_consistency(before, head, consistency(hashes, old))
        assert hashes.frontier(old).root == before.root


@given(st.integers(1, 700), st.data())
def test_a_changed_proof_of_inclusion_is_refused(size: int, data: st.DataObject) -> None:
    log = small()
    index = data.draw(st.integers(0, size - 1))
    head, hashes = log.head(size), Hashes(size, log.read)
    leaf, good = log.levels[0][index], inclusion(hashes, index)
    other = data.draw(st.integers(0, 800))
    changed = _changed(data, good)
    assume(other != index or changed != good)
    with pytest.raises(NotIncludedError):
        check_inclusion(leaf, other, head, changed)
    with pytest.raises(NotIncludedError):
        check_inclusion(node_hash(leaf, leaf), index, head, good)


@given(st.integers(2, 700), st.data())
def test_a_changed_proof_of_consistency_is_refused(size: int, data: st.DataObject) -> None:
    log = small()
    old = data.draw(st.integers(1, size - 1))
    before, after = log.head(old), log.head(size)
    good = consistency(Hashes(size, log.read), old)
    changed = _changed(data, good)
    assume(changed != good)
    with pytest.raises(ForkError):
        check_consistency(before, after, changed)
    forged = Checkpoint(origin=ORIGIN, size=old, root=hashlib.sha256(before.root).digest())
    with pytest.raises(ForkError):
        check_consistency(forged, after, good)


def _changed(data: st.DataObject, good: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return a proof with a hash changed, left out, put in, or two in the other order."""
    rows = list(good)
    place = data.draw(st.integers(0, len(rows)))
    kind = data.draw(st.sampled_from(["flip", "drop", "add", "turn"]))
    if kind == "add":
        rows.insert(place, data.draw(st.sampled_from([*good, bytes(32)])))
    elif kind == "turn":
        rows.reverse()
    elif place < len(rows):
        rows[place : place + 1] = [hashlib.sha256(rows[place]).digest()] if kind == "flip" else []
    return tuple(rows)


def test_a_proof_of_what_is_not_there_is_refused() -> None:
    hashes = Hashes(10, small().read)
    for index in (-1, 10, 11):
        with pytest.raises(NotIncludedError, match="a tree of 10"):
            inclusion(hashes, index)
    with pytest.raises(RollbackError):
        consistency(hashes, 11)
    with pytest.raises(RollbackError, match="10 entries"):
        check_consistency(small().head(11), small().head(10), ())
    check_consistency(empty(ORIGIN), small().head(10), ())
    with pytest.raises(ForkError):
        check_consistency(empty(ORIGIN), small().head(10), (bytes(32),))


def test_two_heads_of_one_size_are_a_fork() -> None:
    head = small().head(300)
    check_consistency(head, head, ())
    with pytest.raises(ForkError):
        check_consistency(head, Checkpoint(origin=ORIGIN, size=300, root=bytes(32)), ())


# --- tiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "text"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(1, 999, 17), "tile/1/999.p/17"),
        (Tile(2, 1000, 1), "tile/2/x001/000.p/1"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
        (Tile(63, 2**63 - 1, 255), "tile/63/x009/x223/x372/x036/x854/x775/807.p/255"),
    ],
)
def test_paths(tile: Tile, text: str) -> None:
    assert tile.path == text
    assert read_path(text) == tile


@pytest.mark.parametrize(
    "text",
    [
        "tile/0/0", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/x000/001", "tile/0/1000",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/001/x002",
        "tile/data/000", "/tile/0/000", "tile/0/000/", "tile/0/000\n", "tile/0/٠٠٠", "tile/0/../0",
        "tile/0/x009/x223/x372/x036/x854/x775/808", "tile/0/x123", "tile/0/001/002", "",
    ],
)  # fmt: skip
def test_other_paths_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        read_path(text)


@given(st.text() | st.from_regex(r"tile/[0-9]{1,2}/(x[0-9]{3}/){0,7}[0-9]{1,4}(\.p/[0-9]{1,4})?"))
def test_a_path_has_one_spelling(text: str) -> None:
    try:
        assert read_path(text).path == text
    except MalformedError:
        return


def test_the_tiles_of_the_specifications_example() -> None:
    assert width(0, 273, 70_000) == 112
    assert width(0, 272, 70_000) == width(1, 0, 70_000) == WIDTH
    assert (width(1, 1, 70_000), width(2, 0, 70_000), width(3, 0, 70_000)) == (17, 1, 0)
    assert (width(0, 0, 256), width(1, 0, 256), width(0, 1, 256)) == (256, 1, 0)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=WIDTH))
def test_bundles_are_read_as_written(entries: list[bytes]) -> None:
    tile = Tile(ENTRIES, 0, len(entries))
    assert split_bundle(bundle(entries), tile) == entries
    for data in (bundle(entries) + b"\0", bundle(entries)[:-1], bundle([*entries, b""])):
        with pytest.raises(MalformedError):
            split_bundle(data, tile)


@given(st.binary(max_size=2000), st.integers(1, WIDTH))
def test_any_octets_are_a_bundle_or_refused(data: bytes, count: int) -> None:
    try:
        assert bundle(split_bundle(data, Tile(ENTRIES, 0, count))) == data
    except BadInputError:
        return


def test_a_bundle_takes_the_longest_entry() -> None:
    assert split_bundle(bundle([bytes(65_535)]), Tile(ENTRIES, 0, 1)) == [bytes(65_535)]
    with pytest.raises(LimitError):
        bundle([bytes(65_536)])


# --- following ---------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [0, 1, 255, 256, 257, 512, 699, 700])
def test_a_log_is_followed_from_anywhere(old: int) -> None:
    log = small()
    before = log.head(old) if old else empty(ORIGIN)
    followed = follow(before, log.head(700), log.read, None)
    assert (followed.count, followed.head) == (700 - old, log.head(700))
    assert followed.foreign == 700 - old  # none is canonical: some are told, the others counted
    assert [one.index for one in followed.sightings] == list(range(old, min(700, old + 10)))
    assert all(one.entry is None and one.why for one in followed.sightings)


Tamper = Callable[[Tile, bytes], bytes]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda tile, data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda tile, data: data[:-1] + bytes([data[-1] ^ 1]) if tile.level == ENTRIES else data,
        lambda tile, data: data[:-1] + bytes([data[-1] ^ 1]) if tile.level == 0 else data,
        lambda tile, data: data[:-1] + bytes([data[-1] ^ 1]) if tile.level == 1 else data,
        lambda tile, data: data[:-32],
        lambda tile, data: b"",
    ],
)
@pytest.mark.parametrize("old", [0, 300])
def test_what_is_served_must_be_what_was_logged(old: int, tamper: Tamper) -> None:
    log = small()
    with pytest.raises((LogFaultError, MalformedError)):
        follow(log.head(old), log.head(700), lambda t: tamper(t, log.read(t)), frozenset())


def test_rollback_and_fork_are_told_apart() -> None:
    log = small()
    with pytest.raises(RollbackError):
        follow(log.head(700), log.head(699), log.read, None)
    forked = Memory([entry(i) for i in range(299)] + [b"another"] + log.entries[300:])
    with pytest.raises(ForkError, match="only grows"):
        follow(log.head(300), forked.head(700), forked.read, None)
    with pytest.raises(ForkError):
        follow(log.head(700), forked.head(700), forked.read, None)
    assert follow(log.head(299), forked.head(700), forked.read, frozenset()).count == 401
    elsewhere = Checkpoint(origin="other.test", size=700, root=log.head(700).root)
    with pytest.raises(ForkError, match="origin"):
        follow(log.head(300), elsewhere, log.read, None)
