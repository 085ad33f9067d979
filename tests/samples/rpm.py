"""RPM packages to sign, of both format versions and with payloads packed in several ways."""

from __future__ import annotations

import struct

from conformance.authenticode import rpm

BYTE_EXACT = True

SAMPLES = {
    "tool-1.0-1.noarch.rpm": rpm.package,
    "tight-1.0-1.noarch.rpm": lambda: rpm.package(kind="xz", reserved=0),
    "six-1.0-1.noarch.rpm": lambda: rpm.package(kind="", version=6),
}

UNREAD = (1007, 271, 274, 275, 276, 277)
"""Tags that nothing covers and nobody goes by."""


def exempt(data: bytes) -> frozenset[int]:
    """Return the lead but for what rpm asks of it, and what nobody reads of the rest."""
    found = set(range(96)) - {*range(6), 78, 79}
    count, _ = struct.unpack_from(">II", data, 104)
    store = 112 + 16 * count
    for at in range(112, store, 16):
        tag, kind, start, many = struct.unpack_from(">iIiI", data, at)
        if tag in UNREAD:
            width = {4: 4, 5: 8}.get(kind, 1)
            found |= set(range(store + start, store + start + width * many))
    return frozenset(found)
