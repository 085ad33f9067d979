"""sigstore policy-controller: ClusterImagePolicy, and what becomes of images that none matches.

Spec: policy.sigstore.dev v1beta1.  Every ClusterImagePolicy whose glob matches an image must be
satisfied, by any one of its authorities.  So the alternatives for one pattern stand in one policy,
a denial is a policy of its own that nothing satisfies, and a rule whose images another rule's
pattern also holds is lost: both would be asked for.  A glob is held against the image's name with
its tag or digest and has no "@": a single repository is its name with a star behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

from signward.compilers import Compiled, File, Towards
from signward.compilers._images import (
    IMAGES,
    Authority,
    Images,
    anchored,
    disjoint,
    image_rules,
    is_repository,
    literal,
    lose_rest,
    lose_short_names,
    losses,
    public_key,
    resource_name,
)
from signward.compilers._lossy import Ledger
from signward.compilers._yaml import Value, documents
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import IdentityMatch, Mode, Rule, RuleSet, Strict, Text

_API = "policy.sigstore.dev/v1beta1"
_GLOB = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:/*.")
"""The characters that a glob may have (pkg/apis/glob)."""

Map: TypeAlias = dict[str, Value]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.sigstore-policy-controller]``.

    ``fulcio`` and ``rekor`` are URLs; ``trust_root`` names a TrustRoot that replaces the public
    one, ``timestamps`` one whose time-stamping authorities are asked for.
    """

    fulcio: Text = "https://fulcio.sigstore.dev"
    rekor: Text = "https://rekor.sigstore.dev"
    trust_root: Text = ""
    timestamps: Text = ""


class SigstorePolicyController:
    """Compiles rules for container images to ClusterImagePolicy resources."""

    target = "sigstore-policy-controller"
    title = "sigstore policy-controller: ClusterImagePolicy"
    spec = "policy.sigstore.dev/v1beta1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default", "monitor")
    settings = Settings
    checked = ("executed", "policy-controller's tester, with a registry of signed images")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policies, and the controller's answer where none matches."""
        ledger = Ledger(self.target)
        speaking = image_rules(rules, ledger)
        denied = [one for one in speaking if one.denies and _is_denied(one, ledger)]
        groups = _groups(speaking, rules, settings, ledger)
        said = [one for group in groups for one, _ in group] + denied
        lose_rest(rules, said, ledger, monitor=True)
        checked = {"log"} | ({"timestamp"} if settings.timestamps else set())
        ledger.lose_requirements(rules, (o.rule for o in said), checked=frozenset(checked))
        policies = [policy for group in groups for policy in _policies(rules, group)]
        policies += [_denial(rules, one) for one in denied]
        return ledger.compiled(_files(rules, policies))


def _files(rules: RuleSet, policies: Sequence[Map]) -> Iterator[File]:
    title = f"{rules.name} {rules.version}"
    if policies:
        deploy = "kubectl apply -f; label namespaces policy.sigstore.dev/include=true"
        yield File(name="policies.yaml", content=documents(policies, title), deploy=deploy)
    answer = "warn" if rules.mode is Mode.MONITOR else "deny"
    config: Map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-policy-controller", "namespace": "cosign-system"},
        "data": {"no-match-policy": answer},
    }
    deploy = "kubectl apply -f; images that no policy matches are stopped by it"
    content = documents([config], title)
    yield File(name="config-policy-controller.yaml", content=content, deploy=deploy)


def _is_denied(one: Images, ledger: Ledger) -> bool:
    if one.authorities:
        ledger.lose_rule("deny", one.rule, "a policy can only ask for signatures")
        return False
    if not _has_glob(one, ledger):
        return False
    lose_short_names(one, ledger)
    return True


def _has_glob(one: Images, ledger: Ledger) -> bool:
    if one.digests:
        ledger.lose_rule("digest", one.rule, "a glob has no @")
        return False
    if not set(one.pattern) <= _GLOB:
        ledger.lose_rule("origin", one.rule, f"{one.pattern} is no glob")
        return False
    if not one.pattern.endswith("*"):
        if not is_repository(one.pattern):
            ledger.lose_rule("origin", one.rule, f"{one.pattern} is no name in full")
            return False
        towards = Towards.STRICTER if one.denies else Towards.LOOSER
        text = f"{_glob(one.pattern)} holds every repository whose name begins so"
        ledger.lose("reach", one.rule.id, text, towards)
    return True


def _glob(pattern: str) -> str:
    return pattern if pattern.endswith("*") else f"{pattern}*"


_Said: TypeAlias = "tuple[Images, list[Map]]"


def _groups(
    speaking: Sequence[Images], rules: RuleSet, settings: Settings, ledger: Ledger
) -> list[list[_Said]]:
    """Return the rules that let in, those for one pattern together, in their order."""
    groups: dict[str, list[_Said]] = {}
    for one in speaking:
        if one.denies or not _has_glob(one, ledger):
            continue
        found = _authorities(one, rules, settings, ledger)
        if not found:
            continue
        other = _entangled(one, groups)
        if other:
            text = f"an image of both patterns, {one.pattern} and {other}, would have to meet both"
            ledger.lose_rule("alternative", one.rule, text)
        elif one.least > 1 and one.pattern in groups:
            ledger.lose_rule("alternative", one.rule, "several signers, or another rule")
        else:
            groups.setdefault(one.pattern, []).append((one, found))
    return list(groups.values())


def _entangled(one: Images, groups: Mapping[str, Sequence[_Said]]) -> str:
    """Return a pattern, other than the rule's own, that an image of the rule may match."""
    glob = _glob(one.pattern)
    same = groups.get(one.pattern, ())
    if any(other.least > 1 for other, _ in same):
        return one.pattern
    return next((p for p in groups if p != one.pattern and not disjoint(_glob(p), glob)), "")


def _authorities(one: Images, rules: RuleSet, settings: Settings, ledger: Ledger) -> list[Map]:
    """Return what may have signed; empty where that cannot be said."""
    if not one.authorities:
        return [{"name": one.rule.id, "static": {"action": "pass"}}]
    if 1 < one.least < len(one.authorities):
        text = f"a policy cannot count {one.least} of {len(one.authorities)}"
        ledger.lose_rule("signers", one.rule, text)
        return []
    found = [_authority(a, number, one.rule, rules, settings, ledger)
             for number, a in enumerate(one.authorities)]  # fmt: skip
    return found if all(found) else []


def _authority(
    authority: Authority, number: int, rule: Rule, rules: RuleSet, settings: Settings,
    ledger: Ledger,
) -> Map:  # fmt: skip
    name = f"{rule.id}-{number}" if number else rule.id
    wanted = requirements_of(rule, rules)
    made: Map = {"name": name}
    if isinstance(authority, IdentityMatch):
        made["keyless"] = _keyless(authority, settings)
        made["ctlog"] = _log(settings)
    else:
        pem = public_key(authority, rules, ledger, rule)
        if not pem:
            return {}
        made["key"] = {"data": pem, "hashAlgorithm": "sha256"}
        if wanted.log:
            made["ctlog"] = _log(settings)
    if wanted.timestamp and settings.timestamps:
        made["rfc3161timestamp"] = {"trustRootRef": settings.timestamps}
    return made


def _keyless(identity: IdentityMatch, settings: Settings) -> Map:
    said: Map = {}
    for word, text in (("issuer", identity.issuer), ("subject", identity.identity)):
        plain = literal(text)
        said[word if plain else f"{word}RegExp"] = plain or anchored(text)
    made: Map = {"url": settings.fulcio, "identities": [said]}
    return {**made, "trustRootRef": settings.trust_root} if settings.trust_root else made


def _log(settings: Settings) -> Map:
    made: Map = {"url": settings.rekor}
    return {**made, "trustRootRef": settings.trust_root} if settings.trust_root else made


def _policies(rules: RuleSet, group: Sequence[_Said]) -> Iterator[Map]:
    """Yield one policy for a pattern; of several signers each has one, for all must be met."""
    first, found = group[0]
    if first.least > 1:
        for number, authority in enumerate(found):
            yield _resource(rules, first, [authority], str(number))
    else:
        yield _resource(rules, first, [authority for _, each in group for authority in each])


def _denial(rules: RuleSet, one: Images) -> Map:
    note = one.rule.note or f"denied by {one.rule.id}"
    static: Map = {"action": "fail", "message": note}
    return _resource(rules, one, [{"name": one.rule.id, "static": static}])


def _resource(rules: RuleSet, one: Images, authorities: Sequence[Map], suffix: str = "") -> Map:
    name = f"{one.rule.id}/{suffix}" if suffix else one.rule.id  # no rule is called so
    return {
        "apiVersion": _API,
        "kind": "ClusterImagePolicy",
        "metadata": {"name": resource_name(rules.name, name)},
        "spec": {
            "mode": "warn" if rules.mode is Mode.MONITOR else "enforce",
            "images": [{"glob": _glob(one.pattern)}],
            "authorities": list(authorities),
        },
    }


COMPILER = SigstorePolicyController()
