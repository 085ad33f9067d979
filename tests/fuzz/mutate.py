"""Seeded mutations of byte strings: flips, length fields, truncation, splices.

Every input is a function of ``(samples, seed)`` alone: a failure names both and can be
run again with `python -m tests.fuzz.mutate SAMPLE SEED > input`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping

INTERESTING = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
               0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF)  # fmt: skip
"""Values that lie at the edge of some field's range."""

Mutator = Callable[[random.Random, bytearray, bytes], None]


def flip_bits(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Flip one to eight bits."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def edit_field(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Overwrite one to four bytes with an edge value, in either byte order."""
    width = min(rng.choice((1, 2, 4)), len(data))
    at = rng.randrange(len(data) - width + 1)
    value = rng.choice(INTERESTING) & (1 << 8 * width) - 1
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def nudge_field(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Add or take a little from a 32-bit little-endian field, as a wrong length would be."""
    if len(data) >= 4:
        at = rng.randrange(0, len(data) - 3)
        value = int.from_bytes(data[at : at + 4], "little") + rng.choice((-8, -4, -1, 1, 4, 8))
        data[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


def truncate(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Cut the end off."""
    del data[rng.randrange(len(data)) :]


def append(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Add zeros, noise or a piece of another sample."""
    piece = rng.choice((bytes(rng.randint(1, 16)), rng.randbytes(rng.randint(1, 64)), other[:256]))
    data += piece


def remove(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Take a short range out."""
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 64)]


def duplicate(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Repeat a range behind itself."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice((1, 8, 64, 1024)))
    data[end:end] = data[at:end]


def splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Replace a range by as many bytes of another sample."""
    at, start = rng.randrange(len(data)), rng.randrange(len(other))
    size = min(rng.choice((4, 32, 512)), len(data) - at, len(other) - start)
    data[at : at + size] = other[start : start + size]


MUTATORS: tuple[Mutator, ...] = (
    flip_bits, flip_bits, edit_field, edit_field, nudge_field, truncate, append, remove,
    duplicate, splice,
)  # fmt: skip

FOCUS = (0, 0, 0x200, 0x600)
"""Half of the mutations see only this many first bytes, where headers are."""


def mutated(samples: Mapping[str, bytes], name: str, seed: int) -> bytes:
    """Return the input that ``seed`` makes of the sample ``name``."""
    rng = random.Random(f"{name}:{seed}")
    data = bytearray(samples[name])
    other = samples[rng.choice(sorted(samples))]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        focus = rng.choice(FOCUS)
        part, rest = (data[:focus], data[focus:]) if focus else (data, bytearray())
        if part:
            rng.choice(MUTATORS)(rng, part, other)
        data = part + rest
    return bytes(data)


if __name__ == "__main__":
    from tests.fuzz.samples import samples as all_samples

    sys.stdout.buffer.write(mutated(all_samples(), sys.argv[1], int(sys.argv[2])))
