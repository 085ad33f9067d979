"""Where things lie in a cabinet: header, reserve area, folders, data blocks, signature.

Source: [MS-CAB] ("Cabinet File Format") 2.1 CFHEADER, 2.2 CFFOLDER, 2.4 CFDATA.  All numbers
are little-endian; offsets count from the start of the file.

How a signature is found is no part of [MS-CAB].  Independent signers agree on it: the header's
reserve area holds two sizes of 16 bits and two structures of those sizes.  The first structure
is free (osslsigncode and relic want none, jsign bears one).  The second, of 16 octets, points
at the signature: 32 bits offset, 32 bits size, eight octets zero.
"""

from __future__ import annotations

import struct

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

CLAUSE = "[MS-CAB] 2.1"
DATA_CLAUSE = "[MS-CAB] 2.4"

FIXED = 36
"""Octets of CFHEADER before its optional fields."""

RESERVE = 40
"""Where abReserve starts in a header that has one, behind the three sizes."""

POINTER_SIZE = 16
"""Octets of the structure that points at the signature."""

STRUCTURES = struct.Struct("<HH")
"""How the reserve area starts: the sizes of its two structures."""

POINTER = struct.Struct("<II8s")
"""Offset and size of the signature, and octets without meaning."""

PREVIOUS, NEXT, RESERVED = 1, 2, 4
"""Bits of CFHEADER's flags."""

MAX_NAME = 255
"""Octets of a cabinet's or disk's name, without its NUL ([MS-CAB] 2.1 szCabinetPrev)."""

MAX_BLOCKS = 1 << 18
"""Data blocks walked: 32 KiB each uncompressed make 8 GiB, twice what a cabinet can hold."""

_HEADER = struct.Struct("<4s5I2B5H")
_FOLDER = struct.Struct("<IHH")
_BLOCK = struct.Struct("<IHH")
_WHAT = "cabinet"


class Folder(Frozen, frozen=True, kw_only=True):
    """A CFFOLDER: where its entry stands, where its data starts, how many blocks there are."""

    entry: int
    start: int
    blocks: int


class CabLayout(Frozen, frozen=True, kw_only=True):
    """A cabinet's parts.  ``reserve`` is abReserve; ``header_end`` is where names begin.

    ``end`` is cbCabinet, the cabinet's own end.  ``structures`` are the two that the reserve
    area holds, None where it holds something else.
    """

    length: int
    end: int
    files_at: int
    header_end: int
    flags: int
    set_id: int
    number: int
    files: int
    reserve: bytes
    folder_reserve: int
    data_reserve: int
    names: tuple[str, ...]
    folders: tuple[Folder, ...]
    structures: tuple[bytes, bytes] | None

    @property
    def pointer(self) -> tuple[int, int] | None:
        """Return the signature's offset and size; None where the area has no pointer."""
        if self.structures is None or len(self.structures[1]) != POINTER_SIZE:
            return None
        offset, size, _ = POINTER.unpack(self.structures[1])
        return offset, size

    @property
    def pointer_at(self) -> int:
        """Return where the pointer stands, if there is one."""
        return RESERVE + STRUCTURES.size + len(self.structures[0] if self.structures else b"")

    def covered(self) -> list[tuple[int, int]]:
        """Return the ranges a signature's digest covers, in order.

        All but reserved1, the sizes of the reserve areas and the pointer; of the header's
        reserve area the first structure and its size.
        """
        free = (RESERVE + STRUCTURES.size, self.pointer_at)
        return [(0, 4), (8, FIXED), (RESERVE, RESERVE + 2), free, (self.header_end, self.end)]

    def facts(self) -> dict[str, str | int]:
        """Return what the header says about the set the cabinet belongs to; claims, all."""
        found: dict[str, str | int] = {
            "cabinet-set": self.set_id,
            "cabinet-number": self.number,
            "folders": len(self.folders),
            "files": self.files,
        }
        named = list(self.names)
        if self.flags & PREVIOUS:
            found["previous-cabinet"] = named[0]
            named = named[2:]
        if self.flags & NEXT:
            found["next-cabinet"] = named[0]
        return found


def read_layout(source: Source) -> CabLayout:
    """Return the layout of a cabinet.  Raises ``BadInputError``."""
    if source.length < FIXED:
        raise MalformedError(_WHAT, f"{source.length} bytes", f"a header of {FIXED}", CLAUSE)
    fields = _HEADER.unpack(source.read(0, FIXED))
    magic, reserved, end, _, files_at, _, minor, major, folders, files, flags, set_id, number = (
        fields
    )
    if magic != b"MSCF" or reserved or (major, minor) != (1, 3):
        raise _malformed(f"{magic!r}, reserved1 {reserved}, version {major}.{minor}",
                         "MSCF, zero, 1.3", 0)  # fmt: skip
    if end > source.length or end < FIXED:
        raise _malformed(f"a cabinet of {end} bytes in a file of {source.length}",
                         "one inside its file", 8)  # fmt: skip
    sizes, reserve = _read_reserve(source, end) if flags & RESERVED else ((0, 0), b"")
    header_end = RESERVE + len(reserve) if flags & RESERVED else FIXED
    names, position = _read_names(source, header_end, end, flags)
    entries, position = _read_folders(source, position, end, folders, sizes[0])
    if position != files_at:
        raise _malformed(f"files at {files_at}", f"{position}, behind the folders", 16)
    return CabLayout(
        length=source.length,
        end=end,
        files_at=files_at,
        header_end=header_end,
        flags=flags,
        set_id=set_id,
        number=number,
        files=files,
        reserve=reserve,
        folder_reserve=sizes[0],
        data_reserve=sizes[1],
        names=names,
        folders=entries,
        structures=_structures(reserve),
    )


def check_blocks(source: Source, layout: CabLayout) -> None:
    """Check that the folders' data blocks lie one behind the other up to the cabinet's end.

    The sizes of the reserve areas stand outside every digest.  A reader that believes other
    sizes would cut the same covered bytes differently, so they must be the ones that fit.
    Raises ``MalformedError``.
    """
    used = [folder for folder in layout.folders if folder.blocks]
    if (layout.data_reserve and not used) or (layout.folder_reserve and not layout.folders):
        raise _malformed("a reserve in data blocks or folders, of which there are none", "no size",
                         FIXED)  # fmt: skip
    if sum(folder.blocks for folder in used) > MAX_BLOCKS:
        raise LimitError(_WHAT, "more data blocks", f"at most {MAX_BLOCKS}", DATA_CLAUSE)
    starts = sorted(folder.start for folder in used)
    allowed = {*starts, layout.end}
    for folder in used:
        end = _walk(source, layout, folder)
        if end not in allowed or end <= folder.start:
            raise MalformedError(
                _WHAT, f"data blocks that end at {end}", "at another folder's or the cabinet's end",
                DATA_CLAUSE, offset=folder.start,
            )  # fmt: skip
    if len(set(starts)) != len(starts):
        raise MalformedError(_WHAT, "folders that share their data", "data of its own", DATA_CLAUSE)


def _walk(source: Source, layout: CabLayout, folder: Folder) -> int:
    """Return where a folder's last data block ends."""
    position = folder.start
    for _ in range(folder.blocks):
        if position < layout.files_at or position + _BLOCK.size > layout.end:
            raise MalformedError(
                _WHAT, f"a data block at {position}", "one behind the files, inside the cabinet",
                DATA_CLAUSE, offset=folder.entry,
            )  # fmt: skip
        _, size, _ = _BLOCK.unpack(source.read(position, _BLOCK.size))
        position += _BLOCK.size + layout.data_reserve + size
    return position


def _read_reserve(source: Source, end: int) -> tuple[tuple[int, int], bytes]:
    """Return the sizes of the reserve in folders and data blocks, and the header's own."""
    if end < RESERVE:
        raise _malformed(f"a cabinet of {end} bytes", "room for its reserve sizes", 8)
    size, folder, data = struct.unpack("<HBB", source.read(FIXED, RESERVE - FIXED))
    if RESERVE + size > end:
        raise _malformed(f"a reserve area of {size} bytes", "one inside the cabinet", FIXED)
    return (folder, data), source.read(RESERVE, size)


def _structures(reserve: bytes) -> tuple[bytes, bytes] | None:
    """Return the two structures in a reserve area; None for another use of it."""
    if len(reserve) < STRUCTURES.size:
        return None
    first, second = STRUCTURES.unpack_from(reserve)
    start = STRUCTURES.size + first
    if start + second > len(reserve):
        return None
    return reserve[STRUCTURES.size : start], reserve[start : start + second]


def _read_names(source: Source, position: int, end: int, flags: int) -> tuple[tuple[str, ...], int]:
    """Return the names of the neighbouring cabinets and disks, and where they end."""
    count = 2 * (bool(flags & PREVIOUS) + bool(flags & NEXT))
    data = source.read(position, min(count * (MAX_NAME + 1), end - position))
    names, start = [], 0
    for _ in range(count):
        stop = data.find(b"\0", start, start + MAX_NAME + 1)
        if stop < 0:
            raise _malformed("a name without its end", f"at most {MAX_NAME} octets and a NUL",
                             position + start)  # fmt: skip
        names.append(data[start:stop].decode("utf-8", "replace"))
        start = stop + 1
    return tuple(names), position + start


def _read_folders(
    source: Source, position: int, end: int, count: int, reserve: int
) -> tuple[tuple[Folder, ...], int]:
    """Return the folder entries and where they end."""
    width = _FOLDER.size + reserve
    if position + count * width > end:
        raise _malformed(f"{count} folders", "entries inside the cabinet", 26)
    data = source.read(position, count * width)
    folders = []
    for index in range(count):
        start, blocks, _ = _FOLDER.unpack_from(data, index * width)
        folders.append(Folder(entry=position + index * width, start=start, blocks=blocks))
    return tuple(folders), position + count * width


def _malformed(found: str, required: str, offset: int) -> MalformedError:
    return MalformedError(_WHAT, found, required, CLAUSE, offset=offset)
