r"""ClickOnce: applications that ask for more than their zone's rights need a trusted publisher.

Source: "Configure the ClickOnce trust prompt behavior".  ``PromptingLevel`` says for each zone
whether a person may be asked: *Disabled* lets in what a publisher in the store of trusted
publishers signed, and nothing else.  .NET of 32 bits looks below WOW6432Node.  An application
that makes do with the rights of its zone runs without a signature, and no level changes that:
a loss, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from signward.compilers import Compiled, File, Towards
from signward.compilers._by_certificate import lose_expiry
from signward.compilers._lossy import Ledger
from signward.compilers._trusted_publishers import (
    LOSSES,
    publishers_of,
    store_files,
    store_settings,
)
from signward.policy.rules.model import RuleSet, Strict
from signward.wire.registry_pol import text, write

_KEYS = (
    r"SOFTWARE\Microsoft\.NETFramework\Security\TrustManager\PromptingLevel",
    r"SOFTWARE\WOW6432Node\Microsoft\.NETFramework\Security\TrustManager\PromptingLevel",
)

Level = Literal["Disabled", "AuthenticodeRequired", "Enabled"]


_ZONES: Mapping[str, str] = {
    "my_computer": "MyComputer",
    "local_intranet": "LocalIntranet",
    "trusted_sites": "TrustedSites",
    "internet": "Internet",
    "untrusted_sites": "UntrustedSites",
}


class ClickOnceSettings(Strict, frozen=True, kw_only=True):
    """``[targets.clickonce]``: the level of each zone, as Windows writes it.

    Anything but *Disabled* lets a person let in what no rule does: ``prompt`` is lost then.
    """

    my_computer: Level = "Disabled"
    local_intranet: Level = "Disabled"
    trusted_sites: Level = "Disabled"
    internet: Level = "Disabled"
    untrusted_sites: Level = "Disabled"


class ClickOnceCompiler:
    """Writes Registry.pol and the publishers' certificates."""

    target = "clickonce"
    title = "ClickOnce trust prompt"
    spec = "Configure the ClickOnce trust prompt behavior (Visual Studio), [MS-GPREG] 2.2.1"
    governs = frozenset({"app-package"})
    kinds = frozenset({"clickonce"})
    losses: Mapping[str, str] = {
        **LOSSES,
        "zone-rights": "applications with no more than their zone's rights run unsigned",
        "prompt": "where a zone prompts, a person may let in what no rule does",
    }
    settings = ClickOnceSettings
    checked = ("parsed", "Registry.pol by Samba's reader of group policies")

    def compile(self, rules: RuleSet, settings: ClickOnceSettings) -> Compiled:
        """Return the files.  Rules by anything but a certificate are lost."""
        ledger = Ledger(self.target)
        publishers = publishers_of(ledger, rules, self.governs, self.kinds)
        ledger.lose("zone-rights", "", self.losses["zone-rights"], Towards.LOOSER)
        levels = {zone: getattr(settings, field) for field, zone in _ZONES.items()}
        if asking := sorted(zone for zone, level in levels.items() if level != "Disabled"):
            ledger.lose("prompt", "", f"people are asked in {', '.join(asking)}", Towards.LOOSER)
        ledger.lose_requirements(rules, publishers.kept)
        ledger.lose_mode(rules)
        lose_expiry(ledger, rules, publishers.kept)
        found = [text(key, zone, level) for key in _KEYS for zone, level in levels.items()]
        registry = File(
            name="Registry.pol",
            content=write(found + store_settings(publishers)),
            deploy=r"LGPO.exe /m Registry.pol, or Machine\Registry.pol of a group policy object",
        )
        return ledger.compiled([registry, *store_files(publishers)])


COMPILER = ClickOnceCompiler()
