"""Ratify: verifiers for cosign's and the Notary Project's signatures, with their keys.

Spec: config.ratify.deislabs.io v1beta1; the parameters, which the definitions leave open, as
Ratify 1.4 reads them.  Public keys and keyless identities go to the cosign verifier, certificates
of CAs to the Notary Project's.  Of cosign's trust policies the first with a fitting scope speaks
(``*`` last), so each says again what the rules for all images let in; scopes may not overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias, cast

from signward.compilers import Compiled, File, Towards
from signward.compilers._images import (
    ANY,
    IMAGES,
    Authority,
    Images,
    anchored,
    certificate_pem,
    image_rules,
    is_namespace,
    is_repository,
    key_of,
    literal,
    lose_rest,
    losses,
    public_key,
    public_key_pem,
    resource_name,
)
from signward.compilers._lossy import Ledger
from signward.compilers._notary import Document, Notary
from signward.compilers._yaml import Value, documents
from signward.frozen import Frozen
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import IdentityMatch, PublisherMatch, RuleSet, Strict, Text

_API = "config.ratify.deislabs.io/v1beta1"
_NOTARY = "application/vnd.cncf.notary.signature"
_COSIGN = "application/vnd.dev.cosign.artifact.sig.v1+json"
_SCOPE = re.compile(r"[a-z0-9.\-:@/]*\*?\Z")
"""What a scope may look like (pkg/verifier/cosign/trustpolicies.go)."""

Map: TypeAlias = dict[str, Value]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.ratify]``: ``rekor`` is the log's URL."""

    rekor: Text = "https://rekor.sigstore.dev"


class _Way(Frozen, frozen=True, kw_only=True):
    """Signed with a key (name and PEM), or without one; ``logged``: and found in the log."""

    key: tuple[str, str] = ("", "")
    identity: IdentityMatch | None = None
    logged: bool = False


class Ratify:
    """Compiles rules for container images to Ratify's resources."""

    target = "ratify"
    title = "Ratify: verifiers, keys and policy"
    spec = "config.ratify.deislabs.io/v1beta1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default", "reach") | {
        "mixed": "an image signed in two forms needs a good signature of each"
    }
    settings = Settings
    checked = ("parsed", "Ratify's definitions, cosign's scopes by Ratify's own code")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the resources in one file."""
        ledger = Ledger(self.target)
        speaking = [one for one in image_rules(rules, ledger) if not _is_lost(one, ledger)]
        notary = Notary(rules, (), ledger).document(
            [one for one in speaking if _is_notary(one, rules)]
        )
        cosign = _Cosign(rules, settings, ledger)
        for one in speaking:
            if not _is_notary(one, rules):
                cosign.take(one)
        kept = [*notary.kept, *cosign.kept]
        if notary.kept and cosign.kept:
            text = "what is signed in both forms needs a good signature of both"
            ledger.lose("mixed", "", text, Towards.STRICTER)
        lose_rest(rules, kept, ledger)
        ledger.lose_requirements(rules, (o.rule for o in cosign.kept), checked=frozenset({"log"}))
        ledger.lose_requirements(
            rules, (o.rule for o in notary.kept), checked=frozenset({"revocation", "timestamp"})
        )
        resources = [*_keys(notary, cosign), *_verifiers(notary, cosign), _policy()]
        content = documents(resources, f"{rules.name} {rules.version}")
        return ledger.compiled([File(
            name="ratify.yaml", content=content,
            deploy="kubectl apply -f, with a Store and Gatekeeper's constraint in place",
        )])  # fmt: skip


def _is_lost(one: Images, ledger: Ledger) -> bool:
    """Lose what neither verifier says: denials, digests, several signers, unsigned images."""
    if one.denies:
        ledger.lose_rule("deny", one.rule, "a verifier only says whom to trust")
    elif one.digests:
        ledger.lose_rule("digest", one.rule, "a scope speaks of names")
    elif one.least > 1:
        ledger.lose_rule("signers", one.rule, "any one signer will do")
    elif not one.authorities:
        ledger.lose_rule("origin", one.rule, "an image without a signature never passes")
    else:
        return False
    return True


def _is_notary(one: Images, rules: RuleSet) -> bool:
    """Say whether every signer is a certificate's that stands for others: the Notary's way."""
    for authority in one.authorities:
        if not isinstance(authority, PublisherMatch) or not authority.key:
            return False
        if not certificate_pem(rules.keys[authority.key]):
            return False
        key = key_of(authority, rules)
        if key is not None and public_key_pem(key):
            return False
    return True


class _Cosign:
    """The cosign verifier's trust policies."""

    def __init__(self, rules: RuleSet, settings: Settings, ledger: Ledger) -> None:
        self._rules, self._settings, self._ledger = rules, settings, ledger
        self._groups: dict[tuple[str, ...], list[tuple[Images, tuple[_Way, ...]]]] = {}

    @property
    def kept(self) -> list[Images]:
        """The rules that are said."""
        return [one for group in self._groups.values() for one, _ in group]

    @property
    def keys(self) -> dict[str, str]:
        """The public keys that are named, in PEM."""
        ways = (way for group in self._groups.values() for _, ways in group for way in ways)
        return dict(way.key for way in ways if way.key[0])

    def take(self, one: Images) -> None:
        """Add a rule, or lose it."""
        scopes = _scopes(one.pattern)
        if not scopes:
            text = f"{one.pattern} is no scope: one repository, or /** below a namespace"
            self._ledger.lose_rule("origin", one.rule, text)
            return
        ways = [self._way(authority, one) for authority in one.authorities]
        found = tuple(way for way in ways if way)
        if len(found) != len(ways):
            return
        if self._overlaps(scopes):
            text = f"the scope of {one.pattern} overlaps another rule's"
            self._ledger.lose_rule("alternative", one.rule, text)
        elif not self._fits(scopes, found):
            text = "one scope takes either keys or one keyless identity"
            self._ledger.lose_rule("alternative", one.rule, text)
        else:
            self._groups.setdefault(scopes, []).append((one, found))

    def _way(self, authority: Authority, one: Images) -> _Way | None:
        if isinstance(authority, IdentityMatch):
            return _Way(identity=authority, logged=True)
        pem = public_key(authority, self._rules, self._ledger, one.rule)
        logged = requirements_of(one.rule, self._rules).log
        name = resource_name(self._rules.name, authority.key)
        return _Way(key=(name, pem), logged=logged) if pem else None

    def _overlaps(self, scopes: tuple[str, ...]) -> bool:
        others = [s for group in self._groups if group not in (scopes, ("*",)) for s in group]
        return scopes != ("*",) and any(_meet(a, b) for a in scopes for b in others)

    def _fits(self, scopes: tuple[str, ...], ways: tuple[_Way, ...]) -> bool:
        """Say whether the rule goes with those of its scope and of all images."""
        touched = list(self._groups) if scopes == ("*",) else [scopes]
        return all(_alike([*self._ways(other), *ways]) for other in {*touched, scopes})

    def _ways(self, scopes: tuple[str, ...]) -> list[_Way]:
        own = [way for _, ways in self._groups.get(scopes, ()) for way in ways]
        if scopes == ("*",):
            return own
        return [*own, *self._ways(("*",))]

    def policies(self) -> Iterator[Map]:
        """Yield the trust policies, in the rules' order."""
        for scopes, group in self._groups.items():
            ways = list(dict.fromkeys(self._ways(scopes)))
            made: Map = {"version": "1.0.0", "name": group[0][0].rule.id, "scopes": list(scopes)}
            identity = ways[0].identity
            if identity:
                made["keyless"] = {"ctLogVerify": True, **_certificate(identity)}
            else:
                made["keys"] = [{"provider": name} for name in dict(way.key for way in ways)]
            made["tLogVerify"] = ways[0].logged
            if ways[0].logged:
                made["rekorURL"] = self._settings.rekor
            yield made


def _alike(ways: Sequence[_Way]) -> bool:
    """Say whether one trust policy takes all of them: keys, or one identity."""
    keys = [bool(way.key[0]) for way in ways]
    alike = len({way.logged for way in ways}) == 1
    return alike and (all(keys) or (not any(keys) and len({way.identity for way in ways}) == 1))


def _scopes(pattern: str) -> tuple[str, ...]:
    """Return the scopes of exactly these images; none where there are no such."""
    if pattern == ANY:
        return ("*",)
    stem = pattern.removesuffix("/**")
    if stem != pattern and is_namespace(stem):
        found: tuple[str, ...] = (f"{stem}/*",)
    elif is_repository(pattern):
        found = (f"{pattern}:*", f"{pattern}@*")
    else:
        return ()
    return found if all(_SCOPE.match(scope) for scope in found) else ()


def _meet(one: str, other: str) -> bool:
    one, other = one.removesuffix("*"), other.removesuffix("*")
    return one.startswith(other) or other.startswith(one)


def _certificate(identity: IdentityMatch) -> Map:
    said: Map = {}
    for word, text in (("certificateIdentity", identity.identity),
                       ("certificateOIDCIssuer", identity.issuer)):  # fmt: skip
        plain = literal(text)
        said[word if plain else f"{word}RegExp"] = plain or anchored(text)
    return said


def _keys(notary: Document, cosign: _Cosign) -> Iterator[Map]:
    for store, pem in notary.stores.items():
        yield _key(_store_name(store), "certificate", pem)
    for name, pem in cosign.keys.items():
        yield _key(name, "key", pem)


def _store_name(store: str) -> str:
    return resource_name(store.replace("/", "-"))


def _key(name: str, content: str, pem: str) -> Map:
    return {
        "apiVersion": _API,
        "kind": "KeyManagementProvider",
        "metadata": {"name": name},
        "spec": {"type": "inline", "parameters": {"contentType": content, "value": pem}},
    }


def _verifiers(notary: Document, cosign: _Cosign) -> Iterator[Map]:
    if notary.kept:
        stores: Map = {
            store.partition("/")[2]: [_store_name(store)] for store in notary.stores
        }  # fmt: skip
        statements = cast("Value", list(notary.statements))
        yield _verifier("notation", _NOTARY, {
            "verificationCertStores": {"ca": stores},
            "trustPolicyDoc": {"version": "1.0", "trustPolicies": statements},
        })  # fmt: skip
    policies = list(cosign.policies())
    if policies:
        yield _verifier("cosign", _COSIGN, {"trustPolicies": policies})


def _verifier(name: str, artifact: str, parameters: Map) -> Map:
    return {
        "apiVersion": _API,
        "kind": "Verifier",
        "metadata": {"name": f"verifier-{name}"},
        "spec": {"name": name, "artifactTypes": artifact, "parameters": parameters},
    }


def _policy() -> Map:
    """Return the policy: of every form of signature an image has, any one must be good."""
    return {
        "apiVersion": _API,
        "kind": "Policy",
        "metadata": {"name": "ratify-policy"},
        "spec": {
            "type": "config-policy",
            "parameters": {"artifactVerificationPolicies": {"default": "any"}},
        },
    }


COMPILER = Ratify()
