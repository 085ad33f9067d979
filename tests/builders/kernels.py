"""Kernel images made by the rules of Linux: certificate lists, bzImage and zboot headers."""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Sequence

from signward.wire.compressed import pack

REVOKING = b"Loading compiled-in revocation X.509 certificates\0"
BEFORE = b"\x7fELF" + bytes(60) + b"\x55\x48\x89\xe5" * 32
"""What stands before a list: its length is divisible by eight."""


def system_list(
    certificates: Sequence[bytes], *, module_key: int | None = 1, room: int = 0, form: str = "Q"
) -> bytes:
    """Return ``certs/system_certificates.S``: the list, room for more, its length, its key's.

    ``module_key`` counts the certificates at the head that sign modules; None is a kernel
    before 5.12, which did not say.
    """
    listed = b"".join(certificates)
    data = (listed + bytes(room)).ljust(-(-(len(listed) + room) // 8) * 8, b"\0")
    data += struct.pack("<" + form, len(listed))
    if module_key is not None:
        data += struct.pack("<" + form, sum(map(len, certificates[:module_key])))
    return data.ljust(-(-len(data) // 8) * 8, b"\0")


def revocation_list(certificates: Sequence[bytes], following: bytes = b"\xff" * 8) -> bytes:
    """Return ``certs/revocation_certificates.S``: a list, its length, and what comes next."""
    listed = b"".join(certificates)
    data = listed.ljust(-(-len(listed) // 8) * 8, b"\0")
    return data + struct.pack("<Q", len(listed)) + following


def kernel(*parts: bytes) -> bytes:
    """Return an unpacked kernel that holds these parts, each at a multiple of eight."""
    data = BEFORE
    for part in parts:
        data = data.ljust(-(-len(data) // 8) * 8, b"\0") + part
    return data + b"\xcc" * 64


def packed(data: bytes, kind: str) -> bytes:
    """Return one compressed stream, as the kernel's build makes it."""
    if kind == "bzip2":
        return bz2.compress(data)
    if kind == "lzma":
        return lzma.compress(data, lzma.FORMAT_ALONE)
    return pack(kind, data, "kernel")


def bzimage(data: bytes, kind: str = "xz", *, version: int = 0x20F) -> bytes:
    """Return a bzImage: a setup sector and four more, stub code, the payload and its size."""
    payload = packed(data, kind) + len(data).to_bytes(4, "little")
    sectors, stub = 4, b"\x90" * 48
    setup = bytearray((sectors + 1) * 512)
    setup[0:2], setup[0x1F1] = b"MZ", sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, len(stub), len(payload))
    return bytes(setup) + stub + payload + b"\x90" * 32


def zboot(data: bytes, kind: str = "gzip") -> bytes:
    """Return an EFI zboot image: where the payload lies stands at 8, its compression at 24."""
    payload = packed(data, kind)
    head = struct.pack("<4s4sII8x32s", b"MZ\0\0", b"zimg", 64, len(payload), kind.encode())
    return head.ljust(64, b"\0") + payload
