"""RPM packages to sign, of both format versions and with payloads packed in several ways."""

from __future__ import annotations

import base64
import struct

from conformance.authenticode import rpm

from signward.envelopes.openpgp_packets import packets

BYTE_EXACT = True
HELD = True
UNTIMED = True

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
        elif tag in (267, 268):
            found |= {store + start + at for at in unsigned(data[store + start :][:many])}
        elif tag == 278:
            text = data[store + start : data.index(b"\0", store + start)]
            for at in unsigned(base64.b64decode(text)):
                first = store + start + at // 3 * 4
                found |= set(range(first, first + 4))
    return frozenset(found)


def unsigned(packet: bytes) -> set[int]:
    """Return what a signature packet of version 4 has unsigned: some subpackets, two octets."""
    (one,) = packets(packet)
    start = len(packet) - len(one.body)
    at = 6 + int.from_bytes(one.body[4:6], "big")
    end = at + 2 + int.from_bytes(one.body[at : at + 2], "big")
    return set(range(start + at + 2, start + end + 2))
