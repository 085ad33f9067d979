"""Code directories: the table of digests that an Apple code signature signs.

Source: Apple's published ``osfmk/kern/cs_blobs.h`` (xnu), CS_CodeDirectory.  Every number is
big-endian.  The header grew with the versions (`SCATTER` to `LINKAGE`); offsets count from the
blob's start.  The digest of special slot N stands N digests before ``hashOffset``, that of code
page N as many behind it; a special digest of zeros says that there is no such part.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import msgspec

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.superblob import CODE_DIRECTORY, HEADER, content_of, make_blob

EARLIEST = 0x20001
SCATTER = 0x20100
TEAM = 0x20200
CODE_LIMIT_64 = 0x20300
EXEC_SEGMENT = 0x20400
RUNTIME = 0x20500
LINKAGE = 0x20600
COMPATIBLE_UNTIL = 0x2F000
"""Versions from here on mean something that older readers must not guess at."""

HOST = 0x1
AD_HOC = 0x2
HARD = 0x100
KILL = 0x200
EXPIRES = 0x400
RESTRICT = 0x800
ENFORCEMENT = 0x1000
LIBRARY_VALIDATION = 0x2000
HARDENED_RUNTIME = 0x10000
LINKER_SIGNED = 0x20000
FLAGS: Mapping[int, str] = {
    HOST: "host", AD_HOC: "adhoc", HARD: "hard", KILL: "kill", EXPIRES: "expires",
    RESTRICT: "restrict", ENFORCEMENT: "enforcement", LIBRARY_VALIDATION: "library-validation",
    HARDENED_RUNTIME: "runtime", LINKER_SIGNED: "linker-signed",
}  # fmt: skip
"""What a signature asks of the system, as codesign prints it."""

DIGESTS: Mapping[int, tuple[str, int]] = {
    1: ("sha1", 20),
    2: ("sha256", 32),
    3: ("sha256", 20),
    4: ("sha384", 48),
    5: ("sha512", 64),
}
"""The kinds of digests: hashlib's name, and how many of its octets are kept."""

PREFERENCE = (5, 4, 2, 3, 1)
"""The kinds of digests from the one that systems look for first to the last."""

CDHASH_OCTETS = 20
"""What is kept of a code directory's digest to name the code by."""

MAX_PAGES = 1 << 21
"""Most pages: twice those of the largest slice there can be, 4 GiB in pages of 4 KiB."""

MAX_SPECIAL = 64
"""Most special slots; eleven are defined."""

MAX_PAGE_SHIFT = 24
MAX_TEXT = 4096
"""Longest identifier or team identifier, octets; real ones have some 50."""

_FIXED = struct.Struct(">9I4BI")
_ALL = struct.Struct(">9I4BI I I IQ QQQ II BBHII")
_PARTS: tuple[tuple[int, int], ...] = (
    (LINKAGE, 108), (RUNTIME, 96), (EXEC_SEGMENT, 88), (CODE_LIMIT_64, 64), (TEAM, 52),
    (SCATTER, 48), (EARLIEST, 44),
)  # fmt: skip
"""From which version on the header has how many octets, with the eight of the blob."""

_WHAT = "code directory"
_CLAUSE = "cs_blobs.h, CS_CodeDirectory"


class ExecSegment(Frozen, frozen=True, kw_only=True):
    """Where the executable segment lies in the file, octets, and what it may (CS_EXECSEG_*)."""

    base: int = 0
    limit: int = 0
    flags: int = 0


class CodeDirectory(Frozen, frozen=True, kw_only=True):
    """One code directory.

    ``kind`` numbers the kind of digest, ``digest`` is its hashlib name and ``digest_size`` what
    is kept of it (octets).  ``page_size`` in octets; 0: all the content is one page.
    ``special`` holds the digests of special slots by number, those of zeros left out, and
    ``special_count`` how many there is room for; ``code`` those of pages in order.  ``runtime``
    is the version of the hardened runtime, X.Y.Z as 0x00XXYYZZ.
    """

    raw: bytes
    version: int
    flags: int
    kind: int
    digest: str
    digest_size: int
    code_limit: int
    page_size: int
    identifier: str
    code: tuple[bytes, ...]
    special: Mapping[int, bytes] = msgspec.field(default_factory=dict)
    special_count: int = 0
    team: str = ""
    platform: int = 0
    runtime: int = 0
    exec_segment: ExecSegment = ExecSegment()

    @property
    def cdhash(self) -> bytes:
        """The first 20 octets of the directory's own digest: what systems name the code by."""
        return self.full_digest[:CDHASH_OCTETS]

    @property
    def full_digest(self) -> bytes:
        """The directory's digest, by the kind of digest that it holds itself, all octets."""
        return hashlib.new(self.digest, self.raw, usedforsecurity=False).digest()

    @property
    def ad_hoc(self) -> bool:
        """Whether it says of itself that nobody signed it."""
        return bool(self.flags & AD_HOC)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The names of its flags, those of no name as hexadecimal."""
        known = [name for bit, name in FLAGS.items() if self.flags & bit]
        rest = self.flags & ~sum(FLAGS)
        return (*known, f"{rest:#x}") if rest else tuple(known)

    def pages(self) -> list[tuple[int, int]]:
        """Return the start and end of each page, octets of content; the last may be shorter."""
        size = self.page_size or self.code_limit
        return [
            (start, min(start + size, self.code_limit))
            for start in range(0, self.code_limit, max(size, 1))
        ]


class _Header(Frozen, frozen=True, kw_only=True):
    """The numbers of a header; those that its version does not have are zero."""

    version: int
    flags: int
    hash_offset: int
    ident_offset: int
    special_count: int
    code_count: int
    code_limit: int
    hash_size: int
    kind: int
    platform: int
    page_shift: int
    spare: int
    scatter_offset: int
    team_offset: int
    code_limit_64: int
    exec_segment: ExecSegment
    runtime: int
    size: int


def read_code_directory(blob: bytes) -> CodeDirectory:
    """Return the code directory in a blob (with its header).

    Raises ``MalformedError`` and ``LimitError``: also for a count of pages that is not what the
    code limit asks for, for scattered pages, which nothing has, and for digests that overlap
    the header or leave the blob.
    """
    content_of(blob, _WHAT, magic=CODE_DIRECTORY)
    header = _read_header(blob)
    digest, size = DIGESTS[header.kind]
    page_size = 1 << header.page_shift if header.page_shift else 0
    limit = header.code_limit_64 or header.code_limit
    _check_count(header, page_size, limit)
    first = header.hash_offset - header.special_count * size
    behind = header.hash_offset + header.code_count * size
    if first < header.size or behind > len(blob):
        raise MalformedError(
            _WHAT, f"digests at {first} to {behind}",
            f"behind its {header.size} octets of header, inside its {len(blob)}", _CLAUSE,
        )  # fmt: skip
    special = {
        number: digest_at
        for number in range(1, header.special_count + 1)
        if any(digest_at := _digest(blob, header.hash_offset, -number, size))
    }
    code = tuple(_digest(blob, header.hash_offset, n, size) for n in range(header.code_count))
    return CodeDirectory(
        raw=blob,
        version=header.version,
        flags=header.flags,
        kind=header.kind,
        digest=digest,
        digest_size=size,
        code_limit=limit,
        page_size=page_size,
        identifier=_text(blob, header.ident_offset, header, "identifier"),
        code=code,
        special=special,
        special_count=header.special_count,
        team=_text(blob, header.team_offset, header, "team") if header.team_offset else "",
        platform=header.platform,
        runtime=header.runtime,
        exec_segment=header.exec_segment,
    )


def _digest(blob: bytes, zero: int, number: int, size: int) -> bytes:
    return blob[zero + number * size : zero + (number + 1) * size]


def _read_header(blob: bytes) -> _Header:
    if len(blob) < _FIXED.size:
        raise MalformedError(_WHAT, f"{len(blob)} octets", f"{_FIXED.size} at least", _CLAUSE)
    version = int.from_bytes(blob[8:12], "big")
    if not EARLIEST <= version < COMPATIBLE_UNTIL:
        required = f"{EARLIEST:#x} to below {COMPATIBLE_UNTIL:#x}"
        raise MalformedError(_WHAT, f"version {version:#x}", required, _CLAUSE)
    size = next(octets for since, octets in _PARTS if version >= since)
    if len(blob) < size:
        raise MalformedError(_WHAT, f"{len(blob)} octets", f"{size} at least", _CLAUSE)
    f = _ALL.unpack(blob[:size] + bytes(_ALL.size - size))
    header = _Header(
        version=version, flags=f[3], hash_offset=f[4], ident_offset=f[5], special_count=f[6],
        code_count=f[7], code_limit=f[8], hash_size=f[9], kind=f[10], platform=f[11],
        page_shift=f[12], spare=f[13], scatter_offset=f[14], team_offset=f[15],
        code_limit_64=f[17], exec_segment=ExecSegment(base=f[18], limit=f[19], flags=f[20]),
        runtime=f[21], size=size,
    )  # fmt: skip
    _check_header(header)
    return header


def _check_header(header: _Header) -> None:
    known = DIGESTS.get(header.kind)
    if known is None or header.hash_size != known[1]:
        found = f"digests of kind {header.kind} and {header.hash_size} octets"
        raise MalformedError(_WHAT, found, "a kind with the octets it has", _CLAUSE)
    if header.scatter_offset:
        found = f"scattered pages at {header.scatter_offset}"
        raise MalformedError(_WHAT, found, "none", _CLAUSE)
    if header.special_count > MAX_SPECIAL or header.code_count > MAX_PAGES:
        raise LimitError(
            _WHAT, f"{header.special_count} special slots and {header.code_count} pages",
            f"at most {MAX_SPECIAL} and {MAX_PAGES}", _CLAUSE,
        )  # fmt: skip
    if header.page_shift > MAX_PAGE_SHIFT:
        raise LimitError(
            _WHAT, f"pages of 2^{header.page_shift} octets", f"at most 2^{MAX_PAGE_SHIFT}", _CLAUSE
        )


def _check_count(header: _Header, page_size: int, limit: int) -> None:
    """Hold the count of pages against the code limit: fewer would leave code uncovered."""
    wanted = -(-limit // page_size) if page_size else 1
    if header.code_count != wanted:
        raise MalformedError(
            _WHAT, f"{header.code_count} pages", f"{wanted} for a code limit of {limit}", _CLAUSE
        )


def _text(blob: bytes, offset: int, header: _Header, what: str) -> str:
    """Return the text (UTF-8) at ``offset``, which ends with a zero octet."""
    end = blob.find(b"\0", offset, offset + MAX_TEXT + 1)
    if offset < header.size or end < 0:
        raise MalformedError(
            _WHAT, f"its {what} at {offset}", "text behind the header that ends inside", _CLAUSE
        )
    try:
        return blob[offset:end].decode()
    except UnicodeDecodeError:
        raise MalformedError(_WHAT, f"{what} that is no UTF-8", "text", _CLAUSE) from None


def write_code_directory(
    *,
    kind: int,
    identifier: str,
    code: tuple[bytes, ...],
    code_limit: int,
    page_size: int,
    special: Mapping[int, bytes],
    flags: int = 0,
    team: str = "",
    platform: int = 0,
    runtime: int = 0,
    exec_segment: ExecSegment | None = None,
    version: int = 0,
) -> bytes:
    """Return the blob of a code directory whose digests were computed.

    Special slots up to the highest number are there, those without a digest as zeros.
    ``version`` 0 writes the lowest that has room for what is asked, 0x20400 at least, as
    Apple's tools do.  ``page_size`` is a power of two in octets, or 0.
    """
    least = RUNTIME if runtime else EXEC_SEGMENT
    version = version or least
    size = next(octets for since, octets in _PARTS if version >= since)
    digest_size = DIGESTS[kind][1]
    texts = identifier.encode() + b"\0" + (team.encode() + b"\0" if team else b"")
    team_offset = size + len(identifier.encode()) + 1 if team else 0
    count = max(special, default=0)
    zero = size + len(texts) + count * digest_size
    segment = exec_segment or ExecSegment()
    small = code_limit < 1 << 32
    header = _ALL.pack(
        0, 0, version, flags, zero, size, count, len(code), code_limit if small else 0xFFFFFFFF,
        digest_size, kind, platform, max(page_size, 1).bit_length() - 1, 0,
        0, team_offset, 0, 0 if small else code_limit,
        segment.base, segment.limit, segment.flags, runtime, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    slots = [special.get(n, bytes(digest_size)) for n in range(count, 0, -1)]
    return make_blob(CODE_DIRECTORY, b"".join((header[HEADER:size], texts, *slots, *code)))


def slot_digest(kind: int, data: bytes) -> bytes:
    """Return the digest of ``data`` by a kind of digest, as a code directory keeps it."""
    name, size = DIGESTS[kind]
    return hashlib.new(name, data, usedforsecurity=False).digest()[:size]
