"""What is there to start: EFI files on the ESP and in packages, kernels, modules, option ROMs.

Reads names and places, and opens no EFI file.  Every folder read is bounded; links are followed
for the folders named here only, never below them, and never out of the root.
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
    """A device with a ROM of its own; ``device`` is its PCI address, ``ids`` vendor and device.

    ``path`` is where sysfs shows what is in it, once somebody has switched that on.
    """

    device: str
    ids: str
    kind: str
    path: str


class BootFiles(Frozen, frozen=True, kw_only=True):
    """The EFI files of a system, fallback lists beside them, and what could not be looked into."""

    files: tuple[BootFile, ...]
    fallbacks: tuple[BootFile, ...] = ()
    unread: tuple[str, ...] = ()


def boot_files(root: str, esp: str = "") -> BootFiles:
    """Return the EFI files of an installed system, those that firmware can reach first.

    Raises ``EvidenceError`` where ``root`` or ``esp`` is no folder, or there are too many.
    """
    for folder in filter(None, (root, esp)):
        if not os.path.isdir(folder):  # noqa: PTH112 - never raises
            raise EvidenceError(f"{folder}: found no folder, required one")
    found: dict[tuple[int, int], BootFile] = {}
    unread, fallbacks = list(_closed(root)), list[BootFile]()
    for item in (*_on_esp(root, esp), *_kernels(root), *_packaged(root)):
        if isinstance(item, str):
            unread.append(item)
            continue
        if item.path.lower().endswith(".csv"):
            fallbacks.append(item)
            continue
        found.setdefault(_identity(item.path), item)
        if len(found) > MAX_FILES:
            raise EvidenceError(f"{root}: more than {MAX_FILES} EFI files")
    return BootFiles(
        files=tuple(found.values()),
        fallbacks=tuple(fallbacks),
        unread=tuple(dict.fromkeys(unread)),
    )


def _identity(path: str) -> tuple[int, int]:
    """Return what makes two names one file; of a file that is gone by now, its name does."""
    try:
        status = os.stat(path)  # noqa: PTH116 - paths stay strings
    except OSError:
        return (-1, hash(path))
    return (status.st_dev, status.st_ino)


def esp_folders(root: str) -> tuple[str, ...]:
    """Return the folders below ``root`` that look like an EFI system partition.

    One that is mounted as /boot/efi makes no ESP of /boot, which then holds an ``efi`` too.
    """
    found: list[str] = []
    for place in ESP_PLACES:
        folder = os.path.join(root, place)  # noqa: PTH118 - paths stay strings
        if _leads_out(root, place):
            continue
        if _holds_efi(folder) and not any(known.startswith(f"{folder}/") for known in found):
            found.append(folder)
    return tuple(found)


def _holds_efi(place: str) -> bool:
    return any(path.name.lower() == "efi" and _is_folder(path) for path in _entries(Path(place)))


def _closed(root: str) -> Iterator[str]:
    """Yield the places of an ESP that whoever asks may not look into."""
    for place in ESP_PLACES:
        if _leads_out(root, place):
            yield f"/{place}: a link that leads out of {root}"
            continue
        try:
            with os.scandir(os.path.join(root, place)):  # noqa: PTH118 - paths stay strings
                pass
        except PermissionError as error:
            yield f"/{place}: {(error.strerror or 'closed').lower()}"
        except OSError:
            continue


def _leads_out(root: str, place: str) -> bool:
    """Say whether a link takes a place below ``root`` out of it: to what another machine has."""
    inside = os.path.realpath(root).rstrip("/") + "/"
    return not os.path.realpath(os.path.join(root, place)).startswith(inside)  # noqa: PTH118


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - never raises


def _on_esp(root: str, esp: str) -> Iterator[BootFile | str]:
    for folder in (esp,) if esp else esp_folders(root):
        for path in _walk(folder):
            if isinstance(path, Trouble):
                yield f"{_below(path.path, root, folder)}: {path.finding.found}"
            elif _is_fallback(path):
                yield BootFile(path=path, name=path[len(folder.rstrip("/")) :])
            elif path.lower().endswith(_SUFFIXES) or _is_kernel(path):
                yield BootFile(path=path, name=_below(path, root, folder))


def _kernels(root: str) -> Iterator[BootFile]:
    """Yield kernels in /boot and those that stand beside their modules (vmlinuz)."""
    boot = () if _leads_out(root, "boot") else (Path(root, "boot"),)
    for folder in (*boot, *_module_folders(root)):
        for path in _entries(folder):
            regular = os.path.isfile(path) and not os.path.islink(path)  # noqa: PTH113, PTH114
            if _is_kernel(path.name) and regular:
                yield BootFile(path=str(path), name=_below(str(path), root, ""))


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _packaged(root: str) -> Iterator[BootFile]:
    for place in PACKAGED:
        if _leads_out(root, place):
            continue
        for path in _walk(os.path.join(root, place)):  # noqa: PTH118 - paths stay strings
            if not isinstance(path, Trouble) and path.lower().endswith(_SUFFIXES):
                yield BootFile(path=path, name=_below(path, root, ""), packaged=True)


def _is_fallback(path: str) -> bool:
    name = path.rpartition("/")[2].upper()
    return name.startswith("BOOT") and name.endswith(".CSV")


def _is_kernel(path: str) -> bool:
    """Say whether a name is a kernel's; systemd's kernel-install calls them ``linux``."""
    name = path.rpartition("/")[2].lower()
    beside = name.endswith((".old", ".hmac", ".sig", ".conf", ".png", ".txt", ".cfg", ".mod"))
    return name == "linux" or (name.startswith(("vmlinuz", "vmlinux", "bzimage")) and not beside)


def _walk(folder: str) -> Iterator[str | Trouble]:
    """Yield regular files, and what is not walked; nothing where there is no folder."""
    if _is_folder(Path(folder)):
        yield from walk([folder], WalkOptions(one_file_system=False))


def _below(path: str, root: str, esp: str) -> str:
    """Return a path as it stands on the machine itself: below its root, else below its ESP."""
    base = root.rstrip("/") or ""
    if path.startswith(base + "/"):
        return path[len(base) :]
    return path[len(esp.rstrip("/")) :] if esp and path.startswith(esp) else path


def _module_folders(root: str) -> Iterator[Path]:
    """Yield the folders of kernels' modules, sorted; /lib may be a link to /usr/lib."""
    for place in ("lib/modules", "usr/lib/modules"):
        twice = place.startswith("lib") and Path(root, "lib").is_symlink()
        if not twice and not _leads_out(root, place):
            yield from filter(_is_folder, _entries(Path(root, place)))


def modules(root: str) -> tuple[Modules, ...]:
    """Return the modules of every kernel below ``root``, counted; raises ``EvidenceError``."""
    return tuple(map(_modules, _module_folders(root)))


def _modules(folder: Path) -> Modules:
    count = signed = packed = 0
    foreign = []
    for path in _walk(str(folder)):
        if isinstance(path, Trouble) or not path.endswith(_MODULE_SUFFIXES):
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
    """Return the PCI devices with a ROM (sysfs ``rom``)."""
    devices = _entries(Path(root, "sys/bus/pci/devices"))[:MAX_FILES]
    return tuple(_rom(device) for device in devices if os.path.exists(device / "rom"))  # noqa: PTH110 - never raises


def _rom(device: Path) -> OptionRom:
    kind = _line(device / "class").removeprefix("0x")[:2]
    ids = f"{_line(device / 'vendor')[2:]}:{_line(device / 'device')[2:]}"
    return OptionRom(device=device.name, ids=ids, kind=_CLASSES.get(kind, f"class {kind or '?'}"),
                     path=str(device / "rom"))  # fmt: skip


def _line(path: Path) -> str:
    """Return the beginning of an attribute's one line; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(32).decode("ascii", "replace").strip()
    except OSError:
        return ""
