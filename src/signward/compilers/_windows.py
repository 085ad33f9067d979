r"""What Windows' two enforcers have in common: the classes of files they tell apart, and paths.

Sources: Microsoft Learn, "Understanding the path rule condition in AppLocker" and "App Control
rules and file rules".  In both a ``*`` stands for any characters, separators too, and paths are
compared without regard to case; our ``*`` stays within a component, so only ``**`` is theirs.
"""

from __future__ import annotations

import re

from signward.compilers._xml import holds
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import Conditions, ProductMatch
from signward.policy.rules.paths import VARIABLES, is_windows
from signward.policy.rules.subject import Subject

_VARIABLE = re.compile(r"%([A-Za-z0-9_()]+)%")
_HEX_DIGITS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_UNSAFE = re.compile(r'[?"<>|\x00-\x1f]')
"""A ``?`` stands for one character there; the others are in no path."""


class UniqueNames:
    """Hands out names of rules, each once: those of a target's own rules may be all alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Return the name, with a number behind it where it is taken."""
        found, stem = name, name[:56]
        while found in self._taken:
            self._last[stem] = number = self._last.get(stem, 1) + 1
            found = f"{stem}.{number}"
        self._taken.add(found)
        return found


class Unit(Frozen, frozen=True, kw_only=True):
    """Files that an enforcer cannot tell apart by kind: those of a class that have these kinds."""

    name: str
    file_class: str
    kinds: frozenset[str]

    def holds(self, subject: Subject) -> bool:
        """Say whether a file is one of these."""
        return subject.file_class == self.file_class and subject.kind in self.kinds

    def covered(self, kinds: tuple[str, ...]) -> bool:
        """Say whether a rule's kinds are, or include, all of these."""
        return not kinds or self.file_class in kinds or self.kinds.issubset(kinds)

    def touched(self, kinds: tuple[str, ...]) -> bool:
        """Say whether a rule's kinds include any of these."""
        return self.covered(kinds) or not self.kinds.isdisjoint(kinds)


def units_of(rule: Conditions, units: tuple[Unit, ...]) -> tuple[Unit, ...] | None:
    """Return the units that a rule speaks of; None if it speaks of a part of one only."""
    covered = tuple(unit for unit in units if unit.covered(rule.kind))
    touched = tuple(unit for unit in units if unit.touched(rule.kind))
    return covered if covered == touched else None


def windows_path(pattern: str, variables: frozenset[str]) -> str | None:
    """Return a path pattern in Windows' form, ``*`` for any characters; None if it has none.

    ``variables`` are those, in lower case, that may stand at the beginning.
    """
    if not is_windows(pattern) or _UNSAFE.search(pattern) or not holds(pattern):
        return None
    text = pattern.replace("/", "\\")
    if _VARIABLE.search(text, 1) or "*" in text.replace("**", ""):
        return None
    variable = _VARIABLE.match(text)
    if variable and variable[1].casefold() not in variables:
        return None
    return _VARIABLE.sub(lambda match: match[0].upper(), text).replace("**", "*")


def our_path(path: str) -> str | None:
    """Return Windows' path as our pattern; None for what it cannot say."""
    variable = _VARIABLE.match(path)
    if "?" in path or (variable and variable[1].casefold() not in VARIABLES):
        return None
    pattern = re.sub(r"\*+", "**", path)
    return pattern if is_windows(pattern) else None


def upper(text: str) -> str:
    """Return text in capitals as Windows has them: character by character, ``ß`` stays.

    So does whatever lower case does not bring back: what Windows makes of it is not written.
    """
    return "".join(c.upper() if c.upper().lower() == c else c for c in text)


def digests_of(rule: Conditions) -> list[tuple[str, str, str]]:
    """Return a rule's digests: of what, algorithm, hexadecimal digits.

    Raises ``PolicyError`` for one of the wrong length: it would stand for another algorithm's.
    """
    found = [(of, algorithm, value) for of, algorithm, value in
             (digest.split(":") for digest in rule.digest)]  # fmt: skip
    for of, algorithm, value in found:
        if of != "cdhash" and len(value) != _HEX_DIGITS[algorithm]:
            required = f"{_HEX_DIGITS[algorithm]} hexadecimal digits"
            raise PolicyError(f"rule {rule.id}", f"{of}:{algorithm}:{value}", required)
    return found


def spares_in_part(denied: Conditions, waiver: Conditions) -> bool:
    """Say whether a file that an exception by digest spares may be denied by another digest of it.

    Two digests of one algorithm and of one thing are of two files; all others may be of one.
    """
    spared = digests_of(waiver)
    ways = {(of, algorithm) for of, algorithm, _ in spared}
    kept = {(of, algorithm) for of, algorithm, value in digests_of(denied)
            if (of, algorithm, value) not in spared}  # fmt: skip
    return bool(kept - ways) or (bool(kept) and len(ways) > 1)


def is_literal(product: ProductMatch) -> bool:
    """Say whether Windows takes a product's names as they are: ``*`` and ``?`` stand for more."""
    names = product.product + product.original_name + product.internal_name
    return holds(names) and not has_wildcard(names)


def has_wildcard(name: str) -> bool:
    """Say whether a name has a character that stands for others."""
    return "*" in name or "?" in name


def only_a_ceiling(product: ProductMatch) -> bool:
    """Say whether a product is described by a highest version alone.

    There a file without any version is below it, and not so here.
    """
    named = product.product or product.original_name or product.internal_name
    return bool(product.maximum_version) and not product.minimum_version and not named
