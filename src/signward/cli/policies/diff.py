"""``signward policy diff``: what a newer policy says otherwise."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from signward.cli.actions import Action
from signward.cli.policies.check import add_policy_key, rules_from

if TYPE_CHECKING:
    from signward.policy.rules.difference import Change

EXAMPLES = """examples:
  signward policy diff yesterday.toml policy.toml
  signward policy diff old.toml new.toml --with team.toml --json

exit codes: 0 the same, 1 they differ, 2 no policy
"""


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="TOML file")
    parser.add_argument("new", metavar="NEW", help="TOML file")
    parser.add_argument("--with", dest="supplements", action="append", default=[],
                        metavar="POLICY", help="supplement of both")  # fmt: skip
    add_policy_key(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _run(arguments: argparse.Namespace) -> int:
    from signward.policy.rules.difference import differences

    keys, both = arguments.policy_key, arguments.supplements
    old, new = (
        rules_from([path, *both], keys, remember=False) for path in (arguments.old, arguments.new)
    )
    found = differences(old, new)
    if arguments.json:
        from signward.policy.record import printable_json

        told = {"old": f"{old.name} {old.version}", "new": f"{new.name} {new.version}",
                "changes": found}  # fmt: skip
        sys.stdout.write(printable_json(told).decode() + "\n")
    else:
        _print(found)
    if new.version <= old.version and found:
        print(f"signward: warning: version {new.version} after {old.version}: machines that took "
              "the old one refuse it when it is signed", file=sys.stderr)  # fmt: skip
    return int(bool(found))


def _print(found: tuple[Change, ...]) -> None:
    from signward.report.display import visible

    for change in found:
        print(visible(_line(change)))
    ways = [change.way.value for change in found]
    told = ", ".join(f"{ways.count(way)} {way}" for way in ("looser", "stricter", "either"))
    print(f"{len(found)} differences" + (f": {told}" if found else ""))


def _line(change: Change) -> str:
    name = f"{change.what} {change.name}"
    if change.field:
        values = f"{change.before or '-'} -> {change.after or '-'}"
        return f"~ {name} [{change.way}] {change.field}: {values}"
    if change.after:
        return f"+ {name} [{change.way}] {change.after}"
    return f"- {name} [{change.way}] {change.before}"


ACTION = Action("say what a newer policy says otherwise", _add, _run)
