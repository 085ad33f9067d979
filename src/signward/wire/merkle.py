"""Merkle tree hashes and proofs of inclusion (RFC 6962 2.1, RFC 9162 2.1): nothing is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_OCTETS = 32

MAX_PATH = 64
"""Hashes in a proof of inclusion: the height of the largest tree is 63."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without entries (RFC 6962 2.1)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry: SHA-256 of 0x00 and the entry."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 of 0x01 and its children's hashes."""
    return sha256(b"\1" + left + right).digest()


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a proof leads to from a leaf's hash (RFC 9162 2.1.3.2).

    None for a proof that no tree of ``size`` entries can have for the entry at ``index``.
    """
    if not 0 <= index < size or len(path) != _path_length(index, size):
        return None
    fn, sn, root = index, size - 1, leaf
    for step in path:
        if not sn:
            return None
        if fn & 1 or fn == sn:
            root = node_hash(step, root)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, step)
        fn, sn = fn >> 1, sn >> 1
    return None if sn else root


def _path_length(index: int, size: int) -> int:
    """Return how many hashes prove the entry: those below the right edge, and left of it above."""
    inner = (index ^ (size - 1)).bit_length()
    return inner + (index >> inner).bit_count()
