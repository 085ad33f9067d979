"""The command line: parse arguments, call a verb, print."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``signward``; return its exit code."""
    try:
        from signward.cli.commands import run
    except KeyboardInterrupt:  # so early that nobody else could hear it
        return 130
    return run(arguments)
