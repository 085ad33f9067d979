"""Compound files, laid out plainly, with their parts' places known: ready to break.

FAT, DIFAT, directory, mini FAT, mini stream, streams, in this order.  The members of a
storage hang to the right of each other, a tree as legal as any.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Union

Tree = Mapping[str, Union[bytes, "Tree"]]

PACKAGE = bytes.fromhex("84100c0000000000c000000000000046")
"""The root's class identifier of an installer package."""

STORAGE = bytes(range(16))
"""The class identifier that every storage gets."""

TIMES = bytes(range(1, 17))
"""The times that every storage gets."""

FREE, END, FAT, DIFAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC


@dataclass
class Row:
    """A directory entry."""

    name: str
    kind: int
    data: bytes = b""
    child: int = FREE
    right: int = FREE
    start: int = END
    clsid: bytes = bytes(16)
    state: int = 0
    times: bytes = bytes(16)


@dataclass
class Built:
    """The bytes, and where their parts lie."""

    data: bytearray
    size: int
    rows: list[Row]
    directory: int
    mini_fat: int
    mini: int
    fat: list[int] = field(default_factory=list)

    def sector(self, number: int) -> int:
        """Return where a sector lies."""
        return (number + 1) * self.size

    def fat_entry(self, sector: int) -> int:
        """Return where the FAT speaks of a sector."""
        per_sector = self.size // 4
        return self.sector(self.fat[sector // per_sector]) + 4 * (sector % per_sector)

    def mini_fat_entry(self, number: int) -> int:
        """Return where the mini FAT speaks of a mini sector."""
        return self.sector(self.mini_fat) + 4 * number

    def entry(self, name: str) -> int:
        """Return where the directory entry of a name lies."""
        number = next(n for n, row in enumerate(self.rows) if row.name == name)
        return self.sector(self.directory) + 128 * number

    def number(self, name: str) -> int:
        """Return the number of the directory entry of a name."""
        return next(n for n, row in enumerate(self.rows) if row.name == name)

    def put(self, offset: int, value: int) -> Built:
        """Overwrite 32 bits."""
        struct.pack_into("<I", self.data, offset, value)
        return self

    def get(self, offset: int) -> int:
        """Return 32 bits."""
        return int(struct.unpack_from("<I", self.data, offset)[0])

    def __bytes__(self) -> bytes:
        return bytes(self.data)


def compound(
    tree: Tree, *, size: int = 512, clsid: bytes = PACKAGE, spare: int = 0, fat: int = 0
) -> Built:
    """Return a compound file of ``tree``.

    ``spare`` free sectors stand in front of the streams; ``fat`` is the least number of FAT
    sectors.
    """
    rows = list(_rows(tree, clsid))
    small = [row for row in rows if row.kind == 2 and 0 < len(row.data) < 4096]
    large = [row for row in rows if row.kind == 2 and len(row.data) >= 4096]
    mini_fat: list[int] = []
    for row in small:
        row.start = _chain(mini_fat, -(-len(row.data) // 64), len(mini_fat))
    mini = b"".join(_padded(row.data, 64) for row in small)
    sectors = [-(-len(rows) * 128 // size), -(-4 * len(mini_fat) // size), -(-len(mini) // size)]
    others = sum(sectors) + spare + sum(-(-len(row.data) // size) for row in large)
    count, named = _tables(others, size, fat)
    table = [FAT] * count + [DIFAT] * named
    starts = [_chain(table, number, len(table)) for number in sectors]
    table += [FREE] * spare
    for row in large:
        row.start = _chain(table, -(-len(row.data) // size), len(table))
    rows[0].start = starts[2]
    table_bytes = struct.pack(f"<{len(table)}I", *table)
    body = [
        table_bytes + b"\xff" * (count * size - len(table_bytes)),
        _difat(count, named, size),
        _padded(b"".join(_entry(row, len(mini)) for row in rows), size, b"\0" * 68 + b"\xff" * 12
                + b"\0" * 48),
        _padded(struct.pack(f"<{len(mini_fat)}I", *mini_fat), size, b"\xff"),
        _padded(mini, size),
        bytes(spare * size),
        *(_padded(row.data, size) for row in large),
    ]  # fmt: skip
    header = _header(size, sectors, starts, count, named)
    return Built(
        data=bytearray(header + b"".join(body)),
        size=size,
        rows=rows,
        directory=starts[0],
        mini_fat=starts[1],
        mini=starts[2],
        fat=list(range(count)),
    )


def _rows(tree: Tree, clsid: bytes) -> Iterator[Row]:
    rows = [Row(name="Root Entry", kind=5, clsid=clsid)]
    _add(rows, rows[0], tree)
    yield from rows


def _add(rows: list[Row], parent: Row, tree: Tree) -> None:
    before: Row | None = None
    for name in sorted(tree, key=lambda n: (len(n), n.upper())):
        value = tree[name]
        row = Row(name=name, kind=2 if isinstance(value, bytes) else 1)
        if before is None:
            parent.child = len(rows)
        else:
            before.right = len(rows)
        rows.append(row)
        before = row
        if isinstance(value, bytes):
            row.data = value
        else:
            row.start, row.clsid, row.times = 0, STORAGE, TIMES
            _add(rows, row, value)


def _chain(table: list[int], count: int, start: int) -> int:
    if not count:
        return END
    table += [*range(start + 1, start + count), END]
    return start


def _padded(data: bytes, unit: int, filler: bytes = b"\0") -> bytes:
    return data + filler * (-len(data) % unit // len(filler))


def _tables(others: int, size: int, least: int) -> tuple[int, int]:
    count, named = max(1, least), 0
    while True:
        fits = count * (size // 4) >= others + count + named
        if fits and count <= 109 + named * (size // 4 - 1):
            return count, named
        count, named = (count, named + 1) if fits else (count + 1, named)


def _difat(count: int, named: int, size: int) -> bytes:
    rest = list(range(109, count))
    per_sector = size // 4 - 1
    out = b""
    for number in range(named):
        part = rest[number * per_sector : (number + 1) * per_sector]
        part += [FREE] * (per_sector - len(part))
        after = count + number + 1 if number + 1 < named else END
        out += struct.pack(f"<{per_sector + 1}I", *part, after)
    return out


def _entry(row: Row, mini: int) -> bytes:
    name = row.name.encode("utf-16-le") + b"\0\0"
    size = mini if row.kind == 5 else len(row.data)
    return (
        name.ljust(64, b"\0") + struct.pack("<HBBIII", len(name), row.kind, 1, FREE, row.right,
                                            row.child)
        + row.clsid + struct.pack("<I", row.state) + row.times + struct.pack("<IQ", row.start, size)
    )  # fmt: skip


def _header(size: int, sectors: list[int], starts: list[int], count: int, named: int) -> bytes:
    major, shift = (3, 9) if size == 512 else (4, 12)
    fixed = struct.pack(
        "<8s16sHHHHH6s9I", bytes.fromhex("d0cf11e0a1b11ae1"), bytes(16), 0x3E, major, 0xFFFE,
        shift, 6, bytes(6), sectors[0] if major == 4 else 0, count, starts[0], 0, 4096, starts[1],
        sectors[1], count if named else END, named,
    )  # fmt: skip
    in_header = [*range(min(count, 109)), *[FREE] * max(0, 109 - count)]
    return (fixed + struct.pack("<109I", *in_header)).ljust(size, b"\0")
