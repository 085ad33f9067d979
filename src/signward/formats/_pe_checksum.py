"""The checksum of PE images: what the kernel's loader compares, and no signature covers."""

from __future__ import annotations

from signward.formats._pe_layout import Layout
from signward.state import Source

SUMMED = 2048
"""Bytes added to a checksum at a time, an even number: adding is quick, dividing is not."""


def checksum(source: Source, layout: Layout) -> int:
    """Return the PE checksum: 16-bit words added with end-around carry, plus the length.

    The checksum field counts as zero, and an odd last byte as a word.
    """
    summer = _Summer()
    source.feed([(0, layout.checksum_offset)], [summer])
    summer.position += 4
    source.feed([(layout.checksum_offset + 4, source.length)], [summer])
    return summer.folded() + source.length & 0xFFFFFFFF


class _Summer:
    """Adds 16-bit little-endian words modulo 65535, which end-around carry amounts to."""

    def __init__(self) -> None:
        self.position = 0
        self._total = 0

    def update(self, data: memoryview, /) -> None:
        """Add words many at a time: long numbers of equal length, divided once at the end."""
        words = 0
        for start in range(0, len(data), SUMMED):
            words += int.from_bytes(data[start : start + SUMMED], "little")
        self._total += words << 8 * (self.position & 1)
        self.position += len(data)

    def folded(self) -> int:
        """Return the sum; a multiple of 65535 folds to 65535 unless every word was zero."""
        return (self._total % 0xFFFF or 0xFFFF) if self._total else 0
