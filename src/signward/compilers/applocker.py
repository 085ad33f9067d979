r"""AppLocker: one policy in XML, a collection each for programs, libraries, scripts, MSI, packages.

Sources: Microsoft Learn, "AppLocker rules", "Understanding the publisher rule condition in
AppLocker", "Understanding the path rule condition in AppLocker", "How AppLocker works"; the schema
``AppLocker.xsd``.  In each collection that has rules what denies goes first, then what allows, and
all else is stopped; one without rules stops nothing, so an empty one is given a rule that denies a
hash no file has.  Drivers are not AppLocker's.

A publisher is the text ``O=..., L=..., S=..., C=...`` made of its certificate's subject, what is
not there left out: all four must be said to say it, or ``complete`` finds them in certificates of
``[keys]``, or ``publishers`` tells it.  Of a package it is the whole subject.  Names and paths are
compared without regard to case.  What a rule lets in is written to the event log (8002), so audit
rules lose nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._applocker import (
    ANY,
    EVERYONE,
    Collection,
    Condition,
    Hash,
    LockerRule,
    Path,
    Publisher,
    write_locker,
)
from signward.compilers._lossy import Ledger
from signward.compilers._sipolicy import dotted
from signward.compilers._windows import (
    Unit,
    digests_of,
    is_literal,
    only_a_ceiling,
    spares_in_part,
    units_of,
    upper,
    windows_path,
)
from signward.compilers._xml import holds
from signward.frozen import Frozen
from signward.policy.rules.matching import version_of
from signward.policy.rules.model import (
    CONDITIONS,
    MAX_TEXT,
    Action,
    Conditions,
    KeyKind,
    Mode,
    Name,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    Strict,
)
from signward.trust.names import attribute_values
from signward.trust.x509 import load_certificate

PE = frozenset({"pe"})
UNITS = (
    Unit(name="Exe", file_class="executable", kinds=PE),
    Unit(name="Dll", file_class="library", kinds=PE),
    Unit(name="Script", file_class="script",
         kinds=frozenset({"powershell", "batch", "vbscript", "javascript"})),
    Unit(name="Msi", file_class="installer", kinds=frozenset({"msi"})),
    Unit(name="Appx", file_class="app-package", kinds=frozenset({"msix"})),
)  # fmt: skip
"""The collections, by their Type."""

PACKAGES = "Appx"
GOVERNED_KINDS = frozenset().union(*(unit.kinds for unit in UNITS))

ADDRESS = (("organization", "O", "2.5.4.10"), ("locality", "L", "2.5.4.7"),
           ("state", "S", "2.5.4.8"), ("country", "C", "2.5.4.6"))  # fmt: skip
"""What a publisher's text is made of, in order: our field, AppLocker's letter, the OID."""

VARIABLES = frozenset({"osdrive", "windir", "system32", "programfiles"})
SYSTEM32 = "%SYSTEM32%"
SPELLED_OUT = r"%WINDIR%\SYSTEM32"
"""What to us is ``%SYSTEM32%``; to AppLocker that is SysWOW64 as well."""

GUARD = "(signward) nothing else is allowed"
"""Name of the rule that an empty collection is given."""
NO_HASH = "00" * 32

HASHES = {("authenticode", "sha256"): "SHA256", ("file", "sha256"): "SHA256Flat"}

_VALUE = "((?!, [A-Z]+=).)+"
_PUBLISHER = (
    rf"^(CN=.+, )?O=(?=.+, [LSC]=){_VALUE}(, L={_VALUE})?(, S={_VALUE})?(, C=[A-Za-z]{{2}})?\Z"
)
"""O and at least one more of the four, in their order."""
PublisherText = Annotated[str, msgspec.Meta(pattern=_PUBLISHER, max_length=MAX_TEXT)]

Type = Literal["Exe", "Dll", "Script", "Msi", "Appx"]


class AppLockerSettings(Strict, frozen=True, kw_only=True):
    """``[targets.applocker]``.

    Collections that are not written stop nothing.  With ``complete`` a publisher by some of its
    names becomes those of that description whose certificates are in [keys], and no others.
    ``publishers`` maps a rule to what AppLocker calls its publishers, where that cannot be known:
    certificates of that name count, whichever authority made them.
    """

    collections: tuple[Type, ...] = ("Exe", "Dll", "Script", "Msi")
    complete: bool = False
    publishers: dict[Name, tuple[PublisherText, ...]] = msgspec.field(default_factory=dict)


LOSSES: Mapping[str, str] = {
    "publisher": "publishers by anything but organization, locality, state and country, all four",
    "publisher-names": "publishers of that description who are not in [keys]",
    "publisher-told": "certificates of a publisher's name from any authority, as settings tell it",
    "signers": "several signers of one file",
    "identity": "keyless identities",
    "product": "products without a publisher, internal names, bundle identifiers, * or ? in names",
    "digest": "digests other than SHA-256 of the file or of Authenticode, or with a condition more",
    "path": "paths with a condition more, of another system, or with wildcards inside a name",
    "app-packages": "packages, in a rule that speaks of them among others",
    "collection": "rules of a collection that is not written",
    "origin": "the package a file came from",
    "catalog": "the catalog that vouches",
    "kind": "kinds within a collection",
    "hosts": "hosts: deploy to groups instead",
    "exception": "exceptions with several conditions, or from denials by hash",
    "expiry": "the end of exceptions: compile again before it",
    "requirement-timestamp": "a trusted timestamp",
    "requirement-revocation": "revocation status",
    "requirement-algorithm": "algorithms and key sizes",
    "requirement-log": "inclusion in a log",
    "requirement-age": "a signature's age",
}


class AppLocker:
    """The compiler."""

    target = "applocker"
    title = "AppLocker"
    spec = "Microsoft Learn, AppLocker rules; AppLocker.xsd"
    governs = frozenset(unit.file_class for unit in UNITS)
    settings = AppLockerSettings
    schema = "windows/AppLocker.xsd"
    checked = ("schema", "AppLocker.xsd, and read by the package applocker of PyPI")
    losses = LOSSES

    def compile(self, rules: RuleSet, settings: AppLockerSettings) -> Compiled:
        """Return the policy's XML."""
        ledger = Ledger("AppLocker")
        expression = _Expression(ledger, rules, settings)
        kept: list[Rule] = []
        made: list[tuple[str, LockerRule]] = []
        for rule in ledger.in_turn(rules, self.governs, GOVERNED_KINDS):
            found = list(expression.express(rule))
            made += found
            kept += [rule] if found else []
        ledger.lose_requirements(rules, kept)
        ledger.lose_expiry(rules)
        return ledger.compiled([_file(rules, settings, made)])


def _file(rules: RuleSet, settings: AppLockerSettings, made: list[tuple[str, LockerRule]]) -> File:
    mode = "AuditOnly" if rules.mode is Mode.MONITOR else "Enabled"
    by_type = {unit.name: tuple(rule for name, rule in made if name == unit.name) for unit in UNITS}
    collections = tuple(
        Collection(type=name, mode=mode, rules=found or (_guard(rules, name),))
        for name, found in by_type.items()
        if name in settings.collections
    )
    return File(
        name=f"{rules.name}.xml",
        content=write_locker(collections),
        deploy="`Set-AppLockerPolicy -XmlPolicy FILE` (with -Ldap into a group policy); the "
               "service AppIDSvc must run; Windows' own programs need a rule too",
    )  # fmt: skip


def _guard(rules: RuleSet, collection: str) -> LockerRule:
    return LockerRule(
        id=_guid(rules, GUARD, collection, 0),
        name=GUARD,
        description="A collection without rules would stop nothing; no file has this hash.",
        allow=False,
        condition=Hash(hashes=(("SHA256", NO_HASH),)),
    )


def _guid(rules: RuleSet, name: str, collection: str, number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(rules.id), f"{name}/{collection}/{number}"))


class _Said(Frozen, frozen=True, kw_only=True):
    """What conditions say: any one of ``found``, and of ``packages`` in that collection."""

    found: tuple[Condition, ...]
    packages: tuple[Condition, ...] = ()


class _Expression:
    """Expresses rules one by one; what cannot be said goes to the ledger."""

    def __init__(self, ledger: Ledger, rules: RuleSet, settings: AppLockerSettings) -> None:
        self._ledger, self._rules, self._settings = ledger, rules, settings
        self._subjects = [
            _address(key.der) for key in rules.keys.values() if key.kind is KeyKind.CERTIFICATE
        ]

    def express(self, rule: Rule) -> Iterator[tuple[str, LockerRule]]:
        """Yield the rules that say ``rule``, each with its collection's Type."""
        units = units_of(rule, UNITS)
        if units is None:
            self._lose("kind", rule, "a collection's kinds go together")
            return
        if self._ledger.lose_fields(rule, _EXPRESSED):
            return
        said = _EVERYTHING if _asks_only(rule, "kind") else self.said(rule)
        if said is None:
            return
        for unit in self._written(rule, units, said):
            conditions = said.packages if unit.name == PACKAGES else said.found
            exceptions = self._exceptions(rule, unit) if conditions else ()
            yield from self._rules_of(rule, unit, conditions, exceptions)

    def _written(self, rule: Rule, units: tuple[Unit, ...], said: _Said) -> list[Unit]:
        """Return the collections a rule goes to; none if it is lost."""
        written = [unit for unit in units if unit.name in self._settings.collections]
        aside = tuple(unit for unit in units if unit not in written)
        if not written or (aside and rule.kind and rule.action is Action.DENY):
            self._lose_collection(rule, aside)
        if not written:
            return []
        packages = any(unit.name == PACKAGES for unit in written)
        if not said.found and not (packages and len(written) == 1):
            self._lose("publisher", rule, "a publisher's common name is seen of packages only")
            return []
        if packages and not said.packages:
            self._lose("app-packages", rule, "a package is known by its publisher's whole subject")
        return written

    def _lose_collection(self, rule: Rule, units: tuple[Unit, ...]) -> None:
        """Lose a rule of collections that are not written, unless it lets everything in."""
        if not _asks_only(rule, "kind") or rule.action is Action.DENY:
            names = ", ".join(unit.name for unit in units)
            self._lose("collection", rule, f"{names} is not among the collections to write")

    def _lose(self, name: str, rule: Rule, why: str) -> None:
        self._ledger.lose_rule(name, rule, f"AppLocker: {why}")

    def _rules_of(
        self,
        rule: Rule,
        unit: Unit,
        conditions: tuple[Condition, ...],
        exceptions: tuple[Condition, ...],
    ) -> Iterator[tuple[str, LockerRule]]:
        for number, condition in enumerate(_less(conditions, exceptions)):
            yield (
                unit.name,
                LockerRule(
                    id=_guid(self._rules, rule.id, unit.name, number),
                    name=rule.id,
                    description=rule.note,
                    allow=rule.action is not Action.DENY,
                    condition=condition,
                    exceptions=() if isinstance(condition, Hash) else exceptions,
                    user=EVERYONE,
                ),
            )

    def _exceptions(self, rule: Rule, unit: Unit) -> tuple[Condition, ...]:
        """Return what a deny rule does not reach in a collection."""
        found: list[Condition] = []
        for waiver in self._rules.spared.get(rule.id, ()):
            units = units_of(waiver, UNITS)
            if units is not None and unit not in units:
                continue
            said = _Said(found=()) if units is None else self._spared(waiver)
            conditions = said.packages if unit.name == PACKAGES else said.found
            beyond = rule.digest and not all(isinstance(c, Hash) for c in conditions)
            said_whole = conditions and not beyond
            if said_whole:
                found += conditions
            if not said_whole or (rule.digest and spares_in_part(rule, waiver)):
                text = f"AppLocker denies by {rule.id} what {waiver.id} spares"
                self._ledger.lose("exception", waiver.id, text, Towards.STRICTER)
        return tuple(found)

    def _spared(self, waiver: Conditions) -> _Said:
        """Return a waiver's conditions; nothing for one that is said in part."""
        asked = {name: getattr(waiver, name) for name in CONDITIONS}
        rule = Rule(**{**asked, "id": waiver.id, "action": Action.ALLOW})
        ledger = Ledger("AppLocker")
        lost = ledger.lose_fields(rule, _EXPRESSED)
        said = None if lost else _Expression(ledger, self._rules, self._settings).said(rule)
        return _Said(found=()) if said is None or ledger.compiled(()).losses else said

    def said(self, rule: Rule) -> _Said | None:
        """Return what a rule's conditions say; None if they cannot be said."""
        people = rule.publisher or rule.signers
        fields = [f for f in ("digest", "path") if getattr(rule, f)]
        if len(fields) + bool(people or rule.product) != 1:
            self._lose((*fields, "kind")[0], rule, "a rule has one condition")
            return None
        if rule.digest:
            return self._digests(rule)
        if rule.path:
            return self._paths(rule)
        if rule.product and not people:
            self._lose("product", rule, "a product is a publisher's")
            return None
        return self._publishers(rule)

    def _digests(self, rule: Rule) -> _Said | None:
        parts = digests_of(rule)
        hashes = [(HASHES[of, algorithm], value)
                  for of, algorithm, value in parts if (of, algorithm) in HASHES]  # fmt: skip
        if len(hashes) < len(parts):
            number = len(parts) - len(hashes)
            self._lose("digest", rule, f"{number} of {len(parts)} digests are not SHA-256 of a "
                                       "file or of Authenticode")  # fmt: skip
        return _Said(found=(Hash(hashes=tuple(hashes)),)) if hashes else None

    def _paths(self, rule: Rule) -> _Said | None:
        paths = [windows_path(text, VARIABLES) for text in rule.path]
        if not all(paths):
            self._lose("path", rule, "paths are of Windows, with ** for wildcard")
            return None
        spelled = [(path or "").replace(SYSTEM32, SPELLED_OUT) for path in paths]
        return _Said(found=tuple(Path(path=path) for path in spelled))

    def _publishers(self, rule: Rule) -> _Said | None:
        if rule.publisher and rule.signers:
            self._lose("signers", rule, "one signer at a time")
            return None
        if rule.signers and rule.signers.least > 1:
            self._lose("signers", rule, f"no {rule.signers.least} signers of one file")
            return None
        match = rule.product
        if match and not _is_sayable(match):
            self._lose("product", rule, "products have a name, a file name and versions, and no "
                                        "* or ? in a name")  # fmt: skip
            return None
        matches = [one for one in (rule.signers.of if rule.signers else (rule.publisher,)) if one]
        each = [self._names(rule, one) for one in matches]
        whole = [_subject(one) for one in matches]
        names = tuple(dict.fromkeys(name for found in each for name in found))
        packages = tuple(whole) if all(whole) else ()
        if not all(each):
            told = self._told(rule)
            names = packages = tuple(name for name in told if name.startswith("CN="))
            names += tuple(name for name in told if name not in packages)
        if not names:
            self._lose("publisher", rule, "a publisher is O, L, S and C of its subject, all four")
            return None
        return _Said(
            found=tuple(_publisher(name, match) for name in names if not name.startswith("CN=")),
            packages=() if match else tuple(_publisher(name, None) for name in packages),
        )

    def _told(self, rule: Rule) -> tuple[str, ...]:
        """Return what settings call a rule's publishers: they may be others, too."""
        names = tuple(upper(name) for name in self._settings.publishers.get(rule.id, ()))
        if names:
            denied = rule.action is Action.DENY
            text = f"AppLocker takes whoever is called {'; '.join(names)}"
            self._ledger.lose("publisher-told", rule.id, text,
                              Towards.STRICTER if denied else Towards.LOOSER)  # fmt: skip
        return names

    def _names(self, rule: Rule, match: PublisherMatch) -> tuple[str, ...]:
        """Return a publisher's texts; none if it has none."""
        asked = {field for field in match.__struct_fields__ if getattr(match, field)}
        fields = {field for field, _, _ in ADDRESS}
        if asked == {*fields, "common_name"}:
            return tuple(filter(None, (_subject(match),)))
        if not asked <= fields:
            return ()
        given = {field: getattr(match, field) for field in asked}
        if asked == fields:
            return tuple(filter(None, (text_of(given),)))
        if not self._settings.complete or "organization" not in asked:
            return ()
        found = {text_of(subject) for subject in self._subjects if _describes(given, subject)}
        if found - {""}:
            self._lose("publisher-names", rule, "publishers of that description in [keys] only")
        return tuple(sorted(found - {""}))


_EXPRESSED = ("publisher", "signers", "product", "digest", "path")


def _asks_only(conditions: Conditions, field: str) -> bool:
    return [name for name in CONDITIONS if getattr(conditions, name)] == [field]


_EVERYTHING = _Said(found=(Path(path=ANY),), packages=(Publisher(publisher=ANY),))
"""What a rule by kind alone says: everything in its collections."""


def _less(
    conditions: tuple[Condition, ...], exceptions: tuple[Condition, ...]
) -> Iterator[Condition]:
    """Yield conditions; hashes lose those that are excepted, as they can have no exceptions."""
    spared = {h for one in exceptions if isinstance(one, Hash) for h in one.hashes}
    for condition in conditions:
        if isinstance(condition, Hash):
            kept = tuple(one for one in condition.hashes if one not in spared)
            if kept:
                yield Hash(hashes=kept)
        else:
            yield condition


def _publisher(name: str, match: ProductMatch | None) -> Publisher:
    if match is None:
        return Publisher(publisher=name)
    return Publisher(
        publisher=name,
        product=upper(match.product) or ANY,
        binary=upper(match.original_name) or ANY,
        low=_section(match.minimum_version),
        high=_section(match.maximum_version),
    )


def _is_sayable(match: ProductMatch) -> bool:
    """Say whether a publisher condition can say all of a product, and no more."""
    beyond = match.internal_name or match.bundle_id or only_a_ceiling(match)
    return not beyond and is_literal(match)


def _section(text: str) -> str:
    return dotted(version_of(text)) if text else ANY


def text_of(subject: Mapping[str, str]) -> str:
    """Return a publisher's text of its subject's values; empty for one that can be misread."""
    values = [(letter, subject.get(field, "")) for field, letter, _ in ADDRESS]
    if any(is_misread(value) for _, value in values):
        return ""
    return ", ".join(f"{letter}={upper(value)}" for letter, value in values if value)


def is_misread(value: str) -> bool:
    """Say whether another attribute could be seen in a value, or XML cannot hold it."""
    return any(f", {letter}=" in upper(value) for _, letter, _ in ADDRESS) or not holds(value)


def _subject(match: PublisherMatch) -> str:
    """Return the whole subject of a package's publisher; empty if not all of it is said."""
    given = {field: getattr(match, field) for field, _, _ in ADDRESS}
    rest = text_of(given)
    name = match.common_name
    if not name or is_misread(name) or not all(given.values()) or not rest:
        return ""
    return f"CN={upper(name)}, {rest}"


def _describes(given: Mapping[str, str], subject: Mapping[str, str]) -> bool:
    return all(subject.get(f, "").casefold() == value.casefold() for f, value in given.items())


@cache
def _address(der: bytes) -> dict[str, str]:
    """Return the values of a certificate's subject that a publisher's text is made of."""
    subject = load_certificate(der).subject
    each = {field: attribute_values(subject, oid) for field, _, oid in ADDRESS}
    if any(len(values) > 1 for values in each.values()):
        return {}  # which of them AppLocker would take is not written anywhere
    return {field: values[0] for field, values in each.items() if values}


COMPILER = AppLocker()
