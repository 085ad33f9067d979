"""Whose packages may vouch for files, as arguments: what `scan` and `verify` share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.verbs.options import PackageOptions


def add_packages(parser: argparse.ArgumentParser) -> None:
    """Add which system's packages are asked, and where package files lie."""
    group = parser.add_argument_group(
        "packages: who vouches for a Debian system's files", "asked of what lies in /usr, /bin, "
        "/sbin, /lib, /boot or /etc here; see docs/packages.md",
    )  # fmt: skip
    group.add_argument("--system-root", default="", metavar="DIR", help="the root of the system "
                       "that the files are of: a mounted image (default: /)")  # fmt: skip
    group.add_argument("--debs", action="append", default=[], metavar="DIR", help="a folder of "
                       "package files (.deb), besides those that apt kept")  # fmt: skip
    group.add_argument("--no-packages", action="store_true",
                       help="do not ask what packages say of files")  # fmt: skip


def packages_from(
    arguments: argparse.Namespace, paths: Sequence[str], ledger: str = ""
) -> PackageOptions | None:
    """Return the system to ask, by default this one for files where its packages' lie.

    ``ledger`` is where to keep what is read.  Raises ``EvidenceError``.
    """
    from signward.errors import EvidenceError
    from signward.verbs.options import PackageOptions

    asked = bool(arguments.system_root or arguments.debs)
    if arguments.no_packages:
        if asked:
            raise EvidenceError("--no-packages: found --system-root or --debs, required neither")
        return None
    if not asked and not _lies_in_system(paths):
        return None
    return PackageOptions(
        root=arguments.system_root or "/", debs=tuple(arguments.debs), ledger=ledger
    )


def _lies_in_system(paths: Sequence[str]) -> bool:
    from signward.verbs.packages.places import has_packages, reaches

    return any(map(reaches, paths)) and has_packages()
