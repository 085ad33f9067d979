"""Which rule goes first: the one place that says so (drawn in ``docs/policy.md``).

Deny rules go before all others.  Among rules that let in the most specific one goes first, by what
it asks: see `LADDER`.  Then the one with more conditions, then audit before allow, then by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.errors import BadInputError
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    KeyKind,
    Material,
    PublisherMatch,
    Rule,
)
from signward.trust.x509 import load_certificate

LADDER = (
    "digest",
    "product with publisher",
    "publisher by certificate",
    "identity",
    "publisher or signers",
    "authority",
    "catalog",
    "origin",
    "path",
    "product alone",
    "kind or hosts",
)
"""What a rule asks, the most specific first.  *Authority* is a publisher of whom nothing is asked
but a certificate above the leaf's."""

Rank = tuple[bool, int, int, bool, str]


def rank(rule: Rule, keys: Mapping[str, Material]) -> Rank:
    """Return where a rule stands; the lowest goes first."""
    if rule.action is Action.DENY:
        return (False, 0, 0, False, rule.id)
    asked = sum(bool(getattr(rule, field)) for field in CONDITIONS)
    rung = LADDER.index(specificity(rule, keys))
    return (True, rung, -asked, rule.action is Action.ALLOW, rule.id)


def specificity(rule: Conditions, keys: Mapping[str, Material]) -> str:
    """Return the rung of `LADDER` that a rule stands on."""
    if rule.digest:
        return "digest"
    if rule.product and (rule.publisher or rule.signers or rule.identity):
        return "product with publisher"
    by_publisher = _of_publisher(rule.publisher, keys) if rule.publisher else ""
    if by_publisher == "publisher by certificate":
        return by_publisher
    if rule.identity:
        return "identity"
    if rule.signers:
        return "publisher or signers"
    return by_publisher or _of_place(rule)


def _of_publisher(match: PublisherMatch, keys: Mapping[str, Material]) -> str:
    if match.certificate or (match.key and not is_authority(keys.get(match.key))):
        return "publisher by certificate"
    asked = {field for field in match.__struct_fields__ if getattr(match, field)}
    return "authority" if asked <= {"tbs", "key"} else "publisher or signers"


def _of_place(rule: Conditions) -> str:
    if rule.catalog:
        return "catalog"
    if rule.origin:
        return "origin"
    if rule.path:
        return "path"
    return "product alone" if rule.product else "kind or hosts"


def is_authority(key: Material | None) -> bool:
    """Say whether a key of a policy is the certificate of an authority."""
    if key is None or key.kind is not KeyKind.CERTIFICATE:
        return False
    try:
        return load_certificate(key.der).is_ca is True
    except BadInputError:
        return False
