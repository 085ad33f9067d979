"""What APK signing schemes digest: the whole file but the signing block, in chunks.

Source: Android, "APK Signature Scheme v2", integrity-protected contents; AOSP
``ApkSigningBlockUtils`` and ``VerityTreeBuilder`` for the other kind, the root of a Merkle tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Manifest, Source, Wanted

CHUNKS, VERITY = "apk-chunks", "apk-verity"
"""The two slots: digests of chunks, and a Merkle tree's root with the length behind it."""

CHUNK = 1024 * 1024
"""Octets of a chunk."""

_PAGE = 4096
_SALT = bytes(8)
_OFFSET_AT = 16
"""Where an end record has the central directory's offset (u32, little-endian): 4.3.16."""


class Content(Frozen, frozen=True, kw_only=True):
    """Where it lies: members up to ``entries``, directory, end record to the end of the file."""

    entries: int
    directory: int
    end_record: int


def digests(source: Source, content: Content, wanted: Wanted) -> Manifest:
    """Return the wanted digests.  Raises ``MalformedError`` for a tree over broken pages."""
    chunked = sorted({name for slot, name in wanted if slot == CHUNKS})
    found = {(CHUNKS, name): value for name, value in _chunked(source, content, chunked)}
    if (VERITY, "sha256") in wanted:
        found[VERITY, "sha256"] = _tree_root(source, content)
    return found


def _end_record(source: Source, content: Content) -> bytes:
    """Return the end record as signed: its offset is where the signing block begins."""
    record = source.read(content.end_record, source.length - content.end_record)
    offset = content.entries.to_bytes(4, "little")
    return record[:_OFFSET_AT] + offset + record[_OFFSET_AT + 4 :]


def _pieces(source: Source, content: Content) -> Iterator[bytes]:
    """Yield the three parts in pieces of at most a chunk; each part starts a piece."""
    for start, end in ((0, content.entries), (content.directory, content.end_record)):
        for at in range(start, end, CHUNK):
            yield source.read(at, min(CHUNK, end - at))
    yield _end_record(source, content)


def _chunked(
    source: Source, content: Content, algorithms: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield each algorithm's digest of all chunks' digests."""
    if not algorithms:
        return
    held: dict[str, list[bytes]] = {name: [] for name in algorithms}
    for piece in _pieces(source, content):
        head = b"\xa5" + len(piece).to_bytes(4, "little")
        for name, values in held.items():
            hasher = hashlib.new(name, head)
            hasher.update(piece)
            values.append(hasher.digest())
    for name, values in held.items():
        head = b"\x5a" + len(values).to_bytes(4, "little")
        yield name, hashlib.new(name, head + b"".join(values)).digest()


def _tree_root(source: Source, content: Content) -> bytes:
    """Return root and length (u64, little-endian): SHA-256, pages of 4096, a salt of 8 zeros."""
    if content.entries % _PAGE:
        raise MalformedError(
            source.name, f"members that end at {content.entries}", f"a multiple of {_PAGE}",
            "APK Signature Scheme v2, verity digests", offset=content.entries,
        )  # fmt: skip
    length, level, carry = 0, bytearray(), b""
    for piece in _pieces(source, content):
        length += len(piece)
        data = carry + piece
        whole = len(data) - len(data) % _PAGE
        level += _pages(data[:whole])
        carry = data[whole:]
    level += _pages(carry)
    while len(level) > _PAGE:
        level = bytearray(_pages(bytes(level)))
    return _pages(bytes(level)) + length.to_bytes(8, "little")


def _pages(data: bytes) -> bytes:
    """Return the digests of pages, the last one filled with zeros."""
    return b"".join(
        hashlib.sha256(_SALT + data[at : at + _PAGE].ljust(_PAGE, b"\0")).digest()
        for at in range(0, len(data), _PAGE)
    )
