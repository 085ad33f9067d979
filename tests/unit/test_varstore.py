"""Variable stores of EDK II: what is valid in them is read, whatever else stands there."""

from __future__ import annotations

import contextlib
import random
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.frozen import replace
from signward.wire import varstore
from signward.wire.siglist import GLOBAL, IMAGE_SECURITY
from signward.wire.varstore import Variable, read_store
from tests.builders.varstore import (
    ADDED,
    DELETED,
    HEADER_ONLY,
    IN_TRANSITION,
    image,
    store,
    variable,
)

AT = datetime(2026, 11, 23, 20, 5, 7, tzinfo=UTC)
DB = Variable(name="db", vendor=IMAGE_SECURITY, content=b"lists", attributes=0x27, at=AT)
LANG = Variable(name="Lang", vendor=GLOBAL, content=b"eng", attributes=7)


def test_variables_are_read_in_their_order() -> None:
    assert read_store(store([DB, LANG])) == (DB, LANG)


def test_a_store_without_times_is_read() -> None:
    untimed = replace(DB, at=None)
    assert read_store(store([untimed, LANG], timed=False)) == (untimed, LANG)


def test_the_volume_may_stand_anywhere_in_a_flash_image() -> None:
    assert read_store(image(variable(DB), before=0x3001)) == (DB,)


def test_an_empty_store_holds_nothing() -> None:
    assert read_store(store([])) == ()


def test_what_is_deleted_or_half_written_does_not_count() -> None:
    gone = replace(DB, content=b"gone")
    body = variable(gone, DELETED) + variable(gone, HEADER_ONLY) + variable(DB)
    assert read_store(image(body)) == (DB,)


@pytest.mark.parametrize("successor_first", [True, False])
def test_a_variable_in_transition_counts_until_its_successor_is_there(
    successor_first: bool,
) -> None:
    old = variable(replace(DB, content=b"old"), IN_TRANSITION)
    assert read_store(image(old))[0].content == b"old"
    parts = (variable(DB), old) if successor_first else (old, variable(DB))
    assert read_store(image(b"".join(parts))) == (DB,)


def test_a_header_that_was_never_finished_ends_nothing() -> None:
    """Firmware lost power: sizes are still erased, the next variable follows the header."""
    torn = bytearray(variable(replace(DB, content=b""), 0xFF))[:60]
    struct.pack_into("<II", torn, 36, 0xFFFFFFFF, 0xFFFFFFFF)
    assert read_store(image(bytes(torn) + variable(DB))) == (DB,)


def test_one_name_under_two_guids_is_two_variables() -> None:
    other = replace(DB, vendor=GLOBAL)
    assert read_store(store([DB, other])) == (DB, other)


@pytest.mark.parametrize("offset", [36, 40])
def test_sizes_beyond_the_store_are_refused(offset: int) -> None:
    one = bytearray(variable(DB))
    struct.pack_into("<I", one, offset, 0x7FFFFFF0)
    with pytest.raises(MalformedError, match="a variable of"):
        read_store(image(bytes(one)))


def test_a_store_beyond_its_volume_is_refused() -> None:
    data = bytearray(store([DB]))
    struct.pack_into("<I", data, 72 + 16, 0x20000)
    with pytest.raises(MalformedError, match="a store inside its volume"):
        read_store(bytes(data))


@pytest.mark.parametrize("offset", [16, 40, 72, 72 + 20, 72 + 21])
def test_what_is_no_store_is_said_to_be_none(offset: int) -> None:
    data = bytearray(store([DB]))
    data[offset] ^= 1
    with pytest.raises(MalformedError, match="no firmware volume for variables"):
        read_store(bytes(data))


def test_a_name_that_is_no_utf_16_is_refused() -> None:
    one = bytearray(variable(DB))
    one[60:62] = b"\x00\xd8"
    with pytest.raises(MalformedError, match="no UTF-16"):
        read_store(image(bytes(one)))


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    data = store([DB, LANG])
    monkeypatch.setattr(varstore, "MAX_NAME", 8)
    with pytest.raises(LimitError, match="a name of 10 octets"):
        read_store(data)
    monkeypatch.setattr(varstore, "MAX_VARIABLES", 1)
    monkeypatch.setattr(varstore, "MAX_NAME", 10)
    with pytest.raises(LimitError, match="more variables"):
        read_store(data)
    monkeypatch.setattr(varstore, "MAX_IMAGE", 100)
    with pytest.raises(LimitError, match="at most 100"):
        read_store(data)


@given(st.binary(max_size=300))
def test_any_octets_behind_the_headers_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadInputError):
        read_store(image(body))


@given(st.integers(0, 400))
def test_a_store_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        read_store(store([DB, LANG])[:length])


OVMF = Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")


def test_changes_of_a_real_image_surprise_nobody() -> None:
    if not OVMF.exists():
        pytest.skip("ovmf is not installed")
    real = OVMF.read_bytes()
    used, random_ = len(real.rstrip(b"\xff\0")), random.Random(6)  # the spare block behind is empty
    before = read_store(real)
    for _ in range(2000):
        data = bytearray(real)
        data[random_.randrange(min(used, 0x6000))] = random_.randrange(256)
        with contextlib.suppress(BadInputError):
            assert len(read_store(bytes(data))) <= len(before) + 10


def test_states_are_those_that_are_tested() -> None:
    assert (ADDED, IN_TRANSITION) == (varstore._ADDED, varstore._IN_TRANSITION)
