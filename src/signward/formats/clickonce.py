"""ClickOnce manifests: .application, .vsto and .manifest, with their two signatures.

Sources: "ClickOnce Application Manifest", "ClickOnce Deployment Manifest" (Microsoft Learn);
what mage and .NET's ``SignedCmiManifest2`` write (``_clickonce_licence``).

The signatures are over the canonical form of the manifest, which leaves comments and the way
things are written out.  The manifest gives a digest of every file of the application, and a
deployment manifest one of its application manifest: a verdict is about all of them.  A file
that is not there leaves the verdict open (INDETERMINATE); a changed one rejects.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.patch import PatchSet

MAX_MANIFEST = 16 * 1024 * 1024
"""Largest manifest read; one of a thousand files has one MiB."""

_ASM1 = b"urn:schemas-microsoft-com:asm.v1"
_ROOT = re.compile(rb"<(?:\w+:)?assembly[\s>]")
_OWN = re.compile(rb"<(?:\w+:)?(?:entryPoint|deployment)[\s/>]")
_END = re.compile(rb"</(?:\w+:)?Signature>\s*</(?:\w+:)?assembly>\s*\Z")
_EXTENSIONS = (".application", ".vsto")
_FACTS = {
    "name": "assembly",
    "version": "assembly-version",
    "publicKeyToken": "public-key-token",
}
WHAT = "manifest"


class _Layout(Frozen, frozen=True, kw_only=True):
    """Octets and files behind the slots."""

    octets: Mapping[str, bytes]
    sources: Mapping[str, Source]


class ClickOnceFormat:
    """The ClickOnce format."""

    name = "clickonce"
    spec = "ClickOnce application and deployment manifests (Microsoft Learn)"
    extensions: tuple[str, ...] = (".application", ".manifest", ".vsto")

    def recognise(self, peek: Peek) -> Match:
        """Recognise an ``assembly`` that has an entry point, is deployed, or is signed.

        Manifests of that root which only configure a program (side by side) are not ClickOnce's.
        """
        head = _ascii(peek.head)
        if not head.lstrip().startswith(b"<") or _ASM1 not in head or not _ROOT.search(head):
            return Match.NO
        own = _OWN.search(head) or _END.search(_ascii(peek.tail))
        return Match.SPECIFIC if own or peek.extension in _EXTENSIONS else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Read the manifest, its signatures and the names of its files."""
        from signward.formats import _clickonce_licence as licence
        from signward.formats import _clickonce_manifest as manifest

        tree = _tree(source)
        root = tree.getroot()
        facts = _facts(manifest.identity(root))
        signed = licence.read_signed(tree)
        if signed is None:
            findings = _strong_name_alone() if manifest.signatures(root) else ()
            return SignedArtifact(
                format=self.name, source=source, signatures=(), facts=facts, findings=findings
            )
        cover = manifest.cover(root, options.companions)
        signatures = licence.claims(signed, root, cover.slots, cover.findings)
        own = {"1": {licence.MANIFEST}, "1.1": {licence.MANIFEST, licence.LICENCE_SLOT}}
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={label: cover.required | names for label, names in own.items()},
            facts=facts,
            layout=_Layout(octets=signed.octets, sources=cover.sources),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of canonical forms and of the files, each file in one pass."""
        layout: _Layout | None = artifact.layout
        if layout is None:
            return {}  # a manifest without a signature speaks of no slots
        hashers: dict[str, dict[str, Any]] = {}
        for name, algorithm in wanted:
            hasher = hashlib.new(algorithm, usedforsecurity=False)
            hashers.setdefault(name, {})[algorithm] = hasher
        for name, some in hashers.items():
            if name in layout.octets:
                for hasher in some.values():
                    hasher.update(layout.octets[name])
            elif name in layout.sources:
                file = layout.sources[name]
                file.feed([(0, file.length)], list(some.values()))
        return {
            (name, algorithm): hasher.digest()
            for name, some in hashers.items()
            if name in layout.octets or name in layout.sources
            for algorithm, hasher in some.items()
        }

    options: Mapping[str, str] = MappingProxyType(
        {
            "update": "yes: write digests and sizes of the files anew (no: they must be current)",
            "algorithms": "w3c: the standard's names, not those Microsoft's tools write",
        }
    )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the licence, then the manifest; the timestamp goes into the licence.

        ``Request.options``: ``update=yes`` sets the digests of files that changed.
        """
        from signward.formats import _clickonce_sign as signing

        may_sign(bool(self.envelopes(source)), request, WHAT)
        if request.existing is Existing.NESTED:
            raise NotSignableError(WHAT, "a request for a further signature", "one signature",
                                   "a manifest has room for one: --replace")  # fmt: skip
        prepared = signing.prepare(source, request)
        inner = signing.draft_licence(prepared, request)
        sealed = yield inner
        outer = signing.draft_manifest(prepared, request, sealed)
        envelope = yield outer
        return signing.placed(prepared, envelope)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the outer Signature in canonical form: it holds the licence and all the rest."""
        from signward.formats import _clickonce_manifest as manifest
        from signward.wire import xmltree

        found = manifest.signatures(_tree(source).getroot())
        method = xmltree.Canonical(comments=True)
        return tuple(xmltree.canonical(element, method, WHAT) for element in found)

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return the licence's signature value; the strong name has no place for a timestamp."""
        return signature.value if signature.label == "1.1" else None

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:  # noqa: ARG002
        """Return the signature with a token in its licence's."""
        from signward.envelopes.xmldsig_draft import with_token
        from signward.formats._clickonce_licence import AUTHENTICODE_ID
        from signward.formats._clickonce_sign import TOKEN

        return with_token(envelope, AUTHENTICODE_ID, TOKEN, token)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes this the manifest's signature, or that strips it.

        With it go ``publisherIdentity`` and the identity's ``publicKeyToken`` (all zeros in an
        unsigned manifest).  Raises ``NotSignableError`` for a signature over another manifest.
        """
        from signward.formats import _clickonce_sign as signing

        return signing.embedded(source, envelopes)


def _ascii(data: bytes) -> bytes:
    """Return what recognition looks at: UTF-16 without its zeros, UTF-8 without its mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data[2:].replace(b"\0", b"")
    return data.removeprefix(b"\xef\xbb\xbf")


def _tree(source: Source) -> Any:
    """Return a manifest's document.  Raises ``BadInputError``."""
    from signward.wire import xmltree

    if source.length > MAX_MANIFEST:
        raise LimitError(WHAT, f"{source.length} bytes", f"at most {MAX_MANIFEST}")
    tree = xmltree.parse(source.read(0, source.length), WHAT)
    if tree.getroot().tag != f"{{{_ASM1.decode()}}}assembly":
        raise MalformedError(WHAT, f"the root {xmltree.local(tree.getroot())}", "assembly",
                             "ClickOnce Application Manifest")  # fmt: skip
    return tree


def _facts(identity: Any) -> dict[str, str | int]:
    """Return what a manifest calls itself; claims, all of them."""
    return {fact: identity.get(name)[:256] for name, fact in _FACTS.items() if identity.get(name)}


def _strong_name_alone() -> tuple[Finding, ...]:
    return (
        Finding(
            code=Code.LEFTOVER_SIGNATURE,
            effect=Effect.NOTE,
            subject=WHAT,
            found="a strong name without a licence",
            required="a licence with the publisher's certificate",
            clause="ClickOnce, SignedCmiManifest2",
            hint="a strong name says that two files have one key, and not whose it is",
        ),
    )


FORMAT = ClickOnceFormat()
