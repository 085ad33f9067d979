"""Keys in services: requests as their vendors document them, and every way to fail."""

from __future__ import annotations

import hashlib
import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, issue, pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import KeyProviderError
from signward.frozen import replace
from signward.integrity import ValueMismatchError, check_value
from signward.keys import RotatedError, SigningKey, _rest, azure_artifact_signing, open_key
from signward.keys.gcp_kms import crc32c
from signward.state import Algorithm
from signward.verbs.secrets import SecretFinder
from tests.builders import cloud
from tests.builders.web import Reply
from tests.signing import authority, identity

DATA = b"octets to sign"
RSA = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
RSA512 = Algorithm(scheme="rsa-pkcs1v15", digest="sha512")
PSS = Algorithm(scheme="rsa-pss", digest="sha384", mgf_digest="sha384", salt_length=48)
ECDSA = Algorithm(scheme="ecdsa", digest="sha256")

_AZURE = {"AZURE_TENANT_ID": "tenant id", "AZURE_CLIENT_ID": "client-id",
          "AZURE_CLIENT_SECRET": cloud.CLIENT_SECRET}  # fmt: skip


@dataclass(frozen=True)
class Vendor:
    """A provider, its service on loopback, and what opens a key there."""

    service: type[cloud.Cloud]
    uri: str
    environment: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[Algorithm, ...] = (RSA, RSA512, PSS)
    path: int = 2
    ec: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


VENDORS = {
    "vault": Vendor(cloud.Vault, "vault:team/transit/release%20key",
                    {"VAULT_TOKEN": cloud.TOKEN}, path=0),
    "azure-kv": Vendor(cloud.KeyVault, "azure-kv:my-vault/release", _AZURE, path=1),
    "azure-artifact-signing": Vendor(
        cloud.ArtifactSigning, "azure-artifact-signing:account/profile", _AZURE, ec=False),
    "gcp-kms": Vendor(cloud.GoogleKms, f"gcp-kms:{cloud.GoogleKms.name}",
                      {"GOOGLE_ACCESS_TOKEN": cloud.TOKEN}, (RSA,), path=0),
    "digicert": Vendor(cloud.DigiCert, "digicert:release%2B1", {"SM_API_KEY": cloud.TOKEN},
                       (RSA, RSA512)),
    "signpath": Vendor(cloud.SignPath, "signpath:org-1/hashes/release",
                       {"SIGNPATH_API_TOKEN": cloud.TOKEN}, path=1, ec=False),
}  # fmt: skip

_BASES = {"signpath": "/API/v1"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of the seconds, and start without a vendor's own variables."""
    monkeypatch.setattr(_rest, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(_rest, "MAX_WAIT", 0.05)
    monkeypatch.setattr(azure_artifact_signing, "FIRST_WAIT", 0.01)
    for name in ("VAULT_ADDR", "VAULT_NAMESPACE", "SM_HOST", "SM_CLIENT_CERT_FILE",
                 "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_AUTHORITY_HOST"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@dataclass
class World:
    """A vendor's running service and how to open its key."""

    name: str
    vendor: Vendor
    service: Any

    def open(self, uri: str = "", **environment: str) -> SigningKey:
        url = self.service.server.url(_BASES.get(self.name, ""))
        found = SecretFinder(environment={**self.vendor.environment, **environment})
        return open_key(f"{uri or self.vendor.uri}?endpoint={url}", found)

    def refusal(self, act: Callable[[], object], kind: type[KeyProviderError] = KeyProviderError
                ) -> str:  # fmt: skip
        with pytest.raises(kind) as caught:
            act()
        text = "".join(traceback.format_exception(caught.value))
        assert cloud.TOKEN not in text
        assert cloud.CLIENT_SECRET not in text
        return str(caught.value)


@pytest.fixture(params=VENDORS)
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield from made(request.param, monkeypatch)


def made(
    name: str, monkeypatch: pytest.MonkeyPatch, who: Identity | None = None
) -> Iterator[World]:
    vendor = VENDORS[name]
    with cloud.serving(vendor.service, who or identity()) as service:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", service.server.url(""))
        for variable, value in vendor.environment.items():
            monkeypatch.setenv(variable, value)
        yield World(name, vendor, service)


def single(name: str, short: str = "") -> Any:
    """Return a fixture of one vendor's world."""

    @pytest.fixture(name=short or name)
    def fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        yield from made(name, monkeypatch)

    return fixture


_vault, _digicert, _signpath = single("vault"), single("digicert"), single("signpath")
_artifact = single("azure-artifact-signing", "artifact")
_azure_kv, _gcp = single("azure-kv", "azure_kv"), single("gcp-kms", "gcp")


def test_every_algorithm_signs_and_the_requests_are_as_documented(world: World) -> None:
    who = identity()
    found = world.open()
    assert found.public_key == who.key.spki
    assert found.certificates == tuple(o.certificate for o in who.path[: world.vendor.path])
    for algorithm in world.vendor.algorithms:
        check_value(who.key.spki, algorithm, DATA, found.sign(DATA, algorithm))
        if algorithm.digest:  # a digest that is given is not hashed once more
            digest = hashlib.new(algorithm.digest, DATA).digest()
            given = found.sign(digest, replace(algorithm, digested=True))
            check_value(who.key.spki, algorithm, DATA, given)
    assert found.parallel >= 1
    found.refresh()
    found.close()
    assert world.service.problems == []


@pytest.mark.parametrize("name", [name for name, vendor in VENDORS.items() if vendor.ec])
def test_elliptic_curve_values_are_der(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    who = identity("p256", "EC publisher")
    monkeypatch.setattr(cloud.GoogleKms, "algorithm", "EC_SIGN_P256_SHA256")
    for world in made(name, monkeypatch, who):
        found = world.open()
        check_value(who.key.spki, ECDSA, DATA, found.sign(DATA, ECDSA))
        assert world.service.problems == []


def test_secrets_travel_in_headers_or_bodies_and_are_shown_nowhere(world: World) -> None:
    found = world.open()
    found.sign(DATA, RSA)
    for request in world.service.requests():
        assert cloud.TOKEN not in request.path
        assert cloud.CLIENT_SECRET not in request.path
    inner = [found, getattr(found, "_rest", None), getattr(getattr(found, "_rest", None),
                                                            "_headers", None)]  # fmt: skip
    assert cloud.TOKEN not in repr(inner)
    assert cloud.CLIENT_SECRET not in repr(inner)


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "does not fit"), (401, "credentials are missing"), (403, "do not permit"),
     (404, "check the URI"), (500, "status 500"), (302, "status 302")],
)  # fmt: skip
def test_each_status_has_its_hint_and_what_the_service_said_is_quoted_without_secrets(
    world: World, status: int, said: str
) -> None:
    text = f"no \x1b[31mway {cloud.TOKEN} Bearer {cloud.TOKEN}\n"
    reply = Reply(text.encode(), status, {"Location": "https://elsewhere.example/"})
    world.service.fail(reply, when=lambda request: "oauth2" not in request.path)
    told = world.refusal(world.open)
    assert said in told
    assert "\x1b" not in told
    if status != 302:
        assert "no [31mway [secret]" in told


def test_a_busy_service_is_asked_again(world: World) -> None:
    found = world.open()
    before = len(world.service.requests())
    world.service.fail(Reply(b"", 429, {"Retry-After": "1"}), Reply(b"", 503))
    found.sign(DATA, RSA)
    assert len(world.service.requests()) - before >= 3


def test_a_service_that_stays_busy_is_given_up(world: World) -> None:
    found = world.open()
    before = len(world.service.requests())
    world.service.fail(*[Reply(b"slow down", 429)] * 9)
    told = world.refusal(lambda: found.sign(DATA, RSA))
    assert "status 429, slow down" in told
    assert "with fewer files at once" in told
    assert len(world.service.requests()) - before == _rest.MAX_TRIES


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b"null", b"\xff\xfe", b'{"data": 5}', b"[" * 5000]
)
def test_garbage_is_refused(world: World, body: bytes) -> None:
    world.service.fail(Reply(body), when=lambda request: "oauth2" not in request.path)
    told = world.refusal(world.open)
    assert "found" in told


def test_garbage_in_place_of_a_signature_is_refused(world: World) -> None:
    found = world.open()
    world.service.fail(*[Reply(b'{"signature": 1}')] * 3)
    assert "not as documented" in world.refusal(lambda: found.sign(DATA, RSA))


def test_an_endless_answer_is_cut(world: World) -> None:
    def endless(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        while not stopping.is_set():
            write(b" " * 65536)

    world.service.fail(*[Reply(write=endless)] * 3)
    assert "more than 1048576 octets" in world.refusal(world.open)


def test_a_trickle_ends_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def trickle(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        while not stopping.wait(0.05):
            write(b" ")

    monkeypatch.setattr(_rest.Rest.__init__, "__kwdefaults__",
                        {"tls": None, "secret_words": (), "max_seconds": 0.4})  # fmt: skip
    world.service.fail(*[Reply(write=trickle)] * 3)
    assert "too slow" in world.refusal(world.open)


def test_a_service_that_is_not_there_is_said_to_be(world: World) -> None:
    uri = f"{world.vendor.uri}?endpoint=http://127.0.0.1:9"
    secrets = SecretFinder(environment=dict(world.vendor.environment))
    told = world.refusal(lambda: open_key(uri, secrets))
    assert "no answer from 127.0.0.1" in told


def test_a_wrong_value_is_handed_on_for_the_verb_to_refuse(world: World) -> None:
    """The provider does not check values; that check stands in one place, above it."""
    found = world.open()
    other = issue("Other", issuer=authority(), subject_key=key("rsa2048", "another"))
    world.service.who, opened = other, world.service.who
    if world.name == "azure-artifact-signing":
        world.service.certificate = lambda: cloud.b64(opened.certificate)
    with pytest.raises(ValueMismatchError):
        check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))


def test_an_algorithm_that_the_service_has_not_is_refused(world: World) -> None:
    found = world.open()
    before = len(world.service.requests())
    odd = Algorithm(scheme="rsa-pss", digest="sha256", mgf_digest="sha1", salt_length=20)
    for algorithm in (Algorithm(scheme="ed25519"), odd,
                      Algorithm(scheme="rsa-pkcs1v15", digest="md5")):  # fmt: skip
        assert f"found algorithm {algorithm}" in world.refusal(
            lambda algorithm=algorithm: found.sign(DATA, algorithm)  # type: ignore[misc]
        )
    assert len(world.service.requests()) == before


def test_without_credentials_the_variables_are_named(world: World) -> None:
    for variable in world.vendor.environment:
        if variable in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
            continue
        secrets = SecretFinder(environment={})
        uri = f"{world.vendor.uri}?endpoint={world.service.server.url('')}"
        told = world.refusal(lambda uri=uri, secrets=secrets: open_key(uri, secrets))  # type: ignore[misc]
        assert variable in told
    assert world.service.requests() == []


@pytest.mark.parametrize("option", ["token=x", "color=blue", "endpoint", "endpoint="])
def test_options_that_are_none_are_refused(world: World, option: str) -> None:
    secrets = SecretFinder(environment=dict(world.vendor.environment))
    told = world.refusal(lambda: open_key(f"{world.vendor.uri}?{option}", secrets))
    assert "options of" in told


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://198.51.100.7", "http to another machine"), ("ftp://x", "no URL"),
     ("https://user:pw@x", "no URL"), ("https://x/?a=b", "no URL"), ("//x", "no URL"),
     ("https://[::1", "no URL"), ("https://x:99999", "no URL")],
)  # fmt: skip
def test_endpoints_are_https_or_loopback(world: World, url: str, said: str) -> None:
    secrets = SecretFinder(environment=dict(world.vendor.environment))
    uri = f"{world.vendor.uri}?endpoint={url.replace('?', '%3F')}"
    assert said in world.refusal(lambda: open_key(uri, secrets))


@pytest.mark.parametrize(
    "uri",
    ["vault:transit", "vault:", "vault:a//b", "azure-kv:vault", "azure-kv:a/b/c/d",
     "azure-artifact-signing:account", "gcp-kms:projects/p", "signpath:org/project",
     "signpath:org/pro ject/x", "digicert:", "azure-artifact-signing:a/b"],
)  # fmt: skip
def test_a_uri_that_names_no_key_shows_the_form(uri: str) -> None:
    with pytest.raises(KeyProviderError, match=uri.partition(":")[0]):
        open_key(uri, SecretFinder(environment={"VAULT_TOKEN": "x"}))


@pytest.mark.parametrize("bad", ["line\nbreak-secret", "\u2603snow-secret"])
def test_a_token_that_no_header_can_hold_is_not_shown(vault: World, bad: str) -> None:
    told = vault.refusal(lambda: vault.open(VAULT_TOKEN=bad))
    assert "secret" not in told
    assert vault.service.requests() == []


# --- one vendor's own rules -----------------------------------------------------------------


def test_vault_pins_the_version_that_was_opened(vault: World) -> None:
    found = vault.open()
    vault.service.latest = 3
    found.sign(DATA, RSA)
    asked = [json.loads(r.body)["key_version"] for r in vault.service.requests()
             if r.method == "POST"]  # fmt: skip
    found.refresh()
    found.sign(DATA, RSA)
    assert asked == [2]
    assert json.loads(vault.service.requests()[-1].body)["key_version"] == 3
    vault.open("vault:team/transit/release%20key/1").sign(DATA, RSA)
    assert json.loads(vault.service.requests()[-1].body)["key_version"] == 1
    assert "no version 9" in vault.refusal(lambda: vault.open("vault:team/transit/release%20key/9"))


def test_vault_hands_on_the_chain_that_was_set(vault: World) -> None:
    who = identity()
    vault.service.chain = b"".join(pem(one.certificate) for one in who.path).decode()
    assert vault.open().certificates == tuple(one.certificate for one in who.path)


def test_vault_keys_that_do_not_sign_are_refused(vault: World) -> None:
    symmetric = {"data": {"type": "aes256-gcm96", "latest_version": 1, "keys": {"1": 1442851412}}}
    vault.service.fail(cloud.answer(symmetric))
    assert "type aes256-gcm96" in vault.refusal(vault.open)


def test_vault_values_of_another_version_are_refused(vault: World) -> None:
    found = vault.open()
    vault.service.fail(cloud.answer({"data": {"signature": "vault:v1:AAAA"}}))
    assert "begins with vault:v2:" in vault.refusal(lambda: found.sign(DATA, RSA))


def test_vault_is_found_by_its_own_variables(vault: World, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = SecretFinder(environment={"VAULT_TOKEN": cloud.TOKEN})
    with pytest.raises(KeyProviderError, match="VAULT_ADDR"):
        open_key(vault.vendor.uri, secrets)
    monkeypatch.setenv("VAULT_ADDR", vault.service.server.url(""))
    monkeypatch.setenv("VAULT_NAMESPACE", "team-a")
    open_key(vault.vendor.uri, secrets)
    assert vault.service.requests()[-1].headers["x-vault-namespace"] == "team-a"


def test_azure_tokens_are_kept_until_they_end(azure_kv: World) -> None:
    found = azure_kv.open()
    for _ in range(3):
        found.sign(DATA, RSA)
    assert azure_kv.service.issued == 1
    azure_kv.service.expires_in = 100  # ends within EARLY_SECONDS: asked for anew each time
    fresh = azure_kv.open()
    fresh.sign(DATA, RSA)
    assert azure_kv.service.issued == 3


def test_an_azure_token_from_the_environment_is_used_as_it_is(azure_kv: World) -> None:
    azure_kv.open(AZURE_ACCESS_TOKEN=cloud.TOKEN).sign(DATA, RSA)
    assert azure_kv.service.issued == 0
    assert azure_kv.service.problems == []


def test_a_workload_identity_proves_itself_by_its_token(azure_kv: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{cloud.CLIENT_SECRET}\n")
    azure_kv.service.federated = True
    found = azure_kv.open(
        AZURE_CLIENT_SECRET="", AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "token")
    )
    check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))
    assert azure_kv.service.problems == []


def test_what_entra_says_is_quoted_without_the_client_secret(azure_kv: World) -> None:
    said = f"invalid_client {cloud.CLIENT_SECRET} client%2Fsecret%2B7d1e"
    azure_kv.service.fail(Reply(said.encode(), 401))
    told = azure_kv.refusal(azure_kv.open)
    assert "invalid_client [secret] [secret]" in told


def test_key_vault_follows_no_other_host_and_takes_no_other_version(azure_kv: World) -> None:
    found = azure_kv.open()
    azure_kv.service.signs_as = "https://my-vault.vault.azure.net/keys/release/ffff"
    assert "another key version" in azure_kv.refusal(lambda: found.sign(DATA, RSA))
    azure_kv.service.fail(cloud.answer({"cer": "AAAA", "kid": "https://x/secrets/a/b"}),
                          when=lambda request: request.path.startswith("/cert"))  # fmt: skip
    assert "key identifier" in azure_kv.refusal(azure_kv.open)


def test_half_an_elliptic_curve_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for world in made("azure-kv", monkeypatch, identity("p256", "EC publisher")):
        found = world.open()
        kid = f"https://x/keys/release/{world.service.version}"
        world.service.fail(cloud.answer({"kid": kid, "value": "AAAAAAAAAAAA"[:10]}))
        assert "7 octets" in world.refusal(lambda found=found: found.sign(DATA, ECDSA))  # type: ignore[misc]


def test_key_vault_reads_the_version_that_is_named(azure_kv: World) -> None:
    azure_kv.open("azure-kv:my-vault/release/0a1b2c").sign(DATA, RSA)
    assert azure_kv.service.problems == []


def test_the_leaf_rotates_between_opening_and_signing(artifact: World) -> None:
    found = artifact.open()
    following = issue("Publisher", issuer=authority(), subject_key=key("rsa2048", "next"))
    artifact.service.who = following
    told = artifact.refusal(lambda: found.sign(DATA, RSA), RotatedError)
    assert "the next leaf" in told
    found.refresh()
    assert found.certificates[0] == following.certificate
    check_value(following.key.spki, RSA, DATA, found.sign(DATA, RSA))
    assert artifact.service.problems == []


def test_artifact_signing_in_the_other_forms_of_its_answers(artifact: World) -> None:
    artifact.service.nested_result = True
    found = artifact.open()
    check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))
    artifact.service.single, artifact.service.polls = True, 0
    assert artifact.open().certificates == (identity().certificate,)
    assert artifact.service.problems == []


@pytest.mark.parametrize("status", ["Failed", "TimedOut", "NotFound", "\x1b[31m"])
def test_an_operation_that_fails_says_how(artifact: World, status: str) -> None:
    artifact.service.ends_as = status
    told = artifact.refusal(artifact.open)
    assert repr(status) in told


def test_an_operation_that_does_not_end_is_given_up(
    artifact: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_artifact_signing, "MAX_SECONDS", 0.1)
    artifact.service.polls = 10**6
    assert "does not end" in artifact.refusal(artifact.open)


@pytest.mark.parametrize("name", ["../../other", "", "a b"])
def test_an_operation_of_an_odd_name_is_not_asked_for(artifact: World, name: str) -> None:
    artifact.service.fail(cloud.answer({"operationId": name, "status": "InProgress"}, 202),
                          when=lambda request: ":sign?" in request.path)  # fmt: skip
    assert "without identifier" in artifact.refusal(artifact.open)


def test_a_path_with_two_leaves_is_refused(artifact: World) -> None:
    held = [x509.load_der_x509_certificate(one.certificate)
            for one in (identity(), identity("p256", "Another leaf"))]  # fmt: skip
    der = pkcs7.serialize_certificates(held, Encoding.DER)
    artifact.service.certificate = lambda: cloud.b64(cloud.b64(der).encode())
    assert "2 certificates, 2 of which" in artifact.refusal(artifact.open)


@pytest.mark.parametrize(
    "certificate", ["AAAA", "!", cloud.b64(b"not base64!"), cloud.b64(b"0\x03abc")]
)
def test_a_path_that_is_none_is_refused(artifact: World, certificate: str) -> None:
    artifact.service.certificate = lambda: certificate
    assert "certificate" in artifact.refusal(artifact.open)


@pytest.mark.parametrize(
    "changes",
    [{"signatureCrc32c": "1"}, {"verifiedDigestCrc32c": False}, {"name": "projects/other"}],
    ids=lambda changes: next(iter(changes)),
)
def test_google_values_that_were_damaged_on_the_way_are_refused(
    gcp: World, changes: dict[str, object]
) -> None:
    found = gcp.open()
    true = {"signature": "AAAA", "signatureCrc32c": cloud.crc(b"\0\0\0"),
            "verifiedDigestCrc32c": True, "name": gcp.service.name}  # fmt: skip
    gcp.service.fail(cloud.answer(true), cloud.answer({**true, **changes}))
    assert found.sign(DATA, RSA) == b"\0\0\0"
    assert "damaged on its way" in gcp.refusal(lambda: found.sign(DATA, RSA))


def test_a_google_public_key_that_was_damaged_on_the_way_is_refused(gcp: World) -> None:
    found = {"pem": cloud.spki_pem(identity()), "algorithm": gcp.service.algorithm}
    gcp.service.fail(cloud.answer({**found, "pemCrc32c": "1"}))
    assert "a public key damaged" in gcp.refusal(gcp.open)
    gcp.service.fail(cloud.answer({**found, "pem": "-----BEGIN"}))
    assert "no public key in PEM" in gcp.refusal(gcp.open)


def test_a_google_key_signs_by_its_one_algorithm(gcp: World) -> None:
    gcp.service.algorithm = "RSA_SIGN_PSS_2048_SHA256"
    found = gcp.open()
    pss = Algorithm(scheme="rsa-pss", digest="sha256", mgf_digest="sha256", salt_length=32)
    check_value(found.public_key, pss, DATA, found.sign(DATA, pss))
    assert "one of rsa-pss/sha256" in gcp.refusal(lambda: found.sign(DATA, RSA))
    gcp.service.algorithm = "GOOGLE_SYMMETRIC_ENCRYPTION"
    assert "a key for GOOGLE_SYMMETRIC" in gcp.refusal(gcp.open)


def test_a_google_service_account_is_granted_a_token(
    gcp: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = identity("rsa2048", "robot")
    gcp.service.account = robot
    account = {"type": "service_account", "client_email": "robot@p.example",
               "private_key": robot.key.pem.decode(), "private_key_id": "key-1",
               "token_uri": gcp.service.server.url("/token"), "project_id": "p"}  # fmt: skip
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    found = gcp.open(GOOGLE_ACCESS_TOKEN="")
    check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))
    assert (gcp.service.granted, gcp.service.problems) == (1, [])
    for text in ("{}", "x", json.dumps({**account, "private_key": "x"})):
        path.write_text(text)
        told = gcp.refusal(lambda: gcp.open(GOOGLE_ACCESS_TOKEN=""))
        assert "no key file of a service account" in told
        assert "BEGIN" not in told


@given(st.binary(max_size=100))
def test_crc32c_is_castagnolis(data: bytes) -> None:
    assert str(crc32c(data)) == cloud.crc(data)
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 B.4's polynomial, the usual check value


def test_digicert_certificates_are_named_by_identifier_too(digicert: World) -> None:
    found = digicert.open(f"digicert:{digicert.service.identifier}")
    check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))
    digicert.service.with_chain = False
    assert digicert.open().certificates == (identity().certificate,)
    assert "no certificates of that alias" in digicert.refusal(lambda: digicert.open("digicert:x"))


def test_signpath_names_the_policies_that_the_token_may_use(signpath: World) -> None:
    told = signpath.refusal(lambda: signpath.open("signpath:org-1/hashes/absent"))
    assert "permitted to this token: hashes/release, hashes/test" in told
