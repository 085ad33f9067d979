"""ClusterImagePolicy of the sigstore policy-controller."""

from __future__ import annotations

from typing import Any

import pytest

from signward.compilers import Compiled
from signward.compilers.sigstore_policy_controller import COMPILER, Settings
from signward.policy.rules.model import (
    IdentityMatch,
    Mode,
    PublisherMatch,
    Requirements,
    RuleSet,
    SignersMatch,
)
from tests.builders.crd import definition, resources
from tests.builders.image_policies import APP, DIGEST, allow, deny, image_rule_set

CI = IdentityMatch(
    identity=r"https://github\.com/example/.*", issuer=r"https://token\.actions\.example"
)


def compiled(rules: RuleSet, settings: Settings | None = None) -> Compiled:
    return COMPILER.compile(rules, settings or Settings())


def policies(rules: RuleSet, settings: Settings | None = None) -> list[Any]:
    made = compiled(rules, settings)
    names = [file.name for file in made.files]
    return resources(made.content("policies.yaml")) if "policies.yaml" in names else []


def lost(rules: RuleSet, settings: Settings | None = None) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in compiled(rules, settings).losses}


RICH = image_rule_set(
    allow("team_one", "registry.example/team/*", key="one", note="a \"note\"\n: - {x}"),
    allow("same", "registry.example/team/*", identity=CI),
    allow("open", "open.example/**"),
    deny("bad", "registry.example/bad/**", note="gone: #bad"),
    allow("both", "strict.example/**", signers=SignersMatch(
        least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))),
    requirements=Requirements(log=True, timestamp=True),
)  # fmt: skip
SETTINGS = Settings(timestamps="tsa", trust_root="own")


def test_it_is_what_the_definition_knows() -> None:
    known = definition("300-clusterimagepolicy.yaml", "v1beta1")
    made = policies(RICH, SETTINGS)
    assert len(made) == 5
    for resource in made:
        assert known.faults(resource) == []
        assert known.faults({**resource, "spec": {**resource["spec"], "more": 1}}) != []
    assert lost(RICH, SETTINGS) == set()


def test_alternatives_for_a_pattern_stand_in_one_policy() -> None:
    first = policies(RICH)[0]["spec"]
    assert first["images"] == [{"glob": "registry.example/team/*"}]
    key, keyless = first["authorities"]
    assert key["key"]["data"].startswith("-----BEGIN PUBLIC KEY-----\n")
    assert keyless["keyless"]["identities"] == [
        {"issuer": "https://token.actions.example",
         "subjectRegExp": r"^(?:https://github\.com/example/.*)$"}
    ]  # fmt: skip


def test_a_denial_is_met_by_nothing_and_an_unsigned_rule_by_everything() -> None:
    by_glob = {p["spec"]["images"][0]["glob"]: p["spec"]["authorities"] for p in policies(RICH)}
    assert by_glob["registry.example/bad/**"] == [
        {"name": "bad", "static": {"action": "fail", "message": "gone: #bad"}}
    ]
    assert by_glob["open.example/**"] == [{"name": "open", "static": {"action": "pass"}}]


def test_several_signers_are_several_policies() -> None:
    globs = [p["spec"]["images"][0]["glob"] for p in policies(RICH)]
    assert globs.count("strict.example/**") == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("registry.example/**", "registry.example/team/*"),
        ("registry.example/team/*", "registry.example/**"),
        ("**", "registry.example/x"),
        ("registry.example/team/app", "registry.example/team/app-two"),
    ],
)
def test_an_image_of_two_patterns_would_have_to_meet_both(one: str, other: str) -> None:
    rules = image_rule_set(allow("first", one, key="one"), allow("second", other, key="two"))
    assert ("alternative", "second") in lost(rules)
    assert len(policies(rules)) == 1


def test_patterns_that_share_no_image_are_both_kept() -> None:
    rules = image_rule_set(
        allow("first", "registry.example/one/*", key="one"),
        allow("second", "registry.example/two/**", key="two"),
    )
    assert lost(rules) == set()
    assert len(policies(rules)) == 2


def test_a_single_repository_has_a_star_behind_it_and_says_so() -> None:
    rules = image_rule_set(allow("app", APP, key="one"))
    assert lost(rules) == {("reach", "app")}
    assert policies(rules)[0]["spec"]["images"] == [{"glob": f"{APP}*"}]


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (allow("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (deny("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (deny("x", key="one"), "deny"),
        (allow("x", "registry.example/a+b/*", key="one"), "origin"),
        (allow("x", "app", key="one"), "origin"),
        (allow("x", key="first-ca"), "key"),
        (allow("x", publisher=PublisherMatch(organization="Example Ltd")), "publisher"),
        (
            allow("x", signers=SignersMatch(
                least=2, of=tuple(PublisherMatch(key=k) for k in ("one", "two", "three")))),
            "signers",
        ),
    ],
)  # fmt: skip
def test_what_it_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    rules = image_rule_set(rule)
    assert lost(rules) == {(loss, "x")}
    assert policies(rules) == []


@pytest.mark.parametrize(("mode", "word"), [(Mode.ENFORCE, "deny"), (Mode.MONITOR, "warn")])
def test_what_no_policy_matches_is_stopped_or_warned_of(mode: Mode, word: str) -> None:
    rules = image_rule_set(allow("team", "registry.example/**", key="one"), mode=mode)
    (config,) = resources(compiled(rules).content("config-policy-controller.yaml"))
    assert config["data"] == {"no-match-policy": word}
    assert policies(rules)[0]["spec"]["mode"] == {"deny": "enforce", "warn": "warn"}[word]
    assert lost(rules) == set()


def test_a_timestamp_needs_somebody_to_trust() -> None:
    rules = image_rule_set(allow("team", "registry.example/**", key="one"),
                           requirements=Requirements(timestamp=True))  # fmt: skip
    assert lost(rules) == {("requirement-timestamp", "")}
    assert lost(rules, Settings(timestamps="tsa")) == set()


def test_resources_of_one_rule_never_bear_another_rules_name() -> None:
    """Applied one after the other, the second would replace the first."""
    both = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))
    rules = image_rule_set(
        allow("x", "registry.example/a/**", signers=both),
        allow("x-0", "registry.example/b/**", key="three"),
    )
    names = [one["metadata"]["name"] for one in resources(compiled(rules).content("policies.yaml"))]
    assert len(set(names)) == len(names) == 3


def test_a_denial_on_docker_hub_is_told_to_miss_short_names() -> None:
    rules = image_rule_set(deny("d", "docker.io/library/nginx"), deny("e", "ghcr.io/a/**"))
    losses = {(x.name, x.rule, x.towards) for x in compiled(rules).losses}
    assert ("origin", "d", "looser") in losses
    assert ("origin", "e", "looser") not in losses
