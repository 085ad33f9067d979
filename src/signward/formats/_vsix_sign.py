"""Signing a VSIX package: the Manifest of its parts, and the members a signature needs.

New members are stored: a signature must not depend on which deflate made it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from signward.envelopes.xmldsig import DSIG, leaf_of, read_signature
from signward.envelopes.xmldsig_draft import (
    XmlDraft,
    digest_text,
    draft,
    reference,
    x509_data,
)
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats import _opc as opc
from signward.formats import _vsix_signature as signatures
from signward.state import Source
from signward.wire import xmltree
from signward.wire.patch import PatchSet
from signward.wire.unzip import feed_member
from signward.wire.xmlspans import escaped, spans
from signward.wire.zip_patch import Member, changed

WHAT = "VSIX package"
_ORIGIN = "/package/services/digital-signature/origin.psdor"
_XML_SIGNATURES = "/package/services/digital-signature/xml-signature/"
_OBJECT = "http://www.w3.org/2000/09/xmldsig#Object"
_DEFAULTS = {
    "rels": opc.RELATIONSHIPS_TYPE,
    "psdor": signatures.ORIGIN_TYPE,
    "psdsxs": signatures.SIGNATURE_TYPE,
}
_OWN = ("psdor", "psdsxs")
_PLAIN = "/%!$&'()*+,;=:@~"
"""What stands as it is in a reference to a part; an escape in a member's name is one already."""

TOKEN = (
    (
        f'<Object xmlns="{DSIG}"><TimeStamp xmlns="{signatures.MDSSI}" Id="idSignatureTimestamp">'
        "<Comment></Comment><EncodedTime>"
    ),
    "</EncodedTime></TimeStamp></Object>",
)
"""What goes around a timestamp."""

_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"


def draft_package(source: Source, request: Request) -> XmlDraft:
    """Return the draft of a signature over every part and relationship.

    Raises ``NotSignableError`` for a part without a content type.
    """
    package = opc.read_package(source)
    listed = _manifest(package, request)
    when = request.at.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    properties = (
        '<SignatureProperties><SignatureProperty Id="idSignatureTime" Target="">'
        f'<SignatureTime xmlns="{signatures.MDSSI}"><Format>YYYY-MM-DDThh:mm:ssTZD</Format>'
        f"<Value>{when}</Value></SignatureTime></SignatureProperty></SignatureProperties>"
    )
    manifest = f"<Manifest>{listed}</Manifest>"
    content = f'<Object Id="{signatures.PACKAGE_OBJECT}">{manifest}{properties}</Object>'
    frame = xmltree.parse(f'<Signature xmlns="{DSIG}">{content}</Signature>'.encode(), WHAT)
    octets = xmltree.canonical(frame.getroot()[0], xmltree.METHODS[xmltree.C14N], WHAT)
    return draft(
        request.signer,
        reference(f"#{signatures.PACKAGE_OBJECT}", (xmltree.C14N,), request.signer.digest, octets,
                  kind=_OBJECT),
        method=xmltree.C14N,
        key_info=f"<KeyInfo>{x509_data(request.signer.certificates)}</KeyInfo>",
        objects=content,
        token=TOKEN,
    )  # fmt: skip


def _manifest(package: opc.Package, request: Request) -> str:
    """Return a Reference for each part but the signature's own, by name."""
    own = signatures.find_signatures(package).own
    parts = [part for name, part in sorted(package.parts.items()) if name not in own]
    return "".join(_reference(package, part, request) for part in parts)


def _reference(package: opc.Package, part: opc.Part, request: Request) -> str:
    """Return the Reference to a part; empty for relationships that lead to signatures alone."""
    kind = package.content_type(part)
    if not kind:
        raise NotSignableError(part.name, "a part without a content type", "one for each part",
                               f"name its extension in {opc.CONTENT_TYPES}")  # fmt: skip
    algorithm = request.signer.digest
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    transforms, of = "", opc.source_of(part.name)
    if of is None:
        feed_member(package.source, part.member, [hasher])
    else:
        chosen = [one for one in package.relationships(of) if one.type != signatures.ORIGIN]
        if not chosen:
            return ""
        hasher.update(opc.transformed(tuple(chosen)))
        transforms = _selection(chosen)
    uri = escaped(f"{quote(part.name, safe=_PLAIN)}?ContentType={kind}")
    return (
        f'<Reference URI="{uri}">{transforms}{digest_text(algorithm, hasher.digest())}</Reference>'
    )


def _selection(chosen: list[opc.Relationship]) -> str:
    """Return the transforms that select relationships by Id."""
    selected = "".join(
        f'<mdssi:RelationshipReference xmlns:mdssi="{signatures.MDSSI}"'
        f' SourceId="{escaped(one.identifier)}"></mdssi:RelationshipReference>'
        for one in chosen
    )
    return (
        f'<Transforms><Transform Algorithm="{signatures.RELATIONSHIP_TRANSFORM}">{selected}'
        f'</Transform><Transform Algorithm="{xmltree.C14N}"></Transform></Transforms>'
    )


def embedded(source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that puts a finished signature into a package, or strips it."""
    if len(envelopes) > 1:
        raise NotSignableError(WHAT, f"{len(envelopes)} signatures", "one, or none")
    package = opc.read_package(source)
    found = signatures.find_signatures(package)
    members: dict[str, Member | None] = {
        part.member.name: None for name, part in package.parts.items() if name in found.own
    }
    members |= _types_member(package, signing=bool(envelopes))
    members |= _package_relationships(package, signing=bool(envelopes))
    for envelope in envelopes:
        name = _XML_SIGNATURES + _signature_name(envelope)
        members |= _stored(_ORIGIN, b"")
        lead = _relationship(signatures.SIGNATURE, name, "RelSignature")
        members |= _stored(opc.rels_name(_ORIGIN), _relationships(lead))
        members |= _stored(name, envelope)
    return changed(source, members)


def _stored(name: str, data: bytes) -> Mapping[str, Member | None]:
    return {name[1:]: Member(data=data, stored=True)}


def _signature_name(envelope: bytes) -> str:
    """Return the name of a signature's part: from its signer's certificate, so always the same."""
    signature = read_signature(xmltree.parse(envelope, "signature").getroot(), "signature")
    leaf = leaf_of(signature)
    if not leaf:
        raise NotSignableError(
            WHAT, "a signature without its certificate", "one that names its signer"
        )
    digest = hashlib.sha256(leaf).digest()
    return base64.b32encode(digest).decode().lower()[:25] + ".psdsxs"


def _relationship(kind: str, target: str, identifier: str) -> str:
    return f'<Relationship Id="{identifier}" Type="{kind}" Target="{target}"/>'


def _relationships(*rows: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Relationships xmlns="{opc.RELATIONSHIPS}">{"".join(rows)}</Relationships>'
    ).encode()


class _Text:
    """A small XML part whose root's children are added to and taken from, the rest kept."""

    def __init__(self, data: bytes, what: str) -> None:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise NotSignableError(what, "UTF-16", "UTF-8")
        self.data = data
        self.root = xmltree.parse(data, what).getroot()
        self._spans = spans(data)
        children = [child for child in self.root if isinstance(child.tag, str)]
        self._children = dict(zip(children, self._spans[1:], strict=False))

    def with_children(self, gone: list[object], added: str) -> bytes:
        """Return the text without some children, and with others in front of the end tag."""
        root, data = self._spans[0], self.data
        if root.inner == root.end:
            raise NotSignableError(WHAT, f"an empty {xmltree.local(self.root)}", "one with content")
        parts, at = [], 0
        for child, span in self._children.items():
            if child in gone:
                parts.append(data[at : span.start])
                at = span.end
        parts += [data[at : root.close], added.encode(), data[root.close :]]
        return b"".join(parts)


def _package_relationships(package: opc.Package, *, signing: bool) -> Mapping[str, Member | None]:
    """Return the package's relationships with, or without, the one to the origin."""
    name = opc.rels_name("")
    part = package.part(name)
    lead = _relationship(signatures.ORIGIN, _ORIGIN, _identifier(package))
    if part is None:
        return _stored(name, _relationships(lead)) if signing else {}
    text = _Text(package.read(part), part.name)
    gone = [child for child in text.root if child.get("Type") == signatures.ORIGIN]
    kept = len(text.root) - len(gone)
    if not signing and not kept:
        return {part.member.name: None}
    return _stored(part.name, text.with_children(gone, lead if signing else ""))


def _identifier(package: opc.Package) -> str:
    """Return an Id for the relationship to the origin that no other one has."""
    taken = {one.identifier for one in package.relationships("") if one.type != signatures.ORIGIN}
    identifier = "RelSignatureOrigin"
    while identifier in taken:
        identifier += "X"
    return identifier


def _types_member(package: opc.Package, *, signing: bool) -> Mapping[str, Member | None]:
    """Return the content types with, or without, those of the signature's parts."""
    data = _content_types(package)
    text = _Text(data, opc.CONTENT_TYPES)
    gone = [
        child for child in text.root
        if child.get("Extension", "").lower() in _OWN
    ]  # fmt: skip
    if not signing:
        added = ""
    else:
        wanted = dict(_DEFAULTS)
        if package.defaults.get("rels"):
            del wanted["rels"]
        added = "".join(
            f'<Default xmlns="{_TYPES}" Extension="{extension}" ContentType="{kind}"/>'
            for extension, kind in wanted.items()
        )
    return _stored(f"/{opc.CONTENT_TYPES}", text.with_children(gone, added))


def _content_types(package: opc.Package) -> bytes:
    from signward.wire.unzip import read_member
    from signward.wire.zip import read_directory

    directory = read_directory(package.source)
    member = next(one for one in directory.members if one.name == opc.CONTENT_TYPES)
    return read_member(package.source, member, opc.MAX_PART_XML)
