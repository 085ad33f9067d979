"""The notarization ticket that Apple's stapler puts behind a xar archive.

Source: apple-platform-rs, which learned it from stapled packages; nothing is published.  Behind
the archive stand a record of kind *terminator*, the ticket, and a record of kind *ticket*; readers
begin at the file's end.  Records are 16 octets, little-endian: ``t8lr``, version (1), kind,
length of what stands in front, zeros.
"""

from __future__ import annotations

import struct

from signward.state import Source

_RECORD = struct.Struct("<4sHHII")
_MAGIC, _VERSION = b"t8lr", 1
_TERMINATOR, _TICKET = 1, 2

MAX_TICKET = 16 * 1024 * 1024
"""Octets of a ticket; real ones have some 3 to 100 KiB."""


def read_trailer(source: Source, start: int) -> bytes:
    """Return the ticket if it and its records fill a file from ``start`` on; else nothing."""
    room = source.length - start - 2 * _RECORD.size
    if not 0 < room <= MAX_TICKET:
        return b""
    first = _RECORD.unpack(source.read(start, _RECORD.size))
    last = _RECORD.unpack(source.read(source.length - _RECORD.size, _RECORD.size))
    if first != (_MAGIC, _VERSION, _TERMINATOR, 0, 0) or last != (
        _MAGIC, _VERSION, _TICKET, room, 0,
    ):  # fmt: skip
        return b""
    return source.read(start + _RECORD.size, room)


def write_trailer(ticket: bytes) -> bytes:
    """Return what stapling a ticket puts behind an archive."""
    terminator = _RECORD.pack(_MAGIC, _VERSION, _TERMINATOR, 0, 0)
    return terminator + ticket + _RECORD.pack(_MAGIC, _VERSION, _TICKET, len(ticket), 0)
