"""Targets that know signers by whole certificates: which rules such a target can express.

Windows' stores of trusted publishers and SQL Server's logins hold a certificate, not a name and no
digest of one.  They compare it whole: a rule by a CA's certificate, which every leaf below it
meets, is not theirs to express when it lets in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from signward.compilers import File
from signward.compilers._lossy import Ledger
from signward.errors import BadInputError
from signward.frozen import replace
from signward.policy.rules.model import (
    Action,
    KeyKind,
    Material,
    PublisherMatch,
    Rule,
    RuleSet,
)
from signward.trust.x509 import load_certificate

LOSSES: Mapping[str, str] = {
    "audit": "a rule that only watches: the target would let in and say nothing",
    "exception": "a denial some files are spared by: it knows no such exception",
    "expiry": "the end of an exception: compile again before it ends",
    "publisher": "a signer by name, identity or digest: it wants a whole certificate from [keys]",
    "key": "a key that is no certificate, or a CA's certificate in a rule that lets in",
    "kind": "a rule by kind or host alone, or a denial that would reach other kinds too",
    "signers": "several signers",
    "identity": "a keyless identity",
    "product": "what a file says of itself",
    "digest": "a digest",
    "path": "a path",
    "origin": "where a file came from",
    "catalog": "the catalog that vouches",
    "hosts": "the hosts: give each group of hosts a policy of its own",
    "requirement-timestamp": "that a trusted timestamp is required",
    "requirement-revocation": "how revocation is required",
    "requirement-algorithm": "the weakest algorithm that is let in",
    "requirement-log": "that a log has it",
    "requirement-age": "how old a signature may be",
    "monitor": "watching without stopping",
}
"""What such a target loses; those without monitoring, requirements or digests all alike."""


def is_plain(ledger: Ledger, rules: RuleSet, rule: Rule, fields: Collection[str]) -> bool:
    """Say whether nothing but ``fields`` is asked, nobody is spared and it is no audit rule."""
    if rule.action is Action.AUDIT:
        ledger.lose_rule("audit", rule, "it is let in, but nothing would be reported")
        return False
    if rules.spared.get(rule.id):
        ledger.lose_rule("exception", rule, "files that the denial spares cannot be told apart")
        return False
    if ledger.lose_fields(rule, fields):
        return False
    if not any(getattr(rule, field) for field in fields):
        ledger.lose_rule("kind", rule, "it asks for nothing that the target could look at")
        return False
    return True


def certificate_of(ledger: Ledger, rules: RuleSet, rule: Rule) -> Material | None:
    """Return the one certificate that a rule by publisher stands for, or lose the rule."""
    if rule.publisher != PublisherMatch(key=_key(rule)):
        ledger.lose_rule("publisher", rule, "the target needs the signer's certificate, as a key")
        return None
    material = rules.keys[_key(rule)]
    if material.kind is not KeyKind.CERTIFICATE:
        ledger.lose_rule("key", rule, f"key {material.name} is no certificate")
        return None
    if rule.action is Action.ALLOW and is_authority(material):
        ledger.lose_rule("key", rule, f"key {material.name} is a CA; the target trusts leaves")
        return None
    return material


def _key(rule: Rule) -> str:
    return rule.publisher.key if rule.publisher and rule.publisher.key else "-"


def is_authority(material: Material) -> bool:
    """Say whether a certificate may issue others; one that cannot be read counts as a CA."""
    try:
        return bool(load_certificate(material.der).is_ca)
    except BadInputError:
        return True


def thumbprint(material: Material) -> str:
    """Return the SHA-1 of the DER, upper-case hex: what Windows' stores call a certificate by."""
    return hashlib.sha1(material.der, usedforsecurity=False).hexdigest().upper()


def lose_expiry(ledger: Ledger, rules: RuleSet, kept: Iterable[Rule]) -> None:
    """Lose the ends of those exceptions that became rules of the target."""
    names = {rule.id for rule in kept}
    ending = tuple(waiver for waiver in rules.waivers if waiver.id in names)
    ledger.lose_expiry(replace(rules, waivers=ending))


def certificate_files(certificates: Iterable[Material], folder: str, deploy: str) -> list[File]:
    """Return one DER file a certificate, named by its key."""
    unique = {material.name: material for material in certificates}
    return [File(name=f"{folder}/{name}.cer", content=unique[name].der, deploy=deploy)
            for name in sorted(unique)]  # fmt: skip
