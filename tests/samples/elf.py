"""ELF files to sign: a program, a library, one for 32 bits, one of the other byte order."""

from tests.builders import elf

BYTE_EXACT = True
UNTIMED = True

SAMPLES = {
    "program": lambda: elf.linked(interpreter=elf.LOADER, flags=elf.PIE),
    "static": lambda: elf.linked(elf.EXECUTABLE),
    "libsample.so.1": lambda: elf.linked(soname="libsample.so.1", needed=("libc.so.6",)),
    "libsmall.so": lambda: elf.linked(bits=32),
    "bigendian": lambda: elf.linked(elf.EXECUTABLE, order=">"),
}

OPTIONS = {"static": {"options": {"key-id": "yes"}}}
