"""fs-verity: the digest of a file as the kernel computes it, and what is signed of it.

Source: Documentation/filesystems/fsverity.rst of Linux ("Merkle tree", "fs-verity descriptor",
"Built-in signature verification").  Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct

BLOCK = 4096
"""Octets of a block of data and of the tree: what every kernel with fs-verity takes."""

_SHA256 = 1
"""FS_VERITY_HASH_ALG_SHA256."""

_DESCRIPTOR = struct.Struct("<BBBBIQ64s32s144x")
_FORMATTED = struct.Struct("<8sHH")


def file_digest(content: bytes) -> bytes:
    """Return the fs-verity digest (SHA-256 of the descriptor) of a file, without salt."""
    root = _root(content) if content else bytes(32)
    descriptor = _DESCRIPTOR.pack(1, _SHA256, 12, 0, 0, len(content), root, bytes(32))
    return hashlib.sha256(descriptor).digest()


def _root(content: bytes) -> bytes:
    level = _hashes(content)
    while len(level) > hashlib.sha256().digest_size:
        level = _hashes(level)
    return level


def _hashes(data: bytes) -> bytes:
    """Return the digests of the blocks, the last filled up with zeros."""
    return b"".join(
        hashlib.sha256(data[at : at + BLOCK].ljust(BLOCK, b"\0")).digest()
        for at in range(0, len(data), BLOCK)
    )


def formatted(digest: bytes) -> bytes:
    """Return the fsverity_formatted_digest of a SHA-256 digest: what a signature is over."""
    return _FORMATTED.pack(b"FSVerity", _SHA256, len(digest)) + digest
