"""Commits and tags to sign, as ``git cat-file`` writes them."""

from __future__ import annotations

import base64
import re

from tests.samples import dmg

BYTE_EXACT = True
TREE, PARENT = (
    b"4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    b"021ec8350dffdb27ebcbad1ce0c5b91e12b6b679",
)
WHO = b"Ann <ann@example.org> 1700000000 +0100"


def commit(
    message: bytes = b"A change\n\nand why.\n", *headers: bytes, tree: bytes = TREE
) -> bytes:
    """Return a commit; ``headers`` are whole lines behind the usual ones."""
    return (b"tree %b\nparent %b\nauthor %b\ncommitter %b\n" % (tree, PARENT, WHO, WHO)
            + b"".join(headers) + b"\n" + message)  # fmt: skip


def tag(message: bytes = b"Release 1\n", target: bytes = PARENT) -> bytes:
    """Return an annotated tag of a commit."""
    return b"object %b\ntype commit\ntag v1\ntagger %b\n\n" % (target, WHO) + message


def merged() -> bytes:
    """Return a merge of a tag that somebody signed, in another encoding."""
    inner = tag() + b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
    lines = inner.removesuffix(b"\n").split(b"\n")
    return commit(b"Merge\n", b"encoding ISO-8859-1\n", b"mergetag " + b"\n ".join(lines) + b"\n")


SAMPLES = {"change.commit": commit, "release.tag": tag, "merge.commit": merged}


def exempt(data: bytes) -> frozenset[int]:
    """Return what of the CMS is nobody's word."""
    armour = re.search(rb"-----BEGIN SIGNED MESSAGE-----\n(.*)-----END", data, re.DOTALL)
    if armour is None:
        return frozenset()
    places = [i for i in range(*armour.span(1)) if data[i] not in b"\n "]
    found = set[int]()
    for octet in dmg.exempt(base64.b64decode(bytes(data[i] for i in places))):
        found |= set(places[octet * 8 // 6 : (octet * 8 + 7) // 6 + 1])
    return frozenset(found)
