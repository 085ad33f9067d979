"""What .NET metadata calls an assembly: read where it is there, silence where it is not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from signward.formats import ParseOptions
from signward.formats._clickonce_publisher import strong_name_blob
from signward.formats._pe_clr import clr_facts
from signward.formats.pe import FORMAT
from signward.verbs.show import parsed
from signward.wire.source import BytesSource, open_source
from signward.wire.spki import rsa_key
from tests.builders import images
from tests.unit.test_clickonce_sign import MICROSOFT_MODULUS

BASE = 0x1000
HEADER = 72
KEY = strong_name_blob(
    rsa_key(int.from_bytes(MICROSOFT_MODULUS.to_bytes(128, "big"), "little"), 65537)
)
COMPRESSED = struct.pack(">H", 0x8000 | len(KEY))
"""A length of two bytes (II.23.2)."""


def assembly(
    *, key: bytes = COMPRESSED + KEY, flags: int = 9, rows: int = 2, wide: bool = False,
    magic: int = 0x424A5342, name: bytes = b"Sample",
) -> bytes:  # fmt: skip
    """Return an image with CLR header and metadata: ``rows`` of TypeRef before the Assembly."""
    index = "<I" if wide else "<H"
    zero = struct.pack(index, 0)
    scope = struct.pack("<I" if rows >= 1 << 14 else "<H", 0)
    type_ref = scope + zero + zero
    row = struct.pack("<I4HI", 0x8004, 1, 2, 3, 4, 1)
    row += struct.pack(index, 1) + struct.pack(index, 1) + zero
    valid = 1 << 0x01 | 1 << 0x20
    tables = struct.pack("<IBBBBQQII", 0, 2, 0, 5 if wide else 0, 1, valid, 0, rows, 1)
    tables += type_ref * rows + row
    strings, blobs = b"\0" + name + b"\0", b"\0" + key
    streams = (("#~", tables), ("#Strings", strings), ("#Blob", blobs))
    padded = [(title.encode() + bytes(4 - len(title) % 4), data) for title, data in streams]
    root = struct.pack("<IHHII", magic, 1, 1, 0, 12) + b"v4.0.30319\0\0"
    root += struct.pack("<HH", 0, len(streams))
    at = len(root) + sum(8 + len(title) for title, _ in padded)
    for title, data in padded:
        root += struct.pack("<II", at, len(data)) + title
        at += len(data)
    root += b"".join(data for _, data in padded)
    header = struct.pack("<IHHIII", HEADER, 2, 5, BASE + HEADER, len(root), flags)
    body = header.ljust(HEADER, b"\0") + root
    whole = bytearray(images.image(body=body))
    struct.pack_into("<II", whole, images.directory_offset(plus=True) + 80, BASE, HEADER)
    return bytes(whole)


def facts(data: bytes) -> dict[str, str | int]:
    source = BytesSource("a.dll", data)
    return clr_facts(source, FORMAT.parse(source, ParseOptions()).layout)


@pytest.mark.parametrize("wide", [False, True])
def test_an_assembly_is_named(wide: bool) -> None:
    assert facts(assembly(wide=wide)) == {
        "assembly": "Sample",
        "assembly-version": "1.2.3.4",
        "public-key-token": "b03f5f7f11d50a3a",
        "strong-name": "claimed, not checked",
    }


@pytest.mark.parametrize("rows", [16_383, 16_384])
def test_rows_decide_how_wide_an_index_is(rows: int) -> None:
    assert facts(assembly(rows=rows))["assembly"] == "Sample"


def test_a_key_alone_and_no_key() -> None:
    assert facts(assembly(flags=1))["strong-name"] == "a key alone"
    bare = facts(assembly(key=b"\0"))
    assert bare["strong-name"] == "none"
    assert "public-key-token" not in bare


@pytest.mark.parametrize(
    "data",
    [
        images.image(),
        assembly(magic=0x12345678),
        assembly(key=b"\xff\xff\xff\xff"),
        assembly()[:-300],
    ],
)
def test_what_cannot_be_read_is_absent(data: bytes) -> None:
    assert "public-key-token" not in facts(data)


def test_no_flipped_byte_raises() -> None:
    data = assembly()
    for offset in range(0x200, min(len(data), 0x400)):
        for bit in (0, 7):
            changed = bytearray(data)
            changed[offset] ^= 1 << bit
            facts(bytes(changed))


def test_show_tells_it() -> None:
    artifact = parsed(BytesSource("a.dll", assembly()))
    assert artifact is not None
    assert artifact.facts["assembly"] == "Sample"
    assert artifact.facts["public-key-token"] == "b03f5f7f11d50a3a"


@pytest.mark.corpus
def test_real_assemblies_have_the_tokens_of_their_makers(corpus: Callable[[str], Path]) -> None:
    tree = corpus("mssql-cli")
    known = {
        "System.Numerics.Vectors.dll": "b03f5f7f11d50a3a",
        "System.Memory.dll": "cc7b13ffcd2ddd51",
        "Microsoft.SqlServer.Smo.dll": "89845dcd8080cc91",
        "Newtonsoft.Json.dll": "30ad4fe6b2a6aeed",
    }
    for name, token in known.items():
        path = next(iter(sorted(tree.rglob(name))))
        with open_source(path) as source:
            layout = FORMAT.parse(source, ParseOptions()).layout
            found = clr_facts(source, layout)
        assert found["assembly"] == name.removesuffix(".dll")
        assert found["public-key-token"] == token
