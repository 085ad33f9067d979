"""Visual Studio extensions (.vsix): OPC packages with XML signatures.

Sources: ECMA-376 part 2, section 10 (``_vsix_signature``); what VSIXSignTool writes.  The
signature covers parts and relationships, not the archive around them: times, attributes and
the packing of members are nobody's word.  Content types stand with each signed part's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from signward.errors import NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.patch import PatchSet
from signward.wire.unzip import feed_member
from signward.wire.zip import ZipMember

WHAT = "VSIX package"
_MANIFEST = b"extension.vsixmanifest"


class _Layout(Frozen, frozen=True, kw_only=True):
    """What is behind the slots: members of the archive, or octets made from one."""

    members: Mapping[str, ZipMember]
    octets: Mapping[str, bytes]


class VsixFormat:
    """The VSIX format."""

    name = "vsix"
    spec = "ECMA-376 part 2, digital signatures of Open Packaging Conventions"
    extensions: tuple[str, ...] = (".vsix",)
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive by its name, or by the manifest in its first headers."""
        if not peek.head.startswith((b"PK\3\4", b"PK\5\6")):
            return Match.NO
        if peek.extension == ".vsix":
            return Match.SPECIFIC
        return Match.MAGIC if _MANIFEST in peek.head else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the package, find its signatures and what each covers."""
        from signward.formats import _opc as opc
        from signward.formats import _vsix_signature as signatures

        package = opc.read_package(source)
        found = signatures.find_signatures(package)
        opened = [
            signatures.open_signature(package, found, part, str(number))
            for number, part in enumerate(found.signatures, 1)
        ]
        covered = [one for each in opened for one in each.covered if one.part]
        layout = _Layout(
            members={c.slot.name: c.part.member for c in covered if c.part and c.octets is None},
            octets={c.slot.name: c.octets for c in covered if c.octets is not None},
        )
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=tuple(each.claimed for each in opened),
            required={each.claimed.label: each.required for each in opened},
            findings=() if opened else tuple(_leftovers(package)),
            layout=layout,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of parts, each unpacked once, and of selected relationships."""
        layout: _Layout = artifact.layout
        hashers: dict[str, dict[str, Any]] = {}
        for name, algorithm in wanted:
            if name in layout.members or name in layout.octets:
                hasher = hashlib.new(algorithm, usedforsecurity=False)
                hashers.setdefault(name, {})[algorithm] = hasher
        for name, some in hashers.items():
            if name in layout.members:
                feed_member(artifact.source, layout.members[name], list(some.values()))
            else:
                for hasher in some.values():
                    hasher.update(layout.octets[name])
        return {
            (name, algorithm): hasher.digest()
            for name, some in hashers.items()
            for algorithm, hasher in some.items()
        }

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign every part and every relationship of the package."""
        from signward.formats import _vsix_sign as signing

        may_sign(bool(self.envelopes(source)), request, WHAT)
        if request.existing is Existing.NESTED:
            raise NotSignableError(WHAT, "a request for a further signature", "one signature",
                                   "--replace puts the new one in its place")  # fmt: skip
        sealed = yield signing.draft_package(source, request)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature parts, in the order of the origin's relationships."""
        from signward.formats import _opc as opc
        from signward.formats import _vsix_signature as signatures

        package = opc.read_package(source)
        return tuple(package.read(part) for part in signatures.find_signatures(package).signatures)

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return the signature value as it stands in the signature part."""
        from signward.envelopes.xmldsig_draft import written_value

        return written_value(signature)

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:  # noqa: ARG002
        """Return the signature part with a token in an Object of its own."""
        from signward.envelopes.xmldsig_draft import with_token
        from signward.formats._vsix_sign import TOKEN
        from signward.wire import xmltree

        identifier = xmltree.parse(envelope, "signature").getroot().get("Id", "")
        return with_token(envelope, identifier, TOKEN, token)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes this the package's signature, or strips it.

        Origin, relationships and content types are set with it.
        """
        from signward.formats import _vsix_sign as signing

        return signing.embedded(source, envelopes)


def _leftovers(package: Any) -> list[Finding]:
    """Report parts of a signature that nothing leads to."""
    from signward.formats._vsix_signature import FOLDER

    names = [part.name for name, part in package.parts.items() if name.startswith(FOLDER)]
    return [
        Finding(
            code=Code.LEFTOVER_SIGNATURE,
            effect=Effect.NOTE,
            subject=WHAT,
            found=f"{name[:120]}, to which no relationship leads",
            required="a relationship from the package, or no such part",
            clause="OPC 10.4",
        )
        for name in names[:1]
    ]


FORMAT = VsixFormat()
