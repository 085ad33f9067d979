"""``signward restore``: an authority from its backup, into a folder of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.verbs.authority.restore import Restorable

DESCRIPTION = """\
Check a backup of an authority, entry by entry; with --apply, restore it.

The folder must be empty or absent, a database given with --database empty.
All of it is restored, or nothing."""

EPILOG = """examples:
  signward restore signward-2026-11-23.tar          what it would restore
  signward restore signward-2026-11-23.tar --data /srv/signward --apply
  signward restore all.tar --with-keys --pass-file pass.txt --apply
  signward restore all.tar --database postgresql://signer@db/signward --apply

What happened after the backup is lost.  Revoke again what was revoked since.
The log goes on from where it was: whoever saw more of it (monitors, holders of
receipts) will find that entries are gone and others stand in their place, and
must be told why; the log's first new entry says so.  Where the newest
log-checkpoint of the lost folder is still to be had, put it into the new one:
signing checkpoints then asks for a reason, once.

exit codes: 0 the backup is whole (--apply: and restored), 2 it is not
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``restore``."""
    parser.add_argument("backup", metavar="FILE", help="what signward backup wrote")
    parser.add_argument("--apply", action="store_true", help="restore it; else only look")
    parser.add_argument("--data", default="", metavar="DIR", help="the authority's new folder "
                        "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    parser.add_argument("--database", default="", metavar="URL", help="its new database, "
                        "postgresql://... (default: SQLite in the folder)")  # fmt: skip
    parser.add_argument("--with-keys", action="store_true", help="restore the keys in it, too")
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the password of the keys is this file's first line")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="tell what is in it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check the backup, and restore it if that was asked for."""
    from signward.verbs.authority.restore import restorable

    found = _restored(arguments) if arguments.apply else restorable(Path(arguments.backup))
    if arguments.json:
        import msgspec

        told = {"restored": arguments.apply, **msgspec.to_builtins(found)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")
    else:
        _print(found, arguments)
    return 0


def _restored(arguments: argparse.Namespace) -> Restorable:
    from signward.errors import RealmError
    from signward.verbs.authority.realm import default_folder
    from signward.verbs.authority.restore import Restoring, restore
    from signward.verbs.secrets import SecretFinder

    password = None
    if arguments.with_keys:
        password = SecretFinder(arguments.pass_file)("password of the backup")
        if password is None:
            raise RealmError("--with-keys", "no password", "--pass-file, or SIGNWARD_PASSWORD")
    folder = Path(arguments.data or default_folder())
    into = Restoring(folder=folder, database=arguments.database, password=password)
    return restore(Path(arguments.backup), into)


def _print(found: Restorable, arguments: argparse.Namespace) -> None:
    made = found.manifest
    print(f"{arguments.backup}: {made.name}, as of {made.made}, by signward {made.version}")
    print(f"the log: {made.size} entries, root {made.root}")
    print(f"{found.certificates} certificates, {found.revocations} revocations")
    if made.sealed is not None and not arguments.with_keys:
        print("keys are in it, under a password: --with-keys")
    for name, uri in made.missing.items():
        print(f"not in it: key {name} ({uri})")
    print(f"lost is what happened after {made.made}: revoke again what was revoked since;")
    print(f"who saw a log of more than {made.size} entries will find that it went back")
    print("restored" if arguments.apply else "nothing was restored: that takes --apply")
