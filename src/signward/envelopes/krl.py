"""SSH's lists of withdrawn keys (OpenSSH's PROTOCOL.krl), and such lists as text.

Integers are big-endian; a section is an octet for its kind and a string.  A list as text has one
public key a line.  Keys are told by the SHA-256 of their octets, or where a list has no more, by
the SHA-1.
"""

from __future__ import annotations

import hashlib

from signward.envelopes.allowed_signers import read_list
from signward.envelopes.sshsig import Strings
from signward.errors import LimitError, MalformedError

MAX_KEYS = 1_000_000
"""Keys that one list withdraws."""

SOME_CERTIFICATES = b"certificates"
"""What stands for certificates that a list withdraws otherwise than by their keys."""

_MAGIC = b"SSHKRL\n\0"
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256 = 1, 2, 3, 4, 5
_WHAT = "key revocation list"
_CLAUSE = "PROTOCOL.krl"


def revoked_keys(data: bytes) -> frozenset[bytes]:
    """Return the digests of the keys that a list withdraws.

    Where it speaks of certificates by their numbers or names, `SOME_CERTIFICATES` is among them:
    which those are is not looked at.  Raises ``MalformedError`` and ``LimitError``.
    """
    if not data.startswith(_MAGIC):
        return frozenset(_sha256(_plain(entry.principals, entry.blob))
                         for _, entry in read_list(data))  # fmt: skip
    fields = Strings(data)
    fields.octets(len(_MAGIC))
    if fields.number() != 1:
        raise MalformedError(_WHAT, "another version", "1", _CLAUSE)
    fields.octets(3 * 8)  # its number, when it was made, its flags
    fields.string()
    fields.string()
    found = set[bytes]()
    while fields.left:
        found |= _section(fields.octets(1)[0], fields.string())
        if len(found) > MAX_KEYS:
            raise LimitError(_WHAT, f"more than {MAX_KEYS} keys", "fewer")
    return frozenset(found)


def _section(kind: int, data: bytes) -> set[bytes]:
    """Return the digests in one section.  A kind that is unknown may withdraw anything: refused."""
    fields, found = Strings(data), set[bytes]()
    if kind in (_CERTIFICATES, _SIGNATURE):
        return {SOME_CERTIFICATES} if kind == _CERTIFICATES else found
    if kind not in (_KEYS, _SHA1, _SHA256):
        raise MalformedError(_WHAT, f"section {kind}", "1 to 5", _CLAUSE)
    while fields.left:
        one = fields.string()
        if kind != _KEYS and len(one) != (20 if kind == _SHA1 else 32):
            raise MalformedError(_WHAT, f"a digest of {len(one)} octets", "20 or 32", _CLAUSE)
        found.add(_sha256(one) if kind == _KEYS else one)
    return found


def _plain(principals: str, blob: bytes) -> bytes:
    """Return a line's key.  Raises ``MalformedError`` for one that names a principal."""
    if principals:
        raise MalformedError(_WHAT, "a line that begins with a principal", "public keys alone")
    return blob


def _sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()
