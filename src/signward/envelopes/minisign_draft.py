"""Signature files of minisign and of signify as drafts."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from datetime import datetime

from signward.envelopes import Signer
from signward.envelopes.minisign import MINISIGN, SIGNIFY, TRUSTED, UNTRUSTED
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm, HeldKey

_LEGACY, _PREHASHED = b"Ed", b"ED"
_MOST_NAME = 255
"""Characters of a file's name in a comment; no file system has longer ones."""


class ValueDraft(Frozen, frozen=True, kw_only=True):
    """A value by itself, which becomes part of a file later (an ``envelopes.Draft``)."""

    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the value; there is no place for tokens."""
        return value

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


class MinisignDraft(Frozen, frozen=True, kw_only=True):
    """A minisign file that lacks its second value, which is over the first and the comment."""

    key_id: bytes
    first: bytes
    comment: str
    algorithm: Algorithm

    @property
    def to_be_signed(self) -> bytes:
        """The first value, and the trusted comment's text behind it."""
        return self.first + self.comment.encode("utf-8", "surrogateescape")

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the file; there is no place for tokens."""
        comment = f"{TRUSTED}{self.comment}\n".encode("utf-8", "surrogateescape")
        head = _file("minisign", _PREHASHED + self.key_id + self.first, self.key_id)
        return head + comment + _line(value)

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


class SignifyDraft(Frozen, frozen=True, kw_only=True):
    """A signify file that lacks its value, which is over the file's octets."""

    key_id: bytes
    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the file; there is no place for tokens."""
        return _file("signify", _LEGACY + self.key_id + value, self.key_id)

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def holder_of(signer: Signer, kind: str) -> HeldKey:
    """Return the signer's key as both tools hold it.  Raises ``NotSignableError``."""
    held = signer.holder
    if held is None or held.kind not in (MINISIGN, SIGNIFY):
        raise NotSignableError(
            f"{kind} signature", f"a key held by {held.kind if held else 'X.509'}",
            "one of minisign or signify", hint="--cert FILE names the public key",
        )  # fmt: skip
    return held


def trusted_comment(name: str, at: datetime) -> str:
    """Return the comment that minisign writes by itself: when, which file, and how it is signed.

    ``name`` is the file's; what is not printable in it would end the line, or deceive a reader.
    """
    told = "".join(letter if letter.isprintable() else "?" for letter in name[:_MOST_NAME])
    return f"timestamp:{int(at.timestamp())}\tfile:{told}\thashed"


def _file(kind: str, raw: bytes, key_id: bytes) -> bytes:
    """Return the first two lines: a comment that nothing signs, and the value in Base64."""
    name = key_id[::-1].hex().upper()
    return f"{UNTRUSTED}signature from {kind} key {name}\n".encode("ascii") + _line(raw)


def _line(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw)
