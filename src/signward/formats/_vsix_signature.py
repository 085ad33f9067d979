"""A package's digital signatures: which there are, what each is over, and what it leaves out.

Source: ECMA-376 part 2, section 10 ("OPC" in the clauses).  The package's relationship of type
``origin`` leads to the origin part, that one's relationships to the signature parts, and a
signature's to certificates.  A signature's Object holds a Manifest of References: to parts,
with their content types, and to relationship parts through a transform that selects some.

A verdict is about the whole package: each part must be referenced, and of each relationship
part every relationship but the one to the origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from signward.envelopes.stamps import read_timestamp
from signward.envelopes.xmldsig import (
    ENVELOPED,
    Reference,
    Transform,
    XmlSignature,
    canonicalization,
    claim,
    ds,
    leaf_of,
    read_reference,
    read_signature,
    referenced,
)
from signward.errors import AmbiguousError, LimitError, MalformedError, UncoveredError
from signward.findings import Code, Effect, Finding
from signward.formats import _opc as opc
from signward.frozen import Frozen, replace
from signward.state import Binding, ClaimedSignature, ClaimedTimestamp, Slot
from signward.wire import xmltree
from signward.wire.certificate import outline

_DIGITAL = "http://schemas.openxmlformats.org/package/2006/relationships/digital-signature"
ORIGIN, SIGNATURE, CERTIFICATE = (
    f"{_DIGITAL}/origin",
    f"{_DIGITAL}/signature",
    f"{_DIGITAL}/certificate",
)
_TYPE = "application/vnd.openxmlformats-package.digital-signature"
ORIGIN_TYPE, SIGNATURE_TYPE = f"{_TYPE}-origin", f"{_TYPE}-xmlsignature+xml"
CERTIFICATE_TYPE = f"{_TYPE}-certificate"
MDSSI = "http://schemas.openxmlformats.org/package/2006/digital-signature"
RELATIONSHIP_TRANSFORM = "http://schemas.openxmlformats.org/package/2006/RelationshipTransform"
FOLDER = "/package/services/digital-signature/"
PACKAGE_OBJECT = "idPackageObject"

MAX_SIGNATURES = 16
MAX_REFERENCES = opc.MAX_PARTS
MAX_CERTIFICATE = 64 * 1024
"""Octets of a certificate part."""

_CLAUSE = "OPC 10"
_FORMATS = ("YYYY-MM-DDThh:mm:ss.sTZD", "YYYY-MM-DDThh:mm:ssTZD", "YYYY-MM-DDThh:mmTZD")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)\Z")


class Signatures(Frozen, frozen=True, kw_only=True):
    """What leads to a package's signatures: the parts that are theirs, and the signature parts."""

    origin: opc.Part | None
    signatures: tuple[opc.Part, ...] = ()
    certificates: tuple[opc.Part, ...] = ()
    own: frozenset[str] = frozenset()


class Covered(Frozen, frozen=True, kw_only=True):
    """A reference to a part: the slot it claims, and how the part becomes octets.

    ``octets`` is None where the part's own bytes are digested.
    """

    slot: Slot
    part: opc.Part | None
    octets: bytes | None = None


class Opened(Frozen, frozen=True, kw_only=True):
    """A signature with what it covers and the slots it must have."""

    claimed: ClaimedSignature
    covered: tuple[Covered, ...]
    required: frozenset[str]


def find_signatures(package: opc.Package) -> Signatures:
    """Follow the relationships from the package to its signatures.  Raises ``BadInputError``."""
    origins = [one for one in package.relationships("") if one.type == ORIGIN]
    if not origins:
        return Signatures(origin=None)
    if len(origins) > 1:
        raise AmbiguousError(opc.WHAT, f"{len(origins)} signature origins", "one", "OPC 10.4.2")
    origin = _target(package, "", origins[0], ORIGIN_TYPE)
    if origin.member.size:
        raise MalformedError(opc.WHAT, f"an origin of {origin.member.size} bytes", "an empty one",
                             "OPC 10.4.2")  # fmt: skip
    own = {opc.key(origin.name), opc.key(opc.rels_name(origin.name))}
    signatures = _targets(package, origin, SIGNATURE, SIGNATURE_TYPE)
    if len(signatures) > MAX_SIGNATURES:
        raise LimitError(opc.WHAT, f"{len(signatures)} signatures", f"at most {MAX_SIGNATURES}")
    certificates: list[opc.Part] = []
    for part in signatures:
        certificates += _targets(package, part, CERTIFICATE, CERTIFICATE_TYPE)
        own |= {opc.key(part.name), opc.key(opc.rels_name(part.name))}
    own |= {opc.key(part.name) for part in certificates}
    return Signatures(
        origin=origin,
        signatures=tuple(signatures),
        certificates=tuple(certificates),
        own=frozenset(own),
    )


def _targets(package: opc.Package, of: opc.Part, kind: str, content_type: str) -> list[opc.Part]:
    """Return what a part of the signatures leads to; nothing else may hang on it."""
    relationships = package.relationships(of.name)
    for one in relationships:
        if one.type != kind:
            raise MalformedError(
                of.name, f"a relationship of type {one.type[:120]!r}", kind, _CLAUSE
            )
    return [_target(package, of.name, one, content_type) for one in relationships]


def _target(
    package: opc.Package, of: str, relationship: opc.Relationship, content_type: str
) -> opc.Part:
    part = None if relationship.external else package.part(opc.resolve(of, relationship.target))
    if part is None:
        raise MalformedError(opc.WHAT, f"a relationship to {relationship.target[:120]!r}",
                             "one to a part", "OPC 10.4")  # fmt: skip
    if package.content_type(part) != content_type:
        raise MalformedError(part.name, f"content type {package.content_type(part)[:80]!r}",
                             content_type, "OPC 10.4")  # fmt: skip
    if not opc.key(part.name).startswith(FOLDER):
        raise MalformedError(
            part.name, "a part of the signatures elsewhere", f"it below {FOLDER}", "OPC 10.4",
            hint="no signature reaches it: a file of the extension must not pass for one",
        )  # fmt: skip
    return part


def open_signature(package: opc.Package, found: Signatures, part: opc.Part, label: str) -> Opened:
    """Read one signature part.  Raises ``BadInputError``."""
    what = f"signature {label}"
    data = package.read(part)
    element = xmltree.parse(data, what).getroot()
    if element.tag != ds("Signature"):
        raise MalformedError(what, xmltree.local(element), "Signature", "OPC 10.4.4")
    signature = read_signature(element, what)
    if signature.extensions:
        raise MalformedError(what, f"{xmltree.local(signature.extensions[0])} in KeyInfo",
                             "a key or certificates", "OPC 10.5.14")  # fmt: skip
    references = _manifest(signature)
    covered = tuple(_covered(package, one, label) for one in references)
    certificates = tuple(_certificate(package, one) for one in found.certificates)
    signature = _with_certificates(signature, certificates)
    findings = (*_types(package, what, references), *_left_out(package, what, references))
    claimed = claim(
        signature, leaf_of(signature), label=label,
        slots=tuple(one.slot for one in covered),
        bindings=tuple(_bindings(signature)),
        timestamps=_timestamps(signature),
        findings=findings, raw=data, claimed_time=_signing_time(signature),
    )  # fmt: skip
    by_part = {opc.key(one.part.name): one.slot.name for one in covered if one.part}
    required = {
        by_part.get(name, slot_name(one.name))
        for name, one in package.parts.items() if name not in found.own
    }  # fmt: skip
    if not _selectable(package.relationships("")):
        required.discard(slot_name(opc.rels_name("")))
    return Opened(claimed=claimed, covered=covered, required=frozenset(required))


def _selectable(relationships: tuple[opc.Relationship, ...]) -> tuple[opc.Relationship, ...]:
    """Return the relationships that are content: all but the one to the signatures' origin."""
    return tuple(one for one in relationships if one.type != ORIGIN)


def slot_name(part: str) -> str:
    """Return the slot of a part."""
    return f"part:{part}"


def _with_certificates(signature: XmlSignature, certificates: tuple[bytes, ...]) -> XmlSignature:
    return replace(signature, certificates=(*signature.certificates, *certificates))


def _certificate(package: opc.Package, part: opc.Part) -> bytes:
    if part.member.size > MAX_CERTIFICATE:
        raise LimitError(part.name, f"{part.member.size} bytes", f"at most {MAX_CERTIFICATE}")
    data = package.read(part)
    outline(data)  # nothing else may lie where no signature reaches
    return data


def _manifest(signature: XmlSignature) -> list[Reference]:
    """Return the References in the package's Object, the one that SignedInfo speaks of."""
    what = signature.what
    element = xmltree.by_id(signature.identified, PACKAGE_OBJECT, what)
    uris = [reference.uri for reference in signature.references]
    enveloped = any(t.uri == ENVELOPED for r in signature.references for t in r.transforms)
    if len(set(uris)) < len(uris) or enveloped:
        raise MalformedError(what, "references to one Object twice, or to what is around it",
                             "one to each Object", "OPC 10.5.11")  # fmt: skip
    if element not in signature.objects or uris.count(f"#{PACKAGE_OBJECT}") != 1:
        raise MalformedError(what, "no reference to the package's Object", "one", "OPC 10.5.12")
    xmltree.attributes(element, ("Id",), what)
    parts = xmltree.elements(element, what)
    if [part.tag for part in parts] != [ds("Manifest"), ds("SignatureProperties")]:
        raise MalformedError(what, f"an Object of {len(parts)} parts",
                             "Manifest and SignatureProperties", "OPC 10.5.12")  # fmt: skip
    listed = xmltree.elements(parts[0], what)
    if len(listed) > MAX_REFERENCES:
        raise LimitError(what, f"{len(listed)} references", f"at most {MAX_REFERENCES}")
    if any(one.tag != ds("Reference") for one in listed):
        raise MalformedError(what, "another element in the Manifest", "Reference", "OPC 10.5.13")
    references = [read_reference(one, what) for one in listed]
    names = [opc.key(_named(one, what)[0]) for one in references]
    if len(set(names)) < len(names):
        raise AmbiguousError(what, "two references to one part", "one", "OPC 10.5.13")
    return references


def _named(reference: Reference, what: str) -> tuple[str, str]:
    """Return the part a Reference names, and the content type it gives it (OPC 10.5.13)."""
    name, mark, kind = (reference.uri or "").partition("?ContentType=")
    if not name.startswith("/") or not mark or not kind or "?" in name or "#" in name:
        raise MalformedError(what, f"a reference to {(reference.uri or '')[:120]!r}",
                             "/PART?ContentType=TYPE", "OPC 10.5.13")  # fmt: skip
    return name, kind


def _covered(package: opc.Package, reference: Reference, label: str) -> Covered:
    """Return what a Reference covers: a part, as it is or transformed."""
    what = f"signature {label}"
    name, _ = _named(reference, what)
    part = package.part(name)
    own = slot_name(part.name if part else name)
    if not reference.transforms or part is None:
        slot = Slot(name=own, algorithm=reference.algorithm, digest=reference.digest)
        return Covered(slot=slot, part=part)
    octets = _transformed(package, part, reference.transforms, what)
    slot = Slot(
        name=f"selection {label}:{part.name}",  # no part's own slot begins like this
        algorithm=reference.algorithm,
        digest=reference.digest,
    )
    return Covered(slot=slot, part=part, octets=octets)


def _transformed(
    package: opc.Package, part: opc.Part, transforms: tuple[Transform, ...], what: str
) -> bytes:
    """Apply the transforms: the selection of relationships, then canonical form, nothing else."""
    rest = list(transforms)
    if rest[0].uri == RELATIONSHIP_TRANSFORM:
        chosen = _selected(package, part, rest.pop(0), what)
        if [one.uri for one in rest] not in ([xmltree.C14N], [f"{xmltree.C14N}#WithComments"]):
            raise MalformedError(what, "relationships without canonical form",
                                 "Canonical XML 1.0 behind them", "OPC 10.5.8")  # fmt: skip
        return opc.transformed(chosen)
    if len(rest) > 1 or rest[0].uri not in xmltree.METHODS:
        raise MalformedError(what, f"transform {rest[-1].uri[:120]!r}",
                             "a selection of relationships, or one canonicalization",
                             "OPC 10.5.7")  # fmt: skip
    method = canonicalization(rest[0].element, what)
    tree = xmltree.parse(package.read(part), part.name)
    octets = xmltree.canonical(tree, method, what)
    if xmltree.canonical(tree, replace(method, comments=True), what) != octets:
        raise UncoveredError(
            part.name, "comments that the signed canonical form leaves out", "none", "OPC 10.5.7",
            hint="what takes the part for something else than XML may run them",
        )  # fmt: skip
    return octets


def _selected(
    package: opc.Package, part: opc.Part, transform: Transform, what: str
) -> tuple[opc.Relationship, ...]:
    """Return the relationships that a transform selects, by Id or by type (OPC 10.5.8)."""
    if opc.source_of(part.name) is None:
        raise MalformedError(what, f"relationships in {part.name[:120]}", "a relationships part",
                             "OPC 10.5.8")  # fmt: skip
    identifiers: set[str] = set()
    types: set[str] = set()
    for element in xmltree.elements(transform.element, what):
        if element.tag == f"{{{MDSSI}}}RelationshipReference":
            identifiers.add(xmltree.attributes(element, ("SourceId",), what).get("SourceId", ""))
        elif element.tag == f"{{{MDSSI}}}RelationshipsGroupReference":
            types.add(xmltree.attributes(element, ("SourceType",), what).get("SourceType", ""))
        else:
            raise MalformedError(what, f"{xmltree.local(element)} in a selection",
                                 "SourceId or SourceType", "OPC 10.5.8")  # fmt: skip
    return tuple(
        one for one in opc.read_relationships(package.read(part), part.name)
        if one.identifier in identifiers or one.type in types
    )  # fmt: skip


def _types(package: opc.Package, what: str, references: list[Reference]) -> Iterator[Finding]:
    """Report parts whose content type is not the one that was signed."""
    for reference in references:
        name, kind = _named(reference, what)
        part = package.part(name)
        if part is not None and package.content_type(part) != kind:
            yield Finding(
                code=Code.DIGEST_MISMATCH,
                effect=Effect.REJECT,
                subject=f"{what}, {part.name}",
                found=f"content type {package.content_type(part)[:120]!r}",
                required=f"{kind[:120]!r}, as signed",
                clause="OPC 10.5.13",
                hint="the content type decides what is done with a part",
            )


def _left_out(package: opc.Package, what: str, references: list[Reference]) -> Iterator[Finding]:
    """Report relationships that a selection leaves out, but for the one to the origin."""
    for reference in references:
        part = package.part(_named(reference, what)[0])
        if part is None or not reference.transforms:
            continue
        if reference.transforms[0].uri != RELATIONSHIP_TRANSFORM:
            continue
        chosen = _selected(package, part, reference.transforms[0], what)
        every = opc.read_relationships(package.read(part), part.name)
        content = every if opc.source_of(part.name) else _selectable(every)
        left = [one.identifier for one in content if one not in chosen]
        if left:
            yield Finding(
                code=Code.UNCOVERED_CONTENT,
                effect=Effect.REJECT,
                subject=f"{what}, {part.name}",
                found=f"{len(left)} relationships that are not signed ({left[0][:80]!r})",
                required="none but the one to the signatures",
                clause="OPC 10.5.8",
                hint="a relationship decides which part is loaded for what",
            )


def _bindings(signature: XmlSignature) -> Iterator[Binding]:
    """Return what SignedInfo says of the signature's own Objects; each must be spoken of.

    A timestamp is the exception: it cannot be, and proves itself.
    """
    spoken = set()
    for reference in signature.references:
        yield Binding(
            name=f"reference to {reference.uri}",
            algorithm=reference.algorithm,
            data=referenced(reference, signature),
            digest=reference.digest,
            clause="XMLDSig 4.4.3",
        )
        spoken.add((reference.uri or "")[1:])
    for element in signature.objects:
        if element.get("Id") not in spoken and not _is_timestamp(element, signature.what):
            raise MalformedError(
                signature.what, "an Object that nothing speaks of",
                "a reference to each, but for a timestamp", "OPC 10.5.12",
            )  # fmt: skip


def _is_timestamp(element: Any, what: str) -> bool:
    parts = xmltree.elements(element, what)
    return [part.tag for part in parts] == [f"{{{MDSSI}}}TimeStamp"]


def _timestamps(signature: XmlSignature) -> tuple[ClaimedTimestamp, ...]:
    """Read the tokens in the Objects that hold one."""
    found: list[ClaimedTimestamp] = []
    for element in signature.objects:
        if not _is_timestamp(element, signature.what):
            continue
        parts = xmltree.elements(xmltree.elements(element, signature.what)[0], signature.what)
        names = [part.tag for part in parts if part.tag != f"{{{MDSSI}}}Comment"]
        if names != [f"{{{MDSSI}}}EncodedTime"]:
            found_names = ", ".join(map(xmltree.local, parts[:6]))
            raise MalformedError(signature.what, f"a TimeStamp of {found_names}", "one EncodedTime")
        (encoded,) = (part for part in parts if part.tag == names[0])
        blob = xmltree.octets(encoded, signature.what)
        label = f"{signature.what}, timestamp {len(found) + 1}"
        found.append(read_timestamp(label, blob, signature.raw_value))
    return tuple(found)


def _signing_time(signature: XmlSignature) -> datetime | None:
    """Return the claimed SignatureTime (OPC 10.5.15); None where it is not told."""
    values = [
        element for one in signature.objects
        for element in one.iter(f"{{{MDSSI}}}SignatureTime")
    ]  # fmt: skip
    if len(values) != 1:
        return None
    parts = {part.tag: part for part in xmltree.elements(values[0], signature.what)}
    value = parts.get(f"{{{MDSSI}}}Value")
    text = xmltree.text(value, signature.what) if value is not None else ""
    if not _TIME.match(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
