"""DSSE: an envelope in JSON for a payload of any kind (secure-systems-lab/dsse, version 1.0).

What is signed is the pre-authentication encoding (PAE) of the payload's type and octets, so
no JSON is ever canonicalised and a payload of one type is never taken for another.  The
envelope names no algorithm: whoever checks it knows it from the key.  A key id is a hint
only; ours is the SHA-256 (lower-case hex) of the key's DER SubjectPublicKeyInfo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

import msgspec

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen, decoder
from signward.state import Algorithm

MAX_OCTETS = 64 * 1024 * 1024
"""Largest envelope read; a revocation feed of 100,000 entries has some 40 MB."""

MAX_SIGNATURES = 16
"""Signatures of one envelope that are read: each costs a check for every key."""

MAX_CERTIFICATES = 16
"""Certificates beside one signature that are read; paths have three or four."""

_WHAT = "DSSE envelope"
_URL_SAFE = str.maketrans("-_", "+/")


class DsseSignature(Frozen, frozen=True, kw_only=True):
    """One signature as it is claimed: ``claimed_key_id`` may be empty, and proves nothing.

    ``claimed_certificates`` (DER, the leaf's first) are those that the signer put beside it.
    """

    claimed_key_id: str
    value: bytes
    claimed_certificates: tuple[bytes, ...] = ()


class DsseEnvelope(Frozen, frozen=True, kw_only=True):
    """An envelope that parses; nothing in it is checked."""

    claimed_type: str
    claimed_payload: bytes
    signatures: tuple[DsseSignature, ...]

    @property
    def to_be_verified(self) -> bytes:
        """The octets that every signature is over."""
        return pae(self.claimed_type, self.claimed_payload)


class DsseDraft(Frozen, frozen=True, kw_only=True):
    """An envelope that lacks its one signature (an ``envelopes.Draft``).

    ``certificates`` (DER, the leaf's first) go beside the signature, where others overlook them.
    """

    payload_type: str
    payload: bytes
    algorithm: Algorithm
    key_id: str
    certificates: tuple[bytes, ...] = ()

    @property
    def to_be_signed(self) -> bytes:
        """The octets that go to the key."""
        return pae(self.payload_type, self.payload)

    def stamped(self, value: bytes) -> None:
        """Say that a timestamp token has no place here."""

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the envelope (JSON, UTF-8); it has no place for ``tokens``."""
        if tokens:
            raise MalformedError(_WHAT, f"{len(tokens)} timestamp tokens", "none: it has no place")
        return msgspec.json.encode(
            _Envelope(
                payload=_encoded(self.payload),
                payload_type=self.payload_type,
                signatures=(
                    _Signature(
                        keyid=self.key_id,
                        sig=_encoded(value),
                        x5c=tuple(map(_encoded, self.certificates)),
                    ),
                ),
            )
        )


class _Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signature in JSON; fields that nobody knows are ignored, as the standard asks.

    ``x5c`` is ours, in the form of RFC 7515 4.1.6: certificates in Base64, the leaf's first.
    """

    sig: str
    keyid: str = ""
    x5c: tuple[str, ...] = ()


class _Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """An envelope in JSON."""

    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding (protocol.md, "Signature Definition").

    ``DSSEv1``, then length and octets of type and payload: lengths in decimal, all parted by
    one blank.
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(spki: bytes) -> str:
    """Return the key id of a public key (DER SubjectPublicKeyInfo): its SHA-256 in hex."""
    return hashlib.sha256(spki).hexdigest()


def open_envelope(data: bytes) -> DsseEnvelope:
    """Return what an envelope claims.  Raises ``MalformedError`` and ``LimitError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    try:
        read = decoder(_Envelope).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_WHAT, str(error)[:200], "a DSSE envelope", "DSSE 1.0") from None
    if not 1 <= len(read.signatures) <= MAX_SIGNATURES:
        found = f"{len(read.signatures)} signatures"
        raise LimitError(_WHAT, found, f"1 to {MAX_SIGNATURES}")
    if any(len(one.x5c) > MAX_CERTIFICATES for one in read.signatures):
        raise LimitError(_WHAT, "more certificates", f"at most {MAX_CERTIFICATES}")
    return DsseEnvelope(
        claimed_type=read.payload_type,
        claimed_payload=_decoded(read.payload),
        signatures=tuple(
            DsseSignature(
                claimed_key_id=one.keyid,
                value=_decoded(one.sig),
                claimed_certificates=tuple(map(_decoded, one.x5c)),
            )
            for one in read.signatures
        ),
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    """Return what Base64 stands for, in either alphabet (envelope.md, "Base64")."""
    try:
        return binascii.a2b_base64(text.translate(_URL_SAFE).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise MalformedError(_WHAT, str(error)[:80], "Base64 (RFC 4648 4 or 5)") from None
