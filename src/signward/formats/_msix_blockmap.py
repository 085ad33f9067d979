"""AppxBlockMap.xml: each file of a package in blocks of 64 KiB and their digests.

Source: Microsoft's block map schema (http://schemas.microsoft.com/appx/2010/blockmap).
Names have backslashes; digests are base64 over the *unpacked* bytes of a block.  A block of
a deflated file also says how many packed bytes it has, and a file how long its local header
is: Windows finds blocks by these numbers alone, so they must say what the archive does.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator, Mapping

from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats._msix_package import (
    BLOCK_MAP,
    BUNDLE_MANIFEST,
    CODE_INTEGRITY,
    CONTENT_TYPES,
    Package,
)
from signward.formats._msix_xml import Identity, number, read_elements
from signward.frozen import Frozen
from signward.state import Slot, Source
from signward.wire.zip import ZipMember, place

BLOCK = 64 * 1024
"""Unpacked bytes in a block; the last of a file may have fewer."""

MAX_FILES = 200_000
"""Files in a block map: as many as the archive may have members."""

MAX_BLOCKS = 1 << 20
"""Blocks in a block map: 64 GiB of content."""

FILE = "file:"
"""How the slots of files begin; the part's name follows."""

LEFTOVER = "[Content_Types].old"
"""What jsign up to 6 renames the content types to before it adds new ones: no part name, so
no reader of packages sees it, and AXPC covers its bytes."""

_HASH_METHODS = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_FOOTPRINT = frozenset({CONTENT_TYPES, BLOCK_MAP, CODE_INTEGRITY})
"""Parts that the signature's own digests cover and block maps leave out."""

_TAIL = 2
"""Packed bytes that may follow the last block: the empty block that ends deflate data."""

_CLAUSE = "AppxBlockMap.xml schema"


class MappedFile(Frozen, frozen=True, kw_only=True):
    """What the block map says of one file; sizes in bytes.

    ``digests`` are those of the blocks, one behind the other; ``packed`` holds the blocks'
    packed sizes, empty where none is given.
    """

    name: str
    size: int
    header: int
    digests: bytes
    packed: tuple[int, ...]


class BlockMap(Frozen, frozen=True, kw_only=True):
    """The block map: a digest algorithm and files by part name."""

    algorithm: str
    files: Mapping[str, MappedFile]


class _Reader:
    """Collects files while the XML is read."""

    def __init__(self) -> None:
        self.algorithm = ""
        self.files: dict[str, MappedFile] = {}
        self._blocks = 0
        self._open: Mapping[str, str] | None = None
        self._digests: list[bytes] = []
        self._packed: list[int] = []

    def take(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """Take an element: the map's digest, a file, or a block of the last file."""
        if path == ("BlockMap",):
            method = attributes.get("HashMethod", "")
            self.algorithm = _HASH_METHODS.get(method, f"unknown:{method[:128]}")
        elif path == ("BlockMap", "File"):
            self.close()
            self._open = attributes
        elif path == ("BlockMap", "File", "Block"):
            self._block(attributes)

    def _block(self, attributes: Mapping[str, str]) -> None:
        self._blocks += 1
        if self._blocks > MAX_BLOCKS:
            raise LimitError(BLOCK_MAP, "more blocks", f"at most {MAX_BLOCKS}")
        try:
            self._digests.append(binascii.a2b_base64(attributes.get("Hash", ""), strict_mode=True))
        except (binascii.Error, ValueError):
            raise _malformed(f"the digest {attributes.get('Hash', '')[:64]!r}", "base64") from None
        if "Size" in attributes:
            self._packed.append(number(attributes["Size"], BLOCK_MAP))

    def close(self) -> None:
        """Keep the file whose blocks were read."""
        if self._open is None:
            return
        file = self._file(self._open)
        if file.name in self.files:
            raise _malformed(f"{file.name} twice", "each file once")
        self.files[file.name] = file
        if len(self.files) > MAX_FILES:
            raise LimitError(BLOCK_MAP, "more files", f"at most {MAX_FILES}")
        self._digests, self._packed = [], []

    def _file(self, attributes: Mapping[str, str]) -> MappedFile:
        name = attributes.get("Name", "").replace("\\", "/")
        size = number(attributes.get("Size", ""), BLOCK_MAP)
        blocks, packed = len(self._digests), tuple(self._packed)
        if blocks != -(-size // BLOCK):
            raise _malformed(f"{blocks} blocks for {size} bytes of {name}", "one per 64 KiB")
        if packed and len(packed) != blocks:
            raise _malformed(f"{len(packed)} packed sizes for {name}", f"{blocks}, or none")
        if name in _FOOTPRINT:
            raise _malformed(f"{name} listed", "files that the signature does not cover itself")
        return MappedFile(
            name=name,
            size=size,
            header=number(attributes.get("LfhSize", ""), BLOCK_MAP),
            digests=b"".join(self._digests),
            packed=packed,
        )


def _malformed(found: str, required: str) -> MalformedError:
    return MalformedError(BLOCK_MAP, found, required, _CLAUSE)


def read_block_map(data: bytes) -> BlockMap:
    """Return the block map.  Raises ``BadInputError``."""
    reader = _Reader()
    read_elements(data, BLOCK_MAP, reader.take)
    reader.close()
    if not reader.files:
        raise _malformed("no files", "at least the manifest")
    return BlockMap(algorithm=reader.algorithm, files=reader.files)


def file_slots(block_map: BlockMap) -> tuple[Slot, ...]:
    """Return a slot per file: a digest over its size (64 bits, little-endian) and its blocks'."""
    algorithm = block_map.algorithm
    unknown = algorithm.startswith("unknown:")
    return tuple(
        Slot(
            name=FILE + file.name,
            algorithm=algorithm,
            digest=b"" if unknown else file_digest(algorithm, file.size, file.digests),
        )
        for file in block_map.files.values()
    )


def file_digest(algorithm: str, size: int, digests: bytes) -> bytes:
    """Return the digest that stands for a file: over its size and its blocks' digests."""
    whole = hashlib.new(algorithm, size.to_bytes(8, "little"), usedforsecurity=False)
    whole.update(digests)
    return whole.digest()


def required_files(package: Package, identity: Identity) -> Iterator[str]:
    """Yield the slots of members that a block map must list.

    A bundle's packages are signed for themselves: its own block map holds the manifest alone.
    """
    exempt = _FOOTPRINT | {LEFTOVER}
    if package.is_bundle:
        exempt |= {bundled.name for bundled in identity.packages}
    for name, member in package.members.items():
        if name not in exempt and not (member.directory and not member.size):
            yield FILE + name


def contradictions(source: Source, package: Package, block_map: BlockMap) -> Iterator[Finding]:
    """Report numbers of the block map that lead to other bytes than the directory does."""
    for name, file in block_map.files.items():
        member = package.members.get(name)
        if member is None:
            continue
        where = place(source, member)
        if file.header != where.data - where.start:
            required = f"{where.data - where.start}, as in the archive"
            yield _contradiction(name, f"a local header of {file.header} bytes", required, member)
        if file.packed:
            yield from _packed_sizes(name, file, member)
        elif member.method and file.size:
            found, required = "no packed sizes", "each block's: the file is deflated"
            yield _contradiction(name, found, required, member).with_effect(Effect.WARN)


def _packed_sizes(name: str, file: MappedFile, member: ZipMember) -> Iterator[Finding]:
    total = sum(file.packed)
    if not member.method:
        yield _contradiction(name, "packed sizes", "none: the file is stored", member)
    elif member.packed - total not in (0, _TAIL):
        found, required = f"blocks of {total} packed bytes", f"{member.packed}, as in the archive"
        yield _contradiction(name, found, required, member)


def _contradiction(name: str, found: str, required: str, member: ZipMember) -> Finding:
    return Finding(
        code=Code.AMBIGUOUS,
        effect=Effect.REJECT,
        subject=f"{BLOCK_MAP}, {name}",
        found=found,
        required=required,
        clause=_CLAUSE,
        hint="Windows finds blocks by these numbers, other readers by the ZIP directory",
        offset=member.local,
    )


def misplaced_packages(source: Source, package: Package, identity: Identity) -> Iterator[Finding]:
    """Report packages that a bundle's manifest says lie elsewhere, or are of another size."""
    for bundled in identity.packages if package.is_bundle else ():
        member = package.members.get(bundled.name)
        if member is None:
            if bundled.offset:
                yield _misplaced(bundled.name, "no such member", f"{bundled.size} bytes", None)
            continue
        start = place(source, member).data
        found = f"{member.size} bytes at {start}, packed by method {member.method}"
        required = f"{bundled.size} bytes at {bundled.offset}, stored"
        if (member.size, start, member.method) != (bundled.size, bundled.offset, 0):
            yield _misplaced(bundled.name, found, required, member.local)


def _misplaced(name: str, found: str, required: str, offset: int | None) -> Finding:
    return Finding(
        code=Code.AMBIGUOUS,
        effect=Effect.REJECT,
        subject=f"{BUNDLE_MANIFEST}, {name}",
        found=found,
        required=required,
        clause="bundle manifest schema: Package",
        hint="Windows finds packages by these numbers, other readers by the ZIP directory",
        offset=offset,
    )
