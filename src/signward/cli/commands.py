"""The ``signward`` command: one subcommand, one module, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

from signward import __version__

COMMANDS = {
    "verify": "judge files: who signed them, does that count, why not",
    "show": "show a file's signatures as a tree",
    "scan": "judge every file in folders and archives, and write a report",
    "sign": "sign files, in place and whole or not at all",
    "timestamp": "add timestamps to signatures that files carry",
    "strip": "take the signatures out of files",
    "catalog": "list files in a catalog, to be signed",
    "completion": "print a script that completes options in your shell",
}
"""Subcommand to its line of help; the module of the same name in this folder does it."""

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EPILOG = """examples:
  signward verify setup.exe                    who signed it, does that count
  signward verify --explain setup.exe          every fact behind the answer
  signward show setup.exe                      what is in its signatures
  signward scan /srv/share --html report.html  a whole folder, as a page to read
  signward sign --key file:key.pem setup.exe   sign it

'signward COMMAND --help' lists a command's options.  Nothing is sent or fetched
unless you say --online or --timestamp, and no file that is judged is changed.

exit codes: 0 accepted, 1 rejected, 2 command line, 3 cannot tell, 4 not signed
"""


class Command(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the subcommand's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; return the exit code."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the subcommand it names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = build_parser(words).parse_args(words)
    from signward.errors import EvidenceError, SigningError  # not for --version and --help

    command: Command = importlib.import_module(f"signward.cli.{parsed.command}")
    try:
        return command.run(parsed)
    except (EvidenceError, SigningError) as error:
        print(f"signward: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("signward: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the subcommand named in ``words`` gets its arguments."""
    parser = argparse.ArgumentParser(
        prog="signward",
        description="Who signed this code, does that still count, and may it run here?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"signward {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((word for word in words if word in COMMANDS), "")
    for name, line in COMMANDS.items():
        module = importlib.import_module(f"signward.cli.{name}") if name == named else None
        sub = commands.add_parser(name, help=line, **_settings(name, module))
        if module:
            module.add_arguments(sub)
    return parser


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return every command's own parser, with its arguments: for documentation and shells."""
    parsers = {}
    for name in COMMANDS:
        module = importlib.import_module(f"signward.cli.{name}")
        parsers[name] = argparse.ArgumentParser(prog=f"signward {name}", **_settings(name, module))
        module.add_arguments(parsers[name])
    return parsers


def _settings(name: str, module: ModuleType | None) -> dict[str, Any]:
    """Return what a command's parser is made with: its text is the module's, if it is loaded."""
    line = COMMANDS[name]
    return {
        "description": getattr(module, "DESCRIPTION", line[0].upper() + line[1:] + "."),
        "epilog": getattr(module, "EPILOG", None),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
