"""VSIX packages, unsigned: a manifest, a program, content types and relationships."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
TYPES = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="vsixmanifest" ContentType="text/xml" />'
    '<Default Extension="dll" ContentType="application/octet-stream" />'
    "{more}</Types>"
)
MANIFEST = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">'
    '<Metadata><Identity Id="Sample" Version="1.0" Publisher="Somebody"/></Metadata>'
    "</PackageManifest>"
)
RELS_DEFAULT = (
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml" />'
)


def rels(*rows: tuple[str, str, str]) -> bytes:
    """Return a relationships part of (Id, Type, Target)."""
    listed = "".join(f'<Relationship Id="{i}" Type="{t}" Target="{g}" />' for i, t, g in rows)
    return f'<Relationships xmlns="{RELATIONSHIPS}">{listed}</Relationships>'.encode()


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of stored members, all of 1980."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in members.items():
            packed.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    """Return an archive's members by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def extension(more: Mapping[str, bytes] | None = None, *, types: str = "") -> bytes:
    """Return an extension with further members and content types."""
    return archive(
        {
            "extension.vsixmanifest": MANIFEST.encode(),
            "Sample.dll": b"MZ sample",
            **(more or {}),
            "[Content_Types].xml": TYPES.format(more=types).encode(),
        }
    )


def related(*, types: str = RELS_DEFAULT) -> bytes:
    """Return an extension whose manifest and program are related by the package."""
    return extension(
        {
            "_rels/.rels": rels(
                ("R2", "http://example.org/manifest", "/extension.vsixmanifest"),
                ("R1", "http://example.org/program", "/Sample.dll"),
            ),
            "_rels/Sample.dll.rels": rels(
                ("A", "http://example.org/data", "extension.vsixmanifest")
            ),
        },
        types=types,
    )
