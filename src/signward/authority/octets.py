"""Octets that a signing service is asked to sign: whether they are what the order says.

The service never sees the file, and what it signs could be anything: a certificate, a
timestamp, an answer about revocation.  Of the formats in the table it makes sure; for others it
refuses signed attributes about something that is no file or that two readers could take for two
things, and what begins as a SEQUENCE, which is what is signed of certificates, requests for them,
CRLs and OCSP answers.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from signward.errors import AuthorityError, BadInputError, MalformedError
from signward.state import Algorithm
from signward.wire import der

_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_TRUST_LIST = "1.3.6.1.4.1.311.10.1"
_DATA = "1.2.840.113549.1.7.1"
_XML = "a SignedInfo element"
_SEQUENCE = "a SEQUENCE"
_UNCLEAR = "attributes of no one content type and messageDigest"

_OWN = "octets of the format's own"

EXPECTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("pe", "cab", "msi", "msix", "script"), (_INDIRECT_DATA,)),
    **dict.fromkeys(("nupkg", "detached", "jar", "vib", "macho", "dmg", "git-object"), (_DATA,)),
    **dict.fromkeys(("elf", "kernel-module", "efi-variable", "swi"), (_OWN,)),
    **dict.fromkeys(("rpm", "deb", "clearsigned", "sshsig"), (_OWN,)),
    **dict.fromkeys(("pkg", "apk"), (_DATA, _OWN)),
    "catalog": (_TRUST_LIST,),
    **dict.fromkeys(("clickonce", "vsix"), (_XML,)),
}
"""Format to the content types of its signed attributes, or the element, that keys sign for it."""

_STARTS = {"elf": b"\x7fELF", "kernel-module": b"\x7fELF",
           "sshsig": b"SSHSIG", "swi": b"PK\x03\x04"}  # fmt: skip
"""How a format's own octets begin, where they do so alike: these are the file itself, but SSH's."""

_FILE_CONTENT = frozenset(itertools.chain(*EXPECTED.values()))
"""What may be signed for a format that is not in the table."""

_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_WHAT = "signed attributes"
_DIGEST_LENGTHS = (32, 48, 64)


class Octets(NamedTuple):
    """What octets show of themselves: their kind (a content type, an element), and a digest."""

    kind: str
    digest: bytes = b""


def read_octets(data: bytes) -> Octets:
    """Return what the octets are.

    Raises ``MalformedError`` for signed attributes that break their encoding (RFC 5652 5.3).
    """
    if data.startswith(b"<SignedInfo") and data.endswith(b"</SignedInfo>"):
        return Octets(_XML)
    if data[:1] != bytes([der.SET]):
        return Octets(_SEQUENCE if data[:1] == bytes([der.SEQUENCE]) else _OWN)
    found = _attributes(data)
    kinds, digests = found.get(_CONTENT_TYPE, ()), found.get(_MESSAGE_DIGEST, ())
    if len(kinds) != 1 or len(digests) != 1:
        return Octets(_UNCLEAR)
    return Octets(kinds[0].oid("contentType"), digests[0].octets("messageDigest"))


def _attributes(data: bytes) -> dict[str, Sequence[der.Node]]:
    """Return the values of each signed attribute.

    Raises ``MalformedError`` where one stands twice, for readers differ about which counts, and
    for what is not in DER (RFC 5652 5.3, 5.4).
    """
    attributes = der.parse(data, _WHAT).children()
    found: dict[str, Sequence[der.Node]] = {}
    for attribute in attributes:
        name, values = attribute.fields("signed attribute", 2)
        oid = name.oid(_WHAT)
        if oid in found:
            raise MalformedError(_WHAT, f"{oid} twice", "each once", "RFC 5652 5.3")
        found[oid] = values.children()
    if der.set_of(*(one.raw for one in attributes)) != data:
        raise MalformedError(_WHAT, "another encoding", "DER", "RFC 5652 5.4")
    return found


def check_octets(form: str, data: bytes, algorithm: Algorithm) -> None:
    """Raise ``AuthorityError`` for octets that are not what signing a ``form`` takes."""
    try:
        octets = read_octets(data)
    except BadInputError as error:
        raise AuthorityError("data", str(error), f"what is signed in format {form}") from None
    expected = EXPECTED.get(form, ())
    if octets.kind not in (expected or _FILE_CONTENT) or not data.startswith(
        _STARTS.get(form, b"")
    ):
        named = " or ".join(expected) or "what is signed in a file"
        raise AuthorityError("data", octets.kind, f"{named} (format {form})")
    if octets.digest and len(octets.digest) not in _lengths(algorithm):
        found = f"a messageDigest of {len(octets.digest)} octets"
        raise AuthorityError("data", found, f"one that {algorithm} goes with", "RFC 5652 5.4")


def _lengths(algorithm: Algorithm) -> tuple[int, ...]:
    """Return the lengths of digests that an algorithm's values are made over."""
    if not algorithm.digest:
        return _DIGEST_LENGTHS
    return (hashlib.new(algorithm.digest, usedforsecurity=False).digest_size,)
