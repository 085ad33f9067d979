"""Mutations inside signed structures, signed again outward with test keys.

A certificate, CRL or OCSP answer is ``SEQUENCE { tbs, algorithm, value }``; a CMS
signature is content, signed attributes over it, a value over those, and unsigned
attributes over the value.  Each function changes one part and makes what lies further
out consistent with it, so that the change is the only thing a verifier can object to.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.authenticode.keys import Key

from tests.fuzz.trees import NotDerError, Tree, mutate, read

MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
DEEP = 45
"""Nesting at which Signward stops reading."""


def resigned(rng: random.Random, structure: bytes, signer: Key, other: Tree | None = None) -> bytes:
    """Return a certificate, CRL or OCSP answer with a changed TBS and a fitting value.

    Sometimes the inner algorithm is copied outward or the value left as it was.
    """
    tree = read(structure, wrapped=True)
    tbs = tree.at(0)
    mutate(rng, tbs, other)
    return _sealed(tree, signer)


def _sealed(tree: Tree, signer: Key) -> bytes:
    tree.at(2).content, tree.at(2).children = b"\0" + signer.sign(tree.at(0).encode()), None
    return tree.encode()


def resealed(structure: bytes, signer: Key) -> bytes:
    """Return the structure, its TBS untouched, signed by another key."""
    return _sealed(read(structure), signer)


def resigned_ocsp(rng: random.Random, response: bytes, signer: Key) -> bytes:
    """Return an OCSPResponse with a changed ResponseData and a fitting value (RFC 6960 4.2.1)."""
    tree = read(response)
    octets = tree.at(1, 0, 1)
    octets.content = resigned(rng, octets.content, signer)
    if rng.random() < 0.1:
        mutate(rng, tree)
    return tree.encode()


@dataclass
class Parts:
    """A SignedData with one signer, by its parts (RFC 5652 5.1, 5.3)."""

    whole: Tree
    holder: Tree
    attributes: Tree
    value: Tree
    unsigned: Tree | None

    @property
    def hashed(self) -> bytes:
        """What messageDigest is over: the content without its own tag and length."""
        return b"".join(child.inside() for child in self.holder.children or ())


def parts_of(blob: bytes, *, wrapped: bool = False) -> Parts:
    """Find the parts of a SignedData as the builders write it."""
    whole = read(blob)
    signed = whole.at(1, 0)
    holder, info = signed.at(2, 1), signed.at(-1, 0)
    if wrapped:
        holder.children = [Tree(0x04, b"", [read(holder.at(0).content, wrapped=True)])]
    unsigned = info.at(-1) if info.at(-1).tag == 0xA1 else None
    return Parts(whole, holder, info.at(3), info.at(5), unsigned)


def seal(parts: Parts, signer: Key, *, digest: bool = True) -> bytes:
    """Make messageDigest and value fit content and attributes; return the value."""
    if digest:
        for octets in _message_digests(parts.attributes):
            octets.content, octets.children = hashlib.sha256(parts.hashed).digest(), None
    to_be_signed = Tree(0x31, parts.attributes.content, parts.attributes.children).encode()
    parts.value.content = signer.sign(to_be_signed)
    parts.value.children = None
    return parts.value.content


def _message_digests(attributes: Tree) -> Iterable[Tree]:
    for one in attributes.children or ():
        fields = one.children or []
        if len(fields) == 2 and fields[0].content == MESSAGE_DIGEST:
            yield from (v for v in fields[1].children or () if v.tag == 0x04)


def resigned_cms(rng: random.Random, blob: bytes, signer: Key, part: str) -> bytes:
    """Return a SignedData changed in ``part``: ``content``, ``attributes`` or ``frame``."""
    parts = parts_of(blob)
    if part == "frame":
        seal(parts, signer)
        mutate(rng, parts.whole)
        return parts.whole.encode()
    mutate(rng, parts.holder if part == "content" else parts.attributes)
    seal(parts, signer, digest=rng.random() < 0.9)
    return parts.whole.encode()


def resigned_token(
    rng: random.Random, token: bytes, signer: Key, part: str, value: bytes | None = None
) -> bytes:
    """Return an RFC 3161 token changed in ``part``: ``info`` (TSTInfo) or as ``resigned_cms``.

    With ``value`` the imprint is first made to speak for it, if it has the usual form.
    """
    parts = parts_of(token, wrapped=True)
    if value is not None:
        parts.holder.at(0, 0, 2, 1).content = hashlib.sha256(value).digest()
    if part == "info":
        mutate(rng, parts.holder.at(0))
    elif part == "attributes":
        mutate(rng, parts.attributes)
    seal(parts, signer, digest=rng.random() < 0.9)
    if part == "frame":
        mutate(rng, parts.whole)
    return parts.whole.encode()


def with_unsigned_value(blob: bytes, value: bytes) -> bytes:
    """Return the SignedData with ``value`` in place of its first unsigned attribute's value."""
    parts = parts_of(blob)
    if parts.unsigned is None:
        raise NotDerError("no unsigned attributes")
    parts.unsigned.at(0, 1).children = [read(value)]
    return parts.whole.encode()


def with_certificate(blob: bytes, old: bytes, new: bytes) -> bytes:
    """Return the SignedData whose certificates hold ``new`` where they held ``old``."""
    whole = read(blob)
    held = whole.at(1, 0, 3)
    held.children = [read(new) if one.encode() == old else one for one in held.children or ()]
    return whole.encode()
