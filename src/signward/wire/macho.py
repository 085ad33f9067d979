"""Mach-O: programs and libraries of Apple's systems, thin and universal, read.

Sources: Apple's published ``mach-o/loader.h``, ``mach-o/fat.h`` and ``mach/machine.h``.  A
universal file begins with a table of slices whose numbers are big-endian; a slice is a thin
file in the byte order that its magic tells.  All sizes and offsets are octets, those of a thin
file from where it begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

FAT = b"\xca\xfe\xba\xbe"
FAT_64 = b"\xca\xfe\xba\xbf"
_THIN = {
    b"\xce\xfa\xed\xfe": ("<", False),
    b"\xcf\xfa\xed\xfe": ("<", True),
    b"\xfe\xed\xfa\xce": (">", False),
    b"\xfe\xed\xfa\xcf": (">", True),
}
"""Magics of thin files: byte order, and whether addresses have 64 bits."""

MAX_SLICES = 16
"""Most slices; a file for every processor that there ever was has eight."""

MAX_ALIGNMENT = 15
"""Largest alignment of a slice, as a power of two (``MAXSECTALIGN`` of lipo)."""

MAX_COMMANDS = 4096
MAX_COMMAND_OCTETS = 4 * 1024 * 1024
"""Load commands and their octets; the largest real ones have some hundreds, and 100 kB."""

MAX_SECTIONS = 255
"""Sections that symbols can name (``MAX_SECT``)."""

EXECUTE, DYLIB, BUNDLE, KEXT = 2, 6, 8, 11
FILE_TYPES = {
    1: "object", EXECUTE: "execute", 3: "fvmlib", 4: "core", 5: "preload", DYLIB: "dylib",
    7: "dylinker", BUNDLE: "bundle", 9: "dylib-stub", 10: "dsym", KEXT: "kext", 12: "fileset",
}  # fmt: skip

POWERPC, POWERPC_64 = 18, 0x01000012
_PROCESSORS = {
    7: "i386", 0x01000007: "x86_64", 12: "arm", 0x0100000C: "arm64", 0x0200000C: "arm64_32",
    POWERPC: "ppc", POWERPC_64: "ppc64",
}  # fmt: skip
_SUBTYPES = {
    (0x01000007, 8): "x86_64h", (0x0100000C, 2): "arm64e", (12, 6): "armv6", (12, 9): "armv7",
    (12, 11): "armv7s", (12, 12): "armv7k", (18, 100): "ppc970", (18, 10): "ppc7400",
}  # fmt: skip
_FEATURES = 0xFF000000
"""The bits of a processor's subtype that tell features (``CPU_SUBTYPE_MASK``)."""

_SEGMENT, _SEGMENT_64, _SIGNATURE, _DYLINKER = 0x1, 0x19, 0x1D, 0xE
LIBRARIES = {
    0xC: "load", 0x80000018: "weak", 0x8000001F: "reexport", 0x20: "lazy", 0x80000023: "upward",
    0x8000001C: "rpath",
}  # fmt: skip
"""Load commands that name what is loaded beside the code, or where it is looked for."""

_MAX_NAME = 4096
_WHAT = "Mach-O"
_CLAUSE = "mach-o/loader.h"
_FAT_CLAUSE = "mach-o/fat.h"


class Slice(NamedTuple):
    """One thin file inside a universal one, or all of a thin one; octets of the whole file."""

    start: int
    size: int
    processor: int = 0
    subtype: int = 0

    @property
    def end(self) -> int:
        """The octet behind it."""
        return self.start + self.size


class Segment(NamedTuple):
    """One segment: what of the file is mapped where, and with which rights (VM_PROT_*)."""

    name: str
    address: int
    extent: int
    offset: int
    size: int
    most: int
    rights: int

    @property
    def end(self) -> int:
        """The octet of the file behind it."""
        return self.offset + self.size


class Library(NamedTuple):
    """A library that is loaded (``kind``: a value of `LIBRARIES`), or a folder to look in."""

    kind: str
    name: str


class Image(Frozen, frozen=True, kw_only=True):
    """One thin file: what its header and load commands say.

    ``signature`` is where the superblob has room (offset, size; None: unsigned), ``info_plist``
    where a property list lies inside the code (``__TEXT,__info_plist``).
    """

    slice: Slice
    architecture: str
    file_type: int
    flags: int
    commands_end: int
    segments: tuple[Segment, ...]
    libraries: tuple[Library, ...]
    signature: tuple[int, int] | None
    info_plist: tuple[int, int] | None
    dynamic: bool

    def segment(self, name: str) -> Segment | None:
        """Return the first segment of that name."""
        return next((segment for segment in self.segments if segment.name == name), None)


class Command(NamedTuple):
    """One load command with its eight octets of kind and size; ``offset`` is behind the header."""

    kind: int
    offset: int
    data: bytes


def is_universal(head: bytes) -> bool:
    """Say whether a file that begins so is universal; a Java class has a larger fifth number."""
    return head[:4] == FAT_64 or (head[:4] == FAT and head[4:7] == b"\0\0\0" and 0 < head[7] < 45)


def is_thin(head: bytes) -> bool:
    """Say whether a file that begins so is a thin Mach-O."""
    return head[:4] in _THIN


def read_slices(source: Source) -> tuple[Slice, ...]:
    """Return the slices of a universal file, in the order of its table; of a thin one, itself.

    Raises ``MalformedError`` for a slice outside, or one not where its alignment asks for,
    ``AmbiguousError`` for slices that overlap or are for one processor, ``LimitError``.
    """
    head = source.read(0, min(8, source.length))
    if not is_universal(head):
        return (Slice(0, source.length),)
    wide = head[:4] == FAT_64
    count = int.from_bytes(head[4:8], "big")
    if not 0 < count <= MAX_SLICES:
        raise LimitError(_WHAT, f"{count} slices", f"1 to {MAX_SLICES}", _FAT_CLAUSE)
    form = struct.Struct(">IIQQII" if wide else ">IIIII")
    table_end = 8 + form.size * count
    slices = []
    for fields in form.iter_unpack(source.read(8, form.size * count)):
        processor, subtype, start, size, alignment = fields[:5]
        if not processor:
            raise MalformedError(_WHAT, "a slice for processor 0", "one that there is", _FAT_CLAUSE)
        if wide and fields[5]:
            raise MalformedError(_WHAT, f"reserved {fields[5]:#x}", "zero", _FAT_CLAUSE)
        _check_slice(start, size, alignment, table_end, source.length)
        slices.append(Slice(start, size, processor, subtype))
    _check_apart(slices)
    return tuple(slices)


def table_size(source: Source) -> int:
    """Return the octets of a universal file's header and table; 0 for a thin one."""
    head = source.read(0, min(8, source.length))
    if not is_universal(head):
        return 0
    return 8 + (32 if head[:4] == FAT_64 else 20) * int.from_bytes(head[4:8], "big")


def _check_slice(start: int, size: int, alignment: int, table_end: int, length: int) -> None:
    if alignment > MAX_ALIGNMENT:
        raise LimitError(_WHAT, f"alignment 2^{alignment}", f"2^{MAX_ALIGNMENT}", _FAT_CLAUSE)
    if start < table_end or size < 1 or start + size > length:
        raise MalformedError(
            _WHAT, f"a slice of {size} octets at {start}",
            f"one behind the table's {table_end} octets and inside the file's {length}",
            _FAT_CLAUSE,
        )  # fmt: skip
    if start % (1 << alignment):
        required = f"a multiple of {1 << alignment}"
        raise MalformedError(_WHAT, f"a slice at {start}", required, _FAT_CLAUSE)


def _check_apart(slices: list[Slice]) -> None:
    """Refuse slices that share octets or a processor: which runs depends on who looks."""
    known = [(one.processor, one.subtype & ~_FEATURES) for one in slices]
    if len(set(known)) != len(known):
        raise AmbiguousError(_WHAT, "two slices for one processor", "one each", _FAT_CLAUSE)
    behind = 0
    for one in sorted(slices):
        if one.start < behind:
            raise AmbiguousError(
                _WHAT, f"slices that overlap at {one.start}", "slices apart", _FAT_CLAUSE
            )
        behind = one.end


def architecture_name(processor: int, subtype: int) -> str:
    """Return the name that Apple's tools give a processor, or its numbers."""
    kind = subtype & ~_FEATURES
    known = _SUBTYPES.get((processor, kind)) or _PROCESSORS.get(processor)
    return known or f"cpu-{processor:#x}-{kind:#x}"


def read_image(source: Source, at: Slice) -> Image:
    """Return what a thin file's header and load commands say.

    Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``: also for segments outside
    the file, for two signatures, and for a slice that is for another processor than the table
    says.
    """
    magic = source.read(at.start, min(4, at.size))
    if magic not in _THIN:
        raise MalformedError(_WHAT, f"magic {magic.hex()}", "a thin file's", _CLAUSE,
                             offset=at.start)  # fmt: skip
    order, wide = _THIN[magic]
    size = 32 if wide else 28
    if at.size < size:
        raise MalformedError(_WHAT, f"{at.size} octets", f"{size} of header", _CLAUSE)
    fields = struct.unpack(f"{order}7I", source.read(at.start, 28))
    _, processor, subtype, file_type, count, octets, flags = fields
    if at.processor and (processor, subtype) != (at.processor, at.subtype):
        found = f"a slice for {architecture_name(processor, subtype)}"
        required = f"one for {architecture_name(at.processor, at.subtype)}, as the table says"
        raise AmbiguousError(_WHAT, found, required, _FAT_CLAUSE, offset=at.start)
    if count > MAX_COMMANDS or octets > MAX_COMMAND_OCTETS:
        raise LimitError(
            _WHAT, f"{count} load commands of {octets} octets",
            f"at most {MAX_COMMANDS} of {MAX_COMMAND_OCTETS}", _CLAUSE,
        )  # fmt: skip
    if size + octets > at.size:
        raise MalformedError(_WHAT, f"{octets} octets of load commands",
                             f"at most {at.size - size}", _CLAUSE)  # fmt: skip
    data = source.read(at.start + size, octets)
    commands = list(_commands(data, count, order, 8 if wide else 4))
    segments, info_plist = _read_segments(commands, order, at.size)
    return Image(
        slice=at,
        architecture=architecture_name(processor, subtype),
        file_type=file_type,
        flags=flags,
        commands_end=size + octets,
        segments=segments,
        libraries=tuple(_libraries(commands, order)),
        signature=_signature(commands, order, at.size, size + octets),
        info_plist=info_plist,
        dynamic=any(command.kind == _DYLINKER for command in commands),
    )


def read_commands(source: Source, at: Slice) -> tuple[str, int, tuple[Command, ...]]:
    """Return a thin file's byte order (as ``struct`` writes it), header's octets and commands.

    For those who write it: what the commands say, and that they can be read at all, is
    `read_image`'s.
    """
    order, wide = _THIN[source.read(at.start, 4)]
    size = 32 if wide else 28
    count, octets = struct.unpack(f"{order}2I", source.read(at.start + 16, 8))
    data = source.read(at.start + size, octets)
    return order, size, tuple(_commands(data, count, order, 8 if wide else 4))


def _commands(data: bytes, count: int, order: str, unit: int) -> Iterator[Command]:
    """Yield load commands; each size is a multiple of 4 octets and all lie inside."""
    at = 0
    for number in range(count):
        if at + 8 > len(data):
            raise MalformedError(_WHAT, f"{number} load commands", f"{count}", _CLAUSE)
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if size < 8 or size % 4 or at + size > len(data):
            raise MalformedError(
                _WHAT, f"load command {kind:#x} of {size} octets",
                f"8 to {len(data) - at}, a multiple of {unit}", _CLAUSE,
            )  # fmt: skip
        yield Command(kind, at, data[at : at + size])
        at += size


def _read_segments(
    commands: list[Command], order: str, size: int
) -> tuple[tuple[Segment, ...], tuple[int, int] | None]:
    """Return the segments, and where ``__TEXT,__info_plist`` lies."""
    segments: list[Segment] = []
    info_plist: tuple[int, int] | None = None
    for command in commands:
        if command.kind not in (_SEGMENT, _SEGMENT_64):
            continue
        wide = command.kind == _SEGMENT_64
        form = struct.Struct(f"{order}16s{'4Q' if wide else '4I'}4I")
        if len(command.data) < 8 + form.size:
            raise MalformedError(_WHAT, "a segment command cut short", "a whole one", _CLAUSE)
        name, address, extent, offset, octets, most, rights, count, _ = form.unpack_from(
            command.data, 8
        )
        segment = Segment(_name(name), address, extent, offset, octets, most, rights)
        if segment.size and segment.end > size:
            found = f"segment {segment.name} to {segment.end}"
            raise MalformedError(_WHAT, found, f"at most {size}", _CLAUSE)
        segments.append(segment)
        for section in _sections(command.data, 8 + form.size, count, order, wide=wide):
            if section[:2] == ("__TEXT", "__info_plist"):
                info_plist = _inside(section[2], section[3], size)
    return tuple(segments), info_plist


def _inside(offset: int, octets: int, size: int) -> tuple[int, int]:
    if offset + octets > size:
        raise MalformedError(_WHAT, f"__info_plist to {offset + octets}", f"{size}", _CLAUSE)
    return offset, octets


def _sections(
    data: bytes, start: int, count: int, order: str, *, wide: bool
) -> Iterator[tuple[str, str, int, int]]:
    """Yield segment name, section name, offset and size (octets) of each section."""
    form = struct.Struct(f"{order}16s16s{'QQ' if wide else 'II'}I")
    step = 80 if wide else 68
    if count > MAX_SECTIONS:
        raise LimitError(_WHAT, f"{count} sections", f"at most {MAX_SECTIONS}", _CLAUSE)
    if start + step * count > len(data):
        raise MalformedError(_WHAT, f"{count} sections", "as many as the command holds", _CLAUSE)
    for number in range(count):
        section, segment, _, size, offset = form.unpack_from(data, start + step * number)
        yield _name(segment), _name(section), offset, size


def _name(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("ascii", "replace")


def _libraries(commands: list[Command], order: str) -> Iterator[Library]:
    """Yield what is loaded; each name is at an offset inside its command, ended by a zero."""
    for command in commands:
        kind = LIBRARIES.get(command.kind)
        if kind is None:
            continue
        if len(command.data) < 12:
            raise MalformedError(_WHAT, f"a {kind} command cut short", "a whole one", _CLAUSE)
        (at,) = struct.unpack_from(f"{order}I", command.data, 8)
        name = command.data[at : at + _MAX_NAME].partition(b"\0")[0]
        if not 12 <= at < len(command.data):
            raise MalformedError(_WHAT, f"a {kind} name at {at}", "inside its command", _CLAUSE)
        yield Library(kind, name.decode("utf-8", "replace"))


def _signature(
    commands: list[Command], order: str, size: int, least: int
) -> tuple[int, int] | None:
    """Return where LC_CODE_SIGNATURE says the superblob lies; it must be inside, behind code."""
    found = [command for command in commands if command.kind == _SIGNATURE]
    if not found:
        return None
    if len(found) > 1:
        raise AmbiguousError(_WHAT, f"{len(found)} signatures", "one", _CLAUSE)
    if len(found[0].data) < 16:
        raise MalformedError(_WHAT, "LC_CODE_SIGNATURE cut short", "16 octets", _CLAUSE)
    offset, octets = struct.unpack_from(f"{order}II", found[0].data, 8)
    if offset < least or offset + octets > size:
        raise MalformedError(
            _WHAT, f"a signature of {octets} octets at {offset}",
            f"one at {least} to {size}", _CLAUSE, offset=offset,
        )  # fmt: skip
    return offset, octets
