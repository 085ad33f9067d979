"""Option ROMs of our own: images one behind the other, with drivers packed or not."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X64, AARCH64 = 0x8664, 0xAA64
EFI, BIOS = 3, 0
UNIT = 512
HEAD = 0x1C + 0x18
"""Octets before a driver: the header, and the PCI Data Structure of 24 octets."""


def packed(data: bytes) -> bytes:
    """Return octets in UEFI compression, each as it stands: all 256 codes are of 8 bits.

    A block's header says so in 43 bits: the count, one length for all, no positions.
    """
    bits = list[str]()
    for at in range(0, len(data), 0xFFFF):
        part = data[at : at + 0xFFFF]
        bits.append(f"{len(part):016b}{0:05b}{8 + 2:05b}{256:09b}{0:04b}{0:04b}")
        bits.append("".join(f"{octet:08b}" for octet in part))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
    return struct.pack("<II", len(body), len(data)) + body


def image(
    content: bytes, *, code: int = EFI, machine: int = X64, compression: int = 0,
    ids: tuple[int, int] = (0x10DE, 0x2684), last: bool = True, magic: int = 0x0EF1,
    offset: int = HEAD,
) -> bytes:  # fmt: skip
    """Return one image; ``content`` is the driver as it stands in it."""
    units = -(-(HEAD + len(content)) // UNIT)
    head = struct.pack("<2sHIHHH8sHHxx", b"\x55\xaa", units, magic, 11, machine, compression,
                       bytes(8), offset, 0x1C)  # fmt: skip
    pci = struct.pack("<4sHHHHB3sHHBBH", b"PCIR", *ids, 0, 24, 0, b"\0\0\2", units, 0, code,
                      0x80 * last, 0)  # fmt: skip
    whole = head + pci + content
    return whole + bytes(-len(whole) % UNIT)


def rom(drivers: Sequence[bytes]) -> bytes:
    """Return a ROM of packed drivers behind an image of BIOS code, as network cards have it."""
    images = [image(packed(driver), compression=1, last=driver is drivers[-1])
              for driver in drivers]  # fmt: skip
    return b"".join((image(b"code", code=BIOS, last=not images), *images))
