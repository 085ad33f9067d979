"""Santa: its files, its order against ours, what it cannot say, and reading it back."""

from __future__ import annotations

import contextlib
import json
import plistlib
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled, Towards
from signward.compilers._santa import MAX_GUARDED, guard, guarded, identifier_of
from signward.compilers.arbiters.santa import ARBITER
from signward.compilers.importers.santa import IMPORTER
from signward.compilers.santa import COMPILER, SantaSettings
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.decide import decide
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome
from tests.builders.cel import runs
from tests.builders.policies import AT, rule_set
from tests.schemas import schemas

TEAMS = ("EXAMPLE001", "OTHERTEAM2")
PROGRAMS = ("com.example.one", 'com.example."two" || x')
FILES = ("aa" * 32, "bb" * 32)
HASHES = ("11" * 20, "22" * 20)
LEAVES = ("cc" * 32, "dd" * 32)


def _rule(name: str, action: Action = Action.ALLOW, **conditions: Any) -> Rule:
    return Rule(id=name, action=action, **conditions)


def _compile(rules: RuleSet, **given: Any) -> Compiled:
    return COMPILER.compile(rules, SantaSettings(**given))


def _static(compiled: Compiled) -> list[dict[str, str]]:
    found: list[dict[str, str]] = plistlib.loads(compiled.content("StaticRules.plist"))
    return found


def _files(compiled: Compiled) -> Mapping[str, bytes]:
    return {file.name: file.content for file in compiled.files}


def _allowed(rules: RuleSet, subject: Subject) -> bool:
    return decide(Index(rules), subject, AT).outcome is Outcome.ACCEPTED


def _program(
    team: str = TEAMS[0], program: str = PROGRAMS[0], file: str = FILES[0],
    cdhash: str = HASHES[0], leaf: str = LEAVES[0],
) -> Subject:  # fmt: skip
    signer = Signer(team_id=team, certificates=(leaf, "ee" * 32))
    return Subject(
        path="/Applications/x", kind="macho", file_class="executable", bundle_id=program,
        digests=frozenset({f"file:sha256:{file}", f"cdhash:sha256:{cdhash}"}),
        signers=(signer,) if team else (), outcome=Outcome.ACCEPTED if team else Outcome.REJECTED,
    )  # fmt: skip


_CONDITIONS = st.one_of(
    st.sampled_from(FILES).map(lambda v: {"digest": (f"file:sha256:{v}",)}),
    st.sampled_from(HASHES).map(lambda v: {"digest": (f"cdhash:sha256:{v}",)}),
    st.just({"digest": (f"file:sha256:{FILES[0]}", f"cdhash:sha256:{HASHES[1]}")}),
    st.sampled_from(TEAMS).map(lambda v: {"publisher": PublisherMatch(team_id=v)}),
    st.sampled_from(LEAVES).map(lambda v: {"publisher": PublisherMatch(certificate=f"sha256:{v}")}),
    st.tuples(st.sampled_from(TEAMS), st.sampled_from(PROGRAMS)).map(
        lambda v: {
            "publisher": PublisherMatch(team_id=v[0]),
            "product": ProductMatch(bundle_id=v[1]),
        }
    ),
    st.just({"signers": SignersMatch(least=1, of=tuple(PublisherMatch(team_id=t) for t in TEAMS))}),
)
_SETS = st.lists(
    st.tuples(_CONDITIONS, st.sampled_from((Action.ALLOW, Action.DENY)), st.booleans()), max_size=6
)
_SUBJECTS = st.builds(
    _program, st.sampled_from(("", *TEAMS)), st.sampled_from(PROGRAMS), st.sampled_from(FILES),
    st.sampled_from(HASHES), st.sampled_from(LEAVES),
)  # fmt: skip


def _drawn(drawn: list[tuple[dict[str, Any], Action, bool]]) -> RuleSet:
    """Return the rules; those marked are exceptions that spare all that denies, or allow."""
    rules = tuple(
        _rule(f"r{n}", action, **conditions)
        for n, (conditions, action, spares) in enumerate(drawn)
        if not spares
    )
    denying = tuple(rule.id for rule in rules if rule.action is Action.DENY)
    waivers = tuple(
        Waiver(id=f"w{n}", owner="o", reason="r", expires=AT + timedelta(days=1),
               spares=denying if action is Action.DENY else (), **conditions)
        for n, (conditions, action, spares) in enumerate(drawn)
        if spares
    )  # fmt: skip
    return in_force(replace(rule_set(*rules), waivers=waivers), AT)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(drawn=_SETS, subject=_SUBJECTS)
def test_santa_decides_as_we_do(
    drawn: list[tuple[dict[str, Any], Action, bool]], subject: Subject
) -> None:
    rules = _drawn(drawn)
    compiled = _compile(rules)
    towards = {loss.towards for loss in compiled.losses if loss.name != "expiry"}
    assert Towards.LOOSER not in towards
    answer, allowed = ARBITER.judge(_files(compiled), subject), _allowed(rules, subject)
    assert answer == allowed or (allowed and Towards.STRICTER in towards)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(drawn=_SETS, subject=_SUBJECTS)
def test_the_import_decides_as_santa_does(
    drawn: list[tuple[dict[str, Any], Action, bool]], subject: Subject
) -> None:
    """Whatever was lost: what is read back is what Santa was told."""
    files = _files(_compile(_drawn(drawn)))
    assert _allowed(in_force(IMPORTER.read(files), AT), subject) == ARBITER.judge(files, subject)


_FOREIGN = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("TEAMID"), st.sampled_from(TEAMS)),
            st.tuples(st.just("SIGNINGID"), st.sampled_from([f"{TEAMS[0]}:{p}" for p in PROGRAMS])),
            st.tuples(st.just("BINARY"), st.sampled_from(FILES)),
            st.tuples(st.just("CDHASH"), st.sampled_from(HASHES)),
            st.tuples(st.just("CERTIFICATE"), st.sampled_from(LEAVES)),
        ),
        st.sampled_from(("ALLOWLIST", "BLOCKLIST", "SILENT_BLOCKLIST")),
    ),
    max_size=8, unique_by=lambda pair: pair[0],
)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(told=_FOREIGN, subject=_SUBJECTS)
def test_anybodys_rules_keep_their_order_when_read(
    told: list[tuple[tuple[str, str], str]], subject: Subject
) -> None:
    rules = [{"rule_type": t, "identifier": i, "policy": p} for (t, i), p in told]
    profile = {"PayloadContent": [{"PayloadType": "com.northpolesec.santa", "ClientMode": 2,
                                   "StaticRules": rules}]}  # fmt: skip
    files = {"theirs.mobileconfig": plistlib.dumps(profile)}
    assert _allowed(in_force(IMPORTER.read(files), AT), subject) == ARBITER.judge(files, subject)


def test_a_digest_yields_to_a_denied_publisher_by_cel() -> None:
    rules = rule_set(
        _rule("bad", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[1]), note="a\x01 <note>"),
        _rule("one", digest=(f"file:sha256:{FILES[0]}",)),
    )
    compiled = _compile(rules)
    assert compiled.losses == ()
    assert _static(compiled) == [
        {"rule_type": "TEAMID", "identifier": TEAMS[1], "policy": "BLOCKLIST",
         "custom_msg": "a\ufffd &lt;note&gt;", "comment": "bad"},
        {"rule_type": "BINARY", "identifier": FILES[0], "policy": "CEL",
         "cel_expr": f'!(target.signing_id.startsWith("{TEAMS[1]}:"))', "comment": "one"},
    ]  # fmt: skip


ORDER = (
    ("CDHASH", HASHES[0]), ("BINARY", FILES[0]), ("SIGNINGID", f"{TEAMS[0]}:{PROGRAMS[0]}"),
    ("CERTIFICATE", LEAVES[0]), ("TEAMID", TEAMS[0]),
)  # fmt: skip
"""As santa.dev draws it (Binary Authorization, Rule Types)."""


@pytest.mark.parametrize("first", range(len(ORDER)))
@pytest.mark.parametrize("allowed", [True, False])
def test_the_most_specific_rule_decides(first: int, *, allowed: bool) -> None:
    """Whichever it is: all that come after it say the contrary."""
    policies = ("ALLOWLIST", "BLOCKLIST") if allowed else ("BLOCKLIST", "ALLOWLIST")
    rules = [{"rule_type": t, "identifier": i, "policy": policies[number > first]}
             for number, (t, i) in enumerate(ORDER) if number >= first]  # fmt: skip
    files = {"rules.json": json.dumps({"rules": rules, "client_mode": "LOCKDOWN"}).encode()}
    assert ARBITER.judge(files, _program()) is allowed


@pytest.mark.parametrize("mode", [1, 2])
def test_the_mode_decides_where_no_rule_does(mode: int) -> None:
    settings_ = {"PayloadType": "com.northpolesec.santa", "ClientMode": mode, "StaticRules": []}
    files = {"x": plistlib.dumps({"PayloadContent": [settings_]})}
    assert ARBITER.judge(files, _program()) is (mode == 1)
    assert ARBITER.judge(files, replace(_program(), file_class="script")) is None


@pytest.mark.interop
@pytest.mark.parametrize(
    ("signing_id", "lets_run"),
    [
        ("", True),
        (f"{TEAMS[0]}:{PROGRAMS[0]}", True),
        (f"{TEAMS[0]}:{PROGRAMS[1]}", False),
        (f"{TEAMS[1]}:anything", False),
        (f"X{TEAMS[1]}:anything", True),
    ],
)
def test_a_guard_is_what_it_says_in_googles_cel(signing_id: str, lets_run: bool) -> None:
    denied = frozenset({("TEAMID", TEAMS[1]), ("SIGNINGID", f"{TEAMS[0]}:{PROGRAMS[1]}")})
    expression = guard(denied)
    assert guarded(expression) == denied
    assert runs(expression, signing_id=signing_id) is lets_run


@pytest.mark.parametrize(
    "expression",
    ["true", "!()", '!(target.signing_id == "a") ', "!(euid == 0)",
     '!(target.signing_id.startsWith("A:") || true)', '!(target.signing_id == "\\q")',
     '!(target.signing_id == "\n")', '!(target.signing_id == "ü")'],
)  # fmt: skip
def test_other_expressions_are_no_guards(expression: str) -> None:
    assert guarded(expression) is None


def test_a_certificate_that_is_denied_costs_the_digest() -> None:
    rules = rule_set(
        _rule("leaf", Action.DENY, publisher=PublisherMatch(certificate=f"sha256:{LEAVES[0]}")),
        _rule("one", digest=(f"file:sha256:{FILES[0]}",)),
    )
    compiled = _compile(rules)
    assert [(x.name, x.rule, x.towards) for x in compiled.losses] == [
        ("precedence", "one", Towards.STRICTER)
    ]
    assert [rule["comment"] for rule in _static(compiled)] == ["leaf"]


def test_a_program_of_a_denied_team_goes_without_a_loss() -> None:
    rules = rule_set(
        _rule("team", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[0])),
        _rule("program", publisher=PublisherMatch(team_id=TEAMS[0]),
              product=ProductMatch(bundle_id=PROGRAMS[0])),
    )  # fmt: skip
    compiled = _compile(rules)
    assert compiled.losses == ()
    assert [rule["comment"] for rule in _static(compiled)] == ["team"]


def test_an_exception_is_santas_own_order() -> None:
    told: dict[str, Any] = {"publisher": PublisherMatch(team_id=TEAMS[0])}
    program = {**told, "product": ProductMatch(bundle_id=PROGRAMS[0])}
    rules = rule_set(_rule("team", Action.DENY, **told), _rule("program", **program))
    waiver = Waiver(id="spare", owner="o", reason="r", expires=AT + timedelta(days=1),
                    spares=("team",), **program)  # fmt: skip
    compiled = _compile(in_force(replace(rules, waivers=(waiver,)), AT))
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [("expiry", "spare")]
    policies = {rule["comment"]: rule["policy"] for rule in _static(compiled)}
    assert policies == {"team": "BLOCKLIST", "program": "ALLOWLIST"}


def test_an_exception_from_one_of_two_rules_that_deny_lets_nothing_in() -> None:
    """Both deny the team, in a base and a supplement say: the other one is not spared."""
    team, digest = PublisherMatch(team_id=TEAMS[0]), (f"file:sha256:{FILES[0]}",)
    denying = (_rule(name, Action.DENY, publisher=team) for name in ("one", "two"))
    rules = rule_set(*denying, _rule("file", digest=digest))
    waiver = Waiver(id="spare", owner="o", reason="r", expires=AT + timedelta(days=1),
                    spares=("one",), digest=digest)  # fmt: skip
    for spares in (("one",), ("two",), ("one", "two")):
        spared = in_force(replace(rules, waivers=(replace(waiver, spares=spares),)), AT)
        wanted = len(spares) == 2
        assert _allowed(spared, _program()) is wanted
        assert ARBITER.judge(_files(_compile(spared)), _program()) is wanted


def test_a_note_is_text_where_santa_shows_html() -> None:
    note = "a < b & <img src='https://evil.example/'>"
    rules = rule_set(
        _rule("bad", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[1]), note=note)
    )
    compiled = _compile(rules)
    (told,) = _static(compiled)
    assert told["custom_msg"] == "a &lt; b &amp; &lt;img src='https://evil.example/'&gt;"
    (synced,) = json.loads(compiled.content("ruledownload.json"))["rules"]
    assert synced["custom_msg"] == told["custom_msg"]
    assert [rule.note for rule in IMPORTER.read(_files(compiled)).rules] == [note]


def test_thousands_of_rules_that_deny_compile_at_once() -> None:
    denied = (_rule(f"d{n}", Action.DENY, digest=(f"file:sha256:{n:064x}",)) for n in range(8000))
    rules = rule_set(*denied)
    began = time.process_time()
    assert len(_static(_compile(rules))) == 8000
    assert time.process_time() - began < 10


def _one_rule(said: bytes) -> bytes:
    return b'{"rules": [{"rule_type": "TEAMID", "identifier": "EXAMPLE001", %s}]}' % said


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"rules": [], "rules": []}', "twice"),
        (_one_rule(b'"policy": "BLOCKLIST", "POLICY": "ALLOWLIST"'), "twice"),
        (_one_rule(b'"policy": "ALLOWLIST", "comment": "\\ud800"'), "half a character"),
        (b'{"ClientMode": 1, "client_mode": "LOCKDOWN", "rules": []}', "modes"),
        (b'{"rules": [{"a": "\xff"}]}', "UTF-8"),
        (b'{"rules": ' + b"[" * 100_000, "nested"),
        (_one_rule(b'"policy": "CEL", "cel_expr": "!(target.signing_id == \\"\\\\q\\")"'), "CEL"),
    ],
)  # fmt: skip
def test_what_two_readers_could_take_differently_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        IMPORTER.read({"x.json": data})


def test_rules_of_a_profile_and_of_a_server_are_both_read() -> None:
    block = {"rule_type": "TEAMID", "identifier": TEAMS[0], "policy": "BLOCKLIST"}
    data = json.dumps({"StaticRules": [], "rules": [block]}).encode()
    assert [rule.action for rule in IMPORTER.read({"x": data}).rules] == [Action.DENY]


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("publisher", {"publisher": PublisherMatch(organization="Example")}),
        ("publisher", {"publisher": PublisherMatch(team_id=TEAMS[0], country="AT")}),
        ("publisher", {"publisher": PublisherMatch(team_id=TEAMS[0]),
                       "digest": (f"file:sha256:{FILES[0]}",)}),
        ("key", {"publisher": PublisherMatch(key="first-leaf")}),
        ("eku", {"publisher": PublisherMatch(eku="1.2.3")}),
        ("signers", {"signers": SignersMatch(
            least=2, of=(PublisherMatch(team_id=TEAMS[0]), PublisherMatch(team_id=TEAMS[1])))}),
        ("product", {"publisher": PublisherMatch(team_id=TEAMS[0]),
                     "product": ProductMatch(product="Tool")}),
        ("product", {"publisher": PublisherMatch(team_id=TEAMS[0]),
                     "product": ProductMatch(bundle_id="com.\x01")}),
        ("product", {"product": ProductMatch(bundle_id="com.example")}),
        ("version-floor", {"publisher": PublisherMatch(team_id=TEAMS[0]),
                           "product": ProductMatch(bundle_id="c", minimum_version="2")}),
        ("digest", {"digest": ("file:sha512:" + "00" * 64,)}),
        ("digest", {"digest": (f"authenticode:sha256:{FILES[0]}",)}),
        ("path", {"path": ("/opt/**",)}),
        ("kind", {"kind": ("executable",)}),
        ("kind", {"kind": ("macho-fat",), "digest": (f"file:sha256:{FILES[0]}",)}),
        ("hosts", {"hosts": ("lab",), "digest": (f"file:sha256:{FILES[0]}",)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", [Action.ALLOW, Action.DENY])
def test_what_santa_cannot_say_is_left_out(
    name: str, conditions: dict[str, Any], action: Action
) -> None:
    compiled = _compile(rule_set(_rule("x", action, **conditions)))
    towards = Towards.LOOSER if action is Action.DENY else Towards.STRICTER
    assert [(x.name, x.rule, x.towards) for x in compiled.losses] == [(name, "x", towards)]
    assert _static(compiled) == []


def test_a_digest_of_the_wrong_length_is_an_error() -> None:
    with pytest.raises(PolicyError, match="20"):
        _compile(rule_set(_rule("x", digest=("cdhash:sha256:" + "00" * 32,))))


def test_rules_for_other_kinds_are_none_of_santas_business() -> None:
    rules = rule_set(_rule("x", kind=("script",), path=("/opt/**",)))
    assert _compile(rules).skipped == ("x",)
    assert _compile(rules).losses == ()


def test_a_policy_that_watches_leaves_out_what_denies() -> None:
    team, other = (PublisherMatch(team_id=t) for t in TEAMS)
    rules = rule_set(_rule("a", publisher=team), _rule("d", Action.DENY, publisher=other),
                     mode=Mode.MONITOR)  # fmt: skip
    compiled = _compile(rules)
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [("monitor", "d")]
    assert json.loads(compiled.content("preflight.json"))["client_mode"] == "MONITOR"
    assert ARBITER.judge(_files(compiled), _program(team="")) is True


def test_requirements_and_audits_are_lost_by_name() -> None:
    rules = rule_set(_rule("a", Action.AUDIT, publisher=PublisherMatch(team_id=TEAMS[0])),
                     requirements=Requirements(timestamp=True, max_age_days=30))  # fmt: skip
    assert {(loss.name, loss.towards) for loss in _compile(rules).losses} == {
        ("requirement-timestamp", Towards.LOOSER),
        ("requirement-age", Towards.LOOSER),
        ("audit", Towards.LOOSER),
    }


@pytest.mark.parametrize("given", [{"cel": False}, {"payload": "com.google.santa"}])
def test_a_santa_without_cel_loses_what_would_need_it(given: dict[str, Any]) -> None:
    rules = rule_set(
        _rule("bad", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[1])),
        _rule("one", digest=(f"file:sha256:{FILES[0]}",)),
        _rule("two", publisher=PublisherMatch(team_id=TEAMS[0])),
    )
    compiled = _compile(rules, **given)
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [("precedence", "one")]
    assert [rule["comment"] for rule in _static(compiled)] == ["bad", "two"]


def test_more_denied_than_a_guard_holds_costs_the_digest() -> None:
    denied = [_rule(f"d{n}", Action.DENY, publisher=PublisherMatch(team_id=f"TEAM{n:06}"))
              for n in range(MAX_GUARDED + 1)]  # fmt: skip
    rules = rule_set(*denied, _rule("one", digest=(f"file:sha256:{FILES[0]}",)))
    assert [(loss.name, loss.rule) for loss in _compile(rules).losses] == [("precedence", "one")]


def test_the_profile_is_one_that_macos_takes() -> None:
    compiled = _compile(rule_set(_rule("a", publisher=PublisherMatch(team_id=TEAMS[0]))),
                        organization="Example", sync_url="https://santa.example/")  # fmt: skip
    profile = plistlib.loads(compiled.content("santa.mobileconfig"))
    (payload,) = profile["PayloadContent"]
    assert profile["PayloadScope"] == "System"
    assert profile["PayloadOrganization"] == "Example"
    assert payload["PayloadType"] == "com.northpolesec.santa"
    assert payload["ClientMode"] == 2
    assert payload["SyncBaseURL"] == "https://santa.example/"
    assert payload["StaticRules"] == _static(compiled)
    assert len({profile["PayloadUUID"], payload["PayloadUUID"]}) == 2


def _message(text: str, name: str) -> dict[str, str]:
    """Return a message's fields in JSON (by their own names and lowerCamelCase) and their types."""
    body = re.search(rf"^message {name} \{{(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    fields = re.findall(r"^ {2}(?:optional |repeated )?(\w+) (\w+) = \d+", body[1], re.MULTILINE)
    return {field: kind for kind, field in fields}


def _values(text: str, name: str) -> set[str]:
    body = re.search(rf"^enum {name} \{{(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    return set(re.findall(r"^ {2}(\w+) = \d+", body[1], re.MULTILINE))


def test_what_is_synced_is_what_the_protocol_has() -> None:
    text = (schemas() / "santa" / "sync_v1.proto").read_text()
    rules = rule_set(
        _rule("bad", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[1]), note="no"),
        _rule("one", digest=(f"file:sha256:{FILES[0]}", f"cdhash:sha256:{HASHES[0]}")),
        _rule("two", publisher=PublisherMatch(certificate=f"sha256:{LEAVES[0]}")),
    )
    compiled = _compile(rules)
    answer = json.loads(compiled.content("ruledownload.json"))
    preflight = json.loads(compiled.content("preflight.json"))
    assert set(answer) <= set(_message(text, "RuleDownloadResponse"))
    assert set(preflight) <= set(_message(text, "PreflightResponse"))
    assert preflight["client_mode"] in _values(text, "ClientMode")
    assert preflight["sync_type"] in _values(text, "SyncType")
    fields = _message(text, "Rule")
    assert len(answer["rules"]) == 4
    for rule in answer["rules"]:
        assert set(rule) <= set(fields)
        assert rule["policy"] in _values(text, "Policy")
        assert rule["rule_type"] in _values(text, "RuleType")


def _imported(**settings_: Any) -> RuleSet:
    payload = {"PayloadType": "com.google.santa", "ClientMode": 2, **settings_}
    return IMPORTER.read({"x": plistlib.dumps({"PayloadContent": [payload]})})


def test_managed_preferences_are_read_too() -> None:
    rule = {"Identifier": TEAMS[0].lower(), "policy": "whitelist", "RULE_TYPE": "teamid"}
    forced = {"Forced": [{"mcx_preference_settings": {"ClientMode": 2, "StaticRules": [rule]}}]}
    payload = {"PayloadType": "com.apple.ManagedClient.preferences",
               "PayloadContent": {"com.northpolesec.santa": forced}}  # fmt: skip
    rules = IMPORTER.read({"x": plistlib.dumps({"PayloadContent": [payload]})})
    assert rules.mode is Mode.ENFORCE
    assert rules.rules[0].publisher == PublisherMatch(team_id=TEAMS[0])


def test_monitor_with_rules_that_block_is_told() -> None:
    rule = {"identifier": TEAMS[0], "policy": "BLOCKLIST", "rule_type": "TEAMID"}
    rules = _imported(ClientMode=1, StaticRules=[rule])
    assert rules.mode is Mode.MONITOR
    assert "stops nothing" in rules.note


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"ClientMode": 3}, "STANDALONE"),
        ({"ClientMode": 9}, "client mode"),
        ({"AllowedPathRegex": "^/opt"}, "AllowedPathRegex"),
        ({"StaticRules": {}}, "no array"),
        ({"StaticRules": [1]}, "no dictionary"),
        ({"StaticRules": [{"identifier": TEAMS[0], "policy": "REMOVE", "rule_type": "TEAMID"}]},
         "REMOVE"),
        ({"StaticRules": [{"identifier": TEAMS[0], "policy": "ALLOWLIST_COMPILER",
                           "rule_type": "TEAMID"}]}, "COMPILER"),
        ({"StaticRules": [{"identifier": "short", "policy": "ALLOWLIST", "rule_type": "TEAMID"}]},
         "SHORT"),
        ({"StaticRules": [{"identifier": "platform:com.apple.yes", "policy": "ALLOWLIST",
                           "rule_type": "SIGNINGID"}]}, "platform"),
        ({"StaticRules": [{"identifier": TEAMS[0], "policy": "CEL", "rule_type": "TEAMID",
                           "cel_expr": "euid != 0"}]}, "CEL"),
        ({"StaticRules": [{"identifier": TEAMS[0], "policy": "CEL", "rule_type": "TEAMID"}]},
         "cel_expr"),
        ({"StaticRules": [{"identifier": FILES[0], "policy": "CEL", "rule_type": "BINARY",
                           "cel_expr": guard([("TEAMID", TEAMS[0])])}]}, "CEL"),
        ({"StaticRules": [{"identifier": TEAMS[0], "policy": p, "rule_type": "TEAMID"}
                          for p in ("ALLOWLIST", "BLOCKLIST")]}, "second rule"),
    ],
)  # fmt: skip
def test_what_has_no_equal_is_refused(given: dict[str, Any], found: str) -> None:
    with pytest.raises(PolicyError, match=found):
        _imported(**given)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"bplist00", b"{", b"[1]", b"\x00\x01", b"<plist><dict><key>a</key></dict></plist>",
        b"<!DOCTYPE plist [<!ENTITY a 'b'>]><plist><string>&a;</string></plist>",
        b"<plist>" + b"<array>" * 100 + b"</array>" * 100 + b"</plist>",
        b"<plist><date>x</date></plist>", b"<plist><integer>x</integer></plist>",
        b"<plist><real>9</real></plist>", b"<plist><dict><dict/></dict></plist>",
        b'{"rules": [{"identifier": 1}]}',
    ],
)  # fmt: skip
def test_other_octets_are_refused(data: bytes) -> None:
    with pytest.raises(PolicyError):
        IMPORTER.read({"x": data})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(position=st.integers(0, 2000), octet=st.integers(0, 255), cut=st.booleans())
def test_damaged_profiles_raise_nothing_else(position: int, octet: int, cut: bool) -> None:
    rules = rule_set(_rule("a", publisher=PublisherMatch(team_id=TEAMS[0])))
    data = bytearray(_compile(rules).content("santa.mobileconfig"))
    position %= len(data)
    data[position:] = b"" if cut else bytes([octet]) + data[position + 1 :]
    with contextlib.suppress(PolicyError):
        IMPORTER.read({"x": bytes(data)})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(position=st.integers(0, 2000), octet=st.integers(0, 255), cut=st.booleans())
def test_damaged_answers_raise_nothing_else(position: int, octet: int, cut: bool) -> None:
    rules = rule_set(
        _rule("a", digest=(f"file:sha256:{FILES[0]}",)),
        _rule("d", Action.DENY, publisher=PublisherMatch(team_id=TEAMS[0])),
    )
    data = bytearray(_compile(rules).content("ruledownload.json"))
    position %= len(data)
    data[position:] = b"" if cut else bytes([octet]) + data[position + 1 :]
    with contextlib.suppress(PolicyError):
        ARBITER.judge({"x": bytes(data)}, _program())
        IMPORTER.read({"x": bytes(data)})


@pytest.mark.parametrize(
    ("rule_type", "text", "kept"),
    [
        ("TEAMID", "example001", "EXAMPLE001"),
        ("SIGNINGID", "example001:com.X:y", "EXAMPLE001:com.X:y"),
        ("SIGNINGID", "PLATFORM:com.apple.X", "platform:com.apple.X"),
        ("BINARY", "AA" * 32, "aa" * 32),
        ("CDHASH", "AB" * 20, "ab" * 20),
    ],
)
def test_identifiers_are_kept_as_santa_keeps_them(rule_type: str, text: str, kept: str) -> None:
    assert identifier_of(rule_type, text) == kept
