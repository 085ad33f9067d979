"""What became of files that were to be changed: lines, JSON, a progress bar, a summary."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from signward.cli import ending

if TYPE_CHECKING:
    from signward.verbs.outcome import FileResult

MANY = 10
"""Files from which on a terminal shows a progress bar."""


def add_output(group: argparse._ArgumentGroup) -> None:
    """Add where results go and how they are told."""
    group.add_argument("--out", default="", metavar="DIR",
                       help="write results to this folder and leave the files alone")  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="do everything but write")
    group.add_argument("--json", action="store_true",
                       help="one JSON object per file: sign --help tells its fields")  # fmt: skip
    group.add_argument("--quiet", action="store_true", help="tell of failures and warnings only")


def report(
    results: Iterable[FileResult], arguments: argparse.Namespace, doing: str, total: int = 0
) -> int:
    """Print each result as it comes and a summary; return 0 if none failed, else 1.

    ``total`` is how many there will be, where that is not one for each argument.
    """
    counts: Counter[str] = Counter()
    warned: set[str] = set()
    ending.check()
    for result in _watched(results, arguments, doing, total or len(arguments.files)):
        ending.check()
        counts[result.outcome] += 1
        _tell(result, arguments, warned)
    sys.stdout.flush()
    if counts.total() > 1 and not arguments.json:
        told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
        print(f"signward: {counts.total()} files: {told}", file=sys.stderr)
    return 1 if counts["failed"] else 0


def _tell(result: FileResult, arguments: argparse.Namespace, warned: set[str]) -> None:
    from signward.report.display import visible

    if arguments.json:
        sys.stdout.write(_json(result) + "\n")
        sys.stdout.flush()
        return
    if result.failed:
        hint = f"\n  hint: {visible(result.hint)}" if result.hint else ""
        print(f"FAILED   {visible(f'{result.path}: {result.problem}')}{hint}", file=sys.stderr)
        return
    if not arguments.quiet:
        place = "" if result.output == result.path else f" -> {result.output}"
        by = f" by {result.signer} ({result.algorithm})" if result.signer else ""
        inside = f", {len(result.members)} members inside" if result.members else ""
        told = visible(f"{result.path}{place}: {result.format}{inside}{by}")
        print(f"{result.outcome.upper():<8} {told}")
    for warning in result.warnings:
        if warning not in warned:
            warned.add(warning)
            print(f"warning: {visible(warning)}", file=sys.stderr)


def _json(result: FileResult) -> str:
    r"""Return a result as one line; octets of a name that are no UTF-8 stand as ``\xNN``."""
    import msgspec

    from signward.policy.record import printable_json, safe_text

    safe = {
        name: safe_text(v) if isinstance(v, str) else tuple(map(safe_text, v))
        for name, v in msgspec.structs.asdict(result).items()
    }
    return printable_json(msgspec.structs.replace(result, **safe)).decode()


def _watched(
    results: Iterable[FileResult], arguments: argparse.Namespace, doing: str, total: int
) -> Iterator[FileResult]:
    """Pass the results on; for many files on a terminal, draw how far the work is."""
    if total < MANY or arguments.quiet or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(results, doing, total=total, console=console, transient=True)
