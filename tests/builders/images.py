"""Minimal PE images, scripts and catalogs with test signatures, for the format tests.

One published P-256 key signs everything, deterministically, so that fuzz seeds repeat; the
structures are spelled out here so that the tests do not trust the code they test.
(`conformance/authenticode` has the full builders.)
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from signward.wire import der

PE_OFFSET = 0x80
CHECKSUM = PE_OFFSET + 24 + 64
SECTIONS = 0x200, 0x1000
"""Raw size of the one section and its address."""

SHA256 = "2.16.840.1.101.3.4.2.1"
INDIRECT = "1.3.6.1.4.1.311.2.1.4"
PE_DATA = "1.3.6.1.4.1.311.2.1.15"
SIP_INFO = "1.3.6.1.4.1.311.2.1.30"
CTL = "1.3.6.1.4.1.311.10.1"
PAGE_CLASS = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")
POWERSHELL_SIP = bytes.fromhex("1fcc3b60594b084eb724d2c6297ef351")
JSCRIPT_SIP = bytes.fromhex("10e0c906ce38d411a2a300104bd35090")
VBSCRIPT_SIP = bytes.fromhex("4ef029169927b54d8fe5ace10f17ebab")
WSF_SIP = bytes.fromhex("7005611ace38d411a2a300104bd35090")


def directory_offset(*, plus: bool) -> int:
    """Return where the security directory entry stands."""
    return PE_OFFSET + 24 + (112 if plus else 96) + 32


def image(
    *,
    plus: bool = True,
    subsystem: int = 3,
    body: bytes = b"\xc3" * 0x300,
    overlay: bytes = b"",
    machine: int = 0x8664,
    alignment: int = 0x1000,
    directories: int = 16,
) -> bytes:
    """Return an unsigned image: 1 KiB of headers and one section, then ``overlay``."""
    fixed = 112 if plus else 96
    body += bytes(-len(body) % 0x200)
    optional = bytearray(fixed + 8 * 16)
    struct.pack_into("<H", optional, 0, 0x20B if plus else 0x10B)
    struct.pack_into("<II", optional, 32, alignment, 0x200)
    struct.pack_into("<II", optional, 56, 0x3000, 0x400)
    struct.pack_into("<H", optional, 68, subsystem)
    struct.pack_into("<I", optional, fixed - 4, directories)
    coff = struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, len(optional), 0x22)
    section = struct.pack("<8sIIII16x", b".text", len(body), 0x1000, len(body), 0x400)
    dos = b"MZ" + bytes(58) + struct.pack("<I", PE_OFFSET) + bytes(PE_OFFSET - 64)
    head = dos + b"PE\0\0" + coff + bytes(optional) + section
    return head + bytes(0x400 - len(head)) + body + overlay


def image_digest(unsigned: bytes, *, plus: bool = True, algorithm: str = "sha256") -> bytes:
    """Return the image hash of an unsigned image whose length is a multiple of 8."""
    entry = directory_offset(plus=plus)
    covered = unsigned[:CHECKSUM] + unsigned[CHECKSUM + 4 : entry] + unsigned[entry + 8 :]
    return hashlib.new(algorithm, covered).digest()


def certificate(blob: bytes, *, length: int | None = None, padding: bytes | None = None,
                revision: int = 0x200, kind: int = 2) -> bytes:  # fmt: skip
    """Return a WIN_CERTIFICATE, padded to 8 bytes; dwLength includes the padding."""
    padding = bytes(-len(blob) % 8) if padding is None else padding
    length = 8 + len(blob) + len(padding) if length is None else length
    return struct.pack("<IHH", length, revision, kind) + blob + padding


def with_table(unsigned: bytes, table: bytes, *, plus: bool = True, size: int | None = None,
               offset: int | None = None) -> bytes:  # fmt: skip
    """Return the image with a certificate table behind it and a directory entry for it."""
    entry = directory_offset(plus=plus)
    offset = len(unsigned) if offset is None else offset
    size = len(table) if size is None else size
    head = unsigned[:entry] + struct.pack("<II", offset, size) + unsigned[entry + 8 :]
    return head + table


def signed_image(unsigned: bytes, *, plus: bool = True, pages: bytes | None = None) -> bytes:
    """Return the image with one signature; ``pages`` is a SHA-256 page hash table."""
    blob = pkcs7(pe_content(image_digest(unsigned, plus=plus), pages))
    return with_table(unsigned, certificate(blob), plus=plus)


def page_table(unsigned: bytes, *, plus: bool = True, size: int = 4096) -> bytes:
    """Return offset and SHA-256 pairs for the headers and the one section."""
    entry, end = directory_offset(plus=plus), unsigned.find(b"\xc3")
    assert end == 0x400
    head = unsigned[:CHECKSUM] + unsigned[CHECKSUM + 4 : entry] + unsigned[entry + 8 : end]
    raw_size = struct.unpack_from("<I", unsigned, entry - 32 + 128 + 16)[0]
    raw = unsigned[end : end + raw_size]
    pages = [(0, head + bytes(size - end))]
    pages += [(end + i, raw[i : i + size].ljust(size, b"\0")) for i in range(0, raw_size, size)]
    table = b"".join(struct.pack("<I", at) + hashlib.sha256(page).digest() for at, page in pages)
    return table + struct.pack("<I", end + raw_size) + bytes(32)


def pe_content(digest: bytes, pages: bytes | None = None) -> bytes:
    """Return SpcIndirectDataContent for an image."""
    link = der.context(2, der.context(0, b"", constructed=False))
    if pages is not None:
        values = der.set_of(der.octet_string(pages))
        table = der.sequence(der.oid("1.3.6.1.4.1.311.2.3.2"), values)
        moniker = der.octet_string(PAGE_CLASS) + der.octet_string(der.set_of(table))
        link = der.context(1, moniker)
    data = der.sequence(der.bit_string(b""), der.context(0, link))
    return indirect(PE_DATA, data, digest)


def sip_content(digest: bytes, sip: bytes = POWERSHELL_SIP) -> bytes:
    """Return SpcIndirectDataContent for a script."""
    numbers = [der.integer(0)] * 5
    return indirect(
        SIP_INFO, der.sequence(der.integer(65536), der.octet_string(sip), *numbers), digest
    )


def indirect(kind: str, data: bytes, digest: bytes) -> bytes:
    """Return SpcIndirectDataContent."""
    info = der.sequence(der.sequence(der.oid(SHA256), der.null()), der.octet_string(digest))
    return der.sequence(der.sequence(der.oid(kind), data), info)


@cache
def _signer() -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
    key = ec.derive_private_key(0x5157_2026, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "format tests")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2034, 1, 1, tzinfo=UTC))
    certificate_ = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    encoded = certificate_.public_bytes(serialization.Encoding.DER)
    return key, encoded, der.sequence(name.public_bytes(), der.integer(1))


def pkcs7(content: bytes, content_type: str = INDIRECT, *, octets: bool = False,
          unsigned: bytes = b"") -> bytes:  # fmt: skip
    """Return a SignedData over ``content`` (a SEQUENCE; ``octets`` wraps it as CMS does)."""
    key, encoded, issuer_and_serial = _signer()
    hashed = content if octets else der.parse(content, "content").content
    attributes = (
        der.sequence(der.oid("1.2.840.113549.1.9.3"), der.set_of(der.oid(content_type))),
        der.sequence(
            der.oid("1.2.840.113549.1.9.4"),
            der.set_of(der.octet_string(hashlib.sha256(hashed).digest())),
        ),
    )
    value = key.sign(der.set_of(*attributes), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    sha256 = der.sequence(der.oid(SHA256), der.null())
    info = der.sequence(
        der.integer(1),
        issuer_and_serial,
        sha256,
        der.context(0, b"".join(sorted(attributes))),
        der.sequence(der.oid("1.2.840.10045.4.3.2")),
        der.octet_string(value),
        *([der.context(1, unsigned)] if unsigned else []),
    )
    carried = der.octet_string(content) if octets else content
    signed_data = der.sequence(
        der.integer(1),
        der.set_of(sha256),
        der.sequence(der.oid(content_type), der.context(0, carried)),
        der.context(0, encoded),
        der.set_of(info),
    )
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed_data))


def script_block(content: bytes, open_: str, close: str = "", *, begin: str, end: str) -> str:
    """Return a signature block with the line break in front of it."""
    encoded = base64.b64encode(pkcs7(content)).decode()
    lines = [begin, *(f"{open_}{encoded[i : i + 64]}{close}" for i in range(0, len(encoded), 64))]
    return "\r\n" + "\r\n".join(lines) + f"\r\n{end}\r\n"


def powershell(text: str, *, codec: str = "utf-8", mark: bytes = b"",
               block: Callable[[str], str] = str) -> bytes:  # fmt: skip
    """Return a signed .ps1; ``block`` may change the block once it is signed."""
    hashed = (b"\xff\xfe" if mark else b"") + text.encode("utf-16-le")
    made = script_block(
        sip_content(hashlib.sha256(hashed).digest()), "# ",
        begin="# SIG # Begin signature block", end="# SIG # End signature block",
    )  # fmt: skip
    return mark + (text + block(made)).encode(codec)


def member(identifier: bytes, *attributes: bytes) -> bytes:
    """Return a catalog's TrustedSubject."""
    return der.sequence(der.octet_string(identifier), der.set_of(*attributes))


def image_member(digest: bytes) -> bytes:
    """Return a TrustedSubject with the image hash of a PE file."""
    value = der.set_of(pe_content(digest))
    tag = (digest.hex().upper() + "\0").encode("utf-16-le")
    return member(tag, der.sequence(der.oid(INDIRECT), value))


def trust_list(members: Sequence[bytes], usage: str = "1.3.6.1.4.1.311.12.1.1") -> bytes:
    """Return a CTL that lists ``members``."""
    return der.sequence(
        der.sequence(der.oid(usage)),
        der.octet_string(bytes(16)),
        der.utc_time(datetime(2025, 1, 1, tzinfo=UTC)),
        der.sequence(der.oid("1.3.6.1.4.1.311.12.1.3"), der.null()),
        der.sequence(*members),
    )


def catalog(members: Sequence[bytes], *, octets: bool = False) -> bytes:
    """Return a signed catalog."""
    return pkcs7(trust_list(members), CTL, octets=octets)
