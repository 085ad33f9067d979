"""Keys in SignPath: hash signing data projects, by fast signing requests (REST API v1)."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

import msgspec

from signward.errors import KeyProviderError
from signward.frozen import Frozen
from signward.keys import Secrets, SigningKey
from signward.keys._address import endpoint, parse
from signward.keys._certificates import key_in
from signward.keys._rest import Rest
from signward.keys._service import Order, ServiceKey, decoded, encoded, required
from signward.wire.algorithms import DIGEST_OIDS

ENDPOINT = "https://app.signpath.io/API/v1"

_FORM = "ORGANIZATION-ID/PROJECT/POLICY"
_SCHEMES = {"rsa-pkcs1v15": "RsaPkcs1", "rsa-pss": "RsaPss"}
_DIGESTS = ("sha256", "sha384", "sha512")
_SLUG = re.compile(r"[0-9A-Za-z_.-]+")
_NAMES = {(scheme, digest): theirs for scheme, theirs in _SCHEMES.items() for digest in _DIGESTS}


class _Policy(Frozen, frozen=True, kw_only=True, rename="camel"):
    """A signing policy that the token may use, with its certificate (Base64 DER)."""

    project_slug: str
    signing_policy_slug: str
    certificate_bytes: str


class _Policies(Frozen, frozen=True, kw_only=True, rename="camel"):
    signing_policies: tuple[_Policy, ...]


class _Signed(Frozen, frozen=True, kw_only=True):
    signature: str = msgspec.field(name="Signature")


class SignPathKey(ServiceKey):
    """The key behind a signing policy; RSA only, as the form of EC values is not documented."""

    def __init__(self, name: str, rest: Rest, project: str, policy: str) -> None:
        super().__init__(name, _NAMES)
        self._rest, self._slugs = rest, (project, policy)
        self.refresh()

    def refresh(self) -> None:
        """Read the policy's certificate anew."""
        listed = self._rest.get(_Policies, "/Cryptoki/MySigningPolicies").signing_policies
        own = [one for one in listed
               if (one.project_slug, one.signing_policy_slug) == self._slugs]  # fmt: skip
        if len(own) != 1:
            hint = "permitted to this token: " + (
                ", ".join(f"{p.project_slug}/{p.signing_policy_slug}" for p in listed[:8]) or "none"
            )
            raise KeyProviderError(self._name, f"{len(own) or 'no'} such policies", "one", hint)
        leaf = decoded(self._name, own[0].certificate_bytes, "a certificate")
        self._adopt(key_in(self._name, leaf), (leaf,))

    def _value(self, order: Order) -> bytes:
        artifact = msgspec.json.encode({
            "SignatureAlgorithm": order.theirs,
            "RsaHashAlgorithm": DIGEST_OIDS[order.algorithm.digest],
            "Base64EncodedHash": encoded(order.digest),
        })  # fmt: skip
        fields = {"ProjectSlug": self._slugs[0], "SigningPolicySlug": self._slugs[1],
                  "IsFastSigningRequest": "true"}  # fmt: skip
        kind, body = form_data(fields, "Artifact", artifact)
        reply = self._rest.exchange("POST", "/SigningRequests", body, kind)
        return decoded(self._name, self._rest.read(_Signed, reply).signature, "a signature")


def form_data(fields: dict[str, str], file_field: str, content: bytes) -> tuple[str, bytes]:
    """Return the content type and body of a form with one file (RFC 7578).

    The boundary is a digest of the content, so that it cannot stand in it by chance.
    """
    boundary = hashlib.sha256(content + repr(fields).encode()).hexdigest()
    head = 'Content-Disposition: form-data; name="{}"'
    parts = [
        f"--{boundary}\r\n{head.format(name)}\r\n\r\n{value}\r\n" for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\n{head.format(file_field)}; filename="payload.json"\r\n'
        "Content-Type: application/json\r\n\r\n"
    )
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


class SignPathProvider:
    """Opens ``signpath:ORGANIZATION-ID/PROJECT/POLICY``."""

    scheme = "signpath"
    help = f"a signing policy of SignPath, by SIGNPATH_API_TOKEN: signpath:{_FORM}"

    def open(self, rest: str, secrets: Secrets) -> SigningKey:
        """Read the policy's certificate; the token's user must be a submitter of the policy."""
        path, options = parse(self.scheme, rest, _FORM)
        parts = path.split("/")
        if len(parts) != 3 or not all(map(_SLUG.fullmatch, parts)):
            raise KeyProviderError("signpath: URI", path[:80], _FORM)
        name = f"signpath:{path}"
        token = required(name, secrets, "SIGNPATH_API_TOKEN").strip()
        where = endpoint(self.scheme, options.get("endpoint") or ENDPOINT)
        where = where._replace(path=f"{where.path}/{quote(parts[0], safe='')}")
        service = Rest(name, where, lambda: {"Authorization": f"Bearer {token}"})
        return SignPathKey(name, service, parts[1], parts[2])


PROVIDER = SignPathProvider()
