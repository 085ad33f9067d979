"""Proofs that an entry is in a tree, and that one tree continues another (RFC 9162 2.1).

Proofs are made of tiles, wherever those come from; nothing here trusts them: whoever makes a
proof checks it as whoever receives it does.  A receipt is a proof as text with its checkpoint
(c2sp.org/tlog-proof).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence

from signward.authority.log import note
from signward.authority.log.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    Policy,
    SignedCheckpoint,
    open_checkpoint,
)
from signward.authority.log.entry import MAX_ENTRY
from signward.authority.log.faults import ForkError, NotIncludedError, RollbackError
from signward.authority.log.note import MAX_NOTE
from signward.authority.log.tiles import HEIGHT, WIDTH, Tile, split_hashes, width
from signward.authority.log.tree import EMPTY_ROOT, HASH_OCTETS, Frontier, leaf_hash, node_hash
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.merkle import MAX_PATH, inclusion_root

TileReader = Callable[[Tile], bytes]
"""Gets a tile's octets, from a database or over HTTP."""

MAX_RECEIPT = MAX_NOTE + 2 * MAX_ENTRY + 8192
"""Octets of a receipt: its note, an entry in base64, and the path."""

_HEADER = "c2sp.org/tlog-proof@v1"
_CLAUSE = "c2sp.org/tlog-proof"
_INDEX = re.compile(r"0|[1-9][0-9]{0,18}")


Rows = list[list[bytes]]
"""A tile's hashes, above them the hashes of each two, and so on: whole pairs only."""

MAX_TILES = 256
"""Tiles kept in memory with all that is above their hashes: some 10 MiB."""


class Hashes:
    """The hashes of a tree of ``size`` entries, read from tiles as they are needed.

    ``kept`` are tiles read before, of this tree or one that it continues.
    """

    def __init__(self, size: int, read: TileReader, kept: dict[Tile, Rows] | None = None) -> None:
        self.size, self._read = size, read
        self._tiles = {} if kept is None else kept
        self._spans: dict[tuple[int, int], bytes] = {}

    def node(self, height: int, position: int) -> bytes:
        """Return the root of the ``position``-th perfect subtree of ``2**height`` leaves."""
        level, above = divmod(height, HEIGHT)
        number, first = divmod(position << above, WIDTH)
        return self._rows(level, number)[above][first >> above]

    def span(self, start: int, end: int) -> bytes:
        """Return MTH(D[start:end]) of a subtree that the recursion of RFC 6962 2.1 meets.

        Proofs of entries that stand together share most of theirs: each is made once.
        """
        if (start, end) not in self._spans:
            self._spans[start, end] = self._span(start, end)
        return self._spans[start, end]

    def _span(self, start: int, end: int) -> bytes:
        *left, root = [self.node(h, p) for h, p in _perfect(start, end)] or [EMPTY_ROOT]
        for one in reversed(left):
            root = node_hash(one, root)
        return root

    def frontier(self, size: int) -> Frontier:
        """Return the right edge of the tree as it was when it had ``size`` entries."""
        nodes = tuple(self.node(h, p) for h, p in _perfect(0, size))
        return Frontier(size=size, hashes=nodes)

    def _rows(self, level: int, number: int) -> Rows:
        tile = Tile(level, number, width(level, number, self.size))
        rows = self._tiles.get(tile)
        if rows is None:
            rows = _paired(split_hashes(self._read(tile), tile))
            if len(self._tiles) >= MAX_TILES:
                self._tiles.clear()
            self._tiles[tile] = rows
        return rows


def _paired(row: list[bytes]) -> Rows:
    rows = [row]
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        rows.append(row)
    return rows


def _perfect(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield height and position of the perfect subtrees that make up a span, largest first."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _split(start: int, end: int) -> int:
    """Return where RFC 6962 2.1 splits: after the largest power of two below the length."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def inclusion(hashes: Hashes, index: int) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]) (RFC 6962 2.1.1), the leaf's sibling first.

    Raises ``NotIncludedError`` where the tree is not so large.
    """
    if not 0 <= index < hashes.size:
        raise NotIncludedError(f"entry {index}", f"a tree of {hashes.size}", "one that has it")
    start, end, spans = 0, hashes.size, []
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return tuple(hashes.span(*span) for span in reversed(spans))


def consistency(hashes: Hashes, old: int) -> tuple[bytes, ...]:
    """Return PROOF(old, D[size]) (RFC 6962 2.1.2); empty for an empty or the same tree.

    Raises ``RollbackError`` where the tree was larger.
    """
    if old > hashes.size:
        raise RollbackError("the log", f"{hashes.size} entries", f"{old} or more")
    if not old:
        return ()
    start, end, whole, spans = 0, hashes.size, True, []
    while old != end:
        middle = _split(start, end)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, whole = middle, False
    if not whole:
        spans.append((start, end))
    return tuple(hashes.span(*span) for span in reversed(spans))


def check_inclusion(leaf: bytes, index: int, head: Checkpoint, path: Sequence[bytes]) -> None:
    """Return if ``leaf`` stands at ``index`` of the tree (RFC 9162 2.1.3.2).

    Raises ``NotIncludedError``.
    """
    if inclusion_root(leaf, index, head.size, path) != head.root:
        raise NotIncludedError(
            f"entry {index}", "a proof that leads elsewhere",
            f"one that leads to the root of {head.size} entries", "RFC 9162 2.1.3.2",
        )  # fmt: skip


def check_consistency(old: Checkpoint, new: Checkpoint, path: Sequence[bytes]) -> None:
    """Return if the new tree begins with the old one (RFC 9162 2.1.4.2).

    Raises ``RollbackError``, ``ForkError``.
    """
    if old.size > new.size:
        raise RollbackError("the log", f"{new.size} entries", f"{old.size} or more",
                            hint="it lost entries, or an old checkpoint was replayed")  # fmt: skip
    if old.size in (0, new.size):
        if path or (old.size and old.root != new.root):
            raise _fork(old, new)
        return
    if (roots := _roots(old, new.size, path)) != (old.root, new.root):
        raise _fork(old, new) if roots else ForkError(
            "a proof of consistency", f"{len(path)} hashes", "as many as the sizes ask for"
        )  # fmt: skip


def _fork(old: Checkpoint, new: Checkpoint) -> ForkError:
    return ForkError(
        "the log", f"{new.size} entries that do not begin with the {old.size} seen before",
        "a log that only grows", "RFC 9162 2.1.4.2",
        hint="its history was rewritten, or others are shown another log",
    )  # fmt: skip


def _roots(old: Checkpoint, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return both roots that a proof leads to; None if it is too short or too long."""
    steps = [old.root, *path] if old.size.bit_count() == 1 else list(path)
    if not steps or not path:
        return None
    fn, sn = old.size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if not sn:
            return None
        if fn & 1 or fn == sn:
            first, second = node_hash(step, first), node_hash(step, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, step)
        fn, sn = fn >> 1, sn >> 1
    return None if sn else (first, second)


class Receipt(Frozen, frozen=True, kw_only=True):
    """A proof of inclusion with its checkpoint's note, verbatim; nothing in it was checked.

    ``entry`` is the tlog-proof's extra data: we put the entry there, so that a receipt proves
    by itself that its entry was logged.  None where there is no such line.
    """

    index: int
    path: tuple[bytes, ...]
    note: bytes
    entry: bytes | None = None

    @property
    def text(self) -> bytes:
        """The receipt as it is kept and sent."""
        lines = [_HEADER]
        if self.entry is not None:
            lines.append(f"extra {base64.b64encode(self.entry).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(one).decode() for one in self.path]
        return "\n".join([*lines, "", ""]).encode() + self.note


class Proven(Frozen, frozen=True, kw_only=True):
    """An entry of which a policy's log says that it stands at ``index``."""

    index: int
    entry: bytes
    signed: SignedCheckpoint


def read_receipt(data: bytes) -> Receipt:
    """Return the receipt that ``data`` is.  Raises ``MalformedError``, ``LimitError``."""
    if len(data) > MAX_RECEIPT:
        raise LimitError("receipt", f"{len(data)} octets", f"at most {MAX_RECEIPT}", _CLAUSE)
    head, blank, signed = data.partition(b"\n\n")
    try:
        header, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        header, lines = "", []
    if header != _HEADER or not blank:
        raise MalformedError("receipt", repr(header[:80]), _HEADER, _CLAUSE)
    entry = None
    if lines and lines[0].startswith("extra "):
        entry = note.unbase64(lines.pop(0).removeprefix("extra "), "extra data")
    index = lines.pop(0) if lines else ""
    if not _INDEX.fullmatch(index.removeprefix("index ")) or not index.startswith("index "):
        raise MalformedError("receipt", repr(index[:80]), "an index line", _CLAUSE)
    return Receipt(
        index=_index(index.removeprefix("index ")), path=_path(lines), note=signed, entry=entry
    )


def _index(text: str) -> int:
    index = int(text)
    if index > MAX_SIZE:
        raise MalformedError("receipt", f"index {index}", f"at most {MAX_SIZE}", _CLAUSE)
    return index


def _path(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PATH:
        raise LimitError("receipt", f"{len(lines)} hashes", f"at most {MAX_PATH}", _CLAUSE)
    path = tuple(note.unbase64(line, "proof") for line in lines)
    if any(len(one) != HASH_OCTETS for one in path):
        raise MalformedError("receipt", "a hash of another length", "32 octets each", _CLAUSE)
    return path


def open_receipt(data: bytes, policy: Policy, entry: bytes | None = None) -> Proven:
    """Return the entry that a receipt proves; ``entry`` is it where the receipt has it not.

    Raises ``MalformedError``, ``LimitError``, ``NotSignedError``, ``NotIncludedError``.
    """
    receipt = read_receipt(data)
    chosen = receipt.entry if entry is None else entry
    if chosen is None:
        raise MalformedError("receipt", "no entry in it", "the entry beside it", _CLAUSE)
    signed = open_checkpoint(receipt.note, policy)
    check_inclusion(leaf_hash(chosen), receipt.index, signed.checkpoint, receipt.path)
    return Proven(index=receipt.index, entry=chosen, signed=signed)
