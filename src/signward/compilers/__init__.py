"""Compilers: a policy in each enforcer's own form.  A file in this folder is the registration.

Each module offers ``COMPILER``, an object with the attributes of :class:`Compiler`.  A rule that
the target cannot express is lost: compiling fails unless that loss is allowed by its name, and
then the rule is left out whole, never widened.  Rules for kinds that the target does not govern
are out of its scope, which is no loss; they are counted.

``importers/`` and ``arbiters/`` hold, under the same names, what reads a target's form back into
rules, and what answers as the target would.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import Rule, RuleSet, Strict
from signward.policy.rules.subject import Subject


class Towards(StrEnum):
    """What a loss means on the machine: more is stopped than the policy says, or more runs."""

    STRICTER = "stricter"
    LOOSER = "looser"


class Loss(Frozen, frozen=True, kw_only=True):
    """Something of the policy that the target cannot say.

    ``name`` is what a caller allows (one of the compiler's ``losses``), ``rule`` the rule or
    exception concerned, empty for the policy as a whole.
    """

    name: str
    rule: str
    text: str
    towards: Towards


class File(Frozen, frozen=True, kw_only=True):
    """One file for the target: a relative name, and what to do with it there, in a line or two."""

    name: str
    content: bytes
    deploy: str


class Compiled(Frozen, frozen=True, kw_only=True):
    """What a compiler made.  ``skipped`` are the rules out of the target's scope."""

    files: tuple[File, ...]
    losses: tuple[Loss, ...] = ()
    skipped: tuple[str, ...] = ()

    def content(self, name: str) -> bytes:
        """Return the content of one file.  Raises ``KeyError``."""
        return {file.name: file.content for file in self.files}[name]


class Compiler(Protocol):
    """What a compiler's module offers.

    ``governs`` are the classes (``policy.rules.kinds``) the target decides about; ``losses`` the
    names of what it can lose, each with a line of help; ``settings`` the type of the policy's
    ``[targets.NAME]``; ``checked`` how far the real target confirmed its files in the tests:
    ``executed``, ``parsed`` or ``schema``, and by what.
    """

    target: str
    title: str
    spec: str
    governs: frozenset[str]
    losses: Mapping[str, str]
    checked: tuple[str, str]

    @property
    def settings(self) -> type[Strict]:
        """The type of the policy's ``[targets.NAME]``."""

    def compile(self, rules: RuleSet, settings: Any) -> Compiled:
        """Return the target's files for the rules in force, with everything that is lost.

        Pure and deterministic.  Raises ``PolicyError`` for settings or rules that no loss
        excuses (a digest of the wrong length).
        """


class Importer(Protocol):
    """``importers/X.py: IMPORTER``: a target's own form back into rules."""

    target: str

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules.  Raises ``PolicyError`` for bytes that are no such policy.

        What has no equal in the rule language is refused by name, never left out in silence.
        """


class Arbiter(Protocol):
    """``arbiters/X.py: ARBITER``: answers as the target would, from the compiled files alone."""

    target: str

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether the target lets the subject run; None for what it does not govern."""


def names() -> tuple[str, ...]:
    """Return the targets, in order."""
    return tuple(m.name for m in pkgutil.iter_modules(__path__)
                 if not m.ispkg and not m.name.startswith("_"))  # fmt: skip


@cache
def load(target: str) -> Compiler:
    """Return a compiler.  Raises ``PolicyError`` for a name that is none."""
    module = target.replace("-", "_")
    if module not in names():
        known = ", ".join(name.replace("_", "-") for name in names())
        raise PolicyError("target", repr(target[:80]), f"one of {known}")
    compiler: Compiler = importlib.import_module(f"{__name__}.{module}").COMPILER
    return compiler


def in_scope(rule: Rule, governs: frozenset[str], kinds: frozenset[str] = frozenset()) -> bool:
    """Say whether a target governs anything that ``rule`` speaks of.

    ``kinds`` are single kinds of files it governs without governing their whole class.
    """
    return not rule.kind or any(kind in governs or kind in kinds for kind in rule.kind)
