"""Mach-O files and their signatures, written with every defect as an argument.

Written apart from ``wire/`` and ``formats/``, from Apple's published ``loader.h``, ``fat.h`` and
``cs_blobs.h``, so that both would have to be wrong alike.
"""

from __future__ import annotations

import hashlib
import plistlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.authenticode import cms
from conformance.authenticode.keys import digest_algorithm
from conformance.authenticode.pki import Identity

from signward.wire import der
from tests.signing import identity

KINDS = {1: ("sha1", 20), 2: ("sha256", 32), 3: ("sha256", 20), 4: ("sha384", 48)}
"""Kinds of digests of a code directory, by number."""

_LISTED = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1",
           "sha384": "2.16.840.1.101.3.4.2.2"}  # fmt: skip
ARM64, X86_64, I386, POWERPC = 0x0100000C, 0x01000007, 7, 18
EXECUTE, DYLIB = 2, 6
ROOM = 8192
"""Octets that a built file leaves for its signature."""


def blob(magic: int, content: bytes) -> bytes:
    """Return a blob with its header of eight octets."""
    return struct.pack(">II", magic, 8 + len(content)) + content


def superblob(blobs: Sequence[tuple[int, bytes]], magic: int = 0xFADE0CC0) -> bytes:
    """Return a superblob of pairs of slot type and blob."""
    offset = 12 + 8 * len(blobs)
    index = b""
    for kind, one in blobs:
        index += struct.pack(">II", kind, offset)
        offset += len(one)
    content = struct.pack(">I", len(blobs)) + index + b"".join(one for _, one in blobs)
    return blob(magic, content)


def slot_digest(kind: int, data: bytes) -> bytes:
    """Return a digest as a code directory keeps it."""
    name, size = KINDS[kind]
    return hashlib.new(name, data, usedforsecurity=False).digest()[:size]


def directory(
    code: bytes,
    *,
    kind: int = 2,
    identifier: str = "org.example.tool",
    team: str = "",
    flags: int = 0,
    special: Mapping[int, bytes] | None = None,
    page_shift: int = 12,
    version: int = 0x20400,
    code_limit: int | None = None,
    pages: Sequence[bytes] | None = None,
    scatter: int = 0,
    runtime: int = 0,
    platform: int = 0,
    specials: int | None = None,
) -> bytes:
    """Return a code directory over ``code``; ``special`` are the contents of special slots."""
    size = KINDS[kind][1]
    step = 1 << page_shift if page_shift else max(len(code), 1)
    if pages is None:
        pages = [slot_digest(kind, code[i : i + step]) for i in range(0, len(code), step)]
    contents = special or {}
    count = max(contents, default=0) if specials is None else specials
    slots = [
        slot_digest(kind, contents[n]) if n in contents else bytes(size)
        for n in range(count, 0, -1)
    ]
    rest = struct.pack(">I", scatter) if version >= 0x20100 else b""
    names = identifier.encode() + b"\0"
    head = 44 + {0x20001: 0, 0x20100: 4, 0x20200: 8, 0x20300: 20, 0x20400: 44, 0x20500: 52}[version]
    team_at = head + len(names) if team else 0
    names += team.encode() + b"\0" if team else b""
    rest += struct.pack(">I", team_at) if version >= 0x20200 else b""
    rest += bytes(12) if version >= 0x20300 else b""
    rest += struct.pack(">QQQ", 0, 4096, 1) if version >= 0x20400 else b""
    rest += struct.pack(">II", runtime, 0) if version >= 0x20500 else b""
    limit = len(code) if code_limit is None else code_limit
    fixed = struct.pack(
        ">7I4BI", version, flags, head + len(names) + len(slots) * size, head,
        len(slots), len(pages), limit, size, kind, platform, page_shift, 0,
    )  # fmt: skip
    return blob(0xFADE0C02, fixed + rest + names + b"".join((*slots, *pages)))


def cdhash(one: bytes) -> bytes:
    """Return the first 20 octets of a code directory's digest."""
    return _whole(one)[1][:20]


def _whole(one: bytes) -> tuple[str, bytes]:
    name = KINDS[one[37]][0]
    return name, hashlib.new(name, one, usedforsecurity=False).digest()


def listed(directories: Sequence[bytes], *, plist: bool = True, whole: bool = True) -> list[bytes]:
    """Return the signed attributes that list code directories."""
    made = []
    if plist:
        text = plistlib.dumps({"cdhashes": [cdhash(one) for one in directories]})
        made.append(cms.attribute("1.2.840.113635.100.9.1", der.octet_string(text)))
    if whole:
        values = [
            der.sequence(der.oid(_LISTED[name]), der.octet_string(digest))
            for name, digest in map(_whole, directories)
        ]
        made.append(cms.attribute("1.2.840.113635.100.9.2", *values))
    return made


def signed(
    content: bytes,
    *,
    who: Identity | None = None,
    extra: Sequence[bytes] = (),
    inside: bytes = b"",
    signers: int = 1,
    **signer: Any,
) -> bytes:
    """Return a detached CMS over ``content``; ``inside`` puts content into it all the same.

    ``signers`` says how often the signer stands in it.
    """
    who = who or identity()
    certificates = [one.certificate for one in who.path if one.issuer]
    made = cms.Signer(identity=who, extra=tuple(extra), **signer)
    info = cms.signer_info(content, made, cms.DATA)
    held = der.context(0, der.octet_string(inside)) if inside else b""
    data = der.sequence(
        der.integer(1),
        der.set_of(digest_algorithm(signer.get("digest", "sha256"))),
        der.sequence(der.oid(cms.DATA), held),
        der.context(0, b"".join(sorted(certificates))),
        der.set_of(*[info] * signers),
    )
    return der.sequence(der.oid(cms.SIGNED_DATA), der.context(0, data))


def signature(
    code: bytes,
    *,
    kinds: Sequence[int] = (2,),
    who: Identity | None = None,
    blobs: Mapping[int, bytes] | None = None,
    ad_hoc: bool = False,
    attributes: Sequence[bytes] | None = None,
    cms_blob: bytes | None = None,
    further: Sequence[tuple[int, bytes]] = (),
    unsigned: Sequence[cms.Unsigned] = (),
    **described: Any,
) -> bytes:
    """Return a superblob over ``code`` with a directory for each of ``kinds``.

    ``blobs`` are those of special slots inside it; ``described`` goes to `directory`.
    """
    inside = dict(blobs or {2: blob(0xFADE0C01, bytes(4))})
    special = {**inside, **described.pop("special", {})}
    flags = described.pop("flags", 0) | (2 if ad_hoc else 0)
    made = [directory(code, kind=k, special=special, flags=flags, **described) for k in kinds]
    parts = [(0, made[0]), *sorted(inside.items())]
    parts += [(0x1000 + n, one) for n, one in enumerate(made[1:])]
    parts += further
    if cms_blob is not None:
        parts.append((0x10000, blob(0xFADE0B01, cms_blob)))
    elif not ad_hoc:
        extra = listed(made) if attributes is None else attributes
        over = signed(made[0], who=who, extra=extra, unsigned=tuple(unsigned))
        parts.append((0x10000, blob(0xFADE0B01, over)))
    return superblob(parts)


def signed_file(data: bytes, *, room: int = ROOM, left: bytes = b"", **asked: Any) -> bytes:
    """Return a thin Mach-O with a signature at its end; ``asked`` goes to `signature`.

    ``room`` are the octets that its load command says; ``left`` stands behind the superblob.
    """
    order = "<" if data[3] == 0xFE else ">"
    wide = data[0 if order == "<" else 3] == 0xCF
    data += bytes(-len(data) % 16)
    out = bytearray(data)
    count, octets = struct.unpack_from(f"{order}II", data, 16)
    end = (32 if wide else 28) + octets
    assert not any(data[end : end + 16]), "no room for the load command"
    struct.pack_into(f"{order}II", out, 16, count + 1, octets + 16)
    struct.pack_into(f"{order}4I", out, end, 0x1D, 16, len(data), room)
    _grow_linkedit(out, order, wide, len(data) + room)
    made = signature(bytes(out), **asked)
    assert len(made) + len(left) <= room, f"{len(made)} octets"
    return bytes(out) + (made + left).ljust(room, b"\0")


def _grow_linkedit(out: bytearray, order: str, wide: bool, end: int) -> None:
    """Make __LINKEDIT reach to ``end``."""
    at = 32 if wide else 28
    (count,) = struct.unpack_from(f"{order}I", out, 16)
    word, form = (8, "Q") if wide else (4, "I")
    for _ in range(count):
        _, size = struct.unpack_from(f"{order}II", out, at)
        if out[at + 8 : at + 18] == b"__LINKEDIT":
            (offset,) = struct.unpack_from(order + form, out, at + 24 + 2 * word)
            struct.pack_into(order + form, out, at + 24 + 3 * word, end - offset)
        at += size
