"""Kyverno: ImageValidatingPolicy written, its expression evaluated; ClusterPolicy read."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import celpy
import pytest
from celpy.adapter import json_to_cel
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled
from signward.compilers.importers.kyverno_cluster_policy import IMPORTER
from signward.compilers.kyverno import COMPILER, Settings, name_expression
from signward.errors import PolicyError
from signward.policy.rules.model import (
    IdentityMatch,
    Mode,
    OriginMatch,
    PublisherMatch,
    Requirements,
    RuleSet,
    SignersMatch,
)
from tests.builders.crd import definition, resources
from tests.builders.image_policies import (
    APP,
    DIGEST,
    allow,
    deny,
    image_rule_set,
    private_key,
    public_pem,
)

CI = IdentityMatch(identity=r"https://ci\.example/.*", issuer=r"https://id\.example")
THREE = tuple(PublisherMatch(key=name) for name in ("one", "two", "three"))
RICH = image_rule_set(
    allow("team", "registry.example/team/*", key="one"),
    allow("ci", "registry.example/**", identity=CI),
    allow("pinned", "pin.example/a/b", digest=(f"oci:{DIGEST}",)),
    allow("two-of-three", "strict.example/**", signers=SignersMatch(least=2, of=THREE)),
    allow("open", "open.example:5000/**"),
    allow("notation", "notary.example/**", key="first-ca"),
    deny("bad", "registry.example/bad/**"),
    deny("lost-key", key="three"),
)


def compiled(rules: RuleSet) -> Compiled:
    return COMPILER.compile(rules, Settings())


def policy(rules: RuleSet) -> Any:
    (found,) = resources(compiled(rules).content("image-validating-policy.yaml"))
    return found


def lost(rules: RuleSet) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in compiled(rules).losses}


def lets_in(rules: RuleSet, image: str, *signed_by: str) -> bool:
    """Evaluate the policy's own CEL with attestors that know who signed."""
    spec = policy(rules)["spec"]
    names = {
        a["name"]: _who(a, rules) in signed_by for a in spec["attestors"]
    }  # fmt: skip

    def verify(_: Any, attestors: Any) -> Any:
        return celpy.celtypes.IntType(sum(names[str(a)] for a in attestors))

    environment = celpy.Environment()
    expression = spec["validations"][0]["expression"]
    program = environment.program(
        environment.compile(expression), functions={"verifyImageSignatures": verify}
    )
    attestors = {a["name"]: a["name"] for a in spec["attestors"]}
    given = {"images": {"containers": [image]}, "attestors": attestors}
    return bool(program.evaluate({k: json_to_cel(v) for k, v in given.items()}))


def _who(attestor: Any, rules: RuleSet) -> str:
    data = attestor.get("cosign", {}).get("key", {}).get("data", "").encode()
    for name in ("one", "two", "three"):
        if data == public_pem(private_key(name)):
            return name
    return "keyless" if "cosign" in attestor else "notary"


def test_it_is_what_the_definition_knows() -> None:
    known = definition("policies.kyverno.io_imagevalidatingpolicies.yaml", "v1")
    made = policy(RICH)
    assert known.faults(made) == []
    assert known.faults({**made, "spec": {**made["spec"], "attestor": []}}) != []
    assert lost(RICH) == {("digest", "pinned")}


@pytest.mark.parametrize(
    ("image", "signed_by", "expected"),
    [
        (f"{APP}:1", ("one",), True),
        (f"{APP}@{DIGEST}", ("one",), True),
        (f"{APP}:1@{DIGEST}", ("one",), True),
        (APP, ("two",), False),
        (APP, (), False),
        ("registry.example/team/deep/app:1", ("one",), False),
        ("registry.example/team/deep/app:1", ("keyless",), True),
        ("registry.example/bad/app:1", ("keyless",), False),
        (APP, ("one", "three"), False),
        (f"pin.example/a/b@{DIGEST}", (), True),
        ("pin.example/a/b:1", (), False),
        ("strict.example/x:1", ("one",), False),
        ("strict.example/x:1", ("one", "two"), True),
        ("open.example:5000/any/thing:1", (), True),
        ("open.example/any/thing:1", (), False),
        ("notary.example/x:1", ("notary",), True),
        ("other.example/x:1", ("one",), False),
    ],
)
def test_its_expression_lets_in_what_the_rules_do(
    image: str, signed_by: tuple[str, ...], expected: bool
) -> None:
    assert lets_in(RICH, image, *signed_by) is expected


def test_an_empty_policy_lets_nothing_in() -> None:
    assert lets_in(image_rule_set(), APP) is False


def test_every_kind_of_container_is_looked_at() -> None:
    validations = policy(RICH)["spec"]["validations"]
    bodies = {v["expression"].partition(".all(")[2] for v in validations}
    assert len(bodies) == 1
    assert [v["expression"].split(".")[1] for v in validations] == [
        "containers", "initContainers", "ephemeralContainers"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("a.example/x", "a.example/x", True),
        ("a.example/x", "a.example/x:tag", True),
        ("a.example/x", "a.example/x-y", False),
        ("a.example/x", "a.example/x/y", False),
        ("a.example/x", "aXexample/x", False),
        ("a.example/*", "a.example/x:tag", True),
        ("a.example/*", "a.example/x/y", False),
        ("a.example/**", "a.example/x/y:1", True),
        ("a.example/**/z", "a.example/x:z", False),
        ("a.example/x*z", "a.example/x:z", False),
        ("*/x", "a.example:5000/x:1", True),
        ("**/x", "a.example:5000/b/c/x:1", True),
        ("**x", "a.example/b:x", False),
        ("a*/**", "a.example:5000/b", True),
    ],
)
def test_a_pattern_as_an_expression(pattern: str, image: str, expected: bool) -> None:
    assert bool(re.search(name_expression(pattern), image)) is expected


def test_a_hostile_name_stays_a_string() -> None:
    rules = image_rule_set(allow("odd", 'x") || true || ("\\"ü\n', key="one"))
    assert lets_in(rules, APP, "one") is False


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (deny("x", APP, digest=(f"oci:{DIGEST}",)), "digest"),
        (allow("x", publisher=PublisherMatch(organization="Example Ltd")), "publisher"),
        (allow("x", key="one", hosts=("prod",)), "hosts"),
    ],
)
def test_what_it_has_no_word_for_is_lost(rule: Any, loss: str) -> None:
    assert lost(image_rule_set(rule)) == {(loss, "x")}
    assert lets_in(image_rule_set(rule), APP, "one") is False


def test_a_log_is_asked_for_where_it_is_required() -> None:
    rules = image_rule_set(
        allow("cosign", "a.example/**", key="one"), allow("notary", "b.example/**", key="first-ca"),
        requirements=Requirements(log=True, timestamp=True),
    )  # fmt: skip
    attestors = policy(rules)["spec"]["attestors"]
    assert attestors[0]["cosign"]["ctlog"] == {"url": "https://rekor.sigstore.dev"}
    assert lost(rules) == {("requirement-log", "notary"), ("requirement-timestamp", "")}


@pytest.mark.parametrize(("mode", "word"), [(Mode.ENFORCE, "Deny"), (Mode.MONITOR, "Audit")])
def test_monitoring_audits(mode: Mode, word: str) -> None:
    assert policy(image_rule_set(mode=mode))["spec"]["validationActions"] == [word]


# The older ClusterPolicy

PEM = public_pem(private_key("one")).decode()
KEYS = {"keys": {"publicKeys": PEM, "rekor": {"url": "https://rekor.example", "ignoreTlog": True}}}
KEYLESS = {"keyless": {"subject": "https://ci.example/*", "issuer": "https://id.example"}}


def cluster_policy(*verify: dict[str, Any], action: str = "Enforce") -> dict[str, Any]:
    return {
        "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "check"},
        "spec": {"validationFailureAction": action, "rules": [
            {"name": "one", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
             "verifyImages": list(verify)}]},
    }  # fmt: skip


def verify(*references: str, entries: tuple[Any, ...] = (KEYS,), **more: Any) -> dict[str, Any]:
    count = more.pop("count", None)
    attestors = {"entries": list(entries), **({"count": count} if count else {})}
    return {"imageReferences": list(references), "attestors": [attestors], **more}


def read(found: Any) -> RuleSet:
    return IMPORTER.read({"policy.json": json.dumps(found).encode()})


def test_the_older_policy_is_read() -> None:
    either = verify("other.example/app:*", entries=(KEYS, KEYLESS), count=1)
    made = cluster_policy(verify("registry.example/team/*"), either)
    assert definition("kyverno.io_clusterpolicies.yaml", "v1").faults(made) == []
    rules = read(made)
    assert [(r.origin, bool(r.publisher), bool(r.identity)) for r in rules.rules] == [
        (OriginMatch(kind="oci", name="registry.example/team/**"), True, False),
        (OriginMatch(kind="oci", name="other.example/app"), True, False),
        (OriginMatch(kind="oci", name="other.example/app"), False, True),
    ]
    assert rules.rules[2].identity == IdentityMatch(
        identity=r"https://ci\.example/.*", issuer=r"https://id\.example"
    )
    assert rules.rules[2].requires == Requirements(log=True)
    assert rules.mode is Mode.ENFORCE
    assert "rejects" in rules.note or "reject" in rules.note
    assert lets_in(rules, "registry.example/team/x:1", "one") is True


def test_all_entries_must_be_met_unless_it_counts() -> None:
    other = {"keys": {"publicKeys": public_pem(private_key("two")).decode(),
                      "rekor": {"ignoreTlog": True}}}  # fmt: skip
    rules = read(cluster_policy(verify("a.example/*", entries=(KEYS, other)), action="Audit"))
    assert rules.rules[0].signers is not None
    assert rules.rules[0].signers.least == 2
    assert rules.mode is Mode.MONITOR


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({"kind": "Pod"}, "kind Pod"),
        ([], "object"),
        (cluster_policy(verify("a.example/*", type="Notary")), "Notary"),
        (cluster_policy(verify("a.example/*", required=False)), "required"),
        (cluster_policy(verify("a.example/x:1")), "tag"),
        (cluster_policy(verify("a.example/x?*")), "reference"),
        (cluster_policy(verify("a.example/*", skipImageReferences=["x"])), "skipImageReferences"),
        (cluster_policy(verify("a.example/*"), verify("a.example/b/*")), "both"),
        (cluster_policy(verify("a.example/*", entries=(KEYS, KEYLESS))), "all be met"),
        (cluster_policy(verify("a.example/*", entries=({},))), "neither"),
        (cluster_policy(verify("a.example/*", entries=({"certificates": {}},))), "certificates"),
        (
            cluster_policy(verify("a.example/*", entries=(
                {"keyless": {"subjectRegExp": "x", "issuer": "y"}},))),
            "anchored",
        ),
        (cluster_policy({"imageReferences": ["a.example/*"], "attestors": []}), "0 sets"),
        ({"kind": "ClusterPolicy", "spec": {"rules": 1}}, "array"),
    ],
)  # fmt: skip
def test_what_rules_cannot_say_is_refused_by_name(found: Any, word: str) -> None:
    with pytest.raises(PolicyError, match=word):
        read(found)


HALF = "-----BEGIN PUBLIC KEY-----\ud800-----END PUBLIC KEY-----"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_hostile_cluster_policies_are_read_or_refused(data: st.DataObject) -> None:
    words = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8)
        | st.sampled_from((KEYS, KEYLESS, HALF)),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("keys", "publicKeys", "keyless", "rekor")), inner),
        max_leaves=6,
    )  # fmt: skip
    field = data.draw(st.sampled_from(("imageReferences", "attestors", "type", "required")))
    made = cluster_policy({**verify("a.example/*"), field: data.draw(words)})
    key = {"keys": {**KEYS["keys"], "publicKeys": data.draw(words)}}
    for found in (made, cluster_policy(verify("a.example/*", entries=(key,))), data.draw(words)):
        with contextlib.suppress(PolicyError):
            read(found)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"kind: ClusterPolicy"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError):
        IMPORTER.read({"policy.yaml": data})


def test_a_denial_is_not_passed_by_a_digest_of_another_algorithm() -> None:
    rules = image_rule_set(allow("all"), deny("bad", APP))
    assert lets_in(rules, "registry.example/x:1")
    assert not lets_in(rules, f"{APP}@sha512:{'0' * 128}")


@pytest.mark.parametrize("field", ["validate", "exclude", "preconditions"])
def test_what_a_rule_asks_besides_is_refused_by_name(field: str) -> None:
    rule = {"name": "r", "match": {}, field: {}}
    words = {"kind": "ClusterPolicy", "spec": {"rules": [rule]}}
    with pytest.raises(PolicyError, match=field):
        IMPORTER.read({"p.json": json.dumps(words).encode()})
