"""Profile pinned: a bare key that the caller named (minisign, signify, a public key by itself).

Such a key has no dates, no usage and nothing that could withdraw it: it counts as long as it is
named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signward.envelopes.minisign import MINISIGN, SIGNIFY
from signward.envelopes.sshsig import KIND as SSHSIG
from signward.envelopes.sshsig import fingerprint_text
from signward.findings import Code, Effect, Finding, worst
from signward.state import HeldKey, IntactSignature, PinnedKey, TrustedSignature, UntrustedSignature
from signward.trust.rules import STRICT

if TYPE_CHECKING:
    from signward.trust.judge import Grounds


def judge_pinned(
    intact: IntactSignature, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge an intact signature by whether its key is one that the caller named."""
    key = intact.key
    keyring = grounds.keyring.get(key.holder)
    weak = STRICT.judge_public_key(f"{key.kind} key {key_name(key)}", key.spki)
    findings = (*intact.findings, *grounds.notes, *([weak] if weak else ()))
    if keyring is None or worst(findings) not in (Effect.NOTE, Effect.WARN):
        return UntrustedSignature(
            intact=intact, basis=None, judged_at=grounds.at, proven_time=None, revocation=(),
            findings=(*findings, _unnamed(intact)) if keyring is None else findings,
        )  # fmt: skip
    return TrustedSignature(
        intact=intact,
        basis=PinnedKey(kind=key.kind, key=key_name(key), keyring=keyring),
        judged_at=grounds.at,
        proven_time=None,
        revocation=(),
        findings=findings,
    )


def key_name(key: HeldKey) -> str:
    """Return what a key is called: as minisign, signify and SSH write it, or its identifier in hex.

    The first two write a key's id as a number, whose octets stand lowest first.
    """
    if key.kind in (MINISIGN, SIGNIFY):
        return key.key_id[::-1].hex().upper()
    if key.kind == SSHSIG:
        return fingerprint_text(key.key_id)
    return key.key_id.hex()


def _unnamed(intact: IntactSignature) -> Finding:
    return Finding(
        code=Code.UNTRUSTED_ROOT, effect=Effect.REJECT,
        subject=f"signature {intact.claimed.label}",
        found=f"a {intact.key.kind} key that nobody named", required="one of --keyring",
    )  # fmt: skip
