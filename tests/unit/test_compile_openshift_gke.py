"""OpenShift's ClusterImagePolicy and Google's Binary Authorization."""

from __future__ import annotations

import base64
import warnings
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from signward.compilers import Compiled
from signward.compilers.gke_binary_authorization import COMPILER as GKE
from signward.compilers.gke_binary_authorization import Settings as GkeSettings
from signward.compilers.openshift import COMPILER, Settings
from signward.errors import PolicyError
from signward.policy.rules.model import (
    IdentityMatch,
    Mode,
    PublisherMatch,
    Requirements,
    RuleSet,
    SignersMatch,
)
from tests.builders.crd import Definition, resources
from tests.builders.image_policies import APP, DIGEST, allow, deny, image_rule_set

MAIL = IdentityMatch(identity=r"dev@example\.com", issuer=r"https://id\.example")

# What config.openshift.io/v1 says of the fields we write, in our own words.
KNOWN = """
spec:
  group: config.openshift.io
  names: {kind: ClusterImagePolicy}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [policy, scopes]
            properties:
              scopes:
                type: array
                maxItems: 256
                items: {type: string, maxLength: 512}
              policy:
                type: object
                required: [rootOfTrust]
                properties:
                  rootOfTrust:
                    type: object
                    required: [policyType]
                    oneOf:
                    - {required: [publicKey], properties: {policyType: {const: PublicKey}}}
                    - required: [fulcioCAWithRekor]
                      properties: {policyType: {const: FulcioCAWithRekor}}
                    properties:
                      policyType: {type: string, enum: [PublicKey, FulcioCAWithRekor, PKI]}
                      publicKey:
                        type: object
                        required: [keyData]
                        properties:
                          keyData: {type: string, minLength: 68, maxLength: 8192}
                          rekorKeyData: {type: string, maxLength: 8192}
                      fulcioCAWithRekor:
                        type: object
                        required: [fulcioCAData, rekorKeyData, fulcioSubject]
                        properties:
                          fulcioCAData: {type: string, maxLength: 8192}
                          rekorKeyData: {type: string, maxLength: 8192}
                          fulcioSubject:
                            type: object
                            required: [oidcIssuer, signedEmail]
                            properties:
                              oidcIssuer: {type: string, maxLength: 2048}
                              signedEmail: {type: string, maxLength: 320}
                  signedIdentity:
                    type: object
                    required: [matchPolicy]
                    properties:
                      matchPolicy:
                        type: string
                        enum: [MatchRepoDigestOrExact, MatchRepository, ExactRepository,
                               RemapIdentity]
"""
SETTINGS = Settings(fulcio_ca="first-ca", rekor="three", platform=("quay.io/release",))


def lost(made: Compiled) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in made.losses}


def openshift(rules: RuleSet, settings: Settings | None = None) -> Compiled:
    return COMPILER.compile(rules, settings or Settings())


def policies(made: Compiled) -> list[Any]:
    names = [file.name for file in made.files]
    if "cluster-image-policies.yaml" not in names:
        return []
    return resources(made.content("cluster-image-policies.yaml"))


def allowed(made: Compiled) -> list[str]:
    (image,) = resources(made.content("image.yaml"))
    assert (image["apiVersion"], image["kind"]) == ("config.openshift.io/v1", "Image")
    assert image["metadata"] == {"name": "cluster"}
    return list(image["spec"]["registrySources"]["allowedRegistries"])


RICH = image_rule_set(
    allow("team", "registry.example/**", key="one"),
    allow("mail", "mail.example/**", identity=MAIL),
    allow("open", "open.example:5000/**"),
    deny("bad", "bad.example/**"),
    requirements=Requirements(log=True),
)


def test_openshift_takes_it() -> None:
    made = openshift(RICH, SETTINGS)
    assert lost(made) == set()
    known = Definition(KNOWN, "v1")
    for one in policies(made):
        assert known.faults(one) == []
        spec = one["spec"]
        assert known.faults({**one, "spec": {**spec, "more": 1}}) != []
        root = {**spec["policy"]["rootOfTrust"], "policyType": "PKI"}
        assert known.faults({**one, "spec": {**spec, "policy": {"rootOfTrust": root}}}) != []
    assert [p["spec"]["scopes"] for p in policies(made)] == [["registry.example"],
                                                            ["mail.example"]]  # fmt: skip
    assert allowed(made) == [
        "registry.example", "mail.example", "open.example:5000", "quay.io/release"
    ]  # fmt: skip


def test_keys_and_authorities_are_pem_in_base64() -> None:
    first, second = (
        p["spec"]["policy"]["rootOfTrust"] for p in policies(openshift(RICH, SETTINGS))
    )
    data = [first["publicKey"]["keyData"], first["publicKey"]["rekorKeyData"],
            second["fulcioCAWithRekor"]["fulcioCAData"]]  # fmt: skip
    labels = [base64.b64decode(one).splitlines()[0] for one in data]
    assert labels == [b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN PUBLIC KEY-----",
                      b"-----BEGIN CERTIFICATE-----"]  # fmt: skip


def test_an_empty_policy_lets_nodes_pull_nothing() -> None:
    assert allowed(openshift(image_rule_set())) == []


def test_one_image_has_one_root_of_trust() -> None:
    rules = image_rule_set(
        allow("wide", "registry.example/**", key="one"), allow("narrow", APP, key="two"),
        allow("open", "registry.example/open/**"), allow("same", "registry.example/**", key="one"),
    )  # fmt: skip
    made = openshift(rules)
    assert lost(made) == {("alternative", "narrow"), ("alternative", "open")}
    assert allowed(made) == ["registry.example"]


def test_a_denial_within_what_is_allowed_is_lost_and_one_around_it_is_kept() -> None:
    within = image_rule_set(allow("wide", "registry.example/**", key="one"), deny("bad", APP))
    assert lost(openshift(within)) == {("deny", "bad")}
    around = image_rule_set(allow("app", APP, key="one"), deny("bad", "registry.example/**"))
    assert allowed(openshift(around)) == []
    assert policies(openshift(around)) == []


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (allow("x", key="one"), "origin"),
        (allow("x", "*.example/**", key="one"), "origin"),
        (allow("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (allow("x", APP, identity=MAIL), "identity"),
        (allow("x", APP, key="first-ca"), "key"),
        (deny("x", APP, key="one"), "deny"),
        (
            allow("x", APP, signers=SignersMatch(
                least=1, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))),
            "alternative",
        ),
        (
            allow("x", APP, signers=SignersMatch(
                least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))),
            "signers",
        ),
    ],
)  # fmt: skip
def test_what_openshift_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    made = openshift(image_rule_set(rule))
    assert lost(made) == {(loss, "x")}
    assert allowed(made) == []


@pytest.mark.parametrize(
    "settings",
    [Settings(rekor="none"), Settings(fulcio_ca="one"), Settings(platform=("no host",))],
)
def test_openshift_settings_are_checked(settings: Settings) -> None:
    with pytest.raises(PolicyError):
        list(openshift(image_rule_set(), settings).files)


# Binary Authorization


def gke(rules: RuleSet, **settings: Any) -> Compiled:
    return GKE.compile(rules, GkeSettings(**settings))


def parsed(kind: str, value: Any) -> Any:
    """Parse as Google's own message; an unknown field raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        messages = pytest.importorskip(
            "google.cloud.binaryauthorization_v1", reason="google-cloud-binary-authorization"
        )
    from google.protobuf import json_format

    message = getattr(messages, kind)
    return message(json_format.ParseDict(value, message.pb(message())))


def files(made: Compiled) -> tuple[Any, list[Any]]:
    (policy,) = resources(made.content("policy.yaml"))
    return policy, [resources(f.content)[0] for f in made.files if f.name.startswith("attestors/")]


def rsa_pem(bits: int) -> bytes:
    return rsa.generate_private_key(65537, bits).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)  # fmt: skip


def test_one_attestor_has_the_keys_of_all_rules() -> None:
    rules = image_rule_set(
        allow("one", key="one"), allow("rsa", key="rsa"), allow("again", key="one"),
        allow("open", "registry.example/open/**"), allow("app", APP), keys={"rsa": rsa_pem(3072)},
    )  # fmt: skip
    made = gke(rules, project="team-project", system=True)
    assert lost(made) == set()
    policy, attestors = files(made)
    read = parsed("Policy", policy)
    assert read.default_admission_rule.evaluation_mode.name == "REQUIRE_ATTESTATION"
    assert read.default_admission_rule.enforcement_mode.name == "ENFORCED_BLOCK_AND_AUDIT_LOG"
    assert read.global_policy_evaluation_mode.name == "ENABLE"
    assert [p.name_pattern for p in read.admission_whitelist_patterns] == [
        "registry.example/open/**", f"{APP}:*", f"{APP}@*"
    ]  # fmt: skip
    (attestor,) = attestors
    assert list(read.default_admission_rule.require_attestations_by) == [attestor["name"]]
    keys = parsed("Attestor", attestor).user_owned_grafeas_note.public_keys
    assert [k.pkix_public_key.signature_algorithm.name for k in keys] == [
        "ECDSA_P256_SHA256", "RSA_SIGN_PKCS1_3072_SHA256"
    ]  # fmt: skip
    assert all(k.id.startswith("ni:///sha-256;") and "=" not in k.id for k in keys)


def test_an_unknown_field_would_be_refused() -> None:
    policy, _ = files(gke(image_rule_set()))
    assert parsed("Policy", policy).default_admission_rule.evaluation_mode.name == "ALWAYS_DENY"
    with pytest.raises(Exception, match="more"):
        parsed("Policy", {**policy, "more": 1})


def test_several_signers_are_several_attestors() -> None:
    both = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))
    made = gke(image_rule_set(allow("both", signers=both), allow("more", key="three")))
    policy, attestors = files(made)
    assert len(attestors) == 2
    assert policy["defaultAdmissionRule"]["requireAttestationsBy"] == [a["name"] for a in attestors]
    assert lost(made) == {("alternative", "more")}


def test_monitoring_is_a_dry_run() -> None:
    policy, _ = files(gke(image_rule_set(mode=Mode.MONITOR)))
    assert policy["defaultAdmissionRule"]["enforcementMode"] == "DRYRUN_AUDIT_LOG_ONLY"


def test_a_digest_is_let_in_by_its_reference() -> None:
    made = gke(image_rule_set(allow("pinned", APP, digest=(f"oci:{DIGEST}",))))
    assert files(made)[0]["admissionWhitelistPatterns"] == [{"namePattern": f"{APP}@{DIGEST}"}]
    assert lost(made) == {("digest", "pinned")}


@pytest.mark.parametrize(
    ("rules", "loss"),
    [
        (image_rule_set(allow("x", "registry.example/**")), "origin"),
        (image_rule_set(allow("x")), "origin"),
        (image_rule_set(allow("x", APP, key="one")), "origin"),
        (image_rule_set(allow("x", digest=(f"oci:{DIGEST}",))), "digest"),
        (image_rule_set(allow("x", digest=(f"oci:{DIGEST}",), key="one")), "digest"),
        (image_rule_set(allow("x", identity=MAIL)), "identity"),
        (image_rule_set(allow("x", key="small"), keys={"small": rsa_pem(1024)}), "key"),
        (image_rule_set(allow("y", key="one"), deny("x", APP)), "deny"),
        (image_rule_set(deny("x", key="one")), "deny"),
        (
            image_rule_set(allow("x", key="ed"), keys={
                "ed": ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
                    serialization.Encoding.PEM,
                    serialization.PublicFormat.SubjectPublicKeyInfo)}),
            "key",
        ),
    ],
)  # fmt: skip
def test_what_google_has_no_word_for_is_lost(rules: RuleSet, loss: str) -> None:
    assert lost(gke(rules)) == {(loss, "x")}


def test_what_nothing_lets_in_needs_no_denial() -> None:
    assert lost(gke(image_rule_set(deny("x", APP)))) == set()
