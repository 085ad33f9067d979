"""What a superblob of Apple's claims: code directories, and who signed them.

Sources: Apple's published ``cs_blobs.h`` (xnu) and ``libsecurity_codesigning``.  The CMS is a
detached one over code directory 0.  Further directories, which hold other kinds of digests of
the same code, are bound by the signed attributes ``cdhashes``: as a property list
(1.2.840.113635.100.9.1) their first 20 octets, and (1.2.840.113635.100.9.2) algorithm and whole
digest.  Shared by programs, bundles and disk images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from signward.envelopes.cms_code import open_over
from signward.errors import AmbiguousError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import ClaimedSignature, Manifest, OwnRequirement, Slot, Source, Wanted
from signward.wire import der
from signward.wire import superblob as sb
from signward.wire.algorithms import DIGESTS as DIGESTS_BY_OID
from signward.wire.algorithms import SHA256_160
from signward.wire.code_directory import (
    AD_HOC,
    CDHASH_OCTETS,
    DIGESTS,
    PREFERENCE,
    CodeDirectory,
    read_code_directory,
    slot_digest,
)
from signward.wire.plist import read_plist
from signward.wire.requirement import DESIGNATED, read_requirements

CDHASHES_PLIST = "1.2.840.113635.100.9.1"
CDHASHES = "1.2.840.113635.100.9.2"

SPECIAL: Mapping[int, str] = {
    sb.INFO_SLOT: "special:info-plist",
    sb.REQUIREMENTS_SLOT: "special:requirements",
    sb.RESOURCES_SLOT: "special:resources",
    sb.APPLICATION_SLOT: "special:application",
    sb.ENTITLEMENTS_SLOT: "special:entitlements",
    sb.REP_SPECIFIC_SLOT: "special:rep-specific",
    sb.DER_ENTITLEMENTS_SLOT: "special:entitlements-der",
    sb.LAUNCH_SELF_SLOT: "special:launch-self",
    sb.LAUNCH_PARENT_SLOT: "special:launch-parent",
    sb.LAUNCH_RESPONSIBLE_SLOT: "special:launch-responsible",
    sb.LIBRARY_SLOT: "special:library",
}
"""Slot names of special slots; those of other numbers are ``special:N``."""

OUTSIDE = frozenset({sb.INFO_SLOT, sb.RESOURCES_SLOT, sb.APPLICATION_SLOT, sb.REP_SPECIFIC_SLOT})
"""Special slots whose content lies outside the superblob: in the bundle, in the disk image."""

_MAGICS: Mapping[int, int] = {
    sb.REQUIREMENTS_SLOT: sb.REQUIREMENT_SET,
    sb.ENTITLEMENTS_SLOT: sb.ENTITLEMENTS,
    sb.DER_ENTITLEMENTS_SLOT: sb.DER_ENTITLEMENTS,
    sb.CMS_SLOT: sb.BLOB_WRAPPER,
}
RUN = 256 * 1024
"""Octets read at once for pages, whose sizes are powers of two up to this; larger ones stream."""

MAX_PLIST = 1024 * 1024
"""Octets of a property list: entitlements and lists of cdhashes have some 500, Info.plist some
thousands."""

ALGORITHMS: Mapping[int, str] = {
    kind: SHA256_160 if (name, size) == ("sha256", 20) else name
    for kind, (name, size) in DIGESTS.items()
}
"""How slots name the kinds of digests."""

NOTHING: Mapping[int, bytes] = MappingProxyType({})

_WHAT = "code signature"
_CLAUSE = "cs_blobs.h"


class AppleSignature(Frozen, frozen=True, kw_only=True):
    """One superblob, opened.

    ``directories`` stand as in the superblob, number 0 first; ``claimed`` are the CMS's
    signatures (none if ad hoc: then ``seals`` are the digests).  ``blobs`` are all blobs by slot
    type, with their headers; ``prefix`` stands before the names of its slots.
    """

    label: str
    prefix: str
    blobs: Mapping[int, bytes]
    directories: tuple[CodeDirectory, ...]
    claimed: tuple[ClaimedSignature, ...]
    seals: tuple[Slot, ...]
    required: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def best(self) -> CodeDirectory:
        """The directory that systems go by: the one with the strongest digests."""
        return min(self.directories, key=lambda d: PREFERENCE.index(d.kind))

    @property
    def cms(self) -> bytes:
        """The CMS (BER), without its wrapper; empty if there is none."""
        return self.blobs.get(sb.CMS_SLOT, bytes(sb.HEADER))[sb.HEADER :]

    @property
    def requirements(self) -> bytes:
        """The blob of internal requirements, with its header; empty if there is none."""
        return self.blobs.get(sb.REQUIREMENTS_SLOT, b"")

    @property
    def entitlements(self) -> bytes:
        """The entitlements, a property list in XML; empty if there are none."""
        return self.blobs.get(sb.ENTITLEMENTS_SLOT, bytes(sb.HEADER))[sb.HEADER :]

    @property
    def entitlements_der(self) -> bytes:
        """The entitlements in DER; empty if there are none."""
        return self.blobs.get(sb.DER_ENTITLEMENTS_SLOT, bytes(sb.HEADER))[sb.HEADER :]

    @property
    def facts(self) -> dict[str, str | int]:
        """What the best directory says of the code, none of it proven."""
        best = self.best
        facts: dict[str, str | int] = {
            "identifier": best.identifier,
            "cdhash": f"{'sha1:' if best.digest == 'sha1' else ''}{best.cdhash.hex()}",
            "flags": ",".join(best.flag_names) or "none",
        }
        if best.team:
            facts["team-id"] = best.team
        if best.platform:
            facts["platform"] = best.platform
        if best.runtime:
            facts["runtime"] = (
                f"{best.runtime >> 16}.{best.runtime >> 8 & 255}.{best.runtime & 255}"
            )
        return facts


def special_name(number: int) -> str:
    """Return the slot name of a special slot."""
    return SPECIAL.get(number, f"special:{number}")


def open_superblob(
    blob: bytes, *, label: str = "1", prefix: str = "", outside: Mapping[int, bytes] = NOTHING
) -> AppleSignature:
    """Return what a superblob claims.

    ``outside`` is the content of special slots of `OUTSIDE` that the caller has; digests of
    the others are left out with a note, for their content is no part of what is judged.  Raises
    ``BadInputError``: also where directories speak of different code, where the CMS and the ad
    hoc flag contradict each other, and for blobs that no directory covers.
    """
    blobs = sb.read_superblob(blob, _WHAT)
    for kind, magic in _MAGICS.items():
        if kind in blobs:
            sb.content_of(blobs[kind], f"{_WHAT}, blob {kind:#x}", magic=magic)
    directories = _directories(blobs)
    known = frozenset(outside)
    best_first = sorted(directories, key=lambda d: PREFERENCE.index(d.kind))
    slots = tuple(slot for d in best_first for slot in _slots(d, prefix, known))
    inside = frozenset(blobs) & frozenset(SPECIAL)
    _check_kinds(blobs)
    opened = AppleSignature(
        label=label,
        prefix=prefix,
        blobs=blobs,
        directories=directories,
        claimed=(),
        seals=(),
        required=frozenset(prefix + special_name(number) for number in inside),
        findings=tuple(_left_out(label, directories[0], known)),
    )
    if _is_ad_hoc(opened):
        return replace(opened, seals=slots)
    return replace(opened, claimed=_claims(opened, slots, outside))


def _check_kinds(blobs: Mapping[int, bytes]) -> None:
    """Refuse blobs of kinds that nothing covers: whoever reads them would believe them."""
    known = {*SPECIAL, *sb.ALTERNATE_SLOTS, sb.DIRECTORY_SLOT, sb.CMS_SLOT, sb.TICKET_SLOT}
    for kind in blobs:
        if kind not in known:
            raise MalformedError(
                _WHAT, f"a blob of type {kind:#x}", "a type that is known", _CLAUSE
            )


def _directories(blobs: Mapping[int, bytes]) -> tuple[CodeDirectory, ...]:
    """Return the code directories, number 0 first; all must speak of the same code."""
    if sb.DIRECTORY_SLOT not in blobs:
        raise MalformedError(_WHAT, "no code directory", "one", _CLAUSE)
    numbers = [sb.DIRECTORY_SLOT, *(n for n in sb.ALTERNATE_SLOTS if n in blobs)]
    directories = tuple(read_code_directory(blobs[number]) for number in numbers)
    kinds = [d.kind for d in directories]
    if len(set(kinds)) != len(kinds):
        raise AmbiguousError(_WHAT, "two code directories of one kind", "one of each", _CLAUSE)
    inside = frozenset(blobs) & frozenset(SPECIAL)
    first = _said(directories[0])
    for directory in directories:
        if _said(directory) != first:
            raise AmbiguousError(
                _WHAT, "code directories that speak of different code", "of the same", _CLAUSE
            )
        for number in sorted(inside - directory.special.keys()):
            raise MalformedError(
                _WHAT, f"{special_name(number)} that a {directory.digest} directory leaves out",
                "a digest of it in each", _CLAUSE,
            )  # fmt: skip
    return directories


def _said(d: CodeDirectory) -> tuple[object, ...]:
    """Return what all directories of one signature must say alike."""
    segment = d.exec_segment
    return (d.identifier, d.team, d.flags, d.code_limit, frozenset(d.special), segment, d.platform)


def _slots(directory: CodeDirectory, prefix: str, outside: frozenset[int]) -> Iterator[Slot]:
    """Yield the digests of pages, then those of special slots that can be computed."""
    algorithm = ALGORITHMS[directory.kind]
    for number, digest in enumerate(directory.code):
        yield Slot(name=f"{prefix}page:{number}", algorithm=algorithm, digest=digest)
    for number, digest in directory.special.items():
        if number not in OUTSIDE or number in outside:
            yield Slot(name=prefix + special_name(number), algorithm=algorithm, digest=digest)


def _left_out(label: str, directory: CodeDirectory, outside: frozenset[int]) -> Iterator[Finding]:
    for number in sorted((OUTSIDE & directory.special.keys()) - outside):
        yield Finding(
            code=Code.COMPANION_MISSING,
            effect=Effect.NOTE,
            subject=f"signature {label}, {special_name(number)}",
            found="a digest of what lies outside this file",
            required="the bundle that it belongs to",
            clause=_CLAUSE,
            hint="verify the whole bundle to have it judged too",
        )


def _is_ad_hoc(opened: AppleSignature) -> bool:
    """Say whether nobody signed this; what says both is refused."""
    flag = bool(opened.directories[0].flags & AD_HOC)
    if flag and opened.cms:
        raise AmbiguousError(_WHAT, "a CMS and the ad hoc flag", "one of the two", _CLAUSE)
    if not flag and not opened.cms:
        raise MalformedError(_WHAT, "neither a CMS nor the ad hoc flag", "one of them", _CLAUSE)
    return flag


def _claims(
    opened: AppleSignature, slots: tuple[Slot, ...], outside: Mapping[int, bytes]
) -> tuple[ClaimedSignature, ...]:
    """Return the CMS's signatures, each over directory 0 and bound to the others."""
    return open_over(
        opened.cms,
        opened.directories[0].raw,
        slots,
        label=opened.label,
        team=opened.best.team,
        own=_own_requirement(opened, outside),
        check=lambda claim: _check_listed(claim, opened.directories),
    )


def _own_requirement(opened: AppleSignature, outside: Mapping[int, bytes]) -> OwnRequirement | None:
    """Return the requirement that code designates for itself, and what it may ask; None: none."""
    if not opened.requirements:
        return None
    designated = read_requirements(opened.requirements).get(DESIGNATED)
    if designated is None:
        return None
    best = opened.best
    sealed = sb.INFO_SLOT in best.special
    return OwnRequirement(
        requirement=designated.raw,
        identifier=best.identifier,
        cdhashes=tuple(directory.cdhash for directory in opened.directories),
        info=outside.get(sb.INFO_SLOT) if sealed else b"",
        entitlements=opened.entitlements,
        platform=best.platform,
    )


def _check_listed(
    claim: ClaimedSignature, directories: tuple[CodeDirectory, ...]
) -> Iterator[Finding]:
    """Hold the signed lists of code directories against those that are there, both ways.

    One that is listed and absent was taken out or changed; one that is there and not listed
    nobody signed, but for number 0, which the CMS is over.
    """
    what = f"signature {claim.label}"
    present = {d.cdhash for d in directories}
    short = _listed_cdhashes(what, claim)
    full = [_whole_digest(value, what) for value in _values(claim, CDHASHES)]
    listed = {digest[:CDHASH_OCTETS] for _, digest in full} | (short or set())
    for digest in sorted(listed - present):
        yield _mismatch(what, f"no code directory {digest.hex()}", "each that was signed")
    for directory in directories[1:] if short is None else directories:
        if directory.cdhash not in (listed if short is None else short):
            found = f"a {directory.digest} code directory that is not listed"
            yield _mismatch(what, found, "only those that were signed")
    whole = {(d.digest, d.full_digest) for d in directories}
    for algorithm, digest in full:
        if (algorithm, digest) not in whole and digest[:CDHASH_OCTETS] in present:
            found = f"{algorithm} {digest.hex()} of a code directory"
            yield _mismatch(what, found, "the whole digest of one that is there")


def _values(claim: ClaimedSignature, oid: str) -> list[bytes]:
    return [value for a in claim.signed_attributes if a.oid == oid for value in a.values]


def _whole_digest(value: bytes, what: str) -> tuple[str, bytes]:
    """Read one value of `CDHASHES`: a SEQUENCE of the digest's algorithm and the digest."""
    fields = der.parse(value, what).fields(what, 2)
    name = DIGESTS_BY_OID.get(oid := fields[0].oid(what), f"unknown:{oid}")
    return name, fields[1].octets(what)


def _listed_cdhashes(what: str, claim: ClaimedSignature) -> set[bytes] | None:
    """Return the cdhashes in the property list; None if there is none."""
    values = _values(claim, CDHASHES_PLIST)
    if not values:
        return None
    found: set[bytes] = set()
    for value in values:
        plist = der.parse(value, what).octets(what)
        listed = read_plist(plist, what, most=MAX_PLIST).get("cdhashes")
        if not isinstance(listed, list) or not all(isinstance(d, bytes) for d in listed):
            raise MalformedError(what, "no list of cdhashes", "one", _CLAUSE)
        found.update(listed)
    return found


def _mismatch(what: str, found: str, required: str) -> Finding:
    return Finding(
        code=Code.DIGEST_MISMATCH,
        effect=Effect.REJECT,
        subject=what,
        found=found,
        required=required,
        clause=f"attributes {CDHASHES_PLIST}, {CDHASHES}",
        hint="a code directory was changed, added or taken out after signing",
    )


def digests_of(
    opened: AppleSignature,
    source: Source,
    wanted: Wanted,
    *,
    start: int = 0,
    outside: Mapping[int, bytes] = NOTHING,
) -> Manifest:
    """Compute the wanted digests of this signature's slots, pages in one pass.

    The code begins at ``start`` of the source; ``outside`` is the content of special slots that
    lies outside the superblob.  Where a source is shorter than the code limit, its last pages
    are left out.
    """
    found: dict[tuple[str, str], bytes] = {}
    parts = {number: blob for number, blob in opened.blobs.items() if number in SPECIAL}
    for directory in opened.directories:
        algorithm = ALGORITHMS[directory.kind]
        for number, content in {**parts, **outside}.items():
            name = opened.prefix + special_name(number)
            if (name, algorithm) in wanted:
                found[name, algorithm] = slot_digest(directory.kind, content)
    found.update(_pages(opened, source, wanted, start))
    return found


def _pages(opened: AppleSignature, source: Source, wanted: Wanted, start: int) -> Manifest:
    """Compute digests of pages; each page is read once for all directories of its size."""
    found: dict[tuple[str, str], bytes] = {}
    asked = {algorithm for _, algorithm in wanted}
    by_size: dict[int, list[CodeDirectory]] = {}
    for directory in opened.directories:
        if ALGORITHMS[directory.kind] in asked:
            by_size.setdefault(directory.page_size, []).append(directory)
    for directories in by_size.values():
        hashers = [(ALGORITHMS[d.kind], *DIGESTS[d.kind]) for d in directories]
        for number, digests in _digested(source, start, directories[0], [h[1] for h in hashers]):
            name = f"{opened.prefix}page:{number}"
            for (algorithm, _, size), digest in zip(hashers, digests, strict=True):
                found[name, algorithm] = digest[:size]
    return found


def _digested(
    source: Source, start: int, directory: CodeDirectory, names: Sequence[str]
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each page's number and its digests; pages are read many at once."""
    makers: list[Callable[[memoryview], Any]] = [getattr(hashlib, name) for name in names]
    size = directory.page_size
    if not size or size > RUN:
        for number, (begin, end) in enumerate(directory.pages()):
            if start + end > source.length:
                return
            made = [hashlib.new(name, usedforsecurity=False) for name in names]
            source.feed([(start + begin, start + end)], made)
            yield number, [hasher.digest() for hasher in made]
        return
    end = min(directory.code_limit, source.length - start)
    for run in range(0, end, RUN):
        held = memoryview(source.read(start + run, min(RUN, end - run)))
        for at in range(0, len(held), size):
            page = held[at : at + size]
            if len(page) < size and run + at + len(page) < directory.code_limit:
                return
            yield (run + at) // size, [make(page).digest() for make in makers]
