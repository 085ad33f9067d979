"""Merkle tree hashes (RFC 6962 2.1, RFC 9162 2.1), grown a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

from signward.frozen import Frozen
from signward.wire.merkle import EMPTY_ROOT, HASH_OCTETS, leaf_hash, node_hash

__all__ = ["EMPTY_ROOT", "HASH_OCTETS", "Frontier", "leaf_hash", "node_hash"]


class Frontier(Frozen, frozen=True, kw_only=True):
    """A tree's right edge: all it takes to go on growing it.

    ``hashes`` are the roots of the perfect subtrees that ``size``, written as a sum of
    powers of two, is made of; the largest stands first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def extended(self, leaves: Sequence[bytes]) -> Frontier:
        """Return the frontier after these leaf hashes."""
        hashes, size = list(self.hashes), self.size
        for leaf in leaves:
            node, rest = leaf, size
            while rest & 1:
                node = node_hash(hashes.pop(), node)
                rest >>= 1
            hashes.append(node)
            size += 1
        return Frontier(size=size, hashes=tuple(hashes))

    @property
    def root(self) -> bytes:
        """The tree's root hash."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def to_bytes(self) -> bytes:
        """Return the hashes in a row."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Return the frontier of a tree of ``size`` entries whose hashes stand in a row.

        Raises ``ValueError`` where there are not as many as the size has bits set.
        """
        if size < 0 or len(data) != HASH_OCTETS * size.bit_count():
            raise ValueError(f"{len(data)} octets of hashes for a tree of {size} entries")
        hashes = (data[i : i + HASH_OCTETS] for i in range(0, len(data), HASH_OCTETS))
        return cls(size=size, hashes=tuple(hashes))
