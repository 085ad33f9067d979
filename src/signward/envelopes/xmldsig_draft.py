"""XML Signature (XMLDSig 1.1): writing.

A draft is a Signature element but for its value.  Text is written without white space
between elements, and so that it stands in any document: namespaces are declared where they
are used.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from signward.envelopes import Signer
from signward.envelopes.xmldsig import (
    DIGEST_URIS,
    DSIG,
    DSIG11,
    MICROSOFT_DIGESTS,
    MICROSOFT_SIGNATURES,
    SIGNATURE_URIS,
    ds,
)
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature
from signward.wire import spki, xmltree
from signward.wire.certificate import outline
from signward.wire.xmlspans import escaped, spans

_MICROSOFT_NAMES = {algorithm: uri for uri, algorithm in MICROSOFT_SIGNATURES.items()}
_MICROSOFT_DIGESTS = {name: uri for uri, name in MICROSOFT_DIGESTS.items()}


class XmlDraft(Frozen, frozen=True, kw_only=True):
    """A Signature that lacks its value (an ``envelopes.Draft``).

    ``opening`` is what stands in front of the SignatureValue, ``closing`` what stands behind
    it.  ``token`` is what goes around a timestamp token in base64; empty where the signature
    has no place for one: tokens are then left out.
    """

    to_be_signed: bytes
    algorithm: Algorithm
    opening: str
    closing: str
    token: tuple[str, str] | None = None
    half: int = 0

    def stamped(self, value: bytes) -> bytes | None:
        """Return the octets of SignatureValue, which a timestamp speaks for; None without place."""
        return None if self.token is None else self._written(value)

    def _written(self, value: bytes) -> bytes:
        return spki.ecdsa_raw(value, self.half) if self.half else value

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the Signature element in UTF-8; ECDSA values become ``r || s``."""
        value = self._written(value)
        stamps = ""
        if self.token is not None:
            before, behind = self.token
            stamps = "".join(f"{before}{encoded(token)}{behind}" for token in tokens)
        text = f"{self.opening}<SignatureValue>{encoded(value)}</SignatureValue>{self.closing}"
        return f"{text}{stamps}</Signature>".encode()


def written_value(claimed: ClaimedSignature) -> bytes:
    """Return a signature's value as SignatureValue holds it: ECDSA's as ``r || s``.

    Raises ``NotSignableError`` where the signer's certificate is not there to tell the curve.
    """
    if claimed.algorithm.scheme != "ecdsa":
        return claimed.value
    for certificate in claimed.claimed_certificates:
        seen, named = outline(certificate), claimed.claimed_signer
        if (seen.issuer, seen.serial) == (named.issuer, named.serial):
            return spki.ecdsa_raw(claimed.value, spki.CURVE_SIZES[spki.curve(seen.spki)])
    raise NotSignableError("XML signature", "no certificate of its signer", "it")


def with_token(envelope: bytes, identifier: str, form: tuple[str, str], token: bytes) -> bytes:
    """Return an envelope with a token at the end of one of its Signatures (by Id; empty: the root).

    ``form`` is what goes around the token in base64.
    """
    tree = xmltree.parse(envelope, "signature")
    every = list(tree.getroot().iter("*"))
    for element, span in zip(every, spans(envelope), strict=True):
        if element.tag == ds("Signature") and element.get("Id", "") == identifier:
            added = f"{form[0]}{encoded(token)}{form[1]}".encode()
            return envelope[: span.close] + added + envelope[span.close :]
    raise NotSignableError("XML signature", f"no Signature {identifier!r}", "one")


def draft(
    signer: Signer,
    reference: str,
    *,
    method: str,
    key_info: str,
    identifier: str = "",
    objects: str = "",
    microsoft: bool = False,
    token: tuple[str, str] | None = None,
) -> XmlDraft:
    """Return the draft of a Signature over ``reference`` (see `reference`).

    ``method`` is the URI of SignedInfo's canonicalization; ``microsoft`` asks for the names
    that ClickOnce's tools write.  Raises ``NotSignableError``.
    """
    uri = _signature_uri(signer.algorithm, microsoft=microsoft)
    signed_info = (
        f'<SignedInfo><CanonicalizationMethod Algorithm="{method}"/>'
        f'<SignatureMethod Algorithm="{uri}"/>{reference}</SignedInfo>'
    )
    named = f' Id="{identifier}"' if identifier else ""
    opening = f'<Signature{named} xmlns="{DSIG}">{signed_info}'
    tree = xmltree.parse(f"{opening}</Signature>".encode(), "signature")
    element = tree.getroot().find(ds("SignedInfo"))
    return XmlDraft(
        to_be_signed=xmltree.canonical(element, xmltree.METHODS[method], "signature"),
        algorithm=signer.algorithm,
        opening=opening,
        closing=f"{key_info}{objects}",
        token=token,
        half=_half(signer),
    )


def reference(uri: str, transforms: Sequence[str], algorithm: str, octets: bytes, *,
              microsoft: bool = False, kind: str = "") -> str:  # fmt: skip
    """Return a Reference: its URI, its transforms by URI, and the digest of what they make."""
    digest = hashlib.new(algorithm, octets, usedforsecurity=False).digest()
    typed = f' Type="{kind}"' if kind else ""
    listed = "".join(f'<Transform Algorithm="{transform}"/>' for transform in transforms)
    return (
        f'<Reference{typed} URI="{uri}">'
        + (f"<Transforms>{listed}</Transforms>" if listed else "")
        + digest_text(algorithm, digest, microsoft=microsoft)
        + "</Reference>"
    )


def digest_text(algorithm: str, digest: bytes, *, microsoft: bool = False) -> str:
    """Return DigestMethod and DigestValue.  Raises ``NotSignableError`` for a nameless digest."""
    uri = (_MICROSOFT_DIGESTS.get(algorithm) if microsoft else "") or DIGEST_URIS.get(algorithm)
    if not uri:
        raise NotSignableError("XML signature", f"digest {algorithm}",
                               f"one of {', '.join(DIGEST_URIS)}")  # fmt: skip
    return f'<DigestMethod Algorithm="{uri}"/><DigestValue>{encoded(digest)}</DigestValue>'


def _signature_uri(algorithm: Algorithm, *, microsoft: bool) -> str:
    uri = (_MICROSOFT_NAMES.get(algorithm) if microsoft else "") or SIGNATURE_URIS.get(algorithm)
    if not uri:
        raise NotSignableError("XML signature", f"algorithm {algorithm}",
                               "RSA (PKCS#1 v1.5) or ECDSA with SHA-2")  # fmt: skip
    return uri


def _half(signer: Signer) -> int:
    """Return the octets of half an ECDSA value; 0 for other algorithms."""
    if signer.algorithm.scheme != "ecdsa":
        return 0
    oid = spki.curve(outline(signer.certificates[0]).spki)
    if oid not in spki.CURVE_SIZES:
        raise NotSignableError(
            "XML signature", f"an ECDSA key on curve {oid}", "P-256, P-384, P-521"
        )
    return spki.CURVE_SIZES[oid]


def key_value(key: bytes) -> str:
    """Return the KeyValue of a SubjectPublicKeyInfo (DER)."""
    numbers = spki.rsa_numbers(key)
    if numbers is None:
        point = encoded(spki.key_bits(key))
        return (
            f'<KeyValue><ECKeyValue xmlns="{DSIG11}"><NamedCurve URI="urn:oid:{spki.curve(key)}"/>'
            f"<PublicKey>{point}</PublicKey></ECKeyValue></KeyValue>"
        )
    modulus, exponent = (
        encoded(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in numbers
    )
    return (
        f"<KeyValue><RSAKeyValue><Modulus>{modulus}</Modulus><Exponent>{exponent}</Exponent>"
        "</RSAKeyValue></KeyValue>"
    )


def x509_data(certificates: Sequence[bytes]) -> str:
    """Return X509Data with every certificate (DER)."""
    listed = "".join(f"<X509Certificate>{encoded(c)}</X509Certificate>" for c in certificates)
    return f"<X509Data>{listed}</X509Data>"


def encoded(data: bytes) -> str:
    """Return octets in base64, in one line."""
    return base64.b64encode(data).decode()


__all__ = [
    "XmlDraft",
    "digest_text",
    "draft",
    "encoded",
    "escaped",
    "key_value",
    "reference",
    "x509_data",
]
