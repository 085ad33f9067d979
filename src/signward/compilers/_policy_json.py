"""The words of a policy.json, as strict as those who read it (containers-policy.json(5)).

Unknown, repeated and missing fields are refused; of a requirement's sources of keys exactly one
is given.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Literal, TypeAlias

import msgspec

from signward.compilers._json import once
from signward.errors import PolicyError
from signward.frozen import Frozen

MAX_OCTETS = 16 * 1024 * 1024
"""Largest policy.json read: tens of thousands of scopes, each with a key in it."""

ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[A-Za-z]+: [^\n]*\n)*\r?\n"
    rb"([A-Za-z0-9+/=\r\n]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\r?\n-----END PGP"
)
"""RFC 9580 6.2: headers, an empty line, Base64, a checksum that may be missing."""


class _Words(
    Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
    rename="camel",
):  # fmt: skip
    pass


class Accept(_Words, frozen=True, kw_only=True, tag_field="type", tag="insecureAcceptAnything"):
    """Every image."""


class Reject(_Words, frozen=True, kw_only=True, tag_field="type", tag="reject"):
    """No image."""


class SignedIdentity(_Words, frozen=True, kw_only=True):
    """Which name a signature must claim for an image."""

    type: Literal["matchExact", "matchRepoDigestOrExact", "matchRepository", "exactReference",
                  "exactRepository", "remapIdentity"]  # fmt: skip
    docker_reference: str = ""
    docker_repository: str = ""
    prefix: str = ""
    signed_prefix: str = ""


class SignedBy(_Words, frozen=True, kw_only=True, tag_field="type", tag="signedBy"):
    """An OpenPGP "simple signing" signature by a key of the keyring."""

    key_type: Literal["GPGKeys"]
    key_path: str = ""
    key_paths: tuple[str, ...] = ()
    key_data: str = ""
    signed_identity: SignedIdentity | None = None


class Fulcio(_Words, frozen=True, kw_only=True):
    """A keyless identity: an e-mail address and its issuer, both exactly."""

    ca_path: str = ""
    ca_data: str = ""
    oidc_issuer: str
    subject_email: str


class Pki(_Words, frozen=True, kw_only=True):
    """A certificate of one's own PKI with an e-mail address or a host name in it."""

    ca_roots_path: str = ""
    ca_roots_data: str = ""
    ca_intermediates_path: str = ""
    ca_intermediates_data: str = ""
    subject_hostname: str = ""
    subject_email: str = ""


class SigstoreSigned(_Words, frozen=True, kw_only=True, tag_field="type", tag="sigstoreSigned"):
    """A sigstore signature attached to the image."""

    key_path: str = ""
    key_paths: tuple[str, ...] = ()
    key_data: str = ""
    key_datas: tuple[str, ...] = ()
    fulcio: Fulcio | None = None
    pki: Pki | None = None
    rekor_public_key_path: str = ""
    rekor_public_key_paths: tuple[str, ...] = ()
    rekor_public_key_data: str = ""
    rekor_public_key_datas: tuple[str, ...] = ()
    signed_identity: SignedIdentity | None = None

    @property
    def logged(self) -> bool:
        """Say whether the signature must stand in a log."""
        return bool(self.rekor_public_key_path or self.rekor_public_key_paths
                    or self.rekor_public_key_data or self.rekor_public_key_datas)  # fmt: skip


Requirement: TypeAlias = Accept | Reject | SignedBy | SigstoreSigned
Requirements: TypeAlias = tuple[Requirement, ...]

_SOURCES = {
    SignedBy: ("key_path", "key_paths", "key_data"),
    SigstoreSigned: ("key_path", "key_paths", "key_data", "key_datas", "fulcio", "pki"),
}


class Policy(_Words, frozen=True, kw_only=True):
    """policy.json: requirements by transport and scope, all of which an image must meet."""

    default: Requirements
    transports: dict[str, dict[str, Requirements]] = msgspec.field(default_factory=dict)


def write(policy: Policy) -> bytes:
    """Return the policy as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(policy), indent=4) + b"\n"


def read(data: bytes) -> Policy:
    """Return the policy in JSON (UTF-8).  Raises ``PolicyError``."""
    if len(data) > MAX_OCTETS:
        raise PolicyError("policy.json", f"{len(data)} octets", f"at most {MAX_OCTETS}")
    try:
        words = json.loads(data, object_pairs_hook=once)
        policy = msgspec.convert(words, Policy)
    except (ValueError, RecursionError) as error:
        raise PolicyError("policy.json", str(error)[:200] or "nested too deeply",
                          "a policy", "containers-policy.json(5)") from None  # fmt: skip
    for requirements in (policy.default, *(r for t in policy.transports.values()
                                           for r in t.values())):  # fmt: skip
        _check(requirements)
    return policy


def _check(requirements: Requirements) -> None:
    if not requirements:
        raise PolicyError("policy.json", "no requirement in a scope", "at least one",
                          "containers-policy.json(5)")  # fmt: skip
    for one in requirements:
        sources = _SOURCES.get(type(one), ())
        if sources and sum(bool(getattr(one, source)) for source in sources) != 1:
            raise PolicyError("policy.json", "none or several sources of keys",
                              "one", "containers-policy.json(5)")  # fmt: skip


def keyring(data: bytes) -> bytes:
    """Return an armored OpenPGP keyring in binary; other data as it is.  Raises ``PolicyError``."""
    blocks = ARMOR.findall(data)
    try:
        return b"".join(base64.b64decode(block) for block in blocks) if blocks else data
    except ValueError as error:
        raise PolicyError("keyring", f"broken armor: {error}", "Base64", "RFC 9580 6") from None
