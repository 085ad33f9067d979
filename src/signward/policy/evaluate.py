"""The one decision: what a set of judged signatures is worth under a policy.

Everything before this module states facts; here they become an outcome.  The rule
language has its place in this folder; until then the built-in strict policy and the
switches of ``verify`` are the whole policy.

Order (first that applies):

1. a finding about the artifact itself (malformed, uncovered content) decides; only at
   stage *intact* several signature entries do not, each being judged for itself;
2. no signature at all, or none but countersignatures: REJECTED, ``unsigned`` - unless a
   trusted catalog vouches;
3. every signature must be intact (rule ``any`` asks it of one only, unless each is over
   code of its own; one of a key that nobody gave says nothing beside one that is intact, where
   keys are given and not embedded);
4. the asked stage: the strongest signature (rule ``best``; an attestation by whom the
   caller named before others', and never a countersignature, which says who received the file,
   not who made it), every one (``all``), or one of them (``any``) must be trusted;
5. stage *accepted*: its publisher must be one of those asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from signward.findings import Code, Effect, Finding, worst
from signward.frozen import replace
from signward.policy.case import Case
from signward.policy.publisher import publisher_of
from signward.policy.settings import Policy, SignatureRule
from signward.state import (
    BrokenSignature,
    ClaimedSignature,
    IntactSignature,
    JudgedSignature,
    KeylessIdentity,
    Outcome,
    Publisher,
    Stage,
    TrustedSignature,
    Verdict,
)
from signward.wire.algorithms import SHA256_160

_STRENGTH = ("md2", "md5", "sha1", SHA256_160, "sha224", "sha3_224", "sha256", "sha3_256",
             "sha384", "sha3_384", "sha512", "sha3_512")  # fmt: skip

BY_KEYRING = frozenset({"openpgp", "sigstore"})
"""Envelopes that several may sign, each by a key that verifiers were given beforehand."""


def evaluate(case: Case, policy: Policy) -> Verdict:
    """Decide ``case`` under ``policy``."""
    case = case.at_stage(policy.stage)
    if worst(case.findings) in (Effect.REJECT, Effect.UNKNOWN):
        return _verdict(case, policy, "artifact", case.findings, None)
    makers = [i for i, s in enumerate(case.judged) if not claimed_of(s).countersigns]
    if not makers:
        return _verdict(case, policy, "signed", (*case.findings, unsigned(case.subject)), None)
    if policy.signatures is SignatureRule.ANY and not case.every:
        chosen = max(range(len(case.judged)), key=lambda i: _merit(case.judged[i], i))
        return _decide(case, policy, [chosen])
    aside = frozenset[int]()
    if policy.signatures is SignatureRule.BEST and not case.every:
        aside = strangers(case.judged)
    broken = [i for i, s in enumerate(case.judged)
              if isinstance(s, BrokenSignature) and i not in aside]  # fmt: skip
    if broken:
        return _verdict(
            case, policy, "every-signature-intact", _broken_findings(case, broken), broken[0]
        )
    if policy.signatures is SignatureRule.ALL or case.every:
        return _decide(case, policy, range(len(case.judged)))
    chosen = max(
        (i for i in makers if i not in aside),
        key=lambda i: (_asked_for(case.judged[i], policy), _rank(case.judged[i], i)),
    )
    return _decide(case, policy, [chosen])


def strangers(signatures: Sequence[JudgedSignature]) -> frozenset[int]:
    """Return which signatures are of keys that nobody gave, beside one that is intact.

    Only where keys come from keyrings: whoever asks gives those of the signers he knows, and
    anybody may have signed too (an archive's lists bear the signatures of its old key and its
    new one).  Without an intact one the answer is that a key is missing.
    """
    found = frozenset(i for i, one in enumerate(signatures) if _of_no_key(one))
    makers = (i for i, one in enumerate(signatures) if not claimed_of(one).countersigns)
    known = any(not isinstance(signatures[i], BrokenSignature) for i in makers)
    return found if known else frozenset()


def _of_no_key(signature: JudgedSignature) -> bool:
    if not isinstance(signature, BrokenSignature) or signature.claimed.envelope not in BY_KEYRING:
        return False
    grave = {f.code for f in signature.findings if f.effect in (Effect.REJECT, Effect.UNKNOWN)}
    return grave == {Code.KEY_MISSING}


def unsigned(subject: str) -> Finding:
    """Return the finding for an artifact without any signature."""
    return Finding(
        code=Code.UNSIGNED,
        effect=Effect.REJECT,
        subject=subject,
        found="no signature",
        required="one",
        hint="an unsigned file may still be vouched for by a catalog: --catalog DIR",
    )


def with_remarks(
    verdict: Verdict, findings: tuple[Finding, ...], facts: Mapping[str, str | int]
) -> Verdict:
    """Return a verdict with further findings, which do not decide, and facts it had not."""
    if worst(findings) not in (Effect.NOTE, Effect.WARN):
        raise ValueError("a remark that would decide")
    told = {**facts, **verdict.facts}
    return replace(verdict, findings=(*verdict.findings, *findings), facts=told)


def _decide(case: Case, policy: Policy, indexes: Iterable[int]) -> Verdict:
    """Judge the signatures at ``indexes``; the others' findings stay as notes."""
    chosen = list(indexes)
    findings = list(case.findings)
    publisher: Publisher | None = None
    for index in chosen:
        signature = case.judged[index]
        findings += signature.findings
        if isinstance(signature, TrustedSignature):
            publisher = publisher or publisher_of(signature)
        elif isinstance(signature, IntactSignature) and policy.stage is not Stage.INTACT:
            raise AssertionError(f"{signature.claimed.label} decides, and nobody judged it")
    for index, signature in enumerate(case.judged):
        if index not in chosen:
            findings += _as_notes(signature.findings)
    if policy.stage is Stage.ACCEPTED and policy.publishers and publisher:
        findings += _publisher_findings(publisher, policy.publishers)
    if policy.stage is Stage.ACCEPTED:
        for index in chosen:
            findings += _identity_findings(case.judged[index], policy)
    rule = case.vouched or f"{policy.stage}/{policy.signatures}"
    return _verdict(case, policy, rule, tuple(findings), chosen[0], publisher)


def _verdict(
    case: Case,
    policy: Policy,
    rule: str,
    findings: Sequence[Finding],
    judged: int | None,
    publisher: Publisher | None = None,
) -> Verdict:
    effect = worst(list(findings))
    deciding = [f for f in findings if f.effect is effect]
    outcome = {Effect.REJECT: Outcome.REJECTED, Effect.UNKNOWN: Outcome.INDETERMINATE}.get(
        effect, Outcome.ACCEPTED
    )
    return Verdict(
        subject=case.subject,
        format=case.format,
        stage=policy.stage,
        outcome=outcome,
        cause=None if outcome is Outcome.ACCEPTED else deciding[0].code,
        rule=rule,
        at=case.at,
        signatures=case.judged,
        judged=judged,
        publisher=publisher,
        findings=tuple(findings),
        digests=case.digests,
        facts=case.facts,
    )


def claimed_of(signature: JudgedSignature) -> ClaimedSignature:
    """Return the claim that a judgement is about."""
    if isinstance(signature, BrokenSignature | IntactSignature):
        return signature.claimed
    return signature.intact.claimed


def strength(claimed: ClaimedSignature) -> int:
    """Return how strong a signature's content digest is, for comparing signatures."""
    digest = claimed.slots[0].algorithm if claimed.slots else claimed.algorithm.digest
    return _STRENGTH.index(digest) if digest in _STRENGTH else len(_STRENGTH)


def _rank(signature: JudgedSignature, index: int) -> tuple[int, bool, int]:
    """Order by digest strength; among equals a trusted one, then the first."""
    return strength(claimed_of(signature)), isinstance(signature, TrustedSignature), -index


def _asked_for(signature: JudgedSignature, policy: Policy) -> bool:
    """Say whether an attestation is by whom the caller named, in whatever way.

    Lists of attestations have the registry's signature beside the publisher's, or several
    publishers'; whoever asks for one of them is not told of another.
    """
    if not isinstance(signature, TrustedSignature) or claimed_of(signature).envelope != "sigstore":
        return False
    return not _identity_findings(signature, policy)


def _merit(signature: JudgedSignature, index: int) -> tuple[bool, bool, tuple[int, bool, int]]:
    """Order for rule ``any``: trusted before intact before broken, then by rank."""
    broken = isinstance(signature, BrokenSignature)
    return isinstance(signature, TrustedSignature), not broken, _rank(signature, index)


def _broken_findings(case: Case, broken: Sequence[int]) -> tuple[Finding, ...]:
    findings = list(case.findings)
    for index, signature in enumerate(case.judged):
        findings += signature.findings if index in broken else _as_notes(signature.findings)
    return tuple(findings)


def _as_notes(findings: Iterable[Finding]) -> Iterable[Finding]:
    """Return findings about a signature that does not decide."""
    return (f if f.effect is Effect.NOTE else f.with_effect(Effect.NOTE) for f in findings)


def _identity_findings(signature: JudgedSignature, policy: Policy) -> list[Finding]:
    """Ask that a keyless signer is the one wanted: anybody at all can get such a certificate."""
    if not isinstance(signature, TrustedSignature):
        return []
    basis, wanted = signature.basis, bool(policy.identity or policy.issuer)
    if isinstance(basis, KeylessIdentity):
        fits = (basis.identity, basis.issuer) == (policy.identity, policy.issuer)
        if fits or (policy.publishers and not wanted):
            return []
    elif not wanted:
        return []
    asked = f"{policy.identity} ({policy.issuer})" if wanted else "an identity that is asked for"
    return [
        Finding(
            code=Code.PUBLISHER_MISMATCH,
            effect=Effect.REJECT,
            subject="identity",
            found=publisher_of(signature).name,
            required=asked,
            clause="policy identity",
            hint=""
            if wanted
            else "anybody can sign in and sign: name who it must be with "
            "--identity and --identity-issuer",
        )
    ]


def _is_keyless(publisher: Publisher) -> bool:
    return publisher.identity.startswith("keyless:")


def _publisher_findings(publisher: Publisher, wanted: Sequence[str]) -> list[Finding]:
    names = {publisher.name, publisher.identity, publisher.subject, *publisher.names}
    if not names.isdisjoint(wanted):
        return []
    # Branches and accounts that differ in case alone are others' (`KeylessIdentity`).
    folded = set() if _is_keyless(publisher) else {name.casefold() for name in names}
    if any(name.casefold() in folded for name in wanted):
        return []
    return [
        Finding(
            code=Code.PUBLISHER_MISMATCH,
            effect=Effect.REJECT,
            subject="publisher",
            found=publisher.name,
            required=" or ".join(wanted),
            clause="policy publishers",
        )
    ]
