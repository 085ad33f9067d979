"""Code requirements in their binary form: an expression in prefix notation, in a blob.

Sources: ``requirement.h`` and ``reqinterp.cpp`` of Apple's libsecurity_codesigning; Code
Signing Guide, "Code Signing Requirement Language".  All numbers are big-endian words of
four octets (instants have eight); data is a length and octets, padded with zeros to four.

A blob holds the form (1: expression) and the expression; a set is a superblob of such blobs by
type (``wire.superblob``).

``requirement_text`` reads and prints the language itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.superblob import (
    REQUIREMENT,
    REQUIREMENT_SET,
    content_of,
    make_blob,
    read_superblob,
    write_superblob,
)

EXPRESSION = 1
"""The form that holds an expression; form 2 holds a lightweight code requirement."""

HOST, GUEST, DESIGNATED, LIBRARY, PLUGIN = range(1, 6)
"""Types of the requirements in a set."""

LEAF, ROOT = 0, -1
"""Slots of a certification path; the others count up from the leaf, or down from the root."""

MAX_DEPTH = 256
"""Deepest nesting read: each ``and`` of a chain is a level, Apple stops at 1,000, and real
requirements have about ten."""

MAX_SIZE = 1 << 20
"""Largest blob read; real ones have some 200 octets."""

_WHAT = "code requirement"
_CLAUSE = "libsecurity_codesigning requirement.h"
_FLAGS = 0xFF000000
_FALSE = 0x80000000
_SKIP = 0x40000000


class Op(IntEnum):
    """What an expression asks (``ExprOp``)."""

    NEVER = 0
    ALWAYS = 1
    IDENTIFIER = 2
    ANCHOR_APPLE = 3
    CERTIFICATE = 4
    """The certificate in a slot has this SHA-1."""
    INFO_VALUE = 5
    """`INFO` with an equal value, as it was written first."""
    AND = 6
    OR = 7
    CDHASH = 8
    NOT = 9
    INFO = 10
    FIELD = 11
    """A part of the subject of the certificate in a slot."""
    TRUSTED = 12
    ALL_TRUSTED = 13
    EXTENSION = 14
    ANCHOR_APPLE_GENERIC = 15
    ENTITLEMENT = 16
    POLICY = 17
    NAMED_ANCHOR = 18
    NAMED_CODE = 19
    PLATFORM = 20
    NOTARIZED = 21
    EXTENSION_TIME = 22
    LEGACY = 23


class Comparison(IntEnum):
    """How a value is compared (``MatchOperation``)."""

    EXISTS = 0
    EQUAL = 1
    CONTAINS = 2
    BEGINS = 3
    ENDS = 4
    LESS = 5
    GREATER = 6
    LESS_EQUAL = 7
    GREATER_EQUAL = 8
    ON = 9
    BEFORE = 10
    AFTER = 11
    ON_OR_BEFORE = 12
    ON_OR_AFTER = 13
    ABSENT = 14


INSTANTS = frozenset(range(Comparison.ON, Comparison.ON_OR_AFTER + 1))
"""Comparisons with an instant; it is in seconds since `EPOCH`."""

EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
"""Where instants are counted from."""

_BARE = frozenset((Comparison.EXISTS, Comparison.ABSENT))

OPERANDS: Mapping[int, str] = {
    Op.NEVER: "", Op.ALWAYS: "", Op.IDENTIFIER: "d", Op.ANCHOR_APPLE: "", Op.CERTIFICATE: "sd",
    Op.INFO_VALUE: "dv", Op.AND: "ee", Op.OR: "ee", Op.CDHASH: "d", Op.NOT: "e", Op.INFO: "dm",
    Op.FIELD: "sdm", Op.TRUSTED: "s", Op.ALL_TRUSTED: "", Op.EXTENSION: "sdm",
    Op.ANCHOR_APPLE_GENERIC: "", Op.ENTITLEMENT: "dm", Op.POLICY: "sdm", Op.NAMED_ANCHOR: "d",
    Op.NAMED_CODE: "d", Op.PLATFORM: "s", Op.NOTARIZED: "", Op.EXTENSION_TIME: "sdm",
    Op.LEGACY: "",
}  # fmt: skip
"""What follows each operation: ``d`` data, ``s`` a slot or other number, ``m`` a comparison,
``v`` data to be equal to, ``e`` an expression."""


class Match(Frozen, frozen=True, kw_only=True):
    """A comparison: ``kind`` is a `Comparison` or a number unknown here.

    ``value`` are the octets compared with, ``instant`` seconds since `EPOCH` for the comparisons of
    `INSTANTS`.
    """

    kind: int
    value: bytes = b""
    instant: int = 0


class Expression(Frozen, frozen=True, kw_only=True):
    """One operation with its operands; ``op`` is an `Op`, or the whole word of an unknown one.

    ``number`` is a slot (`LEAF`, `ROOT`, between) or the platform, ``data`` what is named
    (identifier, digest, key, OID in DER contents octets), ``parts`` the expressions below.
    """

    op: int
    number: int = 0
    data: bytes = b""
    match: Match | None = None
    parts: tuple[Expression, ...] = ()


class Requirement(Frozen, frozen=True, kw_only=True):
    """A requirement: its expression, or none where the blob has another form."""

    form: int
    expression: Expression | None
    raw: bytes


class _Read(NamedTuple):
    """What was read, and where the next thing begins."""

    expression: Expression
    next: int


def read_requirement(blob: bytes) -> Requirement:
    """Return the requirement a whole blob holds.

    Raises ``MalformedError`` and ``LimitError``; an unknown operation that has no size is
    malformed, since what follows it cannot be read.
    """
    body = content_of(blob, _WHAT, magic=REQUIREMENT)
    if len(body) > MAX_SIZE:
        raise LimitError(_WHAT, f"{len(body)} octets", f"at most {MAX_SIZE}", _CLAUSE)
    form = _word(body, 0)
    if form != EXPRESSION:
        return Requirement(form=form, expression=None, raw=blob)
    expression, end = _expression(body, 4, MAX_DEPTH)
    if end != len(body):
        raise MalformedError(
            _WHAT, f"{len(body) - end} octets behind the expression", "none", _CLAUSE, offset=end
        )
    return Requirement(form=form, expression=expression, raw=blob)


def read_requirements(blob: bytes) -> Mapping[int, Requirement]:
    """Return the requirements of a set, by type (`DESIGNATED`, ...), as `read_requirement`."""
    blobs = read_superblob(blob, f"{_WHAT}s", magic=REQUIREMENT_SET)
    return {kind: read_requirement(one) for kind, one in blobs.items()}


def write_requirement(expression: Expression) -> bytes:
    """Return the blob of an expression."""
    return make_blob(REQUIREMENT, EXPRESSION.to_bytes(4, "big") + _written(expression))


def write_requirements(blobs: Mapping[int, bytes]) -> bytes:
    """Return the set of whole requirement blobs, in the order of their types."""
    return write_superblob(dict(sorted(blobs.items())), magic=REQUIREMENT_SET)


def conjunction(*parts: Expression) -> Expression:
    """Return the expression that asks for all of ``parts``, nested as Apple's tools make it.

    That is to the right; what is read from text nests to the left.
    """
    first, *rest = parts
    return Expression(op=Op.AND, parts=(first, conjunction(*rest))) if rest else first


def _word(blob: bytes, position: int) -> int:
    if position + 4 > len(blob):
        raise MalformedError(
            _WHAT, f"an end at {len(blob)}", f"4 octets at {position}", _CLAUSE, offset=position
        )
    return int.from_bytes(blob[position : position + 4], "big")


def _signed(number: int, octets: int) -> int:
    """Return a number read without its sign, with it (two's complement)."""
    return number - (1 << 8 * octets) if number >> (8 * octets - 1) else number


def _data(blob: bytes, position: int) -> tuple[bytes, int]:
    """Return counted octets and where their padding ends."""
    size = _word(blob, position)
    start, end = position + 4, position + 4 + (size + 3 & ~3)
    if end > len(blob):
        raise MalformedError(
            _WHAT, f"{size} octets of data", f"at most {len(blob) - start}", _CLAUSE,
            offset=position,
        )  # fmt: skip
    return blob[start : start + size], end


def _expression(blob: bytes, position: int, depth: int) -> _Read:
    if depth <= 0:
        raise LimitError(_WHAT, f"nesting beyond {MAX_DEPTH}", "less", _CLAUSE, offset=position)
    op = _word(blob, position)
    # Apple's reader masks the flags off before it looks whether it knows the operation.
    known = op & ~_FLAGS
    if known not in OPERANDS:
        return _unknown(blob, op, position, depth)
    position += 4
    number, data, match = 0, b"", None
    parts: list[Expression] = []
    for operand in OPERANDS[known]:
        if operand == "e":
            part, position = _expression(blob, position, depth - 1)
            parts.append(part)
        elif operand == "s":
            number = _signed(_word(blob, position), 4)
            position += 4
        elif operand == "d":
            data, position = _data(blob, position)
        else:
            match, position = _match(blob, position, bare=operand == "v")
    read = Expression(op=known, number=number, data=data, match=match, parts=tuple(parts))
    return _Read(read, position)


def _unknown(blob: bytes, op: int, position: int, depth: int) -> _Read:
    """Read an operation unknown here that says how long it is, and what it counts as."""
    if not op & (_FALSE | _SKIP):
        raise MalformedError(
            _WHAT, f"operation {op:#x}", "a known one, or one with its size", _CLAUSE,
            offset=position,
        )  # fmt: skip
    size = _word(blob, position + 4)
    end = position + 8 + size
    if end > len(blob):
        raise MalformedError(
            _WHAT, f"operation {op:#x} of {size} octets", f"at most {len(blob) - position - 8}",
            _CLAUSE, offset=position,
        )  # fmt: skip
    data = blob[position + 8 : end]
    if op & _FALSE:
        return _Read(Expression(op=op, data=data), end)
    part, end = _expression(blob, end, depth - 1)
    return _Read(Expression(op=op, data=data, parts=(part,)), end)


def _match(blob: bytes, position: int, *, bare: bool) -> tuple[Match, int]:
    """Read a comparison; a ``bare`` value has no word before it and is to be equal."""
    if bare:
        value, end = _data(blob, position)
        return Match(kind=Comparison.EQUAL, value=value), end
    kind = _word(blob, position)
    position += 4
    if kind in _BARE:
        return Match(kind=kind), position
    if kind in INSTANTS:
        words = _word(blob, position) << 32 | _word(blob, position + 4)
        return Match(kind=kind, instant=_signed(words, 8)), position + 8
    value, end = _data(blob, position)
    return Match(kind=kind, value=value), end


def _written(expression: Expression) -> bytes:
    out = expression.op.to_bytes(4, "big")
    if expression.op not in OPERANDS:
        out += len(expression.data).to_bytes(4, "big") + expression.data
        return out + b"".join(map(_written, expression.parts))
    parts = iter(expression.parts)
    for operand in OPERANDS[expression.op]:
        if operand == "e":
            out += _written(next(parts))
        elif operand == "s":
            out += expression.number.to_bytes(4, "big", signed=True)
        elif operand == "d":
            out += _padded(expression.data)
        elif expression.match is not None:
            out += _written_match(expression.match, bare=operand == "v")
    return out


def _written_match(match: Match, *, bare: bool) -> bytes:
    if bare:
        return _padded(match.value)
    out = match.kind.to_bytes(4, "big")
    if match.kind in _BARE:
        return out
    if match.kind in INSTANTS:
        return out + match.instant.to_bytes(8, "big", signed=True)
    return out + _padded(match.value)


def _padded(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data + bytes(-len(data) % 4)
