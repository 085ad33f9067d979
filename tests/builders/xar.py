"""Xar archives signed again over another table: what a signer could make, by mistake or to hide."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

from conformance.authenticode.pki import NOW

from signward.envelopes.cms_detached import draft_detached
from signward.wire.source import BytesSource
from signward.wire.xar import HEADER, read_xar
from tests.samples.pkg import NUMBERS
from tests.signing import identity, signer_of


def resigned(data: bytes, edit: Callable[[bytes], bytes], *, other_rsa: bool = False) -> bytes:
    """Return a signed package with another table, signed again: what a signer could make.

    ``other_rsa`` has another signer, of the same authority, make the RSA value.
    """
    old, who = read_xar(BytesSource("a.pkg", data)), identity()
    assert old.signature is not None
    assert old.x_signature is not None
    table = edit(old.table)
    toc = zlib.compress(table)
    stored = hashlib.new(old.checksum, toc).digest()
    draft = draft_detached(hashlib.sha256(stored).digest(), signer_of(who), NOW)
    cms = draft.seal(who.key.sign(draft.to_be_signed, "sha256"))
    signing = identity("rsa2048", "Another Publisher") if other_rsa else who
    rsa = signing.key.sign(toc, old.checksum)
    header = HEADER.pack(b"xar!", 28, 1, len(toc), len(table), NUMBERS[old.checksum])
    rest = data[old.heap + old.x_signature.start + old.x_signature.length :]
    return header + toc + stored + rsa + cms.ljust(old.x_signature.length, b"\0") + rest
