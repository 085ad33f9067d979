"""Android packages (.apk): signatures in a block of their own, and the JAR signature before them.

Sources: Android, "Application signing", "APK Signature Scheme v2", "v3", "v3.1" and "v4"; AOSP
``ApkVerifier``.  From v2 on a signature covers the whole file but the APK Signing Block, and
of that block itself the signed data of its signer.  Which schemes count depends on the platforms
asked about (``_apk_schemes``); each that counts must be intact and its signers be trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from signward.envelopes.apk import EVERY_PLATFORM
from signward.errors import MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._apk_digest import SLOTS, Content, digests
from signward.formats._apk_schemes import (
    KNOWS_V2,
    KNOWS_V3,
    Range,
    Schemes,
    needs_v1,
    older_signers,
    read_schemes,
    targeted,
)
from signward.formats._apk_stamp import Stamped, open_stamp
from signward.formats._apk_v4 import open_v4
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.apk_block import (
    PADDING,
    STAMP,
    STAMP_V1,
    V2,
    V3,
    V31,
    Pair,
    SigningBlock,
    read_block,
)
from signward.wire.axml import Platforms, read_platforms
from signward.wire.patch import PatchSet
from signward.wire.unzip import check_expansion, feed_member, read_member
from signward.wire.zip import ZipDirectory, ZipMember, read_directory, refuse_ambiguous

MANIFEST = "AndroidManifest.xml"

MAX_MANIFEST = 16 * 1024 * 1024
"""Octets of ``AndroidManifest.xml``; the largest have some hundred KiB."""

_NAME = MANIFEST.encode()
_END = b"PK\5\6"
_PIECE = 1 << 20
_UNREAD = "APK Signature Scheme v2: unknown pairs are passed over"
_ARCHIVES = (".jar", ".war", ".ear", ".aar", ".zip", ".swi", ".swix")
"""Names of archives that are no packages, whatever lies in them: libraries have a manifest too."""

_KNOWN = {V2: "v2", V3: "v3", V31: "v3.1"}


class Layout(Frozen, frozen=True, kw_only=True):
    """Where content lies, and the members by name."""

    content: Content
    members: dict[str, ZipMember]


class ApkFormat:
    """The APK format."""

    name = "apk"
    spec = "Android, APK Signature Scheme v2, v3, v3.1, v4; JAR File Specification"
    extensions: tuple[str, ...] = (".apk",)
    options: Mapping[str, str] = MappingProxyType(
        {"schemes": "which signatures to write: v1, v2, v3, with commas between (v2,v3, and v1 "
         "where the package is for platforms before Android 7)",
         "lineage": "a lineage file (apksigner rotate writes it) that ends with the key's "
         "certificate: it took over; with --nested, after the former key has signed",
         "rotation-min-sdk": "both keys: the platform from which the new one counts, by v3.1 (33 "
         "or newer; default: from 28 on, by v3)"}
    )  # fmt: skip
    octet_options = frozenset({"lineage"})

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive by its name, or by an Android manifest in its first headers.

        One that begins otherwise (code of its own: Janus) is recognised too, to be refused.
        """
        named = peek.extension in self.extensions
        if peek.head.startswith((b"PK\3\4", _END)):
            other = peek.extension in _ARCHIVES
            found = named or (not other and _begins_with_manifest(peek.head))
            return Match.SPECIFIC if found else Match.NO
        return Match.MAGIC if named and _END in peek.tail else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find the signatures that count for the platforms asked about."""
        directory = read_directory(source)
        refuse_ambiguous(directory, gaps=False)
        members = {member.name: member for member in directory.members}
        asked = _range(_platforms(source, members), options)
        block = read_block(source, directory)
        schemes = read_schemes(source, block, asked)
        claims, findings = schemes.claims, list(schemes.findings)
        required: dict[str, frozenset[str]] = {c.label: _slots(c) for c in claims}
        if needs_v1(schemes, asked):
            _refuse_methods(source, members.values())
            older, covered = _first_scheme(source, schemes, asked, findings)
            required |= {claimed.label: covered for claimed in older}
            claims = (*claims, *older)
        beside = open_v4(source, options.companions, schemes, asked)
        stamped = Stamped()
        if options.stamp and claims:
            stamped = open_stamp(source, block, members, claims)
        facts = {**_facts(asked, schemes, claims), **stamped.facts}
        findings += (*beside.findings, *stamped.findings)
        claims = (*claims, *beside.claims, *stamped.claims)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=claims,
            required=required,
            regions=tuple(_regions(source, directory, block, schemes, stamped)),
            profile="android",
            facts=facts,
            findings=tuple(findings) if claims else (),
            every=True,
            layout=Layout(content=_content(source, directory, block), members=members),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of the whole file's content, and of entries, each unpacked once.

        An entry that is named as a slot of the content has none, or it could stand in for that.
        """
        layout: Layout = artifact.layout
        found = dict(digests(artifact.source, layout.content, wanted))
        hashers: dict[str, dict[str, Any]] = {}
        for name, algorithm in wanted:
            if name in layout.members and name not in SLOTS:
                own = hashers.setdefault(name, {})
                own[algorithm] = hashlib.new(algorithm, usedforsecurity=False)
        for name, some in hashers.items():
            feed_member(artifact.source, layout.members[name], list(some.values()))
            found |= {(name, algorithm): hasher.digest() for algorithm, hasher in some.items()}
        return found

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign by v2 and v3, and before them as a JAR for platforms that know neither."""
        from signward.formats import _apk_sign as signing

        members = {member.name: member for member in read_directory(source).members}
        return (yield from signing.sign(source, request, _platforms(source, members).oldest))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the values of the schemes in the signing block, newest first, and JAR blocks."""
        from signward.formats._jar_signature import read_archive

        block = read_block(source, read_directory(source))
        pairs = [block.find(number) for number in (V31, V3, V2)] if block else []
        archive = read_archive(source)
        return (
            *(source.read(pair.start, pair.end - pair.start) for pair in pairs if pair),
            *(archive.read_block(one) for one in archive.pairs),
        )

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that strips every signature.

        Raises ``NotSignableError`` for envelopes to put in: the signatures of schemes speak of
        each other, so none is replaced alone.
        """
        from signward.formats import _apk_sign as signing

        if envelopes:
            raise NotSignableError("APK", "an envelope to put in place of another", "none",
                                   hint="sign again: --replace")  # fmt: skip
        return signing.stripped(source)


def _begins_with_manifest(head: bytes) -> bool:
    """Say whether a local header in the head names the manifest (APPNOTE 4.3.7)."""
    at = head.find(_NAME)
    while at >= 30:
        length = int.from_bytes(head[at - 4 : at - 2], "little")
        if head[at - 30 : at - 26] == b"PK\3\4" and length == len(_NAME):
            return True
        at = head.find(_NAME, at + 1)
    return False


def _platforms(source: Source, members: dict[str, ZipMember]) -> Platforms:
    member = members.get(MANIFEST)
    if member is None:
        raise MalformedError(source.name, f"no {MANIFEST}", "one", "Android, application manifest")
    _refuse_methods(source, (member,))
    check_expansion((member,), member.packed)
    return read_platforms(read_member(source, member, MAX_MANIFEST))


def _refuse_methods(source: Source, members: Iterable[ZipMember]) -> None:
    """Refuse what is neither stored nor deflated.

    One part of Android reads it as the one, one as the other, and a JAR signature is over what a
    third makes of it.
    """
    for member in members:
        if member.method not in (0, 8):
            raise MalformedError(source.name, f"{member.name} by compression method "
                                 f"{member.method}", "0 or 8", "AOSP ZipUtils")  # fmt: skip


def _range(platforms: Platforms, options: ParseOptions) -> Range:
    newest = options.newest or EVERY_PLATFORM
    oldest = min(options.oldest or platforms.oldest, newest)
    return Range(oldest=oldest, newest=newest, target=platforms.target)


def _content(source: Source, directory: ZipDirectory, block: SigningBlock | None) -> Content:
    if source.read(directory.end, 4) != _END:
        raise MalformedError(source.name, "ZIP64 end records", "none: Android reads none",
                             "AOSP ZipUtils", offset=directory.end)  # fmt: skip
    return Content(
        entries=block.start if block else directory.start,
        directory=directory.start,
        end_record=directory.end,
    )


def _slots(claimed: ClaimedSignature) -> frozenset[str]:
    return frozenset(slot.name for slot in claimed.slots)


def _first_scheme(
    source: Source, schemes: Schemes, asked: Range, findings: list[Finding]
) -> tuple[tuple[ClaimedSignature, ...], frozenset[str]]:
    """Return the JAR signatures and what each must cover, adding what speaks against them."""
    from signward.envelopes.apk_jar import signers
    from signward.formats import _apk_v1 as v1
    from signward.formats._jar_signature import read_archive

    archive = read_archive(source)
    claims = v1.open_v1(archive)
    if not claims and schemes.signers:
        first = KNOWS_V2 if "v2" in schemes.signers else KNOWS_V3
        findings.append(_too_young(asked, first))
    known = [name for name, first in (("v2", KNOWS_V2), ("v3", KNOWS_V3)) if asked.newest >= first]
    findings += v1.stripped(archive, schemes.signers, known)
    findings += targeted(schemes, asked)
    findings += older_signers("v1", signers(claims), schemes.signers)
    return claims, v1.required(archive)


def _too_young(asked: Range, first: int) -> Finding:
    return Finding(
        code=Code.SLOT_MISSING,
        effect=Effect.REJECT,
        subject="APK",
        found="no JAR signature",
        required=f"one: platforms from {asked.oldest} to {first - 1} know no other that is here",
        clause="AOSP ApkVerifier",
        hint=f"--min-sdk {first} asks about newer platforms only",
    )


def _regions(
    source: Source,
    directory: ZipDirectory,
    block: SigningBlock | None,
    schemes: Schemes,
    stamped: Stamped,
) -> Iterator[Region]:
    """Account for what no slot reaches: pairs of the block, and gaps under the JAR signature."""
    for pair in block.pairs if block else ():
        region = _pair(source, pair, schemes)
        if region is not None and not (pair.id == STAMP and stamped.claims):
            yield region
    if schemes.signers:
        return
    gaps = list(directory.gaps)
    if block is not None:
        gaps.append((directory.start - directory.signing_block, block.start))
    for start, end in gaps:
        exempt = "zipalign: zeros between members" if _is_zeros(source, start, end) else ""
        yield Region(start=start, end=end, what="bytes between members", exempt=exempt)


def _is_zeros(source: Source, start: int, end: int) -> bool:
    pieces = (source.read(at, min(_PIECE, end - at)) for at in range(start, end, _PIECE))
    return not any(piece.strip(b"\0") for piece in pieces)


def _pair(source: Source, pair: Pair, schemes: Schemes) -> Region | None:
    """Return the region of a pair that no signer speaks of; none for a scheme that counts."""
    scheme = _KNOWN.get(pair.id, "")
    if scheme in schemes.signers:
        return None
    what = f"signing block, pair {pair.id:#010x}"
    if pair.id == PADDING:
        empty = _is_zeros(source, pair.start, pair.end)
        exempt = "AOSP ApkSigningBlockUtils: padding" if empty else ""
    elif scheme:
        exempt = "AOSP ApkVerifier: no platform asked about takes this scheme"
    elif pair.id in (STAMP_V1, STAMP):
        exempt = "Android, source stamps: no installer asks for them; --source-stamp does"
    else:
        exempt = _UNREAD
    return Region(start=pair.start, end=pair.end, what=what, exempt=exempt)


def _facts(
    asked: Range, schemes: Schemes, claims: tuple[ClaimedSignature, ...]
) -> dict[str, str | int]:
    names = [*schemes.signers, *(["v1"] if any(c.envelope == "cms" for c in claims) else [])]
    return {"min-sdk": asked.oldest, "target-sdk": asked.target, "schemes": ", ".join(names)}


FORMAT = ApkFormat()
