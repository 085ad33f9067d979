"""PE images: exe, dll, sys, efi, PE32 and PE32+, with Authenticode signatures.

Sources: "Windows Authenticode Portable Executable Signature Format" (2008, "Authenticode
PE" in the clauses), "PE Format" (Microsoft Learn), UEFI 2.10 section 32 for EFI images.

Signatures lie in the certificate table, which the image hash leaves out.  Whatever else
lies there is covered by nothing (CVE-2013-3900), so each byte of it is accounted for:
a WIN_CERTIFICATE header, the PKCS#7 it holds, and fewer than eight zeros behind it.

**Several entries.**  PE allows them and EFI images use them (shim carries one signature
by each of two Microsoft keys).  Windows reads only the first entry of other images, so
there a further one says what nobody checks: refused, and a warning where only integrity
is asked for (``--stage intact``), since each entry must be intact anyway.  A further entry
that is no PKCS#7 is uncovered content.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from signward.errors import LimitError, MalformedError
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
from signward.formats._pe_checksum import checksum
from signward.formats._pe_layout import Layout, page_name, read_layout
from signward.formats._pe_resources import naming_facts
from signward.formats._spc import PE_IMAGE_DATA, PE_OF_SBSIGN, open_embedded
from signward.frozen import Frozen, replace
from signward.state import (
    ClaimedSignature,
    Hasher,
    Manifest,
    Region,
    SignedArtifact,
    Source,
    Wanted,
)
from signward.wire import der
from signward.wire.patch import PatchSet

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_TABLE = 16 * 1024 * 1024
"""Largest certificate table read; the largest real one seen has 40 KiB."""

MAX_ENTRIES = 16
"""WIN_CERTIFICATE entries read; shim has two."""

CHECKSUM_EAGER = 32 * 1024
"""Images up to this size have their checksum checked by ``parse``; larger ones that are no
driver only by `checksum` itself: nobody but the kernel's loader looks at it, and adding up
16-bit words takes longer than SHA-256 does."""

IMAGE = "image"
"""The slot of the image hash."""

PADDED_IMAGE = "image:padded"
"""The same over an image zero-padded to eight bytes: what a signer would have hashed, had
it embedded a signature.  Catalogs may hold either for a file of odd length."""

_HEADER = struct.Struct("<IHH")
_REVISION_2 = 0x0200
_PKCS_SIGNED_DATA = 0x0002
_LEFTOVER_SEARCH = 1024 * 1024
_LEFTOVER_MARK = b"\x00\x02\x02\x00\x30\x82"
_TABLE_CLAUSE = "PE Format, attribute certificate table"
_HASH_CLAUSE = "Authenticode PE, calculating the PE image hash"


class _Entry(Frozen, frozen=True, kw_only=True):
    """A WIN_CERTIFICATE: its PKCS#7 and where that lies."""

    start: int
    blob: bytes


class PeFormat:
    """The PE format."""

    name = "pe"
    spec = "Windows Authenticode Portable Executable Signature Format, 2008"
    extensions: tuple[str, ...] = (
        ".exe", ".dll", ".sys", ".efi", ".ocx", ".cpl", ".scr", ".mui", ".pyd", ".node",
    )  # fmt: skip

    def recognise(self, peek: Peek) -> Match:
        """Recognise an MZ header that leads to a PE signature."""
        head = peek.head
        if head[:2] != b"MZ" or len(head) < 64:
            return Match.NO
        pe = int.from_bytes(head[60:64], "little")
        if pe + 4 > peek.length:
            return Match.NO
        beyond = pe + 4 > len(head)
        return Match.MAGIC if beyond or head[pe : pe + 4] == b"PE\0\0" else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the image's ranges and the signatures in its certificate table."""
        layout = read_layout(source)
        regions = list(_exempt_fields(layout))
        findings = list(_checksum_findings(source, layout))
        signatures: list[ClaimedSignature] = []
        if any(layout.table):
            entries = _read_table(source, layout, regions)
            for number, entry in enumerate(entries, 1):
                signatures += _open_entry(entry, number, PE_OF_SBSIGN if layout.is_efi else "")
            findings += _entry_findings(layout, len(entries))
            layout = _with_page_size(layout, signatures)
        else:
            findings += _leftover(source, layout)
        return SignedArtifact(
            profile="uefi" if layout.is_efi else "authenticode",
            format=self.name,
            source=source,
            signatures=tuple(signatures),
            required={s.label: _required(layout, s) for s in signatures},
            regions=tuple(regions),
            facts=_claims(source, layout),
            findings=tuple(findings),
            layout=layout,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the image hash and the page hashes wanted, in one pass."""
        layout: Layout = artifact.layout
        hashers = {
            (name, algorithm): hashlib.new(algorithm, usedforsecurity=False)
            for name, algorithm in wanted
            if name in (IMAGE, PADDED_IMAGE)
        }
        pages = _pages_wanted(layout, wanted)
        plan = _page_plan(layout, pages) if pages else []
        consumers: list[Hasher] = [*hashers.values(), *([_PageFeeder(plan)] if plan else [])]
        if consumers:
            artifact.source.feed(layout.image_ranges(), consumers)
        if not plan:
            for page in pages:
                artifact.source.feed(page.taken, [page])
        padding = b"\0" * (-layout.content_end % 8)
        for (name, _), hasher in hashers.items():
            hasher.update(padding if name == PADDED_IMAGE else b"")
        computed = {slot: hasher.digest() for slot, hasher in hashers.items()}
        for page in pages:
            computed.update(page.digests())
        return computed

    options: Mapping[str, str] = MappingProxyType({})

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the image; an EFI image gets a further entry where others nest."""
        from signward.envelopes.cms_draft import with_nested
        from signward.formats._pe_sign import bare, draft_image, embedded, page_digest

        found: Layout = request.artifact.layout if request.artifact else read_layout(source)
        existing = _blobs(source, found)
        may_sign(bool(existing), request, "PE image")
        image, layout = bare(source, found)
        algorithm = page_digest(request)
        pages = [(page_name(start), algorithm) for start, _ in layout.pages()] if algorithm else []
        artifact = SignedArtifact(format=self.name, source=image, signatures=(), layout=layout)
        whole = (IMAGE, request.signer.digest)
        computed = dict(self.digests(artifact, frozenset((whole, *pages))))
        sealed = yield draft_image(request, layout, computed.pop(whole), computed)
        if request.existing is Existing.REPLACE or not existing:
            return embedded(source, found, (sealed,))
        if layout.is_efi:
            return embedded(source, found, (*existing, sealed))
        return embedded(source, found, (with_nested(existing[0], sealed), *existing[1:]))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the PKCS#7 in each entry of the certificate table."""
        return _blobs(source, read_layout(source))

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that sets the certificate table, its directory entry and the checksum.

        Without envelopes the table goes; zeros that padded the image stay, as nothing tells
        them from its own.
        """
        from signward.formats._pe_sign import embedded

        return embedded(source, read_layout(source), envelopes)

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Return the artifact with all of `facts`, for those who show it."""
        return replace(artifact, facts=self.facts(artifact))

    def facts(self, artifact: SignedArtifact) -> Mapping[str, str | int]:
        """Return what the image says about itself: machine, version, .NET names, checksum.

        Claims, all of them; reads the file again, so only for those who ask.
        """
        from signward.formats._pe_boot import boot_facts
        from signward.formats._pe_clr import clr_facts
        from signward.formats._pe_resources import image_facts

        layout: Layout = artifact.layout
        return {
            **artifact.facts,
            **image_facts(artifact.source, layout),
            **(boot_facts(artifact.source, layout) if layout.is_efi else {}),
            **clr_facts(artifact.source, layout),
            "computed-checksum": checksum(artifact.source, layout),
        }


def _claims(source: Source, layout: Layout) -> dict[str, str | int]:
    """Return what rules and firmware ask of an image: few of its facts."""
    found = {**layout.facts(), **naming_facts(source, layout)}
    if layout.is_efi:
        from signward.formats._pe_boot import generation_facts

        found |= generation_facts(source, layout)
    return found


def _blobs(source: Source, layout: Layout) -> tuple[bytes, ...]:
    entries = _read_table(source, layout, []) if any(layout.table) else []
    return tuple(entry.blob for entry in entries)


class _Page:
    """One page's digests in the making; a page without bytes closes the table."""

    __slots__ = ("hashers", "name", "taken", "zeros")

    def __init__(self, layout: Layout, start: int, end: int) -> None:
        self.name = page_name(start)
        self.taken = _without_exclusions(layout, start, end)
        self.zeros = layout.page_size - (end - start)
        self.hashers: dict[str, _Hash] = {}

    def update(self, data: memoryview, /) -> None:
        for hasher in self.hashers.values():
            hasher.update(data)

    def digests(self) -> Iterator[tuple[tuple[str, str], bytes]]:
        """Return digests over the page, zero-padded to its full size; zeros for the last entry."""
        for algorithm, hasher in self.hashers.items():
            hasher.update(bytes(self.zeros))
            digest = hasher.digest() if self.taken else bytes(hasher.digest_size)
            yield (self.name, algorithm), digest


class _PageFeeder:
    """Cuts the stream of an image hash into pages, so that one pass serves both."""

    def __init__(self, plan: Sequence[tuple[int, int, _Page]]) -> None:
        self._plan = iter(plan)
        self._position = 0
        self._next()

    def _next(self) -> None:
        ahead: tuple[int, int, _Page | None] = next(self._plan, (1 << 62, 1 << 62, None))
        self._start, self._end, self._page = ahead

    def update(self, data: memoryview, /) -> None:
        """Hand each page its share of ``data``."""
        base, self._position = self._position, self._position + len(data)
        while self._start < self._position:
            if self._page is not None:
                self._page.update(data[max(0, self._start - base) : self._end - base])
            if self._end > self._position:
                return
            self._next()


def _without_exclusions(layout: Layout, start: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of a range that the image hash covers."""
    parts = ((max(start, a), min(end, b)) for a, b in layout.image_ranges())
    return [(a, b) for a, b in parts if a < b]


def _pages_wanted(layout: Layout, wanted: Wanted) -> list[_Page]:
    """Return the pages whose digests are wanted; by their first byte, the later of two."""
    names: dict[str, list[str]] = {}
    for name, algorithm in wanted:
        if name.startswith("page:"):
            names.setdefault(name, []).append(algorithm)
    if not names:
        return []
    pages = {page_name(start): (start, end) for start, end in layout.pages()}
    found = []
    for name in names.keys() & pages.keys():
        page = _Page(layout, *pages[name])
        for algorithm in names[name]:
            page.hashers[algorithm] = hashlib.new(algorithm, usedforsecurity=False)
        found.append(page)
    return found


def _page_plan(layout: Layout, pages: Sequence[_Page]) -> list[tuple[int, int, _Page]]:
    """Return where in the stream of the image hash each page lies; empty if two overlap."""
    plan, stream = [], 0
    for first, last in layout.image_ranges():
        plan += [
            (stream + a - first, stream + b - first, page)
            for page in pages
            for a, b in page.taken
            if first <= a < last
        ]
        stream += last - first
    plan.sort(key=lambda part: part[:2])
    disjoint = all(one[1] <= two[0] for one, two in pairwise(plan))
    return plan if disjoint else []


def _exempt_fields(layout: Layout) -> Iterator[Region]:
    start = layout.checksum_offset
    yield Region(start=start, end=start + 4, what="checksum field", exempt=_HASH_CLAUSE)
    if layout.directory_offset is not None:
        start = layout.directory_offset
        yield Region(start=start, end=start + 8, what="security directory", exempt=_HASH_CLAUSE)


def _read_table(source: Source, layout: Layout, regions: list[Region]) -> list[_Entry]:
    """Return the entries of the certificate table; account for every byte in and behind it."""
    start, size = layout.table
    end = start + size
    _check_table(layout, start, size)
    table = source.read(start, size)
    entries: list[_Entry] = []
    position = 0
    while position < size:
        entry = _read_entry(table, position, start, first=not entries)
        if entry is None:
            break
        entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            raise LimitError("certificate table", "more entries", f"at most {MAX_ENTRIES}")
        length = _HEADER.unpack_from(table, position)[0]
        signed = position + _HEADER.size + len(entry.blob)
        position = min(size, position + length + (-length % 8))
        what = "WIN_CERTIFICATE header and PKCS#7"
        regions.append(
            Region(start=entry.start, end=start + signed, what=what, exempt=_HASH_CLAUSE)
        )
        regions += _rest(table[signed:position], start + signed, "behind the PKCS#7")
    regions += _rest(table[position:], start + position, "certificate table")
    regions += _behind(source, layout, end)
    regions += _mapped(layout, start, end)
    return entries


def _behind(source: Source, layout: Layout, end: int) -> Iterator[Region]:
    """Account for bytes behind the table, which must be the file's last part."""
    tail = source.read(end, min(8, layout.length - end))
    if tail:
        padding = len(tail) == -end % 8 and not any(tail)
        exempt = _TABLE_CLAUSE if padding else ""
        what = "behind the certificate table"
        yield Region(start=end, end=layout.length, what=what, exempt=exempt)


def _check_table(layout: Layout, start: int, size: int) -> None:
    """Refuse a table that is misplaced: it would take content out of the hash."""
    what = "security directory"
    if start % 8:
        raise MalformedError(
            what, f"a table at {start}", "a multiple of 8", _TABLE_CLAUSE, offset=start
        )
    if start < layout.headers_end or size < _HEADER.size or start + size > layout.length:
        raise MalformedError(
            what, f"{size} bytes at {start}", "a table behind the headers and inside the file",
            _TABLE_CLAUSE, offset=layout.directory_offset,
        )  # fmt: skip
    if size > MAX_TABLE:
        raise LimitError(what, f"a table of {size} bytes", f"at most {MAX_TABLE}")


def _read_entry(table: bytes, position: int, base: int, *, first: bool) -> _Entry | None:
    """Return the entry at ``position``; None for what is none behind the first."""
    found = _entry_problem(table, position)
    if found and first:
        raise MalformedError(
            "WIN_CERTIFICATE", found, "revision 2.0 and type PKCS_SIGNED_DATA, inside the table",
            _TABLE_CLAUSE, offset=base + position,
        )  # fmt: skip
    if found:
        return None
    length = _HEADER.unpack_from(table, position)[0]
    blob = table[position + _HEADER.size : position + length]
    return _Entry(start=base + position, blob=blob[: der.parse(blob, "PKCS#7", trailing=True).next])


def _entry_problem(table: bytes, position: int) -> str:
    if position + _HEADER.size > len(table):
        return f"{len(table) - position} bytes"
    length, revision, kind = _HEADER.unpack_from(table, position)
    if not _HEADER.size < length <= len(table) - position:
        return f"a length of {length}"
    if (revision, kind) != (_REVISION_2, _PKCS_SIGNED_DATA):
        return f"revision {revision:#06x} and type {kind:#06x}"
    return ""


def _rest(data: bytes, start: int, what: str) -> Iterator[Region]:
    """Account for bytes that are neither header nor PKCS#7: fewer than eight zeros are padding."""
    if data:
        exempt = _TABLE_CLAUSE if len(data) < 8 and not any(data) else ""
        yield Region(start=start, end=start + len(data), what=what, exempt=exempt)


def _mapped(layout: Layout, start: int, end: int) -> Iterator[Region]:
    """Report the certificate table's bytes that a section maps into memory: code nobody hashed."""
    for section in layout.sections:
        if section.start < end and section.end > start and section.end > section.start:
            yield Region(
                start=max(start, section.start),
                end=min(end, section.end),
                what=f"certificate table, mapped as section {section.name!r}",
            )


def _open_entry(entry: _Entry, number: int, also: str) -> tuple[ClaimedSignature, ...]:
    signatures = open_embedded(entry.blob, IMAGE, label=str(number), kind=PE_IMAGE_DATA, also=also)
    if not signatures:
        raise MalformedError(
            f"signature {number}", "a PKCS#7 without signers", "at least one", "RFC 5652 5.1",
            offset=entry.start,
        )  # fmt: skip
    return signatures


def _with_page_size(layout: Layout, signatures: Sequence[ClaimedSignature]) -> Layout:
    """Return the layout with the page size that the first table of page hashes was cut by."""
    for signature in signatures:
        names = {slot.name for slot in signature.slots if slot.name.startswith("page:")}
        if names:
            return layout.cut_like(names)
    return layout


def _required(layout: Layout, signature: ClaimedSignature) -> frozenset[str]:
    """Return the slots a signature must carry: all pages, if it speaks of any."""
    if not any(slot.name.startswith("page:") for slot in signature.slots):
        return frozenset((IMAGE,))
    return frozenset((IMAGE, *(page_name(start) for start, _ in layout.pages())))


def _entry_findings(layout: Layout, count: int) -> Iterator[Finding]:
    if count > 1 and not layout.is_efi:
        yield Finding(
            code=Code.SEVERAL_ENTRIES,
            effect=Effect.REJECT,
            subject="certificate table",
            found=f"{count} entries",
            required="one: Windows reads only the first",
            clause=_TABLE_CLAUSE,
            offset=layout.table[0],
        )


def _checksum_findings(source: Source, layout: Layout) -> Iterator[Finding]:
    """Report a checksum field that is set and wrong; only the kernel's loader refuses it."""
    driver = layout.is_driver or source.name.lower().endswith(".sys")
    if not layout.claimed_checksum or not (driver or layout.length <= CHECKSUM_EAGER):
        return
    actual = checksum(source, layout)
    if actual != layout.claimed_checksum:
        yield Finding(
            code=Code.CHECKSUM_MISMATCH,
            effect=Effect.WARN if driver else Effect.NOTE,
            subject="checksum field",
            found=f"{layout.claimed_checksum:#010x}",
            required=f"{actual:#010x}, or zero",
            clause="PE Format, optional header: CheckSum",
            hint="the kernel refuses to load a driver whose checksum is wrong" if driver else "",
            offset=layout.checksum_offset,
        )


def _leftover(source: Source, layout: Layout) -> Iterator[Finding]:
    """Report a WIN_CERTIFICATE that the security directory no longer points at.

    Searched in the last MiB behind the sections only: a hint to the reader, no verdict.
    """
    start = max(layout.sections_end, layout.length - _LEFTOVER_SEARCH)
    data = source.read(start, layout.length - start)
    position = data.find(_LEFTOVER_MARK)
    while position >= 0:
        header = position - 4
        if header >= 0 and (start + header) % 8 == 0:
            length = int.from_bytes(data[header : header + 4], "little")
            if 0 <= len(data) - header - length < 8:
                yield _leftover_finding(start + header, length)
                return
        position = data.find(_LEFTOVER_MARK, position + 1)


def _leftover_finding(offset: int, length: int) -> Finding:
    return Finding(
        code=Code.LEFTOVER_SIGNATURE,
        effect=Effect.WARN,
        subject="image",
        found=f"a WIN_CERTIFICATE of {length} bytes that nothing points at",
        required="a security directory entry, or no signature at all",
        clause=_TABLE_CLAUSE,
        hint="the signature was stripped by clearing the directory entry",
        offset=offset,
    )


FORMAT = PeFormat()
