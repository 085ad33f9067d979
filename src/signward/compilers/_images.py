"""What every compiler for container images asks of a rule: which images, signed by whom.

A rule says by ``origin`` which images it speaks of (without one: all), by ``publisher``,
``signers`` or ``identity`` who must have signed them, by ``digest`` which manifests they are.
Image names are repositories in full (``registry.example:5000/team/app``), without tag or digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from signward.compilers import Towards
from signward.compilers._lossy import Ledger
from signward.frozen import Frozen, replace
from signward.policy.rules.matching import keyless_test
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    KeyKind,
    Material,
    Mode,
    OriginMatch,
    PublisherMatch,
    Rule,
    RuleSet,
)
from signward.trust.x509 import load_certificate

IMAGES = frozenset({"image"})
ANY = "**"
"""The pattern of every image."""

Authority: TypeAlias = PublisherMatch | IdentityMatch

FIELDS = ("publisher", "signers", "identity", "digest", "origin")

LOSSES: Mapping[str, str] = {
    "publisher": "a publisher by what the target does not compare",
    "key": "a key or certificate of a kind that the target cannot hold",
    "identity": "a keyless identity that the target cannot compare (most take no expressions)",
    "signers": "several signers at once",
    "digest": "images by digest",
    "origin": "an image name, or a pattern of names, that the target cannot say",
    "product": "what a file says of itself; images say nothing",
    "path": "rules by path; images have none",
    "catalog": "rules by catalog; images are in none",
    "hosts": "rules for some hosts only",
    "audit": "an audit rule lets in without a word",
    "deny": "a denial of a signer: the target only asks for signatures",
    "exception": "files that a deny rule spares",
    "expiry": "the end of an exception: compile again before it",
    "alternative": "several ways of being signed that the target cannot offer for one image",
    "reach": "the target's scope also holds repositories beside or below those named",
    "default": "what no rule speaks of is not stopped by these files alone",
    "monitor": "monitoring: the target stops what it rejects",
    "requirement-timestamp": "a required timestamp",
    "requirement-revocation": "a required or ignored revocation status",
    "requirement-algorithm": "algorithms stronger than the target's own least",
    "requirement-log": "a required transparency log",
    "requirement-age": "a greatest age of signatures",
}
"""Every loss of image compilers; each takes those it can have."""

_SPECIAL = frozenset(r".^$*+?{}[]|()")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_HOST}(?:/{_PART})+\Z")
_NAMESPACE = re.compile(rf"{_HOST}(?:/{_PART})*\Z")
"""The grammar of the distribution project's reference package, without tag and digest."""

MAX_NAME = 512
"""Characters of a name: 255 for a repository, as many for its registry (both specifications)."""

_HUB = frozenset({"docker.io", "index.docker.io"})

_RESOURCE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


def losses(*fewer: str) -> dict[str, str]:
    """Return the table of losses without those that a target does not have."""
    return {name: text for name, text in LOSSES.items() if name not in fewer}


class Images(Frozen, frozen=True, kw_only=True):
    """One rule about images: those named by ``pattern``, with a digest of ``digests`` if any.

    At least ``least`` of ``authorities`` have signed; 0 of none: unsigned ones too.
    """

    rule: Rule
    pattern: str
    digests: tuple[str, ...]
    least: int
    authorities: tuple[Authority, ...]

    @property
    def denies(self) -> bool:
        """Say whether the rule rejects."""
        return self.rule.action is Action.DENY


def image_rules(rules: RuleSet, ledger: Ledger) -> list[Images]:
    """Return the rules that speak of images; what no image target can say is lost.

    Rules that no image can match (other digests, other origins) say nothing to these targets.
    """
    kept = []
    for rule in ledger.in_turn(rules, IMAGES):
        if ledger.lose_fields(rule, FIELDS) or not _of_images(rule):
            continue
        if not _named(rule, ledger, rules.keys):
            continue
        least, authorities = _signed(rule)
        kept.append(Images(rule=rule, pattern=_pattern(rule.origin), digests=_manifests(rule),
                           least=least, authorities=authorities))  # fmt: skip
    return kept


def lose_short_names(one: Images, ledger: Ledger) -> None:
    """Note that a denial of docker.io's images misses names that leave the registry out."""
    host = one.pattern.partition("/")[0]
    if one.pattern != ANY and ("*" in host or host in _HUB):
        text = "names that leave docker.io out, or write index.docker.io, pass it"
        ledger.lose("origin", one.rule.id, text, Towards.LOOSER)


def lose_rest(rules: RuleSet, kept: Sequence[Images], ledger: Ledger, **can: bool) -> None:
    """Lose what these targets have no word for besides rules: audit, expiry, exceptions, mode.

    ``can`` names what this one does have: ``monitor``, ``exception``.
    """
    waivers = tuple(w for w in rules.waivers if not w.kind or IMAGES & set(w.kind))
    ledger.lose_expiry(replace(rules, waivers=waivers))
    for one in kept:
        if one.rule.action is Action.AUDIT:
            ledger.lose("audit", one.rule.id, "it is let in without a word", Towards.LOOSER)
        if one.rule.id in rules.spared and not can.get("exception"):
            text = "the denial reaches what it should spare"
            ledger.lose("exception", one.rule.id, text, Towards.STRICTER)
    if rules.mode is Mode.MONITOR and not can.get("monitor"):
        ledger.lose_mode(rules)


def _of_images(rule: Rule) -> bool:
    """Say whether an image can match: origins and digests of other things match none."""
    if rule.origin and rule.origin.kind != "oci":
        return False
    return not rule.digest or bool(_manifests(rule))


def _manifests(rule: Rule) -> tuple[str, ...]:
    """Return the digests of manifests, as ``sha256:HEX``."""
    return tuple(d.removeprefix("oci:") for d in rule.digest if d.startswith("oci:"))


def _named(rule: Rule, ledger: Ledger, keys: Mapping[str, Material]) -> bool:
    """Lose what no image target says.  Raises ``PolicyError`` for what is no expression."""
    if rule.origin and rule.origin.repository:
        ledger.lose_rule("origin", rule, "an image has a name and no repository besides it")
        return False
    if rule.signers and rule.signers.least > 1 and not _distinct(rule.signers.of, keys):
        ledger.lose_rule("signers", rule, "one key stands there twice: it would count twice")
        return False
    if rule.identity:
        keyless_test(rule.id, rule.identity)
    both = [f for f in ("publisher", "signers", "identity") if getattr(rule, f)]
    if len(both) > 1:
        ledger.lose_rule(both[1], rule, f"{' and '.join(both)} in one rule")
        return False
    return True


def _distinct(publishers: Sequence[PublisherMatch], keys: Mapping[str, Material]) -> bool:
    """Say whether they are as many keys: targets count signatures, rules count signers."""
    found = [keys.get(one.key) if one.key else None for one in publishers]
    return len({(m.key or m.data) if m else n for n, m in enumerate(found)}) == len(found)


def _pattern(origin: OriginMatch | None) -> str:
    return origin.name or ANY if origin else ANY


def _signed(rule: Rule) -> tuple[int, tuple[Authority, ...]]:
    if rule.signers:
        return rule.signers.least, rule.signers.of
    one = rule.publisher or rule.identity
    return (1, (one,)) if one else (0, ())


def literal(expression: str) -> str:
    """Return the one string a regular expression matches; empty where it matches others too."""
    found = []
    characters = iter(expression)
    for character in characters:
        if character in _SPECIAL:
            return ""
        if character == "\\":
            character = next(characters, "")
            if not character or character.isalnum():
                return ""
        found.append(character)
    return "".join(found)


def anchored(expression: str) -> str:
    """Return the expression for a target that looks for a match anywhere."""
    return f"^(?:{expression})$"


def key_of(authority: Authority, rules: RuleSet) -> Material | None:
    """Return the key of a publisher given by its key and nothing else."""
    if not isinstance(authority, PublisherMatch):
        return None
    if authority != PublisherMatch(key=authority.key or "-"):
        return None
    return rules.keys[authority.key]


def public_key_pem(key: Material) -> str:
    """Return the SubjectPublicKeyInfo in PEM; empty where a signer's own key is not known.

    A certificate stands for its key if it is a signer's; a CA stands for those it certified.
    """
    if key.kind is KeyKind.PUBLIC_KEY:
        return _pem("PUBLIC KEY", key.der)
    if key.kind is KeyKind.CERTIFICATE:
        certificate = load_certificate(key.der)
        return "" if certificate.is_ca else _pem("PUBLIC KEY", certificate.spki)
    return ""


def certificate_pem(key: Material) -> str:
    """Return a certificate in PEM; empty for a key that is none."""
    return _pem("CERTIFICATE", key.der) if key.kind is KeyKind.CERTIFICATE else ""


def _pem(label: str, octets: bytes) -> str:
    text = base64.b64encode(octets).decode()
    lines = "".join(f"{text[i : i + 64]}\n" for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"


def public_key(authority: Authority, rules: RuleSet, ledger: Ledger, rule: Rule) -> str:
    """Return the PEM of a signer's public key, or lose the rule and return an empty string."""
    key = key_of(authority, rules)
    if isinstance(authority, IdentityMatch):
        ledger.lose_rule("identity", rule, "only a key says who signed an image")
        return ""
    if key is None:
        ledger.lose_rule("publisher", rule, "only a key says who signed an image")
        return ""
    pem = public_key_pem(key)
    if not pem:
        ledger.lose_rule("key", rule, f"key {key.name} is no public key of an image's signer")
    return pem


def is_repository(pattern: str) -> bool:
    """Say whether the pattern is one repository's name, in full."""
    return _fits(_REPOSITORY, pattern) and _is_host(pattern.partition("/")[0])


def is_namespace(pattern: str) -> bool:
    """Say whether the text is a registry, or a namespace or repository in one."""
    return _fits(_NAMESPACE, pattern) and _is_host(pattern.partition("/")[0])


def _fits(grammar: re.Pattern[str], name: str) -> bool:
    return len(name) <= MAX_NAME and bool(grammar.match(name))


def _is_host(name: str) -> bool:
    """Tell a registry from a first part that readers would put docker.io before."""
    return "." in name or ":" in name or name == "localhost"


def resource_name(*words: str) -> str:
    """Return a Kubernetes name (RFC 1123 label) of these words, the same for the same."""
    whole = "-".join(words)
    plain = re.sub(r"[^a-z0-9]+", "-", whole).strip("-")
    if plain == whole and _RESOURCE.match(plain):
        return plain
    return f"{plain[:48].strip('-')}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def covers(wide: str, narrow: str) -> bool:
    """Say whether every name of ``narrow`` (a pattern) is one of ``wide``; False when unsure."""
    if wide in (ANY, narrow):
        return True
    if "*" not in wide:
        return False
    return bool(_expression(wide).match(narrow)) if "*" not in narrow else _below(wide, narrow)


def _below(wide: str, narrow: str) -> bool:
    """Compare two patterns that have their stars at the end."""
    stem, deep = wide.rstrip("*"), wide.endswith("**")
    other = narrow.rstrip("*")
    if "*" in stem or "*" in other or not stem.endswith("/"):
        return False
    if deep:
        return other.startswith(stem)
    return other.startswith(stem) and "/" not in other[len(stem) :] and not narrow.endswith("**")


def disjoint(one: str, other: str) -> bool:
    """Say whether no name fits both patterns; False when unsure: what stands before stars tells."""
    if "*" not in one:
        return not covers(other, one)
    if "*" not in other:
        return not covers(one, other)
    first, second = one.partition("*")[0], other.partition("*")[0]
    return not first.startswith(second) and not second.startswith(first)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    stars = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(stars.get(p) or re.escape(p) for p in parts) + r"\Z", re.DOTALL)
