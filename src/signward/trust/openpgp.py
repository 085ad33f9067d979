"""Profile openpgp: a certificate of a keyring, judged when the signature says it was made.

In order: the certificate is in a keyring; the digest and the keys count; the signature is not of
the future and has not ended; the primary key stands, was alive then and is not revoked; so does
the subkey, where one signed, and both agreed to be one holder's; the key is for signing.
RFC 9580 5.2.3; pure functions of the certificate and an instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from signward.envelopes.openpgp_cert import Certificate, Component
from signward.envelopes.openpgp_keys import PublicKey
from signward.envelopes.openpgp_signature import MAY_SIGN, REASON, Signature, read_signature
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding, worst
from signward.state import (
    HeldKey,
    IntactSignature,
    OpenPgpCert,
    TrustedSignature,
    UntrustedSignature,
)
from signward.trust.openpgp_holder import (
    Bound,
    Holder,
    Instant,
    bound_of,
    holder_of,
    known_certificate,
)
from signward.trust.rules import STRICT

if TYPE_CHECKING:
    from signward.trust.judge import Grounds
    from signward.trust.settings import TrustPolicy

_SOFT_REASONS = frozenset({1, 3})
"""Superseded, retired: what was signed before stands (RFC 9580 5.2.3.31); all else undoes it."""


class _Standing:
    """A key at the time it signs, or signed, and what its holder says of it ``when`` judged."""

    def __init__(
        self, certificate: Certificate, fingerprint: bytes, made: datetime, when: Instant
    ) -> None:
        self.certificate, self.made = certificate, made
        self.holder = holder_of(certificate, when)
        self.subkey = _subkey(certificate, fingerprint)
        self.bound = bound_of(certificate, self.subkey, when) if self.subkey else None

    @property
    def key(self) -> PublicKey:
        """The key that signs."""
        own = self.subkey.key if self.subkey else None
        return own or self.certificate.primary


class _Case(_Standing):
    """One signature, the key that made it and what its holder says of both."""

    def __init__(self, intact: IntactSignature, certificate: Certificate, grounds: Grounds) -> None:
        self.intact, self.at = intact, grounds.at
        self.signature = read_signature(intact.claimed.raw)
        self.label = f"signature {intact.claimed.label}"
        when = Instant(at=grounds.at, sha1_cutoff=grounds.policy.sha1_cutoff)
        super().__init__(certificate, intact.key.key_id, self.signature.created, when)


def signing_findings(held: HeldKey, at: datetime, policy: TrustPolicy) -> tuple[Finding, ...]:
    """Return what would be said of a signature that a key were to make ``at``.

    Raises `BadInputError` for what holds the key.
    """
    when = Instant(at=at, sha1_cutoff=policy.sha1_cutoff)
    return tuple(_of_key(_Standing(known_certificate(held.holder), held.key_id, at, when)))


def judge_openpgp(
    intact: IntactSignature, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge an intact OpenPGP signature by the certificate that holds its key."""
    keyring = grounds.keyring.get(intact.key.holder)
    made = intact.claimed.claimed_time or grounds.at
    try:
        case = _Case(intact, known_certificate(intact.key.holder), grounds)
    except BadInputError as error:
        return _untrusted(intact, None, made, (*intact.findings, error.finding))
    findings = (*intact.findings, *_findings(case), *grounds.notes)
    if keyring is None:
        return _untrusted(intact, None, made, (*findings, _not_in_reach(case)))
    basis = OpenPgpCert(
        fingerprint=case.certificate.primary.fingerprint.hex(),
        key=intact.key.key_id.hex(),
        user_ids=case.holder.user_ids,
        keyring=keyring,
    )
    if worst(findings) not in (Effect.NOTE, Effect.WARN):
        return _untrusted(intact, basis, made, findings)
    return TrustedSignature(
        intact=intact, basis=basis, judged_at=made, proven_time=None, revocation=(),
        findings=findings,
    )  # fmt: skip


def _untrusted(
    intact: IntactSignature,
    basis: OpenPgpCert | None,
    made: datetime,
    findings: tuple[Finding, ...],
) -> UntrustedSignature:
    return UntrustedSignature(
        intact=intact, basis=basis, judged_at=made, proven_time=None, revocation=(),
        findings=findings,
    )  # fmt: skip


def _subkey(certificate: Certificate, fingerprint: bytes) -> Component | None:
    """Return the subkey of that fingerprint; None where the primary key has it."""
    if certificate.primary.fingerprint == fingerprint:
        return None
    return next((one for one in certificate.subkeys
                 if one.key is not None and one.key.fingerprint == fingerprint), None)  # fmt: skip


def _findings(case: _Case) -> Iterator[Finding]:
    yield from _algorithms(case)
    yield from _dates(case)
    yield from _of_key(case)


def _of_key(case: _Standing) -> Iterator[Finding]:
    for key in {one.fingerprint: one for one in (case.certificate.primary, case.key)}.values():
        weak = STRICT.judge_public_key(key.label, key.spki)
        if weak is not None:
            yield weak
    primary = case.certificate.primary
    yield from _standing(case.holder, primary)
    yield from _alive(primary, case.holder.ends(primary), case.made)
    yield from _revoked(primary, case.holder.revocations, case.made)
    if case.bound is not None:
        yield from _binding(case.bound, case.key)
        yield from _alive(case.key, case.bound.ends(case.key), case.made)
        yield from _revoked(case.key, case.bound.revocations, case.made)
    yield from _usage(case)


def _algorithms(case: _Case) -> Iterator[Finding]:
    used = {case.signature.algorithm.digest, *case.intact.claimed.rests_on}
    for digest in sorted(used - STRICT.digests):
        yield Finding(
            code=Code.WEAK_DIGEST, effect=Effect.REJECT, subject=case.label,
            found=f"digest {digest}", required="SHA-2 or SHA-3", clause="RFC 9580 9.5",
        )  # fmt: skip
    if case.signature.version != case.key.version:
        yield Finding(
            code=Code.ALGORITHM_INCONSISTENT, effect=Effect.REJECT, subject=case.label,
            found=f"version {case.signature.version} by a key of version {case.key.version}",
            required="the same", clause="RFC 9580 5.2.3",
        )  # fmt: skip


def _dates(case: _Case) -> Iterator[Finding]:
    if case.made > case.at:
        yield Finding(
            code=Code.NOT_YET_VALID, effect=Effect.REJECT, subject=case.label,
            found=f"made {_told(case.made)}",
            required=f"not after the validation time {_told(case.at)}",
            clause="RFC 9580 5.2.3.11",
        )  # fmt: skip
    period = case.signature.expires()
    if period is not None and case.made + period <= case.at:
        yield Finding(
            code=Code.EXPIRED, effect=Effect.REJECT, subject=case.label,
            found=f"ended {_told(case.made + period)}",
            required=f"later than {_told(case.at)}", clause="RFC 9580 5.2.3.18",
        )  # fmt: skip


def _standing(holder: Holder, key: PublicKey) -> Iterator[Finding]:
    if not holder.words:
        yield Finding(
            code=Code.WEAK_DIGEST if holder.weak else Code.CERTIFICATE_SIGNATURE,
            effect=Effect.REJECT, subject=key.label,
            found="self-signatures with weak digests only" if holder.weak
            else "no self-signature that counts",
            required="one: it says what the key is for, and until when",
            clause="RFC 9580 5.2.3.10",
        )  # fmt: skip
    for word in holder.words[:1]:
        if word.algorithm.digest not in STRICT.digests:
            yield Finding(
                code=Code.WEAK_DIGEST, effect=Effect.WARN, subject=key.label,
                found=f"a self-signature with {word.algorithm.digest}, dated before the cut-off",
                required="SHA-2 or SHA-3", clause="policy sha1-cutoff",
            )  # fmt: skip
    if holder.unchecked:
        yield _unchecked(key)


def _alive(key: PublicKey, ends: datetime | None, made: datetime) -> Iterator[Finding]:
    if made < key.created:
        yield Finding(
            code=Code.NOT_YET_VALID, effect=Effect.REJECT, subject=key.label,
            found=f"made {_told(key.created)}",
            required=f"before the signature, {_told(made)}", clause="RFC 9580 5.5.2",
        )  # fmt: skip
    if ends is not None and made >= ends:
        yield Finding(
            code=Code.EXPIRED, effect=Effect.REJECT, subject=key.label,
            found=f"ended {_told(ends)}", required=f"after the signature, {_told(made)}",
            clause="RFC 9580 5.2.3.13",
        )  # fmt: skip


def _revoked(
    key: PublicKey, revocations: tuple[Signature, ...], made: datetime
) -> Iterator[Finding]:
    for one in revocations:
        reason = one.told(REASON)
        soft = bool(reason) and (reason or b"")[0] in _SOFT_REASONS
        before = soft and one.created > made
        why = f"reason {reason[0]}" if reason else "no reason given"
        yield Finding(
            code=Code.SIGNED_BEFORE_REVOCATION if before else Code.REVOKED,
            effect=Effect.WARN if before else Effect.REJECT,
            subject=key.label,
            found=f"revoked {_told(one.created)}, {why}",
            required=f"not revoked at {_told(made)}, or by the holder's own choice later",
            clause="RFC 9580 5.2.3.31",
        )


def _binding(bound: Bound, key: PublicKey) -> Iterator[Finding]:
    if bound.binding is None:
        yield Finding(
            code=Code.WEAK_DIGEST if bound.weak else Code.CERTIFICATE_SIGNATURE,
            effect=Effect.REJECT, subject=key.label,
            found="bindings with weak digests only" if bound.weak else "no binding that counts",
            required="one by the primary key", clause="RFC 9580 5.2.1.8",
        )  # fmt: skip
    elif not bound.agreed:
        yield Finding(
            code=Code.CERTIFICATE_SIGNATURE, effect=Effect.REJECT, subject=key.label,
            found="a binding without a back signature by the subkey that counts",
            required="one: anybody could bind somebody else's signing key",
            clause="RFC 9580 5.2.1.9",
        )  # fmt: skip
    if bound.unchecked:
        yield _unchecked(key)


def _unchecked(key: PublicKey) -> Finding:
    return Finding(
        code=Code.REVOCATION_UNKNOWN, effect=Effect.UNKNOWN, subject=key.label,
        found="a revocation that cannot be checked: by somebody else whom its holder entitled to "
        "it, or with a digest that is not known here",
        required="none", clause="RFC 9580 5.2.3.23",
    )  # fmt: skip


def _usage(case: _Standing) -> Iterator[Finding]:
    binding = case.bound.binding if case.bound else None
    flags = (binding.flags if binding else None) if case.bound else case.holder.flags
    if flags is not None and not flags & MAY_SIGN:
        yield Finding(
            code=Code.WRONG_USAGE, effect=Effect.REJECT, subject=case.key.label,
            found=f"key flags {flags:#04x}", required="the flag for signing data, 0x02",
            clause="RFC 9580 5.2.3.29",
        )  # fmt: skip


def _not_in_reach(case: _Case) -> Finding:
    return Finding(
        code=Code.UNTRUSTED_ROOT, effect=Effect.REJECT, subject=case.key.label,
        found="a certificate of no keyring", required="one of a keyring that was given",
        hint="--keyring FILE",
    )  # fmt: skip


def _told(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
