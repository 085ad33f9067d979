"""Java archives as ``jar`` lays them out, small and reproducible."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: 17 (Signward)\r\nMain-Class: a.Main\r\n\r\n"

MEMBERS: Mapping[str, bytes] = {
    "META-INF/": b"",
    "META-INF/MANIFEST.MF": MANIFEST,
    "a/": b"",
    "a/Main.class": b"\xca\xfe\xba\xbe\0\0\0\x3d" + b"not really " * 9,
    "a/with-a-name-that-is-longer-than-one-line-of-a-manifest-may-be-in-octets.txt": b"text\n",
}

MULTI_RELEASE: Mapping[str, bytes] = {
    "META-INF/MANIFEST.MF": MANIFEST[:-2] + b"Multi-Release: true\r\n\r\n"
    b"Name: a/\nSealed: true\n\nName: a/Main.class\nX-Kept: yes\n\n",
    "a/Main.class": MEMBERS["a/Main.class"],
    "META-INF/versions/17/a/Main.class": MEMBERS["a/Main.class"] + b"17",
    "META-INF/services/a.Service": b"a.Main\n",
}

MOMENT = (2024, 1, 2, 3, 4, 6)


def archive(
    members: Mapping[str, bytes] = MEMBERS,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
) -> bytes:
    """Return an unsigned JAR."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(name, MOMENT), data, compress_type=method)
        made.comment = comment
    return out.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    """Return the members of a JAR, in the order of its directory."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def changed(data: bytes, members: Mapping[str, bytes | None]) -> bytes:
    """Return a JAR with some members replaced, added or (None) taken away, signed or not."""
    kept = {**members_of(data), **members}
    return archive({name: octets for name, octets in kept.items() if octets is not None})
