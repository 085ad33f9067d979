"""What was mutated inside and signed again: no surprise, and no acceptance an oracle denies.

``SIGNWARD_FUZZ_SEED`` shifts every seed, ``SIGNWARD_FUZZ_SECONDS`` repeats each test with
further seeds for so long; a failure names family and seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from conformance.authenticode import cms, pe, pki, revocation, tsa
from conformance.authenticode.cases.base import sign_image
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from signward.errors import EvidenceError
from signward.findings import Code
from signward.state import Outcome, Status, TrustedSignature, Verdict
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.fuzz import oracle
from tests.fuzz.budget import rounds, watched
from tests.fuzz.resign import (
    parts_of,
    resealed,
    resigned,
    resigned_cms,
    resigned_ocsp,
    resigned_token,
    seal,
    with_certificate,
    with_unsigned_value,
)
from tests.fuzz.trees import NotDerError, Tree, mutate, node, read
from tests.fuzz.worlds import PREFER, REQUIRE, GivenContext, store, trusted_path, world

IMAGE = pe.image(data=b"fuzzed\0" * 60)
WHEN = pki.instant(2024)
TOKEN_OID = tsa.MS_TIMESTAMP


def answer(blob: bytes, context: GivenContext) -> Verdict:
    """Assess the image with this signature, twice; both answers must be one."""
    source = BytesSource("image.exe", pe.signed(IMAGE, blob))
    with watched():
        verdict = assess(source, context)
    assert verdict == assess(source, context)
    assert verdict.cause is not Code.JUDGE_FAILED
    return verdict


@cache
def plain(kind: str = "trusted") -> bytes:
    """The image's signature in that world: no timestamp, leaf and intermediate embedded."""
    return sign_image(IMAGE, world(kind))


@cache
def stamped(kind: str = "trusted") -> bytes:
    """The same by a leaf that has expired, with a token made in its time."""
    its = world(kind, expired=True)
    return sign_image(IMAGE, its, signer={"unsigned": (tsa.token(its.tsa, at=WHEN),)})


@cache
def lender() -> Tree:
    """Elements to put where they do not belong: a trusted signature with all it holds."""
    crl = revocation.crl(world().intermediate, [revocation.Revoked(serial=5, at=WHEN)])
    answered = revocation.ocsp(world().leaf)
    parts = (stamped(), plain("impostor"), crl, answered, world().root.certificate)
    return node(0x30, *(read(one, wrapped=True) for one in parts))


def open_context() -> GivenContext:
    return GivenContext(store(), pki.NOW)


# --- signed by nobody we trust ----------------------------------------------------

ROLES = ("root", "intermediate", "leaf", "tsa")


def untrusted(rng: random.Random) -> None:
    """An impostor with the trusted world's names signs what it likes: never accepted."""
    its = world("impostor")
    blob, part = plain("impostor"), rng.choice(("content", "attributes", "frame", "certificate"))
    if part == "certificate":
        role = rng.choice(ROLES[1:3])
        old = getattr(its, role)
        signer = rng.choice((its.root, its.intermediate, its.leaf)).key
        new = resigned(rng, old.certificate, signer, lender())
        blob = with_certificate(blob, old.certificate, new)
        part = rng.choice(("content", "attributes"))
    if rng.random() < 0.3:
        blob = _with_extra(blob, [world().leaf.certificate, world().intermediate.certificate])
    if rng.random() < 0.7:
        blob = resigned_cms(rng, blob, its.leaf.key, part)
    assert answer(blob, open_context()).outcome is not Outcome.ACCEPTED


def _with_extra(blob: bytes, certificates: list[bytes]) -> bytes:
    whole = read(blob)
    held = whole.at(1, 0, 3).children
    assert held is not None
    held[:0] = [read(one) for one in certificates]
    return whole.encode()


def untrusted_time(rng: random.Random) -> None:
    """An expired leaf, and tokens by an impostor's TSA: never accepted."""
    its = world("impostor", expired=True)
    blob = stamped()
    value = parts_of(blob).value.content
    token = tsa.token_der(value, its.tsa, at=WHEN)
    if rng.random() < 0.5:
        token = resigned_token(rng, token, its.tsa.key, _token_part(rng))
    if rng.random() < 0.5:
        token = _retargeted(rng, token, its.tsa.certificate, its.root.key)
    assert answer(with_unsigned_value(blob, token), open_context()).outcome is not Outcome.ACCEPTED


def _token_part(rng: random.Random) -> str:
    return rng.choice(("info", "info", "attributes", "frame"))


def _retargeted(rng: random.Random, token: bytes, old: bytes, signer: object) -> bytes:
    new = resigned(rng, old, signer, lender())  # type: ignore[arg-type]
    try:
        return with_certificate(token, old, new)
    except NotDerError:
        return token


# --- signed by its true issuer ----------------------------------------------------


def trusted_certificate(rng: random.Random) -> None:
    """The true issuer signs a mutated leaf or intermediate: an accepted one is fit to sign."""
    its = world()
    role, issuer = rng.choice((("leaf", its.intermediate), ("intermediate", its.root)))
    old = getattr(its, role).certificate
    blob = with_certificate(plain(), old, resigned(rng, old, issuer.key, lender()))
    verdict = answer(_by_key(blob, role), open_context())
    if verdict.outcome is Outcome.ACCEPTED:
        ders = trusted_path(verdict)
        complaint = oracle.path_complaint(ders, its.root.certificate, pki.NOW, Usage.CODE_SIGNING)
        assert complaint == ""


def _by_key(blob: bytes, role: str) -> bytes:
    """Name the signer as its mutated certificate does: else issuer or serial never fit."""
    if role != "leaf":
        return blob
    whole = read(blob)
    try:
        tbs = whole.at(1, 0, 3, 0, 0)
        other = whole.at(1, 0, 3, 1, 0)
        tbs = other if tbs.at(5).encode() == world().intermediate.subject else tbs
        first = 1 if tbs.at(0).tag == 0xA0 else 0
        whole.at(1, 0, -1, 0, 1).children = [tbs.at(first + 2).copy(), tbs.at(first).copy()]
    except NotDerError:
        return blob
    return whole.encode()


def trusted_signature(rng: random.Random) -> None:
    """A true publisher signs odd content or attributes: an accepted one speaks for the image."""
    part = rng.choice(("content", "attributes", "attributes", "frame"))
    blob = resigned_cms(rng, plain(), world().leaf.key, part)
    if answer(blob, open_context()).outcome is Outcome.ACCEPTED:
        assert signature_complaint(blob) == ""


def signature_complaint(blob: bytes) -> str:
    """Say what speaks against the signature of a true publisher, from the bytes alone."""
    whole = read(blob)
    infos = whole.at(1, 0, -1).children or []
    complaints = [_signer_complaint(whole, info) for info in infos]
    return min(complaints, key=len, default="no signer")


def _signer_complaint(whole: Tree, info: Tree) -> str:
    content = whole.at(1, 0, 2, 1, 0)
    spoken = content.at(1, 1).content if content.tag == 0x30 else b""
    if spoken != pe.image_digest(IMAGE):
        return "the content speaks of another image"
    attributes = info.at(3).children or []
    for oid, wanted in (
        (bytes.fromhex("2a864886f70d010903"), bytes.fromhex("060a2b060104018237020104")),
        (
            bytes.fromhex("2a864886f70d010904"),
            b"\x04\x20" + hashlib.sha256(content.inside()).digest(),
        ),
    ):
        values = [
            v.encode() for a in attributes if a.at(0).content == oid for v in a.at(1).children or ()
        ]
        if values != [wanted]:
            return f"attribute {oid.hex()} has {len(values)} values"
    kind = whole.at(1, 0, 2, 0).encode()
    return "" if kind == bytes.fromhex("060a2b060104018237020104") else "content type"


def trusted_time(rng: random.Random) -> None:
    """A true TSA signs odd tokens: one that saves an expired leaf proves its time."""
    its = world(expired=True)
    blob = stamped()
    value = parts_of(blob).value.content
    token = tsa.token_der(value, its.tsa, at=WHEN)
    part = rng.choice(("info", "info", "attributes", "frame", "certificate"))
    tsa_certificate = its.tsa.certificate
    if part == "certificate":
        tsa_certificate = resigned(rng, tsa_certificate, its.root.key, lender())
        token = tsa.token_der(
            value, its.tsa, at=WHEN, ess_certificate=tsa_certificate, certificates=[tsa_certificate]
        )
    else:
        token = resigned_token(rng, token, its.tsa.key, part)
    verdict = answer(with_unsigned_value(blob, token), open_context())
    if verdict.outcome is Outcome.ACCEPTED:
        leaf = world(expired=True).leaf
        assert leaf.certificate
        complaint = oracle.token_complaint(
            token, value, tsa_certificate, pki.instant(2022), pki.instant(2025)
        )
        assert complaint == ""
        path = _time_path(verdict)
        complaint = oracle.path_complaint(path, its.root.certificate, WHEN, Usage.TIME_STAMPING)
        assert complaint == "" or part == "info"


def _time_path(verdict: Verdict) -> tuple[bytes, ...]:
    judged = verdict.signatures[verdict.judged or 0]
    assert isinstance(judged, TrustedSignature)
    assert judged.proven_time is not None
    return judged.proven_time.path.certificates


def countersigned(rng: random.Random) -> None:
    """Mutated PKCS#9 countersignatures by the true or a false TSA."""
    its = world(expired=True)
    false = rng.random() < 0.5
    signer = world("impostor").tsa if false else its.tsa
    parts = parts_of(sign_image(
        IMAGE, its, signer={"unsigned": (tsa.countersignature(its.tsa, at=WHEN),)},
        certificates=[*its.chain, its.tsa.certificate],
    ))  # fmt: skip
    assert parts.unsigned is not None
    info = parts.unsigned.at(0, 1, 0)
    mutate(rng, info.at(3) if rng.random() < 0.8 else info)
    intact = True
    try:
        attributes = Tree(0x31, info.at(3).content, info.at(3).children).encode()
        info.at(5).content = signer.key.sign(attributes)
    except NotDerError:
        intact = False
    verdict = answer(parts.whole.encode(), open_context())
    if verdict.outcome is Outcome.ACCEPTED:
        assert intact
        assert not false
        info = read(info.encode())
        assert countersignature_complaint(info, parts.value.content) == ""


def countersignature_complaint(info: Tree, value: bytes) -> str:
    attributes = {a.at(0).content: a.at(1).children or [] for a in info.at(3).children or ()}
    digests = attributes.get(bytes.fromhex("2a864886f70d010904"), [])
    times = attributes.get(bytes.fromhex("2a864886f70d010905"), [])
    if [d.content for d in digests] != [hashlib.sha256(value).digest()]:
        return "the countersignature speaks of another value"
    inside = len(times) == 1 and times[0].content.decode()[-13:-11] in ("22", "23", "24", "25")
    return "" if inside else "its time is outside the leaf's life"


# --- revocation -------------------------------------------------------------------

_REVOKED = revocation.Revoked(serial=0x1003, at=pki.instant(2024, 6), reason="keyCompromise")


def leaf_status(verdict: Verdict) -> Status | None:
    """What was found about the leaf; None where no path was judged."""
    for signature in verdict.signatures:
        statuses = getattr(signature, "revocation", ())
        if statuses:
            return Status(statuses[0].status)
    return None


def given(policy: object, **evidence: object) -> GivenContext | None:
    """A context with this evidence, or None where its bytes are refused outright."""
    try:
        return GivenContext(store(), pki.NOW, policy=policy, **evidence)  # type: ignore[arg-type]
    except EvidenceError:
        return None


def crl_by_issuer(rng: random.Random) -> None:
    """The issuer signs a mutated CRL that listed the leaf: good only if it lists it no more."""
    its = world()
    crl = resigned(
        rng, revocation.crl(its.intermediate, [_REVOKED]), its.intermediate.key, lender()
    )
    context = given(PREFER, crls=[crl])
    if context and leaf_status(answer(plain(), context)) is Status.GOOD:
        certificate = its.intermediate.certificate
        assert oracle.crl_complaint(crl, its.leaf.serial, certificate, pki.NOW) == ""


def crl_by_stranger(rng: random.Random) -> None:
    """Somebody else signs a CRL in the issuer's name, or breaks a true one: it says nothing."""
    its = world()
    revoked = [_REVOKED] if rng.random() < 0.5 else []
    true = revocation.crl(its.intermediate, revoked)
    signer = rng.choice((world("impostor").intermediate, world("impostor").root, its.leaf, its.tsa))
    crl = (
        resigned(rng, true, signer.key, lender())
        if rng.random() < 0.7
        else resealed(true, signer.key)
    )
    for policy in (PREFER, REQUIRE):
        context = given(policy, crls=[crl])
        if context:
            verdict = answer(_with_extra(plain(), [signer.certificate]), context)
            assert leaf_status(verdict) is Status.UNKNOWN
            assert verdict.outcome is not Outcome.ACCEPTED or policy is PREFER


def ocsp_by_issuer(rng: random.Random) -> None:
    """The issuer's mutated answer *revoked* never reads as good unless it says so."""
    its = world()
    whole = revocation.ocsp(its.leaf, revoked_at=pki.instant(2024, 6), reason="keyCompromise")
    response = resigned_ocsp(rng, whole, its.intermediate.key)
    context = given(PREFER, ocsp=[response])
    if context and leaf_status(answer(plain(), context)) is Status.GOOD:
        assert oracle.ocsp_complaint(response, its.leaf.serial, pki.NOW) == ""


def ocsp_by_stranger(rng: random.Random) -> None:
    """An answer that the issuer did not sign, mutated or not, says nothing."""
    its = world()
    signer = rng.choice((world("impostor").intermediate, its.leaf, its.tsa))
    revoked = pki.instant(2024, 6) if rng.random() < 0.5 else None
    whole = revocation.ocsp(its.leaf, revoked_at=revoked)
    context = given(PREFER, ocsp=[resigned_ocsp(rng, whole, signer.key)])
    if context:
        assert leaf_status(answer(plain(), context)) is Status.UNKNOWN


def embedded_evidence(rng: random.Random) -> None:
    """A signature's own CRLs, mutated, beside a true one given: revoked stays revoked."""
    its = world()
    crl = resigned(rng, revocation.crl(its.intermediate), world("impostor").root.key, lender())
    context = GivenContext(store(), pki.NOW, crls=[revocation.crl(its.intermediate, [_REVOKED])])
    blob = sign_image(IMAGE, its, crls=[crl])
    assert answer(blob, context).outcome is not Outcome.ACCEPTED


Family = Callable[[random.Random], None]


@dataclass(frozen=True)
class Share:
    """A family and how many inputs it gets in a normal run."""

    family: Family
    inputs: int


SHARES = (
    Share(untrusted, 1000), Share(untrusted_time, 800), Share(trusted_certificate, 1400),
    Share(trusted_signature, 1000), Share(trusted_time, 1200), Share(countersigned, 700),
    Share(crl_by_issuer, 700), Share(crl_by_stranger, 400), Share(ocsp_by_issuer, 700),
    Share(ocsp_by_stranger, 400), Share(embedded_evidence, 300),
)  # fmt: skip


@pytest.mark.parametrize("share", SHARES, ids=lambda share: share.family.__name__)
def test_resigned(share: Share) -> None:
    for seed in rounds(share.inputs):
        rng = random.Random(f"{share.family.__name__}:{seed}")
        try:
            share.family(rng)
        except NotDerError:
            continue
        except Exception as error:
            raise AssertionError(f"{share.family.__name__}, seed {seed}: {error!r}") from error


def test_the_unmutated_inputs_are_what_they_should_be() -> None:
    """Every family starts from something accepted (or revoked): else it would test nothing."""
    context = open_context()
    assert answer(plain(), context).outcome is Outcome.ACCEPTED
    assert answer(stamped(), context).outcome is Outcome.ACCEPTED
    assert answer(plain("impostor"), context).outcome is Outcome.REJECTED
    its = world()
    for evidence in (
        {"crls": [revocation.crl(its.intermediate, [_REVOKED])]},
        {"ocsp": [revocation.ocsp(its.leaf, revoked_at=pki.instant(2024, 6))]},
    ):
        context = GivenContext(store(), pki.NOW, **evidence)  # type: ignore[arg-type]
        assert answer(plain(), context).cause is Code.REVOKED
    blob = plain()
    parts = parts_of(blob)
    seal(parts, its.leaf.key)
    assert parts.whole.encode() == blob
    assert signature_complaint(blob) == ""
    assert resealed(its.leaf.certificate, its.intermediate.key) == its.leaf.certificate
    path = [one.certificate for one in its.leaf.path]
    assert oracle.path_complaint(path, its.root.certificate, pki.NOW, Usage.CODE_SIGNING) == ""
    assert oracle.path_complaint(path, its.root.certificate, pki.NOW, Usage.TIME_STAMPING)
    assert cms.NESTED_SIGNATURE
