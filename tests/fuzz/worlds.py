"""Test PKIs whose keys and signatures are functions of their names, and contexts for them.

Fuzzing wants the same bytes in every process: keys are derived from a name, ECDSA is
RFC 6979's, serial numbers are given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from conformance.authenticode import pki
from conformance.authenticode.keys import Key
from conformance.authenticode.pki import Identity, Pki
from cryptography.hazmat.primitives.asymmetric import ec

from signward.policy.settings import Policy
from signward.state import Verdict
from signward.trust.anchors import TrustStore, store_from_certificates
from signward.trust.profiles import Profile
from signward.trust.revocation import Evidence
from signward.trust.settings import RevocationMode, TrustPolicy
from signward.verbs.context import Context
from signward.verbs.options import Options

REQUIRE = Policy(trust=TrustPolicy(revocation=RevocationMode.REQUIRE))
PREFER = Policy()


@dataclass(frozen=True)
class _Derived:
    """A P-256 private key that signs the same bytes the same way (RFC 6979)."""

    inner: ec.EllipticCurvePrivateKey

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.inner.public_key()

    def sign(self, data: bytes, scheme: ec.ECDSA) -> bytes:
        return self.inner.sign(data, ec.ECDSA(scheme.algorithm, deterministic_signing=True))


@cache
def derived_key(name: str) -> Key:
    """Return the P-256 key that belongs to ``name``."""
    scalar = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
    return Key(
        kind="p256", role=name, private=_Derived(ec.derive_private_key(scalar, ec.SECP256R1()))
    )


@cache
def world(kind: str = "trusted", *, expired: bool = False) -> Pki:
    """Return a PKI: ``trusted``, or an ``impostor`` with its names and other keys.

    ``expired`` gives the leaf a life of 2022 to 2025, so that only a time proves it good.
    """
    life = {"not_before": pki.instant(2022), "not_after": pki.instant(2025)} if expired else {}

    def role(number: int, **more: Any) -> dict[str, Any]:
        return {"subject_key": derived_key(f"{kind} {number}"), "serial": 0x1000 + number, **more}

    return pki.make_pki(root=role(1), intermediate=role(2), leaf=role(3, **life), tsa=role(4))


@cache
def store(kind: str = "trusted") -> TrustStore:
    """Return the store with that world's root."""
    return store_from_certificates("fuzz", [world(kind).root.certificate])


class GivenContext(Context):
    """A context whose store and evidence are handed to it instead of read from files."""

    def __init__(
        self,
        anchors: TrustStore,
        at: datetime,
        *,
        policy: Policy = PREFER,
        crls: Sequence[bytes] = (),
        ocsp: Sequence[bytes] = (),
        catalogs: Sequence[str] = (),
    ) -> None:
        super().__init__(Options(at=at, policy=policy, catalogs=tuple(catalogs)))
        self._given = anchors
        self.__dict__["evidence"] = Evidence(crls=crls, ocsp=ocsp)

    def store(self, profile: Profile) -> TrustStore:
        return self._given


def trusted_path(verdict: Verdict) -> tuple[bytes, ...]:
    """Return the certificates (DER, leaf first) of the signature that decided."""
    assert verdict.judged is not None
    basis = getattr(verdict.signatures[verdict.judged], "basis", None)
    return tuple(basis.certificates) if basis else ()


def with_key(identity: Identity, certificate: bytes) -> Identity:
    """Return the identity with another certificate over the same key."""
    return Identity(
        name=identity.name,
        certificate=certificate,
        subject=identity.subject,
        serial=identity.serial,
        key=identity.key,
        issuer=identity.issuer,
    )
