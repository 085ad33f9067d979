"""Reading CMS SignedData and SignerInfo (RFC 5652, PKCS#7 1.5), BER as the wild holds it."""

from __future__ import annotations

from signward.envelopes._cms_parts import (
    CMS_VERSIONS,
    MAX_ATTRIBUTES,
    MAX_CERTIFICATES,
    MAX_SIGNERS,
    NEVER_REPEATED,
    OCSP_RESPONSE,
    PKCS7_VERSIONS,
    SIGNED_DATA,
    SignedData,
    SignerInfo,
    by_oid,
)
from signward.errors import LimitError, MalformedError
from signward.state import Attribute, SignerId
from signward.wire import der
from signward.wire.algorithms import digest_name, signature_algorithm
from signward.wire.repeated import kept


def read_signed_data(blob: bytes, what: str) -> SignedData:
    """Read ContentInfo and SignedData (RFC 5652 3 and 5.1).  Raises ``BadInputError``."""
    outer = der.parse(blob, what).fields(what, 2)
    if outer[0].oid(what) != SIGNED_DATA or outer[1].tag != 0xA0:
        raise MalformedError(what, f"content type {outer[0].oid(what)}", "SignedData", "RFC 5652 3")
    inner = outer[1].children()
    if len(inner) != 1 or len(outer) != 2:
        raise MalformedError(what, "several contents", "one SignedData", "RFC 5652 3")
    fields = inner[0].fields(what, 4)
    content_type, content, versions = _content(fields[2], what)
    if fields[0].integer(what) not in versions:
        required = f"one of {sorted(versions)}"
        raise MalformedError(what, f"version {fields[0].integer()}", required, "RFC 5652 5.1")
    certificates: list[bytes] = []
    crls: list[bytes] = []
    ocsp: list[bytes] = []
    for field in fields[3:-1]:
        if field.tag == 0xA0:
            certificates += [
                blob[node.offset : node.next]
                for node in field.children()
                if node.tag == der.SEQUENCE
            ]
        elif field.tag == 0xA1:
            _revocation(field, crls, ocsp, what)
        else:
            raise MalformedError(what, f"field {field.tag:#x}", "[0] or [1]", "RFC 5652 5.1")
    signers = fields[-1].fields(what, 1, der.SET)
    if len(certificates) > MAX_CERTIFICATES or len(signers) > MAX_SIGNERS:
        raise LimitError(
            what, f"{len(certificates)} certificates, {len(signers)} signers",
            f"at most {MAX_CERTIFICATES} and {MAX_SIGNERS}",
        )  # fmt: skip
    return SignedData(
        digests=frozenset([digest_name(n, what) for n in fields[1].fields(what, 0, der.SET)]),
        content_type=content_type,
        content=content,
        certificates=tuple(certificates),
        crls=tuple(crls),
        ocsp=tuple(ocsp),
        signers=tuple(signers),
        raw=blob,
    )


def _content(node: der.Node, what: str) -> tuple[str, bytes, frozenset[int]]:
    """Return content type, octets, and the versions of SignedData that go with their form.

    CMS wraps content in an OCTET STRING, PKCS#7 1.5 (so Authenticode) had ANY.
    """
    fields = node.fields(what, 1)
    content_type = fields[0].oid(what)
    if len(fields) == 1:
        return content_type, b"", CMS_VERSIONS
    inner = fields[1].expect(0xA0, what).children()
    if len(inner) != 1 or len(fields) > 2:
        raise MalformedError(what, "several contents", "one eContent", "RFC 5652 5.2")
    if inner[0].tag in (der.OCTET_STRING, der.OCTET_STRING | 0x20):
        return content_type, inner[0].octets(what), CMS_VERSIONS
    return content_type, inner[0].expect(der.SEQUENCE, what).content, PKCS7_VERSIONS


def _revocation(field: der.Node, crls: list[bytes], ocsp: list[bytes], what: str) -> None:
    """Sort RevocationInfoChoices (RFC 5652 10.2.1) into CRLs and OCSP responses."""
    for node in field.children():
        if node.tag == der.SEQUENCE:
            crls.append(node.raw)
            continue
        parts = node.children()
        if node.tag == 0xA1 and len(parts) == 2 and parts[0].oid(what) == OCSP_RESPONSE:
            ocsp.append(parts[1].raw)


def read_signer_info(node: der.Node, what: str) -> SignerInfo:
    """Read one SignerInfo (RFC 5652 5.3).  Raises ``BadInputError``."""
    fields = node.fields(what, 5)
    version = 3 if fields[1].tag == 0x80 else 1
    if fields[0].integer(what) != version:
        found = f"version {fields[0].integer()}"
        raise MalformedError(what, found, f"version {version}", "RFC 5652 5.3")
    digest = digest_name(fields[2], what)
    rest = fields[3:]
    signed: tuple[Attribute, ...] = ()
    signed_der = b""
    if rest[0].tag == 0xA0:
        signed, signed_der = _attributes(rest[0], what), rest[0].der(der.SET)
        if not signed:
            raise MalformedError(what, "an empty set of signed attributes", "one or more, or no "
                                 "set: else nothing binds content", "RFC 5652 5.3")  # fmt: skip
        rest = rest[1:]
    if len(rest) < 2 or len(rest) > 3 or (len(rest) == 3 and rest[2].tag != 0xA1):
        raise MalformedError(what, f"{len(fields)} fields", "a SignerInfo", "RFC 5652 5.3")
    return SignerInfo(
        signer=_signer_id(fields[1], what),
        digest=digest,
        algorithm=signature_algorithm(rest[0], digest, what),
        value=rest[1].octets(what),
        signed=signed,
        signed_der=signed_der,
        unsigned=_attributes(rest[2], what) if len(rest) == 3 else (),
        signed_values=by_oid(signed),
    )


def _signer_id(node: der.Node, what: str) -> SignerId:
    if node.tag == 0x80:
        return SignerId(key_id=node.content)
    return kept(node, what, _issuer_and_serial)


def _issuer_and_serial(node: der.Node, what: str) -> SignerId:
    """Read IssuerAndSerialNumber (RFC 5652 10.2.4)."""
    issuer, serial = node.fields(what, 2)[:2]
    return SignerId(issuer=issuer.raw, serial=serial.integer(what))


def _attributes(node: der.Node, what: str) -> tuple[Attribute, ...]:
    attributes = tuple(
        [
            _attribute(child, what)
            if child.data.startswith(NEVER_REPEATED, child.start)
            else kept(child, what, _attribute)
            for child in node.children()
        ]
    )
    if len(attributes) > MAX_ATTRIBUTES:
        raise LimitError(what, f"{len(attributes)} attributes", f"at most {MAX_ATTRIBUTES}")
    return attributes


def _attribute(node: der.Node, what: str) -> Attribute:
    """Read an Attribute (RFC 5652 5.3).  Fields behind the two are passed by."""
    kind, values = node.fields(what, 2)[:2]
    octets = [node.data[v.offset : v.next] for v in values.fields(what, 0, der.SET)]
    return Attribute(oid=kind.oid(what), values=tuple(octets))
