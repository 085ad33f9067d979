"""``signward policy check``: says what is wrong with a policy before it bites."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import Action

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet


def add_policy_files(parser: argparse.ArgumentParser) -> None:
    """Add the policy: a base, and supplements after it."""
    parser.add_argument("policy", nargs="+", metavar="POLICY",
                        help="TOML file: a base, then its supplements")  # fmt: skip


def rules_from(paths: list[str]) -> RuleSet:
    """Return the policy in these files.  Raises ``PolicyError``."""
    from signward.verbs.policies.load import load_rules

    return load_rules([Path(path) for path in paths])


def _run(arguments: argparse.Namespace) -> int:
    rules = rules_from(arguments.policy)
    print(
        f"{rules.name} {rules.version}: {len(rules.rules)} rules, {len(rules.waivers)} exceptions"
    )
    return 0


ACTION = Action("say what is wrong with a policy before it bites", add_policy_files, _run)
