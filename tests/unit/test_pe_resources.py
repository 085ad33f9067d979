"""Version information of images: read when it is there, silence when it is not."""

from __future__ import annotations

import struct

import pytest

from signward.formats import ParseOptions
from signward.formats._pe_resources import MAX_VERSION_RESOURCE, version_facts
from signward.formats.pe import FORMAT
from signward.wire.source import BytesSource
from tests.builders import images

BASE = 0x1000
"""Address of the section; the resources begin there."""


def string(key: str, value: str) -> bytes:
    """A String structure of VS_VERSIONINFO."""
    name = key.encode("utf-16-le") + b"\0\0"
    name += bytes(-(6 + len(name)) % 4)
    text = value.encode("utf-16-le") + b"\0\0"
    whole = struct.pack("<HHH", 6 + len(name) + len(text), len(value) + 1, 1) + name + text
    return whole + bytes(-len(whole) % 4)


def version_information(**strings: str) -> bytes:
    """A VS_VERSIONINFO with a fixed part of version 1.2.3.4 and the strings."""
    key = "VS_VERSION_INFO".encode("utf-16-le") + b"\0\0"
    fixed = struct.pack("<II", 0xFEEF04BD, 0x10000) + struct.pack("<HHHH", 2, 1, 4, 3) + bytes(36)
    body = b"".join(string(name, value) for name, value in strings.items())
    head = struct.pack("<HHH", 0, len(fixed), 0) + key
    head += bytes(-len(head) % 4)
    return head + fixed + body


def directory(identifier: int, target: int) -> bytes:
    """A resource directory with one numbered entry."""
    return struct.pack("<12xHHII", 0, 1, identifier, target)


def with_resources(version: bytes, *, kind: int = 16, size: int | None = None,
                   address: int = BASE + 88, leaf: int = 72) -> bytes:  # fmt: skip
    """An image whose section holds three directories, a data entry and ``version``."""
    sub = 0x80000000
    tree = directory(kind, sub | 24) + directory(1, sub | 48) + directory(1033, leaf)
    entry = struct.pack("<IIII", address, len(version) if size is None else size, 0, 0)
    data = bytearray(images.image(body=tree + entry + version))
    struct.pack_into("<II", data, images.directory_offset(plus=True) - 16, BASE, 0x100)
    return bytes(data)


def facts(data: bytes) -> dict[str, str | int]:
    source = BytesSource("a.exe", data)
    return version_facts(source, FORMAT.parse(source, ParseOptions()).layout)


def test_version_strings() -> None:
    data = with_resources(version_information(
        CompanyName="Example", FileDescription="A thing", FileVersion="1.2.3.4 (built)",
        OriginalFilename="thing.exe", ProductName="Thing \u20ac",
    ))  # fmt: skip
    assert facts(data) == {
        "company": "Example",
        "description": "A thing",
        "file-version": "1.2.3.4 (built)",
        "original-name": "thing.exe",
        "product": "Thing \u20ac",
        "fixed-file-version": "1.2.3.4",
    }


def test_long_strings_are_cut() -> None:
    found = facts(with_resources(version_information(ProductName="x" * 1000)))
    assert found["product"] == "x" * 256


def test_empty_strings_are_no_facts() -> None:
    assert "product" not in facts(with_resources(version_information(ProductName=" ")))


@pytest.mark.parametrize(
    "data",
    [
        images.image(),
        with_resources(b"", kind=3),
        with_resources(b"x" * 64, size=MAX_VERSION_RESOURCE + 1),
        with_resources(b"x" * 64, address=0x900000),
        with_resources(b"x" * 64, size=0x8000),
        with_resources(b"x" * 64, leaf=0x80000000),
        with_resources(b"x" * 64, leaf=0x7FFFFFF0),
        with_resources(b""),
        with_resources(b"\xbd\x04\xef\xfe"),
    ],
    ids=["none", "no-version", "huge", "nowhere", "beyond", "circle", "far", "empty", "cut"],
)
def test_unreadable_resources_say_nothing(data: bytes) -> None:
    assert facts(data) == {}
