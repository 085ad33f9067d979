"""Signed notes (c2sp.org/signed-note): text, a blank line, signature lines.

A signature line is an em dash, the key's name and base64 of a 4-octet key id (big-endian, the
begin of SHA-256 over name, newline, type octet and public key) and the signature.  Of a note that
was only read nothing may be believed: see `check`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum

from signward.authority.log.faults import NotSignedError
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.integrity import UnsupportedKeyError, ValueMismatchError, check_value
from signward.state import Algorithm
from signward.wire import der
from signward.wire.note import (
    DASH,
    ID_OCTETS,
    MAX_NOTE,
    MAX_SIGNATURES,
    ClaimedNote,
    NoteSignature,
    check_name,
    parse,
    unbase64,
)
from signward.wire.spki import key_bits

__all__ = ["MAX_NOTE", "MAX_SIGNATURES", "ClaimedNote", "NoteSignature", "parse", "unbase64"]

ED25519 = Algorithm(scheme="ed25519")

MAX_KEY_TEXT = 1024
"""Characters of a verifier key; ours have some 80."""

MAX_SECONDS = 253_402_300_799
"""The last second of the year 9999: later timestamps are no instants here."""

_KEY_OCTETS = 32
_VALUE_OCTETS = 64
_TIME_OCTETS = 8
_ED25519_OID = "1.3.101.112"
_CLAUSE = "c2sp.org/signed-note"


class Type(IntEnum):
    """The octet that says how a key signs (c2sp.org/signed-note, signature types)."""

    ED25519 = 1
    """Ed25519 over the text."""
    COSIGNATURE = 4
    """A witness's timestamped Ed25519 (c2sp.org/tlog-cosignature), cosignature/v1."""


class VerifierKey(Frozen, frozen=True, kw_only=True):
    """A key that notes are checked with; ``public_key`` has 32 octets (RFC 8032)."""

    name: str
    type: Type
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 octets that name the key beside its name."""
        typed = bytes([self.type]) + self.public_key
        return hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:ID_OCTETS]

    @property
    def text(self) -> str:
        """The key as text: name, hexadecimal id and base64 with plus signs between."""
        typed = bytes([self.type]) + self.public_key
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(typed).decode()}"

    @property
    def spki(self) -> bytes:
        """The key as DER SubjectPublicKeyInfo (RFC 8410 4)."""
        return der.sequence(der.sequence(der.oid(_ED25519_OID)), der.bit_string(self.public_key))


class Signed(Frozen, frozen=True, kw_only=True):
    """A signature that fits; ``at`` is when a witness made it, None for other types."""

    key: VerifierKey
    at: datetime | None


def key_of(name: str, spki: bytes, kind: Type = Type.ED25519) -> VerifierKey:
    """Return the verifier key for a DER SubjectPublicKeyInfo.  Raises ``MalformedError``."""
    check_name(name)
    key = VerifierKey(name=name, type=kind, public_key=key_bits(spki))
    if len(key.public_key) != _KEY_OCTETS or key.spki != spki:
        raise MalformedError(f"the key of {name}", "another kind of key", "Ed25519", _CLAUSE)
    return key


def read_key(text: str) -> VerifierKey:
    """Return the key in its text form.  Raises ``MalformedError``, ``LimitError``."""
    if len(text) > MAX_KEY_TEXT:
        raise LimitError("verifier key", f"{len(text)} characters", f"at most {MAX_KEY_TEXT}")
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    check_name(name)
    typed = unbase64(encoded, "verifier key")
    if not typed or typed[0] not in tuple(Type) or len(typed) != 1 + _KEY_OCTETS:
        found = f"type {typed[:1].hex() or 'none'} with {len(typed)} octets"
        raise MalformedError("verifier key", found, "Ed25519, type 01 or 04", _CLAUSE)
    key = VerifierKey(name=name, type=Type(typed[0]), public_key=typed[1:])
    if key_id != key.key_id.hex():
        raise MalformedError("verifier key", f"id {key_id[:16]}", f"id {key.key_id.hex()}", _CLAUSE)
    return key


def check(note: ClaimedNote, keys: Sequence[VerifierKey]) -> tuple[Signed, ...]:
    """Return which of ``keys`` signed the note; signatures of unknown keys are ignored.

    Raises ``NotSignedError`` where none did, or where a signature of a known key does not fit.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, Signed] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            checked = _checked(note.text, signature, key)
            found.setdefault(key, checked)
    if not found:
        names = ", ".join(signature.name for signature in note.signatures)
        wanted = ", ".join(key.text for key in keys) or "a key to check with"
        raise NotSignedError("note", f"signatures of {names}", f"one of {wanted}", _CLAUSE)
    return tuple(found.values())


def _checked(text: str, signature: NoteSignature, key: VerifierKey) -> Signed:
    data, value, at = text.encode(), signature.value, None
    if key.type is Type.COSIGNATURE:
        seconds = int.from_bytes(value[:_TIME_OCTETS], "big")
        data, value = cosigned(text, seconds), value[_TIME_OCTETS:]
        if seconds > MAX_SECONDS:
            raise NotSignedError(f"the cosignature of {key.name}", f"second {seconds}", "a time",
                                 "c2sp.org/tlog-cosignature")  # fmt: skip
        at = datetime.fromtimestamp(seconds, UTC)
    try:
        check_value(key.spki, ED25519, data, value)
    except (ValueMismatchError, UnsupportedKeyError):
        raise NotSignedError(
            f"the signature of {key.name}", "a value that does not fit", "one made with its key",
            _CLAUSE, hint="the note was changed, or somebody else signed in this name",
        ) from None  # fmt: skip
    return Signed(key=key, at=at)


def cosigned(text: str, seconds: int) -> bytes:
    """Return what a witness signs: the note's text under a line with the time."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def signed(text: str, signatures: Sequence[tuple[VerifierKey, bytes]]) -> bytes:
    """Return a note of text (which ends with a newline) and signature values."""
    lines = [
        f"{DASH}{key.name} {base64.b64encode(key.key_id + value).decode()}\n"
        for key, value in signatures
    ]
    return "".join([text, "\n", *lines]).encode()
