"""UEFI signature lists and authenticated variables, by the structures of UEFI 2.10."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import siglist
from signward.wire.siglist import SHA256, X509, Entry, Update

OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
AT = datetime(2026, 11, 23, 20, 5, 7, tzinfo=UTC)


def entry(data: bytes, kind: str = SHA256) -> Entry:
    return Entry(kind=kind, owner=OWNER, data=data)


def test_a_list_of_digests_is_laid_out_as_specified() -> None:
    data = siglist.write_lists([entry(b"a" * 32), entry(b"b" * 32)])
    assert data[:16].hex() == "2616c4c14c509240aca941f936934328"
    assert struct.unpack_from("<III", data, 16) == (28 + 96, 0, 48)
    assert data[28:44].hex() == "bd9afa775903324dbd6028f4e78f784b"
    assert data[44:76] == b"a" * 32
    assert len(data) == 124


def test_every_certificate_has_a_list_to_itself() -> None:
    data = siglist.write_lists([entry(b"xx", X509), entry(b"yy", X509)])
    assert len(data) == 2 * (28 + 18)


ENTRIES = st.lists(
    st.one_of(
        st.builds(entry, st.binary(min_size=32, max_size=32)),
        st.builds(entry, st.binary(min_size=1), st.just(X509)),
        st.builds(entry, st.binary(min_size=48, max_size=48), st.just(siglist.X509_SHA256)),
    ),
    max_size=8,
)  # fmt: skip


@given(ENTRIES)
def test_what_is_written_is_read(entries: list[Entry]) -> None:
    assert siglist.read_lists(siglist.write_lists(entries)) == tuple(entries)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    for read in (siglist.read_lists, siglist.read_update):
        with contextlib.suppress(BadInputError):
            read(data)


@given(ENTRIES.filter(bool), st.data())
def test_a_list_cut_short_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    whole = siglist.write_lists(entries[:1])
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(MalformedError):
        siglist.read_lists(whole[:cut])


@pytest.mark.parametrize(
    ("size", "header", "each"),
    [(28, 1, 48), (27, 0, 48), (29, 0, 16), (28, 0, 0), (60, 0, 15), (2**32 - 1, 0, 48)],
)
def test_sizes_that_cannot_be_are_refused(size: int, header: int, each: int) -> None:
    with pytest.raises(MalformedError):
        siglist.read_lists(bytes(16) + struct.pack("<III", size, header, each) + bytes(40))


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    data = siglist.write_lists([entry(b"a" * 32)] * 3)
    monkeypatch.setattr(siglist, "MAX_ENTRIES", 2)
    with pytest.raises(LimitError):
        siglist.read_lists(data)
    monkeypatch.setattr(siglist, "MAX_OCTETS", 10)
    with pytest.raises(LimitError):
        siglist.read_lists(data)
    with pytest.raises(LimitError):
        siglist.read_update(data)


def test_an_update_is_laid_out_as_specified() -> None:
    update = Update(at=AT, signed_data=b"signed", content=b"content")
    data = siglist.authenticated(update)
    assert data[:16] == struct.pack("<H5B", 2026, 11, 23, 20, 5, 7) + bytes(9)
    assert struct.unpack_from("<IHH", data, 16) == (24 + 6, 0x0200, 0x0EF1)
    assert data[24:40].hex() == "9dd2af4adf68ee498aa9347d375665a7"
    assert data[40:] == b"signedcontent"
    read = siglist.read_update(data)
    assert (read.at, read.signed_data, read.content) == (update.at, b"signed", b"content")
    assert siglist.authenticated(read) == data


def test_times_are_told_in_utc() -> None:
    assert siglist.efi_time(AT.astimezone(timezone(timedelta(hours=5)))) == siglist.efi_time(AT)


@pytest.mark.parametrize(
    ("offset", "octets"), [(2, b"\x0d"), (8, b"\x01"), (12, b"\x3c"), (16, b"\x00"), (18, b"\xff"),
                           (20, b"\x02\x00"), (24, b"\x00"), (22, b"\xf2")],
)  # fmt: skip
def test_an_update_that_breaks_a_rule_is_refused(offset: int, octets: bytes) -> None:
    data = bytearray(siglist.authenticated(Update(at=AT, signed_data=b"s", content=b"")))
    data[offset : offset + len(octets)] = octets
    with pytest.raises(MalformedError):
        siglist.read_update(bytes(data))


def test_what_is_signed_names_the_variable() -> None:
    data = siglist.to_be_signed("dbx", b"list", AT, append=True)
    assert data[:6] == b"d\0b\0x\0"
    assert data[6:22].hex() == "cbb219d73a3d9645a3bcdad00e67656f"
    assert data[22:26] == b"\x67\0\0\0"
    assert data[26:] == siglist.efi_time(AT) + b"list"
    assert siglist.to_be_signed("PK", b"", AT)[20:24] == b"\x27\0\0\0"


@pytest.mark.parametrize(("kind", "each", "header"), [
    (SHA256, 16 + 31, 0), (SHA256, 16 + 33, 0), (SHA256, 16, 0), (X509, 16 + 64, 4),
    (siglist.X509_SHA256, 16 + 32, 0), (SHA256, 16 + 32, 48),
])  # fmt: skip
def test_sizes_that_the_type_forbids_are_refused(kind: str, each: int, header: int) -> None:
    """A reader that trusts them takes half a digest for a whole one."""
    guid = siglist.write_lists([entry(bytes(32), kind)])[:16]
    data = guid + struct.pack("<III", 28 + header + each, header, each) + bytes(header + each)
    with pytest.raises(MalformedError):
        siglist.read_lists(data)


def test_a_list_of_an_unknown_type_is_read_as_it_stands() -> None:
    data = bytes(15) + b"\1" + struct.pack("<III", 28 + 4 + 20, 4, 20) + bytes(4 + 20)
    assert [len(one.data) for one in siglist.read_lists(data)] == [4]


@pytest.mark.parametrize(("fields", "at"), [
    ((0, 0, 0, 0, 0, 0), siglist.NO_TIME),
    ((2026, 0, 31, 1, 2, 3), datetime(2026, 1, 31, 1, 2, 3, tzinfo=UTC)),
    ((2026, 2, 31, 0, 0, 0), datetime(2026, 2, 28, tzinfo=UTC)),
    ((2028, 2, 30, 0, 0, 0), datetime(2028, 2, 29, tzinfo=UTC)),
    ((2010, 3, 6, 19, 17, 21), datetime(2010, 3, 6, 19, 17, 21, tzinfo=UTC)),
])  # fmt: skip
def test_times_that_no_calendar_has_are_the_nearest_there_are(
    fields: tuple[int, ...], at: datetime
) -> None:
    """sbvarsign counts months from zero; sign-efi-sig-list -a writes no time at all."""
    time = struct.pack("<HBBBBB", *fields) + bytes(9)
    whole = siglist.authenticated(Update(at=AT, signed_data=b"s", content=b"c", time=time))
    read = siglist.read_update(whole)
    assert (read.at, read.time) == (at, time)
    assert siglist.to_be_signed("db", b"", AT, time=time)[-16:] == time


@pytest.mark.parametrize("fields", [
    (2026, 13, 1, 0, 0, 0), (2026, 1, 32, 0, 0, 0), (2026, 1, 1, 24, 0, 0), (0, 1, 1, 0, 0, 0),
])  # fmt: skip
def test_times_that_mean_nothing_are_refused(fields: tuple[int, ...]) -> None:
    time = struct.pack("<HBBBBB", *fields) + bytes(9)
    whole = siglist.authenticated(Update(at=AT, signed_data=b"s", content=b"c", time=time))
    with pytest.raises(MalformedError):
        siglist.read_update(whole)
