"""PowerShell and ClickOnce: what the registry is told, and what no registry can be."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from signward import compilers
from signward.compilers import Compiled, Towards
from signward.frozen import replace
from signward.policy.rules.model import (
    Action,
    KeyKind,
    Material,
    Mode,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    Waiver,
)
from signward.wire.registry_pol import Setting, read
from tests.builders.policies import AT, digest, publishers, rule_set

FIRST, SECOND = publishers()
WINDOWS_POWERSHELL = r"Software\Policies\Microsoft\Windows\PowerShell"
CORE = r"Software\Policies\Microsoft\PowerShellCore"
PROMPTING = r"SOFTWARE\Microsoft\.NETFramework\Security\TrustManager\PromptingLevel"
STORES = r"Software\Policies\Microsoft\SystemCertificates"
ALLOW = Rule(id="scripts", action=Action.ALLOW, publisher=PublisherMatch(key="first-leaf"))
DENY = Rule(id="leaked", action=Action.DENY, publisher=PublisherMatch(key="second-ca"))


def compiled(target: str, rules: RuleSet, **settings: object) -> Compiled:
    compiler = compilers.load(target)
    return compiler.compile(rules, compiler.settings(**settings))


def registry(made: Compiled) -> dict[tuple[str, str], Setting]:
    settings = read(made.content("Registry.pol"))
    found = {(s.key, s.value): s for s in settings}
    assert len(found) == len(settings)
    return found


def words(setting: Setting) -> str:
    assert setting.type == 1
    assert setting.data.endswith(b"\0\0")
    return setting.data.decode("utf-16-le").removesuffix("\0")


def lost(made: Compiled) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in made.losses}


def thumb(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA1()).hex().upper()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def test_scripts_of_a_publisher_run_and_no_others() -> None:
    made = compiled("powershell", rule_set(ALLOW))
    told = registry(made)
    for key in (WINDOWS_POWERSHELL, CORE):
        assert told[key, "EnableScripts"].data == b"\1\0\0\0"
        assert words(told[key, "ExecutionPolicy"]) == "AllSigned"
    assert json.loads(made.content("powershell.config.json")) == {
        "Microsoft.PowerShell:ExecutionPolicy": "AllSigned",
        "PowerShellPolicies": {
            "ScriptExecution": {"EnableScripts": True, "ExecutionPolicy": "AllSigned"}
        },
    }
    assert [(x.name, x.rule, x.towards) for x in made.losses] == [("prompt", "", Towards.LOOSER)]


def test_without_a_rule_no_script_runs() -> None:
    made = compiled("powershell", rule_set())
    told = registry(made)
    assert {k: s.data for k, s in told.items()} == {
        (WINDOWS_POWERSHELL, "EnableScripts"): bytes(4),
        (CORE, "EnableScripts"): bytes(4),
    }
    config = json.loads(made.content("powershell.config.json"))
    assert config["Microsoft.PowerShell:ExecutionPolicy"] == "Restricted"
    assert made.losses == ()


@pytest.mark.parametrize("target", ["powershell", "clickonce"])
def test_certificates_stand_in_the_store_as_windows_keeps_them(target: str) -> None:
    made = compiled(target, rule_set(ALLOW, DENY))
    told = registry(made)
    for store, certificate, file in (
        ("TrustedPublisher", FIRST.leaf, "trusted-publishers/first-leaf.cer"),
        ("Disallowed", SECOND.authority, "disallowed/second-ca.cer"),
    ):
        blob = told[rf"{STORES}\{store}\Certificates\{thumb(certificate)}", "Blob"]
        sha1, octets = certificate.fingerprint(hashes.SHA1()), der(certificate)
        assert blob.type == 3
        assert blob.data == (
            bytes.fromhex("030000000100000014000000") + sha1
            + bytes.fromhex("2000000001000000") + len(octets).to_bytes(4, "little") + octets
        )  # fmt: skip
        assert made.content(file) == octets


def test_what_is_denied_is_not_trusted_too() -> None:
    twice = replace(ALLOW, id="also"), replace(DENY, publisher=PublisherMatch(key="first-leaf"))
    made = compiled("powershell", rule_set(*twice))
    assert registry(made)[CORE, "EnableScripts"].data == bytes(4)
    assert {f.name for f in made.files} >= {"disallowed/first-leaf.cer"}
    assert not [f for f in made.files if f.name.startswith("trusted")]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (replace(ALLOW, publisher=PublisherMatch(key="first-leaf", country="AT")), "publisher"),
        (replace(ALLOW, publisher=PublisherMatch(organization="Example Ltd")), "publisher"),
        (replace(ALLOW, action=Action.AUDIT), "audit"),
        (replace(ALLOW, hosts=("web",)), "hosts"),
        (Rule(id="scripts", action=Action.ALLOW, kind=("script",)), "kind"),
        (Rule(id="scripts", action=Action.ALLOW, digest=(digest("file", 1),)), "digest"),
        (replace(DENY, id="scripts", kind=("script",)), "kind"),
    ],
)
def test_what_the_store_cannot_say_is_lost_whole(rule: Rule, name: str) -> None:
    made = compiled("powershell", rule_set(rule))
    assert lost(made) == {(name, "scripts")}
    assert len(made.files) == 2
    assert registry(made)[CORE, "EnableScripts"].data == bytes(4)
    denied = rule.action is Action.DENY
    assert made.losses[0].towards is (Towards.LOOSER if denied else Towards.STRICTER)


def test_of_a_ca_the_leaves_in_keys_are_trusted() -> None:
    rule = replace(ALLOW, publisher=PublisherMatch(key="first-ca"))
    made = compiled("powershell", rule_set(rule))
    assert [f.name for f in made.files][2:] == ["trusted-publishers/first-leaf.cer"]
    assert lost(made) == {("key", "scripts"), ("prompt", "")}
    assert made.losses[0].towards is Towards.STRICTER
    assert "only of first-leaf" in made.losses[0].text


def test_a_ca_without_leaves_in_keys_is_lost() -> None:
    rules = rule_set(replace(ALLOW, publisher=PublisherMatch(key="first-ca")))
    keys = {name: key for name, key in rules.keys.items() if name != "first-leaf"}
    made = compiled("powershell", replace(rules, keys=keys))
    assert len(made.files) == 2
    assert lost(made) == {("key", "scripts")}
    assert registry(made)[CORE, "EnableScripts"].data == bytes(4)


def test_a_key_that_is_no_certificate_is_lost() -> None:
    rules = rule_set(replace(ALLOW, publisher=PublisherMatch(key="ssh")))
    key = Material(name="ssh", kind=KeyKind.SSH, data=b"ssh-ed25519 AAAA", key="00")
    made = compiled("powershell", replace(rules, keys={**rules.keys, "ssh": key}))
    assert lost(made) == {("key", "scripts")}


def test_a_denial_with_exceptions_is_lost() -> None:
    rules = replace(rule_set(DENY), spared={"leaked": (ALLOW,)})
    assert lost(compiled("powershell", rules)) == {("exception", "leaked")}


def test_ends_modes_and_requirements_are_lost() -> None:
    waiver = Waiver(id="scripts", owner="o", reason="r", expires=AT, publisher=ALLOW.publisher)
    rules = rule_set(ALLOW, mode=Mode.MONITOR, requirements=Requirements(timestamp=True, log=True))
    made = compiled("powershell", replace(rules, waivers=(waiver,)))
    assert lost(made) == {
        ("requirement-timestamp", ""),
        ("requirement-log", ""),
        ("monitor", ""),
        ("prompt", ""),
        ("expiry", "scripts"),
    }
    other = replace(waiver, id="elsewhere")
    assert ("expiry", "elsewhere") not in lost(
        compiled("powershell", replace(rules, waivers=(other,)))
    )


@pytest.mark.parametrize(
    ("target", "kind", "skipped"),
    [
        ("powershell", "script", False),
        ("powershell", "powershell", False),
        ("powershell", "python", True),
        ("powershell", "driver", True),
        ("clickonce", "app-package", False),
        ("clickonce", "clickonce", False),
        ("clickonce", "msix", True),
    ],
)
def test_rules_of_other_kinds_are_no_loss(target: str, kind: str, *, skipped: bool) -> None:
    made = compiled(target, rule_set(replace(ALLOW, kind=(kind,))))
    assert made.skipped == (("scripts",) if skipped else ())
    widened = {(loss.name, loss.towards) for loss in made.losses if loss.rule}
    assert widened == (set() if skipped else {("wider-kind", Towards.LOOSER)})


def test_script_blocks_are_logged_when_asked_for() -> None:
    made = compiled("powershell", rule_set(), log_scripts=True)
    for key in (WINDOWS_POWERSHELL, CORE):
        told = registry(made)[rf"{key}\ScriptBlockLogging", "EnableScriptBlockLogging"]
        assert told.data == b"\1\0\0\0"
    config = json.loads(made.content("powershell.config.json"))
    assert config["PowerShellPolicies"]["ScriptBlockLogging"] == {"EnableScriptBlockLogging": True}


def test_no_zone_prompts_unless_asked_for() -> None:
    made = compiled("clickonce", rule_set(ALLOW))
    zones = ("MyComputer", "LocalIntranet", "TrustedSites", "Internet", "UntrustedSites")
    for key in (PROMPTING, PROMPTING.replace("Microsoft", r"WOW6432Node\Microsoft", 1)):
        assert {words(registry(made)[key, zone]) for zone in zones} == {"Disabled"}
    assert lost(made) == {("zone-rights", "")}


def test_a_zone_that_prompts_is_a_loss() -> None:
    made = compiled("clickonce", rule_set(ALLOW), internet="AuthenticodeRequired")
    assert words(registry(made)[PROMPTING, "Internet"]) == "AuthenticodeRequired"
    assert lost(made) == {("zone-rights", ""), ("prompt", "")}
    assert {loss.towards for loss in made.losses} == {Towards.LOOSER}
