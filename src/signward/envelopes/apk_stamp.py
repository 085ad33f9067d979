"""Source stamps: a store's own word that it handed a package out, beside its signers'.

Sources: Android, "Source stamps"; AOSP ``V2SourceStampVerifier`` and ``SourceStampVerifier``.  A
stamp is over the content digests of each scheme the package is signed by, one by one.  Numbers are
little-endian, parts length-prefixed (`wire.prefixed`), certificates DER.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from signward.envelopes.apk_lineage import read_lineage, rotations
from signward.envelopes.apk_methods import MAX_PARTS, METHODS, claim
from signward.errors import AmbiguousError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import ClaimedSignature, Rotation, Slot
from signward.wire.prefixed import Prefixed

SCHEMES: Mapping[str, int] = {"v1": 1, "v2": 2, "v3": 3}
"""Schemes that a stamp speaks of, by its numbers for them; v3.1 stands beside v3 always."""

_DIGESTS = {("apk-chunks", "sha256"): 1, ("apk-chunks", "sha512"): 2, ("apk-verity", "sha256"): 3}
_MANIFEST = 4
"""Number of a SHA-256 over all of something: over the manifest of the JAR signature."""

_LINEAGE, _TIME = 0x9D6303F7, 0xE43C5946
"""Attributes: who held the stamp before, and when it was made (u64, seconds since 1970)."""

_WHAT = "source stamp"
_CLAUSE = "AOSP SourceStampVerifier"


class Stamp(Frozen, frozen=True, kw_only=True):
    """A stamp taken apart; ``values`` are its signatures (method's id, value) by scheme's number.

    ``made`` is the claimed time, None where it says none; ``attributes`` is the signed part that
    says so, and ``attribute_values`` the signatures over that.
    """

    certificate: bytes
    values: Mapping[int, tuple[tuple[int, bytes], ...]]
    attributes: bytes = b""
    attribute_values: tuple[tuple[int, bytes], ...] = ()
    made: datetime | None = None
    lineage: tuple[Rotation, ...] = ()


def stamp_certificate(value: bytes) -> bytes:
    """Return the certificate that a stamp begins with, whatever follows."""
    return Prefixed(Prefixed(value, _WHAT).part(), _WHAT).part()


def read_stamp(value: bytes) -> Stamp:
    """Return the stamp in its pair of the signing block.  Raises ``BadInputError``."""
    outer = Prefixed(value, _WHAT)
    reader = Prefixed(outer.part(), _WHAT)
    outer.finish()
    certificate = reader.part()
    values = dict(_scheme(one) for one in _distinct(reader.parts(MAX_PARTS)))
    if not reader.left:
        return Stamp(certificate=certificate, values=values)
    attributes, signed_by = reader.part(), reader.part()
    reader.finish()
    named = _attributes(attributes)
    return Stamp(
        certificate=certificate,
        values=values,
        attributes=attributes,
        attribute_values=_values(signed_by),
        made=_time(named.get(_TIME)),
        lineage=_lineage(named.get(_LINEAGE), certificate),
    )


def _distinct(records: Sequence[bytes]) -> Sequence[bytes]:
    """Return records that begin with a number each; raise ``AmbiguousError`` if one is twice."""
    if len({record[:4] for record in records}) != len(records):
        raise AmbiguousError(_WHAT, "two parts of one number", "one of each", _CLAUSE)
    return records


def _scheme(record: bytes) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    reader = Prefixed(record, _WHAT)
    number, values = reader.u32(), _values(reader.part())
    reader.finish()
    return number, values


def _values(part: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    for record in Prefixed(b"", _WHAT).within(part, MAX_PARTS):
        reader = Prefixed(record, _WHAT)
        found.append((reader.u32(), reader.part()))
        reader.finish()
    return tuple(found)


def _attributes(part: bytes) -> dict[int, bytes]:
    """Read the attributes: a part of parts, of which each begins with its number."""
    reader = Prefixed(part, _WHAT)
    records = _distinct(reader.parts(MAX_PARTS))
    reader.finish()
    inner = [Prefixed(record, _WHAT) for record in records]
    return {one.u32(): one.rest() for one in inner}


def _time(value: bytes | None) -> datetime | None:
    """Return the claimed time; AOSP takes none that is not after 1970."""
    if value is None:
        return None
    seconds = int.from_bytes(value, "little")
    if len(value) != 8 or not 0 < seconds < 1 << 36:
        raise MalformedError(_WHAT, f"a time of {value[:16].hex()}", "seconds since 1970 (u64)",
                             _CLAUSE)  # fmt: skip
    return datetime.fromtimestamp(seconds, UTC)


def _lineage(value: bytes | None, certificate: bytes) -> tuple[Rotation, ...]:
    if value is None:
        return ()
    holders = read_lineage(value, f"{_WHAT}, lineage")
    if holders[-1].certificate != certificate:
        raise MalformedError(_WHAT, "a lineage that ends with somebody else", "with its signer",
                             _CLAUSE)  # fmt: skip
    return tuple(rotations(holders))


def stamp_claims(stamp: Stamp, digests: Mapping[str, tuple[Slot, ...]]) -> list[ClaimedSignature]:
    """Return what the stamp claims of a package signed by these schemes, with their digests.

    Each scheme must be spoken of, or taking the others' signatures away would go unseen: one that
    is not has a finding on the first claim.  Raises ``MalformedError`` for no claim at all.
    """
    found: list[ClaimedSignature] = []
    missing: list[Finding] = []
    for scheme, slots in digests.items():
        values = stamp.values.get(SCHEMES[scheme], ())
        claims = list(_claims(f"stamp:{scheme}", stamp, _encoded(slots), values, slots))
        found += claims
        missing += [] if claims else [_unspoken(scheme)]
    if stamp.attributes:
        about = list(_claims("stamp:attributes", stamp, stamp.attributes, stamp.attribute_values))
        found += about
        missing += [] if about else [_unspoken("its own attributes")]
    if not found:
        raise MalformedError(_WHAT, "no signature by a known method", "one for each scheme",
                             _CLAUSE)  # fmt: skip
    return [replace(found[0], findings=tuple(missing)), *found[1:]]


def _claims(
    label: str,
    stamp: Stamp,
    data: bytes,
    values: Sequence[tuple[int, bytes]],
    slots: tuple[Slot, ...] = (),
) -> Iterator[ClaimedSignature]:
    """Yield a claim for each value by a known method; every one of them must be intact."""
    known = [(number, value) for number, value in values if number in METHODS]
    for number, value in known:
        yield claim(
            label if len(known) == 1 else f"{label} by {number:#06x}",
            METHODS[number].algorithm,
            slots,
            data,
            value,
            stamp.certificate,
            lineage=stamp.lineage,
        )


def _encoded(slots: Sequence[Slot]) -> bytes:
    """Return what is signed of a scheme: number and digest of each kind, by rising number."""
    numbered = {_DIGESTS.get((s.name, s.algorithm), _MANIFEST): s.digest for s in slots}
    return b"".join(
        (8 + len(digest)).to_bytes(4, "little")
        + number.to_bytes(4, "little")
        + len(digest).to_bytes(4, "little")
        + digest
        for number, digest in sorted(numbered.items())
    )


def _unspoken(what: str) -> Finding:
    return Finding(
        code=Code.SLOT_MISSING,
        effect=Effect.REJECT,
        subject=_WHAT,
        found=f"no signature over {what}",
        required="one for every scheme that the package is signed by",
        clause=_CLAUSE,
    )
