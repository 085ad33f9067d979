"""MSIX packages as ZIP archives: which member is what, and which bytes a signature covers.

Sources: ISO/IEC 29500-2 (OPC), [MS-APPX]'s vocabulary as Microsoft's published packaging
SDK reads it, and the two digests of the archive as osslsigncode and jsign compute them.

The signature is the last member.  AXPC is the digest of everything in front of it, AXCD of
the central directory and end records as they would be without it: its central header gone,
counts, sizes and offsets set accordingly, the end record's disk numbers zero.  So every
byte is in one of the two, or belongs to the signature's own member.

An archive that two readers could see differently is refused, gaps between members included.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from signward.errors import AmbiguousError, LimitError, MalformedError, UncoveredError
from signward.frozen import Frozen, replace
from signward.state import Region, Source
from signward.wire import der
from signward.wire.patch import PatchSet
from signward.wire.unzip import check_expansion, member_pieces, read_member
from signward.wire.zip import ZipDirectory, ZipMember, place, read_directory, refuse_ambiguous

SIGNATURE = "AppxSignature.p7x"
CONTENT_TYPES = "[Content_Types].xml"
BLOCK_MAP = "AppxBlockMap.xml"
MANIFEST = "AppxManifest.xml"
BUNDLE_MANIFEST = "AppxMetadata/AppxBundleManifest.xml"
CODE_INTEGRITY = "AppxMetadata/CodeIntegrity.cat"

MAX_SIGNATURE = 16 * 1024 * 1024
"""Largest AppxSignature.p7x read; real ones have 10 to 40 KiB."""

MAX_XML = 64 * 1024 * 1024
"""Largest XML part read: a block map of 44 GB of content."""

MAGIC = b"PKCX"
"""What stands in front of the PKCS#7 in AppxSignature.p7x."""

_CLAUSE = "AppxSignature.p7x, the digests of the archive"
_LOCAL_SIZE, _CENTRAL_SIZE, _LOCATOR_SIZE = 30, 46, 20
_STORED, _DEFLATED = 0, 8
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_END = struct.Struct("<4sHHHHIIH")


class Package(Frozen, frozen=True, kw_only=True):
    """An archive read as a package.

    ``members`` are all but the signature by part name (decoded, ``/`` between folders);
    ``content_end`` is where the signature's member begins, or the central directory.
    """

    directory: ZipDirectory
    members: Mapping[str, ZipMember]
    signature: ZipMember | None
    content_end: int

    @property
    def is_bundle(self) -> bool:
        """Whether it is a bundle of packages."""
        return BUNDLE_MANIFEST in self.members

    @property
    def manifest(self) -> str:
        """The name of the manifest that a package of its kind has."""
        return BUNDLE_MANIFEST if self.is_bundle else MANIFEST


def read_package(source: Source) -> Package:
    """Return the archive's members.  Raises ``BadInputError``."""
    directory = read_directory(source)
    refuse_ambiguous(directory)
    members: dict[str, ZipMember] = {}
    seen: set[str] = set()
    for member in directory.members:
        name = part_name(member)
        _check_member(member, name, seen)
        members[name] = member
    if {MANIFEST, BUNDLE_MANIFEST} <= members.keys():
        raise AmbiguousError(
            "archive", f"{MANIFEST} and {BUNDLE_MANIFEST}", "a package or a bundle", _CLAUSE,
            hint="which of the two a reader believes decides whose package it is",
        )  # fmt: skip
    check_expansion(directory.members, source.length)
    signature = members.pop(SIGNATURE, None)
    if signature and signature.name != SIGNATURE:
        required = f"{SIGNATURE} by these very characters: no digest covers its name"
        raise AmbiguousError("archive", f"{signature.name}", required, _CLAUSE)
    end = signature.local if signature else directory.start
    for member in members.values():
        if member.local > end:
            raise AmbiguousError(
                "archive", f"{member.name} behind the signature", "the signature last", _CLAUSE,
                offset=member.local,
            )  # fmt: skip
    return Package(directory=directory, members=members, signature=signature, content_end=end)


def part_name(member: ZipMember) -> str:
    """Return a member's name without percent-encoding (ISO/IEC 29500-2 9.1.1).

    ``[Content_Types].xml`` is none, and stands unencoded.
    """
    from urllib.parse import unquote_to_bytes  # loaded where a package is met

    try:
        return unquote_to_bytes(member.raw_name).decode()
    except UnicodeDecodeError:
        raise MalformedError(
            member.name, "a name that is no UTF-8", "one", "ISO/IEC 29500-2 9.1.1"
        ) from None


def _check_member(member: ZipMember, name: str, seen: set[str]) -> None:
    """Refuse what no reader of packages takes, or two would take differently."""
    if member.encrypted or member.method not in (_STORED, _DEFLATED):
        found = "encrypted" if member.encrypted else f"packed by method {member.method}"
        raise MalformedError(member.name, found, "stored or deflated", "ISO/IEC 29500-2 annex B")
    folded = name.casefold()
    if folded in seen:
        raise AmbiguousError(
            "archive", f"two parts named {name}", "each name once, whatever its case",
            "ISO/IEC 29500-2 9.1.1",
        )  # fmt: skip
    seen.add(folded)


def read_part(source: Source, package: Package, name: str) -> bytes:
    """Return an XML part's bytes.  Raises ``BadInputError``, also where there is none."""
    member = package.members.get(name)
    if member is None:
        raise MalformedError("package", f"no {name}", "one", "ISO/IEC 29500-2")
    return read_member(source, member, MAX_XML)


def read_envelope(source: Source, package: Package) -> bytes:
    """Return the PKCS#7 in the signature part.

    Raises ``UncoveredError`` for bytes behind it, ``MalformedError``.
    """
    member = package.signature
    assert member is not None  # noqa: S101 - callers ask signed packages only
    data = _signature_part(source, member)
    if data[: len(MAGIC)] != MAGIC:
        raise MalformedError(SIGNATURE, f"{data[:4].hex()} in front", "PKCX", _CLAUSE)
    blob = data[len(MAGIC) :]
    end = der.parse(blob, SIGNATURE, trailing=True).next
    if end != len(blob):
        raise UncoveredError(SIGNATURE, f"{len(blob) - end} bytes behind the PKCS#7", "none")
    return blob


def _signature_part(source: Source, member: ZipMember) -> bytes:
    """Return the part's bytes; deflate data must fill the member, as no digest covers it."""
    if member.size > MAX_SIGNATURE or member.packed > MAX_SIGNATURE:
        raise LimitError(SIGNATURE, f"{member.size} bytes", f"at most {MAX_SIGNATURE}")
    if member.method == _DEFLATED:
        unpacker = zlib.decompressobj(-15)
        try:
            unpacker.decompress(source.read(place(source, member).data, member.packed))
        except zlib.error as error:
            raise MalformedError(SIGNATURE, f"no deflate data ({error})", "some") from None
        if unpacker.unused_data:
            raise UncoveredError(SIGNATURE, "bytes behind the deflate data", "none")
    return b"".join(member_pieces(source, member))


def signature_regions(source: Source, package: Package) -> Iterator[Region]:
    """Account for the bytes of the signature's own member that no digest covers."""
    member = package.signature
    if member is None:
        return
    where = place(source, member)
    named = len(member.raw_name)
    fixed = where.start + _LOCAL_SIZE + named
    yield Region(start=where.start, end=fixed, what="signature's local header", exempt=_CLAUSE)
    yield from _extra(source, fixed, where.data, "local")
    yield Region(start=where.data, end=where.end, what="signature", exempt=_CLAUSE)
    fixed = member.record + _CENTRAL_SIZE + named
    comment = member.record_end - int.from_bytes(source.read(member.record + 32, 2), "little")
    yield Region(start=member.record, end=fixed, what="signature's central header", exempt=_CLAUSE)
    yield from _extra(source, fixed, comment, "central")
    if comment < member.record_end:
        yield Region(start=comment, end=member.record_end, what="signature's comment")


def _extra(source: Source, start: int, end: int, which: str) -> Iterator[Region]:
    """Account for an extra field: a ZIP64 field alone is the format's own (APPNOTE 4.5.3)."""
    data = source.read(start, end - start)
    zip64 = data[:2] == b"\1\0" and len(data) == 4 + int.from_bytes(data[2:4], "little") <= 32
    if data:
        what = f"extra field of the signature's {which} header"
        yield Region(start=start, end=end, what=what, exempt="APPNOTE 4.5.3" if zip64 else "")


def unsigned_directory(source: Source, package: Package) -> bytes:
    """Return central directory and end records as they would be without the signature."""
    kept = [m for m in package.directory.members if m is not package.signature]
    central = b"".join(source.read(m.record, m.record_end - m.record) for m in kept)
    at = package.directory.end
    ends = bytearray(source.read(at, source.length - at))
    count, size, offset = len(kept), len(central), package.content_end
    plain = _end_record(source, package) - at
    if plain:
        struct.pack_into("<QQQQ", ends, 24, count, count, size, offset)
        struct.pack_into("<Q", ends, plain - _LOCATOR_SIZE + 8, offset + size)
    magic, _, _, *fields, comment = _END.unpack_from(ends, plain)
    limits = (_MAX16, _MAX16, _MAX32, _MAX32)
    values = [
        limit if field == limit else min(value, limit)
        for value, field, limit in zip((count, count, size, offset), fields, limits, strict=True)
    ]
    _END.pack_into(ends, plain, magic, 0, 0, *values, comment)
    return central + bytes(ends)


def zero_disks(source: Source, package: Package, patch: PatchSet) -> PatchSet:
    """Return the patch with disk numbers of zero in the end record it writes.

    MakeAppx writes all ones where it defers to the ZIP64 record; AXCD is over zeros.
    """
    if not patch.edits:
        return patch
    last = patch.edits[-1]
    assert isinstance(last.data, bytes)  # noqa: S101 - the directory is always in memory
    at = len(last.data) - (source.length - _end_record(source, package))
    data = last.data[: at + 4] + bytes(4) + last.data[at + 8 :]
    return PatchSet(edits=(*patch.edits[:-1], replace(last, data=data)))


def _end_record(source: Source, package: Package) -> int:
    """Return where the end record lies, behind a ZIP64 record and its locator."""
    at = package.directory.end
    head = source.read(at, 12)
    if head[:4] != b"PK\6\6":
        return at
    return at + 12 + int.from_bytes(head[4:12], "little") + _LOCATOR_SIZE
