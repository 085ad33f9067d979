"""Compound files: the reader refuses what two readers could take differently (THREATS 24, 55)."""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Callable
from itertools import pairwise

import olefile
import pytest
from conformance.authenticode.compound import DIFAT, END, FREE, PACKAGE, Built, Tree, compound

from signward.errors import BadInputError, LimitError, MalformedError, UncoveredError
from signward.frozen import replace
from signward.wire import cfb, cfb_sectors
from signward.wire.cfb import CompoundFile, Entry, Kind, collation, open_compound
from signward.wire.cfb_sectors import GapKind
from signward.wire.cfb_write import build, rewrite
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource

SIZES = pytest.mark.parametrize("size", [512, 4096])

TREE: Tree = {
    "small": b"s" * 100,
    "tiny": b"t",
    "empty": b"",
    "large": bytes(range(256)) * 40,
    "store": {"inner": b"i" * 200, "deep": {"x": b"x" * 5000}},
}


def opened(data: bytes | Built) -> CompoundFile:
    return open_compound(BytesSource("c.msi", bytes(data)))


def contents(file: CompoundFile, entry: Entry | None = None, path: str = "") -> dict[str, bytes]:
    """Every stream by path."""
    found = {}
    for child in (entry or file.root).children:
        where = f"{path}/{child.text}"
        if child.kind is Kind.STREAM:
            found[where] = file.read(child, 1 << 30)
        else:
            found.update(contents(file, child, where))
    return found


def flat(tree: Tree, path: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, value in tree.items():
        if isinstance(value, bytes):
            found[f"{path}/{name}"] = value
        else:
            found.update(flat(value, f"{path}/{name}"))
    return found


def rewritten(data: bytes | Built, change: Callable[[Entry], Entry] = lambda root: root) -> bytes:
    source = BytesSource("c.msi", bytes(data))
    file = open_compound(source)
    return b"".join(pieces(Patched(source, rewrite(file, change(file.root)))))


@SIZES
def test_streams_and_storages_are_read(size: int) -> None:
    file = opened(compound(TREE, size=size))
    assert file.sector_size == size
    assert contents(file) == flat(TREE)
    assert file.root.clsid == PACKAGE
    store = file.root.child("store".encode("utf-16-le"))
    assert store is not None
    assert (store.kind, store.clsid) == (Kind.STORAGE, bytes(range(16)))


@SIZES
def test_further_fat_sectors_are_found_through_the_difat(size: int) -> None:
    built = compound({"a": b"a" * 9000}, size=size, fat=109 + 2 * (size // 4 - 1))
    assert struct.unpack_from("<I", built.data, 72)[0] == 2
    assert contents(opened(built)) == {"/a": b"a" * 9000}


@SIZES
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 4095, 4096, 4097, 8192])
def test_sizes_around_the_boundaries(size: int, length: int) -> None:
    data = random.Random(length).randbytes(length)
    built = compound({"a": data, "b": b"b"}, size=size)
    assert contents(opened(built)) == {"/a": data, "/b": b"b"}
    assert contents(opened(rewritten(built))) == {"/a": data, "/b": b"b"}


@SIZES
def test_what_is_written_anew_has_the_same_streams_for_two_other_readers(size: int) -> None:
    data = rewritten(compound(TREE, size=size, spare=3))
    assert contents(opened(data)) == flat(TREE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with olefile.OleFileIO(io.BytesIO(data), raise_defects=olefile.DEFECT_UNSURE) as ole:
            assert ole.parsing_issues == []
            found = {"/" + "/".join(p): ole.openstream(p).read() for p in ole.listdir()}
            assert ole.sectorsize == size
    assert found == flat(TREE)


@SIZES
def test_writing_leaves_no_gap_that_holds_anything_and_is_settled(size: int) -> None:
    built = compound(TREE, size=size, spare=2)
    built.data[built.sector(8) : built.sector(8) + 4] = b"junk"
    data = rewritten(built)
    file = opened(data)
    assert all(set(data[gap.start : gap.end]) <= {0} for gap in file.gaps)
    assert {gap.kind for gap in file.gaps} <= {GapKind.SLACK}
    assert rewritten(data) == data


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 100])
def test_written_siblings_form_a_red_black_tree_in_order(count: int) -> None:
    names = random.Random(count).sample([f"{n:x}{'z' * (n % 5)}" for n in range(500)], count)
    members = tuple(Entry(name=n.encode("utf-16-le"), size=1, data=b"x") for n in names)
    data = build(Entry(name=cfb.ROOT_NAME, kind=Kind.ROOT, children=members))
    file = opened(data)
    assert [e.name for e in file.root.children] == sorted((m.name for m in members), key=collation)
    heights, reds = black_heights(data, file)
    assert len(heights) == 1
    assert reds == []


def black_heights(data: bytes, file: CompoundFile) -> tuple[set[int], list[int]]:
    """The black nodes on each way down, and red nodes below red ones."""
    start = (struct.unpack_from("<I", data, 48)[0] + 1) * file.sector_size
    heights: set[int] = set()
    reds: list[int] = []

    def walk(number: int, black: int, above_red: bool) -> None:
        if number == FREE:
            heights.add(black)
            return
        at = start + 128 * number
        red = data[at + 67] == 0
        if red and above_red:
            reds.append(number)
        for side in (68, 72):
            walk(struct.unpack_from("<I", data, at + side)[0], black + (not red), red)

    walk(struct.unpack_from("<I", data, start + 76)[0], 0, above_red=True)
    return heights, reds


def test_many_streams_need_difat_sectors_and_are_read_back() -> None:
    large = bytes(109 * 128 * 512 + 5)
    data = rewritten(compound({"big": large, "a": b"a"}))
    assert struct.unpack_from("<I", data, 72)[0] == 1
    assert contents(opened(data)) == {"/big": large, "/a": b"a"}
    with olefile.OleFileIO(io.BytesIO(data)) as ole:
        assert ole.parsing_issues == []
        assert ole.openstream("big").read() == large


def test_metadata_of_entries_stays() -> None:
    built = compound(TREE)
    root = opened(built).root
    kept = opened(rewritten(built)).root

    def metadata(entry: Entry) -> list[tuple[bytes, ...]]:
        own = (entry.name, entry.clsid, entry.state, entry.created, entry.modified)
        return [own] + [m for child in entry.children for m in metadata(child)]

    assert metadata(kept) == metadata(root)


def test_a_stream_can_be_added_and_taken_away() -> None:
    name = "\5New".encode("utf-16-le")

    def with_new(root: Entry) -> Entry:
        return replace(root, children=(*root.children, Entry(name=name, size=3, data=b"new")))

    def without(root: Entry) -> Entry:
        return replace(root, children=tuple(e for e in root.children if e.name != name))

    added = rewritten(compound(TREE), with_new)
    assert contents(opened(added)) == {**flat(TREE), "/\5New": b"new"}
    assert rewritten(added, without) == rewritten(compound(TREE))


# What is refused


def start_of(built: Built, name: str) -> int:
    return built.get(built.entry(name) + 116)


def test_a_chain_that_runs_in_a_circle() -> None:
    built = compound(TREE)
    first = start_of(built, "large")
    with pytest.raises(MalformedError, match="in a chain already"):
        opened(built.put(built.fat_entry(first + 1), first))


def test_a_sector_in_two_streams() -> None:
    built = compound({"one": b"1" * 5000, "two": b"2" * 5000})
    built.put(built.entry("two") + 116, start_of(built, "one"))
    with pytest.raises(MalformedError, match="in a chain already"):
        opened(built)


def test_a_mini_sector_in_two_streams() -> None:
    built = compound({"aa": b"1" * 64, "bb": b"2" * 64})
    built.put(built.entry("bb") + 116, start_of(built, "aa"))
    with pytest.raises(MalformedError, match="in no other chain"):
        opened(built)


def test_a_circle_in_the_mini_fat() -> None:
    built = compound(TREE)
    first = start_of(built, "small")
    with pytest.raises(MalformedError):
        opened(built.put(built.mini_fat_entry(first + 1), first))


@pytest.mark.parametrize("name", ["large", "small"])
@pytest.mark.parametrize("size", [1, 64, 129, 4095, 5000, 20000, 1 << 20, (1 << 32) - 1])
def test_sizes_that_lie(name: str, size: int) -> None:
    """A size is held to the chain's length; within its last sector the digest holds it."""
    built = compound(TREE)
    with pytest.raises(BadInputError):
        opened(built.put(built.entry(name) + 120, size))


def test_a_chain_that_leaves_the_file() -> None:
    built = compound(TREE)
    with pytest.raises(MalformedError, match="sector 0x1000"):
        opened(built.put(built.fat_entry(start_of(built, "large")), 0x1000))


def test_a_difat_that_runs_in_a_circle() -> None:
    built = compound({"a": b"a" * 9000}, fat=109 + 2 * 127)
    first = struct.unpack_from("<I", built.data, 68)[0]
    with pytest.raises(MalformedError, match="in a chain already"):
        opened(built.put(built.sector(first) + 508, first))


def test_a_fat_sector_named_twice() -> None:
    built = compound({"a": b"a" * 9000}, fat=3)
    with pytest.raises(MalformedError, match="in a chain already"):
        opened(built.put(76 + 4, built.get(76)))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(44, 2), (44, 1 << 31), (64, 1 << 31), (72, 1), (72, 1 << 31), (64, 0), (64, 9), (60, END),
     (48, END), (48, 99), (76, 5), (80, 0), (68, 0), (40, 1), (30, 12), (26, 4), (32, 7),
     (28, 0xFEFF), (56, 4097), (8, 1), (34, 1)],
)  # fmt: skip
def test_a_header_that_lies(offset: int, value: int) -> None:
    built = compound(TREE)
    if offset in (26, 28, 30, 32, 34):
        struct.pack_into("<H", built.data, offset, value)
    else:
        built.put(offset, value)
    with pytest.raises(BadInputError):
        opened(built)


def test_directory_sectors_left_uncounted() -> None:
    built = compound(TREE, size=4096)
    with pytest.raises(MalformedError, match="counted 0"):
        opened(built.put(40, 0))


def test_a_table_not_marked_as_one() -> None:
    built = compound(TREE)
    with pytest.raises(MalformedError, match="marked"):
        opened(built.put(built.fat_entry(0), DIFAT))


def test_siblings_out_of_order() -> None:
    built = compound({"aa": b"1", "bb": b"2", "cc": b"3"})
    for name, other in (("aa", "bb"), ("bb", "aa")):
        at = built.entry(name)
        built.data[at : at + 4] = other.encode("utf-16-le")
    with pytest.raises(MalformedError, match="siblings in order"):
        opened(built)


@pytest.mark.parametrize("other", ["name", "NAME", "Name"])
def test_two_siblings_of_one_name(other: str) -> None:
    built = compound({"name": b"1", "nbme": b"2"})
    at = built.entry("nbme")
    built.data[at : at + 8] = other.encode("utf-16-le")
    with pytest.raises(MalformedError, match="no two of one name"):
        opened(built)


def test_a_directory_that_runs_in_a_circle() -> None:
    built = compound({"aa": b"1", "bb": b"2"})
    with pytest.raises(MalformedError, match="once"):
        opened(built.put(built.entry("bb") + 72, built.number("aa")))


def test_a_storage_inside_itself() -> None:
    built = compound(TREE)
    with pytest.raises(MalformedError, match="once"):
        opened(built.put(built.entry("deep") + 76, built.number("store")))


def test_storages_nested_too_deep() -> None:
    tree: Tree = {"x": b"x"}
    for _ in range(cfb.MAX_DEPTH + 1):
        tree = {"s": tree}
    with pytest.raises(LimitError, match="deeper"):
        opened(compound(tree))


def test_an_entry_that_no_storage_leads_to_is_uncovered() -> None:
    built = compound({"aa": b"1", "bb": b"2"})
    built.put(built.entry("aa") + 72, FREE)
    with pytest.raises(UncoveredError, match="no storage leads to"):
        opened(built)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(66, 0), (66, 3), (66, 5), (67, 2), (64, 0), (64, 66), (64, 5), (80, 1), (76, 0), (2, 0)],
)
def test_entries_that_break_their_rules(offset: int, value: int) -> None:
    built = compound({"aaaa": b"1", "bbbb": b"2"})
    at = built.entry("aaaa") + offset
    built.data[at] = value
    if offset == 76:
        built.put(at, built.number("bbbb"))
    with pytest.raises(BadInputError):
        opened(built)


def test_a_root_of_another_name_or_with_a_sibling() -> None:
    built = compound(TREE)
    with pytest.raises(MalformedError, match="Root Entry"):
        opened(built.put(built.sector(built.directory) + 68, 1))
    built = compound(TREE)
    built.data[built.sector(built.directory)] = ord("r")
    with pytest.raises(MalformedError, match="Root Entry"):
        opened(built)


def test_a_stream_beyond_32_bits_of_size() -> None:
    built = compound(TREE, size=4096)
    with pytest.raises(LimitError):
        opened(built.put(built.entry("large") + 124, 1))


def test_version_3_ignores_the_upper_half_of_a_size() -> None:
    built = compound(TREE)
    assert contents(opened(built.put(built.entry("large") + 124, 1))) == flat(TREE)


def test_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cfb, "MAX_PIECES", 3)
    assert contents(opened(compound({"a": b"a", "b": b"b", "c": b"c"})))
    with pytest.raises(LimitError, match="pieces"):
        opened(compound({"a": b"a", "b": b"b", "c": b"c", "d": b"d"}))


def test_entries_mini_stream_and_sectors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cfb, "MAX_ENTRIES", 8)
    with pytest.raises(LimitError, match="directory"):
        opened(compound({f"{n:02}": b"" for n in range(8)}))
    monkeypatch.setattr(cfb_sectors, "MAX_MINI", 64)
    with pytest.raises(LimitError, match="mini stream"):
        opened(compound({"a": b"a" * 65}))
    monkeypatch.setattr(cfb_sectors, "MAX_SECTORS", 4)
    with pytest.raises(LimitError, match="sectors"):
        opened(compound(TREE))


def test_tables_that_no_sector_needs_are_refused() -> None:
    """The FAT is read at once: a file of tables alone would take thrice its size in memory."""
    most = cfb_sectors.SPARE_TABLES
    opened(compound(TREE, fat=most))
    with pytest.raises(MalformedError, match="FAT sectors"):
        opened(compound(TREE, fat=most + 200))


def test_mini_fat_is_no_longer_than_its_stream_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cfb_sectors, "MAX_MINI", 4096)  # the table of which is half a sector
    with pytest.raises(LimitError, match="mini FAT"):
        opened(compound(TREE))


def test_gaps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(compound(TREE))
    monkeypatch.setattr(cfb, "MAX_GAPS", len(file.gaps))
    opened(compound(TREE))
    monkeypatch.setattr(cfb, "MAX_GAPS", len(file.gaps) - 1)
    with pytest.raises(LimitError, match="gaps"):
        opened(compound(TREE))


# What nothing reaches


def gaps(built: Built | bytes) -> set[tuple[GapKind, int]]:
    return {(g.kind, g.end - g.start) for g in opened(built).gaps if g.kind is not GapKind.SLACK}


def test_free_sectors_and_sectors_in_use_by_nothing() -> None:
    built = compound({"large": b"l" * 5000}, spare=3)
    assert gaps(built) == {(GapKind.FREE, 3 * 512)}
    spare = start_of(built, "large") - 2
    assert gaps(built.put(built.fat_entry(spare), END)) == {
        (GapKind.FREE, 512), (GapKind.UNREFERENCED, 512),
    }  # fmt: skip


def test_bytes_behind_the_last_sector() -> None:
    data = bytes(compound(TREE))
    assert gaps(data + b"x") == {(GapKind.BEHIND, 1)}
    assert gaps(data + bytes(1024)) == {(GapKind.TRAILING, 1024)}
    beyond_the_fat = 128 * 512 + 512 - len(data)
    assert gaps(data + bytes(beyond_the_fat + 512)) == {
        (GapKind.TRAILING, beyond_the_fat), (GapKind.BEHIND, 512),
    }  # fmt: skip


def test_mini_sectors_in_use_by_nothing() -> None:
    built = compound({"aa": b"1" * 64, "bb": b"2" * 64})
    built.put(built.entry("bb") + 120, 0)
    assert gaps(built) == {(GapKind.UNREFERENCED, 64)}
    built.put(built.mini_fat_entry(start_of(built, "bb")), FREE)
    assert gaps(built) == {(GapKind.FREE, 64)}


def test_every_byte_is_content_structure_or_a_gap() -> None:
    data = bytes(compound(TREE, spare=2))
    file = opened(data)
    spans = [span for entry in walk(file.root) for span in entry.spans]
    ranges = sorted([*spans, *((gap.start, gap.end) for gap in file.gaps)])
    assert all(one[1] <= two[0] for one, two in pairwise(ranges))
    assert max(end for _, end in ranges) == len(data)


def walk(entry: Entry) -> list[Entry]:
    return [entry] + [e for child in entry.children for e in walk(child)]


@pytest.mark.parametrize("size", [512, 4096])
def test_no_change_of_the_structure_raises_anything_else(size: int) -> None:
    data = bytes(compound(TREE, size=size, spare=1))
    source = random.Random(size)
    structure = [*range(512), *range(size, min(len(data), 4 * size))]
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(source.choice((1, 1, 2, 4))):
            changed[source.choice(structure)] = source.choice((0, 1, 2, 0x7F, 0xFE, 0xFF))
        try:
            opened(bytes(changed))
        except BadInputError:
            continue


def test_every_truncation_is_refused_or_leaves_the_streams() -> None:
    data = bytes(compound(TREE))
    for length in range(0, len(data), 97):
        with pytest.raises(BadInputError):
            opened(data[:length])
