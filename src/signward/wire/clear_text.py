"""How clear-signed text begins (RFC 9580 7): for all who only have to recognise it."""

from __future__ import annotations

BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
"""The first line of a block."""

CONTROL = (".dsc", ".changes", ".buildinfo")
"""Endings of Debian's control data that lists files beside it."""

RELEASE = "InRelease"
"""How names of the signed lists of Debian's archives end."""


def is_clear(head: bytes) -> bool:
    """Say whether a file that begins so begins with a clear-signed block."""
    return head.startswith(BEGIN)


def is_control(name: str, head: bytes) -> bool:
    """Say whether a file is Debian's control data, signed or not, by its name and first octets."""
    begun = head.startswith(b"Format: ") or b"\n" + BEGIN in head
    if name.endswith(CONTROL):
        return begun
    return name.endswith(RELEASE) and (begun or head.startswith((b"Origin: ", b"Label: ")))
