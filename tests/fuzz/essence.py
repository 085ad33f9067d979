"""What a signed file says, read without Signward: its content and the signatures over it.

Two files with one essence differ only in what Authenticode leaves open: a PE's checksum,
unsigned attributes, certificates that travel along, how a length or a Base64 line is written.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from conformance.authenticode.script import FAMILIES

from tests.fuzz.trees import NotDerError, read_first

Signature = tuple[bytes, bytes, bytes]
"""Content octets, signed attributes, value."""

Essence = tuple[bytes, frozenset[Signature]]

NESTED = bytes.fromhex("060a2b060104018237020401")
_INDEFINITE = 0x80


def essence(name: str, data: bytes) -> Essence:
    """Return digest of the content and the signatures.  Raises ``ValueError``."""
    extension = name.rpartition(".")[2]
    if extension in ("exe", "dll", "sys"):
        return _of_image(data)
    if extension in FAMILIES:
        return _of_script(extension, data)
    if extension == "cat":
        return b"", _signatures(data, exact=True)
    return hashlib.sha256(data).digest(), frozenset()


def _of_image(data: bytes) -> Essence:
    try:
        optional = struct.unpack_from("<I", data, 0x3C)[0] + 24
        plus = struct.unpack_from("<H", data, optional)[0] == 0x20B
        checksum, entry = optional + 64, optional + (112 if plus else 96) + 32
        start, size = struct.unpack_from("<II", data, entry)
    except struct.error as error:
        raise ValueError(str(error)) from None
    end = start if size else len(data)
    content = data[:checksum] + data[checksum + 4 : entry] + data[entry + 8 : end]
    if not size:  # digested as a signer would leave it, zeros to 8 octets behind it
        content += bytes(-len(data) % 8)
        return hashlib.sha256(content).digest(), frozenset()
    digest = hashlib.sha256(content).digest()
    table = data[start:]
    if len(table) < 8:
        raise ValueError("no certificate table there")
    length, revision, kind = struct.unpack_from("<IHH", table)
    if len(table) != size or -(-length // 8) * 8 != size or (revision, kind) != (0x200, 2):
        raise ValueError("a certificate table that is not one entry to the end")
    return digest, _signatures(table[8:])


def _of_script(extension: str, data: bytes) -> Essence:
    family = FAMILIES[extension]
    text = data.decode("utf-16-le" if data[:2] == b"\xff\xfe" else "latin-1")
    if text.count(family.begin) != 1 or text.count(family.end) != 1:
        raise ValueError("markers that are not there once")
    head, rest = text.split(family.begin)
    body, tail = rest.split(family.end)
    lines = [line.strip() for line in body.split("\n") if line.strip()]
    prefix, suffix = family.prefix.strip(), family.suffix.strip()
    coded = "".join(line.removeprefix(prefix).removesuffix(suffix).strip() for line in lines)
    if tail in ("\r\n", "\n", "\r"):
        tail = ""
    outside = f"{head}\0{tail}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(outside).digest(), _signatures(base64.b64decode(coded), exact=True)


def split(content: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return ``(tag, contents, whole)`` of each element in contents octets, one level deep."""
    found, at = [], 0
    while at < len(content):
        if content[at : at + 2] == b"\0\0":
            break
        if at + 2 > len(content):
            raise NotDerError("a truncated element")
        size, start = content[at + 1], at + 2
        if size == _INDEFINITE:
            _, end = read_first(content[at:])
            inner, end = content[start : at + end - 2], at + end
        else:
            if size > _INDEFINITE:
                width = size & 0x7F
                size, start = int.from_bytes(content[start : start + width], "big"), start + width
            end = start + size
            inner = content[start:end]
        if end > len(content):
            raise NotDerError("an element that overruns")
        found.append((content[at], inner, content[at:end]))
        at = end
    return found


def _signatures(blob: bytes, *, exact: bool = False) -> frozenset[Signature]:
    if len(blob) < 2:
        raise NotDerError("no signature")
    header = blob[:6]
    width = header[1] & 0x7F if header[1] > _INDEFINITE else 0
    size = 2 + width + (int.from_bytes(header[2 : 2 + width], "big") if width else header[1])
    rest = blob[size:]
    if rest.strip(b"\0") or len(rest) >= 8 or (exact and rest):
        raise ValueError("something behind the signature")
    return frozenset(_walk(blob[:size], 0))


def _walk(blob: bytes, depth: int) -> list[Signature]:
    if depth > 4:
        raise NotDerError("nested too deeply")
    signed = split(split(split(split(blob)[0][1])[1][1])[0][1])
    content = split(split(split(signed[2][1])[1][1])[0][2])[0][1]
    found: list[Signature] = []
    for _, info, _ in split(signed[-1][1]):
        fields = split(info)
        attributes = fields[3][1] if fields[3][0] == 0xA0 else b""
        at = 5 if attributes else 4
        found.append((content, attributes, fields[at][1]))
        if fields[-1][0] == 0xA1:
            found += _nested(fields[-1][1], depth)
    return found


def _nested(unsigned: bytes, depth: int) -> list[Signature]:
    found: list[Signature] = []
    for _, attribute, _ in split(unsigned):
        oid, values = split(attribute)[:2]
        if oid[2] == NESTED:
            found += (one for value in split(values[1]) for one in _walk(value[2], depth + 1))
    return found
