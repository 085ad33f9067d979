"""Octets that a signing service is asked to sign: whether they are what the order says.

The service never sees the file, and what it signs could be anything: a certificate, a
timestamp, an answer about revocation.  Of the formats in the table it makes sure; for others it
refuses signed attributes about something that is no file, and a DER SEQUENCE, which is what is
signed of certificates, requests for them, CRLs and OCSP answers.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from signward.errors import AuthorityError, BadInputError
from signward.state import Algorithm
from signward.wire import der

_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_TRUST_LIST = "1.3.6.1.4.1.311.10.1"
_DATA = "1.2.840.113549.1.7.1"
_XML = "a SignedInfo element"
_SEQUENCE = "a DER SEQUENCE"

EXPECTED = {
    "pe": _INDIRECT_DATA, "cab": _INDIRECT_DATA, "msi": _INDIRECT_DATA, "msix": _INDIRECT_DATA,
    "script": _INDIRECT_DATA, "catalog": _TRUST_LIST, "nupkg": _DATA, "detached": _DATA,
    "clickonce": _XML, "vsix": _XML,
}  # fmt: skip
"""Format to the content type of its signed attributes, or the element, that keys sign for it."""

_FILE_CONTENT = frozenset(EXPECTED.values())
"""What may be signed for a format that is not in the table."""

_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_DIGEST_LENGTHS = (32, 48, 64)


class Octets(NamedTuple):
    """What octets show of themselves: their kind (a content type, an element), and a digest."""

    kind: str
    digest: bytes = b""


def read_octets(data: bytes) -> Octets:
    """Return what the octets are; an empty kind for those we do not know.

    Raises ``MalformedError`` for signed attributes that break their encoding (RFC 5652 5.3).
    """
    if data.startswith(b"<SignedInfo") and data.endswith(b"</SignedInfo>"):
        return Octets(_XML)
    if data[:1] != bytes([der.SET]):
        return Octets(_SEQUENCE if _is_sequence(data) else "")
    found: dict[str, der.Node] = {}
    for attribute in der.parse(data, "signed attributes").children():
        name, values = attribute.fields("signed attribute", 2)
        if len(values.children()) == 1:
            found[name.oid("signed attribute")] = values.children()[0]
    if _CONTENT_TYPE not in found or _MESSAGE_DIGEST not in found:
        return Octets("")
    kind = found[_CONTENT_TYPE].oid("contentType")
    return Octets(kind, found[_MESSAGE_DIGEST].octets("messageDigest"))


def _is_sequence(data: bytes) -> bool:
    try:
        return der.parse(data, "octets").tag == der.SEQUENCE
    except BadInputError:
        return False


def check_octets(form: str, data: bytes, algorithm: Algorithm) -> None:
    """Raise ``AuthorityError`` for octets that are not what signing a ``form`` takes."""
    try:
        octets = read_octets(data)
    except BadInputError as error:
        raise AuthorityError("data", str(error), f"what is signed in format {form}") from None
    expected = EXPECTED.get(form)
    if octets.kind != expected if expected else octets.kind and octets.kind not in _FILE_CONTENT:
        raise AuthorityError(
            "data", octets.kind or "octets of another kind",
            f"{expected or 'what is signed in a file'} (format {form})",
        )  # fmt: skip
    if octets.digest and len(octets.digest) not in _lengths(algorithm):
        found = f"a messageDigest of {len(octets.digest)} octets"
        raise AuthorityError("data", found, f"one that {algorithm} goes with", "RFC 5652 5.4")


def _lengths(algorithm: Algorithm) -> tuple[int, ...]:
    """Return the lengths of digests that an algorithm's values are made over."""
    if not algorithm.digest:
        return _DIGEST_LENGTHS
    return (hashlib.new(algorithm.digest, usedforsecurity=False).digest_size,)
