"""ZIP archives changed member by member: nothing else moves, and other readers agree."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import AmbiguousError, BadInputError, LimitError, NotSignableError
from signward.state import Hasher, Source
from signward.wire import unzip, zip_patch
from signward.wire import zip as zip_wire
from signward.wire.patch import Patched, PatchSet
from signward.wire.source import BytesSource
from signward.wire.unzip import feed_member, read_member
from signward.wire.zip import place, read_directory
from signward.wire.zip_patch import Member, changed, dos_moment

MEMBERS = (("a.txt", b"A" * 1000), ("dir/b.dll", b"B" * 3000), ("c", b"C"))


def build(members: Sequence[tuple[str, bytes]] = MEMBERS, *, streamed: bool = False) -> bytes:
    class Unseekable(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    out = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()


def apply(data: bytes, members: dict[str, Member | None]) -> bytes:
    source = BytesSource("a.zip", data)
    patched = Patched(source, changed(source, members))
    return patched.read(0, patched.length)


def contents(data: bytes) -> dict[str, bytes]:
    """Read by another reader, which also checks every CRC."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def members_of(data: bytes) -> dict[str, bytes]:
    source = BytesSource("a.zip", data)
    directory = read_directory(source)
    assert not directory.findings
    return {m.name: read_member(source, m, 1 << 20) for m in directory.members}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_member_is_added_behind_the_last(*, stored: bool, streamed: bool) -> None:
    data = build(streamed=streamed)
    new = apply(data, {"new": Member(data=b"N" * 500, stored=stored)})
    start = read_directory(BytesSource("a", data)).start
    assert new[:start] == data[:start]
    assert members_of(new) == contents(new) == {**dict(MEMBERS), "new": b"N" * 500}
    assert (b"N" * 500 in new) is stored


@pytest.mark.parametrize("streamed", [False, True])
def test_first_members_stand_before_all_others_in_their_order(*, streamed: bool) -> None:
    data = build(streamed=streamed)
    first: dict[str, Member | None] = {
        "c": Member(data=b"CC", first=True),
        "new": Member(data=b"N", first=True),
    }
    new = apply(data, {**first, "a.txt": None, "last": Member(data=b"L")})
    assert list(contents(new)) == ["c", "new", "dir/b.dll", "last"]
    assert members_of(new) == contents(new)
    assert contents(new)["c"] == b"CC"
    places = [m.local for m in read_directory(BytesSource("a", new)).members]
    assert places == sorted(places)
    assert places[0] == 0
    assert apply(new, first) == new


@pytest.mark.parametrize("streamed", [False, True])
def test_a_member_is_replaced_where_it_stands(*, streamed: bool) -> None:
    data = build(streamed=streamed)
    new = apply(data, {"dir/b.dll": Member(data=b"longer than before" * 1000, stored=True)})
    assert list(contents(new)) == [name for name, _ in MEMBERS]
    assert members_of(new)["dir/b.dll"] == b"longer than before" * 1000
    source, other = BytesSource("a", data), BytesSource("b", new)
    for old, now in zip(read_directory(source).members, read_directory(other).members, strict=True):
        if old.name != "dir/b.dll":
            assert raw(source, old) == raw(other, now)


def raw(source: Source, member: zip_wire.ZipMember) -> tuple[bytes, bytes]:
    """Return all bytes of a member but its offset: local part and central header."""
    where = place(source, member)
    record = source.read(member.record, member.record_end - member.record)
    return source.read(where.start, where.end - where.start), record[:42] + record[46:]


@pytest.mark.parametrize("streamed", [False, True])
def test_adding_and_removing_gives_the_old_bytes(*, streamed: bool) -> None:
    data = build(streamed=streamed)
    new = apply(data, {"x/y": Member(data=b"1" * 99), "z": Member(data=b"", stored=True)})
    assert set(contents(new)) == {name for name, _ in MEMBERS} | {"x/y", "z"}
    assert apply(new, {"x/y": None, "z": None}) == data


def test_removing_the_first_moves_the_rest() -> None:
    new = apply(build(), {"a.txt": None})
    assert members_of(new) == contents(new) == dict(MEMBERS[1:])


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert changed(BytesSource("a", build()), {"none": None}) == PatchSet()


def test_comments_and_extra_fields_stay() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.extra, info.comment = struct.pack("<HH4s", 0xCAFE, 4, b"more"), b"of a"
        archive.writestr(info, b"1")
        archive.comment = b"of all"
    new = apply(out.getvalue(), {"b": Member(data=b"2")})
    with zipfile.ZipFile(io.BytesIO(new)) as archive:
        assert archive.comment == b"of all"
        assert archive.getinfo("a").comment == b"of a"
        assert archive.getinfo("a").extra == info.extra


def test_names_beyond_ascii_are_utf8_and_say_so() -> None:
    new = apply(build(), {"naïve.txt": Member(data=b"1")})
    assert contents(new)["naïve.txt"] == b"1"


@pytest.mark.parametrize(("name", "flags"), [(b"\x82", 0), (b"\xff", 0x800)])
def test_a_replaced_member_keeps_its_names_bytes(name: bytes, flags: int) -> None:
    """Whatever they are: another name, or another flag, would be another member to some."""
    data = build([("x", b"1"), ("b", b"2")])
    for magic, at, fixed in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        header = bytearray(data[data.index(magic) :])
        header[fixed : fixed + 1] = name
        struct.pack_into("<H", header, at, flags)
        data = data[: data.index(magic)] + bytes(header)
    (old, *_) = read_directory(BytesSource("a.zip", data)).members
    new = read_directory(BytesSource("a.zip", apply(data, {old.name: Member(data=b"new")})))
    assert (new.members[0].raw_name, new.members[0].flags) == (name, flags)
    assert [member.size for member in new.members] == [3, 1]


def test_the_moment_is_given_or_the_earliest() -> None:
    at = dos_moment(datetime(2024, 5, 6, 7, 8, 10, tzinfo=UTC))
    new = apply(build(), {"a": Member(data=b"1", moment=at), "b": Member(data=b"1")})
    with zipfile.ZipFile(io.BytesIO(new)) as archive:
        assert archive.getinfo("a").date_time == (2024, 5, 6, 7, 8, 10)
        assert archive.getinfo("b").date_time == (1980, 1, 1, 0, 0, 0)


class Zeros:
    """A source of zeros: large without being anywhere."""

    name = "zeros"

    def __init__(self, length: int) -> None:
        self.length = length
        self.largest = 0

    def read(self, offset: int, size: int) -> bytes:
        assert 0 <= offset <= offset + size <= self.length
        self.largest = max(self.largest, size)
        return bytes(size)

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        piece = memoryview(bytes(1 << 20))
        for start, end in ranges:
            for at in range(start, end, len(piece)):
                for hasher in hashers:
                    hasher.update(piece[: min(len(piece), end - at)])


class Unfed(Zeros):
    """The same without a CRC-32: to add up 4 GiB takes seconds."""

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        pass


def test_a_stored_source_is_never_held() -> None:
    zeros = Zeros(50 << 20)
    source = BytesSource("a", build())
    patched = Patched(source, changed(source, {"big": Member(data=zeros, stored=True)}))
    directory = read_directory(patched)
    assert not directory.findings
    feed_member(patched, directory.members[-1], [counter := Counter()])
    assert counter.size == zeros.length
    assert zeros.largest <= unzip.PIECE


class Counter:
    def __init__(self) -> None:
        self.size = 0

    def update(self, data: memoryview, /) -> None:
        self.size += len(data)


def test_a_deflated_source_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BytesSource("a", build())
    new = {"big": Member(data=Zeros(5 << 20))}
    patched = Patched(source, changed(source, new))
    assert contents(patched.read(0, patched.length))["big"] == bytes(5 << 20)
    monkeypatch.setattr(zip_patch, "DEFLATED_BYTES", 1000)
    with pytest.raises(LimitError, match="at most 1000"):
        changed(source, new)


def test_sizes_beyond_4_gib_take_zip64_fields() -> None:
    zeros = Unfed((1 << 32) + 5)
    source = BytesSource("a", build())
    patch = changed(source, {"big": Member(data=zeros, stored=True), "last": Member(data=b"1")})
    patched = Patched(source, patch)
    directory = read_directory(patched)
    assert not directory.findings
    assert [m.size for m in directory.members[-2:]] == [zeros.length, 1]
    assert directory.members[-1].local > 1 << 32
    assert patched.read(directory.end, 4) == b"PK\6\6"
    stripped = Patched(patched, changed(patched, {"big": None, "last": None}))
    assert members_of(stripped.read(0, stripped.length)) == dict(MEMBERS)


def test_a_member_does_not_move_beyond_4_gib() -> None:
    zeros = Unfed(1 << 32)
    with pytest.raises(NotSignableError, match="below 4 GiB"):
        changed(BytesSource("a", build()), {"a.txt": Member(data=zeros, stored=True)})


def test_zip64_offsets_move_with_their_members() -> None:
    zeros = Unfed((1 << 32) + 5)
    source = BytesSource("a", build())
    both = {"big": Member(data=zeros, stored=True), "last": Member(data=b"1", stored=True)}
    large = Patched(source, changed(source, both))
    moved = Patched(large, changed(large, {"c": Member(data=b"C" * 77, stored=True)}))
    last = read_directory(moved).members[-1]
    assert last.local == read_directory(large).members[-1].local + 77 - 3
    assert read_member(moved, last, 10) == b"1"


def forced_zip64() -> bytes:
    """Return an archive whose end record defers to a ZIP64 record it would not need."""
    plain = build()
    at = plain.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<II", plain, at + 12)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return plain[:at] + record + locator + end


def test_zip64_end_records_stay_and_go_on_to_rule() -> None:
    data = forced_zip64()
    new = apply(data, {"new": Member(data=b"1")})
    assert new[-14:-2] == data[-14:-2] == b"\xff" * 12
    assert members_of(new) == contents(new) == {**dict(MEMBERS), "new": b"1"}
    assert apply(new, {"new": None}) == data


def test_more_than_65535_members_take_zip64_end_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_patch, "_MAX16", 4)
    new = apply(build(), {"new": Member(data=b"1")})
    assert new[-22 - 20 - 56 :][:4] == b"PK\6\6"
    assert len(members_of(new)) == 4


def test_end_records_that_disagree_are_ambiguous() -> None:
    data = bytearray(forced_zip64())
    struct.pack_into("<HH", data, len(data) - 14, 2, 2)
    with pytest.raises(AmbiguousError, match="several end records"):
        apply(bytes(data), {})


def test_bytes_behind_a_zip64_record_are_malformed() -> None:
    data = forced_zip64()
    at = data.rindex(b"PK\6\7")
    with pytest.raises(BadInputError, match="ZIP64 end record before its locator"):
        apply(data[:at] + b"hidden" + data[at:], {})


@pytest.mark.parametrize(
    "data", [b"#!/bin/sh\n" + build(), build() + b"tail", build((("a\n", b"1"),))]
)
def test_what_can_be_read_in_two_ways_is_not_changed(data: bytes) -> None:
    with pytest.raises(AmbiguousError):
        apply(data, {"new": Member(data=b"1")})


def test_too_many_members_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_patch, "MEMBERS", 3)
    with pytest.raises(LimitError, match="at most 3"):
        apply(build(), {"new": Member(data=b"1")})


def test_a_bomb_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BytesSource("a", build((("a", bytes(1 << 20)),)))
    (member,) = read_directory(source).members
    feed_member(source, member, [counter := Counter()])
    assert counter.size == 1 << 20
    monkeypatch.setattr(unzip, "RATIO_FLOOR", 1 << 19)
    with pytest.raises(LimitError, match="likely a bomb"):
        feed_member(source, member, [Counter()])
    with pytest.raises(LimitError, match="at most 10"):
        read_member(source, member, 10)


def test_bytes_between_the_last_member_and_the_directory_are_seen() -> None:
    data = build()
    at = read_directory(BytesSource("a", data)).start
    end = bytearray(data[at:])
    struct.pack_into("<I", end, len(end) - 6, at + 6)
    hidden = data[:at] + b"hidden" + end
    (finding,) = read_directory(BytesSource("a", hidden)).findings
    assert finding.found == "6 bytes between members"
    struct.pack_into("<I", end, len(end) - 6, at + 24)
    block = data[:at] + bytes(8) + b"APK Sig Block 42" + end
    assert not read_directory(BytesSource("a", block)).findings


def test_a_descriptor_that_says_otherwise_is_none() -> None:
    data = bytearray(build(streamed=True))
    at = data.index(b"PK\7\x08")
    data[at + 4] ^= 1
    (finding,) = read_directory(BytesSource("a", bytes(data))).findings
    assert finding.found == "16 bytes between members"


NAMES = st.sampled_from(["a.txt", "dir/b.dll", "c", "new", "ü"])
CHANGES = st.dictionaries(
    NAMES, st.none() | st.builds(Member, data=st.binary(max_size=40), stored=st.booleans())
)


@settings(max_examples=150)
@given(CHANGES, st.booleans())
def test_any_changes_give_an_archive_of_just_those(
    changes: dict[str, Member | None], streamed: bool
) -> None:
    new = apply(build(streamed=streamed), changes)
    wanted = dict(MEMBERS) | {k: bytes(v.data) for k, v in changes.items() if v}  # type: ignore[arg-type]
    for name, member in changes.items():
        if member is None:
            wanted.pop(name, None)
    assert members_of(new) == contents(new) == wanted
