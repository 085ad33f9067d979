"""Profiles: by whose rules a signature's time, usage and revocation are judged.

The table of docs/architecture.md as data.  A format's signatures are judged by one profile; a
user may name another (an EFI binary checked as Windows would load it, say).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from signward.trust.kernel import LATEST
from signward.trust.rules import ANY_USAGE, CODE_SIGNING, DEFAULT_RULES, PathRules, Usage

LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13"
SUBSCRIBER_ARC = "1.3.6.1.4.1.311.97."
"""EKUs below this arc name a subscriber of Microsoft's signing service, leaf after leaf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one ecosystem judges: what the signer must be for, whether dates matter.

    ``kernel``: the signer is also judged by the rules of a Windows generation.
    """

    name: str
    usage: Usage
    rules: PathRules = DEFAULT_RULES
    timestamps: bool = True
    revocation: bool = True
    kernel: bool = False


AUTHENTICODE = Profile(name="authenticode", usage=CODE_SIGNING)
UEFI = Profile(
    name="uefi",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False),
    timestamps=False,
    revocation=False,
)
WINDOWS_KERNEL = Profile(name="windows-kernel", usage=CODE_SIGNING, kernel=True)

PROFILES = {profile.name: profile for profile in (AUTHENTICODE, UEFI, WINDOWS_KERNEL)}


class RevocationMode(StrEnum):
    """What an unknown revocation status does: a note, INDETERMINATE, or nothing."""

    PREFER = "prefer"
    REQUIRE = "require"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Named policy values of a judgement; the defaults are the strict policy.

    ``sha1_cutoff``: SHA-1 counts only under a time proven before it.
    ``distrust_compromised``: reject keyCompromise and cACompromise whatever the date.
    ``strict_tsa``: a TSA whose EKU is not critical is refused (RFC 3161 2.3).
    ``windows_generation``: the one that profile ``windows-kernel`` speaks for.
    """

    revocation: RevocationMode = RevocationMode.PREFER
    sha1_cutoff: datetime = datetime(2016, 1, 1, tzinfo=UTC)
    distrust_compromised: bool = False
    strict_tsa: bool = False
    windows_generation: str = LATEST
