"""Small ELF files by the System V gABI: programs, libraries, kernel modules, of either class."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

RELOCATABLE, EXECUTABLE, SHARED, CORE = 1, 2, 3, 4
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
NEEDED, STRINGS, SONAME, RUNPATH, FLAGS_1 = 1, 5, 14, 29, 0x6FFF_FFFB
PIE = 0x0800_0000
LOADER = "/lib64/ld-linux-x86-64.so.2"
BASE = 0x10000
"""Where a file's first octet is loaded; its other addresses follow its offsets."""


def linked(
    kind: int = SHARED,
    *,
    interpreter: str = "",
    soname: str = "",
    runpath: str = "",
    needed: Sequence[str] = (),
    flags: int = 0,
    bits: int = 64,
    order: str = "<",
    code: bytes = b"\xc3" * 64,
) -> bytes:
    """Return a program or library with what its dynamic section is to say."""
    wide = bits == 64
    header_size, segment_size = (64, 56) if wide else (52, 32)
    strings = b"\0"
    entries: list[tuple[int, int]] = []
    texts = [(NEEDED, n) for n in needed] + [(SONAME, soname), (RUNPATH, runpath)]
    for tag, text in texts:
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    start = header_size + 3 * segment_size
    path = interpreter.encode() + b"\0" if interpreter else b""
    strings_at = start + len(path)
    entries += [(STRINGS, BASE + strings_at), (FLAGS_1, flags), (0, 0)]
    table = b"".join(struct.pack(order + ("QQ" if wide else "II"), *entry) for entry in entries)
    dynamic_at = strings_at + len(strings)
    total = dynamic_at + len(table) + len(code)
    parts = [
        (LOAD, 0, BASE, total),
        (DYNAMIC, dynamic_at, BASE + dynamic_at, len(table)),
        (INTERPRETER if path else 0, start, BASE + start, len(path)),
    ]
    segments = b"".join(_segment(*part, wide=wide, order=order) for part in parts)
    head = _header(kind, wide=wide, order=order, segments=(header_size, 3))
    return head + segments + path + strings + table + code


def module(
    info: Mapping[str, str] | None = None, *, bits: int = 64, code: bytes = b"\xc3" * 64
) -> bytes:
    """Return a relocatable object with a ``.modinfo`` section, as a module has one."""
    info = {"license": "GPL", "name": "sample", "vermagic": "6.1.0 SMP "} if info is None else info
    wide = bits == 64
    told = b"".join(f"{key}={value}".encode() + b"\0" for key, value in info.items())
    names = b"\0.modinfo\0.shstrtab\0"
    size = 64 if wide else 52
    told_at = size + len(code)
    names_at = told_at + len(told)
    table_at = -(-(names_at + len(names)) // 8) * 8
    sections = (
        _section(0, 0, 0, 0, wide=wide)
        + _section(1, 1, told_at, len(told), wide=wide)
        + _section(10, 3, names_at, len(names), wide=wide)
    )
    head = _header(RELOCATABLE, wide=wide, sections=(table_at, 3, 2))
    body = head + code + told + names
    return body.ljust(table_at, b"\0") + sections


def _header(
    kind: int,
    *,
    wide: bool,
    order: str = "<",
    segments: tuple[int, int] = (0, 0),
    sections: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1))
    sizes = (64, 56, 64) if wide else (52, 32, 40)
    return ident.ljust(16, b"\0") + struct.pack(
        order + ("HHIQQQI6H" if wide else "HHIIIII6H"), kind, 62 if wide else 3, 1, 0,
        segments[0], sections[0], 0, sizes[0], sizes[1], segments[1], sizes[2], *sections[1:],
    )  # fmt: skip


def _segment(kind: int, offset: int, address: int, size: int, *, wide: bool, order: str) -> bytes:
    if wide:
        return struct.pack(order + "IIQQQQQQ", kind, 5, offset, address, address, size, size, 8)
    return struct.pack(order + "IIIIIIII", kind, offset, address, address, size, size, 5, 4)


def _section(name: int, kind: int, offset: int, size: int, *, wide: bool) -> bytes:
    form = "<IIQQQQIIQQ" if wide else "<10I"
    return struct.pack(form, name, kind, 0, 0, offset, size, 0, 0, 1, 0)
