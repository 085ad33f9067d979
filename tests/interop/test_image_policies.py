"""Image policies as their own enforcers read them: skopeo, podman, policy-controller, libraries.

A registry of ours on the loopback interface holds images signed with one key, with another, and
not at all; every enforcer must let in what our policy lets in and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signward.compilers import Compiled
from signward.compilers.arbiters.containers_policy import ARBITER
from signward.compilers.aws import COMPILER as AWS
from signward.compilers.aws import Settings as AwsSettings
from signward.compilers.containers_policy import COMPILER as CONTAINERS
from signward.compilers.containers_policy import Settings as ContainersSettings
from signward.compilers.importers.containers_policy import IMPORTER
from signward.compilers.notation import COMPILER as NOTATION
from signward.compilers.notation import Settings as NotationSettings
from signward.compilers.ratify import COMPILER as RATIFY
from signward.compilers.ratify import Settings as RatifySettings
from signward.compilers.sigstore_policy_controller import COMPILER as CONTROLLER
from signward.compilers.sigstore_policy_controller import Settings as ControllerSettings
from signward.policy.rules.model import IdentityMatch, PublisherMatch, Rule, RuleSet, SignersMatch
from tests.builders.image_policies import (
    allow,
    certificate_pem,
    deny,
    image,
    image_rule_set,
    private_key,
)
from tests.builders.registry import Registry, serving
from tests.interop.image_peers import NOTATION as NOTATION_PEER
from tests.interop.image_peers import POLICY_TESTER, READERS, build
from tests.interop.image_peers import RATIFY as RATIFY_PEER

pytestmark = pytest.mark.interop

SECONDS = 120
SIGNED = {"team/one": "one", "team/two": "two", "team/unsigned": "", "other/one": "one",
          "bad/one": "one", "open/unsigned": ""}  # fmt: skip
"""Repositories, and the key that signed what lies there."""


@dataclass(frozen=True)
class World:
    """The registry, and the digest of the image in each repository."""

    registry: Registry
    digests: dict[str, str]

    def rules(self, *rules: Rule, keys: dict[str, bytes] | None = None) -> RuleSet:
        return image_rule_set(*rules, keys=keys)

    def name(self, repository: str) -> str:
        return f"{self.registry.host}/{repository}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("registry")) as registry:
        digests = {}
        for repository, key in SIGNED.items():
            digests[repository] = registry.push_image(repository, "1", repository)
            if key:
                registry.sign(repository, digests[repository], private_key(key))
        yield World(registry, digests)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def place(made: Compiled, folder: Path) -> Path:
    for file in made.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    (folder / "registries.d").mkdir(exist_ok=True)
    return folder


def skopeo(folder: Path, reference: str) -> subprocess.CompletedProcess[str]:
    """Copy an image under the compiled policy."""
    target = folder / "copied"
    shutil.rmtree(target, ignore_errors=True)
    return subprocess.run(
        [tool("skopeo"), "--policy", str(folder / "policy.json"), "--registries.d",
         str(folder / "registries.d"), "copy", "--src-tls-verify=false", f"docker://{reference}",
         f"dir:{target}"],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


def containers(world: World) -> RuleSet:
    host = world.registry.host
    return world.rules(
        allow("all", f"{host}/**", key="one"),
        allow("team", f"{host}/team/**", key="one"),
        allow("open", f"{host}/open/**"),
        deny("bad", f"{host}/bad/**"),
    )


def podmans_library(folder: Path, reference: str) -> subprocess.CompletedProcess[str]:
    """Ask the library of podman and skopeo; Debian's own builds have sigstore switched off."""
    return subprocess.run(
        [build(READERS), "policy.json", str(folder / "policy.json"), str(folder / "registries.d"),
         reference],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "expected"),
    [("team/one", True), ("team/two", False), ("team/unsigned", False), ("other/one", True),
     ("bad/one", False), ("open/unsigned", True)],
)  # fmt: skip
def test_podmans_library_takes_what_the_policy_lets_in(
    world: World, tmp_path: Path, repository: str, expected: bool
) -> None:
    made = CONTAINERS.compile(containers(world), ContainersSettings())
    folder = place(made, tmp_path)
    told = podmans_library(folder, f"{world.name(repository)}:1")
    assert (told.returncode == 0) is expected, told.stderr
    if not expected:
        assert "ignature" in told.stderr or "rejected" in told.stderr, told.stderr
    keys = [SIGNED[repository]] if SIGNED[repository] else []
    subject = image(world.name(repository), *keys, digest=world.digests[repository])
    assert ARBITER.judge({f.name: f.content for f in made.files}, subject) is expected


@pytest.mark.slow
def test_podmans_library_takes_either_key_or_asks_for_both(world: World, tmp_path: Path) -> None:
    of = (PublisherMatch(key="one"), PublisherMatch(key="two"))
    for least, expected in ((1, True), (2, False)):
        signers = SignersMatch(least=least, of=of)
        rules = world.rules(allow("some", f"{world.registry.host}/**", signers=signers))
        folder = place(CONTAINERS.compile(rules, ContainersSettings()), tmp_path / str(least))
        for repository in ("team/one", "team/two"):
            told = podmans_library(folder, f"{world.name(repository)}:1")
            assert (told.returncode == 0) is expected, told.stderr


@pytest.mark.parametrize("repository", list(SIGNED))
def test_skopeo_takes_what_needs_no_signature(
    world: World, tmp_path: Path, repository: str
) -> None:
    folder = place(CONTAINERS.compile(containers(world), ContainersSettings()), tmp_path)
    told = skopeo(folder, f"{world.name(repository)}:1")
    assert (told.returncode == 0) is (repository == "open/unsigned"), told.stderr


def test_skopeo_takes_a_digest_where_it_is_asked_for(world: World, tmp_path: Path) -> None:
    name, digest = world.name("team/unsigned"), world.digests["team/unsigned"]
    rules = world.rules(allow("pinned", name, digest=(f"oci:{digest}",)))
    folder = place(CONTAINERS.compile(rules, ContainersSettings()), tmp_path)
    assert skopeo(folder, f"{name}@{digest}").returncode == 0
    assert skopeo(folder, f"{name}:1").returncode != 0


def test_skopeo_refuses_everything_under_an_empty_policy(world: World, tmp_path: Path) -> None:
    folder = place(CONTAINERS.compile(world.rules(), ContainersSettings()), tmp_path)
    told = skopeo(folder, f"{world.name('team/one')}:1")
    assert told.returncode != 0
    assert "rejected by policy" in told.stderr


@dataclass(frozen=True)
class OpenPgp:
    """A key in a home of its own."""

    home: Path
    fingerprint: str
    public: bytes


def openpgp(home: Path, name: str) -> OpenPgp:
    home.mkdir(mode=0o700)
    run = [tool("gpg"), "--homedir", str(home), "--batch", "--pinentry-mode", "loopback",
           "--passphrase", ""]  # fmt: skip
    subprocess.run([*run, "--quick-gen-key", name, "rsa2048", "sign", "never"], check=True,
                   capture_output=True, timeout=SECONDS)  # fmt: skip
    listed = subprocess.run([*run, "--with-colons", "--list-keys"], check=True,
                            capture_output=True, text=True, timeout=SECONDS).stdout  # fmt: skip
    fingerprint = next(x for x in listed.splitlines() if x.startswith("fpr")).split(":")[9]
    public = subprocess.run([*run, "--armor", "--export"], check=True, capture_output=True,
                            timeout=SECONDS).stdout  # fmt: skip
    return OpenPgp(home, fingerprint, public)


@pytest.fixture(scope="module")
def openpgp_policy(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a policy for two keys; a third signed as well."""
    folder = tmp_path_factory.mktemp("openpgp")
    first, second, third = (openpgp(folder / n, n) for n in ("first", "second", "third"))
    lookaside = folder / "lookaside"
    for repository, who in (("team/one", first), ("team/two", second), ("other/one", third)):
        manifest = folder / "manifest.json"
        manifest.write_bytes(world.registry.manifest(repository, "1"))
        beside = lookaside / f"{repository}@{world.digests[repository].replace(':', '=')}"
        beside.mkdir(parents=True)
        subprocess.run(
            [tool("skopeo"), "standalone-sign", str(manifest), f"{world.name(repository)}:1",
             who.fingerprint, "-o", str(beside / "signature-1")],
            check=True, capture_output=True, timeout=SECONDS,
            env={**os.environ, "GNUPGHOME": str(who.home)},
        )  # fmt: skip
    host = world.registry.host
    rules = world.rules(
        allow("first", f"{host}/**", key="gpg-first"),
        allow("second", f"{host}/**", key="gpg-second"),
        keys={"gpg-first": first.public, "gpg-second": second.public},
    )
    made = CONTAINERS.compile(rules, ContainersSettings(lookaside=lookaside.as_uri()))
    assert made.losses == ()
    again = IMPORTER.read({f.name: f.content for f in made.files})
    assert len(again.keys) == 2
    second_time = CONTAINERS.compile(again, ContainersSettings(lookaside=lookaside.as_uri()))
    assert second_time.content("policy.json") == made.content("policy.json")
    return place(made, folder / "home" / ".config" / "containers")


TAKEN = frozenset({"team/one", "team/two"})


@pytest.mark.parametrize("repository", list(SIGNED))
def test_skopeo_takes_openpgp_signatures_of_either_key(
    world: World, openpgp_policy: Path, repository: str
) -> None:
    told = skopeo(openpgp_policy, f"{world.name(repository)}:1")
    assert (told.returncode == 0) is (repository in TAKEN), told.stderr
    if repository not in TAKEN:
        assert "ignature" in told.stderr, told.stderr


@pytest.mark.parametrize("repository", ["team/one", "team/two", "other/one", "team/unsigned"])
def test_podman_pulls_what_either_key_signed(
    world: World, openpgp_policy: Path, repository: str
) -> None:
    home = openpgp_policy.parents[1]
    with tempfile.TemporaryDirectory(prefix="p-") as run:  # podman wants a short name here
        told = subprocess.run(
            [tool("podman"), "--root", f"{run}/root", "--runroot", f"{run}/run", "--storage-driver",
             "vfs", "pull", "--tls-verify=false", "--signature-policy",
             str(openpgp_policy / "policy.json"), f"{world.name(repository)}:1"],
            capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "HOME": str(home)},
        )  # fmt: skip
    assert (told.returncode == 0) is (repository in TAKEN), told.stderr
    if repository not in TAKEN:
        assert "ignature" in told.stderr, told.stderr


# policy-controller


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "expected"),
    [("team/one", True), ("team/two", True), ("team/unsigned", False), ("other/one", False),
     ("bad/one", False), ("open/unsigned", True)],
)  # fmt: skip
def test_policy_controller_admits_what_the_policy_lets_in(
    world: World, tmp_path: Path, repository: str, expected: bool
) -> None:
    host = world.registry.host
    rules = world.rules(
        allow("first", f"{host}/team/*", key="one"), allow("second", f"{host}/team/*", key="two"),
        allow("open", f"{host}/open/**"), deny("bad", f"{host}/bad/**"),
    )  # fmt: skip
    made = CONTROLLER.compile(rules, ControllerSettings())
    assert made.losses == ()
    told = controller(made, tmp_path, f"{world.name(repository)}@{world.digests[repository]}")
    assert (told.returncode == 0) is expected, told.stdout + told.stderr


def controller(made: Compiled, folder: Path, reference: str) -> subprocess.CompletedProcess[str]:
    path = folder / "policies.yaml"
    path.write_bytes(made.content("policies.yaml"))
    return subprocess.run(
        [build(POLICY_TESTER), "-policy", str(path), "-image", reference, "-log-level", "error"],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.slow
def test_policy_controller_asks_for_every_signer(world: World, tmp_path: Path) -> None:
    both = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))
    rules = world.rules(allow("both", f"{world.registry.host}/**", signers=both))
    made = CONTROLLER.compile(rules, ControllerSettings())
    reference = f"{world.name('team/one')}@{world.digests['team/one']}"
    assert controller(made, tmp_path, reference).returncode != 0


# What only reads


def reader(kind: str, folder: Path, content: bytes) -> subprocess.CompletedProcess[str]:
    path = folder / "given"
    path.write_bytes(content)
    return subprocess.run(
        [build(READERS), kind, str(path)], capture_output=True, text=True, timeout=SECONDS
    )


@pytest.mark.slow
def test_containers_image_reads_every_requirement(tmp_path: Path) -> None:
    mail = IdentityMatch(identity=r"dev@example\.com", issuer=r"https://id\.example")
    both = SignersMatch(least=2, of=(PublisherMatch(key="one"), PublisherMatch(key="two")))
    rules = image_rule_set(
        allow("one", "a.example/**", key="one"), allow("two", "a.example/**", key="two"),
        allow("mail", "mail.example/**", identity=mail),
        allow("both", "b.example/**", signers=both), allow("open", "open.example:5000/**"),
        deny("bad", "a.example/bad/**"),
        allow("pinned", "pin.example/x", digest=("oci:sha256:" + "0" * 64,)),
    )  # fmt: skip
    settings = ContainersSettings(fulcio_ca="first-ca", rekor=("two", "three"))
    content = CONTAINERS.compile(rules, settings).content("policy.json")
    told = reader("policy.json", tmp_path, content)
    assert told.returncode == 0, told.stderr
    broken = json.loads(content)
    broken["transports"]["docker"]["a.example"][0]["more"] = 1
    assert reader("policy.json", tmp_path, json.dumps(broken).encode()).returncode == 1


@pytest.mark.slow
def test_notation_reads_trust_policies(tmp_path: Path) -> None:
    publisher = PublisherMatch(key="first-ca", organization='A, "B"', country="AT", state="W")
    rules = image_rule_set(
        allow("team", "a.example/team/app", publisher=publisher), allow("open", "a.example/open"),
        allow("all", key="second-ca"), deny("bad", "a.example/bad"),
    )  # fmt: skip
    made = NOTATION.compile(rules, NotationSettings(tsa=("first-ca",)))
    told = reader("trustpolicy.json", tmp_path, made.content("trustpolicy.json"))
    assert told.returncode == 0, told.stderr
    empty = NOTATION.compile(image_rule_set(), NotationSettings())
    assert reader("trustpolicy.json", tmp_path, empty.content("trustpolicy.json")).returncode == 0
    broken = json.loads(made.content("trustpolicy.json"))
    broken["trustPolicies"][0]["signatureVerification"]["level"] = "loose"
    assert reader("trustpolicy.json", tmp_path, json.dumps(broken).encode()).returncode == 1


@dataclass(frozen=True)
class Ca:
    """An authority with one leaf: the CA's certificate, and files for a signer."""

    pem: bytes
    key: Path
    chain: Path


def authority(folder: Path, name: str) -> Ca:
    """Return a CA as the Notary Project wants them, and a leaf of ``C=AT, ST=W, O=name``."""
    folder.mkdir()
    root_key, leaf_key = private_key(f"{name} root"), private_key(f"{name} leaf")
    root_name = _x509_name(f"{name} root")
    root = _certificate(root_name, root_name, root_key, root_key, ca=True)
    leaf = _certificate(_x509_name(name), root_name, leaf_key, root_key, ca=False)
    key, chain = folder / "key.pem", folder / "chain.pem"
    key.write_bytes(leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))  # fmt: skip
    chain.write_bytes(certificate_pem(leaf) + certificate_pem(root))
    return Ca(certificate_pem(root), key, chain)


def _x509_name(organization: str) -> x509.Name:
    fields = ((NameOID.COUNTRY_NAME, "AT"), (NameOID.STATE_OR_PROVINCE_NAME, "W"),
              (NameOID.ORGANIZATION_NAME, organization))  # fmt: skip
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in fields])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    usage["key_cert_sign" if ca else "digital_signature"] = True
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    if not ca:
        code_signing = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(code_signing, critical=False)
    return builder.sign(by, hashes.SHA256())


@pytest.mark.slow
def test_notation_verifies_what_the_policy_lets_in(world: World, tmp_path: Path) -> None:
    program = build(NOTATION_PEER)
    first, second = (authority(tmp_path / n, n) for n in ("first", "second"))
    for repository, who in (("team/one", first), ("team/two", second), ("other/one", first),
                            ("bad/one", second)):  # fmt: skip
        told = subprocess.run(
            [program, "sign", str(who.key), str(who.chain), world.name(repository),
             world.digests[repository]],
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
    named = PublisherMatch(key="a", organization="first", country="AT", state="W")
    wrong = PublisherMatch(key="a", organization="someone", country="AT", state="W")
    rules = world.rules(
        allow("named", world.name("team/one"), publisher=named),
        allow("wrong", world.name("other/one"), publisher=wrong),
        allow("open", world.name("open/unsigned")),
        deny("bad", world.name("bad/one")),
        allow("all", publisher=PublisherMatch(key="b", organization="second", country="AT",
                                              state="W")),
        keys={"a": first.pem, "b": second.pem},
    )  # fmt: skip
    made = NOTATION.compile(rules, NotationSettings())
    lost = {(loss.name, loss.rule) for loss in made.losses if loss.name != "requirement-revocation"}
    assert lost == {("alternative", "all")}
    verified = _verified(program, world, place(made, tmp_path / "one"))
    assert verified == {"team/one", "open/unsigned"}
    rules = world.rules(
        allow("team", world.name("team/one"), key="a"), allow("all", key="b"),
        deny("bad", world.name("bad/one")), keys={"a": first.pem, "b": second.pem},
    )  # fmt: skip
    made = NOTATION.compile(rules, NotationSettings())
    assert {loss.name for loss in made.losses} == {"requirement-revocation"}
    verified = _verified(program, world, place(made, tmp_path / "two"))
    assert verified == {"team/one", "team/two"}
    empty = place(NOTATION.compile(world.rules(), NotationSettings()), tmp_path / "none")
    assert _verified(program, world, empty) == set()


def _verified(program: Path, world: World, folder: Path) -> set[str]:
    """Return the repositories whose image passes; skipped ones do."""
    return {
        repository
        for repository in SIGNED
        if subprocess.run(
            [program, "verify", str(folder), world.name(repository), world.digests[repository]],
            capture_output=True, timeout=SECONDS,
        ).returncode == 0
    }  # fmt: skip


@pytest.mark.slow
def test_notation_reads_those_for_aws(tmp_path: Path) -> None:
    arn = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/team"
    rules = image_rule_set(allow("team", "a.example/x", key="one"), allow("open", "a.example/open"))
    made = AWS.compile(rules, AwsSettings(profiles={"one": arn}))
    told = reader("trustpolicy.json", tmp_path, made.content("trustpolicy.json"))
    assert told.returncode == 0, told.stderr


@pytest.mark.slow
def test_ratify_finds_the_trust_policy_of_an_image(tmp_path: Path) -> None:
    rules = image_rule_set(
        allow("team", "a.example/team/**", key="one"), allow("app", "a.example/b/app", key="two"),
        allow("all", key="three"),
    )  # fmt: skip
    made = RATIFY.compile(rules, RatifySettings())
    found = [o["spec"]["parameters"]["trustPolicies"]
             for o in yaml.safe_load_all(made.content("ratify.yaml"))
             if o["spec"].get("name") == "cosign"]  # fmt: skip
    path = tmp_path / "policies.json"
    path.write_text(json.dumps(found[0]))
    images = ["a.example/team/x/y:1", "a.example/b/app:1", f"a.example/b/app@sha256:{'0' * 64}",
              "a.example/b/app-evil:1", "other.example/x:1"]  # fmt: skip
    told = subprocess.run([build(RATIFY_PEER), str(path), *images], capture_output=True, text=True,
                          timeout=SECONDS)  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["team", "app", "app", "all", "all"]
