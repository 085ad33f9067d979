"""Whether code meets a requirement: an expression, evaluated on what is known of the code.

Source: Apple's ``reqinterp.cpp`` (libsecurity_codesigning); Code Signing Guide, "Code Signing
Requirement Language".  The answer has three values: what only a Mac knows (its trust settings,
the requirements on its disk, whether its notary's ticket is at hand) is unknown here, and an
expression is unknown where that decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import zip_longest

from signward.errors import BadInputError
from signward.findings import Code as Cause
from signward.findings import Effect, Finding
from signward.frozen import Frozen
from signward.state import OwnRequirement
from signward.trust.apple import is_apple
from signward.trust.names import COMMON_NAME, EMAIL_ADDRESS, ORGANIZATION, attribute_values
from signward.trust.x509 import CERTIFICATE_POLICIES, SUBJECT_ALT_NAME, Certificate
from signward.wire import der
from signward.wire.plist import read_plist
from signward.wire.requirement import (
    EPOCH,
    INSTANTS,
    OPERANDS,
    ROOT,
    Comparison,
    Expression,
    Match,
    Op,
    Requirement,
    read_requirement,
)

APPLE_INTERMEDIATE = ("Apple Code Signing Certification Authority", "Apple Inc.")
"""Common name and organization of the authority that signs Apple's own code (``anchor apple``)."""

_SUBJECT = {
    "subject.C": "2.5.4.6", "subject.CN": COMMON_NAME, "subject.D": "2.5.4.13",
    "subject.L": "2.5.4.7", "subject.O": ORGANIZATION, "subject.C-O": "2.5.4.10.1",
    "subject.OU": "2.5.4.11", "subject.C-OU": "2.5.4.11.1", "subject.ST": "2.5.4.8",
    "subject.C-ST": "2.5.4.8.1", "subject.STREET": "2.5.4.9", "subject.C-STREET": "2.5.4.9.1",
    "subject.UID": "0.9.2342.19200300.100.1.1",
}  # fmt: skip
"""Parts of a certificate's subject that the language names."""

_RFC822_NAME = 0x81
_DIGITS = re.compile(r"[0-9]+|[^0-9]")


class Standing(StrEnum):
    """How code stands to a requirement."""

    MET = "met"
    UNMET = "unmet"
    UNKNOWN = "unknown"


_OF_SLOTS = frozenset(
    (Op.CERTIFICATE, Op.FIELD, Op.EXTENSION, Op.POLICY, Op.EXTENSION_TIME, Op.TRUSTED)
)
"""Operations whose number is a slot of the certification path."""

_NOT = {
    Standing.MET: Standing.UNMET, Standing.UNMET: Standing.MET, Standing.UNKNOWN: Standing.UNKNOWN,
}  # fmt: skip


class Code(Frozen, frozen=True, kw_only=True):
    """What is known of signed code.

    ``path`` is the certification path, leaf first and its anchor last; empty for code that
    nobody signed.  ``apple`` says whether the anchor is Apple's, ``whole`` whether it is a root:
    of what stands above an authority that somebody trusts by itself nothing is known.
    ``cdhashes`` are the code
    directory hashes it may be known by (20 octets each).  ``info`` and ``entitlements`` are
    property lists as Python values, empty where there is none, and None where they are not
    known; so is ``notarized``.
    """

    identifier: str
    cdhashes: frozenset[bytes]
    path: tuple[Certificate, ...]
    apple: bool = False
    whole: bool = True
    info: Mapping[str, object] | None = None
    entitlements: Mapping[str, object] | None = None
    platform: int = 0
    notarized: bool | None = None


def evaluate(requirement: Requirement, code: Code) -> Standing:
    """Return how ``code`` stands to a requirement; one of another form is unknown."""
    if requirement.expression is None:
        return Standing.UNKNOWN
    return _standing(requirement.expression, code)


def check_own(
    own: OwnRequirement, label: str, path: Sequence[Certificate], *, notarized: bool = False
) -> tuple[Finding, ...]:
    """Return why code does not meet the requirement that its own signature designates.

    ``path`` is the certification path that was found, its anchor last.  ``notarized`` says that a
    ticket of Apple's for it is at hand; none at hand says nothing, for Apple may have one.
    """
    try:
        requirement = read_requirement(own.requirement)
    except BadInputError as error:
        return (error.finding,)
    standing = evaluate(requirement, _known(own, tuple(path), notarized=notarized))
    if standing is Standing.MET:
        return ()
    from signward.wire.requirement_text import requirement_text

    unmet = standing is Standing.UNMET
    return (
        Finding(
            code=Cause.REQUIREMENT_FAILED,
            effect=Effect.REJECT if unmet else Effect.WARN,
            subject=f"signature {label}",
            found=f"code that {'does not meet' if unmet else 'may not meet'} its own requirement",
            required=requirement_text(requirement),
            clause="Code Signing Requirement Language, designated requirement",
            hint="" if unmet else "a Mac, or an anchor that is a root, can tell",
        ),
    )


def _known(own: OwnRequirement, path: tuple[Certificate, ...], *, notarized: bool) -> Code:
    return Code(
        identifier=own.identifier,
        cdhashes=frozenset(own.cdhashes),
        path=path,
        apple=bool(path) and is_apple(path[ROOT]),
        whole=not path or path[ROOT].self_issued,
        info=None if own.info is None else _entries(own.info),
        entitlements=_entries(own.entitlements),
        platform=own.platform,
        notarized=notarized or None,
    )


def _entries(text: bytes) -> Mapping[str, object] | None:
    """Return what a property list holds; None for one that cannot be read."""
    try:
        return read_plist(text, "property list") if text else {}
    except BadInputError:
        return None


def _standing(expression: Expression, code: Code) -> Standing:
    if expression.op in (Op.AND, Op.OR):
        decisive = Standing.UNMET if expression.op == Op.AND else Standing.MET
        return _joined([_standing(part, code) for part in expression.parts], decisive)
    if expression.op == Op.NOT:
        return _NOT[_standing(expression.parts[0], code)]
    if expression.op not in OPERANDS:
        # Says itself what it counts as where it is unknown: false, or as what follows it.
        return _standing(expression.parts[0], code) if expression.parts else Standing.UNMET
    if not code.whole and _is_above(expression, code):
        return Standing.UNKNOWN
    return _TESTS[expression.op](expression, code)


def _is_above(expression: Expression, code: Code) -> bool:
    """Say whether an expression asks about what stands above the path: its root, most often."""
    if expression.op in (Op.ANCHOR_APPLE, Op.ANCHOR_APPLE_GENERIC):
        return not code.apple
    return expression.op in _OF_SLOTS and not 0 <= expression.number < len(code.path)


def _joined(parts: list[Standing], decisive: Standing) -> Standing:
    if decisive in parts:
        return decisive
    return Standing.UNKNOWN if Standing.UNKNOWN in parts else _NOT[decisive]


def _told(met: bool) -> Standing:  # noqa: FBT001
    return Standing.MET if met else Standing.UNMET


def _certificate(expression: Expression, code: Code) -> Certificate | None:
    """Return the certificate in a slot: from the leaf up, or with a sign from the anchor down."""
    slot, count = expression.number, len(code.path)
    position = slot + count if slot < 0 else slot
    return code.path[position] if 0 <= position < count else None


def _anchor_apple(_expression: Expression, code: Code) -> Standing:
    """Apple's own code: by the authority for it, under Apple's root."""
    if not code.apple or len(code.path) < 2:
        return Standing.UNMET
    below = code.path[ROOT - 1]
    return _told((below.common_name, below.organization) == APPLE_INTERMEDIATE)


def _has_digest(expression: Expression, code: Code) -> Standing:
    found = _certificate(expression, code)
    if found is None:
        return Standing.UNMET
    return _told(hashlib.sha1(found.der, usedforsecurity=False).digest() == expression.data)


def _entry(expression: Expression, entries: Mapping[str, object] | None) -> Standing:
    """Compare an entry of a property list; where the list is not known, nothing is."""
    if entries is None:
        return Standing.UNKNOWN
    return _told(_matches(expression.match, entries.get(_text(expression.data))))


def _field(expression: Expression, code: Code) -> Standing:
    found = _certificate(expression, code)
    key = _text(expression.data)
    if found is None:
        return Standing.UNMET
    values = _emails(found) if key == "email" else ()
    if key in _SUBJECT:
        values = attribute_values(found.subject, _SUBJECT[key])
    # Not there is never met, not even as absent: so does Apple's interpreter.
    return _told(any(_matches(expression.match, value) for value in values))


def _extension(expression: Expression, code: Code) -> Standing:
    found = _certificate(expression, code)
    if found is None:
        return Standing.UNMET
    there = _oid(expression.data) in found.extensions
    return _told(_matches(expression.match, True if there else None))


def _policy(expression: Expression, code: Code) -> Standing:
    found = _certificate(expression, code)
    if found is None:
        return Standing.UNMET
    there = _oid(expression.data) in _policies(found)
    return _told(_matches(expression.match, True if there else None))


def _extension_time(expression: Expression, code: Code) -> Standing:
    found = _certificate(expression, code)
    _critical, value = found.extensions.get(_oid(expression.data), (False, b"")) if found else (
        False, b"",
    )  # fmt: skip
    return _told(_matches(expression.match, _instant(value)))


_Test = Callable[[Expression, Code], Standing]


def _unknown(_expression: Expression, _code: Code) -> Standing:
    return Standing.UNKNOWN


_TESTS: Mapping[int, _Test] = {
    Op.NEVER: lambda _e, _c: Standing.UNMET,
    Op.ALWAYS: lambda _e, _c: Standing.MET,
    Op.IDENTIFIER: lambda e, c: _told(e.data == c.identifier.encode("utf-8", "surrogateescape")),
    Op.ANCHOR_APPLE: _anchor_apple,
    Op.ANCHOR_APPLE_GENERIC: lambda _e, c: _told(c.apple),
    Op.CERTIFICATE: _has_digest,
    Op.INFO: lambda e, c: _entry(e, c.info),
    Op.INFO_VALUE: lambda e, c: _entry(e, c.info),
    Op.ENTITLEMENT: lambda e, c: _entry(e, c.entitlements),
    Op.CDHASH: lambda e, c: _told(e.data in c.cdhashes),
    Op.FIELD: _field,
    Op.EXTENSION: _extension,
    Op.POLICY: _policy,
    Op.EXTENSION_TIME: _extension_time,
    Op.TRUSTED: _unknown,
    Op.ALL_TRUSTED: _unknown,
    Op.NAMED_ANCHOR: _unknown,
    Op.NAMED_CODE: _unknown,
    Op.LEGACY: _unknown,
    Op.PLATFORM: lambda e, c: _told(e.number == c.platform),
    Op.NOTARIZED: lambda _e, c: Standing.UNKNOWN if c.notarized is None else _told(c.notarized),
}
"""The test of each operation that is no connective."""


# ---- comparing ----


def _matches(match: Match | None, value: object) -> bool:
    """Compare a value of a property list (or a certificate's); None is one that is not there."""
    if match is None:
        return False
    if value is None or match.kind == Comparison.ABSENT:
        return value is None and match.kind == Comparison.ABSENT
    if isinstance(value, list | tuple) and any(_matches(match, one) for one in value):
        return True
    if match.kind == Comparison.EXISTS:
        return value is not False
    if match.kind in INSTANTS:
        return isinstance(value, datetime) and _ordered(match, value)
    return isinstance(value, str) and _compared(match.kind, value, _text(match.value))


def _ordered(match: Match, value: datetime) -> bool:
    seconds = (value.replace(tzinfo=value.tzinfo or UTC) - EPOCH).total_seconds()
    return _holds(match.kind - Comparison.ON, (seconds > match.instant) - (seconds < match.instant))


def _holds(question: int, sign: int) -> bool:
    """Answer equal, less, greater, at most, at least (0 to 4) for a sign of a comparison."""
    return (sign == 0, sign < 0, sign > 0, sign <= 0, sign >= 0)[question]


def _compared(kind: int, value: str, wanted: str) -> bool:
    if kind == Comparison.CONTAINS:
        return wanted in value
    if kind == Comparison.BEGINS:
        return value.startswith(wanted)
    if kind == Comparison.ENDS:
        return value.endswith(wanted)
    if kind == Comparison.EQUAL:
        return value == wanted
    if Comparison.LESS <= kind <= Comparison.GREATER_EQUAL:
        return _holds(kind - Comparison.LESS + 1, _sign(value, wanted))
    return False  # a comparison that is unknown never holds


def _sign(one: str, other: str) -> int:
    """Return how two strings are ordered when runs of digits count as numbers."""
    for a, b in zip_longest(_DIGITS.findall(one), _DIGITS.findall(other), fillvalue=""):
        if a[:1].isdigit() and b[:1].isdigit():
            a, b = (part.lstrip("0").rjust(max(len(one), len(other))) for part in (a, b))
        if a != b:
            return 1 if a > b else -1
    return 0


# ---- reading certificates ----


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _oid(data: bytes) -> str:
    try:
        return der.parse(der.encode(der.OID, data), "OID").oid()
    except BadInputError:
        return ""


def _policies(certificate: Certificate) -> Iterable[str]:
    """Return the certificate policies (RFC 5280 4.2.1.4)."""
    _critical, value = certificate.extensions.get(CERTIFICATE_POLICIES, (False, b""))
    try:
        nodes = der.parse(value, "policies").fields("policies") if value else []
        return [node.fields("policy", 1)[0].oid() for node in nodes]
    except BadInputError:
        return []


def _emails(certificate: Certificate) -> tuple[str, ...]:
    """Return the addresses in the subject and in its alternative names (RFC 5280 4.2.1.6)."""
    found = attribute_values(certificate.subject, EMAIL_ADDRESS)
    _critical, value = certificate.extensions.get(SUBJECT_ALT_NAME, (False, b""))
    try:
        nodes = der.parse(value, "names").fields("names") if value else []
    except BadInputError:
        return found
    more = (n.content.decode("ascii", "replace") for n in nodes if n.tag == _RFC822_NAME)
    return (*found, *more)


def _instant(value: bytes) -> datetime | None:
    """Return the time an extension says: a UTF8String that holds a GeneralizedTime."""
    try:
        text = der.parse(value, "time").text().encode("ascii")
        return der.parse(der.encode(der.GENERALIZED_TIME, text), "time").time()
    except (BadInputError, UnicodeEncodeError):
        return None
