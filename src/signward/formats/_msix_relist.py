"""Bringing a package's lists up to date after members were changed (``sign --deep``).

Nothing is packed: files stay where they are and no file is added.  What the block map says
of a changed file is written anew, and the file is stored, as a block map must know where in
deflate data each block begins.  A bundle's manifest gets the packages' new places and sizes.
All other bytes of both parts stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html import escape
from xml.parsers import expat

from signward.errors import NotSignableError
from signward.formats._msix_blockmap import BLOCK, MappedFile, file_digest, read_block_map
from signward.formats._msix_digest import PartHasher, digest_archive
from signward.formats._msix_package import (
    BLOCK_MAP,
    BUNDLE_MANIFEST,
    Package,
    read_package,
    read_part,
)
from signward.formats._msix_xml import Identity, parse_with, read_identity
from signward.state import Source
from signward.wire.patch import Patched
from signward.wire.unzip import feed_member, read_member
from signward.wire.zip import place
from signward.wire.zip_patch import Member, changed

MAX_CHANGED = 512 * 1024 * 1024
"""Bytes of one changed file, held until the package is written (as ``sign --deep`` does)."""

_ROUNDS = 4
"""How often a bundle's manifest is written: its length moves what lies behind it."""

_PLACES = {"Offset": re.compile(rb'\bOffset="\d*"'), "Size": re.compile(rb'\bSize="\d*"')}


def relisted(source: Source) -> Source:
    """Return the package with block map and bundle manifest that say what it holds.

    Raises ``BadInputError``, and ``NotSignableError`` for lists that cannot be edited.
    """
    package = read_package(source)
    if package.is_bundle:
        source = _with_places(source, package)
        package = read_package(source)
    stale = list(_stale(source, package))
    stored = {
        member.name: Member(data=read_member(source, member, MAX_CHANGED), stored=True)
        for member in (package.members[name] for name in stale)
        if member.method
    }
    source = Patched(source, changed(source, stored)) if stored else source
    return _with_blocks(source, frozenset(stale)) if stale else source


def _stale(source: Source, package: Package) -> Iterator[str]:
    """Yield the files of which the block map says something else than the archive."""
    block_map = read_block_map(read_part(source, package, BLOCK_MAP))
    hashers = {
        name: PartHasher(
            package.members[name], (name, block_map.algorithm), blocks=True, packed=file.packed
        )
        for name, file in block_map.files.items()
        if name in package.members
    }
    computed = digest_archive(source, package.content_end, (), list(hashers.values()))
    for name in hashers:
        file = block_map.files[name]
        listed = file_digest(block_map.algorithm, file.size, file.digests)
        where = place(source, package.members[name])
        header = where.data - where.start
        if computed.get((name, block_map.algorithm)) != listed or header != file.header:
            yield name


def _with_blocks(source: Source, stale: frozenset[str]) -> Source:
    """Return the package with the block map's elements of these files written anew."""
    package = read_package(source)
    data = read_part(source, package, BLOCK_MAP)
    algorithm = read_block_map(data).algorithm
    parts, at = [], 0
    for start, end, tag, name in _elements(data, "File", "Name"):
        if name.replace("\\", "/") in stale:
            file = _mapped(source, package, name, algorithm)
            parts += [data[at:start], _file_element(tag, file, algorithm)]
            at = end
    new = b"".join((*parts, data[at:]))
    return Patched(source, changed(source, {BLOCK_MAP: Member(data=new)}))


def _mapped(source: Source, package: Package, name: str, algorithm: str) -> MappedFile:
    member = package.members[name.replace("\\", "/")]
    where = place(source, member)
    blocks = _Blocks(algorithm)
    feed_member(source, member, [blocks])
    return MappedFile(
        name=name,
        size=member.size,
        header=where.data - where.start,
        digests=blocks.finished(),
        packed=(),
    )


class _Blocks:
    """Digests of blocks, one behind the other."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._filled = 0
        self._digests = b""
        self._hash = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, data: memoryview, /) -> None:
        """Absorb a file's bytes."""
        while data:
            step = min(len(data), BLOCK - self._filled)
            self._hash.update(data[:step])
            self._filled += step
            data = data[step:]
            if self._filled == BLOCK:
                self._close()

    def _close(self) -> None:
        self._digests += self._hash.digest()
        self._filled, self._hash = 0, hashlib.new(self._algorithm, usedforsecurity=False)

    def finished(self) -> bytes:
        """Return the digests."""
        if self._filled:
            self._close()
        return self._digests


def _file_element(tag: str, file: MappedFile, algorithm: str) -> bytes:
    """Return a File element of a stored file, with its Block elements."""
    width = hashlib.new(algorithm, usedforsecurity=False).digest_size
    digests = (file.digests[at : at + width] for at in range(0, len(file.digests), width))
    block = tag.removesuffix("File") + "Block"
    blocks = "".join(f'<{block} Hash="{base64.b64encode(one).decode()}"/>' for one in digests)
    attributes = f'Name="{escape(file.name)}" Size="{file.size}" LfhSize="{file.header}"'
    return f"<{tag} {attributes}>{blocks}</{tag}>".encode()


def _with_places(source: Source, package: Package) -> Source:
    """Return the bundle with a manifest that says where its packages lie now."""
    for _ in range(_ROUNDS):
        data = read_part(source, package, BUNDLE_MANIFEST)
        identity = read_identity(data, BUNDLE_MANIFEST, "Bundle")
        new = _placed(source, package, identity, data)
        if new == data:
            return source
        source = Patched(source, changed(source, {BUNDLE_MANIFEST: Member(data=new)}))
        package = read_package(source)
    raise NotSignableError(BUNDLE_MANIFEST, "places that move when they are written", "some rest")


def _placed(source: Source, package: Package, identity: Identity, data: bytes) -> bytes:
    known = {bundled.name for bundled in identity.packages}
    parts, at = [], 0
    for start, _, _, name in _elements(data, "Package", "FileName"):
        member = package.members.get(name.replace("\\", "/"))
        if member is None or name.replace("\\", "/") not in known:
            continue
        end = data.index(b">", start)
        values = {"Offset": place(source, member).data, "Size": member.size}
        element = data[start:end]
        for word, pattern in _PLACES.items():
            element = pattern.sub(f'{word}="{values[word]}"'.encode(), element, count=1)
        parts += [data[at:start], element]
        at = end
    return b"".join((*parts, data[at:]))


def _elements(data: bytes, local: str, key: str) -> list[tuple[int, int, str, str]]:
    """Return where elements of that name begin and end, with their tag and one attribute."""
    found: list[tuple[int, int, str, str]] = []
    opened: list[tuple[int, str, str]] = []
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(":")[2] == local:
            opened.append((parser.CurrentByteIndex, tag, attributes.get(key, "")))

    def end(tag: str) -> None:
        if tag.rpartition(":")[2] == local:
            begin, tag, name = opened.pop()
            at = parser.CurrentByteIndex
            # Behind a tag without content, or in front of an end tag.
            stop = data.index(b">", at) + 1 if data.startswith(b"</", at) else at
            found.append((begin, stop, tag, name))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parse_with(parser, data, "package list")
    if not all(data.startswith(f"<{tag}".encode(), begin) for begin, _, tag, _ in found):
        raise NotSignableError("package list", "text that is no UTF-8", "UTF-8")
    return found
