"""SBAT: sections, levels, and what shim would refuse, by SBAT.md."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import sbat

SHIM = (
    b"sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n"
    b"shim,4,UEFI shim,shim,1,https://github.com/rhboot/shim\n"
    b"shim.debian,1,Debian,shim,16.1,https://tracker.debian.org/pkg/shim\n"
)


def test_a_section_is_read_to_its_padding() -> None:
    found = sbat.read_components(SHIM + bytes(512))
    assert [str(component) for component in found] == ["sbat,1", "shim,4", "shim.debian,1"]
    assert found[2].vendor == "Debian"
    assert found[2].version == "16.1"
    assert found[2].url == "https://tracker.debian.org/pkg/shim"


def test_line_ends_and_byte_order_mark_change_nothing() -> None:
    other = b"\xef\xbb\xbf\r\n" + SHIM.replace(b"\n", b"\r\n\r\n")
    assert sbat.read_components(other) == sbat.read_components(SHIM)


def test_commas_behind_the_url_stay_with_it() -> None:
    found = sbat.read_components(b"a,1,b,c,d,e,f")
    assert found[0].url == "e,f"


@pytest.mark.parametrize("data", [
    b"", bytes(64), b"\n\n", b"shim,4", b"shim,4,a,b,c", b",1,a,b,c,d", b"a b,1,a,b,c,d",
    b"shim,,a,b,c,d", b"shim,-1,a,b,c,d", b"shim,1x,a,b,c,d", b"shim,65536,a,b,c,d",
    b"shim,000001,a,b,c,d", "shim,\u0663,a,b,c,d".encode(),
])  # fmt: skip
def test_a_section_that_shim_cannot_read_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        sbat.read_components(data)


def test_a_level_names_least_generations() -> None:
    level = sbat.read_level(b"sbat,1,2023012900\nshim,2\ngrub,3\ngrub.debian,4\n\0")
    assert level.date == "2023012900"
    assert dict(level.least) == {"sbat": 1, "shim": 2, "grub": 3, "grub.debian": 4}
    assert str(level) == "2023012900 shim,2 grub,3 grub.debian,4"


def test_of_two_lines_for_one_component_the_higher_counts() -> None:
    level = sbat.read_level(b"sbat,1,2023012900\ngrub,3\ngrub,2\n")
    assert level.least["grub"] == 3


@pytest.mark.parametrize("data", [
    b"", b"shim,2\n", b"sbat,1\n", b"sbat,2,2023012900", b"sbat,1,20230129", b"sbat,1,yesterday!",
    b"sbat,1,2023012900\ngrub", b"sbat,1,2023012900\ngrub,many",
])  # fmt: skip
def test_what_is_no_level_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        sbat.read_level(data)


def test_generations_below_the_level_are_told() -> None:
    components = sbat.read_components(SHIM)
    assert sbat.below(components, sbat.read_level(sbat.LATEST)) == ()
    higher = sbat.read_level(b"sbat,1,2030010100\nshim,5\nshim.debian,1\ngrub,9\n")
    assert [(c.name, least) for c, least in sbat.below(components, higher)] == [("shim", 5)]


def section(previous: bytes, latest: bytes) -> bytes:
    return struct.pack("<III", 0, 8, 8 + len(previous) + 1) + previous + b"\0" + latest + b"\0"


def test_shims_own_levels_are_read() -> None:
    old = b"sbat,1,2021030218\n"
    previous, latest = sbat.read_level_section(section(old, sbat.LATEST))
    assert previous.date == "2021030218"
    assert latest == sbat.read_level(sbat.LATEST)


@pytest.mark.parametrize("data", [
    b"", bytes(11), struct.pack("<III", 1, 8, 8) + sbat.LATEST,
    struct.pack("<III", 0, 8, 0xFFFFFFFF) + sbat.LATEST, struct.pack("<III", 0, 8, 8),
])  # fmt: skip
def test_levels_that_lie_elsewhere_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        sbat.read_level_section(data)


def test_texts_are_bounded() -> None:
    line = b"a,1,b,c,d,e\n"
    with pytest.raises(LimitError):
        sbat.read_components(line * (sbat.MAX_LINES + 1))
    with pytest.raises(LimitError):
        sbat.read_level(b"sbat,1,2023012900," + b"x" * sbat.MAX_OCTETS)


@given(st.binary(max_size=300) | st.text(alphabet="abt,1\n", max_size=80).map(str.encode))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    for read in (sbat.read_components, sbat.read_level, sbat.read_level_section):
        with contextlib.suppress(BadInputError):
            read(data)
