"""Option ROMs: what a PCI device brings to be run before any system starts.

Source: PCI Firmware Specification 3.3, 5.1 (images, one behind the other), and UEFI 2.10 14.4.2
(those that hold an EFI driver, packed or not).  All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.efi_compression import unpack

MAX_ROM = 32 * 1024 * 1024
"""Octets of a ROM; a graphics card's has one MiB."""

MAX_IMAGES = 32
"""Images in one ROM; real ones have one to four."""

_UNIT = 512
_MAGIC = b"\x55\xaa"
_POINTER = struct.Struct("<H")
_POINTER_AT = 0x18
_DATA = struct.Struct("<4sHHHHB3sHHBB")
"""PCI Data Structure up to the indicator: the last bit of that says there is no image behind."""

_EFI = struct.Struct("<2sHIHHH8sH")
"""How an image begins that holds a driver, up to where the driver stands."""

_EFI_MAGIC = 0x0EF1
_EFI_CODE = 3
_CODES = {0: "BIOS", 1: "Open Firmware", 2: "PA-RISC", _EFI_CODE: "EFI"}
_MACHINES = {
    0x014C: "ia32", 0x0200: "ia64", 0x0EBC: "EFI byte code", 0x01C2: "arm", 0x8664: "x64",
    0xAA64: "aarch64", 0x5064: "riscv64", 0x6264: "loongarch64",
}  # fmt: skip

_WHAT = "option ROM"
_CLAUSE = "PCI Firmware Specification 3.3 5.1"


class RomImage(Frozen, frozen=True, kw_only=True):
    """One image: what code is in it, for which device (``vendor:device``), for which machine.

    ``driver`` is the program as firmware loads it, None where there is no EFI driver.
    """

    code: str
    ids: str
    machine: str = ""
    driver: bytes | None = None


def read_rom(data: bytes) -> tuple[RomImage, ...]:
    """Return the images of a ROM, in its order.  Raises ``MalformedError`` and ``LimitError``."""
    if len(data) > MAX_ROM:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_ROM}")
    return tuple(_images(data))


def _images(data: bytes) -> Iterator[RomImage]:
    start, last, count = 0, False, 0
    while not last:
        count += 1
        if count > MAX_IMAGES:
            raise LimitError(_WHAT, f"more than {MAX_IMAGES} images", "fewer")
        fields = _described(data, start)
        _, vendor, device, _, _, _, _, units, _, code, indicator = fields
        end = start + units * _UNIT
        if not units or end > len(data):
            raise MalformedError(_WHAT, f"an image of {units * _UNIT} octets",
                                 f"one that ends within the ROM's {len(data)}", _CLAUSE,
                                 offset=start)  # fmt: skip
        ids = f"{vendor:04x}:{device:04x}"
        if code == _EFI_CODE:
            yield _with_driver(data, start, end, ids)
        else:
            yield RomImage(code=_CODES.get(code, f"code type {code:#04x}"), ids=ids)
        start, last = end, bool(indicator & 0x80)


def _described(data: bytes, start: int) -> tuple[int, ...]:
    """Return an image's PCI Data Structure."""
    if data[start : start + 2] != _MAGIC or start + _POINTER_AT + 2 > len(data):
        raise MalformedError(_WHAT, f"{data[start : start + 2].hex() or 'the end'}",
                             "an image, which begins with 55aa", _CLAUSE, offset=start)  # fmt: skip
    at = start + _POINTER.unpack_from(data, start + _POINTER_AT)[0]
    if at % 4 or data[at : at + 4] != b"PCIR" or at + _DATA.size > len(data):
        raise MalformedError(_WHAT, "no PCI Data Structure",
                             "one at a multiple of four, which begins with PCIR", _CLAUSE,
                             offset=at)  # fmt: skip
    return _DATA.unpack_from(data, at)


def _with_driver(data: bytes, start: int, end: int, ids: str) -> RomImage:
    """Return an image with its driver: firmware takes it from where its header says.

    It ends where the header's own length says, which may not be where the image ends.
    """
    _, units, magic, _, machine, packed, _, offset = _EFI.unpack_from(data, start)
    told = _MACHINES.get(machine, f"machine {machine:#06x}")
    stop = start + units * _UNIT
    if magic != _EFI_MAGIC or not _EFI.size <= offset < units * _UNIT or stop > end:
        raise MalformedError(_WHAT, f"an EFI image of {units * _UNIT} octets with its driver at "
                             f"{offset}", "a driver within it", "UEFI 2.10 14.4.2.1",
                             offset=start)  # fmt: skip
    driver = data[start + offset : stop]
    if packed > 1:
        raise MalformedError(_WHAT, f"compression type {packed}", "0 or 1", "UEFI 2.10 14.4.2.1",
                             offset=start)  # fmt: skip
    return RomImage(code=_CODES[_EFI_CODE], ids=ids, machine=told,
                    driver=unpack(driver) if packed else driver)  # fmt: skip
