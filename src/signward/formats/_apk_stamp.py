"""A package's source stamp, where it is asked for: who handed it out, besides who signed it.

Sources: Android, "Source stamps"; AOSP ``SourceStampVerifier``.  A member of the package names the
stamp's certificate, so that its signers stand for who stamps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from signward.envelopes.apk_stamp import (
    SCHEMES,
    Stamp,
    read_stamp,
    stamp_certificate,
    stamp_claims,
)
from signward.findings import Code, Effect, Finding
from signward.formats._jar_manifest import MANIFEST
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Slot, Source
from signward.wire.apk_block import STAMP, STAMP_V1, SigningBlock
from signward.wire.unzip import read_member
from signward.wire.zip import ZipMember

MEMBER = "stamp-cert-sha256"
"""The member that holds the SHA-256 of the stamp's certificate, 32 octets."""

MAX_MANIFEST = 32 * 1024 * 1024
"""Octets of a JAR's manifest, as where its signature is read."""

_DIGEST = 32
_CLAUSE = "AOSP SourceStampVerifier"


class Stamped(Frozen, frozen=True, kw_only=True):
    """What a stamp claims, what speaks against it at once, and what it says."""

    claims: tuple[ClaimedSignature, ...] = ()
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, str | int] = {}


def open_stamp(
    source: Source,
    block: SigningBlock | None,
    members: Mapping[str, ZipMember],
    signed: Sequence[ClaimedSignature],
) -> Stamped:
    """Return the stamp over a package that ``signed`` are the signatures of.

    Raises ``BadInputError`` for one that cannot be read.
    """
    pair = block.find(STAMP) if block else None
    if pair is None:
        return Stamped(findings=(_missing(block),))
    value = source.read(pair.start, pair.end - pair.start)
    certificate = stamp_certificate(value)
    if _named(source, members) != hashlib.sha256(certificate).digest():
        return Stamped(findings=(_stranger(_named(source, members)),))
    stamp = read_stamp(value)
    claims = stamp_claims(stamp, _digests(source, members, signed))
    return Stamped(claims=tuple(claims), facts=_facts(stamp))


def _digests(
    source: Source, members: Mapping[str, ZipMember], signed: Sequence[ClaimedSignature]
) -> dict[str, tuple[Slot, ...]]:
    """Return the digests by scheme that a stamp must be over: those that signers claim."""
    found: dict[str, tuple[Slot, ...]] = {}
    for claimed in signed:
        scheme = claimed.label.partition(":")[0]
        if scheme == "v1" and MANIFEST in members:
            manifest = read_member(source, members[MANIFEST], MAX_MANIFEST)
            digest = hashlib.sha256(manifest).digest()
            found[scheme] = (Slot(name=MANIFEST, algorithm="sha256", digest=digest),)
        elif scheme in SCHEMES:
            found[scheme] = tuple(dict.fromkeys((*found.get(scheme, ()), *claimed.slots)))
    return found


def _named(source: Source, members: Mapping[str, ZipMember]) -> bytes:
    """Return the SHA-256 of a certificate that the package names; nothing where it names none."""
    member = members.get(MEMBER)
    if member is None or member.size != _DIGEST or member.method not in (0, 8):
        return b""
    return read_member(source, member, _DIGEST)


def _stranger(named: bytes) -> Finding:
    return Finding(
        code=Code.SIGNATURE_MISMATCH,
        effect=Effect.REJECT,
        subject="source stamp",
        found="a certificate that the package does not name",
        required=f"the one whose SHA-256 its member {MEMBER} is: {named.hex() or 'none'}",
        clause=_CLAUSE,
    )


def _missing(block: SigningBlock | None) -> Finding:
    """Report that there is no stamp; one of the first kind is nothing that can be judged."""
    older = block is not None and block.find(STAMP_V1) is not None
    return Finding(
        code=Code.UNSUPPORTED_KIND if older else Code.SLOT_MISSING,
        effect=Effect.UNKNOWN if older else Effect.REJECT,
        subject="source stamp",
        found="one of the first kind, which is not judged" if older else "none",
        required="one: it was asked for",
        clause=_CLAUSE,
        hint="" if older else "without --source-stamp a package needs none",
    )


def _facts(stamp: Stamp) -> dict[str, str | int]:
    digest = hashlib.sha256(stamp.certificate).hexdigest()
    made = {"source-stamp-time": stamp.made.isoformat()} if stamp.made else {}
    return {"source-stamp": digest, **made}
