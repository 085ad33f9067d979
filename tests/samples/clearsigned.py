"""Texts to clear-sign: Debian's control data with a file that it lists, and an archive's list."""

from __future__ import annotations

import base64
import hashlib

from signward.envelopes.openpgp_clear import read_clear
from signward.envelopes.openpgp_packets import packets

BYTE_EXACT = True
HELD = True
UNTIMED = True

_TARBALL = b"not really a tarball"
_NAME = "hello_1.0.tar.xz"

COMPANIONS = {"hello_1.0.dsc": {_NAME: _TARBALL}}


def described() -> bytes:
    """Return a .dsc."""
    digest = hashlib.sha256(_TARBALL).hexdigest()
    return (
        f"Format: 3.0 (native)\nSource: hello\nVersion: 1.0\nChecksums-Sha256:\n"
        f" {digest} {len(_TARBALL)} {_NAME}\n"
    ).encode()


def release() -> bytes:
    """Return an archive's list, its lines ended as Windows ends them."""
    return b"Origin: Test\r\nSuite: stable\r\nSHA256:\r\n 00 0 main/Packages\r\n"


def exempt(data: bytes) -> frozenset[int]:
    """Return the groups of Base64 that hold what a signature has unsigned, and line endings."""
    clear = read_clear(data)
    start = data.index(clear.ending * 2, clear.end) + 2 * len(clear.ending)
    places = [at for at in range(start, len(data)) if data[at : at + 1] not in b"\r\n"]
    (one,) = packets(clear.signature)
    head = len(clear.signature) - len(one.body)
    at = 6 + int.from_bytes(one.body[4:6], "big")
    end = at + 2 + int.from_bytes(one.body[at : at + 2], "big") + 2
    text = base64.b64encode(clear.signature)
    groups = range((head + at) // 3 * 4, min(-(-(head + end) // 3) * 4, len(text)))
    return frozenset(places[group] for group in groups)


SAMPLES = {"hello_1.0.dsc": described, "InRelease": release}
