"""policy.json: compiled, judged and read back."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.cli import main
from signward.compilers import Compiled, load
from signward.compilers.arbiters.containers_policy import ARBITER
from signward.compilers.containers_policy import COMPILER, Settings
from signward.compilers.importers.containers_policy import IMPORTER
from signward.errors import PolicyError
from signward.policy.rules.force import in_force
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Mode,
    OriginMatch,
    PublisherMatch,
    Requirements,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.subject import Subject
from signward.verbs.policies.load import load_rules
from tests.builders.image_policies import (
    APP,
    DIGEST,
    allow,
    deny,
    image,
    image_rule_set,
    keyless,
    private_key,
    public_pem,
)
from tests.builders.image_policies import rule as rule_of
from tests.builders.policies import AT, publishers

MAIL = IdentityMatch(identity=r"dev@example\.com", issuer=r"https://id\.example")
FULCIO = Settings(fulcio_ca="first-ca", rekor=("three",))


def compiled(rules: RuleSet, settings: Settings | None = None) -> Compiled:
    return COMPILER.compile(rules, settings or Settings())


def policy(rules: RuleSet, settings: Settings | None = None) -> Any:
    return json.loads(compiled(rules, settings).content("policy.json"))


def docker(rules: RuleSet, settings: Settings | None = None) -> Any:
    return policy(rules, settings)["transports"]["docker"]


def lost(rules: RuleSet, settings: Settings | None = None) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in compiled(rules, settings).losses}


def judged(rules: RuleSet, subject: Subject, settings: Settings | None = None) -> bool | None:
    files = {f.name: f.content for f in compiled(rules, settings).files}
    return ARBITER.judge(files, subject)


def test_nothing_allowed_is_everything_rejected() -> None:
    made = compiled(image_rule_set())
    assert [file.name for file in made.files] == ["policy.json"]
    assert json.loads(made.files[0].content) == {"default": [{"type": "reject"}]}


def test_a_registry_signed_with_a_key() -> None:
    rules = image_rule_set(allow("team", "registry.example/**", key="one"))
    (requirement,) = docker(rules)["registry.example"]
    assert requirement["type"] == "sigstoreSigned"
    assert requirement["signedIdentity"] == {"type": "matchRepository"}
    assert lost(rules) == set()
    registries = yaml.safe_load(compiled(rules).content("registries.d/signward.yaml"))
    assert registries == {"docker": {"registry.example": {"use-sigstore-attachments": True}}}
    assert judged(rules, image(APP, "one")) is True
    assert judged(rules, image(APP, "two")) is False
    assert judged(rules, image(APP)) is False
    assert judged(rules, image("other.example/app", "one")) is False


def test_what_wider_rules_take_is_taken_below_too() -> None:
    rules = image_rule_set(
        allow("narrow", "registry.example/team/**", key="two"),
        allow("same", "registry.example/team", key="two"),
        allow("wide", "registry.example/**", key="one"),
    )
    scopes = docker(rules)
    assert len(scopes["registry.example/team"][0]["keyDatas"]) == 2
    assert "keyData" in scopes["registry.example"][0]
    assert lost(rules) == set()
    assert judged(rules, image(APP, "one")) is True
    assert judged(rules, image(APP, "two")) is True
    assert judged(rules, image("registry.example/x", "two")) is False


def test_an_unsigned_namespace_is_let_in_below_a_signed_registry() -> None:
    rules = image_rule_set(
        allow("wide", "registry.example/**", key="one"),
        allow("open", "registry.example/open/**"),
        allow("itself", "registry.example/open"),
    )
    assert docker(rules)["registry.example/open"] == [{"type": "insecureAcceptAnything"}]
    assert lost(rules) == set()


def test_a_denial_reaches_what_narrower_rules_let_in() -> None:
    rules = image_rule_set(
        deny("bad", "registry.example/team/**"),
        deny("bad-itself", "registry.example/team"),
        allow("app", "registry.example/team/app/**", key="one"),
        allow("wide", "registry.example/**", key="one"),
    )
    assert docker(rules)["registry.example/team"] == [{"type": "reject"}]
    assert docker(rules)["registry.example/team/app"] == [{"type": "reject"}]
    assert judged(rules, image(APP, "one")) is False
    assert judged(rules, image("registry.example/x", "one")) is True


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("registry.example/**", False),
        ("registry.example/*", True),
        ("registry.example/team/**", True),
        ("registry.example/team/*", True),
        ("registry.example/team/app", True),
        ("localhost:5000/**", False),
    ],
)
def test_a_scope_that_holds_more_says_so(name: str, reach: bool) -> None:
    rules = image_rule_set(allow("team", name, key="one"))
    assert (("reach", "team") in lost(rules)) is reach


@pytest.mark.parametrize(
    "name", ["*.example/**", "registry.example/t*m/**", "app", "library/nginx", "a.example/x:1"]
)
def test_a_name_that_is_no_scope_is_lost(name: str) -> None:
    rules = image_rule_set(allow("odd", name, key="one"))
    assert lost(rules) == {("origin", "odd")}
    assert policy(rules) == {"default": [{"type": "reject"}]}


def test_two_kinds_of_signature_are_no_alternatives() -> None:
    rules = image_rule_set(
        allow("first", "registry.example/**", key="one"),
        allow("second", "registry.example/**", signers=SignersMatch(
            least=2, of=(PublisherMatch(key="two"), PublisherMatch(key="three")))),
    )  # fmt: skip
    assert lost(rules) == {("alternative", "second")}
    assert "keyData" in docker(rules)["registry.example"][0]


def test_a_rule_lost_in_one_scope_is_lost_in_all() -> None:
    other = "sha256:" + "0" * 64
    both = SignersMatch(least=2, of=(PublisherMatch(key="two"), PublisherMatch(key="three")))
    rules = image_rule_set(
        allow("pinned", APP, digest=(f"oci:{DIGEST}",), key="one"),
        allow("several", APP, digest=(f"oci:{other}", f"oci:{DIGEST}"), signers=both),
    )
    assert list(docker(rules)) == [f"{APP}@{DIGEST}"]
    assert ("alternative", "several") in lost(rules)


def test_several_signers_are_several_requirements() -> None:
    both = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))
    rules = image_rule_set(allow("both", "registry.example/**", signers=both))
    assert len(docker(rules)["registry.example"]) == 2
    assert judged(rules, image(APP, "one")) is False
    assert judged(rules, image(APP, "one", "two")) is True


def test_some_of_several_signers_cannot_be_counted() -> None:
    of = tuple(PublisherMatch(key=name) for name in ("one", "two", "three"))
    two = SignersMatch(least=2, of=of)
    assert lost(image_rule_set(allow("two", signers=two))) == {("signers", "two")}
    any_of = image_rule_set(allow("any", signers=SignersMatch(least=1, of=of)))
    assert lost(any_of) == set()
    assert len(docker(any_of)[""][0]["keyDatas"]) == 3
    assert lost(any_of, Settings(several_keys=False)) == {("alternative", "any")}


def test_a_digest_is_a_scope_of_its_repository() -> None:
    rules = image_rule_set(allow("pinned", APP, digest=(f"oci:{DIGEST}",)))
    assert docker(rules) == {f"{APP}@{DIGEST}": [{"type": "insecureAcceptAnything"}]}
    assert lost(rules) == {("digest", "pinned")}
    assert judged(rules, image(APP)) is True
    assert judged(rules, image(APP, digest="sha256:" + "0" * 64)) is False


def test_digests_without_a_repository_and_denied_ones_are_lost() -> None:
    rules = image_rule_set(
        allow("anywhere", digest=(f"oci:{DIGEST}",)), deny("bad", APP, digest=(f"oci:{DIGEST}",))
    )
    assert lost(rules) == {("digest", "anywhere"), ("digest", "bad")}
    assert {loss.rule: str(loss.towards) for loss in compiled(rules).losses} == {
        "anywhere": "stricter", "bad": "looser"
    }  # fmt: skip


def test_digests_of_files_match_no_image() -> None:
    rules = image_rule_set(allow("file", digest=("file:sha256:" + "0" * 64,)))
    assert lost(rules) == set()
    assert policy(rules) == {"default": [{"type": "reject"}]}


def test_a_keyless_identity_is_an_address_and_its_issuer() -> None:
    rules = image_rule_set(allow("dev", "registry.example/**", identity=MAIL))
    (requirement,) = docker(rules, FULCIO)["registry.example"]
    assert requirement["fulcio"]["subjectEmail"] == "dev@example.com"
    assert requirement["fulcio"]["oidcIssuer"] == "https://id.example"
    assert requirement["rekorPublicKeyData"]
    assert judged(rules, keyless("dev@example.com", "https://id.example"), FULCIO) is True
    assert judged(rules, keyless("dev@exampleXcom", "https://id.example"), FULCIO) is False


@pytest.mark.parametrize(
    "identity",
    [
        IdentityMatch(identity="dev@example.com", issuer=r"https://id\.example"),
        IdentityMatch(identity=r"dev@example\.com", issuer=".*"),
        IdentityMatch(identity=r"https://ci\.example/a@refs", issuer=r"https://id\.example"),
        IdentityMatch(identity=r"dev@example\d", issuer=r"https://id\.example"),
    ],
)
def test_an_expression_or_another_identity_is_lost(identity: IdentityMatch) -> None:
    rules = image_rule_set(allow("dev", identity=identity))
    assert lost(rules, FULCIO) == {("identity", "dev")}


def test_keyless_signatures_need_an_authority_and_a_log() -> None:
    assert lost(image_rule_set(allow("dev", identity=MAIL))) == {("identity", "dev")}


@pytest.mark.parametrize(
    ("conditions", "loss"),
    [
        ({"key": "first-ca"}, "key"),
        ({"publisher": PublisherMatch(organization="Example Ltd")}, "publisher"),
        ({"publisher": PublisherMatch(key="one", organization="Example Ltd")}, "publisher"),
        ({"key": "one", "hosts": ("prod",)}, "hosts"),
        ({"key": "one", "path": ("/opt/**",)}, "path"),
        ({"key": "one", "identity": MAIL}, "identity"),
    ],
)
def test_what_it_has_no_word_for_is_lost(conditions: dict[str, Any], loss: str) -> None:
    rules = image_rule_set(allow("odd", **conditions))
    assert lost(rules) == {(loss, "odd")}
    assert policy(rules) == {"default": [{"type": "reject"}]}


def test_a_leaf_certificate_stands_for_its_key() -> None:
    rules = image_rule_set(allow("leaf", "registry.example/**", key="first-leaf"))
    signed = image(APP)
    first, _ = publishers()
    from msgspec.structs import replace

    assert judged(rules, replace(signed, signers=(first.signer,))) is True
    assert judged(rules, signed) is False


def test_a_denied_signer_cannot_be_asked_for() -> None:
    rules = image_rule_set(allow("any", "registry.example/**"), deny("bad", key="one"))
    assert lost(rules) == {("deny", "bad")}


def test_requirements_and_modes_it_does_not_have() -> None:
    wanted = Requirements(timestamp=True, log=True)
    rules = image_rule_set(allow("team", "registry.example/**", key="one"), requirements=wanted,
                           mode=Mode.MONITOR)  # fmt: skip
    assert lost(rules) == {
        ("requirement-timestamp", ""), ("requirement-log", ""), ("monitor", "")
    }  # fmt: skip
    with_log = Settings(rekor=("three",))
    assert lost(rules, with_log) == {("requirement-timestamp", ""), ("monitor", "")}
    assert "rekorPublicKeyData" in docker(rules, with_log)["registry.example"][0]


def test_an_audit_rule_lets_in_in_silence() -> None:
    rules = image_rule_set(rule_of("watch", Action.AUDIT, "registry.example/**", key="one"))
    assert lost(rules) == {("audit", "watch")}
    assert judged(rules, image(APP, "one")) is True


def test_settings_name_keys_of_their_kind() -> None:
    rules = image_rule_set()
    for wrong in (Settings(fulcio_ca="one"), Settings(rekor=("first-ca",)),
                  Settings(rekor=("none",))):  # fmt: skip
        with pytest.raises(PolicyError):
            compiled(rules, wrong)


def test_exceptions_end_and_spare_without_its_saying_so() -> None:
    ends = AT + timedelta(days=1)
    open_ = OriginMatch(kind="oci", name="registry.example/**")
    waiver = Waiver(id="until", owner="o", reason="r", expires=ends, origin=open_, kind=("image",))
    spare = Waiver(id="spare", owner="o", reason="r", expires=ends, spares=("bad",),
                   publisher=PublisherMatch(key="one"), kind=("image",))  # fmt: skip
    elsewhere = Waiver(id="program", owner="o", reason="r", expires=ends, path=("/x",),
                       kind=("executable",))  # fmt: skip
    rules = msgspec.structs.replace(
        image_rule_set(deny("bad", "other.example/**")), waivers=(waiver, spare, elsewhere)
    )
    found = in_force(rules, AT)
    assert lost(found) == {("expiry", "until"), ("expiry", "spare"), ("exception", "bad")}
    assert judged(found, image(APP)) is True
    after = in_force(rules, ends)
    assert lost(after) == set()
    assert judged(after, image(APP)) is False


# Reading back

ROUND = image_rule_set(
    allow("registry", "registry.example/**", key="one"),
    allow("team", "registry.example/team/**", key="two"),
    allow("team-itself", "registry.example/team", key="two"),
    allow("open", "open.example/**"),
    allow("two-of-two", "strict.example/**", signers=SignersMatch(
        least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))),
    deny("bad", "registry.example/bad/**"),
    deny("bad-itself", "registry.example/bad"),
    allow("mail", "mail.example/**", identity=MAIL),
)  # fmt: skip


def test_it_is_read_back_as_it_was() -> None:
    made = compiled(ROUND, FULCIO)
    assert made.losses == ()
    again = IMPORTER.read({f.name: f.content for f in made.files})
    settings = msgspec.convert(dict(again.targets["containers-policy"]), Settings)
    second = compiled(again, settings)
    assert second.losses == ()
    assert second.content("policy.json") == made.content("policy.json")


def test_the_import_command_writes_the_keys_beside_the_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "policy.json"
    given.write_bytes(compiled(ROUND, FULCIO).content("policy.json"))
    command = ["policy", "import", "containers-policy", str(given)]
    assert main(command) == 2
    assert "--output" in capsys.readouterr().err
    written = tmp_path / "imported.toml"
    assert main([*command, "--output", str(written)]) == 0
    rules = load_rules([written])
    again = COMPILER.compile(rules, msgspec.convert(rules.targets["containers-policy"], Settings))
    assert again.losses == ()
    assert again.content("policy.json") == given.read_bytes()


def test_the_import_command_replaces_no_key_of_another_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, written = tmp_path / "policy.json", tmp_path / "imported.toml"
    given.write_bytes(compiled(ROUND, FULCIO).content("policy.json"))
    command = ["policy", "import", "containers-policy", str(given), "--output", str(written)]
    assert main(command) == main(command) == 0
    key = min((tmp_path / "keys").iterdir())
    key.write_bytes(b"the key of another policy")
    written.unlink()
    assert main(command) == 2
    assert "another key" in capsys.readouterr().err
    assert key.read_bytes() == b"the key of another policy"
    assert not written.exists()


def wrapped(scopes: dict[str, Any], **more: Any) -> dict[str, bytes]:
    whole = {"default": [{"type": "reject"}], "transports": {"docker": scopes}, **more}
    return {"policy.json": json.dumps(whole).encode()}


ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
KEY = docker(image_rule_set(allow("x", key="one")))[""]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "policy.json"),
        (wrapped({}, default=ACCEPT), "default"),
        (wrapped({"*.example": KEY}), "wildcard"),
        (wrapped({"a.example/x:1": KEY}), "tag"),
        (wrapped({"a.example": ACCEPT, "a.example/x": KEY}), "takes less"),
        (wrapped({"a.example": KEY, "a.example/x": REJECT, "a.example/x/y": KEY}), "rejected"),
        (wrapped({"": [{**KEY[0], "signedIdentity": {"type": "matchExact"}}]}), "matchExact"),
        (wrapped({"": [{"type": "sigstoreSigned", "keyPath": "/etc/k.pem"}]}), "k.pem"),
        (wrapped({"": [{"type": "sigstoreSigned", "keyData": "%"}]}), "Base64"),
        (wrapped({"": [{"type": "sigstoreSigned"}]}), "sources"),
        (wrapped({"": [{**KEY[0], "keyPath": "/etc/k.pem"}]}), "sources"),
        (wrapped({"": []}), "requirement"),
        (wrapped({"": [{"type": "reject", "more": 1}]}), "more"),
        (wrapped({"": [{"type": "signedBaseLayer"}]}), "signedBaseLayer"),
        ({"policy.json": b'{"default": [], "default": []}'}, "twice"),
        ({"policy.json": b"[" * 100_000}, "policy.json"),
        ({"policy.json": b"\xff"}, "policy.json"),
        (
            {"policy.json": json.dumps({
                "default": REJECT, "transports": {"dir": {"": ACCEPT}}}).encode()},
            "transport dir",
        ),
        (wrapped({"": [{"type": "sigstoreSigned", "pki": {"subjectEmail": "a@b"}}]}), "pki"),
    ],
)  # fmt: skip
def test_what_rules_cannot_say_is_refused_by_name(files: dict[str, bytes], word: str) -> None:
    with pytest.raises(PolicyError, match=word):
        IMPORTER.read(files)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_hostile_policies_are_read_or_refused(data: st.DataObject) -> None:
    """Bytes of a good policy changed, or JSON of any shape where a word is expected."""
    content = compiled(ROUND, FULCIO).content("policy.json")
    words = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(KEY),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    )  # fmt: skip
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[place] = data.draw(st.integers(0, 255))
        given_ = {"policy.json": bytes(changed)}
    else:
        scope = data.draw(st.text(max_size=8) | st.just("a.example"))
        field = data.draw(st.sampled_from((*KEY[0], "keyDatas", "keyPath", "fulcio", "pki")))
        one = {**KEY[0], field: data.draw(words)}
        given_ = wrapped({scope: data.draw(st.sampled_from(([one], [one, *KEY])))})
    with contextlib.suppress(PolicyError):
        IMPORTER.read(given_)
    with contextlib.suppress(PolicyError):
        ARBITER.judge(given_, image(APP, "one"))


@pytest.mark.parametrize(
    "ring",
    [b"", b"\x00", b"\x99", b"\xc6\xe0" + b"x" * 40, b"\x9b" + b"x" * 9,
     b"\xc6\xff\xff\xff\xff\xff", b"\xc2\x01x",
     b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nA\n-----END PGP"],
)  # fmt: skip
def test_a_broken_keyring_is_refused(ring: bytes) -> None:
    import base64

    one = {"type": "signedBy", "keyType": "GPGKeys", "keyData": base64.b64encode(ring).decode()}
    with pytest.raises(PolicyError):
        IMPORTER.read(wrapped({"a.example": [one]}))


def test_a_fulcio_without_one_authority_is_refused() -> None:
    fulcio = {"caPath": "/a", "caData": "YQ==", "oidcIssuer": "x", "subjectEmail": "a@b"}
    one = {"type": "sigstoreSigned", "fulcio": fulcio}
    with pytest.raises(PolicyError):
        IMPORTER.read({**wrapped({"": [one]}), "a": b"x"})


def test_a_key_by_its_path_is_found_among_the_files() -> None:
    import base64

    pem = base64.b64decode(KEY[0]["keyData"])
    files = wrapped({"a.example": [{"type": "sigstoreSigned", "keyPath": "/etc/pki/k.pem"}]})
    again = IMPORTER.read({**files, "k.pem": pem})
    assert docker(again)["a.example"][0]["keyData"] == KEY[0]["keyData"]


TWICE = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="again")))


def test_one_key_under_two_names_is_one_signer() -> None:
    """Two requirements of one key are met by one signature."""
    keys = {"again": public_pem(private_key("one"))}
    rules = image_rule_set(allow("two", APP, signers=TWICE), keys=keys)
    assert ("signers", "two") in lost(rules)
    assert not judged(rules, image(APP, "one"))


@pytest.mark.parametrize(
    "target", ["sigstore-policy-controller", "kyverno", "gke-binary-authorization"]
)
def test_no_image_target_counts_one_key_twice(target: str) -> None:
    keys = {"again": public_pem(private_key("one"))}
    rules = image_rule_set(allow("two", signers=TWICE), keys=keys)
    compiler = load(target)
    losses = compiler.compile(rules, compiler.settings()).losses
    assert ("signers", "two") in {(loss.name, loss.rule) for loss in losses}


def test_a_requirement_said_twice_is_one_signer() -> None:
    key = base64.b64encode(public_pem(private_key("one"))).decode()
    one = {"type": "sigstoreSigned", "keyData": key}
    words = {"default": [{"type": "reject"}], "transports": {"docker": {APP: [one, one]}}}
    rules = IMPORTER.read({"policy.json": json.dumps(words).encode()}).rules
    assert all(r.signers is None and r.publisher for r in rules)


def test_a_certificate_is_no_public_key() -> None:
    """As a key of ours it would let in whatever it certified; podman refuses the policy."""
    certificate = publishers()[0].authority.public_bytes(serialization.Encoding.PEM)
    data = base64.b64encode(certificate).decode()
    words = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {APP: [{"type": "sigstoreSigned", "keyData": data}]}},
    }
    with pytest.raises(PolicyError, match="keyData"):
        IMPORTER.read({"policy.json": json.dumps(words).encode()})


def test_an_image_without_a_name_is_judged_by_the_default() -> None:
    assert judged(image_rule_set(allow("a", APP, key="one")), image("", "one")) is False


def test_an_expression_that_breaks_out_is_refused() -> None:
    """``^(?:a)|(?:b)$`` would match whatever begins with a."""
    broken = IdentityMatch(identity="a)|(?:b", issuer="https://id")
    for target in ("kyverno", "ratify", "sigstore-policy-controller"):
        compiler = load(target)
        with pytest.raises(PolicyError, match="regular expression"):
            compiler.compile(image_rule_set(allow("a", identity=broken)), compiler.settings())


@pytest.mark.parametrize("platform", ["registry.example", APP, f"{APP}/below"])
def test_openshift_tells_that_the_platform_lets_in_what_is_denied(platform: str) -> None:
    compiler = load("openshift")
    settings = msgspec.convert({"platform": [platform]}, compiler.settings)
    losses = compiler.compile(image_rule_set(deny("d", APP)), settings).losses
    assert ("deny", "d", "looser") in {(x.name, x.rule, x.towards) for x in losses}


@pytest.mark.parametrize(
    "target", ["containers-policy", "kyverno", "sigstore-policy-controller", "openshift"]
)
def test_unsigned_images_of_a_rule_that_requires_a_log_are_a_loss(target: str) -> None:
    rules = image_rule_set(allow("a", APP, requires=Requirements(log=True)))
    compiler = load(target)
    losses = compiler.compile(rules, compiler.settings()).losses
    assert ("requirement-algorithm", "a", "looser") in {(x.name, x.rule, x.towards) for x in losses}
