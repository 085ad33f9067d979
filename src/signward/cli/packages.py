"""Whose packages may vouch for files, as arguments: what `scan` and `verify` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.verbs.options import Options, PackageOptions
    from signward.verbs.packages.system import System


def add_packages(parser: argparse.ArgumentParser) -> None:
    """Add which system's packages are asked, and where package files lie."""
    group = parser.add_argument_group(
        "packages: who vouches for a system's files", "asked of files in /usr, /bin, "
        "/sbin, /lib, /boot and /etc of this system",
    )  # fmt: skip
    group.add_argument("--system-root", default="", metavar="DIR", help="the root of the system "
                       "that the files are of: a mounted image (default: /)")  # fmt: skip
    group.add_argument("--debs", action="append", default=[], metavar="DIR", help="a folder of "
                       "package files (.deb), besides those that apt kept")  # fmt: skip
    group.add_argument("--fetch-debs", action="store_true", help="have apt-get download the "
                       "packages of these files that are not at hand; says so first")  # fmt: skip
    group.add_argument("--fetch-dry-run", action="store_true",
                       help="only say what --fetch-debs would have fetched")  # fmt: skip
    group.add_argument("--no-packages", action="store_true",
                       help="do not ask what packages say of files")  # fmt: skip


def packages_from(
    arguments: argparse.Namespace, paths: Sequence[str], options: Options, ledger: str = ""
) -> PackageOptions | None:
    """Return the system to ask, by default this one for files where its packages' lie.

    ``options`` are the run's, ``ledger`` is where to keep what is read.  Raises ``EvidenceError``.
    """
    from signward.errors import EvidenceError

    fetching = arguments.fetch_debs or arguments.fetch_dry_run
    asked = bool(arguments.system_root or arguments.debs or fetching)
    if arguments.no_packages and asked:
        raise EvidenceError("--no-packages: found another option about packages, required none")
    if fetching and arguments.system_root:
        raise EvidenceError("--fetch-debs: found --system-root, required none: apt-get fetches "
                            "what this system's sources name")  # fmt: skip
    if arguments.no_packages or not (asked or _lies_in_system(paths)):
        return None
    packages = _options(arguments, ledger)
    if fetching:
        _fetch(arguments, paths, replaced(options, packages))
        packages = _options(arguments, ledger)
    return packages


def tell_troubles(system: System | None) -> None:
    """Say what of a system's lists and packages could not be used, and why."""
    from signward.inventory.walk import printable

    for trouble in system.ledger.troubles if system is not None else ():
        print(f"signward: warning: {printable(trouble)}", file=sys.stderr)


def replaced(options: Options, packages: PackageOptions | None) -> Options:
    """Return the run's options with the system to ask."""
    from signward.frozen import replace

    return replace(options, packages=packages)


def _options(arguments: argparse.Namespace, ledger: str) -> PackageOptions:
    from signward.cli.fetch_debs import fetched_folder
    from signward.verbs.options import PackageOptions

    fetched = fetched_folder()
    own = (str(fetched),) if fetched.is_dir() and not arguments.system_root else ()
    return PackageOptions(
        root=arguments.system_root or "/", debs=(*arguments.debs, *own), ledger=ledger
    )


def _fetch(arguments: argparse.Namespace, paths: Sequence[str], options: Options) -> None:
    from signward.cli.fetch_debs import fetch
    from signward.verbs.context import Context

    system = Context(options).system
    specs = system.absent(paths) if system is not None else ()
    fetch(specs, dry=arguments.fetch_dry_run)


def _lies_in_system(paths: Sequence[str]) -> bool:
    from signward.verbs.packages.places import has_packages, reaches

    return any(map(reaches, paths)) and has_packages()
