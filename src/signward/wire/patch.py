"""Patches: what signing changes in a file, and the file as it will be.

A patch replaces ranges of a source by new bytes and leaves the rest alone.  Nothing is
copied to find out what the result looks like: `Patched` reads through to the source.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Hasher, Source

CHUNK = 1024 * 1024
"""Bytes copied at a time when a patched file is written."""


class Edit(Frozen, frozen=True, kw_only=True):
    """Replace bytes ``start`` to ``end`` of a source by ``data``: bytes, or another source."""

    start: int
    end: int
    data: bytes | Source

    @property
    def length(self) -> int:
        """How many bytes come in their place."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.length


class PatchSet(Frozen, frozen=True, kw_only=True):
    """Edits of one source, in order and apart from each other; none changes nothing."""

    edits: tuple[Edit, ...] = ()


def append(source: Source, data: bytes) -> Edit:
    """Return the edit that puts ``data`` behind a source."""
    return Edit(start=source.length, end=source.length, data=data)


def pieces(source: Source) -> Iterator[bytes]:
    """Yield a whole source in pieces of at most ``CHUNK`` bytes."""
    for start in range(0, source.length, CHUNK):
        yield source.read(start, min(CHUNK, source.length - start))


class _Part(Frozen, frozen=True, kw_only=True):
    """A run of the result: where it starts there, and where its bytes come from."""

    at: int
    length: int
    origin: int
    data: bytes | Source


Stretch = tuple[bytes | Source, int, int]
"""Bytes or a source, and the range of it that is meant."""


class Joined:
    """Stretches one behind the other, read through to where they lie: itself a source."""

    __slots__ = ("_parts", "_starts", "length", "name")

    def __init__(self, name: str, stretches: Iterable[Stretch]) -> None:
        self.name = name
        self._parts = tuple(_parts(stretches))
        self._starts = [part.at for part in self._parts]
        self.length = sum(part.length for part in self._parts)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""
        return b"".join(
            bytes(_read(part.data, start, end))
            for part, start, end in self._cut(offset, offset + size)
        )

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher, in one pass."""
        for first, last in ranges:
            for part, start, end in self._cut(first, last):
                if isinstance(part.data, bytes):
                    for hasher in hashers:
                        hasher.update(memoryview(part.data)[start:end])
                else:
                    part.data.feed([(start, end)], hashers)

    def _cut(self, first: int, last: int) -> Iterator[tuple[_Part, int, int]]:
        """Yield the parts that make up a range, with the range of each part's own data."""
        if first < 0 or last < first or last > self.length:
            raise MalformedError(
                "artifact", f"a reference to {last - first} bytes",
                f"a range inside its {self.length} bytes", offset=first,
            )  # fmt: skip
        index = max(0, bisect_right(self._starts, first) - 1)
        while index < len(self._parts) and self._parts[index].at < last:
            part = self._parts[index]
            start, end = max(first, part.at), min(last, part.at + part.length)
            if start < end:
                shift = part.origin - part.at
                yield part, start + shift, end + shift
            index += 1


class Patched(Joined):
    """A source with a patch applied, itself a source.

    Raises ``ValueError`` for edits that overlap or lie outside the source: a format's
    mistake, never the input's.
    """

    __slots__ = ()

    def __init__(self, source: Source, patch: PatchSet) -> None:
        super().__init__(source.name, _stretches(source, patch))


def _stretches(source: Source, patch: PatchSet) -> Iterator[Stretch]:
    position = 0
    for edit in patch.edits:
        if not position <= edit.start <= edit.end <= source.length:
            raise ValueError(f"edit {edit.start}-{edit.end} overlaps or leaves the source")
        yield source, position, edit.start
        yield edit.data, 0, edit.length
        position = edit.end
    yield source, position, source.length


def _parts(stretches: Iterable[Stretch]) -> Iterator[_Part]:
    at = 0
    for data, start, end in stretches:
        if start < end:
            yield _Part(at=at, length=end - start, origin=start, data=data)
            at += end - start


def _read(data: bytes | Source, start: int, end: int) -> bytes:
    return data[start:end] if isinstance(data, bytes) else data.read(start, end - start)
