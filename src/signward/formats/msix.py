"""MSIX and APPX packages and bundles (.msix, .appx, .msixbundle, .appxbundle).

Sources: Microsoft's published packaging SDK and schemas (block map, package and bundle
manifest, Identity), ISO/IEC 29500-2 (OPC); for the signature, of which no specification is
published, osslsigncode and jsign, compared with each other.

``AppxSignature.p7x`` is ``PKCX`` and an Authenticode PKCS#7 whose digest is ``APPX`` and up
to five digests, each behind four letters: ``AXPC`` everything in front of the signature's
member, ``AXCD`` the central directory and end records as without it, and, unpacked, ``AXCT``
``[Content_Types].xml``, ``AXBM`` the block map, ``AXCI`` the code integrity catalog if there
is one.  Each is a slot.  The block map speaks of every other file, in blocks of 64 KiB: a
slot ``file:NAME`` each (`_msix_blockmap`).

An intact signature must agree with more than bytes: the manifest's publisher is the signer's
subject, and the numbers by which Windows finds blocks and packages are the archive's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from signward.envelopes.cms import SlotReader, open_signatures
from signward.errors import BadInputError, MalformedError, NotSignableError
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
from signward.formats._msix_blockmap import (
    FILE,
    BlockMap,
    contradictions,
    file_slots,
    misplaced_packages,
    read_block_map,
    required_files,
)
from signward.formats._msix_catalog import read_code_integrity, unlisted_programs
from signward.formats._msix_digest import PartHasher, digest_archive
from signward.formats._msix_package import (
    BLOCK_MAP,
    BUNDLE_MANIFEST,
    CODE_INTEGRITY,
    CONTENT_TYPES,
    MAGIC,
    MANIFEST,
    SIGNATURE,
    Package,
    read_envelope,
    read_package,
    read_part,
    signature_regions,
    unsigned_directory,
    zero_disks,
)
from signward.formats._msix_publisher import name_of, name_text, parse_name
from signward.formats._msix_xml import Identity, read_identity, signed_types, unsigned_types
from signward.formats._spc import SIP_INFO, read_slots
from signward.frozen import Frozen
from signward.state import (
    ClaimedSignature,
    Manifest,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire.algorithms import COMPUTABLE
from signward.wire.certificate import outline
from signward.wire.patch import Patched, PatchSet

AXPC, AXCD, AXCT, AXBM, AXCI = "AXPC", "AXCD", "AXCT", "AXBM", "AXCI"
_PARTS = {AXCT: CONTENT_TYPES, AXBM: BLOCK_MAP, AXCI: CODE_INTEGRITY}
_REPORTED = (AXCT, AXBM, AXCI)
"""Slots named before the files and the archive: the first that differs is reported, so the
most specific comes first."""

_PACKAGE_SIP = bytes.fromhex("4bdfc50a07cee24db76e23c839a09fd1")
_BUNDLE_SIP = bytes.fromhex("b3585f0fdeaa9a4ba43495742d92eceb")
_SIP_VERSION = 0x01010000
_CLAUSE = "AppxSignature.p7x"
_PUBLISHER_CLAUSE = "package manifest schema: Identity/@Publisher"
_EXTENSIONS = (".msix", ".appx", ".msixbundle", ".appxbundle")
_NAMES = frozenset(name.encode() for name in (BLOCK_MAP, MANIFEST, BUNDLE_MANIFEST, SIGNATURE))
_CENTRAL_MAGIC, _LOCAL_MAGIC = b"PK\1\2", b"PK\3\4"


class _Layout(Frozen, frozen=True, kw_only=True):
    package: Package
    block_map: BlockMap | None = None


class MsixFormat:
    """The format of packages and bundles."""

    name = "msix"
    spec = "MSIX package format (packaging SDK), ISO/IEC 29500-2; AppxSignature.p7x (unpublished)"
    extensions: tuple[str, ...] = _EXTENSIONS
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive that names a part only packages have, or any file so named."""
        named = peek.extension in _EXTENSIONS
        if peek.head[:4] != _LOCAL_MAGIC:
            return Match.EXTENSION if named else Match.NO
        if any(name in _NAMES for name in _member_names(peek)):
            return Match.SPECIFIC
        return Match.MAGIC if named else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the signature, what it must cover, and what it must agree with."""
        package = read_package(source)
        if package.signature is None:
            layout = _Layout(package=package)
            return SignedArtifact(format=self.name, source=source, signatures=(), layout=layout)
        blob = read_envelope(source, package)
        block_map = read_block_map(read_part(source, package, BLOCK_MAP))
        identity = _identity(source, package)
        signatures = open_signatures(blob, _slot_reader(block_map), uniform_digest=True)
        if not signatures:
            raise MalformedError(SIGNATURE, "a PKCS#7 without signers", "one", "RFC 5652 5.1")
        required = frozenset(_required(package, identity))
        catalog = read_code_integrity(source, package)
        shared = (
            *contradictions(source, package, block_map),
            *misplaced_packages(source, package, identity),
        )
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: required for s in signatures},
            conditions={s.label: (*shared, *_agreement(package, identity, s)) for s in signatures},
            nested={CODE_INTEGRITY: catalog} if catalog else {},
            regions=tuple(signature_regions(source, package)),
            findings=tuple(unlisted_programs(source, package, catalog)) if catalog else (),
            facts={
                "package": identity.name,
                "version": identity.version,
                "publisher": identity.publisher,
            },
            layout=_Layout(package=package, block_map=block_map),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the wanted digests in one pass; parts that do not unpack have none."""
        layout: _Layout = artifact.layout
        return _digests(artifact.source, layout, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the package, whose block map and manifest must be there already."""
        from signward.formats._spc_draft import draft_indirect, sip_info

        package = read_package(source)
        _may_sign(package, request)
        _check_block_map(source, package, request)
        _check_publisher(_identity(source, package), request)
        bare = Patched(source, self._patch(source, package, signed=True))
        layout = _Layout(package=read_package(bare))
        digest = request.signer.digest
        names = [AXPC, AXCD, AXCT, AXBM, *([AXCI] if CODE_INTEGRITY in package.members else [])]
        computed = _digests(bare, layout, frozenset((name, digest) for name in names))
        parts = (name.encode() + computed[name, digest] for name in names)
        package_sip = _BUNDLE_SIP if package.is_bundle else _PACKAGE_SIP
        value = sip_info(package_sip, _SIP_VERSION)
        sealed = yield draft_indirect(request, SIP_INFO, value, b"APPX" + b"".join(parts))
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the PKCS#7 in the signature part."""
        package = read_package(source)
        return (read_envelope(source, package),) if package.signature else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that sets the signature part and the content type it needs.

        Without envelopes both go; the content types stay as some packer left them if they
        named that type in other words.
        """
        package = read_package(source)
        return self._patch(source, package, signed=bool(envelopes), envelopes=envelopes)

    def relisted(self, source: Source) -> Source:
        """Return a package whose members were changed, with lists that say so."""
        from signward.formats._msix_relist import relisted

        return relisted(source)

    def _patch(
        self, source: Source, package: Package, *, signed: bool, envelopes: tuple[bytes, ...] = ()
    ) -> PatchSet:
        """Return the patch to a package that is signed, or is about to be (no envelope yet)."""
        from signward.wire.zip_patch import Member, changed

        old = read_part(source, package, CONTENT_TYPES)
        new = signed_types(old) if signed else unsigned_types(old)
        members: dict[str, Member | None] = {}
        if new != old:
            _check_moves(package)
            members[CONTENT_TYPES] = Member(data=new)
        members[SIGNATURE] = Member(data=MAGIC + envelopes[0], stored=True) if envelopes else None
        return zero_disks(source, package, changed(source, members))


def _member_names(peek: Peek) -> Iterator[bytes]:
    """Yield member names in the local headers of the head and the central ones of the tail."""
    at = 0
    while peek.head[at : at + 4] == _LOCAL_MAGIC:
        header = peek.head[at : at + 30]
        named, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        yield peek.head[at + 30 : at + 30 + named]
        if len(header) < 30 or header[6] & 8:
            break  # the size follows the data: the next header is not known
        at += 30 + named + extra + int.from_bytes(header[18:22], "little")
    at = peek.tail.find(_CENTRAL_MAGIC)
    while at >= 0:
        named = int.from_bytes(peek.tail[at + 28 : at + 30], "little")
        yield peek.tail[at + 46 : at + 46 + named]
        at = peek.tail.find(_CENTRAL_MAGIC, at + 4)


def _identity(source: Source, package: Package) -> Identity:
    root = "Bundle" if package.is_bundle else "Package"
    data = read_part(source, package, package.manifest)
    return read_identity(data, package.manifest, root)


def _slot_reader(block_map: BlockMap) -> SlotReader:
    """Return a reader of the signature's slots, and of those the block map adds to them."""
    files = file_slots(block_map)

    def read(content_type: str, content: bytes) -> tuple[Slot, ...]:
        package = _BUNDLE_SIP if _BUNDLE_SIP in content else _PACKAGE_SIP
        whole = read_slots("APPX", kind=SIP_INFO, package=package)(content_type, content)[0]
        own = {slot.name: slot for slot in _own_slots(whole)}
        first = [own.pop(name) for name in _REPORTED if name in own]
        return (*first, *files, *own.values())

    return read


def _own_slots(whole: Slot) -> Iterator[Slot]:
    """Yield the digests in the blob: ``APPX``, then four letters and a digest each."""
    if whole.algorithm not in COMPUTABLE:
        yield Slot(name=AXPC, algorithm=whole.algorithm, digest=b"")
        return
    blob, size = whole.digest, hashlib.new(whole.algorithm, usedforsecurity=False).digest_size
    names = [blob[at : at + 4].decode("latin-1") for at in range(4, len(blob), 4 + size)]
    known = {AXPC, AXCD, AXCT, AXBM, AXCI}
    if blob[:4] != b"APPX" or len(blob) != 4 + len(names) * (4 + size):
        raise MalformedError("signature", f"{len(blob)} bytes of digests", "APPX and digests",
                             _CLAUSE)  # fmt: skip
    if len(set(names)) != len(names) or not known.issuperset(names):
        raise MalformedError("signature", f"digests {names}", "AXPC and its kin, each once",
                             _CLAUSE)  # fmt: skip
    for index, name in enumerate(names):
        start = 8 + index * (4 + size)
        yield Slot(name=name, algorithm=whole.algorithm, digest=blob[start : start + size])


def _required(package: Package, identity: Identity) -> Iterator[str]:
    yield from (AXPC, AXCD, AXCT, AXBM)
    if CODE_INTEGRITY in package.members:
        yield AXCI
    yield from required_files(package, identity)


def _agreement(
    package: Package, identity: Identity, signature: ClaimedSignature
) -> Iterator[Finding]:
    """Report where an intact signature and the package contradict each other."""
    algorithms = {slot.algorithm for slot in signature.slots}
    if len(algorithms) > 1:
        yield Finding(
            code=Code.ALGORITHM_INCONSISTENT,
            effect=Effect.REJECT,
            subject=f"signature {signature.label}",
            found=f"digests {', '.join(sorted(algorithms))}",
            required="the block map's hash method, everywhere",
            clause=_CLAUSE,
        )
    other = _PACKAGE_SIP if package.is_bundle else _BUNDLE_SIP
    if other in signature.content:
        yield Finding(
            code=Code.ATTRIBUTE_RULE,
            effect=Effect.WARN,
            subject=f"signature {signature.label}",
            found="the identifier of a package" if package.is_bundle else "that of a bundle",
            required="the one of its own kind",
            clause=_CLAUSE,
            hint="jsign names bundles so; the digests are of the same kind",
        )
    yield from _publisher_findings(identity, signature)


def _publisher_findings(identity: Identity, signature: ClaimedSignature) -> Iterator[Finding]:
    """Compare the manifest's publisher with every certificate that could be the signer's."""
    subjects = list(_signer_subjects(signature))
    if not subjects:
        yield Finding(
            code=Code.KEY_MISSING,
            effect=Effect.UNKNOWN,
            subject=f"signature {signature.label}",
            found="no certificate of the signer in the signature",
            required="it: its subject is compared with the manifest's publisher",
            clause=_PUBLISHER_CLAUSE,
        )
    for subject in subjects:
        problem = _publisher_problem(identity.publisher, subject)
        if problem:
            yield Finding(
                code=Code.PUBLISHER_MISMATCH,
                effect=Effect.REJECT,
                subject="manifest's publisher",
                found=identity.publisher,
                required=problem,
                clause=_PUBLISHER_CLAUSE,
                hint="Windows installs a package only if its signer is the publisher it names",
            )


def _signer_subjects(signature: ClaimedSignature) -> Iterator[bytes]:
    signer = signature.claimed_signer
    for certificate in signature.claimed_certificates:
        try:
            seen = outline(certificate)
        except BadInputError:
            continue  # an unreadable certificate can be nobody's signer
        by_key = bool(signer.key_id) and seen.key_id == signer.key_id
        if by_key or (seen.issuer, seen.serial) == (signer.issuer, signer.serial):
            yield seen.subject


def _publisher_problem(publisher: str, subject: bytes) -> str:
    """Return what the publisher would have to be; empty if it is the subject."""
    try:
        name = name_of(subject)
        return "" if parse_name(publisher) == name else name_text(name)
    except BadInputError as error:
        return f"{error.finding.required}, as in the signer's subject"


def _digests(source: Source, layout: _Layout, wanted: Wanted) -> Manifest:
    package = layout.package
    whole = [wish for wish in wanted if wish[0] == AXPC]
    parts = list(_hashers(layout, wanted))
    computed = dict(digest_archive(source, package.content_end, whole, parts))
    directory = [wish for wish in wanted if wish[0] == AXCD]
    data = unsigned_directory(source, package) if directory else b""
    for name, algorithm in directory:
        computed[name, algorithm] = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    return computed


def _hashers(layout: _Layout, wanted: Iterable[tuple[str, str]]) -> Iterator[PartHasher]:
    members = layout.package.members
    files = layout.block_map.files if layout.block_map else {}
    for wish in wanted:
        name, blocks = wish[0].removeprefix(FILE), wish[0].startswith(FILE)
        member = members.get(name if blocks else _PARTS.get(name, ""))
        if member is not None:
            packed = files[name].packed if blocks and name in files else ()
            yield PartHasher(member, wish, blocks=blocks, packed=packed)


def _may_sign(package: Package, request: Request) -> None:
    if package.signature and request.existing is Existing.NESTED:
        raise NotSignableError(
            SIGNATURE, "a signature", "none to keep: packages have no nested signatures",
            hint="--replace puts the new signature in its place",
        )  # fmt: skip
    may_sign(package.signature is not None, request, "package")
    for name in (CONTENT_TYPES, package.manifest, BLOCK_MAP):
        if name not in package.members:
            raise NotSignableError(
                "package", f"no {name}", "one, as a packer writes it",
                hint="pack the files first (MakeAppx pack, makemsix pack): "
                "signing covers what the packer listed",
            )  # fmt: skip


def _check_block_map(source: Source, package: Package, request: Request) -> None:
    """Raise ``NotSignableError`` if the request's digest is not the block map's."""
    algorithm = read_block_map(read_part(source, package, BLOCK_MAP)).algorithm
    if algorithm != request.signer.digest:
        raise NotSignableError(
            "--digest", request.signer.digest, f"{algorithm}, the hash method of the block map",
            hint=f"sign with --digest {algorithm}, or pack again: Windows refuses a signature "
            "with another digest than the block map's",
        )  # fmt: skip


def _check_publisher(identity: Identity, request: Request) -> None:
    """Raise ``NotSignableError`` if the manifest names another publisher than the signer."""
    subject = outline(request.signer.certificates[0]).subject
    problem = _publisher_problem(identity.publisher, subject)
    if problem:
        raise NotSignableError(
            "manifest's publisher", repr(identity.publisher), repr(problem),
            hint="pack again with the certificate's subject as Identity/@Publisher, "
            "or sign with the publisher's own certificate",
        )  # fmt: skip


def _check_moves(package: Package) -> None:
    """Refuse to move packages whose places a bundle's manifest has written down."""
    at = package.members[CONTENT_TYPES].local
    if package.is_bundle and any(
        member.local > at and not member.method for member in package.members.values()
    ):
        raise NotSignableError(
            CONTENT_TYPES, "packages behind it in the bundle", "none, or a content type for "
            "AppxSignature.p7x already: packages must stay where the manifest says",
            hint="bundle again with MakeAppx, which writes it last",
        )  # fmt: skip


FORMAT = MsixFormat()
