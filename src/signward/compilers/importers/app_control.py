"""App Control policies, XML or binary, into rules.

What has no equal is refused by name: another authority's word (managed installers, the Intelligent
Security Graph), packages, issuers by name, exceptions of rules, rules of one scenario that speak of
descriptions.  A signed policy's signature is not verified: its content is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from signward.compilers._app_control import LENGTHS, SCRIPTED, USER_MODE, WELL_KNOWN
from signward.compilers._app_control_files import read_policies
from signward.compilers._sipolicy import (
    ANY_NAME,
    DRIVERS,
    HIGHEST,
    LOWEST,
    PROGRAMS,
    FileKind,
    FileRule,
    Signer,
    SiPolicy,
    Version,
    dotted,
)
from signward.compilers._windows import UniqueNames, has_wildcard, our_path
from signward.compilers.app_control import (
    AUDIT,
    DECIDING,
    FREE_OPTIONS,
    HVCI,
    NO_SCRIPTS,
    OWN_OPTIONS,
    UMCI,
)
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.model import (
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

_TOLD = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})(?:: (.*))?\Z", re.DOTALL)
"""A rule's friendly name as we write it: its identifier, and a note."""

_NOT_NAME = re.compile(r"[^a-z0-9._-]+")

_HASHES = {FileKind.ALLOW: "hashes-allowed", FileKind.DENY: "hashes-denied"}
"""Names of rules by hash that have none."""


class AppControlImporter:
    """The importer."""

    target = "app-control"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules of a base and its supplements.  Raises ``PolicyError``."""
        policies = read_policies(files)
        base = _only_base(policies)
        rules = _Rules(scripts=NO_SCRIPTS not in base.options)
        layers = tuple(_layer(policy, rules) for policy in policies)
        return RuleSet(
            name=layers[0].name,
            version=layers[0].version,
            id=base.id,
            mode=Mode.MONITOR if AUDIT in base.options else Mode.ENFORCE,
            requirements=Requirements(),
            rules=tuple(rules.made),
            waivers=(),
            keys={},
            targets={"app-control": _settings(base)},
            layers=layers,
            note=_guards(base),
        )


def _only_base(policies: Sequence[SiPolicy]) -> SiPolicy:
    base = policies[0]
    if base.is_supplement or any(p.base_id != base.id for p in policies):
        raise PolicyError(f"policy {base.id}", "another base, or none", "one base, its supplements")
    for policy in policies:
        for option in policy.options:
            if option in DECIDING:
                raise PolicyError(f"policy {policy.id}", f"option {option}", "rules alone decide")
            if option not in FREE_OPTIONS | OWN_OPTIONS:
                found = f"option {option[:80]!r}"
                raise PolicyError(f"policy {policy.id}", found, "options that we know")
    if UMCI not in base.options:
        raise PolicyError(f"policy {base.id}", f"no {UMCI}", "a policy of both modes")
    return base


def _settings(base: SiPolicy) -> dict[str, object]:
    levels = {value: name for name, value in HVCI.items()}
    if base.hvci not in levels:
        raise PolicyError(f"policy {base.id}", f"HvciOptions {base.hvci}", "0, 1 or 2")
    return {
        "hvci": levels[base.hvci],
        "scripts": NO_SCRIPTS not in base.options,
        "options": sorted(set(base.options) & FREE_OPTIONS),
    }


def _guards(base: SiPolicy) -> str:
    """Return a note on who may change the policy: known by hash, so that no setting names them."""
    asked = {*base.update_signers, *base.supplemental_signers}
    found = [s.tbs.hex() or f"root {s.well_known}" for s in base.signers if s.id in asked]
    return f"signers of updates, for update_signers: {', '.join(found)}"[:1024] if found else ""


def _layer(policy: SiPolicy, rules: _Rules) -> Layer:
    first = len(rules.made)
    rules.add(policy)
    named = _NOT_NAME.sub("-", policy.name.casefold()).strip("-._")[:64]
    major, minor, high, low = policy.version
    ours = (major, minor) == (10, 0)
    return Layer(
        name=named or policy.id,
        version=max(1, ((high & 0x7FFF) << 16 | low) if ours else low),
        id=policy.id,
        rules=frozenset(rule.id for rule in rules.made[first:]),
    )


class _Rules:
    """The rules read so far."""

    def __init__(self, *, scripts: bool) -> None:
        self.made: list[Rule] = []
        self._user_mode = USER_MODE + (SCRIPTED if scripts else ())
        self._names = UniqueNames()

    def add(self, policy: SiPolicy) -> None:
        """Add a policy's rules: by file in the file rules' order, then by signer."""
        reading = _Reading(policy, tuple(unit.file_class for unit in self._user_mode))
        for rule in reading.rules():
            self.made.append(replace(rule, id=self._names.take(rule.id)))
            if len(self.made) > MAX_RULES:
                raise PolicyError(f"policy {policy.id}", "more rules", f"at most {MAX_RULES}")


class _Reading:
    """Reads one policy."""

    def __init__(self, policy: SiPolicy, user_mode: tuple[str, ...]) -> None:
        self._policy = policy
        self._user_mode = user_mode
        self._files = {rule.id: rule for rule in policy.files}
        self._ekus = {eku.id: eku.oid for eku in policy.ekus}
        self._named = {kind: _named_in(policy, kind) for kind in ("files", "allowed", "denied")}
        self._excepted = {
            ref.signer
            for s in policy.scenarios
            for ref in (*s.allowed, *s.denied)
            if ref.exceptions
        }

    def rules(self) -> Iterator[Rule]:
        """Yield the rules that scenarios refer to; hashes of one name are one rule."""
        yield from self._by_file()
        for signer in self._policy.signers:
            yield from self._by_signer(signer)

    def _error(self, what: str, found: str, required: str) -> PolicyError:
        return PolicyError(f"policy {self._policy.id}: {what}", found, required)

    def _scenarios(self, identifier: str, kind: str) -> frozenset[int]:
        """Return the scenarios in which an identifier stands among ``kind``."""
        return frozenset(self._named[kind].get(identifier, ()))

    def _kinds(self, what: str, scenarios: frozenset[int]) -> tuple[str, ...]:
        if not scenarios <= {DRIVERS, PROGRAMS}:
            raise self._error(what, f"scenarios {sorted(scenarios)}", "131 and 12")
        if scenarios == {DRIVERS, PROGRAMS}:
            return ()
        return ("driver",) if scenarios == {DRIVERS} else self._user_mode

    def _by_file(self) -> Iterator[Rule]:
        """Yield the rules by hash, path or product; hashes (or paths) of one name are one rule.

        The binary form has no names: there all hashes of one action are.
        """
        alike: dict[tuple[str, FileKind, str, frozenset[int]], list[FileRule]] = {}
        for rule in self._policy.files:
            scenarios = self._scenarios(rule.id, "files")
            if scenarios and rule.kind is not FileKind.ATTRIBUTE:
                name = rule.friendly_name or (_HASHES[rule.kind] if rule.digest else rule.id)
                place = "digest" if rule.digest else "path" if rule.path else rule.id
                alike.setdefault((name, rule.kind, place, scenarios), []).append(rule)
        for (name, _, _, scenarios), group in alike.items():
            for first in range(0, len(group), MAX_VALUES):
                yield self._of_files(name, group[first : first + MAX_VALUES], scenarios)

    def _of_files(self, told: str, group: list[FileRule], scenarios: frozenset[int]) -> Rule:
        first = group[0]
        kinds = self._kinds(first.id, scenarios)
        if first.path and PROGRAMS not in scenarios:
            raise self._error(first.id, "a path of drivers", "user mode")
        name, note = _told(told, first.id) if told != first.id else _told("", first.id)
        return Rule(
            id=name,
            note=note,
            action=Action.DENY if first.kind is FileKind.DENY else Action.ALLOW,
            kind=kinds,
            digest=tuple(self._digest(rule) for rule in group if rule.digest),
            path=tuple(self._path(rule) for rule in group if rule.path),
            product=None if first.digest or first.path else self._product(first, first.kind),
        )

    def _digest(self, rule: FileRule) -> str:
        if len(rule.digest) not in (20, 32) or rule.path or _asks_more(rule):
            raise self._error(rule.id, "a hash of another length, or with more", "SHA-1, SHA-256")
        return f"authenticode:{LENGTHS[len(rule.digest)]}:{rule.digest.hex()}"

    def _path(self, rule: FileRule) -> str:
        path = our_path(rule.path)
        if path is None or _asks_more(rule):
            raise self._error(rule.id, f"path {rule.path[:80]!r}", "one that rules can say")
        return path

    def _product(self, rule: FileRule, kind: FileKind) -> ProductMatch:
        """Return the names and versions of a file rule, read as one of ``kind``."""
        if rule.description or rule.package_family:
            raise self._error(rule.id, "a description or a package", "names of a version resource")
        lowest, highest = rule.minimum, rule.maximum
        if kind is FileKind.DENY and highest is None:
            lowest, highest = None, lowest
        names = (rule.file_name, rule.internal_name, rule.product_name)
        if any(has_wildcard(name) for name in names if name != ANY_NAME) or (
            ANY_NAME in names[1:]
        ):  # fmt: skip
            raise self._error(rule.id, "a name with * or ?", "names as they are")
        bounds = (None if lowest == LOWEST else lowest, None if highest == HIGHEST else highest)
        if set(names) <= {"", ANY_NAME} and bounds == (None, None):
            raise self._error(rule.id, "every file", "a rule with a condition")
        return ProductMatch(
            original_name="" if rule.file_name == ANY_NAME else rule.file_name,
            internal_name=rule.internal_name,
            product=rule.product_name,
            minimum_version=_text(bounds[0]),
            maximum_version=_text(bounds[1]),
        )

    def _by_signer(self, signer: Signer) -> Iterator[Rule]:
        for action, kind in ((Action.ALLOW, "allowed"), (Action.DENY, "denied")):
            scenarios = self._scenarios(signer.id, kind)
            if not scenarios:
                continue
            if signer.id in self._excepted:
                raise self._error(signer.id, "exceptions", "none: they end, with an owner")
            name, note = _told(signer.name, signer.id)
            for product in self._products(signer, action):
                yield Rule(
                    id=name,
                    note=note,
                    action=action,
                    kind=self._kinds(signer.id, scenarios),
                    publisher=self._publisher(signer),
                    product=product,
                )

    def _products(self, signer: Signer, action: Action) -> Iterator[ProductMatch | None]:
        """Yield what the file must be, any one of them; None for any file."""
        kind = FileKind.DENY if action is Action.DENY else FileKind.ALLOW
        if not signer.files:
            yield None
        for identifier in signer.files:
            rule = self._files[identifier]
            if rule.digest or rule.path:
                raise self._error(identifier, "a hash or a path of a signer", "names, versions")
            yield self._product(rule, kind)

    def _publisher(self, signer: Signer) -> PublisherMatch:
        known = {number: tbs for tbs, number in WELL_KNOWN.items()}
        if signer.issuer or signer.oem or len(signer.ekus) > 1:
            raise self._error(signer.id, "an issuer, an OEM or several EKUs", "a rule's conditions")
        tbs = (f"{LENGTHS.get(len(signer.tbs), '')}:{signer.tbs.hex()}" if signer.tbs
               else known.get(signer.well_known, ""))  # fmt: skip
        if tbs.partition(":")[0] not in LENGTHS.values():
            raise self._error(signer.id, "a root we cannot name", "SHA-1 or SHA-2 of a certificate")
        return PublisherMatch(
            tbs=tbs,
            common_name=signer.publisher,
            eku=self._ekus[signer.ekus[0]] if signer.ekus else "",
        )


def _asks_more(rule: FileRule) -> bool:
    """Say whether a rule by hash or path has names or versions besides."""
    names = (rule.file_name, rule.internal_name, rule.description, rule.product_name,
             rule.package_family)  # fmt: skip
    return any(names) or (rule.minimum or LOWEST, rule.maximum or HIGHEST) != (LOWEST, HIGHEST)


def _named_in(policy: SiPolicy, kind: str) -> dict[str, set[int]]:
    """Return the scenarios' values by the identifiers that stand among ``kind`` in them."""
    found: dict[str, set[int]] = {}
    for scenario in policy.scenarios:
        refs = scenario.allowed if kind == "allowed" else scenario.denied
        names = scenario.files if kind == "files" else [ref.signer for ref in refs]
        for name in names:
            found.setdefault(name, set()).add(scenario.value)
    return found


def _told(name: str, identifier: str) -> tuple[str, str]:
    """Return a rule's identifier and note from its friendly name, or from the native one."""
    ours = _TOLD.match(name)
    if ours:
        return ours[1], (ours[2] or "")[:1024]
    return _NOT_NAME.sub("-", identifier.casefold()).strip("-._")[:56] or "rule", name[:1024]


def _text(version: Version | None) -> str:
    return dotted(version) if version else ""


IMPORTER = AppControlImporter()
