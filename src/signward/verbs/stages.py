"""The stages between a parsed artifact and its judged signatures."""

from __future__ import annotations

from signward.integrity import check_signature
from signward.policy.evaluate import SignatureRule, strength
from signward.state import (
    BrokenSignature,
    IntactSignature,
    JudgedSignature,
    Manifest,
    SignedArtifact,
    Stage,
)
from signward.trust.judge import judge
from signward.verbs.context import Context


def judge_signatures(
    artifact: SignedArtifact, computed: Manifest, context: Context
) -> tuple[JudgedSignature, ...]:
    """Check every signature's integrity and, where the policy asks for it, its trust.

    Under rule ``best`` only the strongest signatures can decide, and no countersignature,
    so only they are judged; the others stay intact.
    """
    checked = [
        check_signature(artifact, claimed, computed, context.certificates)
        for claimed in artifact.signatures
    ]
    if context.policy.stage is Stage.INTACT:
        return tuple(checked)
    best = context.policy.signatures is SignatureRule.BEST
    makers = [claimed for claimed in artifact.signatures if not claimed.countersigns]
    floor = max(map(strength, makers), default=0) if best else 0
    return tuple(
        signature
        if best and signature.claimed.countersigns
        else _judged(signature, floor, artifact, context)
        for signature in checked
    )


def _judged(
    signature: IntactSignature | BrokenSignature,
    floor: int,
    artifact: SignedArtifact,
    context: Context,
) -> JudgedSignature:
    if isinstance(signature, BrokenSignature) or strength(signature.claimed) < floor:
        return signature
    profile = context.profile_for(artifact)
    if context.online is not None:
        return context.online.judge(signature, profile, context.grounds(profile))
    return judge(signature, profile, context.grounds(profile))
