"""The command line: parse arguments, call a verb, print."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``signward``; return its exit code."""
    from signward.cli.commands import run

    return run(arguments)
