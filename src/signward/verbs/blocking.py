"""Block lists in reach: files that are denied whoever signed them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.formats import Format
from signward.state import (
    JudgedSignature,
    Manifest,
    SignedArtifact,
    Stage,
    TrustedSignature,
    UntrustedSignature,
    Wanted,
    path_of,
)
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.context import Context
from signward.verbs.stages import judged_all

LISTED_SLOTS: Wanted = frozenset(
    (slot, digest) for slot in ("image", "page:0") for digest in ("sha1", "sha256")
)
"""What lists know files by: the Authenticode hash, and the hash of the first page."""


def blocked_by(
    signable: Format,
    artifact: SignedArtifact,
    judged: Sequence[JudgedSignature],
    computed: Manifest,
    context: Context,
) -> tuple[Finding, ...]:
    """Return a finding for each rule of the run's block lists that denies the artifact.

    ``computed`` holds the digests of ``LISTED_SLOTS``.  Before the stage that asks whether a
    file is wanted they only warn.
    """
    if not context.block_lists:
        return ()
    from signward.policy.blocklist import Subject  # for few runs only

    signers = _signers(artifact, judged, context)
    facts = _facts(signable, artifact)
    subject = Subject(
        scenarios=_scenarios(artifact, facts, context),
        digests=frozenset(computed[slot] for slot in LISTED_SLOTS if slot in computed),
        facts=facts,
        paths=tuple(path for signature in signers if (path := _path(signature))),
    )
    found = [f for listed in context.block_lists for f in listed.findings(subject)]
    effect = Effect.REJECT if context.policy.stage is Stage.ACCEPTED else Effect.WARN
    return tuple(finding.with_effect(effect, Code.BLOCKED) for finding in dict.fromkeys(found))


def _scenarios(
    artifact: SignedArtifact, facts: Mapping[str, str], context: Context
) -> tuple[int, ...]:
    """Return where an image may be loaded: as its headers say, and as a driver if taken for one.

    A name hinders no program from being run, nor headers a service from naming a driver.
    """
    from signward.policy.blocklist import DRIVERS, PROGRAMS

    if facts.get("driver") == "1":
        return (DRIVERS,)
    named = artifact.source.name.lower().endswith(".sys")
    taken = named or context.profile_for(artifact).kernel
    return (DRIVERS, PROGRAMS) if taken else (PROGRAMS,)


def _signers(
    artifact: SignedArtifact, judged: Sequence[JudgedSignature], context: Context
) -> Iterable[JudgedSignature]:
    """Return the signatures; all of them judged where a list denies signers."""
    asked = context.policy.stage is not Stage.INTACT and any(
        denials for listed in context.block_lists for denials in listed.signers.values()
    )
    return judged_all(artifact, judged, context) if asked else judged


def _facts(signable: Format, artifact: SignedArtifact) -> Mapping[str, str]:
    """Return what the artifact says of itself, read again where its format knows more."""
    further = getattr(signable, "facts", None)
    facts = further(artifact) if further is not None else artifact.facts
    return {name: str(value) for name, value in facts.items()}


def _path(signature: JudgedSignature) -> tuple[Certificate, ...]:
    """Return the path a signature was judged on, leaf first; empty for one without."""
    if not isinstance(signature, TrustedSignature | UntrustedSignature):
        return ()
    path = path_of(signature.basis)
    try:
        return tuple(load_certificate(der) for der in (path.certificates if path else ()))
    except BadInputError:
        return ()  # an unreadable certificate makes no path
