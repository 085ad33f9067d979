"""Checking a policy: what is wrong with it now, of all kinds of files that a scan knows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from signward.inventory.classify import KINDS
from signward.policy.keyfacts import key_facts
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.lint import Fault, faults
from signward.policy.rules.model import RuleSet
from signward.policy.rules.precedence import specificity
from signward.trust.profiles import AUTHENTICODE
from signward.verbs.stores import load_store


def check(rules: RuleSet, at: datetime | None = None) -> tuple[Fault, ...]:
    """Return what is wrong with a policy, at ``at`` or now."""
    at = at or datetime.now(UTC)
    roots = _public_roots() if _asks_authorities(rules) else frozenset[str]()
    found = faults(rules, at, frozenset(KINDS), roots)
    if not any(fault.code == "regular-expression" for fault in found):
        Index(in_force(rules, at))  # whatever else would refuse it, refuses it here
    return found


def _asks_authorities(rules: RuleSet) -> bool:
    """Say whether a rule may name an authority alone: else the store need not be read."""
    return any(specificity(rule, rules.keys) == "authority" for rule in rules.rules)


def _public_roots() -> frozenset[str]:
    """Return the roots that Windows trusts for code signing, by both digests rules may name."""
    anchors = [anchor.certificate.der for anchor in load_store(AUTHENTICODE.name).anchors()]
    digests = (hashlib.sha256(der).hexdigest() for der in anchors)
    return frozenset((*digests, *filter(None, (key_facts(der).tbs for der in anchors))))
