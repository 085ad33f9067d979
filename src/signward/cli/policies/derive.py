"""``signward policy derive``: a first policy from what is on a machine that is as it should be."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from signward.cli.actions import Action
from signward.cli.policies.simulate import add_inventory, wanted_from, watching

MODES = ("monitor", "enforce", "lockdown")


def _add(parser: argparse.ArgumentParser) -> None:
    add_inventory(parser)
    parser.add_argument("--name", default="derived", help="what the policy is called")
    parser.add_argument("--mode", choices=MODES, default="monitor",
                        help="how it begins (default: monitor, which stops nothing)")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE",
                        help="write the policy there instead of to the terminal")  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.policy.rules.model import Mode
    from signward.policy.rules.writing import to_toml
    from signward.report.simulation import notes
    from signward.verbs.policies.known import opened_fleet
    from signward.verbs.policies.simulate import derive

    at = arguments.at or datetime.now(UTC)
    paths = [Path(path) for path in arguments.inventory]
    with opened_fleet(paths, at) as fleet, watching(quiet=arguments.quiet) as watch:
        document, found = derive(
            arguments.name, fleet, at, wanted=wanted_from(arguments),
            mode=Mode(arguments.mode), watch=watch,
        )  # fmt: skip
    text = to_toml(document)
    if arguments.output:
        with written_whole(arguments.output) as out:
            out.write(text.encode())
    else:
        sys.stdout.write(text)
    if not arguments.quiet:
        covered = found.needed.files - found.uncovered
        told = f"{len(document.rule):,} rules let in {covered:,} of {found.needed.files:,} files"
        for line in (told, *notes(found)):
            print(f"signward: {line}", file=sys.stderr)
    return 0


ACTION = Action("make a first policy from what is on hosts that are as they should be", _add, _run)
