"""``signward revoke``: revoke once, everywhere; first what it would stop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import add_data, local_user
from signward.cli.arguments import instant
from signward.cli.feed import REASONS

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet
    from signward.policy.rules.revoking import Blast
    from signward.trust.feed import Entry
    from signward.verbs.policies.denying import Order
    from signward.verbs.policies.revoke import Named, RealmDeeds

DESCRIPTION = """\
Revoke a publisher, a certificate or a file everywhere.  Without --apply nothing
is changed: you are shown every known file and host that would stop, what each
date would cost, and what every enforcer would be told.

--apply writes the files for all enforcers into one folder, and with --data has
an authority of yours revoke and publish: all of it happens, or nothing."""

EPILOG = """examples:
  signward revoke --certificate stolen.pem --inventory scan.db
  signward revoke --digest sha256:HEX --since 2026-03-01 --inventory scan.db
  signward revoke --file evil.exe --inventory scan.db --html blast.html
  signward revoke --certificate stolen.pem --apply --out revoked --data ca

An inventory is what 'signward scan --inventory' keeps; records of a scan
(--format jsonl) and enforcers' logs will do.

exit codes: 0 shown, or done, 2 command line, inventory, or a target that cannot
be told (leave it out by name: --without)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``revoke``."""
    what = parser.add_argument_group("what: one of these")
    what.add_argument("--publisher", metavar="NAME",
                      help="this identity, as verify --json tells it")  # fmt: skip
    what.add_argument("--certificate", metavar="PEM",
                      help="this certificate, whoever issued it; sha256:HEX will do")  # fmt: skip
    what.add_argument("--digest", metavar="NAME:HEX", help="a file of this digest: sha256:3f..., "
                      "or authenticode:sha256:3f...")  # fmt: skip
    what.add_argument("--file", metavar="FILE", help="this file, by all digests it has")
    parser.add_argument("--since", type=instant, metavar="DATE", help="what was signed before is "
                        "spared, where that is proven (default: now)")  # fmt: skip
    parser.add_argument("--reason", choices=REASONS, default="", metavar="REASON",
                        help=f"of a certificate: {', '.join(REASONS)}")  # fmt: skip
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for whoever reads it")
    _add_fleet(parser.add_argument_group("what it would stop"))
    _add_targets(parser.add_argument_group("who is told"))
    _add_apply(parser)


def _add_fleet(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--inventory", action="append", default=[], metavar="FILE",
                       help="what is on the hosts: inventory, records or log")  # fmt: skip
    group.add_argument("--bad", action="append", default=[], metavar="FILE",
                       help="a file known to be bad, or its digest: advises a date")  # fmt: skip
    group.add_argument("--html", default="", metavar="FILE", help="write it as a page there")
    group.add_argument("--json", action="store_true", help="as one JSON document")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_targets(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--policy", action="append", default=[], metavar="FILE",
                       help="the policy that enforcers run: it gets the denials")  # fmt: skip
    group.add_argument("--policy-key", action="append", default=[], metavar="PEM",
                       help="the key that policies must be signed with")  # fmt: skip
    group.add_argument("--target", action="append", default=[], metavar="NAME",
                       help="tell only this enforcer")  # fmt: skip
    group.add_argument("--without", action="append", default=[], metavar="NAME",
                       help="leave this enforcer out")  # fmt: skip
    group.add_argument("--allow-loss", action="append", default=[], metavar="NAME",
                       help="go on where an enforcer cannot say this of the policy")  # fmt: skip


def _add_apply(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("doing it")
    group.add_argument("--apply", action="store_true", help="do it: the default only shows")
    group.add_argument("--out", default="", metavar="DIR", help="write the files there")
    group.add_argument("--pass-file", default="", metavar="FILE", help="the password of the "
                       "authority's keys is this file's first line")  # fmt: skip
    add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what a revocation does, or do it."""
    from signward.errors import EvidenceError
    from signward.verbs.policies import denying
    from signward.verbs.policies.revoke import entries

    if arguments.apply and not arguments.out:
        raise EvidenceError("--apply: found no --out, required a folder for the files")
    now = datetime.now(UTC)
    if arguments.since and arguments.since > now:
        raise EvidenceError(f"--since: found {arguments.since:%Y-%m-%dT%H:%M:%SZ}, required a "
                            f"date until now, {now:%Y-%m-%dT%H:%M:%SZ}")  # fmt: skip
    named, since = _named(arguments), arguments.since or now
    told = entries(named, arguments.reason, _dates(arguments, now))
    blast = _measured(arguments, named, since, now)
    made = denying.orders(blast, named.der, _policy(arguments), now,
                          only=arguments.target, without=arguments.without,
                          allowed=frozenset(arguments.allow_loss))  # fmt: skip
    with _deeds(arguments, named, since) as deeds:
        if arguments.apply:
            denying.check_whole(made)
            return _apply(arguments, blast, made, told, deeds)
        _show(arguments, blast, made, deeds)
    return 0


def _named(arguments: argparse.Namespace) -> Named:
    from signward.errors import EvidenceError
    from signward.verbs.policies import revoke

    ways = {
        "publisher": revoke.of_publisher,
        "certificate": revoke.of_certificate,
        "digest": revoke.of_digest,
        "file": revoke.of_file,
    }
    given = [name for name in ways if getattr(arguments, name) is not None]
    if len(given) != 1:
        told = ", ".join(f"--{name}" for name in given) or "none"
        listed = ", ".join(f"--{name}" for name in ways)
        raise EvidenceError(f"what to revoke: found {told}, required one of {listed}")
    return ways[given[0]](getattr(arguments, given[0]))


def _dates(arguments: argparse.Namespace, now: datetime) -> dict[str, str | datetime | None]:
    from signward.verbs.feed_entries import dates

    return dict(dates(now, arguments.since, None, arguments.note))


def _measured(arguments: argparse.Namespace, named: Named, since: datetime, now: datetime) -> Blast:
    from signward.cli.policies.simulate import watching
    from signward.policy.rules.revoking import Radius
    from signward.verbs.policies.known import opened_fleet
    from signward.verbs.policies.revoke import bad_files, measure

    bad = bad_files(arguments.bad)
    if not arguments.inventory:
        return Radius(named.culprit, since, (), bad).blast()
    paths = [Path(path) for path in arguments.inventory]
    with opened_fleet(paths, now) as fleet, watching(quiet=arguments.quiet) as watch:
        return measure(named.culprit, since, fleet, bad, watch)


def _policy(arguments: argparse.Namespace) -> RuleSet | None:
    from signward.verbs.policies.load import load_rules

    if not arguments.policy:
        return None
    return load_rules([Path(path) for path in arguments.policy], arguments.policy_key)


@contextmanager
def _deeds(
    arguments: argparse.Namespace, named: Named, since: datetime
) -> Iterator[RealmDeeds | None]:
    """Open the authority, if one was named."""
    if not (arguments.data or arguments.database):
        yield None
        return
    from signward.verbs.authority.realm import Realm, default_folder
    from signward.verbs.policies.revoke import RealmDeeds
    from signward.verbs.secrets import SecretFinder

    folder = Path(arguments.data) if arguments.data else default_folder()
    secrets = SecretFinder(arguments.pass_file)
    realm = Realm.open(folder, database=arguments.database, secrets=secrets)
    try:
        yield RealmDeeds(realm, named, arguments.reason, since, local_user())
    finally:
        realm.close()


def _apply(
    arguments: argparse.Namespace,
    blast: Blast,
    made: Sequence[Order],
    told: Sequence[Entry],
    deeds: RealmDeeds | None,
) -> int:
    from signward.report.display import visible
    from signward.verbs.policies.revoke import apply

    done = apply(blast, made, told, Path(arguments.out), _page(blast, made), deeds)
    _write_page(arguments, blast, made)
    if arguments.json:
        _print_json({"blast": blast, "orders": _plain(made), "applied": done})
        return 0
    for line in _order_lines(made):
        print(visible(line))
    for deed in done.deeds:
        print(visible(f"  {deed}"))
    print(visible(f"written to {done.folder}: READ-ME.txt there says what to do with each file"))
    return 0


def _show(
    arguments: argparse.Namespace, blast: Blast, made: Sequence[Order], deeds: RealmDeeds | None
) -> None:
    from signward.report.display import visible
    from signward.report.revocation import lines

    _write_page(arguments, blast, made)
    planned = deeds.planned if deeds else ()
    if arguments.json:
        _print_json({"blast": blast, "orders": _plain(made), "planned": planned})
        return
    for line in lines(blast):
        print(line)
    print("\nWho would be told")
    for line in _order_lines(made):
        print(visible(line))
    for deed in planned:
        print(f"  authority: {deed}")
    print("\nNothing was changed.  --apply --out DIR does it.")


def _order_lines(made: Sequence[Order]) -> Iterator[str]:
    width = max(len(order.target) for order in made) if made else 0
    for order in made:
        yield f"  {order.target:<{width}}  {_said(order)}"


def _said(order: Order) -> str:
    from signward.verbs.policies.denying import State

    if order.state is State.SAID:
        return order.told
    words = {State.CANNOT: "CANNOT be told", State.NEEDS_POLICY: "CANNOT be told",
             State.ABSENT: "skipped", State.OUT_OF_SCOPE: "not concerned",
             State.LEFT_OUT: "left out, as asked"}  # fmt: skip
    return f"{words[order.state]}{f': {order.why}' if order.why else ''}"


def _page(blast: Blast, made: Sequence[Order]) -> bytes:
    from signward.report.revocation_page import page
    from signward.verbs.policies.denying import TARGETS

    rows = [(TARGETS[order.target], _said(order), ", ".join(file.name for file in order.files))
            for order in made]  # fmt: skip
    return page(blast, rows)


def _write_page(arguments: argparse.Namespace, blast: Blast, made: Sequence[Order]) -> None:
    from signward.cli.scan import written_whole

    if arguments.html:
        with written_whole(arguments.html) as out:
            out.write(_page(blast, made))


def _plain(made: Sequence[Order]) -> list[dict[str, object]]:
    return [
        {"target": order.target, "state": order.state, "told": order.told, "why": order.why,
         "files": [file.name for file in order.files]}
        for order in made
    ]  # fmt: skip


def _print_json(value: object) -> None:
    from signward.policy.record import printable_json

    sys.stdout.write(printable_json(value).decode() + "\n")
