"""Java archives (.jar, .war, .ear): a ZIP archive whose manifest lists its entries.

Sources: "JAR File Specification", Signed JAR File; PKWARE APPNOTE 6.3.  Each signature is three
links long (``_jar_signature``); a slot is an entry's content as it unpacks.  The archive around
the entries (order, times, comments, extra fields) is nobody's word, so whatever two ZIP readers
could see differently is refused in a signed one.  Entries of a multi-release JAR and JARs inside
are entries like all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from signward.envelopes.cms import CMS_TIMESTAMP
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.patch import PatchSet
from signward.wire.unzip import feed_member
from signward.wire.zip import refuse_ambiguous

_EXTENSIONS = (".jar", ".war", ".ear")
_MANIFEST = b"META-INF/MANIFEST.MF"
_ANDROID = (b"AndroidManifest.xml", b"classes.dex")


class JarFormat:
    """The JAR format."""

    name = "jar"
    spec = "JAR File Specification, Signed JAR File"
    extensions: tuple[str, ...] = _EXTENSIONS
    token_oid = CMS_TIMESTAMP
    options: Mapping[str, str] = MappingProxyType(
        {"signature-file": "name of the signature's members in META-INF: up to 8 letters, digits, "
         "- and _ (SIGNER, or SIGNER2 and so on beside others)"}
    )  # fmt: skip

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive by its name, or by a manifest in its first headers.

        One that begins otherwise is recognised too, to be refused for what it is.  Android's
        packages have rules of their own, whatever signatures of this kind are in them.
        """
        named = peek.extension in _EXTENSIONS
        if peek.head.startswith((b"PK\3\4", b"PK\5\6")):
            if named:
                return Match.SPECIFIC
            android = peek.extension == ".apk" or any(name in peek.head for name in _ANDROID)
            return Match.MAGIC if _MANIFEST in peek.head and not android else Match.NO
        return Match.EXTENSION if named and b"PK\5\6" in peek.tail else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the signatures and what each covers; all of them must cover every entry."""
        from signward.formats import _jar_signature as jar

        archive = jar.read_archive(source)
        if archive.pairs:
            refuse_ambiguous(archive.directory)
        signatures = jar.open_archive(archive)
        required = frozenset(archive.required)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={claimed.label: required for claimed in signatures},
            profile="jar",
            findings=() if signatures else tuple(_leftovers(archive)),
            layout={member.name: member for member in archive.directory.members},
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of entries, each unpacked once."""
        hashers: dict[str, dict[str, Any]] = {}
        for name, algorithm in wanted:
            if name in artifact.layout:
                hasher = hashlib.new(algorithm, usedforsecurity=False)
                hashers.setdefault(name, {})[algorithm] = hasher
        for name, some in hashers.items():
            feed_member(artifact.source, artifact.layout[name], list(some.values()))
        return {
            (name, algorithm): hasher.digest()
            for name, some in hashers.items()
            for algorithm, hasher in some.items()
        }

    def sign(self, source: Source, request: Request) -> Signing:
        """List every entry in the manifest, and sign its digests in a signature file."""
        from signward.formats import _jar_sign as signing

        plan = signing.planned(source, request)
        sealed = yield signing.drafted(plan, request)
        return signing.signed(plan, sealed)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature blocks, in the order of their labels."""
        from signward.formats import _jar_signature as jar

        archive = jar.read_archive(source)
        return tuple(archive.read_block(pair) for pair in archive.pairs)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts these in place of the blocks; none strips them all."""
        from signward.formats import _jar_sign as signing

        return signing.embedded(source, envelopes)


def _leftovers(archive: Any) -> Iterator[Finding]:
    """Report the first signature file or block that lacks the other."""
    for member in archive.loose[:1]:
        yield Finding(
            code=Code.LEFTOVER_SIGNATURE,
            effect=Effect.NOTE,
            subject="JAR",
            found=f"{member.name}, one of a signature's two members",
            required="a signature file and its block, or neither",
            clause="JAR, Signed JAR File",
        )


FORMAT = JarFormat()
