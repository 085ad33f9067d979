"""Every image policy lets in what the rules do, on rules and images drawn to meet often.

Each target's files are judged as the target documents it, in a few lines of our own; where rules
are lost a difference must lie in the direction that the losses name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import celpy
import pytest
from celpy.adapter import json_to_cel
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled, Towards, load
from signward.compilers.arbiters.containers_policy import ARBITER
from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import PublisherMatch, Rule, RuleSet, SignersMatch
from signward.policy.rules.subject import Subject
from signward.state import Outcome
from tests.builders.crd import resources
from tests.builders.image_policies import (
    DIGEST,
    allow,
    deny,
    image,
    image_rule_set,
    private_key,
    public_pem,
)
from tests.builders.policies import AT

KEYS = ("one", "two", "three")
NAMES = ("a.example/x", "a.example/x/y", "a.example/z", "b.example/x", "a.example:5000/x")
PATTERNS = (*NAMES, "", "a.example/**", "a.example/x/**", "a.example/*", "b.example/**", "**")
OTHER = "sha256:" + "1" * 64

CEL = celpy.Environment()
"""Made before hypothesis looks on: it raises the recursion limit, once."""

_PUBLISHERS = st.sampled_from(KEYS).map(lambda key: {"key": key})
_SIGNERS = st.tuples(st.integers(1, 2), st.permutations(KEYS)).map(
    lambda drawn: {"signers": SignersMatch(
        least=drawn[0], of=tuple(PublisherMatch(key=key) for key in drawn[1][:2]))}
)  # fmt: skip
_WHO: st.SearchStrategy[dict[str, object]] = st.one_of(
    _PUBLISHERS, _PUBLISHERS, _SIGNERS, st.just({})
)
_DIGESTS = st.sampled_from(((), (), (), (f"oci:{DIGEST}",), (f"oci:{OTHER}",)))


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """Return up to five rules; most let in what one key signed."""
    rules: list[Rule] = []
    for number in range(draw(st.integers(0, 5))):
        make = draw(st.sampled_from((allow, allow, allow, deny)))
        digest = draw(_DIGESTS)
        more = {"digest": digest} if digest else {}
        rules.append(make(f"rule-{number}", draw(st.sampled_from(PATTERNS)), **draw(_WHO), **more))
    return image_rule_set(*rules)


@st.composite
def images(draw: st.DrawFn) -> Subject:
    signed_by = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=2))
    return image(draw(st.sampled_from(NAMES)), *signed_by,
                 digest=draw(st.sampled_from((DIGEST, OTHER))))  # fmt: skip


def name_of(subject: Subject) -> str:
    return subject.origins[0].name


def digest_of(subject: Subject) -> str:
    (found,) = subject.digests
    return found.removeprefix("oci:")


def has_signed(pem: str, subject: Subject) -> bool:
    """Say whether the key in PEM is one of those that signed."""
    signed = {signer.key for signer in subject.signers}
    return any(
        public_pem(private_key(key)).decode() == pem
        for key in KEYS if image("x", key).signers[0].key in signed
    )  # fmt: skip


def by_containers(made: Compiled, subject: Subject) -> bool:
    return bool(ARBITER.judge({f.name: f.content for f in made.files}, subject))


def by_policy_controller(made: Compiled, subject: Subject) -> bool:
    """Every policy whose glob matches is satisfied by one of its authorities; none: denied."""
    if "policies.yaml" not in [f.name for f in made.files]:
        return False
    reference = f"{name_of(subject)}@{digest_of(subject)}"
    matching = [p for p in resources(made.content("policies.yaml"))
                if _glob(p["spec"]["images"][0]["glob"]).match(reference)]  # fmt: skip
    return bool(matching) and all(
        any(_authority(a, subject) for a in p["spec"]["authorities"]) for p in matching
    )


def _glob(glob: str) -> re.Pattern[str]:
    stars = {"**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join(stars.get(p) or re.escape(p) for p in parts) + r"\Z")


def _authority(authority: Any, subject: Subject) -> bool:
    if "static" in authority:
        return bool(authority["static"]["action"] == "pass")
    return has_signed(authority["key"]["data"], subject)


def by_kyverno(made: Compiled, subject: Subject) -> bool:
    """The expression holds of the image, asked for by its digest."""
    (policy,) = resources(made.content("image-validating-policy.yaml"))
    spec = policy["spec"]
    signed = {a["name"]: has_signed(a["cosign"]["key"]["data"], subject) for a in spec["attestors"]}

    def verify(_: Any, attestors: Any) -> Any:
        return celpy.celtypes.IntType(sum(signed[str(a)] for a in attestors))

    program = CEL.program(
        CEL.compile(spec["validations"][0]["expression"]),
        functions={"verifyImageSignatures": verify},
    )
    reference = f"{name_of(subject)}@{digest_of(subject)}"
    given_ = {"images": {"containers": [reference]}, "attestors": {n: n for n in signed}}
    return bool(program.evaluate({k: json_to_cel(v) for k, v in given_.items()}))


def by_ratify(made: Compiled, subject: Subject) -> bool:
    """The first trust policy with a fitting scope, ``*`` last, has a key that signed."""
    found = resources(made.content("ratify.yaml"))
    keys = {o["metadata"]["name"]: o["spec"]["parameters"]["value"] for o in found
            if o["kind"] == "KeyManagementProvider"}  # fmt: skip
    policies = [p for o in found if o["kind"] == "Verifier"
                for p in o["spec"]["parameters"]["trustPolicies"]]  # fmt: skip
    reference = f"{name_of(subject)}@{digest_of(subject)}"
    for policy in sorted(policies, key=lambda p: p["scopes"] == ["*"]):
        if any(_scope(scope, reference) for scope in policy["scopes"]):
            return any(has_signed(keys[k["provider"]], subject) for k in policy["keys"])
    return False


def _scope(scope: str, reference: str) -> bool:
    if scope.endswith("*"):
        return reference.startswith(scope.removesuffix("*"))
    return reference == scope


def by_openshift(made: Compiled, subject: Subject) -> bool:
    """The registry is allowed, and the longest scope's key signed."""
    (config,) = resources(made.content("image.yaml"))
    name = name_of(subject)
    if not any(_within(name, s) for s in config["spec"]["registrySources"]["allowedRegistries"]):
        return False
    names = [f.name for f in made.files]
    policies = (resources(made.content("cluster-image-policies.yaml"))
                if "cluster-image-policies.yaml" in names else [])  # fmt: skip
    scopes = {s: p["spec"]["policy"]["rootOfTrust"] for p in policies for s in p["spec"]["scopes"]}
    holding = sorted((s for s in scopes if _within(name, s)), key=len)
    if not holding:
        return True
    data = scopes[holding[-1]]["publicKey"]["keyData"]
    return has_signed(base64.b64decode(data).decode(), subject)


def _within(name: str, scope: str) -> bool:
    return name == scope or name.startswith(f"{scope}/")


def by_google(made: Compiled, subject: Subject) -> bool:
    """The name is exempt, or every attestor has attested by one of its keys."""
    (policy,) = resources(made.content("policy.yaml"))
    reference = f"{name_of(subject)}@{digest_of(subject)}"
    if any(_exempt(p["namePattern"], reference) for p in policy["admissionWhitelistPatterns"]):
        return True
    rule = policy["defaultAdmissionRule"]
    if rule["evaluationMode"] == "ALWAYS_DENY":
        return False
    attestors = {a["name"]: a for f in made.files if f.name.startswith("attestors/")
                 for a in resources(f.content)}  # fmt: skip
    return all(
        any(has_signed(k["pkixPublicKey"]["publicKeyPem"], subject)
            for k in attestors[name]["userOwnedGrafeasNote"]["publicKeys"])
        for name in rule["requireAttestationsBy"]
    )  # fmt: skip


def _exempt(pattern: str, reference: str) -> bool:
    stem = pattern.rstrip("*")
    if pattern == stem:
        return reference == pattern
    rest = reference.removeprefix(stem)
    return rest != reference and (pattern.endswith("**") or "/" not in rest)


def by_statements(name: str) -> Callable[[Compiled, Subject], bool]:
    """Return a judge of a trust policy under which nobody is trusted (rules name plain keys)."""

    def judge(made: Compiled, subject: Subject) -> bool:
        statements = json.loads(made.content(name))["trustPolicies"]
        own = [s for s in statements if name_of(subject) in s["registryScopes"]]
        (found,) = own or [s for s in statements if s["registryScopes"] == ["*"]]
        return bool(found["signatureVerification"]["level"] == "skip")

    return judge


JUDGES = {
    "containers-policy": by_containers,
    "sigstore-policy-controller": by_policy_controller,
    "kyverno": by_kyverno,
    "ratify": by_ratify,
    "openshift": by_openshift,
    "gke-binary-authorization": by_google,
    "notation": by_statements("trustpolicy.json"),
    "aws": by_statements("trustpolicy.json"),
}


@pytest.mark.parametrize("target", JUDGES)
@settings(max_examples=100, deadline=None, suppress_health_check=(HealthCheck.too_slow,),
          derandomize=True)  # fmt: skip
@given(rules=rule_sets(), subject=images())
def test_the_target_lets_in_what_the_rules_do(
    target: str, rules: RuleSet, subject: Subject
) -> None:
    compiler = load(target)
    made = compiler.compile(rules, compiler.settings())
    answer = JUDGES[target](made, subject)
    wanted = decide(Index(rules), subject, AT).outcome is Outcome.ACCEPTED
    towards = {loss.towards for loss in made.losses}
    if answer and not wanted:
        assert Towards.LOOSER in towards
    if wanted and not answer:
        assert Towards.STRICTER in towards


_ALL = ("a.example/**", "b.example/**", "a.example:5000/**")
SAID = {
    "containers-policy": (("", *_ALL), st.one_of(_PUBLISHERS, st.just({})), True),
    "sigstore-policy-controller": (("a.example/*", "a.example/x/**", "b.example/**"), _WHO, True),
    "kyverno": (PATTERNS, _WHO, True),
    "ratify": (("", "a.example/x/**", "b.example/x", "a.example/z"), _PUBLISHERS, False),
    "openshift": (_ALL, st.one_of(_PUBLISHERS, st.just({})), True),
    "gke-binary-authorization": (("", "a.example/x/**", "b.example/x"), _WHO, False),
    "notation": (NAMES, st.just({}), True),
    "aws": (NAMES, st.just({}), True),
}
"""What each target can say for the most part: patterns, signers, and whether it denies."""


@st.composite
def said_by(draw: st.DrawFn, target: str) -> RuleSet:
    patterns, who, denies = SAID[target]
    rules: list[Rule] = []
    for number in range(draw(st.integers(1, 3))):
        denied = denies and draw(st.integers(0, 3)) == 0
        pattern = draw(st.sampled_from(patterns))
        signers = {} if denied else draw(who)
        rules.append((deny if denied else allow)(f"rule-{number}", pattern, **signers))
    return image_rule_set(*rules)


@pytest.mark.parametrize("target", SAID)
@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much))  # fmt: skip
@given(data=st.data(), subject=images())
def test_where_nothing_is_lost_they_agree(
    target: str, data: st.DataObject, subject: Subject
) -> None:
    compiler = load(target)
    rules = data.draw(said_by(target))
    made = compiler.compile(rules, compiler.settings())
    assume(not made.losses)
    wanted = decide(Index(rules), subject, AT).outcome is Outcome.ACCEPTED
    assert JUDGES[target](made, subject) is wanted


def test_the_judges_know_a_signature_and_its_want() -> None:
    rules = image_rule_set(allow("all", key="one"))
    for target, judge in JUDGES.items():
        made = load(target).compile(rules, load(target).settings())
        assert judge(made, image("a.example/x", "two")) is False
        if not any(loss.rule == "all" for loss in made.losses):
            assert judge(made, image("a.example/x", "one")) is True, target
