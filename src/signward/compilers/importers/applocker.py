"""AppLocker's XML into rules.

What has no equal is refused by name: rules for some users, exceptions, publishers of whom not all
four names are said (to AppLocker such a one *has* no others), any publisher at all.  A collection
that is not there, or empty, lets everything in and becomes a rule that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from signward.compilers._applocker import (
    ANY,
    EVERYONE,
    Collection,
    Hash,
    LockerRule,
    Path,
    Publisher,
    places,
    read_locker,
)
from signward.compilers._windows import UniqueNames, Unit, has_wildcard, our_path
from signward.compilers.applocker import (
    ADDRESS,
    GUARD,
    HASHES,
    NO_HASH,
    PACKAGES,
    UNITS,
    is_misread,
)
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.model import (
    MAX_NUMBER,
    MAX_RULES,
    MAX_VALUES,
    Action,
    Layer,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.reading import guid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_NOT_NAME = re.compile(r"[^a-z0-9._-]+")
_ADDRESS = re.compile(r"O=(.+), L=(.+), S=(.+), C=(.+)\Z")
_WHOLE = re.compile(r"CN=(.+), O=(.+), L=(.+), S=(.+), C=(.+)\Z")
_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){3}\Z")
_OF_TYPE = {name: f"{of}:{algorithm}" for (of, algorithm), name in HASHES.items()}

_UNSAID = ("unsaid",)
"""The kinds of a rule while its collections are counted."""

GUARDED = Hash(hashes=(("SHA256", NO_HASH),))


class AppLockerImporter:
    """The importer."""

    target = "applocker"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules.  Raises ``PolicyError``."""
        if len(files) != 1:
            raise PolicyError("AppLocker", f"{len(files)} files", "one")
        ((file, data),) = files.items()
        collections = read_locker(file, data)
        if sum(len(c.rules) for c in collections) > MAX_RULES:
            raise PolicyError(file, "more rules", f"at most {MAX_RULES}")
        rules = tuple(_Reading(file).rules(collections))
        name = _NOT_NAME.sub("-", PurePath(file).stem.casefold()).strip("-._")[:64] or "applocker"
        layer = Layer(name=name, version=1, id=guid(name), rules=frozenset(r.id for r in rules))
        return RuleSet(
            name=name,
            version=1,
            id=layer.id,
            mode=_mode(file, collections),
            requirements=Requirements(),
            rules=rules,
            waivers=(),
            keys={},
            targets={"applocker": {"collections": [c.type for c in collections if c.rules]}},
            layers=(layer,),
        )


def _mode(file: str, collections: Sequence[Collection]) -> Mode:
    audited = {c.mode == "AuditOnly" for c in collections if c.rules}
    if len(audited) > 1:
        raise PolicyError(file, "collections that audit and others that enforce", "one mode of all")
    return Mode.MONITOR if audited == {True} else Mode.ENFORCE


class _Reading:
    """Reads rules."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._names = UniqueNames()

    def rules(self, collections: Sequence[Collection]) -> Iterator[Rule]:
        """Yield the rules; those alike in several collections are one."""
        known = {unit.name: unit for unit in UNITS}
        there = {c.type: c.rules for c in collections if c.rules}
        alike: dict[Rule, list[str]] = {}
        for name, rules in there.items():
            if name not in known:
                raise self._error("collection", name, ", ".join(known))
            for rule in self._of_collection(known[name], rules):
                unsaid = replace(rule, kind=_UNSAID)
                alike.setdefault(unsaid, []).append(known[name].file_class)
        for rule, classes in alike.items():
            kinds = tuple(dict.fromkeys(classes))
            every = len(kinds) == len(UNITS) and (rule.publisher or rule.digest or rule.path)
            yield replace(rule, id=self._names.take(rule.id), kind=() if every else kinds)
        for unit in UNITS:
            if unit.name not in there:
                name = self._names.take(f"{unit.name.casefold()}-not-governed")
                yield Rule(id=name, action=Action.ALLOW, kind=(unit.file_class,))

    def _of_collection(self, unit: Unit, rules: Sequence[LockerRule]) -> list[Rule]:
        """Return the rules of a collection; those alike but for path or hash are one."""
        alike: dict[object, list[Rule]] = {}
        for number, rule in enumerate(rules):
            if (rule.name, rule.allow, rule.condition) == (GUARD, False, GUARDED):
                continue
            one = self._rule(rule, unit)
            field = next((f for f in ("digest", "path") if getattr(one, f)), "")
            key = (field, replace(one, digest=(), path=())) if field else number
            alike.setdefault(key, []).append(one)
        return [rule for group in alike.values() for rule in _joined(group)]

    def _rule(self, rule: LockerRule, unit: Unit) -> Rule:
        if rule.user != EVERYONE:
            raise self._error(rule.name, f"UserOrGroupSid {rule.user[:80]}", f"{EVERYONE} (all)")
        if rule.exceptions:
            raise self._error(rule.name, "exceptions", "none: ours end, and have an owner")
        ours = bool(_NAME.match(rule.name))
        return Rule(
            id=rule.name if ours else _identifier(rule.name),
            note=(rule.description if ours else f"{rule.name}: {rule.description}")[:1024],
            action=Action.ALLOW if rule.allow else Action.DENY,
            kind=(unit.file_class,),
            **self._conditions(rule, unit),
        )

    def _conditions(self, rule: LockerRule, unit: Unit) -> dict[str, Any]:
        condition = rule.condition
        everything = Publisher(publisher=ANY) if unit.name == PACKAGES else Path(path=ANY)
        if condition == everything:
            return {}
        if isinstance(condition, Path):
            return {"path": tuple(self._path(rule, path) for path in places(condition.path))}
        if isinstance(condition, Hash):
            return {"digest": tuple(self._digest(rule, *one) for one in condition.hashes)}
        publisher, product = self._publisher(rule, condition, unit)
        return {"publisher": publisher, "product": product}

    def _path(self, rule: LockerRule, path: str) -> str:
        found = our_path(path)
        if found is None:
            raise self._error(rule.name, f"path {path[:80]!r}", "one that rules can say")
        return found

    def _digest(self, rule: LockerRule, kind: str, value: str) -> str:
        if kind not in _OF_TYPE or len(value) != 64:
            raise self._error(rule.name, f"a hash of type {kind}", "SHA256 or SHA256Flat")
        return f"{_OF_TYPE[kind]}:{value}"

    def _publisher(
        self, rule: LockerRule, condition: Publisher, unit: Unit
    ) -> tuple[PublisherMatch, ProductMatch | None]:
        form = _WHOLE if unit.name == PACKAGES else _ADDRESS
        found = form.match(condition.publisher)
        if found is None:
            raise self._error(rule.name, f"publisher {condition.publisher[:80]!r}",
                              "O=, L=, S= and C= (of packages CN= before them)")  # fmt: skip
        if any(is_misread(value) for value in found.groups()):
            raise self._error(rule.name, f"publisher {condition.publisher[:80]!r}",
                              "one that is read in one way only")  # fmt: skip
        fields = ["common_name"] * (form is _WHOLE) + [field for field, _, _ in ADDRESS]
        match = PublisherMatch(**dict(zip(fields, found.groups(), strict=True)))
        names = (condition.product, condition.binary, condition.low, condition.high)
        if not all(names) or any(has_wildcard(name) for name in names[:2] if name != ANY):
            raise self._error(rule.name, "a name that is empty or has * or ?", "one as it is, or *")
        given = ["" if value == ANY else value for value in names]
        for version in filter(None, given[2:]):
            if not _VERSION.match(version) or max(map(int, version.split("."))) > MAX_NUMBER:
                raise self._error(rule.name, f"version {version[:80]!r}", "four numbers")
        if given[2] == "0.0.0.0":  # noqa: S104 - a version
            given[2] = ""
        if not any(given):
            return match, None
        product, binary, low, high = given
        return match, ProductMatch(
            product=product, original_name=binary, minimum_version=low, maximum_version=high
        )

    def _error(self, what: str, found: str, required: str) -> PolicyError:
        return PolicyError(f"{self._source}: {what[:80]}", found, required)


def _joined(group: Sequence[Rule]) -> Iterator[Rule]:
    """Yield rules alike but for digests or paths as few that have them all."""
    digests = [digest for rule in group for digest in rule.digest]
    paths = [path for rule in group for path in rule.path]
    if not digests and not paths:
        yield from group
    for first in range(0, max(len(digests), len(paths)), MAX_VALUES):
        last = first + MAX_VALUES
        yield replace(
            group[0], digest=tuple(digests[first:last]), path=tuple(paths[first:last])
        )  # fmt: skip


def _identifier(name: str) -> str:
    """Return a rule's identifier made of a foreign name."""
    return _NOT_NAME.sub("-", name.casefold()).strip("-._")[:56] or "rule"


IMPORTER = AppLockerImporter()
