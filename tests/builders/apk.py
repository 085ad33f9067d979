"""Android packages with one rule broken at a time.

Sources: Android, "APK Signature Scheme v2", "v3" and "v3.1", format; AOSP ``ResourceTypes.h`` for
the manifest.  Nothing of the product is used but the reading of certificates' keys.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.authenticode.keys import Key
from conformance.authenticode.pki import Identity

V2, V3, V31 = 0x7109871A, 0xF05368C0, 0x1B93AD61
STAMP, STAMP_V1 = 0x6DFF800D, 0x2B09189E
NEWEST = 0x7FFFFFFF
RSA256, RSA512, PSS256, EC256, VERITY_RSA, VERITY_EC = 0x103, 0x104, 0x101, 0x201, 0x421, 0x423
_CHUNK, _PAGE = 1 << 20, 4096
_DIGESTS = {RSA512: "sha512", 0x102: "sha512", 0x202: "sha512"}


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def prefixed(*parts: bytes) -> bytes:
    return b"".join(u32(len(part)) + part for part in parts)


def manifest(oldest: int | None = 24, target: int | None = None, codename: bool = False) -> bytes:
    """Return a binary manifest with ``<uses-sdk>``: a number, or a string for the oldest."""
    names = ("minSdkVersion", "targetSdkVersion", "manifest", "uses-sdk", "Tiramisu")
    pool, offsets = b"", []
    for name in names:
        offsets.append(len(pool))
        pool += len(name).to_bytes(2, "little") + name.encode("utf-16-le") + b"\0\0"
    pool += b"\0" * (-len(pool) % 4)
    start = 28 + 4 * len(names)
    head = struct.pack("<HHIIIIII", 1, 28, start + len(pool), len(names), 0, 0, start, 0)
    strings = head + b"".join(map(u32, offsets)) + pool
    resources = struct.pack("<HHIII", 0x180, 8, 16, 0x0101020C, 0x01010270)
    kind = 3 if codename else 0x10
    attributes = [] if oldest is None else [(0, kind, oldest)]
    attributes += [] if target is None else [(1, 0x10, target)]
    body = strings + resources + _element(2, ()) + _element(3, attributes)
    return struct.pack("<HHI", 3, 8, 8 + len(body)) + body


def _element(name: int, attributes: Sequence[tuple[int, int, int]]) -> bytes:
    data = b"".join(
        struct.pack("<IIIHBBI", 0xFFFFFFFF, index, 0xFFFFFFFF, 8, 0, kind, value)
        for index, kind, value in attributes
    )
    tag = struct.pack("<IIHHHHHH", 0xFFFFFFFF, name, 20, 20, len(attributes), 0, 0, 0)
    return struct.pack("<HHIII", 0x102, 16, 36 + len(data), 1, 0xFFFFFFFF) + tag + data


def archive(entries: dict[str, bytes] | None = None, oldest: int = 24, **more: Any) -> bytes:
    """Return an unsigned package, members stored."""
    out = io.BytesIO()
    held = {
        "AndroidManifest.xml": manifest(oldest, **more),
        "classes.dex": b"dex\n035\0" + bytes(64),
        **(entries or {}),
    }
    with zipfile.ZipFile(out, "w") as package:
        for name, data in held.items():
            package.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def parts(package: bytes) -> tuple[bytes, bytes, bytes]:
    """Return members, central directory and end record of an unsigned package."""
    end = package.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<II", package, end + 12)
    assert start + size == end
    return package[:start], package[start:end], package[end:]


def content_digest(package: bytes, method: int) -> bytes:
    """Return the digest a signer of this method claims over an unsigned package."""
    pieces = parts(package)
    if method in (VERITY_RSA, VERITY_EC, 0x425):
        return _tree(b"".join(pieces))
    name, digests = _DIGESTS.get(method, "sha256"), []
    for piece in pieces:
        for at in range(0, len(piece), _CHUNK):
            chunk = piece[at : at + _CHUNK]
            digests.append(hashlib.new(name, b"\xa5" + u32(len(chunk)) + chunk).digest())
    return hashlib.new(name, b"\x5a" + u32(len(digests)) + b"".join(digests)).digest()


def _tree(data: bytes) -> bytes:
    level = data
    while len(level) > 32:
        level += b"\0" * (-len(level) % _PAGE)
        level = b"".join(
            hashlib.sha256(bytes(8) + level[at : at + _PAGE]).digest()
            for at in range(0, len(level), _PAGE)
        )
    return level + len(data).to_bytes(8, "little")


def value_of(key: Key, method: int, data: bytes) -> bytes:
    return key.sign(data, _DIGESTS.get(method, "sha256"), pss=method in (PSS256, 0x102))


@dataclass(frozen=True, kw_only=True)
class By:
    """A signer; what stands twice in it can be made to differ."""

    who: Identity
    methods: tuple[int, ...] = (RSA256,)
    attributes: tuple[bytes, ...] = ()
    platforms: tuple[int, int] = (28, NEWEST)
    outer: tuple[int, int] | None = None
    key: bytes | None = None
    certificates: tuple[bytes, ...] | None = None
    listed: tuple[int, ...] | None = None
    digest: bytes | None = None
    values: dict[int, bytes] = field(default_factory=dict)


def attribute(number: int, value: bytes) -> bytes:
    return u32(number) + value


def stripping(scheme: int = 3) -> bytes:
    return attribute(0xBEEFF00D, u32(scheme))


def rotates_from(platform: int) -> bytes:
    return attribute(0x559F8B02, u32(platform))


@dataclass(frozen=True, kw_only=True)
class Holder:
    """One holder of a lineage: capabilities, and who signs for the holder before, if not they."""

    who: Identity
    flags: int = 0x17
    signed_by: Identity | None = None
    method: int = RSA256


def lineage(*holders: Holder, version: int = 1) -> bytes:
    """Return a proof-of-rotation attribute, oldest holder first."""
    nodes, before = [], None
    for holder in holders:
        signed = prefixed(holder.who.certificate) + u32(before.method if before else 0)
        by = holder.signed_by or (before.who if before else None)
        value = value_of(by.key, holder.method, signed) if by else b""
        nodes.append(prefixed(signed) + u32(holder.flags) + u32(holder.method) + prefixed(value))
        before = holder
    return attribute(0x3BA06F8C, u32(version) + prefixed(*nodes))


def signer(package: bytes, by: By, scheme: int) -> bytes:
    """Return one signer's record."""
    digests = [
        u32(method) + prefixed(by.digest or content_digest(package, method))
        for method in (by.methods if by.listed is None else by.listed)
    ]
    certificates = (by.who.certificate,) if by.certificates is None else by.certificates
    signed = prefixed(prefixed(*digests), prefixed(*certificates))
    if scheme != V2:
        signed += u32(by.platforms[0]) + u32(by.platforms[1])
    signed += prefixed(prefixed(*by.attributes))
    values = [
        u32(m) + prefixed(by.values.get(m) or value_of(by.who.key, m, signed)) for m in by.methods
    ]
    outer = by.outer or by.platforms
    middle = u32(outer[0]) + u32(outer[1]) if scheme != V2 else b""
    key = by.who.key.spki if by.key is None else by.key
    return prefixed(signed) + middle + prefixed(prefixed(*values), key)


def scheme_value(package: bytes, scheme: int, *signers: By) -> bytes:
    return prefixed(prefixed(*(signer(package, by, scheme) for by in signers)))


def with_block(
    package: bytes, *pairs: tuple[int, bytes], magic: bytes = b"APK Sig Block 42"
) -> bytes:
    """Return the package with a signing block of these pairs, the end record pointing behind it."""
    members, directory, end = parts(package)
    body = b"".join((len(v) + 4).to_bytes(8, "little") + u32(n) + v for n, v in pairs)
    size = (len(body) + 24).to_bytes(8, "little")
    block = size + body + size + magic
    start = len(members) + len(block)
    return members + block + directory + end[:16] + u32(start) + end[20:]


def signed(package: bytes, *, padding: bytes = b"", **schemes: Sequence[By] | By) -> bytes:
    """Return a package signed by ``v2=``, ``v3=`` and ``v31=``: a signer or several."""
    numbers = {"v2": V2, "v3": V3, "v31": V31}
    pairs = []
    for name, signers in schemes.items():
        several = (signers,) if isinstance(signers, By) else tuple(signers)
        pairs.append((numbers[name], scheme_value(package, numbers[name], *several)))
    return with_block(package, *pairs, *([(0x42726577, padding)] if padding else []))


# --- beside and above the signers ------------------------------------------------


def file_root(package: bytes) -> tuple[bytes, bytes]:
    """Return root and octets of the tree over a whole file, as v4 has it."""
    pages, levels = package, list[bytes]()
    while not levels or len(levels[0]) > _PAGE:
        chunks = [pages[at : at + _PAGE].ljust(_PAGE, b"\0") for at in range(0, len(pages), _PAGE)]
        pages = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
        pages += b"\0" * (-len(pages) % _PAGE)
        levels.insert(0, pages)
    return hashlib.sha256(levels[0]).digest(), b"".join(levels)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One signer of an ``.idsig`` file: whose digest it repeats, and what can be wrong in it."""

    who: Identity
    digest: bytes
    method: int = RSA256
    key: bytes | None = None
    size: int | None = None


def idsig(
    package: bytes, by: Beside, rotated: Beside | None = None, *, version: int = 2,
    root: bytes | None = None, tree: bytes | None = None, salt: bytes = b"", block: int = V31,
) -> bytes:  # fmt: skip
    """Return the v4 signature of a signed package; an empty ``tree`` leaves it out."""
    real_root, real_tree = file_root(package)
    root, tree = root or real_root, real_tree if tree is None else tree
    hashing = u32(1) + b"\x0c" + prefixed(salt, root)
    signing = _beside(package, by, root, salt)
    if rotated:
        signing += u32(block) + prefixed(_beside(package, rotated, root, salt))
    return u32(version) + prefixed(hashing, signing) + (prefixed(tree) if tree else b"")


def _beside(package: bytes, by: Beside, root: bytes, salt: bytes) -> bytes:
    size = len(package) if by.size is None else by.size
    body = size.to_bytes(8, "little") + u32(1) + b"\x0c"
    body += prefixed(salt, root, by.digest, by.who.certificate, b"")
    value = value_of(by.who.key, by.method, u32(len(body) + 4) + body)
    key = by.who.key.spki if by.key is None else by.key
    return prefixed(by.digest, by.who.certificate, b"", key) + u32(by.method) + prefixed(value)


def pairs_of(*digests: tuple[int, bytes]) -> bytes:
    """Return what a stamp signs of one scheme."""
    return prefixed(*(u32(number) + prefixed(digest) for number, digest in digests))


def stamp(
    who: Identity, schemes: dict[int, bytes], attributes: bytes | None = None,
    values: dict[int, bytes] | None = None,
) -> bytes:  # fmt: skip
    """Return a source stamp over what is signed of each scheme, by the scheme's number."""
    values = values or {}

    def signatures(data: bytes) -> bytes:
        return prefixed(u32(RSA256) + prefixed(value_of(who.key, RSA256, data)))

    spoken = [u32(n) + prefixed(values.get(n) or signatures(d)) for n, d in schemes.items()]
    parts = [who.certificate, prefixed(*spoken)]
    parts += [] if attributes is None else [attributes, signatures(attributes)]
    return prefixed(prefixed(*parts))


def stamp_attributes(*attributes: bytes) -> bytes:
    return prefixed(prefixed(*attributes))


def lineage_file(*holders: Holder) -> bytes:
    """Return a file that holds a lineage alone."""
    return u32(0x3EFF39D1) + u32(1) + prefixed(lineage(*holders)[4:])
