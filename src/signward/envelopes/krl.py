"""SSH's lists of withdrawn keys (OpenSSH's PROTOCOL.krl), and such lists as text.

Integers are big-endian; a section is an octet for its kind and a string, a signature's two.  Those
are not checked: who gives a list vouches for it.  A list as text has one public key a line.  Keys
are told by the SHA-256 of their octets, or where a list has no more, by the SHA-1; certificates by
an authority and by number or name.
"""

from __future__ import annotations

import hashlib

from signward.envelopes.allowed_signers import read_list
from signward.envelopes.sshsig import Strings, read_key
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_KEYS = 1_000_000
"""Keys that one list withdraws."""

_MAGIC = b"SSHKRL\n\0"
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256 = 1, 2, 3, 4, 5
_WHAT = "key revocation list"
_CLAUSE = "PROTOCOL.krl"
_NUMBERS, _RANGE, _BITS, _NAMES = 0x20, 0x21, 0x22, 0x23


class Certified(Frozen, frozen=True, kw_only=True):
    """Certificates by one authority (its key's octets, or empty: by any) that are withdrawn.

    ``ranges`` are numbers, first and last; ``bits`` a number and an integer, whose bits say of it
    and those behind it whether they are meant; ``names`` are what certificates call themselves.
    """

    authority: bytes
    ranges: tuple[tuple[int, int], ...]
    bits: tuple[tuple[int, int], ...]
    names: frozenset[bytes]

    def has(self, authority: bytes, number: int, name: bytes) -> bool:
        """Say whether a certificate is meant."""
        if self.authority not in (b"", authority):
            return False
        # Number 0 is what certificates have that nobody numbered: OpenSSH finds none by it.
        numbered = number > 0 and (
            any(first <= number <= last for first, last in self.ranges)
            or any(number >= at and bits >> (number - at) & 1 for at, bits in self.bits
                   if number - at < bits.bit_length())
        )  # fmt: skip
        return numbered or name in self.names


class Withdrawn(Frozen, frozen=True, kw_only=True):
    """What lists withdraw: digests of keys, and certificates."""

    digests: frozenset[bytes] = frozenset()
    certificates: tuple[Certified, ...] = ()


def read_revocations(data: bytes) -> Withdrawn:
    """Return what a list withdraws.  Raises ``MalformedError`` and ``LimitError``."""
    if not data.startswith(_MAGIC):
        return Withdrawn(digests=frozenset(_sha256(_plain(entry.principals, entry.blob))
                                           for _, entry in read_list(data)))  # fmt: skip
    fields = Strings(data)
    fields.octets(len(_MAGIC))
    if fields.number() != 1:
        raise MalformedError(_WHAT, "another version", "1", _CLAUSE)
    fields.octets(3 * 8)  # its number, when it was made, its flags
    fields.string()
    fields.string()
    digests, certificates = set[bytes](), list[Certified]()
    while fields.left:
        kind, section = fields.octets(1)[0], fields.string()
        if kind == _SIGNATURE:
            fields.string()  # of such a section's two strings the key was the first
        elif kind == _CERTIFICATES:
            certificates.append(_certified(section))
        else:
            digests |= _section(kind, section)
        if len(digests) > MAX_KEYS:
            raise LimitError(_WHAT, f"more than {MAX_KEYS} keys", "fewer")
    return Withdrawn(digests=frozenset(digests), certificates=tuple(certificates))


def _section(kind: int, data: bytes) -> set[bytes]:
    """Return the digests in one section.  A kind that is unknown may withdraw anything: refused."""
    fields, found = Strings(data), set[bytes]()
    if kind not in (_KEYS, _SHA1, _SHA256):
        raise MalformedError(_WHAT, f"section {kind}", "1 to 5", _CLAUSE)
    while fields.left:
        one = fields.string()
        if kind != _KEYS and len(one) != (20 if kind == _SHA1 else 32):
            raise MalformedError(_WHAT, f"a digest of {len(one)} octets", "20 or 32", _CLAUSE)
        found.add(_sha256(one) if kind == _KEYS else one)
    return found


def _certified(data: bytes) -> Certified:
    """Return the certificates of one section.  What is unknown may withdraw any: refused."""
    fields = Strings(data)
    authority = fields.string()
    fields.string()  # reserved
    ranges, bits, names = list[tuple[int, int]](), list[tuple[int, int]](), set[bytes]()
    while fields.left:
        kind, inner = fields.octets(1)[0], Strings(fields.string())
        if kind == _NUMBERS:
            while inner.left:
                number = _long(inner)
                ranges.append((number, number))
        elif kind == _RANGE:
            ranges.append((_long(inner), _long(inner)))
        elif kind == _BITS:
            bits.append((_long(inner), int.from_bytes(inner.string(), "big")))
        elif kind == _NAMES:
            while inner.left:
                names.add(inner.string())
        else:
            raise MalformedError(
                _WHAT, f"certificates told by {kind:#04x}", "0x20 to 0x23", _CLAUSE
            )
        inner.end()
    return Certified(
        authority=authority, ranges=tuple(ranges), bits=tuple(bits), names=frozenset(names)
    )


def _long(fields: Strings) -> int:
    return int.from_bytes(fields.octets(8), "big")


def _plain(principals: str, blob: bytes) -> bytes:
    """Return a line's key, of a certificate the key in it (sshkey_in_file in OpenSSH's authfile.c).

    Raises ``MalformedError`` for a line that names a principal.
    """
    if principals:
        raise MalformedError(_WHAT, "a line that begins with a principal", "public keys alone")
    return read_key(blob).alone


def _sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()
