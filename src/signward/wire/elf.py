"""ELF files: what one says of itself (System V gABI, ELF-64 Object File Format).

Nothing here decides about a signature, which covers every octet whatever it means: a file whose
headers make no sense is one of which less is known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from signward.errors import BadInputError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

MAGIC = b"\x7fELF"
RELOCATABLE, EXECUTABLE, SHARED, CORE = 1, 2, 3, 4
"""``e_type``: what the linker made."""

MAX_SEGMENTS = 256
"""Program headers read; the linkers' own files have some ten."""

MAX_SECTIONS = 65_535
"""Section headers read: as many as ``e_shnum`` can say."""

SECTION_HEADER = 64
"""Octets of the longer section header (ELF-64)."""

MAX_DYNAMIC = 64 * 1024
"""Octets of the dynamic section read; each entry has sixteen."""

MAX_TEXT = 1024
"""Octets of one string; paths longer than this load nothing."""

MAX_MODINFO = 256 * 1024
"""Octets of a module's ``.modinfo`` read; the longest lists of aliases have some 100 KiB."""

_WHAT = "ELF file"
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _SONAME, _RPATH, _RUNPATH, _FLAGS_1 = 1, 5, 14, 15, 29, 0x6FFF_FFFB
_PIE = 0x0800_0000
"""``DF_1_PIE``: a shared object that is a program."""

_MACHINES = {
    3: "x86", 8: "mips", 20: "powerpc", 21: "powerpc64", 22: "s390", 40: "arm", 62: "x86-64",
    183: "aarch64", 243: "riscv", 247: "bpf", 258: "loongarch",
}  # fmt: skip
_TYPES = {RELOCATABLE: "relocatable", EXECUTABLE: "executable", CORE: "core"}


class Elf(Frozen, frozen=True, kw_only=True):
    """What the headers say; ``role`` is what it is to whoever starts or loads it.

    ``executable`` (position-independent ones too), ``library``, ``relocatable`` (object files
    and kernel modules), ``core`` or ``other``.
    """

    role: str
    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    runpath: str = ""
    needed: tuple[str, ...] = ()


class _Form(NamedTuple):
    """How numbers lie in a file of one class and byte order."""

    order: str
    header: str
    segment: str
    section: str
    entry: str


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def elf_type(head: bytes) -> int:
    """Return ``e_type`` (u16 at 16, in the byte order octet 5 tells); 0 for what is no ELF."""
    if head[:4] != MAGIC or len(head) < 18:
        return 0
    return int.from_bytes(head[16:18], "big" if head[5] == 2 else "little")


def read_elf(source: Source, end: int) -> Elf | None:
    """Return what the ELF file in the first ``end`` octets says of itself; None if it is broken."""
    try:
        return _read(source, end)
    except (BadInputError, struct.error):
        return None


def _read(source: Source, end: int) -> Elf:
    form, bits = _form(source.read(0, 16))
    kind, machine, segments_at, _, size, count, *_ = _header(source, form)
    segments = list(_segments(source, form, segments_at, size, count))
    interpreter = next((s for s in segments if s.kind == _INTERPRETER), None)
    found = list(_dynamic(source, form, segments, end))
    values = dict(found)
    strings = _place(segments, values.get(_STRINGS, 0))

    def text(offset: int | None) -> str:
        return _text(source, strings + offset, end) if strings and offset is not None else ""

    path = _text(source, interpreter.offset, end) if interpreter else ""
    soname = text(values.get(_SONAME))
    return Elf(
        role=_role(kind, values.get(_FLAGS_1, 0), path, soname),
        machine=_MACHINES.get(machine, str(machine)),
        bits=bits,
        interpreter=path,
        soname=soname,
        runpath=text(values.get(_RUNPATH, values.get(_RPATH))),
        needed=tuple(text(value) for tag, value in found if tag == _NEEDED),
    )


def _role(kind: int, flags: int, interpreter: str, soname: str) -> str:
    """Tell programs from libraries: since 2018 linkers say, before only an interpreter did.

    A library may name an interpreter too (the C library does, to print its version).
    """
    if kind != SHARED:
        return _TYPES.get(kind, "other")
    return "executable" if flags & _PIE or (interpreter and not soname) else "library"


def _form(ident: bytes) -> tuple[_Form, int]:
    """Return how to read a file with this ``e_ident``, and its bits."""
    order = {1: "<", 2: ">"}.get(ident[5])
    if ident[:4] != MAGIC or order is None or ident[4] not in (1, 2):
        raise MalformedError(_WHAT, f"e_ident {ident[:6].hex()}", "an ELF class and byte order")
    if ident[4] == 2:
        return _Form(order, "2H4xQQQ4x2H2H2H", "I4xQQ8xQ", "II8xQQQ", "QQ"), 64
    return _Form(order, "2H4xIII4x2H2H2H", "IIIxxxxI", "II4xIII", "II"), 32


def _header(source: Source, form: _Form) -> tuple[int, ...]:
    """Return type, machine, where segments and sections lie, and sizes and counts of both.

    In this order: type, machine, segments' and sections' offsets, size and count of segments,
    size and count of sections, the index of the section of names.
    """
    reader = struct.Struct(form.order + form.header)
    kind, machine, _entry, segments, sections, _own, *counts = reader.unpack(
        source.read(16, reader.size)
    )
    return kind, machine, segments, sections, *counts


def _segments(source: Source, form: _Form, start: int, size: int, count: int) -> Iterator[_Segment]:
    reader = struct.Struct(form.order + form.segment)
    for index in range(min(count, MAX_SEGMENTS)):
        yield _Segment(*reader.unpack(source.read(start + index * size, reader.size)))


def _dynamic(
    source: Source, form: _Form, segments: list[_Segment], end: int
) -> Iterator[tuple[int, int]]:
    """Yield tags and values of the dynamic section, up to the tag that ends it."""
    place = next((s for s in segments if s.kind == _DYNAMIC), None)
    if place is None or place.offset >= end:
        return
    size = min(place.size, MAX_DYNAMIC, end - place.offset)
    reader = struct.Struct(form.order + form.entry)
    data = source.read(place.offset, size - size % reader.size)
    for tag, value in reader.iter_unpack(data):
        if tag == 0:
            return
        yield tag, value


def _place(segments: list[_Segment], address: int) -> int:
    """Return where in the file an address is loaded from; 0 if it is not."""
    for segment in segments:
        if segment.kind == _LOAD and 0 <= address - segment.address < segment.size:
            return address - segment.address + segment.offset
    return 0


def _text(source: Source, offset: int, end: int) -> str:
    size = max(0, min(MAX_TEXT, end - offset))
    return source.read(offset, size).partition(b"\0")[0].decode("utf-8", "replace")


def module_info(source: Source, end: int) -> Mapping[str, str]:
    """Return a kernel module's ``.modinfo`` (``license``, ``vermagic``, ...); empty if unread.

    A key that stands several times (``alias``, ``author``) is told by its first value.
    """
    try:
        form, _ = _form(source.read(0, 16))
        data = _section(source, form, b".modinfo", end)
    except (BadInputError, struct.error):
        return {}
    found: dict[str, str] = {}
    for line in data.split(b"\0"):
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, value)
    return found


def _section(source: Source, form: _Form, wanted: bytes, end: int) -> bytes:
    """Return the octets of the section of one name, at most ``MAX_MODINFO``; empty if absent."""
    *_, start, _, _, size, count, names_index = _header(source, form)
    reader = struct.Struct(form.order + form.section)
    if not reader.size <= size <= SECTION_HEADER:  # a larger one would have all of a file read
        return b""
    count = min(count, MAX_SECTIONS, max(0, end - start) // size)
    table = source.read(start, count * size)
    headers = [reader.unpack_from(table, index * size) for index in range(count)]
    _, _, _, names_at, names_size = headers[names_index] if names_index < count else (0,) * 5
    names = source.read(names_at, min(names_size, MAX_MODINFO))
    for name, _kind, _address, offset, length in headers:
        if names[name : name + len(wanted) + 1] == wanted + b"\0":
            return source.read(offset, min(length, MAX_MODINFO))
    return b""
