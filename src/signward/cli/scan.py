"""``signward scan PATH...``: walk trees, judge what can be signed, write reports."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from signward.cli.arguments import add_judgement, options_from
from signward.cli.packages import add_packages, packages_from, replaced

if TYPE_CHECKING:
    from signward.policy.record import Record
    from signward.report.table import Summary
    from signward.verbs.options import Options
    from signward.verbs.scan import Scan, ScanOptions

DESCRIPTION = """\
Walk folders, look inside archives, and judge every file that can be signed.
Prints what was not accepted and a summary; --html writes a page to read.
Verdicts are remembered: a second scan judges only what changed."""

EPILOG = """examples:
  signward scan /srv/share
  signward scan /srv/share --html report.html
  signward scan --format jsonl --output verdicts.jsonl C:/mounted/image
  signward scan --only pe --only powershell --skip-unsigned --format csv .
  signward scan --inventory fleet.db --host desk-17 --tag desk /opt /usr/local
  signward scan --policy policy.toml --fail-on rejected /opt
  signward scan --crl ca.crl --at 2026-01-01 --fail-on rejected dist/

A scan that is interrupted resumes: run the same command again.

exit codes: 0 the scan completed, whatever it found, 2 command line,
3 a PATH cannot be read, 130 interrupted; with --fail-on also 1 rejected,
3 cannot tell, 4 not signed (the worst of all, in the order 1, 3, 4, 0)
"""

FORMATS = ("table", "json", "jsonl", "csv", "sarif", "html")

SHOWN = 40
"""Rows printed to a terminal before the rest is only counted (``--all`` prints them)."""

WRITTEN_AT_ONCE = 256 * 1024
"""Octets of a report gathered before they are written: a record has some thousand."""

EXIT_INDETERMINATE = 3
EXIT_INTERRUPTED = 130
_FAILURES = {"rejected": 1, "indeterminate": 3, "unsigned": 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scan``."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders or files")
    output = parser.add_argument_group("output")
    output.add_argument("--html", metavar="FILE", help="write the HTML report there")
    output.add_argument("--format", choices=FORMATS, default="table", metavar="FORMAT",
                        help=f"{', '.join(FORMATS)} (default: table)")  # fmt: skip
    output.add_argument("--output", metavar="FILE", help="write there instead of to the terminal")
    output.add_argument("--all", action="store_true",
                        help="print every file, not only those that were not accepted")  # fmt: skip
    output.add_argument("--skip-unsigned", action="store_true",
                        help="count files without a signature, but do not list them")  # fmt: skip
    output.add_argument("--fail-on", choices=tuple(_FAILURES), action="append", default=[],
                        metavar="{" + ",".join(_FAILURES) + "}",
                        help="exit with 1, 3 or 4 when such a file was found")  # fmt: skip
    output.add_argument("--inventory", metavar="FILE",
                        help="keep what is found in this inventory of hosts, under --host "
                        "(default: this machine's name), instead of what was known of it; "
                        "policies are simulated on it and derived from it")  # fmt: skip
    output.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    add_walk(parser)
    add_judgement(parser)
    add_packages(parser)


def add_walk(parser: argparse.ArgumentParser) -> None:
    """Add what to walk, how far, and how."""
    walking = parser.add_argument_group("walking")
    walking.add_argument("--only", metavar="KIND", action="append", default=[],
                         help="judge only this kind: pe, powershell, jar, ...")  # fmt: skip
    walking.add_argument("--exclude", metavar="NAME", action="append", default=[],
                         help="do not enter folders of this name")  # fmt: skip
    walking.add_argument("--one-file-system", action="store_true",
                         help="do not enter what is mounted below PATH")  # fmt: skip
    walking.add_argument("--no-containers", action="store_true",
                         help="do not look inside zip, wheel, nupkg, jar and tar")  # fmt: skip
    walking.add_argument("--jobs", type=_jobs, default=0, metavar="N",
                         help="worker processes (default: one per CPU)")  # fmt: skip
    cache = walking.add_mutually_exclusive_group()
    cache.add_argument("--cache", metavar="FILE",
                       help="remember verdicts there (default: in ~/.cache/signward)")  # fmt: skip
    cache.add_argument("--no-cache", action="store_true", help="judge everything anew")


def _jobs(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"found {text!r}, required a number from 1 to 256")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Scan, report, and return the exit code."""
    with _ledger(arguments) as ledger:
        return _run(arguments, ledger)


@contextmanager
def _ledger(arguments: argparse.Namespace) -> Iterator[str]:
    """Give the file in which workers find what was read of packages: kept as verdicts are."""
    if not arguments.no_cache:
        yield f"{arguments.cache}.packages" if arguments.cache else ""
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="signward-") as folder:
        yield f"{folder}/packages"


def _run(arguments: argparse.Namespace, ledger: str) -> int:
    from signward.verbs.scan import Scan

    options = _scan_options(arguments, ledger)
    scan = Scan(options)
    try:
        with _opened_spool(arguments) as spool:
            summary = _spool(spool, _watched(scan, options, arguments), arguments)
            _write_reports(spool, arguments)
    except KeyboardInterrupt:
        _say_interrupted(scan, arguments)
        return EXIT_INTERRUPTED
    _finish(scan, summary, arguments)
    return _exit_code(summary, arguments)


def _scan_options(arguments: argparse.Namespace, ledger: str) -> ScanOptions:
    from signward.errors import EvidenceError
    from signward.inventory.cache import default_path
    from signward.inventory.classify import KINDS
    from signward.inventory.walk import WalkOptions
    from signward.verbs.scan import ScanOptions

    for kind in arguments.only:
        if kind not in KINDS:
            raise EvidenceError(f"--only {kind}: required one of {', '.join(KINDS)}")
    cache = Path(arguments.cache) if arguments.cache else default_path()
    return ScanOptions(
        paths=tuple(arguments.paths),
        trust=_trust(arguments, ledger),
        jobs=arguments.jobs,
        cache=None if arguments.no_cache else cache,
        walk=WalkOptions(
            one_file_system=arguments.one_file_system, exclude=frozenset(arguments.exclude)
        ),
        containers=not arguments.no_containers,
        only=frozenset(arguments.only),
    )


def _trust(arguments: argparse.Namespace, ledger: str) -> Options:
    """Return how to judge; an inventory keeps digests for policies to come."""
    trust = options_from(arguments)
    trust = replaced(trust, packages_from(arguments, arguments.paths, trust, ledger))
    if not arguments.inventory:
        return trust
    from signward.frozen import replace
    from signward.verbs.policies.known import KEPT

    return replace(trust, asked=KEPT, host=trust.host or platform.node())


def _kept(scan: Scan, records: Iterator[bytes], arguments: argparse.Namespace) -> Iterator[bytes]:
    """Pass the records on; with ``--inventory`` they are kept there when all have passed."""
    if not arguments.inventory:
        return records
    from signward.verbs.policies.known import gathered

    trust = scan.options.trust
    return gathered(records, Path(arguments.inventory), trust.host, trust.tags, scan.at)


def _watched(scan: Scan, options: ScanOptions, arguments: argparse.Namespace) -> Iterator[bytes]:
    """Pass the records on; on a terminal, draw how far the scan is."""
    found = scan.run()
    records = _kept(scan, found, arguments)
    try:
        if arguments.quiet or not sys.stderr.isatty():
            yield from records
        else:
            yield from _drawn(scan, options, records)
    finally:
        for each in (records, found):
            close = getattr(each, "close", None)
            if close:
                close()


def _drawn(scan: Scan, options: ScanOptions, records: Iterator[bytes]) -> Iterator[bytes]:
    from rich import progress
    from rich.console import Console

    from signward.verbs.scan import count_files

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]:>9} files/s"),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("counting", total=None, rate="")
        total = count_files(options)
        bar.reset(task, total=total, description="scanning", rate="")
        for record in records:
            done = scan.tally.done
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{done / elapsed:,.0f}" if elapsed > 0 else ""
            bar.update(task, completed=min(done, total), rate=rate)
            yield record


def _opened_spool(arguments: argparse.Namespace) -> AbstractContextManager[BinaryIO]:
    """Return a file for the records; a report that holds just their lines is its own spool."""
    if _is_spool(arguments):
        return written_whole(arguments.output)
    import tempfile

    return tempfile.TemporaryFile(prefix="signward-")


def _is_spool(arguments: argparse.Namespace) -> bool:
    if arguments.format != "jsonl" or not arguments.output:
        return False
    target = Path(arguments.output)
    return target.is_file() or not target.exists()  # a device cannot be taken back


def _spool(
    spool: BinaryIO, lines: Iterator[bytes], arguments: argparse.Namespace
) -> Summary | None:
    """Keep the records on disk until the scan is complete: reports are whole or absent.

    Return the counts, or None where nothing asks for them or for a choice of records.
    """
    others_only = _lists_others_only(arguments)
    counted = not arguments.quiet or arguments.fail_on
    if not (counted or others_only or arguments.skip_unsigned):
        for line in lines:
            spool.write(line)
            spool.write(b"\n")
        return None
    from signward.policy.record import gist
    from signward.report.table import Summary

    summary = Summary()
    for line in lines:
        told = gist(line)
        summary.add(told)
        left_out = (others_only and told.outcome.value == "accepted") or (
            arguments.skip_unsigned and told.cause == "unsigned"
        )
        if not left_out:
            spool.write(line + b"\n")
    return summary


def _lists_others_only(arguments: argparse.Namespace) -> bool:
    """Say whether no output will name a file that was accepted."""
    return arguments.format == "table" and not (arguments.output or arguments.html or arguments.all)


def _spooled(spool: BinaryIO) -> Iterator[Record]:
    from signward.policy.record import from_json

    spool.seek(0)
    for line in spool:
        yield from_json(line)


def _write_reports(spool: BinaryIO, arguments: argparse.Namespace) -> None:
    if arguments.html:
        with written_whole(arguments.html) as out:
            _write_spooled("html", spool, out)
    if _is_spool(arguments):
        return
    if arguments.output:
        with written_whole(arguments.output) as out:
            _write_spooled(arguments.format, spool, out)
    elif arguments.format != "table":
        _write_spooled(arguments.format, spool, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif not (arguments.quiet and not arguments.all):
        _print_table(spool, arguments)


def _write_spooled(form: str, spool: BinaryIO, out: BinaryIO) -> None:
    import shutil

    if form == "jsonl":  # what the spool holds, line by line: see ``_spool``
        spool.seek(0)
        shutil.copyfileobj(spool, out)
    else:
        write_report(form, _spooled(spool), out)


def _print_table(spool: BinaryIO, arguments: argparse.Namespace) -> None:
    """Print what was not accepted, or with ``--all`` everything."""
    from signward.report.table import write_table
    from signward.state import Outcome

    rows: list[Record] = []
    more = 0
    for record in _spooled(spool):
        if not arguments.all and record.outcome is Outcome.ACCEPTED:
            continue
        if arguments.all or len(rows) < SHOWN:
            rows.append(record)
        else:
            more += 1
    if rows:
        write_table(rows, sys.stdout)
    if more:
        print(f"... and {more:,} more that were not accepted (--all prints them)")


def write_report(form: str, records: Iterator[Record], out: BinaryIO) -> None:
    """Write ``records`` to ``out`` in one of :data:`FORMATS`."""
    import io

    from signward.report import jsonl, sarif, spreadsheet, table

    if form == "html":
        from signward.report import webpage

        webpage.write(records, out)
    elif form == "table":
        text = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        table.write_table(records, text, colour=False)
        text.detach()
    else:
        writers = {
            "json": jsonl.write_document,
            "jsonl": jsonl.write_lines,
            "csv": spreadsheet.write,
            "sarif": sarif.write,
        }
        writers[form](records, out)


@contextmanager
def written_whole(path: str) -> Iterator[BinaryIO]:
    """Write a file that appears whole under its name, or not at all.

    A link is followed; a device or FIFO is written to, never replaced.  Raises
    ``EvidenceError`` when it cannot be written.
    """
    from signward.errors import EvidenceError

    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        try:
            with target.open("wb") as straight:
                yield straight
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}") from None
        return
    hidden = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with hidden.open("x+b", WRITTEN_AT_ONCE) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        hidden.replace(target)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise EvidenceError(f"{path}: {error.strerror}") from None
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def _say_interrupted(scan: Scan, arguments: argparse.Namespace) -> None:
    tally = scan.tally
    kept = "run the same command again to resume" if not arguments.no_cache else "nothing was kept"
    sys.stderr.write(
        f"signward: interrupted after {tally.files:,} files, {tally.judged:,} judged; {kept}\n"
    )


def _finish(scan: Scan, summary: Summary | None, arguments: argparse.Namespace) -> None:
    """Print warnings, then the summary: to stdout under a table, else to stderr."""
    from signward.inventory.walk import printable

    for warning in scan.tally.warnings:
        sys.stderr.write(f"signward: warning: {printable(warning)}\n")
    if arguments.quiet or summary is None:
        return
    from signward.report.table import write_summary

    plain = arguments.format == "table" and not arguments.output
    out = sys.stdout if plain else sys.stderr
    out.write(scan_line(scan) + "\n")
    write_summary(summary, out)


def scan_line(scan: Scan) -> str:
    """Return what the scan looked at: how much of it in one line, the kinds in another."""
    tally = scan.tally
    members = sum(tally.members.values())
    told = ", ".join(f"{number:,} {kind}" for kind, number in tally.kinds.most_common(6))
    inside = f" and {members:,} members of containers" if members else ""
    rate = f" ({tally.files / tally.seconds:,.0f}/s)" if tally.seconds else ""
    return (
        f"{tally.files:,} files{inside} in {tally.seconds:.1f} s{rate}, "
        f"{tally.cached:,} from the cache\nkinds: {told or 'none'}"
    )


def _exit_code(summary: Summary | None, arguments: argparse.Namespace) -> int:
    found = _found(summary) if summary else {}
    for name, code in _FAILURES.items():
        if name in arguments.fail_on and found[name]:
            return code
    return EXIT_INDETERMINATE if _unreadable_roots(arguments.paths) else 0


def _found(summary: Summary) -> dict[str, int]:
    from signward.state import Outcome

    unsigned = summary.causes["unsigned"]
    return {
        "rejected": summary.outcomes[Outcome.REJECTED] - unsigned,
        "indeterminate": summary.outcomes[Outcome.INDETERMINATE],
        "unsigned": unsigned,
    }


def _unreadable_roots(paths: Sequence[str]) -> bool:
    return not all(os.access(path, os.R_OK) for path in paths)
