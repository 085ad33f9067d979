"""Lineages: who held signing of an application, oldest first, each naming whoever came next.

Sources: Android, "APK Signature Scheme v3", proof-of-rotation; AOSP
``V3SigningCertificateLineage`` and, for files that hold nothing else, apksig's
``SigningCertificateLineage``.  Numbers are little-endian, records length-prefixed
(`wire.prefixed`), certificates DER.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise

from signward.envelopes.apk_methods import MAX_PARTS, METHODS, claim
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, Rotation, Slot
from signward.wire.prefixed import Prefixed

MAGIC = (0x3EFF39D1).to_bytes(4, "little")
"""How a file begins that holds a lineage alone."""

MAX_FILE = 1024 * 1024
"""Octets of such a file; one of three holders has 3 KiB."""

CAPABILITIES = ("installed-data", "shared-uid", "permission", "rollback", "auth")
"""What those who trusted a former holder still give him, by bit from the lowest."""

_VERSION = 1
_INSTALLED_DATA = 1
"""Capability: those who trusted this certificate go on to trust its successors."""

_CLAUSE = "APK v3, proof-of-rotation"


class Holder(Frozen, frozen=True, kw_only=True):
    """One holder: the signed part names who they are and how that was signed.

    ``value`` is the former holder's over ``signed``; ``signs_by`` is the method by which this one
    signed the next; both ids are of ``METHODS``, 0 where there is none.
    """

    signed: bytes
    certificate: bytes
    signed_by: int
    signs_by: int
    flags: int
    value: bytes


def read_lineage(value: bytes, what: str) -> tuple[Holder, ...]:
    """Return the holders of a lineage, oldest first.

    Raises ``MalformedError``, also for one who stands there twice, and ``LimitError``.
    """
    reader = Prefixed(value, what)
    version = reader.u32()
    holders = tuple(_holder(one, what) for one in reader.within(reader.rest(), MAX_PARTS))
    if version != _VERSION or not holders:
        raise MalformedError(what, f"version {version}, {len(holders)} steps", "version 1, steps",
                             _CLAUSE)  # fmt: skip
    if len({holder.certificate for holder in holders}) != len(holders):
        raise MalformedError(what, "a holder that stands there twice", "each once", _CLAUSE)
    for before, after in pairwise(holders):
        if before.signs_by not in METHODS or before.signs_by != after.signed_by:
            found = f"a step signed by {before.signs_by:#06x} that says {after.signed_by:#06x}"
            raise MalformedError(what, found, "one known algorithm", _CLAUSE)
    return holders


def _holder(record: bytes, what: str) -> Holder:
    reader = Prefixed(record, what)
    signed = reader.part()
    flags, signs_by, value = reader.u32(), reader.u32(), reader.part()
    reader.finish()
    inner = Prefixed(signed, what)
    certificate, signed_by = inner.part(), inner.u32()
    inner.finish()
    return Holder(
        signed=signed,
        certificate=certificate,
        signed_by=signed_by,
        signs_by=signs_by,
        flags=flags,
        value=value,
    )


def rotations(holders: tuple[Holder, ...]) -> Iterator[Rotation]:
    """Yield a step for each holder but the last."""
    for before, after in pairwise(holders):
        yield Rotation(
            certificate=before.certificate,
            successor=after.certificate,
            algorithm=_algorithm(before),
            signed=after.signed,
            value=after.value,
            lasting=bool(before.flags & _INSTALLED_DATA),
        )


def read_file(data: bytes, what: str) -> tuple[Holder, ...]:
    """Return the holders in a file: its mark, version 1 (u32), and the lineage as one part.

    Raises ``MalformedError`` and ``LimitError``.
    """
    if len(data) > MAX_FILE:
        raise LimitError(what, f"{len(data)} octets", f"at most {MAX_FILE}", _CLAUSE)
    reader = Prefixed(data, what)
    magic, version = reader.take(len(MAGIC)), reader.u32()
    if magic != MAGIC or version != _VERSION:
        raise MalformedError(what, f"mark {magic.hex()}, version {version}",
                             f"{MAGIC.hex()}, {_VERSION}", _CLAUSE)  # fmt: skip
    holders = read_lineage(reader.part(), what)
    reader.finish()
    return holders


def lineage_of(data: bytes) -> bytes:
    """Return the lineage's octets in a file that `read_file` read."""
    return data[len(MAGIC) + 8 :]


def slot_of(number: int) -> str:
    """Return the slot of a holder's signed part; the oldest holder, whom nobody signed, is 1."""
    return f"holder:{number}"


def step_claims(holders: tuple[Holder, ...]) -> tuple[ClaimedSignature, ...]:
    """Return a claim for each step: the holder before signed whoever came next.

    Each has the steps before it as its own lineage.
    """
    steps = tuple(rotations(holders))
    return tuple(
        claim(
            f"step {number}",
            _algorithm(before),
            (_slot(number + 1, after),),
            after.signed,
            after.value,
            before.certificate,
            lineage=steps[: number - 1],
        )
        for number, (before, after) in enumerate(pairwise(holders), 1)
    )


def _algorithm(before: Holder) -> Algorithm:
    return METHODS[before.signs_by].algorithm


def _slot(number: int, holder: Holder) -> Slot:
    return Slot(
        name=slot_of(number), algorithm="sha256", digest=hashlib.sha256(holder.signed).digest()
    )


def capabilities(flags: int) -> str:
    """Return the names of what a holder keeps, in the order of the bits; unknown ones as bits."""
    named = [name for bit, name in enumerate(CAPABILITIES) if flags & 1 << bit]
    unknown = flags >> len(CAPABILITIES) << len(CAPABILITIES)
    return " ".join([*named, *([f"{unknown:#x}"] if unknown else [])]) or "none"
