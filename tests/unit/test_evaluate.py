"""The decision: which of several signatures, which publisher, which stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.authenticode import cms, pe, rpm
from conformance.authenticode.cases.base import sign_image, signed_image
from conformance.authenticode.pki import NOW, Pki, default_pki, make_pki, stranger_pki

from signward.errors import IndeterminateError, RejectedError
from signward.findings import Code
from signward.frozen import replace
from signward.policy.case import Case
from signward.policy.evaluate import evaluate
from signward.policy.settings import Policy, SignatureRule
from signward.state import Accepted, IntactSignature, Outcome, Stage, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, require
from signward.wire.source import BytesSource

STRANGER = stranger_pki()


@pytest.fixture
def options(tmp_path: Path) -> Options:
    anchor = tmp_path / "root.pem"
    anchor.write_bytes(default_pki().root.pem)
    return Options(anchors=(str(anchor),), at=NOW)


def judge(data: bytes, options: Options, **policy: object) -> Verdict:
    changed = replace(options, policy=replace(options.policy, **policy))
    return assess(BytesSource("image.exe", data), Context(changed))


def nested(outer_digest: str, inner_pki: Pki) -> bytes:
    whole = pe.image()
    inner = sign_image(whole, inner_pki)
    outer = sign_image(whole, signer={"digest": outer_digest, "unsigned": (cms.nested(inner),)})
    return pe.signed(whole, outer)


def test_the_strongest_signature_decides(options: Options) -> None:
    verdict = judge(nested("sha1", default_pki()), options)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.judged == 1
    assert isinstance(verdict.signatures[0], IntactSignature)
    assert isinstance(verdict.signatures[1], TrustedSignature)


def test_all_asks_every_signature(options: Options) -> None:
    verdict = judge(nested("sha1", default_pki()), options, signatures=SignatureRule.ALL)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.WEAK_DIGEST)


def test_any_takes_the_one_that_is_trusted(options: Options) -> None:
    data = nested("sha256", STRANGER)
    best = judge(data, options, signatures=SignatureRule.ALL)
    assert best.outcome is Outcome.REJECTED
    assert judge(data, options, signatures=SignatureRule.ANY).outcome is Outcome.ACCEPTED


def test_publisher_must_be_the_one_asked_for(options: Options) -> None:
    data = signed_image()
    name = "Conformance"
    assert judge(data, options, publishers=(name.upper(),)).outcome is Outcome.ACCEPTED
    other = judge(data, options, publishers=("Somebody Else",))
    assert (other.outcome, other.cause) == (Outcome.REJECTED, Code.PUBLISHER_MISMATCH)
    prefix = judge(data, options, publishers=("Conform",))
    assert prefix.cause is Code.PUBLISHER_MISMATCH


def test_stage_intact_asks_nobody_whom_to_trust(options: Options) -> None:
    data = signed_image(pki=STRANGER)
    assert judge(data, options).outcome is Outcome.REJECTED
    intact = judge(data, options, stage=Stage.INTACT)
    assert (intact.outcome, intact.stage, intact.publisher) == (Outcome.ACCEPTED, "intact", None)
    trusted = judge(signed_image(), options, stage=Stage.TRUSTED, publishers=("Somebody Else",))
    assert trusted.outcome is Outcome.ACCEPTED


def test_a_verdict_is_no_boolean(options: Options) -> None:
    with pytest.raises(TypeError, match="three outcomes"):
        bool(judge(signed_image(), options))


def test_verify_raises_what_assess_explains(options: Options) -> None:
    assert isinstance(require(judge(signed_image(), options)), Accepted)
    rejected = judge(pe.image(), options)
    with pytest.raises(RejectedError) as caught:
        require(rejected)
    assert caught.value.verdict is rejected
    unjudged = assess(BytesSource("a", rpm.delta()), Context(options))
    assert unjudged.cause is Code.UNSUPPORTED_KIND
    with pytest.raises(IndeterminateError):
        require(unjudged)


def test_subscriber_eku_makes_two_leaves_one_publisher(options: Options, tmp_path: Path) -> None:
    """Azure Artifact Signing renews leaves every three days; the subscriber's EKU stays."""
    ekus = ("1.3.6.1.5.5.7.3.3", "1.3.6.1.4.1.311.97.1.0",
            "1.3.6.1.4.1.311.97.990309390.766961637.194916062.941502583")  # fmt: skip
    identities = set()
    for name in ("Leaf of Monday", "Leaf of Thursday"):
        pki = make_pki(leaf={"common_name": name, "ekus": ekus})
        anchor = tmp_path / "own.pem"
        anchor.write_bytes(pki.root.pem)
        verdict = judge(signed_image(pki=pki), replace(options, anchors=(str(anchor),)))
        assert verdict.publisher
        assert verdict.publisher.subscriber_eku == ekus[2]
        identities.add(verdict.publisher.identity.partition("@")[0])
    assert identities == {f"eku:{ekus[2]}"}


def test_policy_default_is_strict() -> None:
    policy = Policy()
    assert policy.stage is Stage.ACCEPTED
    assert policy.signatures is SignatureRule.BEST
    assert policy.trust.revocation == "prefer"


@pytest.mark.parametrize("rule", SignatureRule)
def test_countersignatures_alone_sign_nothing(rule: SignatureRule, options: Options) -> None:
    """Integrity refuses them before; what decides does not lean on that."""
    one = judge(signed_image(), options).signatures[0]
    assert isinstance(one, TrustedSignature)
    claimed = replace(one.intact.claimed, countersigns="1")
    counter = replace(one, intact=replace(one.intact, claimed=claimed))
    case = Case(subject="a", format="pe", judged=(counter, counter), findings=(), at=NOW)
    verdict = evaluate(case, Policy(signatures=rule))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNSIGNED)
