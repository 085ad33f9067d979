"""What boot programs say of their generation: sections of long names, resources of a name."""

from __future__ import annotations

import struct

from conformance.authenticode.pe import EFI, image

from signward.formats import ParseOptions
from signward.formats.pe import FORMAT
from signward.wire import sbat
from signward.wire.source import BytesSource

NAME = "BOOTMGRSECURITYVERSIONNUMBER"


def resources(address: int, value: bytes, name: str = NAME, kind: int = 10) -> bytes:
    """Return a resource section at ``address``: one type, one name, one language, one value."""
    text = name.encode("utf-16-le")
    directory = struct.Struct("<12xHH")
    entry = struct.Struct("<II")
    at = (0, 24, 48, 72, 88)  # type, name, language directories; data entry; the name
    data_at = at[4] + 2 + len(text) + 6
    whole = directory.pack(0, 1) + entry.pack(kind, 1 << 31 | at[1])
    whole += directory.pack(1, 0) + entry.pack(1 << 31 | at[4], 1 << 31 | at[2])
    whole += directory.pack(0, 1) + entry.pack(0x409, at[3])
    whole += entry.pack(address + data_at, len(value)) + bytes(8)
    whole += struct.pack("<H", len(name)) + text + bytes(6)
    return whole + value


def with_resources(raw: bytes) -> bytes:
    """Return an EFI program whose second section is its resources."""
    whole = bytearray(image(subsystem=EFI, data=raw))
    header = int.from_bytes(whole[60:64], "little")
    directory = header + 24 + 112 + 8 * 2
    struct.pack_into("<II", whole, directory, 0x2000, len(raw))
    return bytes(whole)


def facts(data: bytes) -> dict[str, str | int]:
    artifact = FORMAT.parse(BytesSource("bootmgfw.efi", data), ParseOptions())
    return dict(FORMAT.facts(artifact))


def test_the_security_version_is_a_resource_of_that_name() -> None:
    value = struct.pack("<HH", 1, 9)
    assert facts(with_resources(resources(0x2000, value)))["security-version"] == "9.1"


def test_other_names_types_and_sizes_say_nothing() -> None:
    value = struct.pack("<HH", 1, 9)
    for raw in (
        resources(0x2000, value, name=NAME[::-1]), resources(0x2000, value, name="X"),
        resources(0x2000, value, kind=16), resources(0x2000, value + b"\0"),
        resources(0x2000, value)[:60], b"\xff" * 200, resources(0xFFFF0000, value),
    ):  # fmt: skip
        assert "security-version" not in facts(with_resources(raw))


def with_long_name(content: bytes, name: bytes = sbat.LEVEL_SECTION) -> bytes:
    """Return an EFI program whose second section has a name in the string table."""
    whole = bytearray(image(subsystem=EFI, data=content).replace(b".rdata\0\0", b"/4\0\0\0\0\0\0"))
    header = int.from_bytes(whole[60:64], "little")
    struct.pack_into("<II", whole, header + 12, len(whole), 0)
    return bytes(whole) + struct.pack("<I", 4 + len(name) + 1) + name + b"\0"


def test_shims_levels_stand_in_a_section_of_a_long_name() -> None:
    old = b"sbat,1,2021030218\n\0"
    content = struct.pack("<III", 0, 8, 8 + len(old)) + old + sbat.LATEST + b"\0"
    told = facts(with_long_name(content))
    assert told["sbat-level"] == "2025051000 shim,4 grub,5 grub.proxmox,2"
    assert "sbat-level" not in facts(with_long_name(content, b".sbatleve1"))
    assert "sbat-level" not in facts(with_long_name(content)[:-20])
    assert "sbat-level" not in facts(with_long_name(b"\1" * 40))


LINES = b"sbat,1,SBAT Version,sbat,1,https://x\ngrub,5,FSF,grub,2.12,https://x\n"


def with_lines(lines: bytes) -> bytearray:
    """Return an EFI program with a section ``.sbat``."""
    return bytearray(image(subsystem=EFI, data=lines).replace(b".rdata\0\0", b".sbat\0\0\0"))


def test_lines_are_read_as_shim_reads_them() -> None:
    data = with_lines(LINES)
    assert facts(bytes(data))["sbat"] == "sbat,1 grub,5"
    size_at = data.index(b".sbat\0\0\0") + 8
    struct.pack_into("<I", data, size_at, len(LINES) // 2)  # shim takes what the file has
    assert facts(bytes(data))["sbat"] == "sbat,1 grub,5"
    struct.pack_into("<I", data, size_at, 0x10000)  # and nothing of what memory has more of
    assert facts(bytes(data))["sbat"] == "malformed"


def test_two_sections_of_lines_are_none_that_shim_takes() -> None:
    data = with_lines(LINES)
    assert facts(bytes(data).replace(b".text\0\0\0", b".sbat\0\0\0"))["sbat"] == "malformed"


def test_an_image_for_windows_is_not_asked() -> None:
    lines = b"shim,4,a,b,c,d\n"
    data = image(data=lines).replace(b".rdata\0\0", b".sbat\0\0\0")
    assert "sbat" not in facts(data)
