"""APK Signature Scheme v4: the ``.idsig`` file beside a package, over the package's fs-verity tree.

Sources: Android, "APK Signature Scheme v4"; AOSP ``V4Signature`` and ``V4SchemeVerifier`` for its
signed data and the blocks of later signers.  Numbers are little-endian, parts length-prefixed
(`wire.prefixed`), certificates DER, keys SubjectPublicKeyInfo, ECDSA and DSA values DER.
"""

from __future__ import annotations

import hashlib

from signward.envelopes.apk_methods import METHODS, check_key, claim
from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen, replace
from signward.state import ClaimedSignature, Rotation, Slot
from signward.wire.apk_block import V31
from signward.wire.prefixed import Prefixed

TREE, NODES = "apk-file-tree", "apk-file-tree:nodes"
"""The slots: the root of the whole file's tree, and the tree's own octets as the file has them."""

MAX_IDSIG = 64 * 1024 * 1024
"""Octets of an ``.idsig`` file: the tree over 4 GiB, which a ZIP ends with, has 33 MiB."""

MAX_BLOCKS = 8
"""Blocks of later signers; one kind is known."""

VERSION = 2
"""The version of the file, a u32 in front."""

_SHA256, _SHIFT = 1, 12
_WHAT = "v4 signature"
_CLAUSE = "APK Signature Scheme v4, format"


class V4Signer(Frozen, frozen=True, kw_only=True):
    """One signer: ``scheme`` says whose word it repeats (empty: v3's, or v2's where none is)."""

    scheme: str
    claimed: ClaimedSignature
    certificate: bytes
    digest: bytes


def open_idsig(data: bytes, length: int) -> tuple[V4Signer, ...]:
    """Return the signers in an ``.idsig`` file of a package of ``length`` octets.

    Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    if len(data) > MAX_IDSIG:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_IDSIG}", _CLAUSE)
    reader = Prefixed(data, _WHAT)
    version = reader.u32()
    if version != VERSION:
        raise MalformedError(_WHAT, f"version {version}", f"{VERSION}", _CLAUSE)
    root = _root(reader.part())
    signing = Prefixed(reader.part(), _WHAT)
    slots = (Slot(name=TREE, algorithm="sha256", digest=root), *_nodes(reader))
    found = [_signer(signing, "", root, length, slots)]
    while signing.left:
        number, block = signing.u32(), Prefixed(signing.part(), _WHAT)
        found.append(_signer(block, _scheme(number), root, length, slots))
        block.finish()
        if len(found) > MAX_BLOCKS:
            raise LimitError(_WHAT, "more blocks of signers", f"at most {MAX_BLOCKS}", _CLAUSE)
    if len({signer.scheme for signer in found}) != len(found):
        raise AmbiguousError(_WHAT, "two signers for one scheme", "one for each", _CLAUSE)
    return tuple(found)


def with_lineage(claimed: ClaimedSignature, lineage: tuple[Rotation, ...]) -> ClaimedSignature:
    """Return the claim with the lineage that its signer has by the scheme it repeats."""
    return replace(claimed, lineage=lineage)


def _nodes(reader: Prefixed) -> tuple[Slot, ...]:
    """Return the slot of the tree's octets; none where the file leaves the tree out."""
    if not reader.left:
        return ()
    tree = reader.part()
    reader.finish()
    return (Slot(name=NODES, algorithm="sha256", digest=hashlib.sha256(tree).digest()),)


def _scheme(number: int) -> str:
    if number != V31:
        raise MalformedError(_WHAT, f"a block of signers {number:#010x}", f"{V31:#010x}, of v3.1",
                             _CLAUSE)  # fmt: skip
    return "v3.1"


def _root(part: bytes) -> bytes:
    """Return the tree's root: only one kind of tree is ever written, and none other understood."""
    reader = Prefixed(part, _WHAT)
    algorithm, shift, salt, root = reader.u32(), reader.take(1)[0], reader.part(), reader.part()
    reader.finish()
    if (algorithm, shift, salt) != (_SHA256, _SHIFT, b""):
        found = f"digest {algorithm}, blocks of 2^{shift}, a salt of {len(salt)} octets"
        raise MalformedError(_WHAT, found, "SHA-256, blocks of 4096, no salt", _CLAUSE)
    return root


def hashing_info(root: bytes) -> bytes:
    """Return the part that says how the tree is built, and its root."""
    return b"".join((
        _SHA256.to_bytes(4, "little"), bytes([_SHIFT]), bytes(4),
        len(root).to_bytes(4, "little"), root,
    ))  # fmt: skip


def is_idsig(data: bytes) -> bool:
    """Say whether octets begin as an ``.idsig`` file with a tree of SHA-256 does."""
    return data[:4] == VERSION.to_bytes(4, "little") and data[8:13] == b"\1\0\0\0\x0c"


def signed_data(
    length: int, root: bytes, digest: bytes, certificate: bytes, extra: bytes = b""
) -> bytes:
    """Return what the value is over, whose own length (u32) comes first.

    ``length`` is the package's (u64), ``root`` its tree's, ``digest`` the content digest of v3
    or v2, ``extra`` data of nobody's.
    """
    parts = (b"", root, digest, certificate, extra)
    body = b"".join((
        length.to_bytes(8, "little"), _SHA256.to_bytes(4, "little"), bytes([_SHIFT]),
        *(len(part).to_bytes(4, "little") + part for part in parts),
    ))  # fmt: skip
    return (len(body) + 4).to_bytes(4, "little") + body


def _signer(
    reader: Prefixed, scheme: str, root: bytes, length: int, slots: tuple[Slot, ...]
) -> V4Signer:
    digest, certificate, extra, key = (reader.part() for _ in range(4))
    number, value = reader.u32(), reader.part()
    method = METHODS.get(number)
    if method is None:
        raise MalformedError(_WHAT, f"algorithm {number:#06x}", "a known one", _CLAUSE)
    label = f"v4:{scheme}" if scheme else "v4"
    data = signed_data(length, root, digest, certificate, extra)
    findings = check_key(_WHAT, certificate, key)
    claimed = claim(label, method.algorithm, slots, data, value, certificate, findings)
    return V4Signer(scheme=scheme, claimed=claimed, certificate=certificate, digest=digest)
