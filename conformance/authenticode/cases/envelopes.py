"""Rows 7 to 9 and 54: SignedData, its attributes, nested signatures, and BER."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cms, pe
from conformance.authenticode.cases.base import (
    ACCEPTED,
    CANNOT_TELL,
    REJECTED,
    Case,
    case,
    sign_image,
    signed_image,
)
from conformance.authenticode.keys import key
from conformance.authenticode.pki import default_pki, issue, stranger_pki
from signward.wire import der

_ATTRIBUTES = "RFC 5652 5.3, 11.1, 11.2"


def cases() -> Iterator[Case]:
    """Yield the cases about the signature's envelope."""
    yield from _digests()
    yield from _attributes()
    yield from _signers()
    yield from _consistency()
    yield from _nested()
    yield from _tolerated()


def _digests() -> Iterator[Case]:
    clause = "Authenticode PE, SpcIndirectDataContent"
    whole = pe.image()
    pages = bytearray(pe.page_hashes(whole))
    pages[60] ^= 1
    table = pe.page_hashes(whole)
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "image-digest-of-another-file": ({"image_digest_octets": bytes(32)}, "digest-mismatch"),
        "image-digest-cut-short": (
            {"image_digest_octets": pe.image_digest(whole)[:16]},
            "digest-mismatch",
        ),
        "image-digest-empty": ({"image_digest_octets": b""}, "digest-mismatch"),
        "page-hash-mismatch": ({"pages": bytes(pages)}, "page-hash-mismatch"),
        "page-hash-beyond-image": (
            {"pages": table[:-36] + b"\0\0\0\x10" + bytes(32) + table[-36:]},
            "page-hash-mismatch",
        ),
    }
    for id_, (content, cause) in wrong.items():
        data = signed_image(whole, content=content)
        yield case(id_, 7, id_.replace("-", " "), data, REJECTED, cause, clause=clause)
    data = signed_image(whole, content={"pages": table[:-7]})
    yield case(
        "page-hash-table-cut-short",
        7,
        "a page hash table of odd length",
        data,
        REJECTED,
        "malformed",
        clause=clause,
    )


def _attributes() -> Iterator[Case]:
    defects: dict[str, tuple[dict[str, Any], str]] = {
        "message-digest-wrong": ({"message_digest": bytes(32)}, "digest-mismatch"),
        "message-digest-of-other-algorithm": ({"attribute_digest": "sha1"}, "digest-mismatch"),
        "message-digest-missing": ({"message_digest_copies": 0}, "attribute-rule"),
        "message-digest-twice": ({"message_digest_copies": 2}, "attribute-rule"),
        "message-digest-two-values": ({"message_digest_values": 2}, "attribute-rule"),
        "message-digest-no-value": ({"message_digest_values": 0}, "attribute-rule"),
        "content-type-wrong": ({"content_type": cms.DATA}, "attribute-rule"),
        "content-type-missing": ({"content_type_copies": 0}, "attribute-rule"),
        "content-type-twice": ({"content_type_copies": 2}, "attribute-rule"),
        "no-signed-attributes": ({"attributes": False}, "attribute-rule"),
        "signature-value-wrong": ({"break_value": True}, "signature-mismatch"),
    }
    for id_, (signer, cause) in defects.items():
        data = signed_image(signer=signer)
        yield case(id_, 7, id_.replace("-", " "), data, REJECTED, cause, clause=_ATTRIBUTES)
    twice = cms.attribute(cms.MESSAGE_DIGEST, der.octet_string(bytes(32)))
    data = signed_image(signer={"extra": (twice,)})
    yield case(
        "message-digest-second-differs",
        7,
        "two messageDigest attributes, one right",
        data,
        REJECTED,
        "attribute-rule",
        clause=_ATTRIBUTES,
    )


def _signers() -> Iterator[Case]:
    pki, whole = default_pki(), pe.image()
    other = issue("Somebody Else", issuer=pki.intermediate)
    data = signed_image(signer={"claim": other}, certificates=(*pki.chain, other.certificate))
    yield case(
        "signer-claims-other-certificate",
        7,
        "signed by one key, claims another's",
        data,
        REJECTED,
        "signature-mismatch",
        clause="RFC 5652 5.6",
    )
    yield case(
        "no-certificates",
        7,
        "no certificate of the signer",
        signed_image(certificates=()),
        CANNOT_TELL,
        "key-missing",
        clause="RFC 5652 5.1",
    )
    without_leaf = signed_image(certificates=(pki.intermediate.certificate,))
    yield case(
        "signer-certificate-absent",
        7,
        "others' certificates only",
        without_leaf,
        CANNOT_TELL,
        "key-missing",
        clause="RFC 5652 5.1",
    )
    content = pe.content(whole)
    none = pe.signed(whole, cms.sign(content, certificates=pki.chain))
    yield case(
        "no-signers",
        7,
        "a SignedData without any SignerInfo",
        none,
        REJECTED,
        "malformed",
        clause="Authenticode PE, SignerInfos: exactly one",
    )
    good = cms.Signer(identity=pki.leaf)
    second = cms.Signer(identity=other, break_value=True)
    listed = (*pki.chain, other.certificate)
    two = pe.signed(whole, cms.sign(content, good, second, certificates=listed))
    yield case(
        "second-signer-broken",
        7,
        "two SignerInfos, one of them broken",
        two,
        REJECTED,
        "signature-mismatch",
        clause="Authenticode PE, SignerInfos",
    )
    plain = cms.sign(der.octet_string(content), good, content_type=cms.DATA, certificates=pki.chain)
    yield case(
        "content-is-plain-data",
        7,
        "a SignedData over something else",
        pe.signed(whole, plain),
        REJECTED,
        "malformed",
        clause="Authenticode PE, ContentInfo",
    )
    by_key = signed_image(signer={"key_identifier": True})
    yield case(
        "signer-by-key-identifier",
        7,
        "a signer named by key identifier",
        by_key,
        ACCEPTED,
        clause="RFC 5652 5.3",
    )


def _consistency() -> Iterator[Case]:
    clause = "Authenticode PE, DigestAlgorithm: the same three times"
    whole = pe.image()
    variants: dict[str, dict[str, Any]] = {
        "digest-list-differs-from-signer": {"digests": ("sha512",)},
        "digest-list-empty": {"digests": ()},
        "signer-digest-differs-from-content": {"content": {"digest": "sha512"}},
        "content-digest-weaker-than-signer": {"content": {"digest": "sha1"}},
    }
    for id_, arguments in variants.items():
        data = signed_image(whole, **arguments)
        yield case(
            id_, 8, id_.replace("-", " "), data, REJECTED, "algorithm-inconsistent", clause=clause
        )


def _nested() -> Iterator[Case]:
    whole, clause = pe.image(), "Authenticode, nested signature 1.3.6.1.4.1.311.2.4.1"
    good = sign_image(whole)
    sha1: dict[str, Any] = {"digest": "sha1"}

    def outer(*inner: bytes, **signer: Any) -> bytes:
        return signed_image(whole, signer={**signer, "unsigned": (cms.nested(*inner),)})

    stranger = stranger_pki()
    untrusted = sign_image(whole, stranger, signer={"digest": "sha256"})
    accepted = {
        "nested-both-good": outer(good),
        "nested-twice": outer(good, sign_image(whole, signer={"digest": "sha384"})),
        "nested-sha256-inside-sha1": outer(good, **sha1),
        "nested-sha1-inside-sha256": outer(sign_image(whole, signer=sha1)),
        "nested-weaker-one-untrusted": outer(untrusted, digest="sha384"),
    }
    for id_, data in accepted.items():
        yield case(id_, 9, id_.replace("-", " "), data, ACCEPTED, clause=clause)
    broken = sign_image(whole, signer={"break_value": True})
    other = sign_image(pe.image(code=b"\xcc"))
    rejected = {
        "nested-one-broken": (outer(broken), "signature-mismatch"),
        "nested-outer-broken": (outer(good, break_value=True), "signature-mismatch"),
        "nested-of-another-file": (outer(other), "digest-mismatch"),
        "nested-is-garbage": (outer(der.octet_string(b"garbage")), "malformed"),
        "nested-strongest-untrusted": (outer(untrusted, **sha1), "no-path"),
    }
    for id_, (data, cause) in rejected.items():
        yield case(id_, 9, id_.replace("-", " "), data, REJECTED, cause, clause=clause)
    one_broken, one_untrusted = outer(broken), outer(untrusted)
    yield case(
        "nested-one-broken-policy-any",
        9,
        "policy any: one good signature is enough",
        one_broken,
        ACCEPTED,
        clause=clause,
        options=("signatures=any",),
    )
    yield case(
        "nested-one-untrusted-policy-all",
        9,
        "policy all: every signature must be trusted",
        one_untrusted,
        REJECTED,
        "no-path",
        clause=clause,
        options=("signatures=all",),
    )
    deep = good
    for _ in range(12):
        deep = sign_image(whole, signer={"unsigned": (cms.nested(deep),)})
    yield case(
        "nested-too-deep",
        55,
        "signatures nested twelve deep",
        pe.signed(whole, deep),
        REJECTED,
        "limit-exceeded",
        clause="bounded depth",
    )


def _tolerated() -> Iterator[Case]:
    pki = default_pki()
    attribute_certificate = cms.attribute_certificate()
    accepted: dict[str, dict[str, Any]] = {
        "ber-indefinite-length": {"indefinite": True},
        "ber-constructed-octet-string": {"signer": {"chop_value": True}},
        "unsorted-signed-attributes": {"signer": {"sort": False}},
        "unsorted-certificates": {"certificates": tuple(reversed(pki.chain)), "sort_sets": False},
        "root-embedded-too": {"certificates": (*pki.chain, pki.root.certificate)},
        "attribute-certificate-in-set": {"certificates": (*pki.chain, attribute_certificate)},
        "certificates-twice": {"certificates": (*pki.chain, *pki.chain)},
        "whole-signature-algorithm": {"signer": {"whole_algorithm": True}},
    }
    for id_, arguments in accepted.items():
        data = signed_image(**arguments)
        yield case(id_, 54, id_.replace("-", " "), data, ACCEPTED, clause="X.690 8.1, RFC 5652 5.1")
    inside = signed_image(trailing_inside=der.octet_string(b"more"))
    yield case(
        "field-after-signer-infos",
        54,
        "a field too many in SignedData",
        inside,
        REJECTED,
        "malformed",
        clause="RFC 5652 5.1",
    )
    yield from _malformed_certificates()
    yield from _bombs()


def _malformed_certificates() -> Iterator[Case]:
    pki = default_pki()
    garbage = signed_image(certificates=(*pki.chain, der.sequence(der.integer(1))))
    yield case(
        "unrelated-certificate-is-garbage",
        54,
        "an unused certificate that is none",
        garbage,
        ACCEPTED,
        clause="RFC 5652 5.1: certificates may be more than needed",
    )
    modulus = (1 << 2047) | 1
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
    negative = der.encode(der.INTEGER, modulus.to_bytes(256, "big"))
    huge = der.encode(der.INTEGER, b"\1" + bytes(70000))
    for id_, number, cause in (
        ("negative-modulus", negative, "certificate-malformed"),
        ("huge-modulus", huge, "certificate-malformed"),
    ):
        spki = der.sequence(algorithm, der.bit_string(der.sequence(number, der.integer(65537))))
        leaf = issue(
            "Odd Key",
            issuer=pki.intermediate,
            spki=spki,
            identifiers=False,
            subject_key=key("rsa2048", "odd"),
        )
        listed = (leaf.certificate, pki.intermediate.certificate)
        data = signed_image(signer={"identity": leaf}, certificates=listed)
        yield case(
            id_,
            54,
            f"a signer's key with a {id_.replace('-', ' ')}",
            data,
            REJECTED,
            cause,
            clause="RFC 8017 3.1, X.690 8.3",
        )


def _bombs() -> Iterator[Case]:
    whole, pki = pe.image(), default_pki()
    deep = b"\5\0"
    for _ in range(3000):
        deep = der.sequence(deep)
    attribute = cms.attribute("1.2.3.4.5", deep)
    data = signed_image(whole, signer={"unsigned": (lambda _value: attribute,)})
    yield case(
        "unsigned-attribute-nested-3000-deep",
        55,
        "nesting without end in an attribute",
        data,
        ACCEPTED,
        findings=("unauthenticated-data",),
        clause="bounded depth",
    )
    open_ended = pe.embed(whole, pe.win_certificate(b"\x30\x80" * 5000))
    yield case(
        "indefinite-length-nested-5000-deep",
        55,
        "indefinite lengths without end",
        open_ended,
        REJECTED,
        "limit-exceeded",
        clause="bounded depth",
    )
    many = signed_image(whole, certificates=(pki.intermediate.certificate,) * 3000 + pki.chain)
    yield case(
        "three-thousand-certificates",
        55,
        "certificates beyond any use",
        many,
        REJECTED,
        "limit-exceeded",
        clause="bounded counts",
    )
    crowd = cms.sign(
        pe.content(whole), *[cms.Signer(identity=pki.leaf)] * 300, certificates=pki.chain
    )
    yield case(
        "three-hundred-signers",
        55,
        "signers beyond any use",
        pe.signed(whole, crowd),
        REJECTED,
        "limit-exceeded",
        clause="bounded counts",
    )
