"""Google's Binary Authorization: a project's policy, and the attestors it asks for.

Spec: binaryauthorization.googleapis.com/v1.  A project's policy has one rule for all images (or a
cluster's): every attestor it names must have attested, an attestor by any one of its keys.  Names
only say which images are let in without that.  So rules that ask for signatures speak of all
images, several of one signer each become one attestor with all their keys, one of several
signers an attestor each; a signature here is an attestation made with the same key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._images import (
    ANY,
    IMAGES,
    Images,
    image_rules,
    is_namespace,
    is_repository,
    key_of,
    lose_rest,
    losses,
    public_key,
    resource_name,
)
from signward.compilers._lossy import Ledger
from signward.compilers._yaml import Value, documents
from signward.errors import BadInputError
from signward.integrity import key_size
from signward.policy.rules.model import Mode, RuleSet, Strict

Map = dict[str, Value]

Project = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]\Z")]

_CURVES = {
    "ec:secp256r1": "ECDSA_P256_SHA256",
    "ec:secp384r1": "ECDSA_P384_SHA384",
    "ec:secp521r1": "ECDSA_P521_SHA512",
}
_RSA_BITS = frozenset({2048, 3072, 4096})


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.gke-binary-authorization]``.

    ``project`` is the Google Cloud project; ``system`` lets Google's own system images in by
    Google's global policy.
    """

    project: Project = "example-project"
    system: bool = False


class BinaryAuthorization:
    """Compiles rules for container images to a Binary Authorization policy."""

    target = "gke-binary-authorization"
    title = "GKE: Binary Authorization"
    spec = "binaryauthorization.googleapis.com/v1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default", "monitor")
    settings = Settings
    checked = ("schema", "Google's protocol messages (google-cloud-binary-authorization)")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policy, and a file for each attestor."""
        ledger = Ledger(self.target)
        speaking = image_rules(rules, ledger)
        denied = [one for one in speaking if one.denies]
        exempt = [(one, pattern) for one in speaking if not one.denies and not one.authorities
                  for pattern in _patterns(one, ledger)]  # fmt: skip
        attestors = _Attestors(rules, settings, ledger)
        attested = [o for o in speaking if not o.denies and o.authorities and attestors.take(o)]
        for one in denied:
            _lose_denial(one, attested, [o for o, _ in exempt], ledger)
        kept = [*attested, *(one for one, _ in exempt)]
        lose_rest(rules, kept, ledger, monitor=True)
        ledger.lose_requirements(rules, (one.rule for one in kept))
        policy = _policy(rules, settings, [p for _, p in exempt], attestors.names)
        title = f"{rules.name} {rules.version}"
        return ledger.compiled([
            File(name="policy.yaml", content=documents([policy], title),
                 deploy="gcloud container binauthz policy import"),
            *attestors.files(title),
        ])  # fmt: skip


def _patterns(one: Images, ledger: Ledger) -> Iterator[str]:
    """Yield name patterns of images let in without attestations, or lose the rule."""
    stem = one.pattern.removesuffix("/**").removesuffix("/*")
    if one.digests and is_repository(one.pattern):
        text = "it is let in only where it is asked for by its digest"
        ledger.lose("digest", one.rule.id, text, Towards.STRICTER)
        yield from (f"{one.pattern}@{digest}" for digest in one.digests)
    elif one.digests:
        ledger.lose_rule("digest", one.rule, "a digest needs the one repository it is in")
    elif is_repository(one.pattern):
        yield from (f"{one.pattern}:*", f"{one.pattern}@*")
    elif stem != one.pattern and is_namespace(stem) and "/" in stem:
        yield one.pattern
    else:
        text = f"{one.pattern} is no pattern: a star stands last, behind a registry's name"
        ledger.lose_rule("origin", one.rule, text)


def _lose_denial(
    one: Images, attested: Sequence[Images], exempt: Sequence[Images], ledger: Ledger
) -> None:
    """Lose a denial: a policy has none, and what it denies may be attested or exempt."""
    if one.authorities or one.digests or attested or exempt:
        name = "digest" if one.digests else "deny"
        ledger.lose_rule(name, one.rule, "a policy denies nothing that it lets in otherwise")


class _Attestors:
    """The attestors that the policy asks for."""

    def __init__(self, rules: RuleSet, settings: Settings, ledger: Ledger) -> None:
        self._rules, self._project, self._ledger = rules, settings.project, ledger
        self._keys: list[dict[str, Map]] = []
        self._every = False

    @property
    def names(self) -> list[str]:
        """The attestors' resource names."""
        return [f"projects/{self._project}/attestors/{self._name(n)}"
                for n, _ in enumerate(self._keys)]  # fmt: skip

    def _name(self, number: int) -> str:
        return resource_name(self._rules.name, str(number))

    def take(self, one: Images) -> bool:
        """Add a rule's signers; say whether that was possible."""
        if one.pattern != ANY or one.digests:
            text = "attestations are asked for of all images or of none"
            self._ledger.lose_rule("digest" if one.digests else "origin", one.rule, text)
            return False
        if 1 < one.least < len(one.authorities):
            text = f"a policy cannot count {one.least} of {len(one.authorities)}"
            self._ledger.lose_rule("signers", one.rule, text)
            return False
        every = one.least > 1
        if self._keys and (every or self._every):
            self._ledger.lose_rule("alternative", one.rule, "attestors are all asked for")
            return False
        return self._add(one, every=every)

    def _add(self, one: Images, *, every: bool) -> bool:
        found: list[tuple[str, Map]] = []
        for authority in one.authorities:
            pem = public_key(authority, self._rules, self._ledger, one.rule)
            if not pem:
                return False
            key = key_of(authority, self._rules)
            algorithm = _algorithm(pem)
            if not algorithm or key is None:
                text = "attestors take RSA of 2048 to 4096 bits and EC of P-256 to P-521"
                self._ledger.lose_rule("key", one.rule, text)
                return False
            public: Map = {"publicKeyPem": pem, "signatureAlgorithm": algorithm}
            found.append((key.key, {"id": _identifier(pem), "comment": key.name,
                                    "pkixPublicKey": public}))  # fmt: skip
        self._every = every
        if every:
            self._keys.extend({name: made} for name, made in found)
        else:
            self._keys = [{**(self._keys[0] if self._keys else {}), **dict(found)}]
        return True

    def files(self, title: str) -> Iterator[File]:
        """Yield a file for each attestor."""
        for number, keys in enumerate(self._keys):
            name = self._name(number)
            note = f"projects/{self._project}/notes/{name}"
            attestor: Map = {
                "name": f"projects/{self._project}/attestors/{name}",
                "userOwnedGrafeasNote": {"noteReference": note, "publicKeys": list(keys.values())},
            }
            deploy = f"create note {note}, then attestor {name} with these keys"
            content = documents([attestor], title)
            yield File(name=f"attestors/{name}.yaml", content=content, deploy=deploy)


def _algorithm(pem: str) -> str:
    """Return the signature algorithm of attestations made with a key; empty for others."""
    try:
        family, bits = key_size(_octets(pem))
    except BadInputError:
        return ""
    if family == "rsa":
        return f"RSA_SIGN_PKCS1_{bits}_SHA256" if bits in _RSA_BITS else ""
    return _CURVES.get(family, "")


def _octets(pem: str) -> bytes:
    return base64.b64decode("".join(pem.splitlines()[1:-1]))


def _identifier(pem: str) -> str:
    """Return a key's name as Google makes it: its SHA-256 as a "named information" URI."""
    digest = hashlib.sha256(_octets(pem)).digest()
    return f"ni:///sha-256;{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _policy(
    rules: RuleSet, settings: Settings, exempt: Sequence[str], attestors: Sequence[str]
) -> Map:
    monitor = rules.mode is Mode.MONITOR
    rule: Map = {
        "evaluationMode": "REQUIRE_ATTESTATION" if attestors else "ALWAYS_DENY",
        "enforcementMode": "DRYRUN_AUDIT_LOG_ONLY" if monitor else "ENFORCED_BLOCK_AND_AUDIT_LOG",
    }
    if attestors:
        rule["requireAttestationsBy"] = list(attestors)
    return {
        "name": f"projects/{settings.project}/policy",
        "globalPolicyEvaluationMode": "ENABLE" if settings.system else "DISABLE",
        "admissionWhitelistPatterns": [{"namePattern": pattern} for pattern in exempt],
        "defaultAdmissionRule": rule,
    }


COMPILER = BinaryAuthorization()
