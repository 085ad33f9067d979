"""Requirements held against the signers that a rule relies on.

A rule relies on those by whom it matched.  One that names no signer (a digest, a path) relies on
none, and is asked for something only by its own ``requires``: then some trusted signer must meet
it.  What a digest or a key is that a source does not tell counts as the least that trust asks of
any signature, so it is unknown only to who asks for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from signward.frozen import Frozen
from signward.policy.rules.matching import (
    MET,
    SignerTest,
    keyless_test,
    pairs,
    parties,
    signer_test,
)
from signward.policy.rules.model import Conditions, Material, Requirements
from signward.policy.rules.subject import Signer, Subject
from signward.state import Status
from signward.trust.settings import RevocationMode

DIGESTS = {"sha1": 0, "sha256": 1, "sha3_256": 1, "sha384": 2, "sha3_384": 2, "sha512": 3,
           "sha3_512": 3}  # fmt: skip
"""Digest algorithms by strength; others are below them all."""

_DEFAULT = Requirements()


class Lack(Frozen, frozen=True, kw_only=True):
    """What a signer lacks, by the names of `Requirements`, and what is not known to say so."""

    unmet: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()


NOTHING = Lack()


class Reliance(Frozen, frozen=True, kw_only=True):
    """Signers a rule relies on: ``least`` parties, each fitting a test of its own."""

    tests: tuple[SignerTest, ...]
    least: int = 1


def reliances(
    rule: Conditions, keys: Mapping[str, Material], *, asked: bool
) -> tuple[Reliance, ...]:
    """Return whom a rule relies on; ``asked``: it has requirements of its own."""
    found = []
    if rule.publisher:
        found.append(Reliance(tests=(signer_test(rule.publisher, keys),)))
    if rule.signers:
        tests = tuple(signer_test(one, keys) for one in rule.signers.of)
        found.append(Reliance(tests=tests, least=rule.signers.least))
    if rule.identity:
        keyless = keyless_test(rule.id, rule.identity)
        found.append(Reliance(tests=(lambda signer, _: MET if keyless(signer) else None,)))
    if not found and asked:
        found.append(Reliance(tests=(lambda _signer, _unknown: MET,)))
    return tuple(found)


def lack_of(reliance: Reliance, wanted: Requirements, subject: Subject, at: datetime) -> Lack:
    """Return what the signers relied on lack of what is wanted; nothing if they meet it."""
    unknown = subject.unknown
    if len(reliance.tests) == 1:
        return _lack_of_one(reliance.tests[0], wanted, subject, at)
    several = parties(subject)
    lacks: dict[tuple[int, int], Lack] = {}
    for row, test in enumerate(reliance.tests):
        for column, party in enumerate(several):
            fitting = [lack(s, wanted, unknown, at) for s in party if test(s, unknown) == MET]
            if fitting:
                lacks[row, column] = min(fitting, key=_gravity)
    if _enough(reliance, several, {edge for edge, one in lacks.items() if one == NOTHING}):
        return NOTHING
    open_ = {edge: one for edge, one in lacks.items() if not one.unmet}
    if _enough(reliance, several, set(open_)):
        return Lack(missing=frozenset().union(*(one.missing for one in open_.values())))
    return Lack(unmet=frozenset().union(*(one.unmet for one in lacks.values())))


def _lack_of_one(test: SignerTest, wanted: Requirements, subject: Subject, at: datetime) -> Lack:
    """Return what the best of the signers that fit a test lacks."""
    least: Lack | None = None
    for signer in subject.signers:
        if test(signer, subject.unknown) == MET:
            one = lack(signer, wanted, subject.unknown, at)
            if one is NOTHING:
                return NOTHING
            least = one if least is None else min(least, one, key=_gravity)
    if least is not None:
        return least
    nobody = frozenset({"signers"})
    return Lack(missing=nobody) if "signers" in subject.unknown else Lack(unmet=nobody)


def _gravity(one: Lack) -> tuple[bool, bool]:
    return bool(one.unmet), bool(one.missing)


def _enough(reliance: Reliance, several: Sequence[object], fits: set[tuple[int, int]]) -> bool:
    if reliance.least == 1:
        return bool(fits)
    rows = range(len(reliance.tests))
    table = [[(row, column) in fits for column in range(len(several))] for row in rows]
    return pairs(table) >= reliance.least


def lack(signer: Signer, wanted: Requirements, unknown: frozenset[str], at: datetime) -> Lack:
    """Return what one signer lacks."""
    unmet: set[str] = set()
    missing: set[str] = set()
    if wanted.timestamp and signer.proven is None:
        if "proven-time" in unknown:
            missing.add("proven-time")
        else:
            unmet.add("timestamp")
    if wanted.log and not signer.logged:
        unmet.add("log")
    _revocation(signer, wanted, unmet, missing)
    _algorithms(signer, wanted, unmet, missing)
    if wanted.max_age_days:
        _age(signer, wanted, unknown, at, unmet, missing)
    if not unmet and not missing:
        return NOTHING
    return Lack(unmet=frozenset(unmet), missing=frozenset(missing))


def _revocation(signer: Signer, wanted: Requirements, unmet: set[str], missing: set[str]) -> None:
    """Require a known status; one revoked is good only where a proven time puts it before."""
    if wanted.revocation is RevocationMode.IGNORE:
        return
    if signer.revocation is Status.REVOKED and signer.proven is None:
        unmet.add("revocation")
    elif signer.revocation is Status.UNKNOWN and wanted.revocation is RevocationMode.REQUIRE:
        missing.add("revocation")


def _algorithms(signer: Signer, wanted: Requirements, unmet: set[str], missing: set[str]) -> None:
    if not signer.digest:
        if DIGESTS[wanted.minimum_digest] > DIGESTS[_DEFAULT.minimum_digest]:
            missing.add("signers.digest")
    elif DIGESTS.get(signer.digest, -1) < DIGESTS[wanted.minimum_digest]:
        unmet.add("minimum_digest")
    scheme, _, bits = signer.key_kind.partition("-")
    field = {"rsa": "minimum_rsa", "dsa": "minimum_rsa", "ec": "minimum_ec"}.get(scheme, "")
    if field and bits.isdecimal() and int(bits) < getattr(wanted, field):
        unmet.add(field)
    if not signer.key_kind and _above_default(wanted):
        missing.add("signers.key")


def _above_default(wanted: Requirements) -> bool:
    return wanted.minimum_rsa > _DEFAULT.minimum_rsa or wanted.minimum_ec > _DEFAULT.minimum_ec


def _age(
    signer: Signer,
    wanted: Requirements,
    unknown: frozenset[str],
    at: datetime,
    unmet: set[str],
    missing: set[str],
) -> None:
    since = signer.proven or (None if "proven-time" in unknown else signer.begins)
    if since is None:
        if "proven-time" in unknown:
            missing.add("proven-time")
        else:
            unmet.add("max_age_days")
    elif at - since > timedelta(days=wanted.max_age_days):
        unmet.add("max_age_days")
