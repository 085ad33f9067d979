"""Write the generated pages: the command line, the causes, the formats, the schemas.

``python -m tools.pages`` writes them; with ``--check`` it says which are not current.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from signward.cli.actions import nested
from signward.cli.commands import build_parser, command_parsers
from signward.cli.completion import Argument, described
from signward.findings import WINDOWS_NAMES
from signward.report.causes import SECTIONS
from tools.formats_page import formats_page
from tools.keys_page import keys_page
from tools.policy_page import policy_page

REPOSITORY = Path(__file__).resolve().parents[1]

_NOTE = "Written by `make docs`: do not edit.\n"

_CAUSES_HEAD = f"""# Causes

{_NOTE}
Every finding has a code; the gravest finding's code is the verdict's **cause**. Codes are
stable: one may be added, none is renamed. What a finding does to the outcome is its effect,
decided where it is made and under the policy in force: `note` and `warn` leave the outcome
alone, `unknown` makes it INDETERMINATE, `reject` makes it REJECTED. So one code may warn here
and reject there (`expired` about the signer rejects, about a timestamp that is ignored anyway
it warns). The Windows name is the nearest one of winerror.h, where there is one.
"""


def causes_page() -> str:
    """Return ``docs/causes.md``."""
    return "\n".join([_CAUSES_HEAD, *_cause_sections()]) + "\n"


def _cause_sections() -> Iterator[str]:
    for title, section in SECTIONS.items():
        yield f"## {title}\n"
        yield "| cause | Windows name | meaning | typical fix |"
        yield "|---|---|---|---|"
        for code, (meaning, fix) in section.items():
            windows = f"`{WINDOWS_NAMES[code]}`" if code in WINDOWS_NAMES else ""
            yield f"| `{code}` | {windows} | {meaning} | {fix} |"
        yield ""


def cli_page() -> str:
    """Return ``docs/cli.md``."""
    top = build_parser([])
    parts = [f"# The command line\n\n{_NOTE}", f"{top.description}\n", _block(top.epilog)]
    for name, parser in command_parsers().items():
        parts += [f"## signward {name}\n", f"{parser.description}\n", _block(_usage(name, parser))]
        parts += _option_tables(parser)
        for action, own in nested(parser).items():
            parts += [f"### signward {name} {action}\n", f"{own.description}\n"]
            parts += [_block(_usage(f"{name} {action}", own)), *_option_tables(own)]
        parts.append(_block(parser.epilog))
    return "\n".join(parts)


def _block(text: str | None) -> str:
    return f"```text\n{(text or '').strip()}\n```\n"


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [_positional(a) for a in described(parser) if not a.flags]
    return f"signward {name} [options] {' '.join(words)}"


def _positional(argument: Argument) -> str:
    return f"{argument.metavar}..." if argument.repeats else argument.metavar


def _option_tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield one table a group of options, titled as in the help."""
    by_flags = {a.flags: a for a in described(parser)}
    for group in parser._action_groups:  # argparse tells it nowhere else
        own = [by_flags[tuple(a.option_strings)] for a in group._group_actions]
        rows = [a for a in own if a.flags and "--help" not in a.flags]
        if not rows:
            continue
        title = (group.title or "options").replace(":", ",", 1)
        yield f"### {title[0].upper()}{title[1:]}\n\n| option | meaning |\n|---|---|"
        for argument in rows:
            again = " May be given several times." if argument.repeats else ""
            said = argument.text.replace("|", "\\|")
            said = said[0].upper() + said[1:] + ("" if said.endswith(".") else ".")
            yield f"| `{_option(argument)}` | {said}{again} |"
        yield ""


def _option(argument: Argument) -> str:
    values = argument.metavar.replace("{", "").replace("}", "").replace(",", " or ")
    return " ".join(filter(None, (", ".join(argument.flags), values)))


def verdict_schema() -> str:
    """Return ``docs/verdict.schema.json``."""
    from signward.policy.record import schema

    return _json(schema())


def policy_schema() -> str:
    """Return ``docs/policy.schema.json``."""
    from signward.policy.rules.schema import schema

    return _json(schema())


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


PAGES = {
    "docs/policy.schema.json": policy_schema,
    "docs/verdict.schema.json": verdict_schema,
    "docs/cli.md": cli_page,
    "docs/causes.md": causes_page,
    "docs/formats.md": formats_page,
    "docs/keys.md": keys_page,
    "docs/policy.md": policy_page,
}
"""Each generated page and what writes it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with ``--check`` return 1 if one is not current."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is old")
    check = parser.parse_args(arguments).check
    old = [name for name, page in PAGES.items() if not _is_current(REPOSITORY / name, page())]
    for name in old:
        if check:
            print(f"{name} is not current: run make docs", file=sys.stderr)
        else:
            (REPOSITORY / name).write_text(PAGES[name](), "utf-8")
            print(f"wrote {name}")
    return int(check and bool(old))


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())
