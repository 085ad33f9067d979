"""Kyverno: an ImageValidatingPolicy for Pods.

Spec: policies.kyverno.io/v1.  The whole policy is one CEL expression over each container's image:
no rule denies it and some rule lets it in.  Attestors are cosign keys and keyless identities, and
for a CA the Notary Project's signatures under it.  Images are judged by the name in the Pod, in
full: a digest is only seen where the Pod asks by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

from signward.compilers import Compiled, File, Towards
from signward.compilers._images import (
    ANY,
    IMAGES,
    Authority,
    Images,
    anchored,
    certificate_pem,
    image_rules,
    key_of,
    literal,
    lose_rest,
    lose_short_names,
    losses,
    public_key,
    public_key_pem,
    resource_name,
)
from signward.compilers._lossy import Ledger
from signward.compilers._yaml import Value, documents
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import IdentityMatch, Mode, RuleSet, Strict, Text

_API = "policies.kyverno.io/v1"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_TAIL = r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
"""What may follow a repository: a tag and a digest (distribution's reference grammar)."""

_ANY_TAIL = "([:@].*)?"
"""The same for denials, which no digest of another algorithm is to pass."""

Map: TypeAlias = dict[str, Value]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.kyverno]``: ``rekor`` is the log's URL that entries are looked for in."""

    rekor: Text = "https://rekor.sigstore.dev"


class Kyverno:
    """Compiles rules for container images to one ImageValidatingPolicy."""

    target = "kyverno"
    title = "Kyverno: ImageValidatingPolicy"
    spec = "policies.kyverno.io/v1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses(
        "deny", "alternative", "reach", "default", "monitor"
    )
    settings = Settings
    checked = ("schema", "ImageValidatingPolicy's definition; its CEL by cel-python")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policy."""
        ledger = Ledger(self.target)
        attestors = _Attestors(rules, settings, ledger)
        speaking = [one for one in image_rules(rules, ledger) if _is_said(one, ledger)]
        said = {one.rule.id: (one, cel) for one in speaking if (cel := attestors.condition(one))}
        kept = [one for one, _ in said.values()]
        lose_rest(rules, kept, ledger, monitor=True)
        ledger.lose_requirements(rules, (o.rule for o in kept), checked=frozenset({"log"}))
        denied = [cel for one, cel in said.values() if one.denies]
        allowed = [cel for one, cel in said.values() if not one.denies]
        policy = _policy(rules, attestors.made, _expression(denied, allowed))
        content = documents([policy], f"{rules.name} {rules.version}")
        deploy = "kubectl apply -f; Kyverno 1.15 or later, in every namespace"
        return ledger.compiled(
            [File(name="image-validating-policy.yaml", content=content, deploy=deploy)]
        )


def _is_said(one: Images, ledger: Ledger) -> bool:
    if one.digests and one.denies:
        text = "a Pod that asks for the image by its tag would pass"
        ledger.lose_rule("digest", one.rule, text)
        return False
    if one.denies:
        lose_short_names(one, ledger)
    if one.digests:
        text = "it is let in only where the Pod asks for it by its digest"
        ledger.lose("digest", one.rule.id, text, Towards.STRICTER)
    return True


class _Attestors:
    """The attestors that conditions name, each once."""

    def __init__(self, rules: RuleSet, settings: Settings, ledger: Ledger) -> None:
        self._rules, self._settings, self._ledger = rules, settings, ledger
        self.made: list[Map] = []

    def condition(self, one: Images) -> str:
        """Return the rule as a CEL condition on ``image``; empty where it is lost."""
        parts = []
        if one.pattern != ANY:
            expression = name_expression(one.pattern, _ANY_TAIL if one.denies else _TAIL)
            parts.append(f"image.matches({_text(expression)})")
        if one.digests:
            ends = ", ".join(_text(f"@{digest}") for digest in one.digests)
            parts.append(f"[{ends}].exists(d, image.endsWith(d))")
        if one.authorities:
            made = [self._attestor(a, n, one) for n, a in enumerate(one.authorities)]
            if not all(made):
                return ""
            names = ", ".join(self._added(m) for m in made)
            parts.append(f"verifyImageSignatures(image, [{names}]) >= {one.least}")
        return " && ".join(parts) or "true"

    def _added(self, attestor: Map) -> str:
        if attestor not in self.made:
            self.made.append(attestor)
        return f'attestors["{attestor["name"]}"]'

    def _attestor(self, authority: Authority, number: int, one: Images) -> Map:
        """Return an attestor called after the rule; empty where the rule is lost."""
        name = f"{one.rule.id}-{number}"
        logged = requirements_of(one.rule, self._rules).log
        if isinstance(authority, IdentityMatch):
            return {"name": name, "cosign": {"keyless": {"identities": [_identity(authority)]},
                                             "ctlog": {"url": self._settings.rekor}}}  # fmt: skip
        key = key_of(authority, self._rules)
        if key is not None and not public_key_pem(key) and certificate_pem(key):
            if logged and not one.denies:
                text = "the Notary Project's signatures are in no log"
                self._ledger.lose("requirement-log", one.rule.id, text, Towards.LOOSER)
            return {"name": name, "notary": {"certs": {"value": certificate_pem(key)}}}
        pem = public_key(authority, self._rules, self._ledger, one.rule)
        if not pem:
            return {}
        log: Map = {"url": self._settings.rekor} if logged else {"insecureIgnoreTlog": True}
        return {"name": name, "cosign": {"key": {"data": pem}, "ctlog": log}}


def _identity(identity: IdentityMatch) -> Map:
    said: Map = {}
    for word, text in (("issuer", identity.issuer), ("subject", identity.identity)):
        plain = literal(text)
        said[word if plain else f"{word}RegExp"] = plain or anchored(text)
    return said


def name_expression(pattern: str, tail: str = _TAIL) -> str:
    """Return the expression (RE2) of image references in full whose repository fits a pattern.

    In the host a star may take the colon before the port, after it none takes a tag's.
    """
    made, host = [], "/" in pattern
    for part in re.split(r"(\*\*|\*|/)", pattern):
        if part == "**":
            made.append("(?:[^/@]*/)?[^:@]*" if host else "[^:@]*")
        elif part == "*":
            made.append("[^/@]*" if host else "[^/:@]*")
        else:
            made.append(re.escape(part))
        host = host and part != "/"
    return f"^{''.join(made)}{tail}$"


def _text(value: str) -> str:
    """Return a CEL string literal (language definition, string and bytes values)."""
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    return f"\\U{ord(character):08x}"


def _expression(denied: Sequence[str], allowed: Sequence[str]) -> str:
    """Return what holds of an image that may run, a line for each rule."""
    none = [f"!({cel})" for cel in denied]
    some = " ||\n".join(f"({cel})" for cel in allowed) or "false"
    return " &&\n".join([*none, f"({some})"])


def _policy(rules: RuleSet, attestors: Sequence[Map], expression: str) -> Map:
    action = "Audit" if rules.mode is Mode.MONITOR else "Deny"
    return {
        "apiVersion": _API,
        "kind": "ImageValidatingPolicy",
        "metadata": {"name": resource_name(rules.name)},
        "spec": {
            "validationActions": [action],
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [_pods()]},
            "matchImageReferences": [{"glob": "*"}],
            "validationConfigurations": {
                "mutateDigest": True, "verifyDigest": True, "required": False
            },
            "attestors": list(attestors),
            "validations": list(_validations(rules, expression)),
        },
    }  # fmt: skip


def _pods() -> Map:
    return {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["pods", "pods/ephemeralcontainers"]}  # fmt: skip


def _validations(rules: RuleSet, expression: str) -> Iterator[Map]:
    for kind in _CONTAINERS:
        yield {
            "expression": f"images.{kind}.all(image,\n{expression})\n",
            "message": f"{rules.name} {rules.version} lets none of these images in ({kind})",
        }


COMPILER = Kyverno()
