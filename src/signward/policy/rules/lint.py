"""Lint: what is wrong with a policy before it bites.

A *fault* makes a rule do something else than its author can have meant, or nothing; *advice* is
what is legal and yet better known.  Pure: the instant is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from signward.errors import BadInputError, PolicyError
from signward.frozen import Frozen
from signward.policy.publisher import subscriber_eku
from signward.policy.rules.covering import Coverings
from signward.policy.rules.force import in_force
from signward.policy.rules.kinds import NAMED
from signward.policy.rules.matching import certificate_digest, whole_regex
from signward.policy.rules.model import (
    CDHASH_DIGITS,
    HEX_DIGITS,
    Action,
    Conditions,
    IdentityMatch,
    KeyKind,
    Material,
    Mode,
    PublisherMatch,
    Rule,
    RuleSet,
)
from signward.policy.rules.paths import folded_path, path_pattern
from signward.policy.rules.precedence import specificity
from signward.policy.rules.reading import key_names, publishers_of
from signward.trust.x509 import Certificate, load_certificate

SHORT_LIVED = timedelta(days=30)
"""A leaf valid no longer than this is renewed by its signing service, in days mostly."""

ENDS_SOON = timedelta(days=60)
LONG_EXCEPTION = timedelta(days=366)


_EVERYBODY = frozenset({"1.3.6.1.5.5.7.3.3", "2.5.29.37.0"})
"""codeSigning and anyExtendedKeyUsage: every signer has one of them."""

_PLACES = frozenset({"unit", "locality", "state", "country"})
"""Fields of a subject that thousands of signers share."""

_WRITABLE = (
    "/tmp/", "/var/tmp/", "/dev/shm/", "/home/", "/run/user/", "/media/", "/mnt/",  # noqa: S108
    "/users/", "/private/tmp/", "/private/var/tmp/", "/private/var/folders/", "/var/folders/",
    "/volumes/",
)  # fmt: skip
"""Folders where users may write on Linux and macOS, folded."""

_WRITABLE_WINDOWS = (
    "\\users\\", "\\temp\\", "\\tmp\\", "\\perflogs\\", "\\programdata\\", "\\$recycle.bin\\",
    "\\windows\\temp\\", "\\windows\\tasks\\", "\\windows\\tracing\\",
    "\\windows\\registration\\crmlog\\", "\\windows\\servicing\\packages\\",
    "\\windows\\system32\\fxstmp\\", "\\windows\\system32\\com\\dmp\\",
    "\\windows\\system32\\microsoft\\crypto\\rsa\\machinekeys\\",
    "\\windows\\system32\\spool\\drivers\\color\\", "\\windows\\system32\\spool\\printers\\",
    "\\windows\\system32\\spool\\servers\\", "\\windows\\system32\\tasks\\",
    "\\windows\\syswow64\\tasks\\",
)  # fmt: skip
"""The same on a Windows as installed, below its drive: users may write or create files there."""

_OF_THE_MACHINE = frozenset({"deb", "rpm", "vib"})
"""Origins that a machine's own package manager tells."""

_USER_VARIABLES = re.compile(
    r"%(temp|tmp|userprofile|appdata|localappdata|public|programdata|allusersprofile|removable|hot)%"
)

_PROBES = ("a", "~no-such@identity.invalid", "https://no-such.invalid/~issuer")
_NOT_RE2 = re.compile(r"\(\?(?:[=!>#(]|<[=!]|P=)|[*+?}]\+")
_BACK_REFERENCE = re.compile(r"\\[1-9]")
_NESTED = re.compile(r"\((?:\?:)?[^()]*[*+][^()]*\)(?:[*+]|\{\d*,)")
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")


class Fault(Frozen, frozen=True, kw_only=True):
    """Something wrong (``fault``) or better known.  ``rule`` is a rule, an exception or a key."""

    code: str
    rule: str
    found: str
    required: str
    hint: str = ""
    fault: bool = True

    def __str__(self) -> str:
        where = f"{self.rule}: " if self.rule else ""
        return f"{self.code}: {where}found {self.found}, required {self.required}"


CODES = {
    "ages-out": "a certificate that has ended, or does soon",
    "anywhere": "a path in which users may write, or any path at all",
    "by-path": "a rule that lets in by path",
    "digest-form": "a digest of the wrong length",
    "ended": "an exception that has ended",
    "everybody": "a publisher or identity that everybody matches",
    "everything": "a rule that lets in whatever is of a kind, on a host or from a place",
    "lasts-long": "an exception that lasts longer than a year",
    "no-effect": "a rule that never counts in the policy's mode, or words without effect",
    "no-rule": "a policy that lets nothing in",
    "regular-expression": "an expression that is none, or that other engines refuse",
    "self-said": "a product that nobody vouches for",
    "shadowed": "a rule that another one makes useless",
    "short-lived": "a leaf that is renewed before long, named by itself",
    "unknown-kind": "a kind of file that there is none of",
    "unknown-variable": "a variable in a path that nothing says the value of",
    "unused": "a key that no rule names",
    "weak-digest": "a file let in by a digest that collides",
}
"""Codes of faults and what they are about."""


def faults(
    rules: RuleSet,
    at: datetime,
    kinds: frozenset[str] = frozenset(),
    roots: frozenset[str] = frozenset(),
) -> tuple[Fault, ...]:
    """Return everything wrong with a policy at ``at`` (aware UTC), as merged: faults first.

    ``kinds`` are the kinds of files there are besides those of ``policy.rules.kinds``, ``roots``
    the public authorities that sell certificates to anybody: their certificates' SHA-256 (hex) and
    TBS digests (``ALGORITHM:HEX``).
    """
    found = chain(
        _whole(rules, at),
        chain.from_iterable(_of_rule(rule, rules) for rule in rules.rules),
        chain.from_iterable(_of_conditions(w, rules, allows=not w.spares) for w in rules.waivers),
        _kinds((*rules.rules, *rules.waivers), kinds | NAMED),
        _public(rules, roots),
        _exceptions(rules, at),
        _keys(rules, at),
        _shadowed(rules, at),
    )
    return tuple(sorted(dict.fromkeys(found), key=lambda fault: not fault.fault))


def _whole(rules: RuleSet, at: datetime) -> Iterator[Fault]:
    standing = in_force(rules, at)
    if not any(rule.action is not Action.DENY for rule in standing.rules):
        yield Fault(code="no-rule", rule="", found="no rule that lets anything in",
                    required="one: what no rule allows is rejected",
                    fault=rules.mode is not Mode.MONITOR)  # fmt: skip
    kept = {rule.id for rule in standing.rules}
    if rules.mode is Mode.LOCKDOWN:
        for rule in rules.rules:
            if rule.id not in kept:
                yield Fault(code="no-effect", rule=rule.id, found=f"{rule.action} in lockdown",
                            required="a rule by publisher, identity, digest or catalog",
                            fault=False)  # fmt: skip


def _of_rule(rule: Rule, rules: RuleSet) -> Iterator[Fault]:
    allows = rule.action is not Action.DENY
    if not allows and rule.requires is not None:
        yield Fault(code="no-effect", rule=rule.id, found="requirements of a deny rule",
                    required="none: it stops whatever it matches")  # fmt: skip
    yield from _of_conditions(rule, rules, allows=allows)


def _of_conditions(rule: Conditions, rules: RuleSet, *, allows: bool) -> Iterator[Fault]:
    checks: list[Iterable[Fault]] = [_digests(rule, allows=allows), _variables(rule)]
    for match in publishers_of(rule):
        checks += [_everybody(rule, match), _short_lived(rule, match, rules)]
    if rule.identity:
        checks.append(_identity(rule, rule.identity))
    if allows:
        checks += [_paths(rule), _everything(rule)]
    for check in checks:
        yield from check


def _digests(rule: Conditions, *, allows: bool) -> Iterator[Fault]:
    for digest in rule.digest:
        of, algorithm, value = digest.split(":")
        wanted = CDHASH_DIGITS if of == "cdhash" else HEX_DIGITS[algorithm]
        if len(value) != wanted:
            yield Fault(code="digest-form", rule=rule.id, found=digest,
                        required=f"{wanted} hexadecimal digits")  # fmt: skip
        elif algorithm == "sha1" and allows:
            yield Fault(code="weak-digest", rule=rule.id, found=digest, required="SHA-256",
                        hint="two files of one SHA-1 digest can be made")  # fmt: skip


def _kinds(rules: Iterable[Conditions], known: frozenset[str]) -> Iterator[Fault]:
    for rule in rules:
        for kind in rule.kind:
            if kind not in known:
                yield Fault(code="unknown-kind", rule=rule.id, found=kind,
                            required="a class or kind of file",
                            hint="docs/policy.md lists the classes")  # fmt: skip


def _variables(rule: Conditions) -> Iterator[Fault]:
    for path in rule.path:
        if path_pattern(path).unknown:
            yield Fault(code="unknown-variable", rule=rule.id, found=path, required="%OSDRIVE%, "
                        "%WINDIR%, %SYSTEM32% or %PROGRAMFILES%",
                        hint="files are never said to lie there")  # fmt: skip


def _everybody(rule: Conditions, match: PublisherMatch) -> Iterator[Fault]:
    asked = {field for field in match.__struct_fields__ if getattr(match, field)}
    by_usage = asked == {"eku"} and match.eku in _EVERYBODY
    if by_usage or asked <= _PLACES:
        yield Fault(code="everybody", rule=rule.id,
                    found=f"a publisher by {', '.join(sorted(asked))} alone",
                    required="a name, a certificate or a key of his own")  # fmt: skip


def _public(rules: RuleSet, roots: frozenset[str]) -> Iterator[Fault]:
    for rule in rules.rules:
        match = rule.publisher
        if match is None or rule.action is Action.DENY:
            continue
        if specificity(rule, rules.keys) != "authority":
            continue
        key = rules.keys.get(match.key)
        if match.tbs in roots or (key is not None and certificate_digest(key) in roots):
            yield Fault(
                code="everybody",
                rule=rule.id,
                found="a public authority and nothing else of the publisher",
                required="a name, a certificate or a key of his own",
                hint="everybody may buy a certificate there",
            )


def _short_lived(rule: Conditions, match: PublisherMatch, rules: RuleSet) -> Iterator[Fault]:
    leaf = _certificate(rules.keys.get(match.key))
    if leaf is None or leaf.is_ca or leaf.not_after - leaf.not_before > SHORT_LIVED:
        return
    eku = subscriber_eku(leaf.ekus or ())
    days = (leaf.not_after - leaf.not_before).days
    yield Fault(code="short-lived", rule=rule.id, found=f"a leaf that is valid {days} days",
                required="what outlives it", hint=f"eku = \"{eku}\" names the subscriber for good"
                if eku else "name the publisher by his organization")  # fmt: skip


def _identity(rule: Conditions, match: IdentityMatch) -> Iterator[Fault]:
    for field in ("identity", "issuer"):
        text = getattr(match, field)
        try:
            regex = whole_regex(rule.id, text)
        except PolicyError as error:
            yield Fault(code="regular-expression", rule=rule.id, found=error.found,
                        required=error.required)  # fmt: skip
            continue
        if all(regex.fullmatch(probe) for probe in _PROBES):
            yield Fault(code="everybody", rule=rule.id, found=f"{field} = {text!r}",
                        required="an expression that not everybody matches")  # fmt: skip
        bare = _CLASS.sub("x", _ESCAPE.sub("x", text))
        if _NOT_RE2.search(bare) or _BACK_REFERENCE.search(text.replace("\\\\", "")):
            yield Fault(code="regular-expression", rule=rule.id, found=text, required="RE2 syntax: "
                        "no looking around, no references back, no possessive repeats")  # fmt: skip
        elif _NESTED.search(bare):
            yield Fault(
                code="regular-expression",
                rule=rule.id,
                found=text,
                required="no repeat within a repeat",
                hint="a name can be made on which it takes years",
            )


def _paths(rule: Conditions) -> Iterator[Fault]:
    asked = rule.publisher or rule.signers or rule.identity or rule.digest or rule.catalog
    for path in rule.path:
        if not asked and is_writable(path):
            yield Fault(code="anywhere", rule=rule.id, found=path, required="a folder that only "
                        "administrators write to")  # fmt: skip
        elif not asked:
            yield Fault(
                code="by-path",
                rule=rule.id,
                found=path,
                required="a publisher or digest rather",
                hint="whoever may write there may run anything",
                fault=False,
            )


def is_writable(path: str) -> bool:
    """Say whether users may write below a path of a rule, or choose where it is."""
    pattern = path_pattern(path)
    folded = folded_path(path) if pattern.windows else path.casefold()
    if _USER_VARIABLES.search(folded) or folded.startswith("*"):
        return True
    if not pattern.windows:
        literal = folded.partition("*")[0]
        return any(_overlaps(literal, place, "*" in folded) for place in _WRITABLE)
    return any(_below_drive(prefix, "*" in folded) for prefix in pattern.prefixes)


def _below_drive(prefix: str, wild: bool) -> bool:  # noqa: FBT001 - private
    below = re.sub(r"^[a-z]:", "", prefix)
    return any(_overlaps(below, place, wild) for place in _WRITABLE_WINDOWS)


def _overlaps(literal: str, place: str, wild: bool) -> bool:  # noqa: FBT001 - private
    """Say whether what begins so lies in a place; a root with a wildcard holds all of them."""
    return literal.startswith(place) or (wild and literal in ("/", "\\", ""))


def _everything(rule: Conditions) -> Iterator[Fault]:
    signed = rule.publisher or rule.signers or rule.identity
    if signed or rule.digest or rule.path or rule.catalog:
        return
    if rule.product:
        yield Fault(code="self-said", rule=rule.id, found="a product without its publisher",
                    required="the publisher too", hint="any file may call itself so")  # fmt: skip
    elif not rule.origin or not f"{rule.origin.name}{rule.origin.repository}".strip("*/"):
        # A machine's own packages are those that its administrators installed, from sources they
        # chose; anybody may put something into a public registry.
        own = rule.origin is not None and rule.origin.kind in _OF_THE_MACHINE
        yield Fault(
            code="everything",
            rule=rule.id,
            found="every package of the machine" if own else "a rule by kind, host or origin alone",
            required="a publisher, digest, path or package's name",
            fault=not own,
        )


def _exceptions(rules: RuleSet, at: datetime) -> Iterator[Fault]:
    for waiver in rules.waivers:
        ends = f"{waiver.expires:%Y-%m-%d} ({waiver.owner})"
        if waiver.expires <= at:
            yield Fault(code="ended", rule=waiver.id, found=f"an exception that ended {ends}",
                        required="one that counts, or none", fault=False)  # fmt: skip
        elif waiver.expires - at > LONG_EXCEPTION:
            yield Fault(code="lasts-long", rule=waiver.id, found=f"an exception until {ends}",
                        required="at most a year", fault=False)  # fmt: skip


def _keys(rules: RuleSet, at: datetime) -> Iterator[Fault]:
    named = {name for item in (*rules.rules, *rules.waivers) for name in key_names(item)}
    targets = str(rules.targets)
    for name, key in rules.keys.items():
        if name not in named and repr(name) not in targets:
            yield Fault(code="unused", rule=name, found="a key that nothing names",
                        required="a rule or target that does", fault=False)  # fmt: skip
        certificate = _certificate(key)
        if certificate is not None:
            yield from _ages(name, certificate, at)


def _ages(name: str, certificate: Certificate, at: datetime) -> Iterator[Fault]:
    ends = f"{certificate.not_after:%Y-%m-%d}"
    if certificate.not_after < at:
        yield Fault(
            code="ages-out",
            rule=name,
            found=f"a certificate that ended {ends}",
            required="one that has not",
            hint="what was timestamped before stays trusted",
        )
    elif certificate.not_after - at < ENDS_SOON:
        yield Fault(code="ages-out", rule=name, found=f"a certificate that ends {ends}",
                    required="its successor beside it", fault=False)  # fmt: skip


def _certificate(key: Material | None) -> Certificate | None:
    if key is None or key.kind is not KeyKind.CERTIFICATE:
        return None
    try:
        return load_certificate(key.der)
    except BadInputError:
        return None


def _shadowed(rules: RuleSet, at: datetime) -> Iterator[Fault]:
    """Name rules that can never decide anything because of another one."""
    standing = in_force(rules, at)
    coverings = Coverings(standing.rules, standing.keys)
    for rule in standing.rules:
        for other in coverings.of(rule):
            say = _why_useless(rule, other, standing)
            if say:
                yield Fault(code="shadowed", rule=rule.id, found=f"{say} {other.id}",
                            required="a rule that can decide",
                            fault=other.action is Action.DENY)  # fmt: skip
                break


def _why_useless(rule: Rule, other: Rule, standing: RuleSet) -> str:
    if other.action is Action.DENY:
        if other.id in standing.spared:
            return ""
        same = rule.action is Action.DENY
        return "all that it denies denied by" if same else "all that it lets in denied by"
    if rule.action is Action.DENY or rule.action is not other.action:
        return ""
    asks_less = other.requires == rule.requires
    return "all that it lets in let in by" if asks_less else ""
