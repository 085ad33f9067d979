"""Where the parts of a PE image lie: headers, sections, certificate table, pages.

Sources: "PE Format" (Microsoft Learn) and "Windows Authenticode Portable Executable
Signature Format" (2008), called "Authenticode PE" in the clauses.  All integers are
little-endian, all offsets bytes from the start of the file.  Everything read is a
claim of the file's own; only what would let bytes escape the image hash is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen, replace
from signward.state import Source

HEAD_SIZE = 4096
"""Bytes read first; the headers of almost every image lie within."""

MAX_SECTIONS = 4096
"""Sections read; the loader stops at 96 (XP) or 65535 (Vista), real images hold a few dozen."""

PAGE_SIZE = 4096
"""Page hashes speak of 4 KiB pages (Authenticode PE); some signers cut by section alignment."""

MAX_PAGE_SIZE = 4 * 1024 * 1024
"""Largest section alignment taken as a page size: the largest page of any machine."""

NATIVE_SUBSYSTEM = 1
EFI_SUBSYSTEMS = frozenset({10, 11, 12, 13})

DLL_FLAG = 0x2000
"""IMAGE_FILE_DLL (Characteristics)."""

DRIVER_FLAG = 0x2000
"""IMAGE_DLLCHARACTERISTICS_WDM_DRIVER."""

MACHINES = {
    0x014C: "i386", 0x8664: "amd64", 0xAA64: "arm64", 0x01C0: "arm", 0x01C4: "armnt",
    0x0200: "ia64", 0x0EBC: "ebc", 0x5032: "riscv32", 0x5064: "riscv64", 0x6264: "loongarch64",
}  # fmt: skip

SUBSYSTEMS = {
    1: "native", 2: "windows-gui", 3: "windows-console", 9: "windows-ce", 10: "efi-application",
    11: "efi-boot-driver", 12: "efi-runtime-driver", 13: "efi-rom", 14: "xbox",
    16: "windows-boot",
}  # fmt: skip

_DIRECTORY = {0x10B: 96, 0x20B: 112}
"""Offset of the data directories in the optional header, by magic (PE32, PE32+)."""

_RESOURCES, _SECURITY, _CLR = 2, 4, 14
_SECTION = struct.Struct("<8sIIII16x")
_WHAT = "PE image"
_CLAUSE = "PE Format"


class Section(Frozen, frozen=True, kw_only=True):
    """One section: where the loader maps it (``rva``) and its ``start``, ``end`` in the file."""

    name: bytes
    rva: int
    virtual_size: int
    start: int
    end: int


class Layout(Frozen, frozen=True, kw_only=True):
    """What the headers of a PE image say, as far as signatures need it.

    ``directory_offset`` is where the security directory entry stands, or None when the
    image has no room for one; ``table`` is the certificate table's ``(start, size)``.
    """

    length: int
    machine: int
    magic: int
    subsystem: int
    characteristics: int
    dll_characteristics: int
    claimed_checksum: int
    checksum_offset: int
    directory_offset: int | None
    headers_end: int
    section_alignment: int
    table: tuple[int, int]
    resources: tuple[int, int]
    sections: tuple[Section, ...]
    clr: tuple[int, int] = (0, 0)
    page_size: int = PAGE_SIZE

    @property
    def is_efi(self) -> bool:
        """Whether the subsystem is one of UEFI's."""
        return self.subsystem in EFI_SUBSYSTEMS

    @property
    def is_driver(self) -> bool:
        """Whether the image says it runs in the kernel."""
        native = self.subsystem == NATIVE_SUBSYSTEM
        return native or bool(self.dll_characteristics & DRIVER_FLAG)

    def facts(self) -> dict[str, str | int]:
        """Return machine, kind and subsystem, as the (hashed) headers claim them."""
        return {
            "machine": MACHINES.get(self.machine, f"{self.machine:#06x}"),
            "image": "pe32+" if self.magic == 0x20B else "pe32",
            "subsystem": SUBSYSTEMS.get(self.subsystem, str(self.subsystem)),
            "driver": int(self.is_driver),
            "dll": int(bool(self.characteristics & DLL_FLAG)),
        }

    @property
    def content_end(self) -> int:
        """Where the image hash ends: at the certificate table, or at the end of the file."""
        start, size = self.table
        return start if size else self.length

    @property
    def sections_end(self) -> int:
        """Where the last section's bytes end in the file, within the file."""
        return min(self.length, max((s.end for s in self.sections), default=self.headers_end))

    def image_ranges(self) -> list[tuple[int, int]]:
        """Return what the image hash covers (Authenticode PE, "Calculating the PE Image Hash").

        The specification hashes headers, then sections by file offset, then what lies
        behind them.  Signers and verifiers hash the file from start to end without its
        exclusions: the same bytes where sections neither overlap nor leave gaps, and
        gaps are covered where they do.
        """
        ranges = [(0, self.checksum_offset)]
        position = self.checksum_offset + 4
        if self.directory_offset is not None:
            ranges.append((position, self.directory_offset))
            position = self.directory_offset + 8
        ranges.append((position, self.content_end))
        return ranges

    def pages(self) -> Iterator[tuple[int, int]]:
        """Return the ``(start, end)`` of every page: the headers', then each section's.

        Raises ``LimitError`` where sections share so many bytes that hashing them would
        take longer than the file's size explains.

        A last entry ``(end, end)`` closes the table (Authenticode PE, "Page Hashes").
        """
        last, size = self.headers_end, self.page_size
        parts = [(0, self.headers_end), *((s.start, s.end) for s in self.sections)]
        if sum(end - start for start, end in parts) > 2 * self.length:
            raise LimitError(
                "page hashes", "sections that overlap, or reach beyond the file",
                "at most twice the file's bytes", "Authenticode PE",
            )  # fmt: skip
        for start, end in parts:
            for first in range(start, end, size):
                yield first, min(first + size, end)
        for section in self.sections:
            last = section.end if section.end > section.start else last
        yield last, last

    def cut_like(self, names: AbstractSet[str]) -> Layout:
        """Return the layout with the page size that gives pages of these names.

        signtool cuts pages of 4 KiB, osslsigncode of the section alignment (8 KiB in .NET
        assemblies).  Either cut covers headers and sections whole.
        """
        size = self.section_alignment
        if size == PAGE_SIZE or not 512 <= size <= MAX_PAGE_SIZE:
            return self
        aligned = replace(self, page_size=size)
        fits = names == {page_name(start) for start, _ in aligned.pages()}
        return aligned if fits else self


def page_name(start: int) -> str:
    """Return the slot name of the page that begins at ``start``."""
    return f"page:{start}"


def read_layout(source: Source) -> Layout:
    """Read the headers of a PE32 or PE32+ image of any machine.

    Raises ``MalformedError`` for what no loader would take as an image.
    """
    head = source.read(0, min(HEAD_SIZE, source.length))
    if len(head) < 64 or head[:2] != b"MZ":
        raise MalformedError(_WHAT, "no MZ header", "one of 64 bytes", _CLAUSE, offset=0)
    pe = int.from_bytes(head[60:64], "little")
    coff = _slice(source, head, pe, 24)
    if coff[:4] != b"PE\0\0":
        raise MalformedError(_WHAT, "no PE signature", "PE\\0\\0", _CLAUSE, offset=pe)
    machine, count, optional_size, characteristics = struct.unpack_from("<HH12xHH", coff, 4)
    optional = pe + 24
    fixed = _slice(source, head, optional, 72)
    fields = struct.unpack_from("<H30xI24xIIHH", fixed)
    magic, alignment, headers_size, checksum, subsystem, flags = fields
    if magic not in _DIRECTORY:
        raise MalformedError(
            _WHAT, f"optional header magic {magic:#x}", "0x10b or 0x20b", _CLAUSE, offset=optional
        )
    directories = _directories(source, head, optional, optional_size, magic)
    table_start = optional + optional_size
    return Layout(
        length=source.length,
        machine=machine,
        magic=magic,
        subsystem=subsystem,
        characteristics=characteristics,
        dll_characteristics=flags,
        claimed_checksum=checksum,
        checksum_offset=optional + 64,
        directory_offset=directories.get(_SECURITY, (None, 0, 0))[0],
        headers_end=min(max(headers_size, table_start + 40 * count), source.length),
        section_alignment=alignment,
        table=directories.get(_SECURITY, (0, 0, 0))[1:],
        resources=directories.get(_RESOURCES, (0, 0, 0))[1:],
        clr=directories.get(_CLR, (0, 0, 0))[1:],
        sections=_sections(source, head, table_start, count),
    )


def _slice(source: Source, head: bytes, offset: int, size: int) -> bytes:
    if offset + size <= len(head):
        return head[offset : offset + size]
    return source.read(offset, size)


def _directories(
    source: Source, head: bytes, optional: int, optional_size: int, magic: int
) -> dict[int, tuple[int, int, int]]:
    """Return ``(offset of the entry, address, size)`` of the directories we use.

    An entry counts only where the optional header really holds it: one that overlapped
    the section table would take eight bytes of that table out of the hash.
    """
    first = _DIRECTORY[magic]
    if optional_size < first:
        return {}
    count = int.from_bytes(_slice(source, head, optional + first - 4, 4), "little")
    found = {}
    for number in (_RESOURCES, _SECURITY, _CLR):
        position = first + 8 * number
        if number < count and position + 8 <= optional_size:
            entry = _slice(source, head, optional + position, 8)
            found[number] = (optional + position, *struct.unpack("<II", entry))
    return found


def _sections(source: Source, head: bytes, start: int, count: int) -> tuple[Section, ...]:
    if count > MAX_SECTIONS:
        raise LimitError(_WHAT, f"{count} sections", f"at most {MAX_SECTIONS}", _CLAUSE)
    table = _slice(source, head, start, _SECTION.size * count)
    return tuple(
        Section(name=name, rva=rva, virtual_size=vsize, start=raw, end=raw + size)
        for name, vsize, rva, size, raw in _SECTION.iter_unpack(table)
    )
