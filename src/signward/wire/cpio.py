"""cpio archives of the new portable form (``070701``), read as a stream of bounded pieces.

Source: cpio(5), "New ASCII Format".  Every number of a member's header is eight digits of
hexadecimal; name and content are each padded to four octets.  RPM writes a **stripped** form
too (``07070X``): the number of a file in its own header takes the place of name and all else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.tar import PieceReader

MAX_NAME = 4096
"""Octets of a member's name with its NUL, as Linux bounds paths."""

MAX_END = 1024 * 1024
"""Octets of padding behind the last member; writers fill blocks of at most 64 KiB."""

_PLAIN = re.compile(rb"070701[0-9A-Fa-f]{104}\Z")
_STRIPPED = re.compile(rb"07070X[0-9A-Fa-f]{8}\Z")
_MAGIC, _PLAIN_OCTETS, _STRIPPED_OCTETS = 6, 110, 14
_SIZE, _NAME_SIZE = slice(54, 62), slice(94, 102)
_LAST = b"TRAILER!!!"
_STRIPPED_LAST = 0xFFFFFFFF
_PIECE = 256 * 1024
_CLAUSE = "cpio(5), New ASCII Format"


class CpioMember(Frozen, frozen=True, kw_only=True):
    """A member: its name, or (stripped) its number, and how long its content is."""

    name: bytes
    number: int
    size: int


class CpioReader:
    """Reads members one after the other from pieces of an archive.

    ``size_of`` tells the size of a stripped member by its number.
    """

    def __init__(self, pieces: Iterator[bytes], what: str, size_of: Callable[[int], int]) -> None:
        self._reader, self._what, self._size_of = PieceReader(pieces), what, size_of
        self._left = self._padding = 0

    def members(self) -> Iterator[CpioMember]:
        """Yield each member; content that was not asked for is read over.

        Raises ``MalformedError`` and ``LimitError``, also for anything behind the last.
        """
        while True:
            for _ in self.content():
                pass
            member = self._next()
            if member is None:
                self._check_end()
                return
            self._left, self._padding = member.size, -member.size % 4
            yield member

    def content(self) -> Iterator[bytes]:
        """Yield the content of the member that was yielded last."""
        while self._left:
            piece = self._reader.some(min(self._left, _PIECE))
            if not piece:
                raise self._error("an end inside a member", "whole members")
            self._left -= len(piece)
            yield piece
        self._zeros(self._padding)
        self._padding = 0

    def _next(self) -> CpioMember | None:
        head = self._reader.exactly(_STRIPPED_OCTETS)
        if _STRIPPED.match(head):
            number = int(head[_MAGIC:], 16)
            self._zeros(-_STRIPPED_OCTETS % 4)
            if number == _STRIPPED_LAST:
                return None
            return CpioMember(name=b"", number=number, size=self._size_of(number))
        head += self._reader.exactly(_PLAIN_OCTETS - len(head))
        if not _PLAIN.match(head):
            raise self._error(f"{head[:_MAGIC]!r} where a member begins", "070701 and its fields")
        name = self._name(int(head[_NAME_SIZE], 16))
        if name == _LAST:
            return None
        return CpioMember(name=name, number=-1, size=int(head[_SIZE], 16))

    def _name(self, size: int) -> bytes:
        if not 1 < size <= MAX_NAME:
            raise LimitError(self._what, f"a name of {size} octets", f"2 to {MAX_NAME}", _CLAUSE)
        name = self._reader.exactly(size)
        if len(name) < size or name.find(b"\0") != size - 1:
            raise self._error("a name that does not end where it should", "one NUL, at its end")
        self._zeros(-(_PLAIN_OCTETS + size) % 4)
        return name[:-1]

    def _zeros(self, size: int) -> None:
        if self._reader.exactly(size) != bytes(size):
            raise self._error("something else in padding", f"{size} zeros")

    def _check_end(self) -> None:
        """Read to the end: zeros may fill the last block."""
        found = 0
        while block := self._reader.some(_PIECE):
            found += len(block)
            if any(block):
                raise self._error("data behind its end", "zeros")
            if found > MAX_END:
                raise LimitError(self._what, "more padding", f"at most {MAX_END} octets", _CLAUSE)

    def _error(self, found: str, required: str) -> MalformedError:
        return MalformedError(self._what, found, required, _CLAUSE)
