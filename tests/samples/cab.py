"""Cabinets to sign, made piece by piece from [MS-CAB]: alone, in a set, with reserve areas.

``cabinet`` writes uncompressed ones; what it does not write (a signature, a broken pointer)
tests put there by offset.
"""

from __future__ import annotations

import struct

BYTE_EXACT = True

FILES = {"one.txt": b"The first file.\r\n", "two.bin": bytes(range(256)) * 3}

BLOCK = 512
"""Octets of a data block, far below the 32 KiB allowed, so that folders have several."""


def cabinet(
    files: dict[str, bytes] | None = None,
    *,
    folders: int = 1,
    previous: tuple[str, str] | None = None,
    following: tuple[str, str] | None = None,
    set_id: int = 0x1234,
    number: int = 0,
    reserve: bytes | None = None,
    folder_reserve: int = 0,
    data_reserve: int = 0,
) -> bytes:
    """Return a cabinet of uncompressed folders, the files dealt out among them.

    ``reserve`` is the header's reserve area (None: none); the other two are sizes.
    ``previous`` and ``following`` name the neighbouring cabinet and its disk.
    """
    files = FILES if files is None else files
    shares = [list(files.items())[index::folders] for index in range(folders)]
    has_reserve = reserve is not None or folder_reserve or data_reserve
    optional = b""
    if has_reserve:
        optional = struct.pack("<HBB", len(reserve or b""), folder_reserve, data_reserve)
        optional += reserve or b""
    for pair in (previous, following):
        optional += b"".join(name.encode() + b"\0" for name in pair or ())
    entries = b"".join(_files(share, index) for index, share in enumerate(shares))
    files_at = 36 + len(optional) + folders * (8 + folder_reserve)
    blocks = [_blocks(b"".join(data for _, data in share), data_reserve) for share in shares]
    starts, table = files_at + len(entries), b""
    for parts in blocks:
        table += struct.pack("<IHH", starts, len(parts), 0) + bytes(folder_reserve)
        starts += sum(map(len, parts))
    flags = bool(previous) | bool(following) << 1 | bool(has_reserve) << 2
    header = struct.pack(
        "<4s5I2B5H", b"MSCF", 0, starts, 0, files_at, 0, 3, 1,
        folders, len(files), flags, set_id, number,
    )  # fmt: skip
    return header + optional + table + entries + b"".join(b"".join(parts) for parts in blocks)


def _files(share: list[tuple[str, bytes]], folder: int) -> bytes:
    """Return the CFFILE entries of one folder ([MS-CAB] 2.3)."""
    written, offset = b"", 0
    for name, data in share:
        written += struct.pack("<IIHHHH", len(data), offset, folder, 0x5A21, 0x6000, 0x20)
        written += name.encode() + b"\0"
        offset += len(data)
    return written


def _blocks(data: bytes, reserve: int) -> list[bytes]:
    """Return the CFDATA blocks of a folder's bytes ([MS-CAB] 2.4), with their checksums."""
    parts = []
    for start in range(0, len(data), BLOCK):
        piece = data[start : start + BLOCK]
        sizes = struct.pack("<HH", len(piece), len(piece)) + bytes(reserve)
        parts.append(struct.pack("<I", _checksum(sizes, _checksum(piece))) + sizes + piece)
    return parts


def _checksum(data: bytes, seed: int = 0) -> int:
    """Return the checksum of [MS-CAB] 3.1: words exclusive-ored, an odd rest high byte first."""
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        seed ^= int.from_bytes(data[start : start + 4], "little")
    return seed ^ int.from_bytes(data[whole:], "big")


SAMPLES = {
    "plain.cab": cabinet,
    "folders.cab": lambda: cabinet(folders=2),
    "first.cab": lambda: cabinet(following=("disk2.cab", "Disk 2")),
    "middle.cab": lambda: cabinet(
        number=1, previous=("disk1.cab", "Disk 1"), following=("disk3.cab", "Disk 3")
    ),
    "reserves.cab": lambda: cabinet(folder_reserve=4, data_reserve=4),
    "empty.cab": lambda: cabinet({}),
}
