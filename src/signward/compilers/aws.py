"""AWS: which signing profiles count: for images (EKS, by notation's AWS plug-in), and for Lambda.

Spec: AWS Signer's notation plug-in (trust store ``signingAuthority``, profiles as trusted
identities), ECR PutSigningConfiguration, Lambda CreateCodeSigningConfig.  AWS names no keys but
signing profiles: ``profiles`` in the settings says which profile a publisher's key, or a rule,
stands for.  ECR's configuration signs what is pushed; it stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, TypeAlias

import msgspec

from signward.compilers import Compiled, File
from signward.compilers._images import (
    ANY,
    IMAGES,
    Authority,
    Images,
    image_rules,
    is_repository,
    lose_rest,
    losses,
)
from signward.compilers._lossy import Ledger
from signward.frozen import Frozen
from signward.policy.rules.model import Mode, Name, PublisherMatch, RuleSet, Strict

Arn = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^arn:aws(-[a-z]+)*:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/"
        r"[a-zA-Z0-9_]{2,}(/[a-zA-Z0-9]{10})?\Z",
        max_length=200,
    ),
]
"""A signing profile, or with ten more characters one version of it."""

STORE = "signingAuthority:aws-signer-ts"
"""The trust store that the AWS Signer plug-in brings."""

MAX_RULES, MAX_FILTERS, MAX_PUBLISHERS = 10, 100, 20
"""ECR's signing rules, the filters of one; Lambda's profile versions."""

_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/(.+)\Z")
_FILTER = re.compile(r"(?:[a-z0-9*]+(?:[._-][a-z0-9*]+)*/)*[a-z0-9*]+(?:[._-][a-z0-9*]+)*\Z")
Json: TypeAlias = "dict[str, object]"


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.aws]``: ``profiles`` maps names of [keys] to signing profiles' ARNs.

    A profile version (its ARN with ten more characters) is what Lambda asks for.
    """

    profiles: dict[Name, Arn] = msgspec.field(default_factory=dict)


class _Signed(Frozen, frozen=True, kw_only=True):
    images: Images
    profiles: tuple[str, ...]


class Aws:
    """Compiles rules to what AWS Signer's consumers read."""

    target = "aws"
    title = "AWS: signing profiles for EKS, ECR and Lambda"
    spec = "AWS Signer: notation plug-in, ECR signing configuration, Lambda code signing"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default", "reach", "key")
    settings = Settings
    checked = ("schema", "botocore's own models; the trust policy by notation-go")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return a notation trust policy, and the configurations of ECR and Lambda."""
        ledger = Ledger(self.target)
        speaking = image_rules(rules, ledger)
        denied = {o.pattern: o for o in speaking if o.denies and _is_denied(o, ledger)}
        signed = [s for one in speaking if (s := _signed(one, settings, ledger))]
        kept = [*(s.images for s in signed), *denied.values()]
        lose_rest(rules, kept, ledger)
        ledger.lose_requirements(
            rules, (one.rule for one in kept), checked=frozenset({"revocation"})
        )
        return ledger.compiled(_files(rules, signed, denied))


def _is_denied(one: Images, ledger: Ledger) -> bool:
    if one.authorities:
        ledger.lose_rule("deny", one.rule, "a trust policy only says whom to trust")
        return False
    return _has_scope(one, ledger)


def _has_scope(one: Images, ledger: Ledger) -> bool:
    if one.digests:
        ledger.lose_rule("digest", one.rule, "a statement speaks of repositories")
    elif one.pattern != ANY and not is_repository(one.pattern):
        text = f"{one.pattern} is not one repository in full, and not all"
        ledger.lose_rule("origin", one.rule, text)
    else:
        return True
    return False


def _signed(one: Images, settings: Settings, ledger: Ledger) -> _Signed | None:
    if one.denies or not _has_scope(one, ledger):
        return None
    if one.least > 1:
        ledger.lose_rule("signers", one.rule, "any one profile of a statement will do")
        return None
    if not one.authorities and one.pattern == ANY:
        ledger.lose_rule("origin", one.rule, "verification cannot be skipped for all")
        return None
    found = [_profile(authority, one, settings, ledger) for authority in one.authorities]
    return _Signed(images=one, profiles=tuple(found)) if all(found) else None


def _profile(authority: Authority, one: Images, settings: Settings, ledger: Ledger) -> str:
    if not isinstance(authority, PublisherMatch):
        ledger.lose_rule("identity", one.rule, "AWS Signer's signers are signing profiles")
        return ""
    known = settings.profiles.get(authority.key)
    if known is None or authority != PublisherMatch(key=authority.key):
        text = "targets.aws.profiles names no signing profile for it"
        ledger.lose_rule("publisher", one.rule, text)
        return ""
    return known


def _files(
    rules: RuleSet, signed: Sequence[_Signed], denied: Mapping[str, Images]
) -> Iterator[File]:
    document: Json = {"version": "1.0", "trustPolicies": list(_statements(rules, signed, denied))}
    yield _json("trustpolicy.json", document, "to notation with the AWS Signer plug-in, on EKS "
                "by Ratify or Kyverno's notation extension")  # fmt: skip
    ecr = list(_ecr_rules(signed, denied))
    if ecr:
        yield _json("ecr-signing-configuration.json", {"rules": ecr[:MAX_RULES]},
                    "aws ecr put-signing-configuration --signing-configuration file://...: signs "
                    "what is pushed")  # fmt: skip
    versions = dict.fromkeys(p for s in signed if s.images.pattern == ANY for p in s.profiles)
    chosen = [arn for arn in versions if arn.count("/") == 3][:MAX_PUBLISHERS]
    if chosen and ANY not in denied:
        action = "Warn" if rules.mode is Mode.MONITOR else "Enforce"
        yield _json("lambda-code-signing-config.json", {
            "Description": f"{rules.name} {rules.version}",
            "AllowedPublishers": {"SigningProfileVersionArns": chosen},
            "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": action},
        }, "aws lambda create-code-signing-config --cli-input-json file://...")  # fmt: skip


def _json(name: str, value: Json, deploy: str) -> File:
    content = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return File(name=name, content=content, deploy=deploy)


def _statements(
    rules: RuleSet, signed: Sequence[_Signed], denied: Mapping[str, Images]
) -> Iterator[Json]:
    """Yield a statement for each repository; one for all others that trusts nobody else."""
    groups: dict[str, list[_Signed]] = {}
    for one in signed:
        groups.setdefault(one.images.pattern, []).append(one)
    everywhere = [] if ANY in denied else groups.pop(ANY, [])
    for pattern, found in groups.items():
        if pattern not in denied and ANY not in denied:
            yield _statement(rules, pattern, [*found, *everywhere])
    if everywhere:
        yield from (_rejecting(one.rule.id, pattern) for pattern, one in denied.items())
        yield _statement(rules, "*", everywhere)
    else:
        yield _rejecting("everything else", "*")


def _statement(rules: RuleSet, scope: str, found: Sequence[_Signed]) -> Json:
    made: Json = {"name": found[0].images.rule.id, "registryScopes": [scope]}
    if not all(one.profiles for one in found):
        return {**made, "signatureVerification": {"level": "skip"}}
    profiles = dict.fromkeys(profile for one in found for profile in one.profiles)
    level = "audit" if rules.mode is Mode.MONITOR else "strict"
    return {**made, "signatureVerification": {"level": level}, "trustStores": [STORE],
            "trustedIdentities": list(profiles)}  # fmt: skip


def _rejecting(name: str, scope: str) -> Json:
    """Return a statement that trusts a store which is never made."""
    return {"name": name, "registryScopes": [scope], "signatureVerification": {"level": "strict"},
            "trustStores": ["signingAuthority:signward-nobody"],
            "trustedIdentities": ["*"]}  # fmt: skip


def _ecr_rules(signed: Sequence[_Signed], denied: Mapping[str, Images]) -> Iterator[Json]:
    """Yield what ECR signs: each profile's repositories, by their names in the registry."""
    filters: dict[str, list[Json]] = {}
    for one in signed:
        match = _ECR.match(one.images.pattern)
        if not match or one.images.pattern in denied or len(one.profiles) != 1:
            continue
        name = match[1]
        if _FILTER.match(name):
            arn = "/".join(one.profiles[0].split("/")[:3])
            filters.setdefault(arn, []).append({"filter": name, "filterType": "WILDCARD_MATCH"})
    for arn, found in filters.items():
        yield {"signingProfileArn": arn, "repositoryFilters": found[:MAX_FILTERS]}


COMPILER = Aws()
