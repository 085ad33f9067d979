"""``signward manifest ACTION``: whole trees signed as one list, and held against it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from signward.cli.actions import Action, add_actions, run_action
from signward.cli.arguments import instant

if TYPE_CHECKING:
    from signward.state import TreeEntry
    from signward.verbs.manifests import Checked, Made

DESCRIPTION = """\
Sign a whole tree (scripts, configuration, a root filesystem) as one list of its
files, links and modes, with a version that only grows.

verify and scan take a manifest with --catalog: files that it lists by their
SHA-256 are accepted if its signer is trusted.  check holds the tree itself
against it: added, changed and missing names.  A version older than one that
counted here before is refused."""

EPILOG = """examples:
  signward manifest make /srv/app --key file:release.pem -o app.manifest
  signward manifest make /srv/app --key file:k.pem --update a.man -o b.man
  signward manifest check /srv/app --manifest app.manifest --key release.pem
  signward verify --catalog app.manifest --anchor root.pem /srv/app/start.sh
  signward scan --catalog app.manifest --anchor root.pem /srv/app

exit codes: 0 made, or everything is as signed; 1 check: something is not;
2 command line, key, manifest or tree
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``manifest``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


def _add_make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tree", metavar="DIR", help="the folder whose tree is listed")
    parser.add_argument("--key", required=True, metavar="URI",
                        help="the key that signs: file:key.pem, see docs/keys.md")  # fmt: skip
    parser.add_argument("--certificate", action="append", default=[], metavar="PEM",
                        help="its certificates, where they are not with the key: --catalog asks "
                        "for them")  # fmt: skip
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the key's password or PIN is this file's first line")  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the manifest")
    parser.add_argument("--update", default="", metavar="FILE",
                        help="bring this manifest up to date: only files that are not the very "
                        "same are read, and the version grows")  # fmt: skip
    parser.add_argument("--old-key", action="append", default=[], metavar="PEM",
                        help="the public key, or certificate, that it is signed with, where that "
                        "is not --key")  # fmt: skip
    parser.add_argument("--name", default="", metavar="NAME",
                        help="what the manifest is known by (default: the folder's name, or the "
                        "old manifest's)")  # fmt: skip
    parser.add_argument("--least-version", type=_version, default=1, metavar="N",
                        help="give it this version at least, such as where the last manifest was "
                        "lost (default: 1)")  # fmt: skip
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="the time it is said to be made at (default: now)")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _version(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**53:
        raise argparse.ArgumentTypeError(f"found {text!r}, required a number from 1")
    return int(text)


def _run_make(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from signward.errors import UnreadableError
    from signward.verbs.manifests import ManifestOptions, make_manifest

    options = ManifestOptions(
        tree=arguments.tree, output=arguments.output, key=arguments.key,
        at=arguments.at or datetime.now(UTC), certificates=tuple(arguments.certificate),
        pass_file=arguments.pass_file, name=arguments.name, old=arguments.update,
        old_keys=tuple(arguments.old_key), least=arguments.least_version,
    )  # fmt: skip
    try:
        made = make_manifest(options, _watch("listing", arguments))
    except UnreadableError as error:
        print(f"signward: {error}", file=sys.stderr)
        return 2
    _tell(arguments.output, made)
    return 0


def _tell(output: str, made: Made) -> None:
    from signward.report.display import visible

    print(visible(f"{output}: version {made.version}, {made.hashed + made.kept} files "
                  f"({made.hashed} read), {made.links} links, {made.folders} folders"))  # fmt: skip
    for name in made.others:
        print(visible(f"{name}: neither file, link nor folder: not listed"), file=sys.stderr)
    if not made.named:
        print("no certificate of the key is in it: check --key takes it, --catalog cannot",
              file=sys.stderr)  # fmt: skip


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tree", metavar="DIR", help="the folder whose tree is held against it")
    parser.add_argument("--manifest", required=True, metavar="FILE", help="the manifest")
    parser.add_argument("--key", required=True, action="append", metavar="PEM",
                        help="the public key, or certificate, that it is signed with")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _run_check(arguments: argparse.Namespace) -> int:
    from signward.errors import UnreadableError
    from signward.verbs.manifests import check_manifest

    try:
        checked = check_manifest(arguments.tree, arguments.manifest, arguments.key,
                                 _watch("checking", arguments))  # fmt: skip
    except UnreadableError as error:
        print(f"signward: {error}", file=sys.stderr)
        return 2
    _print_json(checked) if arguments.json else _print(arguments.tree, checked)
    return 1 if checked.differences else 0


def _print(tree: str, checked: Checked) -> None:
    from signward.report.display import visible

    for one in checked.differences:
        print(visible(f"{one.kind} {one.path}: found {one.found}, required {one.required}"))
    told = f"{len(checked.differences)} not as signed" if checked.differences else "all as signed"
    print(visible(f"{tree}: {checked.names} names in {checked.name}, version {checked.version}: "
                  f"{told}"))  # fmt: skip


def _print_json(checked: Checked) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(checked), indent=2).decode())


class _Passing(Protocol):
    def __call__(self, entries: Sequence[TreeEntry], /) -> Iterable[TreeEntry]: ...


def _watch(doing: str, arguments: argparse.Namespace) -> _Passing:
    """Return what draws how far the work is, on a terminal."""
    if arguments.quiet or not sys.stderr.isatty():
        return iter
    from rich.console import Console
    from rich.progress import track

    def drawn(entries: Sequence[TreeEntry]) -> Iterable[TreeEntry]:
        return track(entries, doing, console=Console(stderr=True), transient=True)

    return drawn


ACTIONS = {
    "make": Action("list a tree, and sign the list", _add_make, _run_make),
    "check": Action("hold a tree against its manifest", _add_check, _run_check),
}
