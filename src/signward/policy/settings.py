"""What a caller sets about a decision: plain values, see ``trust.settings``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from signward.state import Stage
from signward.trust.settings import TrustPolicy


class SignatureRule(StrEnum):
    """Which of several signatures must be good."""

    BEST = "best"
    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The built-in strict policy and its switches.  Hashable, picklable, comparable."""

    stage: Stage = Stage.ACCEPTED
    signatures: SignatureRule = SignatureRule.BEST
    publishers: tuple[str, ...] = ()
    trust: TrustPolicy = field(default_factory=TrustPolicy)
