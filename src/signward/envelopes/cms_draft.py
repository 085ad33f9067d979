"""CMS SignedData (RFC 5652, PKCS#7 1.5): writing, in DER.

A draft is everything but the signature value.  Signing is reproducible: the same content,
signer and attributes give the same octets, and nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from signward.envelopes import Signer
from signward.envelopes.cms import (
    CONTENT_TYPE,
    DATA,
    MESSAGE_DIGEST,
    MICROSOFT_TIMESTAMP,
    NESTED_SIGNATURE,
    SIGNED_DATA,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
)
from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS, MGF1, RSA, RSA_PSS, SIGNATURE_OIDS
from signward.wire.certificate import outline


class Form(StrEnum):
    """How the content stands in the SignedData."""

    PKCS7 = "pkcs7"
    """Bare, as Authenticode keeps it from PKCS#7 1.5; its tag and length are not hashed."""

    CMS = "cms"
    """In an OCTET STRING (RFC 5652 5.2)."""

    DETACHED = "detached"
    """Not at all: the content is a file of its own."""


class CmsDraft(Frozen, frozen=True, kw_only=True):
    """A SignedData that lacks its signature value (an ``envelopes.Draft``).

    ``attributes`` are the signed attributes' contents octets in DER order; the signer's
    ``certificates`` are embedded or not.
    """

    content_type: str
    content: bytes
    form: Form
    signer: Signer
    attributes: bytes
    token_oid: str
    certificates: bool = True

    @property
    def to_be_signed(self) -> bytes:
        """The signed attributes as a SET OF (RFC 5652 5.4)."""
        return der.encode(der.SET, self.attributes)

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm the SignerInfo names."""
        return self.signer.algorithm

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the ContentInfo, with ``tokens`` as unsigned attributes."""
        unsigned = [attribute(self.token_oid, token) for token in tokens]
        return _content_info(self, signer_info(self, value, unsigned))


def draft(
    content_type: str,
    content: bytes,
    signer: Signer,
    *,
    form: Form = Form.PKCS7,
    attributes: Sequence[bytes] = (),
    token_oid: str = MICROSOFT_TIMESTAMP,
    certificates: bool = True,
) -> CmsDraft:
    """Return the draft of a signature over ``content``.

    ``content`` is one DER element for ``Form.PKCS7``, else the octets themselves.
    ``attributes`` are further signed attributes; contentType and messageDigest are added.
    The signer's path is embedded unless ``certificates`` is false.
    """
    hashed = der.parse(content, "content").content if form is Form.PKCS7 else content
    digest = hashlib.new(signer.digest, hashed, usedforsecurity=False).digest()
    own = (
        _content_type(content_type),
        attribute(MESSAGE_DIGEST, der.octet_string(digest)),
    )
    return CmsDraft(
        content_type=content_type,
        content=content,
        form=form,
        signer=signer,
        attributes=b"".join(sorted((*own, *attributes))),
        token_oid=token_oid,
        certificates=certificates,
    )


def attribute(oid: str, *values: bytes) -> bytes:
    """Return one Attribute (RFC 5652 5.3) of DER values."""
    return der.sequence(der.oid(oid), der.set_of(*values))


@lru_cache(maxsize=64)
def _content_type(oid: str) -> bytes:
    return attribute(CONTENT_TYPE, der.oid(oid))


def signing_time(instant: datetime) -> bytes:
    """Return the signingTime attribute (RFC 5652 11.3): a claim, in whole seconds UTC."""
    return attribute(SIGNING_TIME, der.utc_time(instant))


def signing_certificate(path: Sequence[bytes], digest: str = "sha256") -> bytes:
    """Return the signingCertificateV2 attribute (RFC 5035 3) naming each certificate of ``path``.

    SHA-256 is the default hash algorithm and therefore left out (DER).
    """
    named = b"" if digest == "sha256" else digest_algorithm(digest)
    ids = [
        der.sequence(
            named,
            der.octet_string(hashlib.new(digest, certificate, usedforsecurity=False).digest()),
            der.sequence(der.sequence(der.context(4, outline(certificate).issuer)),
                         der.integer(outline(certificate).serial)),
        )
        for certificate in path
    ]  # fmt: skip
    return attribute(SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(*ids)))


@lru_cache(maxsize=16)
def digest_algorithm(digest: str) -> bytes:
    """Return a digest's AlgorithmIdentifier, with NULL parameters as Authenticode writes them."""
    return der.sequence(der.oid(DIGEST_OIDS[digest]), der.null())


@lru_cache(maxsize=64)
def signature_algorithm(algorithm: Algorithm) -> bytes:
    """Return a signature's AlgorithmIdentifier.

    RSA PKCS#1 v1.5 is named by the key alone (RFC 3370 3.2), which every reader accepts.
    """
    if algorithm.scheme == "rsa-pkcs1v15":
        return der.sequence(der.oid(RSA), der.null())
    if algorithm.scheme == "rsa-pss":
        return der.sequence(der.oid(RSA_PSS), _pss_parameters(algorithm))
    return der.sequence(der.oid(SIGNATURE_OIDS[algorithm.scheme, algorithm.digest]))


def _pss_parameters(algorithm: Algorithm) -> bytes:
    """Return RSASSA-PSS-params (RFC 4055 3.1) without defaults that are meant."""
    mgf = der.sequence(der.oid(MGF1), digest_algorithm(algorithm.mgf_digest))
    return der.sequence(
        der.context(0, digest_algorithm(algorithm.digest)),
        der.context(1, mgf),
        der.context(2, der.integer(algorithm.salt_length)),
    )


def signer_info(draft: CmsDraft, value: bytes, unsigned: Sequence[bytes]) -> bytes:
    """Return the SignerInfo (RFC 5652 5.3) of a draft; ``unsigned`` are whole attributes."""
    return der.sequence(
        signer_id(draft.signer),
        digest_algorithm(draft.signer.digest),
        der.context(0, draft.attributes),
        signature_algorithm(draft.algorithm),
        der.octet_string(value),
        der.context(1, b"".join(sorted(unsigned))) if unsigned else b"",
    )


@lru_cache(maxsize=16)
def signer_id(signer: Signer) -> bytes:
    """Return a SignerInfo's version, and its IssuerAndSerialNumber."""
    leaf = outline(signer.certificates[0])
    return der.integer(1) + der.sequence(leaf.issuer, der.integer(leaf.serial))


@lru_cache(maxsize=16)
def _certificates(signer: Signer) -> bytes:
    return der.context(0, b"".join(sorted(set(signer.certificates))))


def _content_info(draft: CmsDraft, signer: bytes) -> bytes:
    """Return the whole; its version is 1 for PKCS#7 and for plain data (RFC 5652 5.1)."""
    plain = draft.form is Form.PKCS7 or draft.content_type == DATA
    signed_data = der.sequence(
        der.integer(1 if plain else 3),
        der.set_of(digest_algorithm(draft.signer.digest)),
        der.sequence(der.oid(draft.content_type), _encapsulated(draft)),
        _certificates(draft.signer) if draft.certificates else b"",
        der.set_of(signer),
    )
    return der.sequence(der.oid(SIGNED_DATA), der.context(0, signed_data))


def _encapsulated(draft: CmsDraft) -> bytes:
    if draft.form is Form.DETACHED:
        return b""
    return der.context(
        0, draft.content if draft.form is Form.PKCS7 else der.octet_string(draft.content)
    )


def with_unsigned(blob: bytes, number: int, added: bytes, nested: Sequence[int] = ()) -> bytes:
    """Return a SignedData with one more unsigned attribute on one of its signers.

    ``number`` counts SignerInfos from 0.  ``nested`` leads to the signature meant: the
    positions (from 0) of nested signatures, outermost first.  What was signed stays as it
    was, byte for byte.  Raises ``MalformedError``.
    """
    what = "signature"
    outer = der.parse(blob, what).fields(what, 2)
    signed_data = outer[1].children()[0]
    fields = signed_data.fields(what, 4)
    signers = [node.raw for node in fields[-1].fields(what, 1, der.SET)]
    if number >= len(signers):
        raise MalformedError(what, f"{len(signers)} signers", f"at least {number + 1}")
    signers[number] = changed_signer(signers[number], added, nested)
    body = b"".join(field.raw for field in fields[:-1]) + der.set_of(*signers)
    return der.sequence(outer[0].raw, der.context(0, der.sequence(body)))


def with_nested(blob: bytes, inner: bytes) -> bytes:
    """Return a signature that carries ``inner`` as its nested signature, behind any others."""
    return with_unsigned(blob, 0, attribute(NESTED_SIGNATURE, inner))


def changed_signer(raw: bytes, added: bytes, nested: Sequence[int] = ()) -> bytes:
    """Return a SignerInfo with the attribute added to it, or to a signature nested in it."""
    what = "SignerInfo"
    fields = der.parse(raw, what).fields(what, 5)
    unsigned = [n.raw for n in fields[-1].children()] if fields[-1].tag == 0xA1 else []
    kept = fields[:-1] if fields[-1].tag == 0xA1 else fields
    unsigned = _descend(unsigned, added, nested) if nested else _joined(unsigned, added)
    return der.sequence(*(field.raw for field in kept), der.context(1, b"".join(sorted(unsigned))))


def _joined(unsigned: Sequence[bytes], added: bytes) -> list[bytes]:
    """Return the attributes with one more; values of one type share an attribute.

    So Windows finds further nested signatures: as values of the one attribute.
    """
    kind, values = _parts(added)
    for index, raw in enumerate(unsigned):
        other, present = _parts(raw)
        if other == kind:
            # Not sorted: a nested signature is known by its place among the values.
            both = der.sequence(kind, der.encode(der.SET, b"".join((*present, *values))))
            return [*unsigned[:index], both, *unsigned[index + 1 :]]
    return [*unsigned, added]


def _parts(raw: bytes) -> tuple[bytes, list[bytes]]:
    what = "attribute"
    kind, values = der.parse(raw, what).fields(what, 2)[:2]
    return kind.raw, [value.raw for value in values.children()]


def _descend(unsigned: Sequence[bytes], added: bytes, nested: Sequence[int]) -> list[bytes]:
    """Return the attributes with the nested signature at ``nested[0]`` changed."""
    position, changed, found = nested[0], [], 0
    for raw in unsigned:
        kind, values = _parts(raw)
        if kind == der.oid(NESTED_SIGNATURE):
            for index in range(len(values)):
                if found + index == position:
                    values[index] = with_unsigned(values[index], 0, added, nested[1:])
            found += len(values)
        changed.append(der.sequence(kind, der.encode(der.SET, b"".join(values))))
    if position >= found:
        raise MalformedError("signature", f"{found} nested signatures", f"at least {position + 1}")
    return changed
