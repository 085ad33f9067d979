"""Signed cabinets, written from [MS-CAB], their digests computed from what is written.

A signed cabinet's header has a reserve area of 20 octets: the sizes of two structures (0 and 16)
and the second one, which holds offset and size of the PKCS#7 behind the cabinet.  The digest
leaves out reserved1, the sizes of the reserve areas and that structure with its size.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

from conformance.authenticode import cms
from conformance.authenticode.pki import default_pki
from signward.wire import der

CAB_DATA = "1.3.6.1.4.1.311.2.1.25"

FILES = {"one.txt": b"The first file.\r\n", "two.bin": bytes(range(256)) * 3}

POINTER = 44
"""Where the structure that points at the signature stands."""

HEADER = 60
"""Octets of the header with its reserve area."""

Change = Callable[[bytearray], None]


def cabinet(
    files: dict[str, bytes] = FILES, *, room: bool = True, set_id: int = 7, number: int = 0
) -> bytes:
    """Return a cabinet of one uncompressed folder, with ``room`` for a signature's pointer."""
    area = struct.pack("<HBBHH16x", 20, 0, 0, 0, 16) if room else b""
    entries, offset = b"", 0
    for name, data in files.items():
        entries += struct.pack("<IIHHHH", len(data), offset, 0, 0x5A21, 0x6000, 0x20)
        entries += name.encode() + b"\0"
        offset += len(data)
    content = b"".join(files.values())
    block = struct.pack("<IHH", 0, len(content), len(content)) + content
    files_at = 36 + len(area) + 8
    start = files_at + len(entries)
    header = struct.pack(
        "<4s5I2B5H", b"MSCF", 0, start + len(block), 0, files_at, 0, 3, 1,
        1, len(files), 4 if room else 0, set_id, number,
    )  # fmt: skip
    return header + area + struct.pack("<IHH", start, 1, 0) + entries + block


def content_digest(data: bytes, digest: str = "sha256") -> bytes:
    """Return the digest of a cabinet with room for a pointer."""
    covered = data[:4] + data[8:36] + data[40:42] + data[HEADER:]
    return hashlib.new(digest, covered).digest()


def envelope(
    octets: bytes, digest: str = "sha256", *, kind: str = CAB_DATA, **fields: Any
) -> bytes:
    """Return the PKCS#7 over a cabinet's digest; ``fields`` go into ``cms.Signer``."""
    pki = default_pki()
    text = der.context(0, "<<<Obsolete>>>".encode("utf-16-be"), constructed=False)
    spoken = cms.indirect_data(kind, der.context(2, text), digest, octets)
    signer = cms.Signer(identity=pki.leaf, digest=digest, **fields)
    return cms.sign(spoken, signer, certificates=pki.chain)


def signed(
    data: bytes = cabinet(),
    *,
    digest: str = "sha256",
    between: bytes = b"",
    padding: bytes | None = None,
    behind: bytes = b"",
    change: Change = lambda _whole: None,
    **fields: Any,
) -> bytes:
    """Return a signed cabinet.

    ``between`` stands before the PKCS#7, ``padding`` behind it inside the pointer's size (by
    default zeros to a multiple of eight), ``behind`` follows all; ``change`` comes last.
    """
    blob = envelope(content_digest(data, digest), digest, **fields)
    blob += bytes(-len(blob) % 8) if padding is None else padding
    whole = bytearray(data + between + blob + behind)
    struct.pack_into("<II", whole, POINTER, len(data) + len(between), len(blob))
    change(whole)
    return bytes(whole)


def put(offset: int, octets: bytes) -> Change:
    """Return a change that writes ``octets`` at ``offset``."""

    def change(whole: bytearray) -> None:
        whole[offset : offset + len(octets)] = octets

    return change
