"""Keys in AWS Key Management Service, by boto3; the service gets a digest, never the data."""

from __future__ import annotations

from typing import Any

from signward.errors import KeyProviderError
from signward.keys import RotatedError, Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._rest import MAX_QUOTED, MAX_TRIES
from signward.keys._service import Order, ServiceKey

CONNECT_SECONDS, READ_SECONDS = 10, 30
"""For one try; AWS answers within one second."""

_FORM = "KEY-ID, its ARN or alias/NAME"
_SCHEMES = {
    "rsa-pkcs1v15": "RSASSA_PKCS1_V1_5_SHA",
    "rsa-pss": "RSASSA_PSS_SHA",
    "ecdsa": "ECDSA_SHA",
}
_HINTS = {
    "NotFoundException": "check the key, the region and the account",
    "AccessDeniedException": "kms:GetPublicKey and kms:Sign must be permitted on this key",
    "UnrecognizedClientException": "the credentials are wrong or have expired",
    "ExpiredTokenException": "the credentials have expired",
    "InvalidSignatureException": "the credentials are wrong, or this machine's clock is",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is not usable in its state",
    "InvalidKeyUsageException": "the key is not for signing",
    "ThrottlingException": "too many requests: try again later",
    "NoCredentialsError": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
    "NoRegionError": "?region=eu-central-1, AWS_REGION or the profile's",
}
_NAMES = {(scheme, f"sha{bits}"): f"{start}_{bits}" for scheme, start in _SCHEMES.items()
          for bits in (256, 384, 512)}  # fmt: skip


class AwsKey(ServiceKey):
    """A key in KMS; aliases are resolved when it is opened."""

    def __init__(self, name: str, client: Any, key: str) -> None:
        super().__init__(name, _NAMES)
        self._client, self._asked, self._key = client, key, ""
        self.refresh()

    def refresh(self) -> None:
        """Read the public key anew: an alias may lead to another key by now."""
        found = self._called("get_public_key", KeyId=self._asked)
        if found.get("KeyUsage") != "SIGN_VERIFY":
            usage = str(found.get("KeyUsage"))
            raise KeyProviderError(self._name, f"a key for {usage}", "one for SIGN_VERIFY")
        self._key = found["KeyId"]
        self._adopt(bytes(found["PublicKey"]))

    def _value(self, order: Order) -> bytes:
        answer = self._called("sign", KeyId=self._key, Message=order.digest, MessageType="DIGEST",
                              SigningAlgorithm=order.theirs)  # fmt: skip
        if _identifier(answer.get("KeyId")) != _identifier(self._key):
            raise RotatedError(self._name, "a signature of another key", self._key)
        return bytes(answer["Signature"])

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def _called(self, operation: str, **asked: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(**asked)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise _refused(self._name, code or "an error", str(error)) from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise _refused(self._name, type(error).__name__, str(error)) from None


def _identifier(key: Any) -> str:
    """Return the key's own identifier, which ends its ARN."""
    return str(key).rpartition("/")[2]


def _refused(name: str, code: str, text: str) -> KeyProviderError:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    found = f"{code}, {line[:MAX_QUOTED]}"
    return KeyProviderError(name, found, "success", _HINTS.get(code, ""))


class AwsProvider:
    """Opens ``aws-kms:KEY``; credentials come the ways AWS's own tools take them."""

    scheme = "aws-kms"
    help = (
        "a key in AWS KMS (its certificate is a file of yours): "
        "aws-kms:alias/release?region=eu-central-1"
    )

    def open(self, rest: str, secrets: Secrets) -> SigningKey:  # noqa: ARG002 - boto3 finds its own
        """Read the public key; needs kms:GetPublicKey and kms:Sign."""
        key, options = parse(self.scheme, rest, _FORM, ("region",))
        try:
            import boto3
        except ModuleNotFoundError as error:
            hint = "pip install 'signward[aws]'"
            raise KeyProviderError("aws-kms:", f"no {error.name}", "boto3", hint) from None
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        name = f"aws-kms:{key}"
        where = options.get("endpoint")
        url = str(endpoint(self.scheme, where)) if where else None
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS,
                        retries={"mode": "standard", "max_attempts": MAX_TRIES})  # fmt: skip
        region = options.get("region") or (key.split(":")[3] if key.count(":") == 5 else None)
        try:
            client = boto3.Session().client(
                "kms", region_name=region, endpoint_url=url, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise _refused(name, type(error).__name__, str(error)) from None
        return AwsKey(name, client, key)


PROVIDER = AwsProvider()
