"""Xar archives to sign, made from xarformat: an installer package, a checksum of old, no checksum.

``archive`` writes them; what it does not write (a second signature, a broken offset) tests put
into ``toc`` themselves with ``packed``.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from tests.samples.dmg import exempt as exempt  # noqa: PLC0414 - the same of any CMS

FILES = {
    "Distribution": b"<installer-gui-script/>" * 8,
    "Tool.pkg/Payload": bytes(range(256)) * 4,
    "Tool.pkg/PackageInfo": b'<pkg-info identifier="org.example.tool"/>',
}

NUMBERS = {"none": 0, "sha1": 1, "md5": 2, "sha256": 3, "sha512": 4}


def packed(toc: str, heap: bytes, checksum: str = "sha256", level: int = 6) -> bytes:
    """Return the archive of a table and a heap, with the table's checksum put in front of it."""
    table = f'<?xml version="1.0" encoding="UTF-8"?>\n<xar>\n <toc>{toc}\n </toc>\n</xar>\n'
    data = zlib.compress(table.encode(), level)
    header = struct.pack(
        ">4sHHQQI", b"xar!", 28, 1, len(data), len(table.encode()), NUMBERS[checksum]
    )
    stored = b"" if checksum == "none" else hashlib.new(checksum, data).digest()
    return header + data + stored + heap


def checksum_node(checksum: str) -> str:
    """Return the table's element for its own checksum, at the heap's start."""
    size = hashlib.new(checksum).digest_size
    return (
        f'\n  <checksum style="{checksum}">\n   <offset>0</offset>\n   <size>{size}</size>'
        "\n  </checksum>"
    )


def file_node(number: int, name: str, offset: int, data: bytes, checksum: str) -> str:
    """Return the element of one stored file."""
    digest = "" if checksum == "none" else hashlib.new(checksum, data).hexdigest()
    sums = "".join(
        f'\n    <{kind}-checksum style="{checksum}">{digest}</{kind}-checksum>'
        for kind in ("extracted", "archived") if digest
    )  # fmt: skip
    return (
        f'\n  <file id="{number}">\n   <data>\n    <length>{len(data)}</length>'
        f"\n    <offset>{offset}</offset>\n    <size>{len(data)}</size>"
        f'\n    <encoding style="application/octet-stream"/>{sums}'
        f"\n   </data>\n   <type>file</type>\n   <name>{name}</name>\n  </file>"
    )


def archive(
    files: dict[str, bytes] | None = None, *, checksum: str = "sha256", inner: str = ""
) -> bytes:
    """Return an unsigned archive; ``inner`` is the files' checksum where it is another."""
    files = FILES if files is None else files
    toc = "\n  <creation-time>2024-01-03T15:48:26</creation-time>"
    toc += "" if checksum == "none" else checksum_node(checksum)
    offset = 0 if checksum == "none" else hashlib.new(checksum).digest_size
    heap = b""
    for number, (name, data) in enumerate(files.items(), 1):
        toc += file_node(number, name, offset + len(heap), data, inner or checksum)
        heap += data
    return packed(toc, heap, checksum)


SAMPLES = {
    "tool.pkg": archive,
    "old.pkg": lambda: archive(checksum="sha1"),
    "bare.xar": lambda: archive(checksum="none"),
    "empty.xar": lambda: archive({}),
}
