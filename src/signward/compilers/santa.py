"""Santa: binary authorization on macOS, by rules in a profile or from a sync server.

Sources: ``sync/v1.proto`` and ``cel/v1.proto``, santa.dev (Binary Authorization, Configuration),
``SNTPolicyProcessor`` and ``SNTRule`` of santad.  Santa takes the most specific rule of a program;
where Signward would deny first, a rule that allows yields by a CEL expression (Santa 2025.6) or is
lost (``_santa_rules``).

What Santa leaves to nobody's rules: macOS's own programs always run, scripts and libraries are
not looked at, and a CDHASH counts only under the hardened runtime.  Programs signed with a
development certificate are known by digest and CERTIFICATE alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File, Towards, _plist
from signward.compilers._lossy import Ledger
from signward.compilers._profile import profile
from signward.compilers._santa import SantaRule, guard, static_rule, synced_rule
from signward.compilers._santa_rules import Allowed, Decided, decided
from signward.policy.rules.model import MAX_TEXT, Action, Mode, Rule, RuleSet, Strict


class SantaSettings(Strict, frozen=True, kw_only=True):
    """``[targets.santa]``.

    ``payload`` is the profile's domain, the old one for Santa before 2025, which knows no CEL;
    ``cel`` False does without.  ``sync_url`` is where Santa asks for rules (``SyncBaseURL``).
    """

    payload: Literal["com.northpolesec.santa", "com.google.santa"] = "com.northpolesec.santa"
    cel: bool = True
    organization: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    sync_url: Annotated[str, msgspec.Meta(pattern=r"^(https://[!-~]{1,1000})?\Z")] = ""

    @property
    def guards(self) -> bool:
        """Whether the Santa spoken to evaluates CEL."""
        return self.cel and self.payload == "com.northpolesec.santa"


class SantaCompiler:
    """Writes a profile, its static rules alone, and what a sync server answers."""

    target = "santa"
    title = "Santa"
    spec = "santa.sync.v1, santa.cel.v1; santa.dev: Binary Authorization, Configuration"
    governs = frozenset({"executable"})
    kinds = frozenset({"macho", "macho-fat"})
    losses: Mapping[str, str] = {
        "publisher": "publishers by names or TBS digest: Santa knows teams and leaf certificates",
        "key": "publishers by a key: a certificate that is renewed with it has another SHA-256",
        "eku": "publishers by EKU",
        "signers": "several signers of one program",
        "identity": "keyless identities",
        "product": "what a program says of itself, but its identifier under its team",
        "version-floor": "versions",
        "digest": "digests other than file:sha256 and cdhash:sha256",
        "path": "paths",
        "origin": "where a file came from",
        "catalog": "catalogs",
        "kind": "rules by kind of file alone, or for one kind of Mach-O",
        "hosts": "host tags",
        "audit": "the word about what an audit rule lets in: it runs, and nothing says so",
        "precedence": "rules that allow, and would win over a less specific one that denies",
        "exception": "what an exception spares, where no rule as specific lets it in",
        "expiry": "the end of exceptions",
        "monitor": "rules that deny, in a policy that only watches: Santa would stop by them",
        "requirement-timestamp": "trusted timestamps",
        "requirement-revocation": "revocation: macOS asks, Santa does not",
        "requirement-algorithm": "minimum algorithms",
        "requirement-log": "log inclusion",
        "requirement-age": "the age of a signature",
    }
    settings = SantaSettings
    checked = ("schema", "the messages of sync/v1.proto; guards evaluated by Google's CEL runtime")

    def compile(self, rules: RuleSet, settings: SantaSettings) -> Compiled:
        """Return the files; see `Compiler.compile`."""
        ledger = Ledger(self.target)
        governed = tuple(ledger.in_turn(rules, self.governs, self.kinds))
        watching = rules.mode is Mode.MONITOR
        told = decided(ledger, rules, governed, deny=not watching)
        told = told if settings.guards else _unguarded(ledger, told)
        _lose_the_rest(ledger, rules, governed, told, watching=watching)
        mode = "MONITOR" if watching else "LOCKDOWN"
        return ledger.compiled(_files(rules, settings, _santa_rules(told), mode))


def _unguarded(ledger: Ledger, told: Decided) -> Decided:
    """Lose what would need a guard, for a Santa that evaluates none."""
    kept: list[Allowed] = []
    for one in told.allowed:
        if any(one.keys.values()):
            text = "it must yield to rules that deny, and this Santa evaluates no CEL"
            ledger.lose_rule("precedence", one.rule, text)
        else:
            kept.append(one)
    return Decided(denied=told.denied, allowed=tuple(kept))


def _lose_the_rest(
    ledger: Ledger, rules: RuleSet, governed: tuple[Rule, ...], told: Decided, *, watching: bool
) -> None:
    kept = [one.rule for one in told.allowed]
    ledger.lose_requirements(rules, kept)
    ledger.lose_expiry(rules)
    for rule in kept:
        if rule.action is Action.AUDIT:
            text = "Santa lets it run and says no more of it than of any other"
            ledger.lose("audit", rule.id, text, Towards.LOOSER)
    for rule in governed:
        if watching and rule.action is Action.DENY:
            text = "Santa stops by such rules in monitor mode too, so it is left out"
            ledger.lose("monitor", rule.id, text, Towards.LOOSER)


def _santa_rules(told: Decided) -> list[SantaRule]:
    """Return one rule for each key: what denies first, each group in the policy's order."""
    made = {key: _blocking(key, rule) for key, rule in told.denied.items()}
    for one in told.allowed:
        for key, yields in one.keys.items():
            made.setdefault(key, _allowing(key, one.rule, yields))
    return list(made.values())


def _blocking(key: tuple[str, str], rule: Rule) -> SantaRule:
    return SantaRule(rule_type=key[0], identifier=key[1], policy="BLOCKLIST",
                     custom_msg=_plist.plain(rule.note), comment=rule.id)  # fmt: skip


def _allowing(key: tuple[str, str], rule: Rule, yields: frozenset[tuple[str, str]]) -> SantaRule:
    policy = "CEL" if yields else "ALLOWLIST"
    return SantaRule(rule_type=key[0], identifier=key[1], policy=policy, comment=rule.id,
                     cel_expr=guard(yields) if yields else "")  # fmt: skip


_CLIENT_MODES = {"MONITOR": 1, "LOCKDOWN": 2}


def _files(
    rules: RuleSet, settings: SantaSettings, told: list[SantaRule], mode: str
) -> tuple[File, ...]:
    static = [static_rule(rule) for rule in told]
    keys = {
        "ClientMode": _CLIENT_MODES[mode],
        **({"SyncBaseURL": settings.sync_url} if settings.sync_url else {}),
        "StaticRules": static,
    }
    payload = (settings.payload, "rules", keys)
    return (
        File(
            name="santa.mobileconfig",
            content=profile(rules, "santa", "Santa", settings.organization, (payload,)),
            deploy="install by MDM; macOS's own programs run whatever it says",
        ),
        File(
            name="StaticRules.plist",
            content=_plist.write(static),
            deploy="the profile's StaticRules alone, for an MDM with a form of its own",
        ),
        File(
            name="ruledownload.json",
            content=_json({"rules": [synced_rule(rule) for rule in told]}),
            deploy="a sync server's answer to /ruledownload, "
            "or: santactl rule --import ruledownload.json",
        ),
        File(
            name="preflight.json",
            content=_json({"client_mode": mode, "sync_type": "CLEAN"}),
            deploy="a sync server's answer to /preflight: the mode, and that old rules go",
        ),
    )


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


COMPILER = SantaCompiler()
