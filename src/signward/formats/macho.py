"""Mach-O programs and libraries, thin and universal, with Apple's code signatures.

Sources: Apple's published ``loader.h``, ``fat.h`` and ``cs_blobs.h`` (xnu); "Code Signing
Guide" and TN3126 (inside code signing: hashes).  Every slice of a universal file must be
accepted by itself, and all must agree about who signed what.
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._apple_options import FILE_OPTIONS, OPTIONS
from signward.formats._apple_signature import NOTHING, digests_of
from signward.formats._macho_code import CodeSlice, disagreements, read_code, regions
from signward.frozen import Frozen, replace
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.macho import is_thin, is_universal
from signward.wire.patch import PatchSet
from signward.wire.superblob import INFO_SLOT


class MachoLayout(Frozen, frozen=True, kw_only=True):
    """The slices, and the content of special slots that lies outside the file."""

    code: tuple[CodeSlice, ...]
    outside: Mapping[int, bytes]


class MachoFormat:
    """The Mach-O format."""

    name = "macho"
    spec = "Mach-O with a code signature: loader.h, fat.h, cs_blobs.h (xnu)"
    extensions: tuple[str, ...] = (".dylib", ".macho")
    options: Mapping[str, str] = OPTIONS
    file_options: frozenset[str] = FILE_OPTIONS

    def recognise(self, peek: Peek) -> Match:
        """Recognise a thin Mach-O, or a universal one by its count of slices."""
        found = is_thin(peek.head) or is_universal(peek.head)
        return Match.MAGIC if found and len(peek.head) >= 28 else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature of every slice."""
        return parse_code(source)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of pages and special slots, slice by slice."""
        layout: MachoLayout = artifact.layout
        found: dict[tuple[str, str], bytes] = {}
        for one in layout.code:
            if one.signature is None:
                continue
            outside = {INFO_SLOT: one.plist, **layout.outside} if one.plist else layout.outside
            found.update(
                digests_of(one.signature, artifact.source, wanted, start=one.start, outside=outside)
            )
        return found

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Add what is loaded beside the code, its entitlements and its requirements."""
        from signward.formats._macho_facts import described  # for few files only

        layout: MachoLayout = artifact.layout
        return replace(artifact, facts={**artifact.facts, **described(layout.code)})

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign every slice, one draft each (see ``_macho_sign``)."""
        from signward.formats._macho_sign import sign_sites

        return sign_sites(source, request)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return each slice's superblob with the zeros behind it."""
        from signward.formats._macho_sign import read_rooms

        return read_rooms(source)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes these the slices' superblobs with all their room."""
        from signward.formats._macho_sign import place, read_sites

        return place(source, read_sites(source), envelopes)

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return the value that a timestamp speaks for."""
        return signature.value

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:  # noqa: ARG002
        """Return a superblob in its room, with a token (DER) beside its signature's value."""
        from signward.formats._apple_sign import with_token

        return with_token(envelope, token)


def parse_code(source: Source, outside: Mapping[int, bytes] = NOTHING) -> SignedArtifact:
    """Return a Mach-O as an artifact; ``outside`` is content of special slots, a bundle's.

    Raises ``BadInputError``.
    """
    from signward.formats._macho_facts import facts_of  # for few files only

    code = read_code(source, outside)
    opened = [one.signature for one in code if one.signature is not None]
    signatures = tuple(claim for signature in opened for claim in signature.claimed)
    findings = [finding for signature in opened for finding in signature.findings]
    return SignedArtifact(
        format=FORMAT.name,
        source=source,
        signatures=signatures,
        required={
            claim.label: signature.required for signature in opened for claim in signature.claimed
        },
        regions=tuple(regions(source, code)) if opened else (),
        seals=tuple(seal for signature in opened for seal in signature.seals),
        profile="apple",
        every=len(code) > 1,
        facts=facts_of(code),
        findings=(*findings, *disagreements(code)),
        layout=MachoLayout(code=code, outside=outside),
    )


FORMAT = MachoFormat()
