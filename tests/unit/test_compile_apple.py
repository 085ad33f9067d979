"""Configuration profiles: against Apple's schemas, and what Gatekeeper's requirements let in."""

from __future__ import annotations

import hashlib
import plistlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled, Towards
from signward.compilers.apple_profiles import COMPILER, MAX_DENIED, ProfileSettings
from signward.frozen import replace
from signward.policy.rules.decide import decide
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome
from signward.wire.requirement import write_requirement
from signward.wire.requirement_text import parse_requirement
from tests.builders.policies import AT, publishers, rule_set
from tests.schemas import schemas

TEAMS = ("EXAMPLE001", "OTHERTEAM2")
PROGRAMS = ("com.example.one", "com.example.two")
HASHES = ("11" * 20, "22" * 20)
LEAVES = tuple(one.leaf for one in publishers())
APPLE = "1.2.840.113635"


def _digest(leaf: x509.Certificate, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, leaf.public_bytes(Encoding.DER)).hexdigest()


def _compile(rules: RuleSet, **given: Any) -> Compiled:
    return COMPILER.compile(rules, ProfileSettings(**given))


def _payloads(compiled: Compiled, name: str, kind: str) -> list[dict[str, Any]]:
    content = plistlib.loads(compiled.content(f"{name}.mobileconfig"))["PayloadContent"]
    return [payload for payload in content if payload["PayloadType"] == kind]


def _rules(compiled: Compiled, operation: str = "execute") -> dict[str, str]:
    rules = {
        payload["Comment"]: payload["Requirement"]
        for payload in _payloads(compiled, "gatekeeper", "com.apple.systempolicy.rule")
        if payload["OperationType"] == f"operation:{operation}"
    }
    for requirement in rules.values():
        assert write_requirement(parse_requirement(requirement))
    return rules


_TOKEN = re.compile(r'"[^"]*"|H"[0-9a-f]*"|[()!=]|[A-Za-z]+(?:\[[^\]]*\])?|\s+')


class _Reader:
    """Evaluates a requirement: the grammar of the language, as far as it is written here."""

    def __init__(self, text: str, subject: Subject) -> None:
        tokens = _TOKEN.findall(text)
        assert "".join(tokens) == text, f"no requirement: {text}"
        self._left: list[str] = [token for token in tokens if token.strip()]
        self._subject = subject

    def value(self) -> bool:
        found = self._either()
        assert not self._left
        return found

    def _take(self, *wanted: str) -> bool:
        if self._left[: len(wanted)] != list(wanted):
            return False
        del self._left[: len(wanted)]
        return True

    def _either(self) -> bool:
        return self._chain("or", self._both)

    def _both(self) -> bool:
        return self._chain("and", self._one)

    def _chain(self, word: str, read: Callable[[], bool]) -> bool:
        values = [read()]
        while self._take(word):
            values.append(read())
        return any(values) if word == "or" else all(values)

    def _one(self) -> bool:
        if self._take("!"):
            return not self._one()
        if self._take("("):
            found = self._either()
            assert self._take(")")
            return found
        return self._fact()

    def _fact(self) -> bool:
        signer = self._subject.signers[0] if self._subject.signers else None
        if self._take("anchor", "apple", "generic") or self._take("anchor", "trusted"):
            return signer is not None
        if self._take("certificate", "leaf[subject.OU]", "="):
            wanted = self._left.pop(0)
            return signer is not None and wanted == f'"{signer.team_id}"'
        if self._take("certificate", "leaf", "="):
            wanted = self._left.pop(0)
            return signer is not None and wanted in {
                f'H"{_digest(leaf, "sha1")}"'
                for leaf in LEAVES
                if _digest(leaf) == signer.certificates[0]
            }
        if self._take("identifier"):
            return self._left.pop(0) == f'"{self._subject.bundle_id}"'
        assert self._take("cdhash"), self._left
        value = self._left.pop(0)[2:-1]
        return f"cdhash:sha256:{value}" in self._subject.digests


_CONDITIONS = st.one_of(
    st.sampled_from(HASHES).map(lambda v: {"digest": (f"cdhash:sha256:{v}",)}),
    st.just({"digest": tuple(f"cdhash:sha256:{v}" for v in HASHES)}),
    st.sampled_from(TEAMS).map(lambda v: {"publisher": PublisherMatch(team_id=v)}),
    st.sampled_from(LEAVES).map(
        lambda v: {"publisher": PublisherMatch(certificate=f"sha256:{_digest(v)}")}
    ),
    st.tuples(st.sampled_from(TEAMS), st.sampled_from(PROGRAMS)).map(
        lambda v: {"publisher": PublisherMatch(team_id=v[0]),
                   "product": ProductMatch(bundle_id=v[1])}
    ),
    st.tuples(st.sampled_from(TEAMS), st.sampled_from(HASHES)).map(
        lambda v: {"publisher": PublisherMatch(team_id=v[0]), "digest": (f"cdhash:sha256:{v[1]}",)}
    ),
    st.just({"signers": SignersMatch(least=1, of=tuple(PublisherMatch(team_id=t) for t in TEAMS))}),
)  # fmt: skip
_SETS = st.lists(
    st.tuples(_CONDITIONS, st.sampled_from((Action.ALLOW, Action.DENY)), st.booleans()), max_size=6
)
_KINDS = st.sampled_from(((), ("executable",), ("installer",)))


def _subject(team: str, program: str, cdhash: str, leaf: x509.Certificate, kind: str) -> Subject:
    signer = Signer(team_id=team, certificates=(_digest(leaf), "ee" * 32))
    return Subject(
        path="/Applications/x", kind="macho", file_class=kind, signers=(signer,) if team else (),
        digests=frozenset({f"cdhash:sha256:{cdhash}"}), bundle_id=program,
        outcome=Outcome.ACCEPTED if team else Outcome.REJECTED,
    )  # fmt: skip


@settings(max_examples=500, deadline=None, derandomize=True)
@given(drawn=_SETS, kinds=st.lists(_KINDS, min_size=6, max_size=6), subject=st.builds(
    _subject, st.sampled_from(("", *TEAMS)), st.sampled_from(PROGRAMS), st.sampled_from(HASHES),
    st.sampled_from(LEAVES), st.sampled_from(("executable", "installer"))))  # fmt: skip
def test_requirements_decide_as_we_do(
    drawn: list[tuple[dict[str, Any], Action, bool]],
    kinds: list[tuple[str, ...]],
    subject: Subject,
) -> None:
    rules = tuple(
        Rule(id=f"r{n}", action=action, kind=kind, **conditions)
        for n, ((conditions, action, spares), kind) in enumerate(zip(drawn, kinds, strict=False))
        if not spares
    )
    denying = tuple(rule.id for rule in rules if rule.action is Action.DENY)
    waivers = tuple(
        Waiver(id=f"w{n}", owner="o", reason="r", expires=AT + timedelta(days=1), spares=denying,
               **conditions)
        for n, (conditions, _, spares) in enumerate(drawn)
        if spares
    )  # fmt: skip
    policy = in_force(replace(rule_set(*rules), waivers=waivers), AT)
    compiled = _compile(policy, extensions=False)
    names = {loss.name for loss in compiled.losses} - {"default-deny", "expiry"}
    assert names <= {"product"}
    if "product" in names or (subject.file_class == "installer" and subject.bundle_id):
        subject = replace(subject, file_class="executable")
    operation = "install" if subject.file_class == "installer" else "execute"
    answer = any(_Reader(text, subject).value() for text in _rules(compiled, operation).values())
    assert answer == (decide(Index(policy), subject, AT).outcome is Outcome.ACCEPTED)


def test_what_is_denied_is_taken_out_of_what_is_let_in() -> None:
    rules = rule_set(
        Rule(id="team", action=Action.ALLOW, publisher=PublisherMatch(team_id=TEAMS[0])),
        Rule(id="bad", action=Action.DENY, digest=(f"cdhash:sha256:{HASHES[0]}",)),
    )
    compiled = _compile(rules)
    assert _rules(compiled) == {
        "team": '(anchor apple generic and certificate leaf[subject.OU] = "EXAMPLE001")'
        f' and !(cdhash H"{HASHES[0]}")'
    }
    assert _rules(compiled, "install") == _rules(compiled)
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [
        ("extension", "bad"), ("default-deny", ""),
    ]  # fmt: skip


_TYPES: dict[str, tuple[type, ...]] = {
    "<string>": (str,), "<boolean>": (bool,), "<array>": (list,), "<dictionary>": (dict,),
    "<integer>": (int,), "<real>": (int, float), "<date>": (datetime,), "<data>": (bytes,),
}  # fmt: skip


def _check(keys: list[dict[str, Any]], value: dict[str, Any], where: str) -> None:
    """Hold a dictionary against ``payloadkeys``: nothing unknown, nothing of another type."""
    known = {key["key"]: key for key in keys}
    for name, item in value.items():
        said = known.get(name) or known.get("ANY")
        assert said is not None, f"{where}: {name}"
        if said["type"] == "<any>":
            continue
        assert isinstance(item, _TYPES[said["type"]]), f"{where}.{name}"
        assert item in said.get("rangelist", [item]), f"{where}.{name}"
        if isinstance(item, dict):
            _check(said.get("subkeys", []), item, f"{where}.{name}")
        for one in item if isinstance(item, list) else []:
            assert isinstance(one, _TYPES[said["subkeys"][0]["type"]]), f"{where}.{name}"
    for key in keys:
        assert key.get("presence") != "required" or key["key"] in {*value, "ANY"}, key["key"]


def _schema(name: str) -> list[dict[str, Any]]:
    read = yaml.safe_load((schemas() / "apple" / f"{name}.yaml").read_text())
    keys: list[dict[str, Any]] = read["payloadkeys"]
    return keys


def _whole() -> Compiled:
    waiver = Waiver(id="late", owner="o", reason="r", expires=AT + timedelta(days=3),
                    publisher=PublisherMatch(team_id=TEAMS[1]), kind=("executable",))  # fmt: skip
    rules = rule_set(
        Rule(id="team", action=Action.ALLOW, publisher=PublisherMatch(team_id=TEAMS[0])),
        Rule(id="driver", action=Action.ALLOW, publisher=PublisherMatch(team_id=TEAMS[1]),
             product=ProductMatch(bundle_id="com.example.driver"), kind=("kernel-module",)),
        Rule(id="bad", action=Action.DENY, digest=(f"cdhash:sha256:{HASHES[0]}",)),
    )  # fmt: skip
    named = replace(rules, waivers=(waiver,), note="a\x00note")
    return _compile(in_force(named, AT), organization="Example")


@pytest.mark.parametrize("name", ["gatekeeper", "extensions"])
def test_every_payload_is_what_apple_describes(name: str) -> None:
    profile = plistlib.loads(_whole().content(f"{name}.mobileconfig"))
    _check(_schema("TopLevel"), profile, name)
    common = _schema("CommonPayloadKeys")
    identifiers = [profile["PayloadUUID"]]
    for payload in profile["PayloadContent"]:
        kind = payload["PayloadType"]
        _check(common + _schema(kind), payload, kind)
        identifiers.append(payload["PayloadUUID"])
    assert len(set(identifiers)) == len(identifiers)


def test_an_exception_ends_in_gatekeeper_too() -> None:
    compiled = _whole()
    ends = {
        payload["Comment"]: payload.get("Expiration")
        for payload in _payloads(compiled, "gatekeeper", "com.apple.systempolicy.rule")
    }
    assert ends == {"team": None, "late": (AT + timedelta(days=3)).replace(tzinfo=None)}
    assert "expiry" not in {loss.name for loss in compiled.losses}


def _listed(compiled: Compiled) -> tuple[list[str], dict[str, list[str]]]:
    (kernel,) = _payloads(compiled, "extensions", "com.apple.syspolicy.kernel-extension-policy")
    (system,) = _payloads(compiled, "extensions", "com.apple.system-extension-policy")
    assert kernel["AllowedTeamIdentifiers"] == system["AllowedTeamIdentifiers"]
    assert kernel["AllowedKernelExtensions"] == system["AllowedSystemExtensions"]
    assert kernel["AllowUserOverrides"] is system["AllowUserOverrides"] is False
    return system["AllowedTeamIdentifiers"], system["AllowedSystemExtensions"]


def _extension(name: str, team: str, program: str = "", action: Action = Action.ALLOW) -> Rule:
    product = ProductMatch(bundle_id=program) if program else None
    return Rule(id=name, action=action, publisher=PublisherMatch(team_id=team), product=product,
                kind=("kernel-module",))  # fmt: skip


def _cases() -> Iterator[tuple[list[Rule], list[str], dict[str, list[str]], list[str]]]:
    first, other = TEAMS
    deny = Action.DENY
    yield [], [], {}, []
    yield [_extension("a", first)], [first], {}, []
    yield [_extension("a", first, "x"), _extension("b", first, "w")], [], {first: ["w", "x"]}, []
    yield [_extension("a", first, "x"), _extension("b", first)], [first], {}, []
    yield [_extension("a", first, "x"), _extension("d", first, "", deny)], [], {}, []
    yield [_extension("a", first, "x"), _extension("d", first, "x", deny)], [], {}, []
    yield [_extension("a", first), _extension("d", first, "x", deny)], [], {}, ["a"]
    yield [_extension("a", first), _extension("d", other, "x", deny)], [first], {}, []


@pytest.mark.parametrize(("rules", "teams", "programs", "lost"), list(_cases()))
def test_extensions_are_listed(
    rules: list[Rule], teams: list[str], programs: dict[str, list[str]], lost: list[str]
) -> None:
    compiled = _compile(rule_set(*rules))
    assert _listed(compiled) == (teams, programs)
    assert [loss.rule for loss in compiled.losses if loss.name == "extension"] == lost


def test_extensions_can_be_left_to_others() -> None:
    compiled = _compile(rule_set(_extension("a", TEAMS[0])), extensions=False)
    assert [file.name for file in compiled.files] == ["gatekeeper.mobileconfig"]
    assert ("extension", "a", Towards.STRICTER) in {
        (loss.name, loss.rule, loss.towards) for loss in compiled.losses
    }


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("publisher", {"publisher": PublisherMatch(organization="Example")}),
        ("publisher", {"publisher": PublisherMatch(certificate="sha256:" + "00" * 32)}),
        ("key", {"publisher": PublisherMatch(key="first-ca")}),
        ("digest", {"digest": ("file:sha256:" + "00" * 32,)}),
        ("path", {"path": ("/opt/**",)}),
        ("kind", {"kind": ("executable",)}),
        ("kind", {"kind": ("macho",), "publisher": PublisherMatch(team_id=TEAMS[0])}),
        ("product", {"publisher": PublisherMatch(team_id=TEAMS[0]), "kind": ("executable",),
                     "product": ProductMatch(bundle_id='x" or anchor trusted or "')}),
        ("product", {"publisher": PublisherMatch(team_id=TEAMS[0]), "kind": ("installer",),
                     "product": ProductMatch(bundle_id="com.example")}),
        ("version-floor", {"publisher": PublisherMatch(team_id=TEAMS[0]),
                           "product": ProductMatch(bundle_id="c", minimum_version="1")}),
    ],
)  # fmt: skip
def test_what_a_requirement_cannot_say_is_lost(name: str, conditions: dict[str, Any]) -> None:
    rule = Rule(id="x", action=Action.ALLOW, **conditions)
    compiled = _compile(rule_set(rule))
    assert (name, "x", Towards.STRICTER) in {
        (loss.name, loss.rule, loss.towards) for loss in compiled.losses
    }
    assert _rules(compiled) == {}


def test_too_much_denied_is_lost_and_watching_too() -> None:
    rules = [Rule(id=f"d{n}", action=Action.DENY, kind=("executable",),
                  publisher=PublisherMatch(team_id=f"TEAM{n:06}"))
             for n in range(MAX_DENIED + 1)]  # fmt: skip
    losses = _compile(rule_set(*rules, mode=Mode.MONITOR)).losses
    assert [(loss.name, loss.rule) for loss in losses] == [
        ("deny", f"d{MAX_DENIED}"), ("default-deny", ""), ("monitor", ""),
    ]  # fmt: skip


def test_identified_developers_are_let_in_denied_or_not() -> None:
    """Gatekeeper's own rule for them stands beside ours, which alone leave out what is denied."""
    rules = rule_set(
        Rule(id="bad", action=Action.DENY, publisher=PublisherMatch(team_id=TEAMS[0])),
        Rule(id="good", action=Action.ALLOW, publisher=PublisherMatch(team_id=TEAMS[1])),
    )
    lost = [(x.name, x.rule, x.towards) for x in _compile(rules, identified_developers=True).losses]
    assert ("deny", "bad", Towards.LOOSER) in lost
    assert "deny" not in {x.name for x in _compile(rules).losses}
