"""``signward policy seal``: signs what was compiled, as firmware, kernels and Windows verify it."""

from __future__ import annotations

import argparse
from pathlib import Path

from signward.cli.actions import Action
from signward.cli.arguments import instant

FORMS = ("db", "dbx", "kek", "pk", "ipe", "verity", "root-hash", "blacklist", "cip")
"""The words of ``verbs.policies.signing.Form``, which a command line is read without."""

_SUFFIXES = {**dict.fromkeys(("db", "dbx", "kek", "pk"), ".auth"), "ipe": ".p7b", "cip": ".p7b"}


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what was compiled: a signature list, an IPE "
                        "policy, a file for fs-verity, a root hash, a blacklist entry, "
                        "a .cip of App Control")  # fmt: skip
    parser.add_argument("--form", required=True, choices=FORMS, help="what it is: db, dbx, KEK and "
                        "PK become authenticated updates (dbx appends)")  # fmt: skip
    parser.add_argument("--key", required=True, metavar="URI",
                        help="the key that signs: file:key.pem, see docs/keys.md")  # fmt: skip
    parser.add_argument("--cert", action="append", default=[], metavar="PEM",
                        help="the key's certificate, where its holder keeps none")  # fmt: skip
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the key's password or PIN is this file's first line")  # fmt: skip
    parser.add_argument("--at", type=instant, metavar="TIME", help="the update's time, later "
                        "than the last one's (default: now)")  # fmt: skip
    parser.add_argument("-o", "--output", default="", metavar="FILE",
                        help="write there (default: FILE with .auth, .p7b or .p7s)")  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from signward.cli.scan import written_whole
    from signward.report.display import visible
    from signward.verbs.options import read_option
    from signward.verbs.policies.signing import Form, opened, seal

    at = arguments.at or datetime.now(UTC)
    content = read_option(str(Path(arguments.file)))
    with opened(arguments.key, arguments.cert, arguments.pass_file) as credential:
        sealed = seal(Form(arguments.form), content, credential, at)
        label = credential.standing.leaf.label
    output = arguments.output or arguments.file + _SUFFIXES.get(arguments.form, ".p7s")
    with written_whole(output) as out:
        out.write(sealed)
    print(visible(f"{output}: signed by {label}"))
    return 0


ACTION = Action("sign what was compiled for firmware, a kernel or Windows", _add, _run)
