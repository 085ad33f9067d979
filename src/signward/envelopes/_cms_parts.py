"""CMS SignedData in parts: names, limits, and what reading one yields (RFC 5652)."""

from __future__ import annotations

from collections.abc import Mapping

from signward.frozen import Frozen
from signward.state import Algorithm, Attribute, SignerId
from signward.wire import der

MAX_SIGNERS = 16
MAX_CERTIFICATES = 256
MAX_ATTRIBUTES = 128

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
COUNTERSIGNATURE = "1.2.840.113549.1.9.6"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
OCSP_RESPONSE = "1.3.6.1.5.5.7.16.2"
MICROSOFT_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
"""szOID_RFC3161_counterSign: the token attribute of Authenticode."""

CMS_TIMESTAMP = "1.2.840.113549.1.9.16.2.14"
"""id-aa-timeStampToken (RFC 3161 appendix A): the token attribute of CMS elsewhere."""

TIMESTAMP_TOKENS = frozenset({MICROSOFT_TIMESTAMP, CMS_TIMESTAMP})

NEVER_REPEATED = (der.oid(MESSAGE_DIGEST), der.oid(SIGNING_TIME))
"""How attributes begin that no two files share: remembering them would push out the others."""

CMS_VERSIONS = frozenset({1, 3, 4, 5})
"""SignedData versions of CMS (RFC 5652 5.1); writers disagree which content asks for which."""

PKCS7_VERSIONS = frozenset({1})
"""SignedData version of PKCS#7 1.5, which Authenticode keeps whatever its content."""


class SignedData(Frozen, frozen=True, kw_only=True):
    """A SignedData (RFC 5652 5.1); ``digests`` are hashlib names, the rest raw octets."""

    digests: frozenset[str]
    content_type: str
    content: bytes
    certificates: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    ocsp: tuple[bytes, ...]
    signers: tuple[der.Node, ...]
    raw: bytes


class SignerInfo(Frozen, frozen=True, kw_only=True):
    """A SignerInfo (RFC 5652 5.3); ``signed_der`` is what was signed, a DER SET OF."""

    signer: SignerId
    digest: str
    algorithm: Algorithm
    value: bytes
    signed: tuple[Attribute, ...]
    signed_der: bytes
    unsigned: tuple[Attribute, ...]
    signed_values: Mapping[str, tuple[bytes, ...]]

    def values(self, oid: str) -> tuple[bytes, ...]:
        """Return all values of a signed attribute; none if it is absent."""
        return self.signed_values.get(oid, ())


def by_oid(attributes: tuple[Attribute, ...]) -> dict[str, tuple[bytes, ...]]:
    """Return all values by OID: an attribute may stand several times."""
    values: dict[str, tuple[bytes, ...]] = {}
    for attribute in attributes:
        values[attribute.oid] = values.get(attribute.oid, ()) + attribute.values
    return values
