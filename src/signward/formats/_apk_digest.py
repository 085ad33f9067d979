"""What APK signing schemes digest: the whole file but the signing block, in chunks.

Source: Android, "APK Signature Scheme v2", integrity-protected contents; AOSP
``ApkSigningBlockUtils`` and ``VerityTreeBuilder`` for the other kind, the root of a Merkle tree.
v4's tree is over the file as it lies there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from signward.envelopes.apk_v4 import NODES, TREE
from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Manifest, Source, Wanted

CHUNKS, VERITY = "apk-chunks", "apk-verity"
"""The two slots: digests of chunks, and a Merkle tree's root with the length behind it."""

SLOTS = frozenset({CHUNKS, VERITY, TREE, NODES})
"""Every slot that is not an entry's; their digests are SHA-256 of octets that anybody can make."""

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
    if wanted & {(TREE, "sha256"), (NODES, "sha256")}:
        root, nodes = file_tree(source)
        found |= {(TREE, "sha256"): root, (NODES, "sha256"): hashlib.sha256(nodes).digest()}
    return found


def file_tree(source: Source) -> tuple[bytes, bytes]:
    """Return root and octets of the tree over all of a file, as fs-verity's, without a salt.

    The octets are its levels from the top, each filled with zeros to whole pages.  Also of a file
    of one page the root is that of a level above it.
    """
    pieces = (
        source.read(at, min(CHUNK, source.length - at)) for at in range(0, source.length, CHUNK)
    )
    levels = _levels(pieces, b"")[0]
    root = hashlib.sha256(_filled(levels[-1])).digest()
    return root, b"".join(_filled(level) for level in reversed(levels))


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
    levels, length = _levels(_pieces(source, content), _SALT)
    return _pages(levels[-1], _SALT) + length.to_bytes(8, "little")


def _levels(pieces: Iterable[bytes], salt: bytes) -> tuple[list[bytes], int]:
    """Return a tree's levels, the last of one page at most, and the octets that it is over."""
    length, level, carry = 0, bytearray(), b""
    for piece in pieces:
        length += len(piece)
        data = carry + piece
        whole = len(data) - len(data) % _PAGE
        level += _pages(data[:whole], salt)
        carry = data[whole:]
    level += _pages(carry, salt)
    levels = [bytes(level)]
    while len(levels[-1]) > _PAGE:
        levels.append(_pages(levels[-1], salt))
    return levels, length


def _pages(data: bytes, salt: bytes) -> bytes:
    """Return the digests of pages, the last one filled with zeros."""
    return b"".join(
        hashlib.sha256(salt + data[at : at + _PAGE].ljust(_PAGE, b"\0")).digest()
        for at in range(0, len(data), _PAGE)
    )


def _filled(level: bytes) -> bytes:
    return level + bytes(-len(level) % _PAGE)
