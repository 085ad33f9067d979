"""Generated PKIs judged by us, by ``cryptography`` and by ``pyhanko-certvalidator``.

One plan, three answers.  Where a peer differs on purpose the difference has a name, a
clause and a predicate on the plan; everything else must agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signward.trust.anchors import store_from_certificates
from signward.trust.path import AT_LEGACY, PathRules, Usage, find_path
from signward.trust.rules import EKU_CODE_SIGNING
from signward.trust.x509 import load_certificate
from signward.wire import der
from tests.builders import pki

pytestmark = pytest.mark.interop

TLS = "1.3.6.1.5.5.7.3.1"
USAGE = Usage(name="code signing", eku=EKU_CODE_SIGNING, eku_required=True)


@dataclass(frozen=True, kw_only=True)
class Authority:
    """What may be odd about one issuing CA."""

    length: int | None
    is_ca: bool
    signs_certificates: bool
    ekus: tuple[str, ...]
    permitted: str
    excluded: str
    expired: bool
    unknown_critical: bool
    forged: bool


@dataclass(frozen=True, kw_only=True)
class Signer:
    """What may be odd about the leaf."""

    host: str
    ekus: tuple[str, ...]
    expired: bool
    unknown_critical: bool
    forged: bool


@dataclass(frozen=True, kw_only=True)
class World:
    """A leaf and its CAs, nearest to the leaf first; the root above them is plain."""

    signer: Signer
    authorities: tuple[Authority, ...]

    def any_authority(self, condition: Callable[[Authority], bool]) -> bool:
        return any(map(condition, self.authorities))


RARELY = st.sampled_from([False] * 9 + [True])
HOSTS = st.sampled_from(["a.test", "www.a.test", "b.test"])
TREES = st.sampled_from(["", "", "", "a.test", "www.a.test", "b.test"])

AUTHORITIES = st.builds(
    Authority,
    length=st.sampled_from([None, None, 0, 1, 2]),
    is_ca=RARELY.map(lambda rare: not rare),
    signs_certificates=RARELY.map(lambda rare: not rare),
    ekus=st.sampled_from([(), (), (), (EKU_CODE_SIGNING, TLS), (TLS,)]),
    permitted=TREES,
    excluded=TREES,
    expired=RARELY,
    unknown_critical=RARELY,
    forged=RARELY,
)
SIGNERS = st.builds(
    Signer,
    host=HOSTS,
    ekus=st.sampled_from([(EKU_CODE_SIGNING,)] * 4 + [(EKU_CODE_SIGNING, TLS), (TLS,), ()]),
    expired=RARELY,
    unknown_critical=RARELY,
    forged=RARELY,
)
WORLDS = st.builds(
    World,
    signer=SIGNERS,
    authorities=st.lists(AUTHORITIES, min_size=0, max_size=3).map(tuple),
)


def authority_extensions(plan: Authority) -> tuple[pki.Extension, ...]:
    usages = ["cRLSign", "keyCertSign"] if plan.signs_certificates and plan.is_ca else ["cRLSign"]
    length = plan.length if plan.is_ca else None
    trees = [
        (pki.general_name(2, tree.encode()),) if tree else ()
        for tree in (plan.permitted, plan.excluded)
    ]
    return (
        pki.basic_constraints(ca=plan.is_ca, length=length),
        pki.key_usage(*usages),
        *((pki.ekus(*plan.ekus),) if plan.ekus else ()),
        *((pki.name_constraints(*trees),) if any(trees) else ()),
        *((("1.2.3.4", True, b"\5\0"),) if plan.unknown_critical else ()),
    )


def signer_extensions(plan: Signer) -> tuple[pki.Extension, ...]:
    return (
        pki.key_usage("digitalSignature"),
        pki.alternative_names(pki.general_name(2, plan.host.encode())),
        *((pki.ekus(*plan.ekus),) if plan.ekus else ()),
        *((("1.2.3.4", True, b"\5\0"),) if plan.unknown_critical else ()),
    )


def certificates(world: World) -> list[bytes]:
    """Return the DER of leaf, CAs and root."""
    names = ["Signer", *(f"CA {n}" for n in range(len(world.authorities))), "Root"]
    parts: list[tuple[Signer | Authority, tuple[pki.Extension, ...]]] = [
        (world.signer, signer_extensions(world.signer)),
        *((a, authority_extensions(a)) for a in world.authorities),
    ]
    made = []
    for number, (part, extensions) in enumerate(parts):
        plan = pki.issue(names[number], names[number + 1], *extensions).but(serial=number + 2)
        if part.expired:
            plan = plan.but(not_after=der.utc_time(pki.START + timedelta(1)))
        if part.forged:
            plan = plan.but(issuer_key=pki.key("forger"))
        made.append(plan.der())
    return [*made, pki.root().der()]


def ours(ders: list[bytes]) -> bool:
    leaf, *pool = [load_certificate(d) for d in ders]
    store = store_from_certificates("peers", [ders[-1]])
    return find_path(leaf, pool, store, pki.MIDDLE, USAGE, AT_LEGACY, PathRules()).trusted


def _is_ca(_: object, __: x509.Certificate, found: x509.BasicConstraints) -> None:
    if not found.ca:
        raise ValueError("no CA")


def _signs_certificates(_: object, __: x509.Certificate, found: x509.KeyUsage) -> None:
    if not found.key_cert_sign:
        raise ValueError("no keyCertSign")


def _signs_code(_: object, __: x509.Certificate, found: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CODE_SIGNING not in found:
        raise ValueError("no code signing")


def _allows_code(_: object, __: x509.Certificate, found: x509.ExtendedKeyUsage | None) -> None:
    if found is not None and ExtendedKeyUsageOID.CODE_SIGNING not in found:
        raise ValueError("no code signing below")


def by_cryptography(ders: list[bytes]) -> bool:
    """Judge with ``cryptography``, its extension policies set to what we ask."""
    either = verification.Criticality.AGNOSTIC
    permit = verification.ExtensionPolicy.permit_all()
    ca = (
        permit.require_present(x509.BasicConstraints, either, _is_ca)
        .require_present(x509.KeyUsage, either, _signs_certificates)
        .may_be_present(x509.ExtendedKeyUsage, either, _allows_code)
    )
    leaf = permit.require_present(x509.ExtendedKeyUsage, either, _signs_code)
    loaded = [x509.load_der_x509_certificate(d) for d in ders]
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([loaded[-1]]))
        .time(pki.MIDDLE)
        .extension_policies(ca_policy=ca, ee_policy=leaf)
        .build_client_verifier()
    )
    try:
        verifier.verify(loaded[0], loaded[1:-1])
    except verification.VerificationError:
        return False
    return True


def by_pyhanko(ders: list[bytes]) -> bool:
    """Judge with ``pyhanko-certvalidator``, without revocation."""
    peer = pytest.importorskip(
        "pyhanko_certvalidator", reason="pyhanko-certvalidator is not installed"
    )
    from asn1crypto.x509 import Certificate
    from pyhanko_certvalidator.errors import PathError, ValidationError

    loaded = [Certificate.load(d) for d in ders]
    context = peer.ValidationContext(
        trust_roots=[loaded[-1]],
        moment=pki.MIDDLE,
        allow_fetching=False,
        revocation_mode="soft-fail",
    )
    validator = peer.CertificateValidator(loaded[0], loaded[1:-1], validation_context=context)
    usage = validator.async_validate_usage(
        key_usage={"digital_signature"}, extended_key_usage={"code_signing"}
    )
    try:
        asyncio.run(usage)
    except (PathError, ValidationError):
        return False
    return True


KNOWN_PYHANKO: dict[str, Callable[[World], bool]] = {
    "a CA's usages do not limit what stands below it there; Windows and we say they do "
    "(RFC 5280 4.2.1.12 leaves it open)": lambda w: w.any_authority(
        lambda a: bool(a.ekus) and EKU_CODE_SIGNING not in a.ekus
    ),
    "a leaf without extended key usage serves any purpose there (RFC 5280 4.2.1.12); code "
    "signing must be named here": lambda w: not w.signer.ekus,
}
"""Accepted by pyhanko-certvalidator, rejected by us."""


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(WORLDS)
def test_cryptography_agrees(world: World) -> None:
    ders = certificates(world)
    assert by_cryptography(ders) is ours(ders)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(WORLDS)
def test_pyhanko_certvalidator_agrees(world: World) -> None:
    ders = certificates(world)
    answer = by_pyhanko(ders)
    if answer != ours(ders):
        assert answer
        assert any(known(world) for known in KNOWN_PYHANKO.values())


PLAIN_CA = Authority(
    length=None,
    is_ca=True,
    signs_certificates=True,
    ekus=(),
    permitted="",
    excluded="",
    expired=False,
    unknown_critical=False,
    forged=False,
)
PLAIN_SIGNER = Signer(
    host="a.test", ekus=(EKU_CODE_SIGNING,), expired=False, unknown_critical=False, forged=False
)


def test_all_three_trust_a_plain_path() -> None:
    ders = certificates(World(signer=PLAIN_SIGNER, authorities=(PLAIN_CA, PLAIN_CA)))
    assert ours(ders)
    assert by_cryptography(ders)
    assert by_pyhanko(ders)
