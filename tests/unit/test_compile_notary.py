"""notation, Ratify and AWS: trust policies for repositories, and Ratify's cosign scopes."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from signward.compilers import Compiled, Towards
from signward.compilers.aws import COMPILER as AWS
from signward.compilers.aws import Settings as AwsSettings
from signward.compilers.notation import COMPILER as NOTATION
from signward.compilers.notation import Settings
from signward.compilers.ratify import COMPILER as RATIFY
from signward.compilers.ratify import Settings as RatifySettings
from signward.errors import PolicyError
from signward.policy.rules.model import (
    IdentityMatch,
    Mode,
    PublisherMatch,
    Requirements,
    RuleSet,
    SignersMatch,
)
from signward.trust.settings import RevocationMode
from tests.builders.crd import definition, resources
from tests.builders.image_policies import APP, DIGEST, allow, deny, image_rule_set

CI = IdentityMatch(identity=r"https://ci\.example/.*", issuer=r"https://id\.example")
OTHER = "registry.example/team/other"


def lost(made: Compiled) -> set[tuple[str, str]]:
    """Return what is lost but revocation, of which `test_revocation_is_the_level` speaks."""
    every = {(loss.name, loss.rule) for loss in made.losses}
    return {one for one in every if one[0] != "requirement-revocation"}


def notation(rules: RuleSet, **settings: Any) -> Compiled:
    return NOTATION.compile(rules, Settings(**settings))


def statements(made: Compiled) -> dict[str, Any]:
    found = json.loads(made.content("trustpolicy.json"))
    assert found["version"] == "1.0"
    return {one["registryScopes"][0]: one for one in found["trustPolicies"]}


# notation


def test_nobody_is_trusted_by_an_empty_policy() -> None:
    made = statements(notation(image_rule_set()))
    assert made == {
        "*": {
            "name": "everything else", "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:signward-nobody"], "trustedIdentities": ["*"],
        }
    }  # fmt: skip


def test_a_ca_in_a_trust_store() -> None:
    rules = image_rule_set(allow("team", APP, key="first-ca"))
    made = notation(rules)
    assert lost(made) == set()
    one = statements(made)[APP]
    assert one["trustStores"] == ["ca:first-ca"]
    assert one["trustedIdentities"] == ["*"]
    assert one["signatureVerification"] == {"level": "strict", "override": {"revocation": "log"}}
    pem = made.content("truststore/x509/ca/first-ca/first-ca.pem")
    assert pem.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert statements(made)["*"]["trustStores"] == ["ca:signward-nobody"]


def test_a_subject_is_escaped() -> None:
    publisher = PublisherMatch(key="first-ca", organization='A, "B"+C', country="AT",
                               state="#1 ", common_name="x=y")  # fmt: skip
    made = notation(image_rule_set(allow("team", APP, publisher=publisher)))
    assert statements(made)[APP]["trustedIdentities"] == [
        r"x509.subject: C=AT, ST=\#1\ , O=A\, \"B\"\+C, CN=x\=y"
    ]


def test_what_all_images_may_have_a_single_repository_may_too() -> None:
    rules = image_rule_set(allow("team", APP, key="first-ca"), allow("all", key="second-ca"))
    made = statements(notation(rules))
    assert made[APP]["trustStores"] == ["ca:first-ca", "ca:second-ca"]
    assert made["*"]["trustStores"] == ["ca:second-ca"]


def test_stores_and_identities_are_not_mixed() -> None:
    first = PublisherMatch(key="first-ca", organization="A", country="AT", state="W")
    second = PublisherMatch(key="second-ca", organization="B", country="AT", state="W")
    rules = image_rule_set(
        allow("one", APP, publisher=first), allow("two", APP, publisher=second),
        allow("three", APP, publisher=PublisherMatch(key="first-ca", organization="C",
                                                     country="AT", state="W")),
    )  # fmt: skip
    made = notation(rules)
    assert lost(made) == {("alternative", "two")}
    assert len(statements(made)[APP]["trustedIdentities"]) == 2
    assert len(made.files) == 2


def test_an_unsigned_repository_is_skipped_and_a_denied_one_trusts_nobody() -> None:
    rules = image_rule_set(allow("open", OTHER), deny("bad", APP), allow("all", key="first-ca"))
    made = notation(rules)
    assert lost(made) == set()
    assert statements(made)[OTHER]["signatureVerification"] == {"level": "skip"}
    assert "trustStores" not in statements(made)[OTHER]
    assert statements(made)[APP]["trustStores"] == ["ca:signward-nobody"]


def test_everything_denied_leaves_nothing_trusted() -> None:
    rules = image_rule_set(allow("all", key="first-ca"), allow("team", APP, key="first-ca"),
                           deny("stop"))  # fmt: skip
    made = statements(notation(rules))
    assert list(made) == ["*"]
    assert made["*"]["trustStores"] == ["ca:signward-nobody"]


@pytest.mark.parametrize(
    ("revocation", "said"),
    [
        (RevocationMode.REQUIRE, {"level": "strict"}),
        (RevocationMode.PREFER, {"level": "strict", "override": {"revocation": "log"}}),
        (RevocationMode.IGNORE, {"level": "strict", "override": {"revocation": "skip"}}),
    ],
)
def test_revocation_is_the_level(revocation: RevocationMode, said: Any) -> None:
    rules = image_rule_set(allow("team", APP, key="first-ca"),
                           requirements=Requirements(revocation=revocation))  # fmt: skip
    assert statements(notation(rules))[APP]["signatureVerification"] == said
    told = {loss.towards for loss in notation(rules).losses}
    assert told == (set() if revocation is RevocationMode.REQUIRE else {Towards.LOOSER})


def test_timestamps_need_somebody_to_trust() -> None:
    rules = image_rule_set(allow("team", APP, key="first-ca"),
                           requirements=Requirements(timestamp=True))  # fmt: skip
    assert lost(notation(rules)) == {("requirement-timestamp", "team")}
    made = notation(rules, tsa=("second-ca",))
    assert lost(made) == set()
    assert statements(made)[APP]["trustStores"] == ["ca:first-ca", "tsa:second-ca"]
    assert statements(made)[APP]["signatureVerification"]["verifyTimestamp"] == "always"
    assert made.content("truststore/x509/tsa/second-ca/second-ca.pem")
    with pytest.raises(PolicyError):
        notation(rules, tsa=("one",))


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (allow("x", "registry.example/**", key="first-ca"), "origin"),
        (allow("x"), "origin"),
        (allow("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (allow("x", APP, key="one"), "key"),
        (allow("x", APP, key="first-leaf"), "key"),
        (allow("x", APP, identity=CI), "identity"),
        (allow("x", APP, publisher=PublisherMatch(organization="A")), "publisher"),
        (allow("x", APP, publisher=PublisherMatch(key="first-ca", organization="A")), "publisher"),
        (allow("x", APP, publisher=PublisherMatch(key="first-ca", team_id="EXAMPLE001")),
         "publisher"),
        (deny("x", APP, key="first-ca"), "deny"),
        (
            allow("x", APP, signers=SignersMatch(
                least=2, of=(PublisherMatch(key="first-ca"), PublisherMatch(key="second-ca")))),
            "signers",
        ),
    ],
)  # fmt: skip
def test_what_notation_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    made = notation(image_rule_set(rule))
    assert lost(made) == {(loss, "x")}
    assert list(statements(made)) == ["*"]


def test_monitoring_audits_what_is_signed() -> None:
    made = notation(image_rule_set(allow("team", APP, key="first-ca"), mode=Mode.MONITOR))
    assert statements(made)[APP]["signatureVerification"] == {"level": "audit"}
    assert lost(made) == {("monitor", "")}


# Ratify


def ratify(rules: RuleSet) -> Compiled:
    return RATIFY.compile(rules, RatifySettings())


def objects(made: Compiled) -> list[Any]:
    return resources(made.content("ratify.yaml"))


def policies(made: Compiled) -> list[Any]:
    (found,) = (o["spec"]["parameters"]["trustPolicies"] for o in objects(made)
                if o["spec"].get("name") == "cosign")  # fmt: skip
    return list(found)


RICH = image_rule_set(
    allow("team", "registry.example/team/**", key="one"),
    allow("app", "other.example/a/b", key="two"),
    allow("ci", "ci.example/**", identity=CI),
    allow("notation", "notary.example/x", key="first-ca"),
    allow("leaf", "leaf.example/**", key="first-leaf"),
)


def test_ratify_is_what_its_definitions_know() -> None:
    files = {"Verifier": "verifier", "Policy": "policy",
             "KeyManagementProvider": "keymanagementprovider"}  # fmt: skip
    made = ratify(RICH)
    for one in objects(made):
        name = f"{files[one['kind']]}-customresourcedefinition.yaml"
        known = definition(name, "v1beta1")
        assert known.faults(one) == []
        assert known.faults({**one, "spec": {**one["spec"], "more": 1}}) != []
    assert lost(made) == {("mixed", "")}
    names = [(o["kind"], o["metadata"]["name"]) for o in objects(made)]
    assert len(set(names)) == len(names) == 7


def test_cosigns_scopes_are_exactly_the_images() -> None:
    made = policies(ratify(RICH))
    assert [p["scopes"] for p in made] == [
        ["registry.example/team/*"], ["other.example/a/b:*", "other.example/a/b@*"],
        ["ci.example/*"], ["leaf.example/*"],
    ]  # fmt: skip
    assert made[0]["tLogVerify"] is False
    assert made[2]["keyless"] == {
        "ctLogVerify": True,
        "certificateIdentityRegExp": r"^(?:https://ci\.example/.*)$",
        "certificateOIDCIssuer": "https://id.example",
    }
    assert made[2]["tLogVerify"] is True


def test_keys_for_all_images_are_said_again() -> None:
    rules = image_rule_set(allow("team", "registry.example/**", key="one"),
                           allow("all", key="two"))  # fmt: skip
    made = policies(ratify(rules))
    assert [len(p["keys"]) for p in made] == [2, 1]
    providers = {o["metadata"]["name"] for o in objects(ratify(rules))
                 if o["kind"] == "KeyManagementProvider"}  # fmt: skip
    assert {k["provider"] for p in made for k in p["keys"]} == providers


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (allow("a", "registry.example/**", key="one"), allow("b", APP, key="two")),
        (allow("a", APP, key="one"), allow("b", "registry.example/**", key="two")),
        (allow("a", APP, key="one"), allow("b", APP, identity=CI)),
        (allow("a", APP, key="one"), allow("b", identity=CI)),
        (allow("a", identity=CI), allow("b", APP, key="one")),
    ],
)
def test_what_would_overlap_or_mix_is_lost(first: Any, second: Any) -> None:
    made = ratify(image_rule_set(first, second))
    assert lost(made) == {("alternative", "b")}
    assert [p["name"] for p in policies(made)] == ["a"]


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (allow("x", "registry.example/team/*", key="one"), "origin"),
        (allow("x", "registry.example/a_b/c", key="one"), "origin"),
        (allow("x", "registry.example/**"), "origin"),
        (deny("x", APP), "deny"),
        (allow("x", APP, digest=(f"oci:{DIGEST}",), key="one"), "digest"),
        (allow("x", APP, publisher=PublisherMatch(organization="A")), "publisher"),
    ],
)
def test_what_ratify_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    made = ratify(image_rule_set(rule))
    assert lost(made) == {(loss, "x")}
    assert [o["kind"] for o in objects(made)] == ["Policy"]


# AWS

PROFILE = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/team"
VERSION = f"{PROFILE}/AbCdEf1234"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"


def aws(rules: RuleSet, **profiles: str) -> Compiled:
    return AWS.compile(rules, AwsSettings(profiles=profiles))


def content(made: Compiled, name: str) -> Any:
    return json.loads(made.content(name))


def faults(service: str, operation: str, parameters: Any) -> str:
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x",
                          aws_secret_access_key="x")  # fmt: skip
    shape = client.meta.service_model.operation_model(operation).input_shape
    return str(ParamValidator().validate(parameters, shape).generate_report())


def test_aws_names_signing_profiles() -> None:
    rules = image_rule_set(allow("team", ECR, key="one"), allow("all", key="two"))
    made = aws(rules, one=PROFILE, two=VERSION)
    assert lost(made) == set()
    trust = {s["registryScopes"][0]: s for s in content(made, "trustpolicy.json")["trustPolicies"]}
    assert trust[ECR]["trustStores"] == ["signingAuthority:aws-signer-ts"]
    assert trust[ECR]["trustedIdentities"] == [PROFILE, VERSION]
    assert trust["*"]["trustedIdentities"] == [VERSION]
    ecr = content(made, "ecr-signing-configuration.json")
    assert faults("ecr", "PutSigningConfiguration", {"signingConfiguration": ecr}) == ""
    assert ecr["rules"][0]["repositoryFilters"][0]["filter"] == "team/app"
    wrong = {"signingConfiguration": {"rules": [{**ecr["rules"][0], "more": 1}]}}
    assert "more" in faults("ecr", "PutSigningConfiguration", wrong)
    code = content(made, "lambda-code-signing-config.json")
    assert faults("lambda", "CreateCodeSigningConfig", code) == ""
    assert code["CodeSigningPolicies"] == {"UntrustedArtifactOnDeployment": "Enforce"}


def test_aws_monitors_by_warning() -> None:
    rules = image_rule_set(allow("all", key="two"), mode=Mode.MONITOR)
    code = content(aws(rules, two=VERSION), "lambda-code-signing-config.json")
    assert code["CodeSigningPolicies"] == {"UntrustedArtifactOnDeployment": "Warn"}


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (allow("x", APP, key="three"), "publisher"),
        (allow("x", APP, publisher=PublisherMatch(organization="A")), "publisher"),
        (allow("x", APP, identity=CI), "identity"),
        (allow("x", "registry.example/**", key="one"), "origin"),
        (allow("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (deny("x", APP, key="one"), "deny"),
        (allow("x"), "origin"),
    ],
)
def test_what_aws_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    made = aws(image_rule_set(rule), one=PROFILE)
    assert lost(made) == {(loss, "x")}
    trust = content(made, "trustpolicy.json")["trustPolicies"]
    assert [s["trustStores"] for s in trust] == [["signingAuthority:signward-nobody"]]
    assert [file.name for file in made.files] == ["trustpolicy.json"]
