"""Apple configuration profiles: Gatekeeper's rules, and kernel and system extensions by team.

Sources: Apple's device management schema (``com.apple.systempolicy.control``, ``.managed`` and
``.rule``, ``com.apple.syspolicy.kernel-extension-policy``, ``com.apple.system-extension-policy``)
and the Code Signing Requirement Language.  A rule of Gatekeeper lets in; what is denied is taken
out of every such rule (``_apple_requirements``).

Gatekeeper is no allow list: it asks about what is quarantined, once, and always lets in Apple's and
the App Store's.  That is the loss ``default-deny``, which every policy has here.  Extensions are:
with users not asked, nothing loads but what is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from signward.compilers import Compiled, File, Towards, in_scope
from signward.compilers._apple_requirements import excluding, requirement
from signward.compilers._lossy import Ledger, UnsayableError
from signward.compilers._profile import Payload, profile
from signward.policy.rules.model import MAX_TEXT, Action, Rule, RuleSet, Strict

MAX_DENIED = 200
"""Most that is denied: it stands in every rule that lets in."""

_STARTED = frozenset({"executable"})
_INSTALLED = frozenset({"installer"})
_EXTENSIONS = frozenset({"kernel-module"})
_MACHO = frozenset({"macho", "macho-fat"})

Program = tuple[str, str]
"""A team and a bundle identifier; empty for all of the team's."""


class ProfileSettings(Strict, frozen=True, kw_only=True):
    """``[targets.apple-profiles]``.

    ``identified_developers`` lets in everything with a Developer ID and a notary's ticket, denied
    or not, which is the loss ``deny``;
    ``extensions`` False leaves kernel and system extensions to other profiles.
    """

    identified_developers: bool = False
    extensions: bool = True
    organization: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""


class ProfileCompiler:
    """Writes one profile for Gatekeeper and one for extensions."""

    target = "apple-profiles"
    title = "Apple configuration profiles"
    spec = "Apple device management: system policy, kernel and system extensions"
    governs = _STARTED | _INSTALLED | _EXTENSIONS
    kinds = frozenset({"macho", "macho-fat", "pkg"})
    losses: Mapping[str, str] = {
        "default-deny": "that nothing else runs: Apple's, the App Store's and what was never "
        "quarantined do",
        "extension": "extensions by anything but a team, or a program of a team",
        "publisher": "publishers by names or TBS digest, certificates that are not in [keys]",
        "key": "publishers by a key",
        "eku": "publishers by EKU",
        "signers": "several signers of one program",
        "identity": "keyless identities",
        "product": "what a program says of itself, but its identifier",
        "version-floor": "versions",
        "digest": "digests other than a CDHash",
        "path": "paths",
        "origin": "where a file came from",
        "catalog": "catalogs",
        "kind": "rules by kind alone, or for one kind of Mach-O",
        "hosts": "host tags",
        "deny": "more that is denied than fits into every rule; with identified_developers, all",
        "audit": "the word about what an audit rule lets in",
        "exception": "what an exception spares by such conditions",
        "expiry": "the end of exceptions that spare, or are for extensions",
        "monitor": "watching only: Gatekeeper stops",
        "requirement-timestamp": "trusted timestamps",
        "requirement-revocation": "revocation: macOS asks in its own way",
        "requirement-algorithm": "minimum algorithms",
        "requirement-log": "log inclusion",
        "requirement-age": "the age of a signature",
    }
    settings = ProfileSettings
    checked = ("schema", "Apple's schemas of the payloads; requirements by a reader of the tests")

    def compile(self, rules: RuleSet, settings: ProfileSettings) -> Compiled:
        """Return the profiles; see `Compiler.compile`."""
        ledger = Ledger(self.target)
        governed = tuple(ledger.in_turn(rules, self.governs, self.kinds))
        payloads, kept = _gatekeeper(ledger, rules, governed)
        if settings.identified_developers:
            _lose_denials(ledger, governed)
        files = [_gatekeeper_file(rules, settings, payloads)]
        listed: dict[Program, Rule] = {}
        if settings.extensions:
            listed = _extensions(ledger, rules, governed)
            files.append(_extension_file(rules, settings, listed))
        else:
            _lose_extensions(ledger, governed)
        _lose_the_rest(ledger, rules, [*kept, *listed.values()], listed)
        return ledger.compiled(files)


def _lose_the_rest(
    ledger: Ledger, rules: RuleSet, kept: Iterable[Rule], listed: Mapping[Program, Rule]
) -> None:
    text = "Gatekeeper lets in Apple's, the App Store's and what was never quarantined"
    ledger.lose("default-deny", "", text, Towards.LOOSER)
    kept = tuple(kept)
    ledger.lose_requirements(rules, kept)
    ledger.lose_mode(rules)
    for rule in kept:
        if rule.action is Action.AUDIT:
            ledger.lose("audit", rule.id, "macOS lets it in and says nothing", Towards.LOOSER)
    timed = {rule.id for rule in kept} - {rule.id for rule in listed.values()}
    for waiver in rules.waivers:
        if waiver.id not in timed:
            text = f"macOS goes on sparing it after {waiver.expires:%Y-%m-%dT%H:%M:%SZ}"
            ledger.lose("expiry", waiver.id, text, Towards.LOOSER)


def _gatekeeper(
    ledger: Ledger, rules: RuleSet, governed: Iterable[Rule]
) -> tuple[list[Payload], list[Rule]]:
    """Return a payload for each rule and operation, and the rules that are said by them."""
    wanted: list[tuple[Rule, str]] = []
    denied: dict[str, list[str]] = {"execute": [], "install": []}
    for rule in governed:
        if not in_scope(rule, _STARTED | _INSTALLED, _MACHO | {"pkg"}):
            continue
        text = _said(ledger, rules, rule)
        if text and rule.action is not Action.DENY:
            wanted.append((rule, text))
        elif text and max(map(len, denied.values())) == MAX_DENIED:
            ledger.lose_rule("deny", rule, f"more than {MAX_DENIED} are denied")
        elif text:
            reached = excluding(text, _spared(ledger, rules, rule))
            for operation in _operations(rule):
                denied[operation].append(reached)
    ends = {waiver.id: waiver.expires for waiver in rules.waivers}
    payloads = [
        _rule_payload(rule, excluding(text, denied[operation]), operation, ends.get(rule.id))
        for rule, text in wanted
        for operation in _operations(rule)
    ]
    return payloads, [rule for rule, _ in wanted]


def _lose_denials(ledger: Ledger, governed: Iterable[Rule]) -> None:
    """Lose what denies to Gatekeeper's own rule for developers: none of ours takes it back."""
    for rule in governed:
        if rule.action is Action.DENY and in_scope(rule, _STARTED | _INSTALLED, _MACHO | {"pkg"}):
            ledger.lose_rule("deny", rule, "Gatekeeper lets in every identified developer's")


def _said(ledger: Ledger, rules: RuleSet, rule: Rule) -> str:
    """Return a rule's requirement; empty for one that is lost."""
    try:
        text = requirement(rule, rules.keys)
        if not _operations(rule):
            raise UnsayableError("kind", "Gatekeeper has no rules for one kind of Mach-O alone")
        if rule.product and _operations(rule) == ("install",):
            raise UnsayableError("product", "an installer package has no code identifier")
    except UnsayableError as lost:
        ledger.lose_rule(lost.name, rule, str(lost))
        return ""
    return text


def _spared(ledger: Ledger, rules: RuleSet, rule: Rule) -> Iterator[str]:
    for spare in rules.spared.get(rule.id, ()):
        try:
            if spare.kind:
                raise UnsayableError("kind", "a requirement says nothing of a kind of file")
            yield requirement(spare, rules.keys)
        except UnsayableError as lost:
            ledger.lose("exception", spare.id, str(lost), Towards.STRICTER)


def _operations(rule: Rule) -> tuple[str, ...]:
    """Return what a rule speaks of: starting programs, installing packages."""
    kinds = set(rule.kind)
    started = not kinds or bool(kinds & _STARTED) or kinds >= _MACHO
    installed = not kinds or bool(kinds & (_INSTALLED | {"pkg"}))
    if rule.product and started:
        installed = False
    found = {"execute": started, "install": installed}
    return tuple(name for name, wanted in found.items() if wanted)


def _rule_payload(rule: Rule, text: str, operation: str, ends: datetime | None) -> Payload:
    keys: dict[str, Any] = {
        "Requirement": text,
        "Comment": rule.id,
        "OperationType": f"operation:{operation}",
    }
    if ends is not None:
        keys["Expiration"] = ends.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    return "com.apple.systempolicy.rule", f"rule.{rule.id}.{operation}", keys


def _gatekeeper_file(rules: RuleSet, settings: ProfileSettings, payloads: list[Payload]) -> File:
    control = {
        "EnableAssessment": True,
        "AllowIdentifiedDevelopers": settings.identified_developers,
    }
    switches: list[Payload] = [
        ("com.apple.systempolicy.control", "control", control),
        ("com.apple.systempolicy.managed", "managed", {"DisableOverride": True}),
    ]
    return File(
        name="gatekeeper.mobileconfig",
        content=profile(
            rules, "gatekeeper", "Gatekeeper", settings.organization, switches + payloads
        ),
        deploy="install by MDM",
    )


def _extensions(ledger: Ledger, rules: RuleSet, governed: Iterable[Rule]) -> dict[Program, Rule]:
    """Return the extensions that may load.  A team that is denied takes its programs with it."""
    said = [
        (rule, program)
        for rule in governed
        if in_scope(rule, _EXTENSIONS) and (program := _program(ledger, rule))
    ]
    denied = {program: rule for rule, program in said if rule.action is Action.DENY}
    listed: dict[Program, Rule] = {}
    for rule, program in said:
        if rule.action is Action.DENY or program in denied or (program[0], "") in denied:
            continue
        if not program[1] and any(team == program[0] for team, _ in denied):
            text = "a team is listed with all of its extensions, and one is denied"
            ledger.lose_rule("extension", rule, text)
            continue
        listed.setdefault(program, rule)
    for rule in denied.values():
        for spare in rules.spared.get(rule.id, ()):
            text = f"an extension is listed or not, and {rule.id} takes it away"
            ledger.lose("exception", spare.id, text, Towards.STRICTER)
    return listed


def _program(ledger: Ledger, rule: Rule) -> Program | None:
    publisher, product = rule.publisher, rule.product
    others = [f for f in ("signers", "identity", "digest", "path", "origin", "catalog", "hosts")
              if getattr(rule, f)]  # fmt: skip
    team = publisher.team_id if publisher else ""
    plain = publisher is not None and not any(
        getattr(publisher, f) for f in publisher.__struct_fields__ if f != "team_id"
    )
    name = product.bundle_id if product else ""
    named = product is None or not any(
        getattr(product, f) for f in product.__struct_fields__ if f != "bundle_id"
    )
    if plain and team and named and not others:
        return team, name
    ledger.lose_rule("extension", rule, "extensions are listed by team, or by name under a team")
    return None


def _lose_extensions(ledger: Ledger, governed: Iterable[Rule]) -> None:
    for rule in governed:
        if set(rule.kind) & _EXTENSIONS:
            ledger.lose_rule("extension", rule, "extensions are left to other profiles")


def _extension_file(
    rules: RuleSet, settings: ProfileSettings, listed: Mapping[Program, Rule]
) -> File:
    teams = sorted({team for team, name in listed if not name})
    programs: dict[str, list[str]] = {}
    for team, name in sorted(listed):
        if name and team not in teams:
            programs.setdefault(team, []).append(name)
    common = {"AllowUserOverrides": False, "AllowedTeamIdentifiers": teams}
    payloads: list[Payload] = [
        ("com.apple.syspolicy.kernel-extension-policy", "kernel-extensions",
         {**common, "AllowedKernelExtensions": programs}),
        ("com.apple.system-extension-policy", "system-extensions",
         {**common, "AllowedSystemExtensions": programs}),
    ]  # fmt: skip
    return File(
        name="extensions.mobileconfig",
        content=profile(rules, "extensions", "Extensions", settings.organization, payloads),
        deploy="install by an MDM that the user approved: macOS takes it from no one else",
    )


COMPILER = ProfileCompiler()
