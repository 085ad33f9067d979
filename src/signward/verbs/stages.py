"""The stages between a parsed artifact and its judged signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from signward.findings import Code, Effect, Finding
from signward.formats import all_formats
from signward.frozen import replace
from signward.integrity import (
    check_listed,
    check_regions,
    check_seals,
    check_signature,
    wanted_slots,
)
from signward.policy.evaluate import strangers, strength, unsigned
from signward.policy.settings import SignatureRule
from signward.state import (
    BrokenSignature,
    IntactSignature,
    JudgedSignature,
    Manifest,
    OwnRequirement,
    SignedArtifact,
    Stage,
    UntrustedSignature,
    path_of,
)
from signward.trust.judge import Grounds, judge
from signward.trust.profiles import Profile
from signward.trust.x509 import load_certificate
from signward.verbs.context import Context
from signward.verbs.tickets import ticket_findings

PARTS = ("page:", "file:", "part:", "link:", "special:")
"""How slots are named of which a file may have thousands: none of them speaks for the whole."""


def is_part(slot: str) -> bool:
    """Say whether a slot is one of many parts; that of one slice has the slice before its name."""
    return slot.startswith(PARTS) or slot.partition("/")[2].startswith(PARTS)


def judge_signatures(
    artifact: SignedArtifact, computed: Manifest, context: Context
) -> tuple[JudgedSignature, ...]:
    """Check every signature's integrity and, where the policy asks for it, its trust.

    Under rule ``best`` only the strongest signatures can decide, and no countersignature,
    so only they are judged; the others stay intact, but where rules ask for several signers.
    """
    if not artifact.signatures:
        return ()
    profile = context.profile_for(artifact)
    certificates, keys = context.certificates_for(profile), context.keys_for(profile)
    checked = [
        check_signature(artifact, claimed, computed, certificates, keys)
        for claimed in artifact.signatures
    ]
    if context.policy.stage is Stage.INTACT:
        return tuple(checked)
    several = "several" in context.asked
    best = context.policy.signatures is SignatureRule.BEST and not several and not artifact.every
    # As they were checked: some say only then how they were made.
    aside = strangers(checked)
    makers = [one.claimed for number, one in enumerate(checked)
              if number not in aside and not one.claimed.countersigns]  # fmt: skip
    weighed = best and artifact.profile != "sigstore"  # there whoever is asked for counts
    floor = max(map(strength, makers), default=0) if weighed else 0
    grounds = _grounds(artifact, context)
    return tuple(
        signature
        if best and signature.claimed.countersigns
        else _judged(signature, floor, profile, grounds, context)
        for signature in checked
    )


def _grounds(artifact: SignedArtifact, context: Context) -> Grounds:
    """Return what an artifact's signatures are judged on; a ticket of Apple's own is part of it."""
    grounds = context.grounds(context.profile_for(artifact))
    odd = any(finding.code is Code.TICKET for finding in artifact.findings)
    if artifact.ticket is None or odd or any(ticket_findings(artifact, context)):
        return grounds
    return replace(grounds, notarized=True)


def judged_all(
    artifact: SignedArtifact, judged: Sequence[JudgedSignature], context: Context
) -> Iterator[JudgedSignature]:
    """Yield the signatures, judged too that were not asked for as they cannot decide.

    Whoever is denied is denied beside a stronger signature of somebody else's as well.  Who
    countersigned is no signer of the file.
    """
    profile, grounds = context.profile_for(artifact), _grounds(artifact, context)
    for signature in judged:
        if isinstance(signature, IntactSignature) and not signature.claimed.countersigns:
            yield judge(signature, profile, grounds)
        else:
            yield signature


def nested_findings(artifact: SignedArtifact, context: Context) -> Iterator[Finding]:
    """Report nested artifacts without a signature, or with one that is not intact."""
    forms = {form.name: form for form in all_formats()}
    for name, inner in artifact.nested.items():
        computed = forms[inner.format].digests(inner, wanted_slots(inner))
        if not inner.signatures and not inner.seals:
            yield unsigned(name)
        certificates = context.certificates_for(context.profile_for(inner))
        for claimed in inner.signatures:
            checked = check_signature(inner, claimed, computed, certificates)
            if isinstance(checked, BrokenSignature):
                yield from (replace(f, subject=f"{name}, {f.subject}") for f in checked.findings)
            elif name in artifact.demands:
                yield from _unmet(name, artifact.demands[name], checked, inner, context)
        own = (*_seals(name, artifact, inner, computed), *inner.findings,
               *check_listed(inner, computed), *check_regions(inner),
               *ticket_findings(inner, context), *nested_findings(inner, context))  # fmt: skip
        yield from (replace(f, subject=f"{name}, {f.subject}") for f in own)


def _unmet(
    name: str,
    demand: OwnRequirement,
    intact: IntactSignature,
    inner: SignedArtifact,
    context: Context,
) -> Iterator[Finding]:
    """Report nested code whose signer is not trusted, or not whom the list around it asks for."""
    if context.policy.stage is Stage.INTACT:
        return
    from signward.trust.requirement import check_own  # for bundles only

    profile = context.profile_for(inner)
    judged = judge(intact, profile, context.grounds(profile))
    if isinstance(judged, UntrustedSignature):
        wrong = (f for f in judged.findings if f.effect in (Effect.REJECT, Effect.UNKNOWN))
        yield from (replace(finding, subject=f"{name}, {finding.subject}") for finding in wrong)
    basis = path_of(judged.basis)
    path = [load_certificate(one) for one in basis.certificates] if basis else []
    for finding in check_own(demand, intact.claimed.label, path):
        met = "does not" if finding.effect is Effect.REJECT else "may not"
        yield replace(
            finding,
            # What nobody could judge may be somebody else's code.
            effect=Effect.REJECT if finding.effect is Effect.REJECT else Effect.UNKNOWN,
            subject=f"{name}, {finding.subject}",
            found=f"code that {met} meet what the list around it asks",
        )


def _seals(
    name: str, artifact: SignedArtifact, inner: SignedArtifact, computed: Manifest
) -> Iterator[Finding]:
    """Report seals; code whose hash the outer list gives needs no signer of its own."""
    for finding in check_seals(inner, computed):
        if finding.code is not Code.AD_HOC or name not in artifact.vouched:
            yield finding


def _judged(
    signature: IntactSignature | BrokenSignature,
    floor: int,
    profile: Profile,
    grounds: Grounds,
    context: Context,
) -> JudgedSignature:
    if isinstance(signature, BrokenSignature) or strength(signature.claimed) < floor:
        return signature
    if context.online is not None:
        return context.online.judge(signature, profile, grounds)
    return judge(signature, profile, grounds)
