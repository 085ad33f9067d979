"""Entries of the transparency log: canonical JSON, one object each.

``{"at":"2026-11-23T16:10:18.000000Z","kind":"revoked", ...fields}`` in UTF-8: names sorted, no
blanks, no floats, no escapes but the needed ones, so that one fact has one spelling (RFC 8785)
and whoever knows the facts can say what must be in the log.  The octets are the leaf's content.

Names that mean the same in every kind, so that a monitor finds what it looks for:

=============  ==================================================================
``ca``         the certification authority's name in the settings
``certificate``  SHA-256 of the certificate's DER, lower-case hexadecimal
``spki``       SHA-256 of its DER SubjectPublicKeyInfo, lower-case hexadecimal
``serial``     its serial number, lower-case hexadecimal without leading zeroes
``subject``    its subject, as messages show names
``key``        the signing key's name in the settings
``by``         who asked: the subject of an identity, or (where ``by-kind`` does not follow)
               its kind, subject and issuer: ``local:root``, ``oidc:ci (https://id.example)``
``digest``     of what was signed or timestamped: ``sha256:`` and hexadecimal
``intent``     the identifier that an intent and its result share
=============  ==================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

import msgspec

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_ENTRY = 65_535
"""Octets of an entry: its length stands in 16 bits in an entry bundle (c2sp.org/tlog-tiles)."""

MAX_DEPTH = 8
"""Objects and lists in one another; ours nest twice."""

MAX_INTEGER = 2**53 - 1
"""Largest integer that every reader of JSON keeps exact (RFC 8785 3.2.2.3)."""

Value = str | int | bool | None | Sequence["Value"] | Mapping[str, "Value"]
"""What a field may hold; digests and serial numbers are hexadecimal text."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_RESERVED = frozenset({"at", "kind"})
_WHAT = "log entry"
_ENCODER = msgspec.json.Encoder(order="sorted")


class Kind(StrEnum):
    """What happened."""

    ISSUE_INTENT = "issue-intent"
    ISSUED = "issued"
    ISSUE_FAILED = "issue-failed"
    REVOKED = "revoked"
    CRL = "crl"
    TIMESTAMPED = "timestamped"
    SIGN_REQUEST = "sign-request"
    SIGN_DECISION = "sign-decision"
    SIGNED = "signed"
    SIGN_FAILED = "sign-failed"
    ABANDONED = "abandoned"
    FEED = "feed"
    APPROVAL = "approval"
    ADMIN = "admin"


class Entry(Frozen, frozen=True, kw_only=True):
    """An entry that was read: what happened, when by the log's own clock, and the facts."""

    kind: Kind
    at: datetime
    fields: Mapping[str, Value]


def encode(kind: Kind, fields: Mapping[str, Value], at: datetime) -> bytes:
    """Return the entry's octets; ``at`` is an aware instant, written in UTC to the microsecond.

    Raises ``LimitError`` where they are more than `MAX_ENTRY`, and ``MalformedError`` where text
    cannot be written as UTF-8: fields hold what strangers sent.  Fields of another form
    (floats, names such as ``Serial``) are mistakes of ours: ``TypeError``, ``ValueError``.
    """
    taken = _RESERVED & fields.keys()
    if taken or at.tzinfo is None:
        raise ValueError(f"reserved names: {taken}" if taken else "an instant without a time zone")
    whole = {**fields, "at": _instant(at), "kind": Kind(kind).value}
    return _written(_plain(whole, MAX_DEPTH))


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _written(whole: object) -> bytes:
    try:
        data = _ENCODER.encode(whole)
    except UnicodeEncodeError:
        raise MalformedError(_WHAT, "text with lone surrogates", "text in UTF-8") from None
    if len(data) > MAX_ENTRY:
        raise LimitError(
            _WHAT, f"{len(data)} octets", f"at most {MAX_ENTRY}", "c2sp.org/tlog-tiles"
        )
    return data


def _plain(value: object, depth: int) -> object:
    """Return a value as the encoder takes it.  Raises ``TypeError`` or ``ValueError``."""
    if type(value) is str or value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"an integer of {value.bit_length()} bits: write it as text")
        return int(value)
    if not depth:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            _checked_name(name): one if type(one) is str else _plain(one, depth - 1)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(one, depth - 1) for one in value]
    raise TypeError(f"a field of type {type(value).__name__}")


@lru_cache(maxsize=256)
def _checked_name(name: object) -> str:
    """Return a field's name; ours are a few dozen.  Raises ``ValueError``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a field named {str(name)[:80]!r}, required {_NAME.pattern}")
    return name


def decode(data: bytes) -> Entry:
    """Return the entry that ``data`` is; it must be as `encode` would write it.

    Raises ``MalformedError`` or ``LimitError``.
    """
    if len(data) > MAX_ENTRY:
        raise LimitError(
            _WHAT, f"{len(data)} octets", f"at most {MAX_ENTRY}", "c2sp.org/tlog-tiles"
        )
    try:
        whole = msgspec.json.decode(data, type=dict[str, object])
        if _written(_plain(whole, MAX_DEPTH)) != data:
            raise ValueError("another spelling of the same")
        return _entry(whole)
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        why = str(error)[:120] or type(error).__name__
        raise MalformedError(_WHAT, why, "a canonical entry", "RFC 8785") from None


def _entry(whole: dict[str, object]) -> Entry:
    kind, at = whole.pop("kind", None), whole.pop("at", None)
    if not isinstance(kind, str) or not isinstance(at, str):
        raise TypeError("no kind or no instant")
    instant = datetime.fromisoformat(at)
    if instant.tzinfo is None or _instant(instant) != at:
        raise ValueError(f"the instant {at[:40]!r}")
    return Entry(kind=Kind(kind), at=instant, fields=whole)  # type: ignore[arg-type]


def texts(value: Value) -> frozenset[str]:
    """Return every text in a value, at whatever depth; names of fields are none."""
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, Mapping):
        return frozenset().union(*(texts(one) for one in value.values()))
    if isinstance(value, list | tuple):
        return frozenset().union(*(texts(one) for one in value))
    return frozenset()
