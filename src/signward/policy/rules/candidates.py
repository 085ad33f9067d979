"""Candidates: the rules by which one file could be let in, the most durable first.

A publisher outlives its certificates and products, a product its versions; a digest names one file
for ever and is right for what nobody trusted has signed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from signward.findings import Code
from signward.policy.rules.model import (
    MAX_TEXT,
    Action,
    IdentityMatch,
    ProductMatch,
    PublisherMatch,
    Rule,
)
from signward.policy.rules.subject import Signer, Subject, Version

MAX_SIGNERS = 4
"""Signers of one file that candidates are made of."""

DIGESTS = tuple(
    re.compile(f"{of}:sha256:[0-9a-f]{{{digits}}}")
    for of, digits in (("oci", 64), ("file", 64), ("authenticode", 64), ("cdhash", 40))
)
"""By which digest a file is named, the first that is known."""

MAX_VERSION = 65_535
"""Highest number in a version of Windows; a floor below the version told still lets it in."""

ALTERED = frozenset({
    Code.DIGEST_MISMATCH, Code.PAGE_HASH_MISMATCH, Code.SLOT_MISSING, Code.UNCOVERED_CONTENT,
    Code.SIGNATURE_MISMATCH, Code.ATTRIBUTE_RULE, Code.ALGORITHM_INCONSISTENT,
    Code.CERTIFICATE_SIGNATURE, Code.MALFORMED, Code.AMBIGUOUS, Code.SEVERAL_ENTRIES,
    Code.LIMIT_EXCEEDED, Code.JUDGE_FAILED, Code.UNREADABLE, Code.CHANGED_WHILE_READ,
})  # fmt: skip
"""Causes that say content was changed, or could not be read as its signer meant it."""

WITHDRAWN = frozenset({
    Code.REVOKED, Code.DISTRUSTED, Code.BLOCKED, Code.PUBLISHER_REVOKED, Code.DIGEST_REVOKED,
    Code.SBAT_REVOKED, Code.REPLAYED,
})  # fmt: skip
"""Causes that say somebody took his word back."""


class Tier(IntEnum):
    """How durable a rule is."""

    PUBLISHER = 0
    PRODUCT = 1
    DIGEST = 2


class Candidate(NamedTuple):
    """A rule that could let a file in.  Equal ones are one rule.

    One of ``publisher`` and ``identity`` is given, or for digests neither: then ``name`` is the
    file's.  ``product`` or ``original_name`` narrow a publisher to a product.
    """

    tier: Tier
    name: str
    publisher: PublisherMatch | None = None
    identity: IdentityMatch | None = None
    product: str = ""
    original_name: str = ""


def is_suspect(subject: Subject) -> bool:
    """Say whether a file's own signature speaks against it: then no rule is proposed for it."""
    return subject.cause in ALTERED or subject.cause in WITHDRAWN


def candidates(subject: Subject) -> tuple[Candidate, ...]:
    """Return who signed the file, and who signed it with which product; nothing if nobody did."""
    found: list[Candidate] = []
    for signer in subject.signers[:MAX_SIGNERS]:
        wide = _of_signer(signer)
        if wide is None:
            continue
        found.append(wide)
        if narrow := _of_product(wide, subject):
            found.append(narrow)
    return tuple(dict.fromkeys(found))


def _of_signer(signer: Signer) -> Candidate | None:
    if signer.keyless_identity and signer.keyless_issuer:
        return _keyless(signer)
    publisher = publisher_match(signer)
    if publisher is None:
        return None
    return Candidate(Tier.PUBLISHER, publisher_name(signer), publisher)


def _keyless(signer: Signer) -> Candidate | None:
    identity, issuer = re.escape(signer.keyless_identity), re.escape(signer.keyless_issuer)
    if max(len(identity), len(issuer)) > MAX_TEXT:
        return None
    match = IdentityMatch(identity=identity, issuer=issuer)
    return Candidate(Tier.PUBLISHER, signer.keyless_identity, identity=match)


def publisher_match(signer: Signer) -> PublisherMatch | None:
    """Return what names a signer and outlives its certificates; a certificate as a last resort."""
    subject = signer.subject
    common_name, organization = subject.get("common_name", ""), subject.get("organization", "")
    if max(map(len, (common_name, organization, signer.identity))) > MAX_TEXT:
        return None
    if signer.identity.startswith("eku:"):
        eku = signer.identity.removeprefix("eku:").partition("@")[0]
        return PublisherMatch(eku=eku, organization=organization)
    if organization:
        return PublisherMatch(common_name=common_name, organization=organization)
    if signer.team_id:
        return PublisherMatch(team_id=signer.team_id)
    if signer.identity:
        return PublisherMatch(identity=signer.identity)
    if common_name:
        return PublisherMatch(common_name=common_name)
    if signer.certificates:
        return PublisherMatch(certificate=f"sha256:{signer.certificates[0]}")
    return None


def publisher_name(signer: Signer) -> str:
    """Return what to call a signer: for people, nothing is decided by it."""
    named = (signer.subject.get("organization"), signer.subject.get("common_name"),
             signer.keyless_identity, signer.team_id, signer.identity)  # fmt: skip
    return next(filter(None, named), "a signer without a name")


def _of_product(wide: Candidate, subject: Subject) -> Candidate | None:
    if subject.product and len(subject.product) <= MAX_TEXT:
        return wide._replace(tier=Tier.PRODUCT, product=subject.product)
    if subject.original_name and len(subject.original_name) <= MAX_TEXT:
        return wide._replace(tier=Tier.PRODUCT, original_name=subject.original_name)
    return None


def digest_of(subject: Subject) -> str:
    """Return the digest to name a file by; empty where none is known."""
    for form in DIGESTS:
        told = [digest for digest in subject.digests if form.fullmatch(digest)]
        if told:
            return min(told)
    return ""


def base_name(path: str) -> str:
    """Return the last part of a path of any system, without regard to case."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1].casefold()


def as_rule(name: str, candidate: Candidate, floor: Version | None, note: str) -> Rule:
    """Return the allow rule of a candidate by publisher; ``floor`` is its products' lowest."""
    product = None
    if candidate.tier is Tier.PRODUCT:
        product = ProductMatch(
            product=candidate.product,
            original_name=candidate.original_name,
            minimum_version=".".join(str(min(n, MAX_VERSION)) for n in floor) if floor else "",
        )
    return Rule(
        id=name,
        action=Action.ALLOW,
        note=note[:MAX_TEXT],
        publisher=candidate.publisher,
        identity=candidate.identity,
        product=product,
    )


def is_rule(candidate: Candidate) -> bool:
    """Say whether a policy may hold a candidate: what a log calls an EKU or a team may be none."""
    try:
        msgspec.convert(msgspec.to_builtins(as_rule("tried", candidate, None, "")), Rule)
    except msgspec.ValidationError:
        return False
    return True


class RuleNames:
    """Makes identifiers of rules from names that anybody may have chosen.

    None of those ``taken``, and none twice.
    """

    MAX = 48
    """Characters of a name that are kept: an identifier has up to 64."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._used: dict[str, int] = {}

    def name(self, *parts: str) -> str:
        """Return an identifier (``[a-z0-9._-]``) that says as much of ``parts`` as it can."""
        text = unicodedata.normalize("NFKD", "-".join(filter(None, parts)).casefold())
        plain = re.sub(r"[^a-z0-9._]+", "-", re.sub(r"[\u0300-\u036f]", "", text))
        plain = plain.strip("-._")[: self.MAX].rstrip("-._") or "rule"
        for tried in self._variants(plain):
            if tried not in self._taken:
                self._taken.add(tried)
                return tried
        raise AssertionError("there is always a next number")

    def _variants(self, plain: str) -> Iterator[str]:
        if plain not in self._used:
            self._used[plain] = 1
            yield plain
        while True:
            self._used[plain] += 1
            yield f"{plain}-{self._used[plain]}"
