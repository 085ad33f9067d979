"""fs-verity: the digest of a file as the kernel computes it, and what is signed of it.

Source: Documentation/filesystems/fsverity.rst of Linux ("Merkle tree", "fs-verity descriptor",
"Built-in signature verification").  Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.source import FileSource

MIN_BLOCK, BLOCK, MAX_BLOCK = 1024, 4096, 65536
"""Octets of a block of data and of the tree: the least, what every kernel takes, the most."""

MAX_SALT = 32
"""Octets of a salt."""

MAX_SIGNATURE = 16128
"""Octets of a built-in signature, as the kernel bounds it (``FS_VERITY_MAX_SIGNATURE_SIZE``)."""

READ = 1024 * 1024
"""Octets read at a time: a multiple of every block size."""

ALGORITHMS = {1: "sha256", 2: "sha512"}
"""``FS_VERITY_HASH_ALG_*`` by hashlib's names."""

NUMBERS = {name: number for number, name in ALGORITHMS.items()}

DESCRIPTOR_TYPE, SIGNATURE_TYPE = 2, 3
"""What ``FS_IOC_READ_VERITY_METADATA`` reads."""

_VERSION = 1
_DESCRIPTOR = struct.Struct("<BBBBIQ64s32s144x")
_FORMATTED = struct.Struct("<8sHH")
_MAGIC = b"FSVerity"
_WHAT = "fs-verity"
_CLAUSE = "fsverity.rst, fs-verity descriptor"


class Parameters(Frozen, frozen=True, kw_only=True):
    """How a file's tree is built: the digest, octets of a block, and the salt."""

    algorithm: str = "sha256"
    block: int = BLOCK
    salt: bytes = b""

    def check(self) -> None:
        """Raise ``MalformedError`` for what no kernel takes."""
        if self.algorithm not in NUMBERS:
            raise MalformedError(_WHAT, f"digest {self.algorithm}", "sha256 or sha512", _CLAUSE)
        if not MIN_BLOCK <= self.block <= MAX_BLOCK or self.block & (self.block - 1):
            raise MalformedError(_WHAT, f"blocks of {self.block} octets",
                                 f"a power of two from {MIN_BLOCK} to {MAX_BLOCK}",
                                 _CLAUSE)  # fmt: skip
        if len(self.salt) > MAX_SALT:
            raise MalformedError(_WHAT, f"a salt of {len(self.salt)} octets",
                                 f"at most {MAX_SALT}", _CLAUSE)  # fmt: skip


_USUAL = Parameters()


def file_digest(content: bytes) -> bytes:
    """Return the fs-verity digest of octets as every kernel takes it: SHA-256, no salt."""
    tree = _Tree(_USUAL)
    for start in range(0, len(content), READ):
        tree.add(content[start : start + READ])
    return tree.digest(len(content))


def source_digest(source: Source, parameters: Parameters = _USUAL) -> bytes:
    """Return the fs-verity digest of a source; reads it once and keeps a path of the tree.

    Raises ``MalformedError`` for parameters that no kernel takes.
    """
    parameters.check()
    tree = _Tree(parameters)
    for start in range(0, source.length, READ):
        tree.add(source.read(start, min(READ, source.length - start)))
    return tree.digest(source.length)


class _Tree:
    """A Merkle tree under way: of each level the block that is not full yet."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._levels: list[bytearray] = []
        self._hash = _block_digest(parameters)

    def add(self, data: bytes) -> None:
        """Take the next octets of content: whole blocks, but for the last time."""
        size, view = self._parameters.block, memoryview(data)
        for start in range(0, len(data), size):
            self._append(0, self._hash(view[start : start + size]))

    def digest(self, length: int) -> bytes:
        """Return the digest of the descriptor over all that was added, ``length`` octets."""
        one = self._parameters
        fields = (_VERSION, NUMBERS[one.algorithm], one.block.bit_length() - 1, len(one.salt), 0)
        descriptor = _DESCRIPTOR.pack(*fields, length, self._root(), one.salt)
        return hashlib.new(one.algorithm, descriptor).digest()

    def _append(self, level: int, digest: bytes) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
        block = self._levels[level]
        block += digest
        if len(block) == self._parameters.block:
            full = bytes(block)
            block.clear()
            self._append(level + 1, self._hash(full))

    def _root(self) -> bytes:
        """Return the last digest: of an empty file none, which is zeros."""
        level = 0
        while level < len(self._levels):
            block = bytes(self._levels[level])
            top = level == len(self._levels) - 1
            if top and len(block) == self._digest_size:
                return block
            if block:
                self._append(level + 1, self._hash(block))
            level += 1
        return b""

    @property
    def _digest_size(self) -> int:
        return hashlib.new(self._parameters.algorithm).digest_size


def _block_digest(parameters: Parameters) -> Callable[[bytes | memoryview], bytes]:
    """Return what digests a block: the salt, filled up to the hash's own block, goes before."""
    seeded = hashlib.new(parameters.algorithm)
    if parameters.salt:
        whole = -(-len(parameters.salt) // seeded.block_size) * seeded.block_size
        seeded.update(parameters.salt.ljust(whole, b"\0"))
    size = parameters.block

    def digest(block: bytes | memoryview) -> bytes:
        hasher = seeded.copy()
        hasher.update(block)
        if len(block) < size:
            hasher.update(bytes(size - len(block)))
        return hasher.digest()

    return digest


def formatted(digest: bytes, algorithm: str = "sha256") -> bytes:
    """Return the fsverity_formatted_digest of a digest: what a signature is over."""
    return _FORMATTED.pack(_MAGIC, NUMBERS[algorithm], len(digest)) + digest


def parameters_of(source: Source) -> Parameters | None:
    """Return how the kernel built a file's tree; None where it built none, or does not say.

    Raises ``MalformedError`` for a descriptor that cannot be one.
    """
    if not isinstance(source, FileSource):
        return None
    data = source.verity_metadata(DESCRIPTOR_TYPE, _DESCRIPTOR.size)
    return read_descriptor(data) if data else None


def signature_of(source: Source) -> bytes:
    """Return the built-in signature of a file; empty where there is none."""
    if not isinstance(source, FileSource):
        return b""
    return source.verity_metadata(SIGNATURE_TYPE, MAX_SIGNATURE)


def kept_by_kernel(source: FileSource) -> dict[str, bytes]:
    """Return descriptor and signature under the names by which a source recalls them."""
    kinds = ((DESCRIPTOR_TYPE, _DESCRIPTOR.size), (SIGNATURE_TYPE, MAX_SIGNATURE))
    return {f"fs-verity:{kind}": source.verity_metadata(kind, size) for kind, size in kinds}


def read_descriptor(data: bytes) -> Parameters:
    """Return how the tree of a descriptor was built.  Raises ``MalformedError``."""
    if len(data) < _DESCRIPTOR.size:
        raise MalformedError(_WHAT, f"a descriptor of {len(data)} octets", f"{_DESCRIPTOR.size}",
                             _CLAUSE)  # fmt: skip
    version, number, shift, salted, _, _, _, salt = _DESCRIPTOR.unpack_from(data)
    if version != _VERSION or number not in ALGORITHMS or salted > MAX_SALT or shift > 16:
        raise MalformedError(_WHAT, f"version {version}, digest {number}, blocks of 2^{shift}",
                             "a descriptor that is known", _CLAUSE)  # fmt: skip
    found = Parameters(algorithm=ALGORITHMS[number], block=1 << shift, salt=salt[:salted])
    found.check()
    return found
