"""Signed installer packages, their digests computed from the tree that goes into them.

The content digest begins with the metadata digest where there is one; both walk each
storage's members in the order of their names' UTF-16LE bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cms
from conformance.authenticode.compound import PACKAGE, STORAGE, TIMES, Built, Tree, compound
from conformance.authenticode.pki import default_pki
from conformance.authenticode.script import SPC_SIP_INFO
from signward.wire import der

SIGNATURE, METADATA = "\5DigitalSignature", "\5MsiDigitalSignatureEx"

SAMPLE: Tree = {
    "\5SummaryInformation": b"\xfe\xff\0\0" + b"summary " * 20,
    "Binary": bytes(range(256)) * 3,
    "cab": b"MSCF" + bytes(range(200)) * 25,
}
"""Streams in the mini stream and in sectors of their own."""

PATCH: Tree = {**SAMPLE, "T1": {"Binary": b"transform"}, "#T1": {"y": b"another"}}

_PACKAGE_SIP = bytes.fromhex("f1100c0000000000c000000000000046")


def metadata(tree: Tree, digest: str = "sha256") -> bytes:
    """Return the digest of names, sizes, class identifiers, state bits and times."""
    return hashlib.new(digest, b"".join((PACKAGE, bytes(4), *_metadata(tree)))).digest()


def _metadata(tree: Tree) -> Iterator[bytes]:
    for name, value in _ordered(tree):
        if isinstance(value, bytes):
            yield name + len(value).to_bytes(4, "little") + bytes(4 + 16)
        else:
            yield name + STORAGE + bytes(4) + TIMES
            yield from _metadata(value)


def content(tree: Tree, first: bytes = b"", digest: str = "sha256") -> bytes:
    """Return the content digest; ``first`` is the metadata digest, or nothing."""
    return hashlib.new(digest, b"".join((first, *_content(tree), PACKAGE))).digest()


def _content(tree: Tree) -> Iterator[bytes]:
    for _, value in _ordered(tree):
        if isinstance(value, bytes):
            yield value
        else:
            yield from _content(value)
            yield STORAGE


def _ordered(tree: Tree) -> list[tuple[bytes, bytes | Tree]]:
    return sorted((name.encode("utf-16-le"), value) for name, value in tree.items())


def envelope(octets: bytes, digest: str = "sha256", **fields: Any) -> bytes:
    """Return the PKCS#7 over a content digest; ``fields`` go into ``cms.Signer``."""
    pki = default_pki()
    sip = der.sequence(
        der.integer(1), der.octet_string(_PACKAGE_SIP), *(der.integer(0) for _ in range(5))
    )
    spoken = cms.indirect_data(SPC_SIP_INFO, sip, digest, octets)
    signer = cms.Signer(identity=pki.leaf, digest=digest, **fields)
    return cms.sign(spoken, signer, certificates=pki.chain)


def signed(
    tree: Tree = SAMPLE,
    *,
    ex: bool = True,
    digest: str = "sha256",
    behind: bytes = b"",
    now: Tree | None = None,
    size: int = 512,
    spare: int = 0,
    **fields: Any,
) -> Built:
    """Return a package signed as ``tree``; ``now`` is what it holds instead.

    ``behind`` follows the PKCS#7 in its stream.
    """
    first = metadata(tree, digest) if ex else b""
    streams = {SIGNATURE: envelope(content(tree, first, digest), digest, **fields) + behind}
    if ex:
        streams[METADATA] = first
    held: Tree = tree if now is None else now
    return compound({**streams, **held}, size=size, spare=spare)
