"""What a caller sets about trust: plain values, so that reading options loads no validator."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from signward.frozen import Frozen


class RevocationMode(StrEnum):
    """What an unknown revocation status does: a note, INDETERMINATE, or nothing."""

    PREFER = "prefer"
    REQUIRE = "require"
    IGNORE = "ignore"


class TrustPolicy(Frozen, frozen=True, kw_only=True):
    """Named policy values of a judgement; the defaults are the strict policy.

    ``sha1_cutoff``: SHA-1 counts only under a time proven before it.
    ``distrust_compromised``: reject keyCompromise and cACompromise whatever the date.
    ``strict_tsa``: a TSA whose EKU is not critical is refused (RFC 3161 2.3).
    ``windows_generation``: the one that profile ``windows-kernel`` speaks for.
    ``ssh_namespace``: what SSH signatures must have been made for.
    """

    revocation: RevocationMode = RevocationMode.PREFER
    sha1_cutoff: datetime = datetime(2016, 1, 1, tzinfo=UTC)
    distrust_compromised: bool = False
    strict_tsa: bool = False
    windows_generation: str = "11-24h2-2026"
    ssh_namespace: str = "file"
