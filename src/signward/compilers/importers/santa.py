"""Santa's rules as a policy: profiles, static rules, a sync server's answers.

Where Santa's order lets a rule that allows win over a less specific one that denies, an exception
says so.  What has no equal is refused by name: CEL other than our guards, compiler rules, scopes,
``platform:`` identifiers, and the mode in which users approve.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from signward.compilers._santa import (
    ALLOWING,
    BLOCKING,
    TYPES,
    Key,
    SantaPolicy,
    SantaRule,
    guarded,
    read_files,
)
from signward.errors import PolicyError
from signward.policy.rules.model import (
    MAX_TEXT,
    MAX_VALUES,
    Action,
    Layer,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    Waiver,
)
from signward.policy.rules.reading import guid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,50}\Z")
MAX_ORDER = 1_000_000
"""Most deny rules that exceptions name, all together: each wins over every certificate's, say."""

_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
_MONITORING = (
    "Santa was in monitor mode: it let run what no rule spoke of, and stopped by its rules that "
    "block.  This policy only watches too, and stops nothing."
)


class SantaImporter:
    """Reads what `read_files` does."""

    target = "santa"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules.  Raises ``PolicyError``."""
        policy = read_files(files)
        if policy.mode == "STANDALONE":
            raise PolicyError("Santa policy", "client mode STANDALONE", "MONITOR or LOCKDOWN",
                              hint="there users let in what they like")  # fmt: skip
        rules, names = _rules(policy)
        waivers = tuple(_waivers(policy, names))
        watching = policy.mode == "MONITOR"
        blocks = any(rule.action is Action.DENY for rule in rules)
        layer = Layer(name="santa", version=1, id=guid("santa"),
                      rules=frozenset(item.id for item in (*rules, *waivers)))  # fmt: skip
        return RuleSet(
            name="santa", version=1, id=guid("santa"),
            mode=Mode.MONITOR if watching else Mode.ENFORCE,
            requirements=Requirements(), rules=rules, waivers=waivers, keys={}, targets={},
            layers=(layer,), note=_MONITORING if watching and blocks else "",
        )  # fmt: skip


def _rules(policy: SantaPolicy) -> tuple[tuple[Rule, ...], dict[Key, str]]:
    """Return the rules, digests of one name and decision as one; and each key's rule."""
    grouped: dict[tuple[object, ...], list[SantaRule]] = {}
    for number, rule in enumerate(policy.rules.values()):
        joined = rule.rule_type in ("BINARY", "CDHASH") and rule.comment
        alike = (rule.comment, _action(policy, rule), rule.cel_expr) if joined else (number,)
        grouped.setdefault(alike, []).append(rule)
    names: dict[Key, str] = {}
    taken: set[str] = set()
    found = []
    batches = (few for group in grouped.values() for few in _batches(group))
    for number, group in enumerate(batches, 1):
        name = _name(group[0].comment, number, taken)
        names.update((rule.key, name) for rule in group)
        found.append(_rule(policy, name, group))
    return tuple(found), names


def _name(comment: str, number: int, taken: set[str]) -> str:
    name = comment if _NAME.match(comment) else f"santa-{number}"
    while name in taken:
        name = f"{name[:40]}-{number}"
        number += 1
    taken.add(name)
    return name


def _rule(policy: SantaPolicy, name: str, group: list[SantaRule]) -> Rule:
    first = group[0]
    action, kind = _action(policy, first), ("executable",)
    note = (first.custom_msg or (first.comment if first.comment != name else ""))[:MAX_TEXT]
    if first.rule_type in ("BINARY", "CDHASH"):
        digests = tuple(_digest(rule) for rule in group)
        return Rule(id=name, action=action, note=note, kind=kind, digest=digests)
    publisher, product = _publisher(first)
    return Rule(id=name, action=action, note=note, kind=kind, publisher=publisher, product=product)


def _digest(rule: SantaRule) -> str:
    of = "file" if rule.rule_type == "BINARY" else "cdhash"
    return f"{of}:sha256:{rule.identifier}"


def _publisher(rule: SantaRule) -> tuple[PublisherMatch, ProductMatch | None]:
    if rule.rule_type == "TEAMID":
        return PublisherMatch(team_id=rule.identifier), None
    if rule.rule_type == "CERTIFICATE":
        return PublisherMatch(certificate=f"sha256:{rule.identifier}"), None
    team, _, program = rule.identifier.partition(":")
    if team == "platform":
        raise PolicyError("Santa rule", rule.identifier[:80], "a program with a team",
                          hint="platform: names Apple's own, which have none")  # fmt: skip
    if len(program) > MAX_TEXT:
        raise PolicyError("Santa rule", f"an identifier of {len(program)} characters",
                          f"at most {MAX_TEXT}")  # fmt: skip
    return PublisherMatch(team_id=team), ProductMatch(bundle_id=program)


def _action(policy: SantaPolicy, rule: SantaRule) -> Action:
    if rule.policy in BLOCKING:
        return Action.DENY
    if rule.policy == "ALLOWLIST":
        return Action.ALLOW
    if rule.policy in ALLOWING:
        raise PolicyError(
            "Santa rule", f"{rule.policy} of {rule.identifier[:80]}", "ALLOWLIST",
            hint="what a compiler writes is let in by no rule of a policy",
        )  # fmt: skip
    denied = guarded(rule.cel_expr)
    if denied is None or not all(_blocks(policy, key) for key in denied):
        raise PolicyError("Santa rule", f"CEL of {rule.identifier[:80]}", "a guard over rules "
                          "that block", hint="other expressions have no equal")  # fmt: skip
    return Action.ALLOW


def _blocks(policy: SantaPolicy, key: Key) -> bool:
    return key in policy.rules and policy.rules[key].policy in BLOCKING


def _waivers(policy: SantaPolicy, names: Mapping[Key, str]) -> Iterator[Waiver]:
    """Yield exceptions for what allows and wins over less specific rules that block.

    Digests that win over the same rules have one in common.
    """
    blocked: dict[str, list[Key]] = {name: [] for name in TYPES}
    for rule in policy.rules.values():
        if rule.policy in BLOCKING:
            blocked[rule.rule_type].append(rule.key)
    groups: dict[tuple[object, ...], list[SantaRule]] = {}
    for rule in policy.rules.values():
        if rule.policy not in BLOCKING:
            of = rule.rule_type if rule.rule_type in ("BINARY", "CDHASH") else rule.key
            groups.setdefault((of, rule.cel_expr), []).append(rule)
    number = named = 0
    for group in groups.values():
        yields = guarded(group[0].cel_expr) or frozenset()
        won = (key for key in _beaten(policy, blocked, group[0].key) if key not in yields)
        beaten = tuple(dict.fromkeys(names[key] for key in won))
        for few in _batches(group) if beaten else ():
            number, named = number + 1, named + len(beaten)
            if named > MAX_ORDER:
                raise PolicyError("Santa policy", "more rules that win over others",
                                  f"at most {MAX_ORDER} pairs")  # fmt: skip
            yield _waiver(few, beaten, f"santa-order-{number}")


def _batches(group: list[SantaRule]) -> Iterator[list[SantaRule]]:
    """Yield the rules in lists that one condition holds."""
    for start in range(0, len(group), MAX_VALUES):
        yield group[start : start + MAX_VALUES]


def _waiver(group: list[SantaRule], beaten: tuple[str, ...], name: str) -> Waiver:
    if len(beaten) > MAX_VALUES:
        raise PolicyError("Santa policy", f"{len(beaten)} rules that one wins over",
                          f"at most {MAX_VALUES}")  # fmt: skip
    digest: tuple[str, ...] = ()
    publisher = product = None
    if group[0].rule_type in ("BINARY", "CDHASH"):
        digest = tuple(map(_digest, group))
    else:
        publisher, product = _publisher(group[0])
    return Waiver(
        id=name, owner="Santa", reason="Santa takes the most specific rule of a program",
        expires=_FOREVER, spares=beaten, kind=("executable",), digest=digest,
        publisher=publisher, product=product,
    )  # fmt: skip


def _beaten(policy: SantaPolicy, blocked: Mapping[str, list[Key]], key: Key) -> Iterator[Key]:
    """Yield the rules that block and are looked up after ``key``; of teams a program has one."""
    for rule_type in TYPES[TYPES.index(key[0]) + 1 :]:
        if (key[0], rule_type) != ("SIGNINGID", "TEAMID"):
            yield from blocked[rule_type]
        elif _blocks(policy, team := ("TEAMID", key[1].partition(":")[0])):
            yield team


IMPORTER = SantaImporter()
