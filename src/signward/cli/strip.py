"""``signward strip FILE...``: take the signatures away."""

from __future__ import annotations

import argparse

from signward.cli.results import add_output, report

DESCRIPTION = """\
Take every signature out of files.

Each file keeps its name, mode and times, and is replaced whole or not at all.
What was signed stays as it was; bytes that signing added elsewhere (padding,
say) may stay."""

EPILOG = """examples:
  signward strip setup.exe
  signward strip --out unsigned/ *.dll

exit codes: 0 every file was stripped, 1 some were not, 2 command line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``strip``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to strip")
    add_output(parser.add_argument_group("output"))


def run(arguments: argparse.Namespace) -> int:
    """Strip every file; return 0 if all were."""
    from signward.verbs.change import Destination
    from signward.verbs.strip import strip

    destination = Destination(out=arguments.out, dry_run=arguments.dry_run)
    return report(strip(arguments.files, destination), arguments, "stripping")
