"""What the compilers for Linux share: exceptions to digests, and certificates for keyrings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from signward.compilers import Towards
from signward.compilers._lossy import Ledger
from signward.frozen import replace
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    KeyKind,
    Material,
    PublisherMatch,
    Rule,
    RuleSet,
)
from signward.trust.x509 import load_certificate

MOST_COMMENT = 400
"""Octets of a comment's text: 1.1.7 reads a rule line into a buffer of 8 KiB."""

LOSSES = {
    "publisher": "it knows no names in certificates, only keys in a keyring",
    "identity": "it knows no keyless identities",
    "signers": "it asks for one signature, not for several",
    "product": "it does not read what files say of themselves",
    "digest": "it cannot tell a file by such a digest",
    "path": "it cannot tell a file by such a path",
    "origin": "it does not know where a file came from",
    "catalog": "it knows no catalogs",
    "kind": "it does not tell such kinds of files apart",
    "wider-kind": "a signer counts for every kind of file it governs",
    "hosts": "it is the same on every host it is put on",
    "key": "it cannot hold such a key, or not for this rule alone",
    "audit": "it lets in without saying so",
    "deny": "it cannot deny what another rule lets in",
    "exception": "a denial cannot leave out what the exception spares",
    "expiry": "exceptions do not end by themselves",
    "monitor": "it cannot report without stopping",
    "requirement-timestamp": "it asks for no timestamp",
    "requirement-revocation": "it asks nobody for revocation",
    "requirement-algorithm": "it does not ask for these algorithms",
    "requirement-log": "it asks for no log",
    "requirement-age": "it does not ask how old a signature is",
}
"""Losses of targets on Linux; each compiler takes those it can have."""


def comment(text: str) -> str:
    """Return free text as one line of ASCII for a comment: JSON's escapes, up to a bound."""
    made, size = [], 0
    for character in text:
        escaped = json.dumps(character)[1:-1]
        size += len(escaped)
        if size > MOST_COMMENT:
            break
        made.append(escaped)
    return "".join(made)


def digests_of(rule: Conditions, form: str) -> tuple[str, ...]:
    """Return the hex values of a rule's digests of a form like ``file:sha256``."""
    prefix = form + ":"
    return tuple(d.removeprefix(prefix) for d in rule.digest if d.startswith(prefix))


def less_spared(ledger: Ledger, rules: RuleSet, rule: Rule) -> Rule | None:
    """Return a deny rule without the digests that exceptions spare; None if none is left.

    An exception by anything else cannot be taken out of it: the denial reaches it too.
    """
    spared: set[str] = set()
    for waiver in rules.spared.get(rule.id, ()):
        if rule.digest and _asks_only(waiver, "digest"):
            spared.update(waiver.digest)
        else:
            text = f"{rule.id} denies what exception {waiver.id} spares"
            ledger.lose("exception", rule.id, text, Towards.STRICTER)
    if not spared:
        return rule
    left = tuple(d for d in rule.digest if d not in spared)
    return replace(rule, digest=left) if left else None


def _asks_only(conditions: Conditions, *fields: str) -> bool:
    return all(field in fields for field in CONDITIONS if getattr(conditions, field))


def keyring(
    ledger: Ledger, rules: RuleSet, governs: frozenset[str]
) -> tuple[tuple[Material, ...], tuple[Rule, ...]]:
    """Return the certificates a kernel keyring needs, with the rules they stand for.

    A keyring is a list of keys whose signatures count, for everything that is checked against
    it.  So only rules that let in whatever one signer signed, of every kind that is governed,
    can be said; the rest is noted as lost.
    """
    found: dict[str, Material] = {}
    kept = []
    for rule in ledger.in_turn(rules, governs):
        material = _signer_of(ledger, rules, rule, governs)
        if material is None:
            continue
        found[material.name] = material
        kept.append(rule)
        if rule.action is Action.AUDIT:
            ledger.lose("audit", rule.id, LOSSES["audit"], Towards.LOOSER)
    return tuple(found.values()), tuple(kept)


def _signer_of(
    ledger: Ledger, rules: RuleSet, rule: Rule, governs: frozenset[str]
) -> Material | None:
    if rule.action is Action.DENY:
        ledger.lose_rule("deny", rule, f"{LOSSES['deny']}: see the target kernel-blacklist")
        return None
    if ledger.lose_fields(rule, ("publisher",)):
        return None
    if rule.publisher is None:
        ledger.lose_rule("kind", rule, "a kind alone says nothing of who signed")
        return None
    certificate = _certificate_of(ledger, rules.keys, rule, rule.publisher)
    if certificate is not None and rule.kind and not governs <= set(rule.kind):
        ledger.widen_kinds(rule, governs - set(rule.kind))
    return certificate


def _certificate_of(
    ledger: Ledger, keys: Mapping[str, Material], rule: Rule, wanted: PublisherMatch
) -> Material | None:
    asked = [f for f in wanted.__struct_fields__ if getattr(wanted, f)]
    if asked not in (["key"], ["certificate"]):
        ledger.lose_rule("publisher", rule, f"{LOSSES['publisher']}: {', '.join(asked)}")
        return None
    material = certificate_named(keys, wanted)
    if material is None:
        ledger.lose_rule("key", rule, "a keyring holds certificates: name one in [keys]")
        return None
    if load_certificate(material.der).is_ca:
        ledger.lose_rule("key", rule, f"{material.name} is a CA's: the kernel wants the signer's")
        return None
    return material


def certificate_named(keys: Mapping[str, Material], wanted: PublisherMatch) -> Material | None:
    """Return the certificate that ``wanted`` names by its key or digest; None if not at hand."""
    if wanted.key:
        found = keys.get(wanted.key)
        return found if found and found.kind is KeyKind.CERTIFICATE else None
    for material in keys.values():
        if f"sha256:{hashlib.sha256(material.der).hexdigest()}" == wanted.certificate:
            return material
    return None
