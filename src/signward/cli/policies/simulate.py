"""``signward policy simulate``: what a policy would stop on a known fleet, before it bites."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import Action
from signward.cli.arguments import instant
from signward.cli.policies.check import add_policy_files, rules_from

if TYPE_CHECKING:
    from signward.policy.rules.simulated import Simulation
    from signward.policy.rules.simulation import Wanted
    from signward.verbs.policies.simulate import Watch

EXIT_STOPPED = 1
EXIT_UNSETTLED = 3
FORMATS = ("table", "json", "html")
TIERS = ("publisher", "product", "digest")


def _add(parser: argparse.ArgumentParser) -> None:
    add_policy_files(parser)
    add_inventory(parser)
    parser.add_argument("--format", choices=FORMATS, default="table", metavar="FORMAT",
                        help=f"{', '.join(FORMATS)} (default: table)")  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="write there instead of to the terminal")
    parser.add_argument("--html", metavar="FILE", help="write the page there, beside the output")
    parser.add_argument("--propose", metavar="FILE",
                        help="write the rules proposed there, as a supplement (TOML)")  # fmt: skip


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Add what is known of the fleet, and for which of it rules are proposed."""
    parser.add_argument("--inventory", metavar="FILE", action="append", required=True,
                        help="what is on the hosts: an inventory (signward scan --inventory), "
                        "records (scan --format jsonl), or the log of an enforcer in audit "
                        "mode; may be repeated")  # fmt: skip
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="decide as at this time (default: now)")  # fmt: skip
    parser.add_argument("--tag", metavar="TAG", action="append", default=[],
                        help="propose rules for what hosts with this tag need")  # fmt: skip
    parser.add_argument("--least-hosts", type=_positive, default=1, metavar="N",
                        help="propose rules for what N hosts have (default: 1)")  # fmt: skip
    parser.add_argument("--by", choices=TIERS, action="append", default=[],
                        metavar="{" + ",".join(TIERS) + "}",
                        help="propose such rules only (default: all three)")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, required a number from 1")
    return int(text)


def wanted_from(arguments: argparse.Namespace) -> Wanted:
    """Return what rules are proposed for."""
    from signward.policy.rules.candidates import Tier
    from signward.policy.rules.simulation import Wanted

    tiers = frozenset(Tier[name.upper()] for name in arguments.by or TIERS)
    return Wanted(hosts=arguments.least_hosts, tags=frozenset(arguments.tag), tiers=tiers)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watch]:
    """Draw how far a simulation is, on a terminal."""
    from signward.verbs.policies.simulate import unwatched

    if quiet or not sys.stderr.isatty():
        yield unwatched
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("sightings"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def watch(what: str, done: int, whole: int) -> None:
            bar.update(task, description=what, completed=done, total=whole)

        yield watch


def _run(arguments: argparse.Namespace) -> int:
    from signward.policy.rules.simulated import Fate
    from signward.verbs.policies.known import opened_fleet
    from signward.verbs.policies.simulate import simulate

    rules = rules_from(arguments.policy, arguments.policy_key, remember=False)
    at = arguments.at or datetime.now(UTC)
    paths = [Path(path) for path in arguments.inventory]
    with opened_fleet(paths, at) as fleet, watching(quiet=arguments.quiet) as watch:
        found = simulate(rules, fleet, at, wanted=wanted_from(arguments), watch=watch)
    _report(found, arguments)
    if found.fates[Fate.STOPPED].files:
        return EXIT_STOPPED
    return EXIT_UNSETTLED if found.fates[Fate.UNSETTLED].files else 0


def _report(found: Simulation, arguments: argparse.Namespace) -> None:
    from signward.cli.scan import written_whole

    if arguments.html:
        _write("html", found, arguments.html)
    if arguments.propose:
        from signward.policy.rules.derive import supplement
        from signward.policy.rules.writing import to_toml

        text = to_toml(supplement(found, f"{found.policy[:55]}-proposed"))
        with written_whole(arguments.propose) as out:
            out.write(text.encode())
    if arguments.output:
        _write(arguments.format, found, arguments.output)
    elif arguments.format == "table":
        from signward.report.simulation import write_text

        write_text(found, sys.stdout)
    else:
        _print(arguments.format, found)


def _write(form: str, found: Simulation, path: str) -> None:
    from signward.cli.scan import written_whole

    with written_whole(path) as out:
        out.write(_octets(form, found))


def _print(form: str, found: Simulation) -> None:
    sys.stdout.buffer.write(_octets(form, found))
    sys.stdout.buffer.flush()


def _octets(form: str, found: Simulation) -> bytes:
    import io

    from signward.report import simulation, simulation_page

    if form == "json":
        return simulation.to_json(found) + b"\n"
    if form == "html":
        page = io.BytesIO()
        simulation_page.write(found, page)
        return page.getvalue()
    text = io.StringIO()
    simulation.write_text(found, text, colour=False)
    return text.getvalue().encode()


ACTION = Action("say what a policy would stop on known hosts, and what would let it in", _add, _run)
