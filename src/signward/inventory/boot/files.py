"""What is there to start: EFI files on the ESP and in packages, kernels, modules, option ROMs.

Reads names and places, and opens no EFI file.  Every folder read is bounded; links are followed
for the folders named here only, never below them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from signward.errors import EvidenceError
from signward.frozen import Frozen
from signward.inventory.walk import Trouble, WalkOptions, walk

ESP_PLACES = ("boot/efi", "efi", "boot")
"""Where Linux distributions mount the EFI system partition (bootctl(1))."""

PACKAGED = (
    "usr/lib/shim", "usr/share/shim", "usr/lib/shim-signed", "usr/lib/grub", "usr/lib/efi",
    "usr/share/efi", "usr/libexec/fwupd/efi", "usr/lib/fwupd/efi", "usr/lib/systemd/boot/efi",
    "usr/lib/linux",
)  # fmt: skip
"""Where packages keep the EFI files that they install on the ESP."""

_SUFFIXES = (".efi", ".efi.signed", ".efi.mok")

MAX_FILES = 4096
"""EFI files looked at; an ESP with five systems on it has some two hundred."""

MAX_MODULES = 100_000
"""Modules counted for one kernel; a distribution's has some 4,500."""

_MODULE_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_TRAILER = b"~Module signature appended~\n"
"""How a signed module ends (Linux, scripts/sign-file.c)."""

_BEYOND = ("extra", "updates", "weak-updates", "dkms")
"""Folders of modules that did not come with the kernel."""


class BootFile(Frozen, frozen=True, kw_only=True):
    """One EFI file: where to open it, and its name below the root or the ESP.

    ``packaged``: a package's copy, which firmware never starts from there.
    """

    path: str
    name: str
    packaged: bool = False


class Modules(Frozen, frozen=True, kw_only=True):
    """The modules of one kernel, counted.

    ``packed`` are compressed: whether they are signed is not looked at.  ``foreign`` did not
    come with the kernel, so no key built into it can have signed them.
    """

    kernel: str
    modules: int
    signed: int
    packed: int
    foreign: tuple[str, ...] = ()


class OptionRom(Frozen, frozen=True, kw_only=True):
    """A device with a ROM of its own; ``device`` is its PCI address, ``ids`` vendor and device."""

    device: str
    ids: str
    kind: str


def boot_files(root: str, esp: str = "") -> tuple[BootFile, ...]:
    """Return the EFI files of an installed system, those that firmware can reach first.

    Raises ``EvidenceError`` where ``root`` or ``esp`` is no folder, or there are too many.
    """
    for folder in filter(None, (root, esp)):
        if not Path(folder).is_dir():
            raise EvidenceError(f"{folder}: found no folder, required one")
    found: dict[tuple[int, int], BootFile] = {}
    for file in (*_on_esp(root, esp), *_kernels(root), *_packaged(root)):
        status = Path(file.path).stat()
        found.setdefault((status.st_dev, status.st_ino), file)
        if len(found) > MAX_FILES:
            raise EvidenceError(f"{root}: more than {MAX_FILES} EFI files")
    return tuple(found.values())


def esp_folders(root: str) -> tuple[str, ...]:
    """Return the folders below ``root`` that look like an EFI system partition."""
    places = (Path(root, place) for place in ESP_PLACES)
    return tuple(str(place) for place in places if _holds_efi(place))


def _holds_efi(place: Path) -> bool:
    return any(entry.name.lower() == "efi" and entry.is_dir() for entry in _entries(place))


def _on_esp(root: str, esp: str) -> Iterator[BootFile]:
    for folder in (esp,) if esp else esp_folders(root):
        for path in _walk(folder):
            if path.lower().endswith(_SUFFIXES) or _is_kernel(path):
                yield BootFile(path=path, name=_below(path, root, folder))


def _kernels(root: str) -> Iterator[BootFile]:
    """Yield kernels in /boot and those that stand beside their modules (vmlinuz)."""
    for folder in (Path(root, "boot"), *sorted(_module_folders(root))):
        for path in _entries(folder):
            if _is_kernel(path.name) and path.is_file() and not path.is_symlink():
                yield BootFile(path=str(path), name=_below(str(path), root, ""))


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _packaged(root: str) -> Iterator[BootFile]:
    for place in PACKAGED:
        for path in _walk(str(Path(root, place))):
            if path.lower().endswith(_SUFFIXES):
                yield BootFile(path=path, name=_below(path, root, ""), packaged=True)


def _is_kernel(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.startswith(("vmlinuz", "vmlinux", "bzimage", "linux")) and not name.endswith(
        (".old", ".hmac", ".sig", ".conf", ".png", ".txt", ".cfg", ".mod")
    )


def _walk(folder: str) -> Iterator[str]:
    """Yield regular files; what cannot be read is left to whoever opens it."""
    if Path(folder).is_dir():
        for item in walk([folder], WalkOptions(one_file_system=False)):
            if not isinstance(item, Trouble):
                yield item


def _below(path: str, root: str, esp: str) -> str:
    """Return a path as it stands on the machine itself: below its root, else below its ESP."""
    base = root.rstrip("/") or ""
    if path.startswith(base + "/"):
        return path[len(base) :]
    return path[len(esp.rstrip("/")) :] if esp and path.startswith(esp) else path


def _module_folders(root: str) -> Iterator[Path]:
    for place in ("lib/modules", "usr/lib/modules"):
        folder = Path(root, place)
        if folder.is_dir() and not (place == "lib/modules" and Path(root, "lib").is_symlink()):
            yield from (entry for entry in folder.iterdir() if entry.is_dir())


def modules(root: str) -> tuple[Modules, ...]:
    """Return the modules of every kernel below ``root``, counted; raises ``EvidenceError``."""
    return tuple(_modules(folder) for folder in sorted(_module_folders(root)))


def _modules(folder: Path) -> Modules:
    count = signed = packed = 0
    foreign = []
    for path in _walk(str(folder)):
        if not path.endswith(_MODULE_SUFFIXES):
            continue
        count += 1
        if count > MAX_MODULES:
            raise EvidenceError(f"{folder}: more than {MAX_MODULES} modules")
        if path.endswith(".ko"):
            signed += _is_signed(path)
        else:
            packed += 1
        inner = path[len(str(folder)) + 1 :]
        if inner.partition("/")[0] in _BEYOND:
            foreign.append(inner)
    return Modules(kernel=folder.name, modules=count, signed=signed, packed=packed,
                   foreign=tuple(foreign))  # fmt: skip


def _is_signed(path: str) -> bool:
    """Say whether a module ends as signed ones do; whose signature it is, is not asked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        start = max(0, status.st_size - len(_TRAILER))
        return stat.S_ISREG(status.st_mode) and (
            os.pread(descriptor, len(_TRAILER), start) == _TRAILER
        )
    finally:
        os.close(descriptor)


_CLASSES = {"01": "storage", "02": "network", "03": "graphics", "0c": "bus controller"}
"""PCI base classes whose devices usually bring a ROM with an EFI driver in it."""


def option_roms(root: str) -> tuple[OptionRom, ...]:
    """Return the PCI devices with a ROM (sysfs ``rom``); what is in it takes root to read."""
    devices = _entries(Path(root, "sys/bus/pci/devices"))[:MAX_FILES]
    return tuple(_rom(device) for device in devices if (device / "rom").exists())


def _rom(device: Path) -> OptionRom:
    kind = _line(device / "class").removeprefix("0x")[:2]
    ids = f"{_line(device / 'vendor')[2:]}:{_line(device / 'device')[2:]}"
    return OptionRom(device=device.name, ids=ids, kind=_CLASSES.get(kind, f"class {kind or '?'}"))


def _line(path: Path) -> str:
    """Return the beginning of an attribute's one line; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(32).decode("ascii", "replace").strip()
    except OSError:
        return ""
