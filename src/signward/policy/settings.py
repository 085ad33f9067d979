"""What a caller sets about a decision: plain values, see ``trust.settings``."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from signward.frozen import Frozen
from signward.state import Stage
from signward.trust.settings import TrustPolicy


class SignatureRule(StrEnum):
    """Which of several signatures must be good."""

    BEST = "best"
    ALL = "all"
    ANY = "any"


class Policy(Frozen, frozen=True, kw_only=True):
    """The built-in strict policy and its switches.  Hashable, picklable, comparable.

    ``identity`` and ``issuer`` are who must have signed in for a keyless signature, and with which
    provider; without them, or its like among ``publishers``, none is accepted.
    """

    stage: Stage = Stage.ACCEPTED
    signatures: SignatureRule = SignatureRule.BEST
    publishers: tuple[str, ...] = ()
    identity: str = ""
    issuer: str = ""
    trust: TrustPolicy = msgspec.field(default_factory=TrustPolicy)
