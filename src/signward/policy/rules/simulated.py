"""What a simulation found: plain data, that reports are made of and that stands in JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from signward.frozen import Frozen
from signward.policy.rules.model import Action, Mode, Rule

SCHEMA_VERSION: Literal[1] = 1


class Fate(StrEnum):
    """What becomes of a file where it is: *unsettled* is neither good nor bad."""

    RUNS = "runs"
    AUDITED = "audited"
    STOPPED = "stopped"
    UNSETTLED = "unsettled"


class Tally(Frozen, frozen=True, kw_only=True):
    """Distinct files, how often they were seen, and on how many hosts."""

    files: int = 0
    sightings: int = 0
    hosts: int = 0


class Share(Frozen, frozen=True, kw_only=True):
    """A named part of a whole; ``kind`` says what sort of thing is named (see `Listed.reason`)."""

    name: str
    stopped: Tally = Tally()
    unsettled: Tally = Tally()
    kind: str = ""


class HostShare(Frozen, frozen=True, kw_only=True):
    """A host, and how many distinct files are stopped or unsettled there."""

    name: str
    stopped: int
    unsettled: int


class RuleUse(Frozen, frozen=True, kw_only=True):
    """A rule and what it decided."""

    rule: str
    action: Action
    decided: Tally


class Listed(Frozen, frozen=True, kw_only=True):
    """One distinct file that is stopped or unsettled somewhere; ``path`` is one of its paths.

    ``reason`` is ``no-rule``, ``denied``, ``unmet``, ``withdrawn`` or ``missing``, and
    ``named`` the rule, requirements, cause or fields that it speaks of.
    """

    path: str
    fate: Fate
    reason: str
    named: str
    kind: str
    cause: str
    publisher: str
    product: str
    digest: str
    seen: Tally
    missing: tuple[str, ...] = ()


class Proposal(Frozen, frozen=True, kw_only=True):
    """A rule that would let in what is stopped, and what it would let in besides.

    ``covers`` are needed files that would run by it; ``also`` files that would run by it though
    nobody asked for them, ``also_unsigned`` of those without a trusted signer, ``examples`` some
    of their paths.  ``denied`` counts files that it matches and a deny rule goes on stopping,
    ``known`` files that it matches and other rules let in already.
    """

    rule: Rule
    tier: str
    name: str
    covers: Tally
    also: Tally
    also_unsigned: int = 0
    denied: int = 0
    known: int = 0
    examples: tuple[str, ...] = ()


class Simulation(Frozen, frozen=True, kw_only=True):
    """What a policy would do; ``at`` is when.

    ``hosts`` are those of the ``hosts_touched`` where most is stopped or unsettled.
    ``outside`` counts files that nothing starts: no policy is asked about them.  ``needed`` are
    files stopped for want of a rule, which proposals try to cover; ``suspect`` files stopped
    whose own signature speaks against them, for which none is proposed; ``uncovered`` needed
    files that no proposal lets in.
    """

    schema: Literal[1] = SCHEMA_VERSION
    policy: str
    version: int
    mode: Mode
    at: datetime
    seen: Tally
    outside: int
    fates: dict[Fate, Tally]
    reasons: tuple[Share, ...]
    causes: tuple[Share, ...]
    publishers: tuple[Share, ...]
    kinds: tuple[Share, ...]
    missing: tuple[Share, ...]
    hosts: tuple[HostShare, ...]
    hosts_touched: int
    used: tuple[RuleUse, ...]
    idle: tuple[str, ...]
    idle_more: int
    listed: tuple[Listed, ...]
    listed_more: int
    needed: Tally
    suspect: Tally
    uncovered: int
    proposals: tuple[Proposal, ...]
    proposals_more: int = 0
