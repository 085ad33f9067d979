"""``signward policy ACTION``: one policy, checked, tried, explained and compiled."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

from signward.cli import policies
from signward.cli.actions import Action, add_actions, run_action

DESCRIPTION = """\
Write one policy, try it on what is really there, and roll it out to every
enforcer in its own form.  A policy is a TOML file; supplements add to a base."""

EPILOG = """exit codes: 0 done, 1 what was looked for was found (check: faults, diff:
differences, simulate: files that would be stopped), 2 command line or policy,
3 simulate: none would for certain, but of some files it is not known
"""


def actions() -> dict[str, Action]:
    """Return the actions by name: one file each in ``cli/policies``."""
    found = sorted(m.name for m in pkgutil.iter_modules(policies.__path__))
    modules = {name: importlib.import_module(f"{policies.__name__}.{name}") for name in found}
    return {name.rstrip("_"): module.ACTION for name, module in modules.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``policy``."""
    add_actions(parser, actions())


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(actions(), arguments)
