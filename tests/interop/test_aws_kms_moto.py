"""Keys in AWS KMS as moto plays it; boto3 builds and signs the requests.

moto 5.2 takes a digest (``MessageType`` DIGEST) for a message and hashes it once more, so
values of its keys are checked over the digest.  A service of our own, after AWS's reference,
shows that the type is asked for and the value fits the data.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest

from signward.errors import KeyProviderError
from signward.integrity import check_value
from signward.keys import RotatedError, SigningKey, aws_kms, open_key
from signward.state import Algorithm
from tests.builders import cloud
from tests.builders.keyfiles import saying
from tests.builders.processes import free_port
from tests.builders.web import Reply, running
from tests.signing import identity

pytestmark = pytest.mark.interop

REGION = "eu-central-1"
SECRET = "aws-secret-4f1b"
DATA = b"octets to sign"
RSA = [
    Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
    Algorithm(scheme="rsa-pkcs1v15", digest="sha512"),
    Algorithm(scheme="rsa-pss", digest="sha384", mgf_digest="sha384", salt_length=48),
]
KINDS = {
    "RSA_2048": RSA,
    "ECC_NIST_P256": [Algorithm(scheme="ecdsa", digest="sha256")],
    "ECC_NIST_P384": [Algorithm(scheme="ecdsa", digest="sha384")],
}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve from a process of its own: log handlers that other tests left would end answers."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise TimeoutError("moto does not listen")


@pytest.fixture
def kms(url: str, _credentials: None) -> Any:
    return boto3.client("kms", region_name=REGION, endpoint_url=url)


def made(kms: Any, spec: str = "RSA_2048", **fields: str) -> dict[str, Any]:
    asked = {"KeyUsage": "SIGN_VERIFY", "KeySpec": spec, **fields}
    found: dict[str, Any] = kms.create_key(**asked)["KeyMetadata"]
    return found


def hashed(algorithm: Algorithm) -> bytes:
    """Return what moto takes for the message (see above)."""
    return hashlib.new(algorithm.digest, DATA).digest()


def opened(url: str, key: str) -> SigningKey:
    return open_key(f"aws-kms:{key}?region={REGION}&endpoint={url}", saying(None))


def refusal(url: str, key: str) -> str:
    with pytest.raises(KeyProviderError) as caught:
        opened(url, key)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("spec", KINDS)
def test_every_kind_of_key_signs(spec: str, kms: Any, url: str) -> None:
    made_key = made(kms, spec)
    found = opened(url, made_key["KeyId"])
    assert found.certificates == ()
    for algorithm in KINDS[spec]:
        value = found.sign(DATA, algorithm)
        if algorithm.scheme != "rsa-pss":  # moto's salt is as long as can be; AWS's as the digest
            check_value(found.public_key, algorithm, hashed(algorithm), value)
        assert kms.verify(
            KeyId=made_key["KeyId"], Message=hashed(algorithm), MessageType="RAW", Signature=value,
            SigningAlgorithm=aws_kms._NAMES[algorithm.scheme, algorithm.digest],
        )["SignatureValid"]  # fmt: skip
    found.close()


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521"])
def test_a_digest_is_signed_as_a_digest(kind: str) -> None:
    who = identity(kind, "AWS publisher")
    bits = {"p256": 256, "p384": 384, "p521": 512}.get(kind, 0)
    asked = [Algorithm(scheme="ecdsa", digest=f"sha{bits}")] if bits else RSA
    with cloud.serving(cloud.AwsKms, who) as service:
        found = opened(service.server.url(""), "alias/release")
        for algorithm in asked:
            check_value(who.key.spki, algorithm, DATA, found.sign(DATA, algorithm))
        assert service.problems == []
        assert all(SECRET.encode() not in r.body for r in service.requests())


def test_an_alias_is_resolved_once_and_anew_on_refresh(kms: Any, url: str) -> None:
    first, second = made(kms), made(kms)
    kms.create_alias(AliasName="alias/release", TargetKeyId=first["KeyId"])
    found = opened(url, "alias/release")
    before = found.public_key
    kms.update_alias(AliasName="alias/release", TargetKeyId=second["KeyId"])
    check_value(before, RSA[0], hashed(RSA[0]), found.sign(DATA, RSA[0]))
    found.refresh()
    assert found.public_key != before
    check_value(found.public_key, RSA[0], hashed(RSA[0]), found.sign(DATA, RSA[0]))


def test_an_arn_names_the_region_too(kms: Any, url: str) -> None:
    arn = made(kms)["Arn"]
    found = open_key(f"aws-kms:{arn}?endpoint={url}", saying(None))
    check_value(found.public_key, RSA[0], hashed(RSA[0]), found.sign(DATA, RSA[0]))


def test_what_cannot_be_opened_says_why(
    kms: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "NotFoundException" in refusal(url, "alias/absent")
    agreement = made(kms, KeyUsage="ENCRYPT_DECRYPT")["KeyId"]
    assert "ENCRYPT_DECRYPT" in refusal(url, agreement)
    assert "EndpointConnectionError" in refusal("http://127.0.0.1:9", "alias/release")
    with pytest.raises(KeyProviderError, match="NoRegionError"):
        open_key(f"aws-kms:alias/x?endpoint={url}", saying(None))
    with pytest.raises(KeyProviderError, match="http to another machine"):
        opened("http://198.51.100.7", "x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/absent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/absent")
    assert "AWS_ACCESS_KEY_ID" in refusal(url, "alias/release")


def test_an_algorithm_that_does_not_fit_is_refused(kms: Any, url: str) -> None:
    found = opened(url, made(kms)["KeyId"])
    with pytest.raises(KeyProviderError, match="ed25519"):
        found.sign(DATA, Algorithm(scheme="ed25519"))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [(400, "AccessDeniedException", "kms:Sign must be permitted"),
     (400, "DisabledException", "the key is disabled"), (500, "KMSInternalException", "KMSInt"),
     (200, "", "")],
)  # fmt: skip
def test_what_the_service_refuses_is_said_in_words(status: int, code: str, said: str) -> None:
    with running() as server:
        body = f'{{"__type": "{code}", "message": "no \\u001b[31mway"}}'.encode()
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        server.routes[""] = lambda request: Reply(body if code else b"<garbage", status, headers)
        text = refusal(f"http://127.0.0.1:{server.port}", "alias/x")
        assert said in text
        assert "\x1b" not in text


def test_a_value_of_another_key_is_a_rotation(
    kms: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Any = opened(url, made(kms)["KeyId"])
    real = found._client.sign

    def other(**asked: Any) -> dict[str, Any]:
        return {**real(**asked), "KeyId": "arn:other"}

    monkeypatch.setattr(found._client, "sign", other)
    with pytest.raises(RotatedError):
        found.sign(DATA, RSA[0])


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(KeyProviderError, match=r"signward\[aws\]"):
        open_key("aws-kms:alias/x", saying(None))
