"""Superblobs: the container of Apple's code signatures, read and written.

Source: Apple's published ``osfmk/kern/cs_blobs.h`` (xnu) and ``libsecurity_utilities``.  Every
number is a big-endian 32-bit one.  A blob is a magic, its length with these eight octets, and
content; a superblob's content is a count, as many pairs of slot type and offset (from the
superblob's start), and the blobs themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from signward.errors import AmbiguousError, LimitError, MalformedError

EMBEDDED_SIGNATURE = 0xFADE0CC0
DETACHED_SIGNATURE = 0xFADE0CC1
REQUIREMENT_SET = 0xFADE0C01
REQUIREMENT = 0xFADE0C00
CODE_DIRECTORY = 0xFADE0C02
BLOB_WRAPPER = 0xFADE0B01
ENTITLEMENTS = 0xFADE7171
DER_ENTITLEMENTS = 0xFADE7172
LAUNCH_CONSTRAINT = 0xFADE8181

DIRECTORY_SLOT = 0
INFO_SLOT = 1
REQUIREMENTS_SLOT = 2
RESOURCES_SLOT = 3
APPLICATION_SLOT = 4
ENTITLEMENTS_SLOT = 5
REP_SPECIFIC_SLOT = 6
DER_ENTITLEMENTS_SLOT = 7
LAUNCH_SELF_SLOT = 8
LAUNCH_PARENT_SLOT = 9
LAUNCH_RESPONSIBLE_SLOT = 10
LIBRARY_SLOT = 11
ALTERNATE_SLOTS = range(0x1000, 0x1005)
"""Further code directories, one for each kind of digest."""

CMS_SLOT = 0x10000
IDENTIFICATION_SLOT = 0x10001
TICKET_SLOT = 0x10002

HEADER = 8
"""Octets of a blob's magic and length."""

MAX_OCTETS = 64 * 1024 * 1024
"""Largest superblob: two digests of each page of 4 KiB in the largest slice there can be, 4 GiB."""

MAX_BLOBS = 64
"""Most blobs: the types that are defined are nineteen."""

_INDEX = struct.Struct(">II")
_HEADER_AND_COUNT = HEADER + 4
_CLAUSE = "cs_blobs.h, CS_SuperBlob"


def blob_length(data: bytes, what: str, *, magic: int = 0) -> int:
    """Return the length that the blob at the start of ``data`` claims.

    Raises ``MalformedError`` where there is no whole blob, or none with this ``magic``.
    """
    if len(data) < HEADER:
        raise MalformedError(what, f"{len(data)} octets", "a blob's 8 at least", _CLAUSE)
    found, length = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:HEADER], "big")
    if magic and found != magic:
        raise MalformedError(what, f"magic {found:#x}", f"{magic:#x}", _CLAUSE)
    if not HEADER <= length <= len(data):
        required = f"{HEADER} to {len(data)} octets"
        raise MalformedError(what, f"a blob of {length} octets", required, _CLAUSE)
    return length


def content_of(blob: bytes, what: str, *, magic: int = 0) -> bytes:
    """Return what a blob holds behind its header; it must fill ``blob``, as `blob_length`."""
    if (length := blob_length(blob, what, magic=magic)) != len(blob):
        raise MalformedError(what, f"{len(blob) - length} octets behind it", "none", _CLAUSE)
    return blob[HEADER:]


def make_blob(magic: int, content: bytes) -> bytes:
    """Return a blob with its header."""
    return _INDEX.pack(magic, HEADER + len(content)) + content


def read_superblob(
    data: bytes, what: str, *, magic: int = EMBEDDED_SIGNATURE
) -> Mapping[int, bytes]:
    """Return each blob with its header, by slot type, in the order of the index.

    Octets that belong to no blob, between two of them and behind the last, must be zero:
    nothing would cover them.  Raises ``MalformedError``, ``LimitError``, and
    ``AmbiguousError`` for a slot type that stands twice and for blobs that share octets.
    """
    length = blob_length(data, what, magic=magic)
    if length > MAX_OCTETS:
        raise LimitError(what, f"{length} octets", f"at most {MAX_OCTETS}", _CLAUSE)
    index = _read_index(data, length, what)
    blobs: dict[int, bytes] = {}
    spans: list[tuple[int, int]] = []
    for kind, offset in index:
        if kind in blobs:
            raise AmbiguousError(what, f"two blobs of type {kind:#x}", "one", _CLAUSE)
        end = offset + _INDEX.unpack_from(data, offset)[1]
        if not offset + HEADER <= end <= length:
            found = f"blob {kind:#x} of {end - offset} octets"
            raise MalformedError(what, found, "one inside it", _CLAUSE, offset=offset)
        blobs[kind] = data[offset:end]
        spans.append((offset, end))
    _check_gaps(data, _HEADER_AND_COUNT + _INDEX.size * len(index), sorted(spans), what)
    return blobs


def _read_index(data: bytes, length: int, what: str) -> list[tuple[int, int]]:
    """Return pairs of slot type and offset; each offset lies behind the index and inside."""
    if length < _HEADER_AND_COUNT:
        raise MalformedError(what, f"{length} octets", "a count of blobs", _CLAUSE)
    count = int.from_bytes(data[HEADER:_HEADER_AND_COUNT], "big")
    if count > MAX_BLOBS:
        raise LimitError(what, f"{count} blobs", f"at most {MAX_BLOBS}", _CLAUSE)
    end = _HEADER_AND_COUNT + _INDEX.size * count
    if end > length:
        raise MalformedError(what, f"an index of {count} blobs", "one inside it", _CLAUSE)
    index = list(_INDEX.iter_unpack(data[_HEADER_AND_COUNT:end]))
    for kind, offset in index:
        if not end <= offset <= length - HEADER:
            raise MalformedError(
                what, f"blob {kind:#x} at {offset}", f"one at {end} to {length - HEADER}",
                _CLAUSE, offset=offset,
            )  # fmt: skip
    return index


def _check_gaps(data: bytes, start: int, spans: list[tuple[int, int]], what: str) -> None:
    """Refuse blobs that overlap, and octets other than zero that are in none."""
    for begin, end in [*spans, (len(data), len(data))]:
        if begin < start:
            raise AmbiguousError(what, "blobs that share octets", "none", _CLAUSE, offset=begin)
        if any(data[start:begin]):
            raise MalformedError(
                what, f"{begin - start} octets of no blob", "zeros", _CLAUSE, offset=start
            )
        start = end


def write_superblob(blobs: Mapping[int, bytes], *, magic: int = EMBEDDED_SIGNATURE) -> bytes:
    """Return a superblob of these blobs (each with its header), one behind the other."""
    start = _HEADER_AND_COUNT + _INDEX.size * len(blobs)
    index, offset = b"", start
    for kind, blob in blobs.items():
        index += _INDEX.pack(kind, offset)
        offset += len(blob)
    return make_blob(magic, len(blobs).to_bytes(4, "big") + index + b"".join(blobs.values()))
