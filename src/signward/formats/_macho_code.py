"""Each slice of a Mach-O with its signature, and every octet that the signature does not reach.

Sources: Apple's published ``loader.h`` and ``cs_blobs.h`` (xnu), ``codesign(1)``.  A code
signature covers a slice from its first octet to where the superblob begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from signward.errors import BadInputError, LimitError, MalformedError, UncoveredError
from signward.findings import Code, Effect, Finding
from signward.formats._apple_signature import MAX_PLIST, NOTHING, AppleSignature, open_superblob
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Region, Source
from signward.wire import superblob as sb
from signward.wire.certificate import outline
from signward.wire.macho import EXECUTE, Image, Slice, read_image, read_slices, table_size

CLAUSE = "mach-o/loader.h, LC_CODE_SIGNATURE"
FAT_CLAUSE = "mach-o/fat.h"

LINKER_PAGE = 4096
"""Octets of a page in the signatures that linkers write."""

MAX_DIGESTS = 1 << 22
"""Most digests of pages in all slices and directories; each takes some 200 octets of memory."""

_WHAT = "Mach-O"
_DIGEST = 32
_ZEROS = 1024 * 1024


class CodeSlice(Frozen, frozen=True, kw_only=True):
    """One slice: its header and commands, and its signature (None: unsigned).

    ``length`` are the octets of the superblob, ``plist`` the property list inside the code.
    """

    image: Image
    signature: AppleSignature | None
    length: int = 0
    plist: bytes = b""

    @property
    def start(self) -> int:
        """Where the slice begins, octets of the file."""
        return self.image.slice.start


def read_code(source: Source, outside: Mapping[int, bytes] = NOTHING) -> tuple[CodeSlice, ...]:
    """Return the slices of a Mach-O, each with its signature opened.

    ``outside`` is content of special slots that the caller has (a bundle's).  Raises
    ``BadInputError``.
    """
    slices = read_slices(source)
    several = len(slices) > 1
    found: list[CodeSlice] = []
    digests = 0
    for one in slices:
        found.append(_read_slice(source, one, outside, several=several))
        signature = found[-1].signature
        digests += sum(len(d.code) for d in signature.directories) if signature else 0
        if digests > MAX_DIGESTS:
            raise LimitError(_WHAT, f"{digests} digests of pages", f"at most {MAX_DIGESTS}")
    return tuple(found)


def _read_slice(
    source: Source, at: Slice, outside: Mapping[int, bytes], *, several: bool
) -> CodeSlice:
    image = read_image(source, at)
    _check_page_zero(image)
    if image.signature is None:
        return CodeSlice(image=image, signature=None)
    offset, room = image.signature
    if room < sb.HEADER:
        raise MalformedError(_WHAT, f"{room} octets of signature", "a superblob", CLAUSE)
    length = int.from_bytes(source.read(at.start + offset + 4, 4), "big")
    if not sb.HEADER <= length <= room:
        raise MalformedError(
            _WHAT, f"a superblob of {length} octets", f"at most the {room} it has room for",
            CLAUSE, offset=at.start + offset,
        )  # fmt: skip
    if length > sb.MAX_OCTETS:
        raise LimitError(_WHAT, f"a superblob of {length} octets", f"{sb.MAX_OCTETS}", CLAUSE)
    plist = b"" if sb.INFO_SLOT in outside else _plist(source, image)
    parts = {**outside, sb.INFO_SLOT: plist} if plist else outside
    label = image.architecture if several else "1"
    signature = open_superblob(
        source.read(at.start + offset, length),
        label=label,
        prefix=f"{label}/" if several else "",
        outside=parts,
    )
    if sb.TICKET_SLOT in signature.blobs:
        raise UncoveredError(
            _WHAT, "a ticket inside code", "none: it is stapled to bundles", CLAUSE
        )
    _check_limit(image, signature.best.code_limit)
    return CodeSlice(image=image, signature=signature, length=length, plist=plist)


def _plist(source: Source, image: Image) -> bytes:
    """Return the property list inside the code; empty if there is none, or one beyond limits."""
    if image.info_plist is None or image.info_plist[1] > MAX_PLIST:
        return b""
    offset, size = image.info_plist
    return source.read(image.slice.start + offset, size)


def _check_page_zero(image: Image) -> None:
    """Ask of a program that is linked dynamically what the kernel does: nothing at address 0."""
    if image.file_type != EXECUTE or not image.dynamic:
        return
    zero = image.segment("__PAGEZERO")
    if zero is None:
        raise MalformedError(_WHAT, "no __PAGEZERO", "one, in a program", "mach-o/loader.h")
    if zero.address or not zero.extent or zero.size or zero.rights or zero.most:
        raise MalformedError(
            _WHAT,
            f"__PAGEZERO at {zero.address:#x} of {zero.extent:#x}, {zero.size} octets of the file, "
            f"rights {zero.rights:o} of {zero.most:o}",
            "address 0, an extent, no octets and no rights", "mach-o/loader.h",
        )  # fmt: skip


def _check_limit(image: Image, limit: int) -> None:
    """Ask that everything that is mapped is covered, but for the signature in ``__LINKEDIT``."""
    offset = image.signature[0] if image.signature else 0
    if limit > offset:
        raise MalformedError(
            _WHAT, f"a code limit of {limit}", f"at most {offset}, where the signature begins",
            CLAUSE,
        )  # fmt: skip
    if limit < image.commands_end:
        raise UncoveredError(
            _WHAT, f"a code limit of {limit}", f"{image.commands_end} of load commands", CLAUSE
        )
    for segment in image.segments:
        if segment.size and segment.end > limit and segment.name != "__LINKEDIT":
            raise UncoveredError(
                _WHAT, f"segment {segment.name} to {segment.end}",
                f"at most the code limit, {limit}", CLAUSE,
            )  # fmt: skip


def regions(source: Source, code: Sequence[CodeSlice]) -> Iterator[Region]:
    """Account for every octet outside the digests: the table, gaps, superblobs and their room."""
    behind = table_size(source)
    if behind:
        yield Region(start=0, end=behind, what="table of slices", exempt=FAT_CLAUSE)
    for one in sorted(code, key=lambda c: c.start):
        at = one.image.slice
        if at.start > behind:
            exempt = FAT_CLAUSE if is_zero(source, behind, at.start) else ""
            yield Region(start=behind, end=at.start, what="before a slice", exempt=exempt)
        if one.signature is not None and one.image.signature is not None:
            yield from _around_signature(source, one, one.signature)
        behind = at.end
    if behind < source.length:
        yield Region(start=behind, end=source.length, what="behind the last slice")


def _around_signature(
    source: Source, one: CodeSlice, signature: AppleSignature
) -> Iterator[Region]:
    at = one.image.slice
    offset, room = one.image.signature or (0, 0)
    start, limit = at.start + offset, at.start + signature.best.code_limit
    if limit < start:
        yield Region(start=limit, end=start, what="between code limit and signature")
    yield Region(start=start, end=start + one.length, what="code signature", exempt=CLAUSE)
    if one.length < room:
        yield Region(
            start=start + one.length, end=start + room, what="room behind the signature",
            exempt=CLAUSE if _is_room(source, one, start) else "",
        )  # fmt: skip
    if start + room < at.end:
        yield Region(start=start + room, end=at.end, what="behind the signature's room")


def is_zero(source: Source, start: int, end: int) -> bool:
    """Say whether all octets of a range are zero."""
    return not any(any(source.read(at, min(_ZEROS, end - at))) for at in range(start, end, _ZEROS))


def _is_room(source: Source, one: CodeSlice, start: int) -> bool:
    """Say whether the octets behind a superblob are room: zeros, or what a linker left there.

    Linkers sign programs ad hoc, and signing anew writes over that in place: what the new
    signature does not reach still holds the old one's last digests, which are those of the
    very code.  Anything else was put there.
    """
    room = one.image.signature[1] if one.image.signature else 0
    left = source.read(start + one.length, room - one.length).rstrip(b"\0")
    if not left:
        return True
    at = one.image.slice.start
    digests = _linker_digests(source, at, start)
    for shift in range(min(_DIGEST, len(left) - _DIGEST + 1)):
        found = digests.find(left[shift : shift + _DIGEST])
        if found >= shift and found % _DIGEST == 0:
            whole = digests[found - shift :]
            return whole.startswith(left) or whole.rstrip(b"\0") == left
    return False


def _linker_digests(source: Source, start: int, end: int) -> bytes:
    """Return the SHA-256 of each page of the code, one behind the other."""
    found = []
    for at in range(start, end, LINKER_PAGE):
        hasher = hashlib.sha256()
        source.feed([(at, min(at + LINKER_PAGE, end))], [hasher])
        found.append(hasher.digest())
    return b"".join(found)


def disagreements(code: Sequence[CodeSlice]) -> Iterator[Finding]:
    """Report slices of which not all are signed, or not by the same for the same code.

    Which slice runs is the processor's choice: whoever looks at one alone sees another program.
    """
    first = code[0]
    for other in code[1:]:
        one, two = _said(first), _said(other)
        if one != two:
            yield Finding(
                code=Code.SLICES_DISAGREE,
                effect=Effect.REJECT,
                subject=f"slices {first.image.architecture} and {other.image.architecture}",
                found=f"{one} and {two}",
                required="the same signer and the same identifier in every slice",
                clause="CVE-2018-10405 and its kin",
                hint="only one of the slices may be what its maker signed",
            )


def _said(one: CodeSlice) -> str:
    """Return who signed what in a slice, for comparing slices and for the finding."""
    signature = one.signature
    if signature is None:
        return "unsigned"
    best = signature.best
    if not signature.claimed:
        return f"{best.identifier}, ad hoc"
    claim = signature.claimed[0]
    team = f" of team {best.team}" if best.team else ""
    return f"{best.identifier}{team} by {_signer(claim, renewed=bool(team))}"


def _signer(claim: ClaimedSignature, *, renewed: bool) -> str:
    """Return who a signature claims to be by; ``renewed`` certificates of one name are one signer.

    The team alone would not do: under other anchors than Apple's anybody may claim any.
    """
    signer = claim.claimed_signer
    for certificate in claim.claimed_certificates if renewed else ():
        with suppress(BadInputError):
            seen = outline(certificate)
            if (seen.serial, seen.issuer) == (signer.serial, signer.issuer):
                return f"a subject of digest {hashlib.sha256(seen.subject).hexdigest()[:16]}"
    key = signer.key_id or hashlib.sha256(signer.issuer).digest()[:8]
    return f"serial {signer.serial:x} of {key.hex()}"
