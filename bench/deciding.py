"""Measure decisions under a large policy: what one takes, and what the scan of a tree pays.

The policy is what a fleet derives: mostly digests, then publishers, products of one publisher,
denied paths and a few keyless identities.  The subjects are programs of which a part matches.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench.measure import NotMeasuredError, Row, medians
from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Layer,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome

RULES = 10_000
SUBJECTS = 5_000
AT = datetime(2026, 11, 23, tzinfo=UTC)

_SHARES = {"digests": 4500, "denied digests": 1000, "publishers": 2400, "products": 1500,
           "denied paths": 500, "identities": 100}  # fmt: skip


def decisions(rounds: int) -> list[Row]:
    """Measure a decision under 10,000 rules, about files known whole and files known in part."""
    rules = rule_set()
    started = time.perf_counter()
    index = Index(rules)
    built = time.perf_counter() - started
    whole, dim = _subjects(unknown=()), _subjects(unknown=("digest:file", "origin", "catalog"))
    shares = ", ".join(f"{number} {what}" for what, number in _SHARES.items())
    accepted = sum(decide(index, one, AT).outcome is Outcome.ACCEPTED for one in whole)
    if not 0 < accepted < len(whole):
        raise NotMeasuredError(f"{accepted} of {len(whole)} subjects let in")
    how = f"{len(whole)} subjects, {accepted} let in; {shares}; one process"
    return [
        Row(f"a decision under {RULES:,} rules", _each(index, whole, rounds), "<= 20 us", how),
        Row("the same, not everything being known", _each(index, dim, rounds), "<= 20 us", how),
        Row(f"the index of {RULES:,} rules", f"{1e3 * built:.0f} ms", "", "once a process"),
    ]


def _each(index: Index, subjects: Sequence[Subject], rounds: int) -> str:
    def decide_all() -> None:
        for subject in subjects:
            decide(index, subject, AT)

    (taken,) = medians(rounds, decide_all)
    wall, processor = (1e6 * seconds / len(subjects) for seconds in (taken.wall, taken.processor))
    return f"{wall:.1f} us ({processor:.1f} us of processor time)"


def rule_set() -> RuleSet:
    """Return the policy."""
    rules = tuple(_rules())
    if len(rules) != RULES:
        raise NotMeasuredError(f"{len(rules)} rules")
    layer = Layer(name="large", version=1, id="", rules=frozenset(rule.id for rule in rules))
    return RuleSet(name="large", version=1, id="", mode=Mode.ENFORCE, requirements=Requirements(),
                   rules=rules, waivers=(), keys={}, targets={}, layers=(layer,))  # fmt: skip


def _digest(number: int) -> str:
    return f"authenticode:sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"


def _rules() -> Iterator[Rule]:
    for n in range(_SHARES["digests"]):
        yield Rule(id=f"digest-{n}", action=Action.ALLOW, digest=(_digest(n),))
    for n in range(_SHARES["denied digests"]):
        yield Rule(id=f"bad-{n}", action=Action.DENY, digest=(_digest(10**6 + n),))
    for n in range(_SHARES["publishers"]):
        match = PublisherMatch(organization=f"Vendor {n}", country="AT")
        yield Rule(id=f"vendor-{n}", action=Action.ALLOW, publisher=match)
    large = PublisherMatch(organization="Large Corporation")
    for n in range(_SHARES["products"]):
        product = ProductMatch(original_name=f"program{n}.exe", minimum_version="1.2")
        yield Rule(id=f"product-{n}", action=Action.ALLOW, publisher=large, product=product)
    for n in range(_SHARES["denied paths"]):
        yield Rule(id=f"path-{n}", action=Action.DENY, path=(f"C:\\Users\\**\\tool{n}\\**",))
    for n in range(_SHARES["identities"]):
        identity = IdentityMatch(identity=f".*@team{n}\\.example", issuer="https://issuer.example")
        yield Rule(id=f"identity-{n}", action=Action.ALLOW, identity=identity)


def _subjects(unknown: tuple[str, ...]) -> list[Subject]:
    return [_subject(number, frozenset(unknown)) for number in range(SUBJECTS)]


def _subject(number: int, unknown: frozenset[str]) -> Subject:
    vendor = "Large Corporation" if number % 2 else f"Vendor {number % 3000}"
    return Subject(
        path=f"C:\\Program Files\\Suite\\component\\bin\\program{number}.exe",
        kind="pe",
        file_class="executable",
        digests=frozenset({_digest(3 * number)}),
        signers=(_signer(vendor),),
        product="Suite",
        original_name=f"program{number % 2000}.exe",
        internal_name="program",
        version=(2, 0, 0, number),
        outcome=Outcome.ACCEPTED,
        unknown=unknown,
    )


def _signer(organization: str) -> Signer:
    path = tuple(hashlib.sha256(f"{organization} {n}".encode()).hexdigest() for n in range(3))
    return Signer(
        identity=f"subject:{organization}/{organization}",
        subject={"common_name": organization, "organization": organization, "locality": "Wien",
                 "country": "AT"},
        certificates=path,
        names=(organization, "Issuing CA", "Root"),
        tbs=tuple(f"sha256:{one}" for one in path),
        ekus=("1.3.6.1.5.5.7.3.3",),
        key=path[0],
        key_kind="rsa-3072",
        digest="sha256",
        begins=AT,
        proven=AT,
    )  # fmt: skip
