"""Judging an intact signature: proven time, path, usage, revocation - in that order.

The steps are those of docs/architecture.md, "Profiles, time and revocation".  Pure functions of
evidence and an instant: no clock, no files, no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding, worst
from signward.frozen import Frozen, replace
from signward.state import (
    IntactSignature,
    IntactTimestamp,
    ProvenTime,
    RevocationStatus,
    Status,
    TrustedSignature,
    UntrustedSignature,
    X509Path,
)
from signward.trust.anchors import TrustStore
from signward.trust.apple import check_signer, is_apple
from signward.trust.kernel import check_driver, generation, with_cross_certificates
from signward.trust.lineage import lineage_path
from signward.trust.path import PathResult, find_path
from signward.trust.profiles import AUTHENTICODE, LIFETIME_SIGNING, Profile
from signward.trust.revocation import Evidence, effective_date, revocation_status
from signward.trust.rules import (
    AT_LEGACY,
    DEFAULT_RULES,
    STRICT,
    STRICT_TIME_STAMPING,
    TIME_STAMPING,
    AlgorithmPolicy,
    PathRules,
    Usage,
)
from signward.trust.settings import RevocationMode, TrustPolicy
from signward.trust.x509 import Certificate, load_certificate

if TYPE_CHECKING:
    from signward.envelopes.krl import Withdrawn
    from signward.trust.sigstore_root import TrustedRoot

_HARMLESS_TSA_REASONS = frozenset(
    {"unspecified", "affiliationChanged", "superseded", "cessationOfOperation"}
)
"""Reasons, when given, that leave a TSA's earlier tokens good (RFC 3161 4)."""

_COMPROMISE = frozenset({"keyCompromise", "cACompromise", "aACompromise"})

_NO_KEYS: Mapping[bytes, str] = MappingProxyType({})

MAX_POOL = 512
"""Certificates considered for one path; a signature embeds a handful."""


class Grounds(Frozen, frozen=True, kw_only=True):
    """What a judgement rests on: anchors, further certificates, evidence, an instant.

    ``notes`` tell of evidence that was sought in vain; they never change an outcome.
    ``tsa_store`` holds the anchors of timestamp authorities where those are others.
    ``notarized`` says that Apple's own ticket for the code is at hand.
    ``keyring`` names, by the octets of what holds a key, the caller's file it was in.
    ``revoked`` are the SSH keys and certificates that the caller's lists withdraw, if any do;
    ``sigstore`` is the trust root that keyless signatures are judged by.
    """

    store: TrustStore
    pool: tuple[Certificate, ...]
    evidence: Evidence
    at: datetime
    policy: TrustPolicy
    notes: tuple[Finding, ...] = ()
    tsa_store: TrustStore | None = None
    notarized: bool = False
    keyring: Mapping[bytes, str] = _NO_KEYS
    revoked: Withdrawn | None = None
    sigstore: TrustedRoot | None = None


def judge(
    intact: IntactSignature, profile: Profile, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge ``intact`` by ``profile``; the result says which, with every finding."""
    if profile.keys:
        # Few runs see such a signature: nobody else need wait for the reader of them.
        from signward.trust.keyring import judge_key

        return judge_key(intact, profile, grounds)
    if profile.keyless:
        from signward.trust.sigstore import judge_sigstore

        return judge_sigstore(intact, grounds)
    claimed = intact.claimed
    grounds = with_embedded(intact, grounds)
    if profile.kernel:
        store = with_cross_certificates(grounds.store, grounds.pool)
        grounds = replace(grounds, store=store)
    findings = list(intact.findings)
    proven, tsa_status, notes = (
        _prove_time(intact, profile, grounds) if profile.timestamps else (None, (), [])
    )
    findings += notes
    at = proven.instant if proven else grounds.at
    algorithms = _algorithms(grounds.policy, proven.instant if proven else None)
    if profile.lineage:
        result = lineage_path(intact, grounds.store, at, profile, algorithms)
    else:
        result = _path(intact.key.holder, grounds, at, profile.usage, algorithms, profile.rules)
    apples = result.anchor is not None and is_apple(result.anchor.certificate)
    tolerated = {"sha1"} if profile.lineage or (profile.sha1_content and apples) else set()
    findings += _weak_digests(intact, algorithms, tolerated)
    findings += result.findings
    statuses: tuple[RevocationStatus, ...] = ()
    if result.path and result.anchor:
        findings += _after_expiry(result.path[0], proven, claimed.label)
        findings += _lifetime(result.path[0], proven, grounds.at)
        if profile.kernel:
            asked = generation(grounds.policy.windows_generation)
            findings += check_driver(result.path[0], result.anchor, asked)
        if profile.apple:
            anchor = result.anchor.certificate
            findings += check_signer(result.path, anchor, profile.apple, claimed.claimed_team)
            findings += _foreign_clock(claimed.label, anchor, proven)
        if claimed.own_requirement is not None:
            # Only Apple's signatures have one: nobody else need wait for the reader of them.
            from signward.trust.requirement import check_own

            findings += check_own(
                claimed.own_requirement, claimed.label, result.path, notarized=grounds.notarized
            )
        if profile.revocation:
            statuses = _statuses(result, grounds, at)
            findings += _revocation_findings(result, statuses, proven, grounds)
            findings += tsa_status
    findings += grounds.notes
    basis = _basis(result)
    accepted = basis is not None and worst(findings) in (Effect.NOTE, Effect.WARN)
    if accepted and basis is not None:
        return TrustedSignature(
            intact=intact,
            basis=basis,
            judged_at=at,
            proven_time=proven,
            revocation=statuses,
            findings=tuple(findings),
        )
    return UntrustedSignature(
        intact=intact,
        basis=basis,
        judged_at=at,
        proven_time=proven,
        revocation=statuses,
        findings=tuple(findings),
    )


def proven_time(intact: IntactSignature, grounds: Grounds) -> datetime | None:
    """Return the earliest instant that a trusted authority vouches for, whatever the profile."""
    proven, _, _ = _prove_time(intact, AUTHENTICODE, with_embedded(intact, grounds))
    return proven.instant if proven else None


def with_embedded(intact: IntactSignature, grounds: Grounds) -> Grounds:
    """Return ``grounds`` with what the signature itself carries added to them."""
    embedded = list(_readable(intact.claimed.claimed_certificates))
    crls, ocsp = list(intact.claimed.claimed_crls), list(intact.claimed.claimed_ocsp)
    for timestamp in intact.timestamps:
        embedded += _readable(timestamp.signature.claimed.claimed_certificates)
        crls += timestamp.signature.claimed.claimed_crls
        ocsp += timestamp.signature.claimed.claimed_ocsp
    pool = tuple(dict.fromkeys((*embedded, *grounds.pool)))[:MAX_POOL]
    evidence = grounds.evidence
    if crls or ocsp:
        evidence = evidence.extended(crls=crls, ocsp=ocsp)
    return replace(grounds, pool=pool, evidence=evidence)


def _readable(certificates: Sequence[bytes]) -> Iterator[Certificate]:
    for certificate in certificates:
        try:
            yield load_certificate(certificate)
        except BadInputError:
            continue  # an unreadable extra certificate can be on nobody's path


def _algorithms(policy: TrustPolicy, proven: datetime | None) -> AlgorithmPolicy:
    """SHA-1 counts only under a time proven before the cut-off."""
    return AT_LEGACY if proven is not None and proven < policy.sha1_cutoff else STRICT


def _weak_digests(
    intact: IntactSignature, algorithms: AlgorithmPolicy, tolerated: set[str]
) -> Iterator[Finding]:
    """Report digests that are too weak; those of ``tolerated`` only warn."""
    claimed = intact.claimed
    slots = claimed.rests_on or {slot.algorithm for slot in claimed.slots[:1]}
    used = {claimed.algorithm.digest, *slots}
    for digest in sorted(used - {""} - algorithms.digests):
        yield Finding(
            code=Code.WEAK_DIGEST,
            effect=Effect.WARN if digest in tolerated else Effect.REJECT,
            subject=f"signature {claimed.label}",
            found=f"digest {digest}",
            required="SHA-2 or SHA-3, or SHA-1 under a time proven before the cut-off",
            clause="policy sha1-cutoff",
            hint="--sha1-until DATE moves the cut-off",
        )


def _path(
    certificate: bytes,
    grounds: Grounds,
    at: datetime,
    usage: Usage,
    algorithms: AlgorithmPolicy,
    rules: PathRules = DEFAULT_RULES,
) -> PathResult:
    try:
        leaf = load_certificate(certificate)
    except BadInputError as error:
        return PathResult(path=(), anchor=None, findings=(error.finding,))
    return find_path(leaf, grounds.pool, grounds.store, at, usage, algorithms, rules)


def _basis(result: PathResult) -> X509Path | None:
    if not result.path:
        return None
    anchor = result.anchor
    return X509Path(
        certificates=tuple(certificate.der for certificate in result.path),
        anchor=anchor.name if anchor else "",
        store=anchor.store if anchor else "",
    )


# --- proven time -----------------------------------------------------------------


def _prove_time(
    intact: IntactSignature, profile: Profile, grounds: Grounds
) -> tuple[ProvenTime | None, tuple[Finding, ...], list[Finding]]:
    """Return the earliest trusted time, its TSA's revocation findings, and all notes.

    Each token is judged alone; one that fails is ignored with its findings as warnings.
    """
    best: tuple[ProvenTime, tuple[Finding, ...]] | None = None
    notes: list[Finding] = []
    for timestamp in intact.timestamps:
        proven, findings = _judge_timestamp(timestamp, profile, grounds)
        if proven is None:
            notes += (_as_warning(f) for f in findings)
        elif best is None or proven.instant < best[0].instant:
            best = (proven, findings)
    if best is None:
        if intact.claimed.timestamps:
            notes.append(_no_proven_time(intact))
        return None, (), notes
    return best[0], best[1], notes


def _judge_timestamp(
    timestamp: IntactTimestamp, profile: Profile, grounds: Grounds
) -> tuple[ProvenTime | None, tuple[Finding, ...]]:
    what = timestamp.signature.claimed.label
    grounds = replace(grounds, store=grounds.tsa_store or grounds.store)
    if timestamp.time > grounds.at:
        return None, (_in_future(what, timestamp.time, grounds.at),)
    algorithms = _algorithms(grounds.policy, timestamp.time)
    usage = STRICT_TIME_STAMPING if grounds.policy.strict_tsa else TIME_STAMPING
    result = _path(timestamp.signature.key.holder, grounds, timestamp.time, usage, algorithms)
    own = bool(profile.apple) and result.anchor is not None and is_apple(result.anchor.certificate)
    findings = [
        *map(_of_timestamp, result.findings),
        *_weak_token(what, timestamp, algorithms, sha1=Effect.WARN if own else Effect.REJECT),
    ]
    basis = _basis(result)
    if result.anchor:
        statuses = _statuses(result, grounds, timestamp.time)
        findings += _tsa_revocation(what, result, statuses, timestamp.time, grounds)
    if basis is None or any(map(_disproves, findings)):
        return None, tuple(findings)
    leaf = load_certificate(timestamp.signature.key.holder)
    proven = ProvenTime(
        instant=timestamp.time,
        kind=timestamp.claimed.kind,
        authority=leaf.common_name or leaf.subject_text,
        path=basis,
    )
    return proven, tuple(findings)


def _tsa_revocation(
    what: str,
    result: PathResult,
    statuses: tuple[RevocationStatus, ...],
    time: datetime,
    grounds: Grounds,
) -> Iterator[Finding]:
    for certificate, status in zip(result.path, statuses, strict=False):
        subject = f"{what}, {certificate.label}"
        if status.status is Status.UNKNOWN:
            yield from _unknown(subject, status, grounds.policy)
        since = effective_date(status)
        if status.status is not Status.REVOKED or since is None:
            continue
        harmless = status.reason in _HARMLESS_TSA_REASONS and since > time
        yield Finding(
            code=Code.SIGNED_BEFORE_REVOCATION if harmless else Code.TIMESTAMP_REVOKED,
            effect=Effect.NOTE if harmless else Effect.REJECT,
            subject=subject,
            found=f"revoked {since:%Y-%m-%dT%H:%M:%SZ}, reason {status.reason or 'not given'}",
            required="none, or a reason that leaves earlier tokens good",
            clause="RFC 3161 4",
        )


def _disproves(finding: Finding) -> bool:
    """Say whether a token's finding makes it prove nothing; unknown revocation does not."""
    unsettled = finding.effect is Effect.UNKNOWN and finding.code is not Code.REVOCATION_UNKNOWN
    return finding.effect is Effect.REJECT or unsettled


def _weak_token(
    what: str, timestamp: IntactTimestamp, algorithms: AlgorithmPolicy, *, sha1: Effect
) -> Iterator[Finding]:
    """Report digests of a token that do not count; ``sha1`` is what SHA-1 does.

    Apple's own timestamp authority, the only one that its systems ask, signs with it to this day.
    """
    imprint = timestamp.claimed.imprint
    used = {timestamp.signature.claimed.algorithm.digest, imprint.algorithm if imprint else ""}
    for digest in sorted(used - {""} - algorithms.digests):
        yield Finding(
            code=Code.WEAK_DIGEST,
            effect=sha1 if digest == "sha1" else Effect.REJECT,
            subject=what,
            found=f"digest {digest}",
            required="SHA-2, or SHA-1 for times before the cut-off",
            clause="policy sha1-cutoff",
        )


def _foreign_clock(label: str, anchor: Certificate, proven: ProvenTime | None) -> Iterator[Finding]:
    """Ask of what ends at Apple's roots a timestamp that does, as its own systems do."""
    if proven is None or not is_apple(anchor):
        return
    if not is_apple(load_certificate(proven.path.certificates[-1])):
        yield Finding(
            code=Code.TIMESTAMP_UNTRUSTED,
            effect=Effect.REJECT,
            subject=f"signature {label}",
            found=f"a timestamp by {proven.authority}",
            required="one of Apple's timestamp authority, as the signer's certificate is Apple's",
            clause="SecStaticCode::verifySignature",
        )


def _in_future(what: str, time: datetime, at: datetime) -> Finding:
    return Finding(
        code=Code.TIMESTAMP_IN_FUTURE,
        effect=Effect.REJECT,
        subject=what,
        found=f"{time:%Y-%m-%dT%H:%M:%SZ}",
        required=f"a time not after the validation time {at:%Y-%m-%dT%H:%M:%SZ}",
    )


def _no_proven_time(intact: IntactSignature) -> Finding:
    return Finding(
        code=Code.NO_PROVEN_TIME,
        effect=Effect.WARN,
        subject=f"signature {intact.claimed.label}",
        found="no timestamp that can be trusted",
        required="one, to judge at its time",
        hint="judged at the validation time instead",
    )


def _as_warning(finding: Finding) -> Finding:
    """Return why a token proves nothing, as a warning to the signature it belongs to."""
    grave = finding.effect in (Effect.REJECT, Effect.UNKNOWN)
    if not grave or finding.code in (Code.TIMESTAMP_REVOKED, Code.TIMESTAMP_IN_FUTURE):
        return finding.with_effect(Effect.WARN) if grave else finding
    usage = finding.code is Code.TIMESTAMP_USAGE
    return finding.with_effect(Effect.WARN, None if usage else Code.TIMESTAMP_UNTRUSTED)


def _of_timestamp(finding: Finding) -> Finding:
    """Return a TSA certificate's usage finding under the code that names timestamps."""
    usage = finding.code is Code.WRONG_USAGE
    return finding.with_effect(finding.effect, Code.TIMESTAMP_USAGE) if usage else finding


# --- the signer's validity and revocation ----------------------------------------


def _after_expiry(leaf: Certificate, proven: ProvenTime | None, label: str) -> Iterator[Finding]:
    if proven and proven.instant > leaf.not_after:
        yield Finding(
            code=Code.TIMESTAMP_AFTER_EXPIRY,
            effect=Effect.WARN,
            subject=f"signature {label}",
            found=f"timestamped {proven.instant:%Y-%m-%d}",
            required=f"before the certificate's end, {leaf.not_after:%Y-%m-%d}",
            hint="sign again: a timestamp cannot revive an expired certificate",
        )


def _lifetime(leaf: Certificate, proven: ProvenTime | None, at: datetime) -> Iterator[Finding]:
    if proven and LIFETIME_SIGNING in (leaf.ekus or ()) and at > leaf.not_after:
        yield Finding(
            code=Code.LIFETIME_SIGNING,
            effect=Effect.REJECT,
            subject=leaf.label,
            found=f"lifetime signing, expired {leaf.not_after:%Y-%m-%d}",
            required="a certificate that has not ended: its timestamps do not extend it",
            clause="EKU 1.3.6.1.4.1.311.10.3.13",
        )


def _statuses(
    result: PathResult, grounds: Grounds, judged_at: datetime
) -> tuple[RevocationStatus, ...]:
    """Return the revocation status along the path, leaf first, without the anchor."""
    if grounds.policy.revocation is RevocationMode.IGNORE and not grounds.evidence:
        return ()
    return tuple(
        revocation_status(
            certificate, issuer, grounds.evidence, grounds.at, signed_at=judged_at,
            pool=grounds.pool, anchor=result.path[-1],
        )
        for certificate, issuer in zip(result.path, result.path[1:], strict=False)
    )  # fmt: skip


def _revocation_findings(
    result: PathResult,
    statuses: tuple[RevocationStatus, ...],
    proven: ProvenTime | None,
    grounds: Grounds,
) -> Iterator[Finding]:
    for certificate, status in zip(result.path, statuses, strict=False):
        if status.status is Status.UNKNOWN:
            yield from _unknown(certificate.label, status, grounds.policy)
        elif status.status is Status.REVOKED:
            yield _revoked(certificate, status, proven, grounds.policy)


def _revoked(
    certificate: Certificate,
    status: RevocationStatus,
    proven: ProvenTime | None,
    policy: TrustPolicy,
) -> Finding:
    """Apply the authenticode table: by date, whatever the reason."""
    since = effective_date(status)
    compromised = policy.distrust_compromised and status.reason in _COMPROMISE
    before = proven is not None and since is not None and since > proven.instant
    when = f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else "at a date unknown"
    if before and not compromised and proven:
        return Finding(
            code=Code.SIGNED_BEFORE_REVOCATION,
            effect=Effect.WARN,
            subject=certificate.label,
            found=f"revoked {when}, reason {status.reason or 'not given'}",
            required=f"revocation after the proven time {proven.instant:%Y-%m-%dT%H:%M:%SZ}",
            clause="profile authenticode: revoked certificate",
            hint="--distrust-compromised rejects compromised keys whatever the date",
        )
    return Finding(
        code=Code.REVOKED,
        effect=Effect.REJECT,
        subject=certificate.label,
        found=f"revoked {when}, reason {status.reason or 'not given'}",
        required="not revoked"
        + (f" at the proven time {proven.instant:%Y-%m-%dT%H:%M:%SZ}" if proven else ""),
        clause="RFC 5280 6.3",
        hint="" if proven else "no trusted timestamp says the signature is older",
    )


def _unknown(subject: str, status: RevocationStatus, policy: TrustPolicy) -> tuple[Finding, ...]:
    if policy.revocation is RevocationMode.IGNORE:
        return ()
    required = policy.revocation is RevocationMode.REQUIRE
    effect = Effect.UNKNOWN if required else Effect.NOTE
    return (_revocation_unknown(subject, effect, status.why or "no evidence"),)


@lru_cache(maxsize=256)
def _revocation_unknown(subject: str, effect: Effect, why: str) -> Finding:
    """Return a finding that is the same for every file of a signer (decision 19)."""
    return Finding(
        code=Code.REVOCATION_UNKNOWN,
        effect=effect,
        subject=subject,
        found=why,
        required="a CRL or OCSP answer that covers it",
        clause="RFC 5280 6.3",
        hint="give --crl or --ocsp files, or allow --online",
    )
