"""Debian as it is installed for Secure Boot, laid out from its own packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

KERNEL = "6.1.0-56-amd64"

_PLACES = {
    "boot/efi/EFI/BOOT/BOOTX64.EFI": ("shim", "usr/lib/shim/shimx64.efi.signed"),
    "boot/efi/EFI/debian/shimx64.efi": ("shim", "usr/lib/shim/shimx64.efi.signed"),
    "boot/efi/EFI/debian/mmx64.efi": ("shim-helpers", "usr/lib/shim/mmx64.efi.signed"),
    "boot/efi/EFI/debian/fbx64.efi": ("shim-helpers", "usr/lib/shim/fbx64.efi.signed"),
    "boot/efi/EFI/debian/grubx64.efi": (
        "grub", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
    ),
    "boot/efi/EFI/debian/fwupdx64.efi": ("fwupd", "usr/libexec/fwupd/efi/fwupdx64.efi.signed"),
    f"boot/vmlinuz-{KERNEL}": ("linux-image", f"boot/vmlinuz-{KERNEL}"),
    "usr/lib/shim/shimx64.efi.signed": ("shim", "usr/lib/shim/shimx64.efi.signed"),
}  # fmt: skip

SHIMS = ("/boot/efi/EFI/BOOT/BOOTX64.EFI", "/boot/efi/EFI/debian/shimx64.efi")
LOADED = (
    "/boot/efi/EFI/debian/fbx64.efi", "/boot/efi/EFI/debian/fwupdx64.efi",
    "/boot/efi/EFI/debian/grubx64.efi", "/boot/efi/EFI/debian/mmx64.efi",
    f"/boot/vmlinuz-{KERNEL}",
)  # fmt: skip
"""What Debian signed, and its shim loads."""


def _second_name(known: str, name: str) -> None:
    """Give a file a second name, or copy it where its file system is another."""
    try:
        Path(name).hardlink_to(known)
    except OSError:
        shutil.copy2(known, name)


def debian(folder: Path, corpus: Callable[[str], Path]) -> Path:
    """Return a root with Debian's boot programs, kernel and modules."""
    for place, (sample, name) in _PLACES.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus(sample) / name, target)
    shutil.copytree(corpus("linux-image") / "lib" / "modules", folder / "lib" / "modules",
                    copy_function=_second_name)  # fmt: skip
    rom = folder / "sys" / "bus" / "pci" / "devices" / "0000:01:00.0"
    rom.mkdir(parents=True)
    for name, text in (("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2684"),
                       ("rom", "")):  # fmt: skip
        (rom / name).write_text(text + "\n")
    return folder
