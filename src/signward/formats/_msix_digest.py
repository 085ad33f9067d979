"""The digests of an MSIX package, computed in one pass over the archive.

The archive's bytes go by once: to the hashers of the whole, and cut at members to those of
parts.  Parts are unpacked piece by piece, so memory does not grow with them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from signward.formats._msix_blockmap import BLOCK
from signward.state import Hasher, Manifest, Source
from signward.wire.zip import ZipMember, place

if TYPE_CHECKING:
    from hashlib import _Hash

PIECE = 128 * 1024
"""Bytes unpacked at a time."""

FLUSH = b"\0\0\xff\xff"
"""What ends a flushed run of deflate data: an empty stored block (RFC 1951 3.2.4)."""

Wish = tuple[str, str]
"""A slot's name and a digest algorithm."""


class PartHasher:
    """Digests of one part: of its bytes as a whole, or (``blocks``) of its blocks.

    ``packed`` are the packed sizes of its blocks where the block map gives them: behind
    each, that block must be complete and, but for the last, flushed, so that a reader can
    begin there; else the part has no digest.
    """

    def __init__(
        self, member: ZipMember, wish: Wish, *, blocks: bool, packed: Sequence[int] = ()
    ) -> None:
        self.wish = wish
        self.member, self._blocks = member, blocks
        self._ends = iter(packed)
        self._left = next(self._ends, -1)
        self._unpacker: zlib._Decompress | None = None
        self._ended = not member.method
        self._hash = self._new()
        self._size, self._sound = 0, True
        self._recent = b""
        if blocks:
            self._hash.update(member.size.to_bytes(8, "little"))
            self._block = self._new()

    def _new(self) -> _Hash:
        return hashlib.new(self.wish[1], usedforsecurity=False)

    def update(self, data: memoryview, /) -> None:
        """Absorb packed bytes."""
        while data and self._sound:
            step = len(data) if self._left < 0 else min(len(data), self._left)
            self._unpack(data[:step])
            end = bytes(data[max(0, step - len(FLUSH)) : step])
            self._recent = (self._recent + end)[-len(FLUSH) :]
            data = data[step:]
            if self._left >= 0:
                self._left -= step
                if not self._left:
                    self._boundary()

    def _boundary(self) -> None:
        """Go on to the next block; the one before must have been unpacked to its end."""
        last = self._size == self.member.size
        whole = self._size > 0 and self._size % BLOCK == 0 and self._recent == FLUSH
        self._sound = self._sound and (last or whole)
        self._left = next(self._ends, -1)

    def _unpack(self, data: memoryview) -> None:
        if not self.member.method:
            self._absorb(data)
        elif self._ended:
            self._sound = False
        else:
            self._inflate(data)

    def _inflate(self, data: memoryview) -> None:
        """Unpack; the unpacker lives no longer than its part, of which there may be many."""
        unpacker = self._unpacker = self._unpacker or zlib.decompressobj(-15)
        rest: memoryview | bytes = data
        try:
            while self._sound:
                piece = unpacker.decompress(rest, PIECE)
                self._absorb(memoryview(piece))
                rest = unpacker.unconsumed_tail
                if not rest and len(piece) < PIECE:
                    break
        except zlib.error:
            self._sound = False
        self._sound = self._sound and not unpacker.unused_data
        if unpacker.eof or not self._sound:
            self._ended, self._unpacker = unpacker.eof, None

    def _absorb(self, data: memoryview) -> None:
        """Absorb unpacked bytes; more than the directory promises make the part unsound."""
        if self._size + len(data) > self.member.size:
            self._sound = False
            return
        while self._blocks and data:
            step = min(len(data), BLOCK - self._size % BLOCK)
            self._block.update(data[:step])
            self._size += step
            data = data[step:]
            if self._size % BLOCK == 0:
                self._close_block()
        if not self._blocks:
            self._hash.update(data)
            self._size += len(data)

    def _close_block(self) -> None:
        self._hash.update(self._block.digest())
        self._block = self._new()

    def digest(self) -> bytes | None:
        """Return the digest; None for a part that did not unpack to what it must be."""
        if not (self._sound and self._ended and self._size == self.member.size):
            return None
        if self._blocks and self._size % BLOCK:
            self._close_block()
        return self._hash.digest()


class _Cutter:
    """Hands each part its share of a stream that begins with the archive's first byte."""

    def __init__(self, plan: Iterable[tuple[int, int, Sequence[PartHasher]]]) -> None:
        self._plan: Iterator[tuple[int, int, Sequence[PartHasher]]] = iter(plan)
        self._position = 0
        self._next()

    def _next(self) -> None:
        self._start, self._end, self._parts = next(self._plan, (1 << 64, 1 << 64, ()))

    def update(self, data: memoryview, /) -> None:
        """Hand on what of ``data`` belongs to parts."""
        base, self._position = self._position, self._position + len(data)
        while self._start < self._position:
            share = data[max(0, self._start - base) : self._end - base]
            for part in self._parts:
                part.update(share)
            if self._end > self._position:
                return
            self._next()


def digest_archive(
    source: Source, end: int, algorithms: Iterable[Wish], parts: Sequence[PartHasher]
) -> Manifest:
    """Return digests of the archive's first ``end`` bytes and of the parts in them."""
    whole = {wish: hashlib.new(wish[1], usedforsecurity=False) for wish in algorithms}
    hashers: list[Hasher] = list(whole.values())
    if parts:
        hashers.append(_Cutter(_plan(source, parts)))
    if hashers:
        source.feed([(0, end)], hashers)
    computed = {wish: hasher.digest() for wish, hasher in whole.items()}
    for part in parts:
        digest = part.digest()
        if digest is not None:
            computed[part.wish] = digest
    return computed


def _plan(
    source: Source, parts: Sequence[PartHasher]
) -> list[tuple[int, int, Sequence[PartHasher]]]:
    """Return where each member's packed bytes lie, in order, with its hashers."""
    by_place: dict[tuple[int, int], list[PartHasher]] = {}
    for part in parts:
        where = place(source, part.member)
        by_place.setdefault((where.data, where.data_end), []).append(part)
    return [(start, end, taken) for (start, end), taken in sorted(by_place.items()) if end > start]
