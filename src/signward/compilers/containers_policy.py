"""containers policy.json with its registries.d: podman, skopeo, CRI-O, buildah.

Spec: containers-policy.json(5), containers-registries.d(5).  Rules become scopes of the docker
transport; of the scopes that hold an image only the longest speaks, so each says again what wider
rules let in.  Requirements in one scope are all asked for, alternatives only exist as several
keys of one kind: what else may be signed "this way or that" is lost.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from signward.compilers import Compiled, File, Towards
from signward.compilers import _policy_json as words
from signward.compilers._images import (
    IMAGES,
    Authority,
    Images,
    certificate_pem,
    image_rules,
    is_repository,
    key_of,
    literal,
    lose_rest,
    losses,
    public_key,
    public_key_pem,
)
from signward.compilers._lossy import Ledger
from signward.compilers._scopes import lose_reach, order, scope_of, wider
from signward.compilers._yaml import Value, documents
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.force import requirements_of
from signward.policy.rules.model import (
    IdentityMatch,
    KeyKind,
    Material,
    Name,
    Rule,
    RuleSet,
    Strict,
    Text,
)

POLICY, REGISTRIES = "policy.json", "registries.d/signward.yaml"


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.containers-policy]``.

    ``fulcio_ca`` and ``rekor`` name [keys] that keyless signatures and log entries are held
    against; ``lookaside`` is where OpenPGP signatures are read from (a URL); ``several_keys``
    false is for readers that know no ``keyDatas``.
    """

    fulcio_ca: Name | None = None
    rekor: tuple[Name, ...] = ()
    lookaside: Text = ""
    several_keys: bool = True


class _Way(Frozen, frozen=True, kw_only=True):
    """One way of being signed: an OpenPGP keyring, a public key, or a keyless identity."""

    keyring: bytes = b""
    key: str = ""
    email: str = ""
    issuer: str = ""
    logged: bool = False


class _Trust(Frozen, frozen=True, kw_only=True):
    """What keyless signatures and log entries are held against, in PEM."""

    ca: str
    rekor: tuple[str, ...]
    several: bool


class _Demand(Frozen, frozen=True, kw_only=True):
    """What one rule asks of an image: one of the ways, or with ``every`` all; none: nothing."""

    rule: Rule
    ways: tuple[_Way, ...]
    every: bool


class ContainersPolicy:
    """Compiles rules for container images to policy.json."""

    target = "containers-policy"
    title = "containers policy.json: podman, skopeo, CRI-O"
    spec = "containers-policy.json(5), containers-registries.d(5)"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default")
    settings = Settings
    checked = ("executed", "skopeo, podman and their library, with a registry of signed images")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return policy.json and registries.d/signward.yaml."""
        ledger = Ledger(self.target)
        speaking = image_rules(rules, ledger)
        denied = [one for one in speaking if one.denies and _is_denied(one, ledger)]
        trust = _trust(rules, settings)
        demands = list(_demands(rules, speaking, trust, ledger))
        scopes, kept = _scopes(denied, demands, trust, ledger)
        said = [one for one, demand in demands if demand.rule.id in kept] + denied
        lose_reach(said, ledger)
        lose_rest(rules, said, ledger)
        checked = frozenset({"log"} if trust.rekor else ())
        ledger.lose_requirements(rules, (one.rule for one in said), checked=checked)
        policy = words.Policy(default=(words.Reject(),), transports=_transports(scopes))
        return ledger.compiled(_files(rules, policy, settings))


def _transports(
    scopes: Mapping[str, words.Requirements],
) -> dict[str, dict[str, words.Requirements]]:
    return {"docker": dict(scopes)} if scopes else {}


def _files(rules: RuleSet, policy: words.Policy, settings: Settings) -> Iterator[File]:
    yield File(name=POLICY, content=words.write(policy), deploy="to /etc/containers/policy.json; "
               "images of other transports than registries are rejected")  # fmt: skip
    registries = _registries(policy, settings)
    if registries:
        title = f"{rules.name} {rules.version}: where signatures are read from"
        yield File(name=REGISTRIES, content=documents([registries], title),
                   deploy="to /etc/containers/registries.d/signward.yaml")  # fmt: skip


def _is_denied(one: Images, ledger: Ledger) -> bool:
    if one.authorities:
        ledger.lose_rule("deny", one.rule, "policy.json cannot ask that a signature is missing")
    elif one.digests:
        text = "an image asked for by its tag would pass a denial of its digest"
        ledger.lose_rule("digest", one.rule, text)
    elif scope_of(one.pattern) is None:
        ledger.lose_rule("origin", one.rule, f"{one.pattern} is no scope")
    else:
        return True
    return False


def _demands(
    rules: RuleSet, speaking: Sequence[Images], trust: _Trust, ledger: Ledger
) -> Iterator[tuple[Images, _Demand]]:
    """Yield what the rules that let in ask, without those that no requirement says."""
    for one in speaking:
        if one.denies or not _has_scopes(one, ledger):
            continue
        ways = [_way(authority, one.rule, rules, trust, ledger) for authority in one.authorities]
        found = tuple(way for way in ways if way)
        if len(found) != len(ways):
            continue
        if 1 < one.least < len(ways):
            text = f"policy.json cannot count {one.least} of {len(ways)}"
            ledger.lose_rule("signers", one.rule, text)
            continue
        yield one, _Demand(rule=one.rule, ways=found, every=one.least > 1)


def _has_scopes(one: Images, ledger: Ledger) -> bool:
    if one.digests and not is_repository(one.pattern):
        ledger.lose_rule("digest", one.rule, "a digest needs the one repository it is in")
        return False
    if one.digests:
        text = "it is let in only where it is asked for by its digest"
        ledger.lose("digest", one.rule.id, text, Towards.STRICTER)
    if scope_of(one.pattern) is None:
        text = f"{one.pattern} is no scope: a registry, namespace or repository, /** below it"
        ledger.lose_rule("origin", one.rule, text)
        return False
    return True


def _way(
    authority: Authority, rule: Rule, rules: RuleSet, trust: _Trust, ledger: Ledger
) -> _Way | None:
    wanted = requirements_of(rule, rules).log
    logged = bool(trust.rekor) and wanted
    if isinstance(authority, IdentityMatch):
        return _keyless(authority, rule, trust, ledger)
    key = key_of(authority, rules)
    if key is not None and key.kind is KeyKind.OPENPGP:
        if logged:
            text = "an OpenPGP signature is in no log"
            ledger.lose("requirement-log", rule.id, text, Towards.LOOSER)
        return _Way(keyring=words.keyring(key.data))
    pem = public_key(authority, rules, ledger, rule)
    return _Way(key=pem, logged=logged) if pem else None


def _keyless(authority: IdentityMatch, rule: Rule, trust: _Trust, ledger: Ledger) -> _Way | None:
    email, issuer = literal(authority.identity), literal(authority.issuer)
    if not email or not issuer:
        text = "policy.json compares exactly; escape what is no expression (\\.)"
    elif "@" not in email or ":" in email:
        text = "policy.json knows no identities but e-mail addresses"
    elif not trust.ca or not trust.rekor:
        text = "targets.containers-policy names no fulcio_ca and rekor keys"
    else:
        return _Way(email=email, issuer=issuer, logged=True)
    ledger.lose_rule("identity", rule, text)
    return None


def _scopes_of(one: Images) -> tuple[str, ...]:
    if one.digests:
        return tuple(f"{one.pattern}@{digest}" for digest in one.digests)
    return (scope_of(one.pattern) or "",)


def _scopes(
    denied: Sequence[Images],
    demands: Sequence[tuple[Images, _Demand]],
    trust: _Trust,
    ledger: Ledger,
) -> tuple[dict[str, words.Requirements], set[str]]:
    """Return the requirements of every scope, and the names of the rules they express."""
    own: dict[str, list[_Demand]] = {}
    for one, demand in demands:
        for scope in _scopes_of(one):
            own.setdefault(scope, []).append(demand)
    lost = _without_equal(own, trust, ledger)
    own = {scope: [d for d in found if d.rule.id not in lost] for scope, found in own.items()}
    closed = {shut for one in denied if (shut := scope_of(one.pattern)) is not None}
    kept_scopes = {scope for scope, found in own.items() if found} | closed
    asked = _inherited(own, kept_scopes)
    scopes: dict[str, words.Requirements] = {}
    for scope in order(kept_scopes):
        rejected = scope in closed or any(w in closed for w in wider(scope))
        said = None if rejected else _combined(asked[scope], trust)
        scopes[scope] = said or (words.Reject(),)
    return scopes, {demand.rule.id for found in own.values() for demand in found}


def _without_equal(own: Mapping[str, Sequence[_Demand]], trust: _Trust, ledger: Ledger) -> set[str]:
    """Lose rules that no scope can offer beside those before them; wider scopes come first."""
    lost: set[str] = set()
    fitting: dict[str, list[_Demand]] = {}
    for scope in order(own):
        above = next((fitting[w] for w in wider(scope) if w in fitting), [])
        fitting[scope] = list(above)
        for demand in own[scope]:
            if demand.rule.id in lost:
                continue
            if _combined([*fitting[scope], demand], trust) is not None:
                fitting[scope].append(demand)
                continue
            lost.add(demand.rule.id)
            where = scope or "of all images"
            text = f"scope {where} asks for another kind of signature by another rule"
            ledger.lose_rule("alternative", demand.rule, text)
    return lost


def _inherited(own: Mapping[str, Sequence[_Demand]], scopes: set[str]) -> dict[str, list[_Demand]]:
    """Return every scope's demands with those of the scopes that hold it."""
    found: dict[str, list[_Demand]] = {}
    for scope in order(scopes):
        above = next((found[w] for w in wider(scope) if w in found), [])
        found[scope] = [*above, *own.get(scope, ())]
    return found


def _combined(demands: Sequence[_Demand], trust: _Trust) -> words.Requirements | None:
    """Return what any of the demands asks as one scope's requirements; None where none can."""
    if any(not demand.ways for demand in demands):
        return (words.Accept(),)
    if not demands:
        return (words.Reject(),)
    every = [demand for demand in demands if demand.every]
    if every:
        alike = {demand.ways for demand in demands}
        return _each(every[0].ways, trust) if len(alike) == 1 else None
    ways = tuple(dict.fromkeys(way for demand in demands for way in demand.ways))
    return _any(ways, trust)


def _each(ways: Sequence[_Way], trust: _Trust) -> words.Requirements:
    return tuple(_one_of((way,), trust) for way in ways)


def _any(ways: Sequence[_Way], trust: _Trust) -> words.Requirements | None:
    """Return one requirement that any of the ways meets: they must be of one kind."""
    first, several = ways[0], len(ways) > 1
    if several and (first.email or not (first.keyring or trust.several)):
        return None
    alike = {(bool(w.keyring), bool(w.key), w.logged) for w in ways}
    return (_one_of(ways, trust),) if len(alike) == 1 else None


def _one_of(ways: Sequence[_Way], trust: _Trust) -> words.Requirement:
    """Return one requirement that any of the ways, all of one kind, meets."""
    first = ways[0]
    if first.keyring:
        rings = base64.b64encode(b"".join(way.keyring for way in ways)).decode()
        return words.SignedBy(key_type="GPGKeys", key_data=rings)
    fulcio = None
    if first.email:
        fulcio = words.Fulcio(ca_data=_data(trust.ca), oidc_issuer=first.issuer,
                              subject_email=first.email)  # fmt: skip
    keys = tuple(_data(way.key) for way in ways if way.key)
    logs = tuple(map(_data, trust.rekor)) if first.logged else ()
    return words.SigstoreSigned(
        key_data=keys[0] if len(keys) == 1 else "",
        key_datas=keys if len(keys) > 1 else (),
        fulcio=fulcio,
        rekor_public_key_data=logs[0] if len(logs) == 1 else "",
        rekor_public_key_datas=logs if len(logs) > 1 else (),
        signed_identity=words.SignedIdentity(type="matchRepository"),
    )


def _data(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


def _trust(rules: RuleSet, settings: Settings) -> _Trust:
    """Return the material that the settings name.  Raises ``PolicyError``."""
    ca = certificate_pem(_named(rules, settings.fulcio_ca)) if settings.fulcio_ca else ""
    if settings.fulcio_ca and not ca:
        raise PolicyError("fulcio_ca", f"key {settings.fulcio_ca}", "a certificate")
    rekor = tuple(public_key_pem(_named(rules, name)) for name in settings.rekor)
    if not all(rekor):
        raise PolicyError("rekor", "a key of another kind", "public keys")
    return _Trust(ca=ca, rekor=rekor, several=settings.several_keys)


def _named(rules: RuleSet, name: str) -> Material:
    if name not in rules.keys:
        raise PolicyError("targets.containers-policy", f"key {name!r}", "a name of [keys]")
    return rules.keys[name]


def _registries(policy: words.Policy, settings: Settings) -> dict[str, Value]:
    """Return registries.d: sigstore signatures are only looked for where it says so."""
    found: dict[str, Value] = {}
    for scope, requirements in policy.transports.get("docker", {}).items():
        where: dict[str, Value] = {}
        if any(isinstance(one, words.SigstoreSigned) for one in requirements):
            where["use-sigstore-attachments"] = True
        if settings.lookaside and any(isinstance(one, words.SignedBy) for one in requirements):
            where["lookaside"] = settings.lookaside
        if where:
            found[scope.partition("@")[0]] = where
    default = found.pop("", None)
    return {**({"default-docker": default} if default else {}),
            **({"docker": found} if found else {})}  # fmt: skip


COMPILER = ContainersPolicy()
