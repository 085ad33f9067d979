"""Compound files ([MS-CFB] version 11): a bounded, strict reader.

A compound file is a small file system: sectors of 512 or 4096 bytes chained by a table
(the FAT, itself found through the DIFAT), a directory of entries that form a search tree
per storage, and a stream of 64-byte mini sectors for streams below 4096 bytes.  All
numbers are little-endian; sector ``n`` lies at ``(n + 1) * sector size``.

No digest speaks of this structure, so whatever two readers could take differently is
refused here: a sector in two chains, a chain longer or shorter than its stream, counts
that lie, siblings out of order (one reader looks names up, the other lists them), entries
that no storage leads to.  Bytes that nothing reaches are told as :class:`Gap`; what they
mean is for the format to say.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from signward.errors import LimitError, UncoveredError
from signward.frozen import Frozen, replace
from signward.state import Source
from signward.wire.cfb_sectors import (
    MAX_GAPS,
    MINI_CUTOFF,
    Gap,
    GapKind,
    Header,
    MiniStream,
    Sectors,
    Span,
    bad,
    read_header,
)

NOBODY = 0xFFFFFFFF
"""No entry: where a sibling or child is named ([MS-CFB] NOSTREAM)."""

ENTRY_SIZE = 128

MAX_ENTRIES = 1 << 16
"""Directory entries read; the largest installer packages have some thousands."""

MAX_DEPTH = 32
"""Storages within storages; patches and transforms nest two deep."""

MAX_PIECES = 1 << 18
"""Separate pieces all streams together may lie in: a 100 MiB file with no two of its
sectors in order has 200,000, and each costs a read."""

MAX_STREAM = (1 << 32) - 1
"""Largest stream: the digest over names and sizes holds 32 bits of a size."""

ROOT_NAME = "Root Entry".encode("utf-16-le")

ENTRY = struct.Struct("<64sHBBIII16s4s8s8sIQ")
"""A directory entry ([MS-CFB] 2.6.1)."""

BLANK = bytes(68) + b"\xff" * 12 + bytes(48)
"""An entry in no use, as Windows writes it; others write zeros."""

_WHAT = "compound file"

_Fields = tuple[Any, ...]
"""An entry as unpacked: name, its length, type, colour, left, right, child, CLSID, state bits,
created, modified, first sector, size."""


class Kind(IntEnum):
    """What a directory entry is ([MS-CFB] 2.6.1)."""

    STORAGE = 1
    STREAM = 2
    ROOT = 5


class Entry(Frozen, frozen=True, kw_only=True):
    """A storage or stream.

    ``name`` is UTF-16LE without its terminator, ``clsid`` a GUID as stored, ``state`` the
    state bits, ``created`` and ``modified`` FILETIMEs (raw, little-endian).  ``spans`` is
    where a stream's content lies, in order; ``data`` the content of one yet to be written.
    ``children`` are in directory order.  ``number`` is the entry's own, -1 for a new one.
    """

    name: bytes
    kind: Kind = Kind.STREAM
    number: int = -1
    clsid: bytes = bytes(16)
    state: bytes = bytes(4)
    created: bytes = bytes(8)
    modified: bytes = bytes(8)
    size: int = 0
    spans: tuple[Span, ...] = ()
    data: bytes = b""
    children: tuple[Entry, ...] = ()

    @property
    def text(self) -> str:
        """The name for messages."""
        return self.name.decode("utf-16-le", "replace")

    def child(self, name: bytes) -> Entry | None:
        """Return the child of exactly that name."""
        return next((entry for entry in self.children if entry.name == name), None)


class CompoundFile(Frozen, frozen=True, kw_only=True):
    """A compound file whose structure was checked.  ``header`` is its first 512 bytes."""

    source: Source
    header: bytes
    sector_size: int
    root: Entry
    gaps: tuple[Gap, ...]

    def read(self, entry: Entry, most: int) -> bytes:
        """Return a stream's content.  Raises ``LimitError`` beyond ``most`` bytes."""
        if entry.size > most:
            raise LimitError(f"stream {entry.text!r}", f"{entry.size} bytes", f"at most {most}")
        return b"".join(self.source.read(start, end - start) for start, end in entry.spans)


def collation(name: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the key siblings are ordered by: length, then upper case ([MS-CFB] 2.6.4)."""
    units = struct.unpack(f"<{len(name) // 2}H", name)
    return len(units), tuple(map(_upper, units))


@lru_cache(maxsize=1 << 16)
def _upper(unit: int) -> int:
    """Return the simple upper case of one UTF-16 unit: one that stays one unit."""
    upper = chr(unit).upper()
    return ord(upper) if len(upper) == 1 and ord(upper) < 0x10000 else unit


def open_compound(source: Source) -> CompoundFile:
    """Read and check the structure of a compound file.  Raises ``BadInputError``."""
    header = read_header(source)
    sectors = Sectors(source, header)
    directory = _Directory(sectors, header)
    root = directory.tree()
    gaps = tuple(islice(chain(directory.gaps, sectors.gaps()), MAX_GAPS + 1))
    if len(gaps) > MAX_GAPS:
        raise LimitError(_WHAT, f"more than {MAX_GAPS} separate gaps", "fewer")
    return CompoundFile(
        source=source,
        header=header.raw,
        sector_size=sectors.size,
        root=root,
        gaps=gaps,
    )


class _Directory:
    """The directory: its entries, the tree they form, and the mini stream they share."""

    def __init__(self, sectors: Sectors, header: Header) -> None:
        self._sectors, self._major = sectors, header.major
        self._pieces = 0
        self.gaps: list[Gap] = []
        most = MAX_ENTRIES * ENTRY_SIZE // sectors.size
        chain = sectors.chain(header.directory, "directory", count=None, most=most)
        # Version 4 counts them; Apache POI, so jsign, counts one too many, which misleads nobody.
        if not chain or (header.major == 4 and header.directory_sectors < len(chain)):
            raise bad(
                f"a directory of {len(chain)} sectors, counted {header.directory_sectors}",
                "one, and every sector counted", "2.2", offset=40,
            )  # fmt: skip
        self._chain = chain
        self._raw = b"".join(sectors.source.read(sectors.offset(s), sectors.size) for s in chain)
        self._seen = bytearray(len(self._raw) // ENTRY_SIZE)
        fields = ENTRY.unpack_from(self._raw, 0)
        self._mini = MiniStream(sectors, header, fields[11], self._size(fields[12]))

    def tree(self) -> Entry:
        """Return the root with everything below it."""
        root, fields = self._entry(0, "root")
        if root.kind is not Kind.ROOT or root.name != ROOT_NAME or fields[4:6] != (NOBODY, NOBODY):
            raise bad(
                f"a first entry {root.text!r} of type {root.kind}", "Root Entry, alone", "2.6.2",
                offset=self._offset(0),
            )  # fmt: skip
        found = replace(root, children=self._children(fields[6], 1))
        self._account_for_the_rest()
        self.gaps += islice(self._mini.gaps(), MAX_GAPS + 1)
        return found

    def _children(self, top: int, depth: int) -> tuple[Entry, ...]:
        """Return a storage's members in the order of their search tree, which must be sorted."""
        if depth > MAX_DEPTH:
            raise LimitError(_WHAT, f"storages nested deeper than {MAX_DEPTH}", "less")
        children: list[Entry] = []
        waiting: list[tuple[Entry, _Fields]] = []
        at = top
        while at != NOBODY or waiting:
            while at != NOBODY:
                entry, fields = self._entry(at, "sibling")
                waiting.append((entry, fields))
                at = fields[4]
            entry, fields = waiting.pop()
            if children and collation(children[-1].name) >= collation(entry.name):
                raise bad(
                    f"{entry.text!r} behind {children[-1].text!r}",
                    "siblings in order, no two of one name", "2.6.4",
                    subject="directory", offset=self._offset(entry.number),
                )  # fmt: skip
            children.append(self._complete(entry, fields, depth))
            at = fields[5]
        return tuple(children)

    def _complete(self, entry: Entry, fields: _Fields, depth: int) -> Entry:
        """Return the entry with its content or its members."""
        child, start = fields[6], fields[11]
        if entry.kind is Kind.ROOT:
            raise bad("a second root", "one", "2.6.1", offset=self._offset(entry.number))
        if entry.kind is Kind.STORAGE:
            return replace(entry, size=0, children=self._children(child, depth + 1))
        if child != NOBODY or entry.clsid != bytes(16):
            raise bad(
                f"a stream {entry.text!r} with a child or a class identifier", "neither", "2.6.3",
                offset=self._offset(entry.number),
            )  # fmt: skip
        if not entry.size:
            return entry
        within = self._mini.content if entry.size < MINI_CUTOFF else self._sectors.content
        spans = within(start, entry.size, f"stream {entry.text!r}")
        self._pieces += len(spans)
        if self._pieces > MAX_PIECES:
            raise LimitError(_WHAT, f"more than {MAX_PIECES} pieces of streams", "fewer")
        return replace(entry, spans=spans)

    def _entry(self, number: int, what: str) -> tuple[Entry, _Fields]:
        """Return an entry and its raw fields; each is reached once only."""
        if number >= len(self._seen) or self._seen[number]:
            raise bad(
                f"{what} {number:#x}", f"one of {len(self._seen)} entries, once", "2.6.1",
                subject="directory",
            )  # fmt: skip
        self._seen[number] = 1
        fields = ENTRY.unpack_from(self._raw, number * ENTRY_SIZE)
        field, length, kind, colour = fields[:4]
        name = field[: max(0, length - 2)]
        if (
            length % 2 or not 4 <= length <= 64 or field[length - 2 : length] != b"\0\0"
            or 0 in struct.unpack(f"<{len(name) // 2}H", name)
            or kind not in tuple(Kind) or colour > 1
        ):  # fmt: skip
            raise bad(
                f"an entry of type {kind}, colour {colour} and a name of {length} bytes",
                "a storage or stream with a name", "2.6.1",
                subject="directory", offset=self._offset(number),
            )  # fmt: skip
        if any(field[length:]):
            start = self._offset(number)
            self.gaps.append(Gap(kind=GapKind.SLACK, start=start + length, end=start + 64))
        entry = Entry(
            name=name,
            kind=Kind(kind),
            number=number,
            clsid=fields[7],
            state=fields[8],
            created=fields[9],
            modified=fields[10],
            size=self._size(fields[12]) if kind == Kind.STREAM else 0,
        )
        return entry, fields

    def _size(self, size: int) -> int:
        """Return a stream's size; version 3 leaves its upper half undefined ([MS-CFB] 2.6.1)."""
        size = size & MAX_STREAM if self._major == 3 else size
        if size > MAX_STREAM:
            raise LimitError(_WHAT, f"a stream of {size} bytes", f"at most {MAX_STREAM}")
        return size

    def _account_for_the_rest(self) -> None:
        """Refuse entries in use that nothing leads to; note unused ones that hold something."""
        for number in range(len(self._seen)):
            raw = self._raw[number * ENTRY_SIZE : (number + 1) * ENTRY_SIZE]
            if self._seen[number] or raw in (BLANK, bytes(ENTRY_SIZE)):
                continue
            start = self._offset(number)
            if raw[66]:
                raise UncoveredError(
                    "directory", f"entry {number}, which no storage leads to",
                    "a place in the tree for each entry", "[MS-CFB] 2.6.1", offset=start,
                )  # fmt: skip
            self.gaps.append(Gap(kind=GapKind.SLACK, start=start, end=start + ENTRY_SIZE))

    def _offset(self, number: int) -> int:
        position = number * ENTRY_SIZE
        sector = self._chain[position // self._sectors.size]
        return self._sectors.offset(sector) + position % self._sectors.size
