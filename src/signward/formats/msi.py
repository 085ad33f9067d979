r"""Windows Installer packages, patches, transforms and merge modules (msi, msp, mst, msm).

No specification is published.  The rules are those that signtool follows, as
osslsigncode, jsign and Wine describe them, checked on packages that signtool signed.

**Where.**  A package is a compound file ([MS-CFB]).  The stream ``\5DigitalSignature`` of
its root storage is the PKCS#7; ``\5MsiDigitalSignatureEx``, if there, is a digest of
metadata.  Further signatures are nested in the one PKCS#7.

**Content digest.**  The bytes of ``MsiDigitalSignatureEx`` if that stream is there; then
for the root and each storage below: the streams' content and the storages' own, in
the order of their names compared as UTF-16LE bytes; then the storage's class identifier.
The two signature streams of the root are left out.

**Metadata digest.**  By the same walk: of a storage (first) and a stream its name without a
terminator (not the root's), the class identifier (storages) or the low 32 bits of the size
(streams), the state bits, and both times (not the root's).  It has the algorithm of the
signature, which covers it by way of the content digest: so it is the slot ``metadata``.
signtool always writes it, and so does `sign` unless asked not to.  A signature without it
covers content only: streams may have been renamed, which is said as a warning.  And since
the content digest knows no names, a metadata stream renamed so that it still comes first
would pass for content: without one, a stream that ends just where it would is ambiguous.

**What nothing covers.**  The structure itself is checked strictly by ``wire.cfb``.  Bytes
behind the last sector in use, and sectors or entries that nothing leads to, are refused
if they hold anything: no writer leaves such, and Java runs a JAR appended to a signed
package.  Free sectors between others and the slack behind a stream's end are left by
Windows' own writer, with remains of what stood there before, in packages that everybody
accepts: told as a warning and a note, and refused only where a ZIP's end record stands
in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType

from signward.envelopes.cms import SlotReader, open_signatures
from signward.errors import MalformedError, NotSignableError, UncoveredError
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
from signward.formats._spc import SIP_INFO, read_slots
from signward.frozen import replace
from signward.state import (
    ClaimedSignature,
    Hasher,
    Manifest,
    Region,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire import der
from signward.wire.algorithms import COMPUTABLE
from signward.wire.cfb import CompoundFile, Entry, Kind, open_compound
from signward.wire.cfb_sectors import MAGIC, SHIFTS, Gap, GapKind, Span
from signward.wire.patch import PatchSet

CONTENT = "content"
"""The slot of the content digest."""

METADATA = "metadata"
"""The slot of the metadata digest, claimed by the stream ``MsiDigitalSignatureEx``."""

SIGNATURE_STREAM = "\5DigitalSignature".encode("utf-16-le")
METADATA_STREAM = "\5MsiDigitalSignatureEx".encode("utf-16-le")

MAX_SIGNATURE = 16 * 1024 * 1024
"""Largest signature stream read; the largest real one seen has 9 KiB."""

MAX_METADATA = 64
"""Largest metadata stream read: a SHA-512."""

GATHERED = 64 * 1024
"""Ranges below this size are gathered before they are hashed: a file may lie in pieces."""

MAX_REPORTED = 64
"""Uncovered ranges told one by one; the first alone rejects."""

_CLASSES = frozenset(
    bytes.fromhex(first) + bytes.fromhex("100c000000 0000c000000000000046".replace(" ", ""))
    for first in ("84", "86", "82")
)
"""Root class identifiers {000C1084-0000-0000-C000-000000000046} of packages, ...1086 of
patches, ...1082 of transforms, as stored."""

_PACKAGE = bytes.fromhex("f1100c0000000000c000000000000046")
"""SpcSipInfo's identifier of Windows Installer's subject interface package.

A signature must name it: streams can be cut so that the content digest is a script's or an
image's, whose signature would then be the package's."""

_ZIP_END = b"PK\5\6"
_PIECE = 1024 * 1024
_WHAT = "installer package"
_CLAUSE = "Windows Installer signatures, no published specification"


class MsiFormat:
    """The installer package format."""

    name = "msi"
    spec = "Windows Installer signatures in [MS-CFB] compound files (no published specification)"
    extensions: tuple[str, ...] = (".msi", ".msp", ".mst", ".msm")

    def recognise(self, peek: Peek) -> Match:
        """Recognise a compound file by its root's class identifier, else by extension too.

        One whose name says nothing may be a package, its root beyond the head: `parse` looks.
        """
        if peek.head[:8] != MAGIC:
            return Match.NO
        if _root_class(peek.head) in _CLASSES:
            return Match.SPECIFIC
        if peek.extension in self.extensions:
            return Match.MAGIC
        return Match.NO if peek.extension else Match.EXTENSION

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Check the compound file's structure and read the signatures in their stream."""
        compound = open_compound(source)
        blob, metadata = _streams(compound)
        if not blob:
            left = (_leftover(),) if metadata else ()
            return SignedArtifact(
                format=self.name, source=source, signatures=(), findings=left, layout=compound
            )
        end = der.parse(blob, "PKCS#7", trailing=True).next
        signatures = open_signatures(blob[:end], _slot_reader(metadata), uniform_digest=True)
        if not signatures:
            raise MalformedError(_WHAT, "a PKCS#7 without signers", "one", "RFC 5652 5.1")
        _check_whole(blob, end)
        regions, findings = _survey(compound)
        required = frozenset((CONTENT, METADATA)) if metadata else frozenset((CONTENT,))
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: required for s in signatures},
            regions=regions,
            findings=(*_metadata_findings(compound, signatures, metadata), *findings),
            layout=compound,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute content and metadata digests, the content's in one pass."""
        compound: CompoundFile = artifact.layout
        _, metadata = _streams(compound)
        algorithms = sorted(algorithm for name, algorithm in wanted if name == CONTENT)
        digests = _content_digests(compound, metadata, algorithms)
        computed = {(CONTENT, algorithm): digests[algorithm] for algorithm in algorithms}
        for name, algorithm in wanted:
            if name == METADATA:
                computed[name, algorithm] = metadata_digest(compound.root, algorithm)
        return computed

    options: Mapping[str, str] = MappingProxyType(
        {"ex": "yes (default): cover names, sizes and times too, as signtool does; no: leave out"}
    )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the package; a nested signature covers what the first one's stream says.

        Raises ``NotSignableError`` where bytes that nothing reaches would be lost.
        """
        from signward.envelopes.cms_draft import with_nested
        from signward.formats._spc_draft import draft_indirect, sip_info

        compound = open_compound(source)
        existing = self.envelopes(source)
        may_sign(bool(existing), request, _WHAT)
        _refuse_loss(compound)
        nested = bool(existing) and request.existing is Existing.NESTED
        metadata = _metadata_to_write(compound, request, nested=nested)
        algorithm = request.signer.digest
        digest = _content_digests(compound, metadata, (algorithm,))[algorithm]
        sealed = yield draft_indirect(request, SIP_INFO, sip_info(_PACKAGE), digest)
        blob = with_nested(existing[0], sealed) if nested else sealed
        return _with_streams(compound, blob, metadata)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the PKCS#7 in its stream, if there is one."""
        blob, _ = _streams(open_compound(source))
        return (blob,) if blob else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes an envelope the package's signature; none strips it.

        The file is written anew.  ``MsiDigitalSignatureEx`` comes and goes as the envelope's
        own digest asks.  Raises ``NotSignableError`` for an envelope over something else.
        """
        compound = open_compound(source)
        _refuse_loss(compound)
        if not envelopes:
            return _with_streams(compound, b"", b"")
        if len(envelopes) > 1:
            raise NotSignableError(
                _WHAT, f"{len(envelopes)} envelopes", "one: further signatures are nested in it"
            )
        return _with_streams(compound, envelopes[0], _metadata_claimed(compound, envelopes[0]))


def _root_class(head: bytes) -> bytes:
    """Return the root's class identifier, empty where it does not lie in the head.

    It stands 80 bytes into the first directory entry, whose sector the u32 at 48 names.
    """
    shift = int.from_bytes(head[30:32], "little")
    if shift not in SHIFTS.values():
        return b""
    at = ((int.from_bytes(head[48:52], "little") + 1) << shift) + 80
    return head[at : at + 16]


def metadata_digest(root: Entry, algorithm: str) -> bytes:
    """Return the digest of names, sizes, class identifiers, state bits and times below ``root``."""
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    for part in _metadata(root):
        hasher.update(part)
    return hasher.digest()


def _metadata(entry: Entry) -> Iterator[bytes]:
    root, stream = entry.kind is Kind.ROOT, entry.kind is Kind.STREAM
    yield b"" if root else entry.name
    yield entry.size.to_bytes(4, "little") if stream else entry.clsid
    yield entry.state
    yield b"" if root else entry.created + entry.modified
    for member in _members(entry):
        yield from _metadata(member)


def _members(storage: Entry) -> list[Entry]:
    """Return a storage's members in the order of the digests, without the root's signature."""
    left_out = (SIGNATURE_STREAM, METADATA_STREAM) if storage.kind is Kind.ROOT else ()
    return sorted((e for e in storage.children if e.name not in left_out), key=_by_name)


def _by_name(entry: Entry) -> bytes:
    return entry.name


def _content_digests(
    compound: CompoundFile, metadata: bytes, algorithms: Iterable[str]
) -> dict[str, bytes]:
    """Return the content digest by each algorithm, with ``metadata`` in front."""
    hashers = {name: hashlib.new(name, metadata, usedforsecurity=False) for name in algorithms}
    if hashers:
        _feed(compound, compound.root, tuple(hashers.values()))
    return {name: hasher.digest() for name, hasher in hashers.items()}


def _feed(compound: CompoundFile, storage: Entry, hashers: Sequence[Hasher]) -> None:
    """Feed a storage's streams, the storages in it, and its class identifier."""
    waiting: list[Span] = []
    for member in _members(storage):
        if member.kind is Kind.STREAM:
            waiting += member.spans
        else:
            _feed_spans(compound.source, waiting, hashers)
            waiting = []
            _feed(compound, member, hashers)
    _feed_spans(compound.source, waiting, hashers)
    for hasher in hashers:
        hasher.update(memoryview(storage.clsid))


def _feed_spans(source: Source, spans: Iterable[Span], hashers: Sequence[Hasher]) -> None:
    """Feed ranges in order; small ones are gathered, as a hasher's start for each would cost."""
    gathered = bytearray()
    for start, end in spans:
        small = end - start < GATHERED
        if gathered and (not small or len(gathered) > _PIECE):
            _update(hashers, gathered)
            gathered = bytearray()
        if small:
            gathered += source.read(start, end - start)
        else:
            source.feed(((start, end),), hashers)
    _update(hashers, gathered)


def _update(hashers: Sequence[Hasher], data: bytearray) -> None:
    for hasher in hashers:
        hasher.update(memoryview(data))


def _streams(compound: CompoundFile) -> tuple[bytes, bytes]:
    """Return the signature's and the metadata digest's stream, empty where there is none."""
    found = []
    for name, most in ((SIGNATURE_STREAM, MAX_SIGNATURE), (METADATA_STREAM, MAX_METADATA)):
        entry = compound.root.child(name)
        if entry and (entry.kind is not Kind.STREAM or not entry.size):
            raise MalformedError(
                _WHAT, f"{entry.text!r} without content", "a stream with some, or none", _CLAUSE
            )
        found.append(compound.read(entry, most) if entry else b"")
    return found[0], found[1]


def _check_whole(blob: bytes, end: int) -> None:
    """Refuse bytes behind the PKCS#7 in its stream: no digest reaches them."""
    if end < len(blob):
        raise UncoveredError(
            "DigitalSignature", f"{len(blob) - end} bytes behind the PKCS#7", "none", _CLAUSE
        )


def _slot_reader(metadata: bytes) -> SlotReader:
    """Return a reader that adds the slot which the metadata stream claims.

    The content digest begins with that stream's bytes, so the signature vouches for them.
    """
    read_content = read_slots(CONTENT, kind=SIP_INFO, package=_PACKAGE)

    def read(content_type: str, content: bytes) -> tuple[Slot, ...]:
        own = read_content(content_type, content)[:1]
        if not metadata:
            return own
        return (*own, Slot(name=METADATA, algorithm=own[0].algorithm, digest=metadata))

    return read


def _metadata_findings(
    compound: CompoundFile, signatures: Sequence[ClaimedSignature], metadata: bytes
) -> Iterator[Finding]:
    """Say what a package without the metadata digest leaves open, and refuse one of odd size."""
    if not metadata:
        yield Finding(
            code=Code.UNAUTHENTICATED_DATA,
            effect=Effect.WARN,
            subject=_WHAT,
            found="no MsiDigitalSignatureEx: names, sizes and times of streams are not covered",
            required="a metadata digest, as signtool writes it",
            clause=_CLAUSE,
            hint="streams may have been renamed since; their content is covered",
        )
    for signature in signatures:
        algorithm = signature.slots[0].algorithm
        size = _size(algorithm) if algorithm in COMPUTABLE else 0
        if size and metadata and len(metadata) != size:
            yield Finding(
                code=Code.ALGORITHM_INCONSISTENT,
                effect=Effect.REJECT,
                subject=f"signature {signature.label}",
                found=f"a metadata digest of {len(metadata)} bytes",
                required=f"{size}: {algorithm}, the signature's own digest",
                clause=_CLAUSE,
            )
        if size and not metadata and _begins_like_metadata(compound.root, size):
            yield Finding(
                code=Code.AMBIGUOUS,
                effect=Effect.REJECT,
                subject=f"signature {signature.label}",
                found=f"no MsiDigitalSignatureEx, and a stream that ends {size} bytes into the "
                "content, where that one would",
                required=f"the stream, or content not to be taken for it ({algorithm})",
                clause=_CLAUSE,
                hint="renamed, the metadata digest passes for content and covers nothing",
            )


def _size(algorithm: str) -> int:
    return hashlib.new(algorithm, usedforsecurity=False).digest_size


def _begins_like_metadata(root: Entry, size: int) -> bool:
    """Say whether a stream ends just where a metadata digest in front would."""
    for end in accumulate(_sizes(root)):
        if end >= size:
            return end == size
    return False


def _sizes(storage: Entry) -> Iterator[int]:
    """Yield the sizes of what the content digest takes, in order."""
    for member in _members(storage):
        if member.kind is Kind.STREAM:
            yield member.size
        else:
            yield from _sizes(member)
    yield len(storage.clsid)


def _leftover() -> Finding:
    return Finding(
        code=Code.LEFTOVER_SIGNATURE,
        effect=Effect.WARN,
        subject=_WHAT,
        found="MsiDigitalSignatureEx without DigitalSignature",
        required="both, or no signature at all",
        clause=_CLAUSE,
        hint="the signature was stripped",
    )


def _survey(compound: CompoundFile) -> tuple[tuple[Region, ...], tuple[Finding, ...]]:
    """Return the ranges that are refused, and findings of what else nothing covers."""
    regions: list[Region] = []
    remains: dict[GapKind, list[tuple[int, int]]] = {GapKind.FREE: [], GapKind.SLACK: []}
    for gap in compound.gaps:
        if _is_refused(compound.source, gap):
            regions.append(Region(start=gap.start, end=gap.end, what=gap.kind))
            if len(regions) >= MAX_REPORTED:
                break
        elif gap.kind in remains and (held := _held(compound.source, gap)[0]):
            remains[gap.kind].append((gap.start, held))
    told = ((GapKind.FREE, Effect.WARN), (GapKind.SLACK, Effect.NOTE))
    findings = (_remains(kind, effect, remains[kind]) for kind, effect in told if remains[kind])
    return tuple(regions), tuple(findings)


def _is_refused(source: Source, gap: Gap) -> bool:
    """Say whether a gap hides content, or could make the file an archive too."""
    if gap.kind is GapKind.BEHIND:
        return True
    held, archive = _held(source, gap)
    return archive or (gap.kind in (GapKind.TRAILING, GapKind.UNREFERENCED) and held > 0)


def _held(source: Source, gap: Gap) -> tuple[int, bool]:
    """Return how many bytes of a gap say anything, and whether a ZIP's end record stands there.

    Zeros and ones (0xFF, as Apache POI pads) are filler.
    """
    held, archive = 0, False
    reach = len(_ZIP_END) - 1
    for start in range(gap.start, gap.end, _PIECE):
        end = min(start + _PIECE, gap.end)
        first = max(0, start - reach)
        data = source.read(first, min(end + reach, source.length) - first)
        inner = data[start - first : end - first]
        held += len(inner) - inner.count(0) - inner.count(0xFF)
        archive = archive or _ZIP_END in data
    return held, archive


def _remains(kind: GapKind, effect: Effect, places: Sequence[tuple[int, int]]) -> Finding:
    """Tell of remains: in free sectors a warning, in slack (nearly all have some) a note."""
    return Finding(
        code=Code.UNAUTHENTICATED_DATA,
        effect=effect,
        subject=kind,
        found=f"{sum(held for _, held in places)} bytes that are no filler",
        required="none: no signature covers them",
        clause=_CLAUSE,
        hint="remains of what stood there before; the installer does not read them",
        offset=places[0][0],
    )


def _refuse_loss(compound: CompoundFile) -> None:
    """Refuse to write anew what would lose bytes that somebody put there."""
    regions, _ = _survey(compound)
    if regions:
        first = regions[0]
        raise NotSignableError(
            _WHAT, f"{first.end - first.start} bytes at {first.start}: {first.what}", "none",
            hint="no signature could cover them, and writing the package anew would lose them",
        )  # fmt: skip


def _metadata_to_write(compound: CompoundFile, request: Request, *, nested: bool) -> bytes:
    """Return the metadata digest a new signature covers; a nested one must take what is there."""
    asked = request.options.get("ex", "")
    if asked not in ("", "yes", "no"):
        raise NotSignableError("ex", repr(asked), "yes or no")
    if not nested:
        return _first_metadata(compound, request.signer.digest, left_out=asked == "no")
    _, metadata = _streams(compound)
    if asked and (asked == "yes") != bool(metadata):
        raise NotSignableError(
            "ex", asked, f"{'yes' if metadata else 'no'}, as the first signature has it"
        )
    if metadata and metadata != metadata_digest(compound.root, request.signer.digest):
        raise NotSignableError(
            _WHAT, f"a metadata digest that is not the package's {request.signer.digest}",
            "the digest algorithm of the first signature, over an unchanged package",
        )  # fmt: skip
    return metadata


def _first_metadata(compound: CompoundFile, algorithm: str, *, left_out: bool) -> bytes:
    if not left_out:
        return metadata_digest(compound.root, algorithm)
    if _begins_like_metadata(compound.root, _size(algorithm)):
        raise NotSignableError(
            "ex", "no, for a package whose content begins like a metadata digest", "yes",
            hint="a signature without it would be ambiguous",
        )  # fmt: skip
    return b""


def _metadata_claimed(compound: CompoundFile, blob: bytes) -> bytes:
    """Return the metadata digest that the content digest in an envelope begins with."""
    signatures = open_signatures(blob, read_slots(CONTENT))
    for slot in (slot for signature in signatures[:1] for slot in signature.slots[:1]):
        if slot.algorithm not in COMPUTABLE:
            break
        for metadata in (metadata_digest(compound.root, slot.algorithm), b""):
            computed = _content_digests(compound, metadata, (slot.algorithm,))
            if computed[slot.algorithm] == slot.digest:
                return metadata
    raise NotSignableError(_WHAT, "an envelope over other content", "one over this package")


def _with_streams(compound: CompoundFile, blob: bytes, metadata: bytes) -> PatchSet:
    """Return the patch that sets both signature streams, each left out where it is empty."""
    from signward.wire.cfb_write import rewrite

    new = ((SIGNATURE_STREAM, blob), (METADATA_STREAM, metadata))
    added = [Entry(name=name, size=len(data), data=data) for name, data in new if data]
    children = (*_members(compound.root), *added)
    return rewrite(compound, replace(compound.root, children=children))


FORMAT = MsiFormat()
