"""NuGet packages as ``nuget pack`` lays them out, small and reproducible."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

NUSPEC = b"""<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata>
    <id>Signward.Sample</id>
    <version>1.0.0</version>
    <authors>Signward</authors>
    <description>A sample.</description>
  </metadata>
</package>
"""

CONTENT_TYPES = b"""<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
  <Default Extension="nuspec" ContentType="application/octet" />
  <Default Extension="dll" ContentType="application/octet" />
</Types>
"""

MEMBERS: Mapping[str, bytes] = {
    "Signward.Sample.nuspec": NUSPEC,
    "lib/net8.0/Signward.Sample.dll": b"MZ, not really" * 20,
    "[Content_Types].xml": CONTENT_TYPES,
}

MOMENT = (2024, 1, 2, 3, 4, 6)


class _Stream(io.BytesIO):
    """A stream that cannot seek: the writer then puts sizes behind the data."""

    def seek(self, *_: int) -> int:
        raise OSError

    def tell(self) -> int:
        raise OSError


def package(
    members: Mapping[str, bytes] = MEMBERS,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    streamed: bool = False,
    comment: bytes = b"",
) -> bytes:
    """Return an unsigned package."""
    out = _Stream() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, MOMENT), data, compress_type=method)
        archive.comment = comment
    return out.getvalue()
