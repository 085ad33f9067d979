"""``signward policy check``: says what is wrong with a policy before it bites."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import Action
from signward.cli.arguments import instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signward.policy.rules.lint import Fault
    from signward.policy.rules.model import RuleSet

EXAMPLES = """examples:
  signward policy check policy.toml
  signward policy check base.toml team.toml --strict
  signward policy check --at 2027-06-01 policy.toml

exit codes: 0 nothing wrong (advice may be given), 1 faults, 2 no policy;
with --strict also 1 for advice
"""


def add_policy_files(parser: argparse.ArgumentParser) -> None:
    """Add the policy: a base, and supplements after it."""
    parser.add_argument("policy", nargs="+", metavar="POLICY",
                        help="TOML file: a base, then its supplements")  # fmt: skip
    add_policy_key(parser)


def add_policy_key(parser: argparse.ArgumentParser) -> None:
    """Add who must have signed the policy."""
    parser.add_argument("--policy-key", action="append", default=[], metavar="PEM",
                        help="take signed policies only, signed by this key")  # fmt: skip


def rules_from(paths: Sequence[str], keys: Sequence[str], *, remember: bool = True) -> RuleSet:
    """Return the policy in these files, signed by one of ``keys`` if there are any.

    Without ``remember`` older versions are read too, and nothing is remembered: to look at them.
    Raises ``PolicyError``.
    """
    from signward.verbs.policies.load import load_rules

    return load_rules([Path(path) for path in paths], keys, remember=remember)


def _add(parser: argparse.ArgumentParser) -> None:
    add_policy_files(parser)
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="check as at this time (default: now)")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="advice counts as a fault")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _run(arguments: argparse.Namespace) -> int:
    from signward.verbs.policies.checking import check

    rules = rules_from(arguments.policy, arguments.policy_key)
    found = check(rules, arguments.at)
    if arguments.json:
        _print_json(rules, found)
    else:
        _print(rules, found)
    return int(any(fault.fault or arguments.strict for fault in found))


def _print_json(rules: RuleSet, found: tuple[Fault, ...]) -> None:
    from signward.policy.record import printable_json

    told = {
        "policy": rules.name,
        "version": rules.version,
        "mode": rules.mode,
        "rules": len(rules.rules),
        "exceptions": len(rules.waivers),
        "findings": found,
    }
    sys.stdout.write(printable_json(told).decode() + "\n")


def _print(rules: RuleSet, found: tuple[Fault, ...]) -> None:
    from signward.report.display import visible

    for fault in found:
        grade = "FAULT " if fault.fault else "advice"
        print(f"{grade} {visible(str(fault))}")
        if fault.hint:
            print(f"       hint: {visible(fault.hint)}")
    wrong = sum(fault.fault for fault in found)
    counts = f"{len(rules.rules)} rules, {len(rules.waivers)} exceptions"
    print(f"{rules.name} {rules.version}, {rules.mode}: {counts}; {wrong} faults, "
          f"{len(found) - wrong} advice")  # fmt: skip


ACTION = Action("say what is wrong with a policy before it bites", _add, _run)
