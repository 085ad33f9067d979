"""Length-prefixed records as Android's signing schemes nest them.

Numbers are little-endian; a length is a u32 in octets and counts what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.errors import LimitError, MalformedError

_CLAUSE = "APK Signature Scheme v2, format"


class Prefixed:
    """A reader of one record: every method moves on, or raises ``MalformedError``."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what, self._at = data, what, 0

    @property
    def left(self) -> int:
        """Octets not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Return the next ``size`` octets."""
        if size > self.left:
            raise MalformedError(
                self._what, f"{self.left} octets", f"{size} of them", _CLAUSE
            )  # fmt: skip
        self._at += size
        return self._data[self._at - size : self._at]

    def u32(self) -> int:
        """Return the next number of 4 octets."""
        return int.from_bytes(self.take(4), "little")

    def part(self) -> bytes:
        """Return the next length-prefixed part."""
        return self.take(self.u32())

    def parts(self, most: int) -> tuple[bytes, ...]:
        """Return the parts of the next length-prefixed sequence, ``LimitError`` for too many."""
        return self.within(self.part(), most)

    def within(self, data: bytes, most: int) -> tuple[bytes, ...]:
        """Return the length-prefixed parts that fill ``data``."""
        return tuple(self._each(Prefixed(data, self._what), most))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(self.left)

    def finish(self) -> None:
        """Raise ``MalformedError`` if something is left."""
        if self.left:
            raise MalformedError(self._what, f"{self.left} octets more", "none", _CLAUSE)

    def _each(self, inner: Prefixed, most: int) -> Iterator[bytes]:
        count = 0
        while inner.left:
            count += 1
            if count > most:
                raise LimitError(self._what, f"more than {most} parts", f"at most {most}")
            yield inner.part()
