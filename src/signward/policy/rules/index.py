"""Rules in force, ready to be asked: a decision looks at the few that can matter.

Each rule is filed under one of its conditions that asks for an exact value: the one by which
fewest other rules would be filed in the same place.  A rule none of whose values a subject has
cannot match it.  Where a subject does not tell what a drawer is sorted by, every rule in it might.
Those of one shape are alike if it tells nothing else they ask, and the first speaks for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TypeAlias

from signward.frozen import Frozen
from signward.policy.rules.force import requirements_of
from signward.policy.rules.matching import (
    NAMES,
    SUBJECT_FIELDS,
    Test,
    certificate_digest,
    fold_name,
    tests_of,
    told_digests,
)
from signward.policy.rules.model import (
    Action,
    Conditions,
    Material,
    OriginMatch,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.paths import folded_path, path_pattern, prefixes_of
from signward.policy.rules.precedence import rank
from signward.policy.rules.requiring import Reliance, reliances
from signward.policy.rules.subject import Subject

Slot: TypeAlias = tuple[str, str]
"""A drawer, and the value that a rule is filed under in it."""

EVERYWHERE: tuple[Slot, ...] = (("any", ""),)
"""Where a rule is filed that asks for no exact value."""


class Ready(Frozen, frozen=True, kw_only=True):
    """A rule with its tests.  ``spared``: tests of what it does not reach."""

    rule: Rule
    tests: tuple[tuple[str, Test], ...]
    spared: tuple[tuple[str, tuple[tuple[str, Test], ...]], ...]
    requirements: Requirements
    relies: tuple[Reliance, ...]


class Shape(Frozen, frozen=True, kw_only=True):
    """What rules are alike in where a subject tells nothing that they ask, but kind and host.

    ``asks`` are the names of `_BLANK` of its other conditions; ``spared`` the rule itself where
    exceptions make it one of its own.
    """

    deny: bool
    asks: frozenset[str]
    kind: tuple[str, ...]
    hosts: tuple[str, ...]
    spared: str


class Drawer:
    """Rules by an exact value, and by their shape: positions in `Index.rules`, ascending."""

    def __init__(self) -> None:
        self.filed: dict[str, list[int]] = {}
        self.alike: dict[Shape, list[int]] = {}

    def put(self, values: Iterable[str], shape: Shape, position: int) -> None:
        """File a rule."""
        for value in values:
            self.filed.setdefault(value, []).append(position)
        self.alike.setdefault(shape, []).append(position)

    def possible(self, subject: Subject) -> Iterator[int]:
        """Yield the rules that may match whatever values they are filed under."""
        for shape, positions in self.alike.items():
            if all(_is_blank(name, subject) for name in shape.asks):
                yield positions[0]
            else:
                yield from positions


class Index:
    """The rules in force (see ``force.in_force``), in the order of ``precedence``.

    ``asked`` is what they ask of a subject.  Raises ``PolicyError`` for a regular expression that
    is none.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.name, self.version, self.mode = rules.name, rules.version, rules.mode
        ordered = sorted(rules.rules, key=lambda rule: rank(rule, rules.keys))
        self.rules = tuple(_ready(rule, rules) for rule in ordered)
        self.drawers: dict[str, Drawer] = {}
        self._file(rules.keys)
        self._looks = tuple((*_look(name), drawer) for name, drawer in self.drawers.items())
        self.asked = frozenset(asked(rules))

    def candidates(self, subject: Subject) -> list[Ready]:
        """Return, in order, the rules that may match a subject: all that do are among them."""
        found: list[int] = []
        for values, untold, drawer in self._looks:
            filed = drawer.filed
            for value in values(subject):
                if value in filed:
                    found += filed[value]
            if untold(subject):
                found += drawer.possible(subject)
        if len(found) < 2:
            return [self.rules[position] for position in found]
        rules = self.rules
        return [rules[position] for position in sorted(set(found))]

    def _file(self, keys: Mapping[str, Material]) -> None:
        filed = [ways(ready.rule, keys) for ready in self.rules]
        crowd = Counter(slot for way in filed for slots in way for slot in slots)
        for position, (ready, way) in enumerate(zip(self.rules, filed, strict=True)):
            slots = min(way, key=lambda slots: max(crowd[slot] for slot in slots),
                        default=EVERYWHERE)  # fmt: skip
            shape = _shape(ready)
            for drawer in dict.fromkeys(drawer for drawer, _ in slots):
                values = dict.fromkeys(value for name, value in slots if name == drawer)
                self.drawers.setdefault(drawer, Drawer()).put(values, shape, position)


def _ready(rule: Rule, rules: RuleSet) -> Ready:
    return Ready(
        rule=rule,
        tests=tests_of(rule, rules.keys),
        spared=tuple((c.id, tests_of(c, rules.keys)) for c in rules.spared.get(rule.id, ())),
        requirements=requirements_of(rule, rules),
        relies=reliances(rule, rules.keys, asked=rule.requires is not None)
        if rule.action is not Action.DENY
        else (),
    )


def asked(rules: RuleSet) -> Iterator[str]:
    """Yield what conditions ask of a subject, by the names of `_BLANK`.

    ``several`` asks for all signers and not for the strongest alone: whoever is denied is denied
    beside a stronger signature of somebody else's as well.
    """
    for conditions in (*rules.rules, *chain.from_iterable(rules.spared.values())):
        yield from _asks(conditions)
        if conditions.signers and conditions.signers.least > 1:
            yield "several"
    for rule in rules.rules:
        if rule.action is Action.DENY and "signers" in _asks(rule):
            yield "several"


def _shape(ready: Ready) -> Shape:
    rule = ready.rule
    return Shape(deny=rule.action is Action.DENY, asks=frozenset(_asks(rule)), kind=rule.kind,
                 hosts=rule.hosts, spared=rule.id if ready.spared else "")  # fmt: skip


def _asks(rule: Conditions) -> Iterator[str]:
    if rule.publisher or rule.signers or rule.identity:
        yield "signers"
    yield from (field for field in ("path", "origin", "catalog") if getattr(rule, field))
    yield from (f"digest:{digest.rpartition(':')[0]}" for digest in rule.digest)
    if rule.product:
        yield from (field for field in NAMES if getattr(rule.product, field))
        if rule.product.minimum_version or rule.product.maximum_version:
            yield "version"


# --- where rules are filed ---------------------------------------------------------------------


def ways(rule: Conditions, keys: Mapping[str, Material]) -> list[tuple[Slot, ...]]:
    """Return the ways to file a rule: a match has one of the values of every way."""
    found = [_simple(field, getattr(rule, field)) for field in ("catalog", "kind", "hosts")]
    found.append(tuple((f"digest:{d.rpartition(':')[0]}", d) for d in rule.digest))
    found.append(_path_slots(rule.path))
    if rule.publisher:
        found += _publisher_ways(rule.publisher, keys)
    if rule.signers:
        found.append(tuple(slot for one in rule.signers.of
                          for slot in next(_publisher_ways(one, keys))))  # fmt: skip
    if rule.identity:
        found.append((("keyless", ""),))
    if rule.product:
        found += [(slot,) for slot in _product_slots(rule.product)]
    if rule.origin:
        found.append((_origin_slot(rule.origin),))
    return [way for way in found if way]


def _simple(field: str, values: Iterable[str]) -> tuple[Slot, ...]:
    return tuple((field, value) for value in values)


def _publisher_ways(
    match: PublisherMatch, keys: Mapping[str, Material]
) -> Iterator[tuple[Slot, ...]]:
    if match.certificate:
        yield (("leaf", match.certificate.removeprefix("sha256:")),)
    if match.key:
        key = keys[match.key]
        slots = ("certificate", certificate_digest(key)), ("key", key.key)
        yield tuple((drawer, value) for drawer, value in slots if value) or (("none", ""),)
    for field in ("serial_number", "identity", "common_name", "team_id", "eku", "organization",
                  "tbs", "unit", "locality", "state", "country"):  # fmt: skip
        value = getattr(match, field)
        if value:
            yield ((field, value if field in _EXACT else value.casefold()),)


_EXACT = frozenset({"team_id", "eku", "tbs"})


def _product_slots(match: ProductMatch) -> Iterator[Slot]:
    for field in NAMES:
        value = getattr(match, field)
        if value:
            yield field, fold_name(field, value)


def _origin_slot(match: OriginMatch) -> Slot:
    if match.name and "*" not in match.name:
        return "origin", f"{match.kind} {match.name}"
    return "origin", f"{match.kind} *"


def _path_slots(texts: Iterable[str]) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    for text in texts:
        pattern = path_pattern(text)
        if pattern.unknown:
            return EVERYWHERE
        drawer = "windows" if pattern.windows else "path"
        slots += [(drawer, prefix) for prefix in pattern.prefixes]
    return tuple(slots)


# --- what a subject has ------------------------------------------------------------------------


def _look(drawer: str) -> tuple[Callable[[Subject], Iterable[str]], Callable[[Subject], bool]]:
    """Return what tells a subject's values in a drawer, and whether it may have untold ones."""
    if drawer.startswith("digest:"):
        return told_digests, _untold_digest(drawer)
    return _VALUES[drawer], partial(_untold, _UNTOLD[drawer])


def _of_signers(field: str) -> Callable[[Subject], Iterable[str]]:
    get = attrgetter(field)
    return lambda subject: [value for s in subject.signers for value in get(s)]


def _folded_name(field: str) -> Callable[[Subject], Iterable[str]]:
    return lambda subject: [s.subject[field].casefold() for s in subject.signers
                            if field in s.subject]  # fmt: skip


def _said(field: str) -> Callable[[Subject], Iterable[str]]:
    get = attrgetter(field)
    return lambda subject: (fold_name(field, get(subject)),)


def _origins(subject: Subject) -> Iterator[str]:
    for origin in subject.origins:
        yield f"{origin.kind} {origin.name}"
        yield f"{origin.kind} *"


_VALUES: Mapping[str, Callable[[Subject], Iterable[str]]] = {
    "any": lambda _: ("",),
    "none": lambda _: (),
    "leaf": lambda subject: [s.certificates[0] for s in subject.signers if s.certificates],
    "certificate": _of_signers("certificates"),
    "tbs": _of_signers("tbs"),
    "eku": _of_signers("ekus"),
    "key": lambda subject: [s.key for s in subject.signers],
    "identity": lambda subject: [s.identity.casefold() for s in subject.signers],
    "team_id": lambda subject: [s.team_id for s in subject.signers],
    "keyless": lambda subject: [""] if any(s.keyless_identity for s in subject.signers) else [],
    **{field: _folded_name(field) for field in SUBJECT_FIELDS},
    **{field: _said(field) for field in NAMES},
    "catalog": lambda subject: subject.catalogs,
    "origin": _origins,
    "path": lambda subject: prefixes_of(subject.path, "/"),
    "windows": lambda subject: prefixes_of(folded_path(subject.path), "\\"),
    "kind": lambda subject: (subject.kind, subject.file_class, *subject.classes),
    "hosts": lambda subject: (subject.host.casefold(), *subject.tags),
}

_SIGNED = {
    "leaf": "signers.certificate", "certificate": "signers.certificate", "tbs": "signers.tbs",
    "eku": "signers.ekus", "key": "signers.key", "identity": "signers.subject",
    "team_id": "signers", "keyless": "signers", "none": "signers",
    **dict.fromkeys(SUBJECT_FIELDS, "signers.subject"),
}  # fmt: skip
"""What must be known to know that a signer has not the value, besides that all signers are."""

_UNTOLD: Mapping[str, frozenset[str]] = {
    **{drawer: frozenset({"signers", name}) for drawer, name in _SIGNED.items()},
    **{field: frozenset({name}) for field, name in NAMES.items()},
    "any": frozenset(),
    "catalog": frozenset({"catalog"}),
    "origin": frozenset({"origin"}),
    "path": frozenset({"path"}),
    "windows": frozenset({"path"}),
    "kind": frozenset({"kind"}),
    "hosts": frozenset({"host"}),
}


def _untold(names: frozenset[str], subject: Subject) -> bool:
    """Say whether a rule may match a subject that has none of its values in a drawer."""
    return not subject.unknown.isdisjoint(names)


def _untold_digest(drawer: str) -> Callable[[Subject], bool]:
    """Return the same of digests: another algorithm's of the same content tells nothing."""
    name, of, _ = drawer.split(":")
    same, same_kind, unknown = drawer.removeprefix("digest:") + ":", f"{of}:", f"{name}:{of}"

    def untold(subject: Subject) -> bool:
        told = told_digests(subject)
        for digest in told:
            if digest.startswith(same):
                return False
        if unknown in subject.unknown:
            return True
        return any(digest.startswith(same_kind) for digest in told)

    return untold


def _is_blank(name: str, subject: Subject) -> bool:
    """Say whether a subject tells nothing at all of what conditions of this name ask."""
    if name.startswith("digest:"):
        return _untold_digest(name)(subject)
    unknown, field = _BLANK[name]
    return unknown in subject.unknown and not getattr(subject, field)


_BLANK: Mapping[str, tuple[str, str]] = {
    "signers": ("signers", "signers"),
    "path": ("path", "path"),
    "origin": ("origin", "origins"),
    "catalog": ("catalog", "catalogs"),
    "version": ("version", "version"),
    **{field: (name, field) for field, name in NAMES.items()},
}
