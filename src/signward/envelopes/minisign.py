"""Signatures of minisign and of OpenBSD's signify: a comment line, then Base64.

Both have the same key file: ``Ed``, 8 octets of key number, 32 octets of an Ed25519 key.  A
signature is two letters, the key number and 64 octets.  ``Ed``: the value is over the file's
octets (signify, and minisign's legacy form); ``ED``: over its BLAKE2b-512 digest (minisign).
minisign adds a trusted comment and a second value, over the first and that comment.
Formats: minisign's manual, "Signature format"; signify(1).
"""

from __future__ import annotations

import binascii
import re

from signward.errors import LimitError, MalformedError, TooLargeError
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, HeldKey, SignerId, Source
from signward.wire import der

MINISIGN, SIGNIFY = "minisign", "signify"

MAX_OCTETS = 64 * 1024
"""Octets of a signature or key file: comments have at most 1 KB and 8 KB in minisign itself."""

MAX_CONTENT = 256 * 1024 * 1024
"""Longest file checked where the value is over its octets: they must lie in memory."""

UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
"""How lines of comment begin."""

_KEY_OCTETS, _VALUE_OCTETS, _ID_OCTETS = 32, 64, 8
_BARE_KEY = re.compile(rb"RW[A-Za-z0-9+/]{54}\r?\n?")
_ED25519 = "1.3.101.112"
_PREHASHED = Algorithm(scheme="ed25519", digest="blake2b")
_PURE = Algorithm(scheme="ed25519")


class Text(Frozen, frozen=True, kw_only=True):
    """A signature file: ``second`` is the value over ``value`` and ``comment``; None in signify."""

    prehashed: bool
    key_id: bytes
    value: bytes
    comment: str
    second: bytes | None

    @property
    def kind(self) -> str:
        """Whose file it is."""
        return SIGNIFY if self.second is None else MINISIGN


def is_commented(data: bytes) -> bool:
    """Say whether octets begin as the files of both tools do."""
    return data.startswith(UNTRUSTED.encode("ascii"))


def is_bare_key(data: bytes) -> bool:
    """Say whether octets are a public key without its comment, as web pages print it."""
    return _BARE_KEY.fullmatch(data) is not None


def read_keys(data: bytes) -> tuple[HeldKey, ...]:
    """Return the key in a public key file, as either tool's.  Raises ``MalformedError``."""
    if is_bare_key(data):
        data = UNTRUSTED.encode("ascii") + b"none\n" + data
    return read_raw_key(read_commented(data, (2 + _ID_OCTETS + _KEY_OCTETS,), "public key"))


def read_raw_key(raw: bytes) -> tuple[HeldKey, ...]:
    """Return the key in the octets of a public key file, as either tool's."""
    if raw[:2] != b"Ed":
        raise MalformedError("public key", f"algorithm {raw[:2].hex()}", "4564, Ed25519")
    key_id, key = raw[2 : 2 + _ID_OCTETS], raw[2 + _ID_OCTETS :]
    spki = der.sequence(der.sequence(der.oid(_ED25519)), der.bit_string(key))
    return tuple(
        HeldKey(kind=kind, key_id=key_id, spki=spki, holder=raw) for kind in (MINISIGN, SIGNIFY)
    )


def read_commented(data: bytes, sizes: tuple[int, ...], what: str) -> bytes:
    """Return the octets behind the comment of a file, one of ``sizes``.

    Raises ``MalformedError`` and ``LimitError``.
    """
    return _base64(_lines(data, what, (2,))[1], sizes, what)


def read_text(data: bytes) -> Text:
    """Return what a signature file says.  Raises ``MalformedError`` and ``LimitError``."""
    what = "minisign or signify signature"
    lines = _lines(data, what, (2, 4))
    raw = _base64(lines[1], (2 + _ID_OCTETS + _VALUE_OCTETS,), what)
    if raw[:2] not in (b"Ed", b"ED") or (len(lines) == 2 and raw[:2] != b"Ed"):
        raise MalformedError(what, f"algorithm {raw[:2].hex()}", "4564 (or minisign's 4544)")
    comment, second = "", None
    if len(lines) == 4:
        if not lines[2].startswith(TRUSTED):
            raise MalformedError(what, "a third line of another kind", "the trusted comment")
        comment = lines[2].removeprefix(TRUSTED)
        second = _base64(lines[3], (_VALUE_OCTETS,), what)
    return Text(
        prehashed=raw[:2] == b"ED",
        key_id=raw[2 : 2 + _ID_OCTETS],
        value=raw[2 + _ID_OCTETS :],
        comment=comment,
        second=second,
    )


def claims(text: Text, source: Source, slot: str) -> tuple[ClaimedSignature, ...]:
    """Return the signature over a file, and minisign's second over the first and its comment.

    Raises ``TooLargeError``.
    """
    algorithm = _PREHASHED if text.prehashed else _PURE
    content = b"" if text.prehashed else whole(source)
    first = _claim(text, "1", algorithm, content, text.value, over=slot)
    if text.second is None:
        return (first,)
    signed = text.value + text.comment.encode("utf-8", "surrogateescape")
    return first, _claim(text, "1.1", _PURE, signed, text.second, countersigns="1")


def _claim(
    text: Text,
    label: str,
    algorithm: Algorithm,
    signed: bytes,
    value: bytes,
    *,
    over: str = "",
    countersigns: str = "",
) -> ClaimedSignature:
    return ClaimedSignature(
        label=label,
        envelope=text.kind,
        slots=(),
        bindings=(),
        algorithm=algorithm,
        to_be_verified=signed,
        value=value,
        claimed_signer=SignerId(key_id=text.key_id),
        claimed_certificates=(),
        over=over,
        countersigns=countersigns,
    )


def whole(source: Source) -> bytes:
    """Return the content that a value is over itself.  Raises ``TooLargeError``."""
    if source.length > MAX_CONTENT:
        raise TooLargeError(
            "file", f"{source.length} octets", f"at most {MAX_CONTENT}, which the value is over",
            hint="minisign's prehashed form has no such limit",
        )  # fmt: skip
    return source.read(0, source.length)


def _lines(data: bytes, what: str, counts: tuple[int, ...]) -> list[str]:
    """Return the lines; the first is the untrusted comment, which nothing signs."""
    if len(data) > MAX_OCTETS:
        raise LimitError(what, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    text = data.decode("utf-8", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) not in counts or not lines[0].startswith(UNTRUSTED):
        wanted = " or ".join(map(str, counts))
        raise MalformedError(what, f"{len(lines)} lines", f"{wanted}, the first a comment")
    return lines


def _base64(line: str, sizes: tuple[int, ...], what: str) -> bytes:
    try:
        raw = binascii.a2b_base64(line.encode("ascii", "replace"), strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(what, f"damaged Base64: {error}", "Base64") from None
    if binascii.b2a_base64(raw, newline=False).decode("ascii") != line:
        raise MalformedError(what, "Base64 with bits behind its end", "none", "RFC 4648 3.5")
    if len(raw) not in sizes:
        raise MalformedError(what, f"{len(raw)} octets", " or ".join(map(str, sizes)))
    return raw
