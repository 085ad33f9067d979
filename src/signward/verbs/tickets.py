"""Notarization tickets: whether the one stapled to an artifact is Apple's own.

That its hashes speak of the artifact's code is the format's to say: it knows the code.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.integrity import check_signature
from signward.state import (
    BrokenSignature,
    IntactSignature,
    SignedArtifact,
    Stage,
    TrustedSignature,
    UntrustedSignature,
    path_of,
)
from signward.trust.judge import judge
from signward.trust.profiles import APPLE_TICKET
from signward.trust.x509 import load_certificate
from signward.verbs.context import Context
from signward.verbs.stores import load_store

LEAF_MARK = "1.2.840.113635.100.6.1.30"
"""Extension of certificates that sign tickets (``SecPolicyCreateAppleDeveloperIDPlusTicket``)."""
ISSUER_MARK = "1.2.840.113635.100.6.2.17"
"""Extension of the authority that issues them (Apple System Integration CA)."""

PATH = 3
"""Certificates in a ticket's path, its anchor among them (the same policy)."""


def ticket_findings(artifact: SignedArtifact, context: Context) -> Iterator[Finding]:
    """Report a stapled ticket that is not intact, or not Apple's.

    No signature of the artifact covers it.  Only Apple issues tickets, so its roots count for
    them whomever else the caller trusts; by anybody else it is content that nobody vouches for.
    """
    if artifact.ticket is None:
        return
    checked = check_signature(artifact, artifact.ticket, {}, ())
    if isinstance(checked, BrokenSignature):
        yield from (_finding(Effect.REJECT, f.found, f.required) for f in checked.findings)
        return
    if context.policy.stage is Stage.INTACT:
        return
    judged = _judged(checked, context)
    if not isinstance(judged, TrustedSignature):
        why = next((f.found for f in judged.findings if f.effect is not Effect.NOTE), "no path")
        yield _finding(
            Effect.REJECT, f"a ticket whose signer is not trusted ({why})", "Apple's own"
        )
        return
    basis = path_of(judged.basis)
    path = [load_certificate(one) for one in (basis.certificates if basis else ())]
    marked = len(path) == PATH and LEAF_MARK in path[0].extensions
    marked = marked and ISSUER_MARK in path[1].extensions
    if not marked:
        yield _finding(Effect.REJECT, "a ticket by a certificate that is for other things",
                       f"one with the extensions {LEAF_MARK} and {ISSUER_MARK}")  # fmt: skip


def _judged(intact: IntactSignature, context: Context) -> TrustedSignature | UntrustedSignature:
    """Judge a ticket on the caller's anchors, then on Apple's own roots."""
    grounds = context.grounds(APPLE_TICKET)
    judged = judge(intact, APPLE_TICKET, grounds)
    if isinstance(judged, TrustedSignature):
        return judged
    return judge(intact, APPLE_TICKET, replace(grounds, store=load_store(APPLE_TICKET.name)))


def _finding(effect: Effect, found: str, required: str) -> Finding:
    return Finding(
        code=Code.TICKET,
        effect=effect,
        subject="notarization ticket",
        found=found,
        required=required,
        hint="staple it anew",
    )
