"""Arista's images and extensions to sign, as ``zip`` and swix-create lay them out."""

import io
import zipfile

VERSION = b"SWI_VERSION=4.28.10.1M\nSWI_ARCH=i686\nSWI_MAX_HWEPOCH=2\nSWI_VARIANT=US\n"
UNTIMED = True
BYTE_EXACT = True


def archive(members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of members with one date."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name, (2024, 5, 1, 12, 0, 0)), data, method)
    return out.getvalue()


def image(version: bytes = VERSION, **members: bytes) -> bytes:
    """Return an image."""
    plain = {"version": version, "boot0": b"#!/bin/sh\n", "rootfs-i386.sqsh": b"hsqs" * 300}
    return archive({**plain, **members})


def extension() -> bytes:
    """Return an extension of one package."""
    text = b"format: 1\nprimaryRpm: a.rpm\na.rpm-sha1: 0123456789abcdef0123456789abcdef01234567\n"
    return archive({"manifest.txt": text, "a.rpm": b"\xed\xab\xee\xdb" * 100})


SAMPLES = {"EOS.swi": image, "tool.swix": extension,
           "packed.swi": lambda: archive({"version": VERSION, "a": b"a" * 4000},
                                         method=zipfile.ZIP_DEFLATED)}  # fmt: skip
