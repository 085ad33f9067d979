"""``signward boot status``: what starts this machine, and what would not any more."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, run_action
from signward.cli.arguments import instant

if TYPE_CHECKING:
    from signward.policy.boot.status import BootStatus

DESCRIPTION = """\
Say what firmware and shim let start on a machine, and what they would not any
more: Microsoft's Secure Boot certificates of 2011 ended in 2026.

Reads and never writes: UEFI variables, the EFI system partition, kernels."""

EPILOG = """examples:
  signward boot status                             this machine (as root)
  signward boot status --json                      the same, to be processed
  signward boot status --with-dbx dbxupdate.bin    what this update would stop
  signward boot status --rom gpu.rom               and whether its driver starts
  signward boot status --root /mnt/disk --vars /mnt/efivars-copy
  signward boot status --root image/ --vars OVMF_VARS.fd --esp image/esp

exit codes: 0 nothing to do, 1 there is advice, 2 command line or unreadable,
3 cannot tell (no UEFI variables)
"""

EXIT_ADVICE, EXIT_CANNOT_TELL = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``boot``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    return run_action(ACTIONS, arguments)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="/", metavar="DIR",
                        help="the system's root, mounted elsewhere (default: /)")  # fmt: skip
    parser.add_argument("--vars", default="", metavar="PATH",
                        help="UEFI variables: a copy of efivarfs, a flash image (OVMF_VARS.fd), "
                        "or virt-fw-vars' JSON (default: the root's efivarfs)")  # fmt: skip
    parser.add_argument("--esp", default="", metavar="DIR",
                        help="the EFI system partition (default: boot/efi, efi or boot below "
                        "the root)")  # fmt: skip
    parser.add_argument("--with-dbx", default="", metavar="FILE",
                        help="say what this update would stop: dbxupdate.bin, a signature list, "
                        "or Microsoft's dbx_info JSON")  # fmt: skip
    parser.add_argument("--rom", action="append", default=[], metavar="FILE",
                        help="what is in a device's ROM, as its maker gives it or copied from "
                        "sysfs; named ADDRESS.rom it is that device's (repeatable)")  # fmt: skip
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="call certificates ended as at this time (default: now)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _status(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from signward.verbs.boot import Asked, boot_status

    asked = Asked(root=arguments.root, variables=arguments.vars, esp=arguments.esp,
                  update=arguments.with_dbx, roms=tuple(arguments.rom))  # fmt: skip
    with _watched() as tick:
        status = boot_status(asked, arguments.at or datetime.now(UTC), tick)
    if arguments.json:
        from signward.policy.record import printable_json

        sys.stdout.write(printable_json(status).decode() + "\n")
    else:
        from signward.report.boot import write_status
        from signward.report.text import wants_colour

        write_status(status, sys.stdout, colour=wants_colour(sys.stdout))
    return _code(status)


def _code(status: BootStatus) -> int:
    from signward.policy.boot.status import NO_VARIABLES

    if status.kind == NO_VARIABLES:
        return EXIT_CANNOT_TELL
    return EXIT_ADVICE if status.advice else 0


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[str], None]]:
    """On a terminal, name the file being read; elsewhere be silent."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    from signward.report.display import visible

    with Console(stderr=True).status("reading") as line:
        yield lambda name: line.update(visible(name))


ACTIONS = {
    "status": Action("say what starts, what would not without the certificates of 2011, and what "
                     "to do", _add, _status),
}  # fmt: skip
