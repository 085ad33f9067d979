"""What ELF files say of themselves, and what rules make of it."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.formats.elf import FORMAT
from signward.policy.record import record
from signward.policy.rules.kinds import class_of
from signward.policy.rules.sighted import subject_of
from signward.state import Verdict
from signward.verbs.show import parsed
from signward.verbs.verify import assess
from signward.wire.elf import module_info, read_elf
from signward.wire.source import BytesSource, open_source
from tests.builders import elf
from tests.signing import context


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_everything_a_library_says(bits: int, order: str) -> None:
    data = elf.linked(
        interpreter="/lib/ld.so", soname="libx.so.1", runpath="$ORIGIN", bits=bits, order=order,
        needed=("liba.so", "libb.so"),
    )  # fmt: skip
    found = read_elf(BytesSource("x", data), len(data))
    assert found is not None
    assert (found.role, found.bits, found.interpreter) == ("library", bits, "/lib/ld.so")
    assert (found.soname, found.runpath) == ("libx.so.1", "$ORIGIN")
    assert found.needed == ("liba.so", "libb.so")
    assert found.machine == ("x86-64" if bits == 64 else "x86")


@pytest.mark.parametrize(
    ("data", "role"),
    [
        (elf.linked(elf.EXECUTABLE), "executable"),
        (elf.linked(interpreter=elf.LOADER), "executable"),  # linked before 2018
        (elf.linked(flags=elf.PIE), "executable"),  # static and position-independent
        (elf.linked(), "library"),
        (elf.linked(elf.CORE), "core"),
        (elf.linked(0xFE00), "other"),
        (elf.module(), "relocatable"),
    ],
)
def test_roles(data: bytes, role: str) -> None:
    artifact = parsed(BytesSource("file", data))
    assert artifact is not None
    assert artifact.facts["elf-role"] == role
    classes = {"executable": "executable", "library": "library"}
    assert class_of("elf", artifact.facts) == classes.get(role, "")


def test_the_programs_of_this_machine() -> None:
    for name in ("sh", "env"):
        path = shutil.which(name)
        assert path is not None
        with open_source(path) as source:
            found = read_elf(source, source.length)
        assert found is not None
        assert found.role == "executable"


def verdict_on(data: bytes, folder: Path) -> Verdict:
    return assess(BytesSource("file", data), context(folder))


def test_rules_tell_programs_from_libraries(tmp_path: Path) -> None:
    told = [
        subject_of(record(verdict_on(data, tmp_path), kind="elf")).file_class
        for data in (elf.linked(flags=elf.PIE), elf.linked(), elf.linked(elf.CORE))
    ]
    assert told == ["executable", "library", ""]
    broken = elf.linked()[:40]
    subject = subject_of(record(verdict_on(broken, tmp_path), kind="elf"))
    assert subject.file_class == ""
    assert subject.classes == {"executable", "library"}


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_broken_headers_never_raise(offset: int, value: bytes) -> None:
    for data in (elf.linked(needed=("a",), interpreter="/x"), elf.module()):
        changed = data[:offset] + value + data[offset + len(value) :]
        source = BytesSource("x", changed)
        read_elf(source, len(changed))
        module_info(source, len(changed))
        read_elf(source, 20)


def test_section_headers_of_any_size_do_not_have_the_file_read() -> None:
    """65,535 headers of 65,535 octets each are four gigabytes of a sparse file."""

    class Counting(BytesSource):
        most = 0

        def read(self, offset: int, size: int) -> bytes:
            Counting.most = max(Counting.most, size)
            return super().read(offset, size)

    header = bytearray(elf.module()[:64])
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<HHH", header, 58, 65_535, 65_535, 0)
    source = Counting("x", bytes(header) + bytes(1 << 24))
    assert module_info(source, source.length) == {}
    assert Counting.most <= 65_535 * 64


@pytest.mark.parametrize("size", [4, 5, 6, 16, 17, 18, 40, 63, 64, 100, 200])
def test_cut_files_are_unsigned(size: int, tmp_path: Path) -> None:
    verdict = verdict_on(elf.linked()[:size], tmp_path)
    assert verdict.cause == "unsigned"
    assert verdict.format == FORMAT.name


def test_what_a_library_needs_is_shown() -> None:
    artifact = parsed(BytesSource("x", elf.linked(needed=("libc.so.6", "libm.so.6"))))
    assert artifact is not None
    assert artifact.facts["needs"] == "libc.so.6, libm.so.6"
    assert artifact.facts["bits"] == 64
