"""Debian packages to sign: members of an ar archive, as dpkg-deb writes them."""

from __future__ import annotations

import io
import tarfile

from signward.wire.ar import MAGIC, header, read_ar
from signward.wire.source import BytesSource

BYTE_EXACT = True
HELD = True
UNTIMED = True

CONTROL = (
    b"Package: hello\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Ann <ann@example.org>\n"
    b"Description: says hello\n To everybody.\n"
)


def member(name: str, data: bytes) -> bytes:
    """Return one member of an archive."""
    return header(name, len(data)) + data + b"\n" * (len(data) % 2)


def archive(*members: tuple[str, bytes]) -> bytes:
    """Return an archive."""
    return MAGIC + b"".join(member(name, data) for name, data in members)


def split(data: bytes) -> list[tuple[str, bytes]]:
    """Return the members of an archive."""
    members = read_ar(BytesSource("a.deb", data))
    return [(one.name, data[one.content : one.end]) for one in members]


def tar(*files: tuple[str, bytes], packed: str = "gz") -> bytes:
    """Return a tar archive of files, packed in a way of tarfile's, or not at all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{packed}", format=tarfile.GNU_FORMAT) as archived:  # type: ignore[call-overload]
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archived.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def deb(*more: tuple[str, bytes], packed: str = "gz", control: bytes = CONTROL) -> bytes:
    """Return a package; ``more`` are members behind its own."""
    ending = f".{packed}" if packed else ""
    return archive(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{ending}", tar(("./control", control), packed=packed)),
        (f"data.tar{ending}", tar(("./usr/bin/hello", b"#!/bin/sh\necho hello\n"), packed=packed)),
        *more,
    )


def exempt(data: bytes) -> frozenset[int]:
    """Return offsets that nothing covers: times, owners and modes of members."""
    members = read_ar(BytesSource("a.deb", data))
    return frozenset(at for one in members for at in range(one.start + 16, one.start + 48))


SAMPLES = {"hello.deb": lambda: deb(packed="xz"), "plain.deb": lambda: deb(packed="")}
