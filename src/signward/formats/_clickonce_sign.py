"""Signing a ClickOnce manifest: what changes in its text, and the drafts of its signatures.

Everything but the token, ``publisherIdentity``, the signature and (where asked) the digests of
files stays as it is written, byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import Any

from signward.envelopes.xmldsig import DSIG, ENVELOPED, ds
from signward.envelopes.xmldsig_draft import (
    XmlDraft,
    digest_text,
    draft,
    key_value,
    reference,
    x509_data,
)
from signward.errors import MalformedError, NotSignableError
from signward.formats import Request
from signward.formats import _clickonce_licence as licence
from signward.formats import _clickonce_manifest as manifest
from signward.formats._clickonce_publisher import (
    issuer_key_hash,
    public_key_token,
    windows_name,
)
from signward.frozen import Frozen
from signward.state import Source
from signward.wire import xmltree
from signward.wire.algorithms import COMPUTABLE
from signward.wire.certificate import outline
from signward.wire.patch import Edit, Patched, PatchSet, pieces
from signward.wire.source import BytesSource, whole_digest
from signward.wire.xmlspans import Span, attributes_text, escaped, spans, with_attribute

UNSIGNED_TOKEN = "0" * 16
"""The public key token of a manifest that is not signed, as Visual Studio writes it."""

_DIGESTS = frozenset({"sha1", "sha256"})
"""What ClickOnce has names for."""

WHAT = "manifest"

TOKEN = (
    f'<Object xmlns="{DSIG}"><as:Timestamp xmlns:as="{licence.AUTHENTICODE}">',
    "</as:Timestamp></Object>",
)
"""What goes around a timestamp, wherever default namespaces stand."""


class Prepared(Frozen, frozen=True, kw_only=True):
    """A manifest ready for its signature: the edits that make it so, and what is signed.

    ``end`` is where the root's end tag begins in the source; ``publisher`` goes in front of
    it, and the signature behind that.  ``attributes`` are those of the manifest's identity.
    """

    edits: tuple[Edit, ...]
    end: int
    publisher: str
    name: str
    octets: bytes
    attributes: str


class Text:
    """A manifest's bytes, its tree, and where in the bytes each element of the tree lies."""

    def __init__(self, source: Source) -> None:
        self.data = source.read(0, min(source.length, xmltree.MAX_XML + 1))
        self.tree = xmltree.parse(self.data, WHAT)
        if self.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise NotSignableError(WHAT, "UTF-16", "UTF-8", "convert the manifest to UTF-8")
        self.root = self.tree.getroot()
        # The elements are kept: lxml makes the same ones again only while they are in use.
        self._elements = list(self.root.iter("*"))
        self._spans: dict[Any, Span] = dict(zip(self._elements, spans(self.data), strict=True))

    def span(self, element: Any) -> Span:
        """Return where an element lies."""
        return self._spans[element]

    def attribute(self, element: Any, **values: str) -> Edit:
        """Return the edit that sets attributes of an element."""
        span = self.span(element)
        tag = self.data[span.start : span.inner]
        for name, value in values.items():
            tag = with_attribute(tag, name, value)
        return Edit(start=span.start, end=span.inner, data=tag)

    def removal(self, element: Any) -> Edit:
        """Return the edit that takes an element away."""
        span = self.span(element)
        return Edit(start=span.start, end=span.end, data=b"")


def prepare(source: Source, request: Request) -> Prepared:
    """Return a manifest with this signer's token and name, its files' digests looked at.

    Raises ``NotSignableError`` for another key than RSA, another digest than ClickOnce has,
    files whose digests are not current.
    """
    signer, text = request.signer, Text(source)
    if signer.algorithm.scheme != "rsa-pkcs1v15":
        raise NotSignableError(WHAT, f"a key for {signer.algorithm}", "an RSA key")
    if signer.digest not in _DIGESTS:
        raise NotSignableError(WHAT, f"digest {signer.digest}", "sha256",
                               "ClickOnce has names for SHA-1 and SHA-256 alone")  # fmt: skip
    certificate = signer.certificates[0]
    key_hash = issuer_key_hash(certificate, signer.certificates)
    if not key_hash:
        raise NotSignableError(
            WHAT, "a certificate whose issuer is not at hand", "its issuer's too"
        )
    edits = _file_edits(text, request)
    token = public_key_token(outline(certificate).spki)
    return _prepared(text, token, windows_name(certificate), key_hash, edits)


def _prepared(
    text: Text, token: str, name: str, key_hash: str, edits: tuple[Edit, ...] = ()
) -> Prepared:
    publisher = (
        f'<publisherIdentity xmlns="{manifest.ASM2}" name="{escaped(name)}"'
        f' issuerKeyHash="{key_hash}"/>'
    )
    every = (*edits, *_bare_edits(text, token))
    end = text.span(text.root).close
    unsigned = _applied(text, (*every, _at(end, publisher)))
    done = Text(BytesSource(WHAT, unsigned))
    return Prepared(
        edits=every,
        end=end,
        publisher=publisher,
        name=name,
        octets=xmltree.canonical(done.tree, xmltree.Canonical(), WHAT),
        attributes=_identity_attributes(done),
    )


def _identity_attributes(text: Text) -> str:
    """Return the identity's attributes as written: .NET counts namespace declarations too."""
    element = manifest.identity(text.root)
    if any(name.startswith("{") for name in element.attrib):
        raise NotSignableError(WHAT, "a namespace in its identity's attributes", "none")
    span = text.span(element)
    return attributes_text(text.data[span.start : span.inner]).decode()


def _bare_edits(text: Text, token: str) -> tuple[Edit, ...]:
    """Return the edits that set the token and take signature and publisher away."""
    gone = [
        child for child in text.root
        if child.tag in (ds("Signature"), f"{{{manifest.ASM2}}}publisherIdentity")
    ]  # fmt: skip
    identity = text.attribute(manifest.identity(text.root), publicKeyToken=token)
    return (identity, *(text.removal(child) for child in gone))


def _at(offset: int, text: str) -> Edit:
    return Edit(start=offset, end=offset, data=text.encode())


def _patch(edits: tuple[Edit, ...]) -> PatchSet:
    return PatchSet(edits=tuple(sorted(edits, key=_place)))


def _place(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.end


def _applied(text: Text, edits: tuple[Edit, ...]) -> bytes:
    return b"".join(pieces(Patched(BytesSource(WHAT, text.data), _patch(edits))))


def draft_licence(prepared: Prepared, request: Request) -> XmlDraft:
    """Return the draft of the licence's signature, which has a place for the timestamp."""
    signer, microsoft = request.signer, _microsoft(request)
    tree = xmltree.parse(_licence_text(prepared, request, "").encode(), "licence")
    octets = xmltree.canonical(tree, xmltree.Canonical(), "licence")
    key_info = key_value(outline(signer.certificates[0]).spki) + x509_data(signer.certificates)
    return draft(
        signer,
        reference("", (ENVELOPED, xmltree.EXCLUSIVE_C14N), signer.digest, octets,
                  microsoft=microsoft),
        method=xmltree.EXCLUSIVE_C14N,
        key_info=f"<KeyInfo>{key_info}</KeyInfo>",
        identifier=licence.AUTHENTICODE_ID,
        microsoft=microsoft,
        token=TOKEN,
    )  # fmt: skip


def draft_manifest(prepared: Prepared, request: Request, sealed: bytes) -> XmlDraft:
    """Return the draft of the strong name; its KeyInfo holds the licence with its signature.

    A timestamp has no place in it: the licence's speaks for both.
    """
    signer, microsoft = request.signer, _microsoft(request)
    text = _licence_text(prepared, request, sealed.decode())
    key_info = (
        f'<KeyInfo Id="{licence.KEY_INFO_ID}">{key_value(outline(signer.certificates[0]).spki)}'
        f'<msrel:RelData xmlns:msrel="{licence.RELDATA}">{text}</msrel:RelData></KeyInfo>'
    )
    return draft(
        signer,
        reference("", (ENVELOPED, xmltree.EXCLUSIVE_C14N), signer.digest, prepared.octets,
                  microsoft=microsoft),
        method=xmltree.EXCLUSIVE_C14N,
        key_info=key_info,
        identifier=licence.STRONG_NAME_ID,
        microsoft=microsoft,
    )  # fmt: skip


def _microsoft(request: Request) -> bool:
    return request.options.get("algorithms", "microsoft") != "w3c"


def _licence_text(prepared: Prepared, request: Request, signature: str) -> str:
    """Return the licence as Microsoft's tools write it."""
    for option, value in (("--description", request.description), ("--url", request.url)):
        if not value.isprintable():
            raise NotSignableError(option, repr(value[:80]), "printable characters")
    digest = hashlib.new(request.signer.digest, prepared.octets, usedforsecurity=False).digest()
    return (
        f'<r:license xmlns:r="{licence.LICENCE}" xmlns:as="{licence.AUTHENTICODE}"><r:grant>'
        f'<as:ManifestInformation Hash="{digest[::-1].hex()}"'
        f' Description="{escaped(request.description)}" Url="{escaped(request.url)}">'
        f"<as:assemblyIdentity{prepared.attributes}/></as:ManifestInformation><as:SignedBy/>"
        f"<as:AuthenticodePublisher><as:X509SubjectName>{escaped(prepared.name)}"
        "</as:X509SubjectName></as:AuthenticodePublisher></r:grant>"
        f"<r:issuer>{signature}</r:issuer></r:license>"
    )


def placed(prepared: Prepared, envelope: bytes) -> PatchSet:
    """Return the patch that makes a manifest the signed one."""
    added = _at(prepared.end, prepared.publisher + envelope.decode())
    return _patch((*prepared.edits, added))


def embedded(source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that puts a finished signature into a manifest, or strips it."""
    text = Text(source)
    if not envelopes:
        return _patch(_bare_edits(text, UNSIGNED_TOKEN))
    if len(envelopes) > 1:
        raise NotSignableError(WHAT, f"{len(envelopes)} signatures", "one, or none")
    # A manifest of its own around the signature, for the reader that looks for it there.
    frame = f'<assembly xmlns="{manifest.ASM1}">{envelopes[0].decode()}</assembly>'
    signed = licence.read_signed(xmltree.parse(frame.encode(), "signature"))
    if signed is None or not signed.certificate:
        raise NotSignableError(WHAT, "a strong name alone", "a signature with a certificate")
    key_hash = issuer_key_hash(signed.certificate, signed.inner.certificates)
    name = licence.claimed_name(signed.licence)
    prepared = _prepared(text, public_key_token(signed.outer.key), name, key_hash)
    wanted = signed.outer.references[0]
    if _digest(prepared.octets, wanted.algorithm) != wanted.digest:
        raise NotSignableError(WHAT, "a signature over another manifest", "one over this")
    return placed(prepared, envelopes[0])


def _digest(octets: bytes, algorithm: str) -> bytes:
    return hashlib.new(algorithm, octets, usedforsecurity=False).digest()


def _file_edits(text: Text, request: Request) -> tuple[Edit, ...]:
    """Return the edits that bring the files' digests up to date; none where they are.

    Raises ``NotSignableError`` for one that is not, unless the request says ``update=yes``.
    """
    update = request.options.get("update", "no") == "yes"
    mapped = manifest.mapping(text.root)
    edits: list[Edit] = []
    for entry in manifest.entries(text.root):
        file = _file(entry, request, mapped=mapped)
        if file is None and update and not entry.optional:
            raise NotSignableError(entry.name, "no such file", "it, to take its digest",
                                   "sign where the files are")  # fmt: skip
        if file is None or (not update and not entry.digest):
            continue
        if not entry.digest:
            raise NotSignableError(entry.name, "no hash in the manifest", "one to write anew")
        edits += _entry_edits(text, entry, file, request, update=update)
    return tuple(edits)


def _file(entry: manifest.Entry, request: Request, *, mapped: bool | None) -> Source | None:
    if request.companions is None:
        return None
    plain = request.companions.find(entry.name)
    if entry.manifest or (mapped is None and plain is not None) or mapped is False:
        return plain
    return request.companions.find(entry.name + manifest.DEPLOY)


def _entry_edits(
    text: Text, entry: manifest.Entry, file: Source, request: Request, *, update: bool
) -> list[Edit]:
    stale = _file_digest(file, entry.algorithm) != entry.digest
    other = _identity_edits(text, entry, file) if entry.manifest and (update or not stale) else []
    if (stale or other) and not update:
        raise NotSignableError(
            entry.name, "another file than the manifest gives the digest or identity of",
            "current ones", "option update=yes writes them anew",
        )  # fmt: skip
    return other + (_digest_edits(text, entry, file, request) if stale else [])


def _digest_edits(text: Text, entry: manifest.Entry, file: Source, request: Request) -> list[Edit]:
    """Return the edits that write a file's digest and size anew."""
    algorithm = request.signer.digest
    (holder,) = entry.element.iterchildren(f"{{{manifest.ASM2}}}hash", f"{{{manifest.ASM1}}}hash")
    span = text.span(holder)
    if span.inner == span.end:
        raise MalformedError(WHAT, "an empty hash", "a digest", manifest.CLAUSE)
    body = _hash_text(algorithm, _file_digest(file, algorithm), microsoft=_microsoft(request))
    return [
        Edit(start=span.inner, end=span.close, data=body.encode()),
        text.attribute(entry.element, size=str(file.length)),
    ]


def _hash_text(algorithm: str, digest: bytes, *, microsoft: bool) -> str:
    """Return what stands in a ``hash``; each element declares its own namespace."""
    parts = (
        f'<Transforms><Transform Algorithm="{manifest.IDENTITY_TRANSFORM}"/></Transforms>'
        + digest_text(algorithm, digest, microsoft=microsoft)
    )
    for name in ("Transforms", "DigestMethod", "DigestValue"):
        parts = parts.replace(f"<{name}", f'<{name} xmlns="{DSIG}"', 1)
    return parts


def _identity_edits(text: Text, entry: manifest.Entry, file: Source) -> list[Edit]:
    """Return the edit that takes over the identity of the application manifest as it now is."""
    data = file.read(0, min(file.length, xmltree.MAX_XML + 1))
    own = manifest.identity(manifest.application(data, entry.name))
    return [
        text.attribute(asked, **dict(own.attrib))
        for asked in manifest.asked_identities(entry)
        if manifest.difference(asked, own)
    ]


def _file_digest(file: Source, algorithm: str) -> bytes:
    """Return a file's digest; empty for an algorithm that is not computed."""
    if algorithm not in COMPUTABLE:
        return b""
    return whole_digest(file, algorithm)
