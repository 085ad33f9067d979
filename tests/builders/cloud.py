"""Key services on loopback, each as its vendor documents it, with real keys behind them.

A service checks every request (path, method, headers, body) and keeps what was wrong with
it in ``problems``; ``fault`` answers in its place.  None of this shows that the real
service behaves so: docs/limits.md says it.
"""

from __future__ import annotations

import base64
import email
import email.policy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from conformance.authenticode.pki import Identity
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests.builders.web import Reply, Request, Server, running

TOKEN = "token-secret-5f2c"
CLIENT_SECRET = "client/secret+7d1e"

_HASHES: dict[int, hashes.HashAlgorithm] = {
    32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()
}  # fmt: skip

Fault = Callable[[Request], Reply | None]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def answer(body: Any, status: int = 200, **headers: str) -> Reply:
    kind = {"Content-Type": "application/json", **headers}
    return Reply(json.dumps(body).encode(), status, kind)


def value_over(who: Identity, digest: bytes, *, pss: bool = False, raw: bool = False) -> bytes:
    """Return a signature over a digest; ``raw`` ECDSA is two integers of one length."""
    key, prehashed = who.key.private, Prehashed(_HASHES[len(digest)])
    if who.key.family == "rsa":
        mgf = padding.PSS(padding.MGF1(_HASHES[len(digest)]), len(digest))
        return bytes(key.sign(digest, mgf if pss else padding.PKCS1v15(), prehashed))
    value = bytes(key.sign(digest, ec.ECDSA(prehashed)))
    size = (key.key_size + 7) // 8
    parts = decode_dss_signature(value)
    return b"".join(part.to_bytes(size, "big") for part in parts) if raw else value


def spki_pem(who: Identity) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(who.key.private.public_key().public_bytes(Encoding.PEM, form).decode())


class Cloud:
    """A service; subclasses answer as documented."""

    def __init__(self, who: Identity, server: Server) -> None:
        self.who, self.server = who, server
        self.problems: list[str] = []
        self.fault: Fault | None = None
        server.routes[""] = self

    def __call__(self, request: Request) -> Reply:
        found = self.fault(request) if self.fault else None
        if found:
            return found
        try:
            return self.respond(request)
        except (AssertionError, ValueError, KeyError) as problem:
            self.problems.append(f"{request.method} {request.path}: {problem!r}")
            return answer({"error": "this is not as documented"}, 400)

    def respond(self, request: Request) -> Reply:
        raise NotImplementedError

    def fail(self, *replies: Reply, when: Callable[[Request], bool] = lambda request: True) -> None:
        """Answer the next requests that fit with ``replies``, then as documented."""
        waiting = list(replies)
        self.fault = lambda request: waiting.pop(0) if waiting and when(request) else None

    def requests(self) -> list[Request]:
        return self.server.requests


def is_json(request: Request) -> Any:
    assert request.headers["content-type"] == "application/json"
    return json.loads(request.body)


def bearer(request: Request, token: str = TOKEN) -> None:
    assert request.headers["authorization"] == f"Bearer {token}"


class Vault(Cloud):
    """Transit: read key and sign (developer.hashicorp.com/vault/api-docs/secret/transit)."""

    chain = ""
    latest = 2

    def respond(self, request: Request) -> Reply:
        assert request.headers["x-vault-token"] == TOKEN
        assert request.headers["x-vault-request"] == "true"
        if request.method == "GET":
            assert request.path == "/v1/team/transit/keys/release%20key"
            version = {"public_key": spki_pem(self.who), "creation_time": "2026-01-01T00:00:00Z"}
            if self.chain:
                version["certificate_chain"] = self.chain
            keys = {str(n): version for n in range(1, self.latest + 1)}
            return answer({"data": {"type": "rsa-2048", "latest_version": self.latest,
                                    "keys": keys, "name": "release key"}})  # fmt: skip
        assert (request.method, request.path) == ("POST", "/v1/team/transit/sign/release%20key")
        body = is_json(request)
        digest = unb64(body["input"])
        names = {"sha2-256": 32, "sha2-384": 48, "sha2-512": 64}
        assert body["prehashed"] is True
        assert names[body["hash_algorithm"]] == len(digest)
        if self.who.key.family == "rsa":
            pss = body["signature_algorithm"] == "pss"
            assert pss or body["signature_algorithm"] == "pkcs1v15"
            assert not pss or body["salt_length"] == "hash"
        else:
            pss = False
            assert body["marshaling_algorithm"] == "asn1"
        value = b64(value_over(self.who, digest, pss=pss))
        return answer({"data": {"signature": f"vault:v{body['key_version']}:{value}"}})


class Azure(Cloud):
    """What Azure's services share: tokens of Entra ID (OAuth 2.0 client credentials)."""

    scope = ""
    federated = False
    issued = 0
    expires_in = 3599

    def respond(self, request: Request) -> Reply:
        if request.path == "/tenant%20id/oauth2/v2.0/token":
            assert request.headers["content-type"] == "application/x-www-form-urlencoded"
            proof = {"client_secret": [CLIENT_SECRET]}
            if self.federated:
                proof = {"client_assertion": [CLIENT_SECRET], "client_assertion_type": [
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]}  # fmt: skip
            assert parse_qs(request.body.decode(), strict_parsing=True) == {
                "grant_type": ["client_credentials"], "client_id": ["client-id"],
                "scope": [self.scope], **proof,
            }  # fmt: skip
            self.issued += 1
            return answer({"token_type": "Bearer", "access_token": TOKEN,
                           "expires_in": self.expires_in})  # fmt: skip
        bearer(request)
        return self.serve(request)

    def serve(self, request: Request) -> Reply:
        raise NotImplementedError


JWA = {"RS256": 32, "RS384": 48, "RS512": 64, "PS256": 32, "PS384": 48, "PS512": 64,
       "ES256": 32, "ES384": 48, "ES512": 64}  # fmt: skip


class KeyVault(Azure):
    """GET certificate and sign (learn.microsoft.com/rest/api/keyvault, 7.4)."""

    scope = "https://vault.azure.net/.default"
    version = "0a1b2c"
    signs_as = ""

    def serve(self, request: Request) -> Reply:
        kid = f"https://my-vault.vault.azure.net/keys/release/{self.version}"
        if request.method == "GET":
            path, _, query = request.path.partition("?")
            assert path in ("/certificates/release", f"/certificates/release/{self.version}")
            assert query == "api-version=7.4"
            return answer({"id": "x", "kid": kid, "cer": b64(self.who.certificate),
                           "attributes": {"enabled": True}})  # fmt: skip
        assert request.method == "POST"
        assert request.path == f"/keys/release/{self.version}/sign?api-version=7.4"
        body = is_json(request)
        assert set(body) == {"alg", "value"}
        assert "=" not in body["value"]
        digest = base64.urlsafe_b64decode(body["value"] + "==")
        assert JWA[body["alg"]] == len(digest)
        value = value_over(self.who, digest, pss=body["alg"][0] == "P", raw=True)
        return answer({"kid": self.signs_as or kid, "value": url64(value)})


class ArtifactSigning(Azure):
    """Submit, poll, result (the data plane's 2023-06-15-preview)."""

    scope = "https://codesigning.azure.net/.default"
    polls = 2
    nested_result = False
    single = False
    ends_as = "Succeeded"

    def __init__(self, who: Identity, server: Server) -> None:
        super().__init__(who, server)
        self.operations: dict[str, tuple[int, dict[str, str]]] = {}

    def certificate(self) -> str:
        held = [x509.load_der_x509_certificate(one.certificate) for one in self.who.path]
        der = pkcs7.serialize_certificates(held, Encoding.DER)
        return b64(self.who.certificate) if self.single else b64(base64.encodebytes(der))

    def serve(self, request: Request) -> Reply:
        base = "/codesigningaccounts/account/certificateprofiles/profile"
        path, _, query = request.path.partition("?")
        assert query == "api-version=2023-06-15-preview"
        if request.method == "POST":
            assert path == f"{base}:sign"
            body = is_json(request)
            assert set(body) == {"signatureAlgorithm", "digest"}
            digest = unb64(body["digest"])
            assert JWA[body["signatureAlgorithm"]] == len(digest)
            pss = body["signatureAlgorithm"][0] == "P"
            result = {"signature": b64(value_over(self.who, digest, pss=pss, raw=True)),
                      "signingCertificate": self.certificate()}  # fmt: skip
            name = f"operation-{len(self.operations)}"
            self.operations[name] = (self.polls, result)
            if self.nested_result:
                location = f"https://elsewhere.example{base}/sign/{name}?{query}"
                return answer({"status": "NotStarted"}, 202,
                              **{"operation-location": location})  # fmt: skip
            return answer({"operationId": name, "status": "InProgress", "signature": None,
                           "signingCertificate": None}, 202)  # fmt: skip
        name = path.removeprefix(f"{base}/sign/")
        left, result = self.operations[name]
        self.operations[name] = (left - 1, result)
        if left > 0:
            return answer({"operationId": name, "status": "In Progress"})
        if self.ends_as != "Succeeded":
            return answer({"operationId": name, "status": self.ends_as})
        if self.nested_result:
            return answer({"id": name, "status": "Succeeded", "result": result})
        return answer({"operationId": name, "status": "Succeeded", **result})


def crc(data: bytes) -> str:
    """CRC-32C by table, unlike the code under test."""
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = (octet >> 1) ^ 0x82F63B78 if octet & 1 else octet >> 1
        table.append(octet)
    value = 0xFFFFFFFF
    for octet in data:
        value = table[(value ^ octet) & 0xFF] ^ (value >> 8)
    return str(value ^ 0xFFFFFFFF)


class GoogleKms(Cloud):
    """publicKey, asymmetricSign, and the token grant of RFC 7523."""

    name = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
    algorithm = "RSA_SIGN_PKCS1_2048_SHA256"
    granted = 0
    account: Identity | None = None

    def respond(self, request: Request) -> Reply:
        if request.path == "/token":
            return self.grant(request)
        bearer(request)
        if request.method == "GET":
            assert request.path == f"/v1/{self.name}/publicKey"
            pem = spki_pem(self.who)
            return answer({"pem": pem, "algorithm": self.algorithm, "pemCrc32c": crc(pem.encode()),
                           "name": self.name, "protectionLevel": "HSM"})  # fmt: skip
        assert (request.method, request.path) == ("POST", f"/v1/{self.name}:asymmetricSign")
        body = is_json(request)
        assert set(body) == {"digest", "digestCrc32c"}
        ((kind, text),) = body["digest"].items()
        digest = unb64(text)
        assert self.algorithm.endswith(kind.upper())
        assert body["digestCrc32c"] == crc(digest)
        value = value_over(self.who, digest, pss="PSS" in self.algorithm)
        return answer({"signature": b64(value), "signatureCrc32c": crc(value),
                       "verifiedDigestCrc32c": True, "name": self.name})  # fmt: skip

    def grant(self, request: Request) -> Reply:
        form = parse_qs(request.body.decode(), strict_parsing=True)
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, value = form["assertion"][0].split(".")
        assert self.account is not None
        self.account.key.private.public_key().verify(
            base64.urlsafe_b64decode(value + "=="), f"{head}.{claims}".encode(),
            padding.PKCS1v15(), hashes.SHA256(),
        )  # fmt: skip
        assert json.loads(base64.urlsafe_b64decode(head + "==")) == {
            "alg": "RS256", "typ": "JWT", "kid": "key-1"}  # fmt: skip
        said = json.loads(base64.urlsafe_b64decode(claims + "=="))
        assert said["iss"] == "robot@p.example"
        assert said["aud"] == self.server.url("/token")
        assert said["scope"] == "https://www.googleapis.com/auth/cloudkms"
        assert 0 < said["exp"] - said["iat"] <= 3600
        self.granted += 1
        return answer({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})


class DigiCert(Cloud):
    """certificates, keypairs and sign (one.digicert.com/signingmanager, API v1)."""

    identifier = "8d5a2f0e-1111-2222-3333-444455556666"
    pair = "c0ffee00-1111-2222-3333-444455556666"
    account: Mapping[str, str] = {"id": "account-1", "name": "ACME"}
    with_chain = True

    def respond(self, request: Request) -> Reply:
        assert request.headers["x-api-key"] == TOKEN
        base = "/signingmanager/api/v1"
        assert request.path.startswith(base)
        path = request.path.removeprefix(base)
        if path in ("/certificates?alias=release%2B1", f"/certificates?id={self.identifier}"):
            entry: dict[str, Any] = {
                "id": self.identifier, "alias": "release+1", "cert": b64(self.who.certificate),
                "keypair": {"id": self.pair, "alias": "k"}, "certificate_status": "ACTIVE",
            }  # fmt: skip
            if self.with_chain:
                chain = self.who.path[1:]
                entry["chain"] = [{"blob": b64(one.certificate)} for one in chain]
            return answer({"total": 1, "offset": 0, "limit": 20, "items": [entry]})
        if path.startswith("/certificates?"):
            return answer({"total": 0, "offset": 0, "limit": 20, "items": []})
        if path == f"/keypairs/{self.pair}":
            return answer({"id": self.pair, "key_alg": "RSA", "account": self.account})
        assert (request.method, path) == ("POST", f"/keypairs/{self.pair}/sign")
        body = is_json(request)
        assert body["account"] == self.account
        digest = unb64(body["hash"])
        family = {"rsa": "RSA", "ec": "ECDSA"}[self.who.key.family]
        assert body["sig_alg"] == f"SHA{8 * len(digest)}with{family}"
        return answer({"id": "s", "signature": b64(value_over(self.who, digest))})


class SignPath(Cloud):
    """Policies and fast signing requests (signpath.io/documentation)."""

    def respond(self, request: Request) -> Reply:
        bearer(request)
        if request.method == "GET":
            assert request.path == "/API/v1/org-1/Cryptoki/MySigningPolicies"
            own = {"projectSlug": "hashes", "signingPolicySlug": "release", "keyType": "Rsa",
                   "certificateBytes": b64(self.who.certificate)}  # fmt: skip
            return answer({"signingPolicies": [own, {**own, "signingPolicySlug": "test"}]})
        assert (request.method, request.path) == ("POST", "/API/v1/org-1/SigningRequests")
        fields = multipart(request)
        assert fields["ProjectSlug"] == b"hashes"
        assert fields["SigningPolicySlug"] == b"release"
        assert fields["IsFastSigningRequest"] == b"true"
        artifact = json.loads(fields["Artifact"])
        digest = unb64(artifact["Base64EncodedHash"])
        oids = {32: "2.16.840.1.101.3.4.2.1", 48: "2.16.840.1.101.3.4.2.2",
                64: "2.16.840.1.101.3.4.2.3"}  # fmt: skip
        assert artifact["RsaHashAlgorithm"] == oids[len(digest)]
        pss = {"RsaPkcs1": False, "RsaPss": True}[artifact["SignatureAlgorithm"]]
        return answer({"Signature": b64(value_over(self.who, digest, pss=pss))}, 201)


class AwsKms(Cloud):
    """GetPublicKey and Sign over JSON 1.1 (docs.aws.amazon.com/kms/latest/APIReference)."""

    arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    def respond(self, request: Request) -> Reply:
        assert request.headers["content-type"] == "application/x-amz-json-1.1"
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA")
        body, operation = json.loads(request.body), request.headers["x-amz-target"]
        if operation == "TrentService.GetPublicKey":
            assert body == {"KeyId": "alias/release"}
            return answer({"KeyId": self.arn, "PublicKey": b64(self.who.key.spki),
                           "KeyUsage": "SIGN_VERIFY", "KeySpec": "RSA_2048"})  # fmt: skip
        assert operation == "TrentService.Sign"
        digest, algorithm = unb64(body["Message"]), body["SigningAlgorithm"]
        assert set(body) == {"KeyId", "Message", "MessageType", "SigningAlgorithm"}
        assert (body["KeyId"], body["MessageType"]) == (self.arn, "DIGEST")
        assert algorithm.endswith(f"_SHA_{8 * len(digest)}")
        family = {"rsa": ("RSASSA_PKCS1_V1_5", "RSASSA_PSS"), "ec": ("ECDSA",)}
        assert algorithm.partition("_SHA_")[0] in family[self.who.key.family]
        value = value_over(self.who, digest, pss="PSS" in algorithm)
        return answer({"KeyId": self.arn, "Signature": b64(value), "SigningAlgorithm": algorithm})


def multipart(request: Request) -> dict[str, bytes]:
    """Return a form's parts, read by the standard library's mail parser (RFC 7578)."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert message.is_multipart()
    parts = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(payload, bytes)
        parts[name] = payload
    return parts


@contextmanager
def serving(kind: type[Any], who: Identity) -> Iterator[Any]:
    """Run a service over ``who``'s key until the block ends."""
    with running() as server:
        yield kind(who, server)
