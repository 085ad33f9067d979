"""``signward policy explain FILE --policy POLICY``: which rule decided, and why not the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from signward.cli.actions import Action
from signward.cli.arguments import add_judgement, options_from

if TYPE_CHECKING:
    from signward.policy.rules.decision import RuleWord
    from signward.policy.rules.subject import Subject
    from signward.verbs.policies.explaining import Explained

EXAMPLES = """examples:
  signward policy explain --policy policy.toml setup.exe
  signward policy explain --policy base.toml --policy team.toml --all tool.ps1
  signward policy explain --policy policy.toml --host kiosk-3 --json setup.exe

exit codes: those of verify: 0 let in, 1 rejected, 2 command line or policy,
3 cannot tell, 4 not signed (of several files the worst, in the order 1, 3, 4, 0)
"""

NEAR = 1
"""Conditions a rule may fail and still be told of without ``--all``: it nearly matched."""

SHOWN = 40
"""Rules told of without ``--all``."""

_GRAVITY = (1, 3, 4, 0)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to judge")
    parser.add_argument(
        "--all",
        action="store_true",
        help="tell of every rule, not only of those that matched or nearly did",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file")
    add_judgement(parser)
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _run(arguments: argparse.Namespace) -> int:
    from signward.verbs.context import Context
    from signward.verbs.policies.explaining import explain_file

    context = Context(options_from(arguments))
    codes = set()
    for path in arguments.files:
        explained = explain_file(path, context)
        codes.add(_exit_code(explained))
        if arguments.json:
            _print_json(explained)
        else:
            _print(explained, everything=arguments.all)
    return next(code for code in _GRAVITY if code in codes)


def _exit_code(explained: Explained) -> int:
    told = explained.record
    if told.cause == "unsigned":
        return 4
    return {"accepted": 0, "rejected": 1, "indeterminate": 3}[told.outcome.value]


def _print_json(explained: Explained) -> None:
    from signward.policy.record import printable_json

    told = {
        "file": explained.record.subject,
        "verdict": explained.record,
        "decision": explained.decision,
        "subject": explained.subject,
        "rules": explained.words,
    }
    sys.stdout.write(printable_json(told).decode() + "\n")


def _print(explained: Explained, *, everything: bool) -> None:
    from signward.report import text
    from signward.report.display import visible

    out = sys.stdout
    told = text.line(
        explained.record, colour=text.wants_colour(out), width=text.terminal_width(out)
    )
    out.write(told + "\n")
    if explained.subject is not None:
        for line in (*_seen(explained.subject), *_rules(explained, everything=everything)):
            out.write(f"  {visible(line)}\n")


def _seen(subject: Subject) -> Iterator[str]:
    """Yield what the rules were held against."""
    yield f"path      {subject.path}"
    kind = f"{subject.kind} ({subject.file_class})" if subject.file_class else subject.kind
    yield f"kind      {kind or 'none'}"
    for signer in subject.signers:
        proven = f"proven {signer.proven:%Y-%m-%d}" if signer.proven else "no proven time"
        yield f"signer    {signer.identity}, {proven}"
    if not subject.signers:
        yield f"signer    none that is trusted{f': {subject.cause}' if subject.cause else ''}"
    names = [subject.product, subject.original_name, ".".join(map(str, subject.version or ()))]
    if any(names):
        yield f"product   {', '.join(filter(None, names))}"
    for digest in sorted(subject.digests):
        yield f"digest    {digest}"
    if subject.unknown:
        yield f"unknown   {', '.join(sorted(subject.unknown))}"


def _rules(explained: Explained, *, everything: bool) -> Iterator[str]:
    words = explained.words
    told = [w for w in words if everything or w.decided or len(w.failed) <= NEAR or w.spared]
    shown = told if everything else sorted(told, key=_distance)[:SHOWN]
    for word in shown:
        mark = "=>" if word.decided else "  "
        yield f"{mark} {word.action:<5} {word.rule}: {_why(word)}"
    more = len(words) - len(shown)
    if more:
        yield f"   {more} more rules do not match (--all tells of them)"
    if explained.decision is not None and not explained.decision.rule:
        yield "=> no rule decided: what nothing allows is rejected"


def _distance(word: RuleWord) -> tuple[bool, int]:
    return not word.decided, len(word.failed)


def _why(word: RuleWord) -> str:
    if word.spared:
        return f"spared by exception {word.spared}"
    if word.failed:
        return f"not met: {', '.join(word.failed)}"
    if word.unmet:
        return f"matches, required and not met: {', '.join(word.unmet)}"
    if word.missing:
        return f"may match, unknown: {', '.join(word.missing)}"
    return "matches" if word.decided else "matches, after the one that decided"


ACTION = Action("say which rule decides about a file, and why the others do not", _add, _run)
