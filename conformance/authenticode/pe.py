"""PE32, PE32+, EFI and driver images, signed, with their defects as arguments.

Layout and rules: Microsoft PE/COFF specification, "Windows Authenticode Portable Executable
Signature Format".  All integers little-endian.  Digests are computed here by cutting holes
into the whole file, unlike any streaming implementation.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from conformance.authenticode import cms
from signward.wire import der

SPC_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
_PAGE_HASHES_V1, _PAGE_HASHES_V2 = "1.3.6.1.4.1.311.2.3.1", "1.3.6.1.4.1.311.2.3.2"
_SERIALIZED_OBJECT = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")
"""SpcSerializedObject class identifier for page hashes."""

GUI, NATIVE, CONSOLE, EFI = 2, 1, 3, 10
"""Subsystem values: an application, a driver, a console program, an EFI application."""

_FILE_ALIGNMENT, _SECTION_ALIGNMENT, _E_LFANEW = 0x200, 0x1000, 0x80
WIN_CERTIFICATE_REVISION, PKCS_SIGNED_DATA = 0x0200, 2


@dataclass(frozen=True, slots=True)
class Places:
    """Offsets of the fields that signing touches."""

    checksum: int
    security: int
    headers_size: int
    sections: tuple[tuple[int, int], ...]


def image(
    *,
    plus: bool = True,
    subsystem: int = CONSOLE,
    code: bytes = b"\x31\xc0\xc3",
    data: bytes = b"Conformance image\0" * 300,
    overlay: bytes = b"",
    driver: bool = False,
    characteristics: int | None = None,
    security_directory: bool = True,
) -> bytes:
    """Return an unsigned image of two sections, checksum set, padded to 8 octets.

    ``overlay`` follows the last section (and is inside the digest).  Without
    ``security_directory`` the image has too few data directories to hold a signature.
    """
    sections = (b".text", 0x60000020, code), (b".rdata", 0x40000040, data)
    directories = 16 if security_directory else 4
    optional_size = (112 if plus else 96) + 8 * directories
    headers_end = _E_LFANEW + 24 + optional_size + 40 * len(sections)
    headers_size = _aligned(headers_end, _FILE_ALIGNMENT)
    body, table, position, address = b"", b"", headers_size, _SECTION_ALIGNMENT
    for name, flags, content in sections:
        raw = content.ljust(_aligned(len(content), _FILE_ALIGNMENT), b"\0")
        table += struct.pack(
            "<8sIIIIIIHHI", name, len(content), address, len(raw), position, 0, 0, 0, 0, flags
        )
        body += raw
        position += len(raw)
        address += _aligned(len(content), _SECTION_ALIGNMENT)
    subsystem = NATIVE if driver else subsystem
    headers = _dos_header() + _coff_header(
        len(sections), optional_size, characteristics or (0x22 if plus else 0x102), plus=plus
    )
    headers += _optional_header(subsystem, address, headers_size, directories, plus=plus)
    whole = (headers + table).ljust(headers_size, b"\0") + body + overlay
    return with_checksum(whole.ljust(_aligned(len(whole), 8), b"\0"))


def _aligned(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _dos_header() -> bytes:
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", _E_LFANEW) + bytes(0x40)


def _coff_header(sections: int, optional_size: int, flags: int, *, plus: bool) -> bytes:
    machine = 0x8664 if plus else 0x014C
    return b"PE\0\0" + struct.pack("<HHIIIHH", machine, sections, 0, 0, 0, optional_size, flags)


def _optional_header(
    subsystem: int, size: int, headers_size: int, directories: int, *, plus: bool
) -> bytes:
    """PE/COFF "Optional Header": magic 0x20B (PE32+) or 0x10B (PE32)."""
    magic, base = (0x20B, 0x140000000) if plus else (0x10B, 0x400000)
    standard = struct.pack("<HBBIIIII", magic, 14, 0, 0x200, 0x1600, 0, 0x1000, 0x1000)
    windows = struct.pack("<Q", base) if plus else struct.pack("<II", 0x2000, base)
    windows += struct.pack("<IIHHHHHHI", 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0)
    windows += struct.pack("<IIIHH", size, headers_size, 0, subsystem, 0x8160)
    limits = (0x100000, 0x1000, 0x100000, 0x1000)
    windows += struct.pack("<QQQQ" if plus else "<IIII", *limits)
    return standard + windows + struct.pack("<II", 0, directories) + bytes(8 * directories)


def places(whole: bytes) -> Places:
    """Find the fields that signing touches, in an image that ``image`` made."""
    optional = struct.unpack_from("<I", whole, 0x3C)[0] + 24
    plus = struct.unpack_from("<H", whole, optional)[0] == 0x20B
    count = struct.unpack_from("<H", whole, optional - 18)[0]
    optional_size = struct.unpack_from("<H", whole, optional - 4)[0]
    table = optional + optional_size
    sections = (struct.unpack_from("<II", whole, table + 40 * i + 16) for i in range(count))
    return Places(
        optional + 64,
        optional + (112 if plus else 96) + 8 * 4,
        struct.unpack_from("<I", whole, optional + 60)[0],
        tuple((start, size) for size, start in sections),
    )


def security_directory(whole: bytes) -> tuple[int, int]:
    """Return (offset, size) of the certificate table as the headers state it."""
    offset, size = struct.unpack_from("<II", whole, places(whole).security)
    return offset, size


def with_security_directory(whole: bytes, offset: int, size: int) -> bytes:
    """Return the image with another certificate table entry."""
    at = places(whole).security
    return whole[:at] + struct.pack("<II", offset, size) + whole[at + 8 :]


def checksum(whole: bytes) -> int:
    """Return the image checksum: folded 16-bit sums, the field itself as zero, plus the length."""
    at = places(whole).checksum
    data = whole[:at] + bytes(4) + whole[at + 4 :]
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"<{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total + len(whole))


def with_checksum(whole: bytes, value: int | None = None) -> bytes:
    """Return the image with its checksum field set, to the right value unless told otherwise."""
    at = places(whole).checksum
    number = checksum(whole) if value is None else value
    return whole[:at] + struct.pack("<I", number) + whole[at + 4 :]


def image_digest(whole: bytes, digest: str = "sha256") -> bytes:
    """Return the Authenticode digest: all but checksum, directory entry and certificate table."""
    at, (start, size) = places(whole), security_directory(whole)
    holes = [(at.checksum, 4), (at.security, 8)]
    if size:
        holes.append((start, size))
    for offset, length in sorted(holes, reverse=True):
        whole = whole[:offset] + whole[offset + length :]
    return hashlib.new(digest, whole).digest()


def page_hashes(whole: bytes, digest: str = "sha256") -> bytes:
    """Return the page hash table: 32-bit offset and digest for each 4096-octet page.

    The first page is the headers without the two exempt fields; the last entry carries the
    end of the last section and a zero digest.
    """
    at = places(whole)
    headers = whole[: at.checksum] + whole[at.checksum + 4 : at.security]
    headers += whole[at.security + 8 : at.headers_size]
    padded = headers.ljust(len(headers) + _SECTION_ALIGNMENT - at.headers_size, b"\0")
    entries = [(0, hashlib.new(digest, padded).digest())]
    end = at.headers_size
    for start, size in at.sections:
        for offset in range(start, start + size, _SECTION_ALIGNMENT):
            page = whole[offset : min(offset + _SECTION_ALIGNMENT, start + size)]
            full = page.ljust(_SECTION_ALIGNMENT, b"\0")
            entries.append((offset, hashlib.new(digest, full).digest()))
        end = max(end, start + size)
    entries.append((end, bytes(hashlib.new(digest).digest_size)))
    return b"".join(struct.pack("<I", offset) + value for offset, value in entries)


def pe_image_data(pages: bytes = b"", digest: str = "sha256") -> bytes:
    """Return SpcPeImageData; its link is ``<<<Obsolete>>>`` or the page hash table."""
    if pages:
        oid = _PAGE_HASHES_V1 if digest == "sha1" else _PAGE_HASHES_V2
        table = der.sequence(der.oid(oid), der.set_of(der.octet_string(pages)))
        moniker = der.octet_string(_SERIALIZED_OBJECT) + der.octet_string(der.set_of(table))
        link = der.context(1, moniker)
    else:
        text = "<<<Obsolete>>>".encode("utf-16-be")
        link = der.context(2, der.context(0, text, constructed=False))
    return der.sequence(der.encode(der.BIT_STRING, b"\0"), der.context(0, link))


def content(
    whole: bytes,
    digest: str = "sha256",
    *,
    pages: bytes | bool = False,
    page_digest: str = "",
    image_digest_octets: bytes | None = None,
) -> bytes:
    """Return the SpcIndirectDataContent that speaks for this image.

    ``pages`` True adds the page hashes, octets add that very table;
    ``image_digest_octets`` replaces the digest.
    """
    page_digest = page_digest or digest
    table = page_hashes(whole, page_digest) if pages is True else pages or b""
    octets = image_digest_octets
    if octets is None:
        octets = image_digest(whole, digest)
    value = pe_image_data(table, page_digest)
    return cms.indirect_data(SPC_PE_IMAGE_DATA, value, digest, octets)


def win_certificate(
    blob: bytes,
    *,
    revision: int = WIN_CERTIFICATE_REVISION,
    kind: int = PKCS_SIGNED_DATA,
    stuffing: bytes = b"",
    length: int | None = None,
    padding: bytes | None = None,
) -> bytes:
    """Return one WIN_CERTIFICATE, padded to 8 octets; ``stuffing`` follows the PKCS#7.

    dwLength counts the padding, as signers write it; ``length`` replaces it.
    """
    body = blob + stuffing
    if padding is None:
        padding = bytes(-(8 + len(body)) % 8)
    body += padding
    length = 8 + len(body) if length is None else length
    return struct.pack("<IHH", length, revision, kind) + body


def embed(whole: bytes, *entries: bytes, after: bytes = b"", size: int | None = None) -> bytes:
    """Return the image with a certificate table of these entries, checksum set.

    ``after`` follows the table and is not counted in the directory's size, which ``size``
    may replace.
    """
    table = b"".join(entries)
    offset = len(whole)
    signed = with_security_directory(
        whole + table + after, offset, len(table) if size is None else size
    )
    return with_checksum(signed)


def signed(whole: bytes, blob: bytes) -> bytes:
    """Return the image with one well-formed certificate table entry."""
    return embed(whole, win_certificate(blob))
