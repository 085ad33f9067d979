"""The stages between a parsed artifact and its judged signatures."""

from __future__ import annotations

from signward.integrity import check_signature
from signward.state import BrokenSignature, JudgedSignature, Manifest, SignedArtifact, Stage
from signward.trust.judge import judge
from signward.verbs.context import Context


def judge_signatures(
    artifact: SignedArtifact, computed: Manifest, context: Context
) -> tuple[JudgedSignature, ...]:
    """Check every signature's integrity and, if the asked stage needs it, its trust."""
    judged: list[JudgedSignature] = []
    for claimed in artifact.signatures:
        checked = check_signature(artifact, claimed, computed, context.certificates)
        if isinstance(checked, BrokenSignature) or context.policy.stage is Stage.INTACT:
            judged.append(checked)
        else:
            profile = context.profile_for(artifact.facts)
            judged.append(judge(checked, profile, context.grounds(profile)))
    return tuple(judged)
