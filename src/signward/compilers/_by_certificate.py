"""Targets that know signers by whole certificates: which rules such a target can express.

Windows' stores of trusted publishers and SQL Server's logins hold a certificate, not a name and no
digest of one.  They compare it whole: a rule that lets in by a CA's certificate, which every leaf
below it meets, stands there for those leaves only that the policy has in its [keys].
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from signward.compilers import File, Towards
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
from signward.trust.x509 import is_signed_by, load_certificate

LOSSES: Mapping[str, str] = {
    "audit": "a rule that only watches: the target would let in and say nothing",
    "exception": "a denial some files are spared by: it knows no such exception",
    "expiry": "the end of an exception: compile again before it ends",
    "publisher": "a signer by name, identity or digest: it wants a whole certificate from [keys]",
    "key": "a key that is no certificate; of a CA that lets in, leaves that are not in [keys]",
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


def certificates_of(ledger: Ledger, rules: RuleSet, rule: Rule) -> tuple[Material, ...]:
    """Return the certificates that a rule by publisher stands for; none where it is lost.

    One that lets in by a CA's certificate stands for those leaves in [keys] which that CA signed:
    the others are lost.
    """
    if rule.publisher != PublisherMatch(key=_key(rule)):
        ledger.lose_rule("publisher", rule, "the target needs the signer's certificate, as a key")
        return ()
    material = rules.keys[_key(rule)]
    if material.kind is not KeyKind.CERTIFICATE:
        ledger.lose_rule("key", rule, f"key {material.name} is no certificate")
        return ()
    if rule.action is Action.DENY or not is_authority(material):
        return (material,)
    leaves = tuple(leaf for leaf in rules.keys.values() if _is_leaf_of(leaf, material))
    told = f"only of {', '.join(leaf.name for leaf in leaves)}" if leaves else "none is in [keys]"
    text = f"key {material.name} is a CA, the target knows leaves: {told}"
    ledger.lose("key", rule.id, text, Towards.STRICTER)
    return leaves


def _is_leaf_of(leaf: Material, authority: Material) -> bool:
    """Say whether a key is a certificate that ``authority`` signed, and no CA's itself."""
    if leaf.kind is not KeyKind.CERTIFICATE or is_authority(leaf):
        return False
    try:
        return is_signed_by(load_certificate(leaf.der), load_certificate(authority.der))
    except BadInputError:
        return False


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
