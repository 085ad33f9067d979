"""Checking a policy: what is wrong with it now, of all kinds of files that a scan knows."""

from __future__ import annotations

from datetime import UTC, datetime

from signward.inventory.classify import KINDS
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.lint import Fault, faults
from signward.policy.rules.model import RuleSet


def check(rules: RuleSet, at: datetime | None = None) -> tuple[Fault, ...]:
    """Return what is wrong with a policy, at ``at`` or now."""
    at = at or datetime.now(UTC)
    found = faults(rules, at, frozenset(KINDS))
    if not any(fault.code == "regular-expression" for fault in found):
        Index(in_force(rules, at))  # whatever else would refuse it, refuses it here
    return found
