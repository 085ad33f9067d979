"""``signward certs ACTION``: the certificates that sign for an organisation, whoever sold them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, add_data, run_action

if TYPE_CHECKING:
    from signward.verbs.estate import Estate

DESCRIPTION = """\
Keep the signing certificates of an organisation, bought or its own: who holds
each, where its key is, when it ends, and which releases hang on it.

Certificates come from files (PEM, DER, PKCS#7, PKCS#12), from tokens and key
services, from scans, and from one's own authority and its log."""

EPILOG = """examples:
  signward certs import release.pem old.p12 --holder 'Release team'
  signward certs import --key 'pkcs11:token=Release;object=codesign'
  signward certs import verdicts.jsonl --publisher 'Example Ltd'
  signward certs import --authority
  signward certs list --expiring 60
  signward certs set 3fa4 --holder 'Ann' --location 'safe 2, token 7'
  signward certs export --calendar certificates.ics --metrics certs.prom

Publicly trusted code signing certificates issued since 2026-03-01 may be valid
for 460 days; a longer one is told of.

exit codes: 0 done (list, export: nothing to be told of), 1 list, export: a
certificate is to be told of, import: something could not be read; 2 command
line or database
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``certs``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


def _add_import(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="certificates, key stores, "
                        "reports of scans in JSON, a scan's cache")  # fmt: skip
    parser.add_argument("--key", action="append", default=[], metavar="URI",
                        help="what lies beside this key, see docs/keys.md")  # fmt: skip
    parser.add_argument("--authority", action="store_true",
                        help="what the authority of --data issued, and its log")  # fmt: skip
    parser.add_argument("--publisher", action="append", default=[], metavar="NAME",
                        help="from scans take in this one's ('*': everybody's)")  # fmt: skip
    parser.add_argument("--holder", default="", metavar="TEXT", help="who holds their keys")
    parser.add_argument("--location", default="", metavar="TEXT", help="where the keys are")
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the password or PIN is this file's first line")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


def _run_import(arguments: argparse.Namespace) -> int:
    from collections.abc import Callable
    from functools import partial

    from signward.errors import EvidenceError, KeyProviderError
    from signward.verbs.estate import Given, Imported
    from signward.verbs.secrets import SecretFinder

    if not (arguments.files or arguments.key or arguments.authority):
        raise EvidenceError("certs import: found nothing to import, required files, --key or "
                            "--authority")  # fmt: skip
    given = Given(arguments.holder, arguments.location, tuple(arguments.publisher))
    secrets = SecretFinder(arguments.pass_file)
    total, problems = Imported(), []
    with _estate(arguments, new=True) as estate:
        works: list[Callable[[], Imported]] = [
            partial(estate.import_file, path, given, secrets) for path in arguments.files
        ]
        works += [partial(estate.import_key, uri, given, secrets) for uri in arguments.key]
        works += [estate.import_authority] * arguments.authority
        for work in works:
            try:
                total = total.plus(work())
            except (EvidenceError, KeyProviderError) as error:
                print(f"signward: {error}", file=sys.stderr)
                problems.append(str(error))
    if arguments.json:
        import msgspec

        told = msgspec.json.encode({**total._asdict(), "problems": problems})
        sys.stdout.write(msgspec.json.format(told).decode() + "\n")
    else:
        print(f"{total.new} new, {total.known} known, {total.passed_over} passed over, "
              f"{total.releases} releases")  # fmt: skip
    return int(bool(problems))


def _add_days(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    parser.add_argument(flag, type=_days, metavar="DAYS", help=text)


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) > 36_500:
        raise argparse.ArgumentTypeError(f"found {text!r}, required a number of days")
    return int(text)


def _add_list(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    _add_days(parser, "--expiring", "only those that ended, or do so within so many days")
    parser.add_argument("--releases", action="store_true", help="list the files too")
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _run_list(arguments: argparse.Namespace) -> int:
    from signward.policy.estate import WARN_DAYS
    from signward.report import estate as report
    from signward.report.display import visible

    only = arguments.expiring
    with _estate(arguments) as estate:
        told, now = estate.told(WARN_DAYS if only is None else only), estate.now
    if only is not None:
        told = [(h, f) for h, f in told if h.not_after < now or h.ends_within(only, now)]
    if arguments.json:
        sys.stdout.write(report.document(told).decode())
        return _code(told)
    for held, found in told:
        for line in report.lines([(held, found)]):
            print(line)
        for release in held.releases if arguments.releases else ():
            when = f"{release.timestamped:%Y-%m-%d}" if release.timestamped else "no timestamp"
            print(visible(f"    {release.file} ({when})"))
    return _code(told)


def _code(told: object) -> int:
    """Return 1 if anything is to be told of."""
    assert isinstance(told, list)  # noqa: S101 - for the type checker
    return int(any(found for _, found in told))


def _add_set(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    _add_which(parser)
    parser.add_argument("--holder", metavar="TEXT", help="who holds its key")
    parser.add_argument("--location", metavar="TEXT", help="where its key is")


def _run_set(arguments: argparse.Namespace) -> int:
    with _estate(arguments) as estate:
        which = estate.describe(arguments.certificate, arguments.holder, arguments.location)
    print(f"{which[:16]} changed")
    return 0


def _add_forget(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    _add_which(parser)


def _run_forget(arguments: argparse.Namespace) -> int:
    with _estate(arguments) as estate:
        which = estate.forget(arguments.certificate)
    print(f"{which[:16]} forgotten")
    return 0


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("certificate", metavar="SHA256",
                        help="as list shows it; its beginning will do")  # fmt: skip


def _add_export(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--calendar", default="", metavar="FILE",
                        help="when they end, as iCalendar with reminders")  # fmt: skip
    parser.add_argument("--metrics", default="", metavar="FILE",
                        help="as Prometheus metrics, for its text file collector")  # fmt: skip
    parser.add_argument("--json", default="", metavar="FILE", help="all of it, as JSON")
    _add_days(parser, "--days", "remind, and tell, so long ahead (default: 60)")


def _run_export(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.errors import EvidenceError
    from signward.policy.estate import WARN_DAYS
    from signward.report import estate as report

    if not (arguments.calendar or arguments.metrics or arguments.json):
        raise EvidenceError("certs export: found nowhere to write, required --calendar, "
                            "--metrics or --json")  # fmt: skip
    days = WARN_DAYS if arguments.days is None else arguments.days
    with _estate(arguments) as estate:
        told, now = estate.told(days), estate.now
    for path, data in (
        (arguments.calendar, report.calendar(told, now, days)),
        (arguments.metrics, report.metrics(told)),
        (arguments.json, report.document(told)),
    ):
        if path:
            with written_whole(path) as out:
                out.write(data)
    return _code(told)


ACTIONS = {
    "import": Action("take in certificates, and the releases they signed", _add_import,
                     _run_import),
    "list": Action("list them, first what ends first, and what is to be told", _add_list,
                   _run_list),
    "set": Action("note who holds a certificate's key, and where it is", _add_set, _run_set),
    "forget": Action("forget a certificate", _add_forget, _run_forget),
    "export": Action("write a calendar, metrics or JSON", _add_export, _run_export),
}  # fmt: skip


def _estate(arguments: argparse.Namespace, *, new: bool = False) -> Estate:
    """Open the estate; one that is not there is made only if it may be ``new``."""
    from signward.errors import EvidenceError
    from signward.verbs.authority.realm import default_folder
    from signward.verbs.estate import Estate

    folder = Path(arguments.data) if arguments.data else default_folder()
    if not (new or arguments.database or folder.is_dir()):
        raise EvidenceError(f"{folder}: found no such folder, required one that holds certificates"
                            "\nhint: signward certs import makes it")  # fmt: skip
    return Estate.open(folder, database=arguments.database)
