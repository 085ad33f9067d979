r"""What Windows' two enforcers have in common: the classes of files they tell apart, and paths.

Sources: Microsoft Learn, "Understanding the path rule condition in AppLocker" and "App Control
rules and file rules".  In both a ``*`` stands for any characters, separators too, and paths are
compared without regard to case; our ``*`` stays within a component, so only ``**`` is theirs.
"""

from __future__ import annotations

import re

from signward.frozen import Frozen
from signward.policy.rules.model import Conditions, ProductMatch
from signward.policy.rules.paths import VARIABLES, is_windows
from signward.policy.rules.subject import Subject

_VARIABLE = re.compile(r"%([A-Za-z0-9_()]+)%")
_UNSAFE = re.compile(r'[?"<>|\x00-\x1f]')
"""A ``?`` stands for one character there; the others are in no path."""


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
    if not is_windows(pattern) or _UNSAFE.search(pattern):
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


def only_a_ceiling(product: ProductMatch) -> bool:
    """Say whether a product is described by a highest version alone.

    There a file without any version is below it, and not so here.
    """
    named = product.product or product.original_name or product.internal_name
    return bool(product.maximum_version) and not product.minimum_version and not named
