"""VIBs to sign, as public builders make them: a descriptor, an empty signature, gzip payloads."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re

from signward.wire.ar import MAGIC, header, read_ar
from signward.wire.source import BytesSource
from tests.samples import dmg

PAYLOAD = gzip.compress(b"a driver for ESXi\n" * 8, mtime=0)
BYTE_EXACT = True


def member(name: str, data: bytes) -> bytes:
    """Return one member of an archive."""
    return header(name, len(data)) + data + b"\n" * (len(data) % 2)


def archive(*members: tuple[str, bytes]) -> bytes:
    """Return an archive."""
    return MAGIC + b"".join(member(name, data) for name, data in members)


def split(data: bytes) -> list[tuple[str, bytes]]:
    """Return the members of an archive."""
    members = read_ar(BytesSource("a.vib", data))
    return [(one.name, data[one.content : one.end]) for one in members]


def payload(name: str, data: bytes, *, sums: str = "256 1z") -> str:
    """Return a payload's element; ``sums``: SHA-2 bits or 1, with ``z`` of what it unpacks to."""
    found = []
    for kind in sums.split():
        of, process = (gzip.decompress(data), ' verify-process="gunzip"') if "z" in kind else (
            data, "")  # fmt: skip
        bits = kind.rstrip("z")
        digest = hashlib.new(f"sha{bits}", of).hexdigest()
        found.append(f'<checksum checksum-type="sha-{bits}"{process}>{digest}</checksum>')
    return f'<payload name="{name}" type="tgz" size="{len(data)}">{"".join(found)}</payload>'


def descriptor(*payloads: str, level: str = "community") -> bytes:
    """Return a descriptor."""
    return (
        '<vib version="5.0"><type>bootbank</type><name>driver</name><version>1.0-1</version>'
        "<vendor>Example</vendor><file-list><file>opt/driver</file></file-list>"
        f"<acceptance-level>{level}</acceptance-level>"
        f"<payloads>{''.join(payloads)}</payloads></vib>"
    ).encode()


def vib(level: str = "community", sums: str = "256 1z") -> bytes:
    """Return an unsigned VIB."""
    return archive(
        ("descriptor.xml", descriptor(payload("payload1", PAYLOAD, sums=sums), level=level)),
        ("sig.pkcs7", b""), ("payload1", PAYLOAD),
    )  # fmt: skip


SAMPLES = {"driver.vib": vib, "partner.vib": lambda: vib("partner", "256 512 256z 1z")}


def exempt(data: bytes) -> frozenset[int]:
    """Return times, owners and modes of members, and what of the CMS is nobody's word."""
    found = set[int]()
    at = len(MAGIC)
    while at < len(data):
        size = int(data[at + 48 : at + 58])
        found |= set(range(at + 16, at + 48))
        at += 60 + size + size % 2
    armour = re.search(rb"-----BEGIN PKCS7-----\n(.*)-----END", data, re.DOTALL)
    if armour is None:
        return frozenset(found)
    places = [i for i in range(*armour.span(1)) if data[i] != 10]
    for octet in dmg.exempt(base64.b64decode(armour[1])):
        found |= set(places[octet * 8 // 6 : (octet * 8 + 7) // 6 + 1])
    return frozenset(found)
