"""OpenPGP keyrings taken apart into one armored key each (RFC 9580 4.2, 6.2)."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from signward.errors import PolicyError

MAX_KEYS = 1024
"""Most keys in a keyring: a distribution's whole set has some dozens."""

_PUBLIC_KEY = 6


def armored_keys(ring: bytes) -> Iterator[bytes]:
    """Yield each primary key with what belongs to it, in armor.  Raises ``PolicyError``."""
    starts = [offset for offset, tag in _packets(ring) if tag == _PUBLIC_KEY]
    if not starts or starts[0] != 0 or len(starts) > MAX_KEYS:
        raise PolicyError("keyring", f"{len(starts)} public keys", f"1 to {MAX_KEYS}, one first")
    for start, end in zip(starts, [*starts[1:], len(ring)], strict=True):
        text = base64.b64encode(ring[start:end]).decode()
        lines = "".join(f"{text[i : i + 64]}\n" for i in range(0, len(text), 64))
        label = "PGP PUBLIC KEY BLOCK-----\n"
        yield f"-----BEGIN {label}\n{lines}-----END {label}".encode()


def _packets(ring: bytes) -> Iterator[tuple[int, int]]:
    """Yield the offset and tag of every packet; lengths are big-endian octets after the tag."""
    offset = 0
    while offset < len(ring):
        first = ring[offset]
        if not first & 0x80:
            raise PolicyError("keyring", f"octet {first:#04x}", "a packet", "RFC 9580 4.2")
        size, body = (_new_length if first & 0x40 else _old_length)(ring, offset)
        yield offset, (first & 0x3F) if first & 0x40 else (first & 0x3F) >> 2
        offset = body + size
    if offset != len(ring):
        raise PolicyError("keyring", "a packet cut short", "whole packets", "RFC 9580 4.2")


def _new_length(ring: bytes, offset: int) -> tuple[int, int]:
    """Return length and offset of the body (RFC 9580 4.2.1); keys have no partial lengths."""
    first = ring[offset + 1] if offset + 1 < len(ring) else 255
    if first < 192:
        return first, offset + 2
    if first < 224:
        second = ring[offset + 2] if offset + 2 < len(ring) else 0
        return ((first - 192) << 8) + second + 192, offset + 3
    if first < 255:
        raise PolicyError("keyring", "a partial length", "whole packets", "RFC 9580 4.2.1.4")
    return int.from_bytes(ring[offset + 2 : offset + 6], "big"), offset + 6


def _old_length(ring: bytes, offset: int) -> tuple[int, int]:
    """Return length and offset of the body (RFC 9580 4.2.2)."""
    octets = 1 << (ring[offset] & 3)
    if octets == 8:
        raise PolicyError("keyring", "an indeterminate length", "whole packets", "RFC 9580 4.2.2")
    body = offset + 1 + octets
    return int.from_bytes(ring[offset + 1 : body], "big"), body
