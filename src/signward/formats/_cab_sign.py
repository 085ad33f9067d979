"""Signing cabinets: the reserve area that points at the signature, and what moves for it.

Source: [MS-CAB] 2.1 and 2.2; the pointer as ``_cab_layout`` says.  Where there is no reserve
area, 24 octets (its sizes, and the area with the pointer) come behind the fixed header, and the
files' and folders' offsets grow by as much.  The signature stands behind the cabinet.
"""

from __future__ import annotations

import struct

from signward.errors import MalformedError, NotSignableError
from signward.formats._cab_layout import (
    CLAUSE,
    FIXED,
    POINTER,
    POINTER_SIZE,
    RESERVED,
    STRUCTURES,
    CabLayout,
)
from signward.wire.patch import Edit, PatchSet

_WHAT = "cabinet"
_ALIGNMENT = 8
_MAX = 0xFFFFFFFF
_MAX_RESERVE = 60000
"""Largest reserve area of a header ([MS-CAB] 2.1 cbCFHeader)."""

_OURS = STRUCTURES.size + POINTER_SIZE
"""Octets of the reserve area that signing adds."""


def check_room(layout: CabLayout) -> None:
    """Raise ``NotSignableError`` where a signature has no place.

    The reserve area may hold a first structure, which stays and is signed, and room; any
    other use of it is somebody else's.  Bytes behind an unsigned cabinet would stand outside
    its signature.
    """
    if any(layout.reserve) and not _is_room(layout):
        raise NotSignableError(
            _WHAT, f"a reserve area of {len(layout.reserve)} bytes in use", "none, or room in it",
            hint="a signature's pointer belongs there, and what is there may be needed",
        )  # fmt: skip
    signed = layout.pointer is not None and any(layout.pointer)
    if not signed and layout.end != layout.length:
        raise NotSignableError(
            _WHAT, f"{layout.length - layout.end} bytes behind the cabinet", "none",
            hint="no signature would cover them: cut them off first",
        )  # fmt: skip


def _is_room(layout: CabLayout) -> bool:
    if layout.structures is None:
        return False
    used = STRUCTURES.size + sum(map(len, layout.structures))
    return len(layout.structures[1]) in (0, POINTER_SIZE) and not any(layout.reserve[used:])


def with_pointer(layout: CabLayout, blob: bytes) -> PatchSet:
    """Return the patch that makes ``blob``, padded to eight bytes, the cabinet's signature.

    An empty one leaves room for it: the cabinet as it is digested.
    """
    padded = blob + bytes(-len(blob) % _ALIGNMENT)
    first = layout.structures[0] if layout.structures else b""
    size = max(len(layout.reserve), _OURS + len(first))
    if size > max(len(layout.reserve), _MAX_RESERVE):
        raise NotSignableError(
            _WHAT, f"{len(first)} bytes of somebody else's in the reserve area",
            f"room for a pointer in at most {_MAX_RESERVE}",
        )  # fmt: skip
    shift = FIXED + 4 + size - layout.header_end
    end = layout.end + shift
    if end + len(padded) > _MAX:
        raise NotSignableError(_WHAT, f"{end + len(padded)} bytes", f"at most {_MAX}, signed")
    place = POINTER.pack(end, len(padded), b"")
    area = _area(layout, STRUCTURES.pack(len(first), POINTER_SIZE) + first + place, size)
    return _shifted(layout, shift, layout.flags | RESERVED, area, padded)


def without_pointer(layout: CabLayout) -> PatchSet:
    """Return the patch that removes the signature and its pointer.

    A reserve area that holds nothing else and is no larger than signing makes it goes too:
    nothing tells whether it was there before.  Any other stays, emptied.
    """
    first = layout.structures[0] if layout.structures else b""
    size = 0 if not first and len(layout.reserve) == _OURS else len(layout.reserve)
    kept = STRUCTURES.pack(len(first), 0) + first if size else b""
    needed = size or layout.folder_reserve or layout.data_reserve
    area = _area(layout, kept, size) if needed else b""
    flags = layout.flags if area else layout.flags & ~RESERVED
    return _shifted(layout, FIXED + len(area) - layout.header_end, flags, area, b"")


def _area(layout: CabLayout, content: bytes, size: int) -> bytes:
    """Return the sizes of the reserve areas and the header's own, padded to its size."""
    sizes = struct.pack("<HBB", size, layout.folder_reserve, layout.data_reserve)
    return sizes + content.ljust(size, b"\0")


def _shifted(layout: CabLayout, shift: int, flags: int, area: bytes, tail: bytes) -> PatchSet:
    """Return the patch that replaces the optional header and moves everything behind it."""
    used = [folder for folder in layout.folders if folder.blocks or folder.start]
    for folder in used:
        if not layout.files_at <= folder.start <= layout.end:
            raise MalformedError(
                _WHAT, f"a folder's data at {folder.start}", "behind the files, inside the cabinet",
                CLAUSE, offset=folder.entry,
            )  # fmt: skip
    folders = [_number(folder.entry, folder.start + shift) for folder in used]
    return PatchSet(
        edits=(
            _number(8, layout.end + shift),
            _number(16, layout.files_at + shift),
            Edit(start=30, end=32, data=flags.to_bytes(2, "little")),
            Edit(start=FIXED, end=layout.header_end, data=area),
            *folders,
            Edit(start=layout.end, end=layout.length, data=tail),
        )
    )


def _number(offset: int, value: int) -> Edit:
    return Edit(start=offset, end=offset + 4, data=value.to_bytes(4, "little"))
