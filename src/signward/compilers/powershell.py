r"""PowerShell: scripts run if a trusted publisher signed them, or not at all.

Sources: about_Execution_Policies, about_PowerShell_Config, PowerShellCoreExecutionPolicy.admx and
PowerShellExecutionPolicy.admx.  The policy is *AllSigned* with the publishers' certificates in the
machine's store of trusted publishers, and *EnableScripts* is off (no script runs) where no rule
lets one in.  Windows PowerShell 5.1 reads ``Software\Policies\Microsoft\Windows\PowerShell``,
PowerShell 7 ``...\PowerShellCore``; ``powershell.config.json`` is for where no group policy is.

A publisher is its certificate: when it is renewed, the policy gets the new one.  The store is the
machine's: ClickOnce and Office look there too.  Of a signed script whose publisher stands in no
store *AllSigned* asks the person who runs it, which no policy can forbid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from signward.compilers import Compiled, File, Towards
from signward.compilers._by_certificate import lose_expiry
from signward.compilers._lossy import Ledger
from signward.compilers._trusted_publishers import (
    LOSSES,
    Publishers,
    publishers_of,
    store_files,
    store_settings,
)
from signward.policy.rules.model import RuleSet, Strict
from signward.wire.registry_pol import Setting, number, text, write

_KEYS = (
    r"Software\Policies\Microsoft\Windows\PowerShell",
    r"Software\Policies\Microsoft\PowerShellCore",
)


class PowerShellSettings(Strict, frozen=True, kw_only=True):
    """``[targets.powershell]``.  ``log_scripts`` also turns on the log of script blocks."""

    log_scripts: bool = False


class PowerShellCompiler:
    """Writes Registry.pol, powershell.config.json and the publishers' certificates."""

    target = "powershell"
    title = "PowerShell execution policy"
    spec = "about_Execution_Policies, about_PowerShell_Config, [MS-GPREG] 2.2.1"
    governs = frozenset({"script"})
    kinds = frozenset({"powershell"})
    losses: Mapping[str, str] = {
        **LOSSES,
        "prompt": "people may run what a publisher signed whom no rule names: they are asked",
    }
    settings = PowerShellSettings
    checked = ("parsed", "Registry.pol by Samba's reader of group policies; the JSON by key names")

    def compile(self, rules: RuleSet, settings: PowerShellSettings) -> Compiled:
        """Return the files.  Rules by anything but a certificate are lost."""
        ledger = Ledger(self.target)
        publishers = publishers_of(ledger, rules, self.governs, self.kinds)
        if publishers.trusted:
            ledger.lose("prompt", "", self.losses["prompt"], Towards.LOOSER)
        ledger.lose_requirements(rules, publishers.kept)
        ledger.lose_mode(rules)
        lose_expiry(ledger, rules, publishers.kept)
        return ledger.compiled([
            _registry(publishers, settings),
            _config(publishers, settings),
            *store_files(publishers),
        ])  # fmt: skip


def _registry(publishers: Publishers, settings: PowerShellSettings) -> File:
    found: list[Setting] = []
    for key in _KEYS:
        found.append(number(key, "EnableScripts", int(bool(publishers.trusted))))
        if publishers.trusted:
            found.append(text(key, "ExecutionPolicy", "AllSigned"))
        if settings.log_scripts:
            found.append(number(rf"{key}\ScriptBlockLogging", "EnableScriptBlockLogging", 1))
    found += store_settings(publishers)
    return File(
        name="Registry.pol",
        content=write(found),
        deploy=r"LGPO.exe /m Registry.pol, or Machine\Registry.pol of a group policy object",
    )


def _config(publishers: Publishers, settings: PowerShellSettings) -> File:
    execution: dict[str, object] = {"EnableScripts": bool(publishers.trusted)}
    if publishers.trusted:
        execution["ExecutionPolicy"] = "AllSigned"
    policies: dict[str, object] = {"ScriptExecution": execution}
    if settings.log_scripts:
        policies["ScriptBlockLogging"] = {"EnableScriptBlockLogging": True}
    config = {
        "Microsoft.PowerShell:ExecutionPolicy": "AllSigned" if publishers.trusted else "Restricted",
        "PowerShellPolicies": policies,
    }
    return File(
        name="powershell.config.json",
        content=json.dumps(config, indent=2).encode() + b"\n",
        deploy="merge into $PSHOME/powershell.config.json of each PowerShell 7 (Windows)",
    )


COMPILER = PowerShellCompiler()
