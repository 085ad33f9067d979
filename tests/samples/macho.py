"""Programs and libraries to sign, made command by command from Apple's ``mach-o/loader.h``.

``program`` writes the smallest a loader would take: a page of code, and the symbols behind it.
What it does not write (signatures, broken commands) tests put there by offset.
"""

from __future__ import annotations

import plistlib
import struct
from collections.abc import Sequence

BYTE_EXACT = True

CPU = {
    "x86_64": (0x01000007, 3), "x86_64h": (0x01000007, 8), "arm64": (0x0100000C, 0),
    "arm64e": (0x0100000C, 0x80000002), "i386": (7, 3), "ppc": (18, 0),
}  # fmt: skip
"""Type and subtype of processors (``mach/machine.h``)."""

EXECUTE, DYLIB, BUNDLE = 2, 6, 8

CODE_AT = 0x600
"""Where the first section begins; between the load commands and it there is room for more."""

INFO = plistlib.dumps({"CFBundleIdentifier": "org.example.informed", "CFBundleVersion": "7"})


def page_of(cpu: str) -> int:
    """Return the octets of a page of a processor."""
    return 0x4000 if cpu.startswith("arm64") else 0x1000


def program(
    cpu: str = "x86_64",
    *,
    kind: int = EXECUTE,
    info: bytes = b"",
    libraries: Sequence[str] = ("/usr/lib/libSystem.B.dylib",),
    symbols: int = 64,
    code_at: int = CODE_AT,
    sdk: int = 0x000D0300,
) -> bytes:
    """Return a Mach-O for one processor; ``symbols`` octets stand in __LINKEDIT.

    ``info`` becomes the section __info_plist.  ``sdk`` is a version, 0x00XXYYZZ.
    """
    wide = CPU[cpu][0] >> 24 == 1
    order = ">" if cpu == "ppc" else "<"
    page = page_of(cpu)
    base = (0x100000000 if wide else page) if kind == EXECUTE else 0
    end = page
    sections = [("__text", code_at, end - code_at - len(info))]
    if info:
        sections.append(("__info_plist", end - len(info), len(info)))
    commands = []
    if kind == EXECUTE:
        commands.append(_segment(order, wide, "__PAGEZERO", 0, base, 0, 0, (), 0))
    commands += [
        _segment(order, wide, "__TEXT", base, page, 0, page, sections, 5),
        _segment(order, wide, "__LINKEDIT", base + page, page, page, symbols, (), 1),
        struct.pack(order + "6I", 2, 24, page, symbols // 32, page + symbols // 2, symbols // 2),
        struct.pack(order + "II16s", 0x1B, 24, bytes(range(16))),
        struct.pack(order + "6I", 0x32, 24, 1, 0x000B0000, sdk, 0),
    ]
    if kind == EXECUTE:
        commands.append(struct.pack(order + "IIQQ", 0x80000028, 24, code_at, 0))
    else:
        commands.append(_library(order, 0xD, "@rpath/libsample.dylib"))
    commands += [_library(order, 0xC, name) for name in libraries]
    head = _header(order, wide, cpu, kind, commands)
    code = head.ljust(code_at, b"\0")
    code += bytes(n * 7 % 251 for n in range(end - code_at - len(info))) + info
    return code + bytes((n * 13 + 5) % 256 for n in range(symbols))


def _header(order: str, wide: bool, cpu: str, kind: int, commands: Sequence[bytes]) -> bytes:
    body = b"".join(commands)
    head = struct.pack(
        order + "7I", 0xFEEDFACF if wide else 0xFEEDFACE, *CPU[cpu], kind, len(commands),
        len(body), 0x200085 if kind == EXECUTE else 0x85,
    )  # fmt: skip
    return head + (bytes(4) if wide else b"") + body


def _segment(
    order: str, wide: bool, name: str, at: int, size: int, offset: int, length: int,
    sections: Sequence[tuple[str, int, int]], access: int,
) -> bytes:  # fmt: skip
    """Return a segment's command; sections are names with place and size in the file."""
    word = "Q" if wide else "I"
    body = b"".join(
        struct.pack(
            f"{order}16s16s2{word}7I", title.encode(), name.encode(), at + start, count, start,
            4, 0, 0, 0x80000400 if title == "__text" else 0, 0, 0,
        ) + (bytes(4) if wide else b"")
        for title, start, count in sections
    )  # fmt: skip
    fixed = struct.pack(
        f"{order}16s4{word}4I", name.encode(), at, size, offset, length, access, access,
        len(sections), 0,
    )  # fmt: skip
    return struct.pack(order + "II", 0x19 if wide else 1, 8 + len(fixed + body)) + fixed + body


def _library(order: str, command: int, name: str) -> bytes:
    text = name.encode() + b"\0"
    text += bytes(-len(text) % 8)
    return struct.pack(order + "6I", command, 24 + len(text), 24, 2, 0x10000, 0x10000) + text


def fat(slices: Sequence[tuple[str, bytes]], *, wide: bool = False) -> bytes:
    """Return a universal file of programs, each on its processor's page; ``wide``: fat_arch_64."""
    magic, entry = (0xCAFEBABF, 32) if wide else (0xCAFEBABE, 20)
    table = struct.pack(">II", magic, len(slices))
    at, body = len(table) + entry * len(slices), b""
    start = at
    for cpu, data in slices:
        page = page_of(cpu)
        place = at + -at % page
        shape = ">IIQQII" if wide else ">IIIII"
        more = (page.bit_length() - 1, 0) if wide else (page.bit_length() - 1,)
        table += struct.pack(shape, *CPU[cpu], place, len(data), *more)
        body += bytes(place - at) + data
        at = place + len(data)
    assert len(table) == start
    return table + body


SAMPLES = {
    "tool": program,
    "tool-arm64": lambda: program("arm64"),
    "tool-i386": lambda: program("i386"),
    "informed": lambda: program(info=INFO),
    "libsample.dylib": lambda: program(kind=DYLIB),
    "hardened": program,
    "older": program,
    "universal": lambda: fat((("x86_64", program()), ("i386", program("i386")))),
}

ENTITLEMENTS = plistlib.dumps({"com.apple.security.app-sandbox": True, "groups": ["one", "two"]})

OPTIONS = {
    "hardened": {
        "options": {
            "identifier": "org.example.hardened", "runtime": "yes", "team": "TEAM123456",
            "entitlements": ENTITLEMENTS.decode(), "flags": "library-validation",
        }
    },
    "older": {"options": {"digests": "sha1+sha256"}},
}  # fmt: skip
