"""Authenticode SignedData, written with every defect as an argument (RFC 2315, RFC 5652).

``sign`` makes the whole PKCS#7 from the signed content; unsigned attributes are functions of
the signature value, so that timestamps, nested signatures and defects compose::

    blob = sign(content, Signer(pki.leaf), certificates=pki.chain,
                unsigned=(tsa.token(pki.tsa, at=instant(2025)), nested(inner)))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from conformance.authenticode.keys import bare_algorithm, digest_algorithm, signature_algorithm
from conformance.authenticode.pki import Identity, broken
from signward.wire import der

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
SPC_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
CTL = "1.3.6.1.4.1.311.10.1"
SPC_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
SPC_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
UNAUTHENTICATED_BLOB = "1.3.6.1.4.1.42921.1.2.1"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"

Unsigned = Callable[[bytes], bytes]
"""Makes one DER Attribute from the signature value it stands beside."""


def attribute(oid: str, *values: bytes) -> bytes:
    """Return one Attribute (RFC 5652 5.3)."""
    return der.sequence(der.oid(oid), der.set_of(*values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One SignerInfo and what is wrong with it.

    ``digest`` is its digestAlgorithm; ``attribute_digest`` what the messageDigest value is
    computed with, if another; ``copies`` how often contentType and messageDigest occur.
    ``claim`` names another certificate than the one whose key signs.
    """

    identity: Identity
    digest: str = "sha256"
    pss: bool = False
    attributes: bool = True
    attribute_digest: str = ""
    content_type: str = ""
    content_type_copies: int = 1
    message_digest: bytes | None = None
    message_digest_copies: int = 1
    message_digest_values: int = 1
    signing_time: datetime | None = None
    program: str = "Conformance"
    sort: bool = True
    whole_algorithm: bool = False
    break_value: bool = False
    claim: Identity | None = None
    key_identifier: bool = False
    extra: tuple[bytes, ...] = ()
    unsigned: tuple[Unsigned, ...] = ()
    sort_unsigned: bool = True
    chop_value: bool = False


def sign(
    content: bytes,
    *signers: Signer,
    content_type: str = SPC_INDIRECT_DATA,
    certificates: Sequence[bytes] = (),
    certificates_raw: bytes | None = None,
    crls: Sequence[bytes] = (),
    digests: Sequence[str] | None = None,
    sort_sets: bool = True,
    octets: bool = False,
    version: int = 1,
    indefinite: bool = False,
    trailing: bytes = b"",
    trailing_inside: bytes = b"",
) -> bytes:
    """Return a ContentInfo holding SignedData over ``content`` (one DER element).

    ``digests`` is the digestAlgorithms SET, if it is to differ from the signers';
    ``octets`` wraps the content in an OCTET STRING (CMS) instead of standing bare (PKCS#7);
    ``indefinite`` writes every outer length as BER end-of-contents; ``trailing`` follows the
    whole, ``trailing_inside`` follows the SignerInfos inside the SignedData.
    """
    hashed = content if octets else der.parse(content, "content").content
    infos = [signer_info(hashed, one, content_type) for one in signers]
    names = digests if digests is not None else sorted({one.digest for one in signers})
    join = der.set_of if sort_sets else _set_as_given
    body = der.octet_string(content) if octets else content
    listed = certificates_raw if certificates_raw is not None else _as_set(certificates, sort_sets)
    encapsulated = (der.oid(content_type), _context(0, body, indefinite))
    parts = (
        der.integer(version),
        join(*map(digest_algorithm, names)),
        _sequence(encapsulated, indefinite),
        _context(0, listed, indefinite) if listed else b"",
        der.context(1, b"".join(crls)) if crls else b"",
        join(*infos),
        trailing_inside,
    )
    signed_data = _sequence(parts, indefinite)
    whole = _sequence((der.oid(SIGNED_DATA), _context(0, signed_data, indefinite)), indefinite)
    return whole + trailing


def _as_set(certificates: Sequence[bytes], sort: bool) -> bytes:  # noqa: FBT001
    return b"".join(sorted(certificates) if sort else certificates)


def _set_as_given(*parts: bytes) -> bytes:
    return der.encode(der.SET, b"".join(sorted(parts, reverse=True)))


def indefinite_length(tag: int, content: bytes) -> bytes:
    """Return a constructed element of indefinite length (X.690 8.1.3.6)."""
    return bytes((tag, 0x80)) + content + b"\0\0"


def _sequence(parts: Sequence[bytes], indefinite: bool) -> bytes:  # noqa: FBT001
    content = b"".join(parts)
    return indefinite_length(der.SEQUENCE, content) if indefinite else der.sequence(content)


def _context(number: int, content: bytes, indefinite: bool) -> bytes:  # noqa: FBT001
    return indefinite_length(0xA0 | number, content) if indefinite else der.context(number, content)


def chopped(content: bytes, size: int = 100) -> bytes:
    """Return a constructed OCTET STRING of segments of ``size`` octets (X.690 8.7.3)."""
    segments = (der.octet_string(content[i : i + size]) for i in range(0, len(content), size))
    return indefinite_length(0x24, b"".join(segments))


def signer_info(hashed: bytes, signer: Signer, content_type: str) -> bytes:
    """Return one SignerInfo over the content octets ``hashed`` (RFC 5652 5.3)."""
    attributes = signed_attributes(hashed, signer, content_type) if signer.attributes else b""
    to_be_signed = der.encode(der.SET, attributes) if signer.attributes else hashed
    value = signer.identity.key.sign(to_be_signed, signer.digest, pss=signer.pss)
    if signer.break_value:
        value = broken(value)
    unsigned = [make(value) for make in signer.unsigned]
    if signer.sort_unsigned:
        unsigned.sort()
    claimed = signer.claim or signer.identity
    whole = signer.pss or signer.whole_algorithm or signer.identity.key.family != "rsa"
    key = signer.identity.key
    named = (
        signature_algorithm(key, signer.digest, pss=signer.pss) if whole else bare_algorithm(key)
    )
    return der.sequence(
        der.integer(3 if signer.key_identifier else 1),
        _signer_id(claimed, by_key=signer.key_identifier),
        digest_algorithm(signer.digest),
        der.context(0, attributes) if signer.attributes else b"",
        named,
        chopped(value) if signer.chop_value else der.octet_string(value),
        der.context(1, b"".join(unsigned)) if unsigned else b"",
    )


def _signer_id(claimed: Identity, *, by_key: bool) -> bytes:
    if by_key:
        return der.context(0, claimed.key_identifier, constructed=False)
    return der.sequence(claimed.issuer_subject, der.integer(claimed.serial))


def signed_attributes(hashed: bytes, signer: Signer, content_type: str) -> bytes:
    """Return the contents octets of the SET of signed attributes."""
    digest = signer.message_digest
    if digest is None:
        digest = hashlib.new(signer.attribute_digest or signer.digest, hashed).digest()
    values = [der.octet_string(digest)] * signer.message_digest_values
    message_digest = der.sequence(der.oid(MESSAGE_DIGEST), der.encode(der.SET, b"".join(values)))
    kind = attribute(CONTENT_TYPE, der.oid(signer.content_type or content_type))
    listed = [kind] * signer.content_type_copies
    listed += [message_digest] * signer.message_digest_copies
    if content_type == SPC_INDIRECT_DATA:
        listed += [_opus_info(signer.program), _statement_type()]
    if signer.signing_time:
        listed.append(attribute(SIGNING_TIME, der.utc_time(signer.signing_time)))
    listed += signer.extra
    return b"".join(sorted(listed) if signer.sort else sorted(listed, reverse=True))


def _opus_info(program: str) -> bytes:
    """SpcSpOpusInfo: the program's name as a [0] BMPString inside SpcString."""
    text = der.context(0, program.encode("utf-16-be"), constructed=False)
    return attribute(SPC_OPUS_INFO, der.sequence(der.context(0, text)))


def _statement_type() -> bytes:
    return attribute(SPC_STATEMENT_TYPE, der.sequence(der.oid("1.3.6.1.4.1.311.2.1.21")))


def nested(*signatures: bytes) -> Unsigned:
    """Return an unsigned attribute holding further whole signatures."""
    return lambda _value: attribute(NESTED_SIGNATURE, *signatures)


def blob(content: bytes = b"unauthenticated ") -> Unsigned:
    """Return an unsigned attribute that holds data nobody signed."""
    return lambda _value: attribute(UNAUTHENTICATED_BLOB, der.octet_string(content * 64))


def indirect_data(kind: str, value: bytes, digest: str, octets: bytes) -> bytes:
    """Return SpcIndirectDataContent: what was digested, how, and the digest."""
    data = der.sequence(der.oid(kind), value)
    return der.sequence(data, der.sequence(digest_algorithm(digest), der.octet_string(octets)))


def with_unsigned(signer: Signer, *more: Unsigned) -> Signer:
    """Return the signer with further unsigned attributes."""
    return replace(signer, unsigned=(*signer.unsigned, *more))


def attribute_certificate() -> bytes:
    """Return a v2 attribute certificate as Microsoft's tokens carry them (RFC 5652 10.2.2).

    Its contents are the fewest that RFC 5755 4.1 allows; nobody's signature is in it.
    """
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())
    holder = der.sequence(der.context(1, der.context(4, der.sequence())))
    issuer = der.context(0, der.sequence(der.context(4, der.sequence())))
    validity = der.sequence(
        der.encode(der.GENERALIZED_TIME, b"20240101000000Z"),
        der.encode(der.GENERALIZED_TIME, b"20340101000000Z"),
    )
    info = der.sequence(
        der.integer(1), holder, issuer, algorithm, der.integer(7), validity, der.sequence()
    )
    body = info + algorithm + der.bit_string(bytes(64))
    return der.context(2, body)
