"""RPM packages, laid out as rpm lays them out; every part can be given, or left out.

Format version 4 has SHA-1, SHA-256 and MD5 digests and its size in the signature header;
version 6 has SHA-256 and SHA3-256 there, and a stripped archive in the payload.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INT16, INT32, INT64, STRING, BINARY, STRINGS, I18N = 3, 4, 5, 6, 7, 8, 9
_WIDTH = {INT16: 2, INT32: 4, INT64: 8}
_SIGNATURES, _IMMUTABLE = 62, 63
_MAGIC = bytes.fromhex("8eade80100000000")

Value = tuple[int, int, bytes]
"""Type, count and octets of a value."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a package: what the header says of it, and what the payload holds.

    ``inside`` is its content in the payload where that is another (None: it is not in it).
    """

    path: str
    content: bytes = b""
    mode: int = 0o100644
    link: str = ""
    flags: int = 0
    inode: int = 0
    inside: bytes | None = b"\0as it is"
    name: bytes = b""

    @property
    def held(self) -> bytes | None:
        """What the payload holds of it; None for nothing at all."""
        if self.inside != b"\0as it is":
            return self.inside
        return self.link.encode() if self.link else self.content


FILES = (
    File(path="/usr/bin/tool", content=b"#!/bin/sh\necho tool\n", mode=0o100755),
    File(path="/usr/share/tool", mode=0o040755),
    File(path="/usr/share/tool/data", content=bytes(range(200))),
    File(path="/usr/share/tool/empty"),
    File(path="/usr/bin/again", link="tool", mode=0o120777),
    File(path="/var/log/tool", content=b"never there", inside=None, flags=0x40),
)


def number(width: int, *values: int) -> Value:
    """Return a value of numbers."""
    return width, len(values), b"".join(v.to_bytes(_WIDTH[width], "big") for v in values)


def text(value: str | bytes) -> Value:
    """Return a value of one string."""
    octets = value.encode() if isinstance(value, str) else value
    return STRING, 1, octets + b"\0"


def texts(*values: str | bytes) -> Value:
    """Return a value of several strings."""
    octets = b"".join((v.encode() if isinstance(v, str) else v) + b"\0" for v in values)
    return STRINGS, len(values), octets


def binary(octets: bytes) -> Value:
    """Return a binary value."""
    return BINARY, len(octets), octets


def header(
    region: int, values: Mapping[int, Value], more: Sequence[tuple[int, Value]] = ()
) -> bytes:
    """Return a header with its magic; ``more`` stands behind the sorted values, as it is."""
    index, store = b"", b""
    for tag, (kind, count, octets) in (*sorted(values.items()), *more):
        store += bytes(-len(store) % _WIDTH.get(kind, 1))
        index += struct.pack(">iIiI", tag, kind, len(store), count)
        store += octets
    entries = len(values) + len(more) + 1
    index = struct.pack(">iIiI", region, BINARY, len(store), 16) + index
    store += struct.pack(">iIiI", region, BINARY, -16 * entries, 16)
    return _MAGIC + struct.pack(">II", entries, len(store)) + index + store


def archive(files: Sequence[File], *, stripped: bool = False) -> bytes:
    """Return a cpio archive of the files that are there, with its trailer."""
    made = b""
    for at, file in enumerate(files):
        if file.held is not None:
            made += member(file.name or b"." + file.path.encode(), file.held, file.mode,
                           at if stripped else None)  # fmt: skip
    return made + member(b"TRAILER!!!", b"", 0)


def member(name: bytes, content: bytes, mode: int = 0o100644, number: int | None = None) -> bytes:
    """Return one member, stripped of all but its number where there is one."""
    if number is not None:
        head = b"07070X%08x\0\0" % number
    else:
        fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
        head += bytes(-len(head) % 4)
    return head + content + bytes(-len(content) % 4)


def packed(kind: str, data: bytes) -> bytes:
    """Return data packed as payloads are; ``kind`` empty leaves them alone."""
    if kind == "zstd":
        from signward.wire.compressed import pack

        return pack("zstd", data, "payload")
    how = {"gzip": lambda d: gzip.compress(d, mtime=0), "bzip2": bz2.compress,
           "xz": lzma.compress, "lzma": lambda d: lzma.compress(d, lzma.FORMAT_ALONE),
           "": bytes}  # fmt: skip
    return how[kind](data)


def values_of(files: Sequence[File], algorithm: str = "sha256") -> dict[int, Value]:
    """Return what a header says of files."""
    folders = sorted({file.path.rpartition("/")[0] + "/" for file in files})
    numbers = {"md5": 1, "sha1": 2, "sha256": 8, "sha512": 10}
    digests = [hashlib.new(algorithm, f.content).hexdigest() if f.mode & 0o170000 == 0o100000
               and f.held is not None else "" for f in files]  # fmt: skip
    parted = [file.path.rpartition("/") for file in files]
    return {
        1028: number(INT32, *(len(f.link or f.content) for f in files)),
        1030: number(INT16, *(f.mode for f in files)),
        1033: number(INT16, *(0 for _ in files)),
        1034: number(INT32, *(1_700_000_000 for _ in files)),
        1035: texts(*digests),
        1036: texts(*(f.link for f in files)),
        1037: number(INT32, *(f.flags for f in files)),
        1039: texts(*("root" for _ in files)),
        1040: texts(*("root" for _ in files)),
        1095: number(INT32, *(1 for _ in files)),
        1096: number(INT32, *(f.inode or at + 1 for at, f in enumerate(files))),
        1116: number(INT32, *(folders.index(head + "/") for head, _, _ in parted)),
        1117: texts(*(tail for _, _, tail in parted)),
        1118: texts(*folders),
        5011: number(INT32, numbers[algorithm]),
    }


def main_header(
    files: Sequence[File],
    payload: bytes,
    unpacked: bytes,
    *,
    kind: str = "gzip",
    version: int = 4,
    name: str = "tool",
    change: Mapping[int, Value | None] | None = None,
    algorithm: str = "sha256",
    more: Sequence[tuple[int, Value]] = (),
) -> bytes:
    """Return the header; ``change`` puts values in the place of others, or takes them out."""
    values: dict[int, Value] = {
        100: texts("C"),
        1000: text(name), 1001: text("1.0"), 1002: text("1"),
        1004: (I18N, 1, b"a tool\0"),
        1021: text("linux"), 1022: text("noarch"),
        1124: text("cpio"), 1125: text(kind),
        5092: texts(hashlib.sha256(payload).hexdigest()), 5093: number(INT32, 8),
        5097: texts(hashlib.sha256(unpacked).hexdigest()),
        **(values_of(files, algorithm) if files else {}),
    }  # fmt: skip
    if version == 6:
        values |= {
            5114: number(INT32, 6),
            5121: text(hashlib.sha512(payload).hexdigest()),
            5123: text(hashlib.sha3_256(payload).hexdigest()),
            5124: text(hashlib.sha3_256(unpacked).hexdigest()),
        }
    values |= {k: v for k, v in (change or {}).items() if v is not None}
    for tag in [k for k, v in (change or {}).items() if v is None]:
        values.pop(tag, None)
    return header(_IMMUTABLE, values, more)


def signature_values(head: bytes, payload: bytes, version: int, reserved: int) -> dict[int, Value]:
    """Return what the signature header of an unsigned package says."""
    values = {273: text(hashlib.sha256(head).hexdigest())}
    if version == 6:
        values[279] = text(hashlib.sha3_256(head).hexdigest())
    else:
        values |= {
            269: text(hashlib.sha1(head).hexdigest()),
            1000: number(INT32, len(head) + len(payload)),
            1004: binary(hashlib.md5(head + payload).digest()),
            1007: number(INT32, 4242),
        }
    return values | ({999 if version == 6 else 1008: binary(bytes(reserved))} if reserved else {})


def package(
    files: Sequence[File] = FILES,
    *,
    kind: str = "gzip",
    version: int = 4,
    reserved: int = 640,
    extra: Mapping[int, Value] | None = None,
    payload: bytes | None = None,
    **how: Any,
) -> bytes:
    """Return an unsigned package; ``extra`` values come into its signature header."""
    unpacked = archive(files, stripped=version == 6)
    content = packed(kind, unpacked) if payload is None else payload
    head = main_header(files, content, unpacked, kind=kind, version=version, **how)
    values = signature_values(head, content, version, reserved)
    return assembled({**values, **(extra or {})}, head, content, version)


def assembled(
    values: Mapping[int, Value],
    head: bytes,
    payload: bytes,
    version: int = 4,
    more: Sequence[tuple[int, Value]] = (),
) -> bytes:
    """Return a package of a signature header, a header and a payload."""
    lead = struct.pack(">4sBBHH66sHH16s", b"\xed\xab\xee\xdb", 3 if version == 4 else 4, 0, 0, 0,
                       b"tool-1.0-1", 1 if version == 4 else 0, 5, b"")  # fmt: skip
    signature = header(_SIGNATURES, values, more)
    return lead + signature + bytes(-len(signature) % 8) + head + payload


def split(data: bytes) -> tuple[dict[int, Value], bytes, bytes]:
    """Return a package's signature values, its header and its payload."""
    values, end = _read(data, 96)
    start = end + -end % 8
    _, behind = _read(data, start)
    return values, data[start:behind], data[behind:]


def _read(data: bytes, at: int) -> tuple[dict[int, Value], int]:
    count, size = struct.unpack_from(">II", data, at + 8)
    store = at + 16 + 16 * count
    entries = [struct.unpack_from(">iIiI", data, at + 16 + 16 * i) for i in range(1, count)]
    values = {}
    for tag, kind, start, many in entries:
        end = start
        for _ in range(many if kind in (STRING, STRINGS, I18N) else 0):
            end = data.index(b"\0", store + end) + 1 - store
        width = _WIDTH.get(kind, 1)
        values[tag] = (
            kind,
            many,
            data[store + start : store + (end if end > start else start + width * many)],
        )
    return values, store + size


def delta() -> bytes:
    """Return a package whose payload is of a kind that nobody judges here: a difference."""
    return package((), payload=b"drpm", kind="xz", change={1124: text("drpm")})
