"""Kernel modules to sign: bare, for 32 bits, and packed as distributions pack them."""

from signward.errors import BadInputError
from signward.wire.compressed import compression_of, pack, unpack
from tests.builders import elf

BYTE_EXACT = True
UNTIMED = True

SAMPLES = {
    "sample.ko": elf.module,
    "small.ko": lambda: elf.module(bits=32),
    "sample.ko.xz": lambda: pack("xz", elf.module(), "sample"),
    "sample.ko.gz": lambda: pack("gzip", elf.module(), "sample"),
    "sample.ko.zst": lambda: pack("zstd", elf.module(), "sample"),
}

OPTIONS = {"small.ko": {"options": {"key-id": "yes"}}}


def exempt(data: bytes) -> frozenset[int]:
    """Return where a packed file may change and still hold the same module: its stream's header.

    (A time in gzip, a larger window in zstd.)  The signature speaks of what is inside.
    """
    if not compression_of(data):
        return frozenset()
    held = unpack(data, len(data) * 100, "sample")
    return frozenset(at for at in range(len(data)) if _holds(_flipped(data, at), held))


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << (at * 5 % 8)
    return bytes(changed)


def _holds(data: bytes, held: tuple[bytes, int]) -> bool:
    try:
        return unpack(data, len(data) * 100, "sample") == held
    except BadInputError:
        return False
