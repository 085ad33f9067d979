"""Builds MSIX packages and bundles, as MakeAppx writes them or as a plain ZIP tool would.

Every rule of the block map, the manifest and the archive can be broken by an argument.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

BLOCK = 64 * 1024
PUBLISHER = "CN=Signing Test Publisher, O=Conformance"
HASH_METHODS = {
    "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
    "sha384": "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "sha512": "http://www.w3.org/2001/04/xmlenc#sha512",
}
PROGRAM = b"MZ" + bytes(range(256)) * 2
FILES: Mapping[str, bytes] = {"App.exe": PROGRAM, "Assets/My Logo.png": b"\x89PNG" + bytes(200)}


@dataclass(kw_only=True)
class Zip:
    """Writes an archive: ``make_appx`` with data descriptors and ZIP64 records, else plainly.

    ``zip64`` puts every size and offset of central headers into ZIP64 fields, ``offset64``
    the offset alone, as members behind 4 GiB have it.
    """

    make_appx: bool = True
    zip64: bool = False
    offset64: bool = False
    data: bytearray = field(default_factory=bytearray)
    central: list[bytes] = field(default_factory=list)

    def add(self, name: str, content: bytes, *, stored: bool = False) -> tuple[int, list[int]]:
        """Add a member; return its local header's length and the packed sizes of its blocks."""
        raw = name.encode()
        packed, sizes = (content, []) if stored else deflate(content)
        crc, offset = zlib.crc32(content), len(self.data)
        method, moment = 0 if stored else 8, 0x5A21 << 16
        flags = (8 if self.make_appx else 0) | (0 if name.isascii() else 0x800)
        shown = (0, 0, 0) if self.make_appx else (crc, len(packed), len(content))
        version = 45 if self.make_appx else 20
        header = struct.pack("<4sHHHIIIIHH", b"PK\3\4", version, flags, method, moment, *shown,
                             len(raw), 0) + raw  # fmt: skip
        self.data += header + packed
        if self.make_appx:
            self.data += struct.pack("<4sIQQ", b"PK\7\x08", crc, len(packed), len(content))
        numbers, extra = (len(packed), len(content), offset), b""
        if self.zip64:
            extra = struct.pack("<HHQQQ", 1, 24, len(content), len(packed), offset)
            numbers = (0xFFFFFFFF,) * 3
        elif self.offset64:
            extra = struct.pack("<HHQ", 1, 8, offset)
            numbers = (len(packed), len(content), 0xFFFFFFFF)
        self.central.append(
            struct.pack("<4sHHHHIIIIHHHHHII", b"PK\1\2", version, version, flags, method, moment,
                        crc, *numbers[:2], len(raw), len(extra), 0, 0, 0, 0, numbers[2])
            + raw + extra
        )  # fmt: skip
        return len(header), sizes

    def finish(self) -> bytes:
        """Return the archive."""
        offset, central = len(self.data), b"".join(self.central)
        count, size = len(self.central), len(central)
        if not self.make_appx:
            end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, offset, 0)
            return bytes(self.data) + central + end
        end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
        end = struct.pack("<4s4H2IH", b"PK\5\6", *[0xFFFF] * 4, *[0xFFFFFFFF] * 2, 0)
        return bytes(self.data) + central + end64 + locator + end


def deflate(content: bytes) -> tuple[bytes, list[int]]:
    """Return content deflated as MakeAppx does: a full flush behind each block of 64 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [
        packer.compress(content[at : at + BLOCK]) + packer.flush(zlib.Z_FULL_FLUSH)
        for at in range(0, len(content), BLOCK)
    ]
    return b"".join(parts) + packer.flush(), [len(part) for part in parts]


def mapped(
    name: str, content: bytes, header: int, sizes: Sequence[int], digest: str = "sha256"
) -> str:
    """Return a block map's File element."""
    blocks = []
    for number, at in enumerate(range(0, len(content), BLOCK)):
        value = base64.b64encode(hashlib.new(digest, content[at : at + BLOCK]).digest()).decode()
        size = f' Size="{sizes[number]}"' if sizes else ""
        blocks.append(f'<Block Hash="{value}"{size}/>')
    shown = name.replace("/", "\\").replace("&", "&amp;")
    return f'<File Name="{shown}" Size="{len(content)}" LfhSize="{header}">{"".join(blocks)}</File>'


def manifest(publisher: str = PUBLISHER, name: str = "Signward.Sample") -> bytes:
    """Return AppxManifest.xml."""
    shown = publisher.replace("&", "&amp;").replace('"', "&quot;")
    return (
        '<?xml version="1.0" encoding="utf-8"?>\r\n'
        '<Package xmlns="http://schemas.microsoft.com/appx/manifest/foundation/windows10">'
        f'<Identity Name="{name}" Version="1.0.0.0" Publisher="{shown}" '
        'ProcessorArchitecture="x64"/></Package>'
    ).encode()


def content_types(*, signed: bool = False) -> bytes:
    """Return [Content_Types].xml, with or without the signature's content type."""
    override = (
        '<Override PartName="/AppxSignature.p7x" ContentType="application/vnd.ms-appx.signature"/>'
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\r\n'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="exe" ContentType="application/x-msdownload"/>'
        '<Default Extension="png" ContentType="image/png"/>'
        '<Default Extension="xml" ContentType="application/vnd.ms-appx.manifest+xml"/>'
        '<Override PartName="/AppxBlockMap.xml" '
        'ContentType="application/vnd.ms-appx.blockmap+xml"/>'
        f"{override if signed else ''}</Types>"
    ).encode()


Change = Callable[[str], str]


def package(
    files: Mapping[str, bytes] = FILES,
    *,
    publisher: str = PUBLISHER,
    make_appx: bool = True,
    zip64: bool = False,
    digest: str = "sha256",
    stored: Sequence[str] = (),
    unlisted: Mapping[str, bytes] | None = None,
    catalog: bytes = b"",
    change_map: Change = str,
    manifest_xml: bytes = b"",
    without: Sequence[str] = (),
    types: bytes = b"",
) -> bytes:
    """Return an unsigned package.

    ``unlisted`` are members the block map does not list, ``change_map`` changes the block
    map's text before it is packed, ``without`` names footprint parts to leave out.
    """
    archive = Zip(make_appx=make_appx, zip64=zip64)
    listed = []
    everything = {**files, "AppxManifest.xml": manifest_xml or manifest(publisher)}
    for name, content in everything.items():
        if name not in without:
            header, sizes = archive.add(quote(name), content, stored=name in stored)
            listed.append(mapped(name, content, header, sizes, digest))
    for name, content in (unlisted or {}).items():
        archive.add(quote(name), content)
    _footprint(archive, listed, digest, change_map, without, types)
    if catalog:
        archive.add("AppxMetadata/CodeIntegrity.cat", catalog)
    return archive.finish()


def _footprint(
    archive: Zip, listed: Sequence[str], digest: str, change: Change, without: Sequence[str],
    types: bytes,
) -> None:  # fmt: skip
    block_map = change(
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\r\n'
        '<BlockMap xmlns="http://schemas.microsoft.com/appx/2010/blockmap" '
        f'HashMethod="{HASH_METHODS[digest]}">{"".join(listed)}</BlockMap>'
    )
    if "AppxBlockMap.xml" not in without:
        archive.add("AppxBlockMap.xml", block_map.encode())
    if "[Content_Types].xml" not in without:
        archive.add("[Content_Types].xml", types or content_types())


def bundle(
    packages: Mapping[str, bytes] | None = None,
    *,
    publisher: str = PUBLISHER,
    make_appx: bool = True,
    zip64: bool = False,
    offset64: bool = False,
    change_manifest: Change = str,
    types_first: bool = False,
) -> bytes:
    """Return an unsigned bundle; its block map lists the manifest alone, as MakeAppx's does."""
    archive = Zip(make_appx=make_appx, zip64=zip64, offset64=offset64)
    if types_first:
        archive.add("[Content_Types].xml", content_types())
    packages = packages or {"app_x64.msix": package({"App.exe": PROGRAM})}
    entries = []
    for name, content in packages.items():
        header, _ = archive.add(quote(name), content, stored=True)
        offset = len(archive.data) - len(content) - (24 if make_appx else 0)
        assert bytes(archive.data[offset : offset + len(content)]) == content
        assert header
        entries.append(
            f'<Package Type="application" Version="1.0.0.0" Architecture="x64" FileName="{name}" '
            f'Offset="{offset}" Size="{len(content)}"/>'
        )
    text = change_manifest(
        '<?xml version="1.0" encoding="utf-8"?>\r\n'
        '<Bundle xmlns="http://schemas.microsoft.com/appx/2013/bundle" SchemaVersion="3.0">'
        f'<Identity Name="Signward.Sample" Publisher="{publisher}" Version="1.0.0.0"/>'
        f"<Packages>{''.join(entries)}</Packages></Bundle>"
    ).encode()
    name = "AppxMetadata/AppxBundleManifest.xml"
    header, sizes = archive.add(name, text)
    without = ("[Content_Types].xml",) if types_first else ()
    _footprint(archive, [mapped(name, text, header, sizes)], "sha256", str, without, b"")
    return archive.finish()
