"""The signature member of Arista's images: lines of text that a ZIP reader takes for zeros.

Arista specifies it by its published tool (swi-tools 1.2, ``swisignature.py``): the lines
``HashAlgorithm``, ``IssuerCert`` (Base64 of a PEM file), ``Signature`` (Base64), ``Version``,
``Padding`` (asterisks), and ``CRCPadding``: four octets, behind which nothing stands.  These
give the member the CRC-32 of as many zeros, which are what is signed in its place.

That tool takes the lines in any order, the last of two, and whatever stands between them.  Here
they stand as it writes them: nothing signs them, so nothing else may hide there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Sequence

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, SignerId
from signward.wire.certificate import outline
from signward.wire.spki import claimed_algorithm

CLAUSE = "swi-tools 1.2, swisignature.py"

DIGEST = "sha256"
"""The one digest there is; the member calls it ``SHA-256``."""

ROOM = 8192
"""Octets of a signature member as Arista's tool makes it; larger ones are multiples of it."""

MAX_ROOM = 1024 * 1024
"""Largest member read: a hundred certificates."""

MAX_CERTIFICATES = 16
"""Certificates read in one member; Arista's tool writes and reads one."""

_MOST_VALUE = 1024
"""Octets of the longest signature value, of RSA with 8192 bits."""

_SCHEMES = ("rsa-pkcs1v15", "ecdsa")
_POLYNOMIAL = 0xEDB88320
"""CRC-32's, bits reversed (PKWARE APPNOTE 4.4.7)."""

_LINES = re.compile(
    rb"HashAlgorithm:([ -~]*)\nIssuerCert:([A-Za-z0-9+/=]*)\nSignature:([A-Za-z0-9+/=]*)\n"
    rb"Version:([ -~]*)\nPadding:\**\nCRCPadding:.{4}\Z",
    re.DOTALL,
)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_COLUMNS = 64
_WHAT = "signature member"


class Text(Frozen, frozen=True, kw_only=True):
    """What a member says: certificates in DER, the first the signer's own.

    ``around`` are the octets of text around them, which nothing signs and Arista's tool lets be.
    """

    digest: str
    version: str
    certificates: tuple[bytes, ...]
    value: bytes
    around: int = 0

    @property
    def is_known(self) -> bool:
        """Say whether it is of the one version and digest that are published."""
        return (self.digest, self.version) == ("SHA-256", "1")


def is_room(data: bytes) -> bool:
    """Say whether a member is room for a signature that was never made."""
    return not any(data)


def read_text(data: bytes) -> Text:
    """Return what a signature member says.  Raises ``MalformedError`` and ``LimitError``."""
    lines = _LINES.match(data)
    if lines is None:
        raise MalformedError(_WHAT, "other lines", "those that Arista's tool writes", CLAUSE)
    pem = _base64(lines[2], "IssuerCert")
    return Text(
        digest=lines[1].decode("ascii"),
        version=lines[4].decode("ascii"),
        certificates=_certificates(pem),
        value=_base64(lines[3], "Signature"),
        around=len(_BLOCK.sub(b"", pem).strip()),
    )


def claim(text: Text, slot: str, raw: bytes) -> ClaimedSignature:
    """Return what is claimed: the value is over the digest of ``slot``, by the first certificate.

    The scheme is that of its key; keys of other kinds are known by no name here.
    Raises ``BadInputError`` for a certificate that cannot be read.
    """
    own = text.certificates[0]
    seen = outline(own)
    usual = claimed_algorithm(seen.spki)
    scheme = usual.scheme if usual and usual.scheme in _SCHEMES else "unknown"
    return ClaimedSignature(
        label="1",
        envelope="swi-signature",
        slots=(),
        bindings=(),
        algorithm=Algorithm(scheme=scheme, digest=DIGEST),
        to_be_verified=b"",
        value=text.value,
        claimed_signer=SignerId(issuer=seen.issuer, serial=seen.serial),
        claimed_certificates=text.certificates,
        claimed_certificate_digests=(("sha256", hashlib.sha256(own).digest()),),
        over=slot,
        raw=raw,
    )


def room_for(certificates: Sequence[bytes]) -> int:
    """Return how many octets a member with these certificates (DER) needs at most.

    Raises ``NotSignableError`` for more than anybody reads.
    """
    least = len(_written(certificates, bytes(_MOST_VALUE)))
    room = -(-(least + 16) // ROOM) * ROOM
    if room > MAX_ROOM or len(certificates) > MAX_CERTIFICATES:
        raise NotSignableError(_WHAT, f"{len(certificates)} certificates, {least} octets",
                               f"at most {MAX_CERTIFICATES} and {MAX_ROOM}")  # fmt: skip
    return room


class SwiDraft(Frozen, frozen=True, kw_only=True):
    """A member that lacks its value (an ``envelopes.Draft``); ``room`` is its length in octets."""

    certificates: tuple[bytes, ...]
    room: int
    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the member; there is no place for tokens.

        Raises ``NotSignableError`` for a value that there is no room for.
        """
        lines, last = _written(self.certificates, value) + b"Padding:", b"\nCRCPadding:"
        filling = self.room - len(lines) - len(last) - 4
        if filling < 0:
            raise NotSignableError(_WHAT, f"a value of {len(value)} octets", "a shorter one")
        return with_crc(lines + b"*" * filling + last, zlib.crc32(bytes(self.room)))

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def drafted(
    certificates: tuple[bytes, ...], room: int, signed: bytes, algorithm: Algorithm
) -> SwiDraft:
    """Return the draft over octets, or their digest, as ``algorithm`` says.

    Raises ``NotSignableError`` for a key or a digest that the member has no name for.
    """
    if algorithm.scheme not in _SCHEMES:
        raise NotSignableError(_WHAT, f"a key for {algorithm}", "an RSA or ECDSA key")
    if algorithm.digest != DIGEST:
        raise NotSignableError(_WHAT, f"digest {algorithm.digest}", DIGEST)
    return SwiDraft(certificates=certificates, room=room, to_be_signed=signed, algorithm=algorithm)


def with_crc(data: bytes, wanted: int) -> bytes:
    """Return ``data`` and four octets behind it, such that the CRC-32 of both is ``wanted``."""
    register = wanted ^ 0xFFFFFFFF
    for _ in range(32):  # back through four octets of zeros, bit by bit
        carry = register >> 31
        register = ((register ^ (_POLYNOMIAL * carry)) << 1 & 0xFFFFFFFF) | carry
    return data + (register ^ zlib.crc32(data) ^ 0xFFFFFFFF).to_bytes(4, "little")


def _written(certificates: Sequence[bytes], value: bytes) -> bytes:
    """Return the lines in front of the padding."""
    pem = b"".join(map(_pem, certificates)).strip()
    return (
        b"HashAlgorithm:SHA-256\nIssuerCert:" + base64.b64encode(pem)
        + b"\nSignature:" + base64.b64encode(value) + b"\nVersion:1\n"
    )  # fmt: skip


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


def _certificates(pem: bytes) -> tuple[bytes, ...]:
    """Return the certificates in a PEM file, whatever stands around them."""
    blocks = _BLOCK.findall(pem)
    if not blocks:
        raise MalformedError(_WHAT, "no certificate in IssuerCert", "the signer's", CLAUSE)
    if len(blocks) > MAX_CERTIFICATES:
        raise LimitError(_WHAT, f"{len(blocks)} certificates", f"at most {MAX_CERTIFICATES}")
    return tuple(_base64(b"".join(block.split()), "a certificate") for block in blocks)


def _base64(text: bytes, what: str) -> bytes:
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(what, str(error)[:80], "Base64", "RFC 4648 4") from None
    if not found or base64.b64encode(found) != text:
        raise MalformedError(what, "nothing, or bits that stand for nothing", "Base64",
                             "RFC 4648 3.5")  # fmt: skip
    return found
