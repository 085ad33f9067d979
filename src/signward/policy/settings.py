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
    """The built-in strict policy and its switches.  Hashable, picklable, comparable."""

    stage: Stage = Stage.ACCEPTED
    signatures: SignatureRule = SignatureRule.BEST
    publishers: tuple[str, ...] = ()
    trust: TrustPolicy = msgspec.field(default_factory=TrustPolicy)
