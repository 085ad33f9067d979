"""What is in force: a rule set at an instant, as decisions and compilers both take it.

Exceptions become rules here, those that have ended go, and lockdown takes its rules away: nobody
after this looks at a clock or a mode to know which rules there are.
"""

from __future__ import annotations

from datetime import datetime

from signward.frozen import replace
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    Mode,
    Requirements,
    Rule,
    RuleSet,
    Waiver,
)


def in_force(rules: RuleSet, at: datetime) -> RuleSet:
    """Return the rules in force at ``at`` (aware UTC).

    Exceptions without ``spares`` are now allow rules under their own names, the others stand in
    ``spared``; ``waivers`` are those that count.
    """
    lockdown = rules.mode is Mode.LOCKDOWN
    waivers = () if lockdown else tuple(w for w in rules.waivers if w.expires > at)
    kept = tuple(r for r in rules.rules if not lockdown or _stands_in_lockdown(r))
    spared: dict[str, tuple[Conditions, ...]] = {}
    for waiver in waivers:
        for name in waiver.spares:
            spared[name] = (*spared.get(name, ()), waiver)
    allowing = tuple(as_rule(waiver) for waiver in waivers if not waiver.spares)
    return replace(rules, rules=kept + allowing, waivers=waivers, spared=spared)


def as_rule(waiver: Waiver) -> Rule:
    """Return the allow rule that an exception is while it lasts."""
    conditions = {field: getattr(waiver, field) for field in CONDITIONS}
    return Rule(id=waiver.id, action=Action.ALLOW, note=waiver.reason, **conditions)


def _stands_in_lockdown(rule: Rule) -> bool:
    """Keep what denies, and what allows by something that an attacker cannot choose."""
    if rule.action is Action.DENY:
        return True
    named = rule.publisher or rule.signers or rule.identity or rule.digest or rule.catalog
    return rule.action is Action.ALLOW and bool(named)


def requirements_of(rule: Rule, rules: RuleSet) -> Requirements:
    """Return what the rule asks besides its match: its own requirements, else the policy's."""
    return rule.requires or rules.requirements
