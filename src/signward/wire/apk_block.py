"""The APK Signing Block: id and value pairs in front of a ZIP's central directory.

Source: Android, "APK Signature Scheme v2", APK Signing Block.  Numbers are little-endian: length
(u64, without itself), pairs of length (u64), id (u32) and value, the length again, and a mark.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.zip import ZipDirectory

MAX_BLOCK = 32 * 1024 * 1024
"""Octets of a block, read at once; those of stores have less than one MiB."""

MAX_PAIRS = 1000
"""Pairs in one block; there are about ten known ids."""

V2, V3, V31 = 0x7109871A, 0xF05368C0, 0x1B93AD61
"""Ids of the signing schemes' own values."""

STAMP_V1, STAMP = 0x2B09189E, 0x6DFF800D
"""Ids of source stamps: over the newest scheme alone, and over each one."""

PADDING = 0x42726577
"""Zeros that fill the block to a multiple of 4096 octets."""

_MAGIC = b"APK Sig Block 42"
_FRAME = 8
_FOOTER = _FRAME + len(_MAGIC)
_CLAUSE = "APK Signature Scheme v2, APK Signing Block"
_WHAT = "APK Signing Block"


class Pair(Frozen, frozen=True, kw_only=True):
    """One value: ``start`` to ``end`` in the file."""

    id: int
    start: int
    end: int


class SigningBlock(Frozen, frozen=True, kw_only=True):
    """The block, ``start`` to ``end`` in the file, and its pairs in order."""

    start: int
    end: int
    pairs: tuple[Pair, ...]

    def find(self, scheme: int) -> Pair | None:
        """Return the pair of an id, None where there is none.

        Raises ``AmbiguousError`` for several, of which readers take the first.
        """
        found = [pair for pair in self.pairs if pair.id == scheme]
        if len(found) > 1:
            raise AmbiguousError(
                _WHAT, f"{len(found)} values of {scheme:#010x}", "one", _CLAUSE,
                offset=found[1].start,
            )  # fmt: skip
        return found[0] if found else None


def read_block(source: Source, directory: ZipDirectory) -> SigningBlock | None:
    """Return the signing block before the central directory; None where there is none.

    Raises ``MalformedError`` and ``LimitError``.
    """
    if not directory.signing_block:
        return None
    end = directory.start
    size = _number(source, end - _FOOTER, 8)
    if size > MAX_BLOCK:
        raise LimitError(_WHAT, f"{size} octets", f"at most {MAX_BLOCK}", _CLAUSE)
    start = end - size - _FRAME
    if size < _FOOTER or start < end - directory.signing_block or _number(source, start, 8) != size:
        raise MalformedError(
            _WHAT, f"a length of {size} octets", "the same before and after, behind the members",
            _CLAUSE, offset=end - _FOOTER,
        )  # fmt: skip
    return SigningBlock(start=start, end=end, pairs=_pairs(source, start + _FRAME, end - _FOOTER))


def write_block(pairs: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the signing block that holds these values by id."""
    body = b"".join(
        (len(value) + 4).to_bytes(8, "little") + number.to_bytes(4, "little") + value
        for number, value in pairs
    )
    size = (len(body) + _FOOTER).to_bytes(8, "little")
    return size + body + size + _MAGIC


def _pairs(source: Source, at: int, end: int) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    while at < end:
        size = _number(source, at, 8) if at + 12 <= end else 0
        if size < 4 or at + 8 + size > end:
            raise MalformedError(_WHAT, f"a pair of {size} octets", f"4 to {end - at - 8}",
                                 _CLAUSE, offset=at)  # fmt: skip
        if len(pairs) == MAX_PAIRS:
            raise LimitError(_WHAT, f"more than {MAX_PAIRS} pairs", f"at most {MAX_PAIRS}")
        pairs.append(Pair(id=_number(source, at + 8, 4), start=at + 12, end=at + 8 + size))
        at += 8 + size
    return tuple(pairs)


def _number(source: Source, at: int, size: int) -> int:
    return int.from_bytes(source.read(at, size), "little")
