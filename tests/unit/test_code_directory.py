"""Code directories: every version's header, every kind of digest, and what is refused."""

from __future__ import annotations

import struct

import pytest

from signward.errors import LimitError, MalformedError
from signward.wire.code_directory import (
    DIGESTS,
    MAX_PAGES,
    MAX_SPECIAL,
    ExecSegment,
    read_code_directory,
    slot_digest,
    write_code_directory,
)
from tests.builders import macho

CODE = bytes(range(256)) * 40
VERSIONS = (0x20001, 0x20100, 0x20200, 0x20300, 0x20400, 0x20500)


@pytest.mark.parametrize("version", VERSIONS, ids=hex)
@pytest.mark.parametrize("kind", macho.KINDS)
def test_every_version_and_kind_is_read(version: int, kind: int) -> None:
    team = "TEAM123456" if version >= 0x20200 else ""
    raw = macho.directory(
        CODE, kind=kind, version=version, team=team, flags=0x10000, special={2: b"r", 5: b"e"}
    )
    read = read_code_directory(raw)
    assert (read.identifier, read.team, read.flag_names) == ("org.example.tool", team, ("runtime",))
    assert (read.digest, read.digest_size) == DIGESTS[kind]
    assert read.code == tuple(slot_digest(kind, CODE[i : i + 4096]) for i in (0, 4096, 8192))
    assert dict(read.special) == {2: slot_digest(kind, b"r"), 5: slot_digest(kind, b"e")}
    assert read.pages() == [(0, 4096), (4096, 8192), (8192, len(CODE))]
    assert read.cdhash == macho.cdhash(raw)
    assert read.exec_segment.limit == (4096 if version >= 0x20400 else 0)


def test_one_page_of_all_the_content() -> None:
    read = read_code_directory(macho.directory(CODE, page_shift=0))
    assert (read.page_size, read.pages()) == (0, [(0, len(CODE))])
    assert len(read.code) == 1


def test_flags_have_names_and_unknown_ones_are_shown() -> None:
    read = read_code_directory(macho.directory(CODE, flags=0x20002 | 0x40000000))
    assert read.ad_hoc
    assert read.flag_names == ("adhoc", "linker-signed", "0x40000000")


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("runtime", [0, 0x0C0100])
@pytest.mark.parametrize("team", ["", "TEAM123456"])
def test_what_is_written_reads_the_same(kind: int, runtime: int, team: str) -> None:
    size = DIGESTS[kind][1]
    special = {2: b"\2" * size, 7: b"\7" * size}
    segment = ExecSegment(base=0, limit=16384, flags=1)
    raw = write_code_directory(
        kind=kind, identifier="a.b", code=(b"\1" * size,) * 3, code_limit=9000, page_size=4096,
        special=special, flags=0x10000, team=team, runtime=runtime, exec_segment=segment,
    )  # fmt: skip
    read = read_code_directory(raw)
    assert (read.kind, read.identifier, read.team, read.runtime) == (kind, "a.b", team, runtime)
    assert (read.code_limit, read.page_size, read.exec_segment) == (9000, 4096, segment)
    assert (dict(read.special), read.special_count) == (special, 7)
    assert read.version == (0x20500 if runtime else 0x20400)


def test_a_limit_beyond_32_bits_is_written_and_read() -> None:
    raw = write_code_directory(
        kind=2, identifier="a", code=(bytes(32),), code_limit=1 << 33, page_size=0, special={}
    )
    assert read_code_directory(raw).code_limit == 1 << 33


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code_limit": 20000}, "3 pages"),
        ({"code_limit": 4096}, "3 pages"),
        ({"scatter": 64}, "scattered"),
        ({"pages": [bytes(31)]}, "pages"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        read_code_directory(macho.directory(CODE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 0x20000), (8, 0x2F000), (16, 40), (16, 1 << 30), (20, 10), (20, 1 << 30), (48, 20)],
    ids=["old", "new", "digests-in-header", "digests-outside", "name-in-header", "name-outside",
         "team-in-header"],
)  # fmt: skip
def test_places_outside_are_refused(offset: int, value: int) -> None:
    raw = bytearray(macho.directory(CODE))
    raw[offset : offset + 4] = struct.pack(">I", value)
    with pytest.raises(MalformedError):
        read_code_directory(bytes(raw))


@pytest.mark.parametrize(("size", "kind"), [(20, 2), (32, 1), (32, 9), (0, 0)])
def test_digests_have_the_size_of_their_kind(size: int, kind: int) -> None:
    raw = bytearray(macho.directory(CODE))
    raw[36], raw[37] = size, kind
    with pytest.raises(MalformedError, match="digests of kind"):
        read_code_directory(bytes(raw))


@pytest.mark.parametrize(("offset", "value"), [(24, MAX_SPECIAL + 1), (28, MAX_PAGES + 1)])
def test_counts_are_bounded(offset: int, value: int) -> None:
    raw = bytearray(macho.directory(CODE))
    raw[offset : offset + 4] = struct.pack(">I", value)
    with pytest.raises(LimitError):
        read_code_directory(bytes(raw))


def test_pages_are_bounded() -> None:
    raw = bytearray(macho.directory(CODE))
    raw[39] = 60
    with pytest.raises(LimitError, match="pages of"):
        read_code_directory(bytes(raw))


def test_names_that_are_no_text_are_refused() -> None:
    raw = macho.directory(CODE, identifier="abcd").replace(b"abcd", b"\xff\xfe\xfd\xfc")
    with pytest.raises(MalformedError, match="UTF-8"):
        read_code_directory(raw)


def test_every_truncation_is_refused() -> None:
    raw = macho.directory(CODE, team="TEAM")
    for length in range(len(raw)):
        with pytest.raises(MalformedError):
            read_code_directory(raw[:length])
