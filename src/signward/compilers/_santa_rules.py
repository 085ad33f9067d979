"""The policy's rules in Santa's terms: by what Santa would look them up, and who yields to whom.

Santa takes the most specific rule of a program; Signward denies first.  They differ only where one
program can meet a rule that allows and a *less* specific one that denies.  Then

- the rule that allows goes, without a loss, if the other reaches all it allows;
- it gets a guard (see ``_santa``) if the other denies a publisher or a program by identifier;
- else it is lost by ``precedence``.

An exception that spares what the rule allows asks for Santa's own order, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from signward.compilers import Towards
from signward.compilers._lossy import Ledger, UnsayableError
from signward.compilers._plist import plain
from signward.compilers._santa import MAX_GUARDED, TYPES, Key
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
)

_RANK = {name: rank for rank, name in enumerate(TYPES)}
_DIGESTS = {"file:sha256": "BINARY", "cdhash:sha256": "CDHASH"}
_LENGTHS = {"BINARY": 64, "CDHASH": 40}
_WHOLE = frozenset({"macho", "macho-fat"})


class Allowed(Frozen, frozen=True, kw_only=True):
    """A rule that lets in, and which of its keys stand, each with the denied it yields to."""

    rule: Rule
    keys: Mapping[Key, frozenset[Key]]


class Decided(Frozen, frozen=True, kw_only=True):
    """All that Santa is told."""

    denied: Mapping[Key, Rule]
    allowed: tuple[Allowed, ...]


def keys_of(asked: Conditions) -> tuple[Key, ...]:
    """Return what Santa looks these conditions up by; any of several will do.

    Raises `UnsayableError` for conditions it cannot express, and ``PolicyError`` for a digest of
    another length than its algorithm's.
    """
    _check_fields(asked)
    if asked.digest:
        return tuple(_of_digest(asked.id, text) for text in asked.digest)
    if asked.signers:
        if asked.signers.least != 1:
            raise UnsayableError("signers", "a program has one signer on macOS")
        return tuple(_of_publisher(one, None) for one in asked.signers.of)
    assert asked.publisher is not None  # noqa: S101 - _check_fields: something must be asked
    return (_of_publisher(asked.publisher, asked.product),)


def _check_fields(asked: Conditions) -> None:
    for field in ("identity", "path", "origin", "catalog", "hosts"):
        if getattr(asked, field):
            raise UnsayableError(field, _WHY[field])
    if asked.kind and "executable" not in asked.kind and not _WHOLE.issubset(asked.kind):
        raise UnsayableError("kind", "Santa has no rules for one kind of Mach-O alone")
    named = [field for field in ("digest", "publisher", "signers") if getattr(asked, field)]
    if len(named) > 1:
        raise UnsayableError(
            named[1], f"a rule of Santa's is by {named[0]} or by {named[1]}, not by both"
        )
    if asked.product and named != ["publisher"]:
        raise UnsayableError("product", "Santa knows a program's identifier only under its team")
    if not named:
        raise UnsayableError("kind", "Santa's rules are by digest, program or publisher")


_WHY = {
    "identity": "programs on macOS are not signed with keyless identities",
    "path": "Santa remembers what a path let in, wherever the file goes afterwards",
    "origin": "Santa does not know where a file came from",
    "catalog": "there are no catalogs on macOS",
    "hosts": "Santa's rules are for every machine they are sent to",
}


def _of_digest(rule: str, text: str) -> Key:
    kind, _, value = text.rpartition(":")
    if kind not in _DIGESTS:
        raise UnsayableError("digest", f"Santa compares file:sha256 and cdhash:sha256, not {kind}")
    rule_type = _DIGESTS[kind]
    if len(value) != _LENGTHS[rule_type]:
        found = f"{len(value) // 2} octets in {kind}"
        raise PolicyError(f"rule {rule}", found, f"{_LENGTHS[rule_type] // 2}")
    return rule_type, value


def _of_publisher(match: PublisherMatch, product: ProductMatch | None) -> Key:
    asked = {f for f in match.__struct_fields__ if getattr(match, f)}
    if asked == {"certificate"} and product is None:
        return "CERTIFICATE", match.certificate.removeprefix("sha256:")
    if asked != {"team_id"}:
        name = next((field for field in ("key", "eku") if field in asked), "publisher")
        raise UnsayableError(name, "Santa knows a publisher by team or its certificate's SHA-256")
    if product is None:
        return "TEAMID", match.team_id
    return "SIGNINGID", f"{match.team_id}:{_program(product)}"


def _program(product: ProductMatch) -> str:
    if product.minimum_version or product.maximum_version:
        raise UnsayableError("version-floor", "Santa does not read versions")
    asked = {f for f in product.__struct_fields__ if getattr(product, f)}
    if asked != {"bundle_id"}:
        raise UnsayableError("product", "Santa knows a program by the identifier it is signed with")
    if plain(product.bundle_id) != product.bundle_id:
        raise UnsayableError("product", "an identifier that no property list can hold")
    return product.bundle_id


def decided(ledger: Ledger, rules: RuleSet, governed: Iterable[Rule], *, deny: bool) -> Decided:
    """Return what Santa is told; ``deny`` is False where rules that deny are left out."""
    expressed = tuple(_expressed(ledger, governed))
    denied: dict[Key, list[Rule]] = {}
    for rule, keys in expressed:
        if deny and rule.action is Action.DENY:
            for key in keys:
                denied.setdefault(key, []).append(rule)
    order = _Order(rules, denied)
    allowed = tuple(
        one
        for rule, keys in expressed
        if rule.action is not Action.DENY and (one := order.settle(ledger, rule, keys))
    )
    _lose_exceptions(ledger, rules, denied, allowed)
    return Decided(denied={key: by[0] for key, by in denied.items()}, allowed=allowed)


def _expressed(ledger: Ledger, governed: Iterable[Rule]) -> Iterator[tuple[Rule, tuple[Key, ...]]]:
    for rule in governed:
        try:
            yield rule, keys_of(rule)
        except UnsayableError as lost:
            ledger.lose_rule(lost.name, rule, str(lost))


class _Order:
    """Settles rules that allow against the rules that deny."""

    def __init__(self, rules: RuleSet, denied: Mapping[Key, Sequence[Rule]]) -> None:
        self._denied = denied
        self._spared = rules.spared
        self._by_rank: dict[int, list[Key]] = {}
        for key in denied:
            self._by_rank.setdefault(_RANK[key[0]], []).append(key)

    def settle(self, ledger: Ledger, rule: Rule, keys: Iterable[Key]) -> Allowed | None:
        """Return what is left of a rule; None for nothing.  Loses one that cannot yield."""
        standing: dict[Key, frozenset[Key]] = {}
        for key in keys:
            if key in self._denied or self._is_reached(rule, key):
                continue
            yields = frozenset(islice(self._met(rule, key), MAX_GUARDED + 1))
            if not all(map(_can_guard, yields)) or len(yields) > MAX_GUARDED:
                text = f"Santa takes it before what denies {_named(yields)}"
                ledger.lose_rule("precedence", rule, text)
                return None
            standing[key] = yields
        return Allowed(rule=rule, keys=standing) if standing else None

    def _is_reached(self, rule: Rule, key: Key) -> bool:
        """Say whether all that has ``key`` is denied: a program whose team is."""
        team = "TEAMID", key[1].partition(":")[0]
        return key[0] == "SIGNINGID" and team in self._denied and not self._is_spared(team, rule)

    def _met(self, rule: Rule, key: Key) -> Iterator[Key]:
        """Yield the denied that Santa would look up after ``key``, and one program could meet.

        A program has one team, its own: `_is_reached` answers for that.
        """
        for rank in range(_RANK[key[0]] + 1, len(TYPES)):
            if (key[0], TYPES[rank]) == ("SIGNINGID", "TEAMID"):
                continue
            for other in self._by_rank.get(rank, ()):
                if not self._is_spared(other, rule):
                    yield other

    def _is_spared(self, denied: Key, rule: Rule) -> bool:
        """Say whether every rule that denies the key spares all that ``rule`` speaks of."""
        return all(
            any(implies(rule, spare) for spare in self._spared.get(by.id, ()))
            for by in self._denied[denied]
        )


def _may_meet(key: Key, other: Key) -> bool:
    """Say whether a program can have both: a signing identifier names its team."""
    if key[0] == "SIGNINGID" and other[0] == "TEAMID":
        return key[1].startswith(f"{other[1]}:")
    return True


def _can_guard(key: Key) -> bool:
    return key[0] in ("TEAMID", "SIGNINGID") and key[1].isascii()


def _named(keys: frozenset[Key]) -> str:
    first = min(key for key in keys if not _can_guard(key) or len(keys) > MAX_GUARDED)
    return f"{first[0]} {first[1]}" + (" and more" if len(keys) > 1 else "")


def implies(rule: Conditions, wider: Conditions) -> bool:
    """Say whether all that meets ``rule`` plainly meets ``wider`` too."""
    for field in CONDITIONS:
        asked, given = getattr(wider, field), getattr(rule, field)
        if not asked:
            continue
        within = isinstance(asked, tuple) and given and set(given) <= set(asked)
        if given != asked and not within:
            return False
    return True


def _lose_exceptions(
    ledger: Ledger, rules: RuleSet, denied: Mapping[Key, Sequence[Rule]], allowed: Iterable[Allowed]
) -> None:
    """Lose what is spared and not let in by a rule just as specific: Santa goes on denying it."""
    free = {key: yields for one in allowed for key, yields in one.keys.items()}
    reached: dict[str, set[Key]] = {}
    for key, several in denied.items():
        for by in several:
            reached.setdefault(by.id, set()).add(key)
    for rule, own in reached.items():
        for spare in rules.spared.get(rule, ()):
            if not _is_free(spare, own, free):
                text = f"Santa's {rule} denies it where no rule as specific lets it in"
                ledger.lose("exception", spare.id, text, Towards.STRICTER)


def _is_free(spare: Conditions, own: set[Key], free: Mapping[Key, frozenset[Key]]) -> bool:
    """Say whether rules let in all that is spared, and Santa looks them up before ``own``."""
    try:
        keys = keys_of(spare)
    except UnsayableError:
        return False
    return all(
        key in free
        and not free[key] & own
        and not any(_RANK[other[0]] < _RANK[key[0]] and _may_meet(other, key) for other in own)
        for key in keys
    )
