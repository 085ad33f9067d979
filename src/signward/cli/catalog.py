"""``signward catalog FILES -o x.cat``: list files in a catalog, to be signed."""

from __future__ import annotations

import argparse
import sys

from signward.cli.arguments import instant

DESCRIPTION = """\
Write a catalog that lists files by their SHA-256 digests.

Whoever trusts the catalog's signature then trusts the files it lists, which
themselves stay as they are: how drivers, and files that cannot carry a
signature, are signed."""

EPILOG = """examples:
  signward catalog driver.sys driver.inf -o driver.cat
  signward sign --key file:release.pem driver.cat
  signward verify --catalog driver.cat driver.sys

exit codes: 0 the catalog was written, 1 it was not, 2 command line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``catalog``."""
    parser.add_argument("files", nargs="+", metavar="PATH", help="files, or folders of files")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the catalog")
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="the time the list is said to be made at (default: now)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the catalog."""
    from datetime import UTC, datetime

    from signward.errors import BadInputError, SigningError, UnreadableError
    from signward.verbs.list_files import write_catalog

    try:
        at = arguments.at or datetime.now(UTC)
        count = write_catalog(arguments.files, arguments.output, at)
    except (SigningError, BadInputError, UnreadableError) as error:
        print(f"signward: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {count} files listed; not signed yet")
    return 0
