"""The ``signward`` command: one subcommand, one module, imported when it is asked for."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol, TextIO

from signward import __version__
from signward.cli.ending import ending_in_order

COMMANDS = {
    "verify": "judge files: who signed them, does that count, why not",
    "show": "show a file's signatures as a tree",
    "scan": "judge every file in folders and archives, and write a report",
    "sign": "sign files, in place and whole or not at all",
    "timestamp": "add timestamps to signatures that files carry",
    "strip": "take the signatures out of files",
    "catalog": "list files in a catalog, to be signed",
    "manifest": "sign a whole tree as one list, and say what is no longer as signed",
    "siglist": "list certificates and boot programs for UEFI's db or dbx, to be signed",
    "ca": "found a certification authority, issue and revoke certificates",
    "certs": "keep the signing certificates one has: holders, ends, releases",
    "log": "read, prove, check and follow a transparency log",
    "feed": "what is revoked, as one signed document: add, publish, follow",
    "policy": "one policy: check, explain, simulate, compile for every enforcer",
    "revoke": "revoke once, everywhere: first what would stop, then all enforcers",
    "boot": "Secure Boot: what starts, what would not any more, what to do",
    "intake": "take in what others deliver: judge it, move it, write receipts",
    "requests": "approve or deny what waits to be signed",
    "serve": "serve an authority over HTTP",
    "backup": "write an authority's database, settings and certificates to one file",
    "restore": "check an authority's backup, and restore it into a new folder",
    "completion": "print a script that completes options in your shell",
}
"""Subcommand to its line of help; the module of the same name in this folder does it."""

_UNNAMED = {"intake": ("take", "audit", "receipts")}
"""Commands whose first action need not be named, with their actions."""

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_EPILOG = """examples:
  signward verify setup.exe                    who signed it, does that count
  signward verify --explain setup.exe          every fact behind the answer
  signward show setup.exe                      what is in its signatures
  signward scan /srv/share --html report.html  a whole folder, as a page to read
  signward sign --key file:key.pem setup.exe   sign it
  signward ca init --name "Example Ltd"        found an authority of one's own
  signward serve                               let it answer

'signward COMMAND --help' lists a command's options.  Nothing is sent or fetched
unless you say --online, --timestamp or --feed URL, and no file that is judged
is changed.

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
    words = _spelled_out(list(sys.argv[1:] if arguments is None else arguments))
    _end_quickly()
    _fill_standard_streams()
    try:
        with ending_in_order():
            parsed = build_parser(words).parse_args(words)
            return _done(importlib.import_module(f"signward.cli.{parsed.command}"), parsed)
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_USAGE
    except OSError as error:  # of our own output: verbs know what to say of files
        sys.stdout = _nowhere()
        print(f"signward: output: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("signward: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _spelled_out(words: list[str]) -> list[str]:
    """Return the words with the action that a command does where none is named.

    ``intake PATH`` stands for ``intake take PATH``; a PATH of an action's name needs ``./``.
    """
    actions = _UNNAMED.get(words[0], ()) if words else ()
    if not actions or len(words) < 2 or words[1] in (*actions, "-h", "--help"):
        return words
    return [words[0], actions[0], *words[1:]]


def _done(command: Command, parsed: argparse.Namespace) -> int:
    # Not for --version and --help.
    from signward.errors import (
        AuthorityError,
        BadInputError,
        EvidenceError,
        PolicyError,
        SigningError,
    )

    try:
        return command.run(parsed)
    except (AuthorityError, BadInputError, EvidenceError, PolicyError, SigningError) as error:
        print(f"signward: {error}", file=sys.stderr)
        return EXIT_USAGE


def _end_quickly() -> None:
    """Have the interpreter end without looking for cycles in all that it goes away with.

    That search is a twentieth of what verifying a small file takes.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - light to import


def _fill_standard_streams() -> None:
    """Open what the caller closed of 0, 1 and 2: no file of ours is to be taken for them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal.

    argparse asks ``shutil`` for the width, for every parser it makes: that loads compressors.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Return the terminal's columns, as COLUMNS or the terminal itself says; else 80."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    with contextlib.suppress(OSError):
        return os.get_terminal_size().columns or 80
    return 80


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the subcommand named in ``words`` gets its arguments."""
    parser = argparse.ArgumentParser(
        prog="signward",
        description="Who signed this code, does that still count, and may it run here?",
        epilog=_EPILOG,
        formatter_class=_Formatter,
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
        "formatter_class": _Formatter,
    }
