"""XML Signature (XMLDSig 1.1): reading claimed signatures, by an allow-list and nothing else.

Sources: "XML Signature Syntax and Processing Version 1.1" ("XMLDSig" in the clauses), RFC 6931
(algorithm names).  One SignedInfo, references into the same document only, two kinds of
transform (a format may hand in its own), no XPath, no XSLT, no HMAC, nothing external.
Whatever stands in a Signature and is not known is refused, since what no digest covers could
be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Finding
from signward.frozen import Frozen, replace
from signward.state import (
    Algorithm,
    Binding,
    ClaimedSignature,
    ClaimedTimestamp,
    SignerId,
    Slot,
)
from signward.wire import spki, xmltree
from signward.wire.algorithms import UNKNOWN
from signward.wire.certificate import outline
from signward.wire.xmltree import Canonical, attributes, elements, local, octets, text

DSIG = "http://www.w3.org/2000/09/xmldsig#"
DSIG11 = "http://www.w3.org/2009/xmldsig11#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENCRYPTION = "http://www.w3.org/2001/04/xmlenc#"

ENVELOPED = f"{DSIG}enveloped-signature"

SIGNATURES = {
    f"{DSIG}rsa-sha1": Algorithm(scheme="rsa-pkcs1v15", digest="sha1"),
    f"{_MORE}rsa-sha256": Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
    f"{_MORE}rsa-sha384": Algorithm(scheme="rsa-pkcs1v15", digest="sha384"),
    f"{_MORE}rsa-sha512": Algorithm(scheme="rsa-pkcs1v15", digest="sha512"),
    f"{_MORE}ecdsa-sha256": Algorithm(scheme="ecdsa", digest="sha256"),
    f"{_MORE}ecdsa-sha384": Algorithm(scheme="ecdsa", digest="sha384"),
    f"{_MORE}ecdsa-sha512": Algorithm(scheme="ecdsa", digest="sha512"),
}
"""Signature methods by URI (RFC 6931 2.3)."""

DIGESTS = {
    f"{_MORE}md5": "md5",
    f"{DSIG}sha1": "sha1",
    f"{_ENCRYPTION}sha256": "sha256",
    f"{_MORE}sha384": "sha384",
    f"{_ENCRYPTION}sha512": "sha512",
}
"""Digest methods by URI (RFC 6931 2.1)."""

MICROSOFT_SIGNATURES = {f"{DSIG}rsa-sha256": Algorithm(scheme="rsa-pkcs1v15", digest="sha256")}
MICROSOFT_DIGESTS = {f"{DSIG}sha256": "sha256"}
"""Names that Microsoft made up for ClickOnce and no standard has."""

SIGNATURE_URIS = {algorithm: uri for uri, algorithm in SIGNATURES.items()}
DIGEST_URIS = {name: uri for uri, name in DIGESTS.items()}

_ALL_SIGNATURES = SIGNATURES | MICROSOFT_SIGNATURES
_ALL_DIGESTS = DIGESTS | MICROSOFT_DIGESTS

MAX_REFERENCES = 16
"""References in a SignedInfo; real ones have one to four.  Manifests have a bound of their own."""

MAX_CERTIFICATES = 64
MAX_OBJECTS = 16
MAX_TRANSFORMS = 4

_CLAUSE = "XMLDSig 4"
_WHAT_IS_READ = "SignedInfo, SignatureValue, at most one KeyInfo, then Objects"


class Transform(Frozen, frozen=True, kw_only=True):
    """One transform as it stands: its URI and its element (for parameters)."""

    uri: str
    element: Any


class Reference(Frozen, frozen=True, kw_only=True):
    """A Reference: what it speaks of, how that becomes octets, and their digest."""

    uri: str | None
    type: str
    transforms: tuple[Transform, ...]
    algorithm: str
    digest: bytes


class XmlSignature(Frozen, frozen=True, kw_only=True):
    """A Signature element, read; everything in it is a claim.

    ``signed_info`` is canonical, ``raw_value`` what SignatureValue holds (a timestamp speaks of
    that), ``value`` the same as the key's algorithm has it (ECDSA: DER), ``key`` the KeyValue
    as SubjectPublicKeyInfo (DER, empty without), ``certificates`` and ``crls`` the X509Data,
    ``extensions`` KeyInfo's children of foreign namespaces, for the format to judge.
    """

    element: Any
    what: str
    signed_info: bytes
    algorithm: Algorithm
    value: bytes
    raw_value: bytes
    references: tuple[Reference, ...]
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    key: bytes = b""
    extensions: tuple[Any, ...] = ()
    objects: tuple[Any, ...] = ()
    key_info_id: str | None = None
    identified: xmltree.Identified = msgspec.field(default_factory=dict)


def ds(name: str) -> str:
    """Return a name in XMLDSig's namespace as ``lxml`` writes it."""
    return f"{{{DSIG}}}{name}"


def read_signature(element: Any, what: str) -> XmlSignature:
    """Read a Signature element (XMLDSig 4.2).  Raises ``BadInputError``.

    An algorithm without a name here keeps its URI behind ``unknown:``.
    """
    attributes(element, ("Id",), what)
    parts = elements(element, what)
    names = [part.tag for part in parts]
    shape = [ds("SignedInfo"), ds("SignatureValue"), *([ds("KeyInfo")] * (ds("KeyInfo") in names))]
    if names[: len(shape)] != shape or set(names[len(shape) :]) - {ds("Object")}:
        found = ", ".join(local(part) for part in parts[:8]) or "nothing"
        raise MalformedError(what, f"a Signature of {found}", _WHAT_IS_READ, "XMLDSig 4.2")
    objects = parts[len(shape) :]
    if len(objects) > MAX_OBJECTS:
        raise LimitError(what, f"{len(objects)} Objects", f"at most {MAX_OBJECTS}")
    attributes(parts[1], ("Id",), what)
    signature = _signed_info(parts[0], parts[1], what)
    if any(reference.uri for reference in signature.references):
        tree = element.getroottree()
        signature = replace(signature, identified=xmltree.identified(tree))
    signature = replace(signature, element=element, objects=tuple(objects))
    return _key_info(signature, parts[2]) if ds("KeyInfo") in shape else signature


def _signed_info(element: Any, value: Any, what: str) -> XmlSignature:
    """Read SignedInfo (XMLDSig 4.4) and the value over it."""
    attributes(element, ("Id",), what)
    parts = elements(element, what)
    names = [part.tag for part in parts]
    if names[:2] != [ds("CanonicalizationMethod"), ds("SignatureMethod")] or (
        set(names[2:]) != {ds("Reference")}
    ):
        raise MalformedError(what, f"a SignedInfo of {len(parts)} parts",
                             "two methods, then References", "XMLDSig 4.4")  # fmt: skip
    if len(parts) - 2 > MAX_REFERENCES:
        raise LimitError(what, f"{len(parts) - 2} references", f"at most {MAX_REFERENCES}")
    method = canonicalization(parts[0], what)
    algorithm = _signature_method(parts[1], what)
    raw = octets(value, what)
    return XmlSignature(
        element=None,
        what=what,
        signed_info=xmltree.canonical(element, method, what),
        algorithm=algorithm,
        raw_value=raw,
        value=spki.ecdsa_der(raw) if algorithm.scheme == "ecdsa" else raw,
        references=tuple(read_reference(part, what) for part in parts[2:]),
    )


def canonicalization(element: Any, what: str) -> Canonical:
    """Return the method a CanonicalizationMethod or Transform names, with its prefixes kept.

    Raises ``MalformedError`` for one outside the allow-list.
    """
    uri = attributes(element, ("Algorithm",), what).get("Algorithm", "")
    method = xmltree.METHODS.get(uri)
    if method is None:
        raise MalformedError(
            what, f"canonicalization {uri[:120]!r}", "Canonical XML 1.0 or the exclusive one",
            "XMLDSig 6.5",
        )  # fmt: skip
    prefixes: list[str] = []
    for child in elements(element, what):
        if child.tag != f"{{{xmltree.EXCLUSIVE_C14N}}}InclusiveNamespaces" or not method.exclusive:
            raise MalformedError(what, f"{local(child)} in a canonicalization", "its prefix list")
        prefixes += attributes(child, ("PrefixList",), what).get("PrefixList", "").split()
    return replace(method, prefixes=tuple(prefixes))


def _signature_method(element: Any, what: str) -> Algorithm:
    """Return the signature algorithm; a MAC is none, whatever its output length (CVE-2009-0217)."""
    uri = attributes(element, ("Algorithm",), what).get("Algorithm", "")
    if "hmac" in uri.lower() or elements(element, what):
        raise MalformedError(what, f"method {uri[:120]!r}", "a signature with a public key",
                             "XMLDSig 6.3")  # fmt: skip
    return _ALL_SIGNATURES.get(uri, Algorithm(scheme=f"{UNKNOWN}:{uri[:120]}"))


def read_reference(element: Any, what: str) -> Reference:
    """Read a Reference (XMLDSig 4.4.3), in SignedInfo or in a Manifest."""
    found = attributes(element, ("Id", "URI", "Type"), what)
    parts = elements(element, what)
    names = [part.tag for part in parts]
    transformed = names[:1] == [ds("Transforms")]
    if names[transformed:] != [ds("DigestMethod"), ds("DigestValue")]:
        raise MalformedError(what, f"a Reference of {', '.join(map(local, parts[:6]))}",
                             "Transforms, DigestMethod, DigestValue", "XMLDSig 4.4.3")  # fmt: skip
    return Reference(
        uri=found.get("URI"),
        type=found.get("Type", ""),
        transforms=_transforms(parts[0], what) if transformed else (),
        algorithm=digest_method(parts[-2], what),
        digest=octets(parts[-1], what),
    )


def digest_method(element: Any, what: str) -> str:
    """Return the hashlib name that a DigestMethod names; ``unknown:URI`` for others."""
    uri = attributes(element, ("Algorithm",), what).get("Algorithm", "")
    if elements(element, what):
        raise MalformedError(what, "parameters of a digest", "none", "XMLDSig 6.2")
    return _ALL_DIGESTS.get(uri, f"{UNKNOWN}:{uri[:120]}")


def _transforms(element: Any, what: str) -> tuple[Transform, ...]:
    attributes(element, (), what)
    parts = elements(element, what)
    if len(parts) > MAX_TRANSFORMS:
        raise LimitError(what, f"{len(parts)} transforms", f"at most {MAX_TRANSFORMS}")
    if any(part.tag != ds("Transform") for part in parts):
        raise MalformedError(what, "another element among Transforms", "Transform", _CLAUSE)
    return tuple(Transform(uri=part.get("Algorithm", ""), element=part) for part in parts)


def referenced(reference: Reference, signature: XmlSignature) -> bytes:
    """Return the octets whose digest a Reference into its own document gives.

    The whole document or one element by its identifier, without the signature where it is
    enveloped, in canonical form without comments (XMLDSig 4.4.3.3: such references leave them
    out).  Raises ``BadInputError`` for any other reference or transform.
    """
    what, uri = signature.what, reference.uri
    if uri is None or (uri and (not uri.startswith("#") or "(" in uri)):
        raise MalformedError(what, f"a reference to {uri!r}", "one into its own document",
                             "XMLDSig 4.4.3.1")  # fmt: skip
    tree = signature.element.getroottree()
    node = xmltree.by_id(signature.identified, uri[1:], what) if uri else tree
    enveloped, method = _plan(reference, what)
    if enveloped:
        if uri and signature.element not in node.iterdescendants():
            raise MalformedError(
                what, "an enveloped signature elsewhere", "one inside what it signs"
            )
        tree = xmltree.without(signature.element)
        node = xmltree.by_id(xmltree.identified(tree), uri[1:], what) if uri else tree
    return xmltree.canonical(node, method, what)


def _plan(reference: Reference, what: str) -> tuple[bool, Canonical]:
    """Return whether the signature is left out, and the canonical form; nothing else is allowed."""
    rest = list(reference.transforms)
    enveloped = bool(rest) and rest[0].uri == ENVELOPED
    if enveloped:
        elements(rest.pop(0).element, what)
    if not rest:
        return enveloped, Canonical(exclusive=False)
    if len(rest) > 1 or rest[0].uri not in xmltree.METHODS:
        raise MalformedError(
            what, f"transform {rest[-1].uri[:120]!r}",
            "enveloped-signature, then one canonicalization", "XMLDSig 6.6",
            hint="other transforms decide what is signed: none of them is followed",
        )  # fmt: skip
    return enveloped, replace(canonicalization(rest[0].element, what), comments=False)


def _key_info(signature: XmlSignature, element: Any) -> XmlSignature:
    """Read KeyInfo (XMLDSig 4.5): key values and certificates; no way to fetch anything."""
    what = signature.what
    identifier = attributes(element, ("Id",), what).get("Id")
    key = b""
    certificates: list[bytes] = []
    crls: list[bytes] = []
    extensions: list[Any] = []
    for part in elements(element, what):
        if part.tag == ds("KeyValue") and not key:
            key = _key_value(part, what)
        elif part.tag == ds("X509Data"):
            more, lists = _x509_data(part, what)
            certificates, crls = certificates + more, crls + lists
        elif part.tag == ds("KeyName"):
            text(part, what)
        elif not part.tag.startswith((f"{{{DSIG}}}", f"{{{DSIG11}}}")):
            extensions.append(part)
        else:
            raise MalformedError(what, f"{local(part)} in KeyInfo", "KeyValue or X509Data",
                                 "XMLDSig 4.5")  # fmt: skip
    if len(certificates) + len(crls) > MAX_CERTIFICATES:
        found = f"{len(certificates)} certificates, {len(crls)} revocation lists"
        raise LimitError(what, found, f"at most {MAX_CERTIFICATES}")
    return replace(
        signature, key=key, certificates=tuple(certificates), crls=tuple(crls),
        extensions=tuple(extensions), key_info_id=identifier,
    )  # fmt: skip


def _x509_data(element: Any, what: str) -> tuple[list[bytes], list[bytes]]:
    """Return certificates and CRLs of X509Data; names of the signer's beside them add nothing."""
    attributes(element, (), what)
    found: list[bytes] = []
    crls: list[bytes] = []
    for part in elements(element, what):
        if part.tag in (ds("X509Certificate"), ds("X509CRL")):
            (found if part.tag == ds("X509Certificate") else crls).append(octets(part, what))
        elif part.tag == ds("X509IssuerSerial"):
            for name in elements(part, what):
                text(name, what)
        elif part.tag in (ds("X509SubjectName"), ds("X509SKI")):
            text(part, what)
        else:
            raise MalformedError(
                what, f"{local(part)} in X509Data", "certificates", "XMLDSig 4.5.4"
            )
    return found, crls


def _key_value(element: Any, what: str) -> bytes:
    """Return KeyValue (XMLDSig 4.5.2) as SubjectPublicKeyInfo."""
    parts = elements(element, what)
    if len(parts) == 1 and parts[0].tag == ds("RSAKeyValue"):
        numbers = elements(parts[0], what)
        if [part.tag for part in numbers] == [ds("Modulus"), ds("Exponent")]:
            modulus, exponent = (int.from_bytes(octets(part, what), "big") for part in numbers)
            return spki.rsa_key(modulus, exponent)
    if len(parts) == 1 and parts[0].tag == f"{{{DSIG11}}}ECKeyValue":
        return _ec_key_value(parts[0], what)
    raise MalformedError(what, "another KeyValue", "an RSA key or an EC key on a named curve",
                         "XMLDSig 4.5.2")  # fmt: skip


def _ec_key_value(element: Any, what: str) -> bytes:
    """Return an ECKeyValue (XMLDSig 4.5.2.3); explicit parameters are refused (CVE-2020-0601)."""
    parts = elements(element, what)
    expected = [f"{{{DSIG11}}}NamedCurve", f"{{{DSIG11}}}PublicKey"]
    uri = parts[0].get("URI", "") if [part.tag for part in parts] == expected else ""
    oid = uri.removeprefix("urn:oid:")
    if oid not in spki.CURVE_SIZES or oid == uri:
        raise MalformedError(what, f"the curve {uri[:80]!r}", "a named one: P-256, P-384 or P-521",
                             "XMLDSig 4.5.2.3")  # fmt: skip
    return spki.ec_key(oid, octets(parts[1], what))


def leaf_of(signature: XmlSignature) -> bytes:
    """Return the signer's certificate among the embedded ones; empty where none can be it.

    That is the one with the KeyValue's key, else the one that issued none of the others, as
    XMLDSig gives them no order (4.5.4).
    """
    readable = []
    for certificate in signature.certificates:
        try:
            readable.append((certificate, outline(certificate)))
        except BadInputError:
            continue  # an unreadable certificate can be nobody's signer
    if signature.key:
        return next((raw for raw, seen in readable if _same(seen.spki, signature.key)), b"")
    issuers = {seen.issuer for _, seen in readable if len(readable) > 1}
    leaves = [raw for raw, seen in readable if seen.subject not in issuers]
    return leaves[0] if leaves else b""


def _same(one: bytes, other: bytes) -> bool:
    """Say whether two keys are one; parameters of the algorithm may be written differently."""
    try:
        return spki.key_bits(one) == spki.key_bits(other) and spki.curve(one) == spki.curve(other)
    except BadInputError:
        return False


def claim(
    signature: XmlSignature,
    certificate: bytes,
    *,
    label: str,
    slots: tuple[Slot, ...],
    bindings: tuple[Binding, ...] = (),
    timestamps: tuple[ClaimedTimestamp, ...] = (),
    certificates: Sequence[bytes] = (),
    findings: tuple[Finding, ...] = (),
    raw: bytes = b"",
    claimed_time: datetime | None = None,
) -> ClaimedSignature:
    """Return what a Signature claims; ``certificate`` is its signer's, empty if unknown.

    ``certificates`` are found elsewhere (another signature's KeyInfo, a part of a package).
    """
    signer = SignerId()
    if certificate:
        seen = outline(certificate)
        signer = SignerId(issuer=seen.issuer, serial=seen.serial)
    return ClaimedSignature(
        label=label,
        envelope="xmldsig",
        slots=slots,
        bindings=bindings,
        algorithm=signature.algorithm,
        to_be_verified=signature.signed_info,
        value=signature.value,
        claimed_signer=signer,
        claimed_certificates=tuple(dict.fromkeys((*signature.certificates, *certificates))),
        claimed_crls=signature.crls,
        claimed_time=claimed_time,
        timestamps=timestamps,
        findings=findings,
        raw=raw,
    )
