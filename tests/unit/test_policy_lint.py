"""Lint and differences of policies."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from signward.cli import main
from signward.frozen import replace
from signward.policy.keyfacts import key_facts
from signward.policy.rules.covering import covers
from signward.policy.rules.decide import decide
from signward.policy.rules.difference import differences
from signward.policy.rules.index import Index
from signward.policy.rules.lint import CODES, faults, is_writable
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Mode,
    OriginMatch,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.schema import schema
from signward.policy.rules.subject import Subject
from signward.state import Outcome
from signward.verbs.policies.checking import check
from signward.verbs.policies.load import load_rules
from signward.verbs.stores import load_store
from tests.builders.policies import (
    AT,
    BEGINS,
    digest,
    publishers,
    rule_set,
    rule_sets,
    subjects,
)

FIRST = PublisherMatch(organization="Example Ltd")
GOOD = Rule(id="good", action=Action.ALLOW, publisher=FIRST)


def allow(name: str = "tried", **conditions: Any) -> Rule:
    return Rule(id=name, action=Action.ALLOW, **conditions)


def found(*tried: Rule, mode: Mode = Mode.ENFORCE, at: datetime = AT) -> set[tuple[str, str]]:
    """Return the faults of a policy with a good rule besides, keys aside."""
    whole = replace(rule_set(GOOD, *tried, mode=mode), keys={})
    return {(fault.code, fault.rule) for fault in check(whole, at)}


SHA1 = "0" * 40


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ({"digest": ("file:sha256:" + "0" * 40,)}, "digest-form"),
        ({"digest": ("cdhash:sha256:" + "0" * 64,)}, "digest-form"),
        ({"digest": (f"file:sha1:{SHA1}",)}, "weak-digest"),
        ({"kind": ("drivver",), "publisher": PublisherMatch(team_id="EXAMPLE001")}, "unknown-kind"),
        ({"path": (r"%NOSUCH%\x.exe",)}, "unknown-variable"),
        ({"path": ("/home/**",)}, "anywhere"),
        ({"path": (r"C:\Users\*\x.exe",)}, "anywhere"),
        ({"path": (r"%TEMP%\x.exe",)}, "anywhere"),
        ({"path": ("**/tool",)}, "anywhere"),
        ({"path": ("/opt/vendor/**",)}, "by-path"),
        ({"publisher": PublisherMatch(eku="1.3.6.1.5.5.7.3.3")}, "everybody"),
        ({"publisher": PublisherMatch(country="AT", locality="Wien")}, "everybody"),
        ({"signers": SignersMatch(least=1, of=(PublisherMatch(country="AT"),))}, "everybody"),
        ({"identity": IdentityMatch(identity=".*", issuer="https://i")}, "everybody"),
        ({"identity": IdentityMatch(identity="a(?=b)", issuer="i")}, "regular-expression"),
        ({"identity": IdentityMatch(identity=r"(a)\1", issuer="i")}, "regular-expression"),
        ({"identity": IdentityMatch(identity="a++", issuer="i")}, "regular-expression"),
        ({"identity": IdentityMatch(identity="(a+)+b", issuer="i")}, "regular-expression"),
        ({"identity": IdentityMatch(identity="(", issuer="i")}, "regular-expression"),
        ({"product": ProductMatch(product="Agent")}, "self-said"),
        ({"kind": ("executable",)}, "everything"),
        ({"hosts": ("kiosk",)}, "everything"),
        ({"origin": OriginMatch(kind="pypi", name="*")}, "everything"),
    ],
)
def test_what_is_wrong_is_named(conditions: dict[str, Any], code: str) -> None:
    assert (code, "tried") in found(allow(**conditions))


@pytest.mark.parametrize(
    "conditions",
    [
        {"digest": (digest("cdhash", 1), digest("file", 1))},
        {"publisher": PublisherMatch(team_id="EXAMPLE001"), "kind": ("driver", "wasm")},
        {"publisher": PublisherMatch(common_name="Tester"), "path": ("/home/**",)},
        {"identity": IdentityMatch(identity=r"[^@(?=]+@example\.com", issuer=r"https://i\?=\+\+")},
        {"origin": OriginMatch(kind="oci", name="registry.example/team/*")},
        {"product": ProductMatch(product="Agent"), "publisher": PublisherMatch(common_name="A")},
    ],
)
def test_what_is_right_is_left_alone(conditions: dict[str, Any]) -> None:
    assert found(allow(**conditions)) == set()


def test_a_deny_may_be_wide() -> None:
    assert (
        found(Rule(id="tried", action=Action.DENY, path=("/home/**",), kind=("script",))) == set()
    )


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        ("/tmp/x", True), ("/usr/bin/*", False), ("/**", True), ("/opt/**", False),
        ("/Users/*/bin/*", True), (r"C:\**", True), (r"C:\Program Files\**", False),
        (r"%WINDIR%\Temp\*", True), (r"%WINDIR%\System32\*.dll", False),
        (r"C:\ProgramData\x\*", True), (r"\\server\share\**", False), ("*", True),
        (r"%OSDRIVE%\**", True), (r"C:\Temp\x.exe", True),
    ],
)  # fmt: skip
def test_where_users_may_write(path: str, *, writable: bool) -> None:
    assert is_writable(path) is writable


def test_what_a_machine_s_packages_brought_is_advice_only() -> None:
    own, foreign = (
        replace(rule_set(GOOD, allow(origin=OriginMatch(kind=kind))), keys={})
        for kind in ("deb", "npm")
    )
    assert [(f.code, f.fault) for f in check(own, AT)] == [("everything", False)]
    assert [(f.code, f.fault) for f in check(foreign, AT)] == [("everything", True)]


def test_a_public_authority_alone_is_everybody() -> None:
    root = load_store("authenticode").anchors()[0].certificate
    key = material("root", root.der)
    tbs = key_facts(root.der).tbs
    for match in (PublisherMatch(key="root"), PublisherMatch(key="root", organization="Vendor")):
        whole = replace(rule_set(GOOD, allow(publisher=match)), keys={"root": key})
        told = {f.code for f in check(whole, AT) if f.rule == "tried"}
        assert told == (set() if match.organization else {"everybody"})
    by_tbs = replace(rule_set(GOOD, allow(publisher=PublisherMatch(tbs=tbs))), keys={})
    assert ("everybody", "tried") in {(f.code, f.rule) for f in check(by_tbs, AT)}
    deny = Rule(id="tried", action=Action.DENY, publisher=PublisherMatch(key="root"))
    denied = replace(rule_set(GOOD, deny), keys={"root": key})
    assert not [f for f in check(denied, AT) if f.code == "everybody"]
    own = rule_set(allow(publisher=PublisherMatch(key="first-ca")))
    assert not [f for f in check(own, AT) if f.code == "everybody"]


def test_a_rule_that_another_makes_useless_is_shadowed() -> None:
    deny = Rule(id="no", action=Action.DENY, kind=("driver", "script"))
    narrow = allow(publisher=PublisherMatch(organization="EXAMPLE ltd"), kind=("driver",))
    assert ("shadowed", "tried") in found(deny, narrow)
    assert ("shadowed", "tried") in found(narrow)
    assert ("shadowed", "good") not in found(narrow)
    demanding = replace(narrow, requires=Requirements(timestamp=True))
    assert ("shadowed", "tried") not in found(demanding)


def test_of_two_rules_alike_one_is_shadowed() -> None:
    twins = allow("a", path=("/opt/x/*",)), allow("b", path=("/opt/x/*",))
    assert ("shadowed", "b") in found(*twins)
    assert ("shadowed", "a") not in found(*twins)


def test_paths_cover_what_lies_below() -> None:
    wide = allow("wide", path=("/opt/**",))
    assert ("shadowed", "tried") in found(wide, allow(path=("/opt/a/b/c", "/opt/d/*")))
    assert ("shadowed", "tried") not in found(wide, allow(path=("/srv/a", "/opt/d/*")))
    windows = allow("wide", path=(r"C:\Tools\**",))
    assert ("shadowed", "tried") in found(windows, allow(path=(r"c:\TOOLS\x.exe",)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(whole=rule_sets(), on=subjects())
def test_what_covers_a_rule_matches_all_that_it_does(whole: RuleSet, on: Subject) -> None:
    for broad in whole.rules:
        for narrow in whole.rules:
            if covers(broad, narrow) and _let_in(narrow, on):
                assert _let_in(broad, on)


def _let_in(rule: Rule, on: Subject) -> bool:
    alone = rule_set(replace(rule, action=Action.ALLOW))
    return decide(Index(alone), on, AT).outcome is Outcome.ACCEPTED


def test_a_shadowed_rule_of_many_is_found_in_time() -> None:
    many = [allow(f"d{n}", digest=(digest("file", n),)) for n in range(3000)]
    twin = allow("twin", digest=(digest("file", 2999),))
    whole = rule_set(*many, twin)
    assert [f.rule for f in faults(whole, AT) if f.code == "shadowed"] == ["twin"]


def test_keys_that_end_are_told() -> None:
    whole = rule_set(allow(publisher=PublisherMatch(key="first-leaf")))
    later = BEGINS + timedelta(days=4000)
    assert {(f.code, f.rule) for f in faults(whole, AT)} == {
        ("unused", "first-ca"), ("unused", "second-ca"), ("unused", "second-leaf")}  # fmt: skip
    ended = {f.rule for f in faults(whole, later) if f.code == "ages-out" and f.fault}
    assert ended == {"first-ca", "first-leaf", "second-ca", "second-leaf"}
    soon = BEGINS + timedelta(days=3640)
    assert {f.fault for f in faults(whole, soon) if f.code == "ages-out"} == {False}


def test_a_leaf_of_days_is_not_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signward.policy.rules.lint.SHORT_LIVED", timedelta(days=3650))
    whole = rule_set(allow(publisher=PublisherMatch(key="first-leaf")),
                     allow("ca", publisher=PublisherMatch(key="first-ca")))  # fmt: skip
    assert [f.rule for f in faults(whole, AT) if f.code == "short-lived"] == ["tried"]


def test_exceptions_end_and_do_not_last_long() -> None:
    def waiver(name: str, days: int) -> Waiver:
        return Waiver(id=name, owner="me", reason="r", expires=AT + timedelta(days=days),
                      digest=(digest("file", 1),))  # fmt: skip

    whole = replace(rule_set(GOOD), waivers=(waiver("old", -1), waiver("long", 400),
                                             waiver("fine", 30)), keys={})  # fmt: skip
    told = {(f.code, f.rule) for f in faults(whole, AT)} - {("shadowed", "long")}
    assert {("ended", "old"), ("lasts-long", "long")} <= told
    assert not [pair for pair in told if pair[1] == "fine" and pair[0] != "shadowed"]


def test_a_policy_that_lets_nothing_in_is_told() -> None:
    assert [f.code for f in faults(replace(rule_set(), keys={}), AT)] == ["no-rule"]


def test_what_lockdown_takes_away_is_told() -> None:
    assert ("no-effect", "tried") in found(allow(path=("/opt/x",)), mode=Mode.LOCKDOWN)


def test_requirements_of_a_denial_are_told() -> None:
    deny = Rule(id="tried", action=Action.DENY, kind=("driver",), requires=Requirements())
    assert ("no-effect", "tried") in found(deny)


def test_every_code_is_described() -> None:
    source = Path(faults.__code__.co_filename).read_text("utf-8")
    used = {part.split('"')[1] for part in source.split("code=")[1:] if part.startswith('"')}
    assert used == set(CODES)


# --- differences -------------------------------------------------------------------------------


def changes(old: RuleSet, new: RuleSet) -> set[tuple[str, str, str, str]]:
    return {(c.what, c.name, c.field, c.way.value) for c in differences(old, new)}


def test_a_policy_does_not_differ_from_itself() -> None:
    whole = rule_set(GOOD)
    assert differences(whole, replace(whole, rules=tuple(reversed(whole.rules)))) == ()


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ((), (GOOD,), ("rule", "good", "", "looser")),
        ((GOOD,), (), ("rule", "good", "", "stricter")),
        ((), (replace(GOOD, action=Action.DENY),), ("rule", "good", "", "stricter")),
        ((GOOD,), (replace(GOOD, action=Action.DENY),), ("rule", "good", "action", "stricter")),
        ((GOOD,), (replace(GOOD, kind=("driver",)),), ("rule", "good", "kind", "either")),
    ],
)
def test_rules_differ(old: Any, new: Any, change: Any) -> None:
    assert changes(rule_set(*old), rule_set(*new)) == {change}


def test_the_policy_s_own_words_differ() -> None:
    old = rule_set(GOOD, mode=Mode.MONITOR)
    new = replace(rule_set(GOOD, requirements=Requirements(timestamp=True)), version=2)
    assert changes(old, new) == {
        ("policy", "generated", "version", "either"),
        ("policy", "generated", "mode", "stricter"),
        ("policy", "generated", "requirements", "either"),
    }


def test_keys_and_exceptions_differ() -> None:
    whole = rule_set(GOOD)
    swapped = replace(whole, keys={**whole.keys, "first-ca": whole.keys["second-ca"]})
    assert changes(whole, swapped) == {("key", "first-ca", "file", "either")}
    waiver = Waiver(id="w", owner="me", reason="r", expires=AT, path=("/opt/x",))
    longer = replace(waiver, expires=AT + timedelta(days=1))
    one, two = replace(whole, waivers=(waiver,)), replace(whole, waivers=(longer,))
    assert changes(one, two) == {("exception", "w", "expires", "looser")}
    assert changes(whole, one) == {("exception", "w", "", "looser")}


# --- the command line and the schema -----------------------------------------------------------

POLICY = """schema = 1
name = "ours"
version = 2
[[rule]]
id = "vendor"
action = "allow"
publisher = { organization = "Vendor" }
"""


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = written(tmp_path, "good.toml", POLICY)
    assert main(["policy", "check", good]) == 0
    assert "0 faults, 0 advice" in capsys.readouterr().out
    bad = written(tmp_path, "bad.toml", POLICY + '[[rule]]\nid = "p"\naction = "allow"\n'
                  'path = ["/tmp/**"]\n')  # fmt: skip
    assert main(["policy", "check", bad]) == 1
    assert "FAULT  anywhere: p" in capsys.readouterr().out
    assert main(["policy", "check", "--json", bad]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["code"] == "anywhere"
    advice = written(tmp_path, "a.toml", POLICY + '[[rule]]\nid = "p"\naction = "allow"\n'
                     'path = ["/opt/x"]\n')  # fmt: skip
    assert main(["policy", "check", advice]) == 0
    assert main(["policy", "check", "--strict", advice]) == 1


def test_diff_says_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path, "old.toml", POLICY)
    new = written(tmp_path, "new.toml", POLICY.replace("= 2", "= 3").replace("allow", "audit"))
    assert main(["policy", "diff", old, old]) == 0
    assert main(["policy", "diff", old, new]) == 1
    out = capsys.readouterr()
    assert "~ rule vendor [either] action: allow -> audit" in out.out
    assert "warning" not in out.err
    assert main(["policy", "diff", "--json", new, old]) == 1
    out = capsys.readouterr()
    assert "machines that took the old one refuse it" in out.err
    assert {change["field"] for change in json.loads(out.out)["changes"]} == {"action", "version"}


@pytest.mark.parametrize("action", ["check", "diff", "explain"])
def test_help_has_examples(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["policy", action, "--help"])
    text = capsys.readouterr().out
    assert "examples:\n  signward policy" in text
    assert "exit codes:" in text


def test_the_policy_of_the_documentation_has_no_fault() -> None:
    example = Path(__file__).parents[2] / "docs" / "policy" / "example.toml"
    assert [str(f) for f in check(load_rules([example]), AT) if f.fault] == []
    jsonschema.Draft202012Validator(schema()).validate(
        json.loads(json.dumps(tomllib.loads(example.read_text("utf-8")), default=str))
    )


def test_policies_fit_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(tomllib.loads(POLICY))
    for broken in (POLICY.replace("allow", "alow"), POLICY.replace("publisher", "publsher"),
                   POLICY.replace('"vendor"', '"Vendor!"')):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(tomllib.loads(broken))


def test_the_publishers_of_the_pool_are_two() -> None:
    assert len({one.leaf for one in publishers()}) == 2
    assert AT.tzinfo is UTC
