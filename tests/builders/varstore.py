"""Flash images with UEFI variables in them, written as EDK II lays them out."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable

from signward.wire.siglist import efi_time
from signward.wire.varstore import AUTHENTICATED, NV_DATA, PLAIN, Variable

ADDED, IN_TRANSITION, DELETED, HEADER_ONLY = 0x3F, 0x3E, 0x3C, 0x7F


def guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


def variable(one: Variable, state: int = ADDED, *, timed: bool = True) -> bytes:
    """Return a variable with its header, up to the next multiple of four octets."""
    name = one.name.encode("utf-16-le") + b"\0\0"
    head = struct.pack("<HBBI", 0x55AA, state, 0, one.attributes)
    if timed:
        head += struct.pack("<Q16sI", 0, efi_time(one.at) if one.at else bytes(16), 0)
    head += struct.pack("<II", len(name), len(one.content)) + guid(one.vendor)
    whole = head + name + one.content
    return whole + b"\xff" * (-len(whole) % 4)


def image(body: bytes, *, timed: bool = True, size: int = 0x10000, before: int = 0) -> bytes:
    """Return a volume of ``size`` octets behind ``before`` others, its store filled with 0xFF."""
    header = 72
    head = struct.pack(
        "<16x16sQ4sIHHHBB", guid(NV_DATA), size, b"_FVH", 0x4FEFF, header, 0, 0, 0, 2
    )
    blocks = struct.pack("<IIII", size // 4096, 4096, 0, 0)
    length = size - header
    store = struct.pack(
        "<16sIBBHI", guid(AUTHENTICATED if timed else PLAIN), length, 0x5A, 0xFE, 0, 0
    )
    return bytes(before) + (head + blocks + store + body).ljust(size, b"\xff")


def store(variables: Iterable[Variable], *, timed: bool = True) -> bytes:
    """Return a flash image that holds these variables."""
    return image(b"".join(variable(one, timed=timed) for one in variables), timed=timed)
