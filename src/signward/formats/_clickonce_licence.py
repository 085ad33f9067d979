"""The two signatures of a ClickOnce manifest, and what they say about each other.

The outer one, ``StrongNameSignature``, is over the manifest without itself.  Its KeyInfo holds
the key and a licence; in the licence the inner one, ``AuthenticodeSignature``, is over the
licence without itself, and the licence gives the manifest's digest once more (hexadecimal,
last octet first), the manifest's identity and the publisher's name.  The inner one has the
certificates and the timestamp.  Both are made with one key.

Source: what Windows SDK's mage and .NET's ``SignedCmiManifest2`` write and verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from signward.envelopes.cms import MAX_TIMESTAMPS
from signward.envelopes.stamps import read_timestamp
from signward.envelopes.xmldsig import (
    XmlSignature,
    claim,
    ds,
    leaf_of,
    read_signature,
    referenced,
)
from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats._clickonce_manifest import ASM2, identity, signatures
from signward.formats._clickonce_publisher import (
    issuer_key_hash,
    name_values,
    public_key_token,
    windows_name,
)
from signward.frozen import Frozen
from signward.state import ClaimedSignature, ClaimedTimestamp, Slot
from signward.wire import xmltree
from signward.wire.certificate import outline
from signward.wire.spki import key_bits

RELDATA = "http://schemas.microsoft.com/windows/rel/2005/reldata"
LICENCE = "urn:mpeg:mpeg21:2003:01-REL-R-NS"
AUTHENTICODE = "http://schemas.microsoft.com/windows/pki/2005/Authenticode"

STRONG_NAME_ID = "StrongNameSignature"
KEY_INFO_ID = "StrongNameKeyInfo"
AUTHENTICODE_ID = "AuthenticodeSignature"

MANIFEST = "manifest"
"""The slot of the manifest without its signature."""

LICENCE_SLOT = "licence"
"""The slot of the licence without its own signature."""

_OUTER, _INNER = "signature 1", "signature 1.1"
_CLAUSE = "ClickOnce, SignedCmiManifest2"
_BY_LENGTH = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}


class Signed(Frozen, frozen=True, kw_only=True):
    """Both signatures, read; ``octets`` are what their slots are digests of.

    ``hash`` is the licence's digest of the manifest with its algorithm.
    """

    outer: XmlSignature
    inner: XmlSignature
    licence: Any
    certificate: bytes
    hash: Slot
    octets: dict[str, bytes]


def read_signed(tree: Any) -> Signed | None:
    """Return the signatures of a manifest; None where it has none, or a strong name alone.

    Raises ``BadInputError``.
    """
    found = signatures(tree.getroot())
    if not found:
        return None
    count = sum(1 for _ in tree.getroot().iter(ds("Signature")))
    if len(found) > 1 or count > 2:
        raise AmbiguousError(
            "manifest", f"{count} signatures", "one, and one in its licence", _CLAUSE,
            hint="a signed part was moved, and another put in its place",
        )  # fmt: skip
    outer = _shaped(read_signature(found[0], _OUTER), STRONG_NAME_ID)
    if outer.key_info_id not in (None, KEY_INFO_ID) or outer.objects or not outer.key:
        raise MalformedError(_OUTER, "another KeyInfo", f"a key in {KEY_INFO_ID}", _CLAUSE)
    if not outer.extensions:
        return None
    licence = _licence(outer)
    issuer = _only(licence.getroot(), f"{{{LICENCE}}}issuer")
    inner = _shaped(read_signature(_only(issuer, ds("Signature")), _INNER), AUTHENTICODE_ID)
    if inner.extensions or inner.key_info_id is not None:
        raise MalformedError(_INNER, "another KeyInfo", "a key and certificates", _CLAUSE)
    return _joined(outer, inner, licence)


def _joined(outer: XmlSignature, inner: XmlSignature, licence: Any) -> Signed:
    manifest = referenced(outer.references[0], outer)
    plain = xmltree.canonical(xmltree.without(outer.element), xmltree.Canonical(), _OUTER)
    if manifest != plain:
        raise MalformedError(_OUTER, "another canonical form", xmltree.EXCLUSIVE_C14N, _CLAUSE)
    return Signed(
        outer=outer,
        inner=inner,
        licence=licence,
        certificate=leaf_of(inner),
        hash=_manifest_hash(licence),
        octets={MANIFEST: manifest, LICENCE_SLOT: referenced(inner.references[0], inner)},
    )


def _shaped(signature: XmlSignature, identifier: str) -> XmlSignature:
    """Return a signature that is the one it must be: by its Id, over its whole document."""
    found = signature.element.get("Id")
    if found != identifier:
        raise MalformedError(signature.what, f"Id {found!r}", identifier, _CLAUSE)
    if [reference.uri for reference in signature.references] != [""]:
        uris = ", ".join(repr(reference.uri)[:40] for reference in signature.references[:4])
        raise MalformedError(signature.what, f"references to {uris}", "one, to the whole", _CLAUSE)
    return signature


def _licence(outer: XmlSignature) -> Any:
    """Return the licence as a document of its own, which its signature takes it for."""
    data = outer.extensions[0]
    if len(outer.extensions) > 1 or data.tag != f"{{{RELDATA}}}RelData":
        raise MalformedError(_OUTER, f"{xmltree.local(data)} in KeyInfo", "one RelData", _CLAUSE)
    xmltree.attributes(data, (), _OUTER)
    parts = xmltree.elements(data, _OUTER)
    if [part.tag for part in parts] != [f"{{{LICENCE}}}license"]:
        raise MalformedError(_OUTER, f"{len(parts)} parts of RelData", "one licence", _CLAUSE)
    return xmltree.alone(parts[0])


def _only(parent: Any, tag: str) -> Any:
    found = [child for child in parent if child.tag == tag]
    if len(found) != 1:
        name = tag.rpartition("}")[2]
        raise MalformedError(_INNER, f"{len(found)} times {name}", "once", _CLAUSE)
    return found[0]


def information(licence: Any) -> Any:
    """Return a licence's ManifestInformation.  Raises ``MalformedError``."""
    return _only(_only(licence.getroot(), f"{{{LICENCE}}}grant"),
                 f"{{{AUTHENTICODE}}}ManifestInformation")  # fmt: skip


def claimed_name(licence: Any) -> str:
    """Return the publisher's name as the licence gives it.  Raises ``MalformedError``."""
    grant = _only(licence.getroot(), f"{{{LICENCE}}}grant")
    publisher = _only(grant, f"{{{AUTHENTICODE}}}AuthenticodePublisher")
    return xmltree.text(_only(publisher, f"{{{AUTHENTICODE}}}X509SubjectName"), _INNER)


def _manifest_hash(licence: Any) -> Slot:
    """Return the licence's digest of the manifest: hexadecimal, its octets in reverse order."""
    text = information(licence).get("Hash", "")
    try:
        digest = bytes.fromhex(text)[::-1] if text == text.strip() else b""
    except ValueError:
        digest = b""
    if len(digest) not in _BY_LENGTH or digest[::-1].hex() != text.lower():
        raise MalformedError(_INNER, f"Hash {text[:80]!r}", "a digest in hexadecimal", _CLAUSE)
    return Slot(name=MANIFEST, algorithm=_BY_LENGTH[len(digest)], digest=digest)


def claims(
    signed: Signed, root: Any, files: tuple[Slot, ...], unknown: tuple[Finding, ...]
) -> tuple[ClaimedSignature, ...]:
    """Return both signatures as claims: ``1``, the strong name, and ``1.1``, the licence's.

    ``files`` are the slots of the files the manifest names, ``unknown`` says which are not
    there.  The licence's timestamp speaks for both: what it is over includes the manifest.
    """
    stamps = _timestamps(signed.inner)
    findings = (*contradictions(signed, root), *unknown)
    raw = xmltree.canonical(signed.outer.element, xmltree.Canonical(comments=True), _OUTER)
    own = [_reference_slot(signed.outer, MANIFEST)]
    inner = [_reference_slot(signed.inner, LICENCE_SLOT), signed.hash]
    return (
        claim(
            signed.outer, signed.certificate, label="1", slots=_weakest_first(own, files),
            timestamps=stamps, certificates=signed.inner.certificates, findings=findings, raw=raw,
        ),
        claim(
            signed.inner, signed.certificate, label="1.1", slots=_weakest_first(inner, files),
            timestamps=stamps, findings=findings, raw=raw,
        ),
    )  # fmt: skip


def _reference_slot(signature: XmlSignature, name: str) -> Slot:
    reference = signature.references[0]
    return Slot(name=name, algorithm=reference.algorithm, digest=reference.digest)


def _weakest_first(own: list[Slot], files: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Return the slots with the shortest digest in front: a chain is judged by its weakest link."""
    return tuple(sorted((*own, *files), key=_length))


def _length(slot: Slot) -> int:
    return len(slot.digest)


def _timestamps(inner: XmlSignature) -> tuple[ClaimedTimestamp, ...]:
    """Read the tokens in the inner signature's Objects."""
    if len(inner.objects) > MAX_TIMESTAMPS:
        raise LimitError(_INNER, f"{len(inner.objects)} timestamps", f"at most {MAX_TIMESTAMPS}")
    found = []
    for number, element in enumerate(inner.objects, 1):
        xmltree.attributes(element, (), _INNER)
        parts = xmltree.elements(element, _INNER)
        if [part.tag for part in parts] != [f"{{{AUTHENTICODE}}}Timestamp"]:
            raise MalformedError(_INNER, "another Object", "one with a Timestamp", _CLAUSE)
        blob = xmltree.octets(parts[0], _INNER)
        label = f"{_INNER}, timestamp {number}"
        found.append(read_timestamp(label, blob, inner.raw_value))
    return tuple(found)


def contradictions(signed: Signed, root: Any) -> Iterator[Finding]:
    """Report where manifest, licence, key and certificate do not say the same."""
    own = identity(root)
    token = public_key_token(signed.outer.key)
    if own.get("publicKeyToken", "").lower() != token:
        yield _contradiction(
            "assemblyIdentity", f"publicKeyToken {own.get('publicKeyToken', 'none')[:40]}",
            f"{token}, the token of the key that signed", Code.SIGNATURE_MISMATCH,
        )  # fmt: skip
    listed = _only(information(signed.licence), f"{{{AUTHENTICODE}}}assemblyIdentity")
    if dict(own.attrib) != dict(listed.attrib):
        yield _contradiction("licence", "the identity of another assembly", "the manifest's own")
    if not signed.certificate:
        if signed.inner.certificates:
            yield _contradiction(
                _INNER, "a key that is in none of its certificates", "the signer's",
                Code.SIGNATURE_MISMATCH,
            )  # fmt: skip
        return
    if key_bits(outline(signed.certificate).spki) != key_bits(signed.outer.key):
        yield _contradiction(
            _OUTER, "another key than the licence's signer has", "one key for both",
            Code.SIGNATURE_MISMATCH,
        )  # fmt: skip
    yield from _publisher(signed, root)


def _publisher(signed: Signed, root: Any) -> Iterator[Finding]:
    """Compare publisherIdentity and the licence's name with the signer's certificate."""
    names = name_values(windows_name(signed.certificate))
    if name_values(claimed_name(signed.licence)) != names:
        yield _contradiction("licence", f"the name {claimed_name(signed.licence)[:120]!r}",
                             windows_name(signed.certificate))  # fmt: skip
    found = [child for child in root if child.tag == f"{{{ASM2}}}publisherIdentity"]
    if len(found) != 1:
        yield _contradiction("manifest", f"{len(found)} publisherIdentity elements", "one")
        return
    name, key_hash = found[0].get("name", ""), found[0].get("issuerKeyHash", "")
    if name_values(name) != names:
        yield _contradiction("publisherIdentity", f"the name {name[:120]!r}",
                             windows_name(signed.certificate))  # fmt: skip
    known = issuer_key_hash(signed.certificate, signed.inner.certificates)
    if known and key_hash.lower() != known:
        yield _contradiction("publisherIdentity", f"issuerKeyHash {key_hash[:40]}", known)


def _contradiction(
    subject: str, found: str, required: str, code: Code = Code.ATTRIBUTE_RULE
) -> Finding:
    return Finding(
        code=code,
        effect=Effect.REJECT,
        subject=subject,
        found=found,
        required=required,
        clause=_CLAUSE,
    )
