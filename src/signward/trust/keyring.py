"""Keys that no X.509 certificate holds: each kind is judged by rules of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signward.envelopes.openpgp_cert import KIND as OPENPGP
from signward.envelopes.sshsig import KIND as SSHSIG
from signward.state import IntactSignature, TrustedSignature, UntrustedSignature
from signward.trust.openpgp import judge_openpgp
from signward.trust.pinned import judge_pinned
from signward.trust.ssh import judge_ssh

if TYPE_CHECKING:
    from signward.trust.judge import Grounds
    from signward.trust.profiles import Profile


def judge_key(
    intact: IntactSignature, profile: Profile, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge a signature whose key is in a keyring, not in an X.509 certificate."""
    if intact.key.kind == OPENPGP:
        return judge_openpgp(intact, grounds)
    if intact.key.kind == SSHSIG:
        return judge_ssh(intact, profile, grounds)
    return judge_pinned(intact, grounds)
