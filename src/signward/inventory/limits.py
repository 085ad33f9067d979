"""How much of a container is looked at: plain values, so that naming them loads no unpacker."""

from __future__ import annotations

from signward.frozen import Frozen

MIB = 1024 * 1024


class Limits(Frozen, frozen=True, kw_only=True):
    """Bounds for one file of the tree and all that lies in it, whatever the depth."""

    depth: int = 4
    """Containers inside containers."""
    members: int = 100_000
    """Members looked at, over all levels."""
    member_size: int = 128 * MIB
    """Bytes of one member held in memory."""
    total_size: int = 4096 * MIB
    """Bytes unpacked, over all levels."""
    ratio: int = 100
    """Bytes unpacked for each byte of the file itself (deflate can reach 1032) ..."""
    ratio_floor: int = 64 * MIB
    """... once this many have been unpacked."""

    def allowance(self, length: int) -> int:
        """Return the bytes that a file of ``length`` bytes may unpack to."""
        return min(self.total_size, max(self.ratio_floor, length * self.ratio))
