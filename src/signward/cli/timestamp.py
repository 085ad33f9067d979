"""``signward timestamp FILE...``: add timestamps to signatures that are there."""

from __future__ import annotations

import argparse

from signward.cli.results import add_output, report

DESCRIPTION = """\
Add RFC 3161 timestamps to the signatures that files already carry.

A timestamp proves that the signature existed then: it stays good after its
certificate has ended, or is revoked for what happened later.  No key is
needed."""

EPILOG = """examples:
  signward timestamp --timestamp URL setup.exe
  signward timestamp --timestamp URL --timestamp OTHER-URL *.msi

exit codes: 0 every file was timestamped, 1 some were not, 2 command line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``timestamp``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="signed files")
    parser.add_argument("--timestamp", action="append", required=True, metavar="URL",
                        help="the authority; of several the first that answers well")  # fmt: skip
    parser.add_argument("--digest", choices=("sha256", "sha384", "sha512"), default="sha256",
                        metavar="{sha256,sha384,sha512}",
                        help="digest of the message imprint (default: sha256)")  # fmt: skip
    parser.add_argument("--again", action="store_true",
                        help="also where there is a timestamp already")  # fmt: skip
    add_output(parser.add_argument_group("output"))


def run(arguments: argparse.Namespace) -> int:
    """Timestamp every file; return 0 if all were."""
    from signward.verbs.change import Destination
    from signward.verbs.timestamp import Timestamper

    destination = Destination(out=arguments.out, dry_run=arguments.dry_run)
    stamper = Timestamper(arguments.timestamp, arguments.digest, destination, again=arguments.again)
    return report(stamper.run(arguments.files), arguments, "timestamping")
