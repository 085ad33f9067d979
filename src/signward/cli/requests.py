"""``signward requests ACTION``: what waits for approvals, and the approvals."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, add_data, run_action

if TYPE_CHECKING:
    from signward.verbs.authority.approvals import Waiting
    from signward.verbs.authority.desk import Desk

DESCRIPTION = """\
List the signing requests that wait for approvals which you may give, approve
them, or end them: approvers may, and whoever made a request may end it.

The authority is the one in --data DIR, where you are the user that the system
says, or a service at --url URL, where SIGNWARD_TOKEN (or SIGNWARD_CLIENT_CERT)
says who you are."""

EPILOG = """examples:
  signward requests list --url https://signer.example
  signward requests approve --url https://signer.example 4f1c...
  signward requests deny --data /var/lib/signward 4f1c...

--json writes one object for each request: id, key, state, by, by_issuer and
by_kind (who asked), format, file, content (its digest), digest (of the octets
to be signed), algorithm, at, expires, approvals (who gave theirs), required.

exit codes: 0 done, 1 some were refused, 2 command line or service
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``requests``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    from signward.errors import SignwardError

    try:
        return run_action(ACTIONS, arguments)
    except SignwardError as error:
        print(f"signward: {error}", file=sys.stderr)
        return 2


def _add_where(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--url", default="", metavar="URL", help="a signing service, instead")
    parser.add_argument("--json", action="store_true",
                        help="one JSON object per request, told in requests --help")  # fmt: skip


def _add_answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("requests", nargs="+", metavar="ID", help="as list shows it")
    _add_where(parser)


def _desk(arguments: argparse.Namespace) -> Desk:
    from pathlib import Path

    from signward.verbs.authority.desk import OwnDesk, ServiceDesk
    from signward.verbs.authority.realm import default_folder
    from signward.verbs.secrets import SecretFinder

    if arguments.url:
        return ServiceDesk(arguments.url, SecretFinder())
    folder = Path(arguments.data) if arguments.data else default_folder()
    return OwnDesk(folder, arguments.database)


def _list(arguments: argparse.Namespace) -> int:
    with closing(_desk(arguments)) as desk:
        found = desk.waiting()
    for request in found:
        _tell(request, json=arguments.json)
    if not found and not arguments.json:
        print("nothing waits for you", file=sys.stderr)
    return 0


def _answer(arguments: argparse.Namespace) -> int:
    from signward.errors import ConflictError, DeniedError, KeyProviderError
    from signward.verbs.authority.approvals import Answering

    refused = False
    with closing(_desk(arguments)) as desk:
        for identifier in arguments.requests:
            try:
                request = desk.answer(identifier, Answering(arguments.action))
            except (ConflictError, DeniedError, KeyProviderError) as error:
                print(f"signward: {error}", file=sys.stderr)
                refused = True
            else:
                _tell(request, json=arguments.json)
    return 1 if refused else 0


ACTIONS = {
    "list": Action("list what waits for you, oldest first", _add_where, _list),
    "approve": Action("approve requests: once each, and none of your own", _add_answer, _answer),
    "deny": Action("end requests", _add_answer, _answer),
}


def _tell(request: Waiting, *, json: bool) -> None:
    from signward.policy.record import printable_json
    from signward.report.display import visible

    if json:
        print(printable_json(request).decode())
        return
    asked = f"{request.by_kind}:{request.by}"
    given = f"{len(request.approvals)} of {request.required} approvals"
    by = f" ({', '.join(request.approvals)})" if request.approvals else ""
    for line in (  # all of it is a service's word, which need not be ours
        f"{request.id}  {request.state}, {given}{by}, until {request.expires:%Y-%m-%d %H:%M} UTC",
        f"    key {request.key}: {request.file} ({request.format}), for {asked}",
        f"    file {request.content or 'not told'}, octets {request.digest}",
    ):
        print(visible(line))
