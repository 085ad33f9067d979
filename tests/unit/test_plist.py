"""Property lists from files nobody vouched for: what they may hold, and how much of it."""

from __future__ import annotations

import plistlib
import struct

import pytest

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.wire import plist
from signward.wire.plist import read_plist, write_plist


def doubling(levels: int) -> bytes:
    """Return a binary list whose every level names the next one twice: 2^levels texts."""
    objects = [b"\xd1\1\2", b"\x51k"]
    objects += [bytes([0xA2, number + 3, number + 3]) for number in range(levels)]
    objects.append(b"\x51x")
    out, offsets = b"bplist00", []
    for one in objects:
        offsets.append(len(out))
        out += one
    table = struct.pack(f">{len(offsets)}H", *offsets)
    return out + table + bytes(6) + b"\2\1" + struct.pack(">QQQ", len(objects), 0, len(out))


def test_both_forms_are_read() -> None:
    value = {"a": [1, "x", {"b": True}], "c": b"octets"}
    for form in (plistlib.FMT_XML, plistlib.FMT_BINARY):
        assert read_plist(plistlib.dumps(value, fmt=form), "list") == value
    assert read_plist(write_plist(value), "list") == value
    assert read_plist(doubling(3), "list") == {"k": [[["x"] * 2] * 2] * 2}


def test_lists_that_name_one_another_over_and_over_are_bounded() -> None:
    assert len(doubling(60)) < 700
    with pytest.raises(LimitError):
        read_plist(doubling(60), "list")


def test_values_octets_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    nested: list[object] = []
    for _ in range(plist.MAX_DEPTH):
        nested = [nested]
    with pytest.raises(LimitError, match="deeper"):
        read_plist(plistlib.dumps({"k": nested}), "list")
    with pytest.raises(LimitError, match="octets"):
        read_plist(plistlib.dumps({"k": 1}), "list", most=20)
    monkeypatch.setattr(plist, "MAX_VALUES", 4)
    assert read_plist(plistlib.dumps({"k": [1]}), "list")
    with pytest.raises(LimitError, match="values"):
        read_plist(plistlib.dumps({"k": [1, 2, 3]}), "list")


def test_a_list_that_holds_itself_is_refused() -> None:
    itself = b"bplist00\xd1\1\2Qa\xa1\2" + bytes([8, 11, 13]) + bytes(6) + b"\1\1"
    itself += (3).to_bytes(8, "big") + bytes(8) + (15).to_bytes(8, "big")
    with pytest.raises(LimitError):
        read_plist(itself, "list")


@pytest.mark.parametrize(
    "text",
    [b"", b"bplist00", b"<plist>", b"<plist><array/></plist>", b"<plist><true/></plist>",
     b'<!DOCTYPE p [<!ENTITY e "x">]><plist><dict><key>&e;</key><true/></dict></plist>'],
)  # fmt: skip
def test_what_is_no_dictionary_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedError):
        read_plist(text, "list")


def test_a_key_that_stands_twice_is_ambiguous() -> None:
    twice = b"<plist><dict><key>a</key><true/><key>a</key><false/></dict></plist>"
    with pytest.raises(AmbiguousError):
        read_plist(twice, "list")
