"""ASN.1: what the reader accepts, what it refuses, and that writing is read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import der


@given(st.integers(min_value=-(2**2000), max_value=2**2000))
def test_integers_are_read_back(value: int) -> None:
    assert der.parse(der.integer(value), "i").integer() == value


@given(st.binary(max_size=70_000))
def test_octets_are_read_back(value: bytes) -> None:
    assert der.parse(der.octet_string(value), "o").octets() == value


@given(
    st.integers(0, 2),
    st.integers(0, 39),
    st.lists(st.integers(0, 2**40), max_size=8),
)
def test_object_identifiers_are_read_back(first: int, second: int, rest: list[int]) -> None:
    dotted = ".".join(map(str, [first, second, *rest]))
    assert der.parse(der.oid(dotted), "oid").oid() == dotted


_EPOCH = datetime(1950, 1, 1, tzinfo=UTC)


@given(st.integers(0, 250_000_000_000))
def test_times_are_read_back_in_whole_seconds(seconds: int) -> None:
    whole = _EPOCH + timedelta(seconds=seconds)
    assert der.parse(der.utc_time(whole), "t").time() == whole
    assert der.parse(der.generalized_time(whole), "t").time() == whole


@given(st.binary(max_size=200))
def test_any_bytes_give_an_element_or_a_finding(data: bytes) -> None:
    try:
        node = der.parse(data, "x", trailing=True)
    except BadInputError:
        return
    assert 0 < node.next <= len(data)


def test_a_two_octet_second_arc() -> None:
    assert der.parse(bytes.fromhex("0603883703"), "oid").oid() == "2.999.3"


def test_set_of_is_sorted() -> None:
    assert der.set_of(der.integer(2), der.integer(1)) == bytes.fromhex("3106020101020102")


def test_indefinite_lengths_are_read_and_rewritten() -> None:
    ber = bytes.fromhex("308024800402abcd0401ef00000000")
    node = der.parse(ber, "ber")
    assert node.children()[0].octets() == b"\xab\xcd\xef"
    assert node.indefinite
    assert der.parse(node.der(), "der").children()[0].tag == 0x24
    assert b"\x80" not in node.der()


def _element(made: tuple[bool, list[tuple[bytes, bytes]]]) -> tuple[bytes, bytes]:
    """Return a SEQUENCE as written, perhaps of indefinite length, and in DER."""
    indefinite, parts = made
    written, definite = (b"".join(part[i] for part in parts) for i in (0, 1))
    own = b"\x30\x80" + written + b"\0\0" if indefinite else der.sequence(written)
    return own, der.sequence(definite)


_TREES = st.recursive(
    st.binary(max_size=12).map(lambda octets: (der.octet_string(octets),) * 2),
    lambda inner: st.tuples(st.booleans(), st.lists(inner, max_size=4)).map(_element),
    max_leaves=12,
)


@given(_TREES)
def test_indefinite_lengths_anywhere_are_rewritten(tree: tuple[bytes, bytes]) -> None:
    written, definite = tree
    assert der.parse(written, "tree").der() == definite


def test_definite_elements_are_kept_as_they_stand() -> None:
    unsorted = der.encode(der.SET, der.integer(2) + der.integer(1))
    assert der.parse(unsorted, "set").der() == unsorted
    assert der.parse(unsorted, "set").der(der.SEQUENCE)[0] == der.SEQUENCE


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "truncated header"),
        ("30", "truncated header"),
        ("3003020101ff", "behind the structure"),
        ("30050201", "contents"),
        ("308500000000010500", "length of 5"),
        ("1f8101", "tag number"),
        ("0480", "indefinite"),
        ("30800000ff", "behind the structure"),
    ],
)
def test_malformed_elements_say_why(data: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        der.parse(bytes.fromhex(data), "x")


def test_nesting_is_bounded() -> None:
    data = b""
    for _ in range(der.MAX_DEPTH + 2):
        data = der.sequence(data)

    def descend(node: der.Node) -> None:
        for child in node.children():
            descend(child)

    with pytest.raises(LimitError, match="nesting"):
        descend(der.parse(data, "x"))
    with pytest.raises(LimitError, match="nesting"):
        der.parse(b"\x30\x80" * 1000, "x")


@pytest.mark.parametrize("data", ["0600", "06028001", "060181", "06" + "41" + "81" * 64 + "01"])
def test_odd_object_identifiers_are_malformed(data: str) -> None:
    with pytest.raises(MalformedError):
        der.parse(bytes.fromhex(data), "oid").oid()


@pytest.mark.parametrize(
    "text",
    ["24010100Z", "+10101000000Z", "240101000000", "241301000000Z", "24010100000\u00b2Z", "Z", ""],
)
def test_odd_times_are_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        der.parse(der.encode(der.UTC_TIME, text.encode("latin-1")), "t").time()


def test_generalized_time_with_a_fraction() -> None:
    node = der.parse(der.encode(der.GENERALIZED_TIME, b"20240102030405.25Z"), "t")
    assert node.time() == datetime(2024, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


def test_wrong_types_are_malformed() -> None:
    integer = der.parse(der.integer(1), "x")
    for read in (integer.oid, integer.octets, integer.boolean, integer.text, integer.time,
                 integer.bits, integer.children):  # fmt: skip
        with pytest.raises(MalformedError):
            read()
    with pytest.raises(MalformedError):
        der.parse(der.null(), "x").integer()
    with pytest.raises(LimitError):
        der.parse(b"\x02\x00", "x").integer()
    with pytest.raises(MalformedError, match="at least 2"):
        der.parse(der.sequence(der.null()), "x").fields("x", 2)


def test_strings_of_every_type() -> None:
    assert der.parse(der.utf8("ä"), "s").text() == "ä"
    assert der.parse(der.printable("a"), "s").text() == "a"
    assert der.parse(der.encode(der.BMP_STRING, "ä".encode("utf-16-be")), "s").text() == "ä"
    with pytest.raises(MalformedError, match="utf-8"):
        der.parse(der.encode(der.UTF8_STRING, b"\xff"), "s").text()


def test_booleans_and_bits() -> None:
    assert der.parse(der.boolean(True), "b").boolean()
    assert not der.parse(der.boolean(False), "b").boolean()
    assert der.parse(der.bit_string(b"ab"), "b").bits() == b"ab"
    with pytest.raises(MalformedError, match="unused"):
        der.parse(bytes.fromhex("03020480"), "b").bits()
