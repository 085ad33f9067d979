"""Debian packages to sign: members of an ar archive, as dpkg-deb writes them."""

from __future__ import annotations

import io
import tarfile

from signward.envelopes.openpgp_packets import packets
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
    """Return offsets that nothing covers: times, owners and modes; what a signature has unsigned.

    A role is a name that nobody signs: any letters of it may change.
    """
    members = read_ar(BytesSource("a.deb", data))
    found = {at for one in members for at in range(one.start + 16, one.start + 48)}
    for one in (member for member in members if member.name.startswith("_gpg")):
        found |= set(range(one.start + 4, one.start + 16))
        (packet,) = packets(data[one.content : one.end])
        start = one.end - len(packet.body)
        at = 6 + int.from_bytes(packet.body[4:6], "big")
        end = at + 2 + int.from_bytes(packet.body[at : at + 2], "big") + 2
        found |= set(range(start + at, start + end))
    return frozenset(found)


SAMPLES = {"hello.deb": lambda: deb(packed="xz"), "plain.deb": lambda: deb(packed="")}
