"""``python -m conformance.authenticode build DIR`` and ``... run --runner NAME,NAME``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from conformance.authenticode.cases import all_cases
from conformance.authenticode.runner import markdown, run, wrong_answers
from conformance.authenticode.runners import KNOWN, Runner, find
from conformance.authenticode.suite import build


def main() -> int:
    """Build the suite, or run it; exit code 1 when Signward disagrees with an expectation."""
    parser = argparse.ArgumentParser(prog="conformance.authenticode")
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="write files and cases.json")
    builder.add_argument("folder", type=Path)
    asker = commands.add_parser("run", help="ask runners and compare")
    asker.add_argument(
        "--runner",
        default="signward,osslsigncode,lief",
        metavar="NAMES",
        help=f"of {', '.join(KNOWN)}, or a command line; separated by commas",
    )
    asker.add_argument("--suite", type=Path, help="a built suite (default: build one)")
    asker.add_argument("--markdown", type=Path, metavar="FILE", help="write the comparison here")
    asker.add_argument("--record", type=Path, metavar="FILE", help="write the peers' wrong answers")
    given = parser.parse_args()
    if given.command == "build":
        entries = build(given.folder, all_cases())
        sys.stdout.write(f"{len(entries)} cases in {given.folder}\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.suite or Path(scratch)
        if not given.suite:
            build(folder, all_cases())
        return _run(folder, given)


def _run(folder: Path, given: argparse.Namespace) -> int:
    runners: list[tuple[str, Runner]] = []
    versions: dict[str, str] = {}
    for name in given.runner.split(","):
        try:
            runner, version = find(name)
        except LookupError as error:
            sys.stderr.write(f"{error}: left out\n")
            continue
        runners.append((name, runner))
        versions[name] = version
    results = list(run(folder, runners))
    complaints = 0
    for result in results:
        if result.runner == "signward":
            for complaint in result.complaints:
                complaints += 1
                sys.stdout.write(f"{result.entry['id']}: {complaint}\n")
    if given.markdown:
        given.markdown.write_text(markdown(results, versions), "utf-8")
    if given.record:
        given.record.write_text(
            json.dumps(wrong_answers(results, versions), indent=1) + "\n", "utf-8"
        )
    for name in versions:
        own = [result for result in results if result.runner == name]
        right = sum(result.right for result in own)
        bad = sum(result.dangerous for result in own)
        sys.stdout.write(f"{name}: {right} of {len(own)} as expected, {bad} accepted wrongly\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
