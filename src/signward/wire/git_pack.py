"""Packs of git: many objects in one file, some told as what changed from another.

Format: git's "gitformat-pack".  Numbers are big-endian; lengths in front of objects and in deltas
are little groups of seven bits, the lowest first.  An index (version 2) has the objects' names in
order, so that one is found by halving.  Nothing here says that an object is what it is called:
whoever asks computes its name anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

MAX_OBJECT = 16 * 1024 * 1024
"""Octets of an object, and of one that others are told by."""

MAX_DELTAS = 4095
"""Objects that one is told by, one by another: what git itself writes at most (pack.depth)."""

MAX_WORK = 64 * 1024 * 1024
"""Octets put together on the way to one object: a chain of 300 of the largest commits known."""

COMMAND = 64
"""What a delta's command costs of that: a loop's turn takes longer than so many octets."""

KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_BY_OFFSET, _BY_NAME = 6, 7
_CHUNK = 16 * 1024
_WHAT = "git pack"
_CLAUSE = "gitformat-pack"


class Index:
    """The index of a pack; ``size`` is how many octets a name has."""

    def __init__(self, source: Source, size: int) -> None:
        head = source.read(0, 8 + 1024)
        if head[:8] != b"\xfftOc\0\0\0\x02":
            raise MalformedError(_WHAT, "an index of another version", "2", _CLAUSE)
        self._source, self._size = source, size
        self._first = [int.from_bytes(head[8 + 4 * i : 12 + 4 * i], "big") for i in range(256)]
        self._names = 8 + 1024
        count = self._first[-1]
        self._offsets = self._names + count * (size + 4)
        if sorted(self._first) != self._first or source.length < self._offsets + 4 * count:
            raise MalformedError(_WHAT, "an index whose counts do not fit", "ones that do", _CLAUSE)

    def find(self, name: bytes) -> int | None:
        """Return where in the pack an object is; None where it is not in it."""
        low = self._first[name[0] - 1] if name[0] else 0
        high = self._first[name[0]]
        while low < high:
            middle = (low + high) // 2
            found = self._source.read(self._names + middle * self._size, self._size)
            if found == name:
                return self._offset(middle)
            low, high = (middle + 1, high) if found < name else (low, middle)
        return None

    def _offset(self, number: int) -> int:
        short = int.from_bytes(self._source.read(self._offsets + 4 * number, 4), "big")
        if not short & 0x80000000:
            return short
        long = self._offsets + 4 * self._first[-1] + 8 * (short & 0x7FFFFFFF)
        return int.from_bytes(self._source.read(long, 8), "big")


class _Entry(Frozen, frozen=True, kw_only=True):
    """An object in a pack: its kind or, of a delta, what it is told by (a place or a name)."""

    kind: str
    data: bytes
    place: int = 0
    name: bytes = b""


class Allowance:
    """What may still be put together on the way to one object, however many it is told by."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, octets: int) -> None:
        """Take octets from it.  Raises ``LimitError`` where it has no more."""
        self._left -= octets
        if self._left < 0:
            raise LimitError(_WHAT, f"more than {MAX_WORK} octets of work", "less")


Elsewhere = Callable[[bytes], tuple[str, bytes]]
"""Finds an object by its name, in whatever place."""


def read_packed(
    pack: Source, offset: int, size: int, elsewhere: Elsewhere, allowance: Allowance
) -> tuple[str, bytes]:
    """Return an object's kind and octets.  ``size`` is how many octets a name has.

    Raises ``MalformedError`` and ``LimitError``.
    """
    deltas = list[bytes]()
    entry = _entry(pack, offset, size, allowance)
    while not entry.kind:
        deltas.append(entry.data)
        if len(deltas) > MAX_DELTAS:
            raise LimitError(_WHAT, f"{len(deltas)} deltas, one by another", f"{MAX_DELTAS}")
        if entry.name:
            kind, data = elsewhere(entry.name)
            break
        entry = _entry(pack, entry.place, size, allowance)
    else:
        kind, data = entry.kind, entry.data
    while deltas:
        data = _applied(data, deltas.pop(), allowance)
    return kind, data


def _entry(pack: Source, offset: int, size: int, allowance: Allowance) -> _Entry:
    """Return what stands at an offset."""
    if not 12 <= offset < pack.length:
        raise MalformedError(_WHAT, f"an object at {offset}", "one in the pack", _CLAUSE)
    head = pack.read(offset, min(64, pack.length - offset))
    kind, length = head[0] >> 4 & 7, head[0] & 15
    rest, position = _number(head, 1) if head[0] & 0x80 else (0, 1)
    length |= rest << 4
    if length > MAX_OBJECT:
        raise LimitError(_WHAT, f"an object of {length} octets", f"at most {MAX_OBJECT}")
    allowance.spend(length)
    place, name = 0, b""
    if kind == _BY_OFFSET:
        back, position = _backwards(head, position)
        if not 0 < back < offset:
            raise MalformedError(_WHAT, f"a delta by what is {back} octets before", "an object",
                                 _CLAUSE)  # fmt: skip
        place = offset - back
    elif kind == _BY_NAME:
        name, position = head[position : position + size], position + size
    elif kind not in KINDS:
        raise MalformedError(_WHAT, f"an object of kind {kind}", "1 to 4, 6 or 7", _CLAUSE)
    data = _inflated(pack, offset + position, length)
    return _Entry(kind=KINDS.get(kind, ""), data=data, place=place, name=name)


def _inflated(pack: Source, start: int, length: int) -> bytes:
    """Return the zlib stream at ``start``, which must hold exactly ``length`` octets."""
    unpacker, found = zlib.decompressobj(), bytearray()
    while not unpacker.eof and len(found) <= length and start < pack.length:
        piece = pack.read(start, min(_CHUNK, pack.length - start))
        start += len(piece)
        try:
            found += unpacker.decompress(piece, length + 1 - len(found))
            while unpacker.unconsumed_tail and len(found) <= length:
                found += unpacker.decompress(unpacker.unconsumed_tail, length + 1 - len(found))
        except zlib.error as error:
            raise MalformedError(_WHAT, f"data that does not unpack ({error})", "zlib") from None
    if not unpacker.eof or len(found) != length:
        raise MalformedError(_WHAT, f"{len(found)} octets", f"{length}, as it says", _CLAUSE)
    return bytes(found)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while position < len(data) and shift < 63:
        octet = data[position]
        value |= (octet & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not octet & 0x80:
            return value, position
    raise MalformedError(_WHAT, "a number that does not end", "at most nine octets", _CLAUSE)


def _backwards(data: bytes, position: int) -> tuple[int, int]:
    """Return a distance: groups of seven bits, the highest first, each but the last one less."""
    value = -1
    while position < len(data) and value < 1 << 56:
        octet = data[position]
        value, position = (value + 1) << 7 | octet & 0x7F, position + 1
        if not octet & 0x80:
            return value, position
    raise MalformedError(_WHAT, "a distance that does not end", "at most nine octets", _CLAUSE)


def _applied(base: bytes, delta: bytes, allowance: Allowance) -> bytes:
    """Return what a delta makes of its base.  Raises ``MalformedError`` and ``LimitError``."""
    before, position = _number(delta, 0)
    after, position = _number(delta, position)
    if before != len(base) or after > MAX_OBJECT:
        raise MalformedError(_WHAT, f"a delta from {before} to {after} octets",
                             f"from {len(base)}, to at most {MAX_OBJECT}", _CLAUSE)  # fmt: skip
    allowance.spend(after)
    made = bytearray()
    while position < len(delta) and len(made) <= after:
        allowance.spend(COMMAND)
        command = delta[position]
        position += 1
        if command & 0x80:
            place, position = _fields(delta, position, command, (0, 1, 2, 3))
            count, position = _fields(delta, position, command, (4, 5, 6))
            piece, count = base[place : place + (count or 0x10000)], count or 0x10000
        else:
            piece, count = delta[position : position + command], command
            position += command
        if len(piece) != count or not command:
            raise MalformedError(_WHAT, "a delta that leads out of its base", "none", _CLAUSE)
        made += piece
    if len(made) != after:
        raise MalformedError(_WHAT, f"{len(made)} octets by a delta", f"{after}", _CLAUSE)
    return bytes(made)


def _fields(delta: bytes, position: int, command: int, bits: tuple[int, ...]) -> tuple[int, int]:
    """Return a number whose octets are there where the command's bits say so, lowest first."""
    value = 0
    for place, bit in enumerate(bits):
        if command >> bit & 1:
            value |= int.from_bytes(delta[position : position + 1], "big") << 8 * place
            position += 1
    return value, position
