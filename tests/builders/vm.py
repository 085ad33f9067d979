"""A small virtual machine: Debian's own kernel, an initramfs of our files, the serial console.

It has no disk and no network, and is emulated throughout (TCG).  With a variable store it boots by
UEFI firmware that knows Secure Boot.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders.jail import PEERS, libraries

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
"""A variable store without any key: the firmware is in setup mode."""

SECONDS = 180
"""For one boot: firmware and kernel take some ten seconds where nobody else works."""


def missing() -> str:
    """Say what is not here for a machine; empty if all is."""
    for name in ("qemu-system-x86_64", "busybox", "keyctl", "setfattr", "chattr", "evmctl"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    if not FIRMWARE.exists():
        return "ovmf is not installed"
    return "" if kernel() else "linux: no kernel unpacked in /opt/signward-peers"


def kernel() -> Path | None:
    """Return the unpacked kernel."""
    return next(iter(sorted((PEERS / "linux").glob("vmlinuz-*"))), None)


def packed_efivarfs() -> bytes:
    """Return the module for UEFI variables as Debian packs it (xz)."""
    return (PEERS / "linux" / "efivarfs.ko.xz").read_bytes()


def efivarfs() -> bytes:
    """Return the module for UEFI variables."""
    return lzma.decompress(packed_efivarfs())


def program(name: str) -> dict[str, bytes]:
    """Return a program of this machine with the libraries it loads, by their places."""
    path = shutil.which(name)
    assert path is not None
    return {
        path: Path(path).resolve().read_bytes(),
        **{place: Path(file).read_bytes() for place, file in libraries(Path(path)).items()},
    }


def busybox() -> bytes:
    """Return busybox: linked statically, it needs no library signed beside it."""
    path = shutil.which("busybox")
    assert path is not None
    return Path(path).read_bytes()


def initramfs(init: str, files: Mapping[str, bytes]) -> bytes:
    """Return a cpio archive (newc) with ``init`` as /init; busybox and folders are there."""
    every = {"/init": init.encode(), "/bin/busybox": busybox(), **files}
    folders = {str(parent) for name in every for parent in Path(name).parents} - {"/"}
    folders |= {"/proc", "/sys", "/dev", "/x"}
    entries = [_entry(name[1:], 0o40755, b"") for name in sorted(folders)]
    entries += [_entry(name[1:], 0o100755, data) for name, data in every.items()]
    return b"".join((*entries, _entry("TRAILER!!!", 0, b"")))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def boot(
    folder: Path, archive: bytes, options: str, *, image: Path | None = None,
    variables: Path | None = None, disk: Path | None = None,
) -> str:  # fmt: skip
    """Boot a kernel and return the console, until the machine switches itself off.

    ``disk`` is an image that shows as /dev/vda where the kernel has modules for it.
    """
    drive = ["-drive", f"format=raw,if=virtio,file={disk}"] if disk else []
    (folder / "initramfs").write_bytes(archive)
    return _run(folder, [
        "-kernel", str(image or kernel()), "-initrd", str(folder / "initramfs"),
        "-append", f"console=ttyS0 panic=-1 {options}", *drive, *_firmware(variables),
    ])  # fmt: skip


def start(folder: Path, image: Path, variables: Path, ends: Sequence[bytes]) -> str:
    """Have firmware start an EFI program from a disk, as it does by itself.

    Returns the console as soon as it says one of ``ends``.
    """
    disk = folder / "disk" / "EFI" / "BOOT"
    disk.mkdir(parents=True, exist_ok=True)
    shutil.copy(image, disk / "BOOTX64.EFI")
    drive = ["-drive", f"format=raw,file=fat:rw:{folder / 'disk'}"]
    return _run(folder, [*drive, *_firmware(variables)], ends)


def start_card(folder: Path, rom: Path, variables: Path, ends: Sequence[bytes]) -> str:
    """Have firmware start from a network card with this ROM, on a network with nobody else.

    Returns the console as soon as it says one of ``ends``.
    """
    card = ["-netdev", "hubport,id=n,hubid=0",
            "-device", f"e1000,netdev=n,bootindex=1,romfile={rom}"]  # fmt: skip
    return _run(folder, [*card, *_firmware(variables)], ends)


def _firmware(variables: Path | None) -> list[str]:
    if variables is None:
        return []
    return ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}",
            "-drive", f"if=pflash,format=raw,file={variables}"]  # fmt: skip


def _run(folder: Path, arguments: Sequence[str], ends: Sequence[bytes] = ()) -> str:
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-no-reboot",
               "-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none",
               *arguments]  # fmt: skip
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        try:
            _wait(process, folder / "console", ends)
        finally:
            process.kill()
            process.wait()
    return (folder / "console").read_text("utf-8", "replace")


def _wait(process: subprocess.Popen[bytes], console: Path, ends: Sequence[bytes]) -> None:
    for _ in range(SECONDS * 4):
        try:
            process.wait(0.25)
        except subprocess.TimeoutExpired:
            if any(end in console.read_bytes() for end in ends):
                return
        else:
            return
    told = console.read_text("utf-8", "replace")[-2000:]
    raise AssertionError(f"no end after {SECONDS} s: {told}")


def said(console: str) -> list[str]:
    """Return what /init told: the lines that begin with ``SW:``."""
    lines = (line.strip() for line in console.replace("\r", "\n").split("\n"))
    return [line.partition("SW:")[2].strip() for line in lines if line.startswith("SW:")]


PROLOGUE = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc
$B mount -t sysfs s /sys
$B mount -t securityfs s /sys/kernel/security
$B mount -t devtmpfs d /dev
$B mount -t tmpfs t /x
$B dmesg -n 1
"""
"""How every /init begins; ``o`` to sysrq-trigger, by the shell itself, switches off."""

EPILOGUE = "\necho o > /proc/sysrq-trigger\nwhile :; do :; done\n"
