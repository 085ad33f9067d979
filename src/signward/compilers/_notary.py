"""The Notary Project's trust policies: statements for repositories, and trust stores.

Spec: trust-store-trust-policy.md 1.1.  A statement speaks of single repositories or, once, of all
others; any trust store and any identity of a statement will do, in every combination.  So rules
share a statement only where they differ in one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

from signward.compilers import Towards
from signward.compilers._images import (
    ANY,
    Authority,
    Images,
    certificate_pem,
    is_repository,
)
from signward.compilers._lossy import Ledger
from signward.errors import BadInputError, PolicyError
from signward.frozen import Frozen
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import KeyKind, Mode, Name, PublisherMatch, Rule, RuleSet
from signward.trust.settings import RevocationMode
from signward.trust.x509 import is_signed_by, load_certificate

Map: TypeAlias = "dict[str, object]"

NOBODY = "signward-nobody"
"""The trust store that is never made: a statement that names it alone rejects."""

_SUBJECT = (
    ("country", "C"), ("state", "ST"), ("locality", "L"), ("organization", "O"), ("unit", "OU"),
    ("common_name", "CN"),
)  # fmt: skip
_NEEDED = frozenset({"country", "state", "organization"})
"""An identity must say these (Trusted Identities Constraints)."""


class Trusted(Frozen, frozen=True, kw_only=True):
    """Whom a rule trusts: a trust store with an identity, each alternative; none: unsigned too."""

    rule: Rule
    pairs: tuple[tuple[str, str], ...]
    verification: tuple[str, ...]


class Document(Frozen, frozen=True, kw_only=True):
    """Statements of a trust policy, the stores they name (PEM), the rules they express."""

    statements: tuple[Map, ...]
    stores: Mapping[str, str]
    kept: tuple[Images, ...]


class Notary:
    """Makes the statements for one compilation."""

    def __init__(self, rules: RuleSet, tsa: Sequence[Name], ledger: Ledger) -> None:
        self._rules, self._ledger = rules, ledger
        self._tsa = tuple(tsa)
        for name in tsa:
            key = rules.keys.get(name)
            if key is None or key.kind is not KeyKind.CERTIFICATE:
                raise PolicyError("tsa", f"key {name!r}", "a certificate of [keys]")

    def document(self, speaking: Sequence[Images]) -> Document:
        """Return the statements for these rules."""
        denied = {one.pattern: one for one in speaking if one.denies and self._is_denied(one)}
        scopes: dict[str, list[tuple[Images, Trusted]]] = {}
        for one in speaking:
            trusted = None if one.denies else self._trusted(one)
            if trusted:
                self._take(one, trusted, scopes)
        kept = [one for found in scopes.values() for one, _ in found]
        statements = tuple(self._statements(scopes, denied))
        stores = {name: self._pem(name) for name in _stores(statements)}
        return Document(statements=statements, stores=stores, kept=(*kept, *denied.values()))

    def _statements(
        self,
        scopes: Mapping[str, Sequence[tuple[Images, Trusted]]],
        denied: Mapping[str, Images],
    ) -> Iterator[Map]:
        """Yield a statement for each repository, and one for all others."""
        everywhere = [] if ANY in denied else [t for _, t in scopes.get(ANY, ())]
        for scope, found in scopes.items():
            if ANY not in denied and scope not in denied and scope != ANY:
                yield self._statement(scope, [*(t for _, t in found), *everywhere])
        if everywhere:
            yield from (_rejecting(one.rule.id, scope) for scope, one in denied.items())
            yield self._statement(ANY, everywhere)
        else:
            yield _rejecting("everything else", ANY)

    def _pem(self, store: str) -> str:
        return certificate_pem(self._rules.keys[store.rpartition("/")[2]])

    def _take(
        self, one: Images, trusted: Trusted, scopes: dict[str, list[tuple[Images, Trusted]]]
    ) -> None:
        """Add a rule where its scope can offer it beside those before; all images: everywhere."""
        touched = list(scopes) if one.pattern == ANY else [ANY]
        own = [t for _, t in scopes.get(one.pattern, ())]
        others = [[t for _, t in scopes.get(scope, ())] for scope in touched]
        if all(_fits([*found, *own, trusted]) for found in (others or [[]])):
            scopes.setdefault(one.pattern, []).append((one, trusted))
        else:
            text = f"the statement for {one.pattern} would mix it with other rules' signers"
            self._ledger.lose_rule("alternative", one.rule, text)

    def _is_denied(self, one: Images) -> bool:
        if one.authorities:
            self._ledger.lose_rule("deny", one.rule, "a statement only says whom to trust")
            return False
        return self._has_scope(one)

    def _has_scope(self, one: Images) -> bool:
        if one.digests:
            self._ledger.lose_rule("digest", one.rule, "a statement speaks of repositories")
        elif one.pattern != ANY and not is_repository(one.pattern):
            text = f"{one.pattern} is not one repository in full, and not all"
            self._ledger.lose_rule("origin", one.rule, text)
        else:
            return True
        return False

    def _trusted(self, one: Images) -> Trusted | None:
        if not self._has_scope(one):
            return None
        if not one.authorities and one.pattern == ANY:
            self._ledger.lose_rule("origin", one.rule, "verification cannot be skipped for all")
            return None
        if one.least > 1:
            self._ledger.lose_rule("signers", one.rule, "any one signer of a statement will do")
            return None
        pairs = [self._pair(authority, one.rule) for authority in one.authorities]
        found = tuple(pair for pair in pairs if pair)
        if len(found) != len(pairs):
            return None
        return Trusted(rule=one.rule, pairs=found, verification=self._verification(one.rule))

    def _pair(self, authority: Authority, rule: Rule) -> tuple[str, str] | None:
        """Return trust store and identity, or lose the rule."""
        if not isinstance(authority, PublisherMatch):
            self._ledger.lose_rule("identity", rule, "signatures have certificates of a CA")
            return None
        identity = _identity(authority)
        if identity is None:
            text = "a signer is a CA with the subject's C, ST, O and more, or all under it"
            self._ledger.lose_rule("publisher", rule, text)
            return None
        pem = certificate_pem(self._rules.keys[authority.key])
        if not pem or not _is_anchor(self._rules.keys[authority.key].der):
            text = f"key {authority.key} is no certificate of a CA, nor signed by itself"
            self._ledger.lose_rule("key", rule, text)
            return None
        return authority.key, identity

    def _verification(self, rule: Rule) -> tuple[str, ...]:
        """Return how revocation is handled, and when a timestamp is asked for."""
        wanted = requirements_of(rule, self._rules)
        if wanted.timestamp and not self._tsa:
            text = "targets name no tsa whose timestamps are trusted"
            self._ledger.lose("requirement-timestamp", rule.id, text, Towards.LOOSER)
        signed = rule.publisher or rule.signers
        if signed and wanted.revocation is not RevocationMode.REQUIRE:
            text = "a revoked signer is let in, and logged at most; require would stop it"
            self._ledger.lose("requirement-revocation", rule.id, text, Towards.LOOSER)
        revocation = {RevocationMode.REQUIRE: "enforce", RevocationMode.PREFER: "log"}
        when = ("always" if wanted.timestamp else "afterCertExpiry") if self._tsa else ""
        return revocation.get(wanted.revocation, "skip"), when

    def _statement(self, scope: str, every: Sequence[Trusted]) -> Map:
        pairs = tuple(dict.fromkeys(pair for trusted in every for pair in trusted.pairs))
        name = every[0].rule.id
        scopes = ["*" if scope == ANY else scope]
        if not all(trusted.pairs for trusted in every):
            return {"name": name, "registryScopes": scopes,
                    "signatureVerification": {"level": "skip"}}  # fmt: skip
        stores = [f"ca:{store}" for store in dict.fromkeys(store for store, _ in pairs)]
        if self._tsa:
            stores += [f"tsa:{key}" for key in self._tsa]
        return {
            "name": name,
            "registryScopes": scopes,
            "signatureVerification": self._level(every[0].verification),
            "trustStores": stores,
            "trustedIdentities": list(dict.fromkeys(identity for _, identity in pairs)),
        }

    def _level(self, verification: tuple[str, ...]) -> Map:
        revocation, when = verification
        if self._rules.mode is Mode.MONITOR:
            return {"level": "audit"}
        made: Map = {"level": "strict"}
        if revocation != "enforce":
            made["override"] = {"revocation": revocation}
        if when:
            made["verifyTimestamp"] = when
        return made


def _stores(statements: Sequence[Map]) -> Iterator[str]:
    """Yield the trust stores that statements name, as folders."""
    named = [name for one in statements for name in cast("list[str]", one.get("trustStores", ()))]
    for name in dict.fromkeys(named):
        if name != f"ca:{NOBODY}":
            yield name.replace(":", "/")


def _fits(found: Sequence[Trusted]) -> bool:
    """Say whether one statement can offer all these without a combination that none has."""
    if not all(trusted.pairs for trusted in found):
        return True
    pairs = {pair for trusted in found for pair in trusted.pairs}
    stores, identities = {s for s, _ in pairs}, {i for _, i in pairs}
    alike = len({trusted.verification for trusted in found}) == 1
    return alike and len(pairs) == len(stores) * len(identities) and _starred(identities)


def _starred(identities: set[str]) -> bool:
    """Say whether ``*`` stands alone, as it must."""
    return "*" not in identities or len(identities) == 1


def _rejecting(name: str, scope: str) -> Map:
    return {
        "name": name,
        "registryScopes": ["*" if scope == ANY else scope],
        "signatureVerification": {"level": "strict"},
        "trustStores": [f"ca:{NOBODY}"],
        "trustedIdentities": ["*"],
    }


def _identity(publisher: PublisherMatch) -> str | None:
    """Return the trusted identity: ``*`` for a CA alone; None where it cannot be said."""
    said = {field: getattr(publisher, field) for field, _ in _SUBJECT}
    fields = {field for field, value in said.items() if value}
    if not publisher.key or publisher != PublisherMatch(key=publisher.key, **said):
        return None
    if not fields:
        return "*"
    if not fields >= _NEEDED:
        return None
    parts = [f"{short}={_escaped(said[field])}" for field, short in _SUBJECT if said[field]]
    return f"x509.subject: {', '.join(parts)}"


def _escaped(value: str) -> str:
    """Return an attribute's value in a distinguished name (RFC 4514 2.4)."""
    made = "".join(f"\\{c}" if c in ',+"\\<>;=' else c for c in value)
    if made[:1] in {"#", " "}:
        made = f"\\{made}"
    return f"{made[:-1]}\\ " if made.endswith(" ") and len(value) > 1 else made


def _is_anchor(der: bytes) -> bool:
    """Say whether a certificate may stand in a trust store: a CA's, or signed by itself."""
    try:
        certificate = load_certificate(der)
        return certificate.is_ca or is_signed_by(certificate, certificate)
    except BadInputError:
        return False
