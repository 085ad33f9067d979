"""Notarization tickets: Apple's word that it examined some code, stapled to it.

Apple publishes no description; the structure is that of tickets in the wild.  All numbers are
little-endian, lengths in octets::

    "s8ch"  u32 version (1)  u32 length of certificates  u32 length of body
    certificates   a DER SEQUENCE of Certificate, the signer's first
    body           "g8tk"  u16 version (2)  u16 size of a hash (20)  u64 count
                   u64 seconds since 1970  then each: u8 type of digest, the hash
    signature      ECDSA with SHA-256 over all before it (DER), zeros up to a multiple of four

Each hash is a code directory's (its first 20 octets); the types of digest are those of code
directories: 1 SHA-1, 2 SHA-256, 3 SHA-256 cut to 20 octets, 4 SHA-384.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from signward.errors import LimitError, MalformedError
from signward.state import Algorithm, ClaimedSignature, SignerId
from signward.wire import der
from signward.wire.certificate import outline

MAGIC = b"s8ch"
MAX_TICKET = 16 * 1024 * 1024
"""Octets of a ticket; one hash takes 21, and the largest applications have some thousand."""
MAX_CERTIFICATES = 8

LABEL = "ticket"
CDHASH_OCTETS = 20

_OUTER = struct.Struct("<4sIII")
_BODY = struct.Struct("<4sHHQQ")
_WHAT = "notarization ticket"
_END_OF_TIME = 253_402_300_799
"""Seconds since 1970 of the last instant a datetime can hold."""


def is_ticket(data: bytes) -> bool:
    """Say whether a file begins as a ticket does."""
    return data.startswith(MAGIC)


def open_ticket(data: bytes) -> ClaimedSignature:
    """Read a ticket: a signature over itself, without slots.  Raises ``BadInputError``."""
    if len(data) > MAX_TICKET:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_TICKET}")
    if len(data) < _OUTER.size:
        raise _malformed(f"{len(data)} octets", f"at least {_OUTER.size}")
    magic, version, certificates_size, body_size = _OUTER.unpack_from(data)
    if magic != MAGIC or version != 1:
        raise _malformed(f"version {version} of {magic!r}", "version 1 of b's8ch'")
    body_at = _OUTER.size + certificates_size
    end = body_at + body_size
    if end > len(data):
        raise _malformed(f"{len(data)} octets", f"at least {end}")
    certificates = _certificates(data[_OUTER.size : body_at])
    body = data[body_at:end]
    signer = outline(certificates[0])
    return ClaimedSignature(
        label=LABEL,
        envelope="notarization ticket",
        slots=(),
        bindings=(),
        algorithm=Algorithm(scheme="ecdsa", digest="sha256"),
        to_be_verified=data[:end],
        value=_value(data[end:]),
        claimed_signer=SignerId(issuer=signer.issuer, serial=signer.serial),
        claimed_certificates=certificates,
        claimed_time=_header(body)[1],
        content=body,
        raw=data,
    )


def listed_hashes(body: bytes) -> frozenset[bytes]:
    """Return the code directory hashes in a ticket's body.  Raises ``MalformedError``."""
    count, _ = _header(body)
    width = 1 + CDHASH_OCTETS
    if len(body) != _BODY.size + count * width:
        raise _malformed(f"{len(body)} octets for {count} hashes", "their size")
    starts = range(_BODY.size + 1, len(body), width)
    return frozenset(body[start : start + CDHASH_OCTETS] for start in starts)


def _header(body: bytes) -> tuple[int, datetime]:
    """Return how many hashes a body has, and when it was made."""
    if len(body) < _BODY.size:
        raise _malformed(f"a body of {len(body)} octets", f"at least {_BODY.size}")
    magic, version, size, count, seconds = _BODY.unpack_from(body)
    if (magic, version, size) != (b"g8tk", 2, CDHASH_OCTETS):
        raise _malformed(f"version {version} of {magic!r}", "version 2 of b'g8tk', 20-octet hashes")
    if seconds > _END_OF_TIME:
        raise _malformed(f"the time {seconds}", "an instant before the year 10000")
    return count, datetime.fromtimestamp(seconds, UTC)


def _certificates(data: bytes) -> tuple[bytes, ...]:
    nodes = der.parse(data, _WHAT).fields(_WHAT, 1)
    if len(nodes) > MAX_CERTIFICATES:
        raise LimitError(_WHAT, f"{len(nodes)} certificates", f"at most {MAX_CERTIFICATES}")
    return tuple(node.raw for node in nodes)


def _value(data: bytes) -> bytes:
    """Return the signature's value; zeros up to a multiple of four stand behind it."""
    value = der.parse(data, _WHAT, trailing=True).raw
    rest = data[len(value) :]
    if rest != bytes(-len(value) % 4):
        raise _malformed(f"{len(rest)} octets behind the signature", "zeros up to a multiple of 4")
    return value


def _malformed(found: str, required: str) -> MalformedError:
    return MalformedError(_WHAT, found, required)
