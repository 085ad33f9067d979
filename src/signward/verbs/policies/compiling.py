"""Compiling a policy for its targets, and reading back what a target has."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from signward import compilers
from signward.compilers import Compiled, Importer, Loss, importers
from signward.errors import LossError, PolicyError
from signward.policy.rules.force import in_force
from signward.policy.rules.model import Rule, RuleSet
from signward.wire.folders import make_whole

MAX_TOLD = 20
"""Losses told in one message: a policy may have one for each of its rules."""


def compile_for(
    rules: RuleSet, target: str, at: datetime, allowed: frozenset[str] = frozenset()
) -> Compiled:
    """Return what ``target`` is given for the rules in force at ``at``.

    Raises ``LossError`` for a loss whose name is not in ``allowed``, ``PolicyError`` for a target
    that is none, or settings or rules it cannot take.
    """
    compiler = compilers.load(target)
    _check_tables(rules)
    for name in sorted(allowed - compiler.losses.keys()):
        check_loss(name)
    settings = settings_for(rules, compiler.target, compiler.settings)
    compiled = compiler.compile(in_force(rules, at), settings)
    refused = [loss for loss in compiled.losses if loss.name not in allowed]
    if refused:
        raise _loss_error(target, refused)
    return compiled


def every_loss() -> Mapping[str, str]:
    """Return the names of all compilers' losses, each with a line of help."""
    known: dict[str, str] = {}
    for target in compilers.names():
        known |= compilers.load(target).losses
    return dict(sorted(known.items()))


def import_from(target: str, files: Mapping[str, bytes]) -> RuleSet:
    """Return a target's own policy as rules, which can be written as a policy.

    Raises ``PolicyError``.
    """
    known = sorted(m.name for m in pkgutil.iter_modules(importers.__path__))
    module = target.replace("-", "_")
    if module not in known:
        names = ", ".join(name.replace("_", "-") for name in known)
        raise PolicyError("target", repr(target[:80]), f"one that can be read: {names}")
    importer: Importer = importlib.import_module(f"{importers.__name__}.{module}").IMPORTER
    rules = importer.read(files)
    try:
        msgspec.convert(msgspec.to_builtins(rules.rules), tuple[Rule, ...])
    except msgspec.ValidationError as error:
        raise PolicyError(target, str(error), "values within the bounds of a policy's") from None
    return rules


def place(folder: Path, made: Mapping[str, Compiled]) -> None:
    """Write every target's files below ``folder``, all or none.  Raises ``PolicyError``."""
    files = {
        f"{target}/{file.name}": file.content
        for target, compiled in made.items()
        for file in compiled.files
    }
    try:
        make_whole(folder, files)
    except FileExistsError:
        raise PolicyError(str(folder), "something there already", "a folder that is new or empty",
                          hint="nothing was written; name another --output") from None  # fmt: skip
    except OSError as error:
        why = error.strerror or str(error)
        raise PolicyError(str(folder), why, "a place that can be written") from None


def settings_for(rules: RuleSet, target: str, kind: type[Any]) -> Any:
    """Return the policy's settings of a target, as its compiler wants them.

    Raises ``PolicyError``.
    """
    try:
        return msgspec.convert(dict(rules.targets.get(target, {})), kind)
    except msgspec.ValidationError as error:
        raise PolicyError(f"targets.{target}", str(error), "settings that it knows") from None


def _check_tables(rules: RuleSet) -> None:
    """Refuse settings of a target there is none of: misspelt, they would do nothing in silence."""
    known = [name.replace("_", "-") for name in compilers.names()]
    for name in sorted(rules.targets.keys() - set(known)):
        raise PolicyError(f"targets.{name}", "settings of no target", f"one of {', '.join(known)}")


def check_loss(name: str) -> None:
    """Raise ``PolicyError`` for the name of a loss that no compiler has."""
    if name not in every_loss():
        raise PolicyError("--allow-loss", repr(name[:80]), f"one of {', '.join(every_loss())}")


def _loss_error(target: str, refused: Sequence[Loss]) -> LossError:
    told = "; ".join(f"{loss.rule or 'the policy'}: {loss.text}" for loss in refused[:MAX_TOLD])
    if len(refused) > MAX_TOLD:
        told += f"; and {len(refused) - MAX_TOLD} more"
    names = " ".join(f"--allow-loss {name}" for name in sorted({loss.name for loss in refused}))
    return LossError(f"target {target}", told, "a policy that it can express", hint=names)
