"""Commands with actions of their own: ``signward feed publish``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Action(NamedTuple):
    """One action: its line of help, its arguments, and what does it (returning the exit code)."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_actions(parser: argparse.ArgumentParser, actions: Mapping[str, Action]) -> None:
    """Give a command actions; the namespace holds the chosen one's name as ``action``."""
    known = parser.add_subparsers(dest="action", required=True, metavar="ACTION",
                                  help=", ".join(actions))  # fmt: skip
    for name, action in actions.items():
        described = action.help[0].upper() + action.help[1:] + "."
        action.add_arguments(known.add_parser(name, help=action.help, description=described))


def run_action(actions: Mapping[str, Action], arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    return actions[arguments.action].run(arguments)


def nested(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's actions by name; none for most commands."""
    for action in parser._actions:  # noqa: SLF001  argparse tells it nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add where the authority's data lies."""
    parser.add_argument("--data", default="", metavar="DIR", help="the authority's folder "
                        "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    parser.add_argument("--database", default="", metavar="URL", help="its database, "
                        "postgresql://... (default: SQLite in the folder)")  # fmt: skip


def local_user() -> str:
    """Return who asks at this command line, as the log names him: the system's user."""
    import getpass

    try:
        return f"local:{getpass.getuser()}"
    except (KeyError, OSError):
        return "local:unknown"
