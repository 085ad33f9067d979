"""Xar archives: macOS installer packages (.pkg) and whatever else is a xar.

Sources: the xar project's "xarformat" page, Apple's xar and productsign for ``x-signature``, and
apple-platform-rs for the notarization ticket behind the archive, of which no specification is
published.

**Everything in the heap is accounted for.**  The table is covered by its checksum, which both
signatures are over; a file by its archived checksum, which stands in the table.  A file without
one, octets between what the table speaks of, and octets behind it are uncovered: installers have
been made to read those.  A stapled ticket behind the archive is exempt: it says for itself whose
it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes.cms import CMS_TIMESTAMP
from signward.envelopes.xar import ENVELOPE
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._pkg_signature import (
    TABLE,
    envelope_of,
    open_archive,
    slot_names,
)
from signward.formats._pkg_ticket import read_trailer
from signward.formats._stapled import read_stapled
from signward.state import ClaimedSignature, Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.patch import PatchSet
from signward.wire.xar import MAGIC, Xar, read_xar
from signward.wire.xar_toc import CLAUSE


class PkgFormat:
    """The xar archive."""

    name = "pkg"
    spec = "xarformat; Apple's x-signature"
    extensions: tuple[str, ...] = (".pkg", ".mpkg", ".xar", ".xip")
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise the magic."""
        return Match.MAGIC if peek.head[:4] == MAGIC else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the table, the files and both signatures."""
        archive = read_xar(source)
        signatures = open_archive(source, archive)
        names = slot_names(archive)
        ticket = read_trailer(source, archive.heap + archive.end) if signatures.claimed else b""
        stapled = read_stapled(ticket, (archive.stored,), "checksum")
        required = frozenset((TABLE, *(n for n, m in names.items() if m.algorithm)))
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures.claimed,
            required={one.label: required for one in signatures.claimed},
            conditions=signatures.conditions,
            regions=tuple(_regions(source, archive, ticket)) if signatures.claimed else (),
            profile="apple-installer",
            ticket=stapled.ticket,
            findings=stapled.findings,
            facts={"toc-checksum": archive.checksum, "files": len(archive.members)},
            layout=archive,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the checksums of the table and of files' archived octets."""
        archive: Xar = artifact.layout
        members = slot_names(archive)
        known: dict[tuple[int, int, str], bytes] = {}
        found: dict[tuple[str, str], bytes] = {}
        for name, algorithm in wanted:
            if name == TABLE:
                digest = hashlib.new(algorithm, archive.packed, usedforsecurity=False).digest()
                found[name, algorithm] = digest
            elif name in members:
                member = members[name]
                place = (archive.heap + member.start, archive.heap + member.end, algorithm)
                if place not in known:  # files in the very same octets are read once
                    known[place] = _digest(artifact.source, *place)
                found[name, algorithm] = known[place]
        return found

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign: the table is written anew with room for both signatures, and checksums by SHA-2."""
        from signward.formats._pkg_sign import signed

        return (yield from signed(source, request))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the CMS and the RSA value, whichever there are."""
        archive = read_xar(source)
        nodes = (archive.x_signature, archive.signature)
        return tuple(envelope_of(source, archive, node) for node in nodes if node)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts these into the places kept for them; none strips both.

        Stripping writes the table anew.  Raises ``NotSignableError`` where there is no such place,
        or too little room.
        """
        from signward.formats._pkg_sign import embedded

        return embedded(source, read_xar(source), envelopes)

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return the CMS' value; the bare RSA value has no place for a timestamp."""
        return None if signature.envelope == ENVELOPE else signature.value

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:
        """Return the CMS with a token more."""
        from signward.envelopes.cms_draft import attribute, with_unsigned

        del signature  # an archive's CMS has one signer
        return with_unsigned(envelope, 0, attribute(CMS_TIMESTAMP, token))


def _digest(source: Source, start: int, end: int, algorithm: str) -> bytes:
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    source.feed([(start, end)], [hasher])
    return hasher.digest()


def _regions(source: Source, archive: Xar, ticket: bytes) -> Iterator[Region]:
    """Yield heap octets that no checksum reaches, and what stands behind the archive."""
    for start, end in archive.gaps:
        yield _region(archive, start, end, "heap outside of every file")
    for member in archive.members:
        if not member.algorithm and member.length:
            yield _region(archive, member.start, member.end, f"{member.name}, without checksum")
    at = archive.heap + archive.end
    if at < source.length:
        what, exempt = ("stapled ticket", CLAUSE) if ticket else ("octets behind the archive", "")
        yield Region(start=at, end=source.length, what=what, exempt=exempt)


def _region(archive: Xar, start: int, end: int, what: str) -> Region:
    return Region(start=archive.heap + start, end=archive.heap + end, what=what)


FORMAT = PkgFormat()
