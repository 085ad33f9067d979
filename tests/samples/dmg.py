"""Disk images to sign, made from UDIFFileHeader: a data fork, a property list, the trailer."""

from __future__ import annotations

import struct
import zlib

BYTE_EXACT = True

PLIST = b'<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict/></plist>\n'
CONTENT = zlib.compress(bytes(range(256)) * 8)


def trailer(
    data: int, plist: int, *, offset: int = 0, size: int = 0, version: int = 4, segments: int = 1
) -> bytes:
    """Return the 512 octets that end an image with so many octets of data and property list."""
    head = struct.pack(">4sIII", b"koly", version, 512, 1)
    forks = struct.pack(">QQQQQII16x", 0, 0, data, 0, 0, 1, segments)
    lists = struct.pack(">136xQQ64xQQ", data, plist, offset, size)
    return (head + forks + lists).ljust(488, b"\0") + struct.pack(">IQ12x", 1, 8)


def image(content: bytes = CONTENT, plist: bytes = PLIST) -> bytes:
    """Return an unsigned image."""
    return content + plist + trailer(len(content), len(plist))


SAMPLES = {
    "tool.dmg": image,
    "bare.dmg": lambda: image(b"\0" * 512, b""),
}


def exempt(data: bytes) -> frozenset[int]:
    """Return where the CMS says its version: no signature covers it, readers take several."""
    signed_data = data.find(bytes.fromhex("06092a864886f70d010702"))
    return frozenset({data.index(b"\x02\x01", signed_data) + 2} if signed_data >= 0 else ())
