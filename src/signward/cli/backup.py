"""``signward backup``: an authority in one file, made while it works."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DESCRIPTION = """\
Write a backup of an authority: its database, settings and certificates.

The authority may be at work meanwhile: the backup is of one instant.  The log
in it is checked entry by entry first.  Keys stay where they are, unless
--with-keys puts those that are files into the backup, under a password."""

EPILOG = """examples:
  signward backup -o signward-2026-11-23.tar
  signward backup --with-keys --pass-file pass.txt -o all.tar
  signward restore signward-2026-11-23.tar        what it would restore

The password comes from --pass-file, from the environment (SIGNWARD_PASSWORD)
or from a prompt.  What happens after a backup is not in it: keep the file
log-checkpoint of the authority's folder, too, wherever you keep backups.

exit codes: 0 done, 2 not done, or the log does not fit itself
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``backup``."""
    parser.add_argument("-o", "--output", required=True, metavar="FILE",
                        help="where to; it must not exist")  # fmt: skip
    parser.add_argument("--data", default="", metavar="DIR", help="the authority's folder "
                        "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    parser.add_argument("--database", default="", metavar="URL", help="its database, "
                        "postgresql://... (default: SQLite in the folder)")  # fmt: skip
    parser.add_argument("--with-keys", action="store_true",
                        help="the key files too, encrypted with a password")  # fmt: skip
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the password is this file's first line")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="tell the manifest as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the backup."""
    from signward.verbs.authority.backup import backup
    from signward.verbs.authority.realm import Realm, default_folder

    password = _password(arguments) if arguments.with_keys else None
    realm = Realm.open(Path(arguments.data or default_folder()), database=arguments.database)
    try:
        made = backup(realm, Path(arguments.output), password=password)
    finally:
        realm.close()
    if arguments.json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(made)).decode() + "\n")
        return 0
    print(f"{arguments.output}: {made.name}, a log of {made.size} entries, root {made.root}")
    for name, uri in made.missing.items():
        print(f"not in it: key {name} ({uri})")
    return 0


def _password(arguments: argparse.Namespace) -> str:
    from signward.errors import RealmError
    from signward.verbs.secrets import new_password

    password = new_password("password of the backup", arguments.pass_file)
    if not password:
        raise RealmError("--with-keys", "no password", "--pass-file, or SIGNWARD_PASSWORD")
    return password
