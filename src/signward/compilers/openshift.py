"""OpenShift: ClusterImagePolicy, and the registries that nodes may pull from.

Spec: config.openshift.io/v1.  A ClusterImagePolicy is one root of trust (a key, or a Fulcio
identity) for scopes; of scopes that hold an image only the longest speaks.  It says nothing of
other images: those are stopped by ``allowedRegistries`` of the cluster's Image configuration,
which names what rules let in, and nothing else.  Nodes then pull nothing else, their own release
included: ``platform`` in the settings says where that lies.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, TypeAlias

from signward.compilers import Compiled, File, Towards
from signward.compilers._images import (
    IMAGES,
    Authority,
    Images,
    certificate_pem,
    image_rules,
    is_namespace,
    literal,
    lose_rest,
    losses,
    public_key,
    public_key_pem,
    resource_name,
)
from signward.compilers._lossy import Ledger
from signward.compilers._scopes import lose_reach, scope_of, wider
from signward.compilers._yaml import Value, documents
from signward.errors import PolicyError
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import IdentityMatch, Material, Name, Rule, RuleSet, Strict, Text

_API = "config.openshift.io/v1"
MAX_DATA = 8192
"""Most characters of a key or certificate in Base64, by the definition."""

Map: TypeAlias = dict[str, Value]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.openshift]``.

    ``fulcio_ca`` and ``rekor`` name [keys] that keyless signatures and log entries are held
    against; ``platform`` are registries or namespaces that nodes pull from besides.
    """

    fulcio_ca: Name | None = None
    rekor: Name | None = None
    platform: tuple[Text, ...] = ()


class OpenShift:
    """Compiles rules for container images to ClusterImagePolicy resources."""

    target = "openshift"
    title = "OpenShift: ClusterImagePolicy and allowed registries"
    spec = "config.openshift.io/v1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default")
    settings = Settings
    checked = ("schema", "ClusterImagePolicy's fields and limits, restated in the tests")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policies and the cluster's Image configuration."""
        ledger = Ledger(self.target)
        trust = _Trust(rules, settings, ledger)
        speaking = [one for one in image_rules(rules, ledger) if _has_scope(one, ledger)]
        said: dict[str, tuple[Images, Map]] = {}
        for one in speaking:
            root = {} if one.denies else trust.root(one)
            if root is not None and not one.denies:
                _take(one, root, said, ledger)
        open_ = {*said, *settings.platform}
        denied = [one for one in speaking if one.denies and _is_shut(one, open_, settings, ledger)]
        kept = [*(one for one, _ in said.values()), *denied]
        lose_reach(kept, ledger)
        lose_rest(rules, kept, ledger)
        checked = frozenset({"log"} if settings.rekor else ())
        ledger.lose_requirements(rules, (one.rule for one in kept), checked=checked)
        return ledger.compiled(_files(rules, said, denied, settings))


def _has_scope(one: Images, ledger: Ledger) -> bool:
    if one.digests:
        ledger.lose_rule("digest", one.rule, "a scope is a name here")
    elif one.denies and one.authorities:
        ledger.lose_rule("deny", one.rule, "a policy only says whom to trust")
    elif one.least > 1:
        ledger.lose_rule("signers", one.rule, "a scope has one root of trust")
    elif not scope_of(one.pattern):
        ledger.lose_rule("origin", one.rule, f"{one.pattern} is no registry, nor in one")
    else:
        return True
    return False


def _take(one: Images, root: Map, said: dict[str, tuple[Images, Map]], ledger: Ledger) -> None:
    """Add a rule where no other rule's scope holds its images, or lie in its own."""
    scope = scope_of(one.pattern) or ""
    around = [scope, *wider(scope)]
    within = (other for other in said if scope in wider(other))
    other = next((s for s in (*around, *within) if s in said and said[s][1] != root), None)
    if other is None:
        said[scope] = (one, root)
    else:
        text = f"scopes {scope} and {other} share images, and each image has one root of trust"
        ledger.lose_rule("alternative", one.rule, text)


def _is_shut(one: Images, open_: AbstractSet[str], settings: Settings, ledger: Ledger) -> bool:
    """Say whether a denied scope can be left out of what is allowed; else the denial is lost."""
    scope = scope_of(one.pattern) or ""
    if any(around in open_ for around in wider(scope)):
        ledger.lose_rule("deny", one.rule, "a wider scope is allowed, and none is shut within it")
        return False
    if any(scope in (name, *wider(name)) for name in settings.platform):
        text = "platform lets in images that it denies"
        ledger.lose("deny", one.rule.id, text, Towards.LOOSER)
    return True


class _Trust:
    """The roots of trust that authorities are."""

    def __init__(self, rules: RuleSet, settings: Settings, ledger: Ledger) -> None:
        self._rules, self._ledger = rules, ledger
        self._rekor = self._named(settings.rekor, public_key_pem)
        self._ca = self._named(settings.fulcio_ca, certificate_pem)

    def _named(self, name: str | None, pem_of: Callable[[Material], str]) -> str:
        if name is None:
            return ""
        pem = pem_of(self._rules.keys[name]) if name in self._rules.keys else ""
        if not pem:
            raise PolicyError("targets.openshift", f"key {name!r}", "one of [keys], of its kind")
        return pem

    def root(self, one: Images) -> Map | None:
        """Return the root of trust, empty for unsigned images; None where the rule is lost."""
        if not one.authorities:
            return {}
        if len(one.authorities) > 1:
            text = "a scope has one root of trust"
            self._ledger.lose_rule("alternative", one.rule, text)
            return None
        return self._one(one.authorities[0], one.rule)

    def _one(self, authority: Authority, rule: Rule) -> Map | None:
        if isinstance(authority, IdentityMatch):
            return self._keyless(authority, rule)
        pem = public_key(authority, self._rules, self._ledger, rule)
        if not pem:
            return None
        logged = requirements_of(rule, self._rules).log and bool(self._rekor)
        log = {"rekorKeyData": self._data(self._rekor)} if logged else {}
        return {"policyType": "PublicKey", "publicKey": {"keyData": self._data(pem), **log}}

    def _keyless(self, authority: IdentityMatch, rule: Rule) -> Map | None:
        email, issuer = literal(authority.identity), literal(authority.issuer)
        if not (email and issuer and "@" in email and ":" not in email):
            text = "a Fulcio identity is an e-mail address and its issuer, exactly"
        elif not (self._ca and self._rekor):
            text = "targets.openshift names no fulcio_ca and rekor key"
        else:
            subject: Map = {"oidcIssuer": issuer, "signedEmail": email}
            made: Map = {"fulcioCAData": self._data(self._ca), "fulcioSubject": subject,
                         "rekorKeyData": self._data(self._rekor)}  # fmt: skip
            return {"policyType": "FulcioCAWithRekor", "fulcioCAWithRekor": made}
        self._ledger.lose_rule("identity", rule, text)
        return None

    def _data(self, pem: str) -> str:
        text = base64.b64encode(pem.encode()).decode()
        if len(text) > MAX_DATA:
            raise PolicyError("targets.openshift", f"{len(text)} characters", f"at most {MAX_DATA}")
        return text


def _files(
    rules: RuleSet,
    said: Mapping[str, tuple[Images, Map]],
    denied: Sequence[Images],
    settings: Settings,
) -> Iterator[File]:
    title = f"{rules.name} {rules.version}"
    open_ = {scope: found for scope, found in said.items() if not _is_denied(scope, denied)}
    policies = [_policy(rules, one, root, scope) for scope, (one, root) in open_.items() if root]
    if policies:
        yield File(name="cluster-image-policies.yaml", content=documents(policies, title),
                   deploy="oc apply -f")  # fmt: skip
    for scope in settings.platform:
        if not is_namespace(scope):
            raise PolicyError("targets.openshift", f"platform {scope!r}", "a registry or namespace")
    allowed = list(dict.fromkeys([*open_, *settings.platform]))
    image: Map = {
        "apiVersion": _API,
        "kind": "Image",
        "metadata": {"name": "cluster"},
        "spec": {"registrySources": {"allowedRegistries": allowed}},
    }
    yield File(name="image.yaml", content=documents([image], title),
               deploy="oc apply -f; nodes then pull from nowhere else: without the release's own "
               "registries in platform the cluster stops")  # fmt: skip


def _is_denied(scope: str, denied: Sequence[Images]) -> bool:
    shut = {scope_of(one.pattern) for one in denied}
    return scope in shut or any(around in shut for around in wider(scope))


def _policy(rules: RuleSet, one: Images, root: Map, scope: str) -> Map:
    return {
        "apiVersion": _API,
        "kind": "ClusterImagePolicy",
        "metadata": {"name": resource_name(rules.name, one.rule.id)},
        "spec": {
            "scopes": [scope],
            "policy": {
                "rootOfTrust": root,
                "signedIdentity": {"matchPolicy": "MatchRepository"},
            },
        },
    }


COMPILER = OpenShift()
