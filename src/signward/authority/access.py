"""Who may do what: identities, the rules that name them, and decisions about signing keys.

Pure: who somebody is was proved before (mTLS, a bearer token), the instant and the counts are
arguments.  Rules are data of ``signward.toml``; what they do not allow is denied.

A rule names identities by patterns that must cover a value whole.  In a pattern ``*`` stands
for any run of characters without ``/`` and ``**`` for any run; everything else stands for
itself, case included.  There are no regular expressions: one that is not anchored, or whose
dot stands for more than a dot, has let strangers in elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from signward.frozen import Frozen, replace

MAX_VALUE = 2048
"""Characters of a value that a pattern is held against; a longer one matches nothing."""

MAX_PATTERN = 512
"""Characters of a pattern: with `MAX_VALUE` it bounds the work of one comparison."""

KINDS = ("mtls", "oidc", "local")
"""How an identity was proved: a client certificate, a bearer token, the operating system."""

FINGERPRINT = "sha256"
"""The claim of ``mtls`` identities that holds the certificate's SHA-256, lower-case hex."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
_DAY = f"({'|'.join(_DAYS)})"
_HOURS = re.compile(rf"(?:{_DAY}(?:-{_DAY})? )?([01][0-9]|2[0-3]):([0-5][0-9])"
                    r"-([01][0-9]|2[0-4]):([0-5][0-9])")  # fmt: skip


# --- who somebody is ---------------------------------------------------------------------------


class Identity(Frozen, frozen=True, kw_only=True):
    """Somebody whose proof was checked.

    ``kind`` is one of `KINDS`; ``issuer`` who vouches (an issuer's URL, an authority's name;
    empty for ``local``); ``claims`` what else was vouched for, see `claims_from`.
    """

    kind: str
    subject: str
    issuer: str = ""
    claims: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    person: str = ""
    """Whose it is, of those that `AccessRules.people` tells apart; empty for all others."""

    @property
    def unique(self) -> str:
        """Kind, issuer and subject as a JSON array: two identities are one if these are equal.

        Of a person that has several it is the person, of kind ``person``.
        """
        own = ["person", "", self.person] if self.person else [self.kind, self.issuer, self.subject]
        return msgspec.json.encode(own).decode()

    @property
    def label(self) -> str:
        """``KIND:SUBJECT (ISSUER)``: who somebody is in one text, for a certificate's holder.

        The kind tells a token's subject from a user of the system who is called the same.
        """
        return f"{self.kind}:{self.subject}" + (f" ({self.issuer})" if self.issuer else "")


def claims_from(document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return a token's claims (decoded JSON) as rules look at them: each a tuple of texts.

    Whole numbers and booleans are written as in JSON, an array's members each count, and what
    has no such text (objects, fractions, null) is left out: no rule can match it.
    """
    found = {}
    for name, value in document.items():
        texts = [_text(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if texts and None not in texts:
            found[name] = tuple(one for one in texts if one is not None)
    return found


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


# --- rules that name identities ----------------------------------------------------------------


class IdentityRule(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which identities go by a name.

    ``issuer`` is compared as it is; ``subject`` and the values of ``claims`` are patterns.  Of
    a claim with several values one must match; all that is named must match.  A rule that
    would match everybody of its kind, or leaves open who vouches, is refused.
    """

    kind: str
    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a rule that cannot be meant."""
        patterns = [p for p in (self.subject, *self.claims.values()) if p]
        if self.kind not in KINDS:
            raise ValueError(f"found kind {self.kind!r}, required one of {', '.join(KINDS)}")
        if not all(self.claims.values()) or any(len(p) > MAX_PATTERN for p in patterns):
            raise ValueError(f"required patterns of 1 to {MAX_PATTERN} characters")
        if not any(p.strip("*") for p in patterns):
            raise ValueError("found a rule that matches everybody, required a subject or claim")
        if not self.issuer and self.kind != "local" and not self._names_one_certificate:
            raise ValueError("found no issuer, required the one that vouches for the subject")

    @property
    def _names_one_certificate(self) -> bool:
        fingerprint = self.claims.get(FINGERPRINT, "")
        return self.kind == "mtls" and _SHA256.fullmatch(fingerprint) is not None

    def matches(self, identity: Identity) -> bool:
        """Say whether an identity is one of those named."""
        if identity.kind != self.kind or (self.issuer and identity.issuer != self.issuer):
            return False
        if self.subject and not covers(self.subject, identity.subject):
            return False
        return all(
            any(covers(pattern, value) for value in identity.claims.get(name, ()))
            for name, pattern in self.claims.items()
        )


class AccessRules(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[access]``: names of identities, and the roles those names hold in the service.

    ``roles`` is role to names.  What a signer may sign with, each key says for itself.
    ``people`` is a person to the names that are that person's alone, such as those of a card and
    of an account: whoever has several ways to prove who they are still approves once.
    """

    identities: Mapping[str, IdentityRule] = msgspec.field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    people: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a role or person of a name that no rule gives."""
        for what, table in (("role", self.roles), ("person", self.people)):
            for key, names in table.items():
                absent = sorted(set(names) - set(self.identities))
                if absent:
                    raise ValueError(
                        f"found {absent[0]!r} in {what} {key!r}, required a known identity"
                    )

    def known(self, identity: Identity) -> Identity:
        """Return an identity with the person that it is; by the first name, should it be two."""
        names = self.names_of(identity) if self.people else ()
        found = (
            person for person, theirs in self.people.items() if not {*theirs}.isdisjoint(names)
        )
        return replace(identity, person=min(found, default=""))

    def names_of(self, identity: Identity) -> frozenset[str]:
        """Return the names an identity goes by."""
        return frozenset(name for name, rule in self.identities.items() if rule.matches(identity))

    def roles_of(self, identity: Identity) -> frozenset[str]:
        """Return the roles that an identity holds by any of its names."""
        names = self.names_of(identity)
        return frozenset(role for role, holders in self.roles.items() if names & set(holders))


def covers(pattern: str, value: str) -> bool:
    """Say whether ``pattern`` covers ``value`` from its first character to its last.

    A value with characters that do not print matches nothing.  At most `MAX_PATTERN` times
    `MAX_VALUE` steps.
    """
    if len(value) > MAX_VALUE or not value.isprintable():
        return False
    if "*" not in pattern:
        return pattern == value
    parts = _parts(pattern)
    places = _after_stars(parts, {0})
    for character in value:
        places = _after_stars(parts, {
            place if parts[place] in _STARS else place + 1
            for place in places
            if place < len(parts) and _takes(parts[place], character)
        })  # fmt: skip
    return len(parts) in places


_STARS = ("*", "**")


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[str, ...]:
    """Return a pattern's parts: stars, two where there are more, and single characters."""
    return tuple(part[:2] for part in re.findall(r"\*+|.", pattern, re.DOTALL))


def _takes(part: str, character: str) -> bool:
    if part == "*":
        return character != "/"
    return part == "**" or part == character


def _after_stars(parts: tuple[str, ...], places: Collection[int]) -> set[int]:
    """Return ``places`` and those behind stars that stand for nothing."""
    found = set(places)
    for place in sorted(places):
        while place < len(parts) and parts[place] in _STARS:
            place += 1
            found.add(place)
    return found


# --- what a key is for -------------------------------------------------------------------------


class KeyRules(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may sign with a key, what, when and how often; by default nobody anything.

    Names are those of `AccessRules`.  An empty limit is none.
    """

    signers: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    approvals: int = 0
    """Approvals that a request needs, by as many people, none of them the requester."""
    approval_hours: int = 24
    """How long a request waits for them, and for whoever asked to come back."""
    formats: tuple[str, ...] = ()
    """Names of formats (``pe``, ``msi``)."""
    hours: tuple[str, ...] = ()
    """When, in UTC: ``Mon-Fri 08:00-18:00``, ``Sat 09:00-12:00``, ``00:00-24:00``."""
    rate: tuple[str, ...] = ()
    """How often at most: ``20/minute``, ``500/day``; each counts anew with its unit of UTC."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a limit that cannot be read."""
        for text in self.hours:
            parse_hours(text)
        for text in self.rate:
            parse_rate(text)
        if self.approvals < 0 or (self.approvals and not self.approvers):
            raise ValueError(f"found {self.approvals} approvals, required approvers who give them")
        if not 1 <= self.approval_hours <= _MAX_APPROVAL_HOURS:
            raise ValueError(f"required approval_hours of 1 to {_MAX_APPROVAL_HOURS}")

    def windows(self, at: datetime) -> tuple[Window, ...]:
        """Return the stretch of time, for each rate, that ``at`` lies in."""
        seconds = (parse_rate(text).seconds for text in self.rate)
        return tuple(Window(one, int(at.timestamp()) // one * one) for one in seconds)


_MAX_APPROVAL_HOURS = 24 * 30


class Rate(NamedTuple):
    """So many in each of so many seconds."""

    most: int
    seconds: int


class Window(NamedTuple):
    """A stretch of time that signatures are counted in; ``start`` in seconds since 1970 UTC."""

    seconds: int
    start: int


class Hours(NamedTuple):
    """Days of the week (Monday is 0), and minutes of the day: from, and up to but without."""

    days: frozenset[int]
    start: int
    end: int

    def hold(self, at: datetime) -> bool:
        """Say whether an instant (aware UTC) lies within."""
        return at.weekday() in self.days and self.start <= 60 * at.hour + at.minute < self.end


@lru_cache(maxsize=256)
def parse_rate(text: str) -> Rate:
    """Return a rate such as ``20/minute``.  Raises ``ValueError``."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"found rate {text!r}, required one such as 20/minute or 500/day")
    return Rate(int(found[1]), _UNITS[found[2]])


@lru_cache(maxsize=256)
def parse_hours(text: str) -> Hours:
    """Return hours such as ``Mon-Fri 08:00-18:00``.  Raises ``ValueError``."""
    found = _HOURS.fullmatch(text)
    if not found:
        raise ValueError(f"found hours {text!r}, required some such as Mon-Fri 08:00-18:00")
    first, last, *clock = found.groups()
    start, end = 60 * int(clock[0]) + int(clock[1]), 60 * int(clock[2]) + int(clock[3])
    if not start < end <= _UNITS["day"] // 60:
        raise ValueError(f"found hours {text!r}, required an end after the start: "
                         "what passes midnight is two entries")  # fmt: skip
    begin = _DAYS.index(first) if first else 0
    many = (_DAYS.index(last) - begin) % 7 + 1 if last else (1 if first else 7)
    return Hours(frozenset((begin + i) % 7 for i in range(many)), start, end)


# --- the decision ------------------------------------------------------------------------------


class Ruling(StrEnum):
    """What is decided about a request."""

    ALLOWED = "allowed"
    DENIED = "denied"
    WAITING = "waiting"
    """It needs approvals that it has not got yet."""


class Asked(Frozen, frozen=True, kw_only=True):
    """A request for a signature: by whom, for what, when, and what is known of it.

    ``names`` are those the requester goes by; ``used`` counts the signatures so far in each of
    `KeyRules.windows`; ``approvals`` those given to this very request.
    """

    names: frozenset[str]
    format: str
    at: datetime
    used: tuple[int, ...] = ()
    approvals: int = 0


class Decision(Frozen, frozen=True, kw_only=True):
    """A ruling and its reason; ``retry_seconds`` is when another answer is possible, 0 never."""

    ruling: Ruling
    reason: str
    found: str = ""
    required: str = ""
    hint: str = ""
    retry_seconds: int = 0


_ALLOWED = Decision(ruling=Ruling.ALLOWED, reason="allowed")


def decide(rules: KeyRules, asked: Asked) -> Decision:
    """Decide about a request, by early returns: who, what, when, how often, with whose consent."""
    if not asked.names & set(rules.signers):
        return _denied("no-signer", "somebody who may not sign with this key", "one of its signers")
    if rules.formats and asked.format not in rules.formats:
        required = f"one of {', '.join(rules.formats)}"
        return _denied("file-type", f"format {asked.format!r}", required)
    if rules.hours and not any(parse_hours(text).hold(asked.at) for text in rules.hours):
        found = f"{_DAYS[asked.at.weekday()]} {asked.at:%H:%M} UTC"
        return _denied("hours", found, ", ".join(rules.hours), retry=_until_hours(rules, asked.at))
    for text, window, used in zip(rules.rate, rules.windows(asked.at), asked.used, strict=True):
        if used >= parse_rate(text).most:
            left = window.start + window.seconds - int(asked.at.timestamp())
            return _denied("rate", f"{used} signatures already", f"at most {text}", retry=left)
    if asked.approvals < rules.approvals:
        return Decision(
            ruling=Ruling.WAITING, reason="approvals", found=f"{asked.approvals} approvals",
            required=f"{rules.approvals}", hint="signward requests approve",
        )  # fmt: skip
    return _ALLOWED


def decide_approval(
    rules: KeyRules,
    approver: Identity,
    names: Collection[str],
    requester: str,
    given: Collection[str],
) -> Decision:
    """Decide whether somebody may approve a request.

    ``names`` are those the approver goes by; ``requester`` and ``given`` (who approved
    already) are identities' ``unique``.
    """
    if not set(names) & set(rules.approvers):
        return _denied("no-approver", "somebody who may not approve here", "one of its approvers")
    if approver.unique == requester:
        return _denied("own-request", "a request of one's own", "an approval by somebody else")
    if approver.unique in given:
        return _denied("approved-already", "a second approval by one person", "another approver")
    return _ALLOWED


def decide_denial(
    rules: KeyRules, denier: Identity, names: Collection[str], requester: str
) -> Decision:
    """Decide whether somebody may end a request: its approvers may, and who made it."""
    if set(names) & set(rules.approvers) or denier.unique == requester:
        return _ALLOWED
    return _denied("no-approver", "somebody who may not deny here", "an approver or the requester")


def _denied(reason: str, found: str, required: str, *, retry: int = 0) -> Decision:
    return Decision(
        ruling=Ruling.DENIED, reason=reason, found=found, required=required, retry_seconds=retry
    )


def _until_hours(rules: KeyRules, at: datetime) -> int:
    """Return the seconds until hours begin in which signing is allowed."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [
        midnight + timedelta(days=day, minutes=hours.start)
        for hours in map(parse_hours, rules.hours)
        for day in range(8)
        if (at.weekday() + day) % 7 in hours.days
    ]
    return int((min(one for one in begins if one > at) - at).total_seconds()) + 1
