"""macOS disk images (.dmg) of the kind UDIF: a signature between the content and the trailer.

Sources: Apple's ``diskimagerep.cpp`` (libsecurity_codesigning) and apple-platform-rs.  The
signature is a superblob as in a program.  Its code directory has one digest of everything in front
of the signature (or one for each page) and, in the special slot *rep-specific*, one of the trailer
with the signature's size as zero.

**Nothing is left out.**  Content up to the signature is what the code directory covers, the
signature ends where the trailer begins, the trailer ends the file, and the size that no digest
reaches is the only one that fits.  Without the digest of the trailer the whole image could be
put together anew from covered parts: a signature that lacks it is refused.  A stapled ticket
stands in the superblob: it is signed by Apple itself, and must name this code directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.errors import MalformedError
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._apple_options import OPTIONS
from signward.formats._apple_signature import (
    AppleSignature,
    digests_of,
    open_superblob,
    special_name,
)
from signward.formats._dmg_layout import CLAUSE, KOLY, MAGIC, WHAT, Trailer, read_trailer
from signward.formats._stapled import Stapled, read_stapled
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.patch import PatchSet
from signward.wire.superblob import HEADER, REP_SPECIFIC_SLOT, TICKET_SLOT, blob_length

_NAMES = frozenset({"", ".dmg", ".cdr", ".img", ".udif"})
"""Extensions of disk images.  Under other names the magic at the end says too little: anything
can stand in front of it, a script too."""


class DmgLayout(Frozen, frozen=True, kw_only=True):
    """What a disk image is made of."""

    trailer: Trailer
    opened: AppleSignature | None


class DmgFormat:
    """The disk image."""

    name = "dmg"
    spec = "UDIF; Apple code signature in diskimagerep.cpp"
    extensions: tuple[str, ...] = (".dmg",)
    options: Mapping[str, str] = MappingProxyType(
        {name: OPTIONS[name] for name in ("identifier", "team", "requirements", "digests")}
    )

    def recognise(self, peek: Peek) -> Match:
        """Recognise the magic at the end, also where something small was appended to it.

        The head may be anything: whatever it says of itself goes first.
        """
        return Match.EXTENSION if peek.extension in _NAMES and _ends(peek) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the trailer, and the signature in front of it."""
        trailer = read_trailer(source)
        opened = _open(source, trailer) if trailer.size else None
        signatures = opened.claimed if opened else ()
        required = frozenset({"page:0", special_name(REP_SPECIFIC_SLOT)})
        stapled = _stapled(opened) if opened else Stapled()
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={one.label: required | opened.required for one in signatures if opened},
            regions=tuple(_regions(trailer, opened)) if opened else (),
            profile="apple",
            facts=opened.facts if opened else {},
            findings=(*opened.findings, *stapled.findings) if opened else (),
            seals=opened.seals if opened else (),
            ticket=stapled.ticket,
            layout=DmgLayout(trailer=trailer, opened=opened),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of the content, the trailer and the signature's own parts."""
        layout: DmgLayout = artifact.layout
        if layout.opened is None:
            return {}
        outside = {REP_SPECIFIC_SLOT: layout.trailer.blind}
        return digests_of(layout.opened, artifact.source, wanted, outside=outside)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the image: everything in front of the trailer, and the trailer itself."""
        from signward.formats._dmg_sign import signed

        return (yield from signed(source, request))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the superblob, if there is one that somebody signed."""
        trailer = read_trailer(source)
        opened = _open(source, trailer) if trailer.size else None
        return (source.read(trailer.offset, trailer.size),) if opened and opened.claimed else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes a superblob the image's; none strips it, byte-exact."""
        from signward.formats._dmg_sign import embedded

        return embedded(read_trailer(source), envelopes)

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return the CMS' value."""
        return signature.value

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:
        """Return the superblob with a token more in its CMS."""
        from signward.formats._dmg_sign import with_token

        del signature  # an image's CMS has one signer
        return with_token(envelope, token)


def _ends(peek: Peek) -> bool:
    return peek.length >= KOLY and MAGIC in peek.tail


def _open(source: Source, trailer: Trailer) -> AppleSignature:
    """Return what the signature claims; it must speak of the content and of the trailer."""
    blob = source.read(trailer.offset, trailer.size)
    if (length := blob_length(blob, WHAT)) != len(blob):  # no digest reaches that size
        raise MalformedError(
            WHAT, f"{len(blob) - length} octets behind the signature", "none", CLAUSE,
            offset=trailer.offset + length,
        )  # fmt: skip
    opened = open_superblob(blob, outside={REP_SPECIFIC_SLOT: trailer.blind})
    for directory in opened.directories:
        if directory.code_limit > trailer.offset or not directory.code:
            raise MalformedError(
                "code directory", f"a code limit of {directory.code_limit}",
                f"{trailer.offset}, where the signature begins", CLAUSE,
            )  # fmt: skip
        if REP_SPECIFIC_SLOT not in directory.special:
            raise MalformedError(WHAT, "no digest of it", "one in each code directory", CLAUSE)
    return opened


def _stapled(opened: AppleSignature) -> Stapled:
    """Read the ticket that the stapler put into the superblob, which no code directory covers."""
    ticket = opened.blobs.get(TICKET_SLOT, b"")[HEADER:]
    return read_stapled(ticket, (opened.best.cdhash,), "code directory")


def _regions(trailer: Trailer, opened: AppleSignature) -> Iterator[Region]:
    """Yield content between the code limit and the signature."""
    limit = min(directory.code_limit for directory in opened.directories)
    if limit < trailer.offset:
        yield Region(start=limit, end=trailer.offset, what="content behind the code limit")


FORMAT = DmgFormat()
