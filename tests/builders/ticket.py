"""Notarization tickets as ``envelopes/ticket.py`` describes them, by a test signer."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from conformance.authenticode.pki import NOW, Identity

from signward.wire import der


def ticket(hashes: Iterable[bytes], who: Identity, kind: int = 2) -> bytes:
    """Return a ticket for these hashes (20 octets each), signed with a P-256 key."""
    listed = [bytes([kind]) + digest[:20] for digest in hashes]
    seconds = int(NOW.timestamp())
    body = struct.pack("<4sHHQQ", b"g8tk", 2, 20, len(listed), seconds) + b"".join(listed)
    certificates = der.sequence(*(one.certificate for one in who.path))
    signed = struct.pack("<4sIII", b"s8ch", 1, len(certificates), len(body)) + certificates + body
    value = who.key.sign(signed, "sha256")
    return signed + value + bytes(-len(value) % 4)
