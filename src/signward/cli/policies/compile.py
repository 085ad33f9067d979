"""``signward policy compile``: the policy in each enforcer's own form."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from signward.cli.actions import Action
from signward.cli.arguments import instant
from signward.cli.policies.check import add_policy_files, rules_from

if TYPE_CHECKING:
    from datetime import datetime

    from signward.compilers import Compiled
    from signward.policy.rules.model import RuleSet

SHOWN = 20
"""Losses told of one target; the others are counted (``--json`` has them all)."""


def _add(parser: argparse.ArgumentParser) -> None:
    add_policy_files(parser)
    parser.add_argument("--target", action="append", default=[], metavar="NAME",
                        help="compile for this enforcer; 'all' for every one")  # fmt: skip
    parser.add_argument("--targets", action="store_true", help="list the targets and end")
    parser.add_argument("--output", metavar="DIR", help="write there, into a folder a target; "
                        "without it nothing is written and everything told")  # fmt: skip
    parser.add_argument("--allow-loss", action="append", default=[], metavar="NAME",
                        help="go on where the target cannot say this; 'any': whatever")  # fmt: skip
    parser.add_argument("--at", type=instant, metavar="TIME",
                        help="with the exceptions of this time (default: now)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="files, losses and skipped rules")


def _run(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from signward.verbs.policies.compiling import place

    if arguments.targets:
        return _list_targets(arguments)
    rules = rules_from(arguments.policy, arguments.policy_key)
    at = arguments.at or datetime.now(UTC)
    made = {t: _compiled(rules, t, at, arguments) for t in _targets(arguments)}
    if arguments.output:
        place(Path(arguments.output), made)
    if arguments.json:
        _print_json(made)
    else:
        for target, compiled in made.items():
            _tell(target, compiled, arguments)
    return 0


def _targets(arguments: argparse.Namespace) -> list[str]:
    from signward import compilers
    from signward.errors import PolicyError

    every = [name.replace("_", "-") for name in compilers.names()]
    if not arguments.target:
        raise PolicyError("--target", "none", f"one of {', '.join(every)}, or all")
    return every if "all" in arguments.target else list(dict.fromkeys(arguments.target))


def _compiled(rules: RuleSet, target: str, at: datetime, arguments: argparse.Namespace) -> Compiled:
    from signward.verbs.policies.compiling import compile_for, every_loss

    allowed = set(arguments.allow_loss)
    if "any" in allowed:
        allowed = set(every_loss())
    return compile_for(rules, target, at, frozenset(allowed))


def _list_targets(arguments: argparse.Namespace) -> int:
    from signward import compilers

    known = [compilers.load(name) for name in compilers.names()]
    if arguments.json:
        import msgspec

        told = [{"target": c.target, "title": c.title, "spec": c.spec, "losses": c.losses,
                 "checked": c.checked} for c in known]  # fmt: skip
        print(msgspec.json.encode(told).decode())
        return 0
    width = max((len(c.target) for c in known), default=0)
    for compiler in known:
        print(f"{compiler.target:<{width}}  {compiler.title}")
    return 0


def _tell(target: str, compiled: Compiled, arguments: argparse.Namespace) -> None:
    from signward.report.display import visible

    print(f"{target}: {len(compiled.files)} files, {len(compiled.losses)} losses, "
          f"{len(compiled.skipped)} rules of other kinds of files left aside")  # fmt: skip
    for file in compiled.files:
        place = f"{arguments.output}/{target}/{file.name}" if arguments.output else file.name
        print(visible(f"  {place}  {len(file.content):,} octets"))
        for line in file.deploy.splitlines():
            print(visible(f"      {line}"))
    for loss in compiled.losses[:SHOWN]:
        print(
            visible(f"  lost ({loss.name}, {loss.towards}): {loss.rule or 'policy'}: {loss.text}")
        )
    if len(compiled.losses) > SHOWN:
        print(f"  and {len(compiled.losses) - SHOWN} more losses: --json tells them")


def _print_json(made: dict[str, Compiled]) -> None:
    import msgspec

    told = {
        target: {
            "files": [{"name": f.name, "octets": len(f.content), "deploy": f.deploy}
                      for f in compiled.files],
            "losses": compiled.losses,
            "skipped": compiled.skipped,
        }
        for target, compiled in made.items()
    }  # fmt: skip
    print(msgspec.json.encode(told).decode())


ACTION = Action("write the policy in an enforcer's own form", _add, _run)
