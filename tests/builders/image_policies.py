"""Rule sets for container images: keys, authorities and what is written in few words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    Mode,
    OriginMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.subject import Origin, Signer, Subject
from tests.builders.policies import rule_set

APP = "registry.example/team/app"
DIGEST = "sha256:" + hashlib.sha256(b"manifest").hexdigest()


@cache
def private_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return a key of P-256; the same for the same name within a run."""
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key in PEM."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def allow(rule_id: str, name: str = "", **conditions: object) -> Rule:
    """Return a rule that lets images in; ``key`` is short for a publisher's."""
    return rule(rule_id, Action.ALLOW, name, **conditions)


def deny(rule_id: str, name: str = "", **conditions: object) -> Rule:
    """Return a rule that rejects images."""
    return rule(rule_id, Action.DENY, name, **conditions)


def rule(rule_id: str, action: Action, name: str = "", **conditions: object) -> Rule:
    """Return a rule for images called ``name``."""
    key = conditions.pop("key", None)
    if key:
        conditions["publisher"] = PublisherMatch(key=str(key))
    if name:
        conditions["origin"] = OriginMatch(kind="oci", name=name)
    return Rule(id=rule_id, action=action, kind=("image",), **conditions)  # type: ignore[arg-type]


def image_rule_set(
    *rules: Rule,
    keys: Mapping[str, bytes] | None = None,
    mode: Mode = Mode.ENFORCE,
    requirements: Requirements | None = None,
) -> RuleSet:
    """Return a rule set whose [keys] also hold the public keys ``one``, ``two``, ``three``."""
    from msgspec.structs import replace

    plain = rule_set(*rules, mode=mode, requirements=requirements)
    more = {name: public_pem(private_key(name)) for name in ("one", "two", "three")}
    found = {**more, **(keys or {})}
    read = {name: material(name, data) for name, data in found.items()}
    return replace(plain, keys={**plain.keys, **read})


def image(name: str = APP, *signed_by: str, digest: str = DIGEST) -> Subject:
    """Return an image signed with these keys."""
    return Subject(
        path=name, kind="oci-image", file_class="image", digests=frozenset({f"oci:{digest}"}),
        signers=tuple(Signer(key=spki(key)) for key in signed_by),
        origins=(Origin(kind="oci", name=name),),
    )  # fmt: skip


def keyless(identity: str, issuer: str, name: str = APP) -> Subject:
    """Return an image signed without a key."""
    signer = Signer(keyless_identity=identity, keyless_issuer=issuer, logged=True)
    return Subject(path=name, kind="oci-image", file_class="image", signers=(signer,),
                   origins=(Origin(kind="oci", name=name),))  # fmt: skip


def spki(name: str) -> str:
    """Return the SHA-256 of the named key's SubjectPublicKeyInfo."""
    octets = (
        private_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return hashlib.sha256(octets).hexdigest()


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
