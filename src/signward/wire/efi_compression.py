"""UEFI compression, taken apart: LZ77 under Huffman codes, as drivers in option ROMs are packed.

Source: UEFI 2.10, chapter 19 (Compression Algorithm Specification).  A header of two numbers of
four octets, little-endian (octets packed, octets unpacked), then bits, the highest first.  They
make up blocks; each brings three sets of code lengths and a count of symbols.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from signward.errors import LimitError, MalformedError

MAX_UNPACKED = 4 * 1024 * 1024
"""Most octets unpacked: a graphics card's driver has some 300 KiB, and this takes seconds."""

_HEADER = struct.Struct("<II")
_LONGEST_CODE = 16
_SYMBOLS, _SYMBOLS_BITS = 510, 9
"""Literals, then lengths 3 to 256 (19.2.2.2: Char&Len); and the bits of their count."""
_POSITIONS, _POSITIONS_BITS = 14, 4
_EXTRA, _EXTRA_BITS, _EXTRA_GAP = 19, 5, 3
"""Codes of the lengths of the former; behind the third stands a count of zeros (19.2.3.1)."""
_FIRST_LENGTH = 256 - 3
"""What is taken off a symbol that is no literal, for the octets to repeat."""

_WHAT = "UEFI compression"
_CLAUSE = "UEFI 2.10 19.2.3"


def unpack(data: bytes) -> bytes:
    """Return what is packed.  Raises ``MalformedError`` and ``LimitError``."""
    if len(data) < _HEADER.size:
        raise MalformedError(_WHAT, f"{len(data)} octets", f"a header of {_HEADER.size}", _CLAUSE)
    packed, size = _HEADER.unpack_from(data)
    if size > MAX_UNPACKED:
        raise LimitError(_WHAT, f"{size} octets unpacked", f"at most {MAX_UNPACKED}")
    body = data[_HEADER.size : _HEADER.size + packed]
    if len(body) < packed:
        raise MalformedError(_WHAT, f"{len(body)} octets", f"{packed}, as its header says",
                             _CLAUSE)  # fmt: skip
    out, bits = bytearray(), _Bits(body)
    while len(out) < size:
        _block(bits, out, size)
    return bytes(out)


class _Bits:
    """Bits of octets, the highest first; behind the end stand as many zeros as codes look at."""

    def __init__(self, data: bytes) -> None:
        self._data, self._end = data, len(data) * 8
        self._at = 0

    def look(self, count: int) -> int:
        """Return the next bits (at most 25) without going on."""
        octet, bit = divmod(self._at, 8)
        window = int.from_bytes(self._data[octet : octet + 4].ljust(4, b"\0"), "big")
        return (window >> (32 - bit - count)) & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        """Go on.  Raises ``MalformedError`` behind the end."""
        self._at += count
        if self._at > self._end:
            raise MalformedError(_WHAT, "an end within a block", "all of what is packed", _CLAUSE)

    def take(self, count: int) -> int:
        """Return the next bits and go on.  Raises ``MalformedError``."""
        value = self.look(count) if count else 0
        self.skip(count)
        return value


class _Code:
    """A canonical Huffman code: shorter codes first, those of one length in order of symbols."""

    def __init__(self, lengths: Sequence[int]) -> None:
        counts = [0] * (_LONGEST_CODE + 1)
        for length in lengths:
            counts[length] += 1
        self._counts = counts[1:]
        order = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
        self._symbols = [symbol for _, symbol in order]
        room = sum(count << (_LONGEST_CODE - n) for n, count in enumerate(self._counts, 1))
        if room != 1 << _LONGEST_CODE:
            raise MalformedError(_WHAT, "code lengths that make no code", "a complete one",
                                 "UEFI 2.10 19.2.2.3")  # fmt: skip

    def symbol(self, bits: _Bits) -> int:
        """Return the next symbol.  Raises ``MalformedError``."""
        window, code, first, index = bits.look(_LONGEST_CODE), 0, 0, 0
        for length, count in enumerate(self._counts, 1):
            code = window >> (_LONGEST_CODE - length)
            if code - first < count:
                bits.skip(length)
                return self._symbols[index + code - first]
            index, first = index + count, (first + count) << 1
        raise AssertionError(code)  # the code is complete


class _Single:
    """A code of one symbol, which takes no bits."""

    def __init__(self, symbol: int) -> None:
        self._symbol = symbol

    def symbol(self, _bits: _Bits) -> int:
        """Return the symbol."""
        return self._symbol


def _block(bits: _Bits, out: bytearray, size: int) -> None:
    """Unpack one block; one that begins is gone through, but never past ``size`` octets."""
    count = bits.take(16)
    if not count:
        raise MalformedError(_WHAT, "a block of no symbols", "one at least", _CLAUSE)
    extra = _small_code(bits, _EXTRA, _EXTRA_BITS, _EXTRA_GAP)
    symbols = _symbol_code(bits, extra)
    positions = _small_code(bits, _POSITIONS, _POSITIONS_BITS, 0)
    for _ in range(count):
        symbol = symbols.symbol(bits)
        if symbol < 256:
            out.append(symbol)
        else:
            _repeat(out, symbol - _FIRST_LENGTH, _distance(bits, positions), size)
        if len(out) >= size:
            return


def _distance(bits: _Bits, positions: _Code | _Single) -> int:
    """Return how far back to go, from the octet last written (0 is that one)."""
    width = positions.symbol(bits)
    return width if width < 2 else (1 << (width - 1)) + bits.take(width - 1)


def _repeat(out: bytearray, length: int, back: int, size: int) -> None:
    start = len(out) - back - 1
    if start < 0:
        raise MalformedError(_WHAT, f"a repetition from {-start} octets before the beginning",
                             "one of what stands there", "UEFI 2.10 19.2.2.1")  # fmt: skip
    for at in range(start, start + min(length, size - len(out))):
        out.append(out[at])


def _small_code(bits: _Bits, most: int, width: int, gap: int) -> _Code | _Single:
    """Return the code of a set of few symbols: lengths of three bits, from seven on in unary."""
    count = bits.take(width)
    if not count:
        return _Single(_symbol(bits.take(width), most))
    lengths = list[int]()
    while len(lengths) < count:
        lengths.append(_length(bits))
        if gap and len(lengths) == gap:
            lengths += [0] * bits.take(2)
    if len(lengths) > most:
        raise MalformedError(_WHAT, f"{len(lengths)} code lengths", f"at most {most}", _CLAUSE)
    return _Code(lengths)


def _length(bits: _Bits) -> int:
    length = bits.take(3)
    if length == 7:
        while bits.take(1):
            length += 1
            if length > _LONGEST_CODE:
                raise MalformedError(_WHAT, f"a code of {length} bits or more",
                                     f"at most {_LONGEST_CODE}", _CLAUSE)  # fmt: skip
    return length


def _symbol_code(bits: _Bits, extra: _Code | _Single) -> _Code | _Single:
    """Return the code of literals and lengths; runs of zeros are told in short."""
    count = bits.take(_SYMBOLS_BITS)
    if not count:
        return _Single(_symbol(bits.take(_SYMBOLS_BITS), _SYMBOLS))
    lengths = list[int]()
    while len(lengths) < count:
        told = extra.symbol(bits)
        if told == 0:
            lengths.append(0)
        elif told == 1:
            lengths += [0] * (bits.take(4) + 3)
        elif told == 2:
            lengths += [0] * (bits.take(_SYMBOLS_BITS) + 20)
        else:
            lengths.append(told - 2)
    if len(lengths) > _SYMBOLS:
        raise MalformedError(_WHAT, f"{len(lengths)} code lengths", f"at most {_SYMBOLS}", _CLAUSE)
    return _Code(lengths)


def _symbol(value: int, most: int) -> int:
    if value >= most:
        raise MalformedError(_WHAT, f"symbol {value}", f"one below {most}", _CLAUSE)
    return value
