"""ESXi: one acceptance level for the host, and nothing runs that no VIB brought."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from signward import compilers
from signward.compilers import Compiled, Towards
from signward.frozen import replace
from signward.policy.rules.model import Action, Mode, PublisherMatch, Rule, RuleSet
from tests.builders.policies import digest, rule_set

VENDOR = Rule(
    id="vendor", action=Action.ALLOW, kind=("vib",), publisher=PublisherMatch(organization="X")
)

DEFAULT = ("default", "", Towards.LOOSER)
"""The strictest level lets in something where no rule does."""


def compiled(rules: RuleSet, **settings: object) -> Compiled:
    compiler = compilers.load("esxi")
    return compiler.compile(rules, compiler.settings(**settings))


def lost(made: Compiled) -> set[tuple[str, str, Towards]]:
    return {(loss.name, loss.rule, loss.towards) for loss in made.losses}


def level(made: Compiled) -> str:
    profile = json.loads(made.content("host-profile.json"))
    line = f"esxcli software acceptance set --level={profile['imageAcceptanceLevel']}\n"
    assert line in made.content("apply.sh").decode()
    return str(profile["imageAcceptanceLevel"])


def test_without_rules_the_level_is_the_strictest() -> None:
    made = compiled(rule_set())
    assert level(made) == "VMwareCertified"
    assert lost(made) == {DEFAULT}
    options = json.loads(made.content("host-profile.json"))["advancedOptions"]
    assert options == {"VMkernel.Boot.execInstalledOnly": True, "User.execInstalledOnly": 1}


@pytest.mark.parametrize(
    ("name", "word", "looser"),
    [
        ("vmware-certified", "VMwareCertified", False),
        ("vmware-accepted", "VMwareAccepted", False),
        ("partner-supported", "PartnerSupported", True),
        ("community-supported", "CommunitySupported", True),
    ],
)
def test_a_level_stands_for_a_rule(name: str, word: str, *, looser: bool) -> None:
    made = compiled(rule_set(VENDOR), levels={"vendor": name})
    assert level(made) == word
    assert lost(made) == ({("publisher", "vendor", Towards.LOOSER)} if looser else set())


def test_the_least_strict_level_is_the_hosts() -> None:
    rules = rule_set(VENDOR, replace(VENDOR, id="vmware"))
    levels = {
        "vendor": "partner-supported",
        "vmware": "vmware-accepted",
        "gone": "community-supported",
    }
    assert level(compiled(rules, levels=levels)) == "PartnerSupported"


@pytest.mark.parametrize(
    ("rule", "name", "towards"),
    [
        (replace(VENDOR, id="other"), "level", Towards.STRICTER),
        (replace(VENDOR, action=Action.DENY), "deny", Towards.LOOSER),
        (replace(VENDOR, action=Action.AUDIT), "audit", Towards.STRICTER),
        (replace(VENDOR, publisher=None, digest=(digest("file", 1),)), "digest", Towards.STRICTER),
    ],
)
def test_what_no_level_says_is_lost_whole(rule: Rule, name: str, towards: Towards) -> None:
    made = compiled(rule_set(rule), levels={"vendor": "partner-supported"})
    assert lost(made) == {(name, rule.id, towards), DEFAULT}
    assert level(made) == "VMwareCertified"


def test_other_kinds_are_skipped_and_watching_is_lost() -> None:
    made = compiled(rule_set(replace(VENDOR, kind=("msi",)), mode=Mode.MONITOR))
    assert made.skipped == ("vendor",)
    assert lost(made) == {("monitor", "", Towards.STRICTER), DEFAULT}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_shell_takes_the_script(*, sealed: bool) -> None:
    text = compiled(rule_set(), sealed=sealed).content("apply.sh").decode()
    assert ("--require-exec-installed-only=TRUE" in text) is sealed
    shell = shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_the_script_stops_at_the_first_failure() -> None:
    text = compiled(rule_set()).content("apply.sh").decode()
    shell = shutil.which("sh")
    assert shell
    told = subprocess.run([shell], input="esxcli() { echo \"$*\"; return 1; }\n" + text, text=True,
                          capture_output=True)  # fmt: skip
    assert told.returncode == 1
    assert told.stdout == "software acceptance set --level=VMwareCertified\n"
