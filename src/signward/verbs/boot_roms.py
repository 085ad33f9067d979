"""Option ROMs read for ``boot status``: as sysfs shows them, or in files that the caller names.

sysfs shows what is in a ROM only while somebody has switched that on, which means writing to the
device's ``rom``; nothing here does.  What is not shown is said to be unread, with how to read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from signward.errors import BadInputError, EvidenceError
from signward.frozen import Frozen, replace
from signward.inventory.boot.files import BootFile, OptionRom, option_roms
from signward.policy.boot.firmware import OPTION_ROM, Image
from signward.policy.boot.status import FileStatus, RomStatus
from signward.verbs.boot_images import image_of
from signward.verbs.options import read_option
from signward.wire.option_rom import MAX_ROM, read_rom
from signward.wire.source import BytesSource

NOT_SHOWN = "sysfs does not show it"
"""Why a device's ROM is unread on a machine that runs, as long as nobody switched it on."""


class Rom(Frozen, frozen=True, kw_only=True):
    """One ROM: whose it is, the drivers in it, or why it is unread."""

    device: str
    ids: str = ""
    kind: str = ""
    drivers: tuple[Image, ...] = ()
    unread: str = ""


def read_roms(
    root: str, files: Iterable[str], tick: Callable[[str], None] = lambda _: None
) -> tuple[Rom, ...]:
    """Return the ROMs of a system's devices, and those in files.

    A file is a device's if it is named after its address (``0000:01:00.0.rom``).  Raises
    ``EvidenceError`` for a file that cannot be read.
    """
    given = {path: _given(path) for path in files}
    devices = option_roms(root)
    return tuple(
        rom for part in (_of_devices(devices, given, tick), _alone(devices, given, tick))
        for rom in part
    )  # fmt: skip


def _of_devices(
    devices: tuple[OptionRom, ...], given: dict[str, bytes], tick: Callable[[str], None]
) -> Iterator[Rom]:
    named = {_address(path): data for path, data in given.items()}
    for one in devices:
        tick(one.path)
        rom = Rom(device=one.device, ids=one.ids, kind=one.kind)
        data = named.get(one.device)
        shown = _shown(one.path) if data is None else data
        yield _read(rom, shown) if shown else replace(rom, unread=NOT_SHOWN)


def _alone(
    devices: tuple[OptionRom, ...], given: dict[str, bytes], tick: Callable[[str], None]
) -> Iterator[Rom]:
    """Yield the ROMs in files that are no device's here."""
    known = {one.device for one in devices}
    for path, data in given.items():
        if _address(path) not in known:
            tick(path)
            yield _read(Rom(device=path), data)


def _address(path: str) -> str:
    return Path(path).name.removesuffix(".rom")


def _given(path: str) -> bytes:
    data = read_option(path)
    if not data:
        raise EvidenceError(f"{path}: found an empty file, required what is in a ROM")
    return data


def _shown(path: str) -> bytes:
    """Return what sysfs, or a copy of it, shows of a ROM; nothing where it shows nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_ROM + 1)
    except OSError:
        return b""
    return data if data.strip() else b""


def _read(rom: Rom, data: bytes) -> Rom:
    try:
        images = read_rom(data)
    except BadInputError as error:
        return replace(rom, unread=str(error.finding.found))
    ids = rom.ids or images[0].ids
    drivers = tuple(
        _driver(f"{rom.device}, image {number} ({image.machine})", image.driver)
        for number, image in enumerate(images, 1)
        if image.driver is not None
    )
    return replace(rom, ids=ids, drivers=drivers)


def _driver(name: str, data: bytes) -> Image:
    image = image_of(BootFile(path="", name=name), BytesSource(name, data))
    return replace(image, role=OPTION_ROM, vendor=None)


def rom_status(rom: Rom, drivers: tuple[FileStatus, ...]) -> RomStatus:
    """Return what is told of a ROM."""
    return RomStatus(device=rom.device, ids=rom.ids, kind=rom.kind, drivers=drivers,
                     unread=rom.unread)  # fmt: skip
