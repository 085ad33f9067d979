"""policy.json back into rules (containers-policy.json(5)).

In policy.json only the longest scope that holds an image speaks; among rules any that matches
lets in.  So a narrower scope becomes rules for what it takes beyond the wider ones, and one that
takes less than they do is refused: no rule says that, except for a plain ``reject``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from signward.compilers import _policy_json as words
from signward.compilers._images import is_namespace
from signward.compilers._keyrings import armored_keys
from signward.compilers._scopes import order, wider
from signward.errors import PolicyError
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    KeyKind,
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

POLICY = "policy.json"
NAME = "imported-containers-policy"
_CLAUSE = "containers-policy.json(5)"
_REJECT = (words.Reject(),)
_NAMES = frozenset({"matchRepository", "matchRepoDigestOrExact"})
"""What ``signedIdentity`` may say: names that follow the image's own."""

_Content: TypeAlias = "PublisherMatch | SignersMatch | IdentityMatch | None"
"""Who must have signed; None: nobody need have."""
_Way: TypeAlias = "tuple[_Content, bool]"
"""With whether the signature must stand in a log."""


class ContainersImporter:
    """Reads a policy.json; keys it names by path are looked for among the files."""

    target = "containers-policy"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules.  Raises ``PolicyError``."""
        if POLICY not in files:
            raise PolicyError("containers-policy", ", ".join(files)[:200] or "no file", POLICY)
        policy = words.read(files[POLICY])
        if policy.default != _REJECT:
            raise _refused("default", "another default than reject")
        for transport, scopes in policy.transports.items():
            if transport != "docker" and any(r != _REJECT for r in scopes.values()):
                raise _refused(f"transport {transport}", "one that is not rejected")
        reading = _Reading(files)
        rules = tuple(reading.rules(policy.transports.get("docker", {})))
        return reading.rule_set(rules)


class _Reading:
    """One policy on its way: the keys and log keys met so far."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._keys: dict[str, Material] = {}
        self._targets: dict[str, object] = {}

    def rules(self, docker: Mapping[str, words.Requirements]) -> Iterator[Rule]:
        """Yield the rules of the docker transport's scopes, wider ones first."""
        taken: dict[str, tuple[_Way, ...]] = {}
        denied: set[str] = set()
        count = 0
        for scope in order(docker):
            above = next((taken[w] for w in wider(scope) if w in taken), ())
            ways = taken[scope] = self._ways(docker[scope])
            if ways and any(w in denied for w in wider(scope)):
                raise _refused(f"scope {scope}", "one let in where a wider one is rejected")
            if not ways and above:
                denied.add(scope)
            elif (None, False) not in ways and any(way not in ways for way in above):
                raise _refused(f"scope {scope}", "one that takes less than a wider one")
            action = Action.DENY if scope in denied else Action.ALLOW
            new = [way for way in ways if way not in above]
            if scope in denied:
                new = [(None, False)]
            for way in new:
                for conditions in _conditions(scope):
                    count += 1
                    yield self._rule(f"docker-{count}", action, way, conditions)

    def _rule(self, name: str, action: Action, way: _Way, conditions: dict[str, object]) -> Rule:
        content, logged = way
        field = {PublisherMatch: "publisher", SignersMatch: "signers", IdentityMatch: "identity"}
        who = {field[type(content)]: content} if content is not None else {}
        requires = Requirements(log=True) if logged else None
        return Rule(id=name, action=action, kind=("image",), requires=requires,
                    **who, **conditions)  # type: ignore[arg-type]  # fmt: skip

    def _ways(self, requirements: words.Requirements) -> tuple[_Way, ...]:
        """Return the ways of being signed that are enough; empty: none is."""
        if any(isinstance(one, words.Reject) for one in requirements):
            return ()
        asked = [one for one in requirements if not isinstance(one, words.Accept)]
        if not asked:
            return ((None, False),)
        each = list(dict.fromkeys(tuple(self._alternatives(one)) for one in asked))
        if len(each) == 1:
            return tuple(dict.fromkeys(each[0]))
        return (_together(each),)

    def _alternatives(self, one: words.Requirement) -> Iterator[_Way]:
        if isinstance(one, words.SignedBy):
            _check_names(one.signed_identity)
            for ring in self._sources(one.key_path, one.key_paths, one.key_data):
                for key in armored_keys(words.keyring(ring)):
                    yield PublisherMatch(key=self._key(key)), False
        elif isinstance(one, words.SigstoreSigned):
            _check_names(one.signed_identity)
            self._logs(one)
            for data in self._sources(one.key_path, one.key_paths, one.key_data, *one.key_datas):
                name = self._key(data)
                if self._keys[name].kind is not KeyKind.PUBLIC_KEY:
                    raise _refused("keyData", "other than a public key")
                yield PublisherMatch(key=name), one.logged
            if one.fulcio:
                yield self._keyless(one.fulcio), one.logged
            if one.pki:
                raise _refused("pki", "certificates of one's own PKI")

    def _sources(self, path: str, paths: tuple[str, ...], *data: str) -> Iterator[bytes]:
        """Yield the keys' octets: inline ones, and those of files by their path or last name."""
        yield from (_decoded(text) for text in data if text)
        for name in filter(None, (path, *paths)):
            found = self._files.get(name, self._files.get(name.rpartition("/")[2]))
            if found is None:
                raise PolicyError(f"key {name}", "no such file beside policy.json", "the key")
            yield found

    def _key(self, data: bytes) -> str:
        name = f"key-{hashlib.sha256(data).hexdigest()[:16]}"
        self._keys[name] = material(name, data)
        return name

    def _logs(self, one: words.SigstoreSigned) -> None:
        found = self._sources(one.rekor_public_key_path, one.rekor_public_key_paths,
                              one.rekor_public_key_data, *one.rekor_public_key_datas)  # fmt: skip
        names = [self._key(data) for data in found]
        if names and self._targets.setdefault("rekor", names) != names:
            raise _refused("rekorPublicKey", "several logs")

    def _keyless(self, fulcio: words.Fulcio) -> IdentityMatch:
        found = list(self._sources(fulcio.ca_path, (), fulcio.ca_data))
        if len(found) != 1 or not fulcio.subject_email or not fulcio.oidc_issuer:
            raise _refused("fulcio", "other than one authority, an address and its issuer")
        name = self._key(found[0])
        if self._targets.setdefault("fulcio_ca", name) != name:
            raise _refused("fulcio", "several authorities")
        return IdentityMatch(identity=re.escape(fulcio.subject_email),
                             issuer=re.escape(fulcio.oidc_issuer))  # fmt: skip

    def rule_set(self, rules: tuple[Rule, ...]) -> RuleSet:
        """Return the rules with the keys they name."""
        layer = Layer(name=NAME, version=1, id=guid(NAME), rules=frozenset(r.id for r in rules))
        return RuleSet(
            name=NAME, version=1, id=guid(NAME), mode=Mode.ENFORCE, requirements=Requirements(),
            rules=rules, waivers=(), keys=self._keys, layers=(layer,),
            targets={"containers-policy": self._targets} if self._targets else {},
        )  # fmt: skip


def _together(each: list[tuple[_Way, ...]]) -> _Way:
    """Return several requirements, each of one key, as several signers."""
    publishers = []
    for ways in each:
        content, logged = ways[0]
        if len(ways) != 1 or not isinstance(content, PublisherMatch) or logged != each[0][0][1]:
            raise _refused("several requirements", "other than one key each")
        publishers.append(content)
    return SignersMatch(least=len(publishers), of=tuple(publishers)), each[0][0][1]


def _conditions(scope: str) -> Iterator[dict[str, object]]:
    """Yield what a rule asks for the images of a scope: a repository and what lies below it."""
    name, at, digest = scope.partition("@")
    if not scope:
        yield {}
    elif not is_namespace(name):
        raise _refused(f"scope {scope}", "a tag or a wildcard")
    elif at:
        yield {"origin": OriginMatch(kind="oci", name=name), "digest": (f"oci:{digest}",)}
    else:
        yield {"origin": OriginMatch(kind="oci", name=f"{name}/**")}
        if "/" in name:
            yield {"origin": OriginMatch(kind="oci", name=name)}


def _check_names(identity: words.SignedIdentity | None) -> None:
    if identity and identity.type not in _NAMES:
        raise _refused(f"signedIdentity {identity.type}", "another name than the image's own")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise PolicyError(POLICY, f"broken Base64: {error}", "a key", _CLAUSE) from None


def _refused(what: str, found: str) -> PolicyError:
    return PolicyError(f"{POLICY}: {what}", found, "what rules can say", _CLAUSE)


IMPORTER = ContainersImporter()
