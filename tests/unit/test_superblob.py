"""Superblobs: read as Apple's readers do where they agree, refused where they would not."""

from __future__ import annotations

import pytest

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.wire.superblob import (
    BLOB_WRAPPER,
    CMS_SLOT,
    MAX_BLOBS,
    REQUIREMENT_SET,
    blob_length,
    content_of,
    make_blob,
    read_superblob,
    write_superblob,
)
from tests.builders import macho

ONE = make_blob(REQUIREMENT_SET, bytes(4))
TWO = make_blob(BLOB_WRAPPER, b"signature")


def test_what_is_written_is_read_and_is_what_the_header_file_says() -> None:
    blobs = {2: ONE, CMS_SLOT: TWO}
    written = write_superblob(blobs)
    assert written == macho.superblob([(2, ONE), (CMS_SLOT, TWO)])
    assert dict(read_superblob(written, "test")) == blobs
    assert list(read_superblob(written, "test")) == [2, CMS_SLOT]


def test_room_behind_it_may_be_zero_and_nothing_else() -> None:
    written = write_superblob({2: ONE})
    assert dict(read_superblob(written + bytes(100), "test")) == {2: ONE}
    with pytest.raises(MalformedError, match="octets of no blob"):
        read_superblob(written + bytes(50) + b"\1" + bytes(49), "test")


def test_octets_between_blobs_must_be_zero() -> None:
    written = bytearray(write_superblob({2: ONE, CMS_SLOT: make_blob(BLOB_WRAPPER, bytes(8))}))
    second = int.from_bytes(written[24:28], "big")
    apart = written[:second] + b"\0" * 4 + written[second:]
    apart[24:28] = (second + 4).to_bytes(4, "big")
    apart[4:8] = len(apart).to_bytes(4, "big")
    assert len(read_superblob(bytes(apart), "test")) == 2
    apart[second] = 7
    with pytest.raises(MalformedError, match="octets of no blob"):
        read_superblob(bytes(apart), "test")


def test_a_type_that_stands_twice_is_ambiguous() -> None:
    with pytest.raises(AmbiguousError, match="two blobs of type 0x2"):
        read_superblob(macho.superblob([(2, ONE), (2, ONE)]), "test")


def test_blobs_that_share_octets_are_ambiguous() -> None:
    written = bytearray(write_superblob({2: ONE, 3: ONE}))
    written[24:28] = written[16:20]
    with pytest.raises(AmbiguousError, match="share octets"):
        read_superblob(bytes(written), "test")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(16, 0), (16, 12), (16, 1 << 31), (16, 25), (8, 1000 - 990 + 50), (4, 11), (4, 1 << 30)],
    ids=["at-0", "in-the-index", "far", "cut-short", "count", "short", "long"],
)
def test_places_outside_are_refused(offset: int, value: int) -> None:
    written = bytearray(write_superblob({2: ONE}))
    written[offset : offset + 4] = value.to_bytes(4, "big")
    with pytest.raises(MalformedError):
        read_superblob(bytes(written), "test")


def test_another_magic_is_refused() -> None:
    with pytest.raises(MalformedError, match="magic 0xfade0cc1"):
        read_superblob(write_superblob({}, magic=0xFADE0CC1), "test")
    with pytest.raises(MalformedError, match="magic"):
        content_of(ONE, "test", magic=BLOB_WRAPPER)


def test_counts_are_bounded() -> None:
    many = macho.superblob([(n, ONE) for n in range(MAX_BLOBS + 1)])
    with pytest.raises(LimitError, match="blobs"):
        read_superblob(many, "test")


def test_every_truncation_is_refused() -> None:
    written = write_superblob({2: ONE, CMS_SLOT: TWO})
    for length in range(len(written)):
        with pytest.raises(MalformedError):
            read_superblob(written[:length], "test")


def test_a_blob_has_its_header_at_least_and_nothing_behind() -> None:
    assert content_of(TWO, "test") == b"signature"
    assert blob_length(TWO + b"more", "test") == len(TWO)
    with pytest.raises(MalformedError, match="octets behind"):
        content_of(TWO + b"more", "test")
