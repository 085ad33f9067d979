"""Option ROMs: what is in them, and whether firmware would still run it."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode import pe
from hypothesis import given
from hypothesis import strategies as st

from signward.cli import main
from signward.errors import BadInputError, EvidenceError, LimitError, MalformedError
from signward.policy.boot.microsoft import ROM_2023, UEFI_2011, UEFI_2023
from signward.policy.boot.status import BootStatus, FileStatus, Gap, Scenario
from signward.verbs.boot import Asked, boot_status
from signward.verbs.boot_roms import NOT_SHOWN
from signward.wire import efi_compression, option_rom
from signward.wire.efi_compression import unpack
from signward.wire.option_rom import read_rom
from signward.wire.siglist import IMAGE_SECURITY, SHA256, Entry, write_lists
from tests.builders.option_rom import AARCH64, BIOS, HEAD, UNIT, packed, rom
from tests.builders.option_rom import image as rom_image
from tests.signing import sign_bytes
from tests.unit.test_boot_status import AT
from tests.unit.test_boot_status import image as variables

DRIVER = pe.image(subsystem=11)
SHIM = "usr/lib/shim/shimx64.efi.signed"


def system(root: Path, content: bytes = b"") -> Path:
    """Write what sysfs tells of one graphics card; return the folder of its device."""
    device = root / "sys" / "bus" / "pci" / "devices" / "0000:01:00.0"
    device.mkdir(parents=True)
    for name, text in (("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2684")):
        (device / name).write_text(text + "\n")
    (device / "rom").write_bytes(content)
    return device


def ask(root: Path, held: str = "", *roms: Path, update: str = "") -> BootStatus:
    return boot_status(Asked(root=str(root), variables=held, roms=tuple(map(str, roms)),
                             update=update), AT)  # fmt: skip


def only(status: BootStatus) -> FileStatus:
    (found,) = (driver for one in status.option_roms for driver in one.drivers)
    return found


@given(st.binary(max_size=400))
def test_what_is_packed_comes_out_again(data: bytes) -> None:
    assert unpack(packed(data)) == data


@given(st.binary(max_size=120), st.integers(0, 4096))
def test_bad_compression_is_refused_in_words(data: bytes, size: int) -> None:
    try:
        out = unpack(struct.pack("<II", len(data), size) + data)
    except BadInputError:
        return
    assert len(out) == size


def test_compression_is_bounded() -> None:
    with pytest.raises(LimitError, match="octets unpacked"):
        unpack(struct.pack("<II", 0, efi_compression.MAX_UNPACKED + 1))
    for data in (b"", packed(b"abc")[:-1], struct.pack("<II", 8, 4) + b"\0\0\0\0\0\0\0\0"):
        with pytest.raises(MalformedError):
            unpack(data)


def test_a_repetition_may_not_reach_before_the_beginning() -> None:
    """One symbol of each set, no bits: 255 repeats three octets from one before what is there."""
    bits = f"{1:016b}{0:05b}{0:05b}{0:09b}{256:09b}{0:04b}{0:04b}"
    data = int(bits.ljust(56, "0"), 2).to_bytes(7, "big")
    with pytest.raises(MalformedError, match="1 octets before the beginning"):
        unpack(struct.pack("<II", len(data), 3) + data)


def test_images_are_told_apart() -> None:
    first = rom_image(b"code", code=BIOS, last=False)
    second = rom_image(packed(DRIVER), compression=1, machine=AARCH64, last=False)
    third = rom_image(DRIVER.ljust(-(-len(DRIVER) // UNIT) * UNIT - HEAD), ids=(0x8086, 0x100E))
    bios, arm, x64 = read_rom(first + second + third + b"behind the last")
    assert (bios.code, bios.ids, bios.driver) == ("BIOS", "10de:2684", None)
    assert (arm.machine, arm.driver) == ("aarch64", DRIVER)
    assert (x64.machine, x64.ids) == ("x64", "8086:100e")
    assert x64.driver is not None
    assert x64.driver.startswith(DRIVER)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the end"),
        (b"\xaa\x55" + bytes(100), "aa55"),
        (rom_image(DRIVER, last=False), "the end"),
        (rom_image(DRIVER)[:-UNIT], "an image of"),
        (rom_image(DRIVER).replace(b"PCIR", b"PCIS"), "no PCI Data Structure"),
        (rom_image(DRIVER, magic=0x0EF2), "an EFI image of"),
        (rom_image(DRIVER, offset=0xFFFF), "with its driver at 65535"),
        (rom_image(DRIVER, compression=2), "compression type 2"),
        (rom_image(b"code", code=BIOS, last=False) * 40, "more than 32 images"),
    ],
)  # fmt: skip
def test_what_is_no_rom_is_refused_in_words(data: bytes, found: str) -> None:
    with pytest.raises(BadInputError, match=found):
        read_rom(data)


def test_a_rom_is_bounded() -> None:
    with pytest.raises(LimitError):
        read_rom(bytes(option_rom.MAX_ROM + 1))


@given(st.binary(min_size=1, max_size=8), st.integers(0, HEAD + 60))
def test_a_changed_rom_is_read_or_refused_in_words(change: bytes, at: int) -> None:
    whole = bytearray(rom([DRIVER]))
    whole[UNIT + at : UNIT + at + len(change)] = change
    with contextlib.suppress(BadInputError):
        assert len(read_rom(bytes(whole))) >= 1


@pytest.mark.corpus
def test_a_driver_under_2011_does_not_start_without_it(
    tmp_path: Path, corpus: Callable[[str], Path]
) -> None:
    """What Microsoft signed stands in for a card's driver: shim, whose role here is another."""
    system(tmp_path, rom([(corpus("shim") / SHIM).read_bytes()]))
    status = ask(tmp_path, variables(tmp_path / "v", UEFI_2011.name))
    driver = only(status)
    assert driver.path == "0000:01:00.0, image 2 (x64)"
    assert driver.role == "option-rom"
    assert driver.starts[Scenario.NOW].by == f"{UEFI_2011.name} (db)"
    assert driver.starts[Scenario.WITHOUT_2011].starts is False
    (advice,) = (one for one in status.advice if one.gap is Gap.ROMS)
    assert "will not start without Microsoft's certificates of 2011" in advice.found
    assert "that graphics device" in advice.found
    assert ROM_2023.name in advice.todo
    assert advice.urgent
    both = ask(tmp_path, variables(tmp_path / "b", UEFI_2011.name, UEFI_2023.name))
    assert only(both).starts[Scenario.WITHOUT_2011].starts is True
    assert Gap.ROMS not in {one.gap for one in both.advice}


@pytest.mark.corpus
def test_no_shim_lets_a_card_s_driver_in(tmp_path: Path, corpus: Callable[[str], Path]) -> None:
    """GRUB is Debian's, which shim's own certificate vouches for: firmware knows nothing of it."""
    esp = tmp_path / "boot" / "efi" / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    (esp / "BOOTX64.EFI").write_bytes((corpus("shim") / SHIM).read_bytes())
    grub = corpus("grub") / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
    system(tmp_path, rom([grub.read_bytes()]))
    status = ask(tmp_path, variables(tmp_path / "v", UEFI_2023.name))
    assert status.files[0].starts[Scenario.NOW].starts is True
    assert only(status).starts[Scenario.NOW].starts is False
    assert "does not start under Secure Boot" in status.advice[0].found


def test_a_digest_in_db_lets_an_unsigned_driver_start(tmp_path: Path) -> None:
    digest = pe.image_digest(DRIVER)
    lists = write_lists([Entry(kind=SHA256, owner=_OWNER, data=digest)])
    held = variables(tmp_path / "v", UEFI_2023.name)
    other = variables(tmp_path / "w", UEFI_2023.name, db=(IMAGE_SECURITY, lists))
    file = tmp_path / "card.rom"
    file.write_bytes(rom([DRIVER]))
    assert only(ask(tmp_path, held, file)).starts[Scenario.NOW].why == (
        "not signed, and its digest is not in db"
    )
    assert only(ask(tmp_path, other, file)).starts[Scenario.NOW].by == "its digest (db)"


_OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"


def test_octets_behind_a_signed_driver_spoil_it(tmp_path: Path) -> None:
    """Not packed, a driver reaches to the end of its image: what stands behind it counts."""
    signed = sign_bytes("driver.efi", DRIVER)
    file = tmp_path / "card.rom"
    file.write_bytes(rom_image(signed))
    driver = only(ask(tmp_path, variables(tmp_path / "v", UEFI_2023.name), file))
    assert driver.starts[Scenario.NOW].starts is False
    assert "octets behind it: firmware hashes other octets then" in driver.broken[0]
    file.write_bytes(rom([signed]))
    assert only(ask(tmp_path, variables(tmp_path / "v", UEFI_2023.name), file)).broken == ()


def test_a_rom_that_is_not_shown_is_named_with_what_would_show_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system(tmp_path)
    held = variables(tmp_path / "v", UEFI_2023.name)
    (one,) = ask(tmp_path, held).option_roms
    assert (one.ids, one.kind, one.unread, one.drivers) == ("10de:2684", "graphics", NOT_SHOWN, ())
    main(["boot", "status", "--root", str(tmp_path), "--vars", held])
    told = " ".join(capsys.readouterr().out.split())
    assert "Option ROMs not read: 0000:01:00.0 (graphics): sysfs does not show it" in told
    assert "--rom /tmp/ADDRESS.rom" in told


def test_a_file_named_after_a_device_is_its_rom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system(tmp_path)
    held = variables(tmp_path / "v", UEFI_2023.name)
    file = tmp_path / "0000:01:00.0.rom"
    file.write_bytes(rom([DRIVER]))
    (one,) = ask(tmp_path, held, file).option_roms
    assert (one.device, one.kind, one.unread, len(one.drivers)) == (
        "0000:01:00.0", "graphics", "", 1,
    )  # fmt: skip
    arguments = ["boot", "status", "--root", str(tmp_path), "--vars", held, "--rom", str(file)]
    assert main(arguments) == 1
    assert "✕ refused" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["option_roms"]
    assert told["drivers"][0]["starts"]["now"]["starts"] is False


def test_a_rom_without_an_efi_driver_is_nothing_to_db(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.rom"
    file.write_bytes(rom([]))
    held = variables(tmp_path / "v", UEFI_2023.name)
    (one,) = ask(tmp_path, held, file).option_roms
    assert (one.drivers, one.unread) == ((), "")
    main(["boot", "status", "--root", str(tmp_path), "--vars", held, "--rom", str(file)])
    assert "no EFI driver in it" in " ".join(capsys.readouterr().out.split())


def test_a_rom_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    file = tmp_path / "bad.rom"
    file.write_bytes(b"nothing of the kind")
    held = variables(tmp_path / "v", UEFI_2023.name)
    assert ask(tmp_path, held, file).option_roms[0].unread == "6e6f"
    file.write_bytes(b"")
    with pytest.raises(EvidenceError, match="empty file"):
        ask(tmp_path, held, file)
