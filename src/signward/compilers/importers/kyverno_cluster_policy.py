"""Kyverno's older ClusterPolicy (kyverno.io/v1, v2beta1) into rules: its ``verifyImages``.

Read as JSON, as ``kubectl get clusterpolicy NAME -o json`` writes it.  A ClusterPolicy says nothing
of images that none of its rules matches, a policy of ours rejects them; the rule set's note says
so.  Two rules that hold the same image ask for both: refused, no rules of ours do.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from signward.compilers._images import disjoint
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Layer,
    Material,
    Mode,
    OriginMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    SignersMatch,
)
from signward.policy.rules.reading import guid

NAME = "imported-kyverno"
MAX_OCTETS = 16 * 1024 * 1024
"""Largest policy read; Kubernetes itself stores at most 1.5 MB in one object."""

_RULE_FIELDS = frozenset({"name", "match", "verifyImages"})
_NOTE = "ClusterPolicy lets in images that none of its rules matches; these rules reject them"
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n?", re.DOTALL)


class _Words(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Ctlog(_Words, frozen=True, kw_only=True):
    url: str = ""
    ignore_tlog: bool = False
    ignore_s_c_t: bool = msgspec.field(name="ignoreSCT", default=False)


class _Keys(_Words, frozen=True, kw_only=True):
    public_keys: str
    signature_algorithm: str = "sha256"
    rekor: _Ctlog | None = None
    ctlog: _Ctlog | None = None


class _Keyless(_Words, frozen=True, kw_only=True):
    subject: str = ""
    issuer: str = ""
    subject_reg_exp: str = ""
    issuer_reg_exp: str = ""
    rekor: _Ctlog | None = None
    ctlog: _Ctlog | None = None


class _Entry(_Words, frozen=True, kw_only=True):
    keys: _Keys | None = None
    keyless: _Keyless | None = None


class _Attestors(_Words, frozen=True, kw_only=True):
    entries: tuple[_Entry, ...]
    count: int = 0


class _Images(_Words, frozen=True, kw_only=True):
    image_references: tuple[str, ...]
    attestors: tuple[_Attestors, ...] = ()
    type: str = "Cosign"
    required: bool = True
    mutate_digest: bool = True
    verify_digest: bool = True
    failure_action: str = ""


class KyvernoImporter:
    """Reads ClusterPolicy resources."""

    target = "kyverno-cluster-policy"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules of every file.  Raises ``PolicyError``."""
        reading = _Reading()
        for name, data in files.items():
            for policy in _policies(name, data):
                reading.add(name, policy)
        return reading.rule_set()


class _Reading:
    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._keys: dict[str, Material] = {}
        self._patterns: list[str] = []
        self._modes: set[Mode] = set()

    def add(self, name: str, policy: Mapping[str, Any]) -> None:
        """Take one ClusterPolicy's rules."""
        spec = _map(policy.get("spec"), name)
        for rule in _list(spec.get("rules", []), name):
            each = _map(rule, name)
            if odd := sorted(each.keys() - _RULE_FIELDS):
                raise _refused(f"a rule with {odd[0][:80]}")
            for image in _list(each.get("verifyImages", []), name):
                found = _converted(name, image)
                self._modes.add(_mode(found.failure_action or _action(spec)))
                self._take(found)

    def _take(self, found: _Images) -> None:
        if found.type != "Cosign" or not found.required:
            raise _refused(f"type {found.type}, required {found.required}")
        if len(found.attestors) != 1:
            raise _refused(f"{len(found.attestors)} sets of attestors")
        who = self._who(found.attestors[0])
        for reference in found.image_references:
            pattern = _pattern(reference)
            self._check_apart(pattern)
            for field, content, logged in who:
                count = len(self._rules) + 1
                self._rules.append(Rule(
                    id=f"verify-{count}", action=Action.ALLOW, kind=("image",),
                    origin=OriginMatch(kind="oci", name=pattern),
                    requires=Requirements(log=True) if logged else None,
                    **{field: content},
                ))  # fmt: skip

    def _check_apart(self, pattern: str) -> None:
        for other in self._patterns:
            if not disjoint(pattern, other):
                raise _refused(f"images of both {pattern} and {other}")
        self._patterns.append(pattern)

    def _who(self, attestors: _Attestors) -> list[tuple[str, Any, bool]]:
        """Return the rules' fields: any one of the entries, or so many of them."""
        each = [found for entry in attestors.entries for found in self._entry(entry)]
        least = attestors.count or len(attestors.entries)
        if not each or least > len(each):
            raise _refused(f"{len(each)} entries of which {least} must be met")
        if least == 1:
            return each
        if any(field != "publisher" or logged != each[0][2] for field, _, logged in each):
            raise _refused("several entries that must all be met, not all of them keys")
        signers = SignersMatch(least=least, of=tuple(content for _, content, _ in each))
        return [("signers", signers, each[0][2])]

    def _entry(self, entry: _Entry) -> Iterator[tuple[str, Any, bool]]:
        if (entry.keys is None) == (entry.keyless is None):
            raise _refused("an entry with neither or both of keys and keyless")
        if entry.keyless:
            yield "identity", _identity(entry.keyless), True
        elif entry.keys:
            pems = _PEM.findall(entry.keys.public_keys)
            if len(pems) != 1 or entry.keys.signature_algorithm != "sha256":
                raise _refused("keys other than one in PEM with sha256")
            yield "publisher", PublisherMatch(key=self._key(pems[0])), _logged(entry.keys.rekor)

    def _key(self, pem: str) -> str:
        data = pem.encode()
        name = f"key-{hashlib.sha256(data).hexdigest()[:16]}"
        self._keys[name] = material(name, data)
        return name

    def rule_set(self) -> RuleSet:
        """Return the rules with their keys.  Raises ``PolicyError``."""
        if len(self._modes) > 1:
            raise _refused("some rules that enforce and some that only audit")
        rules = tuple(self._rules)
        layer = Layer(name=NAME, version=1, id=guid(NAME), rules=frozenset(r.id for r in rules))
        return RuleSet(
            name=NAME, version=1, id=guid(NAME), mode=next(iter(self._modes), Mode.ENFORCE),
            requirements=Requirements(), rules=rules, waivers=(), keys=self._keys, targets={},
            layers=(layer,), note=_NOTE,
        )  # fmt: skip


def _policies(name: str, data: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the ClusterPolicies of a resource or a list of them."""
    if len(data) > MAX_OCTETS:
        raise PolicyError(name, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise PolicyError(name, "no JSON", "kubectl get clusterpolicy -o json") from None
    whole = _map(found, name)
    items = _list(whole.get("items", []), name) if whole.get("kind") == "List" else [whole]
    for item in items:
        one = _map(item, name)
        if one.get("kind") != "ClusterPolicy":
            raise PolicyError(name, f"kind {str(one.get('kind'))[:80]}", "ClusterPolicy")
        yield one


def _map(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(name, type(value).__name__, "a JSON object")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(name, type(value).__name__, "a JSON array")
    return value


def _converted(name: str, value: object) -> _Images:
    try:
        return msgspec.convert(value, _Images)
    except (msgspec.ValidationError, UnicodeError) as error:  # JSON may hold half a character
        raise PolicyError(f"{name}: verifyImages", str(error), "what rules can say") from None


def _action(spec: Mapping[str, Any]) -> str:
    return str(spec.get("validationFailureAction", "Audit"))


def _mode(action: str) -> Mode:
    """Return the mode of Enforce and Audit; the default is Audit."""
    return Mode.ENFORCE if action.lower() == "enforce" else Mode.MONITOR


def _logged(rekor: _Ctlog | None) -> bool:
    return rekor is None or not rekor.ignore_tlog


def _identity(keyless: _Keyless) -> IdentityMatch:
    subject = keyless.subject_reg_exp or _wildcards(keyless.subject)
    issuer = keyless.issuer_reg_exp or re.escape(keyless.issuer)
    if not subject or not issuer:
        raise _refused("a keyless entry without subject or issuer")
    unanchored = [e for e in (keyless.subject_reg_exp, keyless.issuer_reg_exp) if e]
    if any(not (e.startswith("^") and e.endswith("$")) for e in unanchored):
        raise _refused("an expression that is not anchored at both ends")
    return IdentityMatch(identity=subject, issuer=issuer)


def _wildcards(text: str) -> str:
    """Return the expression of Kyverno's wildcards: ``*`` any characters, ``?`` one."""
    stars = {"*": ".*", "?": "."}
    return "".join(stars.get(part) or re.escape(part) for part in re.split(r"([*?])", text))


def _pattern(reference: str) -> str:
    """Return our pattern of a reference; Kyverno's star takes any characters, tags too."""
    name = reference.removesuffix(":*")
    if name == reference and not name.endswith("*"):
        raise _refused(f"image reference {reference!r}, a single tag")
    if any(c in name for c in "?@[{") or ":" in name.partition("/")[2]:
        raise _refused(f"image reference {reference!r}")
    return re.sub(r"\*+", "**", name)


def _refused(found: str) -> PolicyError:
    return PolicyError("ClusterPolicy: verifyImages", found, "what rules can say")


IMPORTER = KyvernoImporter()
