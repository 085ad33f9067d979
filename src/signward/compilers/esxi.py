r"""ESXi: VIBs down to an acceptance level, and no program that no VIB brought.

Sources: "Managing the acceptance levels of hosts and VIBs" and "execInstalledOnly" (vSphere
Security), esxcli reference.  A host has one acceptance level for all VIBs: VMwareCertified and
VMwareAccepted are signed by VMware, PartnerSupported by any partner whose key VMware has signed,
CommunitySupported by nobody.  A rule names its publisher; which level stands for that publisher
is what ``levels`` of the settings says, and a partner's level lets in every other partner too.

``execInstalledOnly`` denies what runs and came with no VIB; as a boot option it counts from the
next start, and where a TPM seals the host's configuration it can be made to stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._by_certificate import LOSSES, lose_expiry
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Action, Name, Rule, RuleSet, Strict

Level = Literal["vmware-certified", "vmware-accepted", "partner-supported", "community-supported"]

_LEVELS: Mapping[str, str] = {
    "vmware-certified": "VMwareCertified",
    "vmware-accepted": "VMwareAccepted",
    "partner-supported": "PartnerSupported",
    "community-supported": "CommunitySupported",
}
"""From the strictest on; each lets in what those before it do."""


class EsxiSettings(Strict, frozen=True, kw_only=True):
    """``[targets.esxi]``.

    ``levels`` maps allow rules, by their ids, to the acceptance level of what they mean.
    ``sealed`` makes the host refuse to start without execInstalledOnly and Secure Boot (TPM 2.0).
    """

    levels: dict[Name, Level] = msgspec.field(default_factory=dict)
    sealed: bool = False


class EsxiCompiler:
    """Writes a script for esxcli and a fragment of a host's configuration."""

    target = "esxi"
    title = "ESXi acceptance level and execInstalledOnly"
    spec = "vSphere Security: acceptance levels of hosts and VIBs, execInstalledOnly"
    governs = frozenset({"installer"})
    kinds = frozenset({"vib"})
    losses: Mapping[str, str] = {
        **LOSSES,
        "publisher": "one signer alone: a level lets in whoever may sign for it",
        "level": "a rule whose acceptance level `levels` does not say",
        "deny": "a denial: a level has no exceptions",
        "default": "that nothing is let in: the strictest level still has what VMware certified",
    }
    settings = EsxiSettings
    checked = ("schema", "the options of esxcli by name; no ESXi runs here")

    def compile(self, rules: RuleSet, settings: EsxiSettings) -> Compiled:
        """Return the files, for the least strict level that a rule asks for."""
        ledger = Ledger(self.target)
        kept = [rule for rule in ledger.in_turn(rules, self.governs, self.kinds)
                if _is_a_level(ledger, rule, settings)]  # fmt: skip
        asked = {settings.levels[rule.id] for rule in kept}
        level = next(
            (name for name in reversed(tuple(_LEVELS)) if name in asked), "vmware-certified"
        )
        if not kept:
            ledger.lose("default", "", self.losses["default"], Towards.LOOSER)
        ledger.lose_requirements(rules, kept)
        ledger.lose_mode(rules)
        lose_expiry(ledger, rules, kept)
        return ledger.compiled([_script(_LEVELS[level], settings), _fragment(_LEVELS[level])])


def _is_a_level(ledger: Ledger, rule: Rule, settings: EsxiSettings) -> bool:
    """Say whether a level stands for the rule; note what the level lets in beyond it."""
    if rule.action is Action.DENY:
        ledger.lose_rule("deny", rule, "no VIB can be denied that the level lets in")
        return False
    if rule.action is Action.AUDIT:
        ledger.lose_rule("audit", rule, "what the level lets in is not reported")
        return False
    level = settings.levels.get(rule.id)
    if level is None:
        ledger.lose_rule("level", rule, f"targets.esxi.levels has no level for {rule.id}")
        return False
    if ledger.lose_fields(rule, ("publisher",)):
        return False
    if level == "partner-supported" and rule.publisher:
        ledger.lose("publisher", rule.id, "every partner's VIBs are let in", Towards.LOOSER)
    if level == "community-supported" and rule.publisher:
        ledger.lose("publisher", rule.id, "VIBs that nobody signed are let in", Towards.LOOSER)
    return True


def _script(level: str, settings: EsxiSettings) -> File:
    lines = [
        "#!/bin/sh",
        "set -eu",
        f"esxcli software acceptance set --level={level}",
        "esxcli system settings kernel set --setting=execInstalledOnly --value=TRUE",
        "esxcli system settings advanced set --option=/User/execInstalledOnly --int-value=1",
    ]
    if settings.sealed:
        lines += [
            "esxcli system settings encryption set --require-secure-boot=TRUE",
            "esxcli system settings encryption set --require-exec-installed-only=TRUE",
            "/bin/backup.sh 0",
        ]
    lines += [
        "esxcli software acceptance get",
        "esxcli system settings kernel list --option=execInstalledOnly",
    ]
    return File(
        name="apply.sh",
        content=("\n".join(lines) + "\n").encode(),
        deploy="run on each host; its last lines show what is set, and the host is then restarted",
    )


def _fragment(level: str) -> File:
    fragment = {
        "imageAcceptanceLevel": level,
        "advancedOptions": {"VMkernel.Boot.execInstalledOnly": True, "User.execInstalledOnly": 1},
    }
    return File(
        name="host-profile.json",
        content=json.dumps(fragment, indent=2).encode() + b"\n",
        deploy="set both options and the acceptance level in the host profile (by these names)",
    )


COMPILER = EsxiCompiler()
