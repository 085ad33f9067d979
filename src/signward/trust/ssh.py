"""Profile sshsig: a key that a list of allowed signers names, for the namespace asked for.

Judged at the validation time: nothing says when an SSH signature was made (ssh-keygen(1),
"ALLOWED SIGNERS").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from signward.envelopes.allowed_signers import Entry, entries, matches
from signward.envelopes.sshsig import fingerprint_text
from signward.findings import Code, Effect, Finding, worst
from signward.state import (
    HeldKey,
    IntactSignature,
    SshPrincipal,
    TrustedSignature,
    UntrustedSignature,
)
from signward.trust.rules import STRICT
from signward.trust.ssh_certificate import Lines, certified

if TYPE_CHECKING:
    from signward.trust.judge import Grounds
    from signward.trust.profiles import Profile

_CLAUSE = "ssh-keygen(1), ALLOWED SIGNERS"


def judge_ssh(
    intact: IntactSignature, profile: Profile, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge an intact SSH signature by the lines that hold its key, or certify it."""
    what, namespace = f"signature {intact.claimed.label}", intact.claimed.content_type
    found = certified(intact.key, grounds, what) or _listed(intact.key, grounds)
    objections = [tuple(_objections(line, found, namespace, grounds.at, what))
                  for line in found.lines]  # fmt: skip
    allowed = [line for line, objected in zip(found.lines, objections, strict=True)
               if not objected]  # fmt: skip
    findings = [*intact.findings, *_general(intact, profile, grounds, what), *found.findings]
    if not allowed:
        findings += objections[0] if objections else (_unlisted(what),)
    findings += grounds.notes
    if not allowed or worst(findings) not in (Effect.NOTE, Effect.WARN):
        return UntrustedSignature(
            intact=intact, basis=None, judged_at=grounds.at, proven_time=None, revocation=(),
            findings=tuple(findings),
        )  # fmt: skip
    return TrustedSignature(
        intact=intact,
        basis=SshPrincipal(
            principals=_principals(found, allowed),
            key=fingerprint_text(found.fingerprint or intact.key.key_id),
            keyring=found.keyring,
            authority=found.authority,
        ),
        judged_at=grounds.at,
        proven_time=None,
        revocation=(),
        findings=tuple(findings),
    )


def _listed(key: HeldKey, grounds: Grounds) -> Lines:
    """Return the lines that hold a key itself."""
    keyring = grounds.keyring.get(key.holder)
    return Lines(lines=() if keyring is None else entries(key.holder), keyring=keyring or "")


def _principals(found: Lines, allowed: list[Entry]) -> tuple[str, ...]:
    """Return whom a key may sign for: as the lines say, or those of its certificate they allow."""
    if found.principals is None:
        return tuple(dict.fromkeys(line.principals for line in allowed if line.principals))
    return tuple(
        one for one in found.principals if any(matches(line.principals, one) for line in allowed)
    )


def _general(
    intact: IntactSignature, profile: Profile, grounds: Grounds, what: str
) -> Iterator[Finding]:
    found = intact.claimed.content_type
    asked = profile.namespace or grounds.policy.ssh_namespace
    if found != asked:
        yield Finding(
            code=Code.WRONG_USAGE, effect=Effect.REJECT, subject=what,
            found=f"namespace {found!r}", required=repr(asked), clause="PROTOCOL.sshsig",
            hint="--namespace NAME asks for another; what was signed for one purpose is "
            "nothing for others",
        )  # fmt: skip
    key = f"SSH key {fingerprint_text(intact.key.key_id)}"
    revoked = grounds.revoked.digests if grounds.revoked else frozenset()
    if intact.key.key_id in revoked or _sha1(intact.key) in revoked:
        yield Finding(
            code=Code.REVOKED, effect=Effect.REJECT, subject=key, found="withdrawn by a list",
            required="on none of --revoked", clause="ssh-keygen(1), KEY REVOCATION LISTS",
        )  # fmt: skip
    weak = STRICT.judge_public_key(key, intact.key.spki)
    if weak is not None:
        yield weak


def _sha1(key: HeldKey) -> bytes:
    """Return what old lists of withdrawn keys know a key by; empty for one in no list of ours."""
    blobs = (line.blob for line in entries(key.holder))
    return next((hashlib.sha1(blob, usedforsecurity=False).digest() for blob in blobs), b"")


def _objections(
    line: Entry, found: Lines, namespace: str, at: datetime, what: str
) -> Iterator[Finding]:
    """Say why a line does not allow a signature."""
    told: list[tuple[Code, str, str]] = []
    names = found.principals
    if line.authority != (names is not None):
        own, authority = "a signer's own key", "an authority's (cert-authority)"
        told.append((Code.WRONG_USAGE, authority, own) if names is None
                    else (Code.WRONG_USAGE, own, authority))  # fmt: skip
    if names is not None and not any(matches(line.principals, one) for one in names):
        told.append((Code.WRONG_USAGE, f"a certificate of {', '.join(names)[:200]!r}",
                     f"a principal that {line.principals!r} allows"))  # fmt: skip
    if line.namespaces is not None and not matches(line.namespaces, namespace):
        told.append((Code.WRONG_USAGE, f"namespaces {line.namespaces!r}", f"{namespace!r} in it"))
    if line.after is not None and at < line.after:
        told.append((Code.NOT_YET_VALID, f"a key from {line.after} on", f"at {at}"))
    if line.before is not None and at > line.before:
        told.append((Code.EXPIRED, f"a key until {line.before}", f"at {at}"))
    for code, said, required in told:
        yield Finding(
            code=code, effect=Effect.REJECT, subject=what, found=said, required=required,
            clause=_CLAUSE,
        )  # fmt: skip


def _unlisted(what: str) -> Finding:
    return Finding(
        code=Code.UNTRUSTED_ROOT, effect=Effect.REJECT, subject=what,
        found="a key that no list names", required="one of --keyring", clause=_CLAUSE,
    )  # fmt: skip
