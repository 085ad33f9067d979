r"""A driver block list: an App Control policy that lets in everything but what is denied.

Sources: Microsoft Learn, "Microsoft recommended driver block rules" (whose list has this form) and
"Use multiple App Control policies".  It stands beside other base policies: what it lets in they
may still stop, and what it denies none of them lets in.  Only rules that deny drivers go in; that
drivers which no rule lets in run all the same is a loss, always.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from signward.compilers import Compiled, File, Towards
from signward.compilers._app_control import DRIVER, GOVERNED_KINDS, Expression, Sheet
from signward.compilers._cip import write_cip
from signward.compilers._lossy import Ledger
from signward.compilers._sipolicy import (
    ANY_NAME,
    DRIVERS,
    PROGRAMS,
    FileKind,
    FileRule,
    SiPolicy,
    braced,
    write_policy,
)
from signward.compilers.app_control import AUDIT, UMCI, UNSIGNED, AppControl, version_from
from signward.frozen import replace
from signward.policy.rules.model import Action, Conditions, Mode, Rule, RuleSet, Strict

_OPTIONS = ("Enabled:Advanced Boot Options Menu", "Enabled:Update Policy No Reboot", UNSIGNED)
_NOT_LOST = ("audit", "path-of-drivers")
"""What App Control loses of rules that let in, or of programs: neither goes in here."""


class BlockListSettings(Strict, frozen=True, kw_only=True):
    """``[targets.driver-blocklist]``: with ``programs`` it denies in user mode too."""

    programs: bool = False


class DriverBlockListCompiler:
    """Writes the list as SiPolicy XML and in its binary form."""

    target = "driver-blocklist"
    title = "Vulnerable driver block list (App Control)"
    spec = "Microsoft Learn, Microsoft recommended driver block rules; cipolicy.xsd"
    governs = frozenset({"driver"})
    losses: Mapping[str, str] = {
        **{name: text for name, text in AppControl.losses.items() if name not in _NOT_LOST},
        "default": "that drivers which no rule lets in do not run: a list only denies",
    }
    settings = BlockListSettings
    schema = "windows/SiPolicy.xsd"
    checked = ("schema", "cipolicy.xsd; read back as a block list")

    def compile(self, rules: RuleSet, settings: BlockListSettings) -> Compiled:
        """Return the list of all denials that reach drivers, or whatever App Control governs."""
        ledger, sheet = Ledger(self.target), Sheet()
        expression = Expression(ledger, rules.keys, scripts=settings.programs)
        governs = AppControl.governs if settings.programs else self.governs
        kinds = GOVERNED_KINDS if settings.programs else DRIVER.kinds
        for rule in ledger.in_turn(rules, governs, kinds):
            if rule.action is Action.DENY:
                denied = rule if settings.programs else _of_drivers(rule)
                expression.express(denied, sheet, rules.spared.get(rule.id, ()))
        ledger.lose("default", "", self.losses["default"], Towards.LOOSER)
        _lose_expiry(ledger, rules)
        policy = _policy(rules, sheet, settings)
        return ledger.compiled([
            File(name=f"{policy.name}.xml", content=write_policy(policy),
                 deploy="for people and for tools that take XML; Windows takes the .cip"),
            File(name=f"{braced(policy.id)}.cip", content=write_cip(policy),
                 deploy=r"to %windir%\System32\CodeIntegrity\CiPolicies\Active, then "
                        "`CiTool --update-policy`; it is a base of its own"),
        ])  # fmt: skip


def _of_drivers(rule: Rule) -> Rule:
    """Return the rule as far as it speaks of drivers, which is all that the list is asked."""
    return replace(rule, kind=("driver",))


def _lose_expiry(ledger: Ledger, rules: RuleSet) -> None:
    """Lose the ends of exceptions from denials that are in the list."""
    sparing = {waiver.id for waivers in rules.spared.values() for waiver in waivers}
    ending = tuple(waiver for waiver in rules.waivers if waiver.id in sparing)
    ledger.lose_expiry(replace(rules, waivers=ending))


def _policy(rules: RuleSet, sheet: Sheet, settings: BlockListSettings) -> SiPolicy:
    everything = Conditions(id="everything-else", kind=("driver",))
    anything = FileRule(id="", kind=FileKind.ALLOW, file_name=ANY_NAME)
    for scenario in (DRIVERS, PROGRAMS):
        sheet.add_file(everything, anything, (scenario,))
    what = "denials" if settings.programs else "drivers"
    target = DriverBlockListCompiler.target
    identifier = str(uuid.uuid5(uuid.UUID(rules.id), target if what == "drivers" else what))
    options = {*_OPTIONS, *([UMCI] if settings.programs else [])}
    return SiPolicy(
        id=identifier,
        base_id=identifier,
        version=version_from(rules.version),
        name=f"{rules.name}-{what}",
        label=f"{rules.name} {rules.version}",
        options=tuple(sorted((*options, *((AUDIT,) if rules.mode is Mode.MONITOR else ())))),
        ekus=sheet.ekus,
        files=tuple(sheet.files),
        signers=tuple(sheet.signers),
        scenarios=sheet.scenarios(),
    )


COMPILER = DriverBlockListCompiler()
