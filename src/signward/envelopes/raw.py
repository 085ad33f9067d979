"""Bare signatures: a value in a file of its own, and nothing that says whose it is.

The file holds the value's octets, or Base64 of them.  The key is one that the caller names, a
SubjectPublicKeyInfo (RFC 5280 4.1.2.7) in PEM (RFC 7468 13) or DER.
"""

from __future__ import annotations

import hashlib

from signward.state import HeldKey

KIND = "raw"
"""What such keys and signatures are called."""


def named_key(spki: bytes) -> HeldKey:
    """Return a public key (DER) that is held by nothing: its identifier is its own SHA-256."""
    return HeldKey(kind=KIND, key_id=hashlib.sha256(spki).digest(), spki=spki, holder=spki)
