"""Conditions held against a subject, in three values.

A condition *holds* as a set of names: those, unknown of the subject, that the answer hangs on.
The empty set is *met*; `UNMET` is not met whatever the unknown turns out to be.  What a source
does tell counts even where it does not tell everything: a name in ``Subject.unknown`` excuses only
what is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from signward.errors import PolicyError
from signward.policy.rules.model import (
    Conditions,
    IdentityMatch,
    KeyKind,
    Material,
    OriginMatch,
    ProductMatch,
    PublisherMatch,
    SignersMatch,
)
from signward.policy.rules.paths import name_pattern, path_pattern
from signward.policy.rules.subject import Signer, Subject, Version

Held = frozenset[str] | None
"""How a condition holds, see above."""
MET: frozenset[str] = frozenset()
UNMET = None

Test = Callable[[Subject], Held]
SignerTest = Callable[[Signer, frozenset[str]], Held]

SUBJECT_FIELDS = ("common_name", "organization", "unit", "locality", "state", "country",
                  "serial_number")  # fmt: skip
"""Fields of `PublisherMatch` that are of the leaf's subject."""

NAMES = {"product": "product", "original_name": "original-name", "internal_name": "internal-name",
         "bundle_id": "bundle-id"}  # fmt: skip
"""Fields of `ProductMatch` to what `UNKNOWABLE` calls them."""

MAX_IDENTITY = 2048
"""Characters of a keyless identity that a regular expression is tried on: a longer one is none."""

_NO_SIGNERS = frozenset({"signers"})
_ZERO: Version = (0, 0, 0, 0)


def all_of(held: Iterable[Held]) -> Held:
    """Return how conditions hold together."""
    missing = MET
    for one in held:
        if one is None:
            return UNMET
        missing |= one
    return missing


def any_of(held: Iterable[Held]) -> Held:
    """Return how one of several holds."""
    missing: Held = UNMET
    for one in held:
        if one is not None:
            if not one:
                return MET
            missing = one if missing is None else missing | one
    return missing


def tests_of(rule: Conditions, keys: Mapping[str, Material]) -> tuple[tuple[str, Test], ...]:
    """Return the tests of a rule's conditions by name, the cheap ones first.

    Raises ``PolicyError`` for a regular expression that is none.
    """
    return tuple(_tests(rule, keys))


def _tests(rule: Conditions, keys: Mapping[str, Material]) -> Iterator[tuple[str, Test]]:
    if rule.kind:
        yield "kind", _kind(frozenset(rule.kind))
    if rule.hosts:
        yield "hosts", _hosts(frozenset(rule.hosts))
    if rule.digest:
        yield "digest", _digest(rule.digest)
    if rule.product:
        yield "product", _product(rule.product)
    if rule.publisher:
        yield "publisher", _publisher(rule.publisher, keys)
    if rule.signers:
        yield "signers", _signers(rule.signers, keys)
    if rule.identity:
        yield "identity", _identity(rule.id, rule.identity)
    if rule.catalog:
        yield "catalog", _catalog(frozenset(rule.catalog) - {""})
    if rule.origin:
        yield "origin", _origin(rule.origin)
    if rule.path:
        yield "path", _path(rule.path)


def version_of(text: str) -> Version:
    """Return the four numbers of a version in a rule, missing ones zero."""
    numbers = [int(part) for part in text.split(".")] if text else []
    first, second, third, fourth = (*numbers, 0, 0, 0, 0)[:4]
    return first, second, third, fourth


def _told(missing: str, unknown: frozenset[str]) -> Held:
    """Return how a condition holds that nothing told fits."""
    return frozenset({missing}) if missing in unknown else UNMET


def _kind(kinds: frozenset[str]) -> Test:
    def test(subject: Subject) -> Held:
        if subject.file_class in kinds or subject.kind in kinds:
            return MET
        if subject.classes and subject.classes <= kinds:
            return MET
        if subject.classes and subject.kind and subject.classes.isdisjoint(kinds):
            return UNMET
        return _told("kind", subject.unknown)

    return test


def _hosts(hosts: frozenset[str]) -> Test:
    def test(subject: Subject) -> Held:
        if subject.host.casefold() in hosts or not hosts.isdisjoint(subject.tags):
            return MET
        return _told("host", subject.unknown)

    return test


def _digest(digests: Sequence[str]) -> Test:
    if len(digests) == 1:
        return _one_digest(digests[0])
    tests = [_one_digest(digest) for digest in digests]
    wanted = frozenset(digests)

    def test(subject: Subject) -> Held:
        if not wanted.isdisjoint(subject.digests):
            return MET
        return any_of(one(subject) for one in tests)

    return test


def told_digests(subject: Subject) -> frozenset[str]:
    """Return all digests told of a file, also those that do not answer for all of it."""
    return subject.digests | subject.partial if subject.partial else subject.digests


def _one_digest(digest: str) -> Test:
    of, algorithm, _ = digest.split(":")
    missing = frozenset({f"digest:{of}"})
    name, same_kind, same = f"digest:{of}", f"{of}:", f"{of}:{algorithm}:"

    def test(subject: Subject) -> Held:
        if digest in subject.digests:
            return MET
        if digest in subject.partial:
            return missing
        told = [d for d in told_digests(subject) if d.startswith(same_kind)]
        if any(d.startswith(same) for d in told):
            return UNMET
        return missing if told or name in subject.unknown else UNMET

    return test


def _product(match: ProductMatch) -> Test:
    wanted = [(field, fold_name(field, getattr(match, field)), missing)
              for field, missing in NAMES.items() if getattr(match, field)]  # fmt: skip
    least = version_of(match.minimum_version) if match.minimum_version else None
    most = version_of(match.maximum_version) if match.maximum_version else None

    def test(subject: Subject) -> Held:
        missing = MET
        for field, value, name in wanted:
            found = getattr(subject, field)
            if fold_name(field, found) != value:
                if found or name not in subject.unknown:
                    return UNMET
                missing |= {name}
        if least is None and most is None:
            return missing
        within = _version(subject, least, most)
        return UNMET if within is None else missing | within

    return test


def fold_name(field: str, value: str) -> str:
    """Return what a file says of itself as it is compared: Windows's names without their case."""
    return value if field == "bundle_id" else value.casefold()


def _version(subject: Subject, least: Version | None, most: Version | None) -> Held:
    if subject.version is None:
        return _told("version", subject.unknown)
    met = (least or _ZERO) <= subject.version and (most is None or subject.version <= most)
    return MET if met else UNMET


def is_below(match: ProductMatch, subject: Subject) -> bool:
    """Say whether a file is of a product in all but its version, which is below the floor."""
    if not match.minimum_version or subject.version is None:
        return False
    named = all(
        fold_name(field, getattr(subject, field)) == fold_name(field, getattr(match, field))
        for field in NAMES
        if getattr(match, field)
    )
    return named and subject.version < version_of(match.minimum_version)


def _publisher(match: PublisherMatch, keys: Mapping[str, Material]) -> Test:
    fits = signer_test(match, keys)

    def test(subject: Subject) -> Held:
        if not subject.signers:
            return _NO_SIGNERS if "signers" in subject.unknown else UNMET
        unknown = subject.unknown
        held = any_of([fits(signer, unknown) for signer in subject.signers])
        return held if held == MET else _or_unknown_signers(held, subject)

    return test


def _or_unknown_signers(held: Held, subject: Subject) -> Held:
    if "signers" not in subject.unknown:
        return held
    return _NO_SIGNERS if held is None else held | _NO_SIGNERS


def signer_test(match: PublisherMatch, keys: Mapping[str, Material]) -> SignerTest:
    """Return the test of one signer, given also the names unknown of its subject."""
    tests = [_of_subject(field, getattr(match, field).casefold())
             for field in SUBJECT_FIELDS if getattr(match, field)]  # fmt: skip
    if match.identity:
        tests.append(_of_identity(match.identity))
    if match.team_id:
        tests.append(_of_team(match.team_id))
    if match.certificate:
        tests.append(_of_leaf(match.certificate.removeprefix("sha256:")))
    if match.tbs:
        tests.append(_among("tbs", match.tbs, "signers.tbs"))
    if match.key:
        tests.append(_of_key(keys[match.key]))
    if match.eku:
        tests.append(_among("ekus", match.eku, "signers.ekus"))
    if len(tests) == 1:
        return tests[0]

    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        missing = MET
        for one in tests:
            held = one(signer, unknown)
            if held is None:
                return UNMET
            missing |= held
        return missing

    return test


def _of_subject(field: str, wanted: str) -> SignerTest:
    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        found = signer.subject.get(field)
        if found is None:
            return _told("signers.subject", unknown)
        return MET if found.casefold() == wanted else UNMET

    return test


def _of_identity(exact: str) -> SignerTest:
    wanted = exact.casefold()

    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        if signer.keyless_identity:  # branches that differ in case alone are others'
            return MET if signer.identity == exact else UNMET
        if signer.identity:
            return MET if signer.identity.casefold() == wanted else UNMET
        return _told("signers.subject", unknown)

    return test


def _of_team(wanted: str) -> SignerTest:
    return lambda signer, _: MET if signer.team_id == wanted else UNMET


def _of_leaf(wanted: str) -> SignerTest:
    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        if signer.certificates:
            return MET if signer.certificates[0] == wanted else UNMET
        return _told("signers.certificate", unknown)

    return test


def _among(field: str, wanted: str, missing: str) -> SignerTest:
    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        return MET if wanted in getattr(signer, field) else _told(missing, unknown)

    return test


def _of_key(key: Material) -> SignerTest:
    """Ask for a certificate of the path by its SHA-256, or the signer's own public key."""
    certificate = certificate_digest(key)

    def test(signer: Signer, unknown: frozenset[str]) -> Held:
        if certificate and certificate in signer.certificates:
            return MET
        if key.key and signer.key == key.key:
            return MET
        untold = {"signers.key"} if key.key and not signer.key else set[str]()
        if certificate:
            untold.add("signers.certificate")
        missing = unknown & untold
        return missing or UNMET

    return test


def certificate_digest(key: Material) -> str:
    """Return the SHA-256 (hex) of a key's certificate; empty for what is none."""
    if key.kind is not KeyKind.CERTIFICATE:
        return ""
    import hashlib

    return hashlib.sha256(key.der).hexdigest()


def _signers(match: SignersMatch, keys: Mapping[str, Material]) -> Test:
    """So many of the publishers have signed, and everybody counts for one of them only."""
    fits = [signer_test(one, keys) for one in match.of]
    least = match.least

    def test(subject: Subject) -> Held:
        table = [[any_of(fit(s, subject.unknown) for s in party) for party in parties(subject)]
                 for fit in fits]  # fmt: skip
        if pairs([[held == MET for held in row] for row in table]) >= least:
            return MET
        if "signers" in subject.unknown:
            return _NO_SIGNERS
        if pairs([[held is not None for held in row] for row in table]) < least:
            return UNMET
        return frozenset[str]().union(*(held for row in table for held in row if held))

    return test


def parties(subject: Subject) -> list[list[Signer]]:
    """Return the signers by who they are: one that signed twice is still one.

    Whoever has the same name, or holds the same key under another name, is the same.
    """
    found: list[tuple[set[object], list[Signer]]] = []
    for signer in subject.signers:
        marks, party = _marks(signer), [signer]
        apart = []
        for others, known in found:
            if marks.isdisjoint(others):
                apart.append((others, known))
            else:
                marks, party = marks | others, known + party
        found = [*apart, (marks, party)]
    return [party for _, party in found]


def _marks(signer: Signer) -> set[object]:
    """Return what tells who a signer is."""
    keyless = signer.keyless_issuer, signer.keyless_identity
    marks = {"identity": signer.identity.casefold(), "keyless": keyless if any(keyless) else "",
             "key": signer.key}  # fmt: skip
    return {mark for mark in marks.items() if mark[1]}


def pairs(fits: Sequence[Sequence[bool]]) -> int:
    """Return how many rows can be given a column of their own (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in taken or place(taken[column], tried):
                    taken[column] = row
                    return True
        return False

    return sum(place(row, set()) for row in range(len(fits)))


def _identity(rule: str, match: IdentityMatch) -> Test:
    fits = keyless_test(rule, match)

    def test(subject: Subject) -> Held:
        if any(fits(signer) for signer in subject.signers):
            return MET
        return _told("signers", subject.unknown)

    return test


def keyless_test(rule: str, match: IdentityMatch) -> Callable[[Signer], bool]:
    """Return the test of one keyless signer.  Raises ``PolicyError``."""
    identity = whole_regex(rule, match.identity)
    issuer = whole_regex(rule, match.issuer)

    def fits(signer: Signer) -> bool:
        names = signer.keyless_identity, signer.keyless_issuer
        if not all(0 < len(name) <= MAX_IDENTITY for name in names):
            return False
        return bool(identity.fullmatch(names[0]) and issuer.fullmatch(names[1]))

    return fits


def whole_regex(rule: str, text: str) -> re.Pattern[str]:
    """Return a rule's regular expression, for ``fullmatch``.  Raises ``PolicyError``."""
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise PolicyError(
            f"rule {rule}", f"{text!r}: {error}", "a regular expression (RE2)"
        ) from None


def _catalog(catalogs: frozenset[str]) -> Test:
    def test(subject: Subject) -> Held:
        if not catalogs.isdisjoint(subject.catalogs):
            return MET
        return _told("catalog", subject.unknown)

    return test


def _origin(match: OriginMatch) -> Test:
    name = name_pattern(match.name) if match.name else None
    repository = name_pattern(match.repository) if match.repository else None

    def test(subject: Subject) -> Held:
        for origin in subject.origins:
            if (
                origin.kind == match.kind
                and (name is None or name.match(origin.name))
                and (repository is None or repository.match(origin.repository))
            ):
                return MET
        return _told("origin", subject.unknown)

    return test


def _path(texts: Sequence[str]) -> Test:
    patterns = [path_pattern(text) for text in texts]
    variable = any(pattern.unknown for pattern in patterns)

    def test(subject: Subject) -> Held:
        if any(pattern.fits(subject.path) for pattern in patterns):
            return MET
        return frozenset({"path"}) if variable else _told("path", subject.unknown)

    return test
