"""Text as OpenPGP signatures of type 0x01 hash it: every line ended by CR LF (RFC 9580 5.2.1.2).

Whether a line ended so, or by LF alone, such a signature does not say: files that differ in their
line endings have one signature.  Only of text that is in that form already is every octet signed.
"""

from __future__ import annotations

from signward.state import Hasher


class TextHasher:
    """Hands octets on to a hasher with every LF made CR LF; a CR by itself stays."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher, self._held = hasher, b""

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next octets; a CR at their end waits for what follows it."""
        octets = self._held + bytes(data)
        self._held = b"\r" if octets.endswith(b"\r") else b""
        whole = octets[: len(octets) - len(self._held)]
        text = whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self._hasher.update(memoryview(text))

    def finish(self) -> None:
        """Hand on what waits."""
        self._hasher.update(memoryview(self._held))
        self._held = b""


class LineEnds:
    """Looks at octets as a hasher is fed them: ``signed`` says that each of them is signed."""

    def __init__(self) -> None:
        self._lone, self._last = False, b""

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next octets."""
        octets = self._last + bytes(data)
        self._last = octets[-1:] if octets.endswith(b"\r") else b""
        pairs = octets.count(b"\r\n")
        alone = octets.count(b"\n") != pairs or octets.count(b"\r") - len(self._last) != pairs
        self._lone = self._lone or alone

    @property
    def signed(self) -> bool:
        """Whether every line ends by CR LF, and neither stands anywhere else."""
        return not (self._lone or self._last)
