"""RPM's header structures (format versions 4 and 6): what they hold, and how it is laid out.

Source: rpm.org's description of the package format, and what rpm itself takes.  All numbers are
big-endian.  A header is 8 octets of magic (none in a database), the count of index entries and
the octets of the store (u32 each), the entries (tag, type, offset, count: 16 octets each), and
the store.  Its first entry names a **region**: entries and octets that digests and signatures
are over.  What stands behind the region is nobody's word; a package has nothing there.

As in rpm, values stand in the order of the index and share no octet: two readers cannot find
different ones.  A tag may stand once.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import TypeVar

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
"""Three octets, the version, and four that are reserved."""

INTRO = 16
"""Octets before the index: magic, count of entries, octets of the store."""

ENTRY = 16
"""Octets of one index entry, and of a region's trailer, which looks like one."""

SIGNATURES, IMMUTABLE = 62, 63
"""Tags of the regions of a package's two headers."""

MAX_ENTRIES = 0xFFFF
"""Entries of one header, as rpm bounds them; the richest packages have some 120."""

MAX_STORE = 64 * 1024 * 1024
"""Octets of one store, as rpm bounds a signature header's; 200,000 files take some 30 MiB."""

MAX_ITEMS = 1_000_000
"""Strings or numbers of one value: the largest packages list some 200,000 files."""

CHAR, INT8, INT16, INT32, INT64 = 1, 2, 3, 4, 5
STRING, BINARY, STRINGS, I18N = 6, 7, 8, 9
"""Types of values; `I18N` are strings, one a language."""

_WIDTH = {CHAR: 1, INT8: 1, INT16: 2, INT32: 4, INT64: 8, BINARY: 1}
_NUMBERS = {INT8: "B", INT16: "H", INT32: "I", INT64: "Q"}
_TEXTS = (STRING, STRINGS, I18N)
_INDEX = struct.Struct(">iIiI")
_CLAUSE = "RPM package format, header structure"
_T = TypeVar("_T")


class Entry(Frozen, frozen=True, kw_only=True):
    """One index entry: its value stands at ``start`` to ``end`` of the store."""

    tag: int
    kind: int
    count: int
    start: int
    end: int

    @property
    def width(self) -> int:
        """The octets of one number of it, to whose multiple it is aligned; 1 for strings."""
        return _WIDTH.get(self.kind, 1)


class Header(Frozen, frozen=True, kw_only=True):
    """A header.  ``signed`` are the octets that its digests are over, magic and all.

    ``entries`` are those inside the region, by tag, without the region's own; ``behind`` those
    after it (a database's), which nothing covers.
    """

    what: str
    entries: Mapping[int, Entry]
    behind: Mapping[int, Entry]
    store: bytes
    signed: bytes

    def octets(self, tag: int) -> bytes | None:
        """Return a binary value; None where there is none.  Raises ``MalformedError``."""
        return self._told(tag, (BINARY,), lambda entry: self.store[entry.start : entry.end])

    def text(self, tag: int) -> str | None:
        """Return the first string of a value, UTF-8, what is none replaced; None without one."""
        return self._told(tag, _TEXTS, lambda entry: _decoded(self._strings(entry)[0]))

    def strings(self, tag: int) -> list[bytes]:
        """Return the strings of a value as they stand; none where there is none."""
        return self._told(tag, _TEXTS, self._strings) or []

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the numbers of a value, of whatever width; none where there are none."""
        return self._told(tag, tuple(_NUMBERS), self._numbers) or ()

    def number(self, tag: int) -> int | None:
        """Return a value's first number; None where there is none."""
        return next(iter(self.numbers(tag)), None)

    def _told(self, tag: int, kinds: tuple[int, ...], read: Callable[[Entry], _T]) -> _T | None:
        entry = self.entries.get(tag)
        if entry is None:
            return None
        if entry.kind not in kinds:
            raise MalformedError(self.what, f"tag {tag} of type {entry.kind}",
                                 " or ".join(map(str, kinds)), _CLAUSE)  # fmt: skip
        return read(entry)

    def _strings(self, entry: Entry) -> list[bytes]:
        return self.store[entry.start : entry.end - 1].split(b"\0")

    def _numbers(self, entry: Entry) -> tuple[int, ...]:
        form = f">{entry.count}{_NUMBERS[entry.kind]}"
        return struct.unpack(form, self.store[entry.start : entry.end])


def read_package_header(source: Source, at: int, region: int, what: str) -> tuple[Header, int]:
    """Return the header at an offset of a package, and where it ends.

    Its region is all of it.  Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    if at + INTRO > source.length:
        raise MalformedError(what, "an end before it", "a header", _CLAUSE, offset=at)
    intro = source.read(at, INTRO)
    if intro[:8] != MAGIC:
        raise MalformedError(what, f"magic {intro[:8].hex()}", MAGIC.hex(), _CLAUSE, offset=at)
    size = INTRO + _lengths(intro[8:], what)
    if at + size > source.length:
        raise MalformedError(what, f"{size} octets that end beyond the file",
                             f"at most {source.length - at}", _CLAUSE, offset=at)  # fmt: skip
    header = read_header(source.read(at + 8, size - 8), region, what)
    if len(header.signed) != size:
        raise MalformedError(what, "octets behind its region", "a region that is all of it",
                             _CLAUSE, offset=at)  # fmt: skip
    return header, at + size


def read_header(data: bytes, region: int, what: str) -> Header:
    """Return the header in ``data``, which begins with its count of entries (no magic).

    Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    if len(data) < 8 or len(data) != 8 + _lengths(data[:8], what):
        raise MalformedError(what, f"{len(data)} octets", "as many as it says", _CLAUSE)
    count = int.from_bytes(data[:4], "big")
    index, store = data[8 : 8 + count * ENTRY], data[8 + count * ENTRY :]
    inside, extent = _region(index, store, region, what)
    entries = list(_entries(index[ENTRY:], store, extent - ENTRY, what))
    signed = struct.pack(">II", inside, extent) + index[: inside * ENTRY] + store[:extent]
    return Header(
        what=what,
        entries=_by_tag(entries[: inside - 1], what),
        behind=_by_tag(entries[inside - 1 :], what),
        store=store,
        signed=MAGIC + signed,
    )


def _lengths(octets: bytes, what: str) -> int:
    """Return how long index and store are together."""
    count, size = int.from_bytes(octets[:4], "big"), int.from_bytes(octets[4:], "big")
    if count > MAX_ENTRIES or size > MAX_STORE:
        raise LimitError(what, f"{count} entries, {size} octets of values",
                         f"at most {MAX_ENTRIES} and {MAX_STORE}")  # fmt: skip
    return count * ENTRY + size


def _region(index: bytes, store: bytes, region: int, what: str) -> tuple[int, int]:
    """Return how many entries and how many octets of the store the region has.

    Its entry points to a trailer, an entry whose offset is minus the octets of its entries.
    """
    first = _INDEX.unpack_from(index) if index else (0, 0, 0, 0)
    tag, kind, at, count = first
    if (tag, kind, count) != (region, BINARY, ENTRY) or not 0 <= at <= len(store) - ENTRY:
        raise MalformedError(what, f"entry {first} in front", f"that of region {region}", _CLAUSE)
    tag, kind, back, count = _INDEX.unpack_from(store, at)
    if (tag, kind, count) != (region, BINARY, ENTRY):
        raise MalformedError(what, "a region without trailer", f"one of tag {region}", _CLAUSE)
    if back % ENTRY or not ENTRY <= -back <= len(index):
        raise MalformedError(what, f"a region of {-back} octets of entries",
                             f"whole ones, at most {len(index)}", _CLAUSE)  # fmt: skip
    return -back // ENTRY, at + ENTRY


def _entries(index: bytes, store: bytes, trailer: int, what: str) -> Iterator[Entry]:
    """Yield the entries behind the region's own; their values leave its trailer alone."""
    listed = list(_INDEX.iter_unpack(index))
    for (tag, kind, start, count), behind in zip_longest(listed, listed[1:]):
        limit = behind[2] if behind else len(store)
        limit = min(limit, trailer) if start < trailer + ENTRY else limit
        if count > MAX_ITEMS and kind not in (BINARY, CHAR):
            raise LimitError(what, f"{count} items of tag {tag}", f"at most {MAX_ITEMS}")
        end = _end(store, kind, start, count, limit) if 0 <= start < limit <= len(store) else -1
        if not start < end <= limit or start % _WIDTH.get(kind, 1):
            raise MalformedError(
                what, f"tag {tag}, whose value at {start} stands on another, beyond the end, "
                "or is none", "values one behind the other", _CLAUSE,
            )  # fmt: skip
        yield Entry(tag=tag, kind=kind, count=count, start=start, end=end)


def _end(store: bytes, kind: int, start: int, count: int, limit: int) -> int:
    """Return where a value ends; -1 for one that does not, or that is of no known type."""
    if kind in _WIDTH:
        return start + _WIDTH[kind] * count
    if kind not in _TEXTS or (kind == STRING and count != 1):
        return -1
    parts = store[start:limit].split(b"\0", count)
    return limit - len(parts[-1]) if len(parts) > count else -1


def _by_tag(entries: list[Entry], what: str) -> dict[int, Entry]:
    found = {entry.tag: entry for entry in entries}
    if len(found) < len(entries):
        ((twice, _),) = Counter(entry.tag for entry in entries).most_common(1)
        raise AmbiguousError(what, f"tag {twice} twice", "each once", _CLAUSE)
    return found


def write_header(region: int, values: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    """Return a header with magic, all of it its region, as rpm lays it out: sorted by tag.

    ``values``: by tag the type, the count and the octets of each value.
    """
    index, store = bytearray(), bytearray()
    for tag, (kind, count, octets) in sorted(values.items()):
        store += bytes(-len(store) % _WIDTH.get(kind, 1))
        index += _INDEX.pack(tag, kind, len(store), count)
        store += octets
    entries = len(values) + 1
    first = _INDEX.pack(region, BINARY, len(store), ENTRY)
    store += _INDEX.pack(region, BINARY, -entries * ENTRY, ENTRY)
    return MAGIC + struct.pack(">II", entries, len(store)) + first + bytes(index) + bytes(store)


def _decoded(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
