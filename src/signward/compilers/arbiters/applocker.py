"""AppLocker's answer, from its XML: in the file's collection denials first, then what allows.

Source: Microsoft Learn, "How AppLocker works" and "AppLocker rules".  A collection that is not
there, or has no rules, stops nothing; one that only audits neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.compilers._applocker import (
    ANY,
    EVERYONE,
    Collection,
    Condition,
    Hash,
    LockerRule,
    Path,
    Publisher,
    places,
    read_locker,
)
from signward.compilers._windows import our_path, upper
from signward.compilers.applocker import HASHES, PACKAGES, UNITS, text_of
from signward.errors import PolicyError
from signward.policy.rules.paths import path_pattern
from signward.policy.rules.subject import Signer, Subject

_OF_TYPE = {name: f"{of}:{algorithm}" for (of, algorithm), name in HASHES.items()}


class AppLockerArbiter:
    """The arbiter."""

    target = "applocker"

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether AppLocker lets the subject run.  Raises ``PolicyError``."""
        unit = next((unit for unit in UNITS if unit.holds(subject)), None)
        if unit is None:
            return None
        found = [c for c in _collections(files) if c.type == unit.name and c.rules]
        if not found:
            return None
        if found[0].mode == "AuditOnly":
            return True
        matching = [rule for rule in found[0].rules if _matches(rule, subject, unit.name)]
        return bool(matching) and all(rule.allow for rule in matching)


def _collections(files: Mapping[str, bytes]) -> tuple[Collection, ...]:
    if len(files) != 1:
        raise PolicyError("AppLocker", f"{len(files)} files", "one")
    ((name, data),) = files.items()
    return read_locker(name, data)


def _matches(rule: LockerRule, subject: Subject, collection: str) -> bool:
    if rule.user != EVERYONE:
        found = f"UserOrGroupSid {rule.user[:80]}"
        raise PolicyError(f"rule {rule.name[:80]}", found, "everyone: who starts a file is unknown")
    if not _fits(rule.condition, subject, collection):
        return False
    return not any(_fits(one, subject, collection) for one in rule.exceptions)


def _fits(condition: Condition, subject: Subject, collection: str) -> bool:
    if isinstance(condition, Path):
        return any(_at(path, subject.path) for path in places(condition.path))
    if isinstance(condition, Hash):
        wanted = {f"{_OF_TYPE[k]}:{value}" for k, value in condition.hashes if k in _OF_TYPE}
        return not wanted.isdisjoint(subject.digests)
    return any(_signed(condition, one, collection) for one in subject.signers) and (
        _same(condition.product, subject.product)
        and _same(condition.binary, subject.original_name)
        and _between(condition, subject)
    )


def _signed(condition: Publisher, signer: Signer, collection: str) -> bool:
    name = text_of(signer.subject)
    if collection == PACKAGES:
        name = f"CN={signer.subject.get('common_name', '')}, {name}"
    return _same(condition.publisher, name)


def _same(wanted: str, found: str) -> bool:
    return wanted == ANY or upper(wanted) == upper(found)


def _between(condition: Publisher, subject: Subject) -> bool:
    """Hold the version against both ends; without one no bound fits, see App Control's arbiter."""
    if condition.low == condition.high == ANY:
        return True
    low = (0, 0, 0, 0) if condition.low == ANY else _version(condition.low)
    high = (0xFFFF,) * 4 if condition.high == ANY else _version(condition.high)
    return subject.version is not None and low <= subject.version <= high


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdecimal() and len(p) <= 5 for p in parts):
        raise PolicyError("AppLocker", f"version {text[:80]!r}", "four numbers")
    return tuple(map(int, parts))


def _at(path: str, where: str) -> bool:
    pattern = our_path(path)
    if path == ANY:
        return True
    if pattern is None:
        raise PolicyError("AppLocker", f"path {path[:80]!r}", "one whose places are known")
    return path_pattern(pattern).fits(where)


ARBITER = AppLockerArbiter()
