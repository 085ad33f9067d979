"""Cabinets (.cab): signatures that stand behind the cabinet and are pointed at by its header.

Sources: [MS-CAB] for the cabinet; for the signature what osslsigncode, jsign and relic write,
since no specification of it is published.  The digest covers the whole cabinet but for
reserved1 (always zero), the sizes of the reserve areas and the signature's pointer.  In a set
each cabinet is signed on its own; its place in the set is part of what it signs.

**What the digest leaves out must not matter.**  The size of the reserve in folders is bound by
where the files start, that in data blocks by the blocks themselves, which must follow each
other to the cabinet's end (``_cab_layout.check_blocks``).  The pointer must lead right behind
the cabinet, its signature to the file's end; whatever else stands in the reserve area behind
the pointer must be zero.

**The number in a set.**  jsign's digest has iCabinet; osslsigncode's has zeros in its place,
but osslsigncode signs no cabinet that follows another, where the two would differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import (
    Existing,
    Match,
    ParseOptions,
    Peek,
    Request,
    Signing,
    may_sign,
)
from signward.formats._cab_layout import (
    CLAUSE,
    FIXED,
    RESERVE,
    CabLayout,
    check_blocks,
    read_layout,
)
from signward.formats._spc import CAB_DATA, open_embedded
from signward.state import ClaimedSignature, Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire import der
from signward.wire.patch import Patched, PatchSet
from signward.wire.source import slot_digests

MAX_SIGNATURE = 16 * 1024 * 1024
"""Largest signature read; real ones have some 10 KiB."""

CABINET = "cabinet"
"""The slot of the cabinet's digest."""

_WHAT = "cabinet"
_POINTER = "signature pointer"


class CabFormat:
    """The cabinet format."""

    name = "cab"
    spec = "[MS-CAB] Cabinet File Format"
    extensions: tuple[str, ...] = (".cab", ".msu")
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise the magic."""
        return Match.MAGIC if peek.head[:4] == b"MSCF" else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the cabinet and the signature its header points at."""
        layout = read_layout(source)
        signatures: tuple[ClaimedSignature, ...] = ()
        regions: tuple[Region, ...] = ()
        findings: tuple[Finding, ...] = ()
        if _is_signed(layout):
            check_blocks(source, layout)
            blob = _read_signature(source, layout)
            signatures = _open(blob)
            regions = tuple(_regions(source, layout, len(blob)))
        else:
            findings = (*_leftover(source, layout), *_inside(layout))
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset((CABINET,)) for s in signatures},
            regions=regions,
            facts=layout.facts(),
            findings=findings,
            layout=layout,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the cabinet's digests, in one pass."""
        layout: CabLayout = artifact.layout
        return slot_digests(
            artifact.source, layout.covered(), (slot for slot in wanted if slot[0] == CABINET)
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the cabinet, which gets a reserve area if it has none."""
        from signward.envelopes.cms_draft import with_nested
        from signward.formats._cab_sign import check_room, with_pointer
        from signward.formats._spc_draft import draft_indirect, obsolete_link

        layout = read_layout(source)
        check_room(layout)
        check_blocks(source, layout)
        existing = self.envelopes(source)
        _refuse_loss(source, layout)
        may_sign(bool(existing), request, _WHAT)
        room = Patched(source, with_pointer(layout, b""))
        hasher = hashlib.new(request.signer.digest, usedforsecurity=False)
        room.feed(read_layout(room).covered(), [hasher])
        sealed = yield draft_indirect(request, CAB_DATA, obsolete_link(), hasher.digest())
        if existing and request.existing is Existing.NESTED:
            sealed = with_nested(existing[0], sealed)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the PKCS#7 behind the cabinet, if there is one."""
        layout = read_layout(source)
        return (_read_signature(source, layout),) if _is_signed(layout) else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes the first of ``envelopes`` the cabinet's signature.

        None strips it, and the reserve area with it: byte-exact where signing made that area.
        Raises ``NotSignableError`` where bytes beside the old signature would be lost.
        """
        from signward.formats._cab_sign import check_room, with_pointer, without_pointer

        layout = read_layout(source)
        _refuse_loss(source, layout)
        if envelopes:
            check_room(layout)
            return with_pointer(layout, envelopes[0])
        return without_pointer(layout) if _is_signed(layout) else PatchSet()


def _is_signed(layout: CabLayout) -> bool:
    """Say whether the reserve area points at anything; one of zeros is only room for it."""
    return layout.pointer is not None and any(layout.pointer)


def _read_signature(source: Source, layout: CabLayout) -> bytes:
    """Return the PKCS#7 that the header points at, without the zeros that pad it.

    Raises ``BadInputError`` for one that lies elsewhere than behind the cabinet.
    """
    offset, size = layout.pointer or (0, 0)
    if offset < layout.end or not size or offset + size > layout.length:
        raise MalformedError(
            _POINTER, f"{size} bytes at {offset}",
            f"a signature behind the cabinet's {layout.end} bytes and inside the file",
            CLAUSE, offset=layout.pointer_at,
        )  # fmt: skip
    if size > MAX_SIGNATURE:
        raise LimitError(_POINTER, f"{size} bytes", f"at most {MAX_SIGNATURE}", CLAUSE)
    data = source.read(offset, size)
    return data[: der.parse(data, "PKCS#7", trailing=True).next]


def _refuse_loss(source: Source, layout: CabLayout) -> None:
    """Refuse to write anew what would lose bytes that somebody put beside the signature."""
    if not _is_signed(layout):
        return
    blob = _read_signature(source, layout)
    for region in _regions(source, layout, len(blob)):
        if not region.exempt and region.end > region.start:
            raise NotSignableError(
                _WHAT, f"{region.end - region.start} bytes at {region.start}: {region.what}",
                "none", hint="no signature covers them, and they would be lost",
            )  # fmt: skip


def _open(blob: bytes) -> tuple[ClaimedSignature, ...]:
    signatures = open_embedded(blob, CABINET, kind=CAB_DATA)
    if not signatures:
        raise MalformedError("signature", "a PKCS#7 without signers", "one", "RFC 5652 5.1")
    return signatures


def _regions(source: Source, layout: CabLayout, signed: int) -> Iterator[Region]:
    """Account for every byte outside the digest: the pointer, the signature, and the rest."""
    offset, size = layout.pointer or (0, 0)
    pointed = layout.pointer_at + 8
    yield Region(start=4, end=8, what="reserved1, zero", exempt=CLAUSE)
    yield Region(start=FIXED, end=RESERVE, what="sizes of the reserve areas", exempt=CLAUSE)
    yield Region(start=RESERVE + 2, end=RESERVE + 4, what="size of the pointer", exempt=CLAUSE)
    yield Region(start=layout.pointer_at, end=pointed, what=_POINTER, exempt=CLAUSE)
    exempt = "" if any(source.read(pointed, layout.header_end - pointed)) else CLAUSE
    yield Region(start=pointed, end=layout.header_end, what="reserve area behind the pointer",
                 exempt=exempt)  # fmt: skip
    if offset > layout.end:
        yield Region(start=layout.end, end=offset, what="between cabinet and signature")
    yield Region(start=offset, end=offset + signed, what="signature", exempt=CLAUSE)
    padding = source.read(offset + signed, size - signed)
    if padding:
        exempt = CLAUSE if len(padding) < 8 and not any(padding) else ""
        yield Region(start=offset + signed, end=offset + size, what="behind the PKCS#7",
                     exempt=exempt)  # fmt: skip
    if offset + size < layout.length:
        yield Region(start=offset + size, end=layout.length, what="behind the signature")


def _leftover(source: Source, layout: CabLayout) -> Iterator[Finding]:
    """Report what stands behind an unsigned cabinet: a signature whose pointer was cleared."""
    start = source.read(layout.end, min(2, layout.length - layout.end))
    if start == b"\x30\x82":
        yield Finding(
            code=Code.LEFTOVER_SIGNATURE,
            effect=Effect.WARN,
            subject=_WHAT,
            found=f"{layout.length - layout.end} bytes like a signature that nothing points at",
            required="a pointer in the reserve area, or no signature at all",
            clause=CLAUSE,
            hint="the signature was stripped by clearing its pointer",
            offset=layout.end,
        )


def _inside(layout: CabLayout) -> Iterator[Finding]:
    """Report a PKCS#7 in the reserve area itself, where signers of the nineties put it."""
    if layout.structures and layout.structures[1].startswith(b"\x30\x82"):
        yield Finding(
            code=Code.UNSUPPORTED_KIND,
            effect=Effect.UNKNOWN,
            subject=_WHAT,
            found="a signature inside the header's reserve area",
            required="one behind the cabinet",
            clause=CLAUSE,
            offset=layout.pointer_at,
        )


FORMAT = CabFormat()
